//! The words of the API's errors: which of the documented ones a body says. Pure.
//!
//! Error bodies share no envelope (`didit-api.md` section 1): a text may stand under `detail`, `error` or a field, in
//! a list, nested, in a bare list, or come as plain text; HTML says nothing. All texts are collected, and the first
//! phrase of [`PHRASES`] that one of them holds is what the body means. Only the phrase's own wording is ever shown,
//! since an error may quote what it is about.

use serde_json::{Map, Value};

/// What a documented text or code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The key was rejected, or may not do this.
    Key,
    /// The application can't pay.
    NoCredit,
    /// Minted for another application, or imported before: the text leaves it open.
    AudienceOrImported,
    AlreadyImported,
    WrongAudience,
    Workflow,
    SourceGone,
    /// Minting: the session isn't finished.
    NotShareable,
    /// Minting: the application to mint for does not exist.
    NoTarget,
    /// A field is wrong.
    Field,
    TokenInvalidOrExpired,
    TokenExpired,
    TokenInvalid,
    /// Something is not there; the text doesn't say what.
    NotFound,
    /// 429 or 5xx, which the status says too.
    Busy,
}

/// What a text holds, in lower case (all of it), and how the phrase is shown.
struct Phrase(Meaning, &'static [&'static str], &'static str);

const PERMISSION: &str = "You do not have permission to perform this action.";
const NO_CREDENTIALS: &str = "Authentication credentials were not provided or are invalid.";
const ALREADY: &str = "This session has already been shared with your application.";
const AUDIENCE: &str = "This token is not valid for this application.";
const WORKFLOW: &str = "Workflow does not exist for this application.";
const GONE: &str = "Original session does not exist.";
const INVALID: &str = "Invalid share token.";

/// In order of precedence: what concerns the key or the money before what concerns an entry, the particular before
/// the general.
const PHRASES: &[Phrase] = &[
    Phrase(Meaning::Key, &["api key", "expired"], "This API key has expired."),
    Phrase(Meaning::Key, &["api key"], "Invalid or missing API key"),
    Phrase(Meaning::Key, &["authentication credentials"], NO_CREDENTIALS),
    Phrase(Meaning::Key, &["valid access token"], "You must be authenticated with a valid access token."),
    Phrase(Meaning::Key, &["not have permission to perform this action"], PERMISSION),
    Phrase(Meaning::NoCredit, &["enough credits"], "You don't have enough credits to perform this request."),
    Phrase(Meaning::NoCredit, &["insufficient", "credit"], "Insufficient credits."),
    Phrase(Meaning::NoCredit, &["insufficient", "balance"], "Insufficient balance."),
    Phrase(Meaning::NoCredit, &["billing", "suspended"], "Billing is suspended."),
    Phrase(
        Meaning::AudienceOrImported,
        &["not intended for", "already been imported"],
        "Token not intended for your application, or session has already been imported.",
    ),
    Phrase(Meaning::AlreadyImported, &["already been shared"], ALREADY),
    Phrase(Meaning::AlreadyImported, &["already been imported"], "Session has already been imported."),
    Phrase(Meaning::AlreadyImported, &["already shared"], ALREADY),
    Phrase(Meaning::AlreadyImported, &["already imported"], "Session has already been imported."),
    Phrase(Meaning::WrongAudience, &["not intended for"], "Token not intended for your application."),
    Phrase(Meaning::WrongAudience, &["not valid for this application"], AUDIENCE),
    Phrase(Meaning::WrongAudience, &["not valid for your application"], AUDIENCE),
    Phrase(Meaning::NoTarget, &["target application does not exist"], "Target application does not exist."),
    Phrase(Meaning::Field, &["with the same application"], "Cannot share a session with the same application."),
    Phrase(Meaning::Field, &["json parse error"], "JSON parse error"),
    Phrase(Meaning::Workflow, &["workflow", "does not exist"], WORKFLOW),
    Phrase(Meaning::Workflow, &["workflow", "not found"], "workflow_id not found in your application."),
    Phrase(Meaning::Workflow, &["workflow", "archived"], "Workflow is archived."),
    Phrase(Meaning::Workflow, &["workflow", "published"], "Workflow is not published."),
    Phrase(Meaning::SourceGone, &["original session", "no longer exists"], "Original session no longer exists."),
    Phrase(Meaning::SourceGone, &["original session", "not"], GONE),
    Phrase(Meaning::SourceGone, &["session", "no longer exists"], "Original session no longer exists."),
    Phrase(Meaning::SourceGone, &["session", "does not exist"], GONE),
    Phrase(Meaning::SourceGone, &["session not found"], "Session not found."),
    Phrase(
        Meaning::NotShareable,
        &["only finished sessions"],
        "Only finished sessions (\"Approved\", \"Declined\", \"In Review\") can be shared.",
    ),
    Phrase(Meaning::TokenInvalidOrExpired, &["token", "invalid", "expired"], "Share token invalid or expired."),
    Phrase(Meaning::TokenExpired, &["token", "expired"], "Share token has expired."),
    Phrase(Meaning::TokenInvalid, &["token", "invalid"], INVALID),
    Phrase(Meaning::TokenInvalid, &["token", "not valid"], INVALID),
    Phrase(Meaning::TokenInvalid, &["token", "malformed"], INVALID),
    Phrase(Meaning::Field, &["this field is required"], "This field is required."),
    Phrase(Meaning::Field, &["field may not be null"], "This field may not be null."),
    Phrase(Meaning::Field, &["field may not be blank"], "This field may not be blank."),
    Phrase(Meaning::Field, &["valid boolean"], "Must be a valid boolean."),
    Phrase(Meaning::Field, &["valid uuid"], "Must be a valid UUID."),
    Phrase(Meaning::Field, &["valid string"], "Not a valid string."),
    Phrase(Meaning::Field, &["valid integer"], "A valid integer is required."),
    Phrase(Meaning::Field, &["valid date"], "Enter a valid date."),
    Phrase(Meaning::Field, &["valid choice"], "Select a valid choice."),
    Phrase(Meaning::Field, &["must be \"user\", \"business\""], "Must be \"user\", \"business\", or \"all\"."),
    Phrase(Meaning::Field, &["has no more than"], "Ensure this field has no more characters than allowed."),
    Phrase(Meaning::Field, &["greater than or equal to"], "Ensure this value is not too small."),
    Phrase(Meaning::Field, &["less than or equal to"], "Ensure this value is not too large."),
    Phrase(Meaning::Field, &["erasure cannot retain biometric"], "Privacy erasure cannot retain biometric templates."),
    Phrase(
        Meaning::Field,
        &["finite biometric-template retention"],
        "A finite biometric-template retention duration is required.",
    ),
    Phrase(Meaning::Busy, &["external store is unavailable"], "An external store is unavailable."),
    Phrase(Meaning::Busy, &["write request rate limit exceeded"], "Write request rate limit exceeded."),
    Phrase(Meaning::Busy, &["get request rate limit exceeded"], "GET request rate limit exceeded."),
    Phrase(Meaning::Busy, &["request was throttled"], "Request was throttled."),
    Phrase(Meaning::NotFound, &["not found"], "Not found."),
];

/// The documented codes (`didit-api.md` sections 6 and 10).
const CODES: [(&str, Meaning); 4] = [
    ("application_deleted", Meaning::Key),
    ("insufficient_credits", Meaning::NoCredit),
    ("contract_billing_suspended", Meaning::NoCredit),
    ("in_filed_report", Meaning::Field),
];

/// Fields of our own requests: the only keys of a body that are shown.
const FIELDS: [&str; 13] = [
    "share_token",
    "trust_review",
    "workflow_id",
    "vendor_data",
    "for_application_id",
    "ttl_in_seconds",
    "session_kind",
    "session_id",
    "date_from",
    "limit",
    "offset",
    "retain_face_embeddings",
    "non_field_errors",
];

/// What kind of thing a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// JSON in one of the documented envelopes: `detail`, `error`, `code`, a known field, a bare list.
    Api,
    /// Other JSON, or plain text.
    Other,
    /// Markup: a router's or gateway's page.
    Html,
    /// Nothing.
    Empty,
}

/// What a body says, as far as it is documented.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) shape: Shape,
    pub(super) meaning: Option<Meaning>,
    /// The field of our request it is about.
    pub(super) field: Option<&'static str>,
    /// The wording to show.
    phrase: Option<&'static str>,
    /// Whether a text has the word `workflow`.
    pub(super) names_workflow: bool,
    /// Whether a text has the word `token`, of a kind that is not a key.
    pub(super) names_token: bool,
}

/// A text, and the field of ours it stands under.
type Text = (Option<&'static str>, String);

/// More texts than any documented error has.
const MAX_TEXTS: usize = 64;
const MAX_DEPTH: usize = 8;

impl Said {
    /// Reads the body of an answer that is no success.
    pub(super) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        match serde_json::from_str::<Value>(text) {
            Ok(json) => Self::of_json(&json),
            Err(_) if text.is_empty() => Self::of_texts(Shape::Empty, &[], None),
            Err(_) if text.starts_with('<') => Self::of_texts(Shape::Html, &[], None),
            Err(_) => Self::of_texts(Shape::Other, &[(None, plain(text))], None),
        }
    }

    fn of_json(json: &Value) -> Self {
        let mut texts = Vec::new();
        collect(json, None, 0, &mut texts);
        let (shape, code) = match json {
            Value::Array(_) => (Shape::Api, None),
            Value::Object(fields) if is_envelope(fields) => (Shape::Api, code(fields)),
            _ => (Shape::Other, None),
        };
        Self::of_texts(shape, &texts, code)
    }

    fn of_texts(shape: Shape, texts: &[Text], code: Option<(&'static str, Meaning)>) -> Self {
        let found = PHRASES.iter().find_map(|phrase| {
            texts.iter().find(|(field, text)| phrase.fits(*field, text)).map(|(field, _)| (phrase, *field))
        });
        let any = |word: &str| texts.iter().any(|(_, text)| text.contains(word));
        Self {
            shape,
            meaning: code.map(|(_, meaning)| meaning).or(found.map(|(phrase, _)| phrase.0)),
            field: match found {
                Some((_, field)) => field,
                None => texts.iter().find_map(|(field, _)| *field),
            },
            phrase: code.map(|(code, _)| code).or(found.map(|(phrase, _)| phrase.2)),
            names_workflow: any("workflow"),
            names_token: any("token") && !any("access token") && !any("auth") && !any("token header"),
        }
    }

    /// One line for people, such as `HTTP 400: share_token: Share token has expired.`
    pub(super) fn detail(&self, status: u16) -> String {
        match (self.field, self.phrase, self.shape) {
            (Some(field), Some(phrase), _) => format!("HTTP {status}: {field}: {phrase}"),
            (None, Some(phrase), _) => format!("HTTP {status}: {phrase}"),
            (Some(field), None, _) => format!("HTTP {status} with an unrecognised text about {field}"),
            (None, None, Shape::Empty) => format!("HTTP {status} with an empty body"),
            (None, None, Shape::Html) => format!("HTTP {status} with a page of HTML"),
            (None, None, _) => format!("HTTP {status} with an unrecognised body"),
        }
    }
}

impl Phrase {
    /// Whether `text` holds the phrase. Under a field that takes free values only phrases about fields count, since
    /// such an error may quote the value.
    fn fits(&self, field: Option<&str>, text: &str) -> bool {
        let free = matches!(field, Some("vendor_data" | "trust_review" | "ttl_in_seconds"));
        (!free || self.0 == Meaning::Field) && self.1.iter().all(|part| text.contains(part))
    }
}

fn is_envelope(fields: &Map<String, Value>) -> bool {
    fields.keys().any(|key| matches!(key.as_str(), "detail" | "error" | "code") || known_field(key).is_some())
}

fn known_field(key: &str) -> Option<&'static str> {
    FIELDS.into_iter().find(|field| *field == key)
}

/// A documented code, beside `detail` or in an object under `error` or `detail`.
fn code(fields: &Map<String, Value>) -> Option<(&'static str, Meaning)> {
    let nested = ["error", "detail"].into_iter().filter_map(|key| fields.get(key)?.get("code"));
    let mut codes = fields.get("code").into_iter().chain(nested).filter_map(Value::as_str);
    codes.find_map(|code| CODES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(code)))
}

fn collect(value: &Value, field: Option<&'static str>, depth: usize, texts: &mut Vec<Text>) {
    if depth > MAX_DEPTH || texts.len() >= MAX_TEXTS {
        return;
    }
    match value {
        Value::String(text) => texts.push((field, plain(text))),
        Value::Array(items) => items.iter().for_each(|item| collect(item, field, depth + 1, texts)),
        Value::Object(fields) => {
            for (key, item) in fields.iter().filter(|(key, _)| key.as_str() != "code") {
                collect(item, field.or_else(|| known_field(key)), depth + 1, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Lower case, one kind of apostrophe, single spaces, and not more than a sentence or two.
fn plain(text: &str) -> String {
    let short: String = text.chars().take(1000).collect();
    short.to_lowercase().replace('\u{2019}', "'").split_whitespace().collect::<Vec<_>>().join(" ")
}
