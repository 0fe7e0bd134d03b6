//! JSON: objects of rows, alone on a line or in one array.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Broken, Cell, Row, Rows, SLOTS, check_seen};
use crate::manifest::code::Code;
use crate::manifest::draft::Columns;
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

/// Reads an array of objects. What is no JSON ends the file; an object that can't be taken is a bad row.
pub(super) fn read(text: &str, columns: &Columns, rows: &mut dyn Rows) -> Result<(), Broken> {
    let mut array = Array { text, at: 0, line: 1, line_start: 0 };
    let (mut seen, mut count) = ([false; SLOTS], 0);
    array.expect('[', "the file has to hold one array of objects")?;
    if array.peek() == Some(']') {
        array.at += 1;
        return array.end();
    }
    loop {
        array.skip();
        let start = array.at;
        let mark = array.mark(start);
        let rest = &text[start..];
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match stream.next() {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(array.wrong(&error, start)),
            None => return Err(array.broken("the array is never closed")),
        }
        let element = &rest[..stream.byte_offset()];
        match object(element, columns) {
            Ok(object) => {
                count += 1;
                for (seen, cell) in seen.iter_mut().zip(&object.cells) {
                    *seen |= cell.is_some();
                }
                let locate = |slot: usize| array.locate(start, element, &columns.0[slot].name, mark);
                rows.row(&Row {
                    start: mark,
                    cells: object.cells,
                    expect: object.expect,
                    locate: &locate,
                    ground: None,
                });
            }
            Err(error) => rows.bad(mark, Code::BadRow, words(&error)),
        }
        array.at = start + element.len();
        match array.peek() {
            Some(',') => array.at += 1,
            Some(']') => {
                array.at += 1;
                array.end()?;
                return check_seen(columns, seen, count);
            }
            _ => return Err(array.broken("a `,` or `]` was expected here")),
        }
    }
}

/// A place in the text, with its line.
struct Array<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    line_start: usize,
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
        let from = self.line_start;
        for (found, _) in self.text[from..at].match_indices('\n') {
            self.line += 1;
            self.line_start = from + found + 1;
        }
        Mark::new(self.line, self.text[self.line_start..at].chars().count() + 1, 1)
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

    fn locate(&self, start: usize, element: &str, key: &str, row: Mark) -> Mark {
        let Some((from, to)) = crate::manifest::json::member(element, key) else { return row };
        let (line, mut column) = crate::manifest::read::position(element.as_bytes(), from);
        if line == 1 {
            column += self.text[self.line_start..start].chars().count();
        }
        Mark::new(row.line as usize + line - 1, column, element[from..to].chars().count())
    }
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
