//! Where the members of a JSON object stand. Reading is `serde_json`'s; this only finds places, when one is to be shown.

/// The bytes of the value of a top-level member of the object that `text` holds; the last, as `serde_json` takes it.
pub(super) fn member(text: &str, key: &str) -> Option<(usize, usize)> {
    let needle = serde_json::Value::from(key).to_string();
    let mut depth = 0_usize;
    let mut found = None;
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                let end = at + string_end(&text[at..])?;
                if depth == 1 && text[at..end] == needle {
                    let rest = text[end..].trim_start();
                    if let Some(value) = rest.strip_prefix(':').map(str::trim_start) {
                        let start = text.len() - value.len();
                        found = Some((start, start + value_end(value)));
                    }
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    found
}

/// The end of the string that `text` begins with.
pub(super) fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The end of the value that `text` begins with: all of a scalar, the opening of a list or map.
fn value_end(text: &str) -> usize {
    match text.as_bytes().first() {
        Some(b'"') => string_end(text).unwrap_or(text.len()),
        Some(b'{' | b'[') => 1,
        _ => text.find([',', '}', ']', '\n', ' ']).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_top_level_members_are_found() {
        let text = r#"{"x": {"id": 1}, "a\"id": "id", "id" : "é,}", "n": 12}"#;
        let (start, end) = member(text, "id").unwrap();
        assert_eq!(&text[start..end], "\"é,}\"");
        let (start, end) = member(text, "n").unwrap();
        assert_eq!(&text[start..end], "12");
        assert_eq!(member(text, "none"), None);
        assert_eq!(member("{\"id\": \"x", "y"), None);
    }
}
