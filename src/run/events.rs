//! What a run tells whoever watches: the only contract between the work and its display.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::didit::Class;
use crate::exit::Condition;
use crate::ledger::records::{BudgetKind, RecordedError, RunId};

/// An entry, by the names that people know it by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its manifest.
    pub manifest: Arc<str>,
    /// Its id.
    pub entry: Arc<str>,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A run is on record, and its work begins.
    Began {
        /// Its number.
        run: RunId,
        /// Of which command.
        command: &'static str,
    },
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
    /// An import is on record and leaves.
    Sent {
        /// Whose.
        who: Who,
        /// Which of this run, from 1.
        attempt: u32,
    },
    /// Its answer is there, or will not come.
    Answered {
        /// Whose.
        who: Who,
        /// Which of this run, from 1.
        attempt: u32,
        /// The class of the failure; `None` for a session.
        class: Option<Class>,
        /// How long the request took.
        took: Duration,
    },
    /// The session of an entry with a lost answer was looked for.
    LookedUp {
        /// Whose.
        who: Who,
        /// What that came to.
        evidence: String,
        /// The session, where it was found.
        session: Option<Uuid>,
    },
    /// An entry has its session.
    Imported {
        /// Which.
        who: Who,
        /// Requests sent for it in this run.
        attempts: u32,
        /// The session.
        session: Uuid,
        /// How long they took together.
        took: Duration,
    },
    /// An entry has its session by another run that shares the ledger.
    Elsewhere {
        /// Which.
        who: Who,
        /// The session.
        session: Uuid,
    },
    /// An entry ended without a session.
    Failed {
        /// Which.
        who: Who,
        /// Requests sent for it in this run.
        attempts: u32,
        /// Why.
        error: RecordedError,
        /// How long they took together.
        took: Duration,
    },
    /// A request is tried again after a wait.
    Retrying {
        /// Whose, if it is an entry's.
        who: Option<Who>,
        /// Which attempt failed.
        attempt: u32,
        /// Why.
        class: Class,
        /// How long.
        after: Duration,
    },
    /// The server answered 429.
    Throttled {
        /// Which budget has to wait.
        budget: BudgetKind,
        /// How long it asks everybody to wait.
        pause: Option<Duration>,
        /// The limit that it names, which is learnt.
        limit: Option<u32>,
    },
    /// A session's decision was checked.
    Verified {
        /// Whose.
        who: Who,
        /// Whether there are findings of severity error.
        is_bad: bool,
    },
    /// A guard, a signal or a failure ends the run before its work is done.
    Stopped {
        /// The condition of the exit.
        condition: Condition,
        /// Why.
        message: String,
    },
    /// The run is over, and its end on record.
    Ended {
        /// The run's exit code.
        code: u8,
        /// How long it took.
        took: Duration,
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
