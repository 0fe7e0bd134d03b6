//! Two bars, for importing and for verifying.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::screen::{Screen, Terminal as _};
use super::tally::{Tally, duration};
use crate::console::{Console, Drawing};

/// Where a bar itself has no place.
const NARROW: u16 = 60;

#[derive(Debug)]
pub(super) struct Bars {
    console: Console,
    multi: MultiProgress,
    importing: ProgressBar,
    verifying: ProgressBar,
    /// The columns that the words beside the bars took at most.
    told: AtomicUsize,
}

impl Drawing for Bars {
    fn give_way(&self, write: &mut dyn FnMut()) {
        self.multi.suspend(write);
    }
}

impl Bars {
    /// Bars on stderr; hidden where that is no terminal.
    pub(super) fn new(console: &Console) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::term_like_with_hz(Box::new(Screen::new(console.clone())), 10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let multi = MultiProgress::with_draw_target(target);
        let bar = |prefix: &'static str| multi.add(ProgressBar::new(0).with_prefix(prefix));
        let bars = Self {
            importing: bar("importing"),
            verifying: bar("verifying"),
            multi,
            console: console.clone(),
            told: AtomicUsize::new(0),
        };
        bars.fit();
        bars
    }

    /// Takes the form that fits the terminal as it is now.
    pub(super) fn fit(&self) {
        let form = if self.console.size().0 < NARROW { "{prefix:9} {wide_msg}" } else { "{prefix:9} {wide_bar} {msg}" };
        let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        for bar in [&self.importing, &self.verifying] {
            bar.set_style(style.clone());
        }
    }

    pub(super) fn plan(&self, tally: &Tally) {
        self.importing.set_length(tally.entries);
        self.verifying.set_length(tally.sessions);
        for (bar, length) in [(&self.importing, tally.entries), (&self.verifying, tally.sessions)] {
            if length == 0 {
                bar.finish_and_clear();
            }
        }
    }

    pub(super) fn update(&self, tally: &Tally, elapsed: Duration, rate: f64) {
        self.importing.set_position(tally.imported + tally.failed);
        self.verifying.set_position(tally.verified);
        self.verifying.set_length(tally.sessions);
        let left = match tally.seconds_left(elapsed) {
            0 => String::new(),
            seconds => format!(", about {} left", duration(seconds)),
        };
        let count = |n: u64, what: &str| if n == 0 { String::new() } else { format!(", {n} {what}") };
        let (failed, throttled) = (count(tally.failed, "failed"), count(tally.throttled, "throttled"));
        let (ended, errors) = (tally.imported + tally.failed, count(tally.errors, "with errors"));
        let importing = format!("{ended}/{}, {rate:.0}/s{failed}{left}{throttled}", tally.entries);
        let verifying = format!("{}/{}{errors}", tally.verified, tally.sessions);
        // As long as each other, and never shorter than they were: so the bars stay where they are.
        let longest = importing.len().max(verifying.len());
        let width = self.told.fetch_max(longest, Ordering::Relaxed).max(longest);
        self.importing.set_message(format!("{importing:width$}"));
        self.verifying.set_message(format!("{verifying:width$}"));
    }

    pub(super) fn clear(&self) {
        self.importing.finish_and_clear();
        self.verifying.finish_and_clear();
    }
}
