//! A saved plan: read back, and held against the plan as it is now. It is never carried out itself; whoever applies it
//! makes the plan anew, and this says whether that is still the one that was reviewed.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::{Action, Item, Plan};
use crate::ledger::records::Identity;
use crate::manifest::Manifests;
use crate::text::inert;
use crate::token::SessionKind;

/// The format of the document.
pub const FORMAT: &str = "didit-sync/plan.v1";

/// A plan as `plan --out` wrote it; of the document, what a comparison needs.
#[derive(Clone, Debug, Deserialize)]
pub struct Saved {
    manifests: Vec<SavedManifest>,
    actions: Vec<SavedAction>,
    ledger: SavedLedger,
}

#[derive(Clone, Debug, Deserialize)]
struct SavedManifest {
    name: String,
    digest: String,
}

#[derive(Clone, Debug, Deserialize)]
struct SavedLedger {
    id: Option<Uuid>,
    generation: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct SavedAction {
    manifest: String,
    id: String,
    action: Action,
    source_session_id: Option<Uuid>,
    session_kind: Option<SessionKind>,
    workflow_id: Option<Uuid>,
    trust_review: Option<bool>,
    vendor_data: Option<String>,
}

/// Whether a saved plan was made for this ledger as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerFit {
    /// It was, or there was none, and this one is new.
    Same,
    /// For this one, but it has changed since.
    Changed,
    /// For another one, with this id.
    Another(Uuid),
}

impl Saved {
    /// Reads the document. An error says what is wrong with it, on one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            ledger: Option<serde::de::IgnoredAny>,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|error| format!("it is no saved plan: {error}"))?;
        if head.format != FORMAT {
            return Err(format!("its format is `{}`, not `{FORMAT}`", inert(&head.format)));
        }
        if head.ledger.is_none() {
            return Err("it names no ledger, as only a plan saved with `plan --out FILE` does".to_owned());
        }
        serde_json::from_slice(bytes).map_err(|error| format!("it is no saved plan: {error}"))
    }

    /// Whether it was made for this ledger as it is.
    #[must_use]
    pub fn fit(&self, identity: Option<&Identity>) -> LedgerFit {
        let generation = identity.map_or(0, |identity| identity.generation);
        match (self.ledger.id, identity.map(|identity| identity.id)) {
            (Some(planned), now) if now != Some(planned) => LedgerFit::Another(planned),
            _ if self.ledger.generation == generation => LedgerFit::Same,
            _ => LedgerFit::Changed,
        }
    }

    /// What the manifests say otherwise than the saved plan, in words, sorted.
    #[must_use]
    pub fn other_manifests(&self, manifests: &Manifests) -> Vec<String> {
        let planned: BTreeMap<_, _> = self.manifests.iter().map(|it| (it.name.as_str(), it.digest.as_str())).collect();
        let now: BTreeMap<_, _> = manifests.manifests.iter().map(|it| (it.name.as_str(), it.digest())).collect();
        let given = now.iter().filter_map(|(name, digest)| match planned.get(name) {
            None => Some(format!("manifest {name} is not in it")),
            Some(planned) if planned != digest => Some(format!("manifest {name} has changed")),
            Some(_) => None,
        });
        let missing = planned.keys().filter(|name| !now.contains_key(*name));
        given.chain(missing.map(|name| format!("manifest {} is not given", inert(name)))).collect()
    }

    /// The entries of which the plan as it is now says something else, in words, sorted by id. A token that has expired
    /// since is no difference.
    #[must_use]
    pub fn other_entries(&self, plan: &Plan) -> Vec<String> {
        let all_now: Vec<SavedAction> = plan.items().map(SavedAction::from).collect();
        let mut planned: BTreeMap<Key<'_>, &SavedAction> = self.actions.iter().map(|row| (key(row), row)).collect();
        let mut differing = BTreeMap::new();
        for now in &all_now {
            let difference = match planned.remove(&key(now)) {
                None => Some(format!("not planned, now {}", now.action)),
                Some(row) => row.difference(now),
            };
            if let Some(difference) = difference {
                differing.insert((now.id.clone(), now.manifest.clone()), difference);
            }
        }
        for row in planned.into_values() {
            differing.insert((row.id.clone(), row.manifest.clone()), format!("planned {}, now gone", row.action));
        }
        differing.into_iter().map(|((id, _), difference)| format!("{}: {difference}", inert(&id))).collect()
    }
}

/// What is taken to be the same entry in both plans. The label of an orphan may have gone to another entry.
type Key<'r> = (&'r str, &'r str, Option<Option<Uuid>>);

fn key(row: &SavedAction) -> Key<'_> {
    (&row.id, &row.manifest, (row.action == Action::Orphan).then_some(row.source_session_id))
}

impl From<Item> for SavedAction {
    fn from(item: Item) -> Self {
        Self {
            manifest: item.manifest,
            id: item.id,
            action: item.action,
            source_session_id: item.source_session_id,
            session_kind: item.session_kind,
            workflow_id: item.workflow_id,
            trust_review: item.trust_review,
            vendor_data: item.vendor_data,
        }
    }
}

impl SavedAction {
    /// What is another thing now, in words.
    fn difference(&self, now: &Self) -> Option<String> {
        let (planned, action) = (self.action, now.action);
        let has_expired = matches!(planned, Action::Import | Action::Retry) && action == Action::Expired;
        if planned != action && !has_expired {
            return Some(format!("planned {planned}, now {action}"));
        }
        let names = [
            ("source_session_id", self.source_session_id != now.source_session_id),
            ("session_kind", self.session_kind != now.session_kind),
            ("workflow_id", self.workflow_id != now.workflow_id),
            ("trust_review", self.trust_review != now.trust_review),
            ("vendor_data", self.vendor_data != now.vendor_data),
        ];
        let names: Vec<&str> = names.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
        (!names.is_empty()).then(|| format!("planned with another {}", names.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::token::FingerprintKey;

    fn document(actions: &Value) -> Value {
        json!({
            "format": FORMAT, "manifests": [{"path": "m.yaml", "name": "acme", "digest": "aa"}],
            "ledger": {"id": null, "generation": 0}, "actions": actions,
        })
    }

    fn row(id: &str, action: &str) -> Value {
        json!({"manifest": "acme", "id": id, "action": action, "source_session_id": null, "session_kind": "user",
            "workflow_id": null, "trust_review": true, "vendor_data": "v"})
    }

    fn saved(actions: &Value) -> Saved {
        Saved::parse(document(actions).to_string().as_bytes()).unwrap()
    }

    fn item(id: &str, action: Action) -> Item {
        Item {
            manifest: "acme".to_owned(),
            id: id.to_owned(),
            action,
            reason: None,
            source_session_id: None,
            session_kind: Some(SessionKind::User),
            workflow_id: None,
            trust_review: Some(true),
            vendor_data: Some("v".to_owned()),
            expires_at: None,
            session_id: None,
            place: "m.yaml:1".to_owned(),
            entry: None,
            record: None,
        }
    }

    fn plan(items: Vec<Item>) -> Plan {
        Plan::of(items, super::super::Forecast::default(), crate::plan::Late::default())
    }

    #[test]
    fn of_all_pairs_of_actions_only_the_same_and_a_token_that_has_expired_are_no_difference() {
        for planned in Action::ALL {
            for now in Action::ALL {
                let saved = saved(&json!([row("a", planned.as_str())]));
                let differs = !saved.other_entries(&plan(vec![item("a", now)])).is_empty();
                let has_expired = now == Action::Expired && matches!(planned, Action::Import | Action::Retry);
                assert_eq!(differs, planned != now && !has_expired, "{planned} {now}");
            }
        }
    }

    #[test]
    fn entries_that_came_went_or_changed_are_named() {
        let saved = saved(&json!([row("gone", "import"), row("same", "import"), row("set", "import")]));
        let mut set = item("set", Action::Import);
        (set.trust_review, set.vendor_data) = (Some(false), None);
        let now = plan(vec![item("new", Action::Recover), item("same", Action::Import), set]);
        let told = [
            "gone: planned import, now gone",
            "new: not planned, now recover",
            "set: planned with another trust_review and vendor_data",
        ];
        assert_eq!(saved.other_entries(&now), told);
    }

    #[test]
    fn the_label_of_an_orphan_may_be_another_entrys() {
        let mut orphan = item("a", Action::Orphan);
        orphan.source_session_id = Some(Uuid::from_u128(7));
        let mut old = row("a", "orphan");
        old["source_session_id"] = json!(Uuid::from_u128(7));
        let saved = saved(&json!([row("a", "import"), old]));
        assert_eq!(saved.other_entries(&plan(vec![item("a", Action::Import), orphan])), [""; 0]);
        assert_eq!(saved.other_entries(&plan(vec![item("a", Action::Import)])), ["a: planned orphan, now gone"]);
    }

    #[test]
    fn a_plan_without_a_ledger_fits_a_new_one_and_no_other() {
        let identity =
            |id, generation| Identity { id: Uuid::from_u128(id), generation, key: FingerprintKey::from_bytes([1; 32]) };
        let mut saved = saved(&json!([]));
        assert_eq!(saved.fit(None), LedgerFit::Same);
        assert_eq!(saved.fit(Some(&identity(1, 0))), LedgerFit::Same);
        assert_eq!(saved.fit(Some(&identity(1, 1))), LedgerFit::Changed);
        saved.ledger = SavedLedger { id: Some(Uuid::from_u128(1)), generation: 4 };
        assert_eq!(saved.fit(Some(&identity(1, 4))), LedgerFit::Same);
        assert_eq!(saved.fit(Some(&identity(1, 5))), LedgerFit::Changed);
        assert_eq!(saved.fit(Some(&identity(2, 4))), LedgerFit::Another(Uuid::from_u128(1)));
        assert_eq!(saved.fit(None), LedgerFit::Another(Uuid::from_u128(1)));
    }

    #[test]
    fn what_is_no_saved_plan_is_told_what_is_wrong() {
        let mut other = document(&json!([]));
        other["format"] = json!("didit-sync/plan.v2");
        let mut shown = document(&json!([]));
        shown.as_object_mut().unwrap().shift_remove("ledger");
        let mut unknown = document(&json!([row("a", "delete")]));
        unknown["ledger"]["generation"] = json!(1);
        for (text, told) in [
            (String::new(), "no saved plan"),
            ("[]".to_owned(), "no saved plan"),
            ("\u{fffd}".repeat(9), "no saved plan"),
            (other.to_string(), "its format is `didit-sync/plan.v2`"),
            (shown.to_string(), "`plan --out FILE`"),
            (unknown.to_string(), "unknown variant `delete`"),
        ] {
            let error = Saved::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
