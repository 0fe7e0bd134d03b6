//! Whether the files of a ledger are still where they were opened.
//!
//! A file that is removed or replaced under a running process stays open there, and SQLite goes on writing into what
//! nobody will ever read again. So the writer looks, after each commit and before it acknowledges it, whether the
//! ledger, its log and its lock are still the files that it opened: one call of the system for each.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{LedgerError, file, place};

/// What a file is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(facts: &fs::Metadata) -> Self {
        Self { device: facts.dev(), inode: facts.ino() }
    }

    /// The file at a path, if there is one.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|facts| Self::of(&facts))
    }
}

/// One file and what it has to be; unknown until it is first looked at.
#[derive(Clone, Debug)]
struct Watched {
    what: &'static str,
    path: PathBuf,
    id: Option<FileId>,
}

/// The files that a writer depends on.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    ledger: PathBuf,
    files: Vec<Watched>,
}

impl Watch {
    /// Watches the file at this path, as it is now: called before it is opened.
    pub(super) fn new(ledger: &Path) -> Self {
        let path = place::resolve(ledger);
        let id = FileId::at(&path);
        Self { ledger: ledger.to_owned(), files: vec![Watched { what: "its file", path, id }] }
    }

    /// Watches the write-ahead log and its index, too, which SQLite makes with the first transaction.
    pub(super) fn add_log(&mut self) {
        let path = self.files[0].path.clone();
        for suffix in ["-wal", "-shm"] {
            self.files.push(Watched { what: "its log", path: file::sibling(&path, suffix), id: None });
        }
    }

    /// Watches a lock.
    pub(super) fn add_lock(&mut self, path: &Path, id: FileId) {
        self.files.push(Watched { what: "its lock", path: path.to_owned(), id: Some(id) });
    }

    /// Looks at all files. The first that is another one, or none, is told.
    pub(super) fn check(&mut self) -> Result<(), LedgerError> {
        for file in &mut self.files {
            let found = FileId::at(&file.path);
            file.id = file.id.or(found);
            if found.is_none() || file.id != found {
                return Err(LedgerError::Displaced {
                    path: self.ledger.display().to_string(),
                    what: file.what,
                    saved: None,
                });
            }
        }
        Ok(())
    }

    /// Whether the ledger's own file is still there.
    pub(super) fn has_ledger(&self) -> bool {
        FileId::at(&self.files[0].path) == self.files[0].id
    }
}
