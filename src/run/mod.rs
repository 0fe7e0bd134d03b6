//! Carrying out a plan, and auditing what was carried out: tokio, one dispatcher for each receiving application.
//!
//! ```text
//! plan ─► dispatcher ─► jobs ─► steps ─► ledger        (one lane for each application and key)
//!             │                   └──► resolve
//!             ├─► mint                  (a partner's key, for entries whose tokens are minted)
//!             └─► verifier ─► rayon ─► findings ─► ledger
//! ```
//!
//! - An intent is durable before its request leaves, an outcome before it counts; see `job`.
//! - Sending is paced by `budget`; nothing here decides when a request may leave.
//! - A run stops for a signal, its time limit, a guard, a rejected key, an API or a ledger that fails (`stop`), and then
//!   waits for what is in flight.

mod audit;
mod budget;
mod context;
mod dispatch;
mod ended;
mod events;
mod guard;
mod job;
mod lane;
mod listing;
mod means;
mod mint;
#[cfg(test)]
mod model;
#[cfg(debug_assertions)]
mod points;
mod resolve;
mod reviewed;
mod selection;
mod send_log;
mod sessions;
mod shared;
mod stop;
mod time_limit;
mod told;
mod unhealthy;
mod verifier;
mod workflows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

pub use audit::{Accept, Audit, Offline, audit, audit_offline};
pub use budget::{Budget, Slot};
pub use context::Context;
pub use events::{Event, Events, Who};
pub use lane::{CallError, Lane};
pub use means::{Clock, Means};
pub use mint::{Partner, Partners};
pub use reviewed::{Refusal, Reviewed};
pub use sessions::{MakeCheck, Sessions};
pub use shared::{Answering, Bank};
pub use stop::{Halt, Listener, Request, wait_for};
pub use time_limit::TimeLimit;
pub use told::Told;
pub use verifier::{Check, Incoming, Twice, Verified, Verifier};
pub use workflows::{ENDLESS, WORKFLOW_PAGES, Workflows};

use crate::exit::{Condition, Exit};
use crate::ledger::LedgerError;
use crate::ledger::records::{ManifestFacts, NewEntry, Origin, Record, RunEnd, RunError, RunFinding, RunId, State};
use crate::lifecycle::Settled;
use crate::manifest::{Manifests, MaxFailures, SecretPolicy};
use crate::plan::{Action, Item, Plan, Snapshot};
use crate::verify::{Sent, Subject};
use dispatch::Dispatcher;
use ended::{End, Ended};
use guard::{Count, Guard};
use job::{Done, Finished};
use selection::Selection;

/// What an apply is asked to do, beside its plan.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// `--only`: labels, source sessions; empty means all.
    pub only: Vec<String>,
    /// `--limit`.
    pub limit: Option<u64>,
    /// `--max-failures`.
    pub max_failures: Option<MaxFailures>,
    /// `--max-trusted`.
    pub max_trusted: Option<u64>,
    /// Without `--no-verify`.
    pub verify: bool,
    /// `--max-duration` and `--grace`.
    pub time_limit: Option<TimeLimit>,
    /// `--plan`.
    pub reviewed: Option<Reviewed>,
}

/// Everything an apply works with.
#[derive(Debug)]
pub struct Apply {
    /// What it works with; the ledger is held by this process.
    pub means: Means,
    /// The manifests.
    pub manifests: Arc<Manifests>,
    /// What the ledger knew when the plan was made, of entries that are not as they should be.
    pub snapshot: Arc<Snapshot>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The lanes that send.
    pub lanes: Vec<Arc<Lane>>,
    /// For each manifest, its lane; `None` where nothing is to be sent for it.
    pub lane_of: Vec<Option<usize>>,
    /// Who mints tokens.
    pub partners: Partners,
    /// How references are read.
    pub secrets: SecretPolicy,
    /// What is asked.
    pub options: ApplyOptions,
    /// Who runs.
    pub origin: Origin,
}

/// What a run came to, as kept in the ledger.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its number.
    pub run: RunId,
    /// Every entry, sorted by label; none for an audit.
    pub outcomes: Arc<Told>,
    /// The findings, sorted.
    pub findings: Vec<RunFinding>,
    /// Its end.
    pub end: RunEnd,
    /// The exit.
    pub exit: Exit,
}

/// Carries out a plan. An error means that the ledger could not be written; what was in flight is then open.
pub async fn apply(work: Apply, stop: Listener) -> Result<Ran, LedgerError> {
    let started = Instant::now();
    let run = work.means.ledger.begin_run("apply", work.origin.clone(), work.means.clock.now()).await?;
    work.means.events.tell(Event::Began { run, command: "apply" });
    let stop = time_limit::within(work.options.time_limit, stop, started);
    let selected = Selection::new(&work);
    let refused = reviewed::refused(&work, &selected);
    if refused.is_none() {
        reviewed::begin(&work, &selected, run).await?;
    }
    let context = Arc::new(Context {
        means: work.means.clone(),
        run,
        manifests: Arc::clone(&work.manifests),
        plan: Arc::clone(&work.plan),
        snapshot: Arc::clone(&work.snapshot),
        secrets: work.secrets.clone(),
        partners: work.partners.clone(),
    });
    let mut ends = Ends::default();
    if refused.is_some() {
        ends.refused = true;
        ends.halts.extend(refused);
    } else if !selected.jobs.is_empty() {
        work.means.ledger.put_indexes_off(selected.jobs.len() as u64).await?;
        ends = drive(&work, &context, &selected, stop).await;
    }
    Ok(finish(work, &context, &selected, ends, started).await)
}

/// What the lanes came to.
#[derive(Default)]
struct Ends {
    ended: Ended,
    verified: Option<Verified>,
    halts: Vec<Halt>,
    /// A guard let nothing be sent.
    refused: bool,
    /// A lane's task died, so that only the ledger knows what it did.
    died: bool,
}

fn halts(ends: &Ends) -> impl Iterator<Item = &Halt> {
    ends.halts.iter().chain(ends.verified.iter().flat_map(|verified| &verified.halts))
}

async fn drive(work: &Apply, context: &Arc<Context>, selected: &Selection, stop: Listener) -> Ends {
    let guard = Arc::new(Guard::new(counts(work, selected)));
    let mut items: Vec<Vec<u32>> = work.lanes.iter().map(|_| Vec::new()).collect();
    for index in &selected.jobs {
        if let Some(lane) = work.plan.entry(*index).and_then(|(manifest, _)| work.lane_of.get(manifest).copied()?) {
            items[lane].push(*index as u32);
        }
    }
    let total = items.iter().map(Vec::len).sum::<usize>() as u64;
    work.means.events.tell(Event::Planned {
        entries: total,
        sessions: if work.options.verify { total } else { 0 },
        writes_per_minute: work.lanes.iter().map(|lane| lane.limits.writes_per_minute).sum(),
        reads_per_minute: work.lanes.iter().map(|lane| lane.limits.reads_per_minute).sum(),
    });
    let lanes = work.lanes.iter().zip(items).filter(|(_, items)| !items.is_empty()).map(|(lane, items)| {
        let (context, lane, guard, stop) = (Arc::clone(context), Arc::clone(lane), Arc::clone(&guard), stop.clone());
        tokio::spawn(drive_lane(context, lane, guard, items, work.options.verify, stop))
    });
    let mut ends = Ends::default();
    for lane in lanes.collect::<Vec<_>>() {
        match lane.await {
            Ok((end, verified)) => {
                ends.ended.add(end.ended);
                ends.halts.extend(end.halt);
                ends.verified = match (ends.verified.take(), verified) {
                    (Some(a), Some(b)) => Some(a.and(b)),
                    (a, b) => a.or(b),
                };
            }
            Err(error) => {
                ends.halts.push(Halt::lost(&error));
                ends.died = true;
            }
        }
    }
    for partner in work.partners.all() {
        ends.halts.extend(partner.close().await.err().map(Halt::Ledger));
    }
    ends.halts.extend(guard.halt());
    ends
}

async fn drive_lane(
    context: Arc<Context>,
    lane: Arc<Lane>,
    guard: Arc<Guard>,
    items: Vec<u32>,
    verify: bool,
    stop: Listener,
) -> (dispatch::LaneEnd, Option<Verified>) {
    let (sender, incoming) = mpsc::unbounded_channel();
    let checking =
        Verifier { means: context.means.clone(), run: context.run, lane: Arc::clone(&lane), twice: Twice::Asked };
    let closing = Arc::clone(&lane);
    let dispatcher = Dispatcher::new(context, lane, guard, verify.then_some(sender), items);
    let task = tokio::spawn(checking.run(Incoming::Made(incoming), stop.clone()));
    let mut end = dispatcher.run(stop).await;
    let verified =
        task.await.unwrap_or_else(|error| Verified { halts: vec![Halt::lost(&error)], ..Verified::default() });
    if let Err(error) = closing.close().await {
        end.halt.get_or_insert(Halt::Ledger(error));
    }
    (end, verify.then_some(verified))
}

fn counts(work: &Apply, selected: &Selection) -> Vec<Count> {
    let of = |m: usize| {
        let here = |index: &&usize| work.plan.entry(**index).is_some_and(|(manifest, _)| manifest == m);
        selected.jobs.iter().filter(here).count() as u64
    };
    let manifests = work.manifests.manifests.iter().enumerate();
    manifests
        .map(|(m, manifest)| Count {
            most: work.options.max_failures.unwrap_or(manifest.limits.max_failures),
            to_send: of(m),
            refused: 0,
        })
        .collect()
}

/// What is to be verified of an entry that has just got its session.
fn check_of(context: &Context, lane: &Lane, done: &Done) -> Option<Check> {
    let session = done.session.as_ref()?;
    let item = context.item(done.item);
    let sent = done.sent.clone().unwrap_or_default();
    let imported = done.result == Finished::Settled(Settled::Imported);
    Some(Check {
        entry: done.row?,
        subject: Subject {
            manifest: item.manifest.clone(),
            id: item.id.clone(),
            session_id: session.session_id,
            source_session_id: done.source,
            kind: done.kind,
            sent: Sent {
                workflow_id: sent.workflow_id,
                trust_review: sent.trust_review,
                vendor_data: sent.vendor_data,
            },
            // Of a session that was looked up, the import's own answer is lost.
            import_status: session.status.clone().filter(|_| imported),
            key_environment: lane.client.environment(),
            expect: context.expect(done.item),
        },
        fresh: true,
        accept: false,
    })
}

async fn finish(work: Apply, context: &Context, selected: &Selection, mut ends: Ends, started: Instant) -> Ran {
    if ends.died {
        let untold = from_ledger(&work, context.run, selected, &ends.ended).await;
        ends.ended.add(untold);
    }
    let ended = std::mem::take(&mut ends.ended);
    let outcomes = Arc::new(Told::new(&work.plan, &work.manifests, &work.snapshot, ended));
    let mut findings =
        ends.verified.as_mut().map(|verified| std::mem::take(&mut verified.findings)).unwrap_or_default();
    findings.sort_by(RunFinding::order);
    let mut exit = exit(&work, selected, &outcomes, &findings, &ends);
    let halt = halts(&ends).min_by_key(|halt| halt.condition());
    let requests = work.lanes.iter().map(|lane| lane.requests()).chain([work.partners.requests()]).sum();
    let mut end = RunEnd {
        at: work.means.clock.now(),
        seconds: round(started.elapsed()),
        requests,
        verified: ends.verified.as_ref().map(|verified| (verified.sessions, verified.checked)),
        error: halt.map(run_error),
        conditions: exit.stored(),
    };
    let kept =
        RunEnd { error: halt.map(|halt| RunError { message: halt.kept_message(), ..run_error(halt) }), ..end.clone() };
    if let Err(error) = keep(&work, context, selected, &outcomes, &kept).await {
        // What could not be recorded is told all the same.
        exit.add(Condition::Ledger);
        end.error = Some(run_error(&Halt::Ledger(error)));
        end.conditions = exit.stored();
    }
    tell_end(&work.means, &exit, halts(&ends), started);
    Ran { run: context.run, outcomes, findings, end, exit }
}

/// Tells the end of a run, and what ended it early.
fn tell_end<'h>(means: &Means, exit: &Exit, halts: impl Iterator<Item = &'h Halt>, started: Instant) {
    for halt in halts {
        means.events.tell(Event::Stopped { condition: halt.condition(), message: halt.message() });
    }
    means.events.tell(Event::Ended { code: exit.code(), took: started.elapsed() });
}

/// Keeps what the run reports, what expired unsent, and its end.
async fn keep(
    work: &Apply,
    context: &Context,
    selected: &Selection,
    outcomes: &Arc<Told>,
    end: &RunEnd,
) -> Result<(), LedgerError> {
    let unsent = work.plan.with(|action| action == Action::Expired).filter(|index| selected.is_in(*index));
    let expired: Vec<NewEntry> = (unsent.map(|index| work.plan.item(index)))
        .filter(|item| item.record.is_none())
        .filter_map(|item| Some(describe(context, &item, item.entry?)))
        .collect();
    if !expired.is_empty() {
        context.means.ledger.keep_expired(expired, context.run, job::expired()).await?;
    }
    let told = Arc::clone(outcomes);
    context.means.ledger.report(context.run, outcomes.has_sent_nothing(), move || told.iter()).await?;
    context.means.ledger.end_run(context.run, end.clone()).await
}

fn describe(context: &Context, item: &Item, at: (usize, usize)) -> NewEntry {
    let (manifest, entry) = context.entry(at);
    NewEntry {
        manifest: item.manifest.clone(),
        label: item.id.clone(),
        receiver: crate::plan::receiver(manifest, entry),
        source_session_id: item.source_session_id,
        from_application_id: entry.from_application_id(),
        session_kind: item.session_kind,
        place: item.place.clone(),
    }
}

/// What a lane did whose task died, as the ledger has it: nothing that is on record goes untold.
async fn from_ledger(work: &Apply, run: RunId, selected: &Selection, known: &Ended) -> Vec<End> {
    let Ok(records) = work.means.ledger.records().await else { return Vec::new() };
    let of_run: HashMap<(&str, &str), &Record> = records
        .iter()
        .filter(|record| record.run == run)
        .map(|record| ((record.manifest.as_str(), record.label.as_str()), record))
        .collect();
    let untold = selected.jobs.iter().filter(|index| known.get(**index).is_none());
    untold
        .filter_map(|index| {
            let item = work.plan.item(*index);
            let record = of_run.get(&(item.manifest.as_str(), item.id.as_str()))?;
            let settled = match record.state {
                State::Imported => Settled::Imported,
                State::Refused => Settled::Refused,
                State::Expired => Settled::Expired,
                State::Unknown | State::Sending | State::Erased => Settled::Unknown,
            };
            let error = record.error.clone().or_else(|| (settled == Settled::Unknown).then(job::still_open));
            let done = Done {
                item: *index,
                row: Some(record.id),
                result: Finished::Settled(settled),
                session: record.session.clone(),
                kind: record.session_kind,
                source: record.source_session_id,
                sent: Some(record.settings.clone()),
                attempts: 1,
                took: Duration::ZERO,
                error,
            };
            Some(End::of(done, &work.plan))
        })
        .collect()
}

/// The reported error of a halt.
#[must_use]
pub fn run_error(halt: &Halt) -> RunError {
    let condition = halt.condition();
    RunError { code: condition.code(), name: condition.name().to_owned(), message: halt.message() }
}

fn round(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}

fn exit(work: &Apply, selected: &Selection, outcomes: &Told, findings: &[RunFinding], ends: &Ends) -> Exit {
    let mut exit = Exit::ok();
    exit.add_if(selected.beyond_limit > 0, Condition::Incomplete);
    for (index, outcome) in outcomes.names() {
        if !selected.is_in(index) {
            continue;
        }
        match outcome {
            "refused" if work.plan.action(index) == Action::Invalid => exit.add(Condition::NeedsInput),
            "refused" => exit.add(Condition::Partial),
            "expired" | "needs_token" | "conflict" => exit.add(Condition::NeedsInput),
            // What was not tried to be resolved is no news.
            "unknown" if ends.refused => {}
            "unknown" => exit.add(Condition::UnknownOutcome),
            _ => {}
        }
    }
    exit.add_if(findings.iter().any(RunFinding::is_error), Condition::Findings);
    for halt in &ends.halts {
        exit.add(halt.condition());
    }
    if let Some(verified) = &ends.verified {
        add_verification(&mut exit, verified);
    }
    exit
}

/// The conditions of a verification that did not reach every session.
pub(crate) fn add_verification(exit: &mut Exit, verified: &Verified) {
    for halt in &verified.halts {
        exit.add(halt.condition());
    }
    let told = verified.halts.iter().any(|halt| !halt.is_time_up());
    exit.add_if(!told && verified.checked + verified.left < verified.sessions, Condition::Unavailable);
}

/// What audits need of a manifest.
#[must_use]
pub fn facts(manifest: &crate::manifest::Manifest) -> ManifestFacts {
    ManifestFacts {
        name: manifest.name.clone(),
        path: manifest.path.clone(),
        digest: manifest.digest().to_owned(),
        application_id: manifest.application.id,
        base_url: manifest.application.base(),
        api_key: manifest.application.api_key.to_json(),
        limits: manifest.limits.to_json(),
        expect: manifest.expect.to_json(),
    }
}
