//! JSON in one form, after RFC 8785: sorted keys, no spaces, numbers as ECMAScript writes them. What is volatile is
//! left out, and what holds nothing (null, an empty list or object) is as good as not there: keys of different
//! privileges, and the two shapes of a decision, differ in that alone.

use crate::didit::{Fields, Json};

use super::volatile::{VOLATILE, Volatile};

/// Integers up to here are exact in a float, which is all that ECMAScript has.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Appends `block` of a decision; `false` where nothing of it is left. Fields of its checks that are kept apart are
/// left out.
pub(super) fn write_block(block: &Json, name: &str, out: &mut Vec<u8>) -> bool {
    Canonical { volatile: &VOLATILE, out }.value(block, name, Place::Block)
}

/// Appends what stands at `field` in each check of `block`; `false` where nothing does.
pub(super) fn write_apart(block: &Json, field: &str, out: &mut Vec<u8>) -> bool {
    let items = block.as_array().unwrap_or_default();
    let mut canonical = Canonical { volatile: &VOLATILE, out };
    let values = items.iter().map(|item| item.get(field).unwrap_or(&Json::Null));
    let mut any = false;
    for value in values {
        any |= canonical.value(value, field, Place::Within);
        canonical.out.push(b',');
    }
    any
}

/// Where in a block a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Block,
    Check,
    Within,
}

impl Place {
    fn of_items(self) -> Self {
        if self == Self::Block { Self::Check } else { Self::Within }
    }
}

struct Canonical<'o> {
    volatile: &'static Volatile,
    out: &'o mut Vec<u8>,
}

impl Canonical<'_> {
    fn value(&mut self, value: &Json, key: &str, place: Place) -> bool {
        match value {
            Json::Null => false,
            Json::Bool(flag) => self.raw(if *flag { "true" } else { "false" }),
            Json::Int(whole) => self.written(whole),
            Json::UInt(whole) => self.written(whole),
            Json::Float(float) if float.fract() == 0.0 && float.abs() < EXACT => self.written(&(*float as i64)),
            Json::Float(float) => self.written(float),
            Json::String(text) if self.volatile.is_link(key, text) => false,
            Json::String(text) => self.written(text),
            Json::Array(items) => self.list(items, key, place.of_items()),
            Json::Object(fields) => self.object(fields, place),
        }
    }

    fn raw(&mut self, text: &str) -> bool {
        self.out.extend_from_slice(text.as_bytes());
        true
    }

    /// `serde_json` writes numbers, and escapes texts, as RFC 8785 does.
    fn written(&mut self, value: &(impl serde::Serialize + ?Sized)) -> bool {
        serde_json::to_writer(&mut *self.out, value).is_ok()
    }

    fn list(&mut self, items: &[Json], key: &str, place: Place) -> bool {
        let start = self.out.len();
        self.out.push(b'[');
        for item in items {
            if self.value(item, key, place) {
                self.out.push(b',');
            }
        }
        self.close(start, b']')
    }

    fn object(&mut self, fields: &Fields, place: Place) -> bool {
        let start = self.out.len();
        let mut sorted: Vec<(&str, &Json)> = fields.iter().collect();
        if sorted.iter().all(|(key, _)| key.is_ascii()) {
            sorted.sort_unstable_by_key(|(key, _)| *key);
        } else {
            sorted.sort_unstable_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        }
        self.out.push(b'{');
        for (key, value) in sorted {
            let is_apart = place == Place::Check && self.volatile.apart.contains(&key);
            if !is_apart && !self.volatile.has_key(key) {
                self.field(key, value);
            }
        }
        // That a check ran is evidence, whatever it says.
        if place == Place::Check && self.out.len() == start + 1 {
            self.out.push(b'}');
            return true;
        }
        self.close(start, b'}')
    }

    fn field(&mut self, key: &str, value: &Json) {
        let start = self.out.len();
        self.written(key);
        self.out.push(b':');
        if self.value(value, key, Place::Within) {
            self.out.push(b',');
        } else {
            self.out.truncate(start);
        }
    }

    /// Closes a list or an object, or takes it back where it is empty.
    fn close(&mut self, start: usize, end: u8) -> bool {
        if self.out.len() == start + 1 {
            self.out.truncate(start);
            return false;
        }
        self.out.pop();
        self.out.push(end);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn canonical(value: &Value) -> String {
        let mut out = Vec::new();
        write_block(&value.clone().into(), "block", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_sorted_and_numbers_have_one_spelling() {
        let value = json!([{"b": 1.0, "a": -0.0, "\u{e9}": "\u{8}\n\u{1}/", "c": 1.5, "n": 12_345_678_901_u64}]);
        let expected = "[{\"a\":0,\"b\":1,\"c\":1.5,\"n\":12345678901,\"\u{e9}\":\"\\b\\n\\u0001/\"}]";
        assert_eq!(canonical(&value), expected);
        // U+10000 is two units that come before U+FB33, as in the RFC's own example.
        assert_eq!(canonical(&json!({"\u{fb33}": 1, "\u{10000}": 2})), "{\"\u{10000}\":2,\"\u{fb33}\":1}");
    }

    #[test]
    fn what_holds_nothing_is_not_there_but_a_check_that_ran() {
        assert_eq!(
            canonical(&json!([{"a": null, "b": [], "c": {"d": [null]}, "e": ["https://x/y?X-Amz-Date=1"]}])),
            "[{}]"
        );
        assert_eq!(canonical(&json!({"a": null, "b": [], "c": {"d": [null]}})), "");
        assert_eq!(canonical(&json!([{"a": false, "b": 0, "c": ""}])), "[{\"a\":false,\"b\":0,\"c\":\"\"}]");
    }

    #[test]
    fn volatile_fields_are_left_out_at_any_depth_and_those_apart_in_checks_alone() {
        let value = json!([{"node_id": "n", "status": "Approved", "expiration_date": "2030-01-01", "age": 3, "x": 1,
            "people": [{"node_id": "m", "status": "Approved", "portrait_image": "https://x/y.jpg"}]}]);
        assert_eq!(canonical(&value), "[{\"people\":[{\"status\":\"Approved\"}],\"x\":1}]");
        let apart = |field| {
            let mut out = Vec::new();
            (write_apart(&value.clone().into(), field, &mut out), String::from_utf8(out).unwrap())
        };
        assert_eq!(apart("status"), (true, "\"Approved\",".to_owned()));
        assert_eq!(apart("other"), (false, ",".to_owned()));
    }

    proptest! {
        /// The order of fields is no evidence.
        #[test]
        fn any_order_of_fields_gives_the_same_bytes(keys in Just(["a", "b", "\u{e9}", "z", "Z"].to_vec()).prop_shuffle()) {
            let object = |keys: &[&str]| Value::Object(keys.iter().map(|key| ((*key).to_owned(), json!([key]))).collect());
            prop_assert_eq!(canonical(&object(&keys)), canonical(&object(&["a", "b", "\u{e9}", "z", "Z"])));
        }
    }
}
