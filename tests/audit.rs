//! Audits find what changed behind the tool's back, without manifest and tokens.

use didit_sync::sandbox::{Change, Config, Status};
use didit_sync::token::SessionKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::ledger::{USUAL, is_postgres};
use crate::support::{Scene, keys, sandbox};

/// Eight entries imported, half of them trusted; then the manifest and its tokens go away.
fn imported() -> Scene {
    let scene = Scene::new(sandbox(8));
    let text = scene.manifest("acme").replace("{id: e00,", "{id: e00, trust_review: true,");
    scene.write("m.yaml", &text);
    scene.apply().exits(0);
    std::fs::remove_file(scene.path("m.yaml")).unwrap();
    scene
}

fn session(scene: &Scene, n: usize) -> Uuid {
    scene.imported_from(scene.sources()[n].id).unwrap()
}

fn audit(scene: &Scene, code: i32) -> Value {
    scene.run(&["audit", "--json"]).exits(code).json()
}

fn rules(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = document["findings"].as_array().unwrap().iter();
    let mut rules: Vec<_> = findings.map(|it| (text(&it["id"]), text(&it["rule"]))).collect();
    rules.sort();
    rules
}

#[test]
fn promise_10_an_audit_needs_no_manifest_and_finds_nothing_where_all_is_well() {
    let scene = imported();
    let document = audit(&scene, 0);
    assert_eq!(keys(&document), ["format", "run", "summary", "findings", "error", "exit"]);
    assert_eq!(document["format"], "didit-sync/audit.v1");
    assert_eq!(
        document["summary"],
        json!({"sessions": 8, "checked": 8, "findings": {"error": 0, "warning": 0, "info": 0}})
    );
    assert_eq!((&document["findings"], &document["error"]), (&json!([]), &Value::Null));
}

/// Four entries imported, of a server that answers with what is no decision so often.
fn garbled(often: &str) -> Scene {
    let scene = Scene::new(Config { faults: format!("decision.garbage={often}").parse().unwrap(), ..sandbox(4) });
    scene.write("m.yaml", &scene.manifest("acme"));
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify"]).exits(0);
    scene
}

#[test]
fn an_answer_that_is_no_decision_is_asked_for_again_and_says_nothing_of_its_session() {
    let document = audit(&garbled("x2"), 0);
    let findings = json!({"error": 0, "warning": 0, "info": 0});
    assert_eq!(document["summary"], json!({"sessions": 4, "checked": 4, "findings": findings}));
    // Nothing but such answers, though each request is answered.
    let document = audit(&garbled("100%"), 69);
    assert_eq!(document["summary"], json!({"sessions": 4, "checked": 0, "findings": findings}));
    assert_eq!(document["error"]["name"], "unavailable");
}

#[test]
fn each_change_is_found_under_its_rule() {
    let scene = imported();
    let change = |n: usize, change: Change| scene.world.change(session(&scene, n), change).unwrap();
    let other = Uuid::from_u128(0x0BAD);
    change(1, Change::VendorData(Some("another".to_owned())));
    change(2, Change::Workflow(scene.running.archived_workflow()));
    change(3, Change::Delete);
    change(4, Change::Source(other));
    change(5, Change::Environment("live".to_owned()));
    change(6, Change::VendorData(None));
    let document = audit(&scene, 4);
    let expected = [
        ("e01", "vendor-data-drift"),
        ("e02", "workflow-drift"),
        ("e03", "session-missing"),
        ("e04", "source-drift"),
        ("e05", "environment-mismatch"),
        ("e06", "vendor-data-drift"),
    ];
    let expected: Vec<_> = expected.iter().map(|(id, rule)| ((*id).to_owned(), (*rule).to_owned())).collect();
    assert_eq!(rules(&document), expected, "{document:#}");
    assert_eq!(document["summary"]["findings"], json!({"error": 6, "warning": 0, "info": 0}));
    assert_eq!(document["exit"], json!({"code": 4, "name": "findings", "conditions": ["findings"]}));
    for finding in document["findings"].as_array().unwrap() {
        let shape =
            ["manifest", "id", "session_id", "rule", "severity", "message", "expected", "actual", "first_seen", "new"];
        assert_eq!(keys(finding), shape);
        assert_eq!(
            (&finding["manifest"], &finding["severity"], &finding["new"]),
            (&json!("acme"), &json!("error"), &json!(true))
        );
    }
    let by = |id: &str| document["findings"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap().clone();
    assert_eq!(
        (&by("e01")["expected"], &by("e01")["actual"]),
        (&json!(format!("acme-{}", scene.sources()[1].id)), &json!("another"))
    );
    assert_eq!(by("e02")["actual"], json!(scene.running.archived_workflow()));
    assert_eq!(by("e04")["actual"], json!(other));
    assert_eq!(by("e03")["session_id"], by("e03")["session_id"]);

    let again = audit(&scene, 4);
    for (first, second) in document["findings"].as_array().unwrap().iter().zip(again["findings"].as_array().unwrap()) {
        assert_eq!((&second["new"], &second["first_seen"]), (&json!(false), &first["first_seen"]));
    }
    // Undone, it is gone; done again, it is new.
    change(1, Change::VendorData(Some(format!("acme-{}", scene.sources()[1].id))));
    assert_eq!(rules(&audit(&scene, 4)).len(), 5);
    change(1, Change::VendorData(Some("another".to_owned())));
    let back = audit(&scene, 4);
    let finding = back["findings"].as_array().unwrap().iter().find(|it| it["id"] == "e01").unwrap();
    assert_eq!(finding["new"], true);
}

#[test]
fn documents_that_expire_and_features_that_were_declined_are_warnings() {
    let scene = imported();
    let sources = scene.sources();
    let person = (0..8).find(|n| sources[*n].kind == SessionKind::User).unwrap();
    let expiry = Change::Document { field: "expiration_date".to_owned(), value: json!("2020-01-01") };
    scene.world.change(session(&scene, person), expiry).unwrap();
    let declined =
        (0..8).find(|n| sources[*n].status == Status::Declined && sources[*n].kind == SessionKind::User).unwrap();
    let review = Change::Review { status: Status::Approved, comment: "fine after all".to_owned() };
    scene.world.change(session(&scene, declined), review).unwrap();
    let document = audit(&scene, 0);
    let found = rules(&document);
    assert!(found.contains(&(format!("e{person:02}"), "document-expired".to_owned())), "{found:?}");
    assert!(found.contains(&(format!("e{declined:02}"), "feature-declined".to_owned())), "{found:?}");
    assert!(!document.to_string().contains("2020-01-01"), "dates are personal data");
}

#[test]
fn a_changed_status_is_drift_unless_a_review_explains_it() {
    let scene = imported();
    scene.world.change(session(&scene, 1), Change::Status(Status::Declined)).unwrap();
    let review = Change::Review { status: Status::Approved, comment: "seen".to_owned() };
    scene.world.change(session(&scene, 2), review).unwrap();
    let document = audit(&scene, 4);
    let expected = [("e01", "status-drift"), ("e02", "status-reviewed")];
    let expected: Vec<_> = expected.iter().map(|(id, rule)| ((*id).to_owned(), (*rule).to_owned())).collect();
    assert_eq!(rules(&document), expected);
}

#[test]
fn a_limit_takes_the_least_recently_audited_first() {
    let scene = imported();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let before = scene.world.requests().len();
        let document = scene.run(&["audit", "--json", "--limit", "4"]).exits(8).json();
        assert_eq!(document["summary"]["checked"], 4);
        let fresh = scene.world.requests().split_off(before);
        seen.extend(fresh.into_iter().map(|it| it.path).filter(|path| path.contains("/decision/")));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn an_audit_of_manifests_needs_no_tokens() {
    let scene = Scene::new(sandbox(4));
    scene.write_all();
    scene.apply().exits(0);
    let mut text = scene.head("acme") + "imports:\n";
    for (n, source) in scene.sources().iter().enumerate().take(3) {
        text += &format!("  - {{id: e{n:02}, source_session_id: {}}}\n", source.id);
    }
    scene.write("m.yaml", &text);
    let document = scene.run(&["audit", "m.yaml", "--json"]).exits(0).json();
    // The fourth is an orphan: imported under this name, kept, and looked at too.
    assert_eq!(document["summary"]["sessions"], 4);
}

#[test]
fn an_audit_of_manifests_reads_no_token_that_they_refer_to() {
    let mut scene = Scene::new(sandbox(4));
    let sources = scene.sources();
    let mut text = scene.head("acme") + "imports:\n";
    text += &format!("  - {{id: a, source_session_id: {}, share_token: {{env: TOKEN_A}}}}\n", sources[0].id);
    text += "  - {id: b, share_token: {env: TOKEN_B}}\n  - {id: c, share_token: {file: c.jwt}}\n";
    text += &format!("  - {{id: d, source_session_id: {}}}\ntokens: [{{file: inbox/d.txt}}]\n", sources[3].id);
    scene.write("m.yaml", &text);
    for (name, source) in [("TOKEN_A", 0), ("TOKEN_B", 1)] {
        let token = scene.mint(sources[source].id);
        scene.set(name, &token);
    }
    scene.write("c.jwt", &scene.mint(sources[2].id));
    scene.write("inbox/d.txt", &scene.mint(sources[3].id));
    scene.apply().exits(0);
    scene.unset("TOKEN_A");
    scene.unset("TOKEN_B");
    std::fs::remove_file(scene.path("c.jwt")).unwrap();
    scene.write("inbox/d.txt", "this is no token any more");
    let done = scene.run(&["audit", "m.yaml", "--json"]).exits(0);
    assert_eq!(done.json()["summary"]["checked"], 4);
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
}

#[test]
fn promise_10_the_ledger_keeps_of_the_last_apply_what_an_audit_needs() {
    let scene = Scene::new(sandbox(2));
    for writes in [250, 270] {
        let text =
            scene.manifest("acme").replace("imports:", &format!("limits: {{writes_per_minute: {writes}}}\nimports:"));
        scene.write("m.yaml", &text);
        scene.apply().exits(0);
        let sql = "SELECT name, application_id, base_url, api_key, limits, expect FROM manifests";
        let kept = scene.sql().rows(sql, &[]);
        let [row] = &kept[..] else { panic!("{kept:?}") };
        let [name, application, base_url, key, limits, expect] = &std::array::from_fn(|at| row.get::<String>(at));
        assert_eq!((name.as_str(), application), ("acme", &scene.running.application_id().to_string()));
        assert_eq!(base_url.trim_end_matches('/'), scene.running.base_url().trim_end_matches('/'));
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(key), json!({"env": "DIDIT_API_KEY"}), "the reference, not the value");
        assert_eq!(json(limits)["writes_per_minute"], writes);
        assert_eq!(json(expect), json!([]), "no rules of one's own");
    }
    // Nothing else is needed: no manifest, no token.
    std::fs::remove_file(scene.path("m.yaml")).unwrap();
    assert_eq!(audit(&scene, 0)["summary"]["checked"], 2);
}

#[test]
fn promise_10_an_audit_in_another_folder_finds_the_key_where_the_manifest_had_it() {
    for key in ["{file: key}", "{exec: [cat, key]}"] {
        let mut scene = Scene::new(sandbox(1));
        let text = scene.manifest("acme").replace("{env: DIDIT_API_KEY}", key);
        scene.write("m/m.yaml", &text);
        scene.write("m/key", &scene.running.api_key());
        scene.unset("DIDIT_API_KEY");
        scene.set("DIDIT_SYNC_ALLOW_EXEC", "1");
        scene.run(&["apply", "m/m.yaml", "--yes"]).exits(0);
        std::fs::create_dir(scene.path("elsewhere")).unwrap();
        let ledger = if is_postgres() { scene.ledger_at(USUAL) } else { format!("../{USUAL}") };
        let mut command = scene.command(&["audit", "--json", "--ledger", &ledger]);
        let child = command.current_dir(scene.path("elsewhere")).spawn().unwrap();
        let document = crate::support::Output::of(child).exits(0).json();
        assert_eq!(document["summary"]["checked"], 1, "{key}");
    }
}

#[test]
fn an_audit_writes_nothing_at_the_server_and_fails_clearly() {
    let mut scene = imported();
    let writes = scene.writes();
    audit(&scene, 0);
    assert_eq!(scene.writes(), writes);
    scene.set("DIDIT_API_KEY", "sk_test_wrong");
    let before = scene.world.counts().requests;
    let document = audit(&scene, 10);
    assert_eq!(document["exit"]["name"], "credentials");
    assert!(scene.world.counts().requests - before <= 3, "{}", scene.world.counts().requests - before);
    scene.unset("DIDIT_API_KEY");
    let document = audit(&scene, 10);
    assert!(document["error"]["message"].as_str().unwrap().contains("DIDIT_API_KEY"), "{document}");
}

#[test]
fn a_status_other_than_in_review_is_told_at_once() {
    use crate::support::fake::created;
    use crate::support::{Fake, Reply};
    let id = Uuid::from_u128(0xAC);
    let fake = Fake::new(move |request, _| {
        let mut body = created(id, request);
        body["status"] = json!("Approved");
        if request.is_import() {
            Some(Reply::json(201, &body))
        } else if request.target.ends_with("/decision/") {
            body.as_object_mut().unwrap().retain(|key, _| key != "workflow_id" && key != "vendor_data");
            Some(Reply::json(200, &body))
        } else {
            None
        }
    });
    fake.write_entries(1);
    let document = fake.apply(&[]).exits(4).json();
    let finding = &document["verification"]["findings"][0];
    assert_eq!((&finding["rule"], &finding["severity"]), (&json!("status-unexpected"), &json!("error")));
    assert_eq!((&finding["expected"], &finding["actual"]), (&json!("In Review"), &json!("Approved")));
    assert_eq!(
        document["verification"]["summary"]["findings"]["error"], 1,
        "a field that is not returned is not judged"
    );
    assert_eq!(document["imports"][0]["outcome"], "imported");
}

#[test]
fn the_older_generation_is_audited_too() {
    let config = Config { dialect: didit_sync::sandbox::Dialect::Seed, ..sandbox(5) };
    let scene = Scene::new(config);
    scene.write_all();
    let done = scene.apply().exits(0).json();
    assert_eq!(done["verification"]["summary"]["checked"], 5);
    scene.world.change(session(&scene, 0), Change::VendorData(Some("another".to_owned()))).unwrap();
    assert_eq!(rules(&audit(&scene, 4)), [("e00".to_owned(), "vendor-data-drift".to_owned())]);
}
