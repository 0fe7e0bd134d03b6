//! The action of one entry: the table of spec section 4, as one function of plain facts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reason::{Differing, Reason};
use crate::didit::Class;
use crate::ledger::records::{Sketch, State};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// Nothing, or that its token died unsent.
    Fresh,
    /// A request without an outcome.
    Open,
    /// Imported; the settings that the manifest now asks differently.
    Imported {
        /// Which.
        differing: Differing,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// What the ledger knows.
    pub known: Known,
    /// Whether the entry can't be sent, found locally.
    pub invalid: bool,
    /// Its token.
    pub token: Token,
    /// Whether what was refused for good is to be tried again.
    pub retry_refused: bool,
}

impl Facts {
    pub(super) fn new(entry: &Entry, known: Option<Known>, now: Timestamp, retry_refused: bool) -> Self {
        Self {
            known: known.unwrap_or(Known::Fresh),
            invalid: entry.invalid.is_some(),
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
    pub(super) fn new(entry: &Entry, it: &Sketch<'_>, key: Option<&FingerprintKey>) -> Self {
        match it.state {
            State::Erased => Self::Erased,
            State::Sending | State::Unknown => Self::Open,
            State::Imported => Self::Imported { differing: differing(entry, it) },
            State::Expired => Self::Fresh,
            State::Refused => {
                let today = super::diff::token_of(entry, key);
                Self::Refused {
                    class: it.class.unwrap_or(Class::Protocol),
                    same_token: today.is_some() && today == it.token,
                    same_settings: differing(entry, it).is_empty(),
                }
            }
        }
    }
}

/// The settings that the manifest asks otherwise than they were sent. What was never sent (an adopted session) is
/// not judged.
fn differing(entry: &Entry, it: &Sketch<'_>) -> Differing {
    let Some(trust_review) = entry.trust_review() else {
        // A bad row asks nothing.
        return Differing::default();
    };
    let kind = it.session_kind.or(entry.session_kind);
    let workflow: Option<Uuid> = entry.workflow().and_then(|choice| choice.resolve(kind));
    Differing {
        workflow_id: workflow.zip(it.workflow_id).is_some_and(|(asked, sent)| asked != sent),
        trust_review: it.trust_review.is_some_and(|sent| sent != trust_review),
        vendor_data: it.trust_review.is_some() && entry.vendor_data().as_deref() != it.vendor_data,
    }
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
pub fn decide(facts: &Facts) -> (Action, Option<Reason>) {
    match facts.known {
        Known::Erased => (Action::Erased, Some(Reason::Erased)),
        Known::Open => (Action::Recover, Some(Reason::Open)),
        Known::Imported { differing } if differing.is_empty() => (Action::Unchanged, None),
        Known::Imported { differing } => (Action::Conflict, Some(Reason::Differs(differing))),
        Known::Fresh | Known::Refused { .. } => decide_unsent(*facts),
    }
}

fn decide_unsent(facts: Facts) -> (Action, Option<Reason>) {
    if facts.invalid {
        return (Action::Invalid, Some(Reason::Invalid));
    }
    let usable = match facts.token {
        Token::Missing => return (Action::NeedsToken, Some(Reason::NoToken)),
        Token::Dead => return (Action::Expired, Some(Reason::TokenDead)),
        Token::Usable => Action::Import,
    };
    let Known::Refused { class, same_token, same_settings } = facts.known else { return (usable, None) };
    let changed = if !same_token {
        Reason::OtherToken(class)
    } else if !same_settings {
        Reason::OtherSettings(class)
    } else if can_have_changed(class) {
        Reason::CanHaveChanged(class)
    } else if facts.retry_refused {
        Reason::OnRequest(class)
    } else if class == Class::TokenExpired {
        return (Action::Expired, Some(Reason::SaidExpired));
    } else {
        return (Action::Invalid, Some(Reason::ForGood(class)));
    };
    (Action::Retry, Some(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_facts() -> Vec<Facts> {
        let mut known = vec![
            Known::Fresh,
            Known::Open,
            Known::Erased,
            Known::Imported { differing: Differing::default() },
            Known::Imported { differing: Differing { workflow_id: true, ..Differing::default() } },
        ];
        for class in Class::ALL {
            for (same_token, same_settings) in [(true, true), (true, false), (false, true), (false, false)] {
                known.push(Known::Refused { class, same_token, same_settings });
            }
        }
        let mut all = Vec::new();
        for known in known {
            for invalid in [false, true] {
                for token in [Token::Missing, Token::Usable, Token::Dead] {
                    for retry_refused in [false, true] {
                        all.push(Facts { known, invalid, token, retry_refused });
                    }
                }
            }
        }
        all
    }

    /// The table of spec section 4, written as the rows stand there, each with its own condition; the first that
    /// holds wins.
    fn table(facts: Facts) -> Action {
        let refused = |f: &dyn Fn(Class, bool, bool) -> bool| match facts.known {
            Known::Refused { class, same_token, same_settings } => f(class, same_token, same_settings),
            _ => false,
        };
        let rows: [(Action, bool); 10] = [
            (Action::Erased, facts.known == Known::Erased),
            (Action::Recover, facts.known == Known::Open),
            (Action::Unchanged, facts.known == Known::Imported { differing: Differing::default() }),
            (Action::Conflict, matches!(facts.known, Known::Imported { .. })),
            (Action::Invalid, facts.invalid),
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
            assert_eq!(decide(&facts).0, table(facts), "{facts:?}");
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
                assert_eq!((facts.token, facts.invalid), (Token::Usable, false), "{facts:?}");
            }
        }
    }
}
