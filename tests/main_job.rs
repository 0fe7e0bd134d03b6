//! The main job: what a manifest lists is imported once, recorded and verified; nothing is sent for what is done.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use didit_sync::sandbox::Config;
use serde_json::{Value, json};

use crate::support::{Scene, file_only, keys, program, sandbox, uuid};

const ACTIONS: [&str; 10] =
    ["recover", "import", "retry", "unchanged", "conflict", "expired", "needs-token", "invalid", "erased", "orphan"];
const OUTCOMES: [&str; 10] = [
    "imported",
    "recovered",
    "unchanged",
    "refused",
    "expired",
    "needs_token",
    "conflict",
    "unknown",
    "not_sent",
    "erased",
];

fn sorted_by_id(rows: &Value) -> bool {
    rows.as_array().unwrap().is_sorted_by_key(|row| row["id"].as_str().unwrap().to_owned())
}

/// Twelve entries: persons and companies, in review and trusted, with and without a label.
fn twelve() -> Scene {
    let scene = Scene::new(sandbox(12));
    let mut text = scene.head("acme") + "imports:\n";
    for (n, source) in scene.sources().iter().enumerate().rev() {
        let token = scene.mint(source.id);
        text += &match n {
            0 => format!("  - {{share_token: {token}, trust_review: true}}\n"),
            1 => format!("  - {{share_token: {token}, id: second, vendor_data: partner-user-42}}\n"),
            n if n % 3 == 0 => format!("  - {{share_token: {token}, id: e{n:02}, trust_review: true}}\n"),
            n => format!("  - {{share_token: {token}, id: e{n:02}}}\n"),
        };
    }
    scene.write("m.yaml", &text);
    scene
}

#[test]
fn plan_says_what_apply_will_do_in_the_documented_shape() {
    let mut scene = twelve();
    scene.unset("DIDIT_API_KEY");
    let plan = scene.plan().exits(0).json();
    assert_eq!(keys(&plan), ["format", "manifests", "summary", "forecast", "actions", "exit"]);
    assert_eq!(plan["format"], "didit-sync/plan.v1");
    assert_eq!(keys(&plan["manifests"][0]), ["path", "name", "digest"]);
    assert_eq!((&plan["manifests"][0]["path"], &plan["manifests"][0]["name"]), (&json!("m.yaml"), &json!("acme")));
    assert_eq!(keys(&plan["summary"]), ACTIONS);
    assert_eq!(keys(&plan["forecast"]), ["writes", "reads", "seconds", "expire_before_turn", "trusted"]);
    assert_eq!((&plan["forecast"]["writes"], &plan["forecast"]["seconds"]), (&json!(12), &json!(0)));
    assert_eq!(plan["forecast"]["trusted"], 4);
    assert_eq!(plan["exit"], json!({"code": 0, "name": "ok", "conditions": []}));
    assert_eq!(plan["summary"]["import"], 12);
    assert!(sorted_by_id(&plan["actions"]));
    let rows = plan["actions"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let shape = [
            "manifest",
            "id",
            "action",
            "source_session_id",
            "session_kind",
            "workflow_id",
            "trust_review",
            "vendor_data",
            "expires_at",
            "session_id",
            "reason",
            "place",
        ];
        assert_eq!(keys(row), shape);
        assert_eq!(
            (&row["action"], &row["session_id"], &row["reason"]),
            (&json!("import"), &Value::Null, &Value::Null)
        );
        assert!(row["place"].as_str().unwrap().starts_with("m.yaml:"));
        assert!(row["expires_at"].as_str().unwrap().ends_with('Z'));
    }
    let second = rows.iter().find(|row| row["id"] == "second").unwrap();
    assert_eq!(second["vendor_data"], "partner-user-42");
    assert_eq!(uuid(&second["source_session_id"]), scene.sources()[1].id);
    assert_eq!(scene.world.counts().requests, 0);
    assert!(!scene.path("state").exists() && scene.bytes_under("state").is_empty(), "plan makes no ledger");
    let detailed = scene.run(&["plan", "m.yaml", "--json", "--detailed-exitcode"]).exits(2).json();
    assert_eq!(detailed["exit"], json!({"code": 2, "name": "changes-pending", "conditions": ["changes-pending"]}));
}

#[test]
fn apply_imports_records_and_verifies_and_a_second_one_sends_nothing() {
    let scene = twelve();
    let done = scene.apply().exits(0).json();
    let shape = ["format", "run", "summary", "seconds", "requests", "imports", "verification", "error", "exit"];
    assert_eq!(keys(&done), shape);
    assert_eq!((&done["format"], &done["run"]), (&json!("didit-sync/apply.v1"), &json!(1)));
    assert_eq!(keys(&done["summary"]), OUTCOMES);
    assert_eq!(done["summary"]["imported"], 12);
    assert_eq!(keys(&done["requests"]), ["writes", "reads", "throttled"]);
    let counts = scene.world.counts();
    assert_eq!(done["requests"], json!({"writes": 12, "reads": counts.reads, "throttled": 0}));
    assert_eq!(counts.writes, 12);
    assert!(sorted_by_id(&done["imports"]));
    let shape = [
        "manifest",
        "id",
        "outcome",
        "source_session_id",
        "session_id",
        "session_number",
        "session_url",
        "session_kind",
        "status",
        "workflow_id",
        "vendor_data",
        "attempts",
        "error",
    ];
    for row in done["imports"].as_array().unwrap() {
        assert_eq!(keys(row), shape);
        let truth =
            scene.world.imported().into_iter().find(|it| it.source_id == uuid(&row["source_session_id"])).unwrap();
        assert_eq!(uuid(&row["session_id"]), truth.session_id);
        assert_eq!(row["session_number"], truth.session_number);
        assert_eq!(row["session_kind"], truth.kind.as_str());
        assert_eq!(row["status"], truth.status.as_str());
        assert_eq!(uuid(&row["workflow_id"]), truth.workflow_id);
        assert_eq!(row["vendor_data"].as_str(), truth.vendor_data.as_deref());
        assert_eq!((&row["outcome"], &row["attempts"], &row["error"]), (&json!("imported"), &json!(1), &Value::Null));
        assert_eq!((&row["manifest"], &row["session_url"]), (&json!("acme"), &Value::Null));
        let trusted =
            row["id"] == "e03" || row["id"] == "e06" || row["id"] == "e09" || row["id"] == row["source_session_id"];
        assert_eq!(truth.trust_review, trusted, "{row}");
    }
    let verification = &done["verification"];
    assert_eq!(keys(verification), ["format", "run", "summary", "findings", "error", "exit"]);
    assert_eq!(keys(&verification["summary"]), ["sessions", "checked", "findings"]);
    assert_eq!((&verification["summary"]["sessions"], &verification["summary"]["checked"]), (&json!(12), &json!(12)));
    assert_eq!(verification["summary"]["findings"]["error"], 0);
    assert_eq!(verification["exit"]["code"], 0);

    let before = scene.world.counts().requests;
    let again = scene.apply().exits(0).json();
    assert_eq!(again["summary"]["unchanged"], 12);
    assert_eq!(again["requests"], json!({"writes": 0, "reads": 0, "throttled": 0}));
    assert_eq!(scene.world.counts().requests, before);
    assert_eq!(again["imports"][0]["session_id"], done["imports"][0]["session_id"]);
    let plan = scene.run(&["plan", "m.yaml", "--json", "--detailed-exitcode"]).exits(0).json();
    assert_eq!(plan["summary"]["unchanged"], 12);
}

#[test]
fn a_second_apply_of_what_is_done_needs_no_key() {
    let mut scene = twelve();
    scene.apply().exits(0);
    scene.unset("DIDIT_API_KEY");
    scene.apply().exits(0);
}

#[test]
fn plan_changes_no_byte_of_the_ledgers_folder_and_is_the_same_again() {
    let scene = twelve();
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "5"]).exits(8);
    let before = scene.bytes_under("state");
    let first = scene.plan().exits(0);
    scene.run(&["plan", "m.yaml", "--out", "saved.json"]).exits(0);
    scene.assert_unchanged("state", &before);
    assert_eq!(scene.plan().stdout, first.stdout);
    let saved = scene.read("saved.json");
    scene.run(&["plan", "m.yaml", "--out", "saved.json"]).exits(0);
    assert_eq!(scene.read("saved.json"), saved, "same inputs, same bytes");
    assert!(!saved.contains("eyJ") && !saved.contains("sk_test_"));
    let saved: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(keys(&saved["ledger"]), ["id", "generation"]);
    let text = scene.read("m.yaml");
    scene.write("m.yaml", &format!("# a comment\n\n{}", text.replace("trust_review: false", "trust_review:   false")));
    let commented = scene.plan().exits(0).json();
    let first: Value = first.json();
    assert_eq!(commented["manifests"], first["manifests"], "format changes no digest");
}

#[test]
fn a_plan_of_a_read_only_ledger_works() {
    if file_only("whose the file is") {
        return;
    }
    let scene = twelve();
    scene.apply().exits(0);
    fs::set_permissions(scene.ledger(), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(scene.path("state"), fs::Permissions::from_mode(0o500)).unwrap();
    let plan = scene.plan();
    fs::set_permissions(scene.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(plan.exits(0).json()["summary"]["unchanged"], 12);
}

#[test]
fn a_thousand_entries_from_a_csv_are_imported_verified_and_recorded_without_secrets() {
    let config = Config { writes_per_minute: 0, reads_per_minute: 0, ..sandbox(1000) };
    let scene = Scene::new(config);
    let mut csv = "token,user_ref\n".to_owned();
    for (n, source) in scene.sources().iter().enumerate() {
        csv += &format!("{},user-{n:04}\n", scene.mint(source.id));
    }
    scene.write("people/all.csv", &csv);
    let text = scene.head("bulk")
        + "limits: {writes_per_minute: 100000, reads_per_minute: 100000}\n\
           sources: [{file: \"people/*.csv\", columns: {share_token: token, vendor_data: user_ref}}]\n";
    scene.write("m.yaml", &text);
    let done = scene.apply().exits(0).json();
    assert_eq!(done["summary"]["imported"], 1000);
    assert_eq!(done["verification"]["summary"]["checked"], 1000);
    assert_eq!(scene.world.throttled(), 0);
    assert_eq!(scene.world.imported().len(), 1000);
    let before = scene.world.counts().requests;
    let again = scene.apply().exits(0).json();
    assert_eq!(again["summary"]["unchanged"], 1000);
    assert_eq!(scene.world.counts().requests, before);
    let status = scene.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["summary"]["imported"], 1000);

    let personal = personal_data(&scene, 40);
    assert!(personal.len() > 40, "{personal:?}");
    let key = scene.running.api_key();
    let mut secrets = vec!["eyJhbGci", key.as_str()];
    secrets.extend(personal.iter().map(String::as_str));
    scene.assert_ledger_free_of(&secrets);
}

/// Names and document numbers out of the decisions of the first sessions.
fn personal_data(scene: &Scene, count: usize) -> Vec<String> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut personal = Vec::new();
    for session in scene.world.imported().iter().take(count) {
        let url = format!("{}/v3/session/{}/decision/", scene.running.base_url(), session.session_id);
        let request = client.get(url).header("x-api-key", scene.running.api_key());
        let body = runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
        let decision: Value = serde_json::from_str(&body).unwrap();
        let blocks = decision["id_verifications"].as_array().into_iter().chain(decision["registry_checks"].as_array());
        for block in blocks.flatten() {
            for field in ["full_name", "document_number", "personal_number", "date_of_birth", "company_name"] {
                personal.extend(block[field].as_str().map(str::to_owned));
            }
        }
    }
    personal
}

#[test]
fn only_and_a_directory_of_manifests() {
    let scene = Scene::new(sandbox(4));
    let sources = scene.sources();
    for (name, at) in [("one", 0), ("two", 2)] {
        let text = scene.head(name)
            + &format!(
                "imports:\n  - {{id: {name}-a, share_token: {}}}\n  - {{id: {name}-b, share_token: {}}}\n",
                scene.mint(sources[at].id),
                scene.mint(sources[at + 1].id)
            );
        scene.write(&format!("all/{name}.yaml"), &text);
    }
    let source = sources[3].id.to_string();
    let done = scene.run(&["apply", "all", "--yes", "--json", "--only", "one-b", "--only", &source]).exits(0).json();
    assert_eq!((&done["summary"]["imported"], &done["summary"]["not_sent"]), (&json!(2), &json!(2)));
    let rows = done["imports"].as_array().unwrap();
    let outcomes: Vec<_> =
        rows.iter().map(|row| (row["id"].as_str().unwrap(), row["outcome"].as_str().unwrap())).collect();
    let expected = [("one-a", "not_sent"), ("one-b", "imported"), ("two-a", "not_sent"), ("two-b", "imported")];
    assert_eq!(outcomes, expected);
    assert_eq!(scene.world.imported().len(), 2);
}

#[test]
fn promise_6_the_ledger_is_private() {
    if file_only("whose the file is") {
        return;
    }
    let scene = twelve();
    scene.apply().exits(0);
    for path in scene.bytes_under("state").keys() {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    assert!(program::contains(&fs::read(scene.ledger()).unwrap(), "SQLite format 3"));
}
