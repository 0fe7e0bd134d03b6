//! Minting: tokens made by the tool itself, where a partner's application belongs to the same group.
//!
//! A token is minted when its entry's turn is near (the dispatcher decides that) and is sent at once, so that its
//! lifetime never matters and both budgets, the partner's and the receiver's, are used side by side. It lives in
//! memory only: in the job that waits to send it.
//!
//! Minting twice is harmless, so what may pass is tried again here, and nothing is recorded beforehand. A partner's
//! first token is minted alone: a key that may not is found by one request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::budget::Budget;
use super::events::{Event, Events};
use super::job::is_ill;
use super::lane::can_pass;
use super::stop::Halt;
use super::unhealthy::Streak;
use crate::didit::{Class, Client, Failure, ShareRequest};
use crate::ledger::records::{RecentRequests, Requests};
use crate::manifest::{Entry, Manifest};
use crate::pace::{MAX_SENDS, backoff};
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
    proven: tokio::sync::Mutex<bool>,
    streak: Mutex<Streak>,
    down: Mutex<Option<Halt>>,
    events: Events,
}

impl Partner {
    /// A partner that has minted nothing yet.
    #[must_use]
    pub fn new(client: Client, key: Fingerprint, base_url: String, writes_per_minute: u32, events: Events) -> Self {
        Self {
            client,
            key,
            base_url,
            writes: Arc::new(Budget::new(writes_per_minute)),
            is_shared: false,
            proven: tokio::sync::Mutex::new(false),
            streak: Mutex::default(),
            down: Mutex::default(),
            events,
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
            let age = |at: &Timestamp| -> Duration { now.duration_since(*at).try_into().unwrap_or_default() };
            self.writes.recall(recent.writes.iter().map(age));
        }
    }

    /// Mints a token: waits for the budget, and tries again what may pass, at most [`MAX_SENDS`] times (a 429 spends
    /// nothing). Dropping the future is harmless.
    pub async fn mint(&self, request: &ShareRequest) -> Result<ShareToken, Failure> {
        let mut proven = self.proven.lock().await;
        if !*proven {
            let minted = self.try_mint(request).await;
            *proven = !matches!(&minted, Err(failure) if failure.class == Class::Credentials);
            return minted;
        }
        drop(proven);
        self.try_mint(request).await
    }

    async fn try_mint(&self, request: &ShareRequest) -> Result<ShareToken, Failure> {
        let mut failed = 0;
        loop {
            let slot = self.writes.acquire().await;
            let answer = self.client.share(request).await;
            slot.book(&answer);
            let failure = match answer.result {
                Ok(token) => {
                    self.note(Ok(()));
                    return Ok(token);
                }
                Err(failure) if failure.class == Class::Throttled => {
                    self.events.tell(Event::Throttled { pause: answer.rate.retry_after });
                    continue;
                }
                Err(failure) => failure,
            };
            self.note(if is_ill(failure.class) { Err(failure.class) } else { Ok(()) });
            failed += 1;
            let wait = backoff(failed, rand::random()).filter(|_| failed < MAX_SENDS && can_pass(&failure));
            match wait.filter(|_| self.down().is_none()) {
                Some(after) => {
                    self.events.tell(Event::Retrying { class: failure.class, after });
                    tokio::time::sleep(after).await;
                }
                None => return Err(failure),
            }
        }
    }

    fn note(&self, health: Result<(), Class>) {
        // Both are whole after every call, whoever panicked.
        if let Some(halt) = self.streak.lock().unwrap_or_else(PoisonError::into_inner).note(health) {
            self.down.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(halt);
        }
    }

    /// Why nothing more can be minted, once too much failed in a row.
    fn down(&self) -> Option<Halt> {
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
        self.all.iter().map(|partner| partner.requests()).fold(Requests::default(), super::sum)
    }

    /// Mints a token for an entry whose tokens are minted.
    pub async fn mint(&self, manifest: &Manifest, entry: &Entry) -> Result<ShareToken, Failure> {
        let Some(mint) = entry.mint() else {
            return Err(Failure::here(Class::BadRequest, "nothing says how its token is minted"));
        };
        let Some((partner, for_application_id)) = self.get(manifest, &mint.partner).zip(manifest.application.id) else {
            return Err(Failure::here(Class::BadRequest, "the partner or application.id is missing"));
        };
        let request = ShareRequest { session_id: mint.session_id, for_application_id, ttl: Some(mint.ttl) };
        partner.mint(&request).await.map_err(|failure| {
            let detail = format!("minting by partner {}: {}", mint.partner, failure.detail);
            Failure { detail, ..failure }
        })
    }

    /// Why the entry's partner can't be used any more.
    #[must_use]
    pub fn down(&self, manifest: &Manifest, entry: &Entry) -> Option<Halt> {
        self.get(manifest, &entry.mint()?.partner)?.down()
    }

    /// What fewer failures than that amount to, where nothing was minted at all.
    #[must_use]
    pub fn verdict(&self) -> Option<String> {
        self.all.iter().find_map(|partner| partner.verdict())
    }

    fn get(&self, manifest: &Manifest, name: &str) -> Option<&Arc<Partner>> {
        self.named.get(&(manifest.name.clone(), name.to_owned())).map(|index| &self.all[*index])
    }
}
