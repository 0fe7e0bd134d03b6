//! Progress on stderr: a consumer of a run's events, and the only user of indicatif.
//!
//! On a terminal two bars, for importing and for verifying; elsewhere one plain line at each phase and every 30
//! seconds. Time left is computed from the limit, not from the rate so far: a window is used whole as soon as it
//! opens, so the rate of the first second says nothing.

use std::collections::VecDeque;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::console::{Console, Level};
use crate::run::Event;

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Bars.
    Bars,
    /// Plain lines.
    Plain,
    /// Nothing.
    None,
}

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(30);

/// A pause that is worth a line.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Shows events until [`Event::Finished`] or until their sender is gone.
pub async fn show(mode: Mode, console: Console, mut events: mpsc::UnboundedReceiver<Event>) {
    let mut display = Display::new(mode, console);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                None | Some(Event::Finished) => break,
                Some(event) => display.on(event),
            },
            _ = tick.tick() => display.on_tick(),
        }
    }
    display.finish();
}

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
            Event::Imported => self.imported += 1,
            Event::Failed(_) => {
                self.failed += 1;
                self.sessions = self.sessions.saturating_sub(1);
            }
            Event::Verified { errors } => {
                self.verified += 1;
                self.errors += errors;
            }
            Event::Throttled { .. } => self.throttled += 1,
            Event::Phase(_) | Event::Retrying { .. } | Event::Warning(_) | Event::Finished => {}
        }
    }

    /// Seconds left at the limits.
    #[must_use]
    pub fn seconds_left(&self) -> u64 {
        let left = |all: u64, done: u64, per_minute: u32| {
            let windows = all.saturating_sub(done).saturating_sub(1).checked_div(u64::from(per_minute));
            60 * windows.unwrap_or(0)
        };
        left(self.entries, self.imported + self.failed, self.writes_per_minute).max(left(
            self.sessions,
            self.verified,
            self.reads_per_minute,
        ))
    }

    /// One line.
    #[must_use]
    pub fn line(&self) -> String {
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
        match self.seconds_left() {
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

struct Display {
    console: Console,
    tally: Tally,
    bars: Option<Bars>,
    plain: bool,
    last_line: Instant,
    /// The end of the pause that was last told.
    paused_until: Instant,
    /// Times and counts of the last ten seconds, for the rate.
    recent: VecDeque<(Instant, u64)>,
}

struct Bars {
    multi: MultiProgress,
    importing: ProgressBar,
    verifying: ProgressBar,
}

impl Display {
    fn new(mode: Mode, console: Console) -> Self {
        let quiet = console.style().quiet;
        let bars = mode == Mode::Bars && !quiet;
        Self {
            bars: bars.then(Bars::new),
            plain: mode == Mode::Plain && !quiet,
            console,
            tally: Tally::default(),
            last_line: Instant::now(),
            paused_until: Instant::now(),
            recent: VecDeque::new(),
        }
    }

    fn on(&mut self, event: Event) {
        self.tally.count(&event);
        match event {
            Event::Planned { .. } => {
                if let Some(bars) = &self.bars {
                    bars.plan(&self.tally);
                }
            }
            Event::Phase(words) if self.plain => self.say(Level::Info, &words),
            Event::Phase(words) => {
                if let Some(bars) = &self.bars {
                    bars.importing.set_prefix(words);
                }
            }
            Event::Throttled { pause: Some(pause) } if pause >= LONG_PAUSE && self.paused_until <= Instant::now() => {
                self.paused_until = Instant::now() + pause;
                let seconds = duration(pause.as_secs());
                self.say(
                    Level::Info,
                    &format!("the server asks for a pause of {seconds} (429); others use this key too"),
                );
            }
            Event::Warning(message) => self.say(Level::Warning, &message),
            Event::Retrying { class, after } if self.console.style().verbose > 0 => {
                self.say(Level::Info, &format!("{class}: trying again in {:.1} s", after.as_secs_f64()));
            }
            _ => {}
        }
    }

    fn say(&self, level: Level, message: &str) {
        let Some(line) = self.console.line(level, message) else { return };
        match &self.bars {
            None => self.console.err(&line),
            Some(bars) => bars.multi.suspend(|| self.console.err(&line)),
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.recent.push_back((now, self.tally.imported + self.tally.verified));
        while self.recent.front().is_some_and(|(at, _)| now - *at > Duration::from_secs(10)) {
            self.recent.pop_front();
        }
        if let Some(bars) = &self.bars {
            bars.update(&self.tally, self.rate());
        } else if self.plain && now - self.last_line >= EVERY {
            self.last_line = now;
            self.say(Level::Info, &self.tally.line());
        }
    }

    fn rate(&self) -> f64 {
        match (self.recent.front(), self.recent.back()) {
            (Some((from, first)), Some((to, last))) if to > from => (last - first) as f64 / (*to - *from).as_secs_f64(),
            _ => 0.0,
        }
    }

    fn finish(self) {
        if let Some(bars) = self.bars {
            bars.importing.finish_and_clear();
            bars.verifying.finish_and_clear();
        } else if self.plain && self.tally.entries + self.tally.sessions > 0 {
            self.say(Level::Info, &self.tally.line());
        }
    }
}

impl Bars {
    fn new() -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let bar = |prefix: &'static str| multi.add(ProgressBar::new(0).with_style(style()).with_prefix(prefix));
        Self { importing: bar("importing"), verifying: bar("verifying"), multi }
    }

    fn plan(&self, tally: &Tally) {
        self.importing.set_length(tally.entries);
        self.verifying.set_length(tally.sessions);
        for (bar, length) in [(&self.importing, tally.entries), (&self.verifying, tally.sessions)] {
            if length == 0 {
                bar.finish_and_clear();
            }
        }
    }

    fn update(&self, tally: &Tally, rate: f64) {
        self.importing.set_position(tally.imported + tally.failed);
        self.verifying.set_position(tally.verified);
        self.verifying.set_length(tally.sessions);
        let left = match tally.seconds_left() {
            0 => String::new(),
            seconds => format!(", about {} left", duration(seconds)),
        };
        let count = |n: u64, what: &str| if n == 0 { String::new() } else { format!(", {n} {what}") };
        let (failed, throttled) = (count(tally.failed, "failed"), count(tally.throttled, "throttled"));
        self.importing.set_message(format!("{rate:.0}/s{left}{failed}{throttled}"));
        self.verifying.set_message(count(tally.errors, "with errors").trim_start_matches(", ").to_owned());
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:9} {wide_bar} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didit::Class;

    #[test]
    fn a_line_tells_counts_and_the_time_that_the_limit_leaves() {
        let mut tally = Tally::default();
        tally.count(&Event::Planned { entries: 900, sessions: 900, writes_per_minute: 300, reads_per_minute: 600 });
        assert_eq!(tally.line(), "imported 0 of 900; verified 0 of 900; about 2m left");
        for _ in 0..600 {
            tally.count(&Event::Imported);
        }
        tally.count(&Event::Failed(Class::SourceGone));
        tally.count(&Event::Throttled { pause: None });
        for _ in 0..599 {
            tally.count(&Event::Verified { errors: 0 });
        }
        tally.count(&Event::Verified { errors: 1 });
        assert_eq!(
            tally.line(),
            "imported 600 of 900, 1 failed; verified 600 of 899 (1 with errors); throttled 1 times"
        );
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [5, 60, 95, 3600, 86_399].map(duration);
        assert_eq!(shown, ["5s", "1m", "1m 35s", "1h", "23h 59m"]);
    }
}
