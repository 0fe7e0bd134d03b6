//! What can be told of a ledger without changing anything: for `doctor`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, MIGRATIONS};
use super::place::{refuse_network_file_system, resolve, standing};
use super::{LedgerError, LedgerFile, Location, Lock, Purpose, Reader, Server, served};

/// What is there.
#[derive(Debug)]
pub struct Examination {
    /// Whether the first or next run could write it.
    pub writable: Result<(), LedgerError>,
    /// Of a file: what is around it.
    pub around: Option<Around>,
    /// What is in it; `None` where there is no ledger yet.
    pub contents: Option<Result<Contents, LedgerError>>,
    /// Who changes it now: host, pid and since when.
    pub changed_by: Result<Option<String>, LedgerError>,
    /// Who audits it now.
    pub audited_by: Result<Option<String>, LedgerError>,
}

/// What is around a ledger's file.
#[derive(Debug)]
pub struct Around {
    /// The folder, where it is still to be made.
    pub missing_folder: Option<PathBuf>,
    /// Whether its file system is one on which locks can be trusted.
    pub file_system: Result<(), LedgerError>,
    /// Its files that others than the owner may read or write, with their modes.
    pub open_to_others: Vec<(PathBuf, u32)>,
    /// Bytes free for this user on its disk, where that can be told.
    pub free_bytes: Option<u64>,
}

/// What is in a ledger that can be read.
#[derive(Debug)]
pub struct Contents {
    /// Its version.
    pub version: i64,
    /// The version that this program writes.
    pub newest: i64,
    /// Its entries.
    pub entries: u64,
    /// What SQLite's quick check finds wrong.
    pub flaws: Vec<String>,
}

/// Looks at a ledger. Reads only.
#[must_use]
pub fn examine(location: &Location) -> Examination {
    let file = match location {
        Location::File(file) => file,
        Location::Server(server) => return of_server(server, location),
    };
    let path = &file.path;
    let (resolved, place) = (resolve(path), standing(path));
    let [log, index] = file::LOG;
    let beside = [log, index, ".lock", ".audit.lock"];
    let open_to_others = [""].into_iter().chain(beside).filter_map(|suffix| {
        let file = file::sibling(&resolved, suffix);
        let mode = std::fs::metadata(&file).ok()?.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then_some((file, mode))
    });
    let folder = resolved.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Examination {
        writable: file::refuse_read_only(path, &beside),
        around: Some(Around {
            missing_folder: (!folder.is_dir()).then(|| folder.to_owned()),
            file_system: refuse_network_file_system(file),
            open_to_others: open_to_others.collect(),
            free_bytes: rustix::fs::statvfs(&place).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }),
        contents: read(file).transpose(),
        changed_by: Lock::holder(location, Purpose::Change),
        audited_by: Lock::holder(location, Purpose::Audit),
    }
}

fn read(file: &LedgerFile) -> Result<Option<Contents>, LedgerError> {
    // What the file system forbids is told once, and the file read all the same: nothing is locked for that.
    let Some(reader) = Reader::open(&Location::file(&file.path, true))? else {
        return Ok(None);
    };
    Ok(Some(Contents {
        version: reader.run_query(|connection| connection.query_row("PRAGMA user_version", (), |row| row.get(0)))?,
        newest: MIGRATIONS.len() as i64,
        flaws: reader.run_query(|connection| {
            let mut found = connection.query_all("PRAGMA quick_check(3)", (), |row| row.get::<String>(0))?;
            found.retain(|text| text != "ok");
            Ok(found)
        })?,
        entries: reader.counts()?.entries,
    }))
}

fn of_server(server: &Server, location: &Location) -> Examination {
    let contents = Reader::open(location).and_then(|reader| {
        let Some(reader) = reader else { return Ok(None) };
        Ok(Some(Contents {
            version: reader
                .run_query(|connection| connection.query_row("SELECT version FROM meta", (), |row| row.get(0)))?,
            newest: served::MIGRATIONS.len() as i64,
            flaws: Vec::new(),
            entries: reader.counts()?.entries,
        }))
    });
    Examination {
        writable: served::examine(server),
        around: None,
        contents: contents.transpose(),
        changed_by: Lock::holder(location, Purpose::Change),
        audited_by: Lock::holder(location, Purpose::Audit),
    }
}
