//! Which rules of the user's own hold for a session that is audited: those of the manifest given, today; else those
//! that the ledger keeps of its last apply.

use std::collections::HashMap;

use super::Failure;
use super::audit::Planned;
use crate::exit::Condition;
use crate::ledger::KeptRules;
use crate::ledger::records::{ManifestFacts, Record};
use crate::manifest::Manifests;
use crate::verify::{Compiler, Expectations};

/// The rules by record.
pub(super) struct Rules<'a> {
    manifests: Option<&'a Manifests>,
    /// By record: those of its entry in a manifest given.
    given: HashMap<i64, Expectations>,
    facts: &'a HashMap<String, ManifestFacts>,
    kept: KeptRules,
    /// By their JSON: those the ledger keeps.
    read: HashMap<String, Expectations>,
    compiler: Compiler,
}

impl<'a> Rules<'a> {
    /// Those of the manifests given, as planned, and of the ledger.
    pub(super) fn new(
        manifests: Option<&'a Manifests>,
        planned: &[Planned],
        facts: &'a HashMap<String, ManifestFacts>,
        kept: KeptRules,
    ) -> Self {
        let of_entry = |(record, entry): &Planned| {
            let (manifest, entry) = (*entry)?;
            let expect = manifests?.manifests[manifest].entries[entry].expect().clone();
            Some((record.0, expect))
        };
        let given = planned.iter().filter_map(of_entry).collect();
        Self { manifests, given, facts, kept, read: HashMap::new(), compiler: Compiler::default() }
    }

    /// The rules for a record's session. An orphan of a manifest given gets those of its defaults.
    pub(super) fn of(&mut self, record: &Record) -> Result<Expectations, Failure> {
        if let Some(given) = self.given.get(&record.id.0) {
            return Ok(given.clone());
        }
        let mut manifests = self.manifests.into_iter().flat_map(|manifests| &manifests.manifests);
        if let Some(manifest) = manifests.find(|manifest| manifest.name == record.manifest) {
            return Ok(manifest.expect.clone());
        }
        let own = self.kept.of(&record.manifest, record.source_session_id, &record.label);
        let Some(kept) = own.or(self.facts.get(&record.manifest).map(|facts| &facts.expect)) else {
            return Ok(Expectations::default());
        };
        let text = kept.to_string();
        if let Some(read) = self.read.get(&text) {
            return Ok(read.clone());
        }
        let damaged = || {
            let message = format!("the ledger keeps no usable rules of manifest {}", record.manifest);
            Failure::new(Condition::Ledger, message)
        };
        let read = Expectations::from_json(kept, &mut self.compiler).ok_or_else(damaged)?;
        self.read.insert(text, read.clone());
        Ok(read)
    }
}
