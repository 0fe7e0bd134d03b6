//! One pass over all entries: the columns that decide, borrowed from each row, and no text copied. Of a large ledger
//! several parts are read side by side.

use std::collections::BTreeSet;
use std::thread;

use super::db::{self, Connection, Row, ToValue, params};
use uuid::Uuid;

use super::read::{borrowed, fingerprint, optional_uuid, records_of, unreadable};
use super::records::{EntryId, ReceiverRef, Record, Sketch, Sought, State};
use super::{LedgerError, Location, Reader};
use crate::didit::Class;
use crate::token::SessionKind;

/// A part is no smaller: another reader takes its time to begin.
const PART: i64 = 20_000;
/// So many entries, found one by one, are read by one reader.
const FEW_RECORDS: usize = 4_000;
/// More readers wait for the disk.
const MOST_PARTS: usize = 4;

macro_rules! columns {
    () => {
        "SELECT id, manifest, application_id, base_url, key, source_session_id, source_hash, token,
   session_kind, state, workflow_id, trust_review, vendor_data, session_id, error_class
 FROM entries"
    };
}

/// What a pass reads, by entry's number.
const PASS: &str = concat!(columns!(), " WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3");
const LAST: &str = "SELECT coalesce(max(id), 0) FROM entries";

/// One entry as a pass reads it.
const ONE: &str = concat!(columns!(), " WHERE id = ?1");

/// By what entries are found of which something is to be seen, if little is sought. Each in the words of a file's indexes:
/// a source session that is the label has no place of its own, nor has a token whose claims name its source session.
const BY_SOURCE: &str = "SELECT id FROM entries
   WHERE (label = ?1 AND source_session_id = ?1) OR (source_session_id = ?1 AND source_session_id <> label)";
const WITHOUT_SOURCE: &str = "SELECT id FROM entries WHERE source_session_id IS NULL";
/// Whether there is any tells how tokens are held against records.
const AN_ERASED: &str = "SELECT id FROM entries INDEXED BY entries_by_state WHERE state = 'erased' LIMIT 1";
const BY_TOKEN: &str =
    "SELECT id FROM entries WHERE token = ?1 AND (source_session_id IS NULL OR from_application_id IS NULL)";
const OF_MANIFEST: &str =
    "SELECT id FROM entries INDEXED BY entries_by_state WHERE state = 'imported' AND manifest = ?1";

/// Where more than one of so many entries is to be seen, a pass over all is quicker.
const SPARSE: i64 = 16;

impl Reader {
    /// Has those entries seen once, in the order of their numbers, that can be meant by what is sought: those with one of
    /// the sources or tokens, those whose source is not known, an erased one, and those that are imported of one of the
    /// manifests. Where that is a good part of the ledger, nothing is seen, and `None` is told.
    pub fn see_those<S>(
        &self,
        sought: &Sought<'_>,
        begin: impl Fn() -> S,
        see: impl Fn(&mut S, &Sketch<'_>),
    ) -> Result<Option<S>, LedgerError> {
        self.run_query(|connection| {
            let Some(ids) = ids(connection, sought)? else { return Ok(None) };
            let mut query = connection.prepare(ONE)?;
            let (mut seen, mut repeated) = (begin(), Repeated::default());
            for id in ids {
                query.each([id], |row| {
                    see(&mut seen, &sketch(row, &mut repeated)?);
                    Ok(())
                })?;
            }
            Ok(Some(seen))
        })
    }

    /// Has every entry seen once, in the order of their numbers: in one part or in several side by side, which are given
    /// back in that order. Where a file that was read as immutable turns out to be written, the part begins anew.
    pub fn see_all<S: Send>(
        &self,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, LedgerError> {
        let (begin, see) = (&begin, &see);
        let part = |reader: &Self, (from, to)| {
            reader.run_query(|connection| {
                let mut seen = begin();
                pass(connection, (from, to), |it| see(&mut seen, it))?;
                Ok(seen)
            })
        };
        let last = self.run_query(|connection| connection.query_row(LAST, (), |row| row.get(0)))?;
        self.side_by_side(parts(last), &part)
    }

    /// These entries, in the order given; of very many in a file, several parts are read side by side.
    pub fn records_of(&self, ids: &[EntryId]) -> Result<Vec<Record>, LedgerError> {
        let part = |reader: &Self, ids: &[EntryId]| reader.run_query(|connection| records_of(connection, ids));
        let readers = if matches!(self.location(), Location::File(_)) { cores() } else { 1 };
        let parts = ids.chunks(ids.len().div_ceil(readers).max(FEW_RECORDS));
        Ok(self.side_by_side(parts, &part)?.into_iter().flatten().collect())
    }

    /// What comes of each part, in their order: of the first one here, of each other one by a reader and a thread of its own.
    fn side_by_side<P: Send, T: Send>(
        &self,
        parts: impl IntoIterator<Item = P>,
        read: &(impl Fn(&Self, P) -> Result<T, LedgerError> + Sync),
    ) -> Result<Vec<T>, LedgerError> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return Ok(Vec::new()) };
        thread::scope(|scope| {
            let others: Vec<_> = parts
                .map(|part| {
                    let location = self.location().clone();
                    scope.spawn(move || read(&Self::require(&location)?, part))
                })
                .collect();
            let mut done = vec![read(self, first)?];
            for other in others {
                done.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(done)
        })
    }
}

/// How many readers there are at most.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MOST_PARTS)
}

/// Ranges of numbers, at least one. The last one is open: what is added meanwhile is in it.
fn parts(last: i64) -> Vec<(i64, i64)> {
    let count = (last / PART).clamp(1, cores() as i64);
    let start = |n: i64| last / count * n;
    (0..count).map(|n| (start(n), if n + 1 == count { i64::MAX } else { start(n + 1) - 1 })).collect()
}

/// The numbers of what is sought; `None` where they are too many.
fn ids(connection: &Connection, sought: &Sought<'_>) -> db::Result<Option<BTreeSet<i64>>> {
    let last: i64 = connection.query_row(LAST, (), |row| row.get(0))?;
    let most = usize::try_from(last / SPARSE).unwrap_or(usize::MAX);
    let mut ids = BTreeSet::new();
    let mut add = |sql: &str, key: &[&dyn ToValue]| {
        connection.prepare(sql)?.until(key, |row| {
            ids.insert(row.get(0)?);
            Ok(ids.len() <= most)
        })?;
        Ok::<_, db::Error>(ids.len() <= most)
    };
    let mut all = add(WITHOUT_SOURCE, params![])? && add(AN_ERASED, params![])?;
    for name in &sought.manifests {
        all = all && add(OF_MANIFEST, params![name])?;
    }
    for source in &sought.sources {
        all = all && add(BY_SOURCE, params![source.to_string()])?;
    }
    for token in &sought.tokens {
        all = all && add(BY_TOKEN, params![token.as_bytes()])?;
    }
    Ok(all.then_some(ids))
}

fn pass(connection: &Connection, (from, to): (i64, i64), mut see: impl FnMut(&Sketch<'_>)) -> db::Result<()> {
    let mut query = connection.prepare(PASS)?;
    let mut repeated = Repeated::default();
    let most = connection.rows_at_once();
    let mut from = from;
    loop {
        let mut seen = 0;
        query.each([from, to, most], |row| {
            let sketch = sketch(row, &mut repeated)?;
            (seen, from) = (seen + 1, sketch.id.0 + 1);
            see(&sketch);
            Ok(())
        })?;
        if seen < most {
            return Ok(());
        }
    }
}

/// What nearly all rows of a ledger have alike, as the last row had it.
#[derive(Default)]
struct Repeated {
    application: Known,
    workflow: Known,
}

/// An id with its text.
#[derive(Default)]
struct Known(String, Option<Uuid>);

impl Known {
    fn read(&mut self, row: &Row<'_>, column: usize) -> db::Result<Option<Uuid>> {
        let Some(text) = borrowed(row, column)? else { return Ok(None) };
        if self.0 != text {
            self.1 = optional_uuid(row, column)?;
            text.clone_into(&mut self.0);
        }
        Ok(self.1)
    }
}

fn sketch<'r>(row: &Row<'r>, repeated: &mut Repeated) -> db::Result<Sketch<'r>> {
    let required = |column| borrowed(row, column)?.ok_or_else(|| unreadable("row"));
    Ok(Sketch {
        id: EntryId(row.get(0)?),
        manifest: required(1)?,
        receiver: ReceiverRef {
            application_id: repeated.application.read(row, 2)?,
            base_url: required(3)?,
            key: fingerprint(row, 4)?,
        },
        source_session_id: optional_uuid(row, 5)?,
        source_hash: fingerprint(row, 6)?,
        token: fingerprint(row, 7)?,
        session_kind: read(row, 8, "kind", SessionKind::parse)?,
        state: read(row, 9, "state", State::parse)?.ok_or_else(|| unreadable("state"))?,
        workflow_id: repeated.workflow.read(row, 10)?,
        trust_review: row.get(11)?,
        vendor_data: borrowed(row, 12)?,
        session_id: optional_uuid(row, 13)?,
        class: borrowed(row, 14)?.and_then(Class::parse),
    })
}

fn read<T>(row: &Row<'_>, column: usize, what: &str, parse: impl Fn(&str) -> Option<T>) -> db::Result<Option<T>> {
    borrowed(row, column)?.map(|text| parse(text).ok_or_else(|| unreadable(what))).transpose()
}
