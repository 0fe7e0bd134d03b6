//! What was counted so far, and what that says of the time left: computed from the limit, not from the rate so far,
//! since a window is used whole as soon as it opens, so that the rate of the first second says nothing.

use std::time::Duration;

use crate::run::Event;

/// What was counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries to settle.
    pub entries: u64,
    /// Entries with a session.
    pub imported: u64,
    /// Entries that ended without one.
    pub failed: u64,
    /// Sessions to verify.
    pub sessions: u64,
    /// Sessions verified.
    pub verified: u64,
    /// Of them, with findings of severity error.
    pub errors: u64,
    /// 429s met.
    pub throttled: u64,
    /// Writes a minute.
    pub writes_per_minute: u32,
    /// Reads a minute.
    pub reads_per_minute: u32,
}

impl Tally {
    /// Counts an event.
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::Planned { entries, sessions, writes_per_minute, reads_per_minute } => {
                self.entries = *entries;
                self.sessions = *sessions;
                self.writes_per_minute = *writes_per_minute;
                self.reads_per_minute = *reads_per_minute;
            }
            Event::Imported { .. } => self.imported += 1,
            // Another run imported it, and verifies it.
            Event::Elsewhere { .. } => {
                self.entries = self.entries.saturating_sub(1);
                self.sessions = self.sessions.saturating_sub(1);
            }
            Event::Failed { .. } => {
                self.failed += 1;
                self.sessions = self.sessions.saturating_sub(1);
            }
            Event::Verified { is_bad, .. } => {
                self.verified += 1;
                self.errors += u64::from(*is_bad);
            }
            Event::Throttled { .. } => self.throttled += 1,
            _ => {}
        }
    }

    /// Seconds left at the limits, so long after the work was planned: until the window opens that the last request
    /// goes through, and if things go slower, what the windows for the rest take.
    #[must_use]
    pub fn seconds_left(&self, elapsed: Duration) -> u64 {
        let left = |all: u64, done: u64, per_minute: u32| {
            let windows = |requests: u64| 60 * requests.saturating_sub(1).checked_div(per_minute.into()).unwrap_or(0);
            let rest = all.saturating_sub(done);
            if rest == 0 { 0 } else { windows(rest).max(windows(all).saturating_sub(elapsed.as_secs())) }
        };
        left(self.entries, self.imported + self.failed, self.writes_per_minute).max(left(
            self.sessions,
            self.verified,
            self.reads_per_minute,
        ))
    }

    /// One line, so long after the work was planned.
    #[must_use]
    pub fn line(&self, elapsed: Duration) -> String {
        let mut line = String::new();
        if self.entries > 0 {
            line = format!("imported {} of {}", self.imported, self.entries);
            if self.failed > 0 {
                line += &format!(", {} failed", self.failed);
            }
            line += "; ";
        }
        line += &format!("verified {} of {}", self.verified, self.sessions);
        if self.errors > 0 {
            line += &format!(" ({} with errors)", self.errors);
        }
        if self.throttled > 0 {
            line += &format!("; throttled {} times", self.throttled);
        }
        match self.seconds_left(elapsed) {
            0 => line,
            seconds => format!("{line}; about {} left", duration(seconds)),
        }
    }
}

/// `95` → `1m 35s`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didit::Class;
    use crate::ledger::records::{BudgetKind, RecordedError};
    use crate::run::Who;

    fn who() -> Who {
        Who { manifest: "acme".into(), entry: "1".into() }
    }

    #[test]
    fn a_line_tells_counts_and_the_time_that_the_limit_leaves() {
        let mut tally = Tally::default();
        tally.count(&Event::Planned { entries: 900, sessions: 900, writes_per_minute: 300, reads_per_minute: 600 });
        assert_eq!(tally.line(Duration::ZERO), "imported 0 of 900; verified 0 of 900; about 2m left");
        assert_eq!(tally.line(Duration::from_secs(90)), "imported 0 of 900; verified 0 of 900; about 2m left");
        for _ in 0..600 {
            tally.count(&Event::Imported { who: who(), attempts: 1, session: uuid::Uuid::nil(), took: Duration::ZERO });
        }
        let error = RecordedError { class: Class::SourceGone, http_status: None, detail: String::new() };
        tally.count(&Event::Failed { who: who(), attempts: 1, error, took: Duration::ZERO });
        tally.count(&Event::Throttled { budget: BudgetKind::Writes, pause: None, limit: None });
        for _ in 0..599 {
            tally.count(&Event::Verified { who: who(), is_bad: false });
        }
        tally.count(&Event::Verified { who: who(), is_bad: true });
        // The first two windows are used; the third opens two minutes after the first.
        assert_eq!(tally.seconds_left(Duration::from_secs(65)), 55);
        assert_eq!(
            tally.line(Duration::from_secs(120)),
            "imported 600 of 900, 1 failed; verified 600 of 899 (1 with errors); throttled 1 times"
        );
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [5, 60, 95, 3600, 86_399].map(duration);
        assert_eq!(shown, ["5s", "1m", "1m 35s", "1h", "23h 59m"]);
    }
}
