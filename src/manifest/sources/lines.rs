//! Files read line by line, and never held whole: JSON lines, and tokens one a line.

use std::borrow::Cow;

use super::stream::Chunk;
use super::{Broken, Cell, Ground, Row, Rows, SLOTS, Seen, TOKEN, json};
use crate::manifest::code::Code;
use crate::manifest::draft::Columns;
use crate::manifest::read;
use crate::manifest::sink::Mark;

/// The longest line.
pub(super) const LINE_LIMIT: usize = 16 << 20;

/// JSON lines: an object a line; empty lines are skipped.
pub(super) fn json(
    chunk: &Chunk,
    ground: Option<Ground<'_>>,
    columns: &Columns,
    rows: &mut dyn Rows,
) -> Result<Seen, Broken> {
    let mut seen = Seen::default();
    each(chunk, |number, line| {
        let Ok(text) = std::str::from_utf8(line) else {
            rows.bad(Mark::new(number, 1, 1), Code::NotUtf8, "the line is not UTF-8".to_owned());
            return;
        };
        let locate = |slot: usize| {
            let Some((start, end)) = crate::manifest::json::member(text, &columns.0[slot].name) else {
                return Mark::new(number, 1, 1);
            };
            Mark::new(number, text[..start].chars().count() + 1, text[start..end].chars().count())
        };
        match json::object(text, columns) {
            Ok(object) => {
                seen.row(&object.cells);
                let start = Mark::new(number, 1, 1);
                rows.row(&Row { start, cells: object.cells, expect: object.expect, locate: &locate, ground });
            }
            Err(error) => {
                let column =
                    text.get(..error.column().saturating_sub(1)).map_or(error.column(), |t| t.chars().count() + 1);
                rows.bad(Mark::new(number, column, 1), Code::BadRow, json::words(&error));
            }
        }
    })?;
    Ok(seen)
}

/// Tokens, one a line; empty lines and those that begin with `#` are skipped.
pub(super) fn tokens(chunk: &Chunk, ground: Option<Ground<'_>>, rows: &mut dyn Rows) -> Result<Seen, Broken> {
    each(chunk, |number, line| {
        let text = String::from_utf8_lossy(line);
        if text.starts_with('#') {
            return;
        }
        let locate = |_| Mark::new(number, 1, text.chars().count());
        let mut cells: [Option<Cell<'_>>; SLOTS] = [const { None }; SLOTS];
        cells[TOKEN] = Some(Cell::Text(Cow::Borrowed(&text)));
        rows.row(&Row { start: Mark::new(number, 1, 1), cells, expect: false, locate: &locate, ground });
    })?;
    Ok(Seen::default())
}

/// Every line that is not blank, with its number, trimmed at its end.
fn each(chunk: &Chunk, mut take: impl FnMut(usize, &[u8])) -> Result<(), Broken> {
    let mut rest = chunk.bytes();
    let mut number = chunk.line;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        if line.len() >= LINE_LIMIT {
            return Err(Broken::Format {
                code: Code::TooLarge,
                mark: Mark::new(number, 1, 1),
                message: "the line is absurdly long".to_owned(),
                help: "write one row a line".to_owned(),
            });
        }
        let bare = if number == 1 { read::without_bom(line) } else { line };
        let bare = bare.trim_ascii_end();
        if !bare.is_empty() {
            take(number, bare);
        }
        (rest, number) = (after, number + 1);
    }
    Ok(())
}
