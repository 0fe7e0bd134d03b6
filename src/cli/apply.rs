//! `apply`: plans, asks, imports, records, verifies.

use std::sync::Arc;

use jiff::Timestamp;

use super::args::{ApplyArgs, Global};
use super::setup::{Held, Kept, Receiver};
use super::signals::Signals;
use super::up_to_date::Candidate;
use super::{Failure, origin, reviewed, setup, view};
use crate::console::{Console, Style};
use crate::exit::{Condition, Exit};
use crate::ledger::records::EntryId;
use crate::ledger::{LedgerError, Purpose};
use crate::manifest::{LoadOptions, Manifests};
use crate::plan::{self, Action, Due, Item, Past as _, Plan, Snapshot};
use crate::progress;
use crate::report::text;
use crate::run::{self, Apply, ApplyOptions, Event, Events, Lane, Means, Reviewed, TimeLimit};

pub(super) async fn run(
    args: &ApplyArgs,
    global: &Global,
    console: &Console,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let interactive = !args.yes;
    if interactive && !console.can_ask() {
        return Err(Failure::new(Condition::Usage, "there is no terminal to ask on")
            .with_help("look at the plan first (didit-sync plan), then pass --yes"));
    }
    let saved = args.plan.as_deref().map(reviewed::read).transpose()?;
    let paths = &args.manifests.manifests;
    let options_of_load = LoadOptions { sending: true, contents: Some(Arc::default()), ..setup::options(global) };
    let manifests = setup::load_with(paths, &options_of_load, console)?;
    let mut candidate = Candidate::new(paths, options_of_load, &manifests);
    if args.require_ledger {
        setup::require_ledger(global)?;
    }
    let Held { lock, ledger } = setup::hold(global, Purpose::Apply, args.origin.wait_lock)?;
    if let Some(candidate) = &mut candidate {
        candidate.look(&ledger).await?;
    }
    let now = Timestamp::now();
    let past = setup::past(global)?;
    let plan = plan::plan(&manifests, &past, now, args.retry_refused)?;
    let snapshot = of_plan(&plan, &past)?;
    drop(past);
    let shown_plan = text::plan(&manifests, &plan, now, console.style());
    if !args.output.json.json {
        console.out(&format!("{shown_plan}\n"));
    } else if interactive {
        console.err(&shown_plan);
    }
    check_names(&args.only, &plan)?;
    let reviewed = match saved {
        Some(saved) => Some(saved.judge(&ledger, &manifests, &plan).await?),
        None => None,
    };
    let is_refused = reviewed.as_ref().is_some_and(|reviewed| reviewed.refused.is_some());
    let (events, receiver) = Events::channel();
    let means = Means::new(ledger.clone(), events.clone());
    let wanted = if is_refused { Vec::new() } else { wanted(&plan, &args.only) };
    let (lanes, lane_of) = lanes(&manifests, &wanted, global, &means).await?;
    let asked = Asked { manifests: &manifests, snapshot: &snapshot, plan: &plan, lanes: &lanes, lane_of: &lane_of };
    if interactive && !wanted.is_empty() && !asked.agrees(args, now, console) {
        return Err(Failure::new(Condition::Incomplete, "not carried out; nothing was sent"));
    }
    setup::recall(&means, lanes.iter()).await?;
    let partners = setup::partners(&manifests, &wanted, global, &means, &lanes).await?;
    setup::recall_partners(&means, &partners).await?;
    let stop = signals.begin(args.grace)?;
    let display = tokio::spawn(progress::show(progress_mode(global), console.clone(), receiver));
    let origin = origin::of_process(&args.origin);
    let work = Apply {
        secrets: setup::token_policy(global, &manifests),
        manifests,
        origin: origin.clone(),
        means,
        snapshot: Arc::new(snapshot),
        plan: Arc::new(plan),
        lanes,
        lane_of,
        partners,
        options: options(args, reviewed),
    };
    events.tell(Event::Phase("importing".to_owned()));
    let ran = run::apply(work, stop).await;
    events.tell(Event::Finished);
    // The display only shows; its end is not worth an error.
    let _ = display.await;
    let ran = ran.map_err(|error| view::broken_off(error, now, &args.output, global, console))?;
    let is_up_to_date = ran.exit.code() == 0 && ran.outcomes.are_up_to_date();
    let noting =
        candidate.filter(|_| is_up_to_date).map(|candidate| (candidate, ledger, ran.run, ran.outcomes.imported()));
    let exit = view::show_run("apply", ran, origin, &args.output, global, console);
    if let Some((candidate, ledger, run, imported)) = noting
        && let Err(error) = candidate.note(&ledger, run, imported).await
    {
        // It only saves time.
        tracing::debug!(%error, "what is up to date is not noted");
    }
    drop(lock);
    Ok(exit)
}

/// What the ledger knows of the entries of a plan that are not as they should be. Of the others, however many there are,
/// nothing is kept.
fn of_plan(plan: &Plan, past: &Kept) -> Result<Snapshot, LedgerError> {
    let open = plan.with(|action| action != Action::Unchanged);
    let mut ids: Vec<EntryId> = open.filter_map(|index| plan.record(index)).collect();
    ids.sort_unstable();
    let records = past.records(&ids)?;
    Ok(Snapshot { identity: past.identity().cloned(), records, recent: past.recent().to_vec() })
}

/// What somebody is asked about.
struct Asked<'a> {
    manifests: &'a Manifests,
    snapshot: &'a Snapshot,
    plan: &'a Plan,
    lanes: &'a [Arc<Lane>],
    lane_of: &'a [Option<usize>],
}

impl Asked<'_> {
    /// Tells what is about to happen, and asks.
    fn agrees(&self, args: &ApplyArgs, now: Timestamp, console: &Console) -> bool {
        let pending = self.plan.with_pending().map(|index| self.plan.item(index));
        let items: Vec<Item> = pending.filter(|item| is_wanted(item, &args.only)).collect();
        let shares: Vec<text::Share<'_>> = (self.manifests.manifests.iter().enumerate())
            .filter_map(|(m, manifest)| {
                let key = self.lanes.get(self.lane_of.get(m).copied()??)?.key;
                let here = |item: &&Item| item.entry.is_some_and(|(of, _)| of == m);
                Some(text::Share { manifest, key, items: items.iter().filter(here).collect() })
            })
            .collect();
        let limit = args.limit.filter(|limit| *limit < items.len() as u64);
        let due = items.iter().zip(0..).filter_map(|(item, index)| Due::of(item, index));
        let (forecast, _) = plan::forecast(due, self.manifests, &self.snapshot.recent, now);
        let style = Style { color: console.style().color_err, ..console.style() };
        console.err(&text::question(&shares, forecast, limit, style));
        console.ask("Carry this out? Only `yes` does: ")
    }
}

fn options(args: &ApplyArgs, reviewed: Option<Reviewed>) -> ApplyOptions {
    ApplyOptions {
        only: args.only.clone(),
        limit: args.limit,
        max_failures: args.max_failures,
        max_trusted: args.max_trusted,
        verify: !args.no_verify,
        time_limit: args.max_duration.map(|most| TimeLimit { most, grace: args.grace }),
        reviewed,
    }
}

/// A misspelt `--only` must not pass for nothing to do.
fn check_names(only: &[String], plan: &Plan) -> Result<(), Failure> {
    match only.iter().find(|name| !plan.items().any(|item| item.is_named(name))) {
        None => Ok(()),
        Some(name) => {
            let name = crate::text::inert(name);
            Err(Failure::new(Condition::Usage, format!("--only {name}: the manifests have no such entry"))
                .with_help("name entries by id or source session, as `didit-sync plan` shows them"))
        }
    }
}

pub(super) fn progress_mode(global: &Global) -> progress::Mode {
    use std::io::IsTerminal as _;
    match global.progress {
        progress::Mode::Auto if std::io::stderr().is_terminal() && !is_dumb() => progress::Mode::Bars,
        progress::Mode::Auto => progress::Mode::Plain,
        asked => asked,
    }
}

/// A terminal that can't move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The entries, by manifest, for which something is to be sent.
fn wanted(plan: &Plan, only: &[String]) -> Vec<(usize, usize)> {
    let is_wanted = |index: &usize| only.is_empty() || is_wanted(&plan.item(*index), only);
    plan.with_pending().filter(is_wanted).filter_map(|index| plan.entry(index)).collect()
}

fn is_wanted(item: &Item, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| item.is_named(name))
}

/// The lanes of the manifests for which something is to be sent; no other key is read.
async fn lanes(
    manifests: &Manifests,
    wanted: &[(usize, usize)],
    global: &Global,
    means: &Means,
) -> Result<(Vec<Arc<Lane>>, Vec<Option<usize>>), Failure> {
    let is_pending = |m: usize| wanted.iter().any(|(of, _)| *of == m);
    let pending: Vec<usize> = (0..manifests.manifests.len()).filter(|m| is_pending(*m)).collect();
    let receivers: Vec<Receiver> = pending.iter().map(|m| Receiver::of(&manifests.manifests[*m])).collect();
    let (lanes, of) = setup::lanes(&receivers, global, means).await?;
    let mut lane_of = vec![None; manifests.manifests.len()];
    for (m, lane) in pending.into_iter().zip(of) {
        lane_of[m] = Some(lane);
    }
    Ok((lanes, lane_of))
}
