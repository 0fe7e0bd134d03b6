//! A lane: one receiving application as one key sees it, with its two budgets. All requests of a run to that
//! application go through its lane, whichever manifest asks for them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use uuid::Uuid;

use super::budget::Budget;
use super::events::Event;
use super::listing::Lists;
use super::means::Means;
use super::send_log::SendLog;
use super::workflows::{ENDLESS, WORKFLOW_PAGES, Workflows};
use crate::didit::{Answer, Class, Client, Decision, Effect, Failure, ListQuery, Unread, clock_skew};
use crate::ledger::LedgerError;
use crate::ledger::records::{BudgetKind, RecentRequests, Requests};
use crate::manifest::{Limits, WorkflowChoice};
use crate::pace::backoff;
use crate::token::{Fingerprint, SessionKind};

/// Reads of the check before the first send, at most: a wrong base URL is found by no more.
const PROBES: u32 = 3;

/// One receiving application as one key sees it.
#[derive(Debug)]
pub struct Lane {
    /// The client.
    pub client: Client,
    /// POST, PATCH and DELETE.
    pub writes: Arc<Budget>,
    /// GET.
    pub reads: Arc<Budget>,
    /// The key's fingerprint.
    pub key: Fingerprint,
    /// The base URL without a trailing slash.
    pub base_url: String,
    /// Limits, the narrowest of the lane's manifests.
    pub limits: Limits,
    in_flight: Semaphore,
    /// Imports that were answered, and whose outcome is being recorded.
    recording: AtomicUsize,
    answered: Notify,
    workflows: Mutex<Option<Arc<Workflows>>>,
    seen: Mutex<HashMap<Uuid, Arc<Decision>>>,
    pub(super) lists: Lists,
    /// The server's clock less ours, as last measured.
    skew_millis: AtomicI64,
    has_written: AtomicBool,
    /// The shortest round trip.
    quickest_micros: AtomicU64,
    means: Means,
    log: SendLog,
}

/// A place among the requests in flight.
#[derive(Debug)]
pub struct Place<'l> {
    _permit: Option<SemaphorePermit<'l>>,
}

/// An outcome that is being recorded, until this is dropped.
#[derive(Debug)]
pub(super) struct Recording<'l> {
    lane: &'l Lane,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.lane.recording.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum CallError {
    /// The API.
    Api(Failure),
    /// The ledger, which notes every request before it leaves.
    Ledger(LedgerError),
}

impl From<LedgerError> for CallError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Lane {
    /// A lane that has sent nothing yet.
    #[must_use]
    pub fn new(client: Client, key: Fingerprint, base_url: String, limits: Limits, means: Means) -> Self {
        let budget = |kind, limit| Arc::new(Budget::of_key(&means, key, kind, limit, limits.timeout));
        Self {
            client,
            writes: budget(BudgetKind::Writes, limits.writes_per_minute),
            reads: budget(BudgetKind::Reads, limits.reads_per_minute),
            key,
            base_url,
            in_flight: Semaphore::new(limits.concurrency as usize),
            recording: AtomicUsize::new(0),
            answered: Notify::new(),
            log: SendLog::new(means.clone(), key).reading(limits.reads_per_minute),
            limits,
            workflows: Mutex::new(None),
            seen: Mutex::new(HashMap::new()),
            lists: Lists::default(),
            skew_millis: AtomicI64::new(0),
            has_written: AtomicBool::new(false),
            quickest_micros: AtomicU64::new(u64::MAX),
            means,
        }
    }

    /// Counts what earlier runs sent with this key in the last minute, so that a run right after another, or after a
    /// crash, is not throttled.
    pub fn recall(&self, recent: &RecentRequests, now: Timestamp) {
        self.has_written.store(!recent.writes.is_empty(), Ordering::Relaxed);
        self.writes.recall(&recent.writes, now);
        self.reads.recall(&recent.reads, now);
    }

    /// Whether this key wrote in the last minute before the run.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.has_written.load(Ordering::Relaxed)
    }

    /// Notes a write other than an import, which is about to leave.
    pub async fn note_write(&self) -> Result<(), LedgerError> {
        self.log.before_write().await
    }

    /// Notes that nothing more leaves, so that the next run knows exactly what did.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.log.close().await?;
        self.writes.close().await?;
        self.reads.close().await
    }

    /// What was sent so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        Requests {
            writes: self.writes.sent(),
            reads: self.reads.sent(),
            throttled: self.writes.throttled() + self.reads.throttled(),
        }
    }

    /// A place among the requests in flight, given back when dropped.
    pub async fn place(&self) -> Place<'_> {
        // Never closed.
        Place { _permit: self.in_flight.acquire().await.ok() }
    }

    /// Notes that an import was answered: its place is free while its outcome is being recorded.
    pub(super) fn recording(&self) -> Recording<'_> {
        self.recording.fetch_add(1, Ordering::Relaxed);
        self.answered.notify_one();
        Recording { lane: self }
    }

    /// How many outcomes are being recorded.
    pub(super) fn recorded_now(&self) -> usize {
        self.recording.load(Ordering::Relaxed)
    }

    /// Waits until an import was answered.
    pub(super) async fn answered(&self) {
        self.answered.notified().await;
    }

    /// Sends one request that has its slot and its place, so that nothing is waited for between its being noted and its
    /// leaving.
    pub async fn send<T>(
        &self,
        mut slot: super::budget::Slot,
        _place: Place<'_>,
        call: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let before = self.means.clock.now();
        slot.leaves();
        let (left, answer) = (Instant::now(), call.await);
        if answer.server_date.is_some() {
            self.quickest_micros.fetch_min(left.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        self.hear(before, answer.server_date);
        if matches!(&answer.result, Err(failure) if failure.class == Class::Throttled) {
            self.means.events.tell(Event::Throttled {
                budget: self.kind_of(&slot),
                pause: answer.rate.retry_after,
                limit: answer.rate.limit,
            });
        }
        slot.book(&answer);
        answer
    }

    fn kind_of(&self, slot: &super::budget::Slot) -> BudgetKind {
        if slot.is_of(&self.writes) { BudgetKind::Writes } else { BudgetKind::Reads }
    }

    /// Reads, within the budget, again after what can pass: at most `sends` times (a 429 spends nothing).
    pub async fn read<T, F>(&self, sends: u32, call: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Answer<T>>,
    {
        let mut failed = 0;
        loop {
            let slot = self.reads.acquire().await;
            slot.is_fit()?;
            let place = self.place().await;
            self.log.before_read().await?;
            let failure = match self.send(slot, place, call()).await.result {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if failure.class == Class::Throttled {
                continue;
            }
            failed += 1;
            match backoff(failed, rand::random()) {
                Some(wait) if can_pass(&failure) && failed < sends => {
                    self.means.events.tell(Event::Retrying {
                        who: None,
                        attempt: failed,
                        class: failure.class,
                        after: wait,
                    });
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(CallError::Api(failure)),
            }
        }
    }

    /// One read that tells whether the key is accepted and may read sessions.
    pub async fn check_key(&self) -> Result<(), CallError> {
        let query = ListQuery { limit: 1, ..ListQuery::new(SessionKind::User) };
        self.read(PROBES, || self.client.sessions(&query)).await.map(drop)
    }

    /// One read of the workflows; where the key may not read them, nothing is judged by them.
    pub async fn load_workflows(&self) -> Result<(), CallError> {
        let mut page = self.read(PROBES, || self.client.workflows()).await?;
        let mut workflows = std::mem::take(&mut page.rows);
        for _ in 1..WORKFLOW_PAGES {
            let Some(next) = page.next.take() else { break };
            page = self.read(PROBES, || self.client.workflows_after(&next)).await?;
            workflows.append(&mut page.rows);
        }
        if page.next.is_some() {
            return Err(CallError::Api(Failure::protocol(200, ENDLESS)));
        }
        *self.workflows.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(Workflows::new(workflows)));
        Ok(())
    }

    /// Why a session of this kind can't be imported with this workflow, as far as the list of workflows tells.
    #[must_use]
    pub fn refuses_workflow(&self, workflow: Uuid, kind: Option<SessionKind>) -> Option<&'static str> {
        self.known_workflows()?.refuses(workflow, kind)
    }

    /// Why no session at all can be imported with this choice of workflows, as far as the list of workflows tells.
    pub fn takes(&self, choice: WorkflowChoice) -> Result<(), &'static str> {
        self.known_workflows().map_or(Ok(()), |known| known.takes(choice))
    }

    /// Whether both ids name one workflow: a manifest may use a version's id where a decision names the group's.
    /// Loads the workflows at first need.
    pub async fn is_same_workflow(&self, one: Uuid, other: Uuid) -> bool {
        if self.known_workflows().is_none() && self.load_workflows().await.is_err() {
            return false;
        }
        self.known_workflows().is_some_and(|known| known.is_same(one, other))
    }

    fn known_workflows(&self) -> Option<Arc<Workflows>> {
        self.workflows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a session's decision says of where it came from; each session is fetched once for all lookups of a run.
    /// `None`: no such session, or not yet.
    pub async fn decision_for_lookup(&self, session: Uuid) -> Result<Option<Arc<Decision>>, CallError> {
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(mut decision) = self.decision(session).await? else { return Ok(None) };
        // Many are kept, and of the rest nothing is looked at.
        decision.keep_only("shared_from_session");
        let decision = Arc::new(decision);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(session, Arc::clone(&decision));
        Ok(Some(decision))
    }

    /// A session's decision, fetched now. `None`: no such session.
    pub async fn decision(&self, session: Uuid) -> Result<Option<Decision>, CallError> {
        self.read(crate::pace::MAX_SENDS, || self.client.decision(session)).await
    }

    /// The same, not read yet.
    pub async fn unread_decision(&self, session: Uuid) -> Result<Option<Unread>, CallError> {
        self.read(crate::pace::MAX_SENDS, || self.client.unread_decision(session)).await
    }

    /// The server's time now: what it said last, and what has passed since by a clock that never jumps. Before the
    /// first answer, ours.
    #[must_use]
    pub fn server_now(&self) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew_millis.load(Ordering::Relaxed));
        let now = self.means.clock.now();
        now.checked_add(skew).unwrap_or(now)
    }

    /// Whether a request that leaves now arrives when this time is past, even if it is as quick as the quickest.
    #[must_use]
    pub fn is_too_late_for(&self, end: Timestamp) -> bool {
        let way = match self.quickest_micros.load(Ordering::Relaxed) {
            u64::MAX => SignedDuration::ZERO,
            round_trip => SignedDuration::from_micros((round_trip / 2) as i64),
        };
        end <= self.server_now().saturating_add(way).unwrap_or(Timestamp::MAX)
    }

    fn hear(&self, before: Timestamp, server: Option<Timestamp>) {
        let Some(server) = server else { return };
        let skew = clock_skew(before, self.means.clock.now(), server);
        self.skew_millis.store(skew.as_millis() as i64, Ordering::Relaxed);
    }
}

/// Whether sending a read again can help.
#[must_use]
pub fn can_pass(failure: &Failure) -> bool {
    // A 3xx or a 404 that is not the API's comes from a wrong base URL, and comes again.
    let is_elsewhere = failure.class == Class::Protocol && matches!(failure.http_status, Some(300..500));
    failure.effect != Effect::Refused
        && !is_elsewhere
        && matches!(failure.class, Class::Server | Class::Network | Class::Timeout | Class::Protocol | Class::Throttled)
}
