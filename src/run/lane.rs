//! A lane: one receiving application as one key sees it, with its two budgets. All requests of a run to that
//! application go through its lane, whichever manifest asks for them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Monotonic};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::budget::Budget;
use super::events::{Event, Events};
use crate::didit::{Answer, Class, Client, Decision, Effect, Failure, ListQuery, Workflow};
use crate::ledger::records::{RecentRequests, Requests};
use crate::manifest::Limits;
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
    workflows: Mutex<Option<Arc<Vec<Workflow>>>>,
    seen: Mutex<HashMap<Uuid, Option<Arc<Decision>>>>,
    /// The server's time as it was last told, and when that was.
    heard: Mutex<Option<(Timestamp, Monotonic)>>,
    events: Events,
}

impl Lane {
    /// A lane that has sent nothing yet.
    #[must_use]
    pub fn new(client: Client, key: Fingerprint, base_url: String, limits: Limits, events: Events) -> Self {
        Self {
            client,
            writes: Arc::new(Budget::new(limits.writes_per_minute)),
            reads: Arc::new(Budget::new(limits.reads_per_minute)),
            key,
            base_url,
            in_flight: Semaphore::new(limits.concurrency as usize),
            limits,
            workflows: Mutex::new(None),
            seen: Mutex::new(HashMap::new()),
            heard: Mutex::new(None),
            events,
        }
    }

    /// Counts what earlier runs sent with this key in the last minute, so that a run right after another, or after a
    /// crash, is not throttled.
    pub fn recall(&self, recent: &RecentRequests, now: Timestamp) {
        let ages = |times: &[Timestamp]| -> Vec<Duration> {
            times.iter().map(|at| now.duration_since(*at).try_into().unwrap_or_default()).collect()
        };
        self.writes.recall(ages(&recent.writes));
        self.reads.recall(ages(&recent.reads));
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

    /// Sends one request that already has its slot, when a place among those in flight is free.
    pub async fn send<T>(&self, slot: super::budget::Slot, call: impl Future<Output = Answer<T>>) -> Answer<T> {
        // Never closed.
        let _place = self.in_flight.acquire().await;
        let asked_at = Monotonic::now();
        let answer = call.await;
        self.hear(asked_at, answer.server_date);
        if matches!(&answer.result, Err(failure) if failure.class == Class::Throttled) {
            self.events.tell(Event::Throttled { pause: answer.rate.retry_after });
        }
        slot.book(&answer);
        answer
    }

    /// Reads, within the budget, again after what can pass: at most `sends` times (a 429 spends nothing).
    pub async fn read<T, F>(&self, sends: u32, call: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Answer<T>>,
    {
        let mut failed = 0;
        loop {
            let slot = self.reads.acquire().await;
            let failure = match self.send(slot, call()).await.result {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if failure.class == Class::Throttled {
                continue;
            }
            failed += 1;
            match backoff(failed, rand::random()) {
                Some(wait) if can_pass(&failure) && failed < sends => {
                    self.events.tell(Event::Retrying { class: failure.class, after: wait });
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(failure),
            }
        }
    }

    /// One read that tells whether the key is accepted and may read sessions.
    pub async fn check_key(&self) -> Result<(), Failure> {
        let query = ListQuery { limit: 1, ..ListQuery::new(SessionKind::User) };
        self.read(PROBES, || self.client.sessions(&query)).await.map(drop)
    }

    /// One read of the workflows; where the key may not read them, nothing is judged by them.
    pub async fn load_workflows(&self) -> Result<(), Failure> {
        let workflows = self.read(PROBES, || self.client.workflows()).await?;
        *self.workflows.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(workflows));
        Ok(())
    }

    /// Why a session of this kind can't be imported with this workflow, as far as the list of workflows tells.
    #[must_use]
    pub fn refuses_workflow(&self, workflow: Uuid, kind: Option<SessionKind>) -> Option<&'static str> {
        let known = self.known_workflows()?;
        let Some(found) = known.iter().find(|candidate| candidate.is(workflow)) else {
            return Some("the receiving application has no such workflow");
        };
        if found.archived {
            return Some("the workflow is archived");
        }
        if kind.is_some_and(|kind| !found.kind.takes(kind)) {
            return Some("the workflow is for sessions of the other kind");
        }
        None
    }

    /// Whether both ids name one workflow: a manifest may use a version's id where a decision names the group's.
    /// Loads the workflows at first need.
    pub async fn is_same_workflow(&self, one: Uuid, other: Uuid) -> bool {
        if self.known_workflows().is_none() && self.load_workflows().await.is_err() {
            return false;
        }
        let known = self.known_workflows().unwrap_or_default();
        known.iter().any(|workflow| workflow.is(one) && workflow.is(other))
    }

    fn known_workflows(&self) -> Option<Arc<Vec<Workflow>>> {
        self.workflows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A session's decision; each session is fetched once for all lookups of a run. `None`: no such session.
    pub async fn decision_for_lookup(&self, session: Uuid) -> Result<Option<Arc<Decision>>, Failure> {
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let decision = self.decision(session).await?.map(Arc::new);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(session, decision.clone());
        Ok(decision)
    }

    /// A session's decision, fetched now. `None`: no such session.
    pub async fn decision(&self, session: Uuid) -> Result<Option<Decision>, Failure> {
        self.read(crate::pace::MAX_SENDS, || self.client.decision(session)).await
    }

    /// The server's time now: what it said last, and what has passed since by a clock that never jumps. Before the
    /// first answer, ours.
    #[must_use]
    pub fn server_now(&self) -> Timestamp {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((time, at)) = heard else { return Timestamp::now() };
        SignedDuration::try_from(at.elapsed()).ok().and_then(|since| time.checked_add(since).ok()).unwrap_or(time)
    }

    /// `Date` is cut to seconds, so half a second is added; it was written half-way between sending and answer.
    fn hear(&self, asked_at: Monotonic, server: Option<Timestamp>) {
        let Some(server) = server else { return };
        let told = server.saturating_add(SignedDuration::from_millis(500)).unwrap_or(server);
        let half = asked_at.elapsed() / 2;
        let ours = Timestamp::now().checked_sub(half).unwrap_or(server);
        // What a second's grain explains is no difference of clocks.
        let time = if told.duration_since(ours).abs() <= SignedDuration::from_secs(1) { ours } else { told };
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, asked_at + half));
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
