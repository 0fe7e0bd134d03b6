//! Promises 6 and 8 for the ledger's files: whose they are, where they may be, and what becomes of a run when somebody
//! takes them away.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use didit_sync::sandbox::Config;
use serde_json::{Value, json};

use crate::support::program::contains;
use crate::support::{Output, Scene, end_of, file_only, sandbox, wait_for};

/// Every session of the server stands in a document, by its id.
#[track_caller]
fn assert_all_told(scene: &Scene, document: &Value) {
    let text = document.to_string();
    for session in scene.world.imported() {
        assert!(text.contains(&session.session_id.to_string()), "{} is not told: {document:#}", session.session_id);
    }
}

/// An apply of many entries, some of them imported before, under which `harm` comes to the ledger's files once some more
/// are imported.
fn harmed(harm: impl Fn(&Path)) -> (Scene, Value) {
    let scene = Scene::new(Config { faults: "import.latency=200ms".parse().unwrap(), ..sandbox(40) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 3}\n"));
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "5"]).exits(8);
    let apply =
        scene.start(&["apply", "m.yaml", "--yes", "--json", "--report", "json=r.json", "--report", "csv=r.csv"]);
    wait_for("some imports", || scene.world.imported().len() >= 12);
    harm(&scene.ledger());
    let done = Output::of(apply).exits(12);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    let done = done.json();
    assert_eq!(done["format"], "didit-sync/apply.v1");
    let message = done["error"]["message"].as_str().unwrap();
    assert!(message.contains("was removed or replaced") && message.contains("keep this output"), "{message}");
    // What was under way, and no more: one request for each place among those in flight, before and while it was seen.
    assert!(scene.writes() < 30, "{} requests after the harm", scene.writes());
    assert_all_told(&scene, &done);
    assert_eq!(serde_json::from_str::<Value>(&scene.read("r.json")).unwrap(), done);
    assert_eq!(scene.read("r.csv").lines().count(), 41);
    (scene, done)
}

fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", ledger.display()))
}

/// The next run settles every entry by the server's truth.
fn assert_goes_on(scene: &Scene) {
    scene.write_all();
    let done = scene.apply().exits(0).json();
    for row in done["imports"].as_array().unwrap() {
        let source = row["source_session_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(row["session_id"], json!(scene.imported_from(source).unwrap()), "{row:#}");
    }
    assert_eq!(scene.world.imported().len(), 40);
    scene.run(&["ledger", "check"]).exits(0);
}

#[test]
fn promise_8_a_ledger_deleted_under_a_run_ends_it_with_every_session_told_and_saved() {
    if file_only("the ledger's files") {
        return;
    }
    let (scene, done) = harmed(|ledger| fs::remove_file(ledger).unwrap());
    assert!(!scene.ledger().exists());
    let message = done["error"]["message"].as_str().unwrap();
    let saved = message.split("all that it held is in ").nth(1).unwrap().split(';').next().unwrap();
    let status = scene.run(&["status", "--json", "--ledger", saved]).exits(0).json();
    let imported = done["imports"].as_array().unwrap().iter().filter(|row| row["outcome"] == "imported").count();
    assert!(status["entries"].as_array().unwrap().len() >= imported && imported > 0);
    // Put back where it was, it goes on.
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(&scene.ledger(), suffix));
    }
    fs::rename(scene.path(saved), scene.ledger()).unwrap();
    assert_goes_on(&scene);
}

#[test]
fn promise_8_without_the_deleted_ledger_the_next_run_finds_every_session() {
    if file_only("the ledger's files") {
        return;
    }
    let (scene, _) = harmed(|ledger| fs::remove_dir_all(ledger.parent().unwrap()).unwrap());
    assert_goes_on(&scene);
}

#[test]
fn promise_8_a_ledger_replaced_under_a_run_is_not_written_to() {
    if file_only("the ledger's files") {
        return;
    }
    let other = Scene::new(sandbox(1));
    other.write_all();
    other.apply().exits(0);
    let bytes = fs::read(other.ledger()).unwrap();
    let (scene, _) = harmed(|ledger| {
        let copy = beside(ledger, ".copy");
        fs::write(&copy, &bytes).unwrap();
        fs::rename(&copy, ledger).unwrap();
    });
    assert!(fs::read(scene.ledger()).unwrap() == bytes, "the other ledger was written to");
}

#[test]
fn promise_8_a_log_or_lock_deleted_under_a_run_ends_it_and_nothing_is_lost() {
    if file_only("the ledger's files") {
        return;
    }
    for suffix in ["-wal", "-shm", ".lock"] {
        let (scene, _) = harmed(|ledger| fs::remove_file(beside(ledger, suffix)).unwrap());
        assert_goes_on(&scene);
    }
}

#[test]
fn promise_8_a_ledger_deleted_under_an_audit_ends_it() {
    if file_only("the ledger's files") {
        return;
    }
    let scene = Scene::new(Config { faults: "decision.latency=2s".parse().unwrap(), ..sandbox(3) });
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify"]).exits(0);
    let reads = scene.world.counts().requests;
    let audit = scene.start(&["audit", "--json"]);
    wait_for("a read", || scene.world.counts().requests > reads + 1);
    fs::remove_file(scene.ledger()).unwrap();
    let done = Output::of(audit).exits(12).json();
    assert_eq!((&done["format"], &done["exit"]["name"]), (&json!("didit-sync/audit.v1"), &json!("ledger")));
}

/// Runs the program as somebody whom permissions bind: root's are those of another user.
fn as_somebody(scene: &Scene, args: &[&str]) -> Output {
    let mut command = scene.command(args);
    if rustix::process::geteuid().is_root() {
        // The program may stand where others can't reach it.
        let copy = scene.path("program");
        if !copy.exists() {
            fs::copy(command.get_program(), &copy).unwrap();
        }
        let mut bound = Command::new("setpriv");
        bound.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(copy).args(args);
        bound.env_clear().current_dir(command.get_current_dir().unwrap());
        bound.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command = bound;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    Output::of(command.spawn().unwrap_or_else(|error| panic!("setpriv (util-linux) is needed as root: {error}")))
}

/// A ledger with two sessions, one entry more, and everything somebody's own.
fn scene_of_somebody() -> Scene {
    let scene = Scene::new(sandbox(3));
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "2"]).exits(8);
    if rustix::process::geteuid().is_root() {
        for path in [".", "m.yaml", "state", "state/ledger.db", "state/ledger.db.lock"] {
            chown(scene.path(path), Some(65534), Some(65534)).unwrap();
        }
    }
    scene
}

fn allow(scene: &Scene, name: &str, mode: u32) {
    fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn promise_8_a_read_only_ledger_or_folder_is_told_before_anything_is_sent() {
    if file_only("the ledger's files") {
        return;
    }
    // Ledger, lock, folder.
    for modes in [(0o400, 0o600, 0o700), (0o600, 0o600, 0o500), (0o400, 0o600, 0o500), (0o600, 0o400, 0o700)] {
        let scene = scene_of_somebody();
        let before = scene.bytes_under("state");
        allow(&scene, "state/ledger.db", modes.0);
        allow(&scene, "state/ledger.db.lock", modes.1);
        allow(&scene, "state", modes.2);
        let diagnosis = as_somebody(&scene, &["doctor", "m.yaml"]).exits(12).stdout;
        assert!(diagnosis.contains("error    ledger-folder state/ledger.db"), "{modes:?} {diagnosis}");
        let requests = scene.world.counts().requests;
        let apply = as_somebody(&scene, &["apply", "m.yaml", "--yes", "--json"]).exits(12);
        assert!(apply.stderr.contains("correct the permissions"), "{modes:?} {}", apply.stderr);
        assert_eq!(apply.json()["exit"]["name"], "ledger", "{modes:?}");
        as_somebody(&scene, &["ledger", "forget", "e00"]).exits(12);
        if modes.1 == 0o600 {
            as_somebody(&scene, &["audit"]).exits(12);
        }
        // Reading goes on.
        as_somebody(&scene, &["status"]).exits(0);
        as_somebody(&scene, &["ledger", "check"]).exits(0);
        assert_eq!(as_somebody(&scene, &["plan", "m.yaml", "--json"]).exits(0).json()["summary"]["unchanged"], 2);
        allow(&scene, "state", 0o700);
        assert_eq!(scene.world.counts().requests, requests, "{modes:?}: something was sent");
        for (path, bytes) in &before {
            let is_lock = path.extension().is_some_and(|extension| extension == "lock");
            assert!(is_lock || fs::read(path).unwrap() == *bytes, "{modes:?}: {} changed", path.display());
        }
        allow(&scene, "state/ledger.db", 0o600);
        allow(&scene, "state/ledger.db.lock", 0o600);
        as_somebody(&scene, &["apply", "m.yaml", "--yes", "--json"]).exits(0);
    }
}

#[test]
fn promise_8_a_folder_where_no_ledger_can_be_made_is_told_before_anything_is_sent() {
    if file_only("the ledger's files") {
        return;
    }
    let scene = scene_of_somebody();
    let requests = scene.world.counts().requests;
    fs::create_dir(scene.path("closed")).unwrap();
    allow(&scene, "closed", 0o555);
    for ledger in ["closed/ledger.db", "closed/deeper/ledger.db", "m.yaml/ledger.db"] {
        let told = as_somebody(&scene, &["apply", "m.yaml", "--yes", "--json", "--ledger", ledger]).exits(12);
        assert!(told.json()["error"]["message"].as_str().unwrap().contains(ledger), "{}", told.stdout);
    }
    assert_eq!(scene.world.counts().requests, requests);
}

#[test]
fn promise_6_every_file_of_the_ledger_is_its_owners_only_whatever_the_mask() {
    if file_only("the ledger's files") {
        return;
    }
    let scene = Scene::new(Config { faults: "import.latency=1s".parse().unwrap(), ..sandbox(2) });
    scene.write_all();
    let mut shell = Command::new("/bin/sh");
    let apply = scene.command(&["apply", "m.yaml", "--yes"]);
    shell.arg("-c").arg("umask 000; exec \"$0\" \"$@\"").arg(apply.get_program()).args(apply.get_args());
    shell.env_clear().current_dir(apply.get_current_dir().unwrap());
    shell.envs(apply.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("a request", || scene.writes() > 0);
    let assert_private = |names: &[&str]| {
        for name in names {
            let mode = fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}: {mode:o}");
        }
    };
    assert_private(&["state/ledger.db", "state/ledger.db-wal", "state/ledger.db-shm", "state/ledger.db.lock"]);
    assert!(end_of(&mut child).success());
    scene.run(&["audit"]).exits(0);
    scene.run(&["ledger", "backup", "copy.db"]).exits(0);
    assert_private(&["state/ledger.db", "state/ledger.db.lock", "state/ledger.db.audit.lock", "copy.db"]);
}

#[test]
fn promise_6_a_required_ledger_that_is_missing_is_told_and_none_is_made() {
    if file_only("the ledger's files") {
        return;
    }
    let scene = Scene::new(sandbox(1));
    scene.write_all();
    let told = scene.run(&["apply", "m.yaml", "--yes", "--json", "--require-ledger"]).exits(12).json();
    assert!(told["error"]["message"].as_str().unwrap().contains("there is no ledger at state/ledger.db"));
    assert!(!scene.path("state").exists());
    assert_eq!(scene.world.counts().requests, 0);
    scene.apply().exits(0);
    scene.run(&["apply", "m.yaml", "--yes", "--require-ledger"]).exits(0);
    let bytes = fs::read(scene.ledger()).unwrap();
    assert!(contains(&bytes, "DSYN"), "the mark of a ledger");
}
