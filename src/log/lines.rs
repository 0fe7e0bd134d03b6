//! From tracing's events to lines: `18:00:00Z manifest/entry: message name=value ...` for people, or one flat JSON
//! object each.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::console::{Console, Level};
use crate::text::inert;

/// Writes each event as a line.
#[derive(Debug)]
pub(super) struct Lines {
    console: Console,
}

impl Lines {
    pub(super) fn new(console: Console) -> Self {
        Self { console }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut facts = Facts::default();
        event.record(&mut facts);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warning,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        self.console.tell(level, &facts.message, &facts.fields, |color| facts.line(level, Timestamp::now(), color));
    }
}

/// An event's message and fields.
#[derive(Debug, Default)]
struct Facts {
    message: String,
    fields: Map<String, Value>,
}

impl Facts {
    fn note(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            value.as_str().unwrap_or_default().clone_into(&mut self.message);
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// For people, who know which run they look at.
    fn line(&self, level: Level, now: Timestamp, color: bool) -> String {
        let mut line = now.strftime("%H:%M:%SZ ").to_string();
        if matches!(level, Level::Error | Level::Warning) {
            let _ = write!(line, "{}: ", level.painted(color));
        }
        if let (Some(manifest), Some(entry)) = (self.text("manifest"), self.text("entry")) {
            let _ = write!(line, "{}/{}: ", inert(manifest), inert(entry));
        }
        line += &inert(&self.message);
        for (name, value) in self.fields.iter().filter(|(name, _)| !matches!(&***name, "run" | "manifest" | "entry")) {
            let value = match value {
                Value::String(text) => inert(text),
                other => other.to_string(),
            };
            let is_plain = !value.is_empty() && !value.contains([' ', '"', '=']);
            let _ = if is_plain { write!(line, " {name}={value}") } else { write!(line, " {name}={value:?}") };
        }
        line + "\n"
    }
}

impl Visit for Facts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }
}
