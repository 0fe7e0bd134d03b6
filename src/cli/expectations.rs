//! Which rules of the user's own hold for a session that is audited: those of the manifest given, today; else those
//! that the ledger keeps of its last apply.

use std::collections::HashMap;

use serde_json::Value;

use super::Failure;
use super::audit::Planned;
use crate::exit::Condition;
use crate::ledger::KeptRules;
use crate::ledger::records::{ManifestFacts, Record};
use crate::manifest::Manifests;
use crate::verify::{Compiler, Expectations};

/// The rules by record.
pub(super) struct Rules {
    /// By record: those of its entry in a manifest given.
    given: HashMap<i64, Expectations>,
    /// Those that the ledger keeps of entries.
    kept: KeptRules<Expectations>,
    /// By manifest: those of its defaults.
    defaults: HashMap<String, Expectations>,
}

impl Rules {
    /// Those of the manifests given, as planned, and, of the others that are `met` (sorted), those of the ledger.
    pub(super) fn new(
        manifests: Option<&Manifests>,
        planned: &[Planned],
        met: &[&str],
        facts: &HashMap<String, ManifestFacts>,
        kept: KeptRules,
    ) -> Result<Self, Failure> {
        let of_entry = |(record, entry): &Planned| {
            let (manifest, entry) = (*entry)?;
            let expect = manifests?.manifests[manifest].entries[entry].expect().clone();
            Some((record.0, expect))
        };
        let given = planned.iter().filter_map(of_entry).collect();
        let loaded = manifests.into_iter().flat_map(|manifests| &manifests.manifests);
        let mut defaults: HashMap<String, Expectations> =
            loaded.map(|manifest| (manifest.name.clone(), manifest.expect.clone())).collect();
        let mut compiler = Compiler::default();
        let mut read = |manifest: &str, kept: &Value| {
            Expectations::from_json(kept, &mut compiler).ok_or_else(|| {
                let message = format!("the ledger keeps no usable rules of manifest {manifest}");
                Failure::new(Condition::Ledger, message)
            })
        };
        let kept =
            kept.read(|manifest| met.binary_search(&manifest).is_ok() && !defaults.contains_key(manifest), &mut read)?;
        for name in met {
            if let Some(facts) = facts.get(*name).filter(|_| !defaults.contains_key(*name)) {
                defaults.insert((*name).to_owned(), read(name, &facts.expect)?);
            }
        }
        Ok(Self { given, kept, defaults })
    }

    /// The rules for a record's session. An orphan of a manifest given gets those of its defaults.
    pub(super) fn of(&self, record: &Record) -> Expectations {
        let own = || self.kept.of(&record.manifest, record.source_session_id, &record.label);
        let rules = self.given.get(&record.id.0).or_else(own).or_else(|| self.defaults.get(&record.manifest));
        rules.cloned().unwrap_or_default()
    }
}
