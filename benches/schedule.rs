//! How close runs come to the best schedule that there can be, in simulated time:
//! `cargo bench --bench schedule [-- --quick | --day | --fleet]`: all of it, a smaller form, the day alone, or what many
//! runners make of one budget that they share.
//!
//! The API counts 300 writes and 600 reads in any 60 seconds, on arrival. A request is 20 to 120 ms on its way in each
//! direction, and the API works up to 3 s on an import. *best* is the schedule of a client that knows of each request
//! only when it left and when it was answered (`simulation::best_schedule`), *windows* is `60 * floor((N-1)/300)` s.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use didit_sync::sandbox::{Config, Sandbox, write_manifest};
use didit_sync::simulation::fleet::{self, Fleet, Worker};
use didit_sync::simulation::{Minting, Outcome, Scenario, Spell, best_schedule, play};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::{Builder, Runtime};

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn played(scenario: &Scenario) -> (Outcome, Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let outcome = play(scenario, folder.path(), paused).expect("a ledger");
    (outcome, begun.elapsed())
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    if std::env::args().any(|arg| arg == "--day") {
        return a_day(432_000);
    }
    if std::env::args().any(|arg| arg == "--fleet") {
        return fleets();
    }
    sizes();
    restarts(if quick { 1 } else { 5 });
    strangers();
    minting();
    fleets();
    a_day(if quick { 30_000 } else { 432_000 });
    if !quick {
        over_http(900);
    }
}

/// Each number of entries: how long the writes took.
fn sizes() {
    println!("entries  in flight  windows s  best s    took s    best/took  429  longest round trip s");
    for entries in [1, 299, 300, 301, 1500, 10_000] {
        for concurrency in [32, 700] {
            let (outcome, _) = played(&Scenario { entries, concurrency, ..Scenario::default() });
            row(entries, concurrency, &outcome);
        }
    }
}

fn row(entries: usize, concurrency: u32, outcome: &Outcome) {
    let best = best_schedule(&outcome.round_trips, 300, concurrency).as_secs_f64();
    let took = outcome.importing.as_secs_f64();
    let longest = outcome.round_trips.iter().max().copied().unwrap_or_default().as_secs_f64();
    let refused = outcome.traffic.writes_refused + outcome.traffic.reads_refused;
    let windows = 60 * (entries.saturating_sub(1) / 300);
    let ratio = 100.0 * best / took;
    println!(
        "{entries:>7}  {concurrency:>9}  {windows:>9}  {best:<8.1}  {took:<8.1}  {ratio:>8.2}%  {refused:>3}  {longest:.2}"
    );
}

/// A run of 10,000 that dies twenty times.
fn restarts(seeds: u64) {
    println!("\n10,000 entries, 20 deaths at random moments");
    println!("seed  undisturbed s  took s   longer  allowed (1% + 20 round trips) s  429  imported");
    for seed in 1..=seeds {
        let scenario = Scenario { entries: 10_000, seed, ..Scenario::default() };
        let (undisturbed, _) = played(&scenario);
        let mut dice = StdRng::seed_from_u64(seed);
        let whole = undisturbed.took.as_millis() as u64;
        let mut crashes: Vec<_> = (0..20).map(|_| Duration::from_millis(dice.random_range(0..whole))).collect();
        crashes.sort();
        let (outcome, _) = played(&Scenario { crashes, ..scenario });
        let longest = undisturbed.round_trips.iter().max().copied().unwrap_or_default();
        let allowed = undisturbed.took.mul_f64(0.01) + longest * 20;
        let longer = outcome.took.saturating_sub(undisturbed.took);
        println!(
            "{seed:>4}  {:>13.1}  {:>6.1}  {:>6.1}  {:>31.1}  {:>3}  {}",
            undisturbed.took.as_secs_f64(),
            outcome.took.as_secs_f64(),
            longer.as_secs_f64(),
            allowed.as_secs_f64(),
            outcome.traffic.writes_refused + outcome.traffic.reads_refused,
            outcome.imported,
        );
    }
}

/// Somebody else takes half the budget, and comes and goes every ten minutes.
fn strangers() {
    println!("\n10,000 entries beside a stranger who writes 150 times a minute, on and off every ten minutes");
    println!("seed  minutes  stranger's  left for us  used    429  imported");
    for seed in 1..=3 {
        let spell = |n: u64| {
            let from = Duration::from_secs(1200 * n + 300);
            Spell { from, until: from + Duration::from_secs(600), per_minute: 150 }
        };
        let stranger = (0..4).map(spell).collect();
        let scenario = Scenario { entries: 10_000, stranger, verify: false, seed, ..Scenario::default() };
        let (outcome, _) = played(&scenario);
        let minutes = outcome.importing.as_secs_f64() / 60.0;
        let left = 300.0 * minutes - outcome.traffic.of_stranger as f64;
        println!(
            "{seed:>4}  {minutes:>7.1}  {:>10}  {left:>11.0}  {:>5.1}%  {:>3}  {}",
            outcome.traffic.of_stranger,
            100.0 * outcome.traffic.writes as f64 / left,
            outcome.traffic.writes_refused,
            outcome.imported,
        );
    }
}

/// Tokens minted by the run itself, by a key that may as much as the receiver's, and by one that may less.
fn minting() {
    println!("\n3,000 entries whose tokens are minted just before their import, and live a minute");
    println!("partner's limit  windows s  took s  minted  429  longest wait of a token s  imported");
    for writes_per_minute in [300, 200] {
        let minting = Some(Minting { writes_per_minute, ttl: Duration::from_secs(60) });
        let (outcome, _) = played(&Scenario { entries: 3000, minting, ..Scenario::default() });
        println!(
            "{writes_per_minute:>15}  {:>9}  {:>6.1}  {:>6}  {:>3}  {:>26.2}  {}",
            60 * (2999 / writes_per_minute),
            outcome.importing.as_secs_f64(),
            outcome.traffic.minted,
            outcome.traffic.writes_refused + outcome.traffic.mints_refused,
            outcome.longest_wait.as_secs_f64(),
            outcome.imported,
        );
    }
}

/// Many runners on one budget of 300 a minute, each with more to do than it can send. The first window opens whole, so the
/// share is of the time after ten minutes. *best* is what a client can use that knows when each request left and when it
/// was answered: a slot is taken for 60 seconds and a round trip.
fn fleets() {
    const LIMIT: u32 = 300;
    let (from, until) = (Duration::from_secs(600), Duration::from_secs(6 * 3600));
    println!("\nsix hours of runners that share one budget of {LIMIT} a minute through the ledger");
    println!(
        "answers after s  runners    best  limit used  429  exchanges a minute  requests of each runner, least and most"
    );
    for work in [0_u32, 3, 30] {
        for runners in [1, 2, 4, 8] {
            let worker = Worker { concurrency: if work > 3 { 256 } else { 32 }, ..Worker::busy() };
            let played = fleet::play(&Fleet {
                limit: LIMIT,
                lasts: until,
                runners: vec![worker; runners],
                work: Duration::from_secs(work.into()),
                ..Fleet::default()
            });
            println!(
                "{work:>15}  {runners:>7}  {:>5.2}%  {:>9.2}%  {:>3}  {:>18.1}  {:>6} {:>6}",
                100.0 * 60.0 / (60.0 + 0.14 + f64::from(work) / 2.0),
                100.0 * played.used(LIMIT, from, until),
                played.refused,
                played.exchanges as f64 * 60.0 / until.as_secs_f64(),
                played.by_runner.iter().min().copied().unwrap_or_default(),
                played.by_runner.iter().max().copied().unwrap_or_default(),
            );
        }
    }
}

/// A day of writes, verified as they come.
fn a_day(entries: usize) {
    let before = memory();
    let ended = AtomicBool::new(false);
    let ((outcome, real), samples) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch_memory(&ended));
        let played = played(&Scenario { entries, ..Scenario::default() });
        ended.store(true, Ordering::Relaxed);
        (played, watch.join().expect("samples"))
    });
    let (hours, seconds) = (outcome.took.as_secs_f64() / 3600.0, real.as_secs_f64());
    println!("\n{entries} entries, {hours:.2} hours in {seconds:.0} s of real time");
    println!("entries  in flight  windows s  best s    took s    best/took  429  longest round trip s");
    row(entries, 32, &outcome);
    let at = |percent: usize| samples.get(samples.len() * percent / 100).copied().unwrap_or(0);
    println!(
        "{} verified; memory in MB before {before}, after 10 % of the time {}, 30 % {}, 50 % {}, 70 % {}, 90 % {}",
        outcome.verified,
        at(10),
        at(30),
        at(50),
        at(70),
        at(90),
    );
}

/// The memory of this process, ten times a second.
fn watch_memory(ended: &AtomicBool) -> Vec<u64> {
    let mut samples = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        samples.push(memory());
        std::thread::sleep(Duration::from_millis(100));
    }
    samples
}

/// The program itself, over real HTTP against the sandbox with Didit's limits.
fn over_http(entries: usize) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), sessions: entries, ..Config::default() };
    let running = runtime.block_on(Sandbox::start(config)).expect("a sandbox");
    write_manifest(&running, &folder.path().join("m.yaml")).expect("a manifest");
    let begun = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_didit-sync"))
        .args(["apply", "m.yaml", "--yes", "--quiet", "--progress", "none"])
        .current_dir(folder.path())
        .envs(running.environment())
        .stdout(Stdio::null())
        .status()
        .expect("the program");
    let took = begun.elapsed().as_secs_f64();
    let world = running.world();
    let counts = world.counts();
    println!("\n{entries} entries at 300 a minute over HTTP, the whole process with its verification");
    println!("windows s  took s  429  imported  writes  reads  exit");
    println!(
        "{:>9}  {took:>6.1}  {:>3}  {:>8}  {:>6}  {:>5}  {}",
        60 * ((entries - 1) / 300),
        world.throttled(),
        world.imported().len(),
        counts.writes,
        counts.reads,
        status.code().unwrap_or(-1),
    );
}

/// In MB, of this process now.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
