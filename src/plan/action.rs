//! The action of one entry: the table of spec section 4, as one function of plain facts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::didit::Class;
use crate::ledger::records::{Record, State};
use crate::manifest::{Entry, TokenSource};
use crate::token::FingerprintKey;

/// What is to be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A request was sent whose outcome is not known.
    Recover,
    /// Never imported, token usable.
    Import,
    /// Refused earlier for something that can have changed.
    Retry,
    /// Imported with these settings.
    Unchanged,
    /// Imported with other settings, which can't be changed.
    Conflict,
    /// Not imported, and the token is dead.
    Expired,
    /// Not imported, and there is no token.
    NeedsToken,
    /// Can't be sent as it is.
    Invalid,
    /// Erased by hand; never sent again.
    Erased,
    /// Imported, and in no manifest any more.
    Orphan,
}

impl Action {
    /// Every action, in the order of outputs.
    pub const ALL: [Self; 10] = [
        Self::Recover,
        Self::Import,
        Self::Retry,
        Self::Unchanged,
        Self::Conflict,
        Self::Expired,
        Self::NeedsToken,
        Self::Invalid,
        Self::Erased,
        Self::Orphan,
    ];

    /// The name in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Import => "import",
            Self::Retry => "retry",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
            Self::Expired => "expired",
            Self::NeedsToken => "needs-token",
            Self::Invalid => "invalid",
            Self::Erased => "erased",
            Self::Orphan => "orphan",
        }
    }

    /// Whether `apply` sends something for it.
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Recover | Self::Import | Self::Retry)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of the entry's token today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// None was delivered.
    Missing,
    /// It lives, or its end can't be read.
    Usable,
    /// Its `exp` is past.
    Dead,
}

/// What the ledger knows of the entry, reduced to what decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// Nothing, or that its token died unsent.
    Fresh,
    /// A request without an outcome.
    Open,
    /// Imported; the settings that the manifest now asks differently.
    Imported {
        /// Names of settings.
        differing: Vec<&'static str>,
    },
    /// Refused with a class.
    Refused {
        /// The class.
        class: Class,
        /// Whether today's token is the one refused.
        same_token: bool,
        /// Whether the settings are those refused.
        same_settings: bool,
    },
    /// Erased.
    Erased,
}

/// All that decides an entry's action.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// What the ledger knows.
    pub known: Known,
    /// Why the entry can't be sent, found locally.
    pub invalid: Option<String>,
    /// Its token.
    pub token: Token,
    /// Whether what was refused for good is to be tried again.
    pub retry_refused: bool,
}

impl Facts {
    pub(super) fn new(
        entry: &Entry,
        known: Option<&Record>,
        key: Option<&FingerprintKey>,
        now: Timestamp,
        retry_refused: bool,
    ) -> Self {
        Self {
            known: known.map_or(Known::Fresh, |record| Known::new(entry, record, key)),
            invalid: entry.invalid.as_ref().map(|invalid| invalid.message.clone()),
            token: Token::new(entry, now),
            retry_refused,
        }
    }
}

impl Token {
    fn new(entry: &Entry, now: Timestamp) -> Self {
        match (&entry.token, entry.expires_at()) {
            (TokenSource::Missing, _) => Self::Missing,
            (_, Some(expires_at)) if expires_at <= now => Self::Dead,
            _ => Self::Usable,
        }
    }
}

impl Known {
    fn new(entry: &Entry, record: &Record, key: Option<&FingerprintKey>) -> Self {
        match record.state {
            State::Erased => Self::Erased,
            State::Sending | State::Unknown => Self::Open,
            State::Imported => Self::Imported { differing: differing(entry, record) },
            State::Expired => Self::Fresh,
            State::Refused => {
                let today = key.and_then(|key| Some(entry.read_token().ok()??.fingerprint(key)));
                Self::Refused {
                    class: record.error.as_ref().map_or(Class::Protocol, |error| error.class),
                    same_token: today.is_some() && today == record.token,
                    same_settings: differing(entry, record).is_empty(),
                }
            }
        }
    }
}

/// The settings that the manifest asks otherwise than they were sent. What was never sent (an adopted session) is
/// not judged.
fn differing(entry: &Entry, record: &Record) -> Vec<&'static str> {
    if entry.trust_review().is_none() {
        // A bad row asks nothing.
        return Vec::new();
    }
    let kind = record.session_kind.or(entry.session_kind);
    let workflow: Option<Uuid> = entry.workflow().and_then(|choice| choice.resolve(kind));
    let sent = &record.settings;
    let mut differing = Vec::new();
    if workflow.is_some() && sent.workflow_id.is_some() && workflow != sent.workflow_id {
        differing.push("workflow_id");
    }
    if entry.trust_review().is_some() && sent.trust_review.is_some() && entry.trust_review() != sent.trust_review {
        differing.push("trust_review");
    }
    if sent.trust_review.is_some() && entry.vendor_data().as_deref() != sent.vendor_data.as_deref() {
        differing.push("vendor_data");
    }
    differing
}

/// Whether a refusal of this class can be overcome without another token or other settings.
fn can_have_changed(class: Class) -> bool {
    match class {
        Class::WorkflowUnknown
        | Class::NoCredit
        | Class::Credentials
        | Class::Throttled
        | Class::Server
        | Class::Network
        | Class::Timeout
        | Class::Protocol
        | Class::SourceNotShareable => true,
        Class::TokenExpired
        | Class::TokenInvalid
        | Class::WrongAudience
        | Class::AlreadyImported
        | Class::SourceGone
        | Class::BadRequest => false,
    }
}

/// Decides. Total: every combination of facts has an answer.
#[must_use]
pub fn decide(facts: &Facts) -> (Action, Option<String>) {
    match &facts.known {
        Known::Erased => (Action::Erased, Some("erased by hand; never sent again".to_owned())),
        Known::Open => (Action::Recover, Some("a request was sent and its outcome is not known yet".to_owned())),
        Known::Imported { differing } if differing.is_empty() => (Action::Unchanged, None),
        Known::Imported { differing } => (
            Action::Conflict,
            Some(format!("imported with another {}, which Didit can't change", differing.join(" and "))),
        ),
        Known::Fresh | Known::Refused { .. } => decide_unsent(facts),
    }
}

fn decide_unsent(facts: &Facts) -> (Action, Option<String>) {
    if let Some(message) = &facts.invalid {
        return (Action::Invalid, Some(message.clone()));
    }
    let usable = match facts.token {
        Token::Missing => return (Action::NeedsToken, Some("no token was delivered".to_owned())),
        Token::Dead => {
            return (Action::Expired, Some("the token has expired; the partner has to mint a new one".to_owned()));
        }
        Token::Usable => Action::Import,
    };
    let Known::Refused { class, same_token, same_settings } = facts.known else { return (usable, None) };
    let changed = if !same_token {
        "with another token"
    } else if !same_settings {
        "with other settings"
    } else if can_have_changed(class) {
        "for something that can have changed"
    } else if facts.retry_refused {
        "and is tried again on request"
    } else if class == Class::TokenExpired {
        return (Action::Expired, Some("the server said that this token has expired".to_owned()));
    } else {
        return (Action::Invalid, Some(format!("refused for good with this token ({class})")));
    };
    (Action::Retry, Some(format!("refused earlier ({class}) {changed}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_facts() -> Vec<Facts> {
        let mut known = vec![
            Known::Fresh,
            Known::Open,
            Known::Erased,
            Known::Imported { differing: vec![] },
            Known::Imported { differing: vec!["workflow_id"] },
        ];
        for class in Class::ALL {
            for (same_token, same_settings) in [(true, true), (true, false), (false, true), (false, false)] {
                known.push(Known::Refused { class, same_token, same_settings });
            }
        }
        let mut all = Vec::new();
        for known in known {
            for invalid in [None, Some("bad row".to_owned())] {
                for token in [Token::Missing, Token::Usable, Token::Dead] {
                    for retry_refused in [false, true] {
                        let (known, invalid) = (known.clone(), invalid.clone());
                        all.push(Facts { known, invalid, token, retry_refused });
                    }
                }
            }
        }
        all
    }

    /// The table of spec section 4, written as the rows stand there, each with its own condition; the first that
    /// holds wins.
    fn table(facts: &Facts) -> Action {
        let refused = |f: &dyn Fn(Class, bool, bool) -> bool| match facts.known {
            Known::Refused { class, same_token, same_settings } => f(class, same_token, same_settings),
            _ => false,
        };
        let rows: [(Action, bool); 10] = [
            (Action::Erased, facts.known == Known::Erased),
            (Action::Recover, facts.known == Known::Open),
            (Action::Unchanged, facts.known == Known::Imported { differing: vec![] }),
            (Action::Conflict, matches!(facts.known, Known::Imported { .. })),
            (Action::Invalid, facts.invalid.is_some()),
            (Action::NeedsToken, facts.token == Token::Missing),
            (Action::Expired, facts.token == Token::Dead),
            (Action::Import, facts.known == Known::Fresh),
            (
                Action::Retry,
                refused(&|class, same_token, same_settings| {
                    let for_good = [
                        Class::TokenExpired,
                        Class::TokenInvalid,
                        Class::WrongAudience,
                        Class::AlreadyImported,
                        Class::SourceGone,
                        Class::BadRequest,
                    ];
                    !same_token || !same_settings || facts.retry_refused || !for_good.contains(&class)
                }),
            ),
            (Action::Expired, refused(&|class, _, _| class == Class::TokenExpired)),
        ];
        rows.into_iter().find_map(|(action, holds)| holds.then_some(action)).unwrap_or(Action::Invalid)
    }

    #[test]
    fn every_combination_of_facts_has_the_action_of_the_table() {
        let all = all_facts();
        assert_eq!(all.len(), (5 + 15 * 4) * 2 * 3 * 2);
        for facts in all {
            assert_eq!(decide(&facts).0, table(&facts), "{facts:?}");
        }
    }

    #[test]
    fn nothing_is_sent_for_an_entry_that_is_done_or_has_no_usable_token() {
        for facts in all_facts() {
            let (action, _) = decide(&facts);
            if matches!(facts.known, Known::Imported { .. } | Known::Erased) {
                assert!(!action.is_pending(), "{facts:?}");
            }
            if matches!(action, Action::Import | Action::Retry) {
                assert_eq!((facts.token, &facts.invalid), (Token::Usable, &None), "{facts:?}");
            }
        }
    }
}
