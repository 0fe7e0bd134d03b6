//! Why a request did not end in a session: the classes of spec section 7, with one line of advice each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class of a refusal or failure. Every output names it, and shows [`Class::advice`] beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The token's `exp` is past.
    TokenExpired,
    /// Not a valid token.
    TokenInvalid,
    /// Minted for another application.
    WrongAudience,
    /// The source session was imported into this application before.
    AlreadyImported,
    /// The source session was deleted.
    SourceGone,
    /// The workflow is unknown, archived or of the other kind.
    WorkflowUnknown,
    /// The request or the row is malformed.
    BadRequest,
    /// The key was rejected or lacks a privilege.
    Credentials,
    /// The application can't pay.
    NoCredit,
    /// 429.
    Throttled,
    /// 5xx.
    Server,
    /// The connection failed.
    Network,
    /// No answer in time.
    Timeout,
    /// An answer that is not the API's.
    Protocol,
    /// Minting only: the session isn't finished.
    SourceNotShareable,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 15] = [
        Self::TokenExpired,
        Self::TokenInvalid,
        Self::WrongAudience,
        Self::AlreadyImported,
        Self::SourceGone,
        Self::WorkflowUnknown,
        Self::BadRequest,
        Self::Credentials,
        Self::NoCredit,
        Self::Throttled,
        Self::Server,
        Self::Network,
        Self::Timeout,
        Self::Protocol,
        Self::SourceNotShareable,
    ];

    /// The name in every output, such as `token_expired`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::TokenInvalid => "token_invalid",
            Self::WrongAudience => "wrong_audience",
            Self::AlreadyImported => "already_imported",
            Self::SourceGone => "source_gone",
            Self::WorkflowUnknown => "workflow_unknown",
            Self::BadRequest => "bad_request",
            Self::Credentials => "credentials",
            Self::NoCredit => "no_credit",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::SourceNotShareable => "source_not_shareable",
        }
    }

    /// Reads [`Class::as_str`] back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// What to do about it, in one line.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::TokenExpired => "ask the partner for a new token, with a longer lifetime if it died while waiting",
            Self::TokenInvalid => "ask the partner for a new token: this one is damaged or was not minted by Didit",
            Self::WrongAudience => {
                "ask the partner for a token minted for this application, or correct application.id and the key"
            }
            Self::AlreadyImported => {
                "find the session in the console and record it with `didit-sync ledger adopt ID SESSION_ID`"
            }
            Self::SourceGone => "the partner deleted the session: drop the entry, or ask for a newly verified one",
            Self::WorkflowUnknown => {
                "use a published workflow of the receiving application that fits the session's kind"
            }
            Self::BadRequest => "correct the entry's settings as the detail says",
            Self::Credentials => {
                "check the API key, its privileges (read:sessions, write:sessions) and its IP allow-list"
            }
            Self::NoCredit => "top up the receiving application's credit, then run again",
            Self::Throttled => "lower limits.writes_per_minute where other software shares the key, then run again",
            Self::Server => "run again later; if it persists, contact Didit support",
            Self::Network => "check the network, the proxy and application.base_url, then run again",
            Self::Timeout => "run again; raise limits.timeout if the API is slow",
            Self::Protocol => "check application.base_url: something other than the Didit API answered",
            Self::SourceNotShareable => "wait until the source session is Approved, Declined or In Review",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
