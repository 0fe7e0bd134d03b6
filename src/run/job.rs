//! One step in the life of one entry: token, intent, request, answer, and what [`lifecycle`](crate::lifecycle) says
//! follows. Each step ends with everything that it learnt durably in the ledger.

mod claim;
mod mint;
mod search;
mod unsent;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::budget::Slot;
use super::context::Context;
use super::events::Event;
use super::lane::{CallError, Lane};
#[cfg(debug_assertions)]
use super::points::Point;
use super::stop::Halt;
use crate::didit::{Class, Decision, Effect, Failure, ImportRequest};
use crate::ledger::records::{
    AnswerKind, AttemptId, EntryId, Evidence, Intent, NewEntry, Outcome, RecordedError, Session, Settings, State,
};
use crate::ledger::{LedgerError, Seen};
use crate::lifecycle::{Answer, Next, Settled, Standing, TokenLife};
use crate::manifest::{Entry, Manifest};
use crate::pace::backoff;
use crate::plan::Action;
use crate::token::{Claims, SessionKind, ShareToken};

/// An entry that a run works on.
#[derive(Debug)]
pub struct Job {
    /// Its index among the plan's items.
    pub item: usize,
    /// Its manifest and entry.
    pub at: (usize, usize),
    /// Its row in the ledger.
    pub row: Option<EntryId>,
    /// What the plan saw of that.
    pub seen: Option<Seen>,
    /// No other run works on it.
    pub claimed: bool,
    /// How often another run was found to work on it.
    pub waits: u32,
    /// Its outcome is open: a session may exist whose id is on no record.
    pub open: bool,
    /// The answer to one of its requests was lost. An entry can be open without: the server said that the session
    /// existed before anybody asked here.
    pub lost: bool,
    /// Sends that spent the retry budget.
    pub sends: u32,
    /// Requests sent in this run.
    pub attempts: u32,
    /// How long they took together.
    pub took: Duration,
    /// When the first request of all left.
    pub first_sent_at: Option<Timestamp>,
    /// When its token dies, as far as known.
    pub deadline: Option<Timestamp>,
    /// The kind, as far as known.
    pub kind: Option<SessionKind>,
    /// The settings last sent, for a lookup with a dead token.
    pub sent: Option<Settings>,
    /// The last answer of this run.
    pub last: Option<(Answer, RecordedError)>,
    /// The source session, once it is known.
    pub source: Option<Uuid>,
    /// What its program gave, once that was run.
    pub asked: Option<Result<Option<ShareToken>, String>>,
    /// The token that was minted.
    pub given: Option<ShareToken>,
    /// When that was minted.
    pub minted_at: Option<Instant>,
    /// Attempts to mint it that failed in a row.
    pub mint_sends: u32,
    /// What the ledger was last told, shared with whoever must answer for this job if its task dies.
    pub trace: Arc<Mutex<Trace>>,
}

/// How far a job got, as the ledger knows it.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The ledger's row.
    pub row: Option<EntryId>,
    /// The source session, as that has it.
    pub source: Option<Uuid>,
    /// Requests sent in this run.
    pub attempts: u32,
    /// An intent is on record, and its outcome is not.
    pub under_way: bool,
    /// The session that an answer named, until it is on record.
    pub in_hand: Option<Uuid>,
    /// The state last recorded in this run.
    pub recorded: Option<State>,
}

/// How a job ended.
#[derive(Debug)]
pub struct Done {
    /// The item.
    pub item: usize,
    /// The ledger's row.
    pub row: Option<EntryId>,
    /// How.
    pub result: Finished,
    /// The session.
    pub session: Option<Session>,
    /// The kind, where it was learnt.
    pub kind: Option<SessionKind>,
    /// The source session, where it was learnt.
    pub source: Option<Uuid>,
    /// The settings sent.
    pub sent: Option<Settings>,
    /// Requests sent in this run.
    pub attempts: u32,
    /// How long they took together.
    pub took: Duration,
    /// Why there is no session.
    pub error: Option<RecordedError>,
}

/// How a job ended, in the words of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// With an end of its life.
    Settled(Settled),
    /// With what another run that shares the ledger made of it.
    Elsewhere(State),
    /// No token could be had.
    NeedsToken,
    /// Nothing was sent.
    NotSent,
}

/// What a step leaves.
#[derive(Debug)]
pub enum Step {
    /// The entry is done.
    Done(Done),
    /// It is to be sent again after a wait.
    Again(Duration),
    /// Its token was minted, or its program was run, which took so long: it can be sent.
    Prepared(Duration),
    /// It is done, and its partner can't be used now.
    Down(Done, Halt),
    /// It is done, and going on would only repeat it.
    Stop(Done, Failure),
    /// The ledger failed: nothing more may be promised.
    Ledger(LedgerError),
}

/// A step, and what its request (if any left) says of the API's health: the class of a failure that counts against it.
pub type Stepped = (Step, Option<Result<(), Class>>);

/// What follows from a lookup, what it found, and why.
type Sought = (Next, Option<(Option<Session>, Evidence)>);

/// The token that is to be sent, and what it says.
struct Fresh {
    token: ShareToken,
    claims: Option<Claims>,
}

impl Job {
    /// That of an item, as the plan and the ledger have it. `None` where the item is of no entry.
    #[must_use]
    pub fn begin(context: &Context, item: usize) -> Option<Self> {
        let plan = &context.plan;
        let record = plan.record(item).and_then(|id| context.snapshot.record(id));
        let open = plan.action(item) == Action::Recover;
        let trace = Trace {
            row: record.map(|record| record.id),
            source: record.and_then(|record| record.source_session_id),
            ..Trace::default()
        };
        let unsettled = record.filter(|_| open);
        Some(Self {
            item,
            at: plan.entry(item)?,
            row: record.map(|record| record.id),
            seen: record.map(Seen::from),
            claimed: false,
            waits: 0,
            open,
            lost: unsettled.is_some_and(|record| record.answer_lost),
            sends: 0,
            attempts: 0,
            took: Duration::ZERO,
            first_sent_at: unsettled.and_then(|record| record.first_sent_at),
            deadline: plan.expires_at(item),
            kind: plan.session_kind(item),
            sent: unsettled.map(|record| record.settings.clone()),
            last: None,
            source: plan.source_session(item),
            asked: None,
            given: None,
            minted_at: None,
            mint_sends: 0,
            trace: Arc::new(Mutex::new(trace)),
        })
    }

    /// Takes one step. What few steps come to is boxed: each step's future is moved as a whole.
    pub async fn step(&mut self, context: &Context, lane: &Lane, slot: Slot) -> Stepped {
        match self.try_step(context, lane, slot).await {
            Ok(stepped) => stepped,
            Err(error) => (Step::Ledger(error), None),
        }
    }

    async fn try_step(&mut self, context: &Context, lane: &Lane, slot: Slot) -> Result<Stepped, LedgerError> {
        let (manifest, entry) = context.entry(self.at);
        let fresh = match self.fresh_token(context, entry).await {
            Ok(fresh) => fresh.map(|token| Fresh { claims: token.unverified_claims(), token }),
            Err(_) if self.open => None,
            Err(detail) => {
                let error = RecordedError { class: Class::TokenInvalid, http_status: None, detail };
                return Ok((Step::Done(self.done(Finished::NeedsToken, None, Some(error))), None));
            }
        };
        if self.wants_mint(context, lane) {
            // It died while it waited.
            return Ok((Step::Again(Duration::ZERO), None));
        }
        if let Some(fresh) = &fresh {
            self.learn(fresh.claims.as_ref());
        }
        let life = match &fresh {
            None => TokenLife::Missing,
            Some(fresh) if entry.mint().is_none() && Self::is_dead(fresh, lane) => TokenLife::Dead,
            Some(_) => TokenLife::Lives,
        };
        match self.standing(life).begin() {
            Next::LookUp => {
                drop(slot);
                let next = Box::pin(self.look_up(context, lane, life)).await?;
                Ok((self.follow(context, next).await?, None))
            }
            Next::Send => match fresh {
                Some(fresh) => self.send(context, lane, slot, manifest, entry, fresh).await,
                None => Ok((Step::Done(self.done(Finished::NeedsToken, None, None)), None)),
            },
            Next::AwaitToken => Ok((Step::Done(self.done(Finished::NeedsToken, None, None)), None)),
            _ => Ok((self.expire_unsent(context, lane, manifest, entry).await?, None)),
        }
    }

    /// The token as it is now. What a program or a partner gave is kept for sending again.
    async fn fresh_token(&mut self, context: &Context, entry: &Entry) -> Result<Option<ShareToken>, String> {
        if let Some(asked) = &self.asked {
            return asked.clone();
        }
        if let Some(given) = &self.given {
            return Ok(Some(given.clone()));
        }
        context.fresh_token(entry).await
    }

    fn standing(&self, token: TokenLife) -> Standing {
        Standing { open: self.open, sends: self.sends, token }
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        // A trace is whole after every write, whoever panicked.
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&mut self, claims: Option<&Claims>) {
        self.kind = claims.and_then(|claims| claims.session_kind).or(self.kind);
        self.deadline = claims.and_then(|claims| claims.expires_at).or(self.deadline);
    }

    fn is_dead(fresh: &Fresh, lane: &Lane) -> bool {
        let expires_at = fresh.claims.as_ref().and_then(|claims| claims.expires_at);
        expires_at.is_some_and(|at| lane.is_too_late_for(at))
    }

    async fn send(
        &mut self,
        context: &Context,
        lane: &Lane,
        slot: Slot,
        manifest: &Manifest,
        entry: &Entry,
        fresh: Fresh,
    ) -> Result<Stepped, LedgerError> {
        let settings = match self.settings(lane, manifest, entry, &fresh) {
            Ok(settings) => settings,
            Err(error) if self.open => {
                // What can't be sent any more can still be looked for.
                drop(slot);
                self.last = Some((Answer::Refused(error.class), error));
                let next = Box::pin(self.look_up(context, lane, TokenLife::Lives)).await?;
                return Ok((self.follow(context, next).await?, None));
            }
            Err(error) => return Ok((self.refuse_unsent(context, lane, manifest, entry, error).await?, None)),
        };
        let place = lane.place().await;
        #[cfg(debug_assertions)]
        Point::Intending.pass();
        let attempt = self.intend(context, lane, manifest, entry, &fresh, &settings).await?;
        #[cfg(debug_assertions)]
        Point::Intended.pass();
        let request = ImportRequest {
            token: &fresh.token,
            trust_review: settings.trust_review.unwrap_or(false),
            workflow_id: settings.workflow_id.unwrap_or_default(),
            vendor_data: settings.vendor_data.as_deref(),
        };
        let who = context.who(self.item);
        context.means.events.tell(Event::Sent { who: who.clone(), attempt: self.attempts });
        let left = Instant::now();
        let answer = lane.send(slot, place, lane.client.import_shared(&request)).await;
        let class = answer.result.as_ref().err().map(|failure| failure.class);
        let took = left.elapsed();
        self.took += took;
        context.means.events.tell(Event::Answered { who, attempt: self.attempts, class, took });
        #[cfg(debug_assertions)]
        Point::Answered.pass();
        let health = match &answer.result {
            Err(failure) if failure.class == Class::Throttled => None,
            Err(failure) if is_ill(failure.class) => Some(Err(failure.class)),
            _ => Some(Ok(())),
        };
        let step = match answer.result {
            Ok(decision) => {
                let _recording = lane.recording();
                self.succeed(context, attempt, &decision).await?
            }
            Err(failure) => Box::pin(self.fail(context, lane, attempt, failure)).await?,
        };
        Ok((step, health))
    }

    /// The settings to send, or why they can't be.
    fn settings(
        &self,
        lane: &Lane,
        manifest: &Manifest,
        entry: &Entry,
        fresh: &Fresh,
    ) -> Result<Settings, RecordedError> {
        let refuse = |class, detail: &str| RecordedError { class, http_status: None, detail: detail.to_owned() };
        let claims = fresh.claims.as_ref();
        let audience = claims.and_then(|claims| claims.for_application_id);
        if audience.zip(manifest.application.id).is_some_and(|(token, receiver)| token != receiver) {
            return Err(refuse(Class::WrongAudience, "the token was minted for another application"));
        }
        let names = claims.and_then(|claims| claims.session_id);
        if names.zip(entry.source_session_id).is_some_and(|(token, source)| token != source) {
            return Err(refuse(Class::TokenInvalid, "the token names another session than the entry"));
        }
        let workflow = entry.workflow().and_then(|choice| choice.resolve(self.kind));
        let Some(workflow_id) = workflow else {
            return Err(refuse(Class::BadRequest, "no workflow_id is given for sessions of this kind"));
        };
        if let Some(why) = lane.refuses_workflow(workflow_id, self.kind) {
            return Err(refuse(Class::WorkflowUnknown, why));
        }
        Ok(Settings {
            workflow_id: Some(workflow_id),
            trust_review: entry.trust_review(),
            vendor_data: entry.vendor_data().map(std::borrow::Cow::into_owned),
        })
    }

    async fn intend(
        &mut self,
        context: &Context,
        lane: &Lane,
        manifest: &Manifest,
        entry: &Entry,
        fresh: &Fresh,
        settings: &Settings,
    ) -> Result<AttemptId, LedgerError> {
        let sent_at = lane.server_now();
        let intent = Intent {
            entry: self.row,
            describe: describe(lane, manifest, entry, fresh.claims.as_ref(), self.kind),
            run: context.run,
            sent_at,
            left_at: context.means.clock.now(),
            token: fresh.token.fingerprint(&context.means.ledger.identity().key),
            token_expires_at: fresh.claims.as_ref().and_then(|claims| claims.expires_at),
            settings: settings.clone(),
        };
        let source = intent.describe.source_session_id;
        let (row, attempt) = context.means.ledger.intend(intent).await?;
        self.row = Some(row);
        self.sent = Some(settings.clone());
        self.first_sent_at.get_or_insert(sent_at);
        self.attempts += 1;
        let attempts = self.attempts;
        let mut trace = self.trace();
        (trace.row, trace.attempts, trace.under_way) = (Some(row), attempts, true);
        trace.source = trace.source.or(source);
        trace.recorded = Some(State::Sending);
        drop(trace);
        Ok(attempt)
    }

    async fn succeed(
        &mut self,
        context: &Context,
        attempt: AttemptId,
        decision: &Decision,
    ) -> Result<Step, LedgerError> {
        // The claims' kind stands, so that an answer of another kind is found to be one.
        self.kind = self.kind.or(decision.session_kind);
        self.source = self.source.or(decision.shared_from_session);
        let session = session(decision);
        self.trace().in_hand = Some(session.session_id);
        let done = self.done(Finished::Settled(Settled::Imported), Some(session), None);
        self.settle(context, State::Imported, Some((attempt, AnswerKind::Imported)), &done, None).await?;
        if let Some(source) = decision.shared_from_session {
            context.check_source(self.item, source);
        }
        Ok(Step::Done(done))
    }

    async fn fail(
        &mut self,
        context: &Context,
        lane: &Lane,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<Step, LedgerError> {
        let answer = meaning(&failure);
        let before = self.standing(TokenLife::Lives);
        let after = before.answered(answer);
        let error = recorded(&failure);
        let next = before.after_answer(answer);
        let kind = match failure.effect {
            Effect::NotProcessed => AnswerKind::NotProcessed,
            Effect::Refused => AnswerKind::Refused,
            Effect::Unknown => AnswerKind::Unknown,
        };
        // Until a lookup has decided, an entry counts as open.
        let undecided = after.open || matches!(next, Next::LookUp | Next::CheckKey);
        let state = if undecided { State::Sending } else { State::Refused };
        let done = self.done(Finished::Settled(Settled::Refused), None, Some(error.clone()));
        self.settle(context, state, Some((attempt, kind)), &done, None).await?;
        self.open = after.open;
        self.lost |= kind == AnswerKind::Unknown;
        self.sends = after.sends;
        self.last = Some((answer, error));
        let next = match next {
            Next::LookUp => self.look_up(context, lane, TokenLife::Lives).await?,
            Next::CheckKey => match lane.check_key().await {
                Ok(()) => self.look_up(context, lane, TokenLife::Lives).await?,
                Err(CallError::Ledger(error)) => return Err(error),
                Err(CallError::Api(failure)) if failure.class == Class::Credentials => {
                    (Next::Stop(if self.open { Settled::Unknown } else { Settled::Refused }), None)
                }
                Err(CallError::Api(_)) => (Next::Settle(Settled::Unknown), None),
            },
            decided => (decided, None),
        };
        match self.follow(context, next).await? {
            Step::Stop(done, _) => Ok(Step::Stop(done, failure)),
            step => Ok(step),
        }
    }

    /// Carries out what follows, recording it.
    async fn follow(&mut self, context: &Context, (next, found): Sought) -> Result<Step, LedgerError> {
        let (settled, stops) = match next {
            Next::Send | Next::SendWhenOpen => return Ok(Step::Again(self.wait(context, next))),
            Next::Settle(settled) => (settled, false),
            Next::Stop(settled) => (settled, true),
            Next::LookUp | Next::CheckKey | Next::AwaitToken => (Settled::Unknown, false),
        };
        let (session, evidence) = found.map_or((None, None), |(session, evidence)| (session, Some(evidence)));
        if let Some(evidence) = &evidence {
            let (who, session) = (context.who(self.item), evidence.session_id);
            context.means.events.tell(Event::LookedUp { who, evidence: evidence.detail.clone(), session });
        }
        let session = session.filter(|_| settled == Settled::Recovered);
        let error = match settled {
            Settled::Imported | Settled::Recovered => None,
            Settled::Unknown => Some(self.unknown_error(evidence.as_ref())),
            Settled::Expired | Settled::Refused => Some(self.last.as_ref().map_or_else(expired, |(_, e)| e.clone())),
        };
        let done = self.done(Finished::Settled(settled), session, error);
        let recorded = self.trace().recorded;
        if evidence.is_some() || recorded != Some(state(settled)) {
            self.settle(context, state(settled), None, &done, evidence).await?;
        }
        Ok(if stops { Step::Stop(done, self.last_failure()) } else { Step::Done(done) })
    }

    fn wait(&self, context: &Context, next: Next) -> Duration {
        if next == Next::SendWhenOpen {
            return Duration::ZERO;
        }
        let after = backoff(self.sends, rand::random()).unwrap_or_default();
        if let Some((_, error)) = &self.last {
            let who = Some(context.who(self.item));
            context.means.events.tell(Event::Retrying { who, attempt: self.attempts, class: error.class, after });
        }
        after
    }

    fn unknown_error(&self, evidence: Option<&Evidence>) -> RecordedError {
        let class = self.last.as_ref().map_or(Class::Network, |(_, error)| error.class);
        let http_status = self.last.as_ref().and_then(|(_, error)| error.http_status);
        let said = self.last.as_ref().map_or("a request of an earlier run has no outcome", |(_, e)| e.detail.as_str());
        let in_hand = self.trace().in_hand;
        let detail = match (in_hand, evidence) {
            (Some(session), _) => format!("session {session} was imported, but could not be recorded"),
            (None, Some(evidence)) => format!("{said}; {}", evidence.detail),
            (None, None) => said.to_owned(),
        };
        RecordedError { class, http_status, detail }
    }

    fn last_failure(&self) -> Failure {
        let error = self.last.as_ref().map_or_else(expired, |(_, error)| error.clone());
        Failure {
            class: error.class,
            http_status: error.http_status,
            detail: error.detail,
            effect: Effect::Refused,
            recognised: true,
        }
    }

    /// The end of a job that was not worked on to its end.
    pub fn left_over(&self) -> Done {
        let under_way = self.trace().under_way;
        // What another run works on is for that to tell.
        let is_ours = self.claimed || self.waits == 0;
        if (self.open && is_ours) || under_way {
            let error = Some(self.unknown_error(None));
            return self.done(Finished::Settled(Settled::Unknown), None, error);
        }
        self.done(Finished::NotSent, None, self.last.as_ref().map(|(_, error)| error.clone()))
    }

    fn done(&self, result: Finished, session: Option<Session>, error: Option<RecordedError>) -> Done {
        let (item, row, attempts) = (self.item, self.row, self.attempts);
        let (kind, source) = (self.kind, self.source);
        Done { item, row, result, session, kind, source, sent: self.sent.clone(), attempts, took: self.took, error }
    }

    /// Records where the entry stands; when this returns, it is durable.
    async fn settle(
        &self,
        context: &Context,
        state: State,
        attempt: Option<(AttemptId, AnswerKind)>,
        done: &Done,
        evidence: Option<Evidence>,
    ) -> Result<(), LedgerError> {
        let Some(entry) = self.row else { return Ok(()) };
        let on_record = self.trace().source;
        let outcome = Outcome {
            entry,
            run: context.run,
            at: context.means.clock.now(),
            attempt,
            state,
            session: done.session.clone(),
            source_session_id: self.source.filter(|_| on_record.is_none()),
            session_kind: self.kind,
            error: done.error.clone(),
            evidence,
        };
        context.means.ledger.settle(outcome).await?;
        #[cfg(debug_assertions)]
        Point::Settled.pass();
        let mut trace = self.trace();
        (trace.under_way, trace.in_hand, trace.recorded) = (false, None, Some(state));
        Ok(())
    }
}

fn state(settled: Settled) -> State {
    match settled {
        Settled::Imported | Settled::Recovered => State::Imported,
        Settled::Refused => State::Refused,
        Settled::Expired => State::Expired,
        Settled::Unknown => State::Unknown,
    }
}

/// The error of an entry whose token died.
pub(super) fn expired() -> RecordedError {
    RecordedError { class: Class::TokenExpired, http_status: None, detail: "the token has expired".to_owned() }
}

/// The error of an entry that an earlier run left open.
pub(super) fn still_open() -> RecordedError {
    RecordedError {
        class: Class::Network,
        http_status: None,
        detail: "a request of an earlier run has no outcome".to_owned(),
    }
}

fn describe(
    lane: &Lane,
    manifest: &Manifest,
    entry: &Entry,
    claims: Option<&Claims>,
    kind: Option<SessionKind>,
) -> NewEntry {
    let mut receiver = crate::plan::receiver(manifest, entry);
    receiver.application_id = receiver.application_id.or_else(|| claims?.for_application_id);
    receiver.key = Some(lane.key);
    NewEntry {
        manifest: manifest.name.clone(),
        label: entry.label().to_string(),
        receiver,
        source_session_id: entry.source_session_id.or_else(|| claims?.session_id),
        from_application_id: claims.filter(|it| it.session_id.is_some()).and_then(|it| it.from_application_id),
        session_kind: kind,
        place: entry.place.to_string(),
    }
}

fn session(decision: &Decision) -> Session {
    Session {
        session_id: decision.session_id,
        session_number: decision.session_number,
        session_url: decision.session_url.clone(),
        status: decision.status.as_ref().map(ToString::to_string),
    }
}

fn recorded(failure: &Failure) -> RecordedError {
    RecordedError { class: failure.class, http_status: failure.http_status, detail: failure.detail.clone() }
}

fn meaning(failure: &Failure) -> Answer {
    match failure.effect {
        Effect::NotProcessed => Answer::NotProcessed(failure.class),
        Effect::Unknown => Answer::Unknown(failure.class),
        Effect::Refused if failure.class == Class::Credentials && !failure.recognised => Answer::Unexplained,
        Effect::Refused => Answer::Refused(failure.class),
    }
}

/// Whether failures of this class, in a row, mean that the API can't be used now.
pub(super) fn is_ill(class: Class) -> bool {
    matches!(class, Class::Server | Class::Network | Class::Timeout | Class::Protocol)
}
