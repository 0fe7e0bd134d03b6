//! One entry of a manifest, kept small: a million of them fit a laptop.
//!
//! What many entries have alike stands once ([`Shared`]); texts that follow from the rest (a label that is the source
//! session, a `vendor_data` from a template) are made when they are asked for; and a token that stands in a source is
//! not held but read again where it stands ([`Spot`]).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;
use uuid::Uuid;

use super::model::{Invalid, Mint, SecretRef, WorkflowChoice};
use super::spot::{Spot, TokenMoved};
use super::template::Template;
use crate::token::{Claims, SessionKind, ShareToken};
use crate::verify::Expectations;

/// One shared session with its settings.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `id`, where it has one of its own. What it is called by is [`Entry::label`].
    pub id: Option<CompactString>,
    /// Where it stands.
    pub place: Place,
    /// `source_session_id` where given, else the claim `session_id`.
    pub source_session_id: Option<Uuid>,
    /// The kind by the token's claims; `None` without a token or where the claim is unreadable.
    pub session_kind: Option<SessionKind>,
    /// Where the token is to be had again just before the request.
    pub token: TokenSource,
    /// What the token says besides session and kind.
    pub(super) said: Said,
    /// The settings that others have as well.
    pub shared: Arc<Shared>,
    /// `vendor_data` as it is kept; [`Entry::vendor_data`] is the text.
    pub vendor: Vendor,
    /// Why the entry can't be sent, found without asking anybody: a bad row under `on_invalid: skip`, or a token
    /// minted for another application.
    pub invalid: Option<Box<Invalid>>,
}

/// The settings that many entries have alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// `workflow_id`; `None` only for an invalid row.
    pub workflow: Option<WorkflowChoice>,
    /// `trust_review`; `None` only for an invalid row.
    pub trust_review: Option<bool>,
    /// `expect`: the rules that the session is verified by.
    pub expect: Expectations,
    /// The `vendor_data` of defaults or source, for [`Vendor::Filled`].
    pub(super) vendor: Option<Arc<Template>>,
}

impl Shared {
    /// These settings, without rules and templates.
    #[must_use]
    pub fn new(workflow: WorkflowChoice, trust_review: bool) -> Self {
        Self { workflow: Some(workflow), trust_review: Some(trust_review), ..Self::default() }
    }
}

/// How an entry's `vendor_data` is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vendor {
    /// It has none.
    #[default]
    None,
    /// The template of its defaults or source, filled in.
    Filled,
    /// A text of its own.
    Own(CompactString),
}

/// What a token says, as far as it is asked for again.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    expires: Seconds,
    applications: Option<Arc<Applications>>,
}

/// The applications that a token names; those of one partner name the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applications {
    pub(super) from: Option<Uuid>,
    pub(super) to: Option<Uuid>,
}

/// Seconds since 1970, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seconds(i64);

impl Default for Seconds {
    fn default() -> Self {
        Self(i64::MIN)
    }
}

impl Said {
    /// What `claims` say. The applications are those of `last` where they are the same.
    pub(super) fn new(claims: &Claims, last: &mut Option<Arc<Applications>>) -> Self {
        let (from, to) = (claims.from_application_id, claims.for_application_id);
        let applications = (from.is_some() || to.is_some()).then(|| {
            let named = Applications { from, to };
            match last {
                Some(last) if **last == named => Arc::clone(last),
                _ => Arc::clone(last.insert(Arc::new(named))),
            }
        });
        Self { expires: Seconds(claims.expires_at.map_or(i64::MIN, Timestamp::as_second)), applications }
    }
}

impl Entry {
    /// An entry at this place with these settings, without a token.
    #[must_use]
    pub fn new(place: Place, shared: Arc<Shared>) -> Self {
        Self {
            id: None,
            place,
            source_session_id: None,
            session_kind: None,
            token: TokenSource::Missing,
            said: Said::default(),
            shared,
            vendor: Vendor::None,
            invalid: None,
        }
    }

    /// Takes over what a token says; the entry's own source session stands.
    pub fn learn(&mut self, claims: Option<&Claims>) {
        self.session_kind = claims.and_then(|claims| claims.session_kind);
        self.source_session_id = self.source_session_id.or_else(|| claims?.session_id);
        self.said = claims.map_or_else(Said::default, |claims| Said::new(claims, &mut None));
    }

    /// What it is called by in outputs, unique over all manifests of the command: `id`, else the source session, else
    /// the [`Place`] as text.
    #[must_use]
    pub fn label(&self) -> Label<'_> {
        match (&self.id, self.source_session_id) {
            (Some(id), _) => Label::Text(id),
            (None, Some(session)) => Label::Session(session),
            (None, None) => Label::Place(&self.place),
        }
    }

    /// `workflow_id`; `None` only for an invalid row.
    #[must_use]
    pub fn workflow(&self) -> Option<WorkflowChoice> {
        self.shared.workflow
    }

    /// The workflow, where it is known: by kind it needs a kind.
    #[must_use]
    pub fn workflow_id(&self) -> Option<Uuid> {
        self.workflow()?.resolve(self.session_kind)
    }

    /// `trust_review`; `None` only for an invalid row.
    #[must_use]
    pub fn trust_review(&self) -> Option<bool> {
        self.shared.trust_review
    }

    /// `expect`: the rules that its session is verified by.
    #[must_use]
    pub fn expect(&self) -> &Expectations {
        &self.shared.expect
    }

    /// `vendor_data`, placeholders filled in.
    #[must_use]
    pub fn vendor_data(&self) -> Option<Cow<'_, str>> {
        match &self.vendor {
            Vendor::None => None,
            Vendor::Own(text) => Some(Cow::Borrowed(text)),
            Vendor::Filled => {
                let mut text = String::new();
                self.vendor_into(&mut text).then_some(Cow::Owned(text))
            }
        }
    }

    /// Puts `vendor_data` at the end of a text; whether there is one.
    pub fn vendor_into(&self, text: &mut String) -> bool {
        match &self.vendor {
            Vendor::None => false,
            Vendor::Own(own) => {
                text.push_str(own);
                true
            }
            Vendor::Filled => {
                let template = self.shared.vendor.as_ref();
                template.is_some_and(|template| template.fill_into(self.source_session_id, self.label(), text))
            }
        }
    }

    /// How its token is minted, where the tool itself does that.
    #[must_use]
    pub fn mint(&self) -> Option<&Mint> {
        match &self.token {
            TokenSource::Mint(mint) => Some(mint),
            _ => None,
        }
    }

    /// When the token known now expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.said.expires.0).ok()
    }

    /// What the token known now says, as far as it is kept.
    #[must_use]
    pub fn known_claims(&self) -> Claims {
        Claims {
            session_id: self.source_session_id,
            session_kind: self.session_kind,
            from_application_id: self.from_application_id(),
            for_application_id: self.for_application_id(),
            issued_at: None,
            expires_at: self.expires_at(),
        }
    }

    /// The application that shares, by the token known now.
    #[must_use]
    pub fn from_application_id(&self) -> Option<Uuid> {
        self.said.applications.as_ref()?.from
    }

    /// The application that may import, by the token known now.
    #[must_use]
    pub fn for_application_id(&self) -> Option<Uuid> {
        self.said.applications.as_ref()?.to
    }

    /// The token as it was when the manifest was loaded. `None` for `exec` and `mint`, for a roster line without a
    /// token, for an invalid row.
    ///
    /// Reads the source again where the token stands in one; an error says that it is not there any more.
    pub fn read_token(&self) -> Result<Option<ShareToken>, TokenMoved> {
        match &self.token {
            TokenSource::Literal(token) => Ok(Some(token.clone())),
            TokenSource::Row(spot) => spot.read().map(Some),
            TokenSource::Reference(referred) => Ok(referred.now.clone()),
            TokenSource::Mint(_) | TokenSource::Missing => Ok(None),
        }
    }

    /// Whether there was a token when the manifest was loaded.
    #[must_use]
    pub fn has_token(&self) -> bool {
        match &self.token {
            TokenSource::Literal(_) | TokenSource::Row(_) => true,
            TokenSource::Reference(referred) => referred.now.is_some(),
            TokenSource::Mint(_) | TokenSource::Missing => false,
        }
    }
}

/// Where an entry's token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// It stands in the manifest, or in a file where it can't be read again byte for byte; it is held.
    Literal(ShareToken),
    /// It stands in a source or tokens file, and is read again where it stands.
    Row(Spot),
    /// It is referred to, and read again (`env`, `file`) or had once (`exec`) just before the request.
    Reference(Box<Referred>),
    /// It is minted just before the request.
    Mint(Box<Mint>),
    /// None was delivered.
    Missing,
}

/// A token that is referred to.
#[derive(Clone, Debug)]
pub struct Referred {
    /// By what.
    pub reference: SecretRef,
    /// The token as it was when the manifest was loaded; `None` for `exec`.
    pub now: Option<ShareToken>,
}

impl TokenSource {
    /// A token that is referred to and not known yet.
    #[must_use]
    pub fn reference(reference: SecretRef) -> Self {
        Self::Reference(Box::new(Referred { reference, now: None }))
    }

    /// What it is referred to by.
    #[must_use]
    pub fn referred(&self) -> Option<&SecretRef> {
        match self {
            Self::Reference(referred) => Some(&referred.reference),
            _ => None,
        }
    }

    /// Whether a program gives it.
    #[must_use]
    pub fn is_program(&self) -> bool {
        matches!(self.referred(), Some(SecretRef::Exec { .. }))
    }
}

/// `FILE:LINE`, the file as written or found from the path given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file.
    pub file: FileName,
    /// The line, from 1; 0 where a whole file is meant.
    pub line: u32,
}

/// The name of a file as it is shown, which all places in it share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<Box<str>>);

impl FileName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name, shared with nobody yet: threads that count no common references do not wait for each other.
    pub(super) fn apart(&self) -> Self {
        Self::from(self.as_str())
    }
}

impl From<&str> for FileName {
    fn from(name: &str) -> Self {
        Self(Arc::new(name.into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(self.file.as_str()) } else { write!(f, "{}:{}", self.file.as_str(), self.line) }
    }
}

/// What an entry is called by. Compares, sorts and hashes as its text does, which is made only where it is needed.
#[derive(Clone, Copy, Debug)]
pub enum Label<'a> {
    /// This text.
    Text(&'a str),
    /// The source session.
    Session(Uuid),
    /// The place.
    Place(&'a Place),
}

impl Label<'_> {
    /// The first eight bytes of the text, as a number that sorts as they do.
    #[must_use]
    pub(crate) fn beginning(self) -> u64 {
        self.with(|text| {
            let mut bytes = [0; 8];
            let length = text.len().min(8);
            bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
            u64::from_be_bytes(bytes)
        })
    }

    /// Calls `f` with the text.
    pub fn with<R>(self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Text(text) => f(text),
            Self::Session(session) => f(session.hyphenated().encode_lower(&mut [0; 36])),
            Self::Place(place) => f(&place.to_string()),
        }
    }
}

impl serde::Serialize for Label<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with(|text| serializer.serialize_str(text))
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|text| f.pad(text))
    }
}

impl Ord for Label<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            // Small hex digits sort as the bytes they stand for.
            (Self::Session(one), Self::Session(two)) => one.cmp(two),
            _ => self.with(|one| other.with(|two| one.cmp(two))),
        }
    }
}

impl PartialOrd for Label<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Label<'_> {}

impl PartialEq for Label<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl PartialEq<str> for Label<'_> {
    fn eq(&self, other: &str) -> bool {
        *self == Label::Text(other)
    }
}

impl PartialEq<&str> for Label<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == Label::Text(other)
    }
}

impl PartialEq<String> for Label<'_> {
    fn eq(&self, other: &String) -> bool {
        *self == Label::Text(other)
    }
}

impl Hash for Label<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.with(|text| text.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_entries_are_small() {
        assert!(size_of::<Entry>() <= 152, "{}", size_of::<Entry>());
    }

    fn any_label() -> impl Strategy<Value = (Option<String>, u128, u32)> {
        let id = prop_oneof![
            Just(None),
            "[a-f0-9-]{0,40}".prop_map(Some),
            any::<u128>().prop_map(|n| Some(Uuid::from_u128(n).to_string())),
        ];
        (id, any::<u128>(), 0..3_u32)
    }

    proptest! {
        #[test]
        fn a_label_is_equal_and_sorts_as_its_text(one in any_label(), two in any_label()) {
            let places = [1, 2].map(|line| Place { file: "a.csv".into(), line });
            let label = |(id, session, kind): &(Option<String>, u128, u32), at: usize| match (id, kind) {
                (Some(id), _) => (id.clone(), None),
                (None, 0) => (places[at].to_string(), Some(Label::Place(&places[at]))),
                (None, _) => (Uuid::from_u128(*session).to_string(), Some(Label::Session(Uuid::from_u128(*session)))),
            };
            let ((a, la), (b, lb)) = (label(&one, 0), label(&two, 1));
            let (la, lb) = (la.unwrap_or(Label::Text(&a)), lb.unwrap_or(Label::Text(&b)));
            prop_assert_eq!(la.cmp(&lb), a.cmp(&b));
            prop_assert_eq!(la == lb, a == b);
            prop_assert!(la.beginning().cmp(&lb.beginning()).then_with(|| a.cmp(&b)) == a.cmp(&b));
            prop_assert_eq!(la.to_string(), a);
        }
    }
}
