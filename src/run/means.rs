//! What every part of a run works with: the ledger, the clock, who watches, where rules are judged.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::events::Events;
use crate::ledger::Ledger;
use crate::verify::Judging;

/// What every part of a run works with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Means {
    /// The ledger, held by this process.
    pub ledger: Ledger,
    /// The time.
    pub clock: Clock,
    /// Who watches.
    pub events: Events,
    /// Where rules are judged.
    pub judging: Judging,
}

impl Means {
    /// Those of the program: the time as it is now, rules on all cores.
    #[must_use]
    pub fn new(ledger: Ledger, events: Events) -> Self {
        Self { ledger, clock: Clock::starting_at(Timestamp::now()), events, judging: Judging::OnAllCores }
    }
}

/// The time of a run: read from the system once, and advanced by tokio's clock. So a system clock that is set while a
/// run goes on changes nothing in it, and a simulation runs on tokio's paused clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Timestamp,
    origin: Instant,
}

impl Clock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, origin: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}
