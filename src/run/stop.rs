//! Stopping: by a signal, from outside; or because going on makes no sense, from inside.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::JoinError;

use super::reviewed::Refusal;
use crate::didit::Failure;
use crate::exit::Condition;
use crate::ledger::LedgerError;

/// What was asked from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// Nothing: go on.
    #[default]
    GoOn,
    /// Send no more; wait for what is in flight, at most this long.
    Wind {
        /// [`Condition::Interrupted`] or [`Condition::Terminated`].
        condition: Condition,
        /// `--grace`.
        grace: Duration,
    },
    /// Stop at once.
    Now {
        /// As above.
        condition: Condition,
    },
    /// The run's time is up: send no more; wait for what is in flight, at most this long.
    TimeUp {
        /// `--max-duration`.
        most: Duration,
        /// `--grace`; none for an audit.
        grace: Duration,
    },
}

/// Listens for a stop.
pub type Listener = watch::Receiver<Request>;

/// Why a run ended before its work did.
#[derive(Clone, Debug)]
pub enum Halt {
    /// A signal.
    Signal(Condition),
    /// A signal before what was seen could be accepted.
    Unaccepted(Condition),
    /// The key was rejected or lacks a privilege.
    Credentials(Failure),
    /// The application can't pay.
    NoCredit(Failure),
    /// The API fails.
    Unavailable(String),
    /// A guard.
    Guard(String),
    /// A saved plan that may not be carried out.
    Plan(Refusal),
    /// `--max-duration` is over, and work is left.
    TimeUp(Duration),
    /// The ledger failed.
    Ledger(LedgerError),
    /// A bug.
    Internal(String),
}

impl Halt {
    /// A task that ended before its work. The message of a panic may quote anything, so it is not told here: that
    /// there was one, and where, is said when it happens.
    pub(super) fn lost(error: &JoinError) -> Self {
        let what = if error.is_panic() { "a worker panicked" } else { "a worker was stopped" };
        Self::Internal(what.to_owned())
    }

    /// The condition of the exit.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self {
            Self::Signal(condition) | Self::Unaccepted(condition) => *condition,
            Self::Credentials(_) => Condition::Credentials,
            Self::NoCredit(_) | Self::Guard(_) | Self::Plan(_) => Condition::StoppedByGuard,
            Self::TimeUp(_) => Condition::Incomplete,
            Self::Unavailable(_) => Condition::Unavailable,
            Self::Ledger(LedgerError::Locked { .. }) => Condition::Locked,
            Self::Ledger(_) => Condition::Ledger,
            Self::Internal(_) => Condition::Internal,
        }
    }

    /// What is said.
    #[must_use]
    pub fn message(&self) -> String {
        let with_advice = |failure: &Failure| format!("{} — {}", failure.detail, failure.class.advice());
        match self {
            Self::Signal(Condition::Terminated) => "terminated; what was in flight is on record".to_owned(),
            Self::Signal(_) => "interrupted; what was in flight is on record".to_owned(),
            Self::Unaccepted(Condition::Terminated) => "terminated; nothing was accepted".to_owned(),
            Self::Unaccepted(_) => "interrupted; nothing was accepted".to_owned(),
            Self::Credentials(failure) => format!("the API rejects the key: {}", with_advice(failure)),
            Self::NoCredit(failure) => format!("no credit: {}", with_advice(failure)),
            Self::Unavailable(message) | Self::Guard(message) => message.clone(),
            Self::Plan(refusal) => refusal.told.clone(),
            Self::TimeUp(most) => {
                format!("its time is up (--max-duration {}), and work is left: run again to go on", told(*most))
            }
            Self::Ledger(error) => format!("{error}; {}", error.help()),
            Self::Internal(message) => format!("internal error: {message}; please report it"),
        }
    }

    /// Whether it is only that the time is up.
    #[must_use]
    pub fn is_time_up(&self) -> bool {
        matches!(self, Self::TimeUp(_))
    }

    /// What of it is kept with the run.
    #[must_use]
    pub fn kept_message(&self) -> String {
        match self {
            Self::Plan(refusal) => refusal.kept.clone(),
            other => other.message(),
        }
    }

    /// Whether it ends the whole run, not just the work for one application.
    #[must_use]
    pub fn is_global(&self) -> bool {
        matches!(
            self,
            Self::Signal(_)
                | Self::Unaccepted(_)
                | Self::Guard(_)
                | Self::Plan(_)
                | Self::Ledger(_)
                | Self::Internal(_)
        )
    }
}

/// Waits for a request that is `wanted`. Waits for ever where nobody is left who could ask.
pub async fn wait_for(listener: &mut Listener, wanted: impl Fn(&Request) -> bool) -> Request {
    let asked = listener.wait_for(wanted).await.map(|request| *request);
    match asked {
        Ok(request) => request,
        Err(_) => std::future::pending().await,
    }
}

impl Request {
    /// Why the run ends, where it asks to stop.
    #[must_use]
    pub fn halt(&self) -> Option<Halt> {
        match self {
            Self::GoOn => None,
            Self::Wind { condition, .. } | Self::Now { condition } => Some(Halt::Signal(*condition)),
            Self::TimeUp { most, .. } => Some(Halt::TimeUp(*most)),
        }
    }

    /// The condition of the exit, where a signal asks to stop.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        match self {
            Self::GoOn | Self::TimeUp { .. } => None,
            Self::Wind { condition, .. } | Self::Now { condition } => Some(*condition),
        }
    }
}

/// `20m`, as it is given.
fn told(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}
