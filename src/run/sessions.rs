//! The sessions of an audit: how many is known beforehand, and what is to be held against each is read from the ledger
//! while those before it are verified. In memory are some hundreds, and the numbers of the rest.

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

    /// The next one; `None` once there is none to come. Nothing is lost where its future is dropped. Where the ledger can't
    /// be read, nothing more is written to it, either.
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::didit::Class;
    use crate::ledger::records::{NewEntry, Origin, Receiver, RecordedError};
    use crate::ledger::{LedgerFile, Location};
    use crate::verify::{Expectations, Sent, Subject};

    const ALL: u128 = 2 * PART as u128 + 100;

    fn new(number: u128) -> NewEntry {
        NewEntry {
            manifest: "acme".to_owned(),
            label: number.to_string(),
            receiver: Receiver { application_id: None, base_url: String::new(), key: None },
            source_session_id: Some(Uuid::from_u128(number)),
            from_application_id: None,
            session_kind: None,
            place: String::new(),
        }
    }

    fn check(record: Record) -> Check {
        let subject = Subject {
            manifest: record.manifest,
            id: record.label,
            session_id: Uuid::nil(),
            source_session_id: record.source_session_id,
            kind: None,
            sent: Sent::default(),
            import_status: None,
            key_environment: None,
            expect: Expectations::default(),
        };
        Check { entry: record.id, subject, fresh: false, accept: false }
    }

    /// A ledger of some parts and a piece of one, and its entries.
    async fn ledger() -> (Ledger, Vec<EntryId>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = LedgerFile { path: folder.path().join("ledger.db"), allow_network_fs: false };
        let ledger = Ledger::open(&Location::File(file)).unwrap();
        let origin = Origin { actor: "ann@host".to_owned(), reason: None, reference: None };
        let run = ledger.begin_run("apply", origin, Timestamp::UNIX_EPOCH).await.unwrap();
        let error = RecordedError { class: Class::TokenExpired, http_status: None, detail: String::new() };
        ledger.keep_expired((0..ALL).map(new).collect(), run, error).await.unwrap();
        let mut entries: Vec<EntryId> = ledger.records().await.unwrap().iter().map(|record| record.id).collect();
        entries.reverse();
        (ledger, entries, folder)
    }

    #[tokio::test]
    async fn all_come_in_order_part_by_part_and_what_is_left_is_known() {
        let (ledger, entries, _folder) = ledger().await;
        let mut sessions = Sessions::of(&ledger, entries.clone(), Box::new(|record| Some(check(record))));
        let (mut taken, mut left) = (Vec::new(), vec![sessions.left()]);
        while let Some(next) = sessions.next().await {
            taken.push(next.unwrap().entry);
            left.push(sessions.left());
        }
        assert_eq!(taken, entries);
        assert!(left.iter().rev().copied().eq(0..=ALL as u64));
    }

    #[tokio::test]
    async fn what_has_no_session_any_more_is_passed_over_and_what_is_given_up_is_counted() {
        let (ledger, entries, _folder) = ledger().await;
        let odd = |record: Record| Some(check(record)).filter(|check| check.entry.0 % 2 == 1);
        let mut sessions = Sessions::of(&ledger, entries.clone(), Box::new(odd));
        for number in 0..PART {
            assert_eq!(sessions.next().await.unwrap().unwrap().entry, entries[2 * number + 1]);
        }
        assert_eq!((sessions.give_up(), sessions.left(), sessions.give_up()), (100, 0, 0));
        assert!(sessions.next().await.is_none());
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_an_error_and_is_still_left() {
        let (ledger, mut entries, _folder) = ledger().await;
        entries.insert(PART, EntryId(i64::MAX));
        let mut sessions = Sessions::of(&ledger, entries, Box::new(|record| Some(check(record))));
        for _ in 0..PART {
            sessions.next().await.unwrap().unwrap();
        }
        assert!(matches!(sessions.next().await, Some(Err(Halt::Ledger(_)))));
        assert_eq!(sessions.left(), (ALL - PART as u128) as u64 + 1);
        assert!(sessions.next().await.is_none());
    }
}
