//! Rows of a ledger, copied from one database to another, and the proof that both hold the same.
//!
//! Rows are read in the order of their keys, some thousand at once, all of them as of one moment; ids stay what they are.
//! The proof is a digest of each table, computed by the same code from what each database gives: SHA-256 over all values,
//! each with its kind and length.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use rusqlite::OpenFlags;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::db::{self, Cell, Connection, Params, Row, Value};
use super::tables::{META, TABLES, Table};
use super::{LedgerError, Location, file};

/// How many rows are read at once.
const ROWS: usize = if cfg!(test) { 3 } else { 10_000 };

/// How many values are written by one statement: well below what either database takes.
const VALUES: usize = 8_000;

/// What a table held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    /// Its name.
    pub table: &'static str,
    /// How many rows.
    pub rows: u64,
    /// The digest of all rows, in hexadecimal.
    pub sha256: String,
}

/// Why a copy failed, and on which side.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Where rows are read.
    From(db::Error),
    /// Where they are written.
    To(db::Error),
}

impl Trouble {
    /// What it means for the ledgers.
    pub(super) fn of(self, from: &Location, to: &Location) -> LedgerError {
        match self {
            Self::From(error) => LedgerError::of(from, &error),
            Self::To(error) => LedgerError::of(to, &error),
        }
    }
}

/// A value on its way.
#[derive(Clone, Debug, PartialEq)]
enum Carried {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Carried {
    fn of(cell: Cell<'_>) -> Self {
        match cell {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => Value::Int(*value),
            Self::Real(value) => Value::Real(*value),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

/// Values to be bound, in order.
struct Bound<'c>(&'c [Carried]);

impl Params for Bound<'_> {
    fn with<R>(self, use_them: impl FnOnce(&[Value<'_>]) -> R) -> R {
        use_them(&self.0.iter().map(Carried::value).collect::<Vec<_>>())
    }
}

/// A table that is read, some thousand rows at once.
struct Reading<'c> {
    connection: &'c Connection,
    table: &'static Table,
    /// The key of the last row that was seen.
    after: Vec<Carried>,
}

impl<'c> Reading<'c> {
    fn new(connection: &'c Connection, table: &'static Table) -> Self {
        Self { connection, table, after: Vec::new() }
    }

    /// Has the next rows seen; whether there may be more.
    fn next(&mut self, mut see: impl FnMut(&Row<'_>) -> db::Result<()>) -> db::Result<bool> {
        let Table { name, key, columns, .. } = self.table;
        // A server's ledger that is only read may be of an older version.
        if !self.connection.has_table(name)? {
            return Ok(false);
        }
        let (keys, columns) = (key.join(", "), columns.join(", "));
        let condition =
            if self.after.is_empty() { "TRUE".to_owned() } else { format!("({keys}) > ({})", numbered(1..=key.len())) };
        let sql = format!("SELECT {columns} FROM {name} WHERE {condition} ORDER BY {keys} LIMIT {ROWS}");
        let (mut seen, mut last) = (0, Vec::new());
        self.connection.prepare(&sql)?.each(Bound(&self.after), |row| {
            seen += 1;
            if seen == ROWS {
                last = key_of(row, key)?;
            }
            see(row)
        })?;
        self.after = last;
        Ok(seen == ROWS)
    }
}

fn key_of(row: &Row<'_>, key: &[&str]) -> db::Result<Vec<Carried>> {
    key.iter().map(|column| row.cell(*column).map(Carried::of)).collect()
}

/// `?1, ?2, ?3`
fn numbered(numbers: impl Iterator<Item = usize>) -> String {
    let mut text = String::new();
    for (at, number) in numbers.enumerate() {
        // A String takes all that is written.
        let _ = write!(text, "{}?{number}", if at == 0 { "" } else { ", " });
    }
    text
}

/// What every table holds; `None` where it was stopped.
pub(super) fn held(connection: &Connection, is_stopped: &dyn Fn() -> bool) -> db::Result<Option<Vec<Held>>> {
    let mut all = Vec::with_capacity(TABLES.len());
    for table in &TABLES {
        let Some(held) = held_in(connection, table, is_stopped)? else { return Ok(None) };
        all.push(held);
    }
    Ok(Some(all))
}

/// What one table holds; `None` where it was stopped.
fn held_in(connection: &Connection, table: &'static Table, is_stopped: &dyn Fn() -> bool) -> db::Result<Option<Held>> {
    let mut digest = Sha256::new();
    let mut rows = 0;
    let mut reading = Reading::new(connection, table);
    let mut more = true;
    while more {
        if is_stopped() {
            return Ok(None);
        }
        more = reading.next(|row| {
            rows += 1;
            (0..table.columns.len()).try_for_each(|at| {
                add(&mut digest, row.cell(at)?);
                Ok(())
            })
        })?;
    }
    Ok(Some(Held { table: table.name, rows, sha256: hex(&digest.finalize()) }))
}

fn add(digest: &mut Sha256, cell: Cell<'_>) {
    let (kind, length, bytes): (u8, usize, &[u8]) = match cell {
        Value::Null => (0, 0, &[]),
        Value::Int(value) => return add_fixed(digest, 1, value.to_le_bytes()),
        // A file keeps no sign of a zero.
        Value::Real(value) => return add_fixed(digest, 2, (value + 0.0).to_le_bytes()),
        Value::Text(text) => (3, text.len(), text.as_bytes()),
        Value::Blob(bytes) => (4, bytes.len(), bytes),
    };
    add_fixed(digest, kind, (length as u64).to_le_bytes());
    digest.update(bytes);
}

fn add_fixed(digest: &mut Sha256, kind: u8, bytes: [u8; 8]) {
    digest.update([kind]);
    digest.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One digest of all tables.
pub(super) fn in_sum(held: &[Held]) -> String {
    let mut digest = Sha256::new();
    for it in held {
        digest.update(format!("{} {} {}\n", it.table, it.rows, it.sha256));
    }
    hex(&digest.finalize())
}

/// The first table in which two ledgers differ, in words; `None` where all are equal.
pub(super) fn difference(one: &[Held], other: &[Held]) -> Option<String> {
    let differs = one.iter().zip(other).find(|(one, other)| one != other);
    if one.len() != other.len() {
        return Some("one of them has other tables".to_owned());
    }
    differs.map(|(one, other)| {
        if one.rows == other.rows {
            format!("of the {} rows of {} some are not the same", one.rows, one.table)
        } else {
            format!("{} has {} rows in the one and {} in the other", one.table, one.rows, other.rows)
        }
    })
}

/// Copies all rows but the identity, going on where an earlier copy ended; whether all are there.
pub(super) fn copy_rows(from: &Connection, to: &Connection, is_stopped: &dyn Fn() -> bool) -> Result<bool, Trouble> {
    for table in TABLES.iter().filter(|table| table.name != META) {
        if !copy_table(from, to, table, is_stopped)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies the identity, which makes a ledger of what was copied before, and compares it. In a transaction of the caller's;
/// `version`: of the tables, where they tell theirs.
pub(super) fn copy_identity(from: &Connection, to: &Connection, version: Option<i64>) -> Result<bool, Trouble> {
    let Some(table) = TABLES.iter().find(|table| table.name == META) else { return Ok(true) };
    let mut values = Vec::new();
    Reading::new(from, table).next(|row| carry(row, table, &mut values)).map_err(Trouble::From)?;
    values.extend(version.map(Carried::Int));
    let columns = table.columns.iter().copied().chain(version.map(|_| "version")).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO {META} ({columns}) VALUES ({})", numbered(1..=values.len()));
    to.execute(&sql, Bound(&values)).map_err(Trouble::To)?;
    let here = held_in(from, table, &|| false).map_err(Trouble::From)?;
    Ok(here == held_in(to, table, &|| false).map_err(Trouble::To)?)
}

fn copy_table(
    from: &Connection,
    to: &Connection,
    table: &'static Table,
    is_stopped: &dyn Fn() -> bool,
) -> Result<bool, Trouble> {
    let mut reading = Reading::new(from, table);
    reading.after = last_key(to, table).map_err(Trouble::To)?;
    let mut more = true;
    while more {
        if is_stopped() {
            return Ok(false);
        }
        let mut rows = Vec::new();
        more = reading.next(|row| carry(row, table, &mut rows)).map_err(Trouble::From)?;
        if rows.is_empty() {
            break;
        }
        let written = to.begin().and_then(|transaction| {
            write(to, table, &rows)?;
            transaction.commit()
        });
        written.map_err(Trouble::To)?;
    }
    Ok(true)
}

/// The key of the last row; empty where there is none.
fn last_key(connection: &Connection, table: &Table) -> db::Result<Vec<Carried>> {
    let backwards: Vec<String> = table.key.iter().map(|column| format!("{column} DESC")).collect();
    let (keys, backwards) = (table.key.join(", "), backwards.join(", "));
    let sql = format!("SELECT {keys} FROM {} ORDER BY {backwards} LIMIT 1", table.name);
    Ok(connection.find(&sql, (), |row| key_of(row, table.key))?.unwrap_or_default())
}

fn carry(row: &Row<'_>, table: &Table, rows: &mut Vec<Carried>) -> db::Result<()> {
    for at in 0..table.columns.len() {
        rows.push(Carried::of(row.cell(at)?));
    }
    Ok(())
}

/// Writes rows, many by one statement.
fn write(connection: &Connection, table: &Table, rows: &[Carried]) -> db::Result<()> {
    let width = table.columns.len();
    for some in rows.chunks(VALUES / width * width) {
        let places: Vec<String> =
            (0..some.len() / width).map(|row| format!("({})", numbered(row * width + 1..=(row + 1) * width))).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES {}", table.name, table.columns.join(", "), places.join(", "));
        connection.execute(&sql, Bound(some))?;
    }
    Ok(())
}

/// Makes a file of what another database holds, as of one moment, and compares it; `None` where it was stopped. `from` is
/// in a transaction that reads, and holds what `expected` says. The file is not to be there yet.
pub(super) fn make_file(
    from: &Connection,
    from_location: &Location,
    path: &Path,
    expected: &[Held],
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<()>, LedgerError> {
    let to_location = Location::file(path, true);
    let failed = |trouble: Trouble| trouble.of(from_location, &to_location);
    {
        let to = Connection::Sqlite(file::make_empty(path)?);
        if !copy_rows(from, &to, is_stopped).map_err(failed)? {
            return Ok(None);
        }
        let transaction = to.begin().map_err(|error| failed(Trouble::To(error)))?;
        copy_identity(from, &to, None).map_err(failed)?;
        transaction.commit().map_err(|error| failed(Trouble::To(error)))?;
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| LedgerError::io(path, &error))?;
    // Read back as everyone reads it, not by the connection that wrote it.
    let copy =
        Connection::Sqlite(file::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?);
    let Some(found) = held(&copy, is_stopped).map_err(|error| failed(Trouble::To(error)))? else { return Ok(None) };
    match difference(expected, &found) {
        None => Ok(Some(())),
        Some(detail) => {
            Err(LedgerError::Unequal { from: from_location.to_string(), to: to_location.to_string(), detail })
        }
    }
}

/// Gives a file that was made under another name its own, where no file has it, and makes that durable.
pub(super) fn name(made: &Path, path: &Path) -> Result<(), LedgerError> {
    // Unlike a rename, a link never takes the place of a file.
    fs::hard_link(made, path).map_err(|error| LedgerError::io(path, &error))?;
    discard(made);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| LedgerError::io(path, &error))
}

/// Removes a file that was made under another name, with what SQLite may have left beside it.
pub(super) fn discard(made: &Path) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        // Mostly there is none.
        let _ = fs::remove_file(file::sibling(made, suffix));
    }
}
