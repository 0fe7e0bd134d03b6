//! The document of a plan, whose rows are made one by one as they are written.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde::ser::SerializeSeq as _;
use uuid::Uuid;

use super::{Counts, LedgerRef, ManifestRef};
use crate::exit::Exit;
use crate::manifest::Manifests;
use crate::plan::{Action, Forecast, Item, Plan};
use crate::report::schema::{Output, actions_counted};
use crate::token::SessionKind;

/// `didit-sync/plan.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanDocument<'a> {
    #[schemars(extend("const" = Output::Plan.format()))]
    format: &'static str,
    manifests: Vec<ManifestRef<'a>>,
    #[schemars(schema_with = "actions_counted")]
    summary: Counts,
    forecast: Forecast,
    #[schemars(with = "Vec<ActionRow<'a>>")]
    actions: Actions<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<LedgerRef>,
    exit: &'a Exit,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ActionRow<'a> {
    manifest: &'a str,
    id: &'a str,
    action: Action,
    source_session_id: Option<Uuid>,
    session_kind: Option<SessionKind>,
    workflow_id: Option<Uuid>,
    trust_review: Option<bool>,
    vendor_data: Option<&'a str>,
    expires_at: Option<Timestamp>,
    session_id: Option<Uuid>,
    reason: Option<&'a str>,
    place: &'a str,
}

/// The rows of a plan, made one by one as they are written.
#[derive(Debug)]
struct Actions<'a>(&'a Plan);

impl Serialize for Actions<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0.items() {
            rows.serialize_element(&ActionRow::new(&item))?;
        }
        rows.end()
    }
}

impl<'a> ActionRow<'a> {
    fn new(item: &'a Item) -> Self {
        Self {
            manifest: &item.manifest,
            id: &item.id,
            action: item.action,
            source_session_id: item.source_session_id,
            session_kind: item.session_kind,
            workflow_id: item.workflow_id,
            trust_review: item.trust_review,
            vendor_data: item.vendor_data.as_deref(),
            expires_at: item.expires_at,
            session_id: item.session_id,
            reason: item.reason.as_deref(),
            place: &item.place,
        }
    }
}

impl<'a> PlanDocument<'a> {
    /// The document of a plan. `ledger` is told only in a saved plan.
    #[must_use]
    pub fn new(manifests: &'a Manifests, plan: &'a Plan, ledger: Option<LedgerRef>, exit: &'a Exit) -> Self {
        Self {
            format: Output::Plan.format(),
            manifests: ManifestRef::all(manifests),
            summary: Action::ALL.into_iter().map(|a| (a.as_str().to_owned(), plan.count(a).into())).collect(),
            forecast: plan.forecast,
            actions: Actions(plan),
            ledger,
            exit,
        }
    }
}
