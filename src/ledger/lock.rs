//! The lock: one `apply` or repair, and one `audit`, at a time per ledger.
//!
//! For a file: an exclusive lock on another file beside it, which the kernel releases with the process, however it dies. The
//! file's content names the holder for whoever comes second; the lock, not the content, decides. On a server: see `served`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::served::{self, Session};
use super::watch::{FileId, Watch};
use super::{LedgerError, LedgerFile, Location, file, place};

/// What the lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `apply`: on a server, beside others.
    Apply,
    /// Repairs.
    Change,
    /// `audit`: only another audit is kept out.
    Audit,
}

/// The lock, released when dropped.
#[derive(Debug)]
pub struct Lock(Held);

#[derive(Debug)]
enum Held {
    File(FileLock),
    /// The session goes on in the ledger that is opened with it, and so does its lock.
    Server(Mutex<Option<Box<Session>>>),
}

impl Lock {
    /// Takes the lock, waiting for it at most `wait`.
    pub fn take(location: &Location, purpose: Purpose, wait: Duration) -> Result<Self, LedgerError> {
        match location {
            Location::File(file) => FileLock::take(file, purpose, wait).map(|lock| Self(Held::File(lock))),
            Location::Server(server) => {
                let mut session = Session::open(server)?;
                session.lock(purpose, wait)?;
                Ok(Self(Held::Server(Mutex::new(Some(Box::new(session))))))
            }
        }
    }

    /// Who holds the lock now, if anybody does. Changes nothing.
    pub fn holder(location: &Location, purpose: Purpose) -> Result<Option<String>, LedgerError> {
        match location {
            Location::File(file) => FileLock::holder(file, purpose),
            Location::Server(server) => {
                let Some(connection) = served::open_for_reading(server)? else { return Ok(None) };
                served::holder(&connection, purpose).map_err(|error| LedgerError::of(location, &error))
            }
        }
    }

    /// Has the lock's own file watched: without it, anybody could take the lock a second time.
    pub(super) fn add_to(&self, watch: &mut Watch) {
        if let Held::File(lock) = &self.0 {
            watch.add_lock(&lock.path, lock.id);
        }
    }

    /// An error where the lock was lost: its file is another, or its session has ended.
    pub(super) fn confirm(&self) -> Result<(), LedgerError> {
        match &self.0 {
            Held::File(lock) if FileId::at(&lock.path) == Some(lock.id) => Ok(()),
            Held::File(lock) => {
                let path = lock.path.display().to_string();
                Err(LedgerError::Displaced { path, what: "its lock", saved: None })
            }
            Held::Server(session) => match &*session.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(session) => {
                    let asked = session.read(|connection| connection.query_row("SELECT 1", (), |_| Ok(())));
                    asked.map_err(|error| session.failure(&error))
                }
                None => Ok(()),
            },
        }
    }

    /// The session that holds the lock, for whoever is to write with it.
    pub(super) fn session(&self) -> Option<Box<Session>> {
        match &self.0 {
            Held::File(_) => None,
            Held::Server(session) => session.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

#[derive(Debug)]
struct FileLock {
    path: PathBuf,
    id: FileId,
    _file: File,
}

/// How long somebody may look whether the lock is held, which keeps others out.
const GLANCE: Duration = Duration::from_millis(50);

/// More than any holder writes.
const MAX_HOLDER: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Holder {
    host: String,
    pid: u32,
    since: Timestamp,
}

impl FileLock {
    fn take(location: &LedgerFile, purpose: Purpose, wait: Duration) -> Result<Self, LedgerError> {
        file::prepare_folder(location)?;
        let path = path(location, purpose);
        let io = |error: std::io::Error| LedgerError::io(&location.path, &error);
        let deadline = Instant::now() + wait.max(GLANCE);
        loop {
            let mut lock = open(&path).map_err(io)?;
            match lock.try_lock() {
                Ok(()) => {
                    let id = FileId::of(&lock.metadata().map_err(io)?);
                    // Whoever removed the file while we waited made it lock nothing.
                    if FileId::at(&path) == Some(id) {
                        sign(&mut lock, &location.path)?;
                        return Ok(Self { path, id, _file: lock });
                    }
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = describe_holder(&mut lock);
                    return Err(LedgerError::Locked { path: location.path.display().to_string(), holder });
                }
                Err(TryLockError::Error(e)) => return Err(io(e)),
            }
        }
    }

    /// The lock's file is not made, and whoever comes for the lock meanwhile waits for this glance.
    fn holder(location: &LedgerFile, purpose: Purpose) -> Result<Option<String>, LedgerError> {
        let mut lock = match File::open(path(location, purpose)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io(&location.path, &error)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(describe_holder(&mut lock))),
            Err(TryLockError::Error(error)) => Err(LedgerError::io(&location.path, &error)),
        }
    }
}

fn path(location: &LedgerFile, purpose: Purpose) -> PathBuf {
    let suffix = match purpose {
        Purpose::Change | Purpose::Apply => ".lock",
        Purpose::Audit => ".audit.lock",
    };
    file::sibling(&place::resolve(&location.path), suffix)
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn sign(lock: &mut File, ledger: &Path) -> Result<(), LedgerError> {
    let holder = Holder { host: crate::host::name(), pid: std::process::id(), since: Timestamp::now() };
    let text = serde_json::to_string(&holder).map_err(|e| LedgerError::io(ledger, &e))?;
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(text.as_bytes()))
        .map_err(|e| LedgerError::io(ledger, &e))
}

fn describe_holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(MAX_HOLDER).read_to_string(&mut text));
    match read.ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok()) {
        Some(Holder { host, pid, since }) => {
            let since = since.round(jiff::Unit::Second).unwrap_or(since);
            format!("pid {pid} on {}, since {since}", crate::text::inert(&host))
        }
        None => "a process that has just begun".to_owned(),
    }
}
