//! How SQLite finds what it is asked for. Every statement that a test makes the ledger run is held against its plan, the
//! first time that it is run: a table is read whole only where that is meant, and said here.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::{begin, imported, intent, now, place};
use crate::ledger::file::MIGRATIONS;
use crate::ledger::records::{EntryId, State};
use crate::ledger::{Ledger, Reader, Which};
use crate::token::FingerprintKey;

/// What may read a table whole: a part of the statement, what SQLite says of the table, and why.
const PASSES: [(&str, &str, &str); 45] = [
    ("FROM meta", "SCAN meta", "it has one row"),
    ("UPDATE meta", "SCAN meta", "it has one row"),
    ("FROM sqlite_schema", "SCAN sqlite_master", "it has a row for each table"),
    ("FROM pragma_table_info", "SCAN pragma_table_info", "it has a row for each column"),
    ("FROM manifests ORDER BY name", "SCAN manifests", "all are asked for, and they are few"),
    ("FROM generations g JOIN runs r ON r.id = g.run\n             WHERE g.run > ?1", "SCAN g", "runs are few"),
    ("SELECT EXISTS (SELECT 1 FROM runs)", "SCAN runs", "one row is read"),
    ("ORDER BY g.generation DESC LIMIT 1", "SCAN g", "one row is read"),
    ("FROM runs r LEFT JOIN run_ends e", "SCAN r", "all runs are asked for"),
    ("SELECT max(e.run) FROM run_ends e", "SCAN e", "runs are few"),
    ("r.command NOT IN ('apply', 'audit')", "SCAN r", "runs are few"),
    ("FROM runs r CROSS JOIN run_outcomes o", "SCAN r", "runs are few"),
    ("max(id) FROM runs WHERE command <> 'audit'", "SCAN runs", "backwards, up to the last that is none"),
    ("EXISTS (SELECT 1 FROM runs WHERE id > ?1", "SCAN runs", "runs are few"),
    ("DELETE FROM up_to_date", "SCAN up_to_date", "a row for each set of paths that was found up to date lately"),
    ("SELECT id, rules FROM rule_lists", "SCAN rule_lists", "all are asked for, once an audit"),
    ("SELECT manifest, entry, rules FROM entry_rules", "SCAN entry_rules", "all are asked for, once an audit"),
    ("DELETE FROM rule_lists", "SCAN rule_lists", "a list that many entries have is kept once"),
    ("AS answered\n         FROM entries ORDER BY id", "SCAN entries", "all are asked for"),
    ("SELECT id, label, manifest, state, session_kind", "SCAN entries", "all are asked for: they are measured"),
    ("INSERT INTO run_states", "SCAN entries USING COVERING INDEX entries_by_state", "counted once a run"),
    ("GROUP BY 2, 1 ORDER BY 1, 2", "SCAN entries USING COVERING INDEX entries_by_state", "counted once a report"),
    ("GROUP BY session_id", "SCAN entries USING COVERING INDEX entries_by_session", "counted once an audit"),
    ("FROM entries NOT INDEXED", "SCAN entries", "totals are of the entries themselves, so that damage is met"),
    ("GROUP BY state", "SCAN entries USING COVERING INDEX entries_by_state", "counted once a status"),
    (
        "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM attempts)",
        "SCAN ",
        "a backup and its copy are counted whole",
    ),
    (" WHERE TRUE ORDER BY ", "SCAN ", "a move reads everything; this is the first of it"),
    ("INSERT INTO runs (id, ", "SCAN ", "a move: a row that is referred to is written under a number that is given"),
    ("INSERT INTO entries (id, ", "SCAN ", "the same"),
    ("FROM (SELECT CAST(NULL AS BIGINT) AS entry", "SCAN ", "`ledger check` reads everything"),
    ("FROM baselines b LEFT JOIN entries e", "SCAN b", "`ledger check` reads everything"),
    ("imported_at >= ?1 AND imported_at < ?2", "SCAN entries", "a report of a period passes over the entries once"),
    ("WITH told (class", "SCAN b", "a report of a period passes over the answers once"),
    ("WITH told (class", "SCAN told", "a report of a period passes over what it found once"),
    ("FROM findings f WHERE f.first_seen < ?2", "SCAN f", "a report of a period passes over the findings once"),
    // An erasure is followed by a rewriting of the whole file.
    ("WITH told (name)", "SCAN told", "what is told of one entry"),
    ("WITH told (name)", "SCAN run_outcomes", "an erasure reads all that runs told"),
    ("SELECT run, manifest, label FROM run_outcomes", "SCAN run_outcomes", "an erasure reads all that runs told"),
    ("SELECT DISTINCT error_detail", "SCAN ", "an erasure reads every text"),
    ("SELECT DISTINCT detail", "SCAN ", "an erasure reads every text"),
    ("SELECT DISTINCT message", "SCAN ", "an erasure reads every text"),
    ("SELECT DISTINCT expected", "SCAN ", "an erasure reads every text"),
    ("SELECT DISTINCT actual", "SCAN ", "an erasure reads every text"),
    ("SELECT DISTINCT error FROM run_ends", "SCAN ", "an erasure reads every text"),
    ("SELECT DISTINCT re", "SCAN ", "an erasure reads every text"),
];

/// Statements of which there are no plans: those that set up a connection or a file.
const PLANLESS: [&str; 12] = [
    "PRAGMA",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "CREATE",
    "DROP",
    "ALTER",
    "VACUUM",
    "ATTACH",
    "DETACH",
];

struct Watcher {
    newest: Connection,
    seen: HashSet<String>,
}

fn watcher() -> MutexGuard<'static, Watcher> {
    static WATCHER: OnceLock<Mutex<Watcher>> = OnceLock::new();
    let watcher = WATCHER.get_or_init(|| {
        let newest = Connection::open_in_memory().unwrap();
        for sql in MIGRATIONS {
            newest.execute_batch(sql).unwrap();
        }
        Mutex::new(Watcher { newest, seen: HashSet::new() })
    });
    watcher.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has what a connection is asked held against its plan.
pub(in crate::ledger) fn watch(connection: &Connection) {
    connection.trace_v2(
        TraceEventCodes::SQLITE_TRACE_STMT,
        Some(|event| {
            if let TraceEvent::Stmt(_, sql) = event
                && let Some(told) = watcher().judge(sql)
            {
                // A panic would end in SQLite, and be lost.
                let _ = writeln!(std::io::stderr(), "{told}");
                std::process::exit(101);
            }
        }),
    );
}

impl Watcher {
    /// What is wrong with a statement's plan, when it is first seen.
    fn judge(&mut self, sql: &str) -> Option<String> {
        if !self.seen.contains(sql) {
            self.seen.insert(sql.to_owned());
            return judged(&self.newest, sql);
        }
        None
    }
}

fn judged(connection: &Connection, sql: &str) -> Option<String> {
    let first = sql.trim_start_matches(['(', ' ', '\n']).split_whitespace().next().unwrap_or_default();
    // A trigger's, and what is told of its parts.
    if first.starts_with("--") || PLANLESS.contains(&first.to_ascii_uppercase().as_str()) {
        return None;
    }
    // What is asked of tables of earlier versions alone has no plan in this one.
    let lines = explained(connection, sql).ok()?;
    // One row, behind which a move goes on.
    let is_last = sql.ends_with(" DESC LIMIT 1") && !sql.contains("WHERE") && !sql.contains("JOIN");
    let scans = lines.iter().filter(|line| {
        let is_given = line.ends_with("CONSTANT ROW") || line.ends_with("-ROW VALUES CLAUSE");
        let is_scan = line.starts_with("SCAN ") && !is_given && !is_last || line.contains("AUTOMATIC");
        let is_meant = PASSES.iter().any(|(part, table, _)| sql.contains(part) && line.starts_with(table));
        is_scan && !is_meant
    });
    let scans: Vec<&str> = scans.map(String::as_str).collect();
    if !scans.is_empty() {
        return Some(format!("a statement reads a table whole: {}\n{sql}\n", scans.join("; ")));
    }
    makes_a_table(connection, sql).then(|| format!("a statement makes a table for each row that it writes:\n{sql}\n"))
}

/// Whether writing one row takes a table made for that, as it does where a rule has a list of more than two values.
fn makes_a_table(connection: &Connection, sql: &str) -> bool {
    let writes_one = sql.starts_with("INSERT INTO") && sql.contains("VALUES (?1, ") && !sql.contains("), (")
        || sql.starts_with("UPDATE") && sql.contains("WHERE id = ?1") && !sql.contains("RETURNING");
    writes_one && opcodes(connection, sql).is_ok_and(|opcodes| opcodes.iter().any(|it| it == "OpenEphemeral"))
}

fn opcodes(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare(&format!("EXPLAIN {sql}"))?;
    let nothing = vec![rusqlite::types::Null; query.parameter_count()];
    query.query_map(rusqlite::params_from_iter(nothing), |row| row.get(1))?.collect()
}

/// How SQLite goes about a statement, a line for each table.
fn explained(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let nothing = vec![rusqlite::types::Null; query.parameter_count()];
    query.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))?.collect()
}

#[test]
fn a_table_that_is_read_whole_is_told_and_what_an_index_finds_is_not() {
    let watcher = watcher();
    for sql in [
        "SELECT id FROM attempts WHERE sent_at = ?1",
        "SELECT id FROM entries WHERE place = 'x'",
        "UPDATE entries SET state = 'expired' WHERE manifest = ?1",
        "SELECT count(*) FROM entries a JOIN entries b ON a.place = b.place WHERE a.id = 1",
    ] {
        assert!(judged(&watcher.newest, sql).is_some(), "{sql}");
    }
    for sql in [
        "SELECT id FROM attempts WHERE run = ?1",
        "UPDATE entries SET place = '' WHERE state = 'expired' AND manifest = ?1",
        "SELECT 1",
        "PRAGMA quick_check",
    ] {
        assert_eq!(judged(&watcher.newest, sql), None);
    }
}

#[test]
fn a_rule_with_a_list_of_values_costs_a_table_a_row_and_is_told() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT CHECK (a IN ('x', 'y', 'z')))").unwrap();
    for sql in ["INSERT INTO t (id, a) VALUES (?1, ?2)", "UPDATE t SET a = ?2 WHERE id = ?1"] {
        assert!(judged(&connection, sql).is_some(), "{sql}");
    }
    assert_eq!(judged(&connection, "UPDATE t SET id = ?2 WHERE id = ?1"), None);
}

/// What commands ask, one for one: each statement is held against its plan as it is run.
#[tokio::test]
async fn what_commands_ask_is_found_by_indexes() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let mut last = EntryId(0);
    for n in 1..=3 {
        let (entry, attempt) = ledger.intend(intent(run, n, None)).await.unwrap();
        ledger.settle(imported(run, entry, attempt, 100 + n)).await.unwrap();
        last = entry;
    }
    ledger.intend(intent(run, 4, None)).await.unwrap();
    assert!(!ledger.vendor_data_is_shared(last, "acme-3".to_owned()).await.unwrap());
    assert!(ledger.vendor_data_is_shared(last, "acme-2".to_owned()).await.unwrap());
    let key = FingerprintKey::from_bytes([7; 32]);
    assert_eq!(ledger.meant(vec!["entry-2".to_owned()], vec![key.fingerprint(b"x")]).await.unwrap().len(), 1);
    assert_eq!(ledger.records_of(vec![last]).await.unwrap()[0].id, last);
    ledger.sent_tokens_end(last).await.unwrap();
    assert!(ledger.all_shared_sessions().await.unwrap().is_empty());
    ledger.recent_imports(now()).await.unwrap();
    ledger.kept_rules().await.unwrap();
    ledger.forget(last, run, now()).await.unwrap();
    ledger.erase(vec![last], run, now()).await.unwrap();
    drop(ledger);
    let reader = Reader::require(&place.location).unwrap();
    for which in [Which::All, Which::In(State::Imported), Which::In(State::Erased), Which::These(vec![EntryId(2)])] {
        let listed: Vec<_> = reader.listed(which.clone()).unwrap().map(Result::unwrap).collect();
        let lines: Vec<_> = reader.lines(which.clone()).unwrap().map(Result::unwrap).collect();
        assert!(!listed.is_empty() && listed.len() == lines.len(), "{which:?}");
        reader.see_lines(&which, |line| assert!(lines.iter().any(|it| it.label == line.label))).unwrap();
    }
    reader.named(&["entry-1".to_owned()]).unwrap();
    reader.ordered([EntryId(1), EntryId(2)]).unwrap();
    reader.state_counts().unwrap();
    assert_eq!(reader.auditables().unwrap().entries.len(), 2);
    reader.traces(run).unwrap();
    reader.run_attempts(run).unwrap();
    reader.run_states(run).unwrap();
    reader.waiting_tokens(run).unwrap();
    reader.run_sends(run).unwrap();
    reader.run_findings(run).unwrap();
    reader.sums(now(), now()).unwrap();
    reader.counts().unwrap();
    assert_eq!(reader.check().unwrap(), Vec::new());
}
