//! When failures in a row mean that the API can't be used now.

use super::stop::Halt;
use crate::didit::Class;

/// Failures in a row that end the work.
const MOST: u32 = 20;

/// Counts failures of class `server`, `network`, `timeout` or `protocol` in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streak {
    in_a_row: u32,
    well: bool,
    last: Option<Class>,
}

impl Streak {
    /// Notes a request; the halt, once there are too many failures in a row.
    pub fn note(&mut self, health: Result<(), Class>) -> Option<Halt> {
        match health {
            Ok(()) => {
                self.in_a_row = 0;
                self.well = true;
                None
            }
            Err(class) => {
                self.in_a_row += 1;
                self.last = Some(class);
                (self.in_a_row >= MOST).then(|| Halt::Unavailable(self.message(class)))
            }
        }
    }

    /// Notes an answer of which it isn't known yet whether anything went well.
    pub fn heard(&mut self) {
        self.in_a_row = 0;
    }

    /// Notes that an answer that was heard earlier was good.
    pub fn was_good(&mut self) {
        self.well = true;
    }

    /// What it amounts to when there was less than that to send: unavailable where nothing went well.
    #[must_use]
    pub fn verdict(self) -> Option<String> {
        self.last.filter(|_| !self.well && self.in_a_row > 0).map(|class| self.message(class))
    }

    fn message(self, class: Class) -> String {
        let times = self.in_a_row;
        format!("the API failed {times} times in a row, last with {class} — {}", class.advice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_in_a_row_end_the_work_and_one_success_starts_anew() {
        let mut streak = Streak::default();
        for _ in 0..19 {
            assert!(streak.note(Err(Class::Server)).is_none());
        }
        assert!(streak.verdict().is_some());
        assert!(streak.note(Ok(())).is_none());
        assert!(streak.verdict().is_none());
        for _ in 0..19 {
            assert!(streak.note(Err(Class::Timeout)).is_none());
        }
        assert!(streak.note(Err(Class::Network)).is_some());
    }

    #[test]
    fn an_answer_that_is_not_read_yet_starts_anew_but_is_no_success() {
        let mut streak = Streak::default();
        for _ in 0..40 {
            assert!(streak.note(Err(Class::Protocol)).is_none());
            streak.heard();
        }
        assert!(streak.note(Err(Class::Protocol)).is_none());
        assert!(streak.verdict().is_some());
        streak.was_good();
        assert!(streak.verdict().is_none());
    }
}
