//! One connection to whichever database keeps a ledger: SQLite in a file of this machine, or PostgreSQL on a server.
//!
//! The ledger's statements are written once. They keep to what both databases understand, number their parameters as
//! SQLite does (`?1`), and read and bind five kinds of value. What differs is hidden here: how a connection is made, how
//! a transaction begins, how a row's new number is told, and hints for SQLite's planner, which PostgreSQL is not shown.

pub(super) mod postgres;
mod value;

use std::cell::RefCell;

use rusqlite::types::ValueRef;

pub(super) use postgres::{Link, may_pass};
pub(super) use value::{Cell, FromCell, IdText, Params, ToValue, Value};

/// What a statement came to.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a statement, or what was read by it, is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What SQLite says.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What PostgreSQL says, or the way to it.
    #[error("{}", postgres::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The server gave no answer for so long that the connection was given up.
    #[error("the database server gives no answer")]
    Silent,
    /// No row where there must be one.
    #[error("a row is missing")]
    NoRow,
    /// A value that this program can't have written.
    #[error("unreadable {0}")]
    Unreadable(String),
    /// A value that can't be written.
    #[error("{0}")]
    Unwritable(String),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Connection {
    /// To a file.
    Sqlite(rusqlite::Connection),
    /// To a server.
    Postgres(Box<Link>),
}

/// A statement that is ready to be carried out.
pub(super) enum Statement<'c> {
    /// In a file.
    Sqlite(rusqlite::CachedStatement<'c>),
    /// On a server.
    Postgres(&'c Link, tokio_postgres::Statement),
}

/// A transaction that is rolled back unless it is committed.
#[derive(Debug)]
pub(super) struct Transaction<'c>(Option<&'c Connection>);

impl Connection {
    /// Whether it is a file.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// What the database is called.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// How many rows of a long answer are best asked for at once: those of a server are in memory together.
    pub(super) fn rows_at_once(&self) -> i64 {
        match self {
            Self::Sqlite(_) => i64::MAX,
            Self::Postgres(_) => 10_000,
        }
    }

    /// From now on, a server that says nothing is taken for lost.
    pub(super) fn hurry(&self) {
        if let Self::Postgres(link) = self {
            link.hurry();
        }
    }

    /// Copies the whole database of a file to another file.
    pub(super) fn copy_to(&self, path: &std::path::Path) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.backup("main", path, None)?),
            Self::Postgres(_) => Err(Error::Unwritable("a server's ledger is not a file".to_owned())),
        }
    }

    /// Begins a transaction that writes. In a file, no other can write until it ends.
    pub(super) fn begin(&self) -> Result<Transaction<'_>> {
        self.begin_with("BEGIN IMMEDIATE", "BEGIN")
    }

    /// Begins a transaction that reads, all of it as of one moment.
    pub(super) fn begin_reading(&self) -> Result<Transaction<'_>> {
        self.begin_with("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    fn begin_with(&self, sqlite: &str, postgres: &str) -> Result<Transaction<'_>> {
        match self {
            Self::Sqlite(connection) => connection.execute_batch(sqlite)?,
            Self::Postgres(link) => link.batch(postgres)?,
        }
        Ok(Transaction(Some(self)))
    }

    /// Carries out statements that take and return nothing.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(link) => link.batch(sql),
        }
    }

    /// Prepares a statement, or takes one that was prepared before.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        match self {
            Self::Sqlite(connection) => Ok(Statement::Sqlite(connection.prepare_cached(sql)?)),
            Self::Postgres(link) => Ok(Statement::Postgres(link, link.prepare(sql)?)),
        }
    }

    /// Carries out a statement; how many rows it touched.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<u64> {
        self.prepare(sql)?.execute(params)
    }

    /// Carries out an INSERT into a table that numbers its rows by `id`; the new number.
    pub(super) fn insert(&self, sql: &str, params: impl Params) -> Result<i64> {
        match self {
            Self::Sqlite(connection) => {
                self.prepare(sql)?.execute(params)?;
                Ok(connection.last_insert_rowid())
            }
            Self::Postgres(_) => self.query_row(&format!("{sql} RETURNING id"), params, |row| row.get(0)),
        }
    }

    /// The first row of a query, which must have one.
    pub(super) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare(sql)?.query_row(params, read)
    }

    /// The first row of a query, if it has one.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.prepare(sql)?.find(params, read)
    }

    /// All rows of a query.
    pub(super) fn query_all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.prepare(sql)?.query_all(params, read)
    }

    /// Whether a table has a column: a file that is only read may be of an older version. On a server, the tables of all
    /// versions have the same ones.
    pub(super) fn has_column(&self, table: &str, column: &str) -> Result<bool> {
        match self {
            Self::Sqlite(connection) => Ok(connection.column_exists(None, table, column)?),
            Self::Postgres(_) => Ok(true),
        }
    }

    /// Whether there is a table: a ledger that is only read may be of an older version.
    pub(super) fn has_table(&self, table: &str) -> Result<bool> {
        match self {
            Self::Sqlite(connection) => Ok(connection.table_exists(None, table)?),
            Self::Postgres(_) => self.query_row("SELECT to_regclass(?1) IS NOT NULL", [table], |row| row.get(0)),
        }
    }
}

impl Transaction<'_> {
    /// Makes it durable.
    pub(super) fn commit(mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), |connection| connection.batch("COMMIT"))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // One that is broken takes its transaction with it.
            let _ = connection.batch("ROLLBACK");
        }
    }
}

impl Statement<'_> {
    /// Carries it out; how many rows it touched.
    pub(super) fn execute(&mut self, params: impl Params) -> Result<u64> {
        match self {
            Self::Sqlite(statement) => {
                bind(statement, params)?;
                Ok(statement.raw_execute()? as u64)
            }
            Self::Postgres(link, statement) => link.execute(statement, params),
        }
    }

    /// Has every row seen, in order.
    pub(super) fn each(&mut self, params: impl Params, mut see: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        self.until(params, |row| see(row).map(|()| true))
    }

    /// Has rows seen in order for as long as `see` says so.
    pub(super) fn until(&mut self, params: impl Params, mut see: impl FnMut(&Row<'_>) -> Result<bool>) -> Result<()> {
        match self {
            Self::Sqlite(statement) => {
                bind(statement, params)?;
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next()? {
                    if !see(&Row::Sqlite(row))? {
                        break;
                    }
                }
            }
            Self::Postgres(link, statement) => {
                for row in link.query(statement, params)? {
                    if !see(&Row::Postgres(&row))? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The first row, if there is one.
    pub(super) fn find<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let read = RefCell::new(Some(read));
        let mut found = None;
        self.until(params, |row| {
            if let Some(read) = read.take() {
                found = Some(read(row)?);
            }
            Ok(false)
        })?;
        Ok(found)
    }

    /// The first row, which must be there.
    pub(super) fn query_row<T>(&mut self, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.find(params, read)?.ok_or(Error::NoRow)
    }

    /// All rows.
    pub(super) fn query_all<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.each(params, |row| {
            all.push(read(row)?);
            Ok(())
        })?;
        Ok(all)
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, params: impl Params) -> Result<()> {
    params.with(|values| {
        Ok((1..).zip(values).try_for_each(|(at, value)| statement.raw_bind_parameter::<usize, _>(at, value))?)
    })
}

/// A row, for as long as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'r> {
    /// Of a file.
    Sqlite(&'r rusqlite::Row<'r>),
    /// Of a server.
    Postgres(&'r tokio_postgres::Row),
}

impl<'r> Row<'r> {
    /// A value, which must be of this kind.
    pub(super) fn get<T: FromCell>(&self, column: impl Column) -> Result<T> {
        let cell = self.cell(column)?;
        T::from_cell(cell).ok_or_else(|| Error::Unreadable(format!("column {column}: {cell:?}")))
    }

    /// A text where it stands: no copy is made of what is only looked at.
    pub(super) fn text(&self, column: impl Column) -> Result<Option<&'r str>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            other => Err(Error::Unreadable(format!("column {column}: {other:?}"))),
        }
    }

    /// A value where it stands.
    pub(super) fn cell(&self, column: impl Column) -> Result<Cell<'r>> {
        match *self {
            Self::Sqlite(row) => Ok(match row.get_ref(column)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(value) => Cell::Int(value),
                ValueRef::Real(value) => Cell::Real(value),
                ValueRef::Text(bytes) => {
                    Cell::Text(std::str::from_utf8(bytes).map_err(|_| Error::Unreadable(format!("column {column}")))?)
                }
                ValueRef::Blob(bytes) => Cell::Blob(bytes),
            }),
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

/// A column, by its place or name.
pub(super) trait Column: rusqlite::RowIndex + tokio_postgres::row::RowIndex + std::fmt::Display + Copy {}

impl Column for usize {}
impl Column for &str {}

/// Parameters of any kinds, in order.
macro_rules! params {
    () => { &[] as &[&dyn $crate::ledger::db::ToValue] };
    ($($value:expr),+ $(,)?) => { &[$(&$value as &dyn $crate::ledger::db::ToValue),+] as &[&dyn $crate::ledger::db::ToValue] };
}
pub(super) use params;
