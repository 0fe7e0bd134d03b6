//! JSON as the API's own page prints it: with a comma after the last item of a list, or as a string that holds the
//! JSON. The published example of an import's answer has both, so a server that serves it word for word is read too.
//! Half an answer is still no answer: nothing is ever completed.

use serde::de::DeserializeSeed as _;

use crate::didit::json::Shallow;
use crate::didit::{Fields, Json};

/// The JSON in `body`; `None` where there is none.
pub(super) fn parse(body: &[u8]) -> Option<Json> {
    let value: Json = parse_once(body)?;
    match value {
        Json::String(inner) => parse_once(inner.as_bytes()),
        other => Some(other),
    }
}

/// The JSON object in `body`, of which no more need be made than the fields of these names that are neither lists nor
/// objects; `None` where there is none.
pub(super) fn parse_head(body: &[u8], names: &'static [&'static str]) -> Option<Fields> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let fields = Shallow(names).deserialize(&mut deserializer);
    match fields.and_then(|fields| deserializer.end().map(|()| fields)) {
        Ok(fields) => Some(fields),
        Err(_) => match parse(body)? {
            Json::Object(fields) => Some(fields),
            _ => None,
        },
    }
}

fn parse_once(body: &[u8]) -> Option<Json> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // All texts are in UTF-8 if the body is.
    let body = std::str::from_utf8(body).ok()?;
    serde_json::from_str(body).ok().or_else(|| serde_json::from_slice(&without_trailing_commas(body.as_bytes())).ok())
}

/// `body` with each comma outside strings dropped that stands right before `]` or `}`.
fn without_trailing_commas(body: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(body.len());
    let mut in_string = false;
    let mut escaped = false;
    for (at, &byte) in body.iter().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if byte == b',' && closes_next(&body[at + 1..]) {
            continue;
        }
        kept.push(byte);
    }
    kept
}

fn closes_next(rest: &[u8]) -> bool {
    matches!(rest.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b']' | b'}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comma_too_many_and_json_in_a_string_are_read() {
        assert_eq!(parse(br#"{"a": [1, 2,], "b": ",]\"," , }"#), Some(json!({"a": [1, 2], "b": ",]\","}).into()));
        assert_eq!(parse(br#""{\"a\": [1,\n]}""#), Some(json!({"a": [1]}).into()));
        assert_eq!(parse(b"\xef\xbb\xbf{}"), Some(json!({}).into()));
    }

    #[test]
    fn promise_8_half_an_answer_is_none() {
        let whole = br#"{"session_id": "x", "features": ["A", "B",], "last": 1}"#;
        assert!(parse(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn proper_json_loses_nothing(texts in prop::collection::vec("\\PC{0,20}", 0..5)) {
            let body = serde_json::to_vec(&texts).unwrap();
            prop_assert_eq!(without_trailing_commas(&body), body);
        }

        #[test]
        fn promise_8_garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }
    }
}
