//! No session id is lost and no second session is made, whatever happens to an answer or to the program.

use didit_sync::sandbox::Config;
use didit_sync::token::SessionKind;
use serde_json::{Value, json};

use crate::support::{Output, Scene, end_of, sandbox, uuid, wait_for};

/// Every entry has the server's id, none was imported twice, and the ledger says the same.
#[track_caller]
fn assert_all_settled(scene: &Scene, document: &Value) {
    for row in document["imports"].as_array().unwrap() {
        let source = uuid(&row["source_session_id"]);
        let outcome = row["outcome"].as_str().unwrap();
        assert!(matches!(outcome, "imported" | "recovered" | "unchanged"), "{row:#}");
        assert_eq!(Some(uuid(&row["session_id"])), scene.imported_from(source), "{row:#}");
        assert_eq!(row["error"], Value::Null);
    }
    assert_eq!(scene.world.imported().len(), document["imports"].as_array().unwrap().len());
    let status = scene.run(&["status", "--json"]).exits(0).json();
    for entry in status["entries"].as_array().unwrap() {
        assert_eq!(entry["state"], "imported");
        assert_eq!(Some(uuid(&entry["session_id"])), scene.imported_from(uuid(&entry["source_session_id"])));
    }
}

fn with_faults(faults: &str, shows_source: bool) -> Scene {
    let faults = faults.parse().unwrap();
    let scene = Scene::new(Config { faults, reads_show_source: shows_source, ..sandbox(5) });
    scene.write_all();
    scene
}

#[test]
fn promise_2_an_answer_lost_after_the_commit_is_found_again() {
    for faults in ["import.lost-after=x1", "import.error-after=x1", "import.cut=x1", "import.garbage=x1"] {
        for shows_source in [true, false] {
            let scene = with_faults(faults, shows_source);
            let document = scene.apply().exits(0).json();
            assert_eq!(document["summary"]["recovered"], 5, "{faults} {shows_source} {document:#}");
            assert_all_settled(&scene, &document);
            let requests = scene.world.counts().requests;
            scene.apply().exits(0);
            assert_eq!(scene.world.counts().requests, requests);
        }
    }
}

#[test]
fn promise_2_the_evidence_of_what_was_found_is_kept() {
    let scene = with_faults("import.lost-after=x1", true);
    scene.apply().exits(0);
    let told = "SELECT e.source_session_id, v.session_id, v.verdict FROM evidence v JOIN entries e ON e.id = v.entry";
    let kept = scene.sql().rows(told, &[]);
    for row in &kept {
        let text = |at: usize| row.get::<String>(at);
        assert_eq!(scene.imported_from(text(0).parse().unwrap()).unwrap().to_string(), text(1), "{}", text(2));
    }
    assert_eq!(kept.len(), 5);
}

#[test]
fn promise_2_a_request_lost_before_the_commit_is_sent_again() {
    for faults in ["import.lost-before=x1", "import.error-before=x1", "import.html=x1"] {
        let scene = with_faults(faults, true);
        let document = scene.apply().exits(0).json();
        assert_eq!(document["summary"]["imported"], 5, "{faults} {document:#}");
        assert_all_settled(&scene, &document);
    }
}

#[test]
fn promise_2_a_request_without_an_answer_times_out_and_is_resolved() {
    let scene = Scene::new(Config { faults: "import.hang-after=x1".parse().unwrap(), ..sandbox(3) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {timeout: 1s}\n"));
    let document = scene.apply().exits(0).json();
    assert_eq!(document["summary"]["recovered"], 3);
    assert_all_settled(&scene, &document);
}

#[test]
fn promise_2_the_older_generation_of_the_api_is_recovered_from_too() {
    let config = Config {
        faults: "import.lost-after=x1".parse().unwrap(),
        dialect: didit_sync::sandbox::Dialect::Seed,
        ..sandbox(5)
    };
    let scene = Scene::new(config);
    scene.write_all();
    let document = scene.apply().exits(0).json();
    assert_all_settled(&scene, &document);
}

#[test]
fn promise_1_a_kill_in_the_middle_loses_nothing() {
    for latency in ["import.latency=400ms", "import.latency=1ms..300ms"] {
        let scene = Scene::new(Config { faults: latency.parse().unwrap(), ..sandbox(30) });
        scene.write_all();
        let mut child = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
        wait_for("an import", || scene.world.imported().len() >= 3);
        child.kill().unwrap();
        end_of(&mut child);
        let plan = scene.plan().exits(0).json();
        assert!(plan["summary"]["recover"].as_u64().unwrap() > 0, "{}", plan["summary"]);
        let document = scene.apply().exits(0).json();
        assert_all_settled(&scene, &document);
        let recovered = document["summary"]["recovered"].as_u64().unwrap();
        assert_eq!(recovered, plan["summary"]["recover"].as_u64().unwrap());
    }
}

#[test]
fn promise_1_kills_again_and_again_lose_nothing() {
    let scene = Scene::new(Config { faults: "import.latency=5ms..40ms".parse().unwrap(), ..sandbox(40) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 4}\n"));
    for round in 1..=4 {
        let mut child = scene.start(&["apply", "m.yaml", "--yes"]);
        wait_for("more imports", || scene.world.imported().len() >= round * 6);
        child.kill().unwrap();
        end_of(&mut child);
    }
    let document = scene.apply().exits(0).json();
    assert_all_settled(&scene, &document);
}

fn one(scene: &Scene, more: &str) {
    let token = scene.mint(scene.sources()[0].id);
    scene.write("m.yaml", &(scene.head("acme") + &format!("imports:\n  - {{id: a, share_token: {token}{more}}}\n")));
}

#[test]
fn promise_3_already_imported_on_a_first_attempt_is_found_by_proof() {
    let scene = Scene::new(sandbox(3));
    scene.write_all();
    scene.apply().exits(0);
    scene.remove_ledgers("state");
    let document = scene.apply().exits(0).json();
    assert_eq!(document["summary"]["recovered"], 3);
    assert_all_settled(&scene, &document);
}

#[test]
fn promise_3_already_imported_on_a_first_attempt_is_found_by_vendor_data() {
    let scene = Scene::new(Config { reads_show_source: false, ..sandbox(3) });
    scene.write_all();
    scene.apply().exits(0);
    scene.remove_ledgers("state");
    let document = scene.apply().exits(0).json();
    assert_eq!(document["summary"]["recovered"], 3);
    assert_all_settled(&scene, &document);
}

#[test]
fn promise_2_what_stays_ambiguous_is_unknown_until_a_person_settles_it() {
    let scene = Scene::new(Config { reads_show_source: false, ..sandbox(2) });
    one(&scene, ", vendor_data: shared");
    scene.apply().exits(0);
    scene.remove_ledgers("state");
    let _own = scene.world.seed_own_session(SessionKind::User, didit_sync::sandbox::Status::Approved, Some("shared"));
    let document = scene.apply().exits(6).json();
    let row = &document["imports"][0];
    assert_eq!((&row["outcome"], &row["session_id"]), (&json!("unknown"), &Value::Null));
    let command = row["error"]["advice"].as_str().unwrap();
    assert!(command.contains("didit-sync ledger adopt a "), "{command}");
    assert_eq!(document["exit"]["name"], "unknown-outcome");
    let status = scene.run(&["status", "--state", "unknown", "--json"]).exits(0).json();
    assert_eq!(status["entries"][0]["id"], "a");
    // Again: still unknown, still one session.
    scene.apply().exits(6);
    let truth = scene.imported_from(scene.sources()[0].id).unwrap();
    let args =
        ["ledger", "adopt", "a", &truth.to_string(), "--reason", "seen in the console", "--actor", "ann", "--json"];
    let told = scene.run(&args).exits(0).json();
    let status = scene.run(&["status", "a", "--json"]).exits(0).json();
    assert_eq!(told, status, "the ledger as it is after the repair");
    let provenance = &told["entries"][0]["provenance"];
    assert_eq!((&provenance["actor"], &provenance["reason"]), (&json!("ann"), &json!("seen in the console")));
    assert!(told["entries"][0]["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()), "{told:#}");
    let document = scene.apply().exits(0).json();
    assert_eq!(document["imports"][0]["outcome"], "unchanged", "{document:#}");
    assert_eq!(uuid(&document["imports"][0]["session_id"]), truth);
}

#[test]
fn promise_9_what_is_forgotten_is_shown_as_the_ledger_has_it_then() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.apply().exits(0);
    let before = scene.run(&["status", "--json"]).exits(0).json();
    let told = scene.run(&["ledger", "forget", "e00", "--json"]).exits(0).json();
    let generation = |document: &Value| document["ledger"]["generation"].as_i64().unwrap();
    assert_eq!(generation(&told), generation(&before) + 1);
    assert_eq!(told, scene.run(&["status", "e00", "--json"]).exits(0).json());
    assert_ne!(told["entries"][0]["provenance"], before["entries"][0]["provenance"]);
}

#[test]
fn a_session_of_another_entry_can_not_be_adopted() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.apply().exits(0);
    let taken = scene.imported_from(scene.sources()[0].id).unwrap().to_string();
    let refused: Output = scene.run(&["ledger", "adopt", "e01", &taken]).exits(64);
    assert!(refused.stderr.contains("e00"), "{}", refused.stderr);
}

#[test]
fn promise_2_a_lost_answer_with_a_token_that_died_since_is_looked_for() {
    let scene = Scene::new(Config { faults: "import.hang-after=x9".parse().unwrap(), ..sandbox(1) });
    let source = scene.sources()[0].id;
    let text = |token: &str| scene.head("acme") + &format!("imports:\n  - {{id: a, share_token: {token}}}\n");
    scene.write("m.yaml", &text(&scene.mint(source)));
    let mut child = scene.start(&["apply", "m.yaml", "--yes"]);
    wait_for("the import", || !scene.world.imported().is_empty());
    child.kill().unwrap();
    end_of(&mut child);
    scene.write("m.yaml", &text(&scene.mint_for(source, jiff::SignedDuration::from_secs(-10))));
    let writes = scene.writes();
    assert_eq!(scene.plan().json()["summary"]["recover"], 1);
    let document = scene.apply().exits(0).json();
    assert_eq!(document["imports"][0]["outcome"], "recovered");
    assert_eq!(scene.writes(), writes, "a dead token is not sent");
    assert_all_settled(&scene, &document);
}

#[test]
fn promise_2_a_lost_request_with_a_dead_token_and_no_session_is_expired() {
    let scene = Scene::new(Config { faults: "import.hang=x9".parse().unwrap(), ..sandbox(1) });
    let source = scene.sources()[0].id;
    let text = |token: &str| scene.head("acme") + &format!("imports:\n  - {{id: a, share_token: {token}}}\n");
    scene.write("m.yaml", &text(&scene.mint(source)));
    let mut child = scene.start(&["apply", "m.yaml", "--yes"]);
    wait_for("the request", || scene.writes() > 0);
    child.kill().unwrap();
    end_of(&mut child);
    scene.write("m.yaml", &text(&scene.mint_for(source, jiff::SignedDuration::from_secs(-10))));
    let document = scene.apply().exits(5).json();
    assert_eq!(document["imports"][0]["outcome"], "expired", "{document:#}");
    assert!(scene.world.imported().is_empty());
}

#[test]
fn an_api_that_fails_for_good_ends_with_69_and_the_next_run_goes_on() {
    let scene = Scene::new(Config { faults: "import.error-after=x99".parse().unwrap(), ..sandbox(3) });
    scene.write_all();
    // Each import is committed and answered with 500 all the same: its session is found by a lookup.
    let document = scene.apply().json();
    assert_all_settled(&scene, &document);
}
