//! Rows from files: CSV, TSV, JSON lines, JSON, YAML and lists of tokens, all brought to one form.
//!
//! A reader hands each row on as soon as it has it. Rows know their line at once; the column of a cell is looked for
//! only when there is something to say of it, since that costs another pass over the row.

mod build;
mod cells;
mod json;
mod lines;
mod stream;
mod yaml;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::code::Code;
use super::draft::Columns;
use super::entry::{FileName, TokenSource};
use super::inputs::Contents;
use super::keys;
use super::read::{self, Format};
use super::sink::Mark;
use super::spot::{OpenFiles, Spot, TokenFile};
use crate::token::{Claims, ShareToken, has_jwt_form, unverified_claims};

pub(super) use self::stream::CHUNK;
use self::stream::{Chunk, Chunks, Cut};
pub(super) use build::draft;

/// The slot of `share_token` in [`keys::COLUMNS`].
pub(super) const TOKEN: usize = 0;
/// The slot of `source_session_id`.
pub(super) const SESSION: usize = 1;
/// The slot of `id`.
pub(super) const ID: usize = 2;
/// The slot of `workflow_id`.
pub(super) const WORKFLOW: usize = 3;
/// The slot of `trust_review`.
pub(super) const TRUST: usize = 4;
/// The slot of `vendor_data`.
pub(super) const VENDOR: usize = 5;
/// The slot of `session_id`: the session of which a source that mints has its token.
pub(super) const MINTED: usize = 6;
/// How many columns are ours.
pub(super) const SLOTS: usize = keys::COLUMNS.len();

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    /// A number, with its text where it is known.
    Number(String),
    /// Nothing; the same as no cell.
    Null,
    /// A list or map.
    Nested,
}

/// A row: our columns, in the order of [`keys::COLUMNS`].
pub(super) struct Row<'a> {
    /// Where it begins.
    pub(super) start: Mark,
    pub(super) cells: [Option<Cell<'a>>; SLOTS],
    /// Whether it carries rules of its own, which are not accepted.
    pub(super) expect: bool,
    /// Where the cell of a slot stands.
    pub(super) locate: &'a dyn Fn(usize) -> Mark,
    /// What its cells were read from, where that can be read again.
    pub(super) ground: Option<Ground<'a>>,
}

impl Row<'_> {
    /// The token that a cell holds, and what it says: where it stands, if it can be read there again, else held.
    /// `None` where the cell does not have the form of a token.
    pub(super) fn token(&self, cell: &str) -> Option<(TokenSource, Option<Claims>)> {
        let text = cell.trim();
        if !has_jwt_form(text) {
            return None;
        }
        let spot = self.ground.as_ref().and_then(|ground| ground.spot(text));
        let source =
            spot.map_or_else(|| ShareToken::parse(text).map(TokenSource::Literal), |spot| Ok(TokenSource::Row(spot)));
        Some((source.ok()?, unverified_claims(text)))
    }
}

/// A part of a file, as it is on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub(super) file: &'a Arc<TokenFile>,
    /// Where it begins in the file.
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

impl Ground<'_> {
    /// Where a text stands that was taken out of it; `None` for one that was made.
    fn spot(&self, text: &str) -> Option<Spot> {
        let at = (text.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let is_inside = at + text.len() <= self.bytes.len();
        is_inside.then(|| Spot::new(self.file, self.offset + at as u64, text))?
    }
}

/// Who takes rows.
pub(super) trait Rows {
    /// A row.
    fn row(&mut self, row: &Row<'_>);
    /// A row that can't be read.
    fn bad(&mut self, mark: Mark, code: Code, message: String);
}

/// Why a file gave no rows, or no further ones.
#[derive(Debug)]
pub(super) enum Broken {
    /// It can't be opened, read or unpacked.
    Unreadable(String),
    /// What it holds is not of its format.
    Format { code: Code, mark: Mark, message: String, help: String },
    /// It lacks a column that the manifest names: the slot.
    Column(usize),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(read::reason(&error))
    }
}

/// A file to read.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) path: &'a Path,
    pub(super) format: Format,
    pub(super) columns: &'a Columns,
    pub(super) wanted: &'a [usize],
    /// Its name as shown, and the roots that it lies in.
    pub(super) name: &'a FileName,
    pub(super) roots: &'a [PathBuf],
    /// The files that are kept open, for tokens to be read again.
    pub(super) files: &'a OpenFiles,
    /// How many bytes are read at once; nothing that comes out depends on it.
    pub(super) chunk: usize,
    /// Where it is noted what the file held.
    pub(super) contents: Option<&'a Arc<Contents>>,
}

impl Input<'_> {
    /// The file, for its tokens to be read again.
    fn keep(&self, file: File) -> Arc<TokenFile> {
        Arc::new(self.files.keep(self.name, self.path.to_owned(), self.roots, file))
    }
}

/// Reads all rows of a file: each part of it into a value that `part` makes, which `take` gets in order.
pub(super) fn read<P: Rows + Send>(
    input: Input<'_>,
    part: &(dyn Fn() -> P + Sync),
    take: &mut (dyn FnMut(P) + Send),
) -> Result<(), Broken> {
    match input.format {
        // What is not UTF-8 has no rows.
        Format::Json if !is_utf8(input.path)? => {
            let chunk = Chunk::whole(text(input)?.content.into_bytes());
            let mut rows = part();
            let read = json::read(&chunk, None, input.columns, &mut rows);
            take(rows);
            read?.check(input.columns)
        }
        Format::Yaml => yaml::read(&text(input)?, input, part, take),
        Format::Json | Format::JsonLines | Format::Lines | Format::Cells(_) => streamed(input, part, take),
    }
}

/// Reads a file of lines or records, several chunks of it at once.
fn streamed<P: Rows + Send>(
    input: Input<'_>,
    part: &(dyn Fn() -> P + Sync),
    take: &mut (dyn FnMut(P) + Send),
) -> Result<(), Broken> {
    let opened = read::open(input.path, read::SOURCE_LIMIT, input.contents)?;
    let file = opened.plain.map(|file| input.keep(file));
    let mut chunks = Chunks::new(opened.reader, cut(input.format), input.chunk);
    let (first, table) = match input.format {
        Format::Cells(delimiter) => {
            let (first, table) = header(&mut chunks, delimiter, input)?;
            (Some(first), Some(table))
        }
        _ => (None, None),
    };
    let work = |chunk: &Chunk, rows: &mut P| {
        let apart = file.as_deref().map(|file| Arc::new(file.clone()));
        let ground = apart.as_ref().map(|file| Ground { file, offset: chunk.offset, bytes: chunk.bytes() });
        match input.format {
            Format::Cells(_) => {
                let Some((table, begins)) = &table else { return Ok(Seen::default()) };
                let skipped = if chunk.offset == begins.chunk { begins.byte } else { 0 };
                let (head, bytes) = chunk.bytes().split_at(skipped);
                let line = chunk.line + stream::newlines(head);
                cells::read(cells::Part { bytes, line, is_last: chunk.is_last, ground }, table, rows)?;
                Ok(Seen::default())
            }
            Format::Lines => lines::tokens(chunk, ground, rows),
            Format::Json => json::read(chunk, ground, input.columns, rows),
            _ => lines::json(chunk, ground, input.columns, rows),
        }
    };
    let seen = stream::each(&mut chunks, first, part, &work, take)?;
    seen.check(input.columns)
}

fn cut(format: Format) -> Cut {
    match format {
        Format::Cells(delimiter) => Cut::Records(delimiter),
        Format::Json => Cut::Elements,
        _ => Cut::Lines,
    }
}

/// Where the rows of cells begin: in the chunk at this place of the file, at this byte of it.
struct Begin {
    chunk: u64,
    byte: usize,
}

/// The first chunk with a record, which is the header.
fn header(chunks: &mut Chunks, delimiter: u8, input: Input<'_>) -> Result<(Chunk, (cells::Table, Begin)), Broken> {
    loop {
        let Some(chunk) = chunks.next()? else { return Err(Broken::Unreadable("it has no header".to_owned())) };
        let bytes = if chunk.offset == 0 { read::without_bom(chunk.bytes()) } else { chunk.bytes() };
        let before = chunk.bytes().len() - bytes.len();
        let part = cells::Part { bytes, line: chunk.line, is_last: chunk.is_last, ground: None };
        if let Some((table, end)) = cells::header(part, delimiter, input.columns, input.wanted)? {
            let begin = Begin { chunk: chunk.offset, byte: before + end };
            return Ok((chunk, (table, begin)));
        }
    }
}

/// A whole file as text.
struct Text {
    content: String,
    /// How many bytes stand before the text.
    offset: u64,
    /// The file, where it can be read again.
    file: Option<File>,
}

fn text(input: Input<'_>) -> Result<Text, Broken> {
    let (mut bytes, file) = read::whole(input.path, read::SOURCE_LIMIT, input.contents)?;
    let offset = bytes.len() - read::without_bom(&bytes).len();
    bytes.drain(..offset);
    match String::from_utf8(bytes) {
        Ok(content) => Ok(Text { content, offset: offset as u64, file }),
        Err(error) => {
            let (line, column) = read::position(error.as_bytes(), error.utf8_error().valid_up_to());
            Err(not_utf8(line, column))
        }
    }
}

fn not_utf8(line: usize, column: usize) -> Broken {
    Broken::Format {
        code: Code::NotUtf8,
        mark: Mark::new(line, column, 1),
        message: "the file is not UTF-8 from here on".to_owned(),
        help: "save it as UTF-8".to_owned(),
    }
}

/// Whether a file, read through, is UTF-8 and can be read once more.
fn is_utf8(path: &Path) -> Result<bool, Broken> {
    if !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
        return Ok(false);
    }
    let mut reader = read::open(path, read::SOURCE_LIMIT, None)?.reader;
    let mut buffer = Zeroizing::new(vec![0; 256 << 10]);
    let mut held = 0;
    loop {
        let read = match reader.read(&mut buffer[held..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let length = held + read;
        let valid = match std::str::from_utf8(&buffer[..length]) {
            Ok(_) => length,
            // A character may go on in what is read next.
            Err(error) if error.error_len().is_none() && read > 0 => error.valid_up_to(),
            Err(_) => return Ok(false),
        };
        if read == 0 {
            return Ok(true);
        }
        buffer.copy_within(valid..length, 0);
        held = length - valid;
    }
}

/// Which columns rows had, and how many rows there were.
#[derive(Debug, Default)]
struct Seen {
    columns: [bool; SLOTS],
    rows: u64,
}

impl Seen {
    fn row(&mut self, cells: &[Option<Cell<'_>>; SLOTS]) {
        self.rows += 1;
        for (seen, cell) in self.columns.iter_mut().zip(cells) {
            *seen |= cell.is_some();
        }
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        for (seen, other) in self.columns.iter_mut().zip(other.columns) {
            *seen |= other;
        }
    }

    /// Complains of a named column that no row had, where there were rows at all.
    fn check(&self, columns: &Columns) -> Result<(), Broken> {
        let missing = columns.0.iter().zip(self.columns).position(|(column, seen)| column.named.is_some() && !seen);
        match missing {
            Some(slot) if self.rows > 0 => Err(Broken::Column(slot)),
            _ => Ok(()),
        }
    }
}
