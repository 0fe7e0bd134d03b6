//! Sums over a period.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::RunId;
use crate::didit::Class;
use crate::token::SessionKind;

/// What happened in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeriodSums {
    /// Sessions, by partner, workflow, trust and kind.
    pub imported: Vec<ImportSum>,
    /// Refusals, by class.
    pub refused: Vec<RefusalSum>,
    /// Findings that were open in the period, by severity and rule.
    pub findings: Vec<FindingSum>,
    /// Repairs by hand, oldest first.
    pub repairs: Vec<RepairSum>,
}

/// Sessions imported alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImportSum {
    /// The application that shared: the partner.
    pub from_application_id: Option<Uuid>,
    /// The workflow.
    pub workflow_id: Option<Uuid>,
    /// Whether the partner's status was taken over.
    pub trust_review: Option<bool>,
    /// The kind.
    pub session_kind: Option<SessionKind>,
    /// How many.
    pub sessions: u64,
}

/// Refusals of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RefusalSum {
    /// The class.
    pub class: Class,
    /// Of how many entries.
    pub entries: u64,
    /// How many requests the server refused; none where the entry was refused without asking it.
    pub requests: u64,
}

/// Findings of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingSum {
    /// The rule.
    pub rule: String,
    /// Its severity.
    pub severity: String,
    /// First seen in the period.
    pub opened: u64,
    /// Closed in the period.
    pub closed: u64,
    /// Open at its end.
    pub open: u64,
}

/// A repair by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairSum {
    /// The run.
    pub run: RunId,
    /// How many entries it changed.
    pub entries: u64,
}
