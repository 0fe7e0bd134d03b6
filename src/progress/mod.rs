//! Progress on stderr: a consumer of a run's events, and the only user of indicatif.
//!
//! On a terminal two bars, for importing and for verifying; elsewhere one plain line at each phase and every 30
//! seconds. SIGUSR1 asks for a line in any case. Events go on to the [`log`].

mod bars;
mod screen;
mod tally;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::bars::Bars;
pub use self::tally::{Tally, duration};
use crate::console::{Console, Level};
use crate::ledger::records::RunId;
use crate::log;
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

/// How often bars move.
const TICK: Duration = Duration::from_millis(200);

/// Events taken at a time.
const AT_ONCE: usize = 256;

/// A pause that is worth a line.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Shows events until [`Event::Finished`] or until their sender is gone.
pub async fn show(mode: Mode, console: Console, mut events: mpsc::UnboundedReceiver<Event>) {
    let mut display = Display::new(mode, console);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = signal(SignalKind::user_defined1()).ok();
    let mut resized = signal(SignalKind::window_change()).ok();
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            count = events.recv_many(&mut heard, AT_ONCE) => {
                let is_over = heard.drain(..).any(|event| display.on(event));
                if is_over || count == 0 {
                    break;
                }
            }
            () = next(&mut asked) => display.tell(),
            () = next(&mut resized) => display.on_resize(),
            _ = tick.tick() => display.on_tick(),
        }
    }
    display.finish();
}

/// Waits for a signal; for ever where it can't be caught.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

struct Display {
    console: Console,
    run: Option<RunId>,
    phase: String,
    began: Instant,
    planned_at: Instant,
    tally: Tally,
    bars: Option<Arc<Bars>>,
    plain: bool,
    last_line: Instant,
    /// The end of the pause that was last told.
    paused_until: Instant,
    /// Times and counts of the last ten seconds, for the rate.
    recent: VecDeque<(Instant, u64)>,
}

impl Display {
    fn new(mode: Mode, console: Console) -> Self {
        let quiet = console.style().quiet;
        let bars = (mode == Mode::Bars && !quiet).then(|| Arc::new(Bars::new(&console)));
        if let Some(bars) = &bars {
            console.set_drawing(Some(Arc::clone(bars) as _));
        }
        Self {
            bars,
            plain: mode == Mode::Plain && !quiet,
            console,
            run: None,
            phase: "preparing".to_owned(),
            began: Instant::now(),
            planned_at: Instant::now(),
            tally: Tally::default(),
            last_line: Instant::now(),
            paused_until: Instant::now(),
            recent: VecDeque::new(),
        }
    }

    /// Takes an event; whether it is the last.
    fn on(&mut self, event: Event) -> bool {
        self.tally.count(&event);
        if let Event::Began { run, .. } = event {
            self.run = Some(run);
        }
        log::record(self.run, &event);
        match event {
            Event::Planned { .. } => {
                self.planned_at = Instant::now();
                if let Some(bars) = &self.bars {
                    bars.plan(&self.tally);
                }
            }
            Event::Phase(words) => {
                if self.plain {
                    self.console.say(Level::Info, &words);
                }
                self.phase = words;
            }
            Event::Throttled { pause: Some(pause), .. }
                if pause >= LONG_PAUSE && self.paused_until <= Instant::now() =>
            {
                self.paused_until = Instant::now() + pause;
                let seconds = duration(pause.as_secs());
                self.console.say(
                    Level::Info,
                    &format!("the server asks for a pause of {seconds} (429); others use this key too"),
                );
            }
            Event::Warning(message) => self.console.say(Level::Warning, &message),
            Event::Finished => return true,
            _ => {}
        }
        false
    }

    /// Says where the run is: somebody asks, so that `-q` is no reason not to.
    fn tell(&self) {
        let run = self.run.map_or_else(String::new, |run| format!("run {} ", run.0));
        let since = duration(self.began.elapsed().as_secs());
        let line = format!("{run}{} for {since}: {}", self.phase, self.tally.line(self.planned_at.elapsed()));
        self.console.answer(&line);
    }

    fn on_resize(&self) {
        if let Some(bars) = &self.bars {
            bars.fit();
            bars.update(&self.tally, self.planned_at.elapsed(), self.rate());
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.recent.push_back((now, self.tally.imported + self.tally.verified));
        while self.recent.front().is_some_and(|(at, _)| now - *at > Duration::from_secs(10)) {
            self.recent.pop_front();
        }
        if let Some(bars) = &self.bars {
            bars.update(&self.tally, self.planned_at.elapsed(), self.rate());
        } else if self.plain && now - self.last_line >= EVERY {
            self.last_line = now;
            self.console.say(Level::Info, &self.tally.line(self.planned_at.elapsed()));
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
            self.console.set_drawing(None);
            bars.clear();
        } else if self.plain && self.tally.entries + self.tally.sessions > 0 {
            self.console.say(Level::Info, &self.tally.line(self.planned_at.elapsed()));
        }
    }
}
