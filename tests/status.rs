//! What the ledger tells of itself.

use serde_json::{Value, json};

use crate::support::{Scene, keys, sandbox};

fn scene() -> Scene {
    let scene = Scene::new(sandbox(4));
    let sources = scene.sources();
    scene.world.delete_source(sources[3].id).unwrap();
    let mut text = scene.head("acme") + "imports:\n";
    text += &format!("  - {{id: carmen, share_token: {}, vendor_data: \"=1+1\"}}\n", scene.mint(sources[0].id));
    text += &format!("  - {{id: \"@eva\", share_token: {}}}\n", scene.mint(sources[1].id));
    text += &format!("  - {{id: zoe, share_token: {}}}\n", scene.mint(sources[2].id));
    let gone = crate::support::Token {
        receiver: scene.running.application_id(),
        kind: Some("user"),
        ..crate::support::Token::new(sources[3].id)
    };
    text += &format!("  - {{id: gone, share_token: {}}}\n", gone.text());
    scene.write("m.yaml", &text);
    let args = ["apply", "m.yaml", "--yes", "--actor", "ann", "--reason", "Q4", "--ref", "TICKET-7"];
    scene.run(&args).exits(3);
    scene
}

fn json_of(scene: &Scene, args: &[&str]) -> Value {
    let mut all = vec!["status", "--json"];
    all.extend(args);
    scene.run(&all).exits(0).json()
}

#[test]
fn totals_states_and_the_documented_shape() {
    let mut scene = scene();
    scene.unset("DIDIT_API_KEY");
    let totals = scene.run(&["status"]).exits(0);
    assert!(totals.stdout.contains("imported  3") && totals.stdout.contains("refused   1"), "{}", totals.stdout);
    let all = json_of(&scene, &[]);
    assert_eq!(keys(&all), ["format", "ledger", "summary", "entries", "exit"]);
    assert_eq!((&all["format"], keys(&all["ledger"])), (&json!("didit-sync/status.v1"), vec!["id", "generation"]));
    assert_eq!(keys(&all["summary"]), ["imported", "refused", "expired", "unknown", "sending", "erased"]);
    assert_eq!((&all["summary"]["imported"], &all["summary"]["refused"]), (&json!(3), &json!(1)));
    assert_eq!(all["entries"].as_array().unwrap().len(), 4);
    let shape = [
        "manifest",
        "id",
        "state",
        "source_session_id",
        "session_id",
        "session_number",
        "session_kind",
        "status",
        "workflow_id",
        "trust_review",
        "vendor_data",
        "imported_at",
        "attempts",
        "error",
        "provenance",
    ];
    for entry in all["entries"].as_array().unwrap() {
        assert_eq!(keys(entry), shape);
        let provenance = &entry["provenance"];
        assert_eq!(keys(provenance), ["run", "actor", "reason", "ref", "place", "from_application_id", "token"]);
        assert_eq!((&provenance["run"], &provenance["actor"]), (&json!(1), &json!("ann")));
        assert_eq!((&provenance["reason"], &provenance["ref"]), (&json!("Q4"), &json!("TICKET-7")));
        let token = provenance["token"].as_str().unwrap();
        assert!(token.len() == 8 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        assert!(provenance["place"].as_str().unwrap().starts_with("m.yaml:"));
        assert_eq!(entry["attempts"].as_array().unwrap().len(), 1);
    }
    let refused = json_of(&scene, &["--state", "refused"]);
    assert_eq!(refused["entries"].as_array().unwrap().len(), 1);
    let row = &refused["entries"][0];
    assert_eq!((&row["id"], keys(&row["error"])), (&json!("gone"), vec!["class", "http_status", "detail", "advice"]));
    assert_eq!(refused["summary"]["imported"], 3, "totals are of the whole ledger");
}

#[test]
fn entries_are_found_by_label_source_session_and_vendor_data() {
    let scene = scene();
    let source = scene.sources()[0].id;
    let session = scene.imported_from(source).unwrap();
    let names = ["carmen".to_owned(), source.to_string(), session.to_string(), "=1+1".to_owned()];
    for name in &names {
        let found = json_of(&scene, &[name]);
        assert_eq!(found["entries"].as_array().unwrap().len(), 1, "{name}");
        assert_eq!(found["entries"][0]["id"], "carmen");
        let plain = scene.run(&["status", name]).exits(0);
        assert!(plain.stdout.contains(&session.to_string()) && plain.stdout.contains("attempt 1"), "{}", plain.stdout);
    }
    scene.run(&["status", "nobody"]).exits(64);
}

#[test]
fn csv_has_the_keys_as_header_and_no_formula() {
    let scene = scene();
    let text = scene.run(&["status", "--csv"]).exits(0).stdout;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let all = json_of(&scene, &[]);
    assert_eq!(header, keys(&all["entries"][0]));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4);
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{cell}");
    }
    let carmen = rows.iter().find(|row| &row[1] == "carmen").unwrap();
    assert_eq!((&carmen[10], &rows.iter().find(|row| row[1].ends_with("@eva")).unwrap()[1]), ("'=1+1", "'@eva"));
}

#[test]
fn repairs_raise_the_generation_and_plans_do_not() {
    let scene = scene();
    let generation = || json_of(&scene, &[])["ledger"]["generation"].as_u64().unwrap();
    let first = generation();
    scene.plan().exits(0);
    assert_eq!(generation(), first);
    scene.run(&["ledger", "forget", "gone", "--reason", "done with"]).exits(0);
    assert_eq!(generation(), first + 1);
    let nothing = scene.run(&["apply", "m.yaml", "--yes", "--only", "carmen"]).exits(0);
    assert_eq!(generation(), first + 1, "a run that sent nothing: {}", nothing.stdout);
}

#[test]
fn promise_5_a_token_that_got_into_the_ledger_is_in_no_output() {
    let scene = scene();
    let secret = crate::support::Token::new(uuid::Uuid::from_u128(7)).text();
    scene.sql().execute("UPDATE entries SET vendor_data = $1 WHERE label = 'zoe'", &[&secret]);
    for args in
        [vec!["status", "zoe"], vec!["status", "--json"], vec!["status", "--csv"], vec!["plan", "m.yaml", "--json"]]
    {
        let told = scene.run(&args);
        assert!(told.stdout.contains("zoe"), "{args:?}: {}", told.stdout);
        assert!(!told.stdout.contains("eyJ") && !told.stderr.contains("eyJ"), "{args:?}: {}", told.stdout);
    }
    assert!(json_of(&scene, &["zoe"])["entries"][0]["vendor_data"].is_string());
}
