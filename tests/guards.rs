//! Guards: saved plans, limits of time and number, refusals that stop a run. What takes long is shown in simulated time
//! (`simulation::guards`).

use std::fs;

use didit_sync::sandbox::Config;
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Fake, Reply, Scene, Token, sandbox};

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
    assert_told(
        &refused(&scene),
        &["has changed since, by run 1 (apply,", "e00: planned import, now unchanged", "e01"],
    );
    for (command, named) in
        [(vec!["audit"], "(audit, "), (vec!["ledger", "forget", "e00", "--reason", "x"], "(ledger forget, ")]
    {
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
    scene.move_ledgers("state", "elsewhere");
    assert_told(&refused(&scene), &["was made for another ledger, ", id.as_str().unwrap()]);
    // The ledger that it was made for still takes it.
    apply(&scene, &["--ledger", &scene.ledger_at("elsewhere/ledger.db")], 0);
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
    scene.run(&["apply", "m.yaml", "--yes", "--max-duration", "3s", "--grace", "0s"]).exits(6);
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

/// Six sessions whose imports or decisions take their time, one after the other.
fn slow(faults: &str) -> Scene {
    let scene = Scene::new(Config { faults: faults.parse().unwrap(), ..sandbox(6) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
    scene
}

#[test]
fn max_duration_ends_an_apply_with_what_was_in_flight_on_record_and_the_next_one_goes_on() {
    let scene = slow("import.latency=700ms");
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--max-duration", "2s", "--no-verify"]).exits(8);
    let done = done.json();
    let imported = done["summary"]["imported"].as_u64().unwrap();
    assert!((1..6).contains(&imported), "{done:#}");
    assert_eq!(done["summary"]["not_sent"], 6 - imported);
    assert_eq!(imported, scene.world.imported().len() as u64);
    assert_eq!(done["exit"], json!({"code": 8, "name": "incomplete", "conditions": ["incomplete"]}));
    let message = "its time is up (--max-duration 2s), and work is left: run again to go on";
    assert_eq!(done["error"], json!({"code": 8, "name": "incomplete", "message": message, "diagnostics": []}));
    // Nothing is left when that much time is given.
    let rest = scene.run(&["apply", "m.yaml", "--yes", "--json", "--max-duration", "10m"]).exits(0).json();
    assert_eq!((&rest["summary"]["imported"], &rest["error"]), (&json!(6 - imported), &Value::Null));
}

#[test]
fn sessions_not_verified_in_time_are_incomplete_and_no_fault_of_the_api() {
    let scene = Scene::new(Config { faults: "decision.latency=30s".parse().unwrap(), ..sandbox(6) });
    scene.write_all();
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--max-duration", "4s", "--grace", "0s"]);
    let done = done.exits(8).json();
    assert_eq!(done["exit"]["conditions"], json!(["incomplete"]));
    assert_eq!((&done["summary"]["imported"], &done["summary"]["unknown"]), (&json!(6), &json!(0)));
    let verification = &done["verification"];
    assert_eq!((&verification["summary"]["sessions"], &verification["summary"]["checked"]), (&json!(6), &json!(0)));
    assert_eq!(verification["exit"]["conditions"], json!(["incomplete"]));
}

#[test]
fn max_duration_ends_an_audit_and_the_next_one_begins_with_what_is_left() {
    let mut scene = slow("decision.latency=600ms");
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify"]).exits(0);
    scene.set("DIDIT_SYNC_MAX_DURATION", "2s");
    let first = scene.run(&["audit", "--json"]).exits(8).json();
    let checked = first["summary"]["checked"].as_u64().unwrap();
    assert!((1..6).contains(&checked), "{first:#}");
    assert_eq!((&first["summary"]["sessions"], &first["exit"]["conditions"]), (&json!(6), &json!(["incomplete"])));
    assert_eq!((&first["error"]["code"], &first["error"]["name"]), (&json!(8), &json!("incomplete")));
    let unaudited = || {
        let sql = "SELECT count(*) FROM entries WHERE audited_at IS NULL";
        scene.sql().value::<u64>(sql, &[])
    };
    assert_eq!(unaudited(), 6 - checked);
    let left = (6 - checked).to_string();
    let rest = scene.run(&["audit", "--json", "--max-duration", "1m", "--limit", &left]).exits(8).json();
    assert_eq!((&rest["summary"]["checked"], &rest["error"]), (&json!(6 - checked), &Value::Null));
    assert_eq!(unaudited(), 0);
    let shown = scene.run(&["audit", "--max-duration", "0s"]).exits(8).stdout;
    assert_told(&shown, &["Verified 0 of 6 sessions", "stopped: its time is up (--max-duration 0s)"]);
}

#[test]
fn a_time_that_is_none_is_a_wrong_flag() {
    let scene = planned(1);
    for time in ["20", "soon", "-5m", ""] {
        let option = format!("--max-duration={time}");
        scene.run(&["apply", "m.yaml", "--yes", &option]).exits(64);
        scene.run(&["audit", &option]).exits(64);
    }
}

#[test]
fn a_limit_takes_the_tokens_that_expire_first_and_counts_only_what_is_sent() {
    let scene = Scene::new(sandbox(3));
    let sources = scene.sources();
    let mut text = scene.head("acme") + "imports:\n";
    for (n, minutes) in [50, 10, 30].into_iter().enumerate() {
        let token = scene.mint_for(sources[n].id, SignedDuration::from_mins(minutes));
        text += &format!("  - {{id: e{n}, share_token: {token}}}\n");
    }
    scene.write("m.yaml", &text);
    let run = |limit: &str, code| {
        let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--limit", limit]).exits(code).json();
        let rows = done["imports"].as_array().unwrap().clone();
        rows.into_iter().map(|row| row["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(run("0", 8), ["not_sent"; 3]);
    assert_eq!(scene.world.counts().requests, 0);
    assert_eq!(run("1", 8), ["not_sent", "imported", "not_sent"]);
    assert_eq!(run("1", 8), ["not_sent", "unchanged", "imported"]);
    assert_eq!(run("1", 0), ["imported", "unchanged", "unchanged"]);
}

#[test]
fn max_failures_is_counted_for_each_manifest_and_an_option_beats_what_a_manifest_says() {
    let gone = Reply::json(400, &json!({"share_token": ["Original session does not exist."]}));
    let refused = |limits: &str, more: &[&str]| {
        let fake = Fake::answering(gone.clone());
        for (name, first) in [("one", 10), ("two", 20)] {
            let mut text = fake.head().replace("name: acme", &format!("name: {name}"));
            text += &format!("limits: {{concurrency: 1, {limits}}}\nimports:\n");
            for n in 0..5 {
                let token = Token::new(Uuid::from_u128(first + n)).text();
                text += &format!("  - {{id: {name}-{n}, share_token: {token}}}\n");
            }
            fake.folder.write(&format!("all/{name}.yaml"), &text);
        }
        let done = fake.folder.run(&[&["apply", "all", "--yes", "--json"], more].concat());
        let document = done.json();
        (document["summary"]["refused"].as_u64().unwrap(), document["exit"]["code"].clone(), document)
    };
    // Ten were refused, but no more than five of one.
    let (count, exit, _) = refused("max_failures: 5", &[]);
    assert_eq!((count, exit), (10, json!(3)));
    let (count, exit, document) = refused("max_failures: 5", &["--max-failures", "4"]);
    assert_eq!(exit, 7);
    assert!((5..10).contains(&count), "{document:#}");
    assert_told(document["error"]["message"].as_str().unwrap(), &["5 of 5 entries of ", "max_failures"]);
    let (count, exit, _) = refused("max_failures: 0", &["--max-failures", "100%"]);
    assert_eq!((count, exit), (10, json!(3)));
}

#[test]
fn max_trusted_counts_new_imports_that_this_run_would_send() {
    let scene = Scene::new(sandbox(4));
    let text = scene.manifest("acme").replace("trust_review: false", "trust_review: true");
    // The last one is not trusted.
    scene.write("m.yaml", &text.replace("id: e03,", "id: e03, trust_review: false,"));
    let run = |more: &[&str], code| {
        let args = [&["apply", "m.yaml", "--yes", "--json", "--max-trusted", "1"], more].concat();
        scene.run(&args).exits(code).json()
    };
    let stopped = run(&[], 7);
    assert_told(stopped["error"]["message"].as_str().unwrap(), &["3 new imports", "max_trusted 1", "nothing was sent"]);
    assert_eq!(stopped["exit"]["conditions"], json!(["stopped-by-guard"]));
    assert_eq!(scene.world.counts().requests, 0);
    run(&["--only", "e00", "--only", "e03"], 0);
    // What is imported already is no new import.
    run(&["--only", "e00", "--only", "e01"], 0);
    run(&[], 0);
    assert_eq!(scene.world.imported().len(), 4);
}
