//! Statuses, compared without regard to case and separators, written in one spelling.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest unknown status that is kept as it is.
const MAX_UNKNOWN: usize = 40;

/// The status of a session (`didit-api.md` section 12) or of a feature (section 5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the API's own ten names, and two that only features have")]
pub enum Status {
    NotStarted,
    InProgress,
    AwaitingUser,
    InReview,
    Approved,
    Declined,
    Resubmitted,
    Expired,
    KycExpired,
    Abandoned,
    NotFinished,
    ResubRequested,
    /// One that came later than this program; inert text. `unrecognised` where it is no plain word.
    Unknown(String),
}

impl Status {
    /// Every known status.
    pub const KNOWN: [Self; 12] = [
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
        Self::NotFinished,
        Self::ResubRequested,
    ];

    /// The canonical spelling, such as `In Review`.
    #[must_use]
    pub fn as_str(&self) -> &str {
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
            Self::NotFinished => "Not Finished",
            Self::ResubRequested => "Resub Requested",
            Self::Unknown(text) => text,
        }
    }

    /// Reads a status in any case and with any separators: `IN_REVIEW`, `in review`, `InReview`. `None` where the
    /// text is blank.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return None;
        }
        Some(Self::known(text).unwrap_or_else(|| Self::Unknown(inert(text.trim()))))
    }

    fn known(text: &str) -> Option<Self> {
        let is_meant = |status: &Self| folded(status.as_str()).eq(folded(text));
        // Most are spelt so.
        Self::KNOWN
            .into_iter()
            .find(|status| status.as_str() == text)
            .or_else(|| Self::KNOWN.into_iter().find(is_meant))
    }

    /// Whether a session of this status can be shared (`didit-api.md` section 3).
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        matches!(self, Self::Approved | Self::Declined | Self::InReview)
    }
}

fn folded(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase())
}

fn inert(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_' | b'-'));
    if plain && text.len() <= MAX_UNKNOWN && !crate::mask::holds_secret(text) {
        text.to_owned()
    } else {
        "unrecognised".to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an empty status"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_status_is_the_same() {
        for text in ["In Review", "IN_REVIEW", "in-review", "inreview", " InReview "] {
            assert_eq!(Status::parse(text), Some(Status::InReview), "{text}");
        }
        for status in Status::KNOWN {
            assert_eq!(Status::parse(status.as_str()), Some(status.clone()));
            assert_eq!(Status::parse(&status.as_str().to_uppercase().replace(' ', "_")), Some(status));
        }
    }

    #[test]
    fn promise_5_an_unknown_status_is_kept_only_as_plain_words() {
        assert_eq!(Status::parse("On Hold"), Some(Status::Unknown("On Hold".into())));
        assert_eq!(Status::parse("<b>Carmen</b>"), Some(Status::Unknown("unrecognised".into())));
        assert_eq!(Status::parse("\u{202e}"), Some(Status::Unknown("unrecognised".into())));
        assert_eq!(Status::parse(" "), None);
    }

    proptest! {
        #[test]
        fn a_status_written_out_reads_the_same(text in "\\PC{0,60}") {
            if let Some(status) = Status::parse(&text) {
                prop_assert_eq!(Status::parse(status.as_str()), Some(status));
            }
        }
    }
}
