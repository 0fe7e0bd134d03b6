//! The rules by name, with the severity each has of itself.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How bad a finding is. Only errors change the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The session is not what was asked for.
    Error,
    /// Somebody should look.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The name in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A rule of spec section 8.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The API knows the session no more. Error.
    SessionMissing,
    /// The session is of another kind than its source. Error.
    KindDrift,
    /// It has another workflow than was sent. Error.
    WorkflowDrift,
    /// It has another `vendor_data` than was sent. Error.
    VendorDataDrift,
    /// It says that it was imported from another session. Error.
    SourceDrift,
    /// One session stands under two entries. Error.
    DuplicateSession,
    /// An `sk_live_` key and a sandbox session, or the reverse. Error.
    EnvironmentMismatch,
    /// The import's own answer to `trust_review: false` was not `In Review`. Error.
    StatusUnexpected,
    /// The status changed since the baseline, and no review explains it. Error.
    StatusDrift,
    /// The status changed since the baseline, by a review; it becomes the baseline by itself. Info.
    StatusReviewed,
    /// The evidence changed since the baseline. Warning.
    EvidenceDrift,
    /// A document has expired. Warning.
    DocumentExpired,
    /// A feature is declined in an approved session. Warning.
    FeatureDeclined,
    /// A rule of the user's, whole: `expect:NAME`. Error, unless the user says otherwise.
    Expect(String),
}

const EXPECT: &str = "expect:";

impl Rule {
    /// Every rule but the user's own.
    pub const BUILT_IN: [Self; 13] = [
        Self::SessionMissing,
        Self::KindDrift,
        Self::WorkflowDrift,
        Self::VendorDataDrift,
        Self::SourceDrift,
        Self::DuplicateSession,
        Self::EnvironmentMismatch,
        Self::StatusUnexpected,
        Self::StatusDrift,
        Self::StatusReviewed,
        Self::EvidenceDrift,
        Self::DocumentExpired,
        Self::FeatureDeclined,
    ];

    /// The user's rule of this name.
    #[must_use]
    pub fn expect(name: &str) -> Self {
        Self::Expect(format!("{EXPECT}{name}"))
    }

    /// The name in every output, such as `kind-drift` or `expect:approved`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::SessionMissing => "session-missing",
            Self::KindDrift => "kind-drift",
            Self::WorkflowDrift => "workflow-drift",
            Self::VendorDataDrift => "vendor-data-drift",
            Self::SourceDrift => "source-drift",
            Self::DuplicateSession => "duplicate-session",
            Self::EnvironmentMismatch => "environment-mismatch",
            Self::StatusUnexpected => "status-unexpected",
            Self::StatusDrift => "status-drift",
            Self::StatusReviewed => "status-reviewed",
            Self::EvidenceDrift => "evidence-drift",
            Self::DocumentExpired => "document-expired",
            Self::FeatureDeclined => "feature-declined",
            Self::Expect(whole) => whole,
        }
    }

    /// Reads [`Rule::as_str`] back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.strip_prefix(EXPECT).is_some_and(|name| !name.is_empty()) {
            return Some(Self::Expect(text.to_owned()));
        }
        Self::BUILT_IN.into_iter().find(|rule| rule.as_str() == text)
    }

    /// The severity the rule has of itself.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::SessionMissing
            | Self::KindDrift
            | Self::WorkflowDrift
            | Self::VendorDataDrift
            | Self::SourceDrift
            | Self::DuplicateSession
            | Self::EnvironmentMismatch
            | Self::StatusUnexpected
            | Self::StatusDrift
            | Self::Expect(_) => Severity::Error,
            Self::EvidenceDrift | Self::DocumentExpired | Self::FeatureDeclined => Severity::Warning,
            Self::StatusReviewed => Severity::Info,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an unknown rule"))
    }
}
