//! Before the first request: a saved plan (`--plan`) that a run is to carry out, and the guards that let nothing be sent.

use super::stop::Halt;
use super::{Apply, Selection, facts};
use crate::ledger::records::RunId;
use crate::ledger::{EntryRules, LedgerError};
use crate::manifest::Manifest;
use crate::plan::Action;
use crate::token::Fingerprint;

/// A saved plan that a run is to carry out.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// Of the file's bytes, under the ledger's key.
    pub digest: Fingerprint,
    /// Why it may not be carried out, if it may not.
    pub refused: Option<Refusal>,
}

/// Why a saved plan is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is said.
    pub told: String,
    /// What is kept with the run: it names no entry, which may be erased later.
    pub kept: String,
}

/// Why a guard lets nothing of the plan be sent, if one does.
pub(super) fn refused(work: &Apply, selected: &Selection) -> Option<Halt> {
    let stale = work.options.reviewed.as_ref().and_then(|reviewed| reviewed.refused.clone());
    stale.map(Halt::Plan).or_else(|| selected.too_many_trusted(work).map(Halt::Guard))
}

/// What the ledger has to know before anything is sent: the manifests, that a saved plan is used, that it changes.
pub(super) async fn begin(work: &Apply, selected: &Selection, run: RunId) -> Result<(), LedgerError> {
    let ledger = &work.means.ledger;
    for manifest in &work.manifests.manifests {
        ledger.keep_manifest(facts(manifest), own_rules(work, manifest), run).await?;
    }
    match &work.options.reviewed {
        Some(reviewed) => ledger.use_plan(run, reviewed.digest).await,
        None if selected.jobs.is_empty() => Ok(()),
        None => ledger.raise_generation(run).await,
    }
}

/// The rules of the entries for which others hold than those of their manifest's defaults. Of what is erased, nothing
/// is kept.
fn own_rules(work: &Apply, manifest: &Manifest) -> Vec<EntryRules> {
    let items = work.plan.items.iter().filter(|item| item.manifest == manifest.name && item.action != Action::Erased);
    let entries = items.filter_map(|item| Some((item, &manifest.entries[item.entry?.1])));
    entries
        .filter(|(_, entry)| *entry.expect() != manifest.expect)
        .map(|(item, entry)| EntryRules {
            source: item.source_session_id,
            label: item.id.clone(),
            rules: entry.expect().to_json(),
        })
        .collect()
}
