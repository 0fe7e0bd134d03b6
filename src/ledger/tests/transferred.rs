//! That a copy is equal, and that one which is not is known.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection as Sqlite, OpenFlags};

use super::super::db::Connection;
use super::super::file::make_empty;
use super::super::tables::{TABLES, Table};
use super::super::transfer::{self, Held};
use super::{Ledger, LedgerError, Location, Lock, Purpose, Reader, place};
use crate::ledger::move_to;

const GO_ON: &dyn Fn() -> bool = &|| false;

/// A ledger of seven rows in each table, with all kinds of values: more than are read at once.
fn filled(path: &Path) {
    drop(Ledger::open(&Location::file(path, false)).unwrap());
    let file = Sqlite::open(path).unwrap();
    for table in &TABLES[1..] {
        for row in 1..=7_u32 {
            let values: Vec<String> = columns(&file, table.name).iter().map(|it| value(table, it, row)).collect();
            let names: Vec<String> = columns(&file, table.name).into_iter().map(|(name, ..)| name).collect();
            let sql = format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), values.join(", "));
            file.execute(&sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
}

/// Name, kind and whether it may be NULL.
fn columns(file: &Sqlite, table: &str) -> Vec<(String, String, bool)> {
    let mut query = file.prepare("SELECT name, type, \"notnull\" FROM pragma_table_info(?1)").unwrap();
    query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect()
}

fn value(table: &Table, (name, kind, is_needed): &(String, String, bool), row: u32) -> String {
    let name = name.as_str();
    let is_key = table.key.contains(&name) || table.parents.iter().any(|(column, ..)| *column == name);
    match (table.name, name) {
        ("entries", "state") => return "'imported'".to_owned(),
        ("answers", "outcome") => return "'unknown'".to_owned(),
        ("sends", "budget") => return "'reads'".to_owned(),
        _ if !is_key && !is_needed && row.is_multiple_of(3) => return "NULL".to_owned(),
        _ => {}
    }
    match kind.as_str() {
        "INTEGER" if is_key => row.to_string(),
        "INTEGER" if row == 1 => i64::MIN.to_string(),
        "INTEGER" => (i64::from(row) * 1_000_000_007).to_string(),
        "REAL" => ["0.0", "-0.0", "1e300", "0.1", "5", "-2.5", "1e-300"][row as usize - 1].to_owned(),
        "BLOB" if row == 1 && !is_key => "x''".to_owned(),
        "BLOB" => format!("x'00ff{row:02x}'"),
        "TEXT" if row == 1 && !is_key => "''".to_owned(),
        "TEXT" => format!("'Ä''{row}\n\u{1F600}%'"),
        other => panic!("{other}"),
    }
}

fn open(path: &Path) -> Connection {
    Connection::Sqlite(Sqlite::open(path).unwrap())
}

fn held(path: &Path) -> Vec<Held> {
    transfer::held(&open(path), GO_ON).unwrap().unwrap()
}

fn at(path: &Path) -> Location {
    Location::file(path, false)
}

/// A folder, the ledger that is moved and where to.
fn two() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to/to.db"));
    filled(&from);
    (folder, from, to)
}

#[test]
fn the_list_of_tables_is_the_schema() {
    let place = place();
    drop(Ledger::open(&place.location).unwrap());
    let file = Sqlite::open(&place.file.path).unwrap();
    let mut query = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let in_file: Vec<String> = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut listed: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    listed.sort_unstable();
    assert_eq!(in_file, listed);
    for (at, table) in TABLES.iter().enumerate() {
        let mut in_file: Vec<String> = columns(&file, table.name).into_iter().map(|(name, ..)| name).collect();
        let mut listed = table.columns.to_vec();
        in_file.sort();
        listed.sort_unstable();
        assert_eq!(in_file, listed, "{}", table.name);
        let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
        let mut query = file.prepare(sql).unwrap();
        let key: Vec<String> = query.query_map([table.name], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(key, table.key, "{}", table.name);
        let sql = "SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1)";
        let mut query = file.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let mut parents: Vec<(String, String, String)> =
            query.query_map([table.name], row).unwrap().map(Result::unwrap).collect();
        parents.sort();
        let mut listed: Vec<(String, String, String)> =
            table.parents.iter().map(|(from, of, to)| ((*from).into(), (*of).into(), (*to).into())).collect();
        listed.sort();
        assert_eq!(parents, listed, "{}", table.name);
        for (_, parent, _) in table.parents {
            assert!(TABLES[..at].iter().any(|before| before.name == *parent), "{} is before {parent}", table.name);
        }
    }
}

#[test]
fn promise_6_a_ledger_is_moved_whole_and_the_original_is_as_it_was() {
    let (folder, from, to) = two();
    let before = fs::read(&from).unwrap();
    let moved = move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap();
    assert!(!moved.was_there);
    assert_eq!(fs::read(&from).unwrap(), before);
    assert_eq!((held(&from), held(&to)), (moved.tables.clone(), moved.tables.clone()));
    assert!(moved.tables[1..].iter().all(|table| table.rows == 7), "{:?}", moved.tables);
    assert_eq!(Reader::require(&at(&to)).unwrap().identity().unwrap().id, moved.identity.id);
    assert_eq!(fs::read_dir(folder.path().join("to")).unwrap().count(), 3, "the ledger and its two locks");
    // Once more: it is there.
    assert!(move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap().was_there);
    // It goes on in its new place.
    let ledger = Ledger::open(&at(&to)).unwrap();
    assert_eq!(ledger.identity().id, moved.identity.id);
}

#[test]
fn promise_6_a_move_that_is_stopped_at_any_moment_leaves_no_file_and_succeeds_later() {
    let (_folder, from, to) = two();
    for moments in (0..).step_by(7) {
        let left = Cell::new(moments);
        let stop = || left.replace(left.get().max(1) - 1) == 0;
        let moved = move_to(&at(&from), &at(&to), Duration::ZERO, &stop).unwrap();
        assert_eq!(moved.is_some(), to.exists());
        if moved.is_some() {
            assert!(moments > 100, "{moments}");
            break;
        }
        let left: Vec<_> =
            fs::read_dir(to.parent().unwrap()).into_iter().flatten().map(|it| it.unwrap().path()).collect();
        assert!(left.iter().all(|it| it.extension().unwrap() == "lock"), "{left:?}");
    }
    assert_eq!(held(&from), held(&to));
}

#[test]
fn promise_6_what_a_killed_move_left_is_not_in_the_way() {
    let (_folder, from, to) = two();
    fs::create_dir(to.parent().unwrap()).unwrap();
    let left = to.with_file_name("to.db.incoming");
    fs::write(&left, "half a file").unwrap();
    move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap();
    // Killed between the link and its end.
    fs::hard_link(&to, &left).unwrap();
    assert!(move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap().was_there);
    assert!(!left.exists());
    assert_eq!(held(&from), held(&to));
}

#[test]
fn promise_6_nothing_is_moved_onto_another_ledger_or_file_or_itself() {
    let (folder, from, to) = two();
    let refused = |to: &Path| match move_to(&at(&from), &at(to), Duration::ZERO, GO_ON).unwrap_err() {
        LedgerError::Occupied { detail, .. } => detail,
        other => panic!("{other}"),
    };
    assert_eq!(refused(&from), "that is where it is");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&from, &link).unwrap();
    assert_eq!(refused(&link), "that is where it is");
    let other = folder.path().join("other.db");
    filled(&other);
    let before = held(&other);
    assert!(refused(&other).starts_with("it holds another ledger, "));
    assert_eq!(held(&other), before);
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    assert_eq!(refused(&empty), "a file is there that is no ledger");
    move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap();
    Sqlite::open(&to).unwrap().execute("UPDATE entries SET status = 'x' WHERE id = 5", []).unwrap();
    assert_eq!(
        refused(&to),
        "this ledger is there already, in another state: of the 7 rows of entries some are not the same"
    );
}

#[test]
fn promise_4_nothing_is_moved_while_a_run_goes_on() {
    let (_folder, from, to) = two();
    for (place, purpose) in
        [(&from, Purpose::Change), (&from, Purpose::Audit), (&to, Purpose::Change), (&to, Purpose::Audit)]
    {
        let lock = Lock::take(&at(place), purpose, Duration::ZERO).unwrap();
        let refused = move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap_err();
        assert!(matches!(refused, LedgerError::Locked { .. }), "{refused}");
        drop(lock);
    }
    // And none begins meanwhile: while the ledger is read, and while it is written.
    let count = Cell::new(0);
    let disturb = || {
        let places = match count.replace(count.get() + 1) {
            0 => vec![&from],
            70 => vec![&from, &to],
            _ => vec![],
        };
        for (place, purpose) in places.into_iter().flat_map(|it| [(it, Purpose::Change), (it, Purpose::Audit)]) {
            assert!(Lock::take(&at(place), purpose, Duration::ZERO).is_err(), "{}: {purpose:?}", place.display());
        }
        false
    };
    move_to(&at(&from), &at(&to), Duration::ZERO, &disturb).unwrap().unwrap();
    assert!(count.get() > 70);
}

#[test]
fn promise_4_a_move_whose_lock_was_lost_is_not_made_good() {
    let (_folder, from, to) = two();
    for lost in ["from.db.lock", "from.db.audit.lock", "to/to.db.lock"] {
        let file = from.with_file_name(lost);
        let count = Cell::new(0);
        let disturb = || {
            if count.replace(count.get() + 1) == 70 {
                fs::remove_file(&file).unwrap();
            }
            false
        };
        let failed = move_to(&at(&from), &at(&to), Duration::ZERO, &disturb).unwrap_err();
        assert!(matches!(failed, LedgerError::Displaced { what: "its lock", .. }), "{failed}");
        assert!(!to.exists(), "{lost}");
    }
    move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap();
}

#[test]
fn promise_6_an_older_ledger_is_migrated_and_moved() {
    let (_folder, from, to) = two();
    fs::remove_file(&from).unwrap();
    let older = super::super::file::MIGRATIONS[..3].to_vec();
    drop(super::super::file::open_with(&super::LedgerFile { path: from.clone(), allow_network_fs: false }, &older));
    move_to(&at(&from), &at(&to), Duration::ZERO, GO_ON).unwrap().unwrap();
    assert_eq!(held(&from), held(&to));
}

#[test]
fn promise_6_a_copy_that_differs_anywhere_is_known() {
    let (folder, from, _) = two();
    let (expected, copy) = (held(&from), folder.path().join("copy.db"));
    for (at, table) in TABLES.iter().enumerate() {
        let keys = table.key.join(", ");
        let of_one = format!(
            "WHERE ({keys}) = (SELECT {keys} FROM {} ORDER BY {keys} LIMIT 1 OFFSET {})",
            table.name,
            u8::from(at > 0)
        );
        let others = table.columns.iter().filter(|column| !table.key.contains(column));
        let updates = others.map(|column| {
            let changed = format!(
                "CASE typeof({column}) WHEN 'text' THEN {column} || 'x' WHEN 'blob' THEN {column} || x'00' ELSE {column} + 1 END"
            );
            // What is put together is a text.
            let changed = format!("CASE typeof({column}) WHEN 'blob' THEN CAST({changed} AS BLOB) ELSE {changed} END");
            format!("UPDATE {} SET {column} = {changed} {of_one}", table.name)
        });
        for sql in updates.chain([format!("DELETE FROM {} {of_one}", table.name)]) {
            fs::copy(&from, &copy).unwrap();
            let file = Sqlite::open(&copy).unwrap();
            file.pragma_update(None, "foreign_keys", false).unwrap();
            file.pragma_update(None, "ignore_check_constraints", true).unwrap();
            assert_eq!(file.execute(&sql, []).unwrap(), 1, "{sql}");
            drop(file);
            let detail = transfer::difference(&expected, &held(&copy)).unwrap_or_else(|| panic!("unseen: {sql}"));
            assert!(detail.contains(table.name), "{detail}");
        }
    }
}

#[test]
fn promise_6_a_file_that_is_not_what_was_read_gets_no_name() {
    let (folder, from, _) = two();
    let made = folder.path().join("made.db");
    let mut expected = held(&from);
    expected[4].sha256 = "0".repeat(64);
    let source = open(&from);
    let error = transfer::make_file(&source, &at(&from), &made, &expected, GO_ON).unwrap_err();
    assert!(matches!(&error, LedgerError::Unequal { detail, .. } if detail.contains("entries")), "{error}");
}

#[test]
fn promise_6_a_copy_goes_on_after_the_last_row_that_it_has() {
    let (folder, from, _) = two();
    let made = folder.path().join("made.db");
    let (source, to) = (open(&from), Connection::Sqlite(make_empty(&made).unwrap()));
    let mut commands = 0;
    for moments in 1.. {
        let left = Cell::new(moments);
        let stop = || left.replace(left.get().max(1) - 1) == 0;
        commands += 1;
        if transfer::copy_rows(&source, &to, &stop).unwrap() {
            break;
        }
    }
    assert!(commands > 5, "{commands}");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let copy = Connection::Sqlite(Sqlite::open_with_flags(&made, flags).unwrap());
    let found = transfer::held(&copy, GO_ON).unwrap().unwrap();
    assert_eq!(found[1..], held(&from)[1..]);
}
