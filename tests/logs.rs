//! `-v` and `--log-format json`: one object a line, with what a run did to which entry, and no secret.

use didit_sync::sandbox::Config;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::created;
use crate::support::{Canaries, Fake, Reply, Scene, file_only, sandbox};

fn lines(stderr: &str) -> Vec<Value> {
    stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn told<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with(message)).collect()
}

/// A run with lost answers and answers that fail.
fn eventful() -> (Scene, Canaries) {
    let faults = "import.lost-after=x1,import.error-before=35%".parse().unwrap();
    let scene = Scene::new(Config { faults, ..sandbox(6) });
    let manifest = scene.manifest("acme");
    let tokens: Vec<String> =
        manifest.lines().filter_map(|line| line.split("share_token: ").nth(1)).map(|it| it.replace('}', "")).collect();
    // Foreign text in a name.
    scene.write("m.yaml", &manifest.replace("id: e05,", "id: \"e05\\u001b[2J\\u202e\","));
    let canaries = Canaries::new(&tokens, &[&scene.running.api_key()]);
    (scene, canaries)
}

#[test]
fn json_lines_tell_each_request_and_outcome_with_flat_fields() {
    let (scene, canaries) = eventful();
    let output = scene.run(&["apply", "m.yaml", "--yes", "-vv", "--log-format", "json"]).exits(0);
    canaries.assert_untold("apply -vv", &output);
    assert!(!output.stderr.contains(['\u{1b}', '\u{202e}']));
    let lines = lines(&output.stderr);
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(["error", "warning", "info", "debug"].contains(&line["level"].as_str().unwrap()), "{line}");
        assert!(line.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()), "{line}");
    }
    let logged: Vec<&Value> = lines.iter().filter(|line| !line["run"].is_null()).collect();
    assert!(logged.iter().all(|line| line["run"] == 1));
    assert_eq!(told(&lines, "run began")[0]["command"], "apply");
    let ended = told(&lines, "run ended")[0];
    assert!(ended["exit"] == 0 && ended["duration_ms"].is_u64(), "{ended}");
    let sent = told(&lines, "import sent");
    assert_eq!(sent.len() as u64, scene.writes(), "{sent:#?}");
    let imported: Vec<_> = lines.iter().filter(|line| line["message"] == "imported").collect();
    for line in sent.iter().chain(&told(&lines, "import answered")).chain(&imported) {
        assert!(line["manifest"] == "acme" && line["entry"].is_string() && line["attempt"].is_u64(), "{line}");
    }
    let answered = told(&lines, "import answered");
    assert!(answered.iter().all(|line| line["duration_ms"].is_u64()), "{answered:#?}");
    let classes: Vec<&str> = answered.iter().filter_map(|line| line["class"].as_str()).collect();
    for class in ["network", "server"] {
        assert!(classes.contains(&class), "{class} is not in {classes:?}");
    }
    assert_eq!(imported.len(), 6, "{imported:#?}");
    assert!(imported.iter().all(|line| line["duration_ms"].is_u64() && line["session_id"].is_string()));
    assert!(!told(&lines, "session looked for").is_empty());
    assert!(
        told(&lines, "trying again")
            .iter()
            .all(|line| line["class"].is_string() && line["after_ms"].is_u64() && line["attempt"].is_u64())
    );
    assert_eq!(told(&lines, "verified").len(), 6);
}

#[test]
fn without_v_nothing_is_logged_and_with_it_lines_for_people_are() {
    let (scene, canaries) = eventful();
    let output = scene.run(&["apply", "m.yaml", "--yes", "-v"]).exits(0);
    canaries.assert_untold("apply -v", &output);
    let line = output.stderr.lines().find(|line| line.contains(": imported ")).unwrap();
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 9 && time.ends_with('Z') && rest.starts_with("acme/e0"), "{line}");
    assert!(!output.stderr.contains("import sent"), "{}", output.stderr);
    let (scene, _) = eventful();
    let quiet = scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    let said: Vec<&str> = quiet.stderr.lines().collect();
    assert!(matches!(said[..], ["importing", totals] if totals.starts_with("imported 6 of 6")), "{said:?}");
}

#[test]
fn a_429_is_logged_with_its_budget_its_pause_and_the_limit_that_is_learnt() {
    let fake = Fake::new(|request, n| {
        let refused = Reply::json(429, &json!({"detail": "slow down"})).with("Retry-After", "1");
        let created = || Reply::json(201, &created(Uuid::from_u128(100 + n as u128), request));
        request.is_import().then(|| if n == 0 { refused.with("X-RateLimit-Limit", "50") } else { created() })
    });
    fake.write_entries(2);
    let output = fake.apply(&["-v", "--log-format", "json", "--no-verify"]).exits(0);
    let lines = lines(&output.stderr);
    let [line] = told(&lines, "429")[..] else { panic!("{lines:#?}") };
    assert_eq!((&line["run"], &line["level"], &line["class"]), (&json!(1), &json!("warning"), &json!("throttled")));
    assert_eq!((&line["budget"], &line["pause_ms"], &line["limit"]), (&json!("writes"), &json!(1000), &json!(50)));
}

#[test]
fn what_ends_a_run_early_is_logged() {
    let scene = Scene::new(Config { faults: "import.error-before=100%".parse().unwrap(), ..sandbox(2) });
    scene.write_all();
    let output = scene.run(&["apply", "m.yaml", "--yes", "--limit", "1", "--max-duration", "1s"]);
    let args = ["apply", "m.yaml", "--yes", "-v", "--log-format", "json", "--max-duration", "1s"];
    let stopped = scene.run(&args);
    let lines = lines(&stopped.stderr);
    assert!(output.code != Some(0) && !told(&lines, "run stopped").is_empty(), "{lines:#?}");
    assert_eq!(told(&lines, "run ended")[0]["exit"], stopped.code.unwrap());
}

#[test]
fn a_migration_of_the_ledger_is_logged_with_its_copy() {
    if file_only("an old file and its copy") {
        return;
    }
    let (scene, _) = eventful();
    std::fs::create_dir(scene.path("state")).unwrap();
    let old = rusqlite::Connection::open(scene.ledger()).unwrap();
    old.execute_batch(include_str!("../src/ledger/schema.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x4453_594e).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let output = scene.run(&["apply", "m.yaml", "--yes", "-v", "--log-format", "json"]).exits(0);
    let lines = lines(&output.stderr);
    let copied = told(&lines, "ledger copied before its migration")[0]["copy"].as_str().unwrap();
    assert!(scene.path(copied).exists(), "{copied}");
    let migrated = told(&lines, "ledger migrated")[0];
    assert!(migrated["from"] == 1 && migrated["to"].as_u64() > Some(1), "{migrated}");
}
