//! An audit: imported sessions are verified again.
//!
//! Each batch is kept as it comes, so an audit that ends early has lost nothing, and the next one begins with the
//! sessions that were looked at longest ago. Only an acceptance waits for the end, since it needs the lock of repairs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::events::Event;
use super::lane::Lane;
use super::means::Means;
#[cfg(debug_assertions)]
use super::points::Point;
use super::sessions::Sessions;
use super::stop::{Halt, Listener, wait_for};
use super::time_limit::{self, TimeLimit};
use super::verifier::{Check, Incoming, Twice, Verified, Verifier, duplicate};
use super::{Ran, add_verification, dispatch, round, run_error};
use crate::exit::{Condition, Exit};
use crate::ledger::records::{EntryId, Origin, Record, Requests, RunEnd, RunFinding, RunId};
use crate::ledger::{Acceptance, LedgerError, Location, Lock, Purpose, Verdict};
use crate::verify::{self, Case, Fetched, Finding, Judged, Measure, Rule, UnreadableBaseline};

/// `--accept`: where the lock is that an acceptance needs.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The ledger.
    pub location: Location,
    /// `--wait-lock`.
    pub wait: Duration,
}

/// An audit: sessions to verify, by lane.
#[derive(Debug)]
pub struct Audit {
    /// What it works with.
    pub means: Means,
    /// The lanes with their sessions, least recently audited first.
    pub lanes: Vec<(Arc<Lane>, Sessions)>,
    /// Whether `--limit` left sessions out.
    pub limited: bool,
    /// `--max-duration`.
    pub time_limit: Option<TimeLimit>,
    /// `--accept`: what is there is taken of the sessions that say so.
    pub accept: Option<Accept>,
    /// Who runs.
    pub origin: Origin,
}

/// Verifies imported sessions again.
pub async fn audit(work: Audit, stop: Listener) -> Result<Ran, LedgerError> {
    let started = Instant::now();
    let run = work.means.ledger.begin_run("audit", work.origin.clone(), work.means.clock.now()).await?;
    work.means.events.tell(Event::Began { run, command: "audit" });
    let stop = time_limit::within(work.time_limit, stop, started);
    let total: u64 = work.lanes.iter().map(|(_, sessions)| sessions.left()).sum();
    if total > 0 {
        work.means.ledger.raise_generation(run).await?;
    }
    work.means.events.tell(Event::Planned {
        entries: 0,
        sessions: total,
        writes_per_minute: 0,
        reads_per_minute: work.lanes.iter().map(|(lane, _)| lane.limits.reads_per_minute).sum(),
    });
    let twice = Twice::of(&work.means.ledger, total).await?;
    let (mut lanes, mut tasks) = (Vec::new(), Vec::new());
    for (lane, listed) in work.lanes {
        let checking = Verifier { means: work.means.clone(), run, lane: Arc::clone(&lane), twice: twice.clone() };
        let (sessions, mut stop) = (listed.left(), stop.clone());
        lanes.push(Arc::clone(&lane));
        tasks.push(tokio::spawn(async move {
            let mut verified = match dispatch::first_read(&lane, &mut stop).await {
                Ok(()) => checking.run(Incoming::Listed(listed), stop).await,
                Err(halt) => Verified::unbegun(sessions, halt),
            };
            verified.halts.extend(lane.close().await.err().map(Halt::Ledger));
            verified
        }));
    }
    let mut verified = Verified::default();
    for task in tasks {
        let end =
            task.await.unwrap_or_else(|error| Verified { halts: vec![Halt::lost(&error)], ..Verified::default() });
        verified = verified.and(end);
    }
    // Of a ledger that turned out to be damaged nothing is taken for good.
    let is_damage =
        |halt: &Halt| matches!(halt, Halt::Ledger(LedgerError::Baseline { .. } | LedgerError::Corrupt { .. }));
    let is_sound = !verified.halts.iter().any(is_damage);
    if let Some(accept) = work.accept.filter(|_| is_sound) {
        take(&work.means, run, &accept, &mut verified, stop).await;
    }
    let requests = lanes.iter().map(|lane| lane.requests()).sum();
    Ok(end(&work.means, run, verified, work.limited, requests, started).await)
}

/// Takes what is there now as baselines, holding the lock of repairs: all of it or, where the audit is stopped by hand
/// before, nothing. What was accepted is no finding any more.
async fn take(means: &Means, run: RunId, accept: &Accept, verified: &mut Verified, mut stop: Listener) {
    let acceptances = std::mem::take(&mut verified.acceptances);
    if acceptances.is_empty() && stop.borrow().condition().is_none() {
        return;
    }
    let lock = tokio::select! {
        biased;
        condition = signalled(&mut stop) => Err(Halt::Unaccepted(condition)),
        lock = lock(accept) => lock,
    };
    let taken = match lock {
        Ok(lock) => accept_all(means, run, lock, acceptances).await,
        Err(halt) => Err(halt),
    };
    match taken {
        Ok(taken) => verified.findings.retain(|finding| !is_taken(finding, &taken)),
        // Before what else is said of a signal.
        Err(halt) => verified.halts.insert(0, halt),
    }
}

async fn signalled(stop: &mut Listener) -> Condition {
    loop {
        if let Some(condition) = wait_for(stop, |request| request.condition().is_some()).await.condition() {
            return condition;
        }
    }
}

/// In one transaction, which nothing stops.
async fn accept_all(
    means: &Means,
    run: RunId,
    _lock: Lock,
    acceptances: Vec<Acceptance>,
) -> Result<Vec<EntryId>, Halt> {
    #[cfg(debug_assertions)]
    Point::Accepting.pass();
    let taken = means.ledger.accept(run, means.clock.now(), acceptances).await.map_err(Halt::Ledger)?;
    #[cfg(debug_assertions)]
    Point::Accepted.pass();
    Ok(taken)
}

async fn lock(accept: &Accept) -> Result<Lock, Halt> {
    let (location, wait) = (accept.location.clone(), accept.wait);
    match tokio::task::spawn_blocking(move || Lock::take(&location, Purpose::Change, wait)).await {
        Ok(lock) => lock.map_err(Halt::Ledger),
        Err(error) => Err(Halt::lost(&error)),
    }
}

fn is_taken(finding: &RunFinding, taken: &[EntryId]) -> bool {
    taken.contains(&finding.entry) && !matches!(Rule::parse(&finding.rule), Some(Rule::Expect(_)))
}

/// An audit of recorded facts only: sessions to judge without asking anybody.
#[derive(Debug)]
pub struct Offline {
    /// What it works with.
    pub means: Means,
    /// The entries whose sessions are to be judged, least recently audited first.
    pub entries: Vec<EntryId>,
    /// What is to be judged of an entry's session; `None` where it has none by now.
    pub check: fn(Record) -> Option<Check>,
    /// Whether `--limit` left sessions out.
    pub limited: bool,
    /// Who runs.
    pub origin: Origin,
}

/// Judges what the ledger knows: what its own facts say, and what was found before and is not undone as far as anybody
/// looked. No session counts as looked at.
pub async fn audit_offline(work: Offline) -> Result<Ran, LedgerError> {
    let started = Instant::now();
    let Offline { means, entries, check, limited, origin } = work;
    let run = means.ledger.begin_run("audit", origin, means.clock.now()).await?;
    means.events.tell(Event::Began { run, command: "audit" });
    let judged = judge_offline(&means, run, check, &entries).await;
    let verified = judged.unwrap_or_else(|error| Verified { halts: vec![Halt::Ledger(error)], ..Verified::default() });
    Ok(end(&means, run, verified, limited, Requests::default(), started).await)
}

async fn judge_offline(
    means: &Means,
    run: RunId,
    check: fn(Record) -> Option<Check>,
    entries: &[EntryId],
) -> Result<Verified, LedgerError> {
    let twice = Twice::of(&means.ledger, entries.len() as u64).await?;
    let (mut sessions, mut found) = (0, Recorded::default());
    for few in entries.chunks(AT_ONCE) {
        let records = means.ledger.records_of(few.to_vec()).await?;
        let checks: Vec<Check> = records.into_iter().filter_map(check).collect();
        sessions += checks.len() as u64;
        recorded(means, &twice, checks, &mut found).await?;
    }
    let Recorded { standing, judged, unreadable } = found;
    let verdict = Verdict { found: standing.into_iter().chain(judged).collect(), ..Verdict::default() };
    let findings = means.ledger.keep_findings(run, means.clock.now(), verdict).await?;
    let checked = sessions - unreadable.len() as u64;
    let mut verified = Verified { sessions, checked, findings, unreadable, ..Verified::default() };
    verified.end(&means.ledger);
    Ok(verified)
}

/// How many sessions are judged at once: of all that the ledger knows, no more is in memory.
const AT_ONCE: usize = 1000;

/// What was found in the ledger.
#[derive(Default)]
struct Recorded {
    /// Before, and not undone.
    standing: Vec<(EntryId, Finding)>,
    /// By its own facts.
    judged: Vec<(EntryId, Finding)>,
    /// What could not be judged.
    unreadable: Vec<UnreadableBaseline>,
}

async fn recorded(means: &Means, twice: &Twice, checks: Vec<Check>, found: &mut Recorded) -> Result<(), LedgerError> {
    let ledger = &means.ledger;
    let entries: Vec<EntryId> = checks.iter().map(|check| check.entry).collect();
    let shared = twice.among(ledger, checks.iter().map(|check| check.subject.session_id).collect()).await?;
    let mut baselines = ledger.baselines(entries.clone()).await?;
    let standing = ledger.standing(entries).await?.into_iter();
    found.standing.extend(standing.filter(|(_, finding)| !is_judged_anew(&finding.rule)));
    let today = means.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let measure = Measure { today, key: ledger.identity().key.clone() };
    for Check { entry, subject, .. } in checks {
        let case = [Case { subject, fetched: Fetched::NotChecked, baseline: baselines.remove(&entry) }];
        let Judged { findings, seen } = verify::judge_all(&case, &measure);
        let seen = seen.into_iter().filter_map(|seen| seen.map_err(|error| found.unreadable.push(error)).ok());
        let twice: Vec<Finding> = seen.filter_map(|seen| duplicate(&case[0].subject, &shared, seen.known())).collect();
        found.judged.extend(findings.into_iter().chain(twice).map(|finding| (entry, finding)));
    }
    Ok(())
}

/// What follows from the ledger alone, and what is news of one moment.
fn is_judged_anew(rule: &Rule) -> bool {
    matches!(rule, Rule::StatusUnexpected | Rule::DuplicateSession | Rule::StatusReviewed)
}

/// Ends an audit, and records its end.
async fn end(
    means: &Means,
    run: RunId,
    mut verified: Verified,
    limited: bool,
    requests: Requests,
    started: Instant,
) -> Ran {
    verified.findings.sort_by(RunFinding::order);
    let mut exit = Exit::ok();
    exit.add_if(verified.findings.iter().any(RunFinding::is_error), Condition::Findings);
    exit.add_if(limited, Condition::Incomplete);
    add_verification(&mut exit, &verified);
    let mut end = RunEnd {
        at: means.clock.now(),
        seconds: round(started.elapsed()),
        requests,
        verified: Some((verified.sessions, verified.checked)),
        error: verified.halts.iter().min_by_key(|halt| halt.condition()).map(run_error),
        conditions: exit.stored(),
    };
    if let Err(error) = means.ledger.end_run(run, end.clone()).await {
        // What was found is told all the same.
        exit.add(Condition::Ledger);
        end.error = Some(run_error(&Halt::Ledger(error)));
        end.conditions = exit.stored();
    }
    super::tell_end(means, &exit, verified.halts.iter(), started);
    Ran { run, outcomes: Arc::default(), findings: verified.findings, end, exit }
}
