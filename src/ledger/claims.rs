//! Who works on an entry, where several runs share one ledger.
//!
//! A run claims an entry before it does anything about it: before a first intent, and before it looks up what an earlier
//! run left open. A claim is a row that names the runner; it stands for as long as that runner's row does, which is until
//! its session ends. A runner whose process is gone is taken out by whoever meets one of its claims: at once, if it ran on
//! the same machine; a moment after its connection has ended; at the latest when its lease is over. What it left open is
//! then found as open as ever, and resolved before anything is sent again.
//!
//! With the claim, the entry is held against what the run's plan knew of it: another run may have come first.
//!
//! A file has one run at a time, which has all claims.

use super::db::{self, Connection, params};
use super::read::record_by_id;
use super::records::{EntryId, NewEntry, Record, State};
use super::served::{self, Peer};
use super::store::text;
use super::{Ledger, LedgerError};
use crate::token::{Fingerprint, FingerprintKey};

/// What a run is about to work on.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The entry.
    pub entry: NewEntry,
    /// Its token, if there is one.
    pub token: Option<Fingerprint>,
    /// What the plan knew of it; `None` where it had no row.
    pub seen: Option<Seen>,
}

/// What is looked at to know that nobody has worked on an entry since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its row.
    pub id: EntryId,
    /// How many requests were sent for it.
    pub attempts: u32,
    /// Where it stood.
    pub state: State,
}

impl From<&Record> for Seen {
    fn from(record: &Record) -> Self {
        Self { id: record.id, attempts: record.attempts, state: record.state }
    }
}

/// Whose an entry is.
#[derive(Clone, Debug)]
pub enum Claim {
    /// This run's, and it stands where the plan saw it.
    Ours,
    /// Another run has been at it since the plan was made: it is done, or this run's to go on with.
    Changed(Box<Record>),
    /// Another run's, which is at work.
    Elsewhere,
}

impl Ledger {
    /// Claims an entry for this run.
    pub async fn claim(&self, wanted: Wanted) -> Result<Claim, LedgerError> {
        let Some(runner) = self.runner() else { return Ok(Claim::Ours) };
        let key = self.identity().key.clone();
        self.writer.call(move |tx| claim(tx, &runner, &key, &wanted)).await
    }
}

fn claim(tx: &Connection, runner: &str, key: &FingerprintKey, wanted: &Wanted) -> db::Result<Claim> {
    let is_ours = is_free_for(tx, runner, &name(key, wanted))?;
    let now = match wanted.seen {
        Some(seen) => Some(seen.id),
        None => made_since(tx, wanted)?,
    };
    let record = now.map(|id| record_by_id(tx, id)).transpose()?;
    let has_changed = record.as_ref().map(Seen::from) != wanted.seen;
    Ok(match record {
        // Whoever has the claim keeps it to the end of its run, and is done with this one.
        Some(record) if has_changed && (is_ours || record.state != State::Sending) => Claim::Changed(Box::new(record)),
        _ if is_ours => Claim::Ours,
        _ => Claim::Elsewhere,
    })
}

/// What an entry is claimed under: where it goes, and the session that it is about, as far as that is known.
fn name(key: &FingerprintKey, wanted: &Wanted) -> Fingerprint {
    let NewEntry { manifest, label, receiver, source_session_id, .. } = &wanted.entry;
    let to = match (receiver.application_id, &receiver.key) {
        (Some(application), _) => application.to_string(),
        (None, key) => key.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let what = match (source_session_id, &wanted.token) {
        (Some(source), _) => format!("session {source}"),
        (None, Some(token)) => format!("token {token}"),
        (None, None) => format!("entry {manifest} {label}"),
    };
    key.fingerprint(format!("claim {} {to} {what}", receiver.base_url).as_bytes())
}

/// Makes the claim, unless a runner that lives has it.
fn is_free_for(tx: &Connection, runner: &str, name: &Fingerprint) -> db::Result<bool> {
    // Until this transaction ends, nobody else looks: who is locked out is not made to wait.
    let lock = name.as_bytes().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    if !tx.query_row("SELECT pg_try_advisory_xact_lock(?1)", [lock], |row| row.get::<bool>(0))? {
        return Ok(false);
    }
    let holder: Option<String> =
        tx.find("SELECT runner FROM claims WHERE name = ?1", [name.as_bytes()], |row| row.get(0))?;
    match holder {
        Some(holder) if holder == runner => return Ok(true),
        Some(holder) if served::peer(tx, &holder)? == Peer::Lives => return Ok(false),
        _ => {}
    }
    // The dead runner's claim may go at this moment, with its row, by whoever else met it.
    tx.execute(
        "INSERT INTO claims (name, runner) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET runner = excluded.runner",
        params![name.as_bytes(), runner],
    )?;
    Ok(true)
}

/// The row of an entry that had none when the plan was made, if another run has made one since.
fn made_since(tx: &Connection, wanted: &Wanted) -> db::Result<Option<EntryId>> {
    let NewEntry { receiver, source_session_id, .. } = &wanted.entry;
    let by = |column: &str, value: &dyn db::ToValue| -> db::Result<Option<EntryId>> {
        let sql = format!(
            "SELECT id FROM entries WHERE {column} = ?1 AND base_url = ?2
               AND (CAST(?3 AS TEXT) IS NULL OR application_id IS NULL OR application_id = ?3) ORDER BY id DESC LIMIT 1"
        );
        tx.find(&sql, params![value, receiver.base_url, text(receiver.application_id)], |row| row.get(0).map(EntryId))
    };
    match (source_session_id, &wanted.token) {
        (Some(source), _) => by("source_session_id", &source.to_string()),
        (None, Some(token)) => by("token", token.as_bytes()),
        (None, None) => Ok(None),
    }
}
