//! A budget that is shared by runners through a ledger: [`Purse`]'s decisions on tokio's clock, and the clerk that speaks
//! to the ledger when the purse says so.
//!
//! Senders never wait for the clerk but when the purse is empty, and the clerk is asked by nobody twice: one exchange is
//! under way at a time. Where the ledger fails for good, whoever waits is let go with a slot that is not fit to send
//! with, and meets the same error.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ledger::records::BudgetKind;
use crate::ledger::{Ledger, LedgerError};
use crate::pace::grants::{Ask, Reply};
use crate::pace::{Draw, Purse, Token};
use crate::token::Fingerprint;

/// What a bank answers, later.
pub type Answering<'b> = Pin<Box<dyn Future<Output = Result<Reply, LedgerError>> + Send + 'b>>;

/// Where a shared budget is kept.
pub trait Bank: fmt::Debug + Send + Sync {
    /// Tells it something, and hears its answer: [`Grants::exchange`](crate::pace::grants::Grants::exchange), once and
    /// durably. It fails only for good.
    fn exchange(&self, ask: Ask) -> Answering<'_>;
}

/// A budget that a ledger keeps.
#[derive(Debug)]
pub(super) struct OfLedger {
    pub(super) ledger: Ledger,
    pub(super) key: Fingerprint,
    pub(super) budget: BudgetKind,
}

impl Bank for OfLedger {
    fn exchange(&self, ask: Ask) -> Answering<'_> {
        Box::pin(self.ledger.exchange(self.key, self.budget, ask))
    }
}

/// A budget that is kept elsewhere.
#[derive(Debug)]
pub(super) struct Shared {
    till: Arc<Till>,
    clerk: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.clerk.abort();
    }
}

#[derive(Debug)]
struct Till {
    bank: Arc<dyn Bank>,
    purse: Mutex<Purse>,
    origin: Instant,
    /// For the clerk: something happened that may make an exchange due.
    stirred: Arc<Notify>,
    /// For senders: something may leave.
    changed: Arc<Notify>,
    one_at_a_time: tokio::sync::Mutex<()>,
    failure: OnceLock<LedgerError>,
}

/// What a sender is told.
pub(super) enum Told {
    /// A slot.
    Go(Token),
    /// Not before then.
    Wait(Instant),
    /// Not before something changes.
    WaitForChange,
    /// Never.
    Never,
}

impl Shared {
    /// With a clerk on the current runtime. `changed` is told whenever something may leave.
    pub(super) fn new(purse: Purse, bank: Arc<dyn Bank>, changed: Arc<Notify>) -> Self {
        let till = Arc::new(Till {
            bank,
            purse: Mutex::new(purse),
            origin: Instant::now(),
            stirred: Arc::new(Notify::new()),
            changed,
            one_at_a_time: tokio::sync::Mutex::new(()),
            failure: OnceLock::new(),
        });
        let clerk = tokio::spawn(serve(Arc::downgrade(&till), Arc::clone(&till.stirred)));
        Self { till, clerk }
    }

    /// Counts `count` who wait, until the guard is dropped.
    pub(super) fn waiting(&self, count: u32) -> Waiting<'_> {
        self.till.purse().wait_begins(count);
        self.till.stirred.notify_one();
        Waiting { till: &self.till, count }
    }

    pub(super) fn draw(&self) -> Told {
        if self.till.failure.get().is_some() {
            return Told::Never;
        }
        let draw = self.till.purse().draw(self.till.now());
        self.till.stirred.notify_one();
        match draw {
            Draw::Go(token) => Told::Go(token),
            Draw::Wait(at) => Told::Wait(self.till.origin + at),
            Draw::WaitForWord => Told::WaitForChange,
        }
    }

    /// When more than `ahead` further requests may leave, as far as is known.
    pub(super) fn opens_at(&self, ahead: u32) -> Option<Instant> {
        self.till.purse().opens_at(ahead).map(|at| self.till.origin + at)
    }

    pub(super) fn limit(&self) -> u32 {
        self.till.purse().limit_in_force()
    }

    pub(super) fn failure(&self) -> Option<&LedgerError> {
        self.till.failure.get()
    }

    /// Books what became of a slot.
    pub(super) fn book(&self, book: impl FnOnce(&mut Purse, Duration)) {
        book(&mut self.till.purse(), self.till.now());
        self.till.stirred.notify_one();
    }

    /// Gives back what is held, and tells what is left to tell.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        self.till.purse().rest();
        self.till.exchange_if(Purse::has_to_tell).await;
        self.till.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Somebody who waits.
pub(super) struct Waiting<'s> {
    till: &'s Till,
    count: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.till.purse().wait_ends(self.count, self.till.now());
        self.till.stirred.notify_one();
    }
}

impl Till {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn purse(&self) -> MutexGuard<'_, Purse> {
        // A purse is whole after every call, whoever panicked.
        self.purse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange_if(&self, is_due: impl FnOnce(&Purse) -> bool) {
        let _turn = self.one_at_a_time.lock().await;
        let asked = self.now();
        let ask = {
            let mut purse = self.purse();
            if !is_due(&purse) {
                return;
            }
            purse.ask(asked)
        };
        match self.bank.exchange(ask).await {
            Ok(reply) => self.purse().told(asked, self.now(), reply),
            Err(error) => {
                self.purse().lost(self.now());
                // The first word stands.
                let _ = self.failure.set(error);
            }
        }
        self.changed.notify_waiters();
    }
}

/// The clerk. While it waits it keeps neither purse nor ledger.
async fn serve(till: Weak<Till>, stirred: Arc<Notify>) {
    loop {
        let Some(till) = till.upgrade().filter(|till| till.failure.get().is_none()) else { return };
        let due = till.purse().due(till.now());
        if due.is_some_and(|at| at <= till.now()) {
            till.exchange_if(|_| true).await;
            continue;
        }
        let at = due.map(|at| till.origin + at);
        drop(till);
        match at {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = stirred.notified() => {}
                }
            }
            None => stirred.notified().await,
        }
    }
}

#[cfg(test)]
mod tests;
