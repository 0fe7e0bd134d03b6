//! Points at which tests make the program die: right before and after each of the two commits of a request, and of those
//! of a verification.
//!
//! `DIDIT_SYNC_TEST_STOP_AT=POINT:N` aborts the process when it passes the point for the N-th time; with
//! `DIDIT_SYNC_TEST_PANIC=TEXT` it panics there instead, with that text. Debug builds only; a release build has neither
//! the variables nor the points.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const VARIABLE: &str = "DIDIT_SYNC_TEST_STOP_AT";
const PANIC: &str = "DIDIT_SYNC_TEST_PANIC";

/// A moment in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// Nothing of the request is on record.
    Intending,
    /// The intent is durable, and the request has not left.
    Intended,
    /// The answer arrived, and is not on record.
    Answered,
    /// The session was looked for, and what was found is not on record.
    LookedUp,
    /// An outcome is durable, and nobody was told.
    Settled,
    /// A session was fetched to be verified, and is not judged.
    Fetched,
    /// Sessions were judged, and nothing of that is on record.
    Judged,
    /// What they were judged is durable, and nobody was told.
    Kept,
    /// What is there is about to be accepted.
    Accepting,
    /// An acceptance is durable, and nobody was told.
    Accepted,
}

impl Point {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "intending" => Self::Intending,
            "intended" => Self::Intended,
            "answered" => Self::Answered,
            "looked-up" => Self::LookedUp,
            "settled" => Self::Settled,
            "fetched" => Self::Fetched,
            "judged" => Self::Judged,
            "kept" => Self::Kept,
            "accepting" => Self::Accepting,
            "accepted" => Self::Accepted,
            _ => return None,
        })
    }

    /// Passes the point, or dies there.
    pub(super) fn pass(self) {
        static STOP_AT: OnceLock<Option<(Point, u32)>> = OnceLock::new();
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let stop_at = STOP_AT.get_or_init(|| parse(&std::env::var(VARIABLE).ok()?));
        if let Some((point, nth)) = *stop_at
            && point == self
            && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == nth
        {
            match std::env::var(PANIC) {
                Ok(text) => panic!("{text}"),
                Err(_) => std::process::abort(),
            }
        }
    }
}

fn parse(text: &str) -> Option<(Point, u32)> {
    let (point, nth) = text.split_once(':')?;
    Some((Point::parse(point)?, nth.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_and_a_number_are_read() {
        assert_eq!(parse("looked-up:3"), Some((Point::LookedUp, 3)));
        for wrong in ["", "settled", "settled:", "settled:x", "elsewhere:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
