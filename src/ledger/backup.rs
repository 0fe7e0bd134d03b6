//! `ledger backup`: a copy of one moment, while an apply may run.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::read::Reader;
use super::records::{Copied, Counts};
use super::{LedgerError, LedgerFile, Location, file};

/// Pages copied between two looks at whether to go on.
const PAGES: i32 = 1024;

/// Copies the ledger to a new file of its owner's only, and reads the copy back. A file that is there stays. `None` where
/// it was stopped before the copy was whole; then nothing is left of it.
pub fn back_up(location: &Location, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Option<Copied>, LedgerError> {
    match location {
        Location::File(file) => back_up_file(file, to, is_stopped),
        Location::Server(server) => Err(LedgerError::Server {
            ledger: server.to_string(),
            detail: "a backup of a server's ledger is made by its own tools".to_owned(),
        }),
    }
}

fn back_up_file(file: &LedgerFile, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Option<Copied>, LedgerError> {
    let beside = file::sibling(to, &format!(".{}.tmp", std::process::id()));
    let copied = copy(file, &beside, is_stopped).and_then(|copied| {
        // Unlike a rename, a link never takes the place of a file.
        if copied.is_some() {
            fs::hard_link(&beside, to).map_err(|e| LedgerError::io(to, &e))?;
        }
        Ok(copied)
    });
    for suffix in ["", "-journal", "-wal", "-shm"] {
        // Mostly there is none.
        let _ = fs::remove_file(file::sibling(&beside, suffix));
    }
    let Some(copied) = copied? else { return Ok(None) };
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| LedgerError::io(to, &e))?;
    Ok(Some(copied))
}

fn copy(from: &LedgerFile, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Option<Copied>, LedgerError> {
    let Some(counts) = write(from, to, is_stopped)? else { return Ok(None) };
    let copy = Reader::require(&Location::file(to, true))?;
    let wrong = |detail: String| LedgerError::Corrupt { path: from.path.display().to_string(), detail };
    if let Some(flaw) = copy.check()?.into_iter().find(|flaw| flaw.rule == "integrity") {
        return Err(wrong(format!("its copy is damaged: {}", flaw.message)));
    }
    let copied = copy.counts()?;
    if copied != counts {
        return Err(wrong("its copy holds other rows than it does".to_owned()));
    }
    let bytes = fs::metadata(to).map_err(|e| LedgerError::io(to, &e))?.len();
    Ok(Some(Copied { identity: copy.identity()?, bytes, counts }))
}

/// Rows are counted and copied in one read transaction: whoever writes meanwhile is not seen.
fn write(file: &LedgerFile, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Option<Counts>, LedgerError> {
    let failed = |e: rusqlite::Error| LedgerError::sqlite(&file.path, &e);
    // A connection that may write clears its log away when it closes.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = file::connect(&file.path, flags)?;
    let snapshot = from.unchecked_transaction().map_err(failed)?;
    let [entries, attempts, answers, evidence, runs, outcomes] = {
        let row = |row: &rusqlite::Row<'_>| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
        };
        snapshot.query_row(super::read::COUNTS, [], row).map_err(failed)?
    };
    let counts = Counts { entries, attempts, answers, evidence, runs, outcomes };
    file::create_private(to)?;
    let mut copy = Connection::open_with_flags(to, flags).map_err(|e| LedgerError::sqlite(to, &e))?;
    let backup = Backup::new(&snapshot, &mut copy).map_err(failed)?;
    while !is_stopped() {
        match backup.step(PAGES).map_err(failed)? {
            StepResult::Done => return Ok(Some(counts)),
            StepResult::More => {}
            other => return Err(LedgerError::io(to, &format!("the copy was not finished: {other:?}"))),
        }
    }
    Ok(None)
}
