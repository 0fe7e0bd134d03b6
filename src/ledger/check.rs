//! `ledger check`: what the database says of itself, and what this program knows to hold in every ledger.

use super::db::{self, Connection};

use super::records::Flaw;
use super::tables::TABLES;
use crate::verify::KeptBaseline;

/// Each rule with the query for what breaks it: an entry's number or NULL, and words that hold ids and counts only.
const RULES: [(&str, &str); 9] = [
    (
        "identity",
        "SELECT CAST(NULL AS BIGINT), 'the ledger''s identity is missing or damaged'
         WHERE (SELECT count(*) FROM meta WHERE length(fingerprint_key) = 32 AND length(ledger_id) = 36) <> 1",
    ),
    (
        "imported-without-session",
        "SELECT id, 'it is imported, but has no session id' FROM entries WHERE state = 'imported' AND session_id IS NULL",
    ),
    (
        "session-twice",
        "SELECT min(id), 'session ' || session_id || ' stands under ' || count(*) || ' entries' FROM entries
         WHERE session_id IS NOT NULL GROUP BY session_id, base_url HAVING count(*) > 1",
    ),
    (
        "attempts-miscounted",
        "SELECT id, 'it counts ' || attempts || ' attempts, and ' || n || ' are on record' FROM
           (SELECT id, attempts, (SELECT count(*) FROM attempts a WHERE a.entry = entries.id) AS n FROM entries) e
         WHERE attempts <> n",
    ),
    // After a refusal a lookup may be pending, and what was not processed is sent again: only a success ends it.
    (
        "sending-settled",
        "SELECT e.id, 'it is being sent, but its last attempt was answered with a session' FROM entries e
         JOIN attempts a ON a.entry = e.id AND a.number = (SELECT max(number) FROM attempts WHERE entry = e.id)
         JOIN answers b ON b.attempt = a.id
         WHERE e.state = 'sending' AND b.outcome = 'imported' AND NOT EXISTS (
           SELECT 1 FROM attempts o LEFT JOIN answers p ON p.attempt = o.id
           WHERE o.entry = e.id AND coalesce(p.outcome, 'unknown') = 'unknown')",
    ),
    ("sending-unsent", "SELECT id, 'it is being sent, but has no attempt' FROM entries WHERE state = 'sending' AND attempts = 0"),
    (
        "answer-without-session",
        "SELECT e.id, 'attempt ' || a.number || ' was answered with a session whose id is missing' FROM answers b
         JOIN attempts a ON a.id = b.attempt JOIN entries e ON e.id = a.entry
         WHERE b.outcome = 'imported' AND b.session_id IS NULL AND e.state <> 'erased'",
    ),
    // A repair after the answer may have put another session in its place, or none.
    (
        "session-lost",
        "SELECT e.id, 'attempt ' || a.number || ' was answered with session ' || b.session_id || ', which the entry lacks'
         FROM answers b JOIN attempts a ON a.id = b.attempt JOIN entries e ON e.id = a.entry
         WHERE b.outcome = 'imported' AND b.session_id IS NOT NULL AND e.state <> 'erased' AND e.session_id IS DISTINCT FROM b.session_id
           AND NOT EXISTS (SELECT 1 FROM evidence v
             WHERE v.entry = e.id AND v.verdict IN ('adopted', 'forgotten') AND v.run > a.run)",
    ),
    (
        "erased-remains",
        "SELECT id, 'it is erased, but something of it is left' FROM entries e WHERE state = 'erased' AND (
           label <> 'erased-' || id OR (source_hash IS NULL AND token IS NULL) OR place <> ''
           OR coalesce(source_session_id, from_application_id, session_kind, workflow_id, vendor_data, session_id,
             session_url, status, error_class, error_detail) IS NOT NULL
           OR coalesce(trust_review, first_sent_at, session_number, imported_at, error_status, audited_at) IS NOT NULL
           OR EXISTS (SELECT 1 FROM attempts a LEFT JOIN answers b ON b.attempt = a.id WHERE a.entry = e.id
             AND (length(a.token) > 0 OR a.token_expires_at IS NOT NULL
               OR coalesce(a.vendor_data, b.detail, b.session_id) IS NOT NULL))
           OR EXISTS (SELECT 1 FROM evidence v WHERE v.entry = e.id AND (v.session_id IS NOT NULL OR v.detail <> 'erased'))
           OR EXISTS (SELECT 1 FROM run_outcomes o WHERE o.entry = e.id AND (o.outcome <> 'erased' OR o.label <> e.label
             OR coalesce(o.source_session_id, o.session_id, o.session_url, o.vendor_data, o.error_detail) IS NOT NULL))
           OR EXISTS (SELECT 1 FROM run_findings f WHERE f.entry = e.id AND (f.label <> e.label
             OR coalesce(f.session_id, f.expected, f.actual) IS NOT NULL)))",
    ),
];

/// What holds of baselines, which ledgers have since version 4.
const OF_BASELINES: (&str, &str) = (
    "erased-remains",
    "SELECT e.id, 'it is erased, but its baseline is left' FROM baselines b JOIN entries e ON e.id = b.entry
     WHERE e.state = 'erased'",
);

/// What SQLite's own checks are called.
const INTEGRITY: &str = "integrity";
const ORPHANS: &str = "row-without-parent";
/// What audits find damaged, too.
const BASELINES: &str = "baseline-unreadable";

/// The names of the rules by which `ledger check` looks.
pub fn check_rules() -> impl Iterator<Item = &'static str> {
    [INTEGRITY, ORPHANS].into_iter().chain(RULES.into_iter().map(|(rule, _)| rule)).chain([BASELINES])
}

/// Everything that is wrong, all of it as of one moment.
pub(super) fn check(connection: &Connection) -> db::Result<Vec<Flaw>> {
    let _as_of_one_moment = connection.begin_reading()?;
    let mut flaws = Vec::new();
    let damaged = |error: &db::Error| Flaw::of_file(INTEGRITY, format!("{}: {error}", connection.kind()));
    if let Err(error) = integrity(connection, &mut flaws) {
        flaws.push(damaged(&error));
    }
    let has_baselines = connection.has_table("baselines")?;
    let of_baselines = has_baselines.then_some(OF_BASELINES);
    for (rule, sql) in RULES.into_iter().chain(of_baselines) {
        if let Err(error) = broken(connection, rule, sql, &mut flaws) {
            flaws.push(damaged(&error));
        }
    }
    if has_baselines && let Err(error) = unreadable_baselines(connection, &mut flaws) {
        flaws.push(damaged(&error));
    }
    Ok(flaws)
}

fn unreadable_baselines(tx: &Connection, flaws: &mut Vec<Flaw>) -> db::Result<()> {
    let sql =
        "SELECT b.facts, e.manifest, e.label FROM baselines b LEFT JOIN entries e ON e.id = b.entry ORDER BY b.entry";
    tx.prepare(sql)?.each((), |row| {
        let kept = KeptBaseline::from(row.get::<String>(0)?);
        if kept.read().is_none() {
            let message = "the baseline of its session can't be read".to_owned();
            flaws.push(Flaw { rule: BASELINES, message, manifest: row.get(1)?, id: row.get(2)? });
        }
        Ok(())
    })
}

fn integrity(tx: &Connection, flaws: &mut Vec<Flaw>) -> db::Result<()> {
    match tx {
        Connection::Sqlite(_) => integrity_of_file(tx, flaws),
        Connection::Postgres(_) => integrity_on_server(tx, flaws),
    }
}

fn integrity_of_file(tx: &Connection, flaws: &mut Vec<Flaw>) -> db::Result<()> {
    tx.prepare("PRAGMA integrity_check")?.each((), |row| {
        let text: String = row.get(0)?;
        if text != "ok" {
            flaws.push(Flaw::of_file(INTEGRITY, format!("SQLite: {text}")));
        }
        Ok(())
    })?;
    tx.prepare("PRAGMA foreign_key_check")?.each((), |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        flaws.push(Flaw::of_file(ORPHANS, orphan(&table, &parent)));
        Ok(())
    })
}

fn orphan(table: &str, parent: &str) -> String {
    format!("a row of {table} belongs to no row of {parent}")
}

/// What keeps a server's tables sound, and is not in force. Each row is a flaw in words.
const OUT_OF_FORCE: [&str; 2] = [
    "SELECT 'PostgreSQL: constraint ' || c.conname || ' of ' || t.relname || ' was never looked at'
     FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
     WHERE NOT c.convalidated AND t.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'meta'::regclass)
     ORDER BY 1",
    "SELECT 'PostgreSQL: index ' || i.relname || ' is not valid'
     FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
     WHERE NOT x.indisvalid AND i.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'meta'::regclass)
     ORDER BY 1",
];

/// A server has no check of all its rows. Those of one that was restored by hand, or written past its constraints, are
/// looked at.
fn integrity_on_server(tx: &Connection, flaws: &mut Vec<Flaw>) -> db::Result<()> {
    for sql in OUT_OF_FORCE {
        tx.prepare(sql)?.each((), |row| {
            flaws.push(Flaw::of_file(INTEGRITY, row.get(0)?));
            Ok(())
        })?;
    }
    for table in &TABLES {
        let name = table.name;
        if !tx.has_table(name)? {
            // Of a later version.
            continue;
        }
        if table.is_numbered() && is_behind(tx, name)? {
            let message = format!("PostgreSQL: the next row of {name} gets a number that is not above all others");
            flaws.push(Flaw::of_file(INTEGRITY, message));
        }
        for (column, parent, key) in table.parents {
            let sql = format!(
                "SELECT count(*) FROM {name} c WHERE c.{column} IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.{key} = c.{column})"
            );
            let orphans: u64 = tx.query_row(&sql, (), |row| row.get(0))?;
            flaws.extend((0..orphans).map(|_| Flaw::of_file(ORPHANS, orphan(name, parent))));
        }
    }
    Ok(())
}

/// Whether the sequence of a table is behind its rows. Whoever may not read the sequence is not told.
fn is_behind(tx: &Connection, table: &str) -> db::Result<bool> {
    let sql = format!(
        "SELECT CASE WHEN has_sequence_privilege(s, 'USAGE') OR has_sequence_privilege(s, 'SELECT')
           THEN coalesce(pg_sequence_last_value(s), 0) < (SELECT coalesce(max(id), 0) FROM {table}) ELSE false END
         FROM (SELECT CAST(pg_get_serial_sequence('{table}', 'id') AS regclass) AS s) q"
    );
    tx.query_row(&sql, (), |row| row.get(0))
}

fn broken(tx: &Connection, rule: &'static str, sql: &str, flaws: &mut Vec<Flaw>) -> db::Result<()> {
    let sql = format!(
        "SELECT b.message, e.manifest, e.label FROM (SELECT CAST(NULL AS BIGINT) AS entry, NULL AS message WHERE 1 = 0 UNION ALL {sql}) b
         LEFT JOIN entries e ON e.id = b.entry ORDER BY b.entry NULLS FIRST"
    );
    tx.prepare(&sql)?.each((), |row| {
        flaws.push(Flaw { rule, message: row.get(0)?, manifest: row.get(1)?, id: row.get(2)? });
        Ok(())
    })
}
