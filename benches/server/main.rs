//! What a ledger on a server costs beside one in a file: `cargo bench --bench server [-- --full]`. It needs PostgreSQL, and
//! says so where there is none.
//!
//! The sandbox, without limits, and a PostgreSQL that makes every commit durable (`fsync = on`) run on the same machine.
//! Each row is a whole import by so many runs at the same time; the file's is measured in turns with it, and each ratio
//! is one of medians. A round trip is a request to the server that is waited for; they are counted on the wire, in a run
//! of its own.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

#[expect(dead_code, clippy::unwrap_used, reason = "it is the tests' own, who use more of it")]
#[path = "../../tests/support/postgres.rs"]
mod cluster;
mod wire;
#[expect(dead_code, reason = "another bench uses more of it")]
#[path = "../import/world.rs"]
mod world;

use std::time::{Duration, Instant};

use cluster::{Cluster, DURABLE};
use world::World;

/// Requests in flight of one run.
const CONCURRENCY: usize = 32;

fn main() {
    let is_full = std::env::args().any(|it| it == "--full");
    let (entries, rounds) = if is_full { (5_000, 3) } else { (1_000, 3) };
    let Some(server) = Cluster::own(DURABLE) else { return };
    println!("import of {entries}  runs  entries/s  of a file's");
    let (mut in_file, mut on_server) = (Vec::new(), vec![Vec::new(); RUNS.len()]);
    for _ in 0..rounds {
        in_file.push(import(&World::start(entries, CONCURRENCY), 1));
        for (runs, times) in RUNS.iter().zip(&mut on_server) {
            let database = server.database();
            let mut world = World::start(entries, CONCURRENCY);
            world.ledger = database.url();
            times.push(import(&world, *runs));
        }
    }
    let of_file = median(in_file);
    println!("file              1  {:>9.0}  {:>10.0}%", rate(entries, of_file), 100.0);
    for (runs, times) in RUNS.iter().zip(on_server) {
        let took = median(times);
        let share = 100.0 * of_file.as_secs_f64() / took.as_secs_f64();
        println!("PostgreSQL       {runs:>2}  {:>9.0}  {share:>10.0}%", rate(entries, took));
    }
    let (few, many) = (200, 1_200);
    let [before, after] = [few, many].map(|entries| {
        let database = server.database();
        let wire = wire::Wire::new(&database);
        let mut world = World::start(entries, CONCURRENCY);
        world.ledger = wire.url(&database);
        import(&world, 1);
        wire.counted()
    });
    let of_each = |before: u64, after: u64| (after - before) as f64 / (many - few) as f64;
    println!("an entry of one run: {:.1} round trips", of_each(before.round_trips, after.round_trips));
    println!("                     {:.2} transactions", of_each(before.commits, after.commits));
}

/// How many runs work side by side.
const RUNS: [usize; 3] = [1, 2, 4];

/// Has so many runs import everything, and waits for the last.
fn import(world: &World, runs: usize) -> Duration {
    let began = Instant::now();
    let started: Vec<_> = (0..runs).map(|_| world.begin(&["apply", "m.yaml", "--yes", "--no-verify"])).collect();
    for mut run in started {
        let ended = run.wait().expect("its end");
        assert!(ended.success(), "{ended}");
    }
    let took = began.elapsed();
    assert_eq!(world.sessions().len(), world.imports.len(), "every entry has its session");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn rate(entries: usize, took: Duration) -> f64 {
    entries as f64 / took.as_secs_f64()
}
