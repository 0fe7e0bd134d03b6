//! Reading JSON bodies: all fields are checked, all complaints come in one 400, as Django REST framework does. Didit
//! publishes the text for a missing field; the texts for wrong types are that framework's.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Answer, Call};

/// A body and what is wrong with it so far.
pub(super) struct Fields {
    fields: Map<String, Value>,
    complaints: Map<String, Value>,
}

impl Fields {
    /// Reads a body that has to be a JSON object.
    pub(super) fn read(call: &Call) -> Result<Self, Answer> {
        let media = call.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media.to_ascii_lowercase().starts_with("application/json") {
            let text = format!("Unsupported media type \"{media}\" in request.");
            return Err(Answer::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text));
        }
        let value: Value = serde_json::from_slice(&call.body)
            .map_err(|error| Answer::detail(StatusCode::BAD_REQUEST, &format!("JSON parse error - {error}")))?;
        match value {
            Value::Object(fields) => Ok(Self { fields, complaints: Map::new() }),
            _ => Err(Answer::field("non_field_errors", "Invalid data. Expected a dictionary.")),
        }
    }

    /// Notes what is wrong with a field.
    pub(super) fn complain(&mut self, field: &str, text: &str) {
        self.complaints.insert(field.to_owned(), json!([text]));
    }

    /// A required field, read by `read`; `wrong` is the complaint where that gives nothing.
    pub(super) fn required<T>(&mut self, field: &str, wrong: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let text = match self.fields.get(field) {
            None => "This field is required.",
            Some(Value::Null) => "This field may not be null.",
            Some(value) => match read(value) {
                Some(value) => return Some(value),
                None => wrong,
            },
        };
        self.complain(field, text);
        None
    }

    /// A field that may be absent or null.
    pub(super) fn optional<T>(&mut self, field: &str, wrong: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        match self.fields.get(field) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let value = read(value);
                if value.is_none() {
                    self.complain(field, wrong);
                }
                value
            }
        }
    }

    /// The 400 with all complaints, if there are any.
    pub(super) fn finish(self) -> Result<(), Answer> {
        if self.complaints.is_empty() {
            return Ok(());
        }
        Err(Answer::json(StatusCode::BAD_REQUEST, &Value::Object(self.complaints)))
    }
}

/// A text that is not blank.
pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// A UUID.
pub(super) fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

/// What is wrong with a text that is not one.
pub(super) const NOT_TEXT: &str = "Not a valid string.";
/// What is wrong with a UUID that is not one.
pub(super) const NOT_UUID: &str = "Must be a valid UUID.";
/// What is wrong with a boolean that is not one.
pub(super) const NOT_BOOLEAN: &str = "Must be a valid boolean.";
/// What is wrong with a number that is not one.
pub(super) const NOT_NUMBER: &str = "A valid integer is required.";
