//! The ledger: known state, in one SQLite file.
//!
//! This is the one place that names rusqlite. Its interface is small and in plain types (`records`), since the
//! promises above it (spec section 6) must not depend on which database keeps them.
//!
//! - **Durability.** WAL with `synchronous=FULL`: a call that has returned survives a power cut. Intents and
//!   outcomes of all workers go through one writer thread, which commits what has gathered in one transaction and
//!   acknowledges each call only after the commit (`writer`). When the disk is slow, callers wait, and so does
//!   sending.
//! - **Locking.** One `apply` or repair at a time, by a lock that the kernel releases with the process (`lock`).
//!   `audit` doesn't take it but for an acceptance; its short writes are serialised by SQLite itself.
//! - **Secrets.** No token, no key and no personal data is ever passed in here: tokens and keys arrive as
//!   [`Fingerprint`](crate::token::Fingerprint)s, texts of the server as recognised phrases.
//! - **Failure.** Every error is a [`LedgerError`], exit 12 (11 for the lock); nothing degrades to a warning.

mod backup;
mod check;
mod erase;
mod examine;
mod file;
mod findings;
mod imports;
mod lock;
mod pass;
mod past;
mod period;
mod place;
mod plans;
mod read;
pub mod records;
mod rules;
mod sends;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod timeline;
mod walk;
mod watch;
mod writer;

use std::path::{Path, PathBuf};

pub use backup::back_up;
pub use check::check_rules;
pub use erase::{scrub, token_hash};
pub use examine::{Contents, Examination, examine};
pub use findings::{Acceptance, Verdict};
pub use lock::{Lock, Purpose};
pub use plans::{PlanPast, RunRef};
pub use read::Reader;
pub use rules::{EntryRules, KeptRules};
pub use server::{Server, ServerError};
pub use store::Ledger;
pub use timeline::Sends;
pub use walk::{Auditable, Auditables, Line, Listed, Walk, Which};

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// `--allow-network-fs`.
    pub allow_network_fs: bool,
}

/// Why the ledger can't be used. Exit 12, but [`LedgerError::Locked`], which is 11.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// No file where one is required.
    #[error("there is no ledger at {0}")]
    Missing(PathBuf),
    /// Another run holds it.
    #[error("another run holds the ledger {path}: {holder}")]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// Host, pid and since when.
        holder: String,
    },
    /// Written by a newer version of the program.
    #[error("the ledger {0} was written by a newer didit-sync; use that version")]
    Newer(PathBuf),
    /// Damaged, or no ledger at all.
    #[error("the ledger {path} is damaged or not a ledger: {detail}")]
    Corrupt {
        /// The ledger.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// On a file system on which SQLite's locks can't be trusted.
    #[error("the ledger {path} is on a network file system ({kind})")]
    NetworkFileSystem {
        /// The ledger.
        path: PathBuf,
        /// The kind of file system.
        kind: String,
    },
    /// The file, its log or its lock was removed or replaced while this process used it.
    #[error("the ledger {path} is not what this run opened: {what} was removed or replaced meanwhile{}", saved_in(.saved.as_deref()))]
    Displaced {
        /// The ledger.
        path: PathBuf,
        /// Which of its files.
        what: &'static str,
        /// Where a copy of all that it held was saved.
        saved: Option<PathBuf>,
    },
    /// The disk is full, the file or its folder is read-only, or the like.
    #[error("the ledger {path} can't be used: {detail}")]
    Io {
        /// The ledger.
        path: PathBuf,
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
            Self::NetworkFileSystem { .. } => {
                "move it to a local disk, or pass --allow-network-fs if you know that its locks work"
            }
            Self::Displaced { .. } => {
                "keep this output, which names every session of this run; put the ledger back where it was, and run again"
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

    fn io(path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self::Io { path: path.to_owned(), detail: error.to_string() }
    }

    fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::Error;
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let is_damage = matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase));
        // A value that this program can't have written.
        let is_nonsense = matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::QueryReturnedNoRows
        );
        if is_damage || is_nonsense {
            return Self::Corrupt { path: path.to_owned(), detail: error.to_string() };
        }
        Self::io(path, error)
    }
}

fn saved_in(copy: Option<&Path>) -> String {
    copy.map_or_else(String::new, |copy| format!("; all that it held is in {}", copy.display()))
}
