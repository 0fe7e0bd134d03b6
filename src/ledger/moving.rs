//! `ledger move`: a ledger from one place to another, a file or a server each, as one that is equal in every row.
//!
//! - **Nobody writes meanwhile.** Both locks of both places are held, and the ledger is read as of one moment.
//! - **It is moved whole or not at all.** A file is made beside its place, and gets its name once it was compared. On a
//!   server the identity is written last, in one transaction, after all else was compared: until then nobody takes the
//!   tables for a ledger.
//! - **It may be killed.** The same command then goes on: a file begins anew, a server where it was, if the ledger is
//!   still what it was; after the last step it finds an equal ledger in place, and says so.
//! - **The original is only read** (and, of an older version, migrated first, as any run would).

use std::path::Path;
use std::time::{Duration, Instant};

use super::db::{self, Connection, params};
use super::lock::{Lock, Purpose};
use super::records::Identity;
use super::served::{self, MAKING, MIGRATIONS};
use super::tables::TABLES;
use super::transfer::{self, Held, Trouble};
use super::watch::FileId;
use super::{LedgerError, LedgerFile, Location, Reader, Server, file, place, read};

/// Between two looks at a lock that another process holds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A ledger that is in its new place.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Which one it is.
    pub identity: Identity,
    /// What it holds, in both places.
    pub tables: Vec<Held>,
    /// It was there already, as after a command that was killed at its very end.
    pub was_there: bool,
}

/// The ledger that is moved, as of one moment.
struct Original<'c> {
    connection: &'c Connection,
    location: &'c Location,
    identity: Identity,
    tables: Vec<Held>,
    locks: Locks,
}

/// Both locks: nobody sends, repairs or audits.
struct Locks {
    both: [Lock; 2],
}

impl Locks {
    fn take(location: &Location, wait: Duration) -> Result<Self, LedgerError> {
        let change = Lock::take(location, Purpose::Change, wait)?;
        Ok(Self { both: [change, Lock::take(location, Purpose::Audit, wait)?] })
    }

    /// An error where one was lost: then somebody may have written.
    fn confirm(&self) -> Result<(), LedgerError> {
        self.both.iter().try_for_each(Lock::confirm)
    }
}

/// Moves a ledger that is there. `None` where it was stopped; then it is where it was.
pub fn move_to(
    from: &Location,
    to: &Location,
    wait: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<Moved>, LedgerError> {
    refuse_same(from, to)?;
    let locks = Locks::take(from, wait)?;
    let connection = open(from)?;
    let failed = |error: db::Error| LedgerError::of(from, &error);
    let _as_of_one_moment = connection.begin_reading().map_err(failed)?;
    let identity = read::identity(&connection).map_err(failed)?;
    let Some(tables) = transfer::held(&connection, is_stopped).map_err(failed)? else { return Ok(None) };
    let original = Original { connection: &connection, location: from, identity, tables, locks };
    let was_there = match to {
        Location::File(file) => to_file(&original, file, wait, is_stopped)?,
        Location::Server(server) => to_server(&original, server, wait, is_stopped)?,
    };
    Ok(was_there.map(|was_there| Moved { identity: original.identity, tables: original.tables, was_there }))
}

const SAME: &str = "that is where it is";

/// Of servers it is seen in the tables.
fn refuse_same(from: &Location, to: &Location) -> Result<(), LedgerError> {
    let (Location::File(source), Location::File(target)) = (from, to) else { return Ok(()) };
    let id = FileId::at(&source.path);
    let is_same = place::resolve(&source.path) == place::resolve(&target.path)
        || (id.is_some() && id == FileId::at(&target.path));
    if is_same { Err(occupied(to, SAME)) } else { Ok(()) }
}

fn occupied(to: &Location, detail: impl Into<String>) -> LedgerError {
    LedgerError::Occupied { ledger: to.to_string(), detail: detail.into() }
}

/// Opens a ledger for reading, as one of this program's version. Its lock is held.
fn open(location: &Location) -> Result<Connection, LedgerError> {
    let missing = || LedgerError::Missing(location.to_string());
    match location {
        Location::Server(server) => {
            let connection = served::open_for_reading(server)?.ok_or_else(missing)?;
            // It waits while the other side is written and compared.
            let patient = connection.batch("SET idle_in_transaction_session_timeout = 0");
            patient.map_err(|error| LedgerError::of(location, &error))?;
            Ok(connection)
        }
        Location::File(file) => {
            let opened = file::open_for_reading(file)?.ok_or_else(missing)?.connection;
            let version: i64 = opened
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .map_err(|error| LedgerError::sqlite(&file.path, &error))?;
            if version == file::MIGRATIONS.len() as i64 {
                return Ok(Connection::Sqlite(opened));
            }
            drop(opened);
            drop(file::open_for_writing(file)?);
            Ok(Connection::Sqlite(file::open_for_reading(file)?.ok_or_else(missing)?.connection))
        }
    }
}

/// Whether it was there; `None` where it was stopped.
fn to_file(
    original: &Original<'_>,
    to: &LedgerFile,
    wait: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<bool>, LedgerError> {
    let location = Location::File(to.clone());
    let locks = Locks::take(&location, wait)?;
    let made = file::sibling(&place::resolve(&to.path), ".incoming");
    // Of an earlier command that was killed.
    transfer::discard(&made);
    if to.path.symlink_metadata().is_ok() {
        return is_there(original, &location, is_stopped);
    }
    let copied = transfer::make_file(original.connection, original.location, &made, &original.tables, is_stopped);
    let named = match copied {
        Ok(Some(())) => (original.locks.confirm())
            .and_then(|()| locks.confirm())
            .and_then(|()| transfer::name(&made, &to.path))
            .map(|()| Some(false)),
        Ok(None) => Ok(None),
        Err(error) => Err(in_place_of(error, &made, &to.path)),
    };
    transfer::discard(&made);
    named
}

/// An error of the file that is being made, told of the one that it was to be.
fn in_place_of(error: LedgerError, made: &Path, path: &Path) -> LedgerError {
    let (made, to) = (made.display().to_string(), path.display().to_string());
    match error {
        LedgerError::Io { path, detail } if path == made => LedgerError::Io { path: to, detail },
        LedgerError::Unequal { from, detail, .. } => LedgerError::Unequal { from, to, detail },
        other => other,
    }
}

/// Whether what is there is equal, as after a command that was killed when all was done. An error where it is not.
fn is_there(
    original: &Original<'_>,
    location: &Location,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<bool>, LedgerError> {
    let Some(reader) = Reader::open(location)? else {
        return Err(occupied(location, "a file is there that is no ledger"));
    };
    let id = reader.identity()?.id;
    if id != original.identity.id {
        return Err(occupied(location, format!("it holds another ledger, {id}")));
    }
    let found = reader.run_query(|connection| {
        let _as_of_one_moment = connection.begin_reading()?;
        transfer::held(connection, is_stopped)
    })?;
    let Some(found) = found else { return Ok(None) };
    match transfer::difference(&original.tables, &found) {
        None => Ok(Some(true)),
        Some(detail) => Err(occupied(location, format!("this ledger is there already, in another state: {detail}"))),
    }
}

/// What is known of a ledger that is on its way to a server: there only until it has arrived.
const INCOMING: &str = "CREATE TABLE incoming (ledger_id TEXT NOT NULL, digest TEXT NOT NULL, version BIGINT NOT NULL)";

/// Of a server's tables.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// Whether it was there; `None` where it was stopped.
fn to_server(
    original: &Original<'_>,
    server: &Server,
    wait: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<bool>, LedgerError> {
    let location = Location::Server(Box::new(server.clone()));
    let failed = |error: db::Error| LedgerError::of(&location, &error);
    let to = served::connect(server).map_err(failed)?;
    let _release = served::Release(&to);
    served::refuse_unfit(&to, server)?;
    make_room(&to, original).map_err(failed)?;
    if shares_tables(&to).map_err(failed)? {
        return Err(occupied(&location, SAME));
    }
    for purpose in [Purpose::Change, Purpose::Audit] {
        take(&to, purpose, wait, &location)?;
    }
    // As it is now that nobody else moves a ledger there, or writes to the one that is there.
    if to.find("SELECT 1 FROM meta", (), |_| Ok(())).map_err(failed)?.is_some() {
        return is_there(original, &location, is_stopped);
    }
    resume(&to, original, &location)?;
    if !transfer::copy_rows(original.connection, &to, is_stopped)
        .map_err(|trouble| trouble.of(original.location, &location))?
    {
        return Ok(None);
    }
    let Some(found) = transfer::held(&to, is_stopped).map_err(failed)? else { return Ok(None) };
    // The identity follows.
    let of_rows = |tables: &[Held]| tables[1..].to_vec();
    if let Some(detail) = transfer::difference(&of_rows(&original.tables), &of_rows(&found)) {
        return Err(give_up(&to, original, &location, detail));
    }
    original.locks.confirm()?;
    if !seal(&to, original).map_err(|trouble| trouble.of(original.location, &location))? {
        return Err(give_up(&to, original, &location, "its identity is another".to_owned()));
    }
    // As anybody finds it.
    drop(Reader::require(&location)?);
    Ok(Some(false))
}

/// Makes the tables where there are none.
fn make_room(to: &Connection, original: &Original<'_>) -> db::Result<()> {
    let transaction = to.begin()?;
    to.batch(MAKING)?;
    let exists: bool = to.query_row("SELECT to_regclass('meta') IS NOT NULL", (), |row| row.get(0))?;
    if !exists {
        MIGRATIONS.iter().try_for_each(|sql| to.batch(sql))?;
        to.batch(INCOMING)?;
        to.execute(
            "INSERT INTO incoming (ledger_id, digest, version) VALUES (?1, ?2, ?3)",
            params![original.identity.id.to_string(), transfer::in_sum(&original.tables), VERSION],
        )?;
    }
    transaction.commit()
}

/// Whether the ledger that is moved is in this very database: then this process is on record there.
fn shares_tables(to: &Connection) -> db::Result<bool> {
    to.query_row(
        "SELECT EXISTS (SELECT 1 FROM runners r JOIN pg_stat_activity a ON a.pid = r.backend WHERE r.host = ?1 AND r.pid = ?2)",
        params![crate::host::name(), std::process::id()],
        |row| row.get(0),
    )
}

fn take(to: &Connection, purpose: Purpose, wait: Duration, location: &Location) -> Result<(), LedgerError> {
    let failed = |error: db::Error| LedgerError::of(location, &error);
    let deadline = Instant::now() + wait;
    while !served::take(to, purpose).map_err(failed)? {
        if Instant::now() >= deadline {
            let holder = served::holder(to, purpose).map_err(failed)?;
            let holder = holder.unwrap_or_else(|| "a process that has just begun".to_owned());
            return Err(LedgerError::Locked { path: location.to_string(), holder });
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

/// Leaves what an earlier command copied if the ledger is still what it was then, and otherwise removes it.
fn resume(to: &Connection, original: &Original<'_>, location: &Location) -> Result<(), LedgerError> {
    let failed = |error: db::Error| LedgerError::of(location, &error);
    let is_incoming: bool =
        to.query_row("SELECT to_regclass('incoming') IS NOT NULL", (), |row| row.get(0)).map_err(failed)?;
    if !is_incoming {
        let detail = "its identity is gone".to_owned();
        return Err(LedgerError::Corrupt { path: location.to_string(), detail });
    }
    let (id, digest, version): (String, String, i64) = to
        .query_row("SELECT ledger_id, digest, version FROM incoming", (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .map_err(failed)?;
    if id != original.identity.id.to_string() {
        return Err(occupied(location, format!("another ledger, {id}, is being moved there")));
    }
    if version != VERSION {
        return Err(occupied(location, "another version of didit-sync began to move it there"));
    }
    let now = transfer::in_sum(&original.tables);
    if digest == now {
        return Ok(());
    }
    let begun_anew = to.begin().and_then(|transaction| {
        to.batch(&format!("TRUNCATE {}", names()))?;
        to.execute("UPDATE incoming SET digest = ?1", [now])?;
        transaction.commit()
    });
    begun_anew.map_err(failed)
}

/// Has the next command begin anew; what to say of this one.
fn give_up(to: &Connection, original: &Original<'_>, location: &Location, detail: String) -> LedgerError {
    match to.execute("UPDATE incoming SET digest = ''", ()) {
        Ok(_) => LedgerError::Unequal { from: original.location.to_string(), to: location.to_string(), detail },
        Err(error) => LedgerError::of(location, &error),
    }
}

/// Makes a ledger of the rows: numbers go on after the highest, and it gets its identity. Whether that is the same.
fn seal(to: &Connection, original: &Original<'_>) -> Result<bool, Trouble> {
    let transaction = to.begin().map_err(Trouble::To)?;
    let numbers = TABLES.iter().filter(|table| table.is_numbered()).try_for_each(|table| {
        let name = table.name;
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{name}', 'id'), greatest(max(id), 1), count(*) > 0) FROM {name}"
        );
        to.query_row(&sql, (), |_| Ok(()))
    });
    // What is asked of new tables is planned by what is in them.
    numbers.and_then(|()| to.batch(&format!("ANALYZE {}", names()))).map_err(Trouble::To)?;
    if !transfer::copy_identity(original.connection, to, Some(VERSION))? {
        return Ok(false);
    }
    to.batch("DROP TABLE incoming").and_then(|()| transaction.commit()).map_err(Trouble::To)?;
    Ok(true)
}

/// All tables.
fn names() -> String {
    TABLES.iter().map(|table| table.name).collect::<Vec<_>>().join(", ")
}
