//! Stopping: by a signal, from outside; or because going on makes no sense, from inside.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;

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
}

/// Listens for a stop.
pub type Listener = watch::Receiver<Request>;

/// Why a run ended before its work did.
#[derive(Clone, Debug)]
pub enum Halt {
    /// A signal.
    Signal(Condition),
    /// The key was rejected or lacks a privilege.
    Credentials(Failure),
    /// The application can't pay.
    NoCredit(Failure),
    /// The API fails.
    Unavailable(String),
    /// A guard.
    Guard(String),
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
            Self::Signal(condition) => *condition,
            Self::Credentials(_) => Condition::Credentials,
            Self::NoCredit(_) | Self::Guard(_) => Condition::StoppedByGuard,
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
            Self::Credentials(failure) => format!("the API rejects the key: {}", with_advice(failure)),
            Self::NoCredit(failure) => format!("no credit: {}", with_advice(failure)),
            Self::Unavailable(message) | Self::Guard(message) => message.clone(),
            Self::Ledger(error) => format!("{error}; {}", error.help()),
            Self::Internal(message) => format!("internal error: {message}; please report it"),
        }
    }

    /// Whether it ends the whole run, not just the work for one application.
    #[must_use]
    pub fn is_global(&self) -> bool {
        matches!(self, Self::Signal(_) | Self::Guard(_) | Self::Ledger(_) | Self::Internal(_))
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
    /// The condition of the exit, where it asks to stop.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        match self {
            Self::GoOn => None,
            Self::Wind { condition, .. } | Self::Now { condition } => Some(*condition),
        }
    }
}
