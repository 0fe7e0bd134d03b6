//! Files read line by line, and never held whole: JSON lines, and tokens one a line.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{Broken, Cell, Row, Rows, SLOTS, TOKEN, check_seen, json};
use crate::manifest::code::Code;
use crate::manifest::draft::Columns;
use crate::manifest::read;
use crate::manifest::sink::Mark;

/// The longest line.
const LINE_LIMIT: u64 = 16 << 20;

/// JSON lines: an object a line; empty lines are skipped.
pub(super) fn json(path: &Path, columns: &Columns, rows: &mut dyn Rows) -> Result<(), Broken> {
    let (mut seen, mut count) = ([false; SLOTS], 0);
    each(path, |number, line| {
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
                count += 1;
                for (seen, cell) in seen.iter_mut().zip(&object.cells) {
                    *seen |= cell.is_some();
                }
                let start = Mark::new(number, 1, 1);
                rows.row(&Row { start, cells: object.cells, expect: object.expect, locate: &locate, ground: None });
            }
            Err(error) => {
                let column =
                    text.get(..error.column().saturating_sub(1)).map_or(error.column(), |t| t.chars().count() + 1);
                rows.bad(Mark::new(number, column, 1), Code::BadRow, json::words(&error));
            }
        }
    })?;
    check_seen(columns, seen, count)
}

/// Tokens, one a line; empty lines and those that begin with `#` are skipped.
pub(super) fn tokens(path: &Path, rows: &mut dyn Rows) -> Result<(), Broken> {
    each(path, |number, line| {
        let text = String::from_utf8_lossy(line);
        if text.starts_with('#') {
            return;
        }
        let locate = |_| Mark::new(number, 1, text.chars().count());
        let mut cells: [Option<Cell<'_>>; SLOTS] = [const { None }; SLOTS];
        cells[TOKEN] = Some(Cell::Text(Cow::Borrowed(&text)));
        rows.row(&Row { start: Mark::new(number, 1, 1), cells, expect: false, locate: &locate, ground: None });
    })
}

/// Every line that is not blank, with its number, trimmed at its end.
fn each(path: &Path, mut take: impl FnMut(usize, &[u8])) -> Result<(), Broken> {
    let mut reader = BufReader::with_capacity(1 << 16, read::open(path, read::SOURCE_LIMIT)?);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        if (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        number += 1;
        if line.len() as u64 == LINE_LIMIT {
            return Err(Broken::Format {
                code: Code::TooLarge,
                mark: Mark::new(number, 1, 1),
                message: "the line is absurdly long".to_owned(),
                help: "write one row a line".to_owned(),
            });
        }
        let bare = if number == 1 { read::without_bom(&line) } else { &line };
        let bare = bare.trim_ascii_end();
        if !bare.is_empty() {
            take(number, bare);
        }
    }
}
