//! What a plan needs of an entry: borrowed, since it is read of every entry and kept of few.

use uuid::Uuid;

use super::{EntryId, Receiver, Record, State};
use crate::didit::Class;
use crate::token::{Fingerprint, SessionKind};

/// What says of a recorded entry whose it is, and what is to be done with it.
#[derive(Clone, Copy, Debug)]
pub struct Sketch<'r> {
    /// Its number.
    pub id: EntryId,
    /// The manifest's name.
    pub manifest: &'r str,
    /// The receiving application.
    pub receiver: ReceiverRef<'r>,
    /// The shared session, once known.
    pub source_session_id: Option<Uuid>,
    /// After an erasure: the keyed hash of the source session.
    pub source_hash: Option<Fingerprint>,
    /// The token last sent.
    pub token: Option<Fingerprint>,
    /// The kind.
    pub session_kind: Option<SessionKind>,
    /// What is known.
    pub state: State,
    /// `workflow_id` as last sent.
    pub workflow_id: Option<Uuid>,
    /// `trust_review` as last sent.
    pub trust_review: Option<bool>,
    /// `vendor_data` as last sent.
    pub vendor_data: Option<&'r str>,
    /// The session, if imported.
    pub session_id: Option<Uuid>,
    /// The class of the last refusal or failure, if any.
    pub class: Option<Class>,
}

/// By what the records of a few entries are found.
#[derive(Clone, Debug, Default)]
pub struct Sought<'m> {
    /// Their source sessions, where known.
    pub sources: Vec<Uuid>,
    /// The tokens of those whose source session is not known, and what an erasure leaves of them.
    pub tokens: Vec<Fingerprint>,
    /// The names of their manifests.
    pub manifests: Vec<&'m str>,
}

/// A [`Receiver`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverRef<'r> {
    /// As [`Receiver::application_id`].
    pub application_id: Option<Uuid>,
    /// As [`Receiver::base_url`].
    pub base_url: &'r str,
    /// As [`Receiver::key`].
    pub key: Option<Fingerprint>,
}

impl ReceiverRef<'_> {
    /// Whether both can be the same application.
    #[must_use]
    pub fn matches(self, other: ReceiverRef<'_>) -> bool {
        match (self.application_id, other.application_id) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.base_url == other.base_url && self.key.zip(other.key).is_none_or(|(a, b)| a == b),
            _ => self.base_url == other.base_url,
        }
    }
}

impl Receiver {
    /// The same, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ReceiverRef<'_> {
        ReceiverRef { application_id: self.application_id, base_url: &self.base_url, key: self.key }
    }
}

impl Record {
    /// What a plan needs of it.
    #[must_use]
    pub fn sketch(&self) -> Sketch<'_> {
        Sketch {
            id: self.id,
            manifest: &self.manifest,
            receiver: self.receiver.as_ref(),
            source_session_id: self.source_session_id,
            source_hash: self.source_hash,
            token: self.token,
            session_kind: self.session_kind,
            state: self.state,
            workflow_id: self.settings.workflow_id,
            trust_review: self.settings.trust_review,
            vendor_data: self.settings.vendor_data.as_deref(),
            session_id: self.session.as_ref().map(|session| session.session_id),
            class: self.error.as_ref().map(|error| error.class),
        }
    }
}
