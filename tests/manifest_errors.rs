//! Errors of manifests: all at once, with their place at the beginning of a line, without a token.

use serde_json::json;

use crate::support::program::Folder;
use crate::support::{Scene, Token, keys, sandbox};

const WORKFLOW: &str = "9f9b1234-aaaa-bbbb-cccc-1234567890ab";

fn token(n: u128) -> String {
    Token::new(uuid::Uuid::from_u128(n)).text()
}

#[test]
fn all_errors_are_told_at_once_each_with_its_place() {
    let folder = Folder::new();
    let text = format!(
        "version: 1\nname: acme\ndefaults: {{workflow_id: {WORKFLOW}, vendor_data: x}}\nimports:\n\
         \x20 - share_token: {}\n    trust_reveiw: true\n\
         \x20 - share_token: {}\n    trust_review: maybe\n\
         \x20 - share_token: {}\n    trust_review: false\n    workflow_id: not-a-uuid\n",
        token(1),
        token(2),
        token(3),
    );
    folder.write("m.yaml", &text);
    for command in [vec!["validate"], vec!["plan"], vec!["apply", "--yes"], vec!["audit"]] {
        let mut args = command.clone();
        args.push("m.yaml");
        let told = folder.run(&args).exits(65);
        assert_eq!(told.stdout, "");
        for place in ["m.yaml:6:5: ", "m.yaml:8:19: ", "m.yaml:11:18: "] {
            assert!(told.stderr.lines().any(|line| line.starts_with(place.trim_end())), "{place}\n{}", told.stderr);
        }
        assert!(told.stderr.contains("trust_review"), "the likely key is named");
        assert!(!told.stderr.contains("eyJ"), "{}", told.stderr);
    }
    assert!(!folder.path("state").exists());
}

#[test]
fn with_json_they_are_one_document() {
    let folder = Folder::new();
    folder.write("m.yaml", "version: 1\nname: acme\nimports:\n  - share_tokn: x\n    workflow_id: 7\n");
    for command in [vec!["validate"], vec!["plan"], vec!["apply", "--yes"], vec!["audit"]] {
        let mut args = command.clone();
        args.extend(["m.yaml", "--json"]);
        let told = folder.run(&args).exits(65);
        let document = told.json();
        assert_eq!(keys(&document), ["format", "error", "exit"]);
        assert_eq!(document["format"], "didit-sync/error.v1");
        assert_eq!(keys(&document["error"]), ["code", "name", "message", "diagnostics"]);
        assert_eq!((&document["error"]["code"], &document["error"]["name"]), (&json!(65), &json!("manifest")));
        assert_eq!(document["exit"], json!({"code": 65, "name": "manifest", "conditions": ["manifest"]}));
        let diagnostics = document["error"]["diagnostics"].as_array().unwrap();
        assert!(diagnostics.len() >= 2, "{document:#}");
        for diagnostic in diagnostics {
            assert_eq!(keys(diagnostic), ["code", "severity", "file", "line", "column", "message", "help"]);
            assert_eq!(diagnostic["file"], "m.yaml");
        }
        assert_eq!((&diagnostics[0]["line"], &diagnostics[0]["column"]), (&json!(4), &json!(5)));
        let places: Vec<_> =
            diagnostics.iter().map(|it| (it["line"].as_u64().unwrap(), it["column"].as_u64().unwrap())).collect();
        assert!(places.is_sorted(), "{places:?}");
    }
}

fn refused(text: &str) -> String {
    let folder = Folder::new();
    folder.write("m.yaml", text);
    let told = folder.run(&["validate", "m.yaml"]).exits(65);
    assert!(told.stderr.starts_with("m.yaml:"), "{text}\n{}", told.stderr);
    assert!(!told.stderr.contains(".bm90"), "{}", told.stderr);
    told.stderr
}

#[test]
fn what_a_manifest_may_not_say() {
    let head =
        format!("version: 1\nname: acme\ndefaults: {{workflow_id: {WORKFLOW}, trust_review: false, vendor_data: x}}\n");
    let entry = |more: &str| format!("{head}imports:\n  - {{share_token: {}{more}}}\n", token(1));
    refused("version: 2\nname: acme\n");
    refused("name: acme\n");
    refused("version: 1\nname: Acme Inc\n");
    refused("version: 1\nname: acme\nname: acme\n");
    refused(&format!("{head}application: {{api_key: sk_live_literal}}\n"));
    refused(&format!("{head}application: {{base_url: \"http://example.com\"}}\n"));
    refused(&format!("{head}application: {{id: 12}}\n"));
    refused(&entry(&format!(", vendor_data: \"{}\"", "v".repeat(2001))));
    refused(&entry(", source_session_id: 20bb3c3b-6146-439f-84a4-bd30d00ac6a2"));
    refused(&entry(", trust_review: yes"));
    refused(&format!("{head}imports:\n  - {{share_token: notatoken}}\n"));
    refused(&format!("{head}imports:\n  - {{share_token: {{env: NOT_SET_ANYWHERE}}}}\n"));
    refused(&format!("{head}imports:\n  - {{share_token: {{file: ../outside}}}}\n"));
    refused(&format!(
        "{head}imports:\n  - {{share_token: {}, id: a}}\n  - {{share_token: {}, id: a}}\n",
        token(1),
        token(2)
    ));
    refused(&format!(
        "{head}imports:\n  - {{share_token: {}, id: a}}\n  - {{share_token: {}, id: b}}\n",
        token(1),
        token(1)
    ));
    refused(&format!("{head}limits: {{writes_per_minute: fast}}\n"));
    refused("version: 1\nname: acme\nimports:\n  - {share_token: [\n");
    let missing = refused(&format!("version: 1\nname: acme\nimports:\n  - share_token: {}\n", token(1)));
    assert!(
        missing.contains("m.yaml:4:") && missing.contains("workflow_id") && missing.contains("trust_review"),
        "{missing}"
    );
    let literal = refused(&format!("{head}application: {{api_key: sk_live_literal}}\n"));
    assert!(!literal.contains("sk_live_literal"), "{literal}");
}

#[test]
fn rows_are_told_by_their_file_and_line() {
    let folder = Folder::new();
    let head =
        format!("version: 1\nname: acme\ndefaults: {{workflow_id: {WORKFLOW}, trust_review: false, vendor_data: x}}\n");
    folder.write("rows.csv", &format!("share_token,id\n{},a\nnot-a-token,b\n{},a\n", token(1), token(2)));
    folder.write("m.yaml", &format!("{head}sources: [{{file: rows.csv}}]\n"));
    let told = folder.run(&["validate", "m.yaml"]).exits(65);
    assert!(told.stderr.lines().any(|line| line.starts_with("rows.csv:3:")), "{}", told.stderr);
    assert!(told.stderr.lines().any(|line| line.starts_with("rows.csv:4:")), "{}", told.stderr);
    assert!(!told.stderr.contains("not-a-token"), "{}", told.stderr);
}

#[test]
fn invalid_rows_can_be_skipped_and_are_reported() {
    let scene = Scene::new(sandbox(2));
    let sources = scene.sources();
    let rows =
        format!("share_token,id\n{},good\nbroken,bad\n{},also\n", scene.mint(sources[0].id), scene.mint(sources[1].id));
    scene.write("rows.csv", &rows);
    scene.write("m.yaml", &(scene.head("acme") + "sources: [{file: rows.csv, on_invalid: skip}]\n"));
    let plan = scene.plan().exits(0).json();
    assert_eq!((&plan["summary"]["import"], &plan["summary"]["invalid"]), (&json!(2), &json!(1)));
    let invalid = plan["actions"].as_array().unwrap().iter().find(|row| row["action"] == "invalid").unwrap();
    assert_eq!(invalid["place"], "rows.csv:3");
    let done = scene.apply().exits(5).json();
    assert_eq!((&done["summary"]["imported"], &done["summary"]["refused"]), (&json!(2), &json!(1)));
    let row = done["imports"].as_array().unwrap().iter().find(|row| row["outcome"] == "refused").unwrap();
    assert_eq!((&row["attempts"], &row["error"]["http_status"]), (&json!(0), &json!(null)));
    assert_eq!(scene.writes(), 2);
}

#[test]
fn duplicates_of_one_session_are_an_error_or_the_latest_is_taken() {
    let scene = Scene::new(sandbox(1));
    let source = scene.sources()[0].id;
    let (soon, late) = (
        scene.mint_for(source, jiff::SignedDuration::from_mins(5)),
        scene.mint_for(source, jiff::SignedDuration::from_hours(5)),
    );
    scene.write("rows.csv", &format!("share_token\n{soon}\n{late}\n{late}\n"));
    scene.write("m.yaml", &(scene.head("acme") + "sources: [{file: rows.csv}]\n"));
    let told = scene.run(&["plan", "m.yaml"]).exits(65);
    assert!(told.stderr.contains("rows.csv:3:"), "the later one: {}", told.stderr);
    scene.write("m.yaml", &(scene.head("acme") + "sources: [{file: rows.csv, on_duplicate: latest}]\n"));
    assert_eq!(scene.apply().exits(0).json()["summary"]["imported"], 1);
    let sent = scene.world.requests().into_iter().find(|it| it.method == "POST").unwrap();
    assert_eq!(sent.body.unwrap()["share_token"], json!(late));
}

#[test]
fn a_key_is_not_sent_to_a_host_that_the_manifest_names_by_itself() {
    let mut folder = Folder::new();
    folder.set("DIDIT_API_KEY", "sk_test_canary");
    let text = format!(
        "version: 1\nname: acme\napplication: {{base_url: \"https://didit.me.example.invalid\"}}\n\
         defaults: {{workflow_id: {WORKFLOW}, trust_review: false, vendor_data: x}}\nimports: [{{share_token: {}}}]\n",
        token(1)
    );
    folder.write("m.yaml", &text);
    let warned = folder.run(&["plan", "m.yaml"]).exits(0);
    assert!(warned.stderr.contains("--allow-host didit.me.example.invalid"), "{}", warned.stderr);
    let refused = folder.run(&["apply", "m.yaml", "--yes"]).exits(65);
    assert!(refused.stderr.starts_with("m.yaml:3:"), "{}", refused.stderr);
}

#[test]
fn of_hundreds_of_errors_the_first_are_told_to_people_and_all_to_programs() {
    let folder = Folder::new();
    let keys: Vec<String> = (0..1000).map(|n| format!("key{n}: 1")).collect();
    folder.write("m.yaml", &format!("version: 1\nname: acme\n{}\n", keys.join("\n")));
    let places = |stderr: &str| stderr.lines().filter(|line| line.starts_with("m.yaml:")).count();
    let told = folder.run(&["validate", "m.yaml"]).exits(65).stderr;
    assert_eq!(places(&told), 300);
    assert!(
        told.contains("700 more of these are not shown") && told.contains("1000 errors in the manifests"),
        "{told}"
    );
    assert_eq!(places(&folder.run(&["validate", "m.yaml", "-v"]).exits(65).stderr), 1000);
    let document = folder.run(&["validate", "m.yaml", "--json"]).exits(65).json();
    assert_eq!(document["error"]["diagnostics"].as_array().unwrap().len(), 1000);
    let lines = folder.run(&["validate", "m.yaml", "--log-format", "json"]).exits(65).stderr;
    assert_eq!(lines.lines().count(), 1001);
}
