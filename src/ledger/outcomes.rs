//! What runs reported of their entries: kept in one transaction, read a page at a time. However many there are, few are
//! held.

use std::borrow::Cow;
use std::rc::Rc;

use jiff::Timestamp;

use super::db::{self, Connection, Row, params};
use super::read::{Reader, error, keeps_reports, kind, optional_uuid, time};
use super::records::{EntryId, RunId, RunOutcome, Session, State};
use super::store::text;
use super::{Ledger, LedgerError};

/// So many are read at once.
const PAGE: i64 = 1000;

macro_rules! columns {
    ($more:literal) => {
        concat!(
            "SELECT manifest, label, entry, outcome, source_session_id, session_id, session_number, session_url, session_kind,
               status, workflow_id, vendor_data, attempts, error_class, error_status, error_detail, ",
            $more,
            " FROM run_outcomes WHERE run = ?1 AND (label, manifest) > (?2, ?3) ORDER BY label, manifest LIMIT ?4"
        )
    };
}

const AFTER: &str = columns!("from_application_id, for_application_id, expires_at");
/// The same, of a ledger of an older version.
const AFTER_3: &str = columns!("NULL, NULL, NULL");

/// What a run reported of its entries, sorted by label and manifest. After an error there are no more.
#[derive(Debug)]
pub struct Outcomes {
    reader: Rc<Reader>,
    run: RunId,
    /// Behind which the next page begins; `None` behind the last one.
    after: Option<(String, String)>,
    page: std::vec::IntoIter<RunOutcome>,
}

impl Outcomes {
    /// From the first one on.
    #[must_use]
    pub fn new(reader: &Rc<Reader>, run: RunId) -> Self {
        let after = Some(Default::default());
        Self { reader: Rc::clone(reader), run, after, page: Vec::new().into_iter() }
    }
}

impl Iterator for Outcomes {
    type Item = Result<RunOutcome, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(next) = self.page.next() {
            return Some(Ok(next));
        }
        let after = self.after.take()?;
        match self.reader.run_query(|connection| page(connection, self.run, &after, PAGE)) {
            Ok(page) => {
                self.after = page.last().map(|last| (last.label.clone(), last.manifest.clone()));
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Reader {
    /// What a run reported of its entries, sorted by label.
    pub fn run_outcomes(&self, run: RunId) -> Result<Vec<RunOutcome>, LedgerError> {
        self.run_query(|connection| page(connection, run, &Default::default(), i64::MAX))
    }

    /// How many of a run's entries ended in each way.
    pub fn outcome_counts(&self, run: RunId) -> Result<Vec<(String, u64)>, LedgerError> {
        let sql = "SELECT outcome, count(*) FROM run_outcomes WHERE run = ?1 GROUP BY outcome ORDER BY outcome";
        self.run_query(|connection| connection.prepare(sql)?.query_all([run.0], |row| Ok((row.get(0)?, row.get(1)?))))
    }
}

impl Ledger {
    /// Keeps what a run reports of its entries: all, or nothing. `outcomes` makes them, once more where that has to be
    /// done again.
    pub async fn report<I: Iterator<Item = RunOutcome>>(
        &self,
        run: RunId,
        outcomes: impl Fn() -> I + Send + 'static,
    ) -> Result<(), LedgerError> {
        self.writer.call(move |tx| insert(tx, run, outcomes())).await
    }
}

fn page(
    connection: &Connection,
    run: RunId,
    (label, manifest): &(String, String),
    most: i64,
) -> db::Result<Vec<RunOutcome>> {
    let sql = if keeps_reports(connection)? { AFTER } else { AFTER_3 };
    connection.prepare(sql)?.query_all(params![run.0, label, manifest, most], outcome)
}

fn outcome(row: &Row<'_>) -> db::Result<RunOutcome> {
    let session = |session_id| -> db::Result<Session> {
        Ok(Session { session_id, session_number: row.get(6)?, session_url: row.get(7)?, status: row.get(9)? })
    };
    Ok(RunOutcome {
        manifest: row.get(0)?,
        label: row.get(1)?,
        entry: row.get::<Option<i64>>(2)?.map(EntryId),
        outcome: row.get(3)?,
        source_session_id: optional_uuid(row, 4)?,
        session: optional_uuid(row, 5)?.map(session).transpose()?,
        session_kind: kind(row, 8)?,
        workflow_id: optional_uuid(row, 10)?,
        vendor_data: row.get(11)?,
        attempts: row.get(12)?,
        error: error(row, 13, 14, 15)?,
        from_application_id: optional_uuid(row, 16)?,
        for_application_id: optional_uuid(row, 17)?,
        expires_at: row.get::<Option<i64>>(18)?.map(time),
    })
}

/// What is kept of an outcome. The partner of one whose token was minted is known to the entry alone.
macro_rules! insert {
    ($from:literal) => {
        concat!(
            "INSERT INTO run_outcomes (run, label, manifest, entry, outcome, source_session_id,
               session_id, session_number, session_url, session_kind, status, workflow_id, vendor_data, attempts,
               error_class, error_status, error_detail, from_application_id, for_application_id, expires_at) ",
            $from,
            " ON CONFLICT (run, label, manifest) DO UPDATE SET entry = excluded.entry, outcome = excluded.outcome,
               source_session_id = excluded.source_session_id, session_id = excluded.session_id,
               session_number = excluded.session_number, session_url = excluded.session_url,
               session_kind = excluded.session_kind, status = excluded.status, workflow_id = excluded.workflow_id,
               vendor_data = excluded.vendor_data, attempts = excluded.attempts, error_class = excluded.error_class,
               error_status = excluded.error_status, error_detail = excluded.error_detail,
               from_application_id = excluded.from_application_id, for_application_id = excluded.for_application_id,
               expires_at = excluded.expires_at"
        )
    };
}

const INSERT: &str = insert!(
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
       coalesce(?18, (SELECT from_application_id FROM entries WHERE id = ?4)), ?19, ?20)"
);
/// Of an entry that was as it should be: what else is known of it, its own row has.
const INSERT_UNCHANGED: &str = insert!(
    "SELECT ?1, ?2, ?3, id, 'unchanged', ?5, session_id, session_number, session_url, ?6, status, ?7, ?8, 0, NULL, NULL,
       NULL, coalesce(?9, from_application_id), coalesce(?10, application_id), ?11 FROM entries WHERE id = ?4"
);

pub(super) fn insert(tx: &Connection, run: RunId, outcomes: impl Iterator<Item = RunOutcome>) -> db::Result<()> {
    let (mut insert, mut unchanged) = (tx.prepare(INSERT)?, tx.prepare(INSERT_UNCHANGED)?);
    for it in outcomes {
        let it = as_kept(&it);
        let kind = it.session_kind.map(crate::token::SessionKind::as_str);
        let expires_at = it.expires_at.map(Timestamp::as_millisecond);
        let session = it.session.as_ref();
        if let (Some(entry), "unchanged", None, 0) = (it.entry, it.outcome.as_str(), session, it.attempts) {
            unchanged.execute(params![
                run.0,
                it.label,
                it.manifest,
                entry.0,
                text(it.source_session_id),
                kind,
                text(it.workflow_id),
                it.vendor_data,
                text(it.from_application_id),
                text(it.for_application_id),
                expires_at,
            ])?;
            continue;
        }
        insert.execute(params![
            run.0,
            it.label,
            it.manifest,
            it.entry.map(|id| id.0),
            it.outcome,
            text(it.source_session_id),
            session.map(|s| s.session_id.to_string()),
            session.and_then(|s| s.session_number),
            session.and_then(|s| s.session_url.as_deref()),
            kind,
            session.and_then(|s| s.status.as_deref()),
            text(it.workflow_id),
            it.vendor_data,
            it.attempts,
            it.error.as_ref().map(|e| e.class.as_str()),
            it.error.as_ref().and_then(|e| e.http_status),
            it.error.as_ref().map(|e| e.detail.as_str()),
            text(it.from_application_id),
            text(it.for_application_id),
            expires_at,
        ])?;
    }
    Ok(())
}

/// An erased entry that a manifest still lists is told by its number alone: its label may name the source session.
fn as_kept(it: &RunOutcome) -> Cow<'_, RunOutcome> {
    match it.entry {
        Some(entry) if it.outcome == State::Erased.as_str() => Cow::Owned(RunOutcome {
            manifest: it.manifest.clone(),
            label: format!("erased-{}", entry.0),
            entry: it.entry,
            outcome: it.outcome.clone(),
            source_session_id: None,
            session: None,
            session_kind: None,
            workflow_id: None,
            vendor_data: None,
            attempts: it.attempts,
            error: None,
            from_application_id: None,
            for_application_id: None,
            expires_at: None,
        }),
        _ => Cow::Borrowed(it),
    }
}
