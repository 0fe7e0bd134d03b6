//! What several commands need: manifests, ledger, keys and lanes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use uuid::Uuid;

use super::Failure;
use super::args::Global;
use crate::console::Console;
use crate::didit::{ApiKey, Client};
use crate::exit::Condition;
use crate::ledger::records::{EntryId, Identity, RecentImports, Record, Sketch, Sought};
use crate::ledger::{Ledger, LedgerError, Location, Lock, Purpose, Reader};
use crate::manifest::{
    self, Application, Environment, Limits, LoadOptions, Manifest, Manifests, SecretPolicy, SecretRef,
};
use crate::plan::Past;
use crate::run::{self, Lane, Means, Partners};

pub(super) fn location(global: &Global) -> Result<Location, LedgerError> {
    let location = Location::parse(&global.ledger, global.allow_network_fs, &|name| std::env::var_os(name))?;
    Ok(location.waiting(global.wait_ledger))
}

/// Loads manifests for a command that sends nothing.
pub(super) fn load(paths: &[String], global: &Global, console: &Console) -> Result<Arc<Manifests>, Failure> {
    load_with(paths, &options(global), console)
}

/// Loads manifests for a command that reads sessions, for which it needs a key but no tokens.
pub(super) fn load_without_tokens(
    paths: &[String],
    global: &Global,
    console: &Console,
) -> Result<Arc<Manifests>, Failure> {
    load_with(paths, &LoadOptions { sending: true, tokens: false, ..options(global) }, console)
}

/// How manifests are loaded for a command that sends nothing.
pub(super) fn options(global: &Global) -> LoadOptions {
    LoadOptions {
        roots: global.roots.clone(),
        allow_exec: global.allow_exec,
        allow_hosts: global.allow_hosts.clone(),
        env: Environment::process(),
        ..LoadOptions::default()
    }
}

/// Loads manifests, saying their warnings.
pub(super) fn load_with(paths: &[String], options: &LoadOptions, console: &Console) -> Result<Arc<Manifests>, Failure> {
    let manifests = manifest::load(paths, options)?;
    super::failure::say_diagnostics(&manifests.warnings, console);
    Ok(Arc::new(manifests))
}

/// What the ledger knows, read without changing anything; a missing one is empty.
pub(super) fn past(global: &Global) -> Result<Kept, Failure> {
    let reader = Reader::open(&location(global)?)?;
    let identity = reader.as_ref().map(Reader::identity).transpose()?;
    let recent = reader.as_ref().map_or(Ok(Vec::new()), |reader| reader.recent_imports(jiff::Timestamp::now()))?;
    Ok(Kept { reader, identity, recent })
}

/// What the ledger knows, as a plan reads it.
#[derive(Default)]
pub(super) struct Kept {
    reader: Option<Reader>,
    identity: Option<Identity>,
    recent: Vec<RecentImports>,
}

impl Past for Kept {
    type Error = LedgerError;

    fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    fn recent(&self) -> &[RecentImports] {
        &self.recent
    }

    fn see_all<S: Send>(
        &self,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, LedgerError> {
        self.reader.as_ref().map_or(Ok(Vec::new()), |reader| reader.see_all(begin, see))
    }

    fn see_those<S: Send>(
        &self,
        sought: &Sought<'_>,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, LedgerError> {
        let Some(reader) = &self.reader else { return Ok(Vec::new()) };
        match reader.see_those(sought, &begin, &see)? {
            Some(seen) => Ok(vec![seen]),
            None => reader.see_all(begin, see),
        }
    }

    fn records(&self, ids: &[EntryId]) -> Result<Vec<Record>, LedgerError> {
        self.reader.as_ref().map_or(Ok(Vec::new()), |reader| reader.records_of(ids))
    }
}

/// The ledger with its lock. The lock is released last.
pub(super) struct Held {
    pub(super) ledger: Ledger,
    pub(super) lock: Lock,
}

/// Takes the lock and opens the ledger for writing.
pub(super) fn hold(global: &Global, purpose: Purpose, wait: Duration) -> Result<Held, Failure> {
    let location = location(global)?;
    let lock = Lock::take(&location, purpose, wait)?;
    let ledger = Ledger::open_held(&location, &lock)?;
    Ok(Held { ledger, lock })
}

/// A file that a killed run had only begun to make is no ledger.
pub(super) fn require_ledger(global: &Global) -> Result<(), Failure> {
    Ok(Reader::require(&location(global)?).map(drop)?)
}

/// How keys are read.
fn key_policy(global: &Global, timeout: Duration) -> SecretPolicy {
    SecretPolicy { allow_exec: global.allow_exec, timeout, env: Environment::process(), withheld: Vec::new() }
}

/// How tokens are read: programs that give one are not given the keys of the manifests.
pub(super) fn token_policy(global: &Global, manifests: &Manifests) -> SecretPolicy {
    let manifests = &manifests.manifests;
    let timeout = manifests.iter().map(|manifest| manifest.limits.timeout).max().unwrap_or_default();
    let variable = |manifest: &Manifest| match &manifest.application.api_key {
        SecretRef::Env(name) => Some(name.clone()),
        SecretRef::File { .. } | SecretRef::Exec { .. } => None,
    };
    SecretPolicy { withheld: manifests.iter().filter_map(variable).collect(), ..key_policy(global, timeout) }
}

/// One receiving application of a command.
pub(super) struct Receiver {
    pub(super) base_url: Url,
    pub(super) application_id: Option<Uuid>,
    pub(super) api_key: SecretRef,
    pub(super) limits: Limits,
}

impl Receiver {
    /// The one that a manifest names.
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self::at(&manifest.application, manifest.limits.clone())
    }

    /// This application, with these limits.
    pub(super) fn at(application: &Application, limits: Limits) -> Self {
        Self {
            base_url: application.base_url.clone(),
            application_id: application.id,
            api_key: application.api_key.clone(),
            limits,
        }
    }
}

/// Makes the lanes of these receivers, reading each key; receivers with the same base URL and key share one. The
/// second value names each receiver's lane.
pub(super) async fn lanes(
    receivers: &[Receiver],
    global: &Global,
    means: &Means,
) -> Result<(Vec<Arc<Lane>>, Vec<usize>), Failure> {
    let mut keys = Vec::new();
    let mut grouped: Vec<(String, Limits)> = Vec::new();
    let mut known: HashMap<(String, [u8; 32]), usize> = HashMap::new();
    let mut lane_of = Vec::new();
    for receiver in receivers {
        let key = read_key(&receiver.api_key, global, receiver.limits.timeout).await?;
        let base = receiver.base_url.as_str().trim_end_matches('/').to_owned();
        let fingerprint = key.fingerprint(&means.ledger.identity().key);
        let lane = *known.entry((base.clone(), *fingerprint.as_bytes())).or_insert(grouped.len());
        if lane == grouped.len() {
            grouped.push((base, receiver.limits.clone()));
            keys.push((key, fingerprint, receiver));
        } else {
            grouped[lane].1 = grouped[lane].1.narrowest(&receiver.limits);
        }
        lane_of.push(lane);
    }
    let mut lanes = Vec::new();
    for ((key, fingerprint, receiver), (base, limits)) in keys.into_iter().zip(grouped) {
        let client = Client::new(&receiver.base_url, key, limits.timeout)?.for_application(receiver.application_id);
        lanes.push(Arc::new(Lane::new(client, fingerprint, base, limits, means.clone())));
    }
    Ok((lanes, lane_of))
}

/// Lets the lanes count what earlier runs sent in the last minute.
pub(super) async fn recall<'l>(means: &Means, lanes: impl Iterator<Item = &'l Arc<Lane>>) -> Result<(), Failure> {
    let now = means.clock.now();
    for lane in lanes {
        let recent = means.ledger.recent_requests(lane.key, now).await?;
        lane.recall(&recent, now);
    }
    Ok(())
}

/// The partners that mint for these entries, reading each one's key. A key that a lane receives with has one budget
/// for both.
pub(super) async fn partners(
    manifests: &Manifests,
    entries: &[(usize, usize)],
    global: &Global,
    means: &Means,
    lanes: &[Arc<Lane>],
) -> Result<Partners, Failure> {
    let mut partners = Partners::default();
    let mut used: BTreeMap<(usize, &str), &manifest::Partner> = BTreeMap::new();
    for (m, e) in entries {
        let manifest = &manifests.manifests[*m];
        let mint = manifest.entries[*e].mint();
        let partner = mint.and_then(|mint| manifest.partner(&mint.partner));
        used.extend(partner.map(|partner| ((*m, partner.name.as_str()), partner)));
    }
    let mut keys = Vec::new();
    for ((m, _), partner) in used {
        let application = &manifests.manifests[m].application;
        let timeout = manifests.manifests[m].limits.timeout;
        let key = read_key(&partner.api_key, global, timeout).await.map_err(|failure| {
            let help = format!("set the variable, or say in partners.{}.api_key where the key is", partner.name);
            failure.with_help(help)
        })?;
        let fingerprint = key.fingerprint(&means.ledger.identity().key);
        let client = Client::new(&application.base_url, key, timeout)?;
        keys.push((m, partner, (fingerprint, application.base()), (client, timeout)));
    }
    // Of those that share a key, the narrowest limit holds.
    let limits: Vec<_> = keys.iter().map(|(_, partner, key, _)| (key.clone(), partner.writes_per_minute)).collect();
    for (m, partner, key, (client, timeout)) in keys {
        let limit = limits.iter().filter(|(other, _)| *other == key).map(|(_, limit)| *limit).min().unwrap_or(1);
        let lane = lanes.iter().find(|lane| lane.key == key.0 && lane.base_url == key.1);
        let minting = run::Partner::new(client, key.0, key.1, limit, timeout, means.clone());
        let minting = match lane {
            Some(lane) => minting.sharing(&lane.writes),
            None => minting,
        };
        partners.add(&manifests.manifests[m], &partner.name, minting);
    }
    Ok(partners)
}

/// Lets the partners count what earlier runs sent with their keys in the last minute.
pub(super) async fn recall_partners(means: &Means, partners: &Partners) -> Result<(), Failure> {
    let now = means.clock.now();
    for partner in partners.all() {
        partner.recall(&means.ledger.recent_requests(partner.key, now).await?, now);
    }
    Ok(())
}

pub(super) async fn read_key(reference: &SecretRef, global: &Global, timeout: Duration) -> Result<ApiKey, Failure> {
    let described = crate::text::inert(&reference.describe());
    let no_key = |why: String| {
        Failure::new(Condition::Credentials, format!("no API key from {described}: {why}"))
            .with_help("set the variable, or say in application.api_key where the key is")
    };
    let text =
        manifest::resolve(reference, &key_policy(global, timeout)).await.map_err(|error| no_key(error.to_string()))?;
    ApiKey::parse(&text).map_err(|error| no_key(error.to_string()))
}

/// Says how a base URL is to be allowed, if a key may not be sent to it as things are.
pub(super) fn check_host(base_url: &Url, global: &Global) -> Result<(), Failure> {
    if manifest::may_receive_key(base_url, &global.allow_hosts) {
        return Ok(());
    }
    let host = base_url.host_str().unwrap_or_default();
    Err(Failure::new(Condition::Manifest, format!("a key is not sent to {host}"))
        .with_help(format!("if that host is meant to have it, pass --allow-host {host}")))
}

/// Says that nothing was found by a name.
pub(super) fn nothing_named(name: &str) -> Failure {
    Failure::new(Condition::Usage, format!("the ledger knows nothing of `{}`", crate::text::inert(name)))
        .with_help("`didit-sync status` lists what it knows")
}
