//! A budget that tasks wait on: [`Window`]'s decisions on tokio's clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::didit::{Answer, Class, Effect};
use crate::pace::{Decision, SPAN, Ticket, Window};

/// One budget of one key, shared by all who send on it.
#[derive(Debug)]
pub struct Budget {
    window: Mutex<Window>,
    changed: Notify,
    origin: Instant,
    sent: AtomicU64,
    throttled: AtomicU64,
}

impl Budget {
    /// A budget of `limit` requests in any 60 seconds.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            window: Mutex::new(Window::new(limit)),
            changed: Notify::new(),
            origin: Instant::now(),
            sent: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        }
    }

    /// Counts requests that earlier runs sent: by when each had arrived, and what time it is.
    pub fn recall(&self, arrived: &[Timestamp], time: Timestamp) {
        let now = self.now();
        let mut window = self.window();
        for at in arrived {
            let age = Duration::try_from(time.duration_since(*at)).unwrap_or_default();
            if let Some(left) = SPAN.checked_sub(age) {
                window.recall(now + left);
            }
        }
    }

    /// Waits until a request may leave. Dropping the future, or the slot, takes nothing.
    pub async fn acquire(self: &Arc<Self>) -> Slot {
        loop {
            let changed = self.changed.notified();
            let decision = self.window().poll(self.now());
            match decision {
                Decision::Go(ticket) => return Slot { ticket: Some(ticket), budget: Arc::clone(self) },
                Decision::Wait(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(self.origin + at) => {}
                        () = changed => {}
                    }
                }
                Decision::WaitForAnswer => changed.await,
            }
        }
    }

    /// Waits until more than `ahead` requests may leave within `lead`; takes nothing.
    pub async fn imminent(&self, ahead: u32, lead: Duration) {
        loop {
            let changed = self.changed.notified();
            let opens_at = self.window().opens_at(ahead);
            match opens_at.map(|at| at.saturating_sub(lead)) {
                Some(at) if at <= self.now() => return,
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(self.origin + at) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    fn book<T>(&self, ticket: Ticket, answer: &Answer<T>) {
        let now = self.now();
        match &answer.result {
            Err(failure) if failure.class == Class::Throttled => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                self.throttled.fetch_add(1, Ordering::Relaxed);
                self.window().refused(ticket, now, answer.rate.retry_after, answer.rate.limit);
            }
            Err(failure) if failure.effect == Effect::NotProcessed => self.window().unsent(ticket),
            _ => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                self.window().answered(ticket, now);
            }
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
        self.window().limit()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // A window is whole after every call, whoever panicked.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot of a budget, given back when dropped unbooked.
#[derive(Debug)]
pub struct Slot {
    ticket: Option<Ticket>,
    budget: Arc<Budget>,
}

impl Slot {
    /// Whether it is a slot of this budget.
    #[must_use]
    pub fn is_of(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }

    /// Books what became of the request.
    pub fn book<T>(mut self, answer: &Answer<T>) {
        if let Some(ticket) = self.ticket.take() {
            self.budget.book(ticket, answer);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.budget.window().unsent(ticket);
            self.budget.changed.notify_waiters();
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
