//! `audit`: fetches imported sessions again. Needs no token, and, for what the ledger keeps of each manifest, no
//! manifest.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::apply::progress_mode;
use super::args::{AuditArgs, Global};
use super::expectations::Rules;
use super::names::{self, Named, Problems};
use super::setup::{Held, Receiver};
use super::signals::Signals;
use super::{Failure, origin, setup, view};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{EntryId, ManifestFacts, Record, State};
use crate::ledger::{Ledger, Purpose};
use crate::manifest::{Code, Limits, Manifests, SecretRef};
use crate::plan::{self, Action, Item, Snapshot};
use crate::progress;
use crate::run::{self, Accept, Audit, Check, Event, Events, Lane, Means, Offline, TimeLimit};
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
    let Held { ledger, lock } = setup::hold(global, Purpose::Audit, &args.origin)?;
    let records = ledger.records().await?;
    let facts: HashMap<String, ManifestFacts> =
        ledger.manifests().await?.into_iter().map(|facts| (facts.name.clone(), facts)).collect();
    let snapshot = Snapshot { identity: Some(ledger.identity().clone()), records, recent: Vec::new() };
    let items = items(manifests.as_ref(), &snapshot);
    let mut rules = Rules::new(manifests.as_deref(), &items, &facts, ledger.kept_rules().await?);
    let mut chosen = chosen(manifests.as_deref(), &items, &snapshot);
    chosen.sort_by_key(|record| (record.audited_at, record.id));
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let limited = chosen.len() > limit;
    chosen.truncate(limit);
    let accepted = accepted(args, &chosen, &snapshot, &ledger)?;
    let chosen: HashSet<EntryId> = chosen.iter().map(|record| record.id).collect();
    let chosen = only(snapshot.records, &chosen);
    let origin = origin::of_process(&args.origin);
    if args.offline {
        let checks =
            chosen.into_iter().filter_map(|record| check(record, None, false, Expectations::default())).collect();
        // One moment's work, which a signal does not cut short.
        signals.begin(Duration::ZERO)?;
        let work = Offline { means: Means::new(ledger, Events::none()), checks, limited, origin: origin.clone() };
        let began = jiff::Timestamp::now();
        let ran = run::audit_offline(work).await;
        let ran = ran.map_err(|error| view::broken_off(error, began, &args.output, global, console))?;
        let exit = view::show_run("audit", ran, origin, &args.output, global, console);
        drop(lock);
        return exit;
    }
    let (events, receiver) = Events::channel();
    let means = Means::new(ledger, events.clone());
    let lanes = lanes(chosen, &facts, manifests.as_deref(), &mut rules, global, &means, &accepted).await?;
    setup::recall(&means, lanes.iter().map(|(lane, _)| lane)).await?;
    let stop = signals.begin(Duration::ZERO)?;
    let display = tokio::spawn(progress::show(progress_mode(global), console.clone(), receiver));
    let time_limit = args.max_duration.map(|most| TimeLimit { most, grace: Duration::ZERO });
    let began = jiff::Timestamp::now();
    let accept = Accept { location: setup::location(global), wait: args.origin.wait_lock };
    let accept = (!accepted.is_empty()).then_some(accept);
    let work = Audit { means, lanes, limited, time_limit, accept, origin: origin.clone() };
    events.tell(Event::Phase("auditing".to_owned()));
    let ran = run::audit(work, stop).await;
    events.tell(Event::Finished);
    // The display only shows; its end is not worth an error.
    let _ = display.await;
    let ran = ran.map_err(|error| view::broken_off(error, began, &args.output, global, console))?;
    let exit = view::show_run("audit", ran, origin, &args.output, global, console);
    drop(lock);
    exit
}

/// What is planned of the manifests given: which entry is which record.
fn items(manifests: Option<&Arc<Manifests>>, snapshot: &Snapshot) -> Vec<Item> {
    let Some(manifests) = manifests else { return Vec::new() };
    let Ok(plan) = plan::plan(manifests, snapshot, jiff::Timestamp::now(), false);
    plan.items().collect()
}

/// The entries whose sessions are to be accepted as they are. Each must be looked at: only what is seen is accepted.
fn accepted(
    args: &AuditArgs,
    chosen: &[&Record],
    snapshot: &Snapshot,
    ledger: &Ledger,
) -> Result<HashSet<EntryId>, Failure> {
    if !args.accept.is_empty() && args.origin.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(Failure::new(Condition::Usage, "--accept needs a --reason")
            .with_help("say why what is there is right; it is kept with the run"));
    }
    if args.accept.iter().any(|name| name == ALL) {
        return Ok(chosen.iter().map(|record| record.id).collect());
    }
    let mut problems = Problems::new(None);
    let mut accepted = HashSet::new();
    for name in args.accept.iter().map(|name| Named::given(name)) {
        let Some(record) = names::find(&snapshot.records, &ledger.identity().key, &name, &mut problems) else {
            continue;
        };
        if chosen.iter().any(|chosen| chosen.id == record.id) {
            accepted.insert(record.id);
        } else {
            let message = format!("`{}` is not among the sessions of this audit", inert(&name.name));
            problems.add(&name, Code::BadValue, message, "only what an audit sees can be accepted; see --limit");
        }
    }
    problems.check()?;
    Ok(accepted)
}

/// The imported sessions of the manifests, or all.
fn chosen<'s>(manifests: Option<&Manifests>, items: &[Item], snapshot: &'s Snapshot) -> Vec<&'s Record> {
    let imported = |record: &&Record| record.state == State::Imported && record.session.is_some();
    if manifests.is_none() {
        return snapshot.records.iter().filter(imported).collect();
    }
    let kept = items.iter().filter(|item| item.action != Action::Erased);
    kept.filter_map(|item| snapshot.record(item.record?)).filter(imported).collect()
}

/// The chosen ones of these records, those first that were audited longest ago.
fn only(mut records: Vec<Record>, chosen: &HashSet<EntryId>) -> Vec<Record> {
    records.retain(|record| chosen.contains(&record.id));
    records.sort_unstable_by_key(|record| (record.audited_at, record.id));
    records
}

async fn lanes(
    chosen: Vec<Record>,
    facts: &HashMap<String, ManifestFacts>,
    manifests: Option<&Manifests>,
    rules: &mut Rules<'_>,
    global: &Global,
    means: &Means,
    accepted: &HashSet<EntryId>,
) -> Result<Vec<(Arc<Lane>, Vec<Check>)>, Failure> {
    let names: BTreeSet<&str> = chosen.iter().map(|record| record.manifest.as_str()).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut receivers = Vec::new();
    for name in &names {
        receivers.push(receiver(name, facts, manifests, global)?);
    }
    let (lanes, of) = setup::lanes(&receivers, global, means).await?;
    let mut checks: Vec<Vec<Check>> = lanes.iter().map(|_| Vec::new()).collect();
    for record in chosen {
        if let Ok(at) = names.binary_search(&record.manifest) {
            let lane = of[at];
            let expect = rules.of(&record)?;
            let accept = accepted.contains(&record.id);
            checks[lane].extend(check(record, Some(&lanes[lane]), accept, expect));
        }
    }
    Ok(lanes.into_iter().zip(checks).collect())
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

fn check(record: Record, lane: Option<&Arc<Lane>>, accept: bool, expect: Expectations) -> Option<Check> {
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
            key_environment: lane.and_then(|lane| lane.client.environment()),
            expect,
        },
        fresh: false,
        accept,
    })
}
