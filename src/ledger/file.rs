//! The ledger's file: where it may lie, how it is opened, its permissions, its migrations.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use rusqlite_migration::{M, Migrations};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use uuid::Uuid;

use super::bulk;
use super::place::{refuse_network_file_system, resolve, standing};
use super::watch::Watch;
use super::{LedgerError, LedgerFile};
use crate::token::FingerprintKey;

/// Marks the file as ours in SQLite's header ("DSYN").
const APPLICATION_ID: i32 = 0x4453_594e;

/// How much of the file a writer keeps in memory, as SQLite writes it: in KiB, negated.
const CACHE_KIB: i64 = -16 * 1024;

/// How long the write-ahead log grows before it is copied into the file, in pages of 4 KiB. A page that many commits
/// change is copied once, and commits seldom wait for that.
const CHECKPOINT_PAGES: i64 = 8 * 1024;

/// Statements kept prepared: all that a run repeats.
const STATEMENTS: usize = 64;

/// One for each version, in order.
pub(super) const MIGRATIONS: [&str; 11] = [
    include_str!("schema.sql"),
    include_str!("schema2.sql"),
    include_str!("schema3.sql"),
    include_str!("schema4.sql"),
    include_str!("schema5.sql"),
    include_str!("schema6.sql"),
    include_str!("schema7.sql"),
    include_str!("schema8.sql"),
    include_str!("schema9.sql"),
    include_str!("schema10.sql"),
    include_str!("schema11.sql"),
];

/// A ledger opened for writing.
#[derive(Debug)]
pub(super) struct ForWriting {
    pub(super) connection: Connection,
    /// Its files, which must stay where they are.
    pub(super) watch: Watch,
}

/// Opens the ledger for writing, making it (0600) where there is none, and migrates it forward after a backup.
///
/// A kill while it is made leaves a file that is not a ledger yet: empty, without our mark, without tables or without
/// its identity. None of them has recorded anything, so the next opening makes it whole.
///
/// Nothing here reads the whole file (`quick_check` takes as long as the file is large), unless a run that was killed had
/// put its indexes off (`bulk`): damage is found by the read or write that meets it, see [`LedgerError::sqlite`].
pub(super) fn open_for_writing(location: &LedgerFile) -> Result<ForWriting, LedgerError> {
    let opened = open_with(location, &MIGRATIONS)?;
    let made = bulk::INDEXES.iter().try_for_each(|index| opened.connection.execute_batch(index.make()));
    made.map_err(|error| LedgerError::sqlite(&location.path, &error))?;
    Ok(opened)
}

/// As [`open_for_writing`], with the program's versions given: the last one is what it writes.
pub(super) fn open_with(location: &LedgerFile, versions: &[&str]) -> Result<ForWriting, LedgerError> {
    let path = &location.path;
    prepare_folder(location)?;
    create_private(path)?;
    refuse_read_only(path, &LOG)?;
    let mut watch = Watch::new(path);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let sqlite = |error: &rusqlite::Error| LedgerError::sqlite(path, error);
    let is_whole = check(&connection, path, versions.len())?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(|e| sqlite(&e))?;
    // Where there can be no log, SQLite keeps its older journal, which is as durable.
    if mode == "wal" {
        watch.add_log();
    }
    let pragmas: [(&str, &dyn rusqlite::ToSql); 5] = [
        ("synchronous", &"FULL"),
        ("secure_delete", &"ON"),
        ("foreign_keys", &"ON"),
        ("cache_size", &CACHE_KIB),
        ("wal_autocheckpoint", &CHECKPOINT_PAGES),
    ];
    for (name, value) in pragmas {
        connection.pragma_update(None, name, value).map_err(|e| sqlite(&e))?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    migrate(&mut connection, path, versions)?;
    if !is_whole {
        identify(&connection, path)?;
    }
    Ok(ForWriting { connection, watch })
}

/// Makes a new file with the tables of a ledger and nothing in them, not even an identity. Nothing that is written by this
/// connection is durable until the file itself is synced.
pub(super) fn make_empty(path: &Path) -> Result<Connection, LedgerError> {
    create_private(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let sqlite = |error: rusqlite::Error| LedgerError::sqlite(path, &error);
    connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(())).map_err(sqlite)?;
    connection.pragma_update(None, "synchronous", "OFF").map_err(sqlite)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(sqlite)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB).map_err(sqlite)?;
    migrate(&mut connection, path, &MIGRATIONS)?;
    Ok(connection)
}

/// A ledger opened for reading.
#[derive(Debug)]
pub(super) struct ForReading {
    pub(super) connection: Connection,
    /// What the file was like when it was opened as immutable; `None` where it is read through its log.
    pub(super) as_of: Option<Stamp>,
}

/// Opens an existing ledger for reading only; `None` where there is none, or nothing but a half-made one.
///
/// A ledger that nobody writes has no write-ahead log beside it. It is then opened as immutable, so that reading
/// leaves no file behind and needs no permission to write; otherwise through the log. A writer can start right after
/// that was looked at: see [`Stamp`].
pub(super) fn open_for_reading(location: &LedgerFile) -> Result<Option<ForReading>, LedgerError> {
    let path = &location.path;
    if !path.exists() {
        return Ok(None);
    }
    refuse_network_file_system(location)?;
    let opened = open_as_it_is(path)?;
    let (opened, whole) = match check(&opened.connection, path, MIGRATIONS.len()) {
        Err(LedgerError::Corrupt { .. }) if opened.as_of.is_some() => {
            let opened = ForReading { connection: open_through_log(path)?, as_of: None };
            let whole = check(&opened.connection, path, MIGRATIONS.len())?;
            (opened, whole)
        }
        checked => (opened, checked?),
    };
    Ok(whole.then_some(opened))
}

fn open_as_it_is(path: &Path) -> Result<ForReading, LedgerError> {
    let as_of = Stamp::of(path);
    if as_of.has_log {
        return Ok(ForReading { connection: open_through_log(path)?, as_of: None });
    }
    let absolute = fs::canonicalize(path).map_err(|e| LedgerError::io(path, &e))?;
    let mut url = url::Url::from_file_path(&absolute).map_err(|()| LedgerError::io(path, &"not a file path"))?;
    url.set_query(Some("immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(url.as_str(), flags).map_err(|e| LedgerError::sqlite(path, &e))?;
    #[cfg(test)]
    super::tests::queries::watch(&connection);
    Ok(ForReading { connection, as_of: Some(as_of) })
}

/// Opens an existing ledger for reading only, through its write-ahead log.
pub(super) fn open_through_log(path: &Path) -> Result<Connection, LedgerError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// By what a write to the file is noticed. Of an immutable file SQLite believes that nobody writes it; where somebody
/// does all the same, what was read may be old and new mixed, or look damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    has_log: bool,
    length: u64,
    written: Option<std::time::SystemTime>,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        let has_log = fs::metadata(sibling(&resolve(path), "-wal")).is_ok_and(|log| log.len() > 0);
        let file = fs::metadata(path).ok();
        let length = file.as_ref().map_or(0, fs::Metadata::len);
        Self { has_log, length, written: file.and_then(|file| file.modified().ok()) }
    }
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|e| LedgerError::sqlite(path, &e))?;
    #[cfg(test)]
    super::tests::queries::watch(&connection);
    connection.busy_timeout(Duration::from_secs(30)).map_err(|e| LedgerError::sqlite(path, &e))?;
    Ok(connection)
}

/// `ledger.db` → `ledger.db-wal` and the like.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Makes the ledger's folder and refuses a network file system.
pub(super) fn prepare_folder(location: &LedgerFile) -> Result<(), LedgerError> {
    let path = &location.path;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| LedgerError::io(path, &e))?;
    }
    refuse_network_file_system(location)
}

/// Makes an empty file that only its owner can read, before SQLite writes to it; one that is there stays.
pub(super) fn create_private(path: &Path) -> Result<(), LedgerError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(LedgerError::io(path, &e)),
    }
}

/// SQLite's files beside a ledger in use.
pub(super) const LOG: [&str; 2] = ["-wal", "-shm"];

/// Refuses what can't be written, before SQLite touches it: it would leave a log beside a read-only file that is
/// read-only, too, and in the way once the file is writable again. Of a file or folder that is still to be made, the
/// folder counts in which that is to happen. `beside` names the files beside the ledger that have to be writable, too.
pub(super) fn refuse_read_only(path: &Path, beside: &[&str]) -> Result<(), LedgerError> {
    let resolved = resolve(path);
    let folder = standing(resolved.parent().unwrap_or(Path::new("/")));
    let beside: Vec<PathBuf> = beside.iter().map(|suffix| sibling(&resolved, suffix)).collect();
    for place in [resolved, folder].into_iter().chain(beside).filter(|place| place.exists()) {
        accessat(CWD, &place, Access::WRITE_OK, AtFlags::EACCESS).map_err(|error| {
            LedgerError::io(path, &format!("{} can't be written: {}", place.display(), std::io::Error::from(error)))
        })?;
    }
    Ok(())
}

/// Refuses what is not ours or newer; says whether it is whole, not only begun.
fn check(connection: &Connection, path: &Path, newest: usize) -> Result<bool, LedgerError> {
    let read = |sql: &str| {
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|e| LedgerError::sqlite(path, &e))
    };
    let (version, application) = (read("PRAGMA user_version")?, read("PRAGMA application_id")?);
    let is_blank = version == 0 && read("SELECT count(*) FROM sqlite_schema")? == 0;
    let is_ours = application == i64::from(APPLICATION_ID) || (is_blank && application == 0);
    if is_ours && version > newest as i64 {
        return Err(LedgerError::Newer(path.display().to_string()));
    }
    let corrupt = |detail: &str| LedgerError::Corrupt { path: path.display().to_string(), detail: detail.to_owned() };
    if !is_ours {
        return Err(corrupt("it is a SQLite file of another program"));
    }
    if version == 0 {
        return if is_blank { Ok(false) } else { Err(corrupt("it has tables but no version")) };
    }
    if read("SELECT count(*) FROM meta")? > 0 {
        return Ok(true);
    }
    // The identity is there before the first run: one that lost it later can't be told from another ledger.
    if read("SELECT EXISTS (SELECT 1 FROM runs)")? == 0 { Ok(false) } else { Err(corrupt("its identity is gone")) }
}

fn migrate(connection: &mut Connection, path: &Path, versions: &[&str]) -> Result<(), LedgerError> {
    let sqlite = |error: &rusqlite::Error| LedgerError::sqlite(path, error);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| sqlite(&e))?;
    if version < versions.len() as i64 {
        if version > 0 {
            back_up(connection, path, version)?;
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(|e| sqlite(&e))?;
        Migrations::new(versions.iter().copied().map(M::up).collect()).to_latest(connection).map_err(|error| {
            match error {
                rusqlite_migration::Error::RusqliteError { err, .. } => sqlite(&err),
                other => LedgerError::io(path, &other),
            }
        })?;
        if version > 0 {
            tracing::info!(ledger = %path.display(), from = version, to = versions.len(), "ledger migrated");
        }
    }
    Ok(())
}

/// Gives the ledger its identity. Apart from the migration, since a kill may have come right after that.
fn identify(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    connection
        .execute(
            "INSERT OR IGNORE INTO meta (id, ledger_id, generation, fingerprint_key, created_at) VALUES (1, ?1, 0, ?2, ?3)",
            params![
                Uuid::new_v4().to_string(),
                FingerprintKey::random().as_bytes(),
                Timestamp::now().as_millisecond()
            ],
        )
        .map(drop)
        .map_err(|e| LedgerError::sqlite(path, &e))
}

/// Copies the ledger beside itself before a migration touches it.
fn back_up(connection: &Connection, path: &Path, version: i64) -> Result<(), LedgerError> {
    let copy = sibling(path, &format!(".v{version}.bak"));
    create_private(&copy)?;
    connection.backup("main", &copy, None).map_err(|e| LedgerError::sqlite(path, &e))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).map_err(|e| LedgerError::io(path, &e))?;
    tracing::info!(ledger = %path.display(), copy = %copy.display(), "ledger copied before its migration");
    Ok(())
}
