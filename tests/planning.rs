//! Every action of a plan, reached by way of the program.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use didit_sync::sandbox::MintOptions;
use didit_sync::token::SessionKind;
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::program::peak;
use crate::support::{Folder, Scene, sandbox};

/// A manifest of one entry `a` of the first source.
fn entry(scene: &Scene, settings: &str) {
    let token = scene.mint(scene.sources()[0].id);
    entry_with(scene, &token, settings);
}

fn entry_with(scene: &Scene, token: &str, settings: &str) {
    scene
        .write("m.yaml", &(scene.head("acme") + &format!("imports:\n  - {{id: a, share_token: {token}{settings}}}\n")));
}

/// The action and the reason of the only entry.
fn action(scene: &Scene) -> (String, Value) {
    let plan = scene.plan().exits(0).json();
    let row = &plan["actions"][0];
    assert_eq!(plan["summary"][row["action"].as_str().unwrap()], 1);
    (row["action"].as_str().unwrap().to_owned(), row["reason"].clone())
}

#[test]
fn other_settings_of_an_imported_session_are_a_conflict_and_never_sent() {
    let scene = Scene::new(sandbox(2));
    let source = scene.sources()[0].id;
    let other = "00000000-0000-4000-8000-000000000009";
    entry(&scene, "");
    scene.apply().exits(0);
    let changes = [
        (format!(", workflow_id: {other}"), "workflow_id"),
        (", trust_review: true".to_owned(), "trust_review"),
        (", vendor_data: another".to_owned(), "vendor_data"),
        (
            format!(", vendor_data: another, trust_review: true, workflow_id: {other}"),
            "workflow_id and trust_review and vendor_data",
        ),
    ];
    for (change, named) in changes {
        entry(&scene, &change);
        let (action, reason) = action(&scene);
        assert_eq!(action, "conflict");
        assert!(reason.as_str().unwrap().contains(named), "{reason}");
        let before = scene.world.counts().requests;
        let done = scene.apply().exits(5).json();
        assert_eq!(done["imports"][0]["outcome"], "conflict");
        assert_eq!(done["imports"][0]["session_id"], json!(scene.imported_from(source)));
        assert_eq!(scene.world.counts().requests, before);
    }
    entry(&scene, "");
    assert_eq!(action(&scene).0, "unchanged");
}

#[test]
fn a_conflict_does_not_keep_other_entries_from_being_imported() {
    let scene = Scene::new(sandbox(3));
    entry(&scene, "");
    scene.apply().exits(0);
    let text = scene.manifest("acme").replace("{id: e00,", "{id: a, trust_review: true,");
    scene.write("m.yaml", &text);
    let done = scene.apply().exits(5).json();
    assert_eq!((&done["summary"]["imported"], &done["summary"]["conflict"]), (&json!(2), &json!(1)));
    assert_eq!(done["exit"]["conditions"], json!(["needs-input"]));
}

#[test]
fn dead_tokens_are_expired_and_never_sent() {
    let scene = Scene::new(sandbox(1));
    let dead = scene.mint_for(scene.sources()[0].id, SignedDuration::from_secs(-30));
    entry_with(&scene, &dead, "");
    assert_eq!(action(&scene).0, "expired");
    let done = scene.apply().exits(5).json();
    let row = &done["imports"][0];
    assert_eq!((&row["outcome"], &row["error"]["class"]), (&json!("expired"), &json!("token_expired")));
    assert!(row["error"]["advice"].as_str().unwrap().contains("new token"));
    assert_eq!(scene.world.counts().requests, 0);
    entry(&scene, "");
    assert_eq!(action(&scene).0, "import");
    assert_eq!(scene.apply().exits(0).json()["summary"]["imported"], 1);
}

#[test]
fn tokens_for_another_application_are_invalid() {
    let scene = Scene::new(sandbox(1));
    let options = MintOptions { for_application: Some(Uuid::from_u128(5)), ..MintOptions::default() };
    let token = scene.world.mint(scene.sources()[0].id, options).unwrap();
    entry_with(&scene, &token, "");
    assert_eq!(action(&scene).0, "invalid");
    let done = scene.apply().exits(5).json();
    assert_eq!(done["imports"][0]["error"]["class"], "wrong_audience");
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn what_was_refused_for_good_is_invalid_until_something_changes() {
    let scene = Scene::new(sandbox(2));
    let source = scene.sources()[0].id;
    entry(&scene, "");
    scene.world.delete_source(source).unwrap();
    let done = scene.apply().exits(3).json();
    assert_eq!(done["imports"][0]["error"]["class"], "source_gone");
    let (now, reason) = action(&scene);
    assert_eq!(now, "invalid");
    assert!(reason.as_str().unwrap().contains("source_gone"), "{reason}");
    let writes = scene.writes();
    let again = scene.apply().exits(5).json();
    assert_eq!(
        (&again["imports"][0]["outcome"], &again["imports"][0]["error"]["class"]),
        (&json!("refused"), &json!("source_gone"))
    );
    assert_eq!(scene.writes(), writes);
    scene.run(&["apply", "m.yaml", "--yes", "--retry-refused"]).exits(3);
    assert_eq!(scene.writes(), writes + 1);
}

#[test]
fn a_refused_entry_is_retried_with_another_token() {
    let scene = Scene::new(sandbox(1));
    let source = scene.sources()[0].id;
    let good = scene.mint(source);
    // The form of a token, the claims of a token, and a signature that the server refuses.
    let bad = format!("{}AAAA", &good[..good.len() - 4]);
    entry_with(&scene, &bad, "");
    assert_eq!(scene.apply().exits(3).json()["imports"][0]["error"]["class"], "token_invalid");
    assert_eq!(action(&scene).0, "invalid");
    entry_with(&scene, &good, "");
    assert_eq!(action(&scene).0, "retry");
    let done = scene.apply().exits(0).json();
    assert_eq!((&done["imports"][0]["outcome"], done["imports"].as_array().unwrap().len()), (&json!("imported"), 1));
    let status = scene.run(&["status", "a", "--json"]).exits(0).json();
    assert_eq!(status["entries"][0]["attempts"].as_array().unwrap().len(), 2);
}

#[test]
fn an_unknown_workflow_is_retried_and_succeeds_once_it_exists() {
    use crate::support::fake::{WORKFLOW, created};
    use crate::support::{Fake, Reply};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let exists = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&exists);
    let fake = Fake::new(move |request, _| {
        let there = there.load(Ordering::SeqCst);
        if request.is_import() && there {
            Some(Reply::json(201, &created(Uuid::from_u128(0xAB), request)))
        } else if request.is_import() {
            Some(Reply::json(404, &json!({"detail": "Workflow does not exist for this application."})))
        } else if request.target.starts_with("/v3/workflows/") && !there {
            Some(Reply::json(403, &json!({"detail": "You do not have permission to perform this action."})))
        } else {
            None
        }
    });
    fake.write_entries(1);
    assert_eq!(fake.apply(&[]).exits(3).json()["imports"][0]["error"]["class"], "workflow_unknown");
    let plan = fake.folder.run(&["plan", "m.yaml", "--json", "--detailed-exitcode"]).exits(2).json();
    assert_eq!(
        (&plan["actions"][0]["action"], &plan["actions"][0]["workflow_id"]),
        (&json!("retry"), &json!(WORKFLOW))
    );
    exists.store(true, Ordering::SeqCst);
    assert_eq!(fake.apply(&["--no-verify"]).exits(0).json()["imports"][0]["outcome"], "imported");
}

#[test]
fn a_roster_line_without_a_token_needs_one() {
    let scene = Scene::new(sandbox(1));
    let source = scene.sources()[0].id;
    scene.write("m.yaml", &(scene.head("acme") + &format!("imports:\n  - {{id: a, source_session_id: {source}}}\n")));
    let plan = scene.plan().exits(0).json();
    assert_eq!(plan["actions"][0]["action"], "needs-token");
    assert_eq!(plan["actions"][0]["source_session_id"], json!(source));
    let done = scene.apply().exits(5).json();
    assert_eq!((&done["imports"][0]["outcome"], &done["summary"]["needs_token"]), (&json!("needs_token"), &json!(1)));
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn an_imported_session_in_no_manifest_any_more_is_an_orphan_and_kept() {
    let scene = Scene::new(sandbox(3));
    scene.write_all();
    scene.apply().exits(0);
    entry(&scene, "");
    let plan = scene.plan().exits(0).json();
    assert_eq!((&plan["summary"]["orphan"], &plan["summary"]["unchanged"]), (&json!(2), &json!(1)));
    let orphan = plan["actions"].as_array().unwrap().iter().find(|row| row["action"] == "orphan").unwrap();
    assert_eq!(orphan["id"], "e01");
    assert!(orphan["session_id"].is_string());
    let done = scene.apply().exits(0).json();
    assert_eq!(done["imports"].as_array().unwrap().len(), 1, "orphans are not among the imports");
    assert_eq!(scene.world.imported().len(), 3);
    // Under another name they are nobody's.
    scene.write("m.yaml", &scene.head("other"));
    assert_eq!(scene.plan().exits(0).json()["summary"]["orphan"], 0);
}

#[test]
fn an_entry_moved_to_another_manifest_is_not_imported_again() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.apply().exits(0);
    let text = scene.manifest("renamed").replace("renamed-{source_session_id}", "acme-{source_session_id}");
    scene.write("m.yaml", &text);
    let before = scene.world.counts().requests;
    assert_eq!(scene.apply().exits(0).json()["summary"]["unchanged"], 2);
    assert_eq!(scene.world.counts().requests, before);
}

#[test]
fn promise_9_forgotten_entries_are_imported_again_as_far_as_the_server_lets_them() {
    let scene = Scene::new(sandbox(1));
    entry(&scene, "");
    scene.apply().exits(0);
    let first = scene.imported_from(scene.sources()[0].id).unwrap();
    scene.run(&["ledger", "forget", "a", "--reason", "by mistake"]).exits(0);
    assert_eq!(action(&scene).0, "import");
    let done = scene.apply().exits(0).json();
    assert_eq!(
        (&done["imports"][0]["outcome"], &done["imports"][0]["session_id"]),
        (&json!("recovered"), &json!(first))
    );
    scene.run(&["ledger", "forget", "a", "--reason", "deleted at Didit"]).exits(0);
    scene.world.change(first, didit_sync::sandbox::Change::Delete).unwrap();
    // One import of a source: the server says that it was imported, and there is nothing to be found.
    assert_eq!(scene.apply().exits(6).json()["imports"][0]["error"]["class"], "already_imported");
}

#[test]
fn the_forecast_counts_tokens_that_die_before_their_turn() {
    let scene = Scene::new(sandbox(6));
    let mut text = scene.head("acme") + "limits: {writes_per_minute: 3}\nimports:\n";
    for source in scene.sources() {
        let token = scene.mint_for(source.id, SignedDuration::from_secs(30));
        text += &format!("  - {{share_token: {token}}}\n");
    }
    scene.write("m.yaml", &text);
    let forecast = scene.plan().exits(0).json()["forecast"].clone();
    assert_eq!((&forecast["writes"], &forecast["expire_before_turn"]), (&json!(3), &json!(3)));
}

#[test]
fn kinds_are_taken_from_the_claims() {
    let scene = Scene::new(sandbox(8));
    let company = scene.sources().into_iter().find(|source| source.kind == SessionKind::Business).unwrap();
    entry_with(&scene, &scene.mint(company.id), "");
    let plan = scene.plan().exits(0).json();
    assert_eq!(plan["actions"][0]["session_kind"], "business");
    assert_eq!(plan["actions"][0]["workflow_id"], json!(scene.running.workflow(SessionKind::Business)));
    assert_eq!(scene.apply().exits(0).json()["imports"][0]["session_kind"], "business");
}

#[test]
fn a_session_imported_by_hand_at_the_server_is_recognised_as_the_entrys() {
    // Claims without a kind are a person's.
    let scene = Scene::new(sandbox(1));
    let options = MintOptions { legacy: true, ..MintOptions::default() };
    let token = scene.world.mint(scene.sources()[0].id, options).unwrap();
    entry_with(&scene, &token, "");
    let done = scene.apply().exits(0).json();
    assert_eq!(done["imports"][0]["session_kind"], "user");
}

/// Rows whose tokens are about so many bytes long.
fn rows(count: u32, bytes: usize) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token = |n: u32| {
        let id = Uuid::from_u128(u128::from(n) + 1);
        let claims =
            format!("{{\"session_id\":\"{id}\",\"exp\":4102444800,\"for\":\"{}\"}}", "x".repeat(bytes * 3 / 4));
        format!("{}.{}.c2lnbmF0dXJl", encode("{\"alg\":\"HS256\"}"), encode(&claims))
    };
    let row = |n| format!("{{\"share_token\":\"{}\",\"vendor_data\":\"acme-{n}\"}}\n", token(n));
    (0..count).map(row).collect::<Vec<_>>().concat()
}

/// The most memory, in KiB, that a plan takes; its output goes to a file.
fn memory(folder: &Folder, args: &[&str]) -> u64 {
    let out = std::fs::File::create(folder.path("out")).unwrap();
    let said = std::fs::File::create(folder.path("said")).unwrap();
    let mut child = folder.command(&[&["plan", "m.yaml"], args].concat()).stdout(out).stderr(said).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(&child));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success(), "{args:?}: {:.2000}", folder.read("said"));
    assert!(most > 0, "{args:?}");
    most
}

#[test]
fn promise_3_memory_holds_neither_the_tokens_of_rows_nor_what_is_written() {
    const ROWS: u32 = 20_000;
    let folder = Folder::new();
    let app = Uuid::from_u128(1);
    folder.write(
        "m.yaml",
        &format!("version: 1\nname: acme\napplication: {{id: {app}, api_key: {{env: KEY}}}}\ndefaults: {{workflow_id: {app}, trust_review: false}}\nsources: [{{file: rows.ndjson}}]\n"),
    );
    let size = |name: &str| std::fs::metadata(folder.path(name)).unwrap().len() / 1024;
    folder.write("rows.ndjson", &rows(ROWS, 300));
    let (short, short_file) = (memory(&folder, &[]), size("rows.ndjson"));
    for (args, file) in [(&["--json"][..], "out"), (&["--out", "saved.json"], "saved.json")] {
        let most = memory(&folder, args);
        let written = size(file);
        assert!(written > 8_000, "{written} KiB");
        assert!(most < short + written / 3, "{args:?}: {most} KiB instead of {short}, {written} written");
    }
    folder.write("rows.ndjson", &rows(ROWS, 3000));
    let (long, more) = (memory(&folder, &[]), size("rows.ndjson") - short_file);
    assert!(more > 50_000, "{more} KiB");
    assert!(long < short + more / 3, "{long} KiB instead of {short}, of {more} more");
}
