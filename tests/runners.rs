//! Several runs on one ledger: they split the work, and whoever dies is replaced by whoever is left.
//!
//! They need a PostgreSQL, and are left out where there is none. The long form, which prints its figures:
//!
//! ```text
//! cargo test --test main runners:: -- --ignored --nocapture
//! ```

#![expect(clippy::print_stdout, reason = "a campaign prints its figures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use didit_sync::ledger::{Location, Lock, Purpose};
use didit_sync::sandbox::Config;
use postgres::Client;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::crash::{Moment, Round, TROUBLED, Tally, scene, seed, with_faults};
use crate::support::postgres::{Cluster, Database, cluster};
use crate::support::{Output, end_of, sandbox, wait_for};

/// The PostgreSQL of these tests; where there is none, that is said.
fn server() -> Option<&'static Cluster> {
    cluster()
}

/// The labels of a run, by outcome.
fn outcomes(document: &Value) -> BTreeMap<String, Vec<String>> {
    let mut by_outcome: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in document["imports"].as_array().unwrap() {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        by_outcome.entry(text("outcome")).or_default().push(text("id"));
    }
    by_outcome
}

/// A ledger's tables, made before any run.
fn make(database: &Database<'_>) -> Lock {
    let location = Location::parse(Path::new(&database.url()), false, &|name| std::env::var_os(name)).unwrap();
    Lock::take(&location, Purpose::Change, Duration::ZERO).unwrap()
}

/// How many sessions with a database wait for a lock.
const WAITING: &str = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

fn count(sql: &mut Client, of: &str) -> i64 {
    sql.query_one(&format!("SELECT count(*) FROM {of}"), &[]).unwrap().get(0)
}

#[test]
fn promise_4_runs_of_one_manifest_on_one_ledger_split_the_work() {
    let Some(server) = server() else { return };
    let (entries, database) = (120, server.database());
    let scene = scene(Config { faults: "import.latency=200ms..400ms".parse().unwrap(), ..sandbox(0) });
    let round = Round::new(&scene, "many", entries, 0, ", concurrency: 4").with_ledger(database.url());
    drop(make(&database));
    let (mut holds, mut looks) = (database.connect(), database.connect());
    let mut holding = holds.transaction().unwrap();
    holding.batch_execute("LOCK TABLE claims IN EXCLUSIVE MODE").unwrap();
    let children = [(); 3].map(|()| round.start(&[]));
    wait_for("the start of all", || count(&mut looks, WAITING) == 3);
    holding.commit().unwrap();
    let documents = children.map(|child| Output::of(child).exits(0).json());
    assert_eq!(scene.writes(), entries as u64, "each session was asked for once");
    let mut imported: Vec<String> = Vec::new();
    for document in &documents {
        let of_run = outcomes(document);
        let (mine, theirs) = (of_run["imported"].len(), of_run.get("unchanged").map_or(0, Vec::len));
        assert_eq!(mine + theirs, entries, "every run tells every entry: {of_run:?}");
        assert!(mine > 0, "a run had nothing to do");
        imported.extend(of_run["imported"].iter().cloned());
    }
    imported.sort_unstable();
    imported.dedup();
    assert_eq!(imported.len(), entries, "each was imported by one run");
    let mut tally = Tally::default();
    let output = Output::of(round.start(&[]));
    round.compare_settled(&mut tally, &output);
    tally.assert_promises_kept();
}

#[test]
fn promise_4_who_waits_for_longer_than_a_lease_works_all_the_same() {
    let Some(server) = server() else { return };
    let database = server.database();
    let scene = scene(sandbox(0));
    let round = Round::new(&scene, "late", 3, 0, "").with_ledger(database.url());
    let lock = make(&database);
    let waits = round.start(&[("DIDIT_SYNC_WAIT_LOCK", "60s".to_owned())]);
    let mut sql = database.connect();
    let mut forget = || sql.execute("DELETE FROM runners WHERE pid = $1", &[&i64::from(waits.id())]).unwrap();
    // As whoever comes next does, once its lease is over.
    wait_for("the runner that waits", || forget() == 1);
    drop(lock);
    Output::of(waits).exits(0);
    assert_eq!(scene.writes(), 3);
}

#[test]
fn promise_4_a_claim_that_is_cleared_away_while_it_is_taken_over_is_made_again() {
    let Some(server) = server() else { return };
    let database = server.database();
    let scene = scene(Config { faults: "import.latency=3s,list.latency=2s".parse().unwrap(), ..sandbox(0) });
    let round = Round::new(&scene, "taken", 1, 0, "").with_ledger(database.url());
    let mut dead = round.start(&[]);
    wait_for("its session", || scene.world.imported().len() == 1);
    dead.kill().unwrap();
    end_of(&mut dead);
    let (mut clears, mut looks) = (database.connect(), database.connect());
    // As whoever else finds that it is dead, at the same moment.
    let mut clearing = clears.transaction().unwrap();
    clearing.batch_execute("DELETE FROM claims").unwrap();
    let takes = round.start(&[]);
    wait_for("the run that takes it over", || count(&mut looks, WAITING) == 1);
    clearing.commit().unwrap();
    wait_for("the claim of the run that works on it", || count(&mut looks, "claims") == 1);
    Output::of(takes).exits(0);
    assert_eq!(["entries", "claims", "runners"].map(|of| count(&mut looks, of)), [1, 0, 0]);
}

/// Runs side by side, of which one after the other is killed and replaced.
fn campaign(server: &Cluster, entries: usize, runners: usize, kills: usize, seed: u64) -> Tally {
    println!("campaign of {runners} runners: DIDIT_SYNC_TEST_SEED={seed}");
    let database = server.database();
    let scene = scene(with_faults(TROUBLED));
    let round = Round::new(&scene, "many", entries, 0, ", concurrency: 6").with_ledger(database.url());
    let mut dice = StdRng::seed_from_u64(seed);
    let mut children: Vec<Child> = (0..runners).map(|_| round.start(&[])).collect();
    let mut killed = 0;
    while killed < kills {
        let at = dice.random_range(0..children.len());
        killed +=
            usize::from(Moment::draw(&mut dice, (entries / kills.max(1)) as u64 + 1).strike(&scene, &mut children[at]));
        let gone = children.iter_mut().all(|child| child.try_wait().unwrap().is_some());
        if gone {
            break;
        }
        children[at] = round.start(&[]);
    }
    for child in children {
        let output = Output::of(child);
        // Its last requests may all have been troubled.
        assert!(matches!(output.code, Some(0 | 6 | 69) | None), "{output:?}");
    }
    let mut tally = Tally::default();
    let output = Output::of(round.start(&[]));
    round.compare_settled(&mut tally, &output);
    println!("campaign of {runners} runners: {killed} killed; {}", tally.figures());
    assert!(killed > 0, "nobody was killed");
    tally
}

#[test]
fn promise_1_runners_that_are_killed_and_replaced_lose_nothing_and_make_nothing_twice() {
    let Some(server) = server() else { return };
    campaign(server, 200, 4, 8, seed()).assert_promises_kept();
}

#[test]
#[ignore = "takes minutes: cargo test --test main runners:: -- --ignored --nocapture"]
fn promise_1_four_runners_of_five_thousand_entries_lose_nothing_and_make_nothing_twice() {
    let Some(server) = server() else { return };
    campaign(server, 5000, 4, 100, seed()).assert_promises_kept();
}
