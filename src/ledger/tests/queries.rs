//! How SQLite finds what it is asked for: what is asked for each entry, or when a command begins, reads no table whole.

use rusqlite::Connection;

use crate::ledger::file::MIGRATIONS;
use crate::ledger::{pass, read};

/// How SQLite goes about a statement, a line for each table.
fn explained(connection: &Connection, sql: &str) -> Vec<String> {
    let mut query = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = query.parameter_count();
    let nothing = vec![rusqlite::types::Null; count];
    let lines = query.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap();
    lines.map(Result::unwrap).collect()
}

#[test]
fn what_is_asked_for_each_entry_is_found_by_an_index() {
    let connection = Connection::open_in_memory().unwrap();
    for sql in MIGRATIONS {
        connection.execute_batch(sql).unwrap();
    }
    let statements = [
        pass::PASS.to_owned(),
        read::RECORD.to_owned(),
        "SELECT coalesce(max(id), 0) FROM entries".to_owned(),
        "SELECT ledger_id, generation, fingerprint_key FROM meta WHERE id = 1".to_owned(),
        "SELECT id FROM entries WHERE session_id = ?1".to_owned(),
        "SELECT count(*) > 1 FROM entries WHERE session_id = ?1".to_owned(),
        "SELECT 1 FROM entries WHERE vendor_data = ?2 AND id <> ?1 AND attempts > 0".to_owned(),
        "SELECT max(token_expires_at) FROM attempts WHERE entry = ?1".to_owned(),
        "SELECT EXISTS (SELECT 1 FROM run_outcomes WHERE run = ?1)".to_owned(),
    ];
    for sql in statements {
        for line in explained(&connection, &sql) {
            let is_bounded = line.starts_with("SEARCH") || !line.starts_with("SCAN") || line.ends_with("CONSTANT ROW");
            assert!(is_bounded, "{sql}\n{line}");
        }
    }
}
