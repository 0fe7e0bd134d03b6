//! The ledger's file: where it may lie, how it is opened, its permissions, its migrations.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use rusqlite_migration::{M, Migrations};
use uuid::Uuid;

use super::{LedgerError, Location};
use crate::token::FingerprintKey;

/// Marks the file as ours in SQLite's header ("DSYN").
const APPLICATION_ID: i32 = 0x4453_594e;

/// One for each version, in order.
const MIGRATIONS: [&str; 3] = [include_str!("schema.sql"), include_str!("schema2.sql"), include_str!("schema3.sql")];

/// The version that this program writes.
const NEWEST_VERSION: i64 = MIGRATIONS.len() as i64;

fn migrations() -> Migrations<'static> {
    Migrations::new(MIGRATIONS.into_iter().map(M::up).collect())
}

/// Opens the ledger for writing, making it (0600) where there is none, and migrates it forward after a backup.
///
/// A kill while it is made leaves a file that is not a ledger yet: empty, without our mark, without tables or without
/// its identity. None of them has recorded anything, so the next opening makes it whole.
///
/// Nothing here reads the whole file (`quick_check` takes as long as the file is large): damage is found by the read or
/// write that meets it, see [`LedgerError::sqlite`].
pub(super) fn open_for_writing(location: &Location) -> Result<Connection, LedgerError> {
    let path = &location.path;
    prepare_folder(location)?;
    create_private(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let sqlite = |error: &rusqlite::Error| LedgerError::sqlite(path, error);
    let is_whole = check(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|e| sqlite(&e))?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(|e| sqlite(&e))?;
    connection.pragma_update(None, "secure_delete", "ON").map_err(|e| sqlite(&e))?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(|e| sqlite(&e))?;
    migrate(&mut connection, path)?;
    if !is_whole {
        identify(&connection, path)?;
    }
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
pub(super) fn open_for_reading(location: &Location) -> Result<Option<ForReading>, LedgerError> {
    let path = &location.path;
    if !path.exists() {
        return Ok(None);
    }
    refuse_network_file_system(location)?;
    let opened = open_as_it_is(path)?;
    let (opened, whole) = match check(&opened.connection, path) {
        Err(LedgerError::Corrupt { .. }) if opened.as_of.is_some() => {
            let opened = ForReading { connection: open_through_log(path)?, as_of: None };
            let whole = check(&opened.connection, path)?;
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
        let has_log = fs::metadata(sibling(path, "-wal")).is_ok_and(|log| log.len() > 0);
        let file = fs::metadata(path).ok();
        let length = file.as_ref().map_or(0, fs::Metadata::len);
        Self { has_log, length, written: file.and_then(|file| file.modified().ok()) }
    }
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|e| LedgerError::sqlite(path, &e))?;
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
pub(super) fn prepare_folder(location: &Location) -> Result<(), LedgerError> {
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

/// Refuses what is not ours or newer; says whether it is whole, not only begun.
fn check(connection: &Connection, path: &Path) -> Result<bool, LedgerError> {
    let read = |sql: &str| {
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|e| LedgerError::sqlite(path, &e))
    };
    let (version, application) = (read("PRAGMA user_version")?, read("PRAGMA application_id")?);
    let is_blank = version == 0 && read("SELECT count(*) FROM sqlite_schema")? == 0;
    let is_ours = application == i64::from(APPLICATION_ID) || (is_blank && application == 0);
    if is_ours && version > NEWEST_VERSION {
        return Err(LedgerError::Newer(path.to_owned()));
    }
    let corrupt = |detail: &str| LedgerError::Corrupt { path: path.to_owned(), detail: detail.to_owned() };
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

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let sqlite = |error: &rusqlite::Error| LedgerError::sqlite(path, error);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| sqlite(&e))?;
    if version < NEWEST_VERSION {
        if version > 0 {
            back_up(connection, path, version)?;
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(|e| sqlite(&e))?;
        migrations().to_latest(connection).map_err(|error| match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => sqlite(&err),
            other => LedgerError::io(path, &other),
        })?;
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
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).map_err(|e| LedgerError::io(path, &e))
}

/// File systems on which SQLite's locks can't be trusted, by the kernel's magic number (statfs(2)).
const NETWORK_FILE_SYSTEMS: [(u32, &str); 9] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x5346_414F, "afs"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x0102_1997, "9p"),
    (0x4750_4653, "gpfs"),
];

fn refuse_network_file_system(location: &Location) -> Result<(), LedgerError> {
    if location.allow_network_fs {
        return Ok(());
    }
    let folder = location.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(facts) = rustix::fs::statfs(folder) else { return Ok(()) };
    match NETWORK_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == facts.f_type as u32) {
        None => Ok(()),
        Some((_, kind)) => {
            Err(LedgerError::NetworkFileSystem { path: location.path.clone(), kind: (*kind).to_owned() })
        }
    }
}
