//! What all steps of a run share.

use std::sync::Arc;

use uuid::Uuid;

use super::events::{Event, Who};
use super::means::Means;
use super::mint::{Partner, Partners};
use crate::ledger::records::RunId;
use crate::manifest::{Entry, Manifest, Manifests, SecretPolicy, TokenSource};
use crate::plan::{Item, Plan, Snapshot};
use crate::token::ShareToken;
use crate::verify::Expectations;

/// What all steps of a run share.
#[derive(Debug)]
pub struct Context {
    /// What it works with.
    pub means: Means,
    /// The run.
    pub run: RunId,
    /// The manifests.
    pub manifests: Arc<Manifests>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// What the ledger knew when it was made, of entries that are not as they should be.
    pub snapshot: Arc<Snapshot>,
    /// How references are read.
    pub secrets: SecretPolicy,
    /// Who mints.
    pub partners: Partners,
}

impl Context {
    /// An entry with its manifest.
    #[must_use]
    pub fn entry(&self, (m, e): (usize, usize)) -> (&Manifest, &Entry) {
        let manifest = &self.manifests.manifests[m];
        (manifest, &manifest.entries[e])
    }

    /// Who mints an entry's token, where that is how it comes about.
    #[must_use]
    pub fn partner(&self, at: (usize, usize)) -> Option<&Arc<Partner>> {
        let (manifest, entry) = self.entry(at);
        self.partners.of(manifest, entry)
    }

    /// Whether a program gives an entry's token.
    #[must_use]
    pub fn has_program(&self, at: (usize, usize)) -> bool {
        self.entry(at).1.token.is_program()
    }

    /// The user's own rules for an item's session.
    #[must_use]
    pub fn expect(&self, index: usize) -> Expectations {
        self.plan.entry(index).map(|at| self.entry(at).1.expect().clone()).unwrap_or_default()
    }

    /// The plan's item.
    #[must_use]
    pub fn item(&self, index: usize) -> Item {
        self.plan.item(index)
    }

    /// An item by the names that people know it by.
    #[must_use]
    pub fn who(&self, index: usize) -> Who {
        let (manifest, entry) = self.plan.names(index);
        Who { manifest, entry }
    }

    /// The entry's token as it is now: read again where it is referred to. `None` without one, and where one is to be
    /// minted, which `Job::mint` does.
    pub async fn fresh_token(&self, entry: &Entry) -> Result<Option<ShareToken>, String> {
        match &entry.token {
            TokenSource::Missing | TokenSource::Mint(_) => Ok(None),
            TokenSource::Literal(_) | TokenSource::Row(_) => entry.read_token().map_err(|e| e.to_string()),
            TokenSource::Reference(referred) => {
                let reference = &referred.reference;
                let text = crate::manifest::resolve(reference, &self.secrets).await.map_err(|e| e.to_string())?;
                ShareToken::parse(&text).map(Some).map_err(|e| format!("{}: {e}", reference.describe()))
            }
        }
    }

    /// Says so when an answer names another source session than the entry's.
    pub fn check_source(&self, item: usize, named: Uuid) {
        if self.plan.source_session(item).is_some_and(|source| source != named) {
            let item = self.item(item);
            let id = crate::text::inert(&item.id);
            self.means
                .events
                .tell(Event::Warning(format!("the answer for {id} names another source session, {named}")));
        }
    }
}
