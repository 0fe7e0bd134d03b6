//! The plan: what `apply` would do, as plain data. Pure: no file, clock, environment or network.
//!
//! ```text
//! Manifests ─┐
//! Snapshot ──┼─► diff ──► Items (one action each) ──► forecast ──► Plan
//! now ───────┘
//! ```
//!
//! `plan` shows it and `apply` carries it out; both make it with these very functions. The same inputs give the same
//! plan, and the time decides only what is expired and the forecast.

mod action;
mod diff;
mod forecast;
mod saved;

use jiff::Timestamp;
use uuid::Uuid;

pub use action::{Action, Facts, Known, Token, decide};
pub use diff::{Matches, receiver};
pub use forecast::{Forecast, Late, Remedy, forecast};
pub use saved::{FORMAT, LedgerFit, Saved};

use crate::ledger::records::{Identity, RecentImports, Record};
use crate::manifest::{Entry, Manifests};
use crate::token::{FingerprintKey, SessionKind};

/// What the ledger knows, as the planner needs it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Id, generation and key; `None` where there is no ledger yet.
    pub identity: Option<Identity>,
    /// Every entry.
    pub records: Vec<Record>,
    /// What was imported in the last minute, and takes its place in the windows.
    pub recent: Vec<RecentImports>,
}

impl Snapshot {
    fn key(&self) -> Option<&FingerprintKey> {
        self.identity.as_ref().map(|identity| &identity.key)
    }
}

/// What the plan says of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The manifest's name.
    pub manifest: String,
    /// The label.
    pub id: String,
    /// What is to be done.
    pub action: Action,
    /// Why, in words, where it isn't plain from the action.
    pub reason: Option<String>,
    /// The shared session, where known.
    pub source_session_id: Option<Uuid>,
    /// Its kind.
    pub session_kind: Option<SessionKind>,
    /// The workflow that it is imported with.
    pub workflow_id: Option<Uuid>,
    /// Whether the source's status is kept.
    pub trust_review: Option<bool>,
    /// The vendor data.
    pub vendor_data: Option<String>,
    /// When the token dies.
    pub expires_at: Option<Timestamp>,
    /// The session, once imported.
    pub session_id: Option<Uuid>,
    /// `FILE:LINE`; of an orphan, where it last stood.
    pub place: String,
    /// Index into `Manifests::manifests` and its `entries`; `None` for an orphan.
    pub entry: Option<(usize, usize)>,
    /// Index into `Snapshot::records`.
    pub record: Option<usize>,
}

impl Item {
    /// Whether people may mean this item: by id or source session.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.source_session_id.is_some_and(|id| id.to_string().eq_ignore_ascii_case(name))
    }
}

/// The plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One item for each entry, and one for each orphan, sorted by id and manifest.
    pub items: Vec<Item>,
    /// What carrying it out takes.
    pub forecast: Forecast,
    /// The items whose token dies before its turn.
    pub late: Late,
}

impl Plan {
    /// How many items have this action.
    #[must_use]
    pub fn count(&self, action: Action) -> u64 {
        self.items.iter().filter(|item| item.action == action).count() as u64
    }

    /// How many items ask for a request.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.items.iter().filter(|item| item.action.is_pending()).count() as u64
    }
}

/// Makes the plan.
///
/// `retry_refused` plans what was refused for good as `retry` (`apply --retry-refused`).
#[must_use]
pub fn plan(manifests: &Manifests, snapshot: &Snapshot, now: Timestamp, retry_refused: bool) -> Plan {
    let mut matches = Matches::new(manifests, snapshot);
    let mut items = Vec::new();
    for (m, manifest) in manifests.manifests.iter().enumerate() {
        for (e, entry) in manifest.entries.iter().enumerate() {
            let record = matches.take(manifest, entry);
            let known = record.map(|index| &snapshot.records[index]);
            let (action, reason) = decide(&action::Facts::new(entry, known, snapshot.key(), now, retry_refused));
            items.push(item(&manifest.name, entry, known, action, reason, (m, e), record));
        }
    }
    items.extend(matches.orphans().map(|index| orphan(&snapshot.records[index], index)));
    items.sort_by(|a, b| (&a.id, &a.manifest).cmp(&(&b.id, &b.manifest)));
    let (forecast, late) = forecast(&items, manifests, &snapshot.recent, now);
    for index in &late.items {
        items[*index].reason.get_or_insert_with(|| "its token expires before its turn".to_owned());
    }
    Plan { items, forecast, late }
}

fn item(
    manifest: &str,
    entry: &Entry,
    known: Option<&Record>,
    action: Action,
    reason: Option<String>,
    at: (usize, usize),
    record: Option<usize>,
) -> Item {
    let session_kind = entry.session_kind.or_else(|| known?.session_kind);
    let erased = action == Action::Erased;
    Item {
        manifest: manifest.to_owned(),
        id: entry.label().to_string(),
        action,
        reason,
        source_session_id: entry.source_session_id.or_else(|| known?.source_session_id),
        session_kind,
        workflow_id: entry.workflow().and_then(|choice| choice.resolve(session_kind)),
        trust_review: entry.trust_review(),
        vendor_data: entry.vendor_data().map(std::borrow::Cow::into_owned),
        expires_at: entry.expires_at(),
        session_id: known.filter(|_| !erased).and_then(|known| Some(known.session.as_ref()?.session_id)),
        place: entry.place.to_string(),
        entry: Some(at),
        record,
    }
}

fn orphan(record: &Record, index: usize) -> Item {
    Item {
        manifest: record.manifest.clone(),
        id: record.label.clone(),
        action: Action::Orphan,
        reason: Some("imported earlier and in no manifest any more; kept".to_owned()),
        source_session_id: record.source_session_id,
        session_kind: record.session_kind,
        workflow_id: record.settings.workflow_id,
        trust_review: record.settings.trust_review,
        vendor_data: record.settings.vendor_data.clone(),
        expires_at: None,
        session_id: record.session.as_ref().map(|session| session.session_id),
        place: record.place.clone(),
        entry: None,
        record: Some(index),
    }
}

#[cfg(test)]
mod tests;
