use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::super::budget::Budget;
use super::*;
use crate::didit::{Answer, Class, Effect, Failure, RateHeaders};
use crate::pace::grants::{Grants, RunnerId};

/// A ledger in memory.
#[derive(Debug)]
struct Kept {
    grants: Mutex<Grants>,
    origin: Instant,
    exchanges: AtomicU64,
    is_broken: AtomicU64,
}

impl Kept {
    fn new() -> Arc<Self> {
        let (exchanges, is_broken) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { grants: Mutex::default(), origin: Instant::now(), exchanges, is_broken })
    }
}

impl Bank for Kept {
    fn exchange(&self, ask: Ask) -> Answering<'_> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            if self.is_broken.load(Ordering::Relaxed) > 0 {
                return Err(LedgerError::Missing("ledger.db".into()));
            }
            Ok(self.grants.lock().unwrap().exchange(self.origin.elapsed(), &ask))
        })
    }
}

fn runner(number: u128, limit: u32, bank: &Arc<Kept>) -> Arc<Budget> {
    let purse = Purse::new(RunnerId(Uuid::from_u128(number)), limit, Duration::from_secs(30));
    Arc::new(Budget::shared(purse, Arc::clone(bank) as Arc<dyn Bank>))
}

fn answer(result: Result<(), Failure>, rate: RateHeaders) -> Answer<()> {
    Answer { result, rate, server_date: None, sandbox: false }
}

/// Takes and books requests, each answered after 20 ms; when each left, since `origin`.
async fn send(budget: &Arc<Budget>, count: usize, origin: Instant) -> Vec<Duration> {
    let mut left = Vec::new();
    for _ in 0..count {
        let mut slot = budget.acquire().await;
        slot.is_fit().unwrap();
        slot.leaves();
        left.push(origin.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
        slot.book(&answer(Ok(()), RateHeaders::default()));
    }
    left
}

#[tokio::test(start_paused = true)]
async fn runners_share_each_window_and_use_all_of_it() {
    let bank = Kept::new();
    let origin = Instant::now();
    let (one, two) = (runner(1, 300, &bank), runner(2, 300, &bank));
    let (mut left, others) = tokio::join!(send(&one, 440, origin), send(&two, 440, origin));
    left.extend(others);
    left.sort();
    assert!(left[299] < Duration::from_secs(20), "{:?}", left[299]);
    assert!(left[300] > Duration::from_secs(60), "{:?}", left[300]);
    assert!(left[879] < Duration::from_secs(130), "{:?}", left[879]);
    for (at, later) in left.iter().zip(&left[300..]) {
        assert!(*later > *at + Duration::from_secs(60), "{at:?} {later:?}");
    }
    let exchanges = bank.exchanges.load(Ordering::Relaxed);
    assert!(exchanges < 225, "{exchanges}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_at_the_end_is_given_back() {
    let bank = Kept::new();
    let origin = Instant::now();
    let one = runner(1, 20, &bank);
    send(&one, 5, origin).await;
    one.close().await.unwrap();
    drop(one);
    let began = origin.elapsed();
    let left = send(&runner(2, 20, &bank), 15, origin).await;
    assert!(left[14] < began + Duration::from_secs(5), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_429_of_one_pauses_the_other() {
    let bank = Kept::new();
    let origin = Instant::now();
    let (one, two) = (runner(1, 300, &bank), runner(2, 300, &bank));
    let mut slot = one.acquire().await;
    slot.leaves();
    let failure = Failure { effect: Effect::NotProcessed, ..Failure::here(Class::Throttled, "too many") };
    let rate = RateHeaders { retry_after: Some(Duration::from_secs(20)), limit: Some(60), ..RateHeaders::default() };
    slot.book(&answer(Err(failure), rate));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let left = send(&two, 1, origin).await;
    assert!(left[0] > Duration::from_secs(20), "{left:?}");
    assert_eq!(two.limit(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_slot_is_free_unless_its_request_left() {
    let bank = Kept::new();
    let origin = Instant::now();
    let one = runner(1, 1, &bank);
    drop(one.acquire().await);
    let mut slot = one.acquire().await;
    assert!(origin.elapsed() < Duration::from_secs(1));
    slot.leaves();
    drop(slot);
    let _slot = one.acquire().await;
    assert!(origin.elapsed() > Duration::from_secs(60), "{:?}", origin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_opening_is_told_before_it_comes_and_takes_nothing() {
    let bank = Kept::new();
    let origin = Instant::now();
    let one = runner(1, 2, &bank);
    send(&one, 2, origin).await;
    one.imminent(0, Duration::from_secs(2)).await;
    let told = origin.elapsed().as_secs_f64();
    assert!((57.5..59.0).contains(&told), "{told}");
    let left = send(&one, 1, origin).await[0].as_secs_f64();
    assert!((60.0..60.5).contains(&left), "{left}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_ledger_that_has_failed() {
    let bank = Kept::new();
    bank.is_broken.store(1, Ordering::Relaxed);
    let one = runner(1, 1, &bank);
    let slot = one.acquire().await;
    assert!(slot.is_fit().is_err());
    one.imminent(5, Duration::ZERO).await;
    assert!(one.close().await.is_err());
}

/// A runner that is idle speaks to nobody.
#[tokio::test(start_paused = true)]
async fn an_idle_runner_asks_nothing() {
    let bank = Kept::new();
    let one = runner(1, 300, &bank);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bank.exchanges.load(Ordering::Relaxed), 0);
    send(&one, 1, Instant::now()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(bank.exchanges.load(Ordering::Relaxed) <= 3, "{:?}", bank.exchanges);
}
