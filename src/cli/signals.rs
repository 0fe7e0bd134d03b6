//! SIGINT and SIGTERM (and SIGUSR1, which only asks). Until a command begins what it must not leave half done, the first one ends it, whatever it
//! waits for: a lock, an answer on the terminal, a file. From then on the first asks it to wind down, the second to stop
//! at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::exit::Condition;
use crate::run::{Listener, Request};

/// The process's signals, as one command takes them.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    phase: Arc<Mutex<Phase>>,
    sender: Arc<watch::Sender<Request>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has begun that a signal would leave half done.
    Preparing,
    /// The command listens.
    Working { grace: Duration },
    /// It was ended before it began.
    Over(Condition),
}

/// Where signals arrive.
pub(super) struct Source {
    interrupt: Signal,
    terminate: Signal,
    _asked: Signal,
}

impl Source {
    /// Catches signals from now on. Called within a runtime.
    pub(super) fn new() -> Result<Self, Failure> {
        let cannot =
            |error: std::io::Error| Failure::new(Condition::Internal, format!("signals can't be caught: {error}"));
        Ok(Self {
            // Caught, so that it does not end the program; a run answers it (`progress`).
            _asked: signal(SignalKind::user_defined1()).map_err(cannot)?,
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
        })
    }

    async fn next(&mut self) -> Condition {
        tokio::select! {
            _ = self.interrupt.recv() => Condition::Interrupted,
            _ = self.terminate.recv() => Condition::Terminated,
        }
    }
}

impl Signals {
    pub(super) fn new() -> Self {
        Self { phase: Arc::new(Mutex::new(Phase::Preparing)), sender: Arc::new(watch::channel(Request::GoOn).0) }
    }

    /// From now on signals are the command's own affair. An error if one came before: then nothing may begin.
    pub(super) fn begin(&self, grace: Duration) -> Result<Listener, Failure> {
        let mut phase = self.phase();
        match *phase {
            Phase::Over(condition) => Err(ended(condition)),
            Phase::Preparing | Phase::Working { .. } => {
                *phase = Phase::Working { grace };
                Ok(self.sender.subscribe())
            }
        }
    }

    /// Hands signals on; returns when one ends a command that has not begun.
    pub(super) async fn serve(&self, mut source: Source) -> Failure {
        loop {
            let condition = source.next().await;
            if let Some(failure) = self.take(condition) {
                return failure;
            }
        }
    }

    fn take(&self, condition: Condition) -> Option<Failure> {
        let mut phase = self.phase();
        let Phase::Working { grace } = *phase else {
            *phase = Phase::Over(condition);
            return Some(ended(condition));
        };
        self.sender.send_modify(|request| {
            *request = match request {
                Request::GoOn | Request::TimeUp { .. } => Request::Wind { condition, grace },
                Request::Wind { .. } | Request::Now { .. } => Request::Now { condition },
            };
        });
        None
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // A phase is whole after every write, whoever panicked.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended(condition: Condition) -> Failure {
    let how = if condition == Condition::Terminated { "terminated" } else { "interrupted" };
    Failure::new(condition, format!("{how} before anything was sent or changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_7_a_signal_before_the_beginning_ends_the_command_and_nothing_begins_after_it() {
        let signals = Signals::new();
        let failure = signals.take(Condition::Terminated).unwrap();
        assert_eq!(failure.exit.code(), 143);
        assert_eq!(signals.begin(Duration::ZERO).unwrap_err().exit.code(), 143);
    }

    #[test]
    fn promise_7_the_first_signal_winds_down_and_the_second_stops() {
        let signals = Signals::new();
        let grace = Duration::from_secs(7);
        let stop = signals.begin(grace).unwrap();
        let condition = Condition::Interrupted;
        assert!(signals.take(condition).is_none());
        assert_eq!(*stop.borrow(), Request::Wind { condition, grace });
        for _ in 0..2 {
            assert!(signals.take(condition).is_none());
            assert_eq!(*stop.borrow(), Request::Now { condition });
        }
    }
}
