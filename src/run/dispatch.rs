//! The dispatcher: the one owner of a lane's run state.
//!
//! It takes jobs in order of token expiry, launches a step for each as the write budget opens, and handles what steps
//! report; steps own nothing but their job. A job that waits (a backoff) waits here, holding neither a slot nor a
//! place among those in flight.

mod queue;
mod unclaimed;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use self::queue::{Queued, Waiting, next};
use self::unclaimed::Unclaimed;
use super::budget::Slot;
use super::context::Context;
use super::ended::End;
use super::events::Event;
use super::guard::Guard;
use super::job::{Done, Finished, Job, Step, Stepped, Trace, is_ill};
use super::lane::{CallError, Lane};
use super::mint::{Partner, Turn, turn_of_one};
use super::stop::{Halt, Listener, Request, wait_for};
use super::unhealthy::Streak;
use super::verifier::Check;
use crate::didit::{Class, Failure};
use crate::ledger::records::RecordedError;
use crate::lifecycle::Settled;
use crate::pace::SPAN;

/// How long before its slot opens a token is minted, or had from its program: longer than that usually takes.
const LEAD: Duration = Duration::from_secs(2);
/// What a slow program can stretch that to.
const LONGEST_LEAD: Duration = Duration::from_secs(20);

/// How a lane ended.
#[derive(Debug)]
pub struct LaneEnd {
    /// The end of every entry, done or left over.
    pub ended: Vec<End>,
    /// Why it ended early.
    pub halt: Option<Halt>,
}

/// The dispatcher of one lane.
#[derive(Debug)]
pub struct Dispatcher {
    context: Arc<Context>,
    lane: Arc<Lane>,
    guard: Arc<Guard>,
    /// Where new sessions go to be verified; `None` with `--no-verify`.
    verify: Option<mpsc::UnboundedSender<Check>>,
    /// Entries that another run may be at work on.
    unclaimed: Unclaimed,
    /// Entries that can be sent.
    ready: BinaryHeap<Queued>,
    /// Those whose token is to be minted, when their turn is near.
    unminted: Vec<(Arc<Partner>, BinaryHeap<Queued>)>,
    /// Those whose token a program gives, which is run when their turn is near.
    unasked: BinaryHeap<Queued>,
    /// How long before its slot opens a program is run: as long as the slowest took.
    lead: Duration,
    /// Those whose token was minted or given by a program. They go first.
    minted: BinaryHeap<Queued>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    steps: JoinSet<(Box<Job>, Stepped)>,
    /// Mintings and programs under way. Nothing is lost when one is given up.
    mints: JoinSet<MintStep>,
    running: HashMap<Id, Running>,
    ended: Vec<End>,
    streak: Streak,
    halt: Option<Halt>,
    give_up_at: Option<Instant>,
    /// Whether something in flight was given up.
    given_up: bool,
    /// The last request to stop that was carried out.
    handled: Request,
    /// Whether a first write is over, in this run or in the last minute: it goes out alone, so that a key that may not
    /// write is found by one request.
    tried: bool,
}

impl Dispatcher {
    /// A dispatcher of these items, whose jobs are made as their turns come.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        lane: Arc<Lane>,
        guard: Arc<Guard>,
        verify: Option<mpsc::UnboundedSender<Check>>,
        items: Vec<u32>,
    ) -> Self {
        let mut dispatcher = Self {
            context,
            guard,
            verify,
            unclaimed: Unclaimed::default(),
            ready: BinaryHeap::new(),
            unminted: Vec::new(),
            unasked: BinaryHeap::new(),
            lead: LEAD,
            minted: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            steps: JoinSet::new(),
            mints: JoinSet::new(),
            running: HashMap::new(),
            ended: Vec::new(),
            streak: Streak::default(),
            halt: None,
            give_up_at: None,
            given_up: false,
            handled: Request::GoOn,
            tried: lane.has_written(),
            lane,
        };
        for item in items {
            dispatcher.enqueue_fresh(item as usize);
        }
        dispatcher
    }

    /// An entry whose job is not begun: it goes where [`Self::enqueue`] would put that.
    fn enqueue_fresh(&mut self, item: usize) {
        let Some(at) = self.context.plan.entry(item) else { return };
        let queued = Queued::fresh(&self.context, item);
        let (partner, wants_program) = (self.context.partner(at).map(Arc::clone), self.context.has_program(at));
        if self.context.means.ledger.is_shared() {
            return self.unclaimed.push(queued, partner.is_some() || wants_program);
        }
        match partner {
            Some(partner) => self.push_unminted(&partner, queued),
            None if wants_program => self.unasked.push(queued),
            None => self.ready.push(queued),
        }
    }

    fn enqueue(&mut self, job: Box<Job>) {
        let wants_mint = job.wants_mint(&self.context, &self.lane);
        let wants_program = job.wants_program(&self.context);
        if self.is_unclaimed(&job) {
            return self.unclaimed.push(job.into(), wants_mint || wants_program);
        }
        if wants_mint {
            return self.enqueue_unminted(job);
        }
        let queue = if job.is_prepared() {
            &mut self.minted
        } else if wants_program {
            &mut self.unasked
        } else {
            &mut self.ready
        };
        queue.push(job.into());
    }

    fn enqueue_unminted(&mut self, job: Box<Job>) {
        match self.context.partner(job.at).map(Arc::clone) {
            Some(partner) => self.push_unminted(&partner, job.into()),
            None => self.ready.push(job.into()),
        }
    }

    fn push_unminted(&mut self, partner: &Arc<Partner>, queued: Queued) {
        match self.unminted.iter_mut().find(|(known, _)| Arc::ptr_eq(known, partner)) {
            Some((_, queue)) => queue.push(queued),
            None => self.unminted.push((Arc::clone(partner), BinaryHeap::from([queued]))),
        }
    }

    /// Works until everything is done, or until it is stopped.
    pub async fn run(mut self, mut stop: Listener) -> LaneEnd {
        self.probe(&mut stop).await;
        while !self.is_finished() {
            self.wake_due();
            self.claim_ahead();
            if self.halt.is_some() {
                self.mints.abort_all();
            }
            let ahead = self.ahead();
            let (may_mint, may_ask) = (self.may_mint(ahead), self.may_ask(ahead));
            let may_launch = self.may_launch();
            let next_due = self.next_due();
            let handled = self.handled;
            tokio::select! {
                biased;
                asked = wait_for(&mut stop, |asked| *asked != handled) => self.on_request(asked),
                Some(stepped) = self.steps.join_next_with_id(), if !self.steps.is_empty() => {
                    self.tried = true;
                    self.on_step(stepped);
                    // One commit ends many.
                    while let Some(stepped) = self.steps.try_join_next_with_id() {
                        self.on_step(stepped);
                    }
                }
                Some(looked) = self.unclaimed.looked(), if self.unclaimed.is_looking() => self.on_looked(looked),
                Some(minted) = self.mints.join_next_with_id(), if !self.mints.is_empty() => self.on_minted(minted),
                halt = self.guard.tripped(), if self.halt.is_none() => self.halt = Some(halt),
                slot = self.lane.writes.acquire(), if may_launch => self.launch(slot),
                () = self.lane.answered(), if self.is_full() => {}
                () = self.lane.writes.imminent(ahead as u32, self.lead), if may_ask => self.launch_program(),
                (at, turn) = minting_turn(&self.lane, &self.unminted, ahead), if may_mint => self.launch_mint(at, turn),
                () = tokio::time::sleep_until(next_due.unwrap_or_else(far)), if next_due.is_some() => self.on_time(),
            }
        }
        self.end()
    }

    /// The two reads before the first send.
    async fn probe(&mut self, stop: &mut Listener) {
        let lane = Arc::clone(&self.lane);
        self.halt = tokio::select! {
            probed = check_lane(&lane) => match probed {
                Ok(None) => None,
                Ok(Some(warning)) => { self.context.means.events.tell(Event::Warning(warning)); None }
                Err(halt) => Some(halt),
            },
            asked = wait_for(stop, |request| *request != Request::GoOn) => asked.halt(),
        };
    }

    fn is_finished(&self) -> bool {
        let idle = self.sendable() + self.to_prepare() + self.unclaimed.len() == 0 && self.waiting.is_empty();
        let is_busy = !self.steps.is_empty() || !self.mints.is_empty() || self.unclaimed.is_looking();
        !is_busy && (idle || self.halt.is_some())
    }

    fn width(&self) -> usize {
        if self.tried { self.lane.limits.concurrency as usize } else { 1 }
    }

    fn may_launch(&self) -> bool {
        self.halt.is_none() && self.sendable() > 0 && !self.is_full()
    }

    /// Whether there are as many steps as may be. Those that only record an outcome hold up no request: the disk is
    /// waited for, and the next requests are on their way.
    fn is_full(&self) -> bool {
        let width = self.width();
        let recording = if self.tried { self.lane.recorded_now().min(width) } else { 0 };
        self.steps.len() >= width + recording
    }

    fn sendable(&self) -> usize {
        self.minted.len() + self.ready.len()
    }

    fn to_mint(&self) -> usize {
        self.unminted.iter().map(|(_, queue)| queue.len()).sum()
    }

    fn to_prepare(&self) -> usize {
        self.to_mint() + self.unasked.len()
    }

    /// How many of the slots that are about to open are spoken for.
    fn ahead(&self) -> usize {
        let others = if self.must_mint_now() { 0 } else { self.ready.len() };
        self.mints.len() + self.minted.len() + others
    }

    /// Whether a partner's budget is what takes longest, so that it may not lie idle while entries with tokens go
    /// first; unless one of their tokens might then die.
    fn must_mint_now(&self) -> bool {
        let Some(first) = self.ready.peek() else { return false };
        let all = self.sendable() + self.to_prepare() + self.unclaimed.len();
        let (all, limit) = (all as u64, u64::from(self.lane.writes.limit()));
        let takes_longest = self
            .unminted
            .iter()
            .any(|(partner, queue)| queue.len() as u64 * limit > all * u64::from(partner.writes.limit()));
        let end = SPAN * u32::try_from(all / limit + 1).unwrap_or(u32::MAX);
        let in_time = |deadline: Timestamp| self.lane.server_now().checked_add(end).is_ok_and(|end| end < deadline);
        takes_longest && first.deadline().is_none_or(in_time)
    }

    /// A token is minted when the slots that are about to open are more than what is to go through them, so that it is
    /// sent at once.
    fn may_mint(&self, ahead: usize) -> bool {
        self.to_mint() > 0 && self.may_prepare(ahead)
    }

    /// The same for a program.
    fn may_ask(&self, ahead: usize) -> bool {
        !self.unasked.is_empty() && self.may_prepare(ahead)
    }

    fn may_prepare(&self, ahead: usize) -> bool {
        let others = if self.tried { 0 } else { self.steps.len() };
        self.halt.is_none() && ahead + others < self.width()
    }

    fn launch(&mut self, slot: Slot) {
        let context = &self.context;
        let Some(mut job) = next(&mut self.minted, context).or_else(|| next(&mut self.ready, context)) else { return };
        if job.wants_mint(&self.context, &self.lane) {
            // It died while it waited.
            return self.enqueue_unminted(job);
        }
        let running = Running::of(&job);
        let (context, lane) = (Arc::clone(&self.context), Arc::clone(&self.lane));
        // In its place from the beginning: the runtime moves a task several times until it runs.
        let step = Box::pin(async move {
            let stepped = job.step(&context, &lane, slot).await;
            (job, stepped)
        });
        let handle = self.steps.spawn(step);
        self.running.insert(handle.id(), running);
    }

    fn launch_mint(&mut self, at: usize, turn: Turn) {
        let Some((partner, queue)) = self.unminted.get_mut(at) else { return };
        let Some(mut job) = next(queue, &self.context) else { return };
        let partner = Arc::clone(partner);
        let running = Running::of(&job);
        let (context, lane) = (Arc::clone(&self.context), Arc::clone(&self.lane));
        let handle = self.mints.spawn(async move {
            let stepped = job.mint(&context, &lane, &partner, turn.slot).await;
            ((job, stepped), turn.alone)
        });
        self.running.insert(handle.id(), running);
    }

    /// Runs a program while others wait for their slots, so that no slot waits for it.
    fn launch_program(&mut self) {
        let Some(mut job) = next(&mut self.unasked, &self.context) else { return };
        let running = Running::of(&job);
        let context = Arc::clone(&self.context);
        let handle = self.mints.spawn(async move {
            let took = job.ask_program(&context).await;
            ((job, (Step::Prepared(took), None)), None)
        });
        self.running.insert(handle.id(), running);
    }

    fn on_minted(&mut self, minted: Result<(Id, MintStep), JoinError>) {
        // Until it is judged whether the key may mint at all, the next has to wait.
        let (stepped, _alone) = match minted {
            Ok((id, (stepped, alone))) => (Ok((id, stepped)), alone),
            Err(error) => (Err(error), None),
        };
        self.on_step(stepped);
    }

    fn on_step(&mut self, stepped: Result<(Id, (Box<Job>, Stepped)), JoinError>) {
        let (job, (step, health)) = match stepped {
            Ok((id, stepped)) => {
                self.running.remove(&id);
                stepped
            }
            Err(error) => return self.on_lost(&error),
        };
        if let Some(halt) = health.and_then(|health| self.streak.note(health)) {
            self.stop(halt);
        }
        match step {
            Step::Again(after) if after.is_zero() => self.enqueue(job),
            Step::Prepared(took) => {
                self.lead = self.lead.max(took * 2).min(LONGEST_LEAD);
                self.minted.push(job.into());
            }
            Step::Down(done, halt) => {
                self.finish(done);
                self.stop(halt);
            }
            Step::Again(after) => self.waiting.push(Reverse(Waiting { due: Instant::now() + after, job })),
            Step::Done(done) => self.finish(done),
            Step::Stop(done, failure) => {
                self.finish(done);
                self.stop(refused(failure));
            }
            Step::Ledger(error) => {
                self.end_of(job.left_over());
                self.stop(Halt::Ledger(error));
            }
        }
    }

    /// A step that was aborted when its time was up, or that panicked: what its trace leaves open may have been
    /// processed.
    fn on_lost(&mut self, error: &JoinError) {
        if let Some(Running { mut done, open, trace }) = self.running.remove(&error.id()) {
            let trace = trace.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (done.row, done.attempts) = (trace.row.or(done.row), trace.attempts);
            if open || trace.under_way {
                let detail = match trace.in_hand {
                    Some(session) => format!("session {session} was imported, but could not be recorded"),
                    None => "the run ended before the answer arrived".to_owned(),
                };
                done.result = Finished::Settled(Settled::Unknown);
                done.error = Some(RecordedError { class: Class::Network, http_status: None, detail });
            }
            self.end_of(done);
        }
        if error.is_panic() {
            self.stop(Halt::lost(error));
        }
    }

    fn finish(&mut self, done: Done) {
        self.guard.note(&self.context, &done);
        let (events, who) = (&self.context.means.events, self.context.who(done.item));
        let (attempts, took) = (done.attempts, done.took);
        match (&done.session, &done.error) {
            (Some(session), _) if matches!(done.result, Finished::Elsewhere(_)) => {
                // Whoever imported it verifies it.
                events.tell(Event::Elsewhere { who, session: session.session_id });
            }
            (Some(session), _) => {
                events.tell(Event::Imported { who, attempts, session: session.session_id, took });
                if let Some(verify) = &self.verify
                    && let Some(check) = super::check_of(&self.context, &self.lane, &done)
                {
                    // Verification has ended early; the next audit looks at this session.
                    let _ = verify.send(check);
                }
            }
            (None, Some(error)) => events.tell(Event::Failed { who, attempts, error: error.clone(), took }),
            (None, None) => {}
        }
        self.end_of(done);
    }

    fn end_of(&mut self, done: Done) {
        self.ended.push(End::of(done, &self.context.plan));
    }

    fn stop(&mut self, halt: Halt) {
        if halt.is_global() {
            self.guard.trip(halt.clone());
        }
        // A failure while the last answers are waited for tells more than that the time is up.
        if self.halt.as_ref().is_none_or(Halt::is_time_up) {
            self.halt = Some(halt);
        }
    }

    fn on_request(&mut self, request: Request) {
        self.handled = request;
        match request {
            Request::GoOn => {}
            Request::Wind { grace, .. } => {
                self.halt = request.halt();
                self.give_up_at = Some(Instant::now() + grace);
            }
            Request::TimeUp { grace, .. } => {
                self.halt = self.halt.take().or(request.halt());
                self.give_up_at.get_or_insert(Instant::now() + grace);
            }
            Request::Now { .. } => {
                self.halt = request.halt();
                self.steps.abort_all();
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if self.halt.is_some() {
            return self.give_up_at;
        }
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    fn on_time(&mut self) {
        if self.halt.is_some() {
            self.given_up |= !self.steps.is_empty();
            self.steps.abort_all();
            self.give_up_at = Some(far());
        }
    }

    fn wake_due(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse(waiting)| waiting.due <= now) {
            if let Some(Reverse(waiting)) = self.waiting.pop() {
                self.enqueue(waiting.job);
            }
        }
    }

    fn end(mut self) -> LaneEnd {
        let queued = self.sendable() + self.to_prepare() + self.unclaimed.len();
        let is_left = self.given_up || queued > 0 || !self.waiting.is_empty();
        self.halt = self.halt.take().filter(|halt| is_left || !halt.is_time_up());
        let unminted = self.unminted.drain(..).flat_map(|(_, queue)| queue);
        let ready = self.ready.drain().chain(self.minted.drain()).chain(self.unasked.drain()).chain(unminted);
        let ready = ready.chain(self.unclaimed.drain()).filter_map(|queued| queued.into_job(&self.context));
        let left = ready.chain(self.waiting.drain().map(|Reverse(waiting)| waiting.job));
        self.ended.extend(left.map(|job| End::of(job.left_over(), &self.context.plan)));
        // Where lookups found every session, nothing is left that the API would have to be better for.
        let is_complete = self.ended.iter().all(End::has_session);
        if self.halt.is_none() && !is_complete {
            self.halt = self.streak.verdict().or_else(|| self.context.partners.verdict()).map(Halt::Unavailable);
        }
        LaneEnd { ended: self.ended, halt: self.halt }
    }
}

/// A job whose token was to be minted, and what holds back the next while the partner's key is not known to mint.
type MintStep = ((Box<Job>, Stepped), Option<OwnedSemaphorePermit>);

/// Waits until a slot is about to open for one more than those `ahead`, and a partner that has work may mint.
async fn minting_turn(lane: &Lane, unminted: &[(Arc<Partner>, BinaryHeap<Queued>)], ahead: usize) -> (usize, Turn) {
    lane.writes.imminent(u32::try_from(ahead).unwrap_or(u32::MAX), LEAD).await;
    let busy = unminted.iter().enumerate().filter(|(_, (_, queue))| !queue.is_empty());
    turn_of_one(busy.map(|(at, (partner, _))| (at, partner))).await
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365)
}

/// Checks key and workflows. A word for people where the key may not read the workflows.
async fn check_lane(lane: &Lane) -> Result<Option<String>, Halt> {
    let workflows = if lane.has_written() {
        // A good key, most likely: both at once, so that a run that goes on after a crash loses no time.
        let (key, workflows) = tokio::join!(check_key(lane), lane.load_workflows());
        key.map(|()| workflows)?
    } else {
        check_key(lane).await?;
        lane.load_workflows().await
    };
    match workflows {
        Ok(()) => Ok(None),
        Err(CallError::Ledger(error)) => Err(Halt::Ledger(error)),
        Err(CallError::Api(failure)) if failure.class == Class::Credentials => Ok(None),
        Err(CallError::Api(failure)) => {
            Ok(Some(format!("the workflows could not be checked beforehand: {}", failure.detail)))
        }
    }
}

/// The read that checks the key, unless the run is stopped first.
pub(super) async fn first_read(lane: &Lane, stop: &mut Listener) -> Result<(), Halt> {
    tokio::select! {
        checked = check_key(lane) => checked,
        asked = wait_for(stop, |asked| *asked != Request::GoOn) => asked.halt().map_or(Ok(()), Err),
    }
}

/// One read that finds a wrong key or base URL.
async fn check_key(lane: &Lane) -> Result<(), Halt> {
    let failure = match lane.check_key().await {
        Ok(()) => return Ok(()),
        Err(CallError::Ledger(error)) => return Err(Halt::Ledger(error)),
        Err(CallError::Api(failure)) => failure,
    };
    Err(match failure.class {
        Class::Credentials => Halt::Credentials(needs(failure, "read:sessions")),
        Class::NoCredit => Halt::NoCredit(failure),
        class => {
            let advice = if is_ill(class) { class.advice() } else { Class::Protocol.advice() };
            Halt::Unavailable(format!("{} can't be used: {} — {advice}", lane.base_url, failure.detail))
        }
    })
}

fn needs(mut failure: Failure, privilege: &str) -> Failure {
    failure.detail = format!("{} (needed: {privilege})", failure.detail);
    failure
}

fn refused(failure: Failure) -> Halt {
    match failure.class {
        Class::NoCredit => Halt::NoCredit(failure),
        _ => Halt::Credentials(needs(failure, "write:sessions")),
    }
}

/// What is known of a job whose step runs.
#[derive(Debug)]
struct Running {
    /// Its end, if its task dies before anything is sent.
    done: Done,
    open: bool,
    trace: Arc<Mutex<Trace>>,
}

impl Running {
    fn of(job: &Job) -> Self {
        Self { done: job.left_over(), open: job.open, trace: Arc::clone(&job.trace) }
    }
}
