//! What a run tells whoever watches: the only contract between the work and its display.

use std::time::Duration;

use crate::didit::Class;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A phase began, in words for people.
    Phase(String),
    /// The work is known: entries to settle, sessions known so far to verify, and the windows they go through.
    Planned {
        /// Entries to settle.
        entries: u64,
        /// Sessions to verify.
        sessions: u64,
        /// Writes a minute.
        writes_per_minute: u32,
        /// Reads a minute.
        reads_per_minute: u32,
    },
    /// An entry has its session.
    Imported,
    /// An entry ended without a session.
    Failed(Class),
    /// An entry is tried again after a wait.
    Retrying {
        /// Why.
        class: Class,
        /// How long.
        after: Duration,
    },
    /// The server answered 429.
    Throttled {
        /// How long it asks everybody to wait.
        pause: Option<Duration>,
    },
    /// A session's decision was checked; findings of severity error.
    Verified {
        /// How many.
        errors: u64,
    },
    /// Something that people should know, said at once.
    Warning(String),
    /// All is done; the display clears up.
    Finished,
}

/// Where events go. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Events(Option<tokio::sync::mpsc::UnboundedSender<Event>>);

impl Events {
    /// Events to a receiver.
    #[must_use]
    pub fn channel() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// Events to nobody.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Tells.
    pub fn tell(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // Nobody looks any more.
            let _ = sender.send(event);
        }
    }
}
