//! Promise 8 for disks: a full one, at every write of a small run, an audit, each repair, and of closing the ledger.
//!
//! The disk is full because the program's files may not grow past a limit: a write past it fails as on a full disk. The
//! log of the ledger grows by frames of 4120 bytes, so that limits 4096 bytes apart make the write of each frame fail in
//! some run; one request at a time keeps the writes in one order.

#![expect(clippy::print_stdout, reason = "a campaign prints its figures")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::support::{Output, Scene, file_only, sandbox};

/// Blocks of `ulimit -f` between two limits: 4096 bytes.
const STEP: u32 = 8;

/// Runs a command whose files may not grow past this many blocks of 512 bytes.
fn with_disk_of(blocks: u32, scene: &Scene, args: &[&str]) -> Output {
    let plain = scene.command(args);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""));
    shell.arg(plain.get_program()).args(args).env_clear().current_dir(plain.get_current_dir().unwrap());
    shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = Output::of(child);
    assert!(!ended.stderr.contains("panicked"), "{blocks} blocks: {}", ended.stderr);
    ended
}

/// What campaigns count.
#[derive(Debug, Default)]
struct Figures {
    runs: u32,
    /// Those that ended with 12.
    full: u32,
    /// Requests of runs whose disk was full.
    sent: u64,
}

/// Runs `once` with ever larger disks, on two threads, until one is large enough for five in a row.
fn every_disk(name: &str, step: u32, once: impl Fn(u32) -> (Option<i32>, u64) + Sync) -> Figures {
    let (next, enough) = (AtomicU32::new(0), AtomicU32::new(0));
    let figures = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while enough.load(Ordering::SeqCst) < 5 {
                    let blocks = next.fetch_add(step, Ordering::SeqCst);
                    assert!(blocks < 8000, "{name}: no disk is large enough");
                    let (code, sent) = once(blocks);
                    let mut figures = figures.lock().unwrap();
                    figures.runs += 1;
                    match code {
                        Some(0) => drop(enough.fetch_add(1, Ordering::SeqCst)),
                        Some(12) => {
                            figures.full += 1;
                            figures.sent += sent;
                        }
                        other => panic!("{name}, {blocks} blocks: exit {other:?}"),
                    }
                }
            });
        }
    });
    let figures = figures.into_inner().unwrap();
    println!(
        "{name}: {} runs, {} with a full disk, in which {} requests left",
        figures.runs, figures.full, figures.sent
    );
    figures
}

fn status(scene: &Scene) -> Value {
    scene.run(&["status", "--json"]).exits(0).json()
}

/// Attempts on record.
fn attempts(scene: &Scene) -> u64 {
    if !scene.ledger().exists() || scene.run(&["status", "--json"]).code == Some(12) {
        return 0;
    }
    let all = scene.sources();
    let ids: Vec<String> = all.iter().map(|source| source.id.to_string()).collect();
    let known = status(scene);
    let known: Vec<&str> =
        known["entries"].as_array().unwrap().iter().filter_map(|it| it["source_session_id"].as_str()).collect();
    let mut sum = 0;
    for id in ids.iter().filter(|id| known.contains(&id.as_str())) {
        let one = scene.run(&["status", id, "--json"]).exits(0).json();
        sum += one["entries"][0]["attempts"].as_array().map_or(0, Vec::len) as u64;
    }
    sum
}

/// Every session that the server made is told, by the ledger or by an open entry.
fn assert_accounted_for(scene: &Scene, document: &Value, blocks: u32) {
    let imported = scene.world.imported();
    if imported.is_empty() {
        return;
    }
    let status = status(scene);
    for session in imported {
        let source = session.source_id.to_string();
        let entries = status["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["source_session_id"] == source.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{blocks} blocks: {source} was sent without an intent"));
        let is_known = entry["session_id"] == session.session_id.to_string().as_str();
        assert!(is_known || entry["state"] == "sending" || entry["state"] == "unknown", "{blocks} blocks: {entry:#}");
        // What could not be recorded is told by the run that had it in hand.
        assert!(document.to_string().contains(&session.session_id.to_string()), "{blocks} blocks: {document:#}");
    }
}

/// An apply of three entries, one at a time, with their verification.
fn apply_with_disk_of(blocks: u32) -> (Option<i32>, u64) {
    let scene = Scene::new(sandbox(3));
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
    let limited = with_disk_of(blocks, &scene, &["apply", "m.yaml", "--yes", "--json"]);
    let document = limited.json();
    assert!(limited.code == Some(0) || limited.code == Some(12), "{blocks} blocks: {limited:?}");
    if limited.code == Some(12) {
        let message = document["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("can't be used") || message.contains("can't be written"),
            "{blocks} blocks: {message}"
        );
    }
    let sent = scene.writes();
    // No request left without an intent, and no intent is on record whose request did not leave.
    assert_eq!(attempts(&scene), sent, "{blocks} blocks");
    assert_accounted_for(&scene, &document, blocks);

    let done = scene.apply().exits(0).json();
    for entry in done["imports"].as_array().unwrap() {
        let source = entry["source_session_id"].as_str().unwrap().parse().unwrap();
        let truth = scene.imported_from(source).unwrap_or_else(|| panic!("{blocks} blocks: {entry:#}"));
        assert_eq!(entry["session_id"], truth.to_string().as_str(), "{blocks} blocks");
    }
    assert_eq!(scene.world.imported().len(), 3, "{blocks} blocks: a session was made twice");
    scene.run(&["ledger", "check"]).exits(0);
    (limited.code, sent)
}

#[test]
fn promise_8_a_disk_that_is_full_at_every_write_of_a_run_loses_nothing() {
    if file_only("the disk of the file") {
        return;
    }
    let figures = every_disk("apply", STEP, apply_with_disk_of);
    assert!(figures.full >= 40 && figures.sent > 20, "{figures:?}");
}

/// A scene whose ledger has three sessions, to be put back before each run.
struct Kept {
    scene: Scene,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Kept {
    fn new() -> Self {
        let scene = Scene::new(sandbox(3));
        scene.write_all();
        scene.apply().exits(0);
        let files = scene.bytes_under("state");
        Self { scene, files }
    }

    fn restore(&self) {
        std::fs::remove_dir_all(self.scene.path("state")).unwrap();
        std::fs::create_dir(self.scene.path("state")).unwrap();
        for (path, bytes) in &self.files {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// A command that only the ledger has to do with, at every disk: it is done, or it exits 12 and left what was there.
fn at_every_disk(
    name: &str,
    args: &[&str],
    is_done: impl Fn(&Value) -> bool + Sync,
    is_left: impl Fn(&Value) -> bool + Sync,
) {
    // Runs of one ledger, one after the other: each thread has its own.
    let scenes: Mutex<Vec<Kept>> = Mutex::new(vec![Kept::new(), Kept::new()]);
    let figures = every_disk(name, STEP, |blocks| {
        let kept = scenes.lock().unwrap().pop().unwrap();
        kept.restore();
        let limited = with_disk_of(blocks, &kept.scene, args);
        assert!(limited.code == Some(0) || limited.code == Some(12), "{name}, {blocks} blocks: {limited:?}");
        kept.scene.run(&["ledger", "check"]).exits(0);
        let after = status(&kept.scene);
        if limited.code == Some(0) {
            assert!(is_done(&after), "{name}, {blocks} blocks: {after:#}");
        } else {
            assert!(is_done(&after) || is_left(&after), "{name}, {blocks} blocks: {after:#}");
        }
        // Once there is room, it can be done.
        if name == "erase" && is_done(&after) && limited.code == Some(12) {
            assert!(limited.stderr.contains("ledger erase erased-1 "), "{blocks} blocks: {}", limited.stderr);
            kept.scene.run(&["ledger", "erase", "erased-1", "--reason", "request 1"]).exits(0);
        } else if name != "audit" && !(name == "erase" && limited.code == Some(0)) {
            kept.scene.run(args).exits(0);
        }
        if name == "erase" {
            let erased = kept.scene.sources()[0].id;
            let session = kept.scene.imported_from(erased).unwrap().to_string();
            kept.scene.assert_ledger_free_of(&[&erased.to_string(), &session]);
        }
        if name != "audit" {
            assert!(is_done(&status(&kept.scene)), "{name}, {blocks} blocks");
        }
        scenes.lock().unwrap().push(kept);
        (limited.code, 0)
    });
    assert!(figures.full >= 3, "{name}: {figures:?}");
}

fn count(document: &Value, state: &str) -> u64 {
    document["summary"][state].as_u64().unwrap_or_default()
}

const SESSION: &str = "20bb3c3b-6146-439f-84a4-bd30d00ac6a2";

#[test]
fn promise_8_a_disk_that_is_full_at_every_write_of_an_audit_changes_no_entry() {
    if file_only("the disk of the file") {
        return;
    }
    let unharmed = |after: &Value| count(after, "imported") == 3;
    at_every_disk("audit", &["audit", "--json"], unharmed, unharmed);
}

#[test]
fn promise_8_a_disk_that_is_full_at_every_write_of_a_repair_leaves_it_done_or_not_begun() {
    if file_only("the disk of the file") {
        return;
    }
    let left = |after: &Value| count(after, "imported") == 3;
    at_every_disk("forget", &["ledger", "forget", "e00", "--json"], |it| count(it, "expired") == 1, left);
    let adopted = |after: &Value| after.to_string().contains(SESSION);
    at_every_disk("adopt", &["ledger", "adopt", "e00", SESSION, "--json"], adopted, left);
}

#[test]
fn promise_8_a_disk_that_is_full_at_every_write_of_an_erasure_leaves_it_done_or_to_be_done_again() {
    if file_only("the disk of the file") {
        return;
    }
    let erased = |after: &Value| count(after, "erased") == 1;
    let left = |after: &Value| count(after, "imported") == 3;
    at_every_disk("erase", &["ledger", "erase", "e00", "--reason", "request 1", "--json"], erased, left);
}

#[test]
fn promise_8_a_backup_on_a_full_disk_leaves_no_half_of_one() {
    if file_only("the disk of the file") {
        return;
    }
    let kept = Kept::new();
    let mut full = 0;
    for blocks in (0..400).step_by(24) {
        let target = kept.scene.path("b.db");
        let limited = with_disk_of(blocks, &kept.scene, &["ledger", "backup", "b.db", "--json"]);
        if limited.code == Some(0) {
            kept.scene.run(&["ledger", "check", "--ledger", "b.db"]).exits(0);
            std::fs::remove_file(&target).unwrap();
            continue;
        }
        full += 1;
        assert_eq!(limited.json()["exit"]["name"], json!("ledger"), "{blocks} blocks");
        let names = std::fs::read_dir(kept.scene.path(".")).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["m.yaml", "state"], "{blocks} blocks");
    }
    assert!(full >= 3, "{full}");
}

#[test]
fn promise_8_a_disk_that_is_full_when_the_ledger_is_closed_loses_nothing() {
    if file_only("the disk of the file") {
        return;
    }
    let scene = Scene::new(sandbox(40));
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--json", "--limit", "38", "--no-verify"]).exits(8);
    // Beyond any reference to it, so that pages are written past the limit only by the checkpoint.
    let connection = rusqlite::Connection::open(scene.ledger()).unwrap();
    connection.execute("UPDATE runs SET reason = hex(zeroblob(400000))", []).unwrap();
    connection.execute_batch("INSERT INTO evidence SELECT NULL, id, run, 0, 'none', NULL, 'x' FROM entries").unwrap();
    drop(connection);
    let before = std::fs::metadata(scene.ledger()).unwrap().len();
    let mut left = 0;
    for blocks in [500, 700] {
        let done = with_disk_of(blocks, &scene, &["apply", "m.yaml", "--yes", "--json", "--limit", "1", "--no-verify"]);
        assert!(matches!(done.code, Some(0 | 8)), "{done:?}");
        left += u64::from(std::fs::metadata(scene.path("state/ledger.db-wal")).is_ok_and(|log| log.len() > 0));
        assert_eq!(done.json()["summary"]["imported"], 1);
        scene.run(&["ledger", "check"]).exits(0);
    }
    assert!(left > 0, "every checkpoint found room in a file of {before} bytes");
    assert_eq!(count(&status(&scene), "imported"), 40);
    scene.apply().exits(0);
    scene.run(&["ledger", "check"]).exits(0);
    assert_eq!(scene.world.imported().len(), 40);
}

/// A file system in memory over a scene's `state`, gone with it.
struct Small<'s>(&'s Scene);

impl<'s> Small<'s> {
    /// `None` where the machine does not let us mount one.
    fn new(scene: &'s Scene, bytes: u32) -> Option<Self> {
        std::fs::create_dir_all(scene.path("state")).unwrap();
        let small = Self(scene);
        small.mount(&["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"]).then_some(small)
    }

    fn mount(&self, options: &[&str]) -> bool {
        let mut mount = Command::new("mount");
        mount.args(options).arg(self.0.path("state")).stderr(Stdio::null());
        mount.status().is_ok_and(|ended| ended.success())
    }

    fn grow(&self) {
        assert!(self.mount(&["-o", "remount,size=64m"]));
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("state")).stderr(Stdio::null()).status();
    }
}

#[test]
fn promise_8_a_file_system_that_is_full_for_log_ledger_and_lock_together_loses_nothing() {
    if file_only("the disk of the file") {
        return;
    }
    let (mut full, mut done_at_once) = (0, 0);
    for pages in (1..200).step_by(8) {
        let scene = Scene::new(sandbox(3));
        scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
        let Some(small) = Small::new(&scene, pages * 4096) else {
            // Past the test's capture, so that it is seen.
            let _ = std::io::stderr().write_all(b"LEFT OUT: a full file system needs the right to mount one\n");
            return;
        };
        let limited = scene.run(&["apply", "m.yaml", "--yes", "--json"]);
        assert!(!limited.stderr.contains("panicked"), "{pages} pages: {}", limited.stderr);
        match limited.code {
            Some(0) => done_at_once += 1,
            Some(12) => full += 1,
            other => panic!("{pages} pages: exit {other:?} {} {}", limited.stdout, limited.stderr),
        }
        let document = limited.json();
        let told = document.to_string();
        for session in scene.world.imported() {
            assert!(told.contains(&session.session_id.to_string()), "{pages} pages: {document:#}");
        }
        small.grow();
        assert_eq!(attempts(&scene), scene.writes(), "{pages} pages: requests and intents");
        let done = scene.apply().exits(0).json();
        for entry in done["imports"].as_array().unwrap() {
            let source = entry["source_session_id"].as_str().unwrap().parse().unwrap();
            assert_eq!(entry["session_id"], json!(scene.imported_from(source)), "{pages} pages");
        }
        assert_eq!(scene.world.imported().len(), 3, "{pages} pages: a session was made twice");
        scene.run(&["ledger", "check"]).exits(0);
    }
    println!("a file system in memory: {full} runs found it full, {done_at_once} had room");
    assert!(full >= 5 && done_at_once >= 1, "{full} {done_at_once}");
}
