//! Why an entry has its action: kept small, since a plan keeps one for each entry, and put into words when shown.

use crate::didit::Class;

/// Why, where it isn't plain from the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was erased.
    Erased,
    /// The outcome of a request is open.
    Open,
    /// It was imported with other settings.
    Differs(Differing),
    /// The entry itself says why.
    Invalid,
    /// No token came.
    NoToken,
    /// The token is dead.
    TokenDead,
    /// The server said that the token is dead.
    SaidExpired,
    /// Refused, and nothing has changed since.
    ForGood(Class),
    /// Refused, and another token is there.
    OtherToken(Class),
    /// Refused, and the settings are others.
    OtherSettings(Class),
    /// Refused for what can have changed.
    CanHaveChanged(Class),
    /// Refused, and to be tried again all the same.
    OnRequest(Class),
    /// Its token dies before its turn.
    TooLate,
}

impl Reason {
    /// In words; `invalid` is what the entry itself says.
    #[must_use]
    pub fn words(self, invalid: Option<&str>) -> String {
        let refused = |class: Class, why: &str| format!("refused earlier ({class}) {why}");
        match self {
            Self::Erased => "erased by hand; never sent again".to_owned(),
            Self::Open => "a request was sent and its outcome is not known yet".to_owned(),
            Self::Differs(differing) => {
                format!("imported with another {}, which Didit can't change", differing.names().join(" and "))
            }
            Self::Invalid => invalid.unwrap_or_default().to_owned(),
            Self::NoToken => "no token was delivered".to_owned(),
            Self::TokenDead => "the token has expired; the partner has to mint a new one".to_owned(),
            Self::SaidExpired => "the server said that this token has expired".to_owned(),
            Self::ForGood(class) => format!("refused for good with this token ({class})"),
            Self::OtherToken(class) => refused(class, "with another token"),
            Self::OtherSettings(class) => refused(class, "with other settings"),
            Self::CanHaveChanged(class) => refused(class, "for something that can have changed"),
            Self::OnRequest(class) => refused(class, "and is tried again on request"),
            Self::TooLate => "its token expires before its turn".to_owned(),
        }
    }
}

/// The settings that a manifest asks otherwise than they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Differing {
    /// `workflow_id`.
    pub workflow_id: bool,
    /// `trust_review`.
    pub trust_review: bool,
    /// `vendor_data`.
    pub vendor_data: bool,
}

impl Differing {
    /// Whether none does.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn names(self) -> Vec<&'static str> {
        let all =
            [("workflow_id", self.workflow_id), ("trust_review", self.trust_review), ("vendor_data", self.vendor_data)];
        all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}
