//! Promise 8 for clocks: one that jumps by a day, either way, in a run or between two. The program's clock is moved by
//! libfaketime; where that is not installed, the tests say that they leave out what needs it.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use didit_sync::didit::{ApiKey, Client};
use didit_sync::ledger::records::RecentRequests;
use didit_sync::ledger::{Ledger, LedgerFile};
use didit_sync::manifest::Limits;
use didit_sync::run::{Events, Lane, Means};
use didit_sync::sandbox::Config;
use didit_sync::token::FingerprintKey;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{Output, Scene, end_of, sandbox, wait_for};

const JUMPS: [&str; 2] = ["+86400", "-86400"];

/// Where libfaketime is, if it is installed.
fn library() -> Option<PathBuf> {
    let places = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let found =
        places.iter().map(|place| PathBuf::from(place).join("faketime/libfaketimeMT.so.1")).find(|it| it.exists());
    if found.is_none() {
        // Past the test's capture, so that it is seen.
        let _ = std::io::stderr()
            .write_all(b"LEFT OUT: a clock that jumps needs libfaketime (Debian: apt install libfaketime)\n");
    }
    found
}

/// The clock of the programs that are started with it.
struct Clock<'s> {
    scene: &'s Scene,
    library: PathBuf,
}

impl<'s> Clock<'s> {
    fn new(scene: &'s Scene, offset: &str) -> Option<Self> {
        let clock = Self { scene, library: library()? };
        clock.jump(offset);
        Some(clock)
    }

    /// Moves it, also for programs that run.
    fn jump(&self, offset: &str) {
        self.scene.write("clock.new", &format!("{offset}\n"));
        fs::rename(self.scene.path("clock.new"), self.scene.path("clock")).unwrap();
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.scene.command(args);
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.scene.path("clock"));
        command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
        command.spawn().unwrap()
    }
}

/// Every entry has the server's id, and the ledger is sound.
#[track_caller]
fn assert_all_right(scene: &Scene, what: &str, document: &serde_json::Value) {
    for row in document["imports"].as_array().unwrap() {
        let source = row["source_session_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(row["session_id"], json!(scene.imported_from(source)), "{what}: {document:#}");
    }
    scene.run(&["ledger", "check"]).exits(0);
}

#[test]
fn promise_8_a_clock_that_jumps_by_a_day_in_a_run_loses_nothing_and_expires_nothing() {
    for jump in JUMPS {
        for shows_source in [true, false] {
            let what = format!("{jump}, the source is {}", if shows_source { "shown" } else { "hidden" });
            let faults = "import.latency=60ms,import.lost-after=60%,list.latency=20ms".parse().unwrap();
            let scene = Scene::new(Config { faults, reads_show_source: shows_source, ..sandbox(14) });
            scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 2}\n"));
            let Some(clock) = Clock::new(&scene, "+0") else { return };
            let began = Instant::now();
            let apply = clock.start(&["apply", "m.yaml", "--yes", "--json"]);
            wait_for("some imports", || scene.world.imported().len() >= 3);
            clock.jump(jump);
            let done = Output::of(apply).exits(0);
            assert!(!done.stderr.contains("panicked"), "{what}: {}", done.stderr);
            let done = done.json();
            assert_eq!(scene.world.imported().len(), 14, "{what}: {done:#}");
            assert_all_right(&scene, &what, &done);
            assert_eq!(done["verification"]["findings"], json!([]), "{what}");
            let seconds = done["seconds"].as_f64().unwrap();
            assert!(seconds <= began.elapsed().as_secs_f64() + 0.1, "{what}: {seconds} s are counted");
            // And for whoever comes after it, by the right clock.
            let again = scene.apply().exits(0).json();
            assert_eq!(again["summary"]["unchanged"], 14, "{what}: {again:#}");
        }
    }
}

#[test]
fn promise_8_what_a_run_with_a_wrong_clock_left_open_is_resolved_by_the_right_one() {
    for shows_source in [true, false] {
        let scene = Scene::new(Config {
            faults: "import.hang-after=x1".parse().unwrap(),
            reads_show_source: shows_source,
            ..sandbox(3)
        });
        scene.write_all();
        let Some(clock) = Clock::new(&scene, "-86400") else { return };
        let mut apply = clock.start(&["apply", "m.yaml", "--yes", "--json"]);
        wait_for("an import", || !scene.world.imported().is_empty());
        apply.kill().unwrap();
        end_of(&mut apply);
        scene.write("m.yaml", &(scene.manifest("acme") + "limits: {timeout: 1s}\n"));
        let done = scene.apply().exits(0).json();
        assert_eq!(scene.world.imported().len(), 3, "{done:#}");
        assert_all_right(&scene, "a clock a day behind", &done);
    }
}

#[test]
fn promise_8_by_a_clock_that_is_a_day_ahead_nothing_is_sent_and_by_the_right_one_all_is() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    let Some(clock) = Clock::new(&scene, "+86400") else { return };
    let done = Output::of(clock.start(&["apply", "m.yaml", "--yes", "--json"])).exits(5).json();
    assert_eq!((&done["summary"]["expired"], scene.writes()), (&json!(2), 0));
    let done = scene.apply().exits(0).json();
    assert_eq!(done["summary"]["imported"], 2, "{done:#}");
    assert_all_right(&scene, "a clock a day ahead", &done);
}

#[test]
fn promise_8_a_wait_for_the_lock_is_as_long_as_asked_whatever_the_clock_says() {
    for jump in JUMPS {
        let scene = Scene::new(sandbox(1));
        scene.write_all();
        let lock = scene.hold();
        let Some(clock) = Clock::new(&scene, "+0") else { return };
        let began = Instant::now();
        let waiter = clock.start(&["apply", "m.yaml", "--yes", "--json", "--wait-lock", "2s"]);
        std::thread::sleep(Duration::from_millis(700));
        clock.jump(jump);
        Output::of(waiter).exits(11);
        assert!((Duration::from_secs(2)..Duration::from_secs(12)).contains(&began.elapsed()), "{:?}", began.elapsed());
        drop(lock);
    }
}

/// A lane that nothing was sent on, and the folder of its ledger.
fn lane() -> (Lane, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let location = LedgerFile { path: folder.path().join("ledger.db"), allow_network_fs: false };
    let means = Means::new(Ledger::open_for_simulation(&location).unwrap(), Events::none());
    let base = "http://127.0.0.1:9".parse().unwrap();
    let key = ApiKey::parse(crate::support::fake::KEY).unwrap();
    let fingerprint = key.fingerprint(&FingerprintKey::from_bytes([7; 32]));
    let client = Client::new(&base, key, Duration::from_secs(1)).unwrap();
    (Lane::new(client, fingerprint, base.to_string(), Limits::default(), means), folder)
}

#[tokio::test(start_paused = true)]
async fn promise_8_requests_recorded_in_the_future_are_counted_and_hold_nobody_for_more_than_a_minute() {
    let now = Timestamp::now();
    let tomorrow = now + SignedDuration::from_hours(24);
    for (at, least, most) in [(tomorrow, 59, 61), (now, 59, 61), (now - SignedDuration::from_hours(24), 0, 1)] {
        let (lane, _folder) = lane();
        let full = vec![at; lane.limits.writes_per_minute as usize];
        lane.recall(&RecentRequests { writes: full, reads: Vec::new() }, now);
        let began = tokio::time::Instant::now();
        drop(lane.writes.acquire().await);
        let waited = began.elapsed().as_secs();
        assert!((least..=most).contains(&waited), "{at}: {waited} s");
    }
}
