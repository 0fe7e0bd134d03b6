//! The ledger: known state, in one SQLite file or in PostgreSQL.
//!
//! This is the one place that names databases. Its interface is small and in plain types (`records`), since the
//! promises above it (spec section 6) must not depend on which database keeps them. Inside, what both do alike is
//! written once, on `db`; the file is made by `file`, the server reached by `server`.
//!
//! - **Durability.** WAL with `synchronous=FULL`: a call that has returned survives a power cut. Intents and
//!   outcomes of all workers go through one writer thread, which commits what has gathered in one transaction and
//!   acknowledges each call only after the commit (`writer`). When the disk is slow, callers wait, and so does
//!   sending.
//! - **Locking.** A file has one `apply` or repair at a time, by a lock that the kernel releases with the process
//!   (`lock`). `audit` doesn't take it but for an acceptance; its short writes are serialised by SQLite itself. On a
//!   server, applies work side by side: each claims the entries that it works on (`claims`) and draws on one budget for
//!   each key (`grants`); repairs have the ledger to themselves, by locks of the server (`served`).
//! - **A server that is away** is waited for, and so is sending; what was answered meanwhile is kept on this machine
//!   (`spool`).
//! - **Secrets.** No token, no key and no personal data is ever passed in here: tokens and keys arrive as
//!   [`Fingerprint`](crate::token::Fingerprint)s, texts of the server as recognised phrases.
//! - **Failure.** Every error is a [`LedgerError`], exit 12 (11 for the lock); nothing degrades to a warning.

mod backup;
mod bulk;
mod check;
mod claims;
mod db;
mod erase;
mod examine;
mod file;
mod findings;
mod grants;
mod imports;
mod lock;
mod moving;
mod outcomes;
mod pass;
mod past;
mod period;
mod place;
mod plans;
mod read;
pub mod records;
mod rules;
mod sends;
mod served;
mod server;
mod spans;
mod spool;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;
mod transfer;
mod up_to_date;
mod walk;
mod watch;
mod writer;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use backup::back_up;
pub use check::check_rules;
pub use claims::{Claim, Seen, Wanted};
pub use erase::{scrub, token_hash};
pub use examine::{Around, Contents, Examination, examine};
pub use findings::{Acceptance, Verdict};
pub use lock::{Lock, Purpose};
pub use moving::{Moved, move_to};
pub use outcomes::Outcomes;
pub use plans::{PlanPast, RunRef};
pub use read::Reader;
pub use rules::{EntryRules, KeptRules};
pub use server::{Server, ServerError};
pub use store::Ledger;
pub use timeline::Sends;
pub use transfer::Held;
pub use walk::{Auditable, Auditables, Line, Listed, Walk, Which};

/// Where a ledger is.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a file of this machine.
    File(LedgerFile),
    /// On a server.
    Server(Box<Server>),
}

/// A ledger's file.
#[derive(Clone, Debug)]
pub struct LedgerFile {
    /// Where it is.
    pub path: PathBuf,
    /// `--allow-network-fs`.
    pub allow_network_fs: bool,
}

impl Location {
    /// A file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>, allow_network_fs: bool) -> Self {
        Self::File(LedgerFile { path: path.into(), allow_network_fs })
    }

    /// The same; a server may be away for so long in the middle of a run.
    #[must_use]
    pub fn waiting(self, patience: Duration) -> Self {
        match self {
            Self::Server(server) => Self::Server(Box::new(server.waiting(patience))),
            file @ Self::File(_) => file,
        }
    }

    /// What `--ledger` names: a URL of a server, or a file. `env` gives environment variables.
    pub fn parse(
        named: &Path,
        allow_network_fs: bool,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, LedgerError> {
        match named.to_str().filter(|text| Server::is_named(text)) {
            Some(url) => Ok(Self::Server(Box::new(Server::parse(url, env)?))),
            None => Ok(Self::file(named, allow_network_fs)),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.path.display().fmt(out),
            Self::Server(server) => server.fmt(out),
        }
    }
}

/// Why the ledger can't be used. Exit 12, but [`LedgerError::Locked`], which is 11.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// No file where one is required.
    #[error("there is no ledger at {0}")]
    Missing(String),
    /// Another run holds it.
    #[error("another run holds the ledger {path}: {holder}")]
    Locked {
        /// The ledger.
        path: String,
        /// Host, pid and since when.
        holder: String,
    },
    /// Written by a newer version of the program.
    #[error("the ledger {0} was written by a newer didit-sync; use that version")]
    Newer(String),
    /// Damaged, or no ledger at all.
    #[error("the ledger {path} is damaged or not a ledger: {detail}")]
    Corrupt {
        /// The ledger.
        path: String,
        /// What the database says.
        detail: String,
    },
    /// On a file system on which SQLite's locks can't be trusted.
    #[error("the ledger {path} is on a network file system ({kind})")]
    NetworkFileSystem {
        /// The ledger.
        path: String,
        /// The kind of file system.
        kind: String,
    },
    /// The file, its log or its lock was removed or replaced while this process used it.
    #[error("the ledger {path} is not what this run opened: {what} was removed or replaced meanwhile{}", saved_in(.saved.as_deref()))]
    Displaced {
        /// The ledger.
        path: String,
        /// Which of its files.
        what: &'static str,
        /// Where a copy of all that it held was saved.
        saved: Option<PathBuf>,
    },
    /// A `ledger move` to it has not ended.
    #[error("the ledger {0} is not whole: a `ledger move` to it goes on, or was broken off")]
    Incoming(String),
    /// What sessions are measured against is none.
    #[error("the ledger {ledger} is damaged: the baseline of {entry} can't be read")]
    Baseline {
        /// The ledger.
        ledger: String,
        /// The entry, and how many others.
        entry: String,
    },
    /// Something else is where a ledger was to be moved.
    #[error("the ledger can't be moved to {ledger}: {detail}")]
    Occupied {
        /// Where it was to be moved.
        ledger: String,
        /// What is there.
        detail: String,
    },
    /// A copy turned out to be another than it should be.
    #[error("the copy of the ledger {from} in {to} is not equal to it: {detail}")]
    Unequal {
        /// The ledger.
        from: String,
        /// Its copy.
        to: String,
        /// In what they differ.
        detail: String,
    },
    /// What `--ledger` names as a server can't be one.
    #[error("--ledger: {0}")]
    Url(#[from] ServerError),
    /// The server can't be reached, or refuses.
    #[error("the ledger {ledger} can't be used: {detail}")]
    Server {
        /// The server, without its password.
        ledger: String,
        /// What it says.
        detail: String,
    },
    /// The server stayed away for longer than a run waits, or came back as another.
    #[error("the ledger {ledger} can't be used: {detail}; what was answered and could not be recorded is kept in {}", .spool.display())]
    Away {
        /// The server, without its password.
        ledger: String,
        /// What it says.
        detail: String,
        /// Where that is which was answered meanwhile.
        spool: PathBuf,
    },
    /// The disk is full, the file or its folder is read-only, or the like.
    #[error("the ledger {path} can't be used: {detail}")]
    Io {
        /// The ledger.
        path: String,
        /// What the system says.
        detail: String,
    },
}

impl LedgerError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Missing(_) => "run `didit-sync apply` first, or point --ledger at the right file",
            Self::Locked { .. } => "wait for it to end, or pass --wait-lock 10m",
            Self::Newer(_) => "upgrade didit-sync; nothing was changed",
            Self::Corrupt { .. } => "restore the last backup; nothing was changed",
            Self::Baseline { .. } => {
                "restore the last backup; `didit-sync ledger check` names all that can't; the others are judged, but nothing is accepted"
            }
            Self::NetworkFileSystem { .. } => {
                "move it to a local disk, or pass --allow-network-fs if you know that its locks work"
            }
            Self::Displaced { .. } => {
                "keep this output, which names every session of this run; put the ledger back where it was, and run again"
            }
            Self::Incoming(_) => {
                "run the same `ledger move` again, which goes on; until it has ended, use the ledger that is moved"
            }
            Self::Occupied { .. } => "name a new file, or a database without a ledger; nothing was changed",
            Self::Unequal { .. } => {
                "go on with the ledger as it is, which was not changed; run `ledger check`, then the same command again, which begins anew"
            }
            Self::Url(error) => error.help(),
            Self::Server { .. } => {
                "see that the database runs, and lets this user in and write, then run again: nothing that was recorded is lost"
            }
            Self::Away { .. } => {
                "see that the database runs, and lets this user in and write, then run again on this machine, which records it first"
            }
            Self::Io { .. } => {
                "free space or correct the permissions, then run again: nothing that was recorded is lost"
            }
        }
    }

    /// The same, with word of where a copy is.
    fn saved_to(self, copy: PathBuf) -> Self {
        match self {
            Self::Displaced { path, what, .. } => Self::Displaced { path, what, saved: Some(copy) },
            other => other,
        }
    }

    fn io(path: &Path, error: &dyn fmt::Display) -> Self {
        Self::Io { path: path.display().to_string(), detail: error.to_string() }
    }

    /// The same, with word of what waits on this machine.
    fn spooled_to(self, spool: PathBuf) -> Self {
        match self {
            Self::Server { ledger, detail } => Self::Away { ledger, detail, spool },
            other => other,
        }
    }

    /// What the database's error means for a ledger.
    fn of(location: &Location, error: &db::Error) -> Self {
        match (location, error) {
            (Location::Server(server), _) => Self::of_server(server, error),
            (Location::File(file), db::Error::Sqlite(error)) => Self::sqlite(&file.path, error),
            // Values that this program can't have written.
            (Location::File(_), db::Error::NoRow | db::Error::Unreadable(_)) => {
                Self::Corrupt { path: location.to_string(), detail: error.to_string() }
            }
            (Location::File(file), _) => Self::io(&file.path, error),
        }
    }

    /// The same for one on a server.
    fn of_server(server: &Server, error: &db::Error) -> Self {
        let (ledger, detail) = (server.to_string(), error.to_string());
        match error {
            db::Error::NoRow | db::Error::Unreadable(_) => Self::Corrupt { path: ledger, detail },
            _ => Self::Server { ledger, detail },
        }
    }

    fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        if matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) {
            return Self::Corrupt { path: path.display().to_string(), detail: error.to_string() };
        }
        Self::io(path, error)
    }
}

fn saved_in(copy: Option<&Path>) -> String {
    copy.map_or_else(String::new, |copy| format!("; all that it held is in {}", copy.display()))
}
