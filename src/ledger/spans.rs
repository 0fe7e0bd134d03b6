//! Many entries at a time, by their numbers. Those of one apply were recorded one after the other, so most of what is
//! wanted together stands together: it is one statement, which on a server is one round trip, and not one each.

use super::db::Connection;
use super::records::EntryId;

/// On a server, so many rows that nobody asked for are read rather than a round trip made.
const FEW_BETWEEN: i64 = 8;

/// A span holds no more: on a server, all of its rows are in memory at once.
const LONGEST: i64 = 1000;

/// How many others a span may hold between two that are read.
pub(super) fn between(connection: &Connection) -> i64 {
    if connection.is_file() { 0 } else { FEW_BETWEEN }
}

/// The first and last of numbers that stand together, with at most `between` others between two of them. They have to
/// be sorted.
pub(super) fn spans(sorted: impl IntoIterator<Item = EntryId>, between: i64) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for EntryId(id) in sorted {
        match spans.last_mut() {
            Some((first, last)) if id - *last <= between + 1 && id - *first < LONGEST => *last = id,
            _ => spans.push((id, id)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: impl IntoIterator<Item = i64>, between: i64) -> Vec<(i64, i64)> {
        spans(ids.into_iter().map(EntryId), between)
    }

    #[test]
    fn what_stands_together_is_one_span_and_none_is_too_long() {
        assert_eq!(of([], 0), []);
        assert_eq!(of([3, 4, 5, 7, 7, 20], 0), [(3, 5), (7, 7), (20, 20)]);
        assert_eq!(of([3, 4, 5, 7, 20], 1), [(3, 7), (20, 20)]);
        assert_eq!(of(1..=2001, 0), [(1, 1000), (1001, 2000), (2001, 2001)]);
    }
}
