//! Entries in the order of outputs: label, manifest, number. They are read a few hundred at a time, so that no more of a
//! large ledger is in memory than what is being shown.
//!
//! Each few are one read of their own. A walk holds no transaction, since whoever reads its output may take all day, and
//! a writer's log grows as long as somebody reads; and where a file that was read as immutable turns out to be written,
//! the walk goes on, through the log, where it is.

use std::collections::BTreeSet;

use super::db::{self, Connection, Row, params};
use uuid::Uuid;

use super::read::{Reader, attempts, kind, optional_uuid, record, records_of, unreadable};
use super::records::{Attempt, EntryId, Record, State};
use super::{Ledger, LedgerError};
use crate::token::{Fingerprint, SessionKind};

/// How many entries are read at once.
const PAGE: i64 = 500;

/// The columns of whole entries, as [`record`] reads them. Number, label and manifest are the key of the order.
macro_rules! record_columns {
    () => {
        "SELECT id, label, manifest, application_id, base_url, key, source_session_id, source_hash, token,
           from_application_id, session_kind, state, workflow_id, trust_review, vendor_data, attempts, first_sent_at,
           session_id, session_number, session_url, status, imported_at, error_class, error_status, error_detail, place,
           run, audited_at,
           state IN ('sending', 'unknown') AND EXISTS (
             SELECT 1 FROM attempts a LEFT JOIN answers b ON b.attempt = a.id
             WHERE a.entry = entries.id AND coalesce(b.outcome, 'unknown') = 'unknown') AS answer_lost,
           EXISTS (SELECT 1 FROM attempts a JOIN answers b ON b.attempt = a.id
             WHERE a.entry = entries.id AND b.outcome = 'imported') AS answered
         FROM entries"
    };
}
pub(super) use record_columns;

macro_rules! line_columns {
    () => {
        "SELECT id, label, manifest, state, session_kind, session_id, status, vendor_data FROM entries"
    };
}

/// What follows an entry in the order of labels: all, or what is in a state. By its index, whatever SQLite's statistics
/// say, since each page is to be found where the last one ended.
macro_rules! page {
    ($columns:expr) => {
        concat!(
            $columns,
            " INDEXED BY entries_by_label WHERE (label, manifest, id) > (?1, ?2, ?3) AND (CAST(?5 AS TEXT) IS NULL OR state = ?5)
              ORDER BY label, manifest, id LIMIT ?4"
        )
    };
}

/// The statements that read one kind of row.
#[derive(Debug)]
struct Statements {
    /// A page in order.
    page: &'static str,
    /// One by its number.
    one: &'static str,
}

const OF_RECORDS: Statements =
    Statements { page: page!(record_columns!()), one: concat!(record_columns!(), " WHERE id = ?1") };
const OF_LINES: Statements =
    Statements { page: page!(line_columns!()), one: concat!(line_columns!(), " WHERE id = ?1") };

/// Numbers and their place in the order are kept, and nothing else of the entries.
const IN_STATE: &str =
    "SELECT id FROM entries INDEXED BY entries_by_state WHERE state = ?1 ORDER BY label, manifest, id";
const SHARE_IN_STATE: &str =
    "SELECT (SELECT count(*) FROM entries WHERE state = ?1), coalesce(max(id), 0) FROM entries";
const NAMED: &str = "SELECT id, label, manifest, state FROM entries
   WHERE label = ?1 OR (label = ?2 AND source_session_id = ?2) OR (source_session_id = ?2 AND source_session_id <> label)
     OR session_id = ?2 OR (vendor_data = ?1 AND id IN (SELECT entry FROM attempts WHERE vendor_data = ?1))";
const COUNTED: &str = "SELECT state, count(*) FROM entries GROUP BY state";
/// The same of the entries themselves: where nothing else is read, damage is to be met all the same.
const SUMMED: &str = "SELECT count(*) FILTER (WHERE state = 'imported'), count(*) FILTER (WHERE state = 'refused'),
   count(*) FILTER (WHERE state = 'expired'), count(*) FILTER (WHERE state = 'unknown'),
   count(*) FILTER (WHERE state = 'sending'), count(*) FILTER (WHERE state = 'erased') FROM entries NOT INDEXED";
const ALL_LINES: &str = line_columns!();
const LINES_IN_STATE: &str = concat!(line_columns!(), " INDEXED BY entries_by_state WHERE state = ?1");

/// By what an erased entry is known again.
const ERASED: &str = "SELECT id FROM entries WHERE source_hash = ?1";
const IMPORTED: &str = "SELECT id, audited_at, manifest FROM entries INDEXED BY entries_by_state
   WHERE state = 'imported' AND session_id IS NOT NULL";

/// Which entries are to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those in a state.
    In(State),
    /// These, in the order given.
    These(Vec<EntryId>),
}

/// An entry with its attempts.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entry.
    pub record: Record,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
}

/// What is shown of an entry on one line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The label.
    pub label: String,
    /// What is known.
    pub state: State,
    /// The kind.
    pub session_kind: Option<SessionKind>,
    /// The session, if imported.
    pub session_id: Option<Uuid>,
    /// Its status as the import's own answer told.
    pub status: Option<String>,
    /// `vendor_data` as last sent.
    pub vendor_data: Option<String>,
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Self {
        let session = record.session.as_ref();
        Self {
            label: record.label.clone(),
            state: record.state,
            session_kind: record.session_kind,
            session_id: session.map(|session| session.session_id),
            status: session.and_then(|session| session.status.clone()),
            vendor_data: record.settings.vendor_data.clone(),
        }
    }
}

/// Where an entry stands in the order.
type Key = (String, String, i64);

/// Before all entries.
const START: Key = (String::new(), String::new(), i64::MIN);

/// What is to be read still.
#[derive(Debug)]
enum Left {
    /// All that comes after this one, or that part of it which is in a state.
    After(Key, Option<State>),
    These(std::vec::IntoIter<EntryId>),
    Nothing,
}

/// Entries, read as they are asked for. After an error there are no more.
#[derive(Debug)]
pub struct Walk<'r, T> {
    reader: &'r Reader,
    statements: &'static Statements,
    read: fn(&Connection, &Row<'_>) -> db::Result<T>,
    left: Left,
    page: std::vec::IntoIter<T>,
}

impl<T> Walk<'_, T> {
    /// Reads the first entries. What is wrong with them, and with most that can be wrong with a file, is known before
    /// anything is shown.
    pub fn begun(mut self) -> Result<Self, LedgerError> {
        self.turn()?;
        Ok(self)
    }

    fn turn(&mut self) -> Result<(), LedgerError> {
        let (statements, read) = (self.statements, self.read);
        match &mut self.left {
            Left::Nothing => {}
            Left::After(key, state) => {
                let state = *state;
                let (rows, last) =
                    self.reader.run_query(|connection| page(connection, statements.page, key, state, read))?;
                self.page = rows.into_iter();
                self.left = last.map_or(Left::Nothing, |key| Left::After(key, state));
            }
            Left::These(ids) => {
                let few: Vec<EntryId> = ids.take(PAGE as usize).collect();
                let rows: Vec<T> = self.reader.run_query(|connection| {
                    let mut query = connection.prepare(statements.one)?;
                    few.iter().map(|id| query.query_row([id.0], |row| read(connection, row))).collect()
                })?;
                self.page = rows.into_iter();
                if self.page.as_slice().is_empty() {
                    self.left = Left::Nothing;
                }
            }
        }
        Ok(())
    }
}

/// A page, and the key of its last row if there may be more.
fn page<T>(
    connection: &Connection,
    sql: &str,
    (label, manifest, id): &Key,
    state: Option<State>,
    read: fn(&Connection, &Row<'_>) -> db::Result<T>,
) -> db::Result<(Vec<T>, Option<Key>)> {
    let mut query = connection.prepare(sql)?;
    let mut page = Vec::with_capacity(PAGE as usize);
    let mut last = None;
    query.each(params![label, manifest, id, PAGE, state.map(State::as_str)], |row| {
        page.push(read(connection, row)?);
        if page.len() == PAGE as usize {
            last = Some((row.get(1)?, row.get(2)?, row.get(0)?));
        }
        Ok(())
    })?;
    Ok((page, last))
}

impl<T> Iterator for Walk<'_, T> {
    type Item = Result<T, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.as_slice().is_empty()
            && let Err(error) = self.turn()
        {
            self.left = Left::Nothing;
            return Some(Err(error));
        }
        self.page.next().map(Ok)
    }
}

impl Reader {
    /// Whole entries with their attempts, in the order of outputs.
    pub fn listed(&self, which: Which) -> Result<Walk<'_, Listed>, LedgerError> {
        let read: fn(&Connection, &Row<'_>) -> db::Result<Listed> = |connection, row| {
            let record = record(row)?;
            let attempts = attempts(connection, record.id)?;
            Ok(Listed { record, attempts })
        };
        self.walk(which, &OF_RECORDS, read)
    }

    /// What is shown of entries on one line, in the order of outputs.
    pub fn lines(&self, which: Which) -> Result<Walk<'_, Line>, LedgerError> {
        self.walk(which, &OF_LINES, |_, row| line(row))
    }

    fn walk<T>(
        &self,
        which: Which,
        statements: &'static Statements,
        read: fn(&Connection, &Row<'_>) -> db::Result<T>,
    ) -> Result<Walk<'_, T>, LedgerError> {
        let left = match which {
            Which::All => Left::After(START, None),
            Which::In(state) if self.is_common(state)? => Left::After(START, Some(state)),
            Which::In(state) => Left::These(self.in_state(state)?.into_iter()),
            Which::These(ids) => Left::These(ids.into_iter()),
        };
        Walk { reader: self, statements, read, left, page: Vec::new().into_iter() }.begun()
    }

    /// Whether so many entries are in a state that the others are better passed over than these sorted.
    fn is_common(&self, state: State) -> Result<bool, LedgerError> {
        let (count, all): (i64, i64) = self.run_query(|connection| {
            let mut query = connection.prepare(SHARE_IN_STATE)?;
            query.query_row([state.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        })?;
        Ok(count > all / 4)
    }

    fn in_state(&self, state: State) -> Result<Vec<EntryId>, LedgerError> {
        self.run_query(|connection| {
            connection.prepare(IN_STATE)?.query_all([state.as_str()], |row| Ok(EntryId(row.get(0)?)))
        })
    }

    /// Has the lines of entries seen once, in no order: to measure them before they are shown.
    pub fn see_lines(&self, which: &Which, mut see: impl FnMut(&Line)) -> Result<(), LedgerError> {
        if let Which::These(ids) = which {
            for line in self.lines(Which::These(ids.clone()))? {
                see(&line?);
            }
            return Ok(());
        }
        let (sql, state) = match which {
            Which::In(state) => (LINES_IN_STATE, Some(state.as_str())),
            _ => (ALL_LINES, None),
        };
        let see = std::cell::RefCell::new(&mut see);
        self.run_query(|connection| {
            let mut query = connection.prepare(sql)?;
            let see = |row: &Row<'_>| {
                (see.borrow_mut())(&line(row)?);
                Ok(())
            };
            match state {
                Some(state) => query.each([state], see),
                None => query.each((), see),
            }
        })
    }

    /// The entries that people may mean by a name: by label, source session, session id or vendor data. In the order of
    /// outputs; with their states.
    pub fn named(&self, names: &[String]) -> Result<Vec<Vec<(EntryId, State)>>, LedgerError> {
        self.run_query(|connection| names.iter().map(|name| named(connection, name)).collect())
    }

    /// These entries in the order of outputs, each once.
    pub fn ordered(&self, ids: impl IntoIterator<Item = EntryId>) -> Result<Vec<EntryId>, LedgerError> {
        let ids: BTreeSet<EntryId> = ids.into_iter().collect();
        let mut keys: Vec<Key> = self.run_query(|connection| {
            let mut query = connection.prepare("SELECT label, manifest, id FROM entries WHERE id = ?1")?;
            ids.iter().map(|id| query.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))).collect()
        })?;
        keys.sort_unstable();
        Ok(keys.into_iter().map(|(.., id)| EntryId(id)).collect())
    }

    /// How many entries are in each state, in the order of outputs: by a pass over all, which meets what is damaged.
    pub fn state_totals(&self) -> Result<Vec<(State, u64)>, LedgerError> {
        self.run_query(|connection| {
            connection.query_row(SUMMED, (), |row| {
                State::ALL.into_iter().enumerate().map(|(at, state)| Ok((state, row.get(at)?))).collect()
            })
        })
    }

    /// The same, by their index.
    pub fn state_counts(&self) -> Result<Vec<(State, u64)>, LedgerError> {
        let counted: Vec<(String, u64)> = self
            .run_query(|connection| connection.prepare(COUNTED)?.query_all((), |row| Ok((row.get(0)?, row.get(1)?))))?;
        let count = |state: State| counted.iter().find(|(name, _)| *name == state.as_str()).map_or(0, |(_, n)| *n);
        Ok(State::ALL.into_iter().map(|state| (state, count(state))).collect())
    }
}

impl Ledger {
    /// The entries that people may mean by these names, as [`Reader::named`], and those that were erased and whose source
    /// session had one of these keyed hashes; in the order of their numbers.
    pub async fn meant(&self, names: Vec<String>, hashes: Vec<Fingerprint>) -> Result<Vec<Record>, LedgerError> {
        self.writer
            .call(move |tx| {
                let mut ids = BTreeSet::new();
                for name in &names {
                    ids.extend(named(tx, name)?.into_iter().map(|(id, _)| id));
                }
                let mut erased = tx.prepare(ERASED)?;
                for hash in &hashes {
                    ids.extend(erased.query_all([hash.as_bytes()], |row| Ok(EntryId(row.get(0)?)))?);
                }
                records_of(tx, &Vec::from_iter(ids))
            })
            .await
    }

    /// These entries, in the order given.
    pub async fn records_of(&self, ids: Vec<EntryId>) -> Result<Vec<Record>, LedgerError> {
        self.writer.call(move |tx| records_of(tx, &ids)).await
    }
}

/// An imported entry, and what says when it is its turn to be audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Auditable {
    /// When its session was last verified, in milliseconds.
    pub audited_at: Option<i64>,
    /// Its number.
    pub id: EntryId,
    /// Its manifest, as a place in [`Auditables::manifests`].
    pub manifest: u32,
}

/// Entries that can be audited, a few bytes of each.
#[derive(Clone, Debug, Default)]
pub struct Auditables {
    /// The names of their manifests, in the order in which they were met.
    pub manifests: Vec<String>,
    /// The entries, in the order in which they were met.
    pub entries: Vec<Auditable>,
}

impl Auditables {
    /// Adds an entry.
    pub fn add(&mut self, id: EntryId, audited_at: Option<i64>, manifest: &str) {
        // Mostly the same as the last one's.
        let known = self.manifests.iter().rposition(|known| known == manifest);
        let manifest = known.unwrap_or_else(|| {
            self.manifests.push(manifest.to_owned());
            self.manifests.len() - 1
        });
        self.entries.push(Auditable { audited_at, id, manifest: manifest as u32 });
    }
}

impl Reader {
    /// All entries that are imported and have a session.
    pub fn auditables(&self) -> Result<Auditables, LedgerError> {
        self.run_query(|connection| {
            let mut all = Auditables::default();
            let mut query = connection.prepare(IMPORTED)?;
            query.each((), |row| {
                all.add(EntryId(row.get(0)?), row.get(1)?, row.text(2)?.unwrap_or_default());
                Ok(())
            })?;
            Ok(all)
        })
    }
}

fn named(connection: &Connection, name: &str) -> db::Result<Vec<(EntryId, State)>> {
    // Ids are kept in small letters.
    connection.query_all(NAMED, [name, &name.to_ascii_lowercase()], |row| Ok((EntryId(row.get(0)?), state(row, 3)?)))
}

fn state(row: &Row<'_>, index: usize) -> db::Result<State> {
    let text = row.text(index)?.unwrap_or_default();
    State::parse(text).ok_or_else(|| unreadable(&format!("state {text}")))
}

fn line(row: &Row<'_>) -> db::Result<Line> {
    Ok(Line {
        label: row.get(1)?,
        state: state(row, 3)?,
        session_kind: kind(row, 4)?,
        session_id: optional_uuid(row, 5)?,
        // Of the session that is there.
        status: row.get::<Option<String>>(6)?.filter(|_| row.text(5).is_ok_and(|id| id.is_some())),
        vendor_data: row.get(7)?,
    })
}
