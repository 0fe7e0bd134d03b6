//! What an import writes: an intent before its request leaves, and what became of it. At full rate nothing is written
//! more often, so each of the two touches a row once, and is prepared once.

use super::db::{self, Connection, IdText, params};
use jiff::Timestamp;

use super::records::{AnswerKind, AttemptId, EntryId, Intent, Outcome};
use super::store::{insert_evidence, text, write_entry};
use super::{Ledger, LedgerError};
use crate::token::{Fingerprint, SessionKind};

impl Ledger {
    /// Records the intent to send a request. When this returns, it is durable, and the request may leave.
    pub async fn intend(&self, intent: Intent) -> Result<(EntryId, AttemptId), LedgerError> {
        self.writer.call(move |tx| intend(tx, &intent)).await
    }

    /// Records what became of a request, or of a lookup. When this returns, it is durable, and counts.
    pub async fn settle(&self, outcome: Outcome) -> Result<(), LedgerError> {
        let ticket = self.spool.as_ref().and_then(|spool| spool.enter(&outcome));
        self.writer.call_with(ticket, move |tx| settle(tx, &outcome)).await
    }
}

fn intend(tx: &Connection, it: &Intent) -> db::Result<(EntryId, AttemptId)> {
    let (entry, number) = match it.entry {
        None => (insert_sending(tx, it)?, 1),
        Some(entry) => (entry, update_sending(tx, entry, it)?),
    };
    let attempt = tx.insert(
        "INSERT INTO attempts (entry, run, number, sent_at, left_at, token, token_expires_at, workflow_id, trust_review, vendor_data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
        entry.0,
        it.run.0,
        number,
        it.sent_at.as_millisecond(),
        it.left_at.as_millisecond(),
        it.token.as_bytes(),
        it.token_expires_at.map(Timestamp::as_millisecond),
        text(it.settings.workflow_id),
        it.settings.trust_review,
        it.settings.vendor_data,
    ])?;
    Ok((entry, AttemptId(attempt)))
}

/// The entry of a first attempt.
fn insert_sending(tx: &Connection, it: &Intent) -> db::Result<EntryId> {
    let new = &it.describe;
    let id = tx.insert(
        "INSERT INTO entries (manifest, label, application_id, base_url, key, source_session_id, from_application_id,
           session_kind, state, attempts, place, run, token, workflow_id, trust_review, vendor_data, first_sent_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'sending', 1, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            new.manifest,
            new.label,
            text(new.receiver.application_id),
            new.receiver.base_url,
            new.receiver.key.as_ref().map(Fingerprint::as_bytes),
            text(new.source_session_id),
            text(new.from_application_id),
            new.session_kind.map(SessionKind::as_str),
            new.place,
            it.run.0,
            it.token.as_bytes(),
            text(it.settings.workflow_id),
            it.settings.trust_review,
            it.settings.vendor_data,
            it.sent_at.as_millisecond(),
        ],
    )?;
    Ok(EntryId(id))
}

/// The entry of a later attempt; which it is.
fn update_sending(tx: &Connection, entry: EntryId, it: &Intent) -> db::Result<i64> {
    write_entry(tx, Some(entry), &it.describe, it.run)?;
    tx.prepare(
        "UPDATE entries SET state = 'sending', attempts = attempts + 1, token = ?2, workflow_id = ?3,
           trust_review = ?4, vendor_data = ?5, first_sent_at = coalesce(first_sent_at, ?6), key = ?7,
           from_application_id = ?8
         WHERE id = ?1 RETURNING attempts",
    )?
    .query_row(
        params![
            entry.0,
            it.token.as_bytes(),
            text(it.settings.workflow_id),
            it.settings.trust_review,
            it.settings.vendor_data,
            it.sent_at.as_millisecond(),
            it.describe.receiver.key.as_ref().map(Fingerprint::as_bytes),
            text(it.describe.from_application_id),
        ],
        |row| row.get(0),
    )
}

pub(super) fn settle(tx: &Connection, it: &Outcome) -> db::Result<()> {
    let (class, status, detail) = error(it);
    if it.attempt.is_none() {
        // Where there is an attempt, its intent has set it. To set a column that refers to another table, SQLite looks there,
        // and keeps a journal for the statement.
        let sql = match it.session {
            // What another run has found meanwhile stands.
            None => "UPDATE entries SET run = ?2 WHERE id = ?1 AND state <> 'imported'",
            Some(_) => "UPDATE entries SET run = ?2 WHERE id = ?1",
        };
        tx.prepare(sql)?.execute(params![it.entry.0, it.run.0])?;
    }
    match &it.session {
        None => tx
            .prepare(
                "UPDATE entries SET state = ?2, error_class = ?3, error_status = ?4, error_detail = ?5
                 WHERE id = ?1 AND state <> 'imported'",
            )?
            .execute(params![it.entry.0, it.state.as_str(), class, status, detail])?,
        Some(session) => {
            if it.source_session_id.is_some() {
                // Apart, for it seldom happens, and a column of an index that is set is written anew, whatever it is set to.
                tx.prepare("UPDATE entries SET source_session_id = ?2 WHERE id = ?1 AND source_session_id IS NULL")?
                    .execute(params![it.entry.0, text(it.source_session_id)])?;
            }
            tx.prepare(
                "UPDATE entries SET state = ?2, error_class = ?3, error_status = ?4, error_detail = ?5,
                   session_id = ?6, session_number = ?7, session_url = ?8, status = ?9, imported_at = ?10,
                   session_kind = coalesce(session_kind, ?11)
                 WHERE id = ?1",
            )?
            .execute(params![
                it.entry.0,
                it.state.as_str(),
                class,
                status,
                detail,
                IdText::from(session.session_id),
                session.session_number,
                session.session_url,
                session.status,
                it.at.as_millisecond(),
                it.session_kind.map(SessionKind::as_str),
            ])?
        }
    };
    if let Some((attempt, kind)) = it.attempt {
        insert_answer(tx, it, attempt, kind)?;
    }
    match &it.evidence {
        None => Ok(()),
        Some(e) => insert_evidence(tx, it.entry, it.run, it.at, e.verdict, e.session_id, &e.detail),
    }
}

fn error(it: &Outcome) -> (Option<&'static str>, Option<u16>, Option<&str>) {
    let error = it.error.as_ref();
    (error.map(|e| e.class.as_str()), error.and_then(|e| e.http_status), error.map(|e| e.detail.as_str()))
}

fn insert_answer(tx: &Connection, it: &Outcome, attempt: AttemptId, kind: AnswerKind) -> db::Result<()> {
    let (class, status, detail) = error(it);
    tx.prepare(
        "INSERT INTO answers (attempt, answered_at, outcome, http_status, class, detail, session_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        attempt.0,
        it.at.as_millisecond(),
        kind.as_str(),
        status,
        class,
        detail,
        it.session.as_ref().filter(|_| kind == AnswerKind::Imported).map(|s| IdText::from(s.session_id)),
    ])
    .map(drop)
}
