//! What an apply came to with each entry, made when it is asked for: of a million entries, most of which are as they
//! were, little is held but their plan.

use std::sync::Arc;

use rayon::prelude::*;

use super::ended::{End, Ended};
use super::job::{self, Finished};
use crate::ahead::Ahead;
use crate::ledger::records::{Record, RecordedError, RunOutcome, Session, State};
use crate::lifecycle::Settled;
use crate::manifest::Manifests;
use crate::plan::{Action, Item, Plan, Snapshot};

/// So many are made at once, on all cores.
const AT_ONCE: usize = 4096;

/// The entries of an apply with what became of them, sorted by label and manifest.
#[derive(Debug, Default)]
pub struct Told {
    plan: Arc<Plan>,
    manifests: Arc<Manifests>,
    snapshot: Arc<Snapshot>,
    ended: Ended,
    /// The items that are told.
    items: Vec<u32>,
}

impl Told {
    pub(super) fn new(plan: &Arc<Plan>, manifests: &Arc<Manifests>, snapshot: &Arc<Snapshot>, ended: Ended) -> Self {
        let items = plan.with(|action| action != Action::Orphan).map(|index| index as u32).collect();
        Self { plan: Arc::clone(plan), manifests: Arc::clone(manifests), snapshot: Arc::clone(snapshot), ended, items }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All, in order; the next ones are made while these are used. Of the session of an entry that was as it should be only
    /// the id is told, the rest is left to the ledger.
    pub fn iter(self: &Arc<Self>) -> impl Iterator<Item = RunOutcome> + use<> {
        let told = Arc::clone(self);
        let first = self.made(0);
        let more = (AT_ONCE < self.len()).then(|| {
            let begins = (AT_ONCE..told.len()).step_by(AT_ONCE);
            Ahead::new(begins.map(move |begin| told.made(begin)))
        });
        first.into_iter().chain(more.into_iter().flatten().flatten())
    }

    /// Those that are made at once.
    fn made(&self, begin: usize) -> Vec<RunOutcome> {
        let items = &self.items[begin..self.len().min(begin + AT_ONCE)];
        items.par_iter().map(|index| self.outcome(*index as usize)).collect()
    }

    /// What became of each, by the item's place in the plan.
    pub fn names(&self) -> impl Iterator<Item = (usize, &'static str)> + '_ {
        self.items.iter().map(|index| (*index as usize, self.name(*index as usize)))
    }

    /// Whether a plan made now would find nothing to do, or to be told of: each entry was as it should be, or was imported
    /// as it is asked for, and by a source session that was known before. Of what an answer tells first, or an earlier run
    /// sent, or another run imported, the next plan decides.
    #[must_use]
    pub fn are_up_to_date(&self) -> bool {
        let is_done = |index: usize| match (self.plan.action(index), self.ended.get(index)) {
            (Action::Unchanged, None) => true,
            (Action::Import | Action::Retry, Some(end)) => {
                end.result == Finished::Settled(Settled::Imported) && self.plan.tells_source(index)
            }
            _ => false,
        };
        !self.plan.is_empty() && (0..self.plan.len()).all(is_done)
    }

    /// Whether no entry was worked on, so that all are told as an earlier run may have told them.
    #[must_use]
    pub fn has_sent_nothing(&self) -> bool {
        self.ended.is_empty()
    }

    /// How many entries were imported by this run.
    #[must_use]
    pub fn imported(&self) -> u64 {
        self.ended.imported()
    }

    fn name(&self, index: usize) -> &'static str {
        let action = self.plan.action(index);
        self.ended.get(index).map_or_else(|| unsent(action), |end| finished(action, end))
    }

    fn outcome(&self, index: usize) -> RunOutcome {
        let (item, end) = (self.plan.item(index), self.ended.get(index));
        let record = item.record.and_then(|id| self.snapshot.record(id));
        let (session, error) = match end {
            Some(end) => (end.session(), end.error().cloned()),
            None => (known_session(&item, record), self.known_error(&item, record)),
        };
        let given = item.entry.map(|(m, e)| (&self.manifests.manifests[m], &self.manifests.manifests[m].entries[e]));
        RunOutcome {
            manifest: item.manifest,
            label: item.id,
            entry: end.and_then(|end| end.row).or(item.record),
            outcome: self.name(index).to_owned(),
            source_session_id: end
                .and_then(End::source)
                .or(item.source_session_id)
                .filter(|_| item.action != Action::Erased),
            session,
            session_kind: end.and_then(|end| end.kind).or(item.session_kind),
            workflow_id: end.and_then(End::workflow_id).or(item.workflow_id),
            vendor_data: item.vendor_data.filter(|_| item.action != Action::Erased),
            attempts: end.map_or(0, |end| end.attempts),
            error,
            from_application_id: given
                .and_then(|(_, entry)| entry.from_application_id())
                .or(record.and_then(|it| it.from_application_id)),
            for_application_id: given
                .and_then(|(manifest, entry)| crate::plan::receiver(manifest, entry).application_id)
                .or(record.and_then(|it| it.receiver.application_id)),
            expires_at: item.expires_at,
        }
    }

    /// Why an entry that no lane worked on has no session.
    fn known_error(&self, item: &Item, record: Option<&Record>) -> Option<RecordedError> {
        match item.action {
            // A request of an earlier run is still open.
            Action::Recover => record.and_then(|record| record.error.clone()).or_else(|| Some(job::still_open())),
            Action::Expired => Some(job::expired()),
            Action::Invalid => {
                let local = item.entry.and_then(|(m, e)| self.manifests.manifests[m].entries[e].invalid.as_ref());
                let local = local.map(|invalid| RecordedError {
                    class: invalid.class,
                    http_status: None,
                    detail: invalid.message.clone(),
                });
                local.or_else(|| record?.error.clone())
            }
            _ => None,
        }
    }
}

fn known_session(item: &Item, record: Option<&Record>) -> Option<Session> {
    match (item.action, record) {
        (Action::Unchanged | Action::Conflict, Some(record)) => record.session.clone(),
        (Action::Unchanged, None) => item.session_id.map(Session::known_by),
        _ => None,
    }
}

fn finished(action: Action, end: &End) -> &'static str {
    match end.result {
        Finished::Settled(Settled::Imported) if action == Action::Recover => "recovered",
        Finished::Settled(Settled::Imported) => "imported",
        Finished::Settled(Settled::Recovered) => "recovered",
        Finished::Settled(Settled::Refused) => "refused",
        Finished::Settled(Settled::Expired) => "expired",
        Finished::Settled(Settled::Unknown) => "unknown",
        Finished::Elsewhere(State::Imported) => "unchanged",
        Finished::Elsewhere(state) => state.as_str(),
        Finished::NeedsToken => "needs_token",
        Finished::NotSent => "not_sent",
    }
}

/// The outcome of an entry that no lane worked on.
fn unsent(action: Action) -> &'static str {
    match action {
        Action::Recover => "unknown",
        Action::Import | Action::Retry | Action::Orphan => "not_sent",
        Action::Unchanged => "unchanged",
        Action::Conflict => "conflict",
        Action::Expired => "expired",
        Action::NeedsToken => "needs_token",
        Action::Erased => "erased",
        Action::Invalid => "refused",
    }
}
