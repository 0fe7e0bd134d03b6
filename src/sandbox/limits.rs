//! Rate limits: per key, a sliding window of 60 seconds for writes and another for reads.
//!
//! A request counts from the moment it arrives, and only when it is accepted: a refused one leaves the window as it
//! was. The window is exact: of the accepted requests no 60 seconds hold more than the limit.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::lock;

const WINDOW: Duration = Duration::from_mins(1);
/// Above this many keys, those whose windows are empty are forgotten.
const MANY_KEYS: usize = 256;

/// Which of the two budgets a request is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    Reads,
    Writes,
}

/// How a key stands after a request, as its `X-RateLimit-*` headers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Until the oldest accepted request leaves the window.
    pub(super) reset: Duration,
}

/// What the limits say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no limit.
    Unlimited,
    Accepted(Standing),
    Refused(Standing),
}

/// The windows of all keys.
#[derive(Debug)]
pub(super) struct Limits {
    writes: u32,
    reads: u32,
    keys: Mutex<HashMap<String, [Window; 2]>>,
}

impl Limits {
    pub(super) fn new(writes: u32, reads: u32) -> Self {
        Self { writes, reads, keys: Mutex::default() }
    }

    fn limit(&self, budget: Budget) -> u32 {
        match budget {
            Budget::Reads => self.reads,
            Budget::Writes => self.writes,
        }
    }

    /// Asks for one request, now.
    pub(super) fn admit(&self, key: &str, budget: Budget) -> Verdict {
        let limit = self.limit(budget);
        if limit == 0 {
            return Verdict::Unlimited;
        }
        let mut keys = lock(&self.keys);
        let now = Instant::now();
        if !keys.contains_key(key) {
            if keys.len() >= MANY_KEYS {
                keys.retain(|_, windows| windows.iter_mut().any(|window| !window.is_empty(now)));
            }
            keys.insert(key.to_owned(), <[Window; 2]>::default());
        }
        match keys.get_mut(key) {
            Some(windows) => windows[budget as usize].admit(limit, now),
            None => Verdict::Unlimited,
        }
    }

    /// Takes the last accepted request of a key back, since it was refused after all.
    pub(super) fn refund(&self, key: &str, budget: Budget) {
        if let Some(windows) = lock(&self.keys).get_mut(key) {
            windows[budget as usize].0.pop_back();
        }
    }
}

/// When the accepted requests of the last 60 seconds arrived.
#[derive(Debug, Default)]
struct Window(VecDeque<Instant>);

impl Window {
    fn is_empty(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.0.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|arrived| now.duration_since(*arrived) >= WINDOW) {
            self.0.pop_front();
        }
    }

    fn admit(&mut self, limit: u32, now: Instant) -> Verdict {
        self.forget(now);
        let accepted = self.0.len() < limit as usize;
        if accepted {
            self.0.push_back(now);
        }
        let reset = self.0.front().map_or(WINDOW, |arrived| WINDOW.saturating_sub(now.duration_since(*arrived)));
        let standing = Standing { limit, remaining: limit - self.0.len() as u32, reset };
        if accepted { Verdict::Accepted(standing) } else { Verdict::Refused(standing) }
    }
}

/// Whole seconds, rounded up, at least one.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_window_slides_and_refused_requests_do_not_count() {
        let limits = Limits::new(2, 0);
        let admit = || limits.admit("key", Budget::Writes);
        assert!(matches!(admit(), Verdict::Accepted(Standing { limit: 2, remaining: 1, .. })));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(matches!(admit(), Verdict::Accepted(Standing { remaining: 0, .. })));
        tokio::time::advance(Duration::from_millis(20_500)).await;
        let Verdict::Refused(standing) = admit() else { panic!("the window is full") };
        assert_eq!(whole_seconds(standing.reset), 30);
        for _ in 0..50 {
            assert!(matches!(admit(), Verdict::Refused(_)));
        }
        tokio::time::advance(Duration::from_millis(29_500)).await;
        assert!(matches!(admit(), Verdict::Accepted(_)));
        assert!(matches!(admit(), Verdict::Refused(Standing { reset, .. }) if whole_seconds(reset) == 10));
        assert_eq!(limits.admit("key", Budget::Reads), Verdict::Unlimited);
        assert!(matches!(limits.admit("other", Budget::Writes), Verdict::Accepted(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refund_leaves_the_window_as_it_was() {
        let limits = Limits::new(1, 1);
        assert!(matches!(limits.admit("key", Budget::Reads), Verdict::Accepted(_)));
        limits.refund("key", Budget::Reads);
        assert!(matches!(limits.admit("key", Budget::Reads), Verdict::Accepted(_)));
        assert!(matches!(limits.admit("key", Budget::Reads), Verdict::Refused(_)));
    }

    #[test]
    fn retry_after_is_never_zero() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
    }
}
