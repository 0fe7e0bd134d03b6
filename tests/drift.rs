//! Drift is measured against what the first verification saw, or what was accepted later: every change is found under
//! its rule, and nothing else is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use didit_sync::sandbox::{Change, Config, SourceSession, Status};
use didit_sync::token::SessionKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::created;
use crate::support::{Fake, Reply, Scene, sandbox};

/// Entry, rule, block.
type Found = (String, String, String);

/// A scene whose sessions are imported and verified once; the entries of `trusted` keep the source's status.
fn imported(sessions: usize, trusted: impl Fn(usize) -> bool) -> Scene {
    let config = Config { writes_per_minute: 0, reads_per_minute: 0, record_requests: false, ..sandbox(sessions) };
    let scene = Scene::new(config);
    let mut text = scene.head("acme");
    text += "limits: {writes_per_minute: 100000, reads_per_minute: 100000}\nimports:\n";
    for (n, source) in scene.sources().iter().enumerate() {
        let token = scene.mint(source.id);
        let _ = writeln!(text, "  - {{id: e{n:04}, trust_review: {}, share_token: {token}}}", trusted(n));
    }
    scene.write("m.yaml", &text);
    scene.apply().exits(0);
    std::fs::remove_file(scene.path("m.yaml")).unwrap();
    scene
}

fn audit(scene: &Scene, more: &[&str], code: i32) -> Value {
    scene.run(&[&["audit", "--json"], more].concat()).exits(code).json()
}

fn found(document: &Value) -> BTreeSet<Found> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |finding: &Value| {
        let block = text(&finding["actual"]).split(' ').next().unwrap_or_default().to_owned();
        let block =
            if finding["message"] == "the features are not what they were" { "features".to_owned() } else { block };
        let rule = text(&finding["rule"]);
        (text(&finding["id"]), rule.clone(), if rule == "evidence-drift" { block } else { String::new() })
    };
    document["findings"].as_array().unwrap().iter().map(of).collect()
}

fn check(block: &str, field: &str, value: Value) -> Change {
    Change::Check { block: block.to_owned(), field: field.to_owned(), value }
}

fn field(field: &str, value: Value) -> Change {
    Change::Field { field: field.to_owned(), value }
}

/// The ways in which a session changes; the last two are in the ledger.
const WAYS: usize = 15;
/// In this way a feature of an Approved session is declined: so it must be Approved.
const DECLINED: usize = 11;
const UNEXPECTED: usize = 13;
const DUPLICATE: usize = 14;

/// What happens to a session in this way, and the rule and block under which it is to be found.
fn way(n: usize, source: &SourceSession) -> (Vec<Change>, &'static str, &'static str) {
    let is_person = source.kind == SessionKind::User;
    let main = if is_person { "id_verifications" } else { "registry_checks" };
    let document = if is_person { "id_verifications" } else { "document_verifications" };
    let (change, rule, block) = match n % WAYS {
        0 => (Change::Delete, "session-missing", ""),
        1 => (field("session_kind", json!(if is_person { "business" } else { "user" })), "kind-drift", ""),
        2 => (Change::Workflow(Uuid::from_u128(0xBAD)), "workflow-drift", ""),
        3 => (Change::VendorData(n.is_multiple_of(2).then(|| "another".to_owned())), "vendor-data-drift", ""),
        4 => (Change::Source(Uuid::from_u128(0xBAD)), "source-drift", ""),
        5 => (Change::Environment("live".to_owned()), "environment-mismatch", ""),
        6 => (Change::Status(Status::KycExpired), "status-drift", ""),
        7 => (Change::Review { status: Status::Declined, comment: "no".to_owned() }, "status-reviewed", ""),
        8 => (Change::Rename("Nobody Else".to_owned()), "evidence-drift", main),
        9 => (check(main, ["document_number", "date_of_birth"][n % 2], json!("1901-02-03")), "evidence-drift", main),
        10 => (check(document, "expiration_date", json!("2020-01-01")), "document-expired", ""),
        DECLINED => (
            check(if is_person { "liveness_checks" } else { document }, "status", json!("Declined")),
            "feature-declined",
            "",
        ),
        12 => (check("aml_screenings", "total_hits", json!(3)), "evidence-drift", "aml_screenings"),
        UNEXPECTED => return (Vec::new(), "status-unexpected", ""),
        _ => return (Vec::new(), "duplicate-session", ""),
    };
    (vec![change], rule, block)
}

/// What changes between two reads of a session that did not change.
fn volatile(n: usize, source: &SourceSession) -> Vec<Change> {
    let main = if source.kind == SessionKind::User { "id_verifications" } else { "registry_checks" };
    match n % 8 {
        0 => vec![field("session_url", json!("https://verify.didit.me/session/abc"))],
        1 => vec![check(main, "node_id", json!("feature_ocr_2")), check("aml_screenings", "node_id", json!("x"))],
        2 => vec![check(main, "age", json!(n))],
        3 => vec![check(main, "front_image", Value::Null), check(main, "portrait_image", Value::Null)],
        4 => vec![check(main, "extra_files", json!([format!("https://media.invalid/{n}?X-Amz-Signature=1")]))],
        5 => vec![
            check(main, "back_video", json!("https://elsewhere.invalid/back.mp4")),
            field("expires_at", json!(null)),
        ],
        6 => vec![check(main, "new_field", Value::Null), check(main, "new_list", json!([]))],
        _ => vec![field("new_block", json!(null)), check("aml_screenings", "hits", Value::Null)],
    }
}

/// Changes the ledger in the way that only it can have: the import's own answer, and one session under two entries.
fn change_ledger(scene: &Scene, entry: usize, twin: usize) {
    let mut ledger = scene.sql();
    let label = |n: usize| format!("e{n:04}");
    if entry % WAYS == UNEXPECTED {
        ledger.execute("UPDATE entries SET status = 'Approved' WHERE label = $1", &[&label(entry)]);
        return;
    }
    let copy = "UPDATE entries SET (session_id, source_session_id, vendor_data, session_kind, workflow_id, trust_review, status)
        = (SELECT session_id, source_session_id, vendor_data, session_kind, workflow_id, trust_review, status
           FROM entries WHERE label = $1) WHERE label = $2";
    ledger.execute(copy, &[&label(twin), &label(entry)]);
}

/// `changed` of the sessions change in every way that the rules name, and as many in volatile ways only.
fn precision_and_recall(sessions: usize, changed: usize) {
    let scene = imported(sessions, |n| n < changed && n % WAYS == DECLINED);
    let sources = scene.sources();
    let of: std::collections::HashMap<Uuid, Uuid> =
        scene.world.imported().into_iter().map(|it| (it.source_id, it.session_id)).collect();
    let make = |n: usize, happens: Vec<Change>| {
        for it in happens {
            scene.world.change(of[&sources[n].id], it).unwrap();
        }
    };
    let mut expected = BTreeSet::new();
    for (n, source) in sources.iter().enumerate().take(changed) {
        let (happens, rule, block) = way(n, source);
        expected.insert((format!("e{n:04}"), rule.to_owned(), block.to_owned()));
        if happens.is_empty() {
            let twin = sessions - 1 - n;
            change_ledger(&scene, n, twin);
            if n % WAYS == DUPLICATE {
                expected.insert((format!("e{twin:04}"), rule.to_owned(), String::new()));
            }
        }
        make(n, happens);
    }
    for (n, source) in sources.iter().enumerate().take(2 * changed).skip(changed) {
        make(n, volatile(n, source));
    }
    let document = audit(&scene, &[], 4);
    let all = found(&document);
    let missed: Vec<&Found> = expected.difference(&all).collect();
    let invented: Vec<&Found> = all.difference(&expected).collect();
    assert!(missed.is_empty() && invented.is_empty(), "missed {missed:?}, invented {invented:?}");
    assert_eq!(document["findings"].as_array().unwrap().len(), expected.len());
    assert!(document["findings"].as_array().unwrap().iter().all(|finding| finding["new"] == true));

    // The next night nothing is new, and what a review explained is the baseline.
    let again = audit(&scene, &[], 4);
    assert!(again["findings"].as_array().unwrap().iter().all(|finding| finding["new"] == false), "{again:#}");
    expected.retain(|(_, rule, _)| rule != "status-reviewed");
    assert_eq!(found(&again), expected);
    // Nothing personal was kept, neither of before nor of now.
    scene.assert_ledger_free_of(&["Nobody Else", "1901-02-03", "2020-01-01", "Carmen", "media.sandbox.invalid"]);

    // Accepted, all of it is as it should be.
    let accepted = audit(&scene, &["--accept", "all", "--reason", "migration of ticket 7"], 0);
    assert_eq!(accepted["findings"], json!([]));
    assert_eq!(audit(&scene, &[], 0)["findings"], json!([]));
}

#[test]
fn of_400_sessions_every_change_is_found_under_its_rule_and_nothing_else() {
    precision_and_recall(400, 60);
}

#[test]
#[ignore = "takes minutes: the same with 2,000 sessions"]
fn of_2000_sessions_every_change_is_found_under_its_rule_and_nothing_else() {
    precision_and_recall(2000, 300);
}

fn session(scene: &Scene, n: usize) -> Uuid {
    scene.imported_from(scene.sources()[n].id).unwrap()
}

fn change(scene: &Scene, n: usize, change: Change) {
    scene.world.change(session(scene, n), change).unwrap();
}

fn rename(name: &str) -> Change {
    Change::Rename(name.to_owned())
}

fn labels(document: &Value) -> Vec<&str> {
    document["findings"].as_array().unwrap().iter().map(|finding| finding["id"].as_str().unwrap()).collect()
}

#[test]
fn a_finding_stays_with_its_first_sight_until_it_is_undone_or_accepted() {
    let scene = imported(4, |_| false);
    change(&scene, 0, rename("Nobody Else"));
    change(&scene, 1, Change::VendorData(Some("another".to_owned())));
    change(&scene, 2, Change::Status(Status::Declined));
    let first = audit(&scene, &[], 4);
    assert_eq!(labels(&first), ["e0000", "e0001", "e0002"]);
    assert_eq!(first["summary"]["findings"], json!({"error": 2, "warning": 1, "info": 0}));
    assert!(first["findings"][0]["message"].as_str().unwrap().contains("id_verifications"), "{first:#}");
    // Another change of the same block is the same finding.
    change(&scene, 0, rename("Somebody Else"));
    let second = audit(&scene, &[], 4);
    for (then, now) in first["findings"].as_array().unwrap().iter().zip(second["findings"].as_array().unwrap()) {
        assert_eq!((&now["first_seen"], &now["new"]), (&then["first_seen"], &json!(false)));
    }
    // One is accepted, the others stay; once undone, they go, and the status back at its baseline is no drift.
    let accepted = audit(&scene, &["--accept", "e0001", "--reason", "moved"], 4);
    assert_eq!(labels(&accepted), ["e0000", "e0002"]);
    assert_eq!(labels(&audit(&scene, &[], 4)), ["e0000", "e0002"]);
    change(&scene, 2, Change::Status(Status::InReview));
    assert_eq!(labels(&audit(&scene, &[], 0)), ["e0000"]);
    // What was accepted is measured by what it was then.
    audit(&scene, &["--accept", "e0000", "--reason", "married"], 0);
    assert_eq!(labels(&audit(&scene, &[], 0)), [] as [&str; 0]);
    change(&scene, 0, rename("Nobody Else"));
    change(&scene, 1, Change::VendorData(Some("a third".to_owned())));
    let document = audit(&scene, &[], 4);
    assert_eq!(labels(&document), ["e0000", "e0001"]);
    assert!(document["findings"].as_array().unwrap().iter().all(|finding| finding["new"] == true));
}

#[test]
fn a_review_becomes_the_baseline_by_itself_and_explains_no_later_change() {
    let scene = imported(1, |_| false);
    change(&scene, 0, Change::Review { status: Status::Approved, comment: "seen".to_owned() });
    assert_eq!(audit(&scene, &[], 0)["findings"][0]["rule"], "status-reviewed");
    assert_eq!(audit(&scene, &[], 0)["findings"], json!([]));
    change(&scene, 0, Change::Status(Status::Declined));
    assert_eq!(audit(&scene, &[], 4)["findings"][0]["rule"], "status-drift");
    // The old review said Approved, which is no explanation of Declined, nor is Declined of before.
    change(&scene, 0, Change::Review { status: Status::Declined, comment: "so be it".to_owned() });
    assert_eq!(audit(&scene, &[], 0)["findings"][0]["rule"], "status-reviewed");
    change(&scene, 0, Change::Status(Status::Approved));
    assert_eq!(audit(&scene, &[], 4)["findings"][0]["rule"], "status-drift");
}

#[test]
fn promise_11_an_acceptance_is_a_run_with_actor_and_reason_and_needs_the_lock_of_repairs() {
    let scene = imported(2, |_| false);
    change(&scene, 0, Change::Delete);
    scene.run(&["audit", "--accept", "all"]).exits(64);
    scene.run(&["audit", "--accept", "all", "--reason", " "]).exits(64);
    scene.run(&["audit", "--accept", "nobody", "--reason", "r"]).exits(64);
    scene.run(&["audit", "--accept", "all", "--reason", "r", "--offline"]).exits(64);
    let lock = scene.hold();
    let document = audit(&scene, &["--accept", "all", "--reason", "r"], 11);
    assert_eq!(document["findings"][0]["rule"], "session-missing");
    drop(lock);
    assert_eq!(audit(&scene, &[], 4)["findings"][0]["new"], false);
    audit(&scene, &["--accept", "e0000", "--reason", "deleted on request", "--actor", "ada", "--ref", "T-7"], 0);
    assert_eq!(audit(&scene, &[], 0)["findings"], json!([]));
    let runs = scene.run(&["report", "--list", "--json"]).stdout;
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let told = runs.to_string();
    assert!(told.contains("deleted on request") && told.contains("ada") && told.contains("T-7"), "{told}");
}

#[test]
fn an_audit_offline_judges_recorded_facts_without_a_request_or_a_key() {
    let mut scene = imported(3, |_| false);
    change(&scene, 0, rename("Nobody Else"));
    change(&scene, 1, Change::Delete);
    audit(&scene, &[], 4);
    change(&scene, 2, Change::Delete);
    scene.unset("DIDIT_API_KEY");
    let before = scene.world.counts().requests;
    let document = audit(&scene, &["--offline"], 4);
    assert_eq!(scene.world.counts().requests, before);
    assert_eq!(labels(&document), ["e0000", "e0001"], "what was found stays; what nobody saw is not known");
    assert!(document["findings"].as_array().unwrap().iter().all(|finding| finding["new"] == false));
    assert_eq!(document["summary"]["checked"], 3);
    change_ledger(&scene, UNEXPECTED, 0);
    scene.sql().execute("UPDATE entries SET status = 'Approved' WHERE label = 'e0002'", &[]);
    let document = audit(&scene, &["--offline"], 4);
    assert_eq!(document["findings"][2]["rule"], "status-unexpected");
}

fn baselines(scene: &Scene) -> i64 {
    scene.sql().value("SELECT count(*) FROM baselines", &[])
}

#[test]
fn promise_9_an_erasure_takes_the_baseline_too_and_repairs_start_another() {
    let scene = imported(3, |_| false);
    assert_eq!(baselines(&scene), 3);
    let sql = "SELECT b.facts FROM baselines b JOIN entries e ON e.id = b.entry WHERE label = 'e0000'";
    let facts: String = scene.sql().value(sql, &[]);
    let facts: Value = serde_json::from_str(&facts).unwrap();
    let digests = facts["seen"]["blocks"].as_object().unwrap().values().filter_map(Value::as_str);
    let digests: Vec<&str> = digests.filter(|digest| !digest.is_empty()).collect();
    assert!(digests.len() > 5, "{facts}");
    scene.run(&["ledger", "erase", "e0000", "--reason", "r"]).exits(0);
    assert_eq!(baselines(&scene), 2);
    scene.assert_ledger_free_of(&digests);
    scene.run(&["ledger", "check"]).exits(0);
    change(&scene, 1, rename("Nobody Else"));
    audit(&scene, &[], 0);
    let (source, here) = (scene.sources()[1].id.to_string(), session(&scene, 1).to_string());
    scene.run(&["ledger", "adopt", &source, &here, "--reason", "r"]).exits(0);
    assert_eq!(baselines(&scene), 1);
    assert_eq!(
        audit(&scene, &[], 0)["findings"],
        json!([]),
        "the first verification after an adoption is the baseline"
    );
    scene.run(&["ledger", "forget", &source, "--reason", "r"]).exits(0);
    assert_eq!(baselines(&scene), 1);
    // What a baseline of an erased entry leaves is found.
    let damage = "INSERT INTO baselines SELECT id, run, 1, 'x', '{}' FROM entries WHERE state = 'erased'";
    scene.sql().execute(damage, &[]);
    let document = scene.run(&["ledger", "check", "--json"]).exits(12).json();
    assert_eq!(document["findings"][0]["rule"], "erased-remains");
}

#[test]
fn a_baseline_that_is_none_is_told_by_12_and_all_other_sessions_are_judged() {
    let scene = imported(4, |_| false);
    change(&scene, 2, Change::VendorData(Some("another".to_owned())));
    let ended = || scene.sql().value::<i64>("SELECT count(*) FROM run_ends", &[]);
    let before = ended();
    let damage = |label: &str| {
        let sql = "UPDATE baselines SET facts = '{}' WHERE entry = (SELECT id FROM entries WHERE label = ?1)";
        scene.sql().execute(sql, &[label]);
    };
    let audited = |label: &str| scene.sql().value::<i64>("SELECT audited_at FROM entries WHERE label = ?1", &[label]);
    damage("e0001");
    let looked_at = audited("e0001");
    let document = audit(&scene, &[], 12);
    assert_eq!(document["error"]["name"], "ledger");
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("the baseline of acme/e0001 can't be read"), "{message}");
    assert_eq!((labels(&document), &document["summary"]["checked"]), (vec!["e0002"], &json!(3)));
    assert_eq!(audited("e0001"), looked_at, "it was not judged");
    assert!(audited("e0003") > looked_at);
    assert_eq!(ended(), before + 1);
    let document = audit(&scene, &["--offline"], 12);
    assert_eq!((&document["error"]["name"], &document["summary"]["checked"]), (&json!("ledger"), &json!(3)));
    assert_eq!(labels(&document), ["e0002"]);
    assert_eq!(ended(), before + 2);
    damage("e0003");
    let message = audit(&scene, &[], 12)["error"]["message"].to_string();
    assert!(message.contains("the baseline of acme/e0001 and 1 more can't be read"), "{message}");
    // Nothing is taken for good of a ledger that turns out to be damaged.
    let kept = || scene.sql().value::<String>("SELECT group_concat(facts) FROM baselines", &[]);
    let facts = kept();
    let document = audit(&scene, &["--accept", "e0002", "--reason", "moved"], 12);
    assert_eq!((labels(&document), kept()), (vec!["e0002"], facts));
    scene.sql().execute("DELETE FROM baselines WHERE facts = '{}'", &[]);
    assert_eq!(audit(&scene, &["--accept", "e0002", "--reason", "moved"], 0)["summary"]["checked"], 4);
}

#[test]
fn one_session_that_can_not_be_reached_does_not_end_the_audit() {
    let fake = Fake::new(|request, imports| {
        let id = |n: usize| Uuid::from_u128(0xA0 + n as u128);
        if request.is_import() {
            return Some(Reply::json(201, &created(id(imports), request)));
        }
        let decisions = request.target.strip_suffix("/decision/")?;
        if decisions.ends_with(&id(1).to_string()) {
            return Some(Reply::html(502));
        }
        let id = decisions.rsplit('/').next().unwrap();
        Some(Reply::json(200, &json!({"session_id": id, "status": "In Review", "created_at": jiff::Timestamp::now()})))
    });
    fake.write_entries(4);
    fake.apply(&["--no-verify"]).exits(0);
    for _ in 0..2 {
        let done = fake.folder.run(&["audit", "--json"]).exits(69);
        assert_eq!(done.json()["summary"]["checked"], 3);
        assert_eq!(done.json()["findings"], json!([]));
        assert!(done.stderr.contains("could not be verified"), "{}", done.stderr);
    }
    // It is the first of the next audit, being the one that was looked at least recently.
    let before = fake.requests().len();
    fake.folder.run(&["audit", "--limit", "1", "--json"]);
    let fresh = fake.requests().split_off(before);
    assert!(fresh.iter().any(|request| request.target.contains(&Uuid::from_u128(0xA1).to_string())));
}
