//! The sessions of an audit: how many is known beforehand, and what is to be held against each is read from the ledger
//! while those before it are verified. Of a million, a few hundred are in memory.

use std::fmt;

use tokio::task::JoinHandle;

use super::stop::Halt;
use super::verifier::Check;
use crate::ledger::records::{EntryId, Record};
use crate::ledger::{Ledger, LedgerError};

/// So many are read at once: a commit waits for no more.
const PART: usize = 500;

/// What is to be verified of an entry; `None` where it has no session by now.
pub type MakeCheck = Box<dyn Fn(Record) -> Option<Check> + Send>;

/// Sessions to verify, in order.
pub struct Sessions {
    ledger: Ledger,
    /// Not read yet.
    entries: std::vec::IntoIter<EntryId>,
    check: MakeCheck,
    /// The next ones, as they are being read.
    reading: Option<JoinHandle<Result<Vec<Record>, LedgerError>>>,
    /// How many of these.
    in_reading: usize,
    ready: std::vec::IntoIter<Record>,
}

impl Sessions {
    /// Those of these entries, which are read from now on, ahead of their verification.
    #[must_use]
    pub fn of(ledger: &Ledger, entries: Vec<EntryId>, check: MakeCheck) -> Self {
        let (entries, ready) = (entries.into_iter(), Vec::new().into_iter());
        let mut sessions = Self { ledger: ledger.clone(), entries, check, reading: None, in_reading: 0, ready };
        sessions.read_on();
        sessions
    }

    /// How many are still to be taken.
    #[must_use]
    pub fn left(&self) -> u64 {
        (self.ready.len() + self.in_reading + self.entries.len()) as u64
    }

    /// The next one; `None` once there is none to come. Nothing is lost where this is given up.
    pub(super) async fn next(&mut self) -> Option<Result<Check, Halt>> {
        loop {
            if let Some(check) = self.ready.by_ref().find_map(&self.check) {
                return Some(Ok(check));
            }
            let read = self.reading.as_mut()?.await;
            self.reading = None;
            match read {
                Ok(Ok(records)) => self.ready = records.into_iter(),
                Ok(Err(error)) => return Some(Err(Halt::Ledger(error))),
                Err(error) => return Some(Err(Halt::lost(&error))),
            }
            self.read_on();
        }
    }

    /// Takes no more; how many were left.
    pub(super) fn give_up(&mut self) -> u64 {
        let left = self.left();
        (self.reading, self.in_reading) = (None, 0);
        (self.entries, self.ready) = (Vec::new().into_iter(), Vec::new().into_iter());
        left
    }

    fn read_on(&mut self) {
        let part: Vec<EntryId> = self.entries.by_ref().take(PART).collect();
        self.in_reading = part.len();
        self.reading = (!part.is_empty()).then(|| {
            let ledger = self.ledger.clone();
            tokio::spawn(async move { ledger.records_of(part).await })
        });
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("left", &self.left()).finish_non_exhaustive()
    }
}
