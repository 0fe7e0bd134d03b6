//! How fast sessions are imported and audited where nothing limits the rate, beside the same requests with nothing
//! around them: `cargo bench --bench import [-- --full | --python | --only import | --only audit]`.
//!
//! The sandbox, without limits, is a process of its own on the same machine. *bare* sends the same requests by the same
//! HTTP library over as many connections and reads every answer; it keeps nothing and looks at nothing. The program is
//! the whole process as users start it: it reads the manifest, plans, makes every intent and outcome durable, reports.
//! Both are measured in turns; each ratio is one of medians. *python* is `benches/plain_import.py`.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

mod bare;
mod world;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use world::{Ran, World};

/// Requests in flight, and so connections.
const CONCURRENCY: usize = 256;

/// Those of the script, which is slower with more.
const OF_SCRIPT: usize = 64;

fn main() {
    let asked: Vec<String> = std::env::args().collect();
    let has = |flag: &str| asked.iter().any(|it| it == flag);
    let only = asked.iter().position(|it| it == "--only").and_then(|at| asked.get(at + 1)).map(String::as_str);
    let (entries, sessions) = if has("--full") { (50_000, 100_000) } else { (5_000, 10_000) };
    if only != Some("audit") {
        import(entries, if has("--full") { 3 } else { 5 }, has("--python"));
    }
    if only != Some("import") {
        audit(sessions, 5);
    }
}

fn import(entries: usize, rounds: usize, with_python: bool) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut bare, mut ran) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let world = World::start(entries, CONCURRENCY);
        bare.push(bare::import(&runtime, &world, CONCURRENCY));
        let world = World::start(entries, CONCURRENCY);
        ran.push(world.run(&["apply", "m.yaml", "--yes", "--no-verify"]));
        assert_eq!(world.sessions().len(), entries, "every entry has its session");
    }
    let bare = median(bare);
    println!("import   entries  bare/s  program/s  of bare  the run/s  of bare  requests  MiB");
    let (process, run) = (median_of(&ran, |it| it.process), median_of(&ran, |it| it.run));
    println!(
        "         {entries:>7}  {:>6.0}  {:>9.0}  {:>6.1}%  {:>9.0}  {:>6.1}%  {:>8}  {:>3}",
        rate(entries, bare),
        rate(entries, process),
        percent(bare, process),
        rate(entries, run),
        percent(bare, run),
        ran.last().map_or(0, |it| it.requests),
        ran.iter().map(|it| it.memory).max().unwrap_or(0),
    );
    if with_python {
        python(entries.min(5_000), process.mul_f64(entries.min(5_000) as f64 / entries as f64));
    }
}

fn audit(sessions: usize, rounds: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = World::start(sessions, CONCURRENCY);
    world.run(&["apply", "m.yaml", "--yes", "--no-verify"]);
    let ids = world.sessions();
    let first = world.run(&["audit"]);
    let (mut bare, mut ran) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(bare::fetch(&runtime, &world, CONCURRENCY, &ids));
        ran.push(world.run(&["audit"]));
    }
    assert!(ran.iter().all(|it| it.checked == sessions as u64), "every session is checked");
    let bare = median(bare);
    println!("audit   sessions  bare/s  program/s  of bare  the run/s  of bare  first audit/s  of bare  MiB");
    let (process, run) = (median_of(&ran, |it| it.process), median_of(&ran, |it| it.run));
    println!(
        "        {sessions:>8}  {:>6.0}  {:>9.0}  {:>6.1}%  {:>9.0}  {:>6.1}%  {:>13.0}  {:>6.1}%  {:>3}",
        rate(sessions, bare),
        rate(sessions, process),
        percent(bare, process),
        rate(sessions, run),
        percent(bare, run),
        rate(sessions, first.process),
        percent(bare, first.process),
        ran.iter().map(|it| it.memory).max().unwrap_or(0),
    );
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn median_of(ran: &[Ran], time: impl Fn(&Ran) -> Duration) -> Duration {
    median(ran.iter().map(time).collect())
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn percent(bare: Duration, took: Duration) -> f64 {
    100.0 * bare.as_secs_f64() / took.as_secs_f64()
}
