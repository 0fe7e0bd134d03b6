//! CSV and TSV.

use std::borrow::Cow;

use super::{Broken, Cell, Row, Rows, SLOTS};
use crate::manifest::cells::Cells;
use crate::manifest::code::Code;
use crate::manifest::decode::listed;
use crate::manifest::draft::Columns;
use crate::manifest::keys;
use crate::manifest::sink::Mark;

/// Reads records with a header. Lines are counted here, since a record may have several and empty ones are skipped.
pub(super) fn read(
    bytes: &[u8],
    delimiter: u8,
    columns: &Columns,
    wanted: &[usize],
    rows: &mut dyn Rows,
) -> Result<(), Broken> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let mut lines = Lines { bytes, at: 0, line: 1 };
    // The place of the next record, and whether a quote may have swallowed what follows: it reaches over lines or to
    // the end of the file.
    let mut next = |record: &mut csv::ByteRecord| -> Result<Option<(usize, bool)>, Broken> {
        let more = reader.read_byte_record(record).map_err(|error| Broken::Unreadable(error.to_string()))?;
        let start = skip_breaks(bytes, record.position().map_or(0, |position| position.byte() as usize));
        let end = (reader.position().byte() as usize).clamp(start, bytes.len());
        let lines = bytes[start..end].trim_ascii_end().contains(&b'\n');
        Ok(more.then_some((start, lines || end == bytes.len())))
    };
    let Some((start, long)) = next(&mut record)? else {
        return Err(format(Code::MissingColumn, "the file has no header".to_owned(), columns, wanted));
    };
    let header = record.clone();
    let mut place = Place { bytes, start, line: lines.of(start), delimiter, slots: [None; SLOTS], rules: None };
    if let Some(mark) = long.then(|| place.unclosed()).flatten() {
        let (message, help) = (UNCLOSED.to_owned(), "close the cell with `\"`".to_owned());
        return Err(Broken::Format { code: Code::Unclosed, mark, message, help });
    }
    place.slots = header_slots(&header, columns, wanted)?;
    // Unless the manifest says that the column is another thing.
    let is_rules = |name: &[u8]| name.trim_ascii() == b"expect" && columns.slot("expect").is_none();
    place.rules = header.iter().position(is_rules);
    while let Some((start, long)) = next(&mut record)? {
        (place.start, place.line) = (start, lines.of(start));
        if let Some(mark) = long.then(|| place.unclosed()).flatten() {
            rows.bad(mark, Code::Unclosed, UNCLOSED.to_owned());
        } else if record.len() == header.len() {
            place.row(&record, rows);
        } else {
            let message = format!("the row has {} cells, the header {}", record.len(), header.len());
            rows.bad(Mark::new(place.line, 1, 1), Code::BadRow, message);
        }
    }
    Ok(())
}

const UNCLOSED: &str = "this `\"` is never closed";

/// Which column of the file each of ours is.
fn header_slots(
    header: &csv::ByteRecord,
    columns: &Columns,
    wanted: &[usize],
) -> Result<[Option<usize>; SLOTS], Broken> {
    let mut slots = [None; SLOTS];
    for (index, name) in header.iter().enumerate() {
        let name = String::from_utf8_lossy(name);
        let Some(slot) = columns.slot(name.trim()) else { continue };
        if slots[slot].replace(index).is_some() {
            let message = format!("the column `{}` stands twice in the header", name.trim());
            return Err(Broken::Format {
                code: Code::DuplicateKey,
                mark: Mark::START,
                message,
                help: "rename one of the two".to_owned(),
            });
        }
    }
    let named = columns.0.iter().zip(&slots).position(|(column, slot)| column.named.is_some() && slot.is_none());
    if let Some(slot) = named {
        return Err(Broken::Column(slot));
    }
    if wanted.iter().all(|slot| slots[*slot].is_none()) {
        let one = header.len() == 1 && header.get(0).is_some_and(|name| name.contains(&b';'));
        let message =
            if one { "the cells are parted by `;`, not `,`" } else { "the header names no column that is needed" };
        return Err(format(Code::MissingColumn, message.to_owned(), columns, wanted));
    }
    Ok(slots)
}

fn format(code: Code, message: String, columns: &Columns, wanted: &[usize]) -> Broken {
    let names: Vec<&str> = wanted.iter().map(|slot| columns.0[*slot].name.as_str()).collect();
    let keys: Vec<&str> = wanted.iter().map(|slot| keys::COLUMNS[*slot]).collect();
    let help = format!(
        "the first line has to name the column {}, or `columns` has to say where {} stands",
        listed(&names),
        listed(&keys)
    );
    Broken::Format { code, mark: Mark::START, message, help }
}

fn skip_breaks(bytes: &[u8], at: usize) -> usize {
    at + bytes[at.min(bytes.len())..].iter().take_while(|&&b| b == b'\n' || b == b'\r').count()
}

/// Counts lines as it goes forward.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, at: usize) -> usize {
        self.line += self.bytes[self.at..at].split(|&b| b == b'\n').count() - 1;
        self.at = at;
        self.line
    }
}

/// A record in the text.
struct Place<'a> {
    bytes: &'a [u8],
    start: usize,
    line: usize,
    delimiter: u8,
    slots: [Option<usize>; SLOTS],
    /// A column `expect`, which rows may not fill.
    rules: Option<usize>,
}

impl Place<'_> {
    fn row(&self, record: &csv::ByteRecord, rows: &mut dyn Rows) {
        let locate = |slot: usize| self.locate(self.slots[slot].unwrap_or(0));
        let mut cells: [Option<Cell<'_>>; SLOTS] = [const { None }; SLOTS];
        for (slot, index) in self.slots.iter().enumerate() {
            let Some(cell) = index.and_then(|index| record.get(index)) else { continue };
            let Ok(text) = std::str::from_utf8(cell) else {
                let message = format!("the cell `{}` is not UTF-8", keys::COLUMNS[slot]);
                return rows.bad(locate(slot), Code::NotUtf8, message);
            };
            cells[slot] = Some(Cell::Text(Cow::Borrowed(text)));
        }
        let expect = self.rules.and_then(|index| record.get(index)).is_some_and(|cell| !cell.trim_ascii().is_empty());
        rows.row(&Row { start: Mark::new(self.line, 1, 1), cells, expect, locate: &locate, ground: None });
    }

    /// The cell whose quote is left open.
    fn unclosed(&self) -> Option<Mark> {
        let mut cells = Cells::of_bytes(&self.bytes[self.start..], self.delimiter).take_while(|cell| cell.record == 0);
        cells.find(|cell| cell.unclosed).map(|cell| Mark { width: 1, ..self.locate(cell.index) })
    }

    /// Where a cell of the record stands.
    fn locate(&self, index: usize) -> Mark {
        let rest = &self.bytes[self.start..];
        let cell = Cells::of_bytes(rest, self.delimiter).take_while(|cell| cell.record == 0).find(|c| c.index == index);
        let Some(cell) = cell else { return Mark::new(self.line, 1, 1) };
        let (line, column) = crate::manifest::read::position(rest, cell.start);
        let shown = rest[cell.start..cell.end].split(|&b| b == b'\n').next().unwrap_or(&[]);
        Mark::new(self.line + line - 1, column, String::from_utf8_lossy(shown).chars().count())
    }
}
