//! A plan of what was found up to date is told without reading entries again, and never when anything has changed.

use base64::Engine as _;
use didit_sync::sandbox::{Config, MintOptions};
use uuid::Uuid;

use crate::support::fake::created;
use crate::support::postgres::cluster;
use crate::support::{Fake, Reply, Scene, sandbox, uuid};

/// Marks what is noted, so that a plan that is told from it can be told from one that is made.
const MARKED: &str = "acme (m.yaml): 77 entries";
const MARK: &str =
    "UPDATE up_to_date SET found = replace(found, '\"entries\":3', '\"entries\":77') WHERE found LIKE '%m.yaml%'";

/// How many entries the note of `m.yaml` says; `None` where there is none.
fn noted(scene: &Scene) -> Option<u64> {
    let notes = scene.sql().rows("SELECT found FROM up_to_date", &[]);
    let of_this = |found: &serde_json::Value| found["manifests"][0]["path"] == "m.yaml";
    let mut notes = notes.iter().map(|row| serde_json::from_str(&row.get::<String>(0)).unwrap()).filter(of_this);
    notes.next()?["manifests"][0]["entries"].as_u64()
}

fn mark(scene: &Scene) {
    let sql =
        "UPDATE up_to_date SET found = replace(found, '\"entries\":3', '\"entries\":77') WHERE found LIKE '%m.yaml%'";
    assert_eq!(scene.sql().execute(sql, &[]), 1);
}

fn plan(scene: &Scene) -> String {
    scene.run(&["plan", "m.yaml"]).exits(0).stdout
}

/// A manifest whose three entries are rows of two files that a pattern finds, all imported and noted.
fn imported() -> Scene {
    let scene = with_rows();
    scene.apply().exits(0);
    scene
}

fn with_rows() -> Scene {
    let scene = Scene::new(sandbox(5));
    for (file, numbers) in [("rows/a.ndjson", 0..2), ("rows/b.ndjson", 2..3)] {
        scene.write(file, &numbers.map(|n| row(&scene, n)).collect::<String>());
    }
    scene.write("m.yaml", &(scene.head("acme") + "sources:\n  - file: 'rows/*.ndjson'\n"));
    scene
}

fn row(scene: &Scene, number: usize) -> String {
    let token = scene.world.mint(scene.sources()[number].id, MintOptions::default()).unwrap();
    format!("{{\"id\": \"e{number}\", \"share_token\": \"{token}\"}}\n")
}

#[test]
fn what_an_apply_leaves_with_nothing_to_do_is_planned_from_its_note_in_the_same_words() {
    let scene = imported();
    assert_eq!(noted(&scene), Some(3));
    let quick = plan(&scene);
    scene.sql().execute("DELETE FROM up_to_date", &[]);
    assert_eq!(plan(&scene), quick);
    assert!(quick.ends_with("Plan: 3 unchanged.\nNothing to send.\n"), "{quick}");
    // An apply with nothing to do notes it anew, and tells of the sessions that are there.
    let done = scene.apply().exits(0).json();
    let sessions = |document: &serde_json::Value| -> Vec<_> {
        document["imports"].as_array().unwrap().iter().map(|row| Some(uuid(&row["session_id"]))).collect()
    };
    let imported: Vec<_> = (0..3).map(|n| scene.imported_from(scene.sources()[n].id)).collect();
    let report = scene.run(&["report", "--json"]).exits(0).json();
    assert_eq!((sessions(&done), sessions(&report)), (imported.clone(), imported));
    mark(&scene);
    assert!(plan(&scene).starts_with(MARKED));
    let detailed = scene.run(&["plan", "m.yaml", "--detailed-exitcode"]).exits(0);
    assert!(detailed.stdout.starts_with(MARKED));
    // Where entries are shown, they are read.
    assert_eq!(scene.plan().exits(0).json()["summary"]["unchanged"], 3);
    assert!(scene.run(&["plan", "m.yaml", "-v"]).exits(0).stdout.contains("= unchanged: 3"));
    scene.run(&["plan", "m.yaml", "--out", "saved.json", "--report", "markdown=plan.md"]).exits(0);
    assert!(scene.read("saved.json").contains("\"unchanged\": 3") && scene.read("plan.md").contains("3 unchanged"));
}

#[test]
fn a_change_of_any_file_has_everything_read_again() {
    let scene = imported();
    mark(&scene);
    let (manifest, rows) = (scene.read("m.yaml"), std::fs::read_to_string(scene.path("rows/b.ndjson")).unwrap());
    let another = row(&scene, 3);
    let changes: [(&str, &str, &str); 5] = [
        ("rows/b.ndjson", &(rows.clone() + &another), "+ import: 1"),
        ("rows/b.ndjson", &rows.replace("e2", "e9"), "Plan: 3 unchanged."),
        ("rows/b.ndjson", "", "2 unchanged, 1 orphan."),
        ("rows/c.ndjson", &another, "+ import: 1"),
        ("m.yaml", &manifest.replace("trust_review: false", "trust_review: true"), "! conflict: 3"),
    ];
    for (file, text, told) in changes {
        let before = std::fs::read_to_string(scene.path(file)).ok();
        scene.write(file, text);
        let shown = plan(&scene);
        assert!(shown.contains(told) && !shown.starts_with(MARKED), "{file}: {shown}");
        match before {
            Some(before) => drop(scene.write(file, &before)),
            None => std::fs::remove_file(scene.path(file)).unwrap(),
        }
        assert!(plan(&scene).starts_with(MARKED), "{file} is as it was");
    }
    scene.write("rows/b.ndjson", "{\"id\": ");
    scene.run(&["plan", "m.yaml"]).exits(65);
}

#[test]
fn a_change_of_the_ledger_has_everything_read_again() {
    let scene = imported();
    mark(&scene);
    scene.write("other.yaml", &(scene.head("other") + "sources:\n  - file: 'others/*.ndjson'\n"));
    scene.write("others/a.ndjson", &row(&scene, 4));
    scene.run(&["apply", "other.yaml", "--yes"]).exits(0);
    assert!(plan(&scene).ends_with("Plan: 3 unchanged.\nNothing to send.\n"));
    scene.apply().exits(0);
    mark(&scene);
    scene.run(&["audit"]).exits(0);
    assert!(plan(&scene).starts_with(MARKED), "an audit changes no entry");
    scene.run(&["ledger", "forget", "e1", "--reason", "r"]).exits(0);
    let after = plan(&scene);
    assert!(after.contains("Plan: 1 import, 2 unchanged."), "{after}");

    let scene = imported();
    scene.run(&["ledger", "erase", "e1", "--reason", "r"]).exits(0);
    assert_eq!(noted(&scene), None);
    assert!(plan(&scene).contains("2 unchanged, 1 erased."));
}

#[test]
fn what_more_is_to_be_said_of_is_not_noted() {
    // A warning, something left, and a token that a file alone does not decide.
    let scene = imported();
    scene.sql().execute("DELETE FROM up_to_date", &[]);
    let manifest = scene.read("m.yaml");
    scene.write("m.yaml", &(manifest.clone() + "  - file: 'none/*.csv'\n"));
    scene.apply().exits(0);
    assert_eq!(noted(&scene), None);
    assert!(scene.run(&["plan", "m.yaml"]).exits(0).stderr.contains("matches no file"));
    scene.write("rows/c.ndjson", &(row(&scene, 3) + &row(&scene, 4)));
    scene.write("m.yaml", &manifest);
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "1"]).exits(8);
    assert_eq!(noted(&scene), None);
    scene.apply().exits(0);
    assert_eq!(noted(&scene), Some(5));

    let scene = Scene::new(sandbox(1));
    let source = scene.sources()[0].id;
    let entry = format!("imports:\n  - {{share_token: {{file: token}}, source_session_id: {source}}}\n");
    scene.write("token", &scene.mint(source));
    scene.write("m.yaml", &(scene.head("acme") + &entry));
    scene.apply().exits(0);
    scene.apply().exits(0);
    assert_eq!(noted(&scene), None);
}

#[test]
fn what_had_to_be_looked_up_is_noted_by_the_next_apply() {
    let faults = "import.lost-after=x1".parse().unwrap();
    let scene = Scene::new(Config { faults, ..sandbox(3) });
    scene.write("m.yaml", &(scene.head("acme") + "sources:\n  - file: 'rows/*.ndjson'\n"));
    scene.write("rows/a.ndjson", &(0..3).map(|n| row(&scene, n)).collect::<String>());
    assert_eq!(scene.apply().exits(0).json()["summary"]["recovered"], 3);
    assert_eq!(noted(&scene), None);
    assert_eq!(scene.apply().exits(0).json()["summary"]["unchanged"], 3);
    assert_eq!(noted(&scene), Some(3));
}

#[test]
fn what_a_token_does_not_tell_is_noted_by_the_next_apply() {
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.{}", part(r#"{"alg":"HS256"}"#), part("not json"), part("signature of it"));
    let fake = Fake::new(move |request, _| {
        request.is_import().then(|| Reply::json(201, &created(Uuid::from_u128(0xC1), request)))
    });
    fake.folder.write("m.yaml", &format!("{}imports:\n  - {{id: odd, share_token: {token}}}\n", fake.head()));
    let notes = || fake.folder.sql().rows("SELECT 1 FROM up_to_date", &[]).len();
    fake.apply(&["--no-verify"]).exits(0);
    assert_eq!(notes(), 0);
    fake.apply(&["--no-verify"]).exits(0);
    assert_eq!((notes(), fake.imports().len()), (1, 1));
}

#[test]
fn promise_6_a_ledger_on_a_server_is_brought_from_its_first_version_to_this_one() {
    let Some(cluster) = cluster() else { return };
    let (database, scene) = (cluster.database(), with_rows());
    let run = |command: &[&str]| scene.run(&[command, &["--ledger", &database.url()]].concat()).exits(0);
    run(&["apply", "m.yaml", "--yes"]);
    let mut connection = database.connect();
    connection.batch_execute("DROP TABLE up_to_date, repeated_outcomes; UPDATE meta SET version = 1").unwrap();
    assert!(run(&["plan", "m.yaml"]).stdout.ends_with("Plan: 3 unchanged.\nNothing to send.\n"));
    run(&["ledger", "check"]);
    run(&["report"]);
    run(&["report", "--since", "2020-01-01"]);
    run(&["ledger", "backup", "copy.db"]);
    run(&["apply", "m.yaml", "--yes"]);
    let row = connection.query_one("SELECT version, (SELECT count(*) FROM up_to_date) FROM meta", &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 1));
    connection.execute(MARK, &[]).unwrap();
    assert!(run(&["plan", "m.yaml"]).stdout.starts_with(MARKED));
    // Another run, which began before, imports one more.
    let more = "INSERT INTO entries (manifest, label, base_url, state, attempts, place, run) VALUES ('x', 'x', '', 'imported', 0, '', 1)";
    connection.execute(more, &[]).unwrap();
    assert!(!run(&["plan", "m.yaml"]).stdout.starts_with(MARKED));
    assert_eq!(scene.writes(), 3);
}

#[test]
fn promise_3_runs_again_of_what_has_not_changed_are_reported_whole_and_kept_once() {
    let scene = imported();
    let kept = || scene.sql().value::<i64>("SELECT count(*) FROM run_outcomes", &[]);
    let told = || scene.apply().exits(0).json()["imports"].clone();
    let report = |run: i64| scene.run(&["report", &run.to_string(), "--json"]).exits(0).json()["imports"].clone();
    let csv = |run: i64| scene.run(&["report", &run.to_string(), "--format", "csv"]).exits(0).stdout;
    let second = told();
    assert_eq!((second.as_array().unwrap().len(), kept()), (3, 6));
    assert_eq!((told(), told(), kept()), (second.clone(), second.clone(), 6));
    let (json, table) = (report(2), csv(2));
    assert_eq!((report(3), report(4), csv(4)), (json.clone(), json.clone(), table.clone()));
    assert_eq!(table.lines().count(), 4, "{table}");
    // Another manifest between them changes nothing of that, and what has changed is kept anew.
    scene.write("other.yaml", &(scene.head("other") + "sources:\n  - file: 'others/*.ndjson'\n"));
    scene.write("others/a.ndjson", &row(&scene, 4));
    scene.run(&["apply", "other.yaml", "--yes"]).exits(0);
    scene.run(&["apply", "other.yaml", "--yes"]).exits(0);
    assert_eq!((told(), kept()), (second.clone(), 8));
    let session = scene.imported_from(scene.sources()[2].id).unwrap().to_string();
    scene.run(&["ledger", "forget", "e2", "--reason", "r"]).exits(0);
    scene.run(&["ledger", "adopt", "e2", &session]).exits(0);
    assert_ne!(told(), second, "of a session that was recorded by hand less is known");
    assert_eq!(kept(), 11);
    let run = scene.sql().value::<i64>("SELECT max(id) FROM runs", &[]);
    assert_ne!(report(run), json);
    assert_eq!((report(4), csv(3)), (json, table));
    // What is erased is erased of each.
    scene.run(&["ledger", "erase", "e1", "--reason", "r"]).exits(0);
    for run in [2, 3, 4, run] {
        let told = report(run).to_string();
        assert!(!told.contains("\"e1\"") && told.contains("erased"), "{told}");
    }
    scene.apply().exits(0);
    let before = kept();
    scene.apply().exits(0);
    assert_eq!(kept(), before);
    scene.run(&["ledger", "check"]).exits(0);
}
