//! JSON: objects of rows, alone on a line or in one array.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::stream::{Chunk, advanced};
use super::{Broken, Cell, Ground, Row, Rows, SLOTS, Seen, not_utf8};
use crate::manifest::code::Code;
use crate::manifest::draft::Columns;
use crate::manifest::read::{position, without_bom};
use crate::manifest::sink::Mark;

/// A row as an object.
pub(super) struct Object<'a> {
    pub(super) cells: [Option<Cell<'a>>; SLOTS],
    pub(super) expect: bool,
}

/// Reads one object and nothing after it.
pub(super) fn object<'a>(text: &'a str, columns: &Columns) -> Result<Object<'a>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = ObjectSeed(columns).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(object)
}

/// What is wrong with a JSON text; never the text itself.
pub(super) fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let bare = text.rsplit_once(" at line ").map_or(text.as_str(), |(bare, _)| bare);
    // Errors of type quote the value, which may be a secret.
    if bare.starts_with("invalid type") {
        "the row is not an object".to_owned()
    } else {
        format!("not valid JSON: {bare}")
    }
}

/// Reads a part of an array of objects: all of it, or some elements and the commas behind them. What is no JSON ends the
/// file; an object that can't be taken is a bad row.
pub(super) fn read(
    chunk: &Chunk,
    ground: Option<Ground<'_>>,
    columns: &Columns,
    rows: &mut dyn Rows,
) -> Result<Seen, Broken> {
    let is_first = chunk.offset == 0;
    let bytes = if is_first { without_bom(chunk.bytes()) } else { chunk.bytes() };
    let mut seen = Seen::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (line, column) = position(bytes, error.valid_up_to());
            return Err(not_utf8(chunk.line + line - 1, column + if line == 1 { chunk.column } else { 0 }));
        }
    };
    let mut array = Array { text, at: 0, marked: 0, line: chunk.line, column: chunk.column };
    if is_first {
        array.expect('[', "the file has to hold one array of objects")?;
        if array.peek() == Some(']') {
            array.at += 1;
            array.end()?;
            return Ok(seen);
        }
    }
    loop {
        array.skip();
        let start = array.at;
        let rest = &text[start..];
        if rest.is_empty() && !chunk.is_last {
            return Ok(seen);
        }
        let mark = array.mark(start);
        let (element, object) = if let Some((element, object)) = element(rest, columns) {
            (element, Ok(object))
        } else {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
            match stream.next() {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(array.wrong(&error, start)),
                None => return Err(array.broken("the array is never closed")),
            }
            let element = &rest[..stream.byte_offset()];
            (element, object(element, columns))
        };
        match object {
            Ok(object) => {
                seen.row(&object.cells);
                let locate = |slot: usize| locate(element, &columns.0[slot].name, mark);
                rows.row(&Row { start: mark, cells: object.cells, expect: object.expect, locate: &locate, ground });
            }
            Err(error) => rows.bad(mark, Code::BadRow, words(&error)),
        }
        array.at = start + element.len();
        match array.peek() {
            Some(',') => array.at += 1,
            Some(']') => {
                array.at += 1;
                array.end()?;
                return Ok(seen);
            }
            _ => return Err(array.broken("a `,` or `]` was expected here")),
        }
    }
}

/// The object that a text begins with, up to the next comma or the end of the array; `None` where that is in doubt.
fn element<'t>(rest: &'t str, columns: &Columns) -> Option<(&'t str, Object<'t>)> {
    let mut depth = 0_usize;
    let is_end = |(_, sign): &(usize, u8)| match sign {
        b'[' | b'{' => {
            depth += 1;
            false
        }
        b',' => depth == 0,
        _ if depth == 0 => true,
        _ => {
            depth -= 1;
            false
        }
    };
    let (end, _) = Signs { bytes: rest.as_bytes(), at: 0 }.find(is_end)?;
    Some((&rest[..end], object(&rest[..end], columns).ok()?))
}

/// The end of the last whole element, behind its comma. `is_begun` says whether the bytes follow such a comma, else
/// the array begins in them.
pub(super) fn last_element(bytes: &[u8], is_begun: bool) -> Option<usize> {
    let mut depth = usize::from(is_begun);
    let mut end = None;
    for (at, sign) in (Signs { bytes, at: 0 }) {
        match sign {
            b'[' | b'{' => depth += 1,
            b',' if depth == 1 => end = Some(at + 1),
            b']' | b'}' if depth <= 1 => return end,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    end
}

/// The brackets, braces and commas of a JSON text, and where they stand; none of those in strings.
struct Signs<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Iterator for Signs<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => loop {
                    let found = memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
                    self.at += found + 1;
                    if self.bytes[self.at - 1] == b'"' {
                        break;
                    }
                    self.at += 1;
                },
                b'[' | b'{' | b',' | b']' | b'}' => return Some((self.at - 1, byte)),
                _ => {}
            }
        }
    }
}

/// A place in the text, with its line.
struct Array<'t> {
    text: &'t str,
    at: usize,
    /// The byte whose line and column, both of the file, are known.
    marked: usize,
    line: usize,
    /// How many characters stand before it in its line.
    column: usize,
}

impl Array<'_> {
    fn skip(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.text[self.at..].chars().next()
    }

    fn expect(&mut self, sign: char, message: &str) -> Result<(), Broken> {
        if self.peek() != Some(sign) {
            return Err(self.broken(message));
        }
        self.at += sign.len_utf8();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Broken> {
        if self.peek().is_some() { Err(self.broken("something follows the array")) } else { Ok(()) }
    }

    /// The mark of a byte at or after the last one asked for.
    fn mark(&mut self, at: usize) -> Mark {
        let passed = &self.text[self.marked..at];
        (self.line, self.column) = advanced((self.line, self.column), passed.as_bytes());
        self.marked = at;
        Mark::new(self.line, self.column + 1, 1)
    }

    fn broken(&mut self, message: &str) -> Broken {
        let mark = self.mark(self.at);
        Broken::Format {
            code: Code::BadFormat,
            mark,
            message: message.to_owned(),
            help: "write `[{\"share_token\": \"...\"}, ...]`, or use .ndjson for an object a line".to_owned(),
        }
    }

    fn wrong(&mut self, error: &serde_json::Error, start: usize) -> Broken {
        let lines = self.text[start..].split_inclusive('\n').take(error.line().saturating_sub(1));
        let ahead: usize = lines.map(str::len).sum();
        let mut at = start + ahead + if error.line() > 1 || ahead == 0 { error.column().saturating_sub(1) } else { 0 };
        at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        self.at = at;
        self.broken(&words(error))
    }
}

/// Where the value of a key stands in an element whose first byte is marked.
fn locate(element: &str, key: &str, row: Mark) -> Mark {
    let Some((from, to)) = crate::manifest::json::member(element, key) else { return row };
    let (line, mut column) = position(element.as_bytes(), from);
    if line == 1 {
        column += row.column as usize - 1;
    }
    Mark::new(row.line as usize + line - 1, column, element[from..to].chars().count())
}

struct ObjectSeed<'c>(&'c Columns);

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object { cells: [const { None }; SLOTS], expect: false };
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if let Some(slot) = self.0.slot(&key) {
                if object.cells[slot].replace(map.next_value_seed(CellSeed)?).is_some() {
                    return Err(A::Error::custom("a key stands twice in the object"));
                }
            } else {
                object.expect |= key == "expect";
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(object)
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match CellSeed.deserialize(deserializer)? {
            Cell::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a key has to be text")),
        }
    }
}

struct CellSeed;

impl<'de> DeserializeSeed<'de> for CellSeed {
    type Value = Cell<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell<'de>, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell<'de>, E> {
        Ok(Cell::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell<'de>, E> {
        Ok(Cell::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell<'de>, E> {
        Ok(Cell::Number(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }
}
