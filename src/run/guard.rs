//! The guard of a run: refusals that count against `max_failures`, and the halt that all lanes share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::context::Context;
use super::job::{Done, Finished};
use super::stop::Halt;
use crate::didit::Class;
use crate::ledger::records::RecordedError;
use crate::lifecycle::Settled;
use crate::manifest::MaxFailures;

/// A share is not judged before this many refusals.
const SHARE_FROM: u64 = 20;

/// Counts refusals for each manifest, and tells every lane when the run is to stop.
#[derive(Debug)]
pub struct Guard {
    counts: Mutex<Vec<Count>>,
    halt: Mutex<Option<Halt>>,
    changed: Notify,
}

/// The refusals of one manifest.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// How many it bears.
    pub most: MaxFailures,
    /// Entries to be sent.
    pub to_send: u64,
    /// Refusals so far.
    pub refused: u64,
}

impl Count {
    fn is_over(&self) -> bool {
        match self.most {
            MaxFailures::Count(most) => self.refused > most,
            MaxFailures::Percent(share) => {
                self.refused >= SHARE_FROM && self.refused as f64 * 100.0 > share * self.to_send as f64
            }
        }
    }
}

impl Guard {
    /// A guard with one count for each manifest.
    #[must_use]
    pub fn new(counts: Vec<Count>) -> Self {
        Self { counts: Mutex::new(counts), halt: Mutex::new(None), changed: Notify::new() }
    }

    /// Notes the end of an entry.
    pub fn note(&self, context: &Context, done: &Done) {
        let refused = done.result == Finished::Settled(Settled::Refused);
        // What is refused here, without asking anybody, has no status. The refusal to mint has one.
        let by_server = |error: &RecordedError| error.http_status.is_some() && counts_as_failure(error.class);
        let counts = refused && done.error.as_ref().is_some_and(by_server);
        let Some((manifest, _)) = context.plan.entry(done.item).filter(|_| counts) else { return };
        let over = {
            let mut all = lock(&self.counts);
            let Some(count) = all.get_mut(manifest) else { return };
            count.refused += 1;
            count.is_over().then_some(*count)
        };
        if let Some(count) = over {
            let name = &context.manifests.manifests[manifest].name;
            let Count { refused, to_send, .. } = count;
            self.trip(Halt::Guard(format!(
                "{refused} of {to_send} entries of {name} were refused, more than max_failures allows; nothing more is sent"
            )));
        }
    }

    /// Stops the run.
    pub fn trip(&self, halt: Halt) {
        lock(&self.halt).get_or_insert(halt);
        self.changed.notify_waiters();
    }

    /// Waits until the run is to stop.
    pub async fn tripped(&self) -> Halt {
        loop {
            let changed = self.changed.notified();
            if let Some(halt) = self.halt() {
                return halt;
            }
            changed.await;
        }
    }

    /// Why the run stopped, if it did.
    #[must_use]
    pub fn halt(&self) -> Option<Halt> {
        lock(&self.halt).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refusals by the server that say something about the manifest.
fn counts_as_failure(class: Class) -> bool {
    matches!(
        class,
        Class::SourceGone | Class::TokenInvalid | Class::WrongAudience | Class::WorkflowUnknown | Class::BadRequest
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_judged_at_once_and_a_share_from_twenty_refusals() {
        let count = |most, refused| Count { most, to_send: 1000, refused }.is_over();
        assert!(!count(MaxFailures::Count(0), 0) && count(MaxFailures::Count(0), 1));
        assert!(!count(MaxFailures::Count(3), 3) && count(MaxFailures::Count(3), 4));
        assert!(!count(MaxFailures::Percent(0.0), 19) && count(MaxFailures::Percent(0.0), 20));
        assert!(!count(MaxFailures::Percent(5.0), 50) && count(MaxFailures::Percent(5.0), 51));
    }
}
