//! A budget that tasks wait on: [`Window`]'s decisions on tokio's clock, or those of a ledger that many runners share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::means::Means;
use super::shared::{Bank, OfLedger, Shared, Told};
use crate::didit::{Answer, Class, Effect};
use crate::ledger::LedgerError;
use crate::ledger::records::BudgetKind;
use crate::pace::grants::RunnerId;
use crate::pace::{Decision, Purse, SPAN, Ticket, Token, Window};
use crate::token::Fingerprint;

/// One budget of one key, shared by all who send on it.
#[derive(Debug)]
pub struct Budget {
    source: Source,
    changed: Arc<Notify>,
    origin: Instant,
    sent: AtomicU64,
    throttled: AtomicU64,
}

/// Where slots come from.
#[derive(Debug)]
enum Source {
    /// A window of this process's own.
    Own(Mutex<Window>),
    /// The window that is kept in a ledger.
    Shared(Shared),
}

/// What a slot was paid with.
#[derive(Debug)]
enum Paid {
    Own(Ticket),
    Shared(Token),
    /// Nothing: the ledger has failed.
    Void,
}

impl Budget {
    /// A budget of `limit` requests in any 60 seconds, which nobody else draws on.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self::of(Source::Own(Mutex::new(Window::new(limit))), Arc::new(Notify::new()))
    }

    /// A budget that runners share. To be made on a runtime, where it speaks to the bank.
    #[must_use]
    pub fn shared(purse: Purse, bank: Arc<dyn Bank>) -> Self {
        let changed = Arc::new(Notify::new());
        Self::of(Source::Shared(Shared::new(purse, bank, Arc::clone(&changed))), changed)
    }

    /// A key's budget: that of the ledger, where runners share it. `timeout` is a request's.
    #[must_use]
    pub fn of_key(means: &Means, key: Fingerprint, budget: BudgetKind, limit: u32, timeout: Duration) -> Self {
        if !means.ledger.is_shared() {
            return Self::new(limit);
        }
        let purse = Purse::new(RunnerId(Uuid::new_v4()), limit, timeout);
        Self::shared(purse, Arc::new(OfLedger { ledger: means.ledger.clone(), key, budget }))
    }

    fn of(source: Source, changed: Arc<Notify>) -> Self {
        Self { source, changed, origin: Instant::now(), sent: AtomicU64::new(0), throttled: AtomicU64::new(0) }
    }

    /// Counts requests that earlier runs sent: by when each had arrived, and what time it is. Where runners share the
    /// budget, the ledger has counted them.
    pub fn recall(&self, arrived: &[Timestamp], time: Timestamp) {
        let Source::Own(window) = &self.source else { return };
        let now = self.now();
        let mut window = whole(window);
        for at in arrived {
            let age = Duration::try_from(time.duration_since(*at)).unwrap_or_default();
            if let Some(left) = SPAN.checked_sub(age) {
                window.recall(now + left);
            }
        }
    }

    /// Whether runners share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.source, Source::Shared(_))
    }

    /// Gives back what this process holds of a shared budget, and tells what it sent.
    pub async fn close(&self) -> Result<(), LedgerError> {
        match &self.source {
            Source::Own(_) => Ok(()),
            Source::Shared(shared) => shared.close().await,
        }
    }

    /// Waits until a request may leave. Dropping the future, or the slot, takes nothing.
    pub async fn acquire(self: &Arc<Self>) -> Slot {
        let paid = match &self.source {
            Source::Own(window) => Paid::Own(self.take(window).await),
            Source::Shared(shared) => self.draw(shared).await,
        };
        Slot { paid: Some(paid), has_left: false, budget: Arc::clone(self) }
    }

    async fn take(&self, window: &Mutex<Window>) -> Ticket {
        loop {
            let changed = self.changed.notified();
            let decision = whole(window).poll(self.now());
            match decision {
                Decision::Go(ticket) => return ticket,
                Decision::Wait(at) => either(self.origin + at, changed).await,
                Decision::WaitForAnswer => changed.await,
            }
        }
    }

    async fn draw(&self, shared: &Shared) -> Paid {
        let mut waiting = None;
        loop {
            let changed = self.changed.notified();
            match shared.draw() {
                Told::Go(token) => return Paid::Shared(token),
                Told::Never => return Paid::Void,
                Told::Wait(at) => {
                    waiting.get_or_insert_with(|| shared.waiting(1));
                    either(at, changed).await;
                }
                Told::WaitForChange => {
                    waiting.get_or_insert_with(|| shared.waiting(1));
                    changed.await;
                }
            }
        }
    }

    /// Waits until more than `ahead` requests may leave within `lead`; takes nothing.
    pub async fn imminent(&self, ahead: u32, lead: Duration) {
        let _waiting = match &self.source {
            Source::Own(_) => None,
            Source::Shared(shared) => Some(shared.waiting(1)),
        };
        loop {
            let changed = self.changed.notified();
            let opens_at = match &self.source {
                Source::Own(window) => whole(window).opens_at(ahead).map(|at| self.origin + at),
                Source::Shared(shared) if shared.failure().is_some() => return,
                Source::Shared(shared) => shared.opens_at(ahead),
            };
            match opens_at.map(|at| at.checked_sub(lead).unwrap_or(self.origin)) {
                Some(at) if at <= Instant::now() => return,
                Some(at) => either(at, changed).await,
                None => changed.await,
            }
        }
    }

    fn book<T>(&self, paid: Paid, answer: &Answer<T>) {
        let fate = match &answer.result {
            Err(failure) if failure.class == Class::Throttled => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                self.throttled.fetch_add(1, Ordering::Relaxed);
                Fate::Refused(answer.rate.retry_after, answer.rate.limit)
            }
            Err(failure) if failure.effect == Effect::NotProcessed => Fate::Unsent,
            _ => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                Fate::Answered
            }
        };
        self.settle(paid, fate);
    }

    fn settle(&self, paid: Paid, fate: Fate) {
        match (&self.source, paid) {
            (Source::Own(window), Paid::Own(ticket)) => {
                let (mut window, now) = (whole(window), self.now());
                match fate {
                    Fate::Unsent => window.unsent(ticket),
                    Fate::Answered => window.answered(ticket, now),
                    Fate::Refused(retry_after, limit) => window.refused(ticket, now, retry_after, limit),
                }
            }
            (Source::Shared(shared), Paid::Shared(token)) => shared.book(|purse, now| match fate {
                Fate::Unsent => purse.unsent(&token),
                Fate::Answered => purse.answered(&token, now),
                Fate::Refused(retry_after, limit) => purse.refused(&token, now, retry_after, limit),
            }),
            // Nothing was paid.
            _ => {}
        }
        self.changed.notify_waiters();
    }

    /// Requests that left.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// 429s met.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> u32 {
        match &self.source {
            Source::Own(window) => whole(window).limit(),
            Source::Shared(shared) => shared.limit(),
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// What became of a slot.
#[derive(Clone, Copy)]
enum Fate {
    Unsent,
    Answered,
    Refused(Option<Duration>, Option<u32>),
}

fn whole(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    // A window is whole after every call, whoever panicked.
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a time, or for what happens earlier.
async fn either(at: Instant, changed: impl Future<Output = ()>) {
    tokio::select! {
        () = tokio::time::sleep_until(at) => {}
        () = changed => {}
    }
}

/// A slot of a budget, given back when dropped before its request left.
#[derive(Debug)]
pub struct Slot {
    paid: Option<Paid>,
    has_left: bool,
    budget: Arc<Budget>,
}

impl Slot {
    /// Whether it is a slot of this budget.
    #[must_use]
    pub fn is_of(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }

    /// Whether a request may leave with it: not where the ledger that keeps the budget has failed.
    pub fn is_fit(&self) -> Result<(), LedgerError> {
        match (&self.budget.source, &self.paid) {
            (Source::Shared(shared), Some(Paid::Void)) => shared.failure().map_or(Ok(()), |error| Err(error.clone())),
            _ => Ok(()),
        }
    }

    /// The request leaves now: dropped from here on, the slot counts as used.
    pub fn leaves(&mut self) {
        self.has_left = true;
    }

    /// Books what became of the request.
    pub fn book<T>(mut self, answer: &Answer<T>) {
        if let Some(paid) = self.paid.take() {
            self.budget.book(paid, answer);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(paid) = self.paid.take() {
            self.budget.settle(paid, if self.has_left { Fate::Answered } else { Fate::Unsent });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes and books a request that is answered at once.
    async fn spend(budget: &Arc<Budget>) {
        let slot = budget.acquire().await;
        slot.book(&Answer {
            result: Ok(()),
            rate: crate::didit::RateHeaders::default(),
            server_date: None,
            sandbox: false,
        });
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_is_told_so_much_earlier_and_not_sooner() {
        let budget = Arc::new(Budget::new(2));
        let lead = Duration::from_secs(2);
        budget.imminent(1, lead).await;
        spend(&budget).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        spend(&budget).await;
        let began = Instant::now();
        let after = |seconds: f64| {
            let elapsed = began.elapsed().as_secs_f64();
            assert!((seconds..seconds + 0.1).contains(&elapsed), "{elapsed} s, not {seconds} s");
        };
        budget.imminent(0, lead).await;
        after(48.0);
        budget.imminent(1, lead).await;
        after(58.0);
        // More than the window holds can't be promised until an answer changes that.
        assert!(tokio::time::timeout(Duration::from_secs(600), budget.imminent(2, lead)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_given_back_wakes_whoever_waits_for_an_opening() {
        let budget = Arc::new(Budget::new(1));
        let slot = budget.acquire().await;
        let waits = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.imminent(0, Duration::ZERO).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(slot);
        waits.await.unwrap();
    }
}
