//! Promise 4: one apply or repair at a time per ledger, audits beside it, one audit at a time.

use std::fs;
use std::time::{Duration, Instant};

use didit_sync::sandbox::Config;
use serde_json::json;

use crate::support::ledger::is_postgres;
use crate::support::{Output, Scene, end_of, sandbox, wait_for};

/// A scene whose ledger has four sessions, while an audit of them waits for the server.
fn with_a_slow_audit() -> (Scene, std::process::Child) {
    let scene = Scene::new(Config { faults: "decision.latency=4s".parse().unwrap(), ..sandbox(5) });
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify", "--limit", "4"]).exits(8);
    let reads = scene.world.counts().requests;
    let audit = scene.start(&["audit", "--json"]);
    wait_for("a read", || scene.world.counts().requests > reads);
    (scene, audit)
}

#[test]
fn promise_4_an_audit_keeps_another_audit_out_and_nobody_else() {
    let (scene, audit) = with_a_slow_audit();
    let second = scene.run(&["audit", "--json"]).exits(11).json();
    let message = second["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("pid {}", audit.id())) && message.contains("since"), "{message}");
    // An apply and a repair go on beside it.
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify"]).exits(0);
    scene.run(&["ledger", "forget", "e04"]).exits(0);
    // Waiting ends well.
    let third = scene.run(&["audit", "--json", "--wait-lock", "60s"]).exits(0).json();
    let first = Output::of(audit).exits(0).json();
    assert_eq!((&first["summary"]["checked"], &third["summary"]["checked"]), (&json!(4), &json!(4)));
    scene.run(&["ledger", "check"]).exits(0);
}

#[test]
fn promise_4_audits_beside_applies_lose_nothing_of_either() {
    let scene = Scene::new(Config {
        writes_per_minute: 0,
        reads_per_minute: 0,
        faults: "import.latency=5ms..60ms".parse().unwrap(),
        ..sandbox(120)
    });
    scene.write(
        "m.yaml",
        &(scene.manifest("acme") + "limits: {concurrency: 4, writes_per_minute: 9999, reads_per_minute: 9999}\n"),
    );
    let mut apply = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("an import", || !scene.world.imported().is_empty());
    let mut audits = 0;
    while apply.try_wait().unwrap().is_none() && scene.world.imported().len() < 120 {
        let audit = scene.run(&["audit", "--json"]).exits(0).json();
        assert_eq!(audit["summary"]["checked"], audit["summary"]["sessions"], "{audit:#}");
        audits += 1;
    }
    let done = Output::of(apply).exits(0).json();
    assert_eq!((&done["summary"]["imported"], &done["verification"]["summary"]["checked"]), (&json!(120), &json!(120)));
    assert!(audits > 1, "{audits}");
    scene.run(&["ledger", "check"]).exits(0);
    assert_eq!(scene.run(&["audit", "--json"]).exits(0).json()["summary"]["sessions"], 120);
}

#[test]
fn promise_4_a_killed_holder_holds_nothing_and_its_words_are_replaced() {
    let scene = Scene::new(Config { faults: "import.hang-after=x1".parse().unwrap(), ..sandbox(1) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {timeout: 2s}\n"));
    let mut holder = scene.start(&["apply", "m.yaml", "--yes"]);
    wait_for("an import", || !scene.world.imported().is_empty());
    // A server has no such words: a holder is one of its sessions, and ends with it.
    let words = || fs::read_to_string(scene.path("state/ledger.db.lock")).unwrap_or_default();
    let are_of = |pid: u32| is_postgres() || words().contains(&format!("\"pid\":{pid},"));
    assert!(are_of(holder.id()), "{}", words());
    holder.kill().unwrap();
    end_of(&mut holder);
    // The dead one's words are still there; the lock is not.
    assert!(are_of(holder.id()));
    let next = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    let pid = next.id();
    let done = Output::of(next).exits(0).json();
    assert_eq!(done["summary"]["recovered"], 1, "{done:#}");
    assert!(are_of(pid) && (is_postgres() || !are_of(holder.id())), "{}", words());
}

#[test]
fn promise_4_waiting_is_as_long_as_was_asked() {
    let scene = Scene::new(Config { faults: "import.latency=6s".parse().unwrap(), ..sandbox(1) });
    scene.write_all();
    let first = scene.start(&["apply", "m.yaml", "--yes"]);
    wait_for("a request", || scene.writes() > 0);
    let began = Instant::now();
    // On a server, applies work side by side, and repairs wait for them.
    let second: &[&str] = if is_postgres() { &["ledger", "forget", "e00"] } else { &["apply", "m.yaml", "--yes"] };
    scene.run(&[second, &["--wait-lock", "1s"]].concat()).exits(11);
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    for repair in [vec!["forget", "e00"], vec!["erase", "e00", "--reason", "r"]] {
        scene.run(&[&["ledger"], repair.as_slice()].concat()).exits(11);
    }
    scene.run(&["ledger", "adopt", "e00", "20bb3c3b-6146-439f-84a4-bd30d00ac6a2"]).exits(11);
    Output::of(first).exits(0);
}
