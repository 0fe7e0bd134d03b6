//! Erasure: what is left of an entry is a keyed hash, by which it is known again and never sent.
//!
//! Rows are overwritten, not removed: runs and attempts stay, with their times and counts. The baseline alone goes
//! whole, overwritten by SQLite (`secure_delete`). What the file still holds
//! of the old values, in pages that SQLite has put aside, goes with [`scrub`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::db::{self, Connection, params};
use jiff::Timestamp;
use uuid::Uuid;

use super::findings::drop_history;
use super::records::{EntryId, RunId};
use super::store::insert_evidence;
use super::{Ledger, LedgerError, LedgerFile, Location, file, rules, served};
use crate::token::{Fingerprint, FingerprintKey};

/// Columns of free text, in which ids of any entry's session can stand.
const TEXTS: [(&str, &str); 10] = [
    ("entries", "error_detail"),
    ("answers", "detail"),
    ("evidence", "detail"),
    ("run_outcomes", "error_detail"),
    ("run_findings", "message"),
    ("run_findings", "expected"),
    ("run_findings", "actual"),
    ("run_ends", "error"),
    ("runs", "reason"),
    ("runs", "ref"),
];

/// How long a reader may keep the log from being emptied.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stands where an id stood.
const REMOVED: &str = "(erased)";

impl Ledger {
    /// Overwrites all that is known of entries but a keyed hash: `ledger erase`. Those that nothing could be known
    /// again by are left as they are, and returned.
    pub async fn erase(&self, entries: Vec<EntryId>, run: RunId, at: Timestamp) -> Result<Vec<EntryId>, LedgerError> {
        let key = self.identity().key.clone();
        self.writer
            .call(move |tx| {
                let mut names = BTreeSet::new();
                let mut left = Vec::new();
                for entry in &entries {
                    if !erase(tx, *entry, run, at, &key, &mut names)? {
                        left.push(*entry);
                    }
                }
                remove_names(tx, &names)?;
                tx.execute("DELETE FROM up_to_date", ())?;
                Ok(left)
            })
            .await
    }
}

/// Rewrites the file and empties its log, so that neither holds a byte of what was overwritten. On a server, has the
/// tables' dead rows removed; what its own log and backups hold is for those who keep them. The caller holds the
/// [`Lock`](super::Lock), and has closed the ledger.
pub fn scrub(location: &Location) -> Result<(), LedgerError> {
    match location {
        Location::File(file) => scrub_file(file),
        Location::Server(server) => served::scrub(server),
    }
}

fn scrub_file(file: &LedgerFile) -> Result<(), LedgerError> {
    let path = &file.path;
    let connection = file::open_for_writing(file)?.connection;
    connection.busy_timeout(PATIENCE).map_err(|e| LedgerError::sqlite(path, &e))?;
    connection.execute_batch("VACUUM").map_err(|e| LedgerError::sqlite(path, &e))?;
    let is_busy: bool = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
        .map_err(|e| LedgerError::sqlite(path, &e))?;
    if is_busy {
        let detail =
            "the erasure is on record, but somebody reads the ledger, and its log could not be emptied; erase again";
        return Err(LedgerError::io(path, &detail));
    }
    Ok(())
}

/// What is left of a token whose claims name no session. Not its fingerprint, which is erased, too.
#[must_use]
pub fn token_hash(key: &FingerprintKey, token: &Fingerprint) -> Fingerprint {
    key.fingerprint(token.as_bytes())
}

fn erase(
    tx: &Connection,
    entry: EntryId,
    run: RunId,
    at: Timestamp,
    key: &FingerprintKey,
    names: &mut BTreeSet<String>,
) -> db::Result<bool> {
    let id = entry.0;
    let (source, token, claims_are_known) = tx.query_row(
        "SELECT source_session_id, coalesce(token, (SELECT token FROM attempts WHERE entry = ?1 ORDER BY number DESC LIMIT 1)),
           from_application_id IS NOT NULL FROM entries WHERE id = ?1",
        [id],
        |row| Ok((row.get::<Option<String>>(0)?, row.get::<Option<Vec<u8>>>(1)?, row.get::<bool>(2)?)),
    )?;
    let token = token.as_deref().and_then(Fingerprint::from_slice).map(|token| token_hash(key, &token));
    let source_hash = source.as_ref().map(|source| key.fingerprint(source.as_bytes()));
    let Some(hash) = source_hash.or(token) else { return Ok(false) };
    // A token whose claims can't be read leads to its source by an answer alone; that is gone now.
    let token = token.filter(|_| source_hash.is_some() && !claims_are_known);
    collect_names(tx, id, names)?;
    names.extend(source.clone());
    rules::erase(tx, key, source.as_deref(), id)?;
    let label = format!("erased-{id}");
    overwrite_outcomes(tx, id, &label, source.as_deref())?;
    tx.execute(
        "UPDATE entries SET state = 'erased', label = ?2, source_hash = ?3, token = ?4, run = ?5, source_session_id = NULL,
           from_application_id = NULL, session_kind = NULL, workflow_id = NULL, trust_review = NULL, vendor_data = NULL,
           first_sent_at = NULL, session_id = NULL, session_number = NULL, session_url = NULL, status = NULL,
           imported_at = NULL, error_class = NULL, error_status = NULL, error_detail = NULL, place = '', audited_at = NULL
         WHERE id = ?1",
        params![id, label, hash.as_bytes(), token.as_ref().map(Fingerprint::as_bytes), run.0],
    )?;
    tx.execute(
        "UPDATE attempts SET token = ?2, token_expires_at = NULL, vendor_data = NULL WHERE entry = ?1",
        params![id, [0_u8; 0]],
    )?;
    tx.execute(
        "UPDATE answers SET detail = NULL, session_id = NULL WHERE attempt IN (SELECT id FROM attempts WHERE entry = ?1)",
        [id],
    )?;
    tx.execute("UPDATE evidence SET session_id = NULL, detail = 'erased' WHERE entry = ?1", [id])?;
    tx.execute(
        "UPDATE run_findings SET label = ?2, session_id = NULL, message = 'erased', expected = NULL, actual = NULL
         WHERE entry = ?1",
        params![id, label],
    )?;
    drop_history(tx, entry, at)?;
    insert_evidence(tx, entry, run, at, "erased", None, "erased")?;
    Ok(true)
}

/// The ids and `vendor_data` of an entry, of today and earlier, that no other entry has.
fn collect_names(tx: &Connection, entry: i64, names: &mut BTreeSet<String>) -> db::Result<()> {
    let mut query = tx.prepare(
        "WITH told (name) AS (
           SELECT session_id FROM entries WHERE id = ?1
           UNION SELECT b.session_id FROM answers b JOIN attempts a ON a.id = b.attempt WHERE a.entry = ?1
           UNION SELECT session_id FROM evidence WHERE entry = ?1
           UNION SELECT session_id FROM run_outcomes WHERE entry = ?1
           UNION SELECT session_id FROM run_findings WHERE entry = ?1
           UNION SELECT vendor_data FROM entries WHERE id = ?1
           UNION SELECT vendor_data FROM attempts WHERE entry = ?1)
         SELECT name FROM told WHERE length(name) >= 8
           AND NOT EXISTS (SELECT 1 FROM entries o WHERE o.session_id = name AND o.id <> ?1)
           AND NOT EXISTS (SELECT 1 FROM attempts a JOIN entries o ON o.id = a.entry
                           WHERE a.vendor_data = name AND a.entry <> ?1 AND o.vendor_data = name)",
    )?;
    query.each([entry], |row| {
        names.insert(row.get(0)?);
        Ok(())
    })
}

/// Reports of a run in which the entry had no row yet name it by source session, label or `vendor_data` alone.
fn overwrite_outcomes(tx: &Connection, entry: i64, label: &str, source: Option<&str>) -> db::Result<()> {
    let told: Vec<(i64, String, String)> = tx.query_all(
        "SELECT run, manifest, label FROM run_outcomes
         WHERE entry = ?1 OR (entry IS NULL AND (source_session_id = ?2 OR (coalesce(source_session_id, ?2, '') = coalesce(?2, '')
           AND EXISTS (SELECT 1 FROM entries e WHERE e.id = ?1 AND e.manifest = run_outcomes.manifest
             AND (e.label = run_outcomes.label OR e.vendor_data = run_outcomes.vendor_data)))))",
        params![entry, source],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let mut make_way = tx.prepare("DELETE FROM run_outcomes WHERE run = ?1 AND manifest = ?2 AND label = ?3")?;
    let mut overwrite = tx.prepare(
        "UPDATE run_outcomes SET entry = ?4, label = ?5, outcome = 'erased', source_session_id = NULL,
           session_id = NULL, session_number = NULL, session_url = NULL, session_kind = NULL, status = NULL,
           workflow_id = NULL, vendor_data = NULL, error_class = NULL, error_status = NULL, error_detail = NULL,
           from_application_id = NULL, for_application_id = NULL, expires_at = NULL
         WHERE run = ?1 AND manifest = ?2 AND label = ?3",
    )?;
    for (run, manifest, was) in told {
        // A run may have told the entry twice, by its row and by its label alone.
        if was != label {
            make_way.execute(params![run, manifest, label])?;
        }
        overwrite.execute(params![run, manifest, was, entry, label])?;
    }
    Ok(())
}

/// Texts of other rows may name the erased sessions, too: candidates of a lookup, the reason of a repair.
fn remove_names(tx: &Connection, names: &BTreeSet<String>) -> db::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    // Whatever else people call an entry by may be a word of our own.
    let ids: BTreeSet<String> = names.iter().filter(|name| Uuid::try_parse(name).is_ok()).cloned().collect();
    for (table, column) in TEXTS {
        let names = if table == "runs" { names } else { &ids };
        let texts: Vec<String> = tx
            .prepare(&format!("SELECT DISTINCT {column} FROM {table} WHERE length({column}) >= 8"))?
            .query_all((), |row| row.get(0))?;
        let mut update = tx.prepare(&format!("UPDATE {table} SET {column} = ?2 WHERE {column} = ?1"))?;
        for text in texts {
            let cleaned = without(&text, names);
            if cleaned != text {
                update.execute([text, cleaned])?;
            }
        }
    }
    Ok(())
}

/// `text` without these names, in whatever case they stand.
fn without(text: &str, names: &BTreeSet<String>) -> String {
    let mut text = text.to_owned();
    for name in names {
        // Lower case in ASCII keeps every byte's place.
        let name = name.to_ascii_lowercase();
        let mut from = 0;
        while let Some(at) = text[from..].to_ascii_lowercase().find(&name).map(|at| from + at) {
            text.replace_range(at..at + name.len(), REMOVED);
            from = at + REMOVED.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_9_names_are_removed_in_any_case_and_more_than_once() {
        let names = BTreeSet::from(["ab-cd".to_owned()]);
        let odd = BTreeSet::from([REMOVED.to_owned()]);
        assert_eq!(without("x (erased)", &odd), "x (erased)");
        assert_eq!(without("é AB-cd, ab-CD; x", &names), "é (erased), (erased); x");
    }
}
