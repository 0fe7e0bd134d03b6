//! The real run in simulated time: planner, dispatcher, limiter, ledger and verification as they are, against an API
//! that is simulated with them. A day passes in a minute or two, so that what is promised of schedules can be shown.
//!
//! ```text
//! Scenario ─► process (a paused runtime of its own) ─► run::apply ─► Api (strict window, counts on arrival)
//!                 │  dies at the scenario's moments                     │  also used by a stranger
//!                 └────────────► the next process, on the same ledger ◄─┘
//! ```
//!
//! tokio's paused clock jumps to the next timer as soon as nothing can go on, so nothing here may wait for a thread:
//! the ledger is opened by [`Ledger::open_for_simulation`], and rules are judged in place.

mod api;
mod bounds;
pub mod fleet;
mod scenario;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use api::Spell;
use api::{Api, Traffic};
pub use bounds::{best_schedule, most_in_time};
pub use scenario::{Minting, Refusal, Scenario};

use crate::didit::{Client, Server};
use crate::ledger::records::Origin;
use crate::ledger::{Ledger, LedgerError, LedgerFile};
use crate::manifest::Manifests;
use crate::plan::{self, Snapshot};
use crate::run::{self, Apply, ApplyOptions, Clock, Events, Lane, Means, Partners, Ran, Request};
use crate::token::FingerprintKey;
use crate::verify::Judging;

/// When simulated time begins.
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// How long it takes to start a process again.
const RESTART: Duration = Duration::from_secs(1);

/// What a scenario came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the start of the first process to the end of the last.
    pub took: Duration,
    /// From the departure of the first write to the answer of the last.
    pub importing: Duration,
    /// Entries with a session.
    pub imported: usize,
    /// Labels of those without, as the last run reports them.
    pub left: BTreeSet<String>,
    /// Labels that the first plan's forecast names as dying before their turn.
    pub forecast_late: BTreeSet<String>,
    /// Sessions verified.
    pub verified: u64,
    /// Processes that it took.
    pub processes: usize,
    /// Writes and reads that the API accepted, and refused with a 429.
    pub traffic: Traffic,
    /// The round trip of each accepted write, in the order in which they left.
    pub round_trips: Vec<Duration>,
    /// How long a minted token waited at most until its import arrived.
    pub longest_wait: Duration,
    /// The last run.
    pub ran: Ran,
}

/// Plays a scenario. The ledger is made in `folder`; `paused_runtime` makes a runtime of one thread whose clock is
/// paused.
pub fn play(scenario: &Scenario, folder: &Path, paused_runtime: impl Fn() -> Runtime) -> Result<Outcome, LedgerError> {
    let api = Arc::new(Api::new(scenario));
    let manifests = Arc::new(scenario.manifests(START));
    let location = LedgerFile { path: folder.join("ledger.db"), allow_network_fs: true };
    let mut begins = START;
    let mut late = None;
    let mut crashes = scenario.crashes.iter().copied();
    for processes in 1.. {
        let process = Process { scenario, api: &api, manifests: &manifests, location: &location, begins };
        let runtime = paused_runtime();
        let dies = crashes.next().map(|at| START + at);
        let (ran, first_late, now) = runtime.block_on(process.live(dies))?;
        late.get_or_insert(first_late);
        // Whatever was under way in it ends here, as with a process.
        drop(runtime);
        if let Some(ran) = ran {
            return Ok(outcome(&ran, &api, now, processes, late.unwrap_or_default()));
        }
        begins = now + RESTART;
    }
    unreachable!("the last process dies of nothing")
}

fn outcome(ran: &Ran, api: &Api, now: Timestamp, processes: usize, forecast_late: BTreeSet<String>) -> Outcome {
    let has_session = |outcome: &&str| matches!(*outcome, "imported" | "recovered" | "unchanged");
    let since_start = |at: Timestamp| Duration::try_from(at.duration_since(START)).unwrap_or_default();
    let left = ran.outcomes.iter().filter(|it| !has_session(&it.outcome.as_str())).map(|it| it.label.clone());
    let left: BTreeSet<String> = left.collect();
    Outcome {
        took: since_start(now),
        importing: api.importing(),
        imported: ran.outcomes.len() - left.len(),
        left,
        forecast_late,
        verified: ran.end.verified.map_or(0, |(_, checked)| checked),
        processes,
        traffic: api.traffic(),
        round_trips: api.round_trips(),
        longest_wait: api.longest_wait(),
        ran: ran.clone(),
    }
}

/// One process from its start to its end or death.
struct Process<'s> {
    scenario: &'s Scenario,
    api: &'s Arc<Api>,
    manifests: &'s Arc<Manifests>,
    location: &'s LedgerFile,
    begins: Timestamp,
}

impl Process<'_> {
    /// Plans and applies. `None` for the run where the process died first.
    async fn live(&self, dies: Option<Timestamp>) -> Result<(Option<Ran>, BTreeSet<String>, Timestamp), LedgerError> {
        let clock = Clock::starting_at(self.begins);
        self.api.set_clock(clock);
        let ledger = Ledger::open_for_simulation(self.location)?;
        let snapshot = Snapshot {
            identity: Some(ledger.identity().clone()),
            records: ledger.records().await?,
            recent: ledger.recent_imports(clock.now()).await?,
        };
        let Ok(plan) = plan::plan(self.manifests, &snapshot, clock.now(), false);
        let doomed = plan.late.items.iter().map(|item| plan.item(*item).id).collect();
        let means = Means { ledger, clock, events: Events::none(), judging: Judging::InPlace };
        let lane = self.lane(&means).await?;
        let (verify, time_limit) = (self.scenario.verify, self.scenario.time_limit);
        let options = ApplyOptions { verify, time_limit, ..ApplyOptions::default() };
        let origin = Origin { actor: "simulation".to_owned(), reason: None, reference: None };
        let work = Apply {
            lane_of: vec![Some(0)],
            lanes: vec![lane],
            partners: self.partners(&means).await?,
            secrets: self.scenario.secrets(START),
            manifests: Arc::clone(self.manifests),
            means,
            snapshot: Arc::new(snapshot),
            plan: Arc::new(plan),
            options,
            origin,
        };
        let (_sender, stop) = watch::channel(Request::GoOn);
        let applied = run::apply(work, stop);
        let ran = match dies {
            None => Some(applied.await?),
            Some(at) => {
                let left = Duration::try_from(at.duration_since(self.begins)).unwrap_or_default();
                tokio::time::timeout(left, applied).await.ok().transpose()?
            }
        };
        Ok((ran, doomed, clock.now()))
    }

    async fn lane(&self, means: &Means) -> Result<Arc<Lane>, LedgerError> {
        let manifest = &self.manifests.manifests[0];
        let client = Client::in_process(&manifest.application.base_url, Arc::clone(self.api) as Arc<dyn Server>);
        let key = FingerprintKey::from_bytes([1; 32]).fingerprint(b"the key");
        let lane = Lane::new(client, key, manifest.application.base(), manifest.limits.clone(), means.clone());
        let now = means.clock.now();
        lane.recall(&means.ledger.recent_requests(key, now).await?, now);
        Ok(Arc::new(lane))
    }
}

impl Process<'_> {
    /// The partner that mints, at the same API with a key of its own.
    async fn partners(&self, means: &Means) -> Result<Partners, LedgerError> {
        let mut partners = Partners::default();
        let manifest = &self.manifests.manifests[0];
        for partner in &manifest.partners {
            let base = manifest.application.base();
            let client = Client::in_process(&manifest.application.base_url, Arc::clone(self.api) as Arc<dyn Server>);
            let key = FingerprintKey::from_bytes([1; 32]).fingerprint(b"the partner's key");
            let (limit, timeout) = (partner.writes_per_minute, manifest.limits.timeout);
            let minting = run::Partner::new(client, key, base, limit, timeout, means.clone());
            let now = means.clock.now();
            minting.recall(&means.ledger.recent_requests(key, now).await?, now);
            partners.add(manifest, &partner.name, minting);
        }
        Ok(partners)
    }
}

/// So long after the start of simulated time.
fn after(start: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    start.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod guards;
#[cfg(test)]
mod tests;
