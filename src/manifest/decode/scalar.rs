//! Scalars with a meaning: UUIDs, durations, numbers in a range, shares.

use std::time::Duration;

use uuid::Uuid;

use super::{Decoder, Field};
use crate::manifest::code::Code;
use crate::manifest::keys::likely;
use crate::manifest::model::MaxFailures;
use crate::manifest::yaml::{Node, Value};

/// A value as quoted in messages: at most 60 characters.
pub(in crate::manifest) fn truncated(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A UUID in its usual form, or what is wrong with it.
pub(in crate::manifest) fn parse_uuid(text: &str) -> Result<Uuid, String> {
    let wrong = |what: String| Err(format!("`{}` is not a UUID: {what}", truncated(text)));
    let length = text.chars().count();
    let digits = text.chars().filter(char::is_ascii_hexdigit).count();
    if digits == 32 && length == 32 {
        return wrong("its hyphens are missing".to_owned());
    }
    if length != 36 && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) {
        return wrong(format!("it has {length} of 36 characters, {digits} of 32 hex digits"));
    }
    if length != 36 {
        return wrong(format!("it has {length} of 36 characters"));
    }
    for (at, c) in text.chars().enumerate() {
        let hyphen = matches!(at, 8 | 13 | 18 | 23);
        if hyphen && c != '-' {
            return wrong(format!("character {} has to be a hyphen, not `{c}`", at + 1));
        }
        if !hyphen && !c.is_ascii_hexdigit() {
            return wrong(format!("character {}, `{c}`, is not a hex digit", at + 1));
        }
    }
    Uuid::try_parse(text).or_else(|error| wrong(error.to_string()))
}

/// Reads `500ms`, `30s`, `20m` or `1h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// What somebody means who writes neither true nor false.
pub(in crate::manifest) fn likely_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" | "ture" | "treu" | "tru" => Some(true),
        "false" | "no" | "n" | "off" | "0" | "flase" | "fasle" | "fals" => Some(false),
        _ => None,
    }
}

/// Which of the words a value is likely meant to be, as help.
pub(super) fn meant(text: &str, words: &[&str]) -> Option<String> {
    likely(text, words).map(|word| format!("did you mean `{word}`?"))
}

pub(in crate::manifest) const UUID_HELP: &str =
    "write it as 8-4-4-4-12 hex digits, such as 9f9b1234-aaaa-bbbb-cccc-1234567890ab";

impl Decoder<'_> {
    pub(super) fn uuid(&mut self, node: &Node<'_>, key: &str) -> Field<Uuid> {
        let Some(text) = self.text(node, key) else { return Field::Bad };
        match parse_uuid(text) {
            Ok(uuid) => Field::Good(uuid, self.at(node)),
            Err(message) => {
                self.error(Code::BadUuid, node.mark, message, UUID_HELP);
                Field::Bad
            }
        }
    }

    /// A duration from `least` to `most`.
    pub(super) fn duration(&mut self, node: &Node<'_>, key: &str, least: Duration, most: Duration) -> Option<Duration> {
        let help = format!("write a number with its unit, such as `{key}: 30s`; ms, s, m and h are known");
        let text = match &node.value {
            Value::Text(text) => text.as_ref(),
            Value::Number(text) => {
                let message = format!("`{}` has no unit", truncated(text));
                let seconds = (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| {
                    format!("write `{key}: {}s` if seconds are meant; ms, s, m and h are known", truncated(text))
                });
                self.error(Code::BadDuration, node.mark, message, seconds.unwrap_or(help));
                return None;
            }
            _ => {
                self.wrong_type(node, key, "a duration", &help);
                return None;
            }
        };
        let Some(duration) = parse_duration(text) else {
            self.error(Code::BadDuration, node.mark, format!("`{}` is not a duration", truncated(text)), help);
            return None;
        };
        if duration < least || duration > most {
            let message = format!("`{key}` is out of range: {}", truncated(text));
            let help = format!("write a duration from {}s to {}s", least.as_secs(), most.as_secs());
            self.error(Code::OutOfRange, node.mark, message, help);
            return None;
        }
        Some(duration)
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&mut self, node: &Node<'_>, key: &str, least: u64, most: u64) -> Option<u64> {
        let help = format!("write a whole number from {least} to {most}");
        let Value::Number(text) = &node.value else {
            self.wrong_type(node, key, "a number", &help);
            return None;
        };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!("`{key}` is out of range: {}", truncated(text));
                self.error(Code::OutOfRange, node.mark, message, help);
                None
            }
        }
    }

    pub(super) fn max_failures(&mut self, node: &Node<'_>) -> Option<MaxFailures> {
        let help = "write a number such as `10`, or a share such as `5%`";
        let (Value::Number(text) | Value::Text(text)) = &node.value else {
            self.wrong_type(node, "max_failures", "a number or a share", help);
            return None;
        };
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let message = format!("`{}` is neither a number nor a share", truncated(text));
            self.error(Code::BadValue, node.mark, message, help);
        }
        parsed
    }

    /// `true` or `false`, and nothing that only looks like it.
    pub(super) fn boolean(&mut self, node: &Node<'_>, key: &str) -> Field<bool> {
        if let Value::Bool(value) = node.value {
            return Field::Good(value, self.at(node));
        }
        let meant = match &node.value {
            Value::Text(text) | Value::Number(text) => likely_bool(text),
            _ => None,
        };
        let help = meant.map_or_else(
            || format!("write `{key}: true` or `{key}: false`, without quotes"),
            |meant| format!("write `{key}: {meant}`, without quotes"),
        );
        self.wrong_type(node, key, "true or false", &help);
        Field::Bad
    }

    /// One of two words; whether it is the second.
    pub(super) fn choice(&mut self, node: &Node<'_>, key: &str, words: [&str; 2]) -> bool {
        let Some(text) = self.text(node, key) else { return false };
        if text != words[0] && text != words[1] {
            let message = format!("`{key}` can't be `{}`", truncated(text));
            let help = format!("write `{}` or `{}`", words[0], words[1]);
            self.error(Code::BadValue, node.mark, message, meant(text, &words).unwrap_or(help));
        }
        text == words[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_uuid_says_what_is_wrong() {
        let why = |text: &str| parse_uuid(text).unwrap_err();
        assert!(why("9f9b1234-aaaa-bbbb-cccc-1234567890a").contains("35 of 36 characters, 31 of 32 hex digits"));
        assert!(why("9f9b1234aaaabbbbcccc1234567890ab").contains("hyphens are missing"));
        assert!(why("carmen").contains("6 of 36 characters") && !why("carmen").contains("digits"));
        assert!(why("9f9b1234-aaaa-bbbb-cccc-1234567890ag").contains("character 36, `g`"));
        assert!(why("9f9b1234_aaaa-bbbb-cccc-1234567890ab").contains("character 9 has to be a hyphen"));
        assert!(parse_uuid("9F9B1234-aaaa-bbbb-cccc-1234567890ab").is_ok());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("20m"), Some(Duration::from_mins(20)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for bad in ["", "s", "30", "-1s", "1.5s", "3 s", "99999999999999999999s", "18446744073709551615h", "é"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
