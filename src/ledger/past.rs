//! What reports read of earlier runs, and of one that was killed.
//!
//! A report has the same bytes whenever it is made. So a run's end keeps the states of the ledger's entries with it, and
//! of a run that died the next one that may change an entry keeps, before it begins, what there is to be said. An audit,
//! which changes no state and may run beside an apply, keeps the states that it begins with.

use std::collections::BTreeMap;

use super::db::{self, Connection, Row};
use jiff::Timestamp;
use uuid::Uuid;

use super::read::{Reader, error, keeps_reports, kind, optional_uuid, time, unreadable};
use super::records::{EntryId, RunId, RunOutcome, Session, State, StateCount};
use super::{LedgerError, outcomes, served};

impl Reader {
    /// What a run did, by what it left in the ledger: of one that was killed before it could report. Sorted as
    /// [`Reader::run_outcomes`].
    ///
    /// Of an entry that it left open, the outcome is `unknown`, whatever a later run found out. Entries that it had not
    /// come to left nothing, and are not told.
    pub fn traces(&self, run: RunId) -> Result<Vec<RunOutcome>, LedgerError> {
        self.run_query(|connection| traces(connection, run))
    }

    /// How many requests to import a run meant to send.
    pub fn run_attempts(&self, run: RunId) -> Result<u64, LedgerError> {
        self.run_query(|connection| {
            connection.query_row("SELECT count(*) FROM attempts WHERE run = ?1", [run.0], |row| row.get(0))
        })
    }

    /// The entries of the ledger by manifest and state, when the run ended; as they are now, where it is the last that
    /// changes any and has not ended. Nothing, where the program of then did not keep them.
    pub fn run_states(&self, run: RunId) -> Result<Vec<StateCount>, LedgerError> {
        self.run_query(|connection| match (is_past(connection, run)?, keeps_reports(connection)?) {
            (false, _) => {
                states(connection, "SELECT manifest, state, count(*) FROM entries GROUP BY 2, 1 ORDER BY 1, 2", ())
            }
            (true, true) => {
                let sql = "SELECT manifest, state, entries FROM run_states WHERE run = ?1 ORDER BY manifest, state";
                states(connection, sql, [run.0])
            }
            (true, false) => Ok(Vec::new()),
        })
    }

    /// When the tokens die of entries that were to be imported still, as the last apply told them that had ended when
    /// this run ended; when it began, if it was killed.
    pub fn waiting_tokens(&self, run: RunId) -> Result<Vec<Timestamp>, LedgerError> {
        self.run_query(|connection| {
            if !keeps_reports(connection)? {
                return Ok(Vec::new());
            }
            // Runs are few, and each has its outcomes in one place.
            let sql = format!(
                "SELECT max(e.run) FROM run_ends e
               WHERE e.run <= ?1 AND e.ended_at <= coalesce((SELECT ended_at FROM run_ends WHERE run = ?1),
                 (SELECT started_at FROM runs WHERE id = ?1))
               AND EXISTS (SELECT 1 FROM run_outcomes o WHERE o.run = {})",
                outcomes::told_by(connection, "e.run")?
            );
            let apply: Option<i64> = connection.query_row(&sql, [run.0], |row| row.get(0))?;
            let sql = format!(
                "SELECT expires_at FROM run_outcomes WHERE run = {} AND expires_at IS NOT NULL
               AND outcome IN ('not_sent', 'refused', 'unknown', 'expired', 'needs_token') ORDER BY label, manifest",
                outcomes::told_by(connection, "?1")?
            );
            let mut query = connection.prepare(&sql)?;
            query.query_all([apply], |row| Ok(time(row.get(0)?)))
        })
    }
}

/// Whether what is said of a run's time stands: it has ended, another has begun since that changes entries, or it
/// changes none itself.
fn is_past(connection: &Connection, run: RunId) -> db::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM run_ends WHERE run = ?1)
           OR EXISTS (SELECT 1 FROM runs WHERE id > ?1 AND command <> 'audit' OR id = ?1 AND command = 'audit')",
        [run.0],
        |row| row.get(0),
    )
}

/// Keeps the states of the ledger's entries with a run.
pub(super) fn keep_states(tx: &Connection, run: RunId) -> db::Result<()> {
    tx.execute("DELETE FROM run_states WHERE run = ?1", [run.0])?;
    tx.execute(
        "INSERT INTO run_states (run, manifest, state, entries)
         SELECT ?1, manifest, state, count(*) FROM entries GROUP BY state, manifest",
        [run.0],
    )
    .map(drop)
}

/// If the last run that changes entries died, keeps what there is to be said of it. The caller is about to begin the
/// next, and holds the lock.
pub(super) fn keep_dead_run(tx: &Connection) -> db::Result<()> {
    // Several runs may begin at once.
    served::one_at_a_time(tx)?;
    let last = "SELECT max(id) FROM runs WHERE command <> 'audit'";
    let Some(run) = tx.query_row(last, (), |row| row.get::<Option<i64>>(0))?.map(RunId) else { return Ok(()) };
    if is_past(tx, run)? || served::is_at_work(tx, run)? {
        return Ok(());
    }
    keep_states(tx, run)?;
    // It may have died right before its end.
    let sql = format!("SELECT EXISTS (SELECT 1 FROM run_outcomes WHERE run = {})", outcomes::told_by(tx, "?1")?);
    let is_reported = tx.query_row(&sql, [run.0], |row| row.get(0))?;
    if is_reported { Ok(()) } else { outcomes::insert(tx, run, traces(tx, run)?.into_iter()) }
}

fn states(connection: &Connection, sql: &str, of: impl db::Params) -> db::Result<Vec<StateCount>> {
    connection.prepare(sql)?.query_all(of, |row| {
        let state: String = row.get(1)?;
        let state = State::parse(&state).ok_or_else(|| unreadable("state"))?;
        Ok(StateCount { manifest: row.get(0)?, state, entries: row.get(2)? })
    })
}

/// One attempt of the run with its answer.
struct Sent {
    outcome: String,
    session: Option<Uuid>,
    error: Option<super::records::RecordedError>,
    workflow_id: Option<Uuid>,
    vendor_data: Option<String>,
    expires_at: Option<Timestamp>,
    is_first: bool,
}

/// What a run left of one entry.
#[derive(Default)]
struct Trace {
    sent: Vec<Sent>,
    /// The last verdict of a lookup, and the session that it named.
    found: Option<(String, Option<Uuid>)>,
}

fn traces(connection: &Connection, run: RunId) -> db::Result<Vec<RunOutcome>> {
    let mut traces: BTreeMap<i64, Trace> = BTreeMap::new();
    let mut attempts = connection.prepare(
        "SELECT a.entry, coalesce(b.outcome, 'unknown'), b.session_id, b.class, b.http_status, b.detail, a.workflow_id,
           a.vendor_data, a.token_expires_at, a.number
         FROM attempts a LEFT JOIN answers b ON b.attempt = a.id WHERE a.run = ?1 ORDER BY a.id",
    )?;
    attempts.each([run.0], |row| {
        traces.entry(row.get(0)?).or_default().sent.push(sent(row)?);
        Ok(())
    })?;
    let mut evidence =
        connection.prepare("SELECT entry, verdict, session_id FROM evidence WHERE run = ?1 ORDER BY id")?;
    evidence.each([run.0], |row| {
        traces.entry(row.get(0)?).or_default().found = Some((row.get(1)?, optional_uuid(row, 2)?));
        Ok(())
    })?;
    // Settled without a request.
    let mut unsent =
        connection.prepare("SELECT id FROM entries WHERE run = ?1 AND state IN ('expired', 'refused') ORDER BY id")?;
    unsent.each([run.0], |row| {
        traces.entry(row.get(0)?).or_default();
        Ok(())
    })?;
    let mut outcomes =
        traces.into_iter().map(|(entry, trace)| traced(connection, entry, &trace)).collect::<db::Result<Vec<_>>>()?;
    outcomes.sort_by(|a, b| (&a.label, &a.manifest).cmp(&(&b.label, &b.manifest)));
    Ok(outcomes)
}

fn sent(row: &Row<'_>) -> db::Result<Sent> {
    Ok(Sent {
        outcome: row.get(1)?,
        session: optional_uuid(row, 2)?,
        error: error(row, 3, 4, 5)?,
        workflow_id: optional_uuid(row, 6)?,
        vendor_data: row.get(7)?,
        expires_at: row.get::<Option<i64>>(8)?.map(time),
        is_first: row.get::<u32>(9)? == 1,
    })
}

fn traced(connection: &Connection, entry: i64, trace: &Trace) -> db::Result<RunOutcome> {
    connection.query_row("SELECT * FROM entries WHERE id = ?1", [entry], |row| {
        let state: String = row.get("state")?;
        let last = trace.sent.last();
        let (outcome, session) = judged(&state, trace);
        let known = optional_uuid(row, "session_id")?;
        let is_erased = outcome == State::Erased.as_str();
        let of_session = |session_id| -> db::Result<Session> {
            let is_known = known == Some(session_id);
            Ok(Session {
                session_id,
                session_number: row.get::<Option<i64>>("session_number")?.filter(|_| is_known),
                session_url: row.get::<Option<String>>("session_url")?.filter(|_| is_known),
                status: row.get::<Option<String>>("status")?.filter(|_| is_known),
            })
        };
        let error = match last {
            Some(last) => last.error.clone(),
            None => error(row, "error_class", "error_status", "error_detail")?,
        };
        Ok(RunOutcome {
            manifest: row.get("manifest")?,
            label: row.get("label")?,
            entry: Some(EntryId(entry)),
            session: session.filter(|_| !is_erased).map(of_session).transpose()?,
            error: error.filter(|_| matches!(outcome, "refused" | "unknown" | "expired" | "not_sent")),
            outcome: outcome.to_owned(),
            source_session_id: optional_uuid(row, "source_session_id")?,
            session_kind: kind(row, "session_kind")?,
            workflow_id: last.and_then(|last| last.workflow_id).filter(|_| !is_erased),
            vendor_data: last.and_then(|last| last.vendor_data.clone()).filter(|_| !is_erased),
            attempts: trace.sent.len() as u32,
            from_application_id: optional_uuid(row, "from_application_id")?,
            for_application_id: optional_uuid(row, "application_id")?.filter(|_| !is_erased),
            expires_at: last.and_then(|last| last.expires_at),
        })
    })
}

/// The outcome, and the session if there is one.
fn judged(state: &str, trace: &Trace) -> (&'static str, Option<Uuid>) {
    if state == State::Erased.as_str() {
        return ("erased", None);
    }
    if let Some((verdict, Some(session))) = &trace.found
        && matches!(verdict.as_str(), "proof" | "sole-candidate")
    {
        return ("recovered", Some(*session));
    }
    let Some(last) = trace.sent.last() else {
        return match (&trace.found, state) {
            (Some(_), _) => ("unknown", None),
            (None, "refused") => ("refused", None),
            (None, _) => ("expired", None),
        };
    };
    match last.outcome.as_str() {
        "imported" if trace.sent.iter().any(|sent| sent.is_first) => ("imported", last.session),
        "imported" => ("recovered", last.session),
        "refused" => ("refused", None),
        "not_processed" => ("not_sent", None),
        _ => ("unknown", None),
    }
}
