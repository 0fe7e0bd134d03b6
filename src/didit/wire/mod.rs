//! What the API's successes say, read leniently into one model.
//!
//! Two generations of answers exist: the plural V3 shape (`liveness_checks: [..]`) and the older singular one
//! (`liveness: {..}`), which the published import page still shows. Both are read as the plural one (`normal.rs`).
//! Only a session id is required of a decision; every other field is read for itself, and one that is missing or of
//! another type is `None`. A field that the API does not return is not judged, so [`Presence`] tells apart what is
//! absent and what is null.
//!
//! Decisions carry personal data. It stays in [`Decision::json`], which `Debug` does not show and nothing stores.

mod lenient;
mod lists;
mod normal;
mod status;

use bytes::Bytes;
use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::{Environment, Fields, Json};
use crate::mask::holds_secret;
use crate::token::SessionKind;

pub(super) use lists::{RawPage, read_page, read_rows, read_workflows};
pub use lists::{SessionRow, Workflow, WorkflowKind};
pub use status::Status;

/// A field that may be absent, null or there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Presence<T> {
    /// The API did not return the field.
    #[default]
    Absent,
    /// It returned null.
    Null,
    /// It returned a value.
    Value(T),
}

impl<T> Presence<T> {
    /// The value, where there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

/// One feature of a session, such as `LIVENESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name in the API. A name of unusual characters is `OTHER`.
    pub feature: String,
    /// Its status: as listed, else as its checks say; `None` where neither does.
    pub status: Option<Status>,
}

/// A review of a session: somebody set its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The status that was set.
    pub new_status: Option<Status>,
    /// When.
    pub created_at: Option<Timestamp>,
}

/// A session with its results: the answer to an import, or of the decision endpoint (`didit-api.md` 2 and 5).
#[derive(Clone, PartialEq)]
pub struct Decision {
    /// The session in the receiving application.
    pub session_id: Uuid,
    /// Its kind; `None` in the singular shape, which does not say.
    pub session_kind: Option<SessionKind>,
    /// Its number within the application.
    pub session_number: Option<i64>,
    /// Its page, where the API gives a proper URL.
    pub session_url: Option<String>,
    /// Its status.
    pub status: Option<Status>,
    /// Its workflow (the group's id, not a version's).
    pub workflow_id: Option<Uuid>,
    /// Its `vendor_data`.
    pub vendor_data: Presence<String>,
    /// The source session; not every answer says.
    pub shared_from_session: Option<Uuid>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Whether it is real.
    pub environment: Option<Environment>,
    /// Its features, in the API's order.
    pub features: Vec<Feature>,
    /// Its reviews, in the API's order.
    pub reviews: Vec<Review>,
    /// The whole decision in the plural shape, statuses in canonical spelling, for digests and the user's own rules.
    /// Holds personal data: never stored, never shown.
    pub json: Json,
}

impl std::fmt::Debug for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decision")
            .field("session_id", &self.session_id)
            .field("session_kind", &self.session_kind)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The fields that say which session it is, and how it stands.
const HEAD: [&str; 11] = [
    "session_id",
    "session_kind",
    "session_number",
    "session_url",
    "status",
    "workflow_id",
    "vendor_data",
    "shared_from_session",
    "created_at",
    "expires_at",
    "environment",
];

/// The body is no decision: no JSON object, one without a session id, or with that of another session than was asked
/// for. Carries nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decision: no session id in it, or another one")]
pub struct NotADecision;

impl Decision {
    /// Reads the body of an answer, in either shape.
    pub fn read(body: &[u8]) -> Result<Self, NotADecision> {
        let Some(Json::Object(fields)) = lenient::parse(body) else { return Err(NotADecision) };
        Self::from_fields(normal::normalise(fields)).ok_or(NotADecision)
    }

    /// Reads which session an answer tells of, and how it stands; its checks, features and reviews may be left out.
    /// The whole body has to be JSON all the same: half an answer is none.
    pub fn read_head(body: &[u8]) -> Result<Self, NotADecision> {
        let fields = lenient::parse_head(body, &HEAD).ok_or(NotADecision)?;
        Self::from_fields(fields).ok_or(NotADecision)
    }

    fn from_fields(fields: Fields) -> Option<Self> {
        Some(Self {
            session_id: uuid(&fields, "session_id")?,
            session_kind: kind(&fields),
            session_number: integer(&fields, "session_number"),
            session_url: text(&fields, "session_url").and_then(proper_url),
            status: status(&fields, "status"),
            workflow_id: uuid(&fields, "workflow_id"),
            vendor_data: vendor_data(&fields),
            shared_from_session: uuid(&fields, "shared_from_session"),
            created_at: time(&fields, "created_at"),
            expires_at: time(&fields, "expires_at"),
            environment: text(&fields, "environment").and_then(Environment::parse),
            features: objects(&fields, "features").filter_map(feature).collect(),
            reviews: objects(&fields, "reviews").map(review).collect(),
            json: Json::Object(fields),
        })
    }

    /// Forgets the fields of [`Decision::json`] but one.
    pub fn keep_only(&mut self, field: &str) {
        if let Some(fields) = self.json.as_object_mut() {
            fields.keep_only(field);
        }
    }

    /// The dates of expiry of the session's documents, for rules; personal data, so never shown.
    pub fn document_expiries(&self) -> impl Iterator<Item = jiff::civil::Date> {
        ["id_verifications", "document_verifications"]
            .into_iter()
            .filter_map(|block| self.json.get(block)?.as_array())
            .flatten()
            .filter_map(|item| item.get("expiration_date")?.as_str()?.get(..10)?.parse().ok())
    }
}

/// The answer to a request for a session's decision, not read yet. Reading makes some hundred small values, and is best
/// done on the thread that looks at them and drops them.
#[derive(Clone, PartialEq)]
pub struct Unread {
    session: Uuid,
    body: Bytes,
}

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unread").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Unread {
    pub(super) fn new(session: Uuid, body: Bytes) -> Self {
        Self { session, body }
    }

    /// Reads it, if it is a decision of the session that was asked for.
    pub fn read(&self) -> Result<Decision, NotADecision> {
        Decision::read(&self.body)
            .and_then(|read| if read.session_id == self.session { Ok(read) } else { Err(NotADecision) })
    }
}

fn feature(fields: &Fields) -> Option<Feature> {
    Some(Feature { feature: feature_name(text(fields, "feature")?), status: status(fields, "status") })
}

fn feature_name(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && name.len() <= 40;
    if plain && !name.is_empty() { name.to_ascii_uppercase() } else { "OTHER".to_owned() }
}

fn review(fields: &Fields) -> Review {
    Review { new_status: status(fields, "new_status"), created_at: time(fields, "created_at") }
}

fn objects<'v>(fields: &'v Fields, key: &str) -> impl Iterator<Item = &'v Fields> {
    fields.get(key).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_object)
}

fn text<'v>(fields: &'v Fields, key: &str) -> Option<&'v str> {
    fields.get(key)?.as_str()
}

fn uuid(fields: &Fields, key: &str) -> Option<Uuid> {
    text(fields, key)?.trim().parse().ok()
}

fn integer(fields: &Fields, key: &str) -> Option<i64> {
    let value = fields.get(key)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn boolean(fields: &Fields, key: &str) -> Option<bool> {
    fields.get(key)?.as_bool()
}

fn time(fields: &Fields, key: &str) -> Option<Timestamp> {
    text(fields, key)?.trim().parse().ok()
}

fn status(fields: &Fields, key: &str) -> Option<Status> {
    text(fields, key).and_then(Status::parse)
}

fn kind(fields: &Fields) -> Option<SessionKind> {
    text(fields, "session_kind").and_then(SessionKind::parse)
}

fn vendor_data(fields: &Fields) -> Presence<String> {
    match fields.get("vendor_data") {
        None => Presence::Absent,
        Some(Json::String(text)) => Presence::Value(text.as_str().to_owned()),
        Some(Json::Int(number)) => Presence::Value(number.to_string()),
        Some(Json::UInt(number)) => Presence::Value(number.to_string()),
        Some(Json::Float(number)) => Presence::Value(number.to_string()),
        Some(_) => Presence::Null,
    }
}

fn proper_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    (text.len() <= 2048 && !holds_secret(text)).then(|| url.into())
}

#[cfg(test)]
mod tests;
