//! `ledger move`, and backups of a server's ledger: whole or not at all, whatever happens on the way, and equal in every
//! row. The tests make their ledgers themselves, whichever the rest of the suite runs on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use didit_sync::ledger::{Ledger, LedgerError, Location, Lock, Moved, Purpose, move_to};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::ledger::Sql;
use crate::support::postgres::{Database, cluster};
use crate::support::{Folder, Output, Scene, sandbox, signal};

const TABLES: [&str; 19] = [
    "meta",
    "runs",
    "run_ends",
    "manifests",
    "entries",
    "attempts",
    "answers",
    "evidence",
    "run_outcomes",
    "run_states",
    "run_limits",
    "sends",
    "generations",
    "plans",
    "rule_lists",
    "entry_rules",
    "baselines",
    "findings",
    "run_findings",
];

/// Rows by table, in words.
type Rows = BTreeMap<&'static str, Vec<String>>;

fn rows(sql: &mut Sql) -> Rows {
    let rows = |table: &&'static str| {
        let mut rows: Vec<String> = sql
            .table(table)
            .into_iter()
            .map(|mut row| {
                if *table == "meta" {
                    // Of a server's tables.
                    row.remove("version");
                }
                format!("{row:?}")
            })
            .collect();
        rows.sort();
        (*table, rows)
    };
    TABLES.iter().map(rows).collect()
}

fn of_file(path: &Path) -> Rows {
    rows(&mut Sql::File(Connection::open(path).unwrap()))
}

fn of_server(database: &Database<'_>) -> Rows {
    rows(&mut Sql::Server(Box::new(database.connect())))
}

/// The same sequence of numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn text(&mut self) -> String {
        let letters = ["a", "Ä", "'", "\n", "%", "\u{1F600}", "?1", "Z", "\\", "\"", "$1", "\u{FFFD}"];
        (0..self.below(5)).map(|_| letters[self.below(letters.len() as u64) as usize]).collect()
    }
}

/// A ledger with rows in every table, their values anything that a column may hold.
fn filled(path: &Path, seed: u64) {
    drop(Ledger::open(&Location::file(path, false)).unwrap());
    let file = Connection::open(path).unwrap();
    let mut dice = Dice(seed * 7919 + 1);
    for table in &TABLES[1..] {
        for row in 1..=1 + dice.below(20) as i64 {
            let mut query = file.prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1)").unwrap();
            let columns: Vec<(String, String, bool, i64)> = query
                .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let names: Vec<&str> = columns.iter().map(|(name, ..)| &**name).collect();
            let values: Vec<rusqlite::types::Value> =
                columns.iter().map(|column| value(table, column, row, &mut dice)).collect();
            let places = vec!["?"; names.len()].join(", ");
            let sql = format!("INSERT OR IGNORE INTO {table} ({}) VALUES ({places})", names.join(", "));
            file.execute(&sql, rusqlite::params_from_iter(&values)).unwrap();
        }
        let is_filled: bool =
            file.query_row(&format!("SELECT count(*) > 0 FROM {table}"), [], |row| row.get(0)).unwrap();
        assert!(is_filled, "{table}");
    }
}

fn value(
    table: &str,
    (name, kind, is_needed, key): &(String, String, bool, i64),
    row: i64,
    dice: &mut Dice,
) -> rusqlite::types::Value {
    match (table, &**name) {
        ("entries", "state") => return ["imported", "erased", "sending"][dice.below(3) as usize].to_owned().into(),
        ("answers", "outcome") => return ["imported", "unknown"][dice.below(2) as usize].to_owned().into(),
        ("sends", "budget") => return "writes".to_owned().into(),
        // The first row of each table is what others belong to.
        (_, "run" | "entry" | "attempt" | "rules") if kind == "INTEGER" => {
            return if *key == 1 { row.min(1) } else { 1 }.into();
        }
        _ if !is_needed && *key == 0 && dice.below(3) == 0 => return rusqlite::types::Value::Null,
        _ => {}
    }
    match &**kind {
        "INTEGER" if *key > 0 => row.into(),
        "INTEGER" => [i64::MIN, -1, 0, 1, i64::MAX, 1_795_000_000_000][dice.below(6) as usize].into(),
        "REAL" => [0.0, -0.0, 0.1, 1e300, 7.0, f64::MIN_POSITIVE][dice.below(6) as usize].into(),
        "TEXT" => (dice.text()
            + if *key > 0 || table == "rule_lists" { "k" } else { "" }
            + &if *key > 0 { row.to_string() } else { String::new() })
            .into(),
        _ => dice
            .text()
            .into_bytes()
            .into_iter()
            .chain([0xFF, 0].into_iter().take(dice.below(3) as usize))
            .collect::<Vec<u8>>()
            .into(),
    }
}

fn at(named: &str) -> Location {
    Location::parse(Path::new(named), false, &|name| std::env::var_os(name)).unwrap()
}

/// Moves, looking `looks` times whether to go on.
fn moved(from: &str, to: &str, looks: usize) -> Result<Option<Moved>, LedgerError> {
    let left = Cell::new(looks);
    move_to(&at(from), &at(to), Duration::ZERO, &|| left.replace(left.get().saturating_sub(1)) == 0)
}

/// A folder with a ledger in it, and the names of both.
fn one(seed: u64) -> (Folder, String) {
    let folder = Folder::new();
    let path = folder.path("from.db");
    filled(&path, seed);
    (folder, path.display().to_string())
}

#[test]
fn promise_6_a_ledger_moves_to_a_server_and_back_equal_in_every_row() {
    let Some(cluster) = cluster() else { return };
    for seed in 1..=8 {
        let (folder, from) = one(seed);
        let (there, further) = (cluster.database(), cluster.database());
        let back = folder.path("back.db").display().to_string();
        let before = of_file(Path::new(&from));
        let mut tables = Vec::new();
        for (from, to) in [(from.clone(), there.url()), (there.url(), further.url()), (further.url(), back.clone())] {
            let document = folder.run(&["ledger", "move", "--ledger", &from, "--to", &to, "--json"]).exits(0).json();
            assert_eq!(document["format"], "didit-sync/move.v1");
            assert_eq!(document["was_there"], false);
            tables.push(document["tables"].clone());
        }
        assert!(tables.iter().all(|it| *it == tables[0]), "{tables:#?}");
        for after in [of_file(Path::new(&from)), of_server(&there), of_server(&further), of_file(Path::new(&back))] {
            assert_eq!(after, before, "seed {seed}");
        }
    }
}

#[test]
fn the_tables_of_a_file_and_of_a_server_have_the_same_columns() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(1);
    let database = cluster.database();
    moved(&from, &database.url(), usize::MAX).unwrap().unwrap();
    let mut file = Sql::File(Connection::open(folder.path("from.db")).unwrap());
    let in_file = file.rows(
        "SELECT t.name || '.' || c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'",
        &[],
    );
    let mut in_file: Vec<String> = in_file.iter().map(|row| row.get(0)).collect();
    let mut server = Sql::Server(Box::new(database.connect()));
    let on_server = server.rows(
        "SELECT CAST(table_name || '.' || column_name AS text) FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name NOT IN ('runners', 'claims', 'budgets')",
        &[],
    );
    let mut on_server: Vec<String> = on_server.iter().map(|row| row.get(0)).collect();
    on_server.retain(|column| column != "meta.version");
    in_file.sort();
    on_server.sort();
    assert_eq!(in_file, on_server);
}

#[test]
fn promise_6_a_run_goes_on_where_the_ledger_was_moved() {
    let Some(cluster) = cluster() else { return };
    let scene = Scene::new(sandbox(4));
    let (database, own) = (cluster.database(), scene.path("own.db").display().to_string());
    let url = database.url();
    let sources = scene.sources();
    let entry = |n: usize| format!("  - {{id: e{n}, share_token: {}}}\n", scene.mint(sources[n].id));
    let text = |count: usize| scene.head("acme") + "imports:\n" + &(0..count).map(entry).collect::<String>();
    scene.write("m.yaml", &text(3));
    scene.run(&["apply", "m.yaml", "--yes", "--ledger", &own]).exits(0);
    scene.run(&["audit", "--ledger", &own]).exits(0);
    let told = scene.run(&["ledger", "move", "--ledger", &own, "--to", &url]).exits(0).stdout;
    assert!(told.contains("entries") && told.contains("From now on: --ledger postgres://"), "{told}");
    scene.run(&["ledger", "check", "--ledger", &url]).exits(0);
    assert_eq!(scene.writes(), 3);
    scene.write("m.yaml", &text(4));
    scene.run(&["apply", "m.yaml", "--yes", "--ledger", &url]).exits(0);
    assert_eq!(scene.writes(), 4, "what was imported is known, and the rest is sent");
    scene.run(&["audit", "--ledger", &url]).exits(0);
    scene.run(&["ledger", "check", "--ledger", &url]).exits(0);
    // A backup is a ledger in a file.
    scene.run(&["ledger", "backup", "b.db", "--ledger", &url, "--json"]).exits(0);
    assert_eq!(of_file(&scene.path("b.db")), of_server(&database));
    scene.run(&["ledger", "check", "--ledger", "b.db"]).exits(0);
    // The old one is in another state, and is not overwritten.
    let refused = scene.run(&["ledger", "move", "--ledger", &url, "--to", &own]).exits(12);
    assert!(refused.stderr.contains("in another state"), "{}", refused.stderr);
    scene.run(&["ledger", "move", "--ledger", &url, "--to", "new.db"]).exits(0);
    scene.run(&["apply", "m.yaml", "--yes", "--ledger", "new.db"]).exits(0);
    assert_eq!(scene.writes(), 4);
    scene.run(&["ledger", "check", "--ledger", "new.db"]).exits(0);
}

#[test]
fn promise_6_a_move_to_a_server_that_is_stopped_at_any_moment_is_no_ledger_and_goes_on() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(3);
    let database = cluster.database();
    let url = database.url();
    let before = of_file(Path::new(&from));
    for looks in 0.. {
        if moved(&from, &url, looks).unwrap().is_some() {
            assert!(looks > 50, "{looks}");
            break;
        }
        if looks == 30 {
            let refused = folder.run(&["status", "--ledger", &url]).exits(12);
            assert!(refused.stderr.contains("is not whole"), "{}", refused.stderr);
            folder.run(&["ledger", "check", "--ledger", &url]).exits(12);
        }
    }
    assert_eq!(of_server(&database), before);
    assert!(moved(&from, &url, usize::MAX).unwrap().unwrap().was_there);
    folder.run(&["status", "--ledger", &url]).exits(0);
}

#[test]
fn promise_6_a_move_that_is_killed_or_interrupted_goes_on() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(4);
    let more = "WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)";
    let file = Connection::open(&from).unwrap();
    for insert in [
        "INSERT INTO runs SELECT i, 'apply', i, 'a', NULL, NULL, 'h', 1, 'v' FROM n",
        "INSERT INTO sends SELECT i, x'00', 'reads', i, i FROM n",
    ] {
        let (head, tail) = insert.split_once(" SELECT").unwrap();
        file.execute(&format!("{head} {more} SELECT{tail}"), []).unwrap();
    }
    drop(file);
    let before = of_file(Path::new(&from));
    let database = cluster.database();
    let back = folder.path("back.db").display().to_string();
    for (from, to) in [(from, database.url()), (database.url(), back.clone())] {
        let mut kills = 0;
        for wait in (1..).map(|n| n * 100) {
            let mut child = folder.start(&["ledger", "move", "--ledger", &from, "--to", &to]);
            std::thread::sleep(Duration::from_millis(wait));
            if child.try_wait().unwrap().is_none() {
                signal(&child, if kills % 2 == 0 { Signal::KILL } else { Signal::INT });
            }
            let ended = Output::of(child);
            match ended.code {
                Some(0) => break,
                // A server may take a moment to see that the last one is gone.
                None | Some(130 | 11) => kills += 1,
                _ => panic!("{ended:?}"),
            }
        }
        assert!(kills > 1, "{kills}");
    }
    assert_eq!(of_server(&database), before);
    assert_eq!(of_file(Path::new(&back)), before);
}

#[test]
fn promise_4_a_move_whose_lock_a_server_took_away_is_not_made_good() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(10);
    let (there, to) = (cluster.database(), folder.path("to.db"));
    moved(&from, &there.url(), usize::MAX).unwrap().unwrap();
    let count = Cell::new(0);
    let look = || {
        if count.replace(count.get() + 1) == 25 {
            let end = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                       WHERE l.locktype = 'advisory' AND d.datname = current_database()";
            assert_eq!(there.connect().query(end, &[]).unwrap().len(), 2);
        }
        false
    };
    let failed = move_to(&at(&there.url()), &at(to.to_str().unwrap()), Duration::ZERO, &look).unwrap_err();
    assert!(matches!(failed, LedgerError::Server { .. }), "{failed}");
    assert!(!to.exists());
    moved(&there.url(), to.to_str().unwrap(), usize::MAX).unwrap().unwrap();
}

#[test]
fn promise_6_what_changed_between_two_tries_is_copied_anew() {
    let Some(cluster) = cluster() else { return };
    let (_folder, from) = one(5);
    let database = cluster.database();
    assert!(moved(&from, &database.url(), 35).unwrap().is_none());
    let file = Connection::open(&from).unwrap();
    file.execute("UPDATE entries SET place = 'elsewhere' WHERE id = 1", []).unwrap();
    file.execute("DELETE FROM run_ends", []).unwrap();
    drop(file);
    moved(&from, &database.url(), usize::MAX).unwrap().unwrap();
    assert_eq!(of_server(&database), of_file(Path::new(&from)));
}

#[test]
fn promise_6_a_damaged_copy_is_found_before_it_is_a_ledger() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(6);
    let database = cluster.database();
    assert!(moved(&from, &database.url(), 35).unwrap().is_none());
    let changed = database.connect().execute("UPDATE runs SET actor = actor || 'x' WHERE id = 1", &[]).unwrap();
    assert_eq!(changed, 1);
    let refused = folder.run(&["ledger", "move", "--ledger", &from, "--to", &database.url()]).exits(12);
    assert!(refused.stderr.contains("is not equal to it") && refused.stderr.contains("runs"), "{}", refused.stderr);
    folder.run(&["status", "--ledger", &database.url()]).exits(12);
    moved(&from, &database.url(), usize::MAX).unwrap().unwrap();
    assert_eq!(of_server(&database), of_file(Path::new(&from)));
}

#[test]
fn promise_6_nothing_is_moved_onto_another_ledger_of_a_server_or_onto_itself() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(7);
    let (other_folder, other) = one(8);
    let (taken, begun) = (cluster.database(), cluster.database());
    moved(&other, &taken.url(), usize::MAX).unwrap().unwrap();
    assert!(moved(&other, &begun.url(), 35).unwrap().is_none());
    let (before, begun_before) = (of_server(&taken), of_server(&begun));
    let refused = |from: &str, to: &str, why: &str| {
        let refused = folder.run(&["ledger", "move", "--ledger", from, "--to", to]).exits(12);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    };
    refused(&from, &taken.url(), "it holds another ledger, ");
    refused(&from, &begun.url(), "another ledger, ");
    refused(&taken.url(), &taken.url(), "that is where it is");
    refused(&taken.url_by_socket(), &taken.url(), "that is where it is");
    refused(&begun.url(), "other.db", "is not whole");
    assert_eq!((of_server(&taken), of_server(&begun)), (before, begun_before));
    let held = Lock::take(&at(&taken.url()), Purpose::Change, Duration::ZERO).unwrap();
    folder.run(&["ledger", "move", "--ledger", &taken.url(), "--to", "there.db"]).exits(11);
    drop(held);
    drop(other_folder);
    let url = folder.run(&["ledger", "move", "--ledger", &from, "--to", "postgres://a@b/c?sslmode=odd"]).exits(12);
    assert!(url.stderr.contains("--to: "), "{}", url.stderr);
}

#[test]
fn promise_6_check_finds_what_a_server_does_not_keep_in_force() {
    let Some(cluster) = cluster() else { return };
    let (folder, from) = one(9);
    let sound = cluster.database();
    moved(&from, &sound.url(), usize::MAX).unwrap().unwrap();
    let found = |url: &str| {
        let document = folder.run(&["ledger", "check", "--ledger", url, "--json"]).json();
        let findings = document["findings"].as_array().unwrap().clone();
        let of_database =
            |it: &&Value| ["integrity", "row-without-parent"].contains(&it["rule"].as_str().unwrap_or_default());
        findings.iter().filter(of_database).map(|it| it["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(&sound.url()), [""; 0]);
    for (damage, message) in [
        (
            "SELECT setval(pg_get_serial_sequence('runs', 'id'), 1, false)",
            "PostgreSQL: the next row of runs gets a number that is not above all others",
        ),
        (
            "ALTER TABLE plans DROP CONSTRAINT plans_run_fkey, \
             ADD CONSTRAINT later FOREIGN KEY (run) REFERENCES runs (id) NOT VALID",
            "PostgreSQL: constraint later of plans was never looked at",
        ),
        ("INSERT INTO plans VALUES (7777, '')", "a row of plans belongs to no row of runs"),
    ] {
        let damaged = sound.copy();
        damaged.connect_without_references().batch_execute(damage).unwrap();
        assert_eq!(found(&damaged.url()), [message], "{damage}");
    }
}
