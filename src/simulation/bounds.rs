//! What the best possible client could do, to hold a simulated run against.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::pace::SPAN;

/// When the last answer comes in the best schedule of a client that knows of each request only when it left and when it
/// was answered. A request may have arrived as late as its answer came, and the next one may arrive at once; so a slot is
/// surely free 60 seconds after the answer and not before, and whoever sends earlier can meet a 429.
#[must_use]
pub fn best_schedule(round_trips: &[Duration], limit: u32, concurrency: u32) -> Duration {
    let mut slots: BinaryHeap<Reverse<Duration>> = (0..limit).map(|_| Reverse(Duration::ZERO)).collect();
    let mut lines: BinaryHeap<Reverse<Duration>> = (0..concurrency).map(|_| Reverse(Duration::ZERO)).collect();
    let mut last = Duration::ZERO;
    for round_trip in round_trips {
        let (Some(Reverse(slot)), Some(Reverse(line))) = (slots.pop(), lines.pop()) else { break };
        let answered = slot.max(line) + *round_trip;
        slots.push(Reverse(answered + SPAN));
        lines.push(Reverse(answered));
        last = last.max(answered);
    }
    last
}

/// How many of these deadlines can be met when the k-th request leaves at the k-th turn: earliest deadline first, each
/// left out that its turn comes too late for. With turns of one size nothing does better.
#[must_use]
pub fn most_in_time(deadlines: &[Duration], turn: impl Fn(usize) -> Duration) -> usize {
    let mut deadlines = deadlines.to_vec();
    deadlines.sort();
    deadlines.into_iter().fold(0, |sent, deadline| sent + usize::from(turn(sent) < deadline))
}
