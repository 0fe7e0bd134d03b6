//! What runs reported of their entries: kept in one transaction, read a page at a time. However many there are, few are
//! held.
//!
//! A run that sends nothing often reports what one before it did: of the same manifest, once all is imported. Then its rows
//! are those of the other, and it has none of its own (`repeated_outcomes`), so that runs again and again of what has not
//! changed make no ledger grow.

use std::rc::Rc;

use jiff::Timestamp;

use super::db::{self, Connection, IdText, Row, Statement, params};
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
            $more
        )
    };
}

const COLUMNS: &str = columns!("from_application_id, for_application_id, expires_at");
/// The same, of a ledger of an older version.
const COLUMNS_3: &str = columns!("NULL, NULL, NULL");

/// What a run reported of its entries, sorted by label and manifest. After an error there are no more.
#[derive(Debug)]
pub struct Outcomes {
    reader: Rc<Reader>,
    run: RunId,
    pages: Pages,
}

impl Outcomes {
    /// From the first one on.
    #[must_use]
    pub fn new(reader: &Rc<Reader>, run: RunId) -> Self {
        Self { reader: Rc::clone(reader), run, pages: Pages::default() }
    }
}

impl Iterator for Outcomes {
    type Item = Result<RunOutcome, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = |after: &_| self.reader.run_query(|connection| page(connection, self.run, after, PAGE));
        self.pages.next(read).transpose()
    }
}

/// Where a reading stands, page by page.
#[derive(Debug)]
struct Pages {
    /// Behind which the next page begins; `None` behind the last one.
    after: Option<(String, String)>,
    page: std::vec::IntoIter<RunOutcome>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { after: Some(Default::default()), page: Vec::new().into_iter() }
    }
}

impl Pages {
    /// The next row; `read` gives the page behind a label and a manifest.
    fn next<E>(
        &mut self,
        read: impl FnOnce(&(String, String)) -> Result<Vec<RunOutcome>, E>,
    ) -> Result<Option<RunOutcome>, E> {
        if let Some(next) = self.page.next() {
            return Ok(Some(next));
        }
        let Some(after) = self.after.take() else { return Ok(None) };
        let page = read(&after)?;
        self.after = page.last().map(|last| (last.label.clone(), last.manifest.clone()));
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

impl Reader {
    /// What a run reported of its entries, sorted by label.
    pub fn run_outcomes(&self, run: RunId) -> Result<Vec<RunOutcome>, LedgerError> {
        self.run_query(|connection| page(connection, run, &Default::default(), i64::MAX))
    }

    /// How many of a run's entries ended in each way.
    pub fn outcome_counts(&self, run: RunId) -> Result<Vec<(String, u64)>, LedgerError> {
        self.run_query(|connection| {
            let told_by = told_by(connection, "?1")?;
            let sql = format!(
                "SELECT outcome, count(*) FROM run_outcomes WHERE run = {told_by} GROUP BY outcome ORDER BY outcome"
            );
            connection.prepare(&sql)?.query_all([run.0], |row| Ok((row.get(0)?, row.get(1)?)))
        })
    }
}

impl Ledger {
    /// Keeps what a run reports of its entries: all, or nothing. `outcomes` makes them, once more where that has to be
    /// done again. Of a run that `may_repeat` one before it, it is looked whether it does.
    pub async fn report<I: Iterator<Item = RunOutcome>>(
        &self,
        run: RunId,
        may_repeat: bool,
        outcomes: impl Fn() -> I + Send + 'static,
    ) -> Result<(), LedgerError> {
        let keep = move |tx: &Connection| {
            let repeated = if may_repeat { repeated(tx, run, outcomes())? } else { None };
            match repeated {
                Some(told_by) => repeat(tx, run, told_by),
                None => insert(tx, run, outcomes()),
            }
        };
        self.writer.call(keep).await
    }
}

/// The run that has the rows of a run, as an expression in SQL: itself, unless it repeated another. `run` is one, too.
pub(super) fn told_by(connection: &Connection, run: &str) -> db::Result<String> {
    Ok(if connection.has_table("repeated_outcomes")? {
        format!("coalesce((SELECT p.told_by FROM repeated_outcomes p WHERE p.run = {run}), {run})")
    } else {
        run.to_owned()
    })
}

fn page(
    connection: &Connection,
    run: RunId,
    (label, manifest): &(String, String),
    most: i64,
) -> db::Result<Vec<RunOutcome>> {
    let columns = if keeps_reports(connection)? { COLUMNS } else { COLUMNS_3 };
    let told_by = told_by(connection, "?1")?;
    let sql = format!(
        "{columns} FROM run_outcomes WHERE run = {told_by} AND (label, manifest) > (?2, ?3) ORDER BY label, manifest LIMIT ?4"
    );
    connection.prepare(&sql)?.query_all(params![run.0, label, manifest, most], outcome)
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

/// The last run before it that reported of the first of these, if it reported just these.
fn repeated(tx: &Connection, run: RunId, outcomes: impl Iterator<Item = RunOutcome>) -> db::Result<Option<RunId>> {
    let mut known = tx.prepare(KNOWN)?;
    let mut before: Option<Before<'_>> = None;
    // Named by number, they stand elsewhere than their labels did.
    let mut erased = Vec::new();
    for it in outcomes {
        if is_erased(&it) {
            erased.push(as_kept(it, &mut known)?);
            continue;
        }
        let before = match &mut before {
            Some(before) => before,
            None => match last_of(tx, run, &it)? {
                Some(run) => before.insert(Before::of(tx, run)?),
                None => return Ok(None),
            },
        };
        let Some(then) = before.next()? else { return Ok(None) };
        let it = if before.is_still_known { as_known_then(it, &then) } else { it };
        if as_kept(it, &mut known)? != then {
            return Ok(None);
        }
    }
    let Some(mut before) = before else { return Ok(None) };
    let is_all = before.next()?.is_none();
    erased.sort_by(|one, other| (&one.label, &one.manifest).cmp(&(&other.label, &other.manifest)));
    Ok((is_all && before.erased == erased).then_some(before.run))
}

/// The last run before it that has rows of its own, and one of this entry.
fn last_of(tx: &Connection, run: RunId, it: &RunOutcome) -> db::Result<Option<RunId>> {
    let sql = "SELECT r.id FROM runs r WHERE r.id < ?1
         AND EXISTS (SELECT 1 FROM run_outcomes o WHERE o.run = r.id AND o.label = ?2 AND o.manifest = ?3)
       ORDER BY r.id DESC LIMIT 1";
    tx.find(sql, params![run.0, it.label, it.manifest], |row| row.get(0).map(RunId))
}

/// What an earlier run reported, in order, with what is told of erased entries apart.
struct Before<'c> {
    tx: &'c Connection,
    run: RunId,
    /// Whether what it knew of entries that were as they should be is what is known now: no run after it raised the
    /// generation, as all do before they change an entry. (An audit does, too, and changes none.)
    is_still_known: bool,
    pages: Pages,
    erased: Vec<RunOutcome>,
}

impl<'c> Before<'c> {
    fn of(tx: &'c Connection, run: RunId) -> db::Result<Self> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM generations g JOIN runs r ON r.id = g.run
             WHERE g.run > ?1 AND r.command <> 'audit')";
        let is_still_known = tx.query_row(sql, [run.0], |row| row.get(0))?;
        Ok(Self { tx, run, is_still_known, pages: Pages::default(), erased: Vec::new() })
    }

    fn next(&mut self) -> db::Result<Option<RunOutcome>> {
        while let Some(it) = self.pages.next(|after| page(self.tx, self.run, after, PAGE))? {
            if !is_erased(&it) {
                return Ok(Some(it));
            }
            self.erased.push(it);
        }
        Ok(None)
    }
}

/// With what the ledger knew then of the session of an entry that was as it should be.
fn as_known_then(it: RunOutcome, then: &RunOutcome) -> RunOutcome {
    let id = |it: &RunOutcome| it.session.as_ref().map(|session| session.session_id);
    if !it.is_as_it_was() || it.entry != then.entry || id(&it).is_some_and(|told| id(then) != Some(told)) {
        return it;
    }
    RunOutcome {
        session: then.session.clone(),
        from_application_id: it.from_application_id.or(then.from_application_id),
        for_application_id: it.for_application_id.or(then.for_application_id),
        ..it
    }
}

fn is_erased(it: &RunOutcome) -> bool {
    it.outcome == State::Erased.as_str()
}

fn repeat(tx: &Connection, run: RunId, told_by: RunId) -> db::Result<()> {
    REMOVE.iter().try_for_each(|sql| tx.execute(sql, [run.0]).map(drop))?;
    tx.execute("INSERT INTO repeated_outcomes (run, told_by) VALUES (?1, ?2)", [run.0, told_by.0]).map(drop)
}

/// A row at a time, which takes no savepoint of its own: what a run reported before is removed, not written over.
const REMOVE: [&str; 2] = ["DELETE FROM run_outcomes WHERE run = ?1", "DELETE FROM repeated_outcomes WHERE run = ?1"];
const INSERT: &str = "INSERT INTO run_outcomes (run, label, manifest, entry, outcome, source_session_id,
     session_id, session_number, session_url, session_kind, status, workflow_id, vendor_data, attempts,
     error_class, error_status, error_detail, from_application_id, for_application_id, expires_at)
   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
   ON CONFLICT DO NOTHING";
const KNOWN: &str =
    "SELECT session_id, session_number, session_url, status, from_application_id, application_id FROM entries
   WHERE id = ?1";

/// Keeps what is reported of a run's entries.
pub(super) fn insert(tx: &Connection, run: RunId, outcomes: impl Iterator<Item = RunOutcome>) -> db::Result<()> {
    REMOVE.iter().try_for_each(|sql| tx.execute(sql, [run.0]).map(drop))?;
    let (mut insert, mut known) = (tx.prepare(INSERT)?, tx.prepare(KNOWN)?);
    for it in outcomes {
        let it = as_kept(it, &mut known)?;
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

/// As it is kept. What else is known of an entry that was as it should be, its own row has, which `known` finds; so it has
/// the partner of one whose token was minted.
fn as_kept(it: RunOutcome, known: &mut Statement<'_>) -> db::Result<RunOutcome> {
    let mut it = without_erased(it);
    it.expires_at = it.expires_at.map(|at| time(at.as_millisecond()));
    let is_unchanged = it.is_as_it_was();
    if let Some(entry) = it.entry.filter(|_| is_unchanged || it.from_application_id.is_none()) {
        let known = known
            .find([entry.0], |row| Ok((session(row, [0, 1, 2, 3])?, optional_uuid(row, 4)?, optional_uuid(row, 5)?)))?;
        if let Some((session, from, application)) = known {
            it.from_application_id = it.from_application_id.or(from);
            if is_unchanged {
                (it.session, it.for_application_id) = (session.or(it.session), it.for_application_id.or(application));
            }
        }
    }
    Ok(it)
}

/// An erased entry that a manifest still lists is told by its number alone: its label may name the source session.
fn without_erased(it: RunOutcome) -> RunOutcome {
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
