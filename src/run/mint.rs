//! Minting: tokens made by the tool itself, where a partner's application belongs to the same group.
//!
//! A token is minted when its entry's turn is near (the dispatcher decides that) and is sent at once, so that its
//! lifetime never matters and both budgets, the partner's and the receiver's, are used side by side. It lives in
//! memory only: in the job that waits to send it.
//!
//! Minting twice is harmless, so what may pass is tried again, and nothing is recorded beforehand. A partner's first
//! token is minted alone: a key that may not is found by one request.

use std::collections::HashMap;
use std::future::Future as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::{Budget, Slot};
use super::events::Event;
use super::job::is_ill;
use super::lane::CallError;
use super::means::Means;
use super::send_log::SendLog;
use super::stop::Halt;
use super::unhealthy::Streak;
use crate::didit::{Class, Client, Failure, ShareRequest};
use crate::ledger::LedgerError;
use crate::ledger::records::{BudgetKind, RecentRequests, Requests};
use crate::manifest::{Entry, Manifest};
use crate::token::{Fingerprint, ShareToken};

/// A source application as one key sees it.
#[derive(Debug)]
pub struct Partner {
    client: Client,
    /// The key's fingerprint.
    pub key: Fingerprint,
    /// The base URL without a trailing slash.
    pub base_url: String,
    /// What it sends goes through this budget: its own, or that of the lane that receives with the same key.
    pub writes: Arc<Budget>,
    /// Whether a lane has the same key, and counts for both.
    is_shared: bool,
    /// Whether the key is known to mint.
    proven: AtomicBool,
    /// Until it is, one mints at a time.
    first: Arc<Semaphore>,
    streak: Mutex<Streak>,
    down: Mutex<Option<Halt>>,
    means: Means,
    log: SendLog,
}

impl Partner {
    /// A partner that has minted nothing yet.
    #[must_use]
    pub fn new(
        client: Client,
        key: Fingerprint,
        base_url: String,
        writes_per_minute: u32,
        timeout: Duration,
        means: Means,
    ) -> Self {
        Self {
            client,
            key,
            base_url,
            writes: Arc::new(Budget::of_key(&means, key, BudgetKind::Writes, writes_per_minute, timeout)),
            is_shared: false,
            proven: AtomicBool::new(false),
            first: Arc::new(Semaphore::new(1)),
            streak: Mutex::default(),
            down: Mutex::default(),
            log: SendLog::new(means.clone(), key),
            means,
        }
    }

    /// Uses the budget of a lane with the same key.
    #[must_use]
    pub fn sharing(self, budget: &Arc<Budget>) -> Self {
        Self { writes: Arc::clone(budget), is_shared: true, ..self }
    }

    /// Counts what earlier runs sent with this key in the last minute.
    pub fn recall(&self, recent: &RecentRequests, now: Timestamp) {
        if !self.is_shared {
            self.writes.recall(&recent.writes, now);
        }
    }

    /// Notes that nothing more leaves.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        if self.is_shared { Ok(()) } else { self.writes.close().await }
    }

    /// Waits until a token may be minted. Dropping the future, or the turn, takes nothing.
    pub async fn turn(&self) -> Turn {
        let alone = if self.is_proven() { None } else { Arc::clone(&self.first).acquire_owned().await.ok() };
        let alone = alone.filter(|_| !self.is_proven());
        Turn { slot: self.writes.acquire().await, alone }
    }

    fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// Mints a token. Dropping the future is harmless.
    async fn mint(&self, mut slot: Slot, request: &ShareRequest) -> Result<ShareToken, CallError> {
        slot.is_fit()?;
        self.log.before_write().await?;
        slot.leaves();
        let answer = self.client.share(request).await;
        let class = answer.result.as_ref().err().map(|failure| failure.class);
        if class == Some(Class::Throttled) {
            self.means.events.tell(Event::Throttled {
                budget: BudgetKind::Writes,
                pause: answer.rate.retry_after,
                limit: answer.rate.limit,
            });
        } else {
            self.note(class.filter(|class| is_ill(*class)).map_or(Ok(()), Err));
        }
        if !matches!(class, Some(Class::Credentials | Class::Throttled)) {
            self.proven.store(true, Ordering::Release);
        }
        slot.book(&answer);
        answer.result.map_err(CallError::Api)
    }

    fn note(&self, health: Result<(), Class>) {
        // Both are whole after every call, whoever panicked.
        if let Some(halt) = self.streak.lock().unwrap_or_else(PoisonError::into_inner).note(health) {
            self.down.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(halt);
        }
    }

    /// Why nothing more can be minted, once too much failed in a row.
    #[must_use]
    pub fn down(&self) -> Option<Halt> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn verdict(&self) -> Option<String> {
        self.streak.lock().unwrap_or_else(PoisonError::into_inner).verdict()
    }

    fn requests(&self) -> Requests {
        if self.is_shared {
            return Requests::default();
        }
        Requests { writes: self.writes.sent(), reads: 0, throttled: self.writes.throttled() }
    }
}

/// Leave to mint one token.
#[derive(Debug)]
pub struct Turn {
    /// A slot of the partner's budget.
    pub slot: Slot,
    /// As long as the key is not known to mint, nobody else's turn comes before this is dropped.
    pub alone: Option<OwnedSemaphorePermit>,
}

/// Waits for the turn of one of these partners; gives its index, too.
pub async fn turn_of_one<'p>(partners: impl Iterator<Item = (usize, &'p Arc<Partner>)>) -> (usize, Turn) {
    let mut turns: Vec<_> =
        partners.map(|(index, partner)| Box::pin(async move { (index, partner.turn().await) })).collect();
    std::future::poll_fn(|context| {
        let ready = turns.iter_mut().find_map(|turn| match turn.as_mut().poll(context) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The partners of a run. Manifests that name one key by several names, or in several manifests, share its budget.
#[derive(Clone, Debug, Default)]
pub struct Partners {
    all: Vec<Arc<Partner>>,
    /// By the names of the manifest and of the partner in it.
    named: HashMap<(String, String), usize>,
}

impl Partners {
    /// Makes a partner known under its name in a manifest.
    pub fn add(&mut self, manifest: &Manifest, name: &str, partner: Partner) {
        let same = |known: &Arc<Partner>| known.key == partner.key && known.base_url == partner.base_url;
        let index = self.all.iter().position(same).unwrap_or_else(|| {
            self.all.push(Arc::new(partner));
            self.all.len() - 1
        });
        self.named.insert((manifest.name.clone(), name.to_owned()), index);
    }

    /// Every partner, once.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.all.iter()
    }

    /// What was sent so far, but for what lanes count.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.all.iter().map(|partner| partner.requests()).sum()
    }

    /// The partner of an entry whose tokens are minted.
    #[must_use]
    pub fn of(&self, manifest: &Manifest, entry: &Entry) -> Option<&Arc<Partner>> {
        let name = (manifest.name.clone(), entry.mint()?.partner.clone());
        self.named.get(&name).map(|index| &self.all[*index])
    }

    /// Mints a token for an entry of this partner.
    pub async fn mint(
        manifest: &Manifest,
        entry: &Entry,
        partner: &Partner,
        slot: Slot,
    ) -> Result<ShareToken, CallError> {
        let Some((mint, for_application_id)) = entry.mint().zip(manifest.application.id) else {
            let why = "nothing says for which application its token is minted";
            return Err(CallError::Api(Failure::here(Class::BadRequest, why)));
        };
        let request = ShareRequest { session_id: mint.session_id, for_application_id, ttl: Some(mint.ttl) };
        partner.mint(slot, &request).await.map_err(|error| match error {
            CallError::Api(failure) => {
                let detail = format!("minting by partner {}: {}", mint.partner, failure.detail);
                CallError::Api(Failure { detail, ..failure })
            }
            error @ CallError::Ledger(_) => error,
        })
    }

    /// What fewer failures than that amount to, where nothing was minted at all.
    #[must_use]
    pub fn verdict(&self) -> Option<String> {
        self.all.iter().find_map(|partner| partner.verdict())
    }
}
