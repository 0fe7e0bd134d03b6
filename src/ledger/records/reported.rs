//! What runs report, as they reported it.

use jiff::Timestamp;
use uuid::Uuid;

use super::{EntryId, RecordedError, Session, State};
use crate::token::SessionKind;
use crate::verify::Severity;

/// What a run reports of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// The manifest's name.
    pub manifest: String,
    /// The label.
    pub label: String,
    /// The ledger's row, if there is one.
    pub entry: Option<EntryId>,
    /// A key of the summary.
    pub outcome: String,
    /// The source session.
    pub source_session_id: Option<Uuid>,
    /// The session.
    pub session: Option<Session>,
    /// The kind.
    pub session_kind: Option<SessionKind>,
    /// The workflow.
    pub workflow_id: Option<Uuid>,
    /// The vendor data.
    pub vendor_data: Option<String>,
    /// Requests sent for it in this run.
    pub attempts: u32,
    /// The refusal.
    pub error: Option<RecordedError>,
    /// The application that shared, where known.
    pub from_application_id: Option<Uuid>,
    /// The receiving application, where known.
    pub for_application_id: Option<Uuid>,
    /// When the token that was delivered dies.
    pub expires_at: Option<Timestamp>,
}

impl RunOutcome {
    /// Whether it is told of an entry that was as it should be, of which the ledger knows more.
    #[must_use]
    pub fn is_as_it_was(&self) -> bool {
        let is_described = self.session.as_ref().is_some_and(Session::is_described);
        self.outcome == "unchanged" && self.attempts == 0 && self.entry.is_some() && !is_described
    }
}

/// How many entries of a manifest are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCount {
    /// The manifest's name.
    pub manifest: String,
    /// The state.
    pub state: State,
    /// How many.
    pub entries: u64,
}

/// A finding as a run reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFinding {
    /// The ledger's row.
    pub entry: EntryId,
    /// The manifest's name.
    pub manifest: String,
    /// The label.
    pub label: String,
    /// The session.
    pub session_id: Option<Uuid>,
    /// The rule.
    pub rule: String,
    /// The block of evidence that it is about; else empty.
    pub block: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// In words.
    pub message: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What was found.
    pub actual: Option<String>,
    /// When it was first found.
    pub first_seen: Timestamp,
    /// Whether that is this run.
    pub new: bool,
}

impl RunFinding {
    /// Whether it counts for the exit code.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error.as_str()
    }

    fn key(&self) -> (&str, &str, &str, &str) {
        (&self.manifest, &self.label, &self.rule, &self.block)
    }

    /// The order of every output: manifest, label, rule, block.
    #[must_use]
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
