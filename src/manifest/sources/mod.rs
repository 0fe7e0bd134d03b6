//! Rows from files: CSV, TSV, JSON lines, JSON, YAML and lists of tokens, all brought to one form.
//!
//! A reader hands each row on as soon as it has it. Rows know their line at once; the column of a cell is looked for
//! only when there is something to say of it, since that costs another pass over the row.

mod build;
mod cells;
mod json;
mod lines;
mod yaml;

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::code::Code;
use super::draft::Columns;
use super::entry::TokenSource;
use super::keys;
use super::read::{self, Format};
use super::sink::Mark;
use super::spot::{Spot, TokenFile};
use crate::token::{Claims, ShareToken, has_jwt_form, unverified_claims};

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

/// Reads all rows of a file.
pub(super) fn read(
    path: &Path,
    format: Format,
    columns: &Columns,
    wanted: &[usize],
    rows: &mut dyn Rows,
) -> Result<(), Broken> {
    match format {
        Format::Cells(delimiter) => {
            let bytes = read::bytes(path, read::SOURCE_LIMIT)?;
            cells::read(read::without_bom(&bytes), delimiter, columns, wanted, rows)
        }
        Format::JsonLines => lines::json(path, columns, rows),
        Format::Lines => lines::tokens(path, rows),
        Format::Json => json::read(&text(path)?, columns, rows),
        Format::Yaml => yaml::read(&text(path)?, columns, rows),
    }
}

/// The whole file as text.
fn text(path: &Path) -> Result<String, Broken> {
    let bytes = read::bytes(path, read::SOURCE_LIMIT)?;
    let bare = read::without_bom(&bytes);
    match std::str::from_utf8(bare) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let (line, column) = read::position(bare, error.valid_up_to());
            Err(Broken::Format {
                code: Code::NotUtf8,
                mark: Mark::new(line, column, 1),
                message: "the file is not UTF-8 from here on".to_owned(),
                help: "save it as UTF-8".to_owned(),
            })
        }
    }
}

/// A named column that no row had, where there were rows at all.
fn check_seen(columns: &Columns, seen: [bool; SLOTS], rows: u64) -> Result<(), Broken> {
    let missing = columns.0.iter().zip(seen).position(|(column, seen)| column.named.is_some() && !seen);
    match missing {
        Some(slot) if rows > 0 => Err(Broken::Column(slot)),
        _ => Ok(()),
    }
}
