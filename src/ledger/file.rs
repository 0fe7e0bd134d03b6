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
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// The version that this program writes.
const NEWEST_VERSION: i64 = MIGRATIONS.len() as i64;

fn migrations() -> Migrations<'static> {
    Migrations::new(MIGRATIONS.into_iter().map(M::up).collect())
}

/// Opens the ledger for writing, making it (0600) where there is none, and migrates it forward after a backup.
pub(super) fn open_for_writing(location: &Location) -> Result<Connection, LedgerError> {
    let path = &location.path;
    prepare_folder(location)?;
    let is_new = create_private(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let sqlite = |error: &rusqlite::Error| LedgerError::sqlite(path, error);
    check_version(&connection, path, is_new)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|e| sqlite(&e))?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(|e| sqlite(&e))?;
    connection.pragma_update(None, "secure_delete", "ON").map_err(|e| sqlite(&e))?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(|e| sqlite(&e))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens an existing ledger for reading only; `None` where there is none.
///
/// A ledger that nobody writes has no write-ahead log beside it. It is then opened as immutable, so that reading
/// leaves no file behind and needs no permission to write; otherwise through the log.
pub(super) fn open_for_reading(location: &Location) -> Result<Option<Connection>, LedgerError> {
    let path = &location.path;
    if !path.exists() {
        return Ok(None);
    }
    refuse_network_file_system(location)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let busy = fs::metadata(sibling(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    let uri = if busy {
        path.clone()
    } else {
        let absolute = fs::canonicalize(path).map_err(|e| LedgerError::io(path, &e))?;
        let mut url = url::Url::from_file_path(&absolute).map_err(|()| LedgerError::io(path, &"not a file path"))?;
        url.set_query(Some("immutable=1"));
        PathBuf::from(url.as_str())
    };
    let connection = Connection::open_with_flags(uri, flags).map_err(|e| LedgerError::sqlite(path, &e))?;
    connection.busy_timeout(Duration::from_secs(30)).map_err(|e| LedgerError::sqlite(path, &e))?;
    check_version(&connection, path, false)?;
    Ok(Some(connection))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
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

/// Makes an empty file that only its owner can read, before SQLite writes to it. Says whether it is new.
fn create_private(path: &Path) -> Result<bool, LedgerError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let length = fs::metadata(path).map_err(|e| LedgerError::io(path, &e))?.len();
            Ok(length == 0)
        }
        Err(e) => Err(LedgerError::io(path, &e)),
    }
}

fn check_version(connection: &Connection, path: &Path, is_new: bool) -> Result<(), LedgerError> {
    let read = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|e| LedgerError::sqlite(path, &e))
    };
    let (version, application) = (read("user_version")?, read("application_id")?);
    if version > NEWEST_VERSION {
        return Err(LedgerError::Newer(path.to_owned()));
    }
    if !is_new && application != i64::from(APPLICATION_ID) {
        return Err(LedgerError::Corrupt {
            path: path.to_owned(),
            detail: "it is a SQLite file of another program".to_owned(),
        });
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let sqlite = |error: &rusqlite::Error| LedgerError::sqlite(path, error);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| sqlite(&e))?;
    if version == NEWEST_VERSION {
        return Ok(());
    }
    if version > 0 {
        back_up(connection, path, version)?;
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(|e| sqlite(&e))?;
    migrations().to_latest(connection).map_err(|e| LedgerError::io(path, &e))?;
    connection
        .execute(
            "INSERT OR IGNORE INTO meta (id, ledger_id, generation, fingerprint_key, created_at) VALUES (1, ?1, 0, ?2, ?3)",
            params![
                Uuid::new_v4().to_string(),
                FingerprintKey::random().as_bytes(),
                Timestamp::now().as_millisecond()
            ],
        )
        .map_err(|e| sqlite(&e))?;
    Ok(())
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
