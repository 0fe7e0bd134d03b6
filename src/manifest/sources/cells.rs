//! CSV and TSV.

use std::borrow::Cow;
use std::io;

use super::stream::newlines;
use super::{Broken, Cell, Ground, Row, Rows, SLOTS, TOKEN};
use crate::manifest::cells::Cells;
use crate::manifest::code::Code;
use crate::manifest::decode::listed;
use crate::manifest::draft::Columns;
use crate::manifest::keys;
use crate::manifest::sink::Mark;

/// What the header says.
pub(super) struct Table {
    delimiter: u8,
    width: usize,
    /// Which column of the file each of ours is.
    slots: [Option<usize>; SLOTS],
    /// A column `expect`, which rows may not fill.
    rules: Option<usize>,
}

/// A part of the file: whole records.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    /// The number of its first line.
    pub(super) line: usize,
    /// Whether nothing follows.
    pub(super) is_last: bool,
    pub(super) ground: Option<Ground<'a>>,
}

/// The records of a part, each with its place. Lines are counted here, since a record may have several and empty ones
/// are skipped.
struct Records<'a> {
    part: Part<'a>,
    reader: csv::Reader<io::Chain<&'static [u8], &'a [u8]>>,
    counted: usize,
    line: usize,
}

impl<'a> Records<'a> {
    fn new(part: Part<'a>, delimiter: u8) -> Self {
        // Past the break, which is skipped, no byte-order mark is looked for.
        let bytes = io::Read::chain(&b"\n"[..], part.bytes);
        let reader =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(bytes);
        Self { part, reader, counted: 0, line: part.line }
    }

    /// The bytes read so far.
    fn read(&self) -> usize {
        (self.reader.position().byte() as usize).saturating_sub(1)
    }

    /// The next record, its place, and whether a quote may have swallowed what follows: it reaches over lines or to the
    /// end of the file.
    fn next(&mut self, record: &mut csv::ByteRecord) -> Result<Option<(usize, bool)>, Broken> {
        let bytes = self.part.bytes;
        let more = self.reader.read_byte_record(record).map_err(|error| Broken::Unreadable(error.to_string()))?;
        let began = record.position().map_or(0, |position| (position.byte() as usize).saturating_sub(1));
        let start = skip_breaks(bytes, began);
        let end = self.read().clamp(start, bytes.len());
        let lines = memchr::memchr(b'\n', bytes[start..end].trim_ascii_end()).is_some();
        self.line += newlines(&bytes[self.counted..start]);
        self.counted = start;
        Ok(more.then_some((start, lines || (self.part.is_last && end == bytes.len()))))
    }
}

/// Reads the header; where the rest of the part begins. `None` where the part holds no record.
pub(super) fn header(
    part: Part<'_>,
    delimiter: u8,
    columns: &Columns,
    wanted: &[usize],
) -> Result<Option<(Table, usize)>, Broken> {
    let mut header = csv::ByteRecord::new();
    let mut records = Records::new(part, delimiter);
    let Some((start, long)) = records.next(&mut header)? else {
        let message = "the file has no header".to_owned();
        return if part.is_last { Err(format(Code::MissingColumn, message, columns, wanted)) } else { Ok(None) };
    };
    let mut table = Table { delimiter, width: header.len(), slots: [None; SLOTS], rules: None };
    let place = Place { part, table: &table, start, line: records.line };
    if let Some(mark) = long.then(|| place.unclosed()).flatten() {
        let (message, help) = (UNCLOSED.to_owned(), "close the cell with `\"`".to_owned());
        return Err(Broken::Format { code: Code::Unclosed, mark, message, help });
    }
    table.slots = header_slots(&header, columns, wanted)?;
    // Unless the manifest says that the column is another thing.
    let is_rules = |name: &[u8]| name.trim_ascii() == b"expect" && columns.slot("expect").is_none();
    table.rules = header.iter().position(is_rules);
    Ok(Some((table, records.read().min(part.bytes.len()))))
}

/// Reads the records of a part.
pub(super) fn read(part: Part<'_>, table: &Table, rows: &mut dyn Rows) -> Result<(), Broken> {
    let mut record = csv::ByteRecord::new();
    let mut records = Records::new(part, table.delimiter);
    while let Some((start, long)) = records.next(&mut record)? {
        let place = Place { part, table, start, line: records.line };
        if let Some(mark) = long.then(|| place.unclosed()).flatten() {
            rows.bad(mark, Code::Unclosed, UNCLOSED.to_owned());
        } else if record.len() == table.width {
            place.row(&record, rows);
        } else {
            let message = format!("the row has {} cells, the header {}", record.len(), table.width);
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

/// A record in the text.
struct Place<'a> {
    part: Part<'a>,
    table: &'a Table,
    start: usize,
    line: usize,
}

impl Place<'_> {
    fn row(&self, record: &csv::ByteRecord, rows: &mut dyn Rows) {
        let locate = |slot: usize| self.locate(self.table.slots[slot].unwrap_or(0));
        let mut cells: [Option<Cell<'_>>; SLOTS] = [const { None }; SLOTS];
        for (slot, index) in self.table.slots.iter().enumerate() {
            let Some((index, cell)) = index.and_then(|index| Some((index, record.get(index)?))) else { continue };
            let written = if slot == TOKEN { self.written(record, index) } else { None };
            let Ok(text) = std::str::from_utf8(written.unwrap_or(cell)) else {
                let message = format!("the cell `{}` is not UTF-8", keys::COLUMNS[slot]);
                return rows.bad(locate(slot), Code::NotUtf8, message);
            };
            cells[slot] = Some(Cell::Text(Cow::Borrowed(text)));
        }
        let rules = self.table.rules.and_then(|index| record.get(index));
        let expect = rules.is_some_and(|cell| !cell.trim_ascii().is_empty());
        let start = Mark::new(self.line, 1, 1);
        rows.row(&Row { start, cells, expect, locate: &locate, ground: self.part.ground });
    }

    /// The bytes of a cell as they stand in the file, where no cell before it has quotes, or all cells have.
    fn written(&self, record: &csv::ByteRecord, index: usize) -> Option<&[u8]> {
        let (cell, range) = (record.get(index)?, record.range(index)?);
        let begins = self.start + range.start + index;
        [begins, begins + 2 * index + 1]
            .into_iter()
            .find_map(|at| self.part.bytes.get(at..at + cell.len()).filter(|bytes| *bytes == cell))
    }

    /// The cell whose quote is left open.
    fn unclosed(&self) -> Option<Mark> {
        let mut cells =
            Cells::of_bytes(&self.part.bytes[self.start..], self.table.delimiter).take_while(|cell| cell.record == 0);
        cells.find(|cell| cell.unclosed).map(|cell| Mark { width: 1, ..self.locate(cell.index) })
    }

    /// Where a cell of the record stands.
    fn locate(&self, index: usize) -> Mark {
        let rest = &self.part.bytes[self.start..];
        let cell =
            Cells::of_bytes(rest, self.table.delimiter).take_while(|cell| cell.record == 0).find(|c| c.index == index);
        let Some(cell) = cell else { return Mark::new(self.line, 1, 1) };
        let (line, column) = crate::manifest::read::position(rest, cell.start);
        let shown = rest[cell.start..cell.end].split(|&b| b == b'\n').next().unwrap_or(&[]);
        Mark::new(self.line + line - 1, column, String::from_utf8_lossy(shown).chars().count())
    }
}
