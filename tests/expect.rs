//! The user's own rules, in imports and audits.

use std::fmt::Write as _;

use didit_sync::sandbox::{Change, Status};
use didit_sync::token::SessionKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::program::contains;
use crate::support::{Scene, sandbox};

const APPROVED: &str = "{name: approved, rule: \"session.status == 'Approved'\"}";
const LIVE: &str = "{name: live, rule: \"session.liveness_checks.all(c, c.score >= 101)\", severity: warning}";

/// The findings of rules of one's own: entry, rule, severity, expected, actual.
fn found(document: &Value) -> Vec<[String; 5]> {
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let findings = document["findings"].as_array().unwrap().iter();
    let own = findings.filter(|it| it["rule"].as_str().unwrap().starts_with("expect:"));
    own.map(|it| ["id", "rule", "severity", "expected", "actual"].map(|key| text(&it[key]))).collect()
}

fn rules(document: &Value) -> Vec<String> {
    found(document).into_iter().map(|[id, rule, ..]| format!("{id} {rule}")).collect()
}

/// Persons with these statuses, as sources `e00`, `e01`, ...; the ids in that order.
fn persons(statuses: &[Status]) -> (Scene, Vec<Uuid>) {
    let scene = Scene::new(sandbox(0));
    let ids = statuses.iter().map(|status| scene.world.seed_session(SessionKind::User, *status, None)).collect();
    (scene, ids)
}

/// A manifest with these entries, all trusted, each with what is said of it.
fn manifest(scene: &Scene, defaults: &str, entries: &[(Uuid, &str)]) -> String {
    let mut text = scene.head("acme").replace("trust_review: false", "trust_review: true");
    if !defaults.is_empty() {
        let _ = writeln!(text, "  expect: [{defaults}]");
    }
    text += "imports:\n";
    for (n, (source, more)) in entries.iter().enumerate() {
        let _ = writeln!(text, "  - {{id: e{n:02}, share_token: {}{more}}}", scene.mint(*source));
    }
    text
}

#[test]
fn a_rule_that_fails_is_a_finding_of_the_import() {
    let (scene, ids) = persons(&[Status::Approved, Status::Declined]);
    scene.write("m.yaml", &manifest(&scene, &format!("{APPROVED}, {LIVE}"), &[(ids[0], ""), (ids[1], "")]));
    let done = scene.apply().exits(4).json();
    let expected = [
        ["e00", "expect:live", "warning", "true", "false"],
        ["e01", "expect:approved", "error", "true", "false"],
        ["e01", "expect:live", "warning", "true", "false"],
    ];
    assert_eq!(found(&done["verification"]), expected);
    assert_eq!(done["verification"]["summary"]["findings"], json!({"error": 1, "warning": 2, "info": 0}));
    assert_eq!(done["exit"]["name"], "findings");
    let told = scene.run(&["audit", "m.yaml"]).exits(4);
    assert!(told.stdout.contains("expect:approved"), "{}", told.stdout);
    let again = scene.run(&["audit", "--json"]).exits(4).json();
    assert_eq!(found(&again), expected);
    assert!(again["findings"].as_array().unwrap().iter().all(|it| it["new"] == false), "{again:#}");
}

#[test]
fn a_rule_that_cannot_be_evaluated_is_a_finding_without_personal_data() {
    let (scene, ids) = persons(&[Status::Approved]);
    let rules = "{name: null, rule: \"session.nfc_verifications.all(n, n.status == 'Approved')\"}, \
                 {name: nothing, rule: \"session.nothing > 1\", severity: info}, \
                 {name: text, rule: \"session.id_verifications[0].full_name\", severity: info}";
    let rules = rules.replace("name: null", "name: nfc");
    scene.write("m.yaml", &manifest(&scene, &rules, &[(ids[0], "")]));
    let done = scene.apply().exits(4);
    let expected = [
        ["e00", "expect:nfc", "error", "true", "null"],
        ["e00", "expect:nothing", "info", "true", "null"],
        ["e00", "expect:text", "info", "true", "null"],
    ];
    assert_eq!(found(&done.json()["verification"]), expected);
    let messages: Vec<String> = done.json()["verification"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["message"].as_str().unwrap().to_owned())
        .collect();
    assert!(messages[0].contains("null") && messages[1].contains("no such field"), "{messages:?}");
    assert_eq!(messages[2], "the rule is not true or false");
}

#[test]
fn promise_10_an_audit_without_a_manifest_goes_by_the_rules_of_the_last_apply() {
    let (scene, ids) = persons(&[Status::Approved, Status::Declined, Status::Declined, Status::Declined]);
    let own = ", expect: [{name: own, rule: \"session.status == 'Declined'\"}]";
    let entries = [(ids[0], own), (ids[1], own), (ids[2], ""), (ids[3], ", expect: []")];
    scene.write("m.yaml", &manifest(&scene, APPROVED, &entries));
    let expected = ["e00 expect:own", "e02 expect:approved"];
    assert_eq!(rules(&scene.apply().exits(4).json()["verification"]), expected);
    let text = std::fs::read_to_string(scene.path("m.yaml")).unwrap();
    std::fs::remove_file(scene.path("m.yaml")).unwrap();
    assert_eq!(rules(&scene.run(&["audit", "--json"]).exits(4).json()), expected);

    // With manifests, those of today; without, still those of the last apply.
    scene.write("m.yaml", &text.replace("own, rule: \"session.status == 'Declined'\"", "new, rule: \"false\""));
    let today = ["e00 expect:new", "e01 expect:new", "e02 expect:approved"];
    assert_eq!(rules(&scene.run(&["audit", "m.yaml", "--json"]).exits(4).json()), today);
    assert_eq!(rules(&scene.run(&["audit", "--json"]).exits(4).json()), expected);

    // An apply that imports nothing keeps them, too.
    scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    assert_eq!(rules(&scene.run(&["audit", "--json"]).exits(4).json()), today);
}

#[test]
fn promise_9_nothing_of_an_erased_entrys_rules_is_left() {
    let (scene, ids) = persons(&[Status::Approved, Status::Approved]);
    let own = ", expect: [{name: own, rule: \"session.vendor_data != 'Carmen-99999999R'\"}]";
    scene.write("m.yaml", &manifest(&scene, "", &[(ids[0], own), (ids[1], "")]));
    scene.apply().exits(0);
    let holds = || {
        let kept = scene.bytes_under("state");
        kept.values().any(|bytes| contains(bytes, "Carmen-99999999R"))
    };
    assert!(holds());
    scene.run(&["ledger", "erase", "e00", "--reason", "asked"]).exits(0);
    assert!(!holds());
    scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    assert!(!holds(), "an apply keeps nothing of what is erased");
    assert_eq!(scene.run(&["audit", "--json"]).exits(0).json()["summary"]["checked"], 1);
}

#[test]
fn a_finding_goes_when_its_rule_holds_again() {
    let (scene, ids) = persons(&[Status::Approved]);
    scene.write("m.yaml", &manifest(&scene, APPROVED, &[(ids[0], "")]));
    scene.apply().exits(0);
    let session = scene.imported_from(ids[0]).unwrap();
    let review = |status| Change::Review { status, comment: String::new() };
    scene.world.change(session, review(Status::Declined)).unwrap();
    let document = scene.run(&["audit", "--json"]).exits(4).json();
    assert_eq!(rules(&document), ["e00 expect:approved"]);
    scene.world.change(session, review(Status::Approved)).unwrap();
    assert_eq!(rules(&scene.run(&["audit", "--json"]).json()), [""; 0]);
}

#[test]
fn rows_of_sources_have_no_rules_but_sources_do() {
    let (scene, ids) = persons(&[Status::Declined]);
    let head = manifest(&scene, "", &[]).replace("imports:\n", "");
    let token = scene.mint(ids[0]);
    scene.write("rows.ndjson", &format!("{{\"id\": \"a\", \"share_token\": \"{token}\", \"expect\": []}}\n"));
    scene.write("m.yaml", &format!("{head}sources: [{{file: rows.ndjson}}]\n"));
    let told = scene.run(&["validate", "m.yaml"]).exits(65);
    assert!(told.stderr.starts_with("rows.ndjson:1:") && told.stderr.contains("`expect`"), "{}", told.stderr);
    scene.write("rows.ndjson", &format!("{{\"id\": \"a\", \"share_token\": \"{token}\"}}\n"));
    scene.write("m.yaml", &format!("{head}sources: [{{file: rows.ndjson, expect: [{APPROVED}]}}]\n"));
    assert_eq!(rules(&scene.apply().exits(4).json()["verification"]), ["a expect:approved"]);
    assert_eq!(rules(&scene.run(&["audit", "--json"]).exits(4).json()), ["a expect:approved"]);
}

#[test]
fn a_rule_that_does_not_compile_is_an_error_of_the_manifest() {
    let (scene, ids) = persons(&[Status::Approved]);
    let text = manifest(&scene, "{name: a, rule: \"session.status = 'x'\"}", &[(ids[0], "")]);
    scene.write("m.yaml", &text);
    let line = 1 + text.lines().position(|line| line.contains("expect")).unwrap();
    for command in
        [vec!["validate", "m.yaml"], vec!["plan", "m.yaml"], vec!["apply", "m.yaml", "--yes"], vec!["audit", "m.yaml"]]
    {
        let told = scene.run(&command).exits(65);
        assert!(told.stderr.starts_with(&format!("m.yaml:{line}:28: error[bad-rule]")), "{}", told.stderr);
    }
    assert_eq!(scene.writes(), 0);
}

/// The rows of the page's table: name, rule, for whom.
fn table() -> Vec<[String; 3]> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    let page = std::fs::read_to_string(path).unwrap();
    let lines = page.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|").replace('`', "")).collect();
        cells.try_into().unwrap()
    };
    lines.map(row).collect()
}

#[test]
fn the_rules_of_the_page_judge_the_sandboxs_sessions_rightly() {
    let table = table();
    assert!(table.len() >= 8, "{table:?}");
    let list = |whom: &str| {
        let rules = table.iter().filter(|[_, _, of]| of == "all" || of == whom);
        rules.fold(String::new(), |list, [name, rule, _]| list + &format!("{{name: {name}, rule: \"{rule}\"}}, "))
    };
    let of_kind = |whom: &str| format!(", expect: [{}]", list(whom));
    let scene = Scene::new(sandbox(0));
    let kinds = [(SessionKind::User, "persons"), (SessionKind::Business, "companies")];
    let statuses = [Status::Approved, Status::Declined];
    let mut entries = Vec::new();
    for (kind, whom) in kinds {
        for status in statuses {
            entries.push((scene.world.seed_session(kind, status, None), of_kind(whom)));
        }
    }
    let entries: Vec<(Uuid, &str)> = entries.iter().map(|(id, more)| (*id, more.as_str())).collect();
    scene.write("m.yaml", &manifest(&scene, "", &entries));
    let document = scene.apply().exits(4).json();
    let failing = [
        "e01 expect:approved",
        "e01 expect:nothing-declined",
        "e01 expect:same-face",
        "e03 expect:approved",
        "e03 expect:nothing-declined",
    ];
    assert_eq!(rules(&document["verification"]), failing);
    assert!(found(&document["verification"]).iter().all(|it| it[4] == "false"), "{document:#}");
}
