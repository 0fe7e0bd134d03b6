//! How fast sessions are imported and audited where nothing limits the rate, beside the same requests with nothing
//! around them: `cargo bench --bench import [-- --full | --python | --only import | --only audit]`. `DIDIT_SYNC_BENCH_ENTRIES`
//! says how many there are to import, or to audit, `DIDIT_SYNC_BENCH_ROUNDS` how many turns are taken (7), and
//! `DIDIT_SYNC_BENCH_CONCURRENCY` how many requests are in flight (256).
//!
//! The sandbox, without limits, is a process of its own on the same machine. *bare* sends the same requests by the same
//! HTTP library over as many connections and reads every answer; it keeps nothing and looks at nothing. The program is
//! the whole process as users start it: it reads the manifest, plans, makes every intent and outcome durable, reports.
//! Both are measured in turns, so that a machine that is now faster and now slower is so for both: a share is that of each
//! turn, and the median of these is told. *python* is `benches/plain_import.py`.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

mod bare;
mod world;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use world::{Ran, World};

/// Requests in flight, and so connections, unless another number is asked for.
const CONCURRENCY: usize = 256;

/// Those of the script, which is slower with more.
const OF_SCRIPT: usize = 64;

fn main() {
    let asked: Vec<String> = std::env::args().collect();
    let has = |flag: &str| asked.iter().any(|it| it == flag);
    let only = asked.iter().position(|it| it == "--only").and_then(|at| asked.get(at + 1)).map(String::as_str);
    let (entries, sessions) = if has("--full") { (50_000, 100_000) } else { (5_000, 10_000) };
    let (entries, sessions) = (number("ENTRIES", entries), number("ENTRIES", sessions));
    if only != Some("audit") {
        import(entries, has("--python"));
    }
    if only != Some("import") {
        audit(sessions);
    }
}

/// `DIDIT_SYNC_BENCH_{name}`, else `usual`.
fn number(name: &str, usual: usize) -> usize {
    let asked = std::env::var(format!("DIDIT_SYNC_BENCH_{name}"));
    asked.map_or(usual, |asked| asked.replace('_', "").parse().expect("a number"))
}

fn import(entries: usize, with_python: bool) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let concurrency = number("CONCURRENCY", CONCURRENCY);
    let turns = Turns::new(|| {
        let world = World::start(entries, concurrency);
        let bare = bare::import(&runtime, &world, concurrency);
        let world = World::start(entries, concurrency);
        let ran = world.run(&["apply", "m.yaml", "--yes", "--no-verify"]);
        assert_eq!(world.sessions().len(), entries, "every entry has its session");
        (bare, ran)
    });
    println!("import   entries  bare/s  program/s  of bare  the run/s  of bare  requests  MiB");
    println!("         {entries:>7}  {}  {:>8}  {:>3}", turns.row(entries), turns.last().requests, turns.memory());
    if with_python {
        let few = entries.min(5_000);
        python(few, turns.median(|ran| ran.process).mul_f64(few as f64 / entries as f64));
    }
}

fn audit(sessions: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let concurrency = number("CONCURRENCY", CONCURRENCY);
    let world = World::start(sessions, concurrency);
    world.run(&["apply", "m.yaml", "--yes", "--no-verify"]);
    let ids = world.sessions();
    let first = world.run(&["audit"]);
    let turns = Turns::new(|| (bare::fetch(&runtime, &world, concurrency, &ids), world.run(&["audit"])));
    assert!(turns.0.iter().all(|(_, ran)| ran.checked == sessions as u64), "every session is checked");
    println!("audit   sessions  bare/s  program/s  of bare  the run/s  of bare  first audit/s  MiB");
    let first = rate(sessions, first.process);
    println!("        {sessions:>8}  {}  {first:>13.0}  {:>3}", turns.row(sessions), turns.memory());
}

/// What was measured, turn by turn: the bare requests, and the program.
struct Turns(Vec<(Duration, Ran)>);

impl Turns {
    fn new(mut turn: impl FnMut() -> (Duration, Ran)) -> Self {
        Self((0..number("ROUNDS", 7)).map(|_| turn()).collect())
    }

    fn last(&self) -> &Ran {
        &self.0[self.0.len() - 1].1
    }

    fn memory(&self) -> u64 {
        self.0.iter().map(|(_, ran)| ran.memory).max().unwrap_or(0)
    }

    fn median(&self, time: impl Fn(&Ran) -> Duration) -> Duration {
        median(self.0.iter().map(|(_, ran)| time(ran)).collect())
    }

    /// The rates of bare requests, of the whole process and of the run, the latter two with their shares of the first.
    fn row(&self, count: usize) -> String {
        let bare = median(self.0.iter().map(|(bare, _)| *bare).collect());
        let of_program = |time: fn(&Ran) -> Duration| {
            let shares = self.0.iter().map(|(bare, ran)| bare.div_duration_f64(time(ran))).collect();
            format!("{:>9.0}  {:>6.1}%", rate(count, self.median(time)), 100.0 * median::<f64>(shares))
        };
        format!("{:>6.0}  {}  {}", rate(count, bare), of_program(|ran| ran.process), of_program(|ran| ran.run))
    }
}

/// The script that somebody would write, in an environment made for it.
fn python(entries: usize, program: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(interpreter) = environment(folder.path()) else {
        println!("python   not measured: no virtual environment with httpx could be made");
        return;
    };
    let world = World::start(entries, CONCURRENCY);
    let begun = Instant::now();
    let status = Command::new(interpreter)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plain_import.py"))
        .args(["entries.ndjson", "plain.db", &OF_SCRIPT.to_string()])
        .current_dir(world.path())
        .env("DIDIT_API_KEY", world.variable("DIDIT_API_KEY"))
        .env("DIDIT_BASE_URL", world.variable("DIDIT_BASE_URL"))
        .stdout(Stdio::null())
        .status();
    let took = begun.elapsed();
    if !status.is_ok_and(|status| status.success()) {
        println!("python   not measured: the script failed");
        return;
    }
    println!(
        "python   {entries} entries  {:.0}/s; the program is {:.1} times as fast",
        rate(entries, took),
        took.as_secs_f64() / program.as_secs_f64()
    );
}

/// A virtual environment with httpx; its interpreter.
fn environment(folder: &Path) -> Option<std::path::PathBuf> {
    let venv = folder.join("venv");
    let ran = |command: &mut Command| command.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let interpreter = venv.join("bin/python");
    let installed = made && ran(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "httpx"]));
    installed.then_some(interpreter)
}

fn median<T: PartialOrd + Copy>(mut all: Vec<T>) -> T {
    all.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    all[all.len() / 2]
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
