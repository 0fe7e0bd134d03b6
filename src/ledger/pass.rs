//! One pass over all entries: the columns that decide, borrowed from each row, and no text copied. Of a large ledger
//! several parts are read side by side.

use std::thread;

use rusqlite::{Connection, Row};

use super::read::{borrowed, fingerprint, optional_uuid, record_by_id, unreadable};
use super::records::{EntryId, ReceiverRef, Record, Sketch, State};
use super::{LedgerError, Reader};
use crate::didit::Class;
use crate::token::SessionKind;

/// A part is no smaller: another reader takes its time to begin.
const PART: i64 = 20_000;
/// More readers wait for the disk.
const MOST_PARTS: usize = 4;

/// What a pass reads, by entry's number.
pub(super) const PASS: &str =
    "SELECT id, manifest, application_id, base_url, key, source_session_id, source_hash, token,
   session_kind, state, workflow_id, trust_review, vendor_data, session_id, error_class
 FROM entries WHERE id BETWEEN ?1 AND ?2 ORDER BY id";

impl Reader {
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
        let last = self.run_query(|c| c.query_row("SELECT coalesce(max(id), 0) FROM entries", [], |row| row.get(0)))?;
        let mut ranges = parts(last).into_iter();
        // What is added meanwhile is the last part's.
        let first = ranges.next().unwrap_or((0, i64::MAX));
        thread::scope(|scope| {
            let others: Vec<_> = ranges
                .map(|range| {
                    let location = self.location().clone();
                    scope.spawn(move || part(&Self::require(&location)?, range))
                })
                .collect();
            let mut seen = vec![part(self, first)?];
            for other in others {
                seen.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(seen)
        })
    }

    /// These entries, in the order given.
    pub fn records_of(&self, ids: &[EntryId]) -> Result<Vec<Record>, LedgerError> {
        self.run_query(|connection| ids.iter().map(|id| record_by_id(connection, *id)).collect())
    }
}

/// Ranges of numbers, of which the last one is open.
fn parts(last: i64) -> Vec<(i64, i64)> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(MOST_PARTS) as i64;
    let count = (last / PART).clamp(1, cores);
    let start = |n: i64| last / count * n;
    (0..count).map(|n| (start(n), if n + 1 == count { i64::MAX } else { start(n + 1) - 1 })).collect()
}

fn pass(connection: &Connection, (from, to): (i64, i64), mut see: impl FnMut(&Sketch<'_>)) -> rusqlite::Result<()> {
    let mut query = connection.prepare(PASS)?;
    let mut rows = query.query([from, to])?;
    while let Some(row) = rows.next()? {
        see(&sketch(row)?);
    }
    Ok(())
}

fn sketch<'r>(row: &'r Row<'_>) -> rusqlite::Result<Sketch<'r>> {
    let required = |column| borrowed(row, column)?.ok_or_else(|| unreadable("row"));
    Ok(Sketch {
        id: EntryId(row.get(0)?),
        manifest: required(1)?,
        receiver: ReceiverRef {
            application_id: optional_uuid(row, 2)?,
            base_url: required(3)?,
            key: fingerprint(row, 4)?,
        },
        source_session_id: optional_uuid(row, 5)?,
        source_hash: fingerprint(row, 6)?,
        token: fingerprint(row, 7)?,
        session_kind: read(row, 8, "kind", SessionKind::parse)?,
        state: read(row, 9, "state", State::parse)?.ok_or_else(|| unreadable("state"))?,
        workflow_id: optional_uuid(row, 10)?,
        trust_review: row.get(11)?,
        vendor_data: borrowed(row, 12)?,
        session_id: optional_uuid(row, 13)?,
        class: borrowed(row, 14)?.and_then(Class::parse),
    })
}

fn read<T>(row: &Row<'_>, column: usize, what: &str, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<Option<T>> {
    borrowed(row, column)?.map(|text| parse(text).ok_or_else(|| unreadable(what))).transpose()
}
