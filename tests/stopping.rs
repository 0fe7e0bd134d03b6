//! Promise 7: Ctrl-C and SIGTERM, at every stage of a command.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::process::Child;
use std::time::{Duration, Instant};

use didit_sync::sandbox::Config;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ledger::is_postgres;
use crate::support::program::Folder;
use crate::support::terminal::{on_terminal, terminal};
use crate::support::{Output, Scene, sandbox, signal, wait_for};

const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

/// Sends a signal to a program that waits for something, and expects it to end at once with nothing begun.
fn ends_at_once(child: Child, sent: Signal, code: i32) {
    let began = Instant::now();
    signal(&child, sent);
    let ended = Output::of(child).exits(code);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let document = ended.json();
    assert_eq!(document["format"], "didit-sync/error.v1");
    assert_eq!(document["exit"]["name"], "interrupted");
    assert_eq!(document["error"]["code"], code);
    assert!(document["error"]["message"].as_str().unwrap().contains("before anything was sent or changed"));
}

/// Whether the program has a file open whose path ends so.
fn has_open(child: &Child, name: &str) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{}/fd", child.id())) else {
        // No /proc here: it has it after a while.
        std::thread::sleep(Duration::from_millis(500));
        return true;
    };
    open.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|path| path.ends_with(name))
}

#[test]
fn promise_7_a_signal_ends_the_wait_for_the_lock() {
    for (sent, code) in SIGNALS {
        let scene = Scene::new(sandbox(1));
        scene.write_all();
        let lock = scene.hold();
        let apply = scene.start(&["apply", "m.yaml", "--yes", "--json", "--wait-lock", "10m"]);
        wait_for("the wait", || if is_postgres() { scene.sessions() > 1 } else { has_open(&apply, "ledger.db.lock") });
        ends_at_once(apply, sent, code);
        assert!(!scene.ledger().exists());
        assert_eq!(scene.world.counts().requests, 0);
        drop(lock);
        scene.apply().exits(0);
    }
}

#[test]
fn promise_7_a_signal_ends_what_reads_manifests() {
    for (sent, code) in SIGNALS {
        for command in [vec!["plan"], vec!["apply", "--yes"], vec!["validate"]] {
            let folder = Folder::new();
            let pipe = folder.path("m.yaml");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            let child = folder.start(&[command.as_slice(), &["m.yaml", "--json"]].concat());
            // Opening waits for a reader: then the program has begun to read, and reads until we close.
            let writer = OpenOptions::new().write(true).open(&pipe).unwrap();
            ends_at_once(child, sent, code);
            drop(writer);
            assert!(!folder.ledger().exists());
        }
    }
}

#[test]
fn promise_7_a_signal_at_the_question_ends_the_command_and_nothing_is_sent() {
    for (sent, code) in SIGNALS {
        let scene = Scene::new(sandbox(2));
        scene.write_all();
        let (mut person, program) = terminal(24, 80);
        let mut apply = scene.command(&["apply", "m.yaml", "--json"]);
        let child = apply.stdin(on_terminal(&program)).stderr(on_terminal(&program)).spawn().unwrap();
        let mut shown = String::new();
        let mut bytes = [0; 1024];
        while !shown.contains("Carry this out?") {
            let read = person.read(&mut bytes).unwrap();
            shown += &String::from_utf8_lossy(&bytes[..read]);
        }
        ends_at_once(child, sent, code);
        assert_eq!(scene.world.counts().requests, 0);
        assert_eq!(scene.plan().exits(0).json()["summary"]["import"], 2);
        drop(program);
    }
}

#[test]
fn promise_7_the_second_signal_stops_at_once_and_no_session_is_lost_or_made_twice() {
    for (sent, code) in SIGNALS {
        let scene = Scene::new(Config { faults: "import.hang-after=x1".parse().unwrap(), ..sandbox(3) });
        scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
        let began = Instant::now();
        let child = scene.start(&["apply", "m.yaml", "--yes", "--json", "--grace", "10m"]);
        wait_for("an import", || scene.world.imported().len() == 1);
        signal(&child, sent);
        signal(&child, sent);
        // Two at once can be one: the kernel keeps no count.
        let mut child = child;
        wait_for("the end", || {
            let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), sent);
            child.try_wait().unwrap().is_some()
        });
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let done = Output::of(child).exits(code).json();
        assert_eq!((&done["summary"]["unknown"], &done["summary"]["not_sent"]), (&json!(1), &json!(2)), "{done:#}");
        let open = scene.run(&["status", "--json"]).exits(0).json();
        assert_eq!(open["summary"]["sending"], 1, "{open:#}");
        scene.write("m.yaml", &(scene.manifest("acme") + "limits: {timeout: 1s}\n"));
        let rest = scene.apply().exits(0).json();
        assert_eq!((&rest["summary"]["recovered"], &rest["summary"]["imported"]), (&json!(3), &json!(0)), "{rest:#}");
        for row in rest["imports"].as_array().unwrap() {
            let source = row["source_session_id"].as_str().unwrap().parse().unwrap();
            assert_eq!(row["session_id"], json!(scene.imported_from(source).unwrap()));
        }
    }
}

#[test]
fn promise_7_a_signal_before_the_first_answer_ends_a_run_that_sent_nothing() {
    let scene = Scene::new(Config { faults: "list.hang=100%".parse().unwrap(), ..sandbox(2) });
    scene.write_all();
    let child = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("the check of the key", || scene.world.counts().requests > 0);
    let began = Instant::now();
    signal(&child, Signal::INT);
    let done = Output::of(child).exits(130).json();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!((&done["format"], &done["summary"]["not_sent"]), (&json!("didit-sync/apply.v1"), &json!(2)));
    assert_eq!(scene.writes(), 0);
}

fn interrupted_audit(faults: &str) -> (Scene, Value) {
    let mut scene = Scene::new(sandbox(4));
    scene.write_all();
    scene.apply().exits(0);
    let world = Scene::new(Config { faults: faults.parse().unwrap(), ..sandbox(4) });
    // The same ledger, and a server that does not answer.
    let text = scene.read("m.yaml").replace(&scene.running.base_url(), &world.running.base_url());
    scene.write("m.yaml", &text);
    scene.set("DIDIT_API_KEY", &world.running.api_key());
    let child = scene.start(&["audit", "m.yaml", "--json"]);
    wait_for("a request", || world.world.counts().requests > 0);
    let began = Instant::now();
    signal(&child, Signal::TERM);
    let done = Output::of(child).exits(143).json();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    (scene, done)
}

#[test]
fn promise_7_an_audit_ends_at_the_first_signal_and_finds_nothing_that_it_did_not_see() {
    for faults in ["list.hang=100%", "decision.hang=100%"] {
        let (scene, done) = interrupted_audit(faults);
        assert_eq!((&done["format"], &done["findings"]), (&json!("didit-sync/audit.v1"), &json!([])), "{faults}");
        assert_eq!(done["summary"]["checked"], 0, "{faults}");
        assert_eq!((&done["error"]["code"], &done["exit"]["name"]), (&json!(143), &json!("interrupted")));
        // It is a run like others, with its end on record.
        let report: Value = serde_json::from_str(&scene.run(&["report", "--json"]).stdout).unwrap();
        assert_eq!(report["run"], done["run"], "{faults}");
    }
}

#[test]
fn promise_7_an_erasure_that_waits_for_the_server_can_be_stopped() {
    let scene = Scene::new(Config { faults: "delete.hang=100%".parse().unwrap(), ..sandbox(2) });
    scene.write_all();
    scene.apply().exits(0);
    let writes = scene.writes();
    let mut child = scene.start(&["ledger", "erase", "e00", "--delete", "--reason", "request 1", "--json"]);
    wait_for("the deletion", || scene.writes() > writes);
    let began = Instant::now();
    wait_for("the end", || {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT);
        child.try_wait().unwrap().is_some()
    });
    assert!(began.elapsed() < Duration::from_secs(10));
    Output::of(child).exits(130);
    scene.run(&["ledger", "check"]).exits(0);
    assert_eq!(scene.run(&["status", "--json"]).exits(0).json()["summary"]["imported"], 2);
}
