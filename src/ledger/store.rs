//! The ledger opened for writing: what runs and repairs record.

use std::collections::HashSet;
use std::sync::Arc;

use super::bulk::{self, Index, need};
use super::db::{self, Connection, IdText, params};
use jiff::Timestamp;
use uuid::Uuid;

use super::records::{EntryId, Identity, ManifestFacts, NewEntry, Origin, Record, RecordedError, RunEnd, RunId, State};
use super::served::Session;
use super::spool::Spool;
use super::writer::{Kept, Writer};
use super::{EntryRules, LedgerError, LedgerFile, Location, Lock, file, past, read, rules};
use crate::token::Fingerprint;
use crate::verify::UnreadableBaseline;

/// A ledger open for writing. Cheap to clone; the file is closed (a server's session ended) when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) writer: Writer,
    identity: Identity,
    /// What this process is called in a ledger that others write, too.
    runner: Option<Arc<str>>,
    /// What waits on this machine while the server is away.
    pub(super) spool: Option<Arc<Spool>>,
    /// What people know it by.
    name: Arc<str>,
}

impl Ledger {
    pub(super) fn runner(&self) -> Option<Arc<str>> {
        self.runner.clone()
    }

    /// Opens the ledger, making it where there is none, with the lock that this process holds for it.
    pub fn open_held(location: &Location, lock: &Lock) -> Result<Self, LedgerError> {
        Self::start(location, Some(lock))
    }

    /// Opens the ledger where no other process can come to it.
    pub fn open(location: &Location) -> Result<Self, LedgerError> {
        Self::start(location, None)
    }

    fn start(location: &Location, lock: Option<&Lock>) -> Result<Self, LedgerError> {
        let failed = |e: db::Error| LedgerError::of(location, &e);
        let (kept, identity, shared) = match location {
            Location::File(file) => {
                let file::ForWriting { connection, mut watch } = file::open_for_writing(file)?;
                if let Some(lock) = lock {
                    lock.add_to(&mut watch);
                }
                let connection = Connection::Sqlite(connection);
                let identity = read::identity(&connection).map_err(failed)?;
                (Kept::File { connection: Box::new(connection), file: file.clone(), watch }, identity, None)
            }
            Location::Server(server) => {
                let mut session = match lock.and_then(Lock::session) {
                    Some(session) => session,
                    None => Box::new(Session::open(server)?),
                };
                let identity = session.read(read::identity).map_err(failed)?;
                session.record_what_waits(identity.id)?;
                let runner: Arc<str> = Arc::from(session.id());
                let spool = Spool::new(server.spool(), identity.id, &runner);
                (Kept::Server(session, Arc::clone(&spool)), identity, Some((runner, spool)))
            }
        };
        let (runner, spool) = shared.unzip();
        Ok(Self { writer: Writer::start(kept)?, identity, runner, spool, name: location.to_string().into() })
    }

    /// Opens a ledger for simulated time: every call is carried out at once by its caller, and nothing is made durable.
    pub fn open_for_simulation(file: &LedgerFile) -> Result<Self, LedgerError> {
        let location = Location::File(file.clone());
        let failed = |e: db::Error| LedgerError::of(&location, &e);
        let connection = Connection::Sqlite(file::open_for_writing(file)?.connection);
        connection.batch("PRAGMA synchronous = OFF").map_err(failed)?;
        let identity = read::identity(&connection).map_err(failed)?;
        let name = location.to_string().into();
        Ok(Self { writer: Writer::in_place(connection, location), identity, runner: None, spool: None, name })
    }

    /// Id, generation (as of opening) and fingerprint key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// That baselines can't be read, if any can't; the first is named.
    pub(crate) fn unreadable(&self, baselines: &[UnreadableBaseline]) -> Option<LedgerError> {
        let (first, others) = baselines.split_first()?;
        let entry = match others.len() {
            0 => first.entry.clone(),
            more => format!("{} and {more} more", first.entry),
        };
        Some(LedgerError::Baseline { ledger: self.name.to_string(), entry })
    }

    /// Whether runs on several machines can have it open, and share the budgets of their keys.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.runner.is_some()
    }

    /// Every entry.
    pub async fn records(&self) -> Result<Vec<Record>, LedgerError> {
        self.writer.call(read::records).await
    }

    /// What audits know of the manifests.
    pub async fn manifests(&self) -> Result<Vec<ManifestFacts>, LedgerError> {
        self.writer.call(read::manifests).await
    }

    /// Begins a run.
    pub async fn begin_run(&self, command: &str, origin: Origin, at: Timestamp) -> Result<RunId, LedgerError> {
        let command = command.to_owned();
        self.writer
            .call(move |tx| {
                if command != "audit" {
                    past::keep_dead_run(tx)?;
                }
                let run = RunId(tx.insert(
                    "INSERT INTO runs (command, started_at, actor, reason, ref, host, pid, version)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![
                        command,
                        at.as_millisecond(),
                        origin.actor,
                        origin.reason,
                        origin.reference,
                        crate::host::name(),
                        std::process::id(),
                        env!("CARGO_PKG_VERSION"),
                    ],
                )?);
                if command == "audit" {
                    past::keep_states(tx, run)?;
                }
                Ok(run)
            })
            .await
    }

    /// Raises the generation: this run is about to send its first request, or repairs something.
    pub async fn raise_generation(&self, run: RunId) -> Result<(), LedgerError> {
        self.writer.call(move |tx| raise_generation(tx, run)).await
    }

    /// Ends a run, and makes the indexes that it put off.
    pub async fn end_run(&self, run: RunId, end: RunEnd) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                bulk::INDEXES.iter().try_for_each(|index| need(tx, *index))?;
                insert_run_end(tx, run, &end)
            })
            .await
    }

    /// Keeps what audits need of a manifest: its facts, and the rules of those entries for which others hold than those
    /// of its defaults; both or neither, in place of what was kept of it.
    pub async fn keep_manifest(
        &self,
        facts: ManifestFacts,
        rules: Vec<EntryRules>,
        run: RunId,
    ) -> Result<(), LedgerError> {
        let key = self.identity.key.clone();
        self.writer
            .call(move |tx| {
                tx.execute(
                    "INSERT INTO manifests (name, path, digest, application_id, base_url, api_key, limits, expect, run)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (name) DO UPDATE SET path = excluded.path, digest = excluded.digest,
                       application_id = excluded.application_id, base_url = excluded.base_url,
                       api_key = excluded.api_key, limits = excluded.limits, expect = excluded.expect,
                       run = excluded.run",
                    params![
                        facts.name,
                        facts.path,
                        facts.digest,
                        text(facts.application_id),
                        facts.base_url,
                        facts.api_key.to_string(),
                        facts.limits.to_string(),
                        facts.expect.to_string(),
                        run.0,
                    ],
                )?;
                tx.execute(
                    "INSERT INTO run_limits (run, manifest, writes_per_minute) VALUES (?1, ?2, ?3)
                     ON CONFLICT (run, manifest) DO UPDATE SET writes_per_minute = excluded.writes_per_minute",
                    params![run.0, facts.name, facts.limits["writes_per_minute"].as_u64()],
                )?;
                rules::keep(tx, &key, &facts.name, &rules)
            })
            .await
    }

    /// Records an entry that ended without a request: expired before its turn, or refused by the checks before the
    /// first send.
    pub async fn settle_unsent(
        &self,
        entry: Option<EntryId>,
        describe: NewEntry,
        run: RunId,
        state: State,
        error: RecordedError,
    ) -> Result<EntryId, LedgerError> {
        self.writer
            .call(move |tx| {
                let entry = write_entry(tx, entry, &describe, run)?;
                set_state(tx, entry, run, state)?;
                set_error(tx, entry, Some(&error))?;
                Ok(entry)
            })
            .await
    }

    /// Records entries whose token was dead when the run began, all at once.
    pub async fn keep_expired(
        &self,
        expired: Vec<NewEntry>,
        run: RunId,
        error: RecordedError,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                for describe in &expired {
                    let entry = write_entry(tx, None, describe, run)?;
                    set_state(tx, entry, run, State::Expired)?;
                    set_error(tx, entry, Some(&error))?;
                }
                Ok(())
            })
            .await
    }

    /// Which entry owns each of these sessions, where one does.
    pub async fn owners(&self, sessions: Vec<Uuid>) -> Result<Vec<(Uuid, EntryId)>, LedgerError> {
        self.writer
            .call(move |tx| {
                need(tx, Index::Sessions)?;
                let mut query = tx.prepare("SELECT id FROM entries WHERE session_id = ?1")?;
                let mut owners = Vec::new();
                for session in &sessions {
                    let owner = query.find([session.to_string()], |row| row.get(0))?;
                    owners.extend(owner.map(|id| (*session, EntryId(id))));
                }
                Ok(owners)
            })
            .await
    }

    /// Which of these sessions stand under several entries.
    pub async fn shared_sessions(&self, sessions: Vec<Uuid>) -> Result<HashSet<Uuid>, LedgerError> {
        self.writer
            .call(move |tx| {
                need(tx, Index::Sessions)?;
                let mut query = tx.prepare("SELECT count(*) > 1 FROM entries WHERE session_id = ?1")?;
                let mut shared = HashSet::new();
                for session in &sessions {
                    if query.query_row([session.to_string()], |row| row.get(0))? {
                        shared.insert(*session);
                    }
                }
                Ok(shared)
            })
            .await
    }

    /// All sessions that stand under several entries.
    pub async fn all_shared_sessions(&self) -> Result<HashSet<Uuid>, LedgerError> {
        self.writer
            .call(|tx| {
                need(tx, Index::Sessions)?;
                let sql = "SELECT session_id FROM entries WHERE session_id IS NOT NULL
                   GROUP BY session_id HAVING count(*) > 1";
                let mut shared = HashSet::new();
                tx.prepare(sql)?.each((), |row| {
                    // What is no id stands under no entry that is verified.
                    shared.extend(row.text(0)?.and_then(|id| id.parse::<Uuid>().ok()));
                    Ok(())
                })?;
                Ok(shared)
            })
            .await
    }

    /// Whether any other entry ever sent this vendor data.
    pub async fn vendor_data_is_shared(&self, entry: EntryId, vendor_data: String) -> Result<bool, LedgerError> {
        self.writer
            .call(move |tx| {
                need(tx, Index::VendorData)?;
                tx.query_row(
                    "SELECT EXISTS (SELECT 1 FROM attempts WHERE vendor_data = ?2 AND entry <> ?1)",
                    params![entry.0, vendor_data],
                    |row| row.get(0),
                )
            })
            .await
    }

    /// When the last of the tokens dies that were sent for an entry; `None` where none was sent, or the end of one is
    /// not known.
    pub async fn sent_tokens_end(&self, entry: EntryId) -> Result<Option<Timestamp>, LedgerError> {
        let end: Option<i64> = self
            .writer
            .call(move |tx| {
                tx.query_row(
                    "SELECT CASE WHEN count(*) = count(token_expires_at) THEN max(token_expires_at) END
                     FROM attempts WHERE entry = ?1",
                    params![entry.0],
                    |row| row.get(0),
                )
            })
            .await?;
        Ok(end.and_then(|end| Timestamp::from_millisecond(end).ok()))
    }

    /// Records a session for an entry by hand: `ledger adopt`.
    pub async fn adopt(&self, entry: EntryId, run: RunId, session: Uuid, at: Timestamp) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                super::findings::drop_history(tx, entry, at)?;
                set_state(tx, entry, run, State::Imported)?;
                tx.execute(
                    "UPDATE entries SET session_id = ?2, session_number = NULL, session_url = NULL, status = NULL,
                       imported_at = ?3, error_class = NULL, error_status = NULL, error_detail = NULL WHERE id = ?1",
                    params![entry.0, session.to_string(), at.as_millisecond()],
                )?;
                insert_evidence(tx, entry, run, at, "adopted", Some(session), "recorded by hand")
            })
            .await
    }

    /// Drops an entry's knowledge, so that it may be imported again: `ledger forget`. Attempts and runs stay.
    pub async fn forget(&self, entry: EntryId, run: RunId, at: Timestamp) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                super::findings::drop_history(tx, entry, at)?;
                tx.execute(
                    "UPDATE entries SET state = 'expired', run = ?2, token = NULL, session_id = NULL, session_number = NULL,
                       session_url = NULL, status = NULL, imported_at = NULL, error_class = NULL, error_status = NULL,
                       error_detail = NULL, first_sent_at = NULL, audited_at = NULL WHERE id = ?1",
                    params![entry.0, run.0],
                )?;
                insert_evidence(tx, entry, run, at, "forgotten", None, "forgotten by hand")
            })
            .await
    }
}

pub(super) fn raise_generation(tx: &Connection, run: RunId) -> db::Result<()> {
    tx.execute("UPDATE meta SET generation = generation + 1", ())?;
    tx.execute("INSERT INTO generations (generation, run) SELECT generation, ?1 FROM meta", [run.0]).map(drop)
}

pub(super) fn text(id: Option<Uuid>) -> Option<IdText> {
    id.map(IdText::from)
}

pub(super) fn write_entry(tx: &Connection, entry: Option<EntryId>, new: &NewEntry, run: RunId) -> db::Result<EntryId> {
    let source = text(new.source_session_id);
    let from = text(new.from_application_id);
    let kind = new.session_kind.map(crate::token::SessionKind::as_str);
    let application = text(new.receiver.application_id);
    if let Some(entry) = entry {
        tx.prepare(
            "UPDATE entries SET manifest = ?2, label = ?3, place = ?4, run = ?5,
               source_session_id = coalesce(source_session_id, ?6),
               from_application_id = CASE WHEN attempts = 0 THEN coalesce(?7, from_application_id) ELSE from_application_id END,
               session_kind = coalesce(?8, session_kind), application_id = coalesce(application_id, ?9) WHERE id = ?1",
        )?
        .execute(params![entry.0, new.manifest, new.label, new.place, run.0, source, from, kind, application])?;
        return Ok(entry);
    }
    let id = tx.insert(
        "INSERT INTO entries (manifest, label, application_id, base_url, key, source_session_id, from_application_id,
           session_kind, state, attempts, place, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'sending', 0, ?9, ?10)",
        params![
            new.manifest,
            new.label,
            application,
            new.receiver.base_url,
            new.receiver.key.as_ref().map(Fingerprint::as_bytes),
            source,
            from,
            kind,
            new.place,
            run.0,
        ],
    )?;
    Ok(EntryId(id))
}

fn set_state(tx: &Connection, entry: EntryId, run: RunId, state: State) -> db::Result<()> {
    tx.prepare("UPDATE entries SET state = ?2, run = ?3 WHERE id = ?1")?
        .execute(params![entry.0, state.as_str(), run.0])
        .map(drop)
}

fn set_error(tx: &Connection, entry: EntryId, error: Option<&RecordedError>) -> db::Result<()> {
    tx.prepare("UPDATE entries SET error_class = ?2, error_status = ?3, error_detail = ?4 WHERE id = ?1")?
        .execute(params![
            entry.0,
            error.map(|e| e.class.as_str()),
            error.and_then(|e| e.http_status),
            error.map(|e| e.detail.as_str()),
        ])
        .map(drop)
}

pub(super) fn insert_evidence(
    tx: &Connection,
    entry: EntryId,
    run: RunId,
    at: Timestamp,
    verdict: &str,
    session: Option<Uuid>,
    detail: &str,
) -> db::Result<()> {
    tx.prepare("INSERT INTO evidence (entry, run, at, verdict, session_id, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![entry.0, run.0, at.as_millisecond(), verdict, text(session), detail])
        .map(drop)
}

fn insert_run_end(tx: &Connection, run: RunId, end: &RunEnd) -> db::Result<()> {
    let json = |value: serde_json::Result<String>| value.map_err(|e| db::Error::Unwritable(e.to_string()));
    let error = end.error.as_ref().map(|error| json(serde_json::to_string(error))).transpose()?;
    tx.execute(
        "INSERT INTO run_ends (run, ended_at, seconds, writes, reads, throttled, sessions, checked, error, conditions)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (run) DO UPDATE SET ended_at = excluded.ended_at, seconds = excluded.seconds,
           writes = excluded.writes, reads = excluded.reads, throttled = excluded.throttled,
           sessions = excluded.sessions, checked = excluded.checked, error = excluded.error,
           conditions = excluded.conditions",
        params![
            run.0,
            end.at.as_millisecond(),
            end.seconds,
            end.requests.writes,
            end.requests.reads,
            end.requests.throttled,
            end.verified.map(|(sessions, _)| sessions),
            end.verified.map_or(0, |(_, checked)| checked),
            error,
            json(serde_json::to_string(&end.conditions))?,
        ],
    )?;
    past::keep_states(tx, run)
}
