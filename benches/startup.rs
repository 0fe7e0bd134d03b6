//! How long a whole process takes that has next to nothing to do, beside one that has nothing: `cargo bench --bench startup`.
//!
//! Of each the median of some hundred runs. What is promised: `--version`, and `status` on a small ledger, in at most three
//! times the time of `/bin/true` and 5 ms; it ends with an error where that is not so.

#![expect(clippy::unwrap_used, reason = "a measurement that can't be made ends")]
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 300;
const PROGRAM: &str = env!("CARGO_BIN_EXE_didit-sync");

fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    let made = Command::new(PROGRAM).args(["demo", "--quiet", "--folder"]).arg(&demo).stdout(Stdio::null()).status();
    assert!(made.unwrap().success());
    let ledger = demo.join("ledger.db");
    let ledger = ledger.to_str().unwrap();
    let size = std::fs::metadata(PROGRAM).unwrap().len();
    println!("The program has {:.1} MiB.", size as f64 / f64::from(1 << 20));

    let commands: [(&str, &str, &[&str]); 3] = [
        ("/bin/true", "/bin/true", &[]),
        ("--version", PROGRAM, &["--version"]),
        ("status", PROGRAM, &["status", "--ledger", ledger]),
    ];
    // In turns, so that whatever else the machine does is in all of them.
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..RUNS {
        for (times, (_, program, args)) in times.iter_mut().zip(commands) {
            times.push(time(Path::new(program), args));
        }
    }
    let medians = times.map(|mut times| {
        times.sort();
        times[RUNS / 2]
    });
    let limit = medians[0] * 3 + Duration::from_millis(5);
    println!("{:<10} {:>9}  of the limit {:.2} ms", "", "median", millis(limit));
    for ((name, ..), median) in commands.iter().zip(medians) {
        println!("{name:<10} {:>6.2} ms  {:.2}", millis(median), median.as_secs_f64() / limit.as_secs_f64());
    }
    if medians.iter().all(|median| *median <= limit) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn time(program: &Path, args: &[&str]) -> Duration {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    assert!(command.status().unwrap().success(), "{args:?}");
    begin.elapsed()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
