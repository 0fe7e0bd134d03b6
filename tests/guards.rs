//! Guards: saved plans, limits of time and number, refusals that stop a run. What takes long is shown in simulated time
//! (`simulation::guards`).

use std::fs;

use didit_sync::sandbox::Config;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{Scene, sandbox};

/// A scene of this many entries with a saved plan, `plan.json`.
fn planned(entries: usize) -> Scene {
    let scene = Scene::new(sandbox(entries));
    scene.write_all();
    save(&scene);
    scene
}

fn save(scene: &Scene) {
    scene.run(&["plan", "m.yaml", "--out", "plan.json"]).exits(0);
}

const APPLY: [&str; 6] = ["apply", "m.yaml", "--plan", "plan.json", "--yes", "--json"];

fn apply(scene: &Scene, more: &[&str], code: i32) -> Value {
    scene.run(&[&APPLY[..], more].concat()).exits(code).json()
}

/// Applies a plan that has to be refused; the message.
#[track_caller]
fn refused(scene: &Scene) -> String {
    let before = scene.world.counts().requests;
    let document = apply(scene, &[], 7);
    assert_eq!(scene.world.counts().requests, before, "nothing was sent");
    assert_eq!(document["format"], "didit-sync/apply.v1");
    assert_eq!(document["exit"]["name"], "stopped-by-guard");
    assert_eq!((&document["error"]["code"], &document["error"]["name"]), (&json!(7), &json!("stopped-by-guard")));
    let message = document["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("plan.json") && message.contains("Nothing was sent; plan again"), "{message}");
    message
}

#[track_caller]
fn assert_told(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
}

#[test]
fn a_plan_made_before_there_was_a_ledger_is_carried_out_once() {
    let scene = planned(3);
    let saved: Value = serde_json::from_str(&scene.read("plan.json")).unwrap();
    assert_eq!(saved["ledger"], json!({"id": null, "generation": 0}));
    assert_eq!(apply(&scene, &[], 0)["summary"]["imported"], 3);
    assert_told(&refused(&scene), &["was carried out by run 1 (apply, 20", "good for one run"]);
    // The next plan is another, and good again.
    save(&scene);
    assert_eq!(apply(&scene, &[], 0)["summary"]["unchanged"], 3);
}

#[test]
fn a_plan_with_nothing_to_send_is_used_up_too_and_the_next_one_is_another() {
    let scene = planned(1);
    apply(&scene, &[], 0);
    for run in [2, 4] {
        save(&scene);
        apply(&scene, &[], 0);
        assert_told(&refused(&scene), &[&format!("was carried out by run {run} ")]);
    }
}

#[test]
fn a_copy_of_a_used_plan_in_other_bytes_is_stale() {
    let scene = planned(2);
    apply(&scene, &["--only", "e00"], 0);
    scene.write("plan.json", &(scene.read("plan.json") + "\n"));
    let message = refused(&scene);
    assert_told(&message, &["is stale: the ledger has changed since, by run 1 (apply, 20"]);
    assert_told(&message, &["e00: planned import, now unchanged"]);
    assert!(!message.contains("e01"), "{message}");
}

#[test]
fn only_and_limit_carry_out_a_part_of_a_plan() {
    let scene = planned(3);
    let done = apply(&scene, &["--only", "e01"], 0);
    assert_eq!((&done["summary"]["imported"], &done["summary"]["not_sent"]), (&json!(1), &json!(2)));
    refused(&scene);
    save(&scene);
    assert_eq!(apply(&scene, &["--limit", "1"], 8)["summary"]["imported"], 1);
    refused(&scene);
}

#[test]
fn whatever_sent_a_request_or_repaired_something_since_makes_a_plan_stale_and_is_named() {
    let scene = planned(2);
    scene.apply().exits(0);
    assert_told(&refused(&scene), &["has changed since, by run 1 (apply,", "e00: planned import, now unchanged", "e01"]);
    for (command, named) in [
        (vec!["audit"], "(audit, "),
        (vec!["ledger", "forget", "e00", "--reason", "x"], "(ledger forget, "),
    ] {
        save(&scene);
        scene.run(&command).exits(0);
        assert_told(&refused(&scene), &["has changed since, by run ", named]);
    }
    // What sends nothing changes nothing.
    save(&scene);
    scene.run(&["apply", "m.yaml", "--yes", "--only", "e01"]).exits(0);
    scene.run(&["status"]).exits(0);
    apply(&scene, &[], 0);
}

#[test]
fn a_plan_for_another_ledger_is_stale() {
    let scene = planned(2);
    apply(&scene, &["--limit", "1"], 8);
    save(&scene);
    let id = serde_json::from_str::<Value>(&scene.read("plan.json")).unwrap()["ledger"]["id"].clone();
    fs::rename(scene.path("state"), scene.path("elsewhere")).unwrap();
    assert_told(&refused(&scene), &["was made for another ledger, ", id.as_str().unwrap()]);
    // The ledger that it was made for still takes it.
    apply(&scene, &["--ledger", "elsewhere/ledger.db"], 0);
}

#[test]
fn other_manifests_and_entries_than_planned_are_named() {
    let scene = planned(3);
    let text = scene.read("m.yaml");
    scene.write("m.yaml", &text.replace("id: e01,", "id: e01, vendor_data: another,"));
    let message = refused(&scene);
    assert_told(&message, &["manifest acme has changed", "e01: planned with another vendor_data"]);
    assert!(!message.contains("e00") && !message.contains("has changed since"), "{message}");
    scene.write("m.yaml", &text.replace("id: e01,", "id: new,"));
    assert_told(&refused(&scene), &["e01: planned import, now gone", "new: not planned, now import"]);
    scene.write("m.yaml", &text.replace("name: acme", "name: other"));
    assert_told(&refused(&scene), &["manifest other is not in it", "manifest acme is not given"]);
    scene.write("m.yaml", &(text.clone() + "limits: {max_failures: 9}\n"));
    assert_told(&refused(&scene), &["manifest acme has changed"]);
    // Comments and order are no change.
    scene.write("m.yaml", &format!("# reviewed\n{text}"));
    apply(&scene, &[], 0);
}

#[test]
fn many_differences_are_counted_and_few_named() {
    let scene = planned(12);
    let text = scene.read("m.yaml").replace("trust_review: false", "trust_review: true");
    scene.write("m.yaml", &text);
    let message = refused(&scene);
    assert_told(&message, &["e04: planned with another trust_review", "and 7 more entries"]);
    assert!(!message.contains("e05"), "{message}");
    // What is kept with the run names no entry: it may be erased later.
    let kept = scene.run(&["report", "--json"]);
    assert_told(&kept.stdout, &["12 entries are not as planned"]);
    assert!(!kept.stdout.contains("e04: planned"), "{}", kept.stdout);
}

#[test]
fn tokens_that_expired_since_do_not_make_a_plan_stale() {
    let scene = Scene::new(sandbox(2));
    let write = |ttl| {
        let sources = scene.sources();
        let first = scene.mint_for(sources[0].id, SignedDuration::from_secs(ttl));
        let second = scene.mint(sources[1].id);
        let rows = format!("imports:\n  - {{id: a, share_token: {first}}}\n  - {{id: b, share_token: {second}}}\n");
        scene.write("m.yaml", &(scene.head("acme") + &rows));
    };
    write(600);
    save(&scene);
    write(-1);
    let done = apply(&scene, &[], 5);
    assert_eq!((&done["summary"]["imported"], &done["summary"]["expired"]), (&json!(1), &json!(1)));
    // The other way round it does: what was to wait for the partner would be sent.
    save(&scene);
    write(600);
    assert_told(&refused(&scene), &["a: planned expired, now import"]);
}

#[test]
fn an_entry_left_open_since_makes_a_plan_stale_and_that_is_the_exit() {
    let scene = Scene::new(Config { faults: "import.hang=x1".parse().unwrap(), ..sandbox(1) });
    scene.write_all();
    save(&scene);
    scene.run(&["apply", "m.yaml", "--yes", "--max-duration", "1s", "--grace", "0s"]).exits(6);
    assert_told(&refused(&scene), &["e00: planned import, now recover"]);
}

#[test]
fn a_plan_refused_by_another_guard_or_a_missing_key_is_not_used_up() {
    let mut scene = planned(2);
    let text = scene.read("m.yaml").replace("trust_review: false", "trust_review: true");
    scene.write("m.yaml", &text);
    save(&scene);
    apply(&scene, &["--max-trusted", "1"], 7);
    let key = scene.running.api_key();
    scene.unset("DIDIT_API_KEY");
    apply(&scene, &[], 10);
    scene.set("DIDIT_API_KEY", &key);
    assert_eq!(apply(&scene, &["--max-trusted", "2"], 0)["summary"]["imported"], 2);
}

#[test]
fn a_stale_plan_needs_no_key_and_no_answer_on_a_terminal_is_asked_for() {
    let mut scene = planned(1);
    scene.write("m.yaml", &scene.read("m.yaml").replace("e00", "other"));
    scene.unset("DIDIT_API_KEY");
    refused(&scene);
    let shown = scene.run(&["apply", "m.yaml", "--plan", "plan.json", "--yes"]).exits(7);
    assert_told(&shown.stdout, &["stopped: the plan plan.json is stale: "]);
    scene.run(&["apply", "m.yaml", "--plan", "plan.json", "--json"]).exits(64);
}

#[test]
fn what_is_no_saved_plan_is_a_wrong_flag() {
    let scene = planned(1);
    let saved = scene.read("plan.json");
    fs::create_dir(scene.path("folder")).unwrap();
    for (name, text, told) in [
        ("missing.json", None, "No such file"),
        ("folder", None, "directory"),
        ("empty.json", Some(String::new()), "no saved plan"),
        ("half.json", Some(saved[..saved.len() / 2].to_owned()), "no saved plan"),
        ("m.yaml", None, "no saved plan"),
        ("v2.json", Some(saved.replace("plan.v1", "plan.v2")), "`didit-sync/plan.v2`"),
        ("shown.json", Some(scene.plan().stdout), "plan --out FILE"),
        ("apply.json", Some(r#"{"format":"didit-sync/apply.v1"}"#.to_owned()), "`didit-sync/apply.v1`"),
    ] {
        if let Some(text) = text {
            scene.write(name, &text);
        }
        let document = scene.run(&["apply", "m.yaml", "--yes", "--json", "--plan", name]).exits(64).json();
        assert_eq!(document["format"], "didit-sync/error.v1");
        assert_told(document["error"]["message"].as_str().unwrap(), &[name, told]);
    }
    assert!(!scene.path("state").exists() && scene.world.counts().requests == 0);
    fs::write(scene.path("bytes.json"), [0xFF, 0x00, 0xC3]).unwrap();
    scene.run(&["apply", "m.yaml", "--yes", "--plan", "bytes.json"]).exits(64);
}
