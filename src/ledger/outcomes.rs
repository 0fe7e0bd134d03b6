//! What runs reported of their entries: kept in one transaction, read a page at a time. However many there are, few are
//! held.

use std::rc::Rc;

use jiff::Timestamp;

use super::db::{self, Connection, IdText, Row, params};
use super::read::{Reader, error, keeps_reports, kind, optional_uuid, session, time};
use super::records::{EntryId, RunId, RunOutcome, State};
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
    Ok(RunOutcome {
        manifest: row.get(0)?,
        label: row.get(1)?,
        entry: row.get::<Option<i64>>(2)?.map(EntryId),
        outcome: row.get(3)?,
        source_session_id: optional_uuid(row, 4)?,
        session: session(row, [5, 6, 7, 9])?,
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

/// A row at a time, which takes no savepoint of its own: what a run reported before is removed, not written over.
const REMOVE: &str = "DELETE FROM run_outcomes WHERE run = ?1";
const INSERT: &str = "INSERT INTO run_outcomes (run, label, manifest, entry, outcome, source_session_id,
     session_id, session_number, session_url, session_kind, status, workflow_id, vendor_data, attempts,
     error_class, error_status, error_detail, from_application_id, for_application_id, expires_at)
   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
   ON CONFLICT DO NOTHING";
const KNOWN: &str =
    "SELECT session_id, session_number, session_url, status, from_application_id, application_id FROM entries
   WHERE id = ?1";

/// Keeps what is reported of a run's entries. What else is known of one that was as it should be, its own row has; so it
/// has the partner of one whose token was minted.
pub(super) fn insert(tx: &Connection, run: RunId, outcomes: impl Iterator<Item = RunOutcome>) -> db::Result<()> {
    tx.execute(REMOVE, [run.0])?;
    let (mut insert, mut known) = (tx.prepare(INSERT)?, tx.prepare(KNOWN)?);
    for it in outcomes {
        let mut it = as_kept(it);
        let is_unchanged = it.is_as_it_was();
        if let Some(entry) = it.entry.filter(|_| is_unchanged || it.from_application_id.is_none()) {
            let known = known.find([entry.0], |row| {
                Ok((session(row, [0, 1, 2, 3])?, optional_uuid(row, 4)?, optional_uuid(row, 5)?))
            })?;
            if let Some((session, from, application)) = known {
                it.from_application_id = it.from_application_id.or(from);
                if is_unchanged {
                    (it.session, it.for_application_id) =
                        (session.or(it.session), it.for_application_id.or(application));
                }
            }
        }
        let session = it.session.as_ref();
        insert.execute(params![
            run.0,
            it.label,
            it.manifest,
            it.entry.map(|id| id.0),
            it.outcome,
            text(it.source_session_id),
            session.map(|s| IdText::from(s.session_id)),
            session.and_then(|s| s.session_number),
            session.and_then(|s| s.session_url.as_deref()),
            it.session_kind.map(crate::token::SessionKind::as_str),
            session.and_then(|s| s.status.as_deref()),
            text(it.workflow_id),
            it.vendor_data,
            it.attempts,
            it.error.as_ref().map(|e| e.class.as_str()),
            it.error.as_ref().and_then(|e| e.http_status),
            it.error.as_ref().map(|e| e.detail.as_str()),
            text(it.from_application_id),
            text(it.for_application_id),
            it.expires_at.map(Timestamp::as_millisecond),
        ])?;
    }
    Ok(())
}

/// An erased entry that a manifest still lists is told by its number alone: its label may name the source session.
fn as_kept(it: RunOutcome) -> RunOutcome {
    match it.entry {
        Some(entry) if it.outcome == State::Erased.as_str() => RunOutcome {
            label: format!("erased-{}", entry.0),
            source_session_id: None,
            session: None,
            session_kind: None,
            workflow_id: None,
            vendor_data: None,
            error: None,
            from_application_id: None,
            for_application_id: None,
            expires_at: None,
            ..it
        },
        _ => it,
    }
}
