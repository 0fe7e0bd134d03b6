//! Repairs by hand: erasure, consistency, copies, and many entries at once.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use didit_sync::sandbox::Config;
use didit_sync::token::{Fingerprint, FingerprintKey};
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::created;
use crate::support::{Fake, Reply, Scene, file_only, sandbox, wait_for};

fn actions(document: &Value) -> Vec<(&str, &str)> {
    let rows = document["actions"].as_array().unwrap().iter();
    rows.map(|row| (row["id"].as_str().unwrap(), row["action"].as_str().unwrap())).collect()
}

fn assert_sound(scene: &Scene) {
    let document = scene.run(&["ledger", "check", "--json"]).exits(0).json();
    assert_eq!((&document["format"], &document["findings"]), (&json!("didit-sync/check.v1"), &json!([])));
}

/// Three entries labelled by their source sessions, two of which were reported before they had a row.
fn imported() -> Scene {
    let scene = Scene::new(sandbox(3));
    let mut text = scene.head("acme") + "imports:\n";
    for source in scene.sources() {
        text += &format!("  - {{share_token: {}}}\n", scene.mint(source.id));
    }
    scene.write("m.yaml", &text);
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "1", "--no-verify"]).exits(8);
    scene.apply().exits(0);
    scene.run(&["audit"]).exits(0);
    scene
}

#[test]
fn promise_9_what_an_erasure_leaves_of_an_entry_is_a_keyed_hash() {
    let scene = imported();
    let source = scene.sources()[2].id.to_string();
    scene.run(&["ledger", "erase", &source, "--reason", "r"]).exits(0);
    let mut ledger = scene.sql();
    let erased = Cell::Text("erased".to_owned());
    let entry = ledger.table("entries").into_iter().find(|row| row["state"] == erased).unwrap();
    let Cell::Blob(hash) = &entry["source_hash"] else { panic!("{entry:?}") };
    let key: [u8; 32] = ledger.value("SELECT fingerprint_key FROM meta", &[]);
    let expected = FingerprintKey::from_bytes(key).fingerprint(source.as_bytes());
    assert_eq!(Fingerprint::from_slice(hash), Some(expected));
    // Where it was imported to, when, and by which run say nothing of a person.
    let stays = [
        "application_id",
        "attempts",
        "base_url",
        "id",
        "key",
        "label",
        "manifest",
        "place",
        "run",
        "source_hash",
        "state",
    ];
    let left: Vec<&String> = entry.iter().filter(|(_, cell)| **cell != Cell::Null).map(|(name, _)| name).collect();
    assert_eq!(left, stays, "{entry:?}");
    let Cell::Integer(id) = entry["id"] else { panic!() };
    assert_eq!((&entry["place"], &entry["label"]), (&Cell::Text(String::new()), &Cell::Text(format!("erased-{id}"))));
    for attempt in ledger.table("attempts").iter().filter(|row| row["entry"] == Cell::Integer(id)) {
        assert_eq!((&attempt["token"], &attempt["vendor_data"]), (&Cell::Blob(Vec::new()), &Cell::Null));
    }
}

#[test]
fn promise_9_an_erasure_leaves_no_old_page_and_no_log() {
    if file_only("pages and log of the file") {
        return;
    }
    let scene = imported();
    let sources = scene.sources();
    let (source, session) = (sources[0].id.to_string(), scene.imported_from(sources[0].id).unwrap().to_string());
    let gone = [source.as_str(), &session, &format!("acme-{source}")];
    // Somebody reads meanwhile, and so keeps the log from being emptied.
    let reader = rusqlite::Connection::open(scene.ledger()).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM entries;").unwrap();
    assert_eq!(scene.sql().table("entries").len(), 3);
    let said = scene.run(&["ledger", "erase", &source, "--reason", "r"]).exits(12);
    assert!(said.stderr.contains("erase again"), "{}", said.stderr);
    drop(reader);
    scene.run(&["ledger", "erase", &source, "--reason", "r"]).exits(0);
    scene.assert_ledger_free_of(&gone);
    let files: Vec<_> =
        scene.bytes_under("state").into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert!(!files.iter().any(|name| name == "ledger.db-wal"), "{files:?}");
    let ledger = rusqlite::Connection::open(scene.ledger()).unwrap();
    assert_eq!(ledger.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0)), Ok(0));
    assert_sound(&scene);
}

#[test]
fn promise_11_every_repair_is_a_run_with_actor_and_reason() {
    let scene = imported();
    let sources: Vec<Uuid> = scene.sources().iter().map(|source| source.id).collect();
    let ids: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let session = |n: usize| scene.imported_from(sources[n]).unwrap().to_string();
    scene.write("two.txt", &format!("{}\n{}\n", ids[0], ids[1]));
    scene.write("two.csv", &format!("id,session_id\n{},{}\n{},{}\n", ids[0], session(0), ids[1], session(1)));
    let repairs = [
        vec!["ledger", "forget", &ids[0]],
        vec!["ledger", "adopt", &ids[0], &session(0)].into_iter().map(|word| &*word.to_owned().leak()).collect(),
        vec!["ledger", "forget", "--from", "two.txt"],
        vec!["ledger", "adopt", "--from", "two.csv"],
        vec!["ledger", "erase", &ids[2]],
        vec!["ledger", "erase", "--from", "two.txt"],
    ];
    let runs = || {
        let list: Value = serde_json::from_str(&scene.run(&["report", "--list", "--json"]).stdout).unwrap();
        list["runs"].as_array().unwrap().clone()
    };
    for (n, repair) in repairs.iter().enumerate() {
        let before = runs();
        let reason = format!("repair {n}");
        let mut args = repair.clone();
        args.extend(["--actor", "ann", "--reason", &reason, "--ref", "TICKET-7"]);
        scene.run(&args).exits(0);
        let after = runs();
        assert_eq!(after.len(), before.len() + 1, "{repair:?}");
        let run = after.last().unwrap();
        assert_eq!(run["command"], repair[..2].join(" "));
        assert_eq!(
            (&run["actor"], &run["reason"], &run["ref"]),
            (&json!("ann"), &json!(reason), &json!("TICKET-7")),
            "{run:#}"
        );
    }
    // A repair that changes nothing is none.
    let before = runs();
    scene.run(&["ledger", "forget", "nobody", "--reason", "r"]).exits(64);
    assert_eq!(runs(), before);
}

/// What a ledger only ever adds to.
const ADDED: [&str; 6] = ["runs", "run_ends", "attempts", "answers", "evidence", "run_outcomes"];

#[test]
fn promise_11_runs_and_attempts_are_only_ever_added() {
    let scene = imported();
    let sources = scene.sources();
    let (id, session) = (sources[0].id.to_string(), scene.imported_from(sources[0].id).unwrap().to_string());
    let history = || {
        let mut ledger = scene.sql();
        ADDED.map(|table| ledger.table(table))
    };
    let changes: [&[&str]; 6] = [
        &["ledger", "forget", &id],
        &["apply", "m.yaml", "--yes"],
        &["ledger", "forget", &id],
        &["ledger", "adopt", &id, &session],
        &["audit"],
        &["apply", "m.yaml", "--yes", "--retry-refused"],
    ];
    let mut before = history();
    for change in changes {
        scene.run(change);
        let after = history();
        for ((was, is), table) in before.iter().zip(&after).zip(ADDED) {
            assert!(was.iter().all(|row| is.contains(row)), "{change:?} changed {table}");
        }
        assert!(after[0].len() > before[0].len(), "{change:?} is a run");
        before = after;
    }
    // An erasure overwrites what tells of a person, and takes no row away.
    scene.run(&["ledger", "erase", &id, "--reason", "r"]).exits(0);
    let keys =
        |rows: &[BTreeMap<String, Cell>], key: &str| -> Vec<Cell> { rows.iter().map(|row| row[key].clone()).collect() };
    for (((was, is), table), key) in
        before.iter().zip(&history()).zip(ADDED).zip(["id", "run", "id", "attempt", "id", "run"])
    {
        let (was, is) = (keys(was, key), keys(is, key));
        assert_eq!(was, is[..was.len()], "{table}");
    }
}

#[test]
fn promise_9_nothing_of_an_erased_entry_is_left_and_it_is_never_sent_again() {
    let scene = imported();
    let source = scene.sources()[2].id;
    let session = scene.imported_from(source).unwrap();
    let vendor_data = format!("acme-{source}");
    let adopt = ["ledger", "adopt", &source.to_string(), &session.to_string(), "--reason", &format!("is {session}")];
    scene.run(&adopt).exits(0);
    scene.run(&["ledger", "erase", &source.to_string()]).exits(64);
    scene.run(&["ledger", "erase", &source.to_string(), "--reason", &format!("of {session}")]).exits(64);
    let done = scene.run(&["ledger", "erase", &source.to_string(), "--reason", "ticket 7", "--json"]).exits(0).json();
    let entry = &done["entries"][0];
    assert_eq!((&entry["state"], &entry["session_id"]), (&json!("erased"), &Value::Null), "{entry:#}");
    assert_eq!((&entry["provenance"]["reason"], &entry["provenance"]["token"]), (&json!("ticket 7"), &Value::Null));
    let (source_text, session_text) = (source.to_string(), session.to_string());
    let gone = [source_text.as_str(), &session_text, &vendor_data];
    scene.assert_ledger_free_of(&gone);
    assert_sound(&scene);
    for run in ["1", "2"] {
        let report = scene.run(&["report", run, "--json"]).stdout;
        let report: Value = serde_json::from_str(&report).unwrap();
        let rows = report["imports"].as_array().unwrap();
        let erased: Vec<&Value> = rows.iter().filter(|row| row["outcome"] == "erased").collect();
        assert_eq!((rows.len(), erased.len(), &report["summary"]["erased"]), (3, 1, &json!(1)), "{report:#}");
        for key in ["source_session_id", "session_id", "session_number", "session_url", "vendor_data", "error"] {
            assert_eq!(erased[0][key], Value::Null, "{key}");
        }
    }
    let writes = scene.writes();
    // The same manifest, a new token, another manifest's name.
    scene.write("m.yaml", &scene.manifest("acme"));
    scene.write("other.yaml", &scene.manifest("other"));
    for manifest in ["m.yaml", "other.yaml"] {
        let plan = scene.run(&["plan", manifest, "--json"]).exits(0).json();
        assert_eq!(actions(&plan)[2], ("e02", "erased"));
        let document: Value = serde_json::from_str(&scene.run(&["apply", manifest, "--yes", "--json"]).stdout).unwrap();
        assert_eq!((&document["summary"]["erased"], &document["imports"][2]["outcome"]), (&json!(1), &json!("erased")));
    }
    assert_eq!(scene.writes(), writes);
    scene.assert_ledger_free_of(&gone);
    assert_sound(&scene);
    // It is known by its source session still, and stays erased.
    scene.run(&["ledger", "erase", &source.to_string(), "--reason", "again"]).exits(0);
    scene.run(&["ledger", "forget", &source.to_string()]).exits(64);
}

#[test]
fn promise_9_an_entry_whose_claims_are_unreadable_is_known_again_by_its_token() {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.{}", part(r#"{"alg":"HS256"}"#), part("not json"), part("signature of it"));
    for names_source in [false, true] {
        let fake = Fake::new(move |request, _| {
            let mut body = created(Uuid::from_u128(0xC1), request);
            if names_source {
                body["shared_from_session"] = json!(Uuid::from_u128(0xD1));
            }
            request.is_import().then(|| Reply::json(201, &body))
        });
        fake.folder.write("m.yaml", &format!("{}imports:\n  - {{id: odd, share_token: {token}}}\n", fake.head()));
        fake.apply(&["--no-verify"]).exits(0);
        fake.folder.run(&["ledger", "erase", "odd", "--reason", "r"]).exits(0);
        fake.folder.assert_ledger_free_of(&[&Uuid::from_u128(0xC1).to_string(), &Uuid::from_u128(0xD1).to_string()]);
        let document = fake.apply(&["--no-verify"]).exits(0).json();
        assert_eq!(document["summary"]["erased"], 1, "{names_source} {document:#}");
        assert_eq!(fake.imports().len(), 1);
        fake.folder.run(&["ledger", "check"]).exits(0);
    }
}

#[test]
fn promise_9_delete_deletes_at_didit_first_and_counts_as_a_write() {
    let scene = imported();
    let sources = scene.sources();
    let ids: Vec<String> = sources.iter().take(2).map(|source| source.id.to_string()).collect();
    // One is gone already.
    let gone = scene.imported_from(sources[0].id).unwrap();
    scene.world.change(gone, didit_sync::sandbox::Change::Delete).unwrap();
    scene.run(&["ledger", "erase", &ids[0], &ids[1], "--delete", "--reason", "r"]).exits(0);
    assert_eq!(scene.world.imported().len(), 1);
    let runs: Value = serde_json::from_str(&scene.run(&["report", "--list", "--json"]).stdout).unwrap();
    let last = runs["runs"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["command"], &last["exit"]["code"]), (&json!("ledger erase"), &json!(0)));
    let report: Value =
        serde_json::from_str(&scene.run(&["report", &last["run"].to_string(), "--json"]).stdout).unwrap();
    assert_eq!(report["requests"]["writes"], 2, "{report:#}");
    assert_sound(&scene);
}

#[test]
fn promise_9_what_can_not_be_deleted_stays_as_it_is() {
    let mut scene = imported();
    let source = scene.sources()[1].id.to_string();
    let args = ["ledger", "erase", &source, "--delete", "--reason", "r"];
    let state =
        |scene: &Scene| scene.run(&["status", &source, "--json"]).exits(0).json()["entries"][0]["state"].clone();
    scene.unset("DIDIT_API_KEY");
    scene.run(&args).exits(10);
    assert_eq!(state(&scene), "imported");

    let fake = Fake::new(|request, _| match request.method.as_str() {
        "DELETE" => Some(Reply::json(403, &json!({"detail": "You do not have permission to perform this action."}))),
        _ => request.is_import().then(|| Reply::json(201, &created(Uuid::from_u128(0xC1), request))),
    });
    fake.write_entries(1);
    fake.apply(&["--no-verify"]).exits(0);
    let output = fake.folder.run(&["ledger", "erase", "e0", "--delete", "--reason", "r"]);
    assert!(matches!(output.code, Some(10 | 69)), "{output:?}");
    let left = fake.folder.run(&["status", "e0", "--json"]).exits(0).json();
    assert_eq!(left["entries"][0]["state"], "imported");
}

#[test]
fn promise_6_a_backup_while_an_apply_runs_is_whole_its_owners_only_and_never_takes_a_files_place() {
    let scene = Scene::new(Config { faults: "import.latency=100ms..400ms".parse().unwrap(), ..sandbox(30) });
    scene.write_all();
    scene.run(&["ledger", "backup", "none.db"]).exits(12);
    let apply = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("three imports", || scene.world.imported().len() >= 3);
    let done = scene.run(&["ledger", "backup", "copy/b.db"]);
    assert_eq!(done.code, Some(12), "there is no such folder");
    let done = scene.run(&["ledger", "backup", "b.db", "--json"]).exits(0).json();
    assert_eq!(done["format"], "didit-sync/backup.v1");
    assert!(done["rows"]["entries"].as_u64().unwrap() >= 3, "{done:#}");
    scene.run(&["ledger", "backup", "b.db"]).exits(64);
    scene.run(&["ledger", "check"]).exits(0);
    crate::support::Output::of(apply).exits(0);
    let mode = std::fs::metadata(scene.path("b.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    scene.run(&["ledger", "check", "--ledger", "b.db"]).exits(0);
    assert_sound(&scene);
    let mut left: Vec<_> = std::fs::read_dir(scene.path(".")).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.retain(|name| name != "state");
    left.sort();
    assert_eq!(left, ["b.db", "m.yaml"]);
}

#[test]
fn promise_6_check_finds_what_does_not_agree() {
    for (damage, rule) in [
        ("UPDATE entries SET attempts = 7 WHERE id = 1", "attempts-miscounted"),
        ("UPDATE entries SET session_id = NULL WHERE id = 1", "imported-without-session"),
        ("UPDATE entries SET session_id = (SELECT session_id FROM entries WHERE id = 2) WHERE id = 1", "session-twice"),
        ("UPDATE entries SET session_id = 'x' WHERE id = 1", "session-lost"),
        ("UPDATE entries SET state = 'sending' WHERE id = 1", "sending-settled"),
        ("UPDATE entries SET state = 'erased' WHERE id = 1", "erased-remains"),
        ("DELETE FROM attempts WHERE id = 1", "row-without-parent"),
        ("UPDATE baselines SET facts = '{}' WHERE entry = 2", "baseline-unreadable"),
        ("DELETE FROM meta", "integrity"),
    ] {
        let scene = Scene::new(sandbox(2));
        scene.write_all();
        scene.apply().exits(0);
        assert_sound(&scene);
        scene.sql_without_references().execute(damage, &[]);
        let before = scene.bytes_under("state/ledger.db");
        let document = scene.run(&["ledger", "check", "--json"]).exits(12).json();
        scene.assert_unchanged("state/ledger.db", &before);
        let rules: Vec<&Value> = document["findings"].as_array().unwrap().iter().map(|it| &it["rule"]).collect();
        assert!(rules.contains(&&json!(rule)), "{damage}: {document:#}");
    }
    let scene = Scene::new(sandbox(1));
    scene.run(&["ledger", "check"]).exits(12);
}

#[test]
fn many_repairs_are_one_run_and_all_or_nothing() {
    let scene = imported();
    let sources = scene.sources();
    let ids: Vec<String> = sources.iter().map(|source| source.id.to_string()).collect();
    let runs = || {
        let list: Value = serde_json::from_str(&scene.run(&["report", "--list", "--json"]).stdout).unwrap();
        list["runs"].as_array().unwrap().len()
    };
    let before = runs();
    scene.write("bad.txt", &format!("{}\nnobody\n\nnobody else\n", ids[0]));
    for command in ["forget", "erase"] {
        let output = scene.run(&["ledger", command, "--from", "bad.txt", "--reason", "r"]).exits(64);
        assert!(output.stderr.contains("bad.txt:2:") && output.stderr.contains("bad.txt:4:"), "{}", output.stderr);
    }
    scene.write("bad.csv", &format!("id,session_id\n{},nonsense\nnobody,{}\n", ids[0], Uuid::from_u128(1)));
    let output = scene.run(&["ledger", "adopt", "--from", "bad.csv"]).exits(64);
    assert!(output.stderr.contains("bad.csv:2:") && output.stderr.contains("bad.csv:3:"), "{}", output.stderr);
    assert_eq!(runs(), before);
    assert_sound(&scene);

    scene.write("all.txt", &ids.join("\n"));
    scene.run(&["ledger", "forget", "--from", "all.txt"]).exits(0);
    let sessions: Vec<_> = sources.iter().map(|source| scene.imported_from(source.id).unwrap()).collect();
    let mut table = "session_id\tid\n".to_owned();
    for (session, id) in sessions.iter().zip(&ids) {
        table += &format!("{session}\t{id}\n");
    }
    scene.write("all.tsv", &table);
    scene.run(&["ledger", "adopt", "--from", "all.tsv"]).exits(0);
    let status = scene.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["summary"]["imported"], 3);
    scene.write("all.csv", &format!("note,id\n,{}\n", ids.join("\n,")));
    scene.run(&["ledger", "erase", "--from", "all.csv", "--reason", "r"]).exits(0);
    assert_eq!(runs(), before + 3);
    let texts: Vec<String> = ids.iter().cloned().chain(sessions.iter().map(ToString::to_string)).collect();
    scene.assert_ledger_free_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert_sound(&scene);
}
