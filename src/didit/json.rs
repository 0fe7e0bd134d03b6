//! An answer's JSON, read for a few of its fields.
//!
//! An object is a list of its fields in the API's order: it is made faster than one that hashes its keys, and looking
//! one up among some forty is as fast. Short texts, as most are, take no memory of their own.
//!
//! As everywhere with JSON, of several fields of one name the last one counts, and how deep a text may nest is bounded.

use std::collections::HashSet;
use std::fmt;

use compact_str::CompactString;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Up to so many fields are compared with each other; more are hashed.
const FEW: usize = 64;

/// So many fields an object has room for from the start.
const USUAL: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that no `Int` can hold.
    UInt(u64),
    /// Another number.
    Float(f64),
    /// A text.
    String(CompactString),
    /// A list.
    Array(Vec<Json>),
    /// An object.
    Object(Fields),
}

/// The fields of an object, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(CompactString, Json)>);

impl Json {
    /// The value of a field, if this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Int(whole) = self { Some(*whole) } else { None }
    }

    /// The whole number, if it is one and not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(whole) => u64::try_from(*whole).ok(),
            Self::UInt(whole) => Some(*whole),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The fields, if it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Fields> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    pub(super) fn as_object_mut(&mut self) -> Option<&mut Fields> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

impl Fields {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.0.iter_mut().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    /// Takes a field out; the others keep their order.
    pub(super) fn remove(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|(it, _)| it == name)?;
        Some(self.0.remove(at).1)
    }

    /// Sets a field, in its place if it is there, else at the end.
    pub(super) fn insert(&mut self, name: &str, value: Json) {
        match self.get_mut(name) {
            Some(place) => *place = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Keeps one field alone.
    pub fn keep_only(&mut self, name: &str) {
        self.0.retain(|(it, _)| it == name);
        self.0.shrink_to_fit();
    }

    /// Each field, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all but the last field of each name.
    fn settle(&mut self) {
        let fields = &mut self.0;
        if fields.len() <= FEW && !has_double(fields) {
            return;
        }
        let mut seen = HashSet::with_capacity(fields.len());
        let last: Vec<bool> = fields.iter().rev().map(|(name, _)| seen.insert(name.clone())).collect();
        let mut last = last.into_iter().rev();
        fields.retain(|_| last.next().unwrap_or(true));
    }
}

/// Whether a name is there twice. One is held only against those that may be the same: most have a mark of their own.
fn has_double(fields: &[(CompactString, Json)]) -> bool {
    let mut marks = [0_u64; 4];
    fields.iter().enumerate().any(|(at, (name, _))| {
        let mark = name.bytes().fold(name.len() as u8, |mark, byte| mark.wrapping_mul(31).wrapping_add(byte));
        let (word, bit) = (usize::from(mark / 64), 1 << (mark % 64));
        let may_be_there = marks[word] & bit != 0;
        marks[word] |= bit;
        may_be_there && fields[..at].iter().any(|(it, _)| it == name)
    })
}

impl<const N: usize> From<[(&str, Json); N]> for Fields {
    fn from(fields: [(&str, Json); N]) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

#[cfg(test)]
impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        serde_json::from_value(value).unwrap()
    }
}

#[cfg(test)]
impl From<&Json> for serde_json::Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => (*flag).into(),
            Json::Int(whole) => (*whole).into(),
            Json::UInt(whole) => (*whole).into(),
            Json::Float(float) => (*float).into(),
            Json::String(text) => text.as_str().into(),
            Json::Array(items) => items.iter().map(Self::from).collect(),
            Json::Object(fields) => Self::Object(fields.iter().map(|(name, it)| (name.into(), it.into())).collect()),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Json, E> {
        Ok(Json::Int(whole))
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Json, E> {
        Ok(i64::try_from(whole).map_or(Json::UInt(whole), Json::Int))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Json, E> {
        Ok(Json::Float(float))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Fields(Vec::with_capacity(USUAL));
        while let Some(field) = map.next_entry()? {
            fields.0.push(field);
        }
        fields.settle();
        Ok(Json::Object(fields))
    }
}

/// Reads an object for the fields of these names; one that is a list or an object is `null` here. All others are passed
/// over, not made.
pub(super) struct Shallow(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Shallow {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Shallow {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields(Vec::with_capacity(self.0.len()));
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                Some(name) => {
                    let Plain(value) = map.next_value()?;
                    fields.0.push((name.into(), value));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        fields.settle();
        Ok(fields)
    }
}

/// One of these names, or none of them.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|it| **it == name).copied())
    }
}

/// A value that is neither a list nor an object, or `null` in the place of one.
struct Plain(Json);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainReader)
    }
}

struct PlainReader;

impl<'de> Visitor<'de> for PlainReader {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Plain, E> {
        Ok(Plain(Json::Null))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Plain, E> {
        Reader.visit_bool(flag).map(Plain)
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Plain, E> {
        Reader.visit_i64(whole).map(Plain)
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Plain, E> {
        Reader.visit_u64(whole).map(Plain)
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Plain, E> {
        Reader.visit_f64(float).map(Plain)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Plain, E> {
        Reader.visit_str(text).map(Plain)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Plain, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Plain(Json::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Plain(Json::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_read_to_its_end() {
        let text = r#"{"id":"x","n":7,"list":[{"a":[1]},2],"other":{"n":[8]},"o":{"id":"y"},"\u0069d":"z"}"#;
        let read = |text: &str| {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            Shallow(&["id", "list", "n", "none"]).deserialize(&mut deserializer)
        };
        let expected = [("n", Json::Int(7)), ("list", Json::Null), ("id", Json::from("z"))];
        assert_eq!(read(text).unwrap(), Fields::from(expected));
        for end in 0..text.len() {
            assert!(read(&text[..end]).is_err(), "{end}");
        }
    }

    fn read(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let json = read(
            r#"{"n":null,"t":true,"i":-7,"u":18446744073709551615,"f":1.5,"s":"a\nb","l":[1,"x",[]],"o":{"k":{}}}"#,
        );
        assert_eq!(json.get("n"), Some(&Json::Null));
        assert_eq!(json.get("t").and_then(Json::as_bool), Some(true));
        assert_eq!((json.get("i").and_then(Json::as_i64), json.get("i").and_then(Json::as_u64)), (Some(-7), None));
        assert_eq!(json.get("u").and_then(Json::as_u64), Some(u64::MAX));
        assert_eq!(json.get("f"), Some(&Json::Float(1.5)));
        assert_eq!(json.get("s").and_then(Json::as_str), Some("a\nb"));
        assert_eq!(json.get("l").and_then(Json::as_array).map(<[Json]>::len), Some(3));
        assert_eq!(json.get("o").and_then(|o| o.get("k")), Some(&Json::Object(Fields::default())));
        assert_eq!(json.get("nothing"), None);
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_counts_among_few_and_among_many() {
        for n in [2, FEW, 10 * FEW] {
            let fields: Vec<String> = (0..n).chain(0..n / 2).map(|at| format!("\"k{at}\":[{at}]")).collect();
            let mut text = format!("{{{}}}", fields.join(","));
            text.insert_str(text.len() - 1, ",\"k0\":\"last\"");
            let json = read(&text);
            let fields = json.as_object().unwrap();
            assert_eq!(fields.len(), n);
            assert_eq!(fields.get("k0").and_then(Json::as_str), Some("last"));
            assert_eq!(fields.get(&format!("k{}", n - 1)).and_then(Json::as_array).map(<[Json]>::len), Some(1));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(serde_json::from_str::<Json>(&"[".repeat(100_000)).is_err());
        assert!(serde_json::from_str::<Json>(&"{\"a\":".repeat(100_000)).is_err());
    }

    #[test]
    fn fields_are_set_in_their_place_and_taken_out() {
        let mut json = read(r#"{"a":1,"b":2,"c":3}"#);
        let fields = json.as_object_mut().unwrap();
        fields.insert("b", Json::from("two"));
        fields.insert("d", Json::Null);
        assert_eq!(fields.remove("a"), Some(Json::Int(1)));
        assert_eq!(fields.remove("a"), None);
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "c", "d"]);
        fields.keep_only("c");
        assert_eq!(*fields, Fields::from([("c", Json::Int(3))]));
        assert!(!fields.is_empty());
    }
}
