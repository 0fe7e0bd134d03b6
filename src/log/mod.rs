//! Logs: what `-v` adds to stderr, by `tracing`.
//!
//! `-v` tells what a run does (level info), `-vv` each request too (debug). The work itself logs nothing: what a
//! [run](crate::run) tells as [`Event`]s is recorded here, where it is consumed. Only the ledger, which no run watches,
//! logs by itself.
//!
//! Lines go through [`Console`]: secrets are masked, foreign text is inert, and bars give way. Libraries' own events
//! are left out, since nobody here knows what they quote.

mod lines;

use tracing::{Subscriber, debug, error, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use self::lines::Lines;
use crate::console::Console;
use crate::didit::Class;
use crate::ledger::records::RunId;
use crate::run::{Event, Who};

/// From now on, what is logged by any thread is written to this console, if `-v` asks for it.
pub fn start(console: &Console) {
    if let Some(subscriber) = subscriber(console) {
        // One program, one command: nobody was there before.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

fn subscriber(console: &Console) -> Option<impl Subscriber + Send + Sync + use<>> {
    let level = match console.style().verbose {
        0 => return None,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    Some(tracing_subscriber::registry().with(Lines::new(console.clone()).with_filter(ours)))
}

/// Records what a run told. Phases and warnings are said in any case, by [`progress`](crate::progress).
pub fn record(run: Option<RunId>, event: &Event) {
    let run = run.map(|run| run.0);
    match event {
        Event::Began { command, .. } => info!(run, command, "run began"),
        Event::Planned { entries, sessions, writes_per_minute, reads_per_minute } => {
            info!(run, entries, sessions, writes_per_minute, reads_per_minute, "work planned");
        }
        Event::Retrying { who, attempt, class, after } => {
            let (manifest, entry) = names(who.as_ref());
            let (class, after_ms) = (class.as_str(), millis(*after));
            info!(run, manifest, entry, attempt, class, after_ms, "trying again after a wait");
        }
        Event::Throttled { budget, pause, limit } => {
            let pause_ms = pause.map(millis);
            warn!(run, class = "throttled", budget = budget.as_str(), pause_ms, limit, "429: all senders pause");
        }
        Event::Stopped { condition, message } => {
            error!(run, condition = condition.name(), "run stopped: {message}");
        }
        Event::Ended { code, took } => info!(run, exit = *code, duration_ms = millis(*took), "run ended"),
        Event::Phase(_) | Event::Warning(_) | Event::Finished => {}
        Event::Sent { .. }
        | Event::Answered { .. }
        | Event::LookedUp { .. }
        | Event::Imported { .. }
        | Event::Elsewhere { .. }
        | Event::Failed { .. }
        | Event::Verified { .. } => record_entry(run, event),
    }
}

/// What is told of one entry.
fn record_entry(run: Option<i64>, event: &Event) {
    match event {
        Event::Sent { who, attempt } => {
            let (manifest, entry) = names(Some(who));
            debug!(run, manifest, entry, attempt, "import sent");
        }
        Event::Answered { who, attempt, class, took } => {
            let (manifest, entry) = names(Some(who));
            let (class, duration_ms) = (class.map(Class::as_str), millis(*took));
            debug!(run, manifest, entry, attempt, class, duration_ms, "import answered");
        }
        Event::LookedUp { who, evidence, session } => {
            let (manifest, entry) = names(Some(who));
            let session_id = session.map(|id| id.to_string());
            info!(run, manifest, entry, session_id, "session looked for: {evidence}");
        }
        Event::Imported { who, attempts, session, took } => {
            let (manifest, entry) = names(Some(who));
            let (session_id, duration_ms) = (tracing::field::display(session), millis(*took));
            info!(run, manifest, entry, attempt = attempts, session_id, duration_ms, "imported");
        }
        Event::Elsewhere { who, session } => {
            let (manifest, entry) = names(Some(who));
            debug!(run, manifest, entry, session_id = %session, "imported by another run");
        }
        Event::Failed { who, attempts, error, took } => {
            let (manifest, entry) = names(Some(who));
            let (class, http_status, duration_ms) = (error.class.as_str(), error.http_status, millis(*took));
            let detail = &error.detail;
            warn!(run, manifest, entry, attempt = attempts, class, http_status, duration_ms, "not imported: {detail}");
        }
        Event::Verified { who, is_bad: true } => {
            let (manifest, entry) = names(Some(who));
            warn!(run, manifest, entry, "verified, with findings of severity error");
        }
        Event::Verified { who, is_bad: false } => {
            let (manifest, entry) = names(Some(who));
            debug!(run, manifest, entry, "verified");
        }
        _ => {}
    }
}

fn names(who: Option<&Who>) -> (Option<&str>, Option<&str>) {
    (who.map(|who| &*who.manifest), who.map(|who| &*who.entry))
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
