//! The JSON Schemas (draft 2020-12) of what `--json` prints.
//!
//! Each is derived from the type that is printed, so the two can't drift apart. Every key is required (a value that
//! isn't there is `null`), and no other key is allowed.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::document::OUTCOMES;
use crate::ledger::records::State;
use crate::plan::{self, Action};

/// A document that `--json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Output {
    /// `plan --json`, and a file of `plan --out`.
    Plan,
    /// `apply --json`, and its report.
    Apply,
    /// `audit --json`, and its report.
    Audit,
    /// `status --json`, and what repairs of the ledger print.
    Status,
    /// What any command prints where no run began.
    Error,
    /// `validate --json`.
    Validate,
    /// `report --list --json`.
    Runs,
    /// `report --since D --json`.
    Period,
    /// `doctor --json`.
    Doctor,
    /// `explain --json`.
    Explain,
    /// `ledger check --json`.
    Check,
    /// `ledger backup --json`.
    Backup,
    /// `ledger move --json`.
    Move,
}

impl Output {
    /// The document's `format`.
    #[must_use]
    pub const fn format(self) -> &'static str {
        match self {
            Self::Plan => plan::FORMAT,
            Self::Apply => "didit-sync/apply.v1",
            Self::Audit => "didit-sync/audit.v1",
            Self::Status => "didit-sync/status.v1",
            Self::Error => "didit-sync/error.v1",
            Self::Validate => "didit-sync/validate.v1",
            Self::Runs => "didit-sync/runs.v1",
            Self::Period => "didit-sync/period.v1",
            Self::Doctor => "didit-sync/doctor.v1",
            Self::Explain => "didit-sync/explain.v1",
            Self::Check => "didit-sync/check.v1",
            Self::Backup => "didit-sync/backup.v1",
            Self::Move => "didit-sync/move.v1",
        }
    }

    /// The schema of a document of type `T`.
    #[must_use]
    pub fn schema<T: JsonSchema>(self) -> Schema {
        let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(RecursiveTransform(tighten));
        let mut schema = settings.into_generator().into_root_schema_for::<T>();
        schema.insert("title".to_owned(), self.format().into());
        schema
    }
}

/// Objects have no other keys; and `uint64` and the like, which no draft knows, are left out of numbers.
fn tighten(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.contains_key("properties") {
        object.insert("additionalProperties".to_owned(), false.into());
    }
    let is_number = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number"));
    let numbers = match object.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_number),
        Some(kind) => is_number(kind),
        None => false,
    };
    if numbers {
        object.remove("format");
    }
}

fn counted<'n>(names: impl IntoIterator<Item = &'n str>) -> Schema {
    let names: Vec<&str> = names.into_iter().collect();
    let number = json_schema!({"type": "integer", "minimum": 0}).to_value();
    let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), number.clone())).collect();
    json_schema!({"description": "How many of each.", "type": "object", "properties": properties, "required": names})
}

/// Counts by action.
pub(super) fn actions_counted(_: &mut SchemaGenerator) -> Schema {
    counted(Action::ALL.into_iter().map(Action::as_str))
}

/// Counts by outcome.
pub(super) fn outcomes_counted(_: &mut SchemaGenerator) -> Schema {
    counted(OUTCOMES)
}

/// Counts by state.
pub(super) fn states_counted(_: &mut SchemaGenerator) -> Schema {
    counted(State::ALL.into_iter().map(State::as_str))
}
