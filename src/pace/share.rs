//! What of a window is left for us, where somebody else uses the same key: found out by refusals, without being told.
//!
//! A refusal although our own count says that there is room means that somebody took it. We then keep a tenth below
//! what we had, and look for more after a while: first one request more, then twice as many with each success. A search
//! that fails costs what was added, and the next one comes later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Of what we had, this much is kept after a refusal.
const KEPT: f64 = 0.9;
/// Between a success and the next search, and at the most.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// Our share of a window. Times are durations since any fixed origin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Share {
    /// How many requests of a window are ours.
    size: u32,
    /// What it was before the search that is under way.
    proven: u32,
    /// How many are added next.
    step: u32,
    interval: Duration,
    look_at: Duration,
}

impl Default for Share {
    fn default() -> Self {
        Self::whole()
    }
}

impl Share {
    /// All of a window.
    pub(super) fn whole() -> Self {
        Self { size: u32::MAX, proven: u32::MAX, step: 1, interval: SHORTEST, look_at: Duration::MAX }
    }

    /// How many requests of a window are ours.
    pub(super) fn size(self) -> u32 {
        self.size
    }

    /// When more is looked for.
    pub(super) fn looks_at(self) -> Option<Duration> {
        (self.look_at < Duration::MAX).then_some(self.look_at)
    }

    /// A request was refused at `now` while `own` of ours were in the window, which holds `limit`. Nothing is looked for
    /// before the pause ends.
    pub(super) fn refused(&mut self, now: Duration, own: u32, pause: Duration) {
        if self.size > self.proven {
            // The search failed, and nothing else has changed.
            self.size = self.proven;
            self.interval = (self.interval * 2).min(LONGEST);
        } else {
            self.size = ((f64::from(own.min(self.size)) * KEPT) as u32).max(1);
            self.interval = SHORTEST;
        }
        self.proven = self.size;
        self.step = 1;
        self.look_at = now + pause + self.interval;
    }

    /// Looks for more where it is time to, and where what there is is used (`own` of it).
    pub(super) fn advance(&mut self, now: Duration, own: u32, limit: u32) {
        if now < self.look_at || own < self.size {
            return;
        }
        if self.size > self.proven {
            // What was added was not refused.
            self.interval = SHORTEST;
            self.step *= 2;
        }
        self.proven = self.size;
        self.size = self.size.saturating_add(self.step);
        self.look_at = now + self.interval;
        if self.proven >= limit {
            *self = Self::whole();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_refusal_leaves_nine_tenths_and_a_failed_search_costs_what_it_added() {
        let mut share = Share::whole();
        share.refused(seconds(0), 200, seconds(1));
        assert_eq!(share.size(), 180);
        share.advance(seconds(5), 180, 300);
        assert_eq!(share.size(), 180, "not before the pause and the interval are over");
        share.advance(seconds(6), 179, 300);
        assert_eq!(share.size(), 180, "not while it isn't used");
        share.advance(seconds(6), 180, 300);
        assert_eq!(share.size(), 181);
        share.refused(seconds(7), 180, seconds(1));
        assert_eq!(share.size(), 180);
        share.advance(seconds(17), 180, 300);
        assert_eq!(share.size(), 180, "the next search comes later");
        share.advance(seconds(18), 180, 300);
        assert_eq!(share.size(), 181);
    }

    #[test]
    fn what_is_free_again_is_found_within_two_minutes() {
        let mut share = Share::whole();
        share.refused(seconds(0), 160, seconds(1));
        let mut now = seconds(0);
        while share.size() < 300 {
            now += seconds(1);
            let own = share.size();
            share.advance(now, own, 300);
        }
        assert!(now < seconds(60), "{now:?}");
        for _ in 0..60 {
            now += seconds(1);
            let own = share.size().min(300);
            share.advance(now, own.max(share.size().min(5000)), 300);
        }
        assert_eq!(share.size(), u32::MAX);
    }
}
