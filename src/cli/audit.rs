//! `audit`: fetches imported sessions again. Needs no token, and, for what the ledger keeps of each manifest, no
//! manifest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::apply::progress_mode;
use super::args::{AuditArgs, Global};
use super::expectations::Rules;
use super::names::{self, Named, Problems};
use super::setup::{Held, Kept, Receiver};
use super::signals::Signals;
use super::{Failure, origin, setup, view};
use crate::console::Console;
use crate::didit::Environment;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{EntryId, ManifestFacts, Record, State};
use crate::ledger::{Auditables, Ledger, LedgerError, Purpose, Reader};
use crate::manifest::{Code, Limits, Manifests, SecretRef};
use crate::plan::{self, Action, Past as _};
use crate::progress;
use crate::run::{self, Accept, Audit, Check, Event, Events, Lane, Means, Offline, Sessions, TimeLimit};
use crate::text::inert;
use crate::verify::{Expectations, Sent, Subject};

/// `--accept all`.
const ALL: &str = "all";

pub(super) async fn run(
    args: &AuditArgs,
    global: &Global,
    console: &Console,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let manifests = if args.manifests.is_empty() {
        None
    } else {
        Some(setup::load_without_tokens(&args.manifests, global, console)?)
    };
    setup::require_ledger(global)?;
    let Held { ledger, lock } = setup::hold(global, Purpose::Audit, args.origin.wait_lock)?;
    let facts: HashMap<String, ManifestFacts> =
        ledger.manifests().await?.into_iter().map(|facts| (facts.name.clone(), facts)).collect();
    let past = setup::past(global)?;
    let planned = planned(manifests.as_ref(), &past)?;
    let mut chosen = match &manifests {
        None => Reader::require(&setup::location(global)?)?.auditables()?,
        Some(_) => of_manifests(&planned, &past)?,
    };
    chosen.entries.sort_unstable();
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let limited = chosen.entries.len() > limit;
    chosen.entries.truncate(limit);
    let accepted = accepted(args, &chosen, &ledger).await?;
    let origin = origin::of_process(&args.origin);
    if args.offline {
        drop(past);
        let entries = chosen.entries.iter().map(|it| it.id).collect();
        // One moment's work, which a signal does not cut short.
        signals.begin(Duration::ZERO)?;
        let work = Offline {
            means: Means::new(ledger, Events::none()),
            entries,
            check: |record| check(record, None, false, Expectations::default()),
            limited,
            origin: origin.clone(),
        };
        let began = jiff::Timestamp::now();
        let ran = run::audit_offline(work).await;
        let ran = ran.map_err(|error| view::broken_off(error, began, &args.output, global, console))?;
        let exit = view::show_run("audit", ran, origin, &args.output, global, console);
        drop(lock);
        return Ok(exit);
    }
    let (events, receiver) = Events::channel();
    let means = Means::new(ledger, events.clone());
    let known = Known { facts, manifests, planned, accepted: Arc::new(accepted) };
    let is_accepting = !known.accepted.is_empty();
    let lanes = lanes(&chosen, known, global, &means).await?;
    drop((past, chosen));
    setup::recall(&means, lanes.iter().map(|(lane, _)| lane)).await?;
    let stop = signals.begin(Duration::ZERO)?;
    let display = tokio::spawn(progress::show(progress_mode(global), console.clone(), receiver));
    let time_limit = args.max_duration.map(|most| TimeLimit { most, grace: Duration::ZERO });
    let began = jiff::Timestamp::now();
    let accept = Accept { location: setup::location(global)?, wait: args.origin.wait_lock };
    let accept = is_accepting.then_some(accept);
    let work = Audit { means, lanes, limited, time_limit, accept, origin: origin.clone() };
    events.tell(Event::Phase("auditing".to_owned()));
    let ran = run::audit(work, stop).await;
    events.tell(Event::Finished);
    // The display only shows; its end is not worth an error.
    let _ = display.await;
    let ran = ran.map_err(|error| view::broken_off(error, began, &args.output, global, console))?;
    let exit = view::show_run("audit", ran, origin, &args.output, global, console);
    drop(lock);
    Ok(exit)
}

/// An entry on record that is meant by the manifests given, and, but of an orphan, where it stands in them.
pub(super) type Planned = (EntryId, Option<(usize, usize)>);

/// What is planned of the manifests given: which entry is which record.
fn planned(manifests: Option<&Arc<Manifests>>, past: &Kept) -> Result<Vec<Planned>, LedgerError> {
    let Some(manifests) = manifests else { return Ok(Vec::new()) };
    let plan = plan::plan(manifests, past, jiff::Timestamp::now(), false)?;
    let kept = plan.with(|action| action != Action::Erased);
    Ok(kept.filter_map(|index| Some((plan.record(index)?, plan.entry(index)))).collect())
}

/// How many entries are read at once.
const AT_ONCE: usize = 16_000;

/// The imported ones of these.
fn of_manifests(planned: &[Planned], past: &Kept) -> Result<Auditables, LedgerError> {
    let mut all = Auditables::default();
    for few in planned.chunks(AT_ONCE) {
        let ids: Vec<EntryId> = few.iter().map(|(id, _)| *id).collect();
        for record in past.records(&ids)?.iter().filter(|it| it.state == State::Imported && it.session.is_some()) {
            all.add(record.id, record.audited_at.map(jiff::Timestamp::as_millisecond), &record.manifest);
        }
    }
    Ok(all)
}

/// The entries whose sessions are to be accepted as they are. Each must be looked at: only what is seen is accepted.
async fn accepted(args: &AuditArgs, chosen: &Auditables, ledger: &Ledger) -> Result<HashSet<EntryId>, Failure> {
    if args.accept.is_empty() {
        return Ok(HashSet::new());
    }
    if args.origin.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(Failure::new(Condition::Usage, "--accept needs a --reason")
            .with_help("say why what is there is right; it is kept with the run"));
    }
    let looked_at: HashSet<EntryId> = chosen.entries.iter().map(|it| it.id).collect();
    if args.accept.iter().any(|name| name == ALL) {
        return Ok(looked_at);
    }
    let named: Vec<Named> = args.accept.iter().map(|name| Named::given(name)).collect();
    let records = names::candidates(ledger, named.iter().map(|named| &*named.name)).await?;
    let mut problems = Problems::new(None);
    let mut accepted = HashSet::new();
    for name in named {
        let Some(record) = names::find(&records, &ledger.identity().key, &name, &mut problems) else {
            continue;
        };
        if looked_at.contains(&record.id) {
            accepted.insert(record.id);
        } else {
            let message = format!("`{}` is not among the sessions of this audit", inert(&name.name));
            problems.add(&name, Code::BadValue, message, "only what an audit sees can be accepted; see --limit");
        }
    }
    problems.check()?;
    Ok(accepted)
}

/// What is known of the sessions of an audit.
struct Known {
    facts: HashMap<String, ManifestFacts>,
    manifests: Option<Arc<Manifests>>,
    planned: Vec<Planned>,
    accepted: Arc<HashSet<EntryId>>,
}

/// The lanes, each with what is to be looked at, which is read from the ledger as it comes to that.
async fn lanes(
    chosen: &Auditables,
    known: Known,
    global: &Global,
    means: &Means,
) -> Result<Vec<(Arc<Lane>, Sessions)>, Failure> {
    let is_met: HashSet<u32> = chosen.entries.iter().map(|it| it.manifest).collect();
    let met = chosen.manifests.iter().zip(0..).filter(|(_, at)| is_met.contains(at));
    let mut names: Vec<&str> = met.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let Known { facts, manifests, planned, accepted } = known;
    let kept = means.ledger.kept_rules().await?;
    let rules = Arc::new(Rules::new(manifests.as_deref(), &planned, &names, &facts, kept)?);
    let mut receivers = Vec::new();
    for name in &names {
        receivers.push(receiver(name, &facts, manifests.as_deref(), global)?);
    }
    let (lanes, of) = setup::lanes(&receivers, global, means).await?;
    let lane_of: Vec<Option<usize>> =
        chosen.manifests.iter().map(|name| Some(of[names.binary_search(&name.as_str()).ok()?])).collect();
    let mut entries: Vec<Vec<EntryId>> = vec![Vec::new(); lanes.len()];
    for it in &chosen.entries {
        if let Some(lane) = lane_of[it.manifest as usize] {
            entries[lane].push(it.id);
        }
    }
    let of_lane = |(at, (lane, entries)): (usize, (Arc<Lane>, Vec<EntryId>))| {
        let its_own = names.iter().zip(&of).filter(|(_, lane)| **lane == at);
        let here: HashSet<String> = its_own.map(|(name, _)| (*name).to_owned()).collect();
        let (rules, accepted, environment) = (Arc::clone(&rules), Arc::clone(&accepted), lane.client.environment());
        let check = move |record: Record| {
            // It may have been forgotten, and imported again elsewhere.
            if !here.contains(&record.manifest) {
                return None;
            }
            let (accept, expect) = (accepted.contains(&record.id), rules.of(&record));
            check(record, environment, accept, expect)
        };
        (lane, Sessions::of(&means.ledger, entries, Box::new(check)))
    };
    Ok(lanes.into_iter().zip(entries).enumerate().map(of_lane).collect())
}

/// Where a manifest's sessions are: as the manifest given says, else as the ledger keeps of its last apply.
pub(super) fn receiver(
    name: &str,
    facts: &HashMap<String, ManifestFacts>,
    manifests: Option<&Manifests>,
    global: &Global,
) -> Result<Receiver, Failure> {
    let given = manifests.and_then(|manifests| manifests.manifests.iter().find(|manifest| manifest.name == name));
    if let Some(manifest) = given {
        return Ok(Receiver::of(manifest));
    }
    let damaged = || Failure::new(Condition::Ledger, format!("the ledger keeps no usable facts of manifest {name}"));
    let facts = facts.get(name).ok_or_else(damaged)?;
    let base_url = Url::parse(&facts.base_url).map_err(|_| damaged())?;
    setup::check_host(&base_url, global)?;
    Ok(Receiver {
        base_url,
        application_id: facts.application_id,
        api_key: SecretRef::from_json(&facts.api_key).ok_or_else(damaged)?,
        limits: Limits::from_json(&facts.limits),
    })
}

fn check(record: Record, environment: Option<Environment>, accept: bool, expect: Expectations) -> Option<Check> {
    let session = record.session?;
    let sent = record.settings;
    Some(Check {
        entry: record.id,
        subject: Subject {
            manifest: record.manifest,
            id: record.label,
            session_id: session.session_id,
            source_session_id: record.source_session_id,
            kind: record.session_kind,
            sent: Sent {
                workflow_id: sent.workflow_id,
                trust_review: sent.trust_review,
                vendor_data: sent.vendor_data,
            },
            // Of a session that was looked up, the import's own answer is lost.
            import_status: session.status.filter(|_| record.answered),
            key_environment: environment,
            expect,
        },
        fresh: false,
        accept,
    })
}
