//! Verification while other work goes on: decisions are fetched on the read budget, judged on rayon in batches, and
//! the findings are kept in the ledger as they come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::events::{Event, Who};
use super::job::is_ill;
use super::lane::{CallError, Lane};
use super::means::Means;
#[cfg(debug_assertions)]
use super::points::Point;
use super::sessions::Sessions;
use super::stop::{Halt, Listener, Request, wait_for};
use super::unhealthy::Streak;
use crate::didit::Class;
use crate::ledger::records::{EntryId, RunFinding, RunId};
use crate::ledger::{Acceptance, Ledger, LedgerError, Verdict};
use crate::pace::PATIENCE;
use crate::verify::{
    self, Baseline, Case, Fetched, Finding, Judged, Measure, Rule, Severity, Sighting, Subject, UnreadableBaseline,
};

/// Decisions judged at a time: enough to share among cores, few enough to hold in memory.
const BATCH: usize = 256;

/// Batches judged and kept at a time: one on the cores, one on the disk.
const ABREAST: usize = 2;

/// Up to so many sessions the ledger is asked one by one whether another entry has them.
const FEW: u64 = 1000;

/// How long what was fetched waits for a batch to fill: people watch.
const LINGER: Duration = Duration::from_millis(500);

/// A session to verify.
#[derive(Clone, Debug)]
pub struct Check {
    /// The entry.
    pub entry: EntryId,
    /// What is expected.
    pub subject: Subject,
    /// Whether it was made a moment ago.
    pub fresh: bool,
    /// Whether what is there is to be accepted.
    pub accept: bool,
}

/// What verification came to.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Sessions to be verified.
    pub sessions: u64,
    /// Sessions verified.
    pub checked: u64,
    /// What was found.
    pub findings: Vec<RunFinding>,
    /// What is to be accepted of it.
    pub acceptances: Vec<Acceptance>,
    /// Sessions that were not reached before the time was up.
    pub left: u64,
    /// Sessions whose answer could not be read.
    pub(super) unread: Vec<Check>,
    /// Sessions that could not be judged.
    pub(super) unreadable: Vec<UnreadableBaseline>,
    /// Why it ended early, or could not check all.
    pub halts: Vec<Halt>,
}

impl Verified {
    /// Verification that ended before its first session.
    #[must_use]
    pub fn unbegun(sessions: u64, halt: Halt) -> Self {
        let left = if halt.is_time_up() { sessions } else { 0 };
        Self { sessions, left, halts: vec![halt], ..Self::default() }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    /// Tells, once all others are judged, of those that could not be.
    pub(super) fn end(&mut self, ledger: &Ledger) {
        self.unreadable.sort_unstable();
        self.halts.extend(ledger.unreadable(&self.unreadable).map(Halt::Ledger));
    }

    /// Takes what a batch came to.
    fn take(&mut self, judged: Result<Result<Self, Halt>, JoinError>) {
        match judged {
            Ok(Ok(judged)) => self.add(judged),
            Ok(Err(halt)) => self.halts.push(halt),
            Err(error) => self.halts.push(Halt::lost(&error)),
        }
    }

    fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.checked += other.checked;
        self.findings.extend(other.findings);
        self.acceptances.extend(other.acceptances);
        self.left += other.left;
        self.unread.extend(other.unread);
        self.unreadable.extend(other.unreadable);
        self.halts.extend(other.halts);
    }
}

/// Verifies the sessions of one lane as they come, until their sender is gone.
pub struct Verifier {
    /// What it works with.
    pub means: Means,
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: Arc<Lane>,
    /// What stands under several entries.
    pub twice: Twice,
}

/// Which sessions stand under several entries.
#[derive(Clone, Debug)]
pub enum Twice {
    /// To be asked for, few at a time: they are few, or still being made.
    Asked,
    /// All of them, found at once beforehand.
    Known(Arc<HashSet<Uuid>>),
}

impl Twice {
    /// What to judge so many sessions by that are there already.
    pub(super) async fn of(ledger: &Ledger, sessions: u64) -> Result<Self, LedgerError> {
        if sessions <= FEW {
            return Ok(Self::Asked);
        }
        Ok(Self::Known(Arc::new(ledger.all_shared_sessions().await?)))
    }

    /// Those among these sessions, and perhaps others.
    pub(super) async fn among(&self, ledger: &Ledger, sessions: Vec<Uuid>) -> Result<Arc<HashSet<Uuid>>, LedgerError> {
        match self {
            Self::Asked => Ok(Arc::new(ledger.shared_sessions(sessions).await?)),
            Self::Known(all) => Ok(Arc::clone(all)),
        }
    }
}

/// Where the sessions to verify come from.
#[derive(Debug)]
pub enum Incoming {
    /// It is known beforehand which they are.
    Listed(Sessions),
    /// They come as they are made.
    Made(mpsc::UnboundedReceiver<Check>),
}

impl Incoming {
    /// The next one; `None` once there is none to come.
    async fn recv(&mut self) -> Option<Result<Check, Halt>> {
        match self {
            Self::Listed(sessions) => sessions.next().await,
            Self::Made(checks) => checks.recv().await.map(Ok),
        }
    }

    /// Takes no more of what is known; how many those were.
    fn give_up(&mut self) -> u64 {
        match self {
            Self::Listed(sessions) => sessions.give_up(),
            Self::Made(_) => 0,
        }
    }

    /// How many were not taken.
    fn left(mut self) -> u64 {
        match &mut self {
            Self::Listed(sessions) => sessions.left(),
            Self::Made(checks) => std::iter::from_fn(|| checks.try_recv().ok()).count() as u64,
        }
    }
}

/// What was heard from outside, and, once the time is up, until when what is being fetched is waited for.
#[derive(Default)]
struct Winding {
    heard: Request,
    until: Option<Instant>,
}

impl Winding {
    /// Hears a request; the halt, if it ends the work at once.
    fn hear(&mut self, asked: Request) -> Option<Halt> {
        self.heard = asked;
        match asked {
            Request::TimeUp { grace, .. } => {
                self.until = Some(Instant::now() + grace);
                None
            }
            other => other.halt(),
        }
    }

    fn is_under_way(&self) -> bool {
        self.until.is_some()
    }

    /// Waits until what is being fetched is given up; for ever while the time is not up.
    async fn given_up(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

type Fetch = (Check, Result<Fetched, CallError>);

/// What is being fetched.
#[derive(Default)]
struct Fetches {
    tasks: JoinSet<(Fetch, Reading)>,
    /// How many of them are to be read as they come.
    reading: usize,
}

/// When an answer is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Where it is judged.
    Later,
    /// As it comes, so that one that can't be read counts as a failure, and is asked for again.
    AtOnce,
}

impl Fetches {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn begin(&mut self, lane: &Arc<Lane>, check: Check, reading: Reading) {
        self.reading += usize::from(reading == Reading::AtOnce);
        let lane = Arc::clone(lane);
        // In its place from the beginning: the runtime moves a task several times until it runs.
        self.tasks.spawn(Box::pin(async move { (fetch(&lane, check, reading).await, reading) }));
    }

    async fn give_up(&mut self) {
        self.tasks.shutdown().await;
        self.reading = 0;
    }

    async fn next(&mut self) -> Option<Result<Fetch, JoinError>> {
        let ended = self.tasks.join_next().await?;
        Some(ended.map(|(fetch, reading)| {
            self.reading -= usize::from(reading == Reading::AtOnce);
            fetch
        }))
    }
}

impl Verifier {
    /// Works until no more is `incoming` and everything is judged, or until it is stopped.
    ///
    /// While batches are judged and kept, the next are fetched; where that falls behind, no more are fetched, so that
    /// memory holds a few batches whatever there is to verify. What could not be read is asked for again; where a whole
    /// batch was so, before anything new, so that failures in a row are seen to be that.
    pub async fn run(self, mut incoming: Incoming, mut stop: Listener) -> Verified {
        let this = Arc::new(self);
        let mut verified = Verified::default();
        let mut fetches = Fetches::default();
        let mut judgements: JoinSet<Result<Verified, Halt>> = JoinSet::new();
        let mut batch = Vec::new();
        let mut streak = Streak::default();
        let mut open = true;
        let mut linger = tokio::time::interval(LINGER);
        linger.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let most = this.lane.limits.concurrency as usize;
        let mut winding = Winding::default();
        let (mut is_due, mut is_garbled) = (false, false);
        while verified.halts.is_empty() {
            if winding.is_under_way() {
                verified.left += std::mem::take(&mut verified.unread).len() as u64;
                let left = incoming.give_up();
                verified.sessions += left;
                verified.left += left;
            }
            let again = verified.unread.len().min(most.saturating_sub(fetches.len()));
            for check in verified.unread.drain(..again) {
                fetches.begin(&this.lane, check, Reading::AtOnce);
            }
            is_due |= batch.len() >= BATCH || !open && fetches.is_empty();
            if is_due && !batch.is_empty() && judgements.len() < ABREAST {
                judgements.spawn(Arc::clone(&this).judge(std::mem::take(&mut batch), stop.clone()));
            }
            is_due = false;
            if !open && fetches.is_empty() && batch.is_empty() && judgements.is_empty() {
                break;
            }
            let is_held_up = is_garbled && fetches.reading > 0;
            let may_begin = batch.len() < BATCH && fetches.len() < most && !is_held_up;
            let is_fetching = open || !fetches.is_empty();
            tokio::select! {
                biased;
                // What is fetched already is judged all the same, or left by the judging itself.
                asked = wait_for(&mut stop, |request| *request != winding.heard), if is_fetching => {
                    verified.halts.extend(winding.hear(asked));
                }
                Some(judged) = judgements.join_next(), if !judgements.is_empty() => {
                    let before = verified.checked;
                    verified.take(judged);
                    is_garbled = verified.checked == before && !verified.unread.is_empty();
                    if verified.checked > before {
                        streak.was_good();
                    }
                }
                _ = linger.tick(), if !batch.is_empty() => is_due = true,
                Some(fetch) = fetches.next(), if !fetches.is_empty() => match fetch {
                    Ok(fetch) => verified.halts.extend(this.take(fetch, &mut batch, &mut streak)),
                    Err(error) => verified.halts.push(Halt::lost(&error)),
                },
                check = incoming.recv(), if open && (winding.is_under_way() || may_begin) => {
                    match check {
                        None => open = false,
                        Some(Err(halt)) => verified.halts.push(halt),
                        Some(Ok(_)) if winding.is_under_way() => {
                            verified.sessions += 1;
                            verified.left += 1;
                        }
                        Some(Ok(check)) => {
                            verified.sessions += 1;
                            fetches.begin(&this.lane, check, Reading::Later);
                        }
                    }
                }
                () = winding.given_up(), if !fetches.is_empty() => {
                    verified.left += fetches.len() as u64;
                    fetches.give_up().await;
                }
            }
        }
        if !batch.is_empty() {
            judgements.spawn(Arc::clone(&this).judge(batch, stop.clone()));
        }
        while let Some(judged) = judgements.join_next().await {
            verified.take(judged);
        }
        verified.sessions += incoming.left();
        if verified.halts.is_empty() {
            verified.halts.extend(streak.verdict().map(Halt::Unavailable));
        }
        verified.end(&this.means.ledger);
        verified.halts.extend(winding.heard.halt().filter(|halt| halt.is_time_up() && verified.left > 0));
        verified
    }

    fn take(&self, (check, fetched): Fetch, batch: &mut Vec<(Check, Fetched)>, streak: &mut Streak) -> Option<Halt> {
        match fetched {
            Ok(fetched) => {
                if let Fetched::Unread(_) = fetched {
                    streak.heard();
                } else {
                    streak.note(Ok(()));
                }
                batch.push((check, fetched));
                None
            }
            Err(CallError::Ledger(error)) => Some(Halt::Ledger(error)),
            Err(CallError::Api(failure)) if failure.class == Class::Credentials => Some(Halt::Credentials(failure)),
            Err(CallError::Api(failure)) => {
                let id = crate::text::inert(&check.subject.id);
                self.means.events.tell(Event::Warning(format!("{id} could not be verified: {}", failure.detail)));
                streak.note(if is_ill(failure.class) { Err(failure.class) } else { Ok(()) })
            }
        }
    }

    /// Judges what was fetched, and keeps what that came to. What was stopped meanwhile is left to the next audit.
    async fn judge(self: Arc<Self>, batch: Vec<(Check, Fetched)>, mut stop: Listener) -> Result<Verified, Halt> {
        let now = self.means.clock.now();
        match self.judged(batch, &mut stop).await? {
            Some(batch) => self.keep(batch, now).await,
            None => Ok(Verified::default()),
        }
    }

    /// `None` where the run was stopped meanwhile.
    async fn judged(&self, batch: Vec<(Check, Fetched)>, stop: &mut Listener) -> Result<Option<Batch>, Halt> {
        let ledger = &self.means.ledger;
        let sessions = batch.iter().map(|(check, _)| check.subject.session_id).collect();
        let shared = self.twice.among(ledger, sessions).await.map_err(Halt::Ledger)?;
        let entries = batch.iter().map(|(check, _)| check.entry).collect();
        let mut baselines = ledger.baselines(entries).await.map_err(Halt::Ledger)?;
        let mut asked = Vec::with_capacity(batch.len());
        let mut cases = Vec::with_capacity(batch.len());
        for (Check { entry, subject, fresh, accept }, fetched) in batch {
            let baseline = baselines.remove(&entry);
            cases.push(Case { subject, fetched, baseline });
            asked.push((entry, fresh, accept));
        }
        // By the server's clock: ours may have been wrong from the start.
        let today = self.lane.server_now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let measure = Measure { today, key: ledger.identity().key.clone() };
        let judged = verify::judge_in_background(self.means.judging, cases, measure).await;
        let (Judged { mut findings, seen }, cases) = judged.map_err(|error| Halt::Internal(error.to_string()))?;
        // The ledger knows of those in other batches too.
        findings.retain(|finding| finding.rule != Rule::DuplicateSession);
        let (mut looked, mut unread, mut unreadable) = (Vec::with_capacity(cases.len()), Vec::new(), Vec::new());
        for (((entry, fresh, accept), Case { subject, fetched, .. }), seen) in asked.into_iter().zip(cases).zip(seen) {
            if matches!(fetched, Fetched::Unread(_)) {
                unread.push(Check { entry, subject, fresh, accept });
                continue;
            }
            match seen {
                Err(error) => unreadable.push(error),
                Ok(seen) => {
                    findings.extend(duplicate(&subject, &shared, seen.known()));
                    looked.push(Looked { entry, subject, accept, seen });
                }
            }
        }
        tokio::select! {
            biased;
            () = self.drop_renamed_workflows(&mut findings) => Ok(Some(Batch { looked, findings, unread, unreadable })),
            // What needs an answer that does not come is left to the next audit.
            _ = wait_for(stop, |request| *request != Request::GoOn) => Ok(None),
        }
    }

    async fn keep(&self, batch: Batch, now: Timestamp) -> Result<Verified, Halt> {
        let verdict = batch.verdict();
        let acceptances = batch.acceptances(&verdict.found);
        let is_bad = |(_, finding): &&(EntryId, Finding)| finding.severity == Severity::Error;
        let bad: HashSet<EntryId> = verdict.found.iter().filter(is_bad).map(|(row, _)| *row).collect();
        let checked = batch.looked.len() as u64;
        #[cfg(debug_assertions)]
        Point::Judged.pass();
        let findings = self.means.ledger.keep_findings(self.run, now, verdict).await.map_err(Halt::Ledger)?;
        #[cfg(debug_assertions)]
        Point::Kept.pass();
        for Looked { entry, subject, .. } in &batch.looked {
            let who = Who { manifest: subject.manifest.as_str().into(), entry: subject.id.as_str().into() };
            self.means.events.tell(Event::Verified { who, is_bad: bad.contains(entry) });
        }
        let Batch { unread, unreadable, .. } = batch;
        Ok(Verified { checked, findings, acceptances, unread, unreadable, ..Verified::default() })
    }
}

/// What another entry has, too, unless that was accepted.
pub(super) fn duplicate(subject: &Subject, shared: &HashSet<Uuid>, baseline: Option<&Baseline>) -> Option<Finding> {
    let finding = shared
        .contains(&subject.session_id)
        .then(|| subject.finding(Rule::DuplicateSession, "this session stands under several entries"))?;
    (!baseline.is_some_and(|baseline| baseline.accepts(&finding))).then_some(finding)
}

/// A session that was looked at.
struct Looked {
    entry: EntryId,
    subject: Subject,
    /// Whether what is there is to be accepted.
    accept: bool,
    seen: Sighting,
}

/// Sessions that were looked at, and what was found of them.
struct Batch {
    looked: Vec<Looked>,
    findings: Vec<Finding>,
    /// Those whose answer could not be read.
    unread: Vec<Check>,
    /// Those whose baseline could not.
    unreadable: Vec<UnreadableBaseline>,
}

impl Batch {
    fn verdict(&self) -> Verdict {
        // Most batches have none.
        let named = if self.findings.is_empty() { &[][..] } else { &self.looked[..] };
        let rows: HashMap<(&str, &str, Uuid), EntryId> =
            named.iter().map(|looked| (name(&looked.subject), looked.entry)).collect();
        let row = |finding: &Finding| {
            let row = rows.get(&(finding.manifest.as_str(), finding.id.as_str(), finding.session_id))?;
            Some((*row, finding.clone()))
        };
        let baseline = |looked: &Looked| Some((looked.entry, looked.seen.next(looked.subject.session_id)?));
        Verdict {
            checked: self.looked.iter().map(|looked| looked.entry).collect(),
            found: self.findings.iter().filter_map(row).collect(),
            baselines: self.looked.iter().filter_map(baseline).collect(),
        }
    }

    /// What is to be accepted of the sessions that were asked for, where anything was found.
    fn acceptances(&self, found: &[(EntryId, Finding)]) -> Vec<Acceptance> {
        let asked = self.looked.iter().filter(|looked| looked.accept);
        asked.filter_map(|looked| looked.acceptance(found)).collect()
    }
}

impl Looked {
    fn acceptance(&self, found: &[(EntryId, Finding)]) -> Option<Acceptance> {
        let entry = self.entry;
        let here = || found.iter().filter(|(row, _)| *row == entry).map(|(_, finding)| finding);
        let mut told: Vec<String> =
            here().filter(|finding| !matches!(finding.rule, Rule::Expect(_))).map(named).collect();
        if told.is_empty() {
            return None;
        }
        told.sort_unstable();
        let (known, now) = (self.seen.known(), self.seen.now.as_ref());
        let baseline = Baseline::accepting(known, self.subject.session_id, now, here());
        Some(Acceptance { entry, baseline, told: told.join(", ") })
    }
}

/// A finding by rule and block.
fn named(finding: &Finding) -> String {
    match &finding.block {
        Some(block) => format!("{} of {block}", finding.rule),
        None => finding.rule.to_string(),
    }
}

fn name(subject: &Subject) -> (&str, &str, Uuid) {
    (&subject.manifest, &subject.id, subject.session_id)
}

impl Verifier {
    /// A workflow told by its other id is no drift.
    async fn drop_renamed_workflows(&self, findings: &mut Vec<Finding>) {
        let mut kept = Vec::with_capacity(findings.len());
        for finding in findings.drain(..) {
            let id = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Uuid>().ok());
            let told_otherwise = match (id(&finding.expected), id(&finding.actual)) {
                (Some(sent), Some(told)) if finding.rule == Rule::WorkflowDrift => {
                    self.lane.is_same_workflow(sent, told).await
                }
                _ => false,
            };
            if !told_otherwise {
                kept.push(finding);
            }
        }
        *findings = kept;
    }
}

async fn fetch(lane: &Lane, check: Check, reading: Reading) -> Fetch {
    let session = check.subject.session_id;
    let waits: &[Duration] = if check.fresh { &PATIENCE } else { &[] };
    let mut waits = waits.iter();
    loop {
        let fetched = match reading {
            Reading::Later => lane.unread_decision(session).await.map(|unread| unread.map(Fetched::Unread)),
            // Boxed, since it is rare: each fetch is moved as a whole.
            Reading::AtOnce => {
                Box::pin(lane.decision(session)).await.map(|read| read.map(|it| Fetched::Decision(Box::new(it))))
            }
        };
        #[cfg(debug_assertions)]
        Point::Fetched.pass();
        match fetched {
            Err(failure) => return (check, Err(failure)),
            Ok(Some(fetched)) => return (check, Ok(fetched)),
            Ok(None) => match waits.next() {
                None => return (check, Ok(Fetched::Missing)),
                Some(wait) => tokio::time::sleep(*wait).await,
            },
        }
    }
}
