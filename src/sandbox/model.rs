//! The things of the world: sessions, statuses, workflows, privileges.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::token::SessionKind;

/// A session's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not Started
    NotStarted,
    /// In Progress
    InProgress,
    /// Awaiting User
    AwaitingUser,
    /// In Review
    InReview,
    /// Approved
    Approved,
    /// Declined
    Declined,
    /// Resubmitted
    Resubmitted,
    /// Expired
    Expired,
    /// Kyc Expired
    KycExpired,
    /// Abandoned
    Abandoned,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::NotStarted,
        Self::InProgress,
        Self::AwaitingUser,
        Self::InReview,
        Self::Approved,
        Self::Declined,
        Self::Resubmitted,
        Self::Expired,
        Self::KycExpired,
        Self::Abandoned,
    ];

    /// As the API writes it, such as `In Review`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "Not Started",
            Self::InProgress => "In Progress",
            Self::AwaitingUser => "Awaiting User",
            Self::InReview => "In Review",
            Self::Approved => "Approved",
            Self::Declined => "Declined",
            Self::Resubmitted => "Resubmitted",
            Self::Expired => "Expired",
            Self::KycExpired => "Kyc Expired",
            Self::Abandoned => "Abandoned",
        }
    }

    /// Reads [`Status::as_str`] back, in exactly that case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a session of this status can be shared.
    #[must_use]
    pub fn is_shareable(self) -> bool {
        matches!(self, Self::Approved | Self::Declined | Self::InReview)
    }

    /// Whether `update-status` takes a session of this status.
    pub(super) fn is_updatable(self) -> bool {
        self.is_shareable() || matches!(self, Self::KycExpired | Self::Abandoned | Self::Resubmitted)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// `read:sessions`
    ReadSessions,
    /// `write:sessions`
    WriteSessions,
    /// `delete:sessions`
    DeleteSessions,
    /// `read:workflows`
    ReadWorkflows,
}

/// A set of privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges(u8);

impl Privileges {
    /// All of them.
    pub const ALL: Self = Self(0b1111);

    /// These alone.
    #[must_use]
    pub fn of(privileges: &[Privilege]) -> Self {
        Self(privileges.iter().fold(0, |bits, privilege| bits | 1 << *privilege as u8))
    }

    /// Whether the set has this one.
    #[must_use]
    pub fn has(self, privilege: Privilege) -> bool {
        self.0 & 1 << privilege as u8 != 0
    }
}

/// A session that the partner can share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSession {
    /// Its id in the partner's application.
    pub id: Uuid,
    /// Person or company.
    pub kind: SessionKind,
    /// Its status now.
    pub status: Status,
    /// The partner's own `vendor_data` for it.
    pub vendor_data: Option<String>,
}

/// A session that was imported: the server's truth, to hold a ledger against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedSession {
    /// The new session's id.
    pub session_id: Uuid,
    /// Its number in the receiving application.
    pub session_number: u64,
    /// The session it was cloned from.
    pub source_id: Uuid,
    /// The application it was imported into.
    pub application_id: Uuid,
    /// Person or company.
    pub kind: SessionKind,
    /// Its status now.
    pub status: Status,
    /// Its `vendor_data` now.
    pub vendor_data: Option<String>,
    /// Its workflow now.
    pub workflow_id: Uuid,
    /// What the import asked for.
    pub trust_review: bool,
    /// When it was imported.
    pub created_at: Timestamp,
}

/// Something that happens to a session behind the tool's back.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The person's full name, or the company's name.
    Rename(String),
    /// Another status that no review explains.
    Status(Status),
    /// Another status, and the review that explains it.
    Review {
        /// The new status.
        status: Status,
        /// The reviewer's comment.
        comment: String,
    },
    /// A field of the document (persons) or of the registry check (companies).
    Document {
        /// The field, such as `expiration_date`.
        field: String,
        /// Its new value.
        value: Value,
    },
    /// A field of any check, by the block's plural name, such as `liveness_checks`. A check that did not run has run
    /// now.
    Check {
        /// The block.
        block: String,
        /// The field.
        field: String,
        /// Its new value.
        value: Value,
    },
    /// A field of the decision itself, such as `session_url`.
    Field {
        /// The field.
        field: String,
        /// Its new value.
        value: Value,
    },
    /// Another `vendor_data`.
    VendorData(Option<String>),
    /// Another workflow.
    Workflow(Uuid),
    /// Another `shared_from_session`.
    Source(Uuid),
    /// Another `environment`: `live` or `sandbox`.
    Environment(String),
    /// The session is deleted.
    Delete,
}

/// A key's owner and privileges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) application: Uuid,
    pub(super) privileges: Privileges,
}

/// A workflow of an application.
#[derive(Clone, Debug)]
pub(super) struct Workflow {
    pub(super) id: Uuid,
    pub(super) kind: SessionKind,
    pub(super) label: &'static str,
    pub(super) archived: bool,
    pub(super) default: bool,
}

/// An entry of a session's review history.
#[derive(Clone, Debug)]
pub(super) struct Review {
    pub(super) user: &'static str,
    pub(super) status: Status,
    pub(super) comment: Option<String>,
    pub(super) at: Timestamp,
}

/// Where an imported session came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) source: Uuid,
    pub(super) trust_review: bool,
}

/// A session of any application. What it found about its subject is not stored but follows from `persona`, which a
/// clone takes over from its source; `edits` are the exceptions.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) application: Uuid,
    pub(super) kind: SessionKind,
    pub(super) number: u64,
    pub(super) status: Status,
    /// What the checks themselves came to; a review changes `status`, not this.
    pub(super) verdict: Status,
    pub(super) vendor_data: Option<String>,
    pub(super) workflow: Uuid,
    pub(super) origin: Option<Origin>,
    /// `shared_from_session` as shown.
    pub(super) shown_source: Option<Uuid>,
    pub(super) created_at: Timestamp,
    pub(super) reviews: Vec<Review>,
    pub(super) persona: Uuid,
    pub(super) environment: Arc<str>,
    pub(super) edits: BTreeMap<String, Value>,
    /// By block and field.
    pub(super) check_edits: BTreeMap<(String, String), Value>,
    pub(super) field_edits: BTreeMap<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_back_in_their_exact_case() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("in review"), None);
    }

    #[test]
    fn privileges_are_a_set() {
        let set = Privileges::of(&[Privilege::WriteSessions]);
        assert!(set.has(Privilege::WriteSessions) && !set.has(Privilege::ReadSessions));
        assert!(Privileges::ALL.has(Privilege::ReadWorkflows));
    }
}
