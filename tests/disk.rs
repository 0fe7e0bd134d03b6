//! Promise 8 for disks: a full one, at every write of a small run.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Output, Scene, sandbox};

/// Runs an apply whose files may not grow past this many blocks of 512 bytes: a write past it fails, as on a full disk.
fn apply_with_disk_of(scene: &Scene, blocks: u32) -> Output {
    let mut apply = scene.command(&["apply", "m.yaml", "--yes", "--json", "--no-verify"]);
    let program = apply.get_program().to_owned();
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(limited).arg(program).args(apply.get_args());
    shell.env_clear().current_dir(apply.get_current_dir().unwrap());
    for (name, value) in apply.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    apply.stdin(Stdio::null());
    let child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Output::of(child)
}

/// Every session that the server made is told, by the ledger or by an open entry, and no request had no intent.
fn assert_accounted_for(scene: &Scene, blocks: u32) {
    let imported = scene.world.imported();
    if imported.is_empty() {
        return;
    }
    let status: Value = serde_json::from_str(&scene.run(&["status", "--json"]).exits(0).stdout).unwrap();
    for session in imported {
        let source = session.source_id.to_string();
        let entries = status["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["source_session_id"] == source.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{blocks} blocks: {source} was sent without an intent"));
        let is_known = entry["session_id"] == session.session_id.to_string().as_str();
        assert!(is_known || entry["state"] == "sending" || entry["state"] == "unknown", "{blocks} blocks: {entry:#}");
    }
}

#[test]
fn promise_8_a_disk_that_is_full_at_any_write_loses_nothing() {
    let mut full = 0;
    for blocks in (0..520).step_by(20) {
        let scene = Scene::new(sandbox(4));
        scene.write_all();
        let limited = apply_with_disk_of(&scene, blocks);
        match limited.code {
            Some(0) => {}
            Some(12) => full += 1,
            other => panic!("{blocks} blocks: exit {other:?}\n{}\n{}", limited.stdout, limited.stderr),
        }
        assert!(!limited.stderr.contains("panicked"), "{blocks} blocks: {}", limited.stderr);
        limited.json();
        assert_accounted_for(&scene, blocks);

        let done = scene.apply().exits(0).json();
        assert_eq!(done["imports"].as_array().unwrap().len(), 4, "{blocks} blocks");
        for entry in done["imports"].as_array().unwrap() {
            let source = entry["source_session_id"].as_str().unwrap().parse().unwrap();
            let truth = scene.imported_from(source).unwrap_or_else(|| panic!("{blocks} blocks: {entry:#}"));
            assert_eq!(entry["session_id"], truth.to_string().as_str(), "{blocks} blocks");
        }
        assert_eq!(scene.world.imported().len(), 4, "{blocks} blocks: a session was made twice");
    }
    assert!(full >= 10, "the disk was full in {full} runs only");
}
