//! Earlier runs again, from the ledger.

use didit_sync::sandbox::{Change, Status};
use serde_json::Value;

use crate::support::{Scene, sandbox};

#[test]
fn the_report_of_the_last_run_is_its_document() {
    let scene = Scene::new(sandbox(5));
    let dead = scene.mint_for(scene.sources()[0].id, jiff::SignedDuration::from_secs(-1));
    let text = scene.manifest("acme");
    let line = text.lines().find(|line| line.contains("id: e00,")).unwrap().to_owned();
    scene.write("m.yaml", &text.replace(&line, &format!("  - {{id: e00, share_token: {dead}}}")));
    let args = ["apply", "m.yaml", "--yes", "--json", "--limit", "3", "--report", "json=report.json"];
    let done = scene.run(&args);
    let document: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done.code, Some(5), "{document:#}");
    let report: Value = serde_json::from_str(&scene.read("report.json")).unwrap();
    assert_eq!(report, document);
    let again = scene.run(&["report", "--json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again, document);
    // An audit is a run of its own.
    let audit: Value = serde_json::from_str(&scene.run(&["audit", "--json"]).stdout).unwrap();
    let last: Value = serde_json::from_str(&scene.run(&["report", "--json"]).stdout).unwrap();
    assert_eq!(last, audit);
    let first: Value = serde_json::from_str(&scene.run(&["report", "1", "--json"]).stdout).unwrap();
    assert_eq!(first, document);
    scene.run(&["report", "99"]).exits(64);
    let listed = scene.run(&["report", "--list"]).exits(0).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

#[test]
fn an_audits_findings_are_reported_as_they_were() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.apply().exits(0);
    let session = scene.world.imported()[0].session_id;
    scene.world.change(session, Change::Delete).unwrap();
    let audit: Value = serde_json::from_str(&scene.run(&["audit", "--json"]).exits(4).stdout).unwrap();
    let report: Value = serde_json::from_str(&scene.run(&["report", "--json"]).stdout).unwrap();
    assert_eq!(report, audit);
    let _ = Status::Approved;
}

#[test]
fn a_report_is_written_on_every_exit_of_a_run_that_began() {
    let mut scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.set("DIDIT_API_KEY", "sk_test_wrong");
    scene.run(&["apply", "m.yaml", "--yes", "--report", "json=r.json"]).exits(10);
    let report: Value = serde_json::from_str(&scene.read("r.json")).unwrap();
    assert_eq!(report["exit"]["code"], 10);
    assert_eq!(report["imports"].as_array().unwrap().len(), 2);
    // A report that can't be written takes nothing from the run.
    let key = scene.running.api_key();
    scene.set("DIDIT_API_KEY", &key);
    scene.run(&["apply", "m.yaml", "--yes", "--report", "json=no/such/folder/r.json"]).exits(1);
    assert_eq!(scene.world.imported().len(), 2);
}

#[test]
fn a_killed_run_is_reported_as_one_that_did_not_end() {
    let config = didit_sync::sandbox::Config { faults: "import.latency=5s".parse().unwrap(), ..sandbox(1) };
    let scene = Scene::new(config);
    scene.write_all();
    let mut child = scene.start(&["apply", "m.yaml", "--yes"]);
    while scene.writes() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let report = scene.run(&["report", "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["format"], "didit-sync/apply.v1");
    assert!(report["error"]["message"].as_str().unwrap().contains("did not come to its end"), "{report:#}");
}
