//! The dispatcher: the one owner of a lane's run state.
//!
//! It takes jobs in order of token expiry, launches a step for each as the write budget opens, and handles what steps
//! report; steps own nothing but their job. A job that waits (a backoff) waits here, holding neither a slot nor a
//! place among those in flight.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::budget::Slot;
use super::context::Context;
use super::events::Event;
use super::guard::Guard;
use super::job::{Done, Finished, Job, Step, Stepped, Trace, is_ill};
use super::lane::{CallError, Lane};
use super::stop::{Halt, Listener, Request, wait_for};
use super::unhealthy::Streak;
use super::verifier::Check;
use crate::didit::{Class, Failure};
use crate::ledger::records::RecordedError;
use crate::lifecycle::Settled;

/// How a lane ended.
#[derive(Debug)]
pub struct LaneEnd {
    /// Every job, done or left over.
    pub done: Vec<Done>,
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
    ready: BinaryHeap<Queued>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    steps: JoinSet<(Job, Stepped)>,
    running: HashMap<Id, Running>,
    done: Vec<Done>,
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
    /// A dispatcher of these jobs.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        lane: Arc<Lane>,
        guard: Arc<Guard>,
        verify: Option<mpsc::UnboundedSender<Check>>,
        jobs: Vec<Job>,
    ) -> Self {
        Self {
            context,
            guard,
            verify,
            ready: jobs.into_iter().map(Queued).collect(),
            waiting: BinaryHeap::new(),
            steps: JoinSet::new(),
            running: HashMap::new(),
            done: Vec::new(),
            streak: Streak::default(),
            halt: None,
            give_up_at: None,
            given_up: false,
            handled: Request::GoOn,
            tried: lane.has_written(),
            lane,
        }
    }

    /// Works until everything is done, or until it is stopped.
    pub async fn run(mut self, mut stop: Listener) -> LaneEnd {
        self.probe(&mut stop).await;
        while !self.is_finished() {
            self.wake_due();
            let may_launch = self.may_launch();
            let next_due = self.next_due();
            let handled = self.handled;
            tokio::select! {
                biased;
                asked = wait_for(&mut stop, |asked| *asked != handled) => self.on_request(asked),
                Some(stepped) = self.steps.join_next_with_id(), if !self.steps.is_empty() => self.on_step(stepped),
                halt = self.guard.tripped(), if self.halt.is_none() => self.halt = Some(halt),
                slot = self.lane.writes.acquire(), if may_launch => self.launch(slot),
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
        let idle = self.ready.is_empty() && self.waiting.is_empty();
        self.steps.is_empty() && (idle || self.halt.is_some())
    }

    fn may_launch(&self) -> bool {
        let width = if self.tried { self.lane.limits.concurrency as usize } else { 1 };
        self.halt.is_none() && !self.ready.is_empty() && self.steps.len() < width
    }

    fn launch(&mut self, slot: Slot) {
        let Some(Queued(mut job)) = self.ready.pop() else { return };
        let running = Running { done: job.left_over(), open: job.open, trace: Arc::clone(&job.trace) };
        let (context, lane) = (Arc::clone(&self.context), Arc::clone(&self.lane));
        let handle = self.steps.spawn(async move {
            let stepped = job.step(&context, &lane, slot).await;
            (job, stepped)
        });
        self.running.insert(handle.id(), running);
    }

    fn on_step(&mut self, stepped: Result<(Id, (Job, Stepped)), JoinError>) {
        let (job, (step, health)) = match stepped {
            Ok((id, stepped)) => {
                self.running.remove(&id);
                stepped
            }
            Err(error) => return self.on_lost(&error),
        };
        self.tried = true;
        if let Some(halt) = health.and_then(|health| self.streak.note(health)) {
            self.stop(halt);
        }
        match step {
            Step::Again(after) if after.is_zero() => self.ready.push(Queued(job)),
            Step::Again(after) => self.waiting.push(Reverse(Waiting { due: Instant::now() + after, job })),
            Step::Done(done) => self.finish(done),
            Step::Stop(done, failure) => {
                self.finish(done);
                self.stop(refused(failure));
            }
            Step::Ledger(error) => {
                self.done.push(job.left_over());
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
            self.done.push(done);
        }
        if error.is_panic() {
            self.stop(Halt::lost(error));
        }
    }

    fn finish(&mut self, done: Done) {
        self.guard.note(&self.context, &done);
        match (&done.session, &done.error) {
            (Some(_), _) => {
                self.context.means.events.tell(Event::Imported);
                if let Some((verify, check)) =
                    self.verify.as_ref().zip(super::check_of(&self.context, &self.lane, &done))
                {
                    // Verification has ended early; the next audit looks at this session.
                    let _ = verify.send(check);
                }
            }
            (None, Some(error)) => self.context.means.events.tell(Event::Failed(error.class)),
            (None, None) => {}
        }
        self.done.push(done);
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
            self.ready.extend(self.waiting.pop().map(|Reverse(waiting)| Queued(waiting.job)));
        }
    }

    fn end(mut self) -> LaneEnd {
        let is_left = self.given_up || !self.ready.is_empty() || !self.waiting.is_empty();
        self.halt = self.halt.take().filter(|halt| is_left || !halt.is_time_up());
        let ready = self.ready.drain().map(|Queued(job)| job.left_over());
        let waiting = self.waiting.drain().map(|Reverse(waiting)| waiting.job.left_over());
        self.done.extend(ready.chain(waiting));
        // Where lookups found every session, nothing is left that the API would have to be better for.
        let is_complete = self.done.iter().all(|done| done.session.is_some());
        if self.halt.is_none() && !is_complete {
            self.halt = self.streak.verdict().map(Halt::Unavailable);
        }
        LaneEnd { done: self.done, halt: self.halt }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365)
}

/// Checks key and workflows. A word for people where the key may not read the workflows.
async fn check_lane(lane: &Lane) -> Result<Option<String>, Halt> {
    let (key, workflows) = tokio::join!(check_key(lane), lane.load_workflows());
    key?;
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

/// A job that may be launched; the one whose token dies first comes first, those without a known end last.
#[derive(Debug)]
struct Queued(Job);

impl Queued {
    fn rank(&self) -> Reverse<(bool, Option<Timestamp>, usize)> {
        Reverse((self.0.deadline.is_none(), self.0.deadline, self.0.item))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// A job that waits for its backoff to end.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    job: Job,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.job.item).cmp(&(other.due, other.job.item))
    }
}
