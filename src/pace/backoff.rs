//! How long to wait before sending again.

use std::time::Duration;

/// How often one entry is sent in a run at most.
pub const MAX_SENDS: u32 = 5;

/// A session that was just made may not be readable at once: the waits before its absence is believed.
pub const PATIENCE: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);

/// The wait before the send that follows `sends` failed ones: 0.5 s doubling to 8 s, of which `jitter` (0 to 1)
/// takes up to a half. `None` once the budget is spent.
#[must_use]
pub fn backoff(sends: u32, jitter: f64) -> Option<Duration> {
    if sends >= MAX_SENDS {
        return None;
    }
    let doublings = sends.saturating_sub(1).min(10);
    let whole = (FIRST * 2_u32.pow(doublings)).min(LONGEST);
    Some(whole.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_doubles_and_ends_with_the_budget() {
        let schedule: Vec<_> = (1..=5).map(|sends| backoff(sends, 0.0).map(|wait| wait.as_millis())).collect();
        assert_eq!(schedule, [Some(500), Some(1000), Some(2000), Some(4000), None]);
    }

    #[test]
    fn jitter_takes_at_most_a_half() {
        assert_eq!(backoff(2, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(backoff(2, 0.5), Some(Duration::from_millis(750)));
    }
}
