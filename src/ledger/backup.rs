//! `ledger backup`: a copy of one moment, while an apply may run.

use std::fs;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::read::Reader;
use super::records::{Copied, Counts};
use super::{LedgerError, LedgerFile, Location, Server, db, file, served, transfer};

/// Pages copied between two looks at whether to go on.
const PAGES: i32 = 1024;

/// Copies the ledger to a new file of its owner's only, and reads the copy back. A file that is there stays. `None` where
/// it was stopped before the copy was whole; then nothing is left of it.
pub fn back_up(location: &Location, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Option<Copied>, LedgerError> {
    match location {
        Location::File(file) => back_up_file(file, to, is_stopped),
        Location::Server(server) => back_up_server(location, server, to, is_stopped),
    }
}

/// A file that holds what the server did at one moment, whatever is written there meanwhile.
fn back_up_server(
    location: &Location,
    server: &Server,
    to: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<Copied>, LedgerError> {
    let failed = |error: db::Error| LedgerError::of(location, &error);
    let missing = || LedgerError::Missing(location.to_string());
    let from = served::open_for_reading(server)?.ok_or_else(missing)?;
    let _as_of_one_moment = from.begin_reading().map_err(failed)?;
    let Some(held) = transfer::held(&from, is_stopped).map_err(failed)? else { return Ok(None) };
    make_beside(to, |beside| {
        let made = transfer::make_file(&from, location, beside, &held, is_stopped)?;
        made.map(|()| read_back(location, beside)).transpose()
    })
}

fn back_up_file(file: &LedgerFile, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Option<Copied>, LedgerError> {
    make_beside(to, |beside| {
        let Some(counts) = write(file, beside, is_stopped)? else { return Ok(None) };
        let location = Location::File(file.clone());
        let copied = read_back(&location, beside)?;
        if copied.counts != counts {
            return Err(wrong(&location, "its copy holds other rows than it does".to_owned()));
        }
        Ok(Some(copied))
    })
}

/// Makes a file under another name, and gives it its own once it is whole; otherwise nothing is left of it.
fn make_beside(
    to: &Path,
    make: impl FnOnce(&Path) -> Result<Option<Copied>, LedgerError>,
) -> Result<Option<Copied>, LedgerError> {
    let beside = file::sibling(to, &format!(".{}.tmp", std::process::id()));
    let copied = make(&beside).and_then(|copied| {
        if copied.is_some() {
            transfer::name(&beside, to)?;
        }
        Ok(copied)
    });
    transfer::discard(&beside);
    copied
}

fn wrong(location: &Location, detail: String) -> LedgerError {
    LedgerError::Corrupt { path: location.to_string(), detail }
}

/// Reads a copy as everyone would.
fn read_back(of: &Location, copy: &Path) -> Result<Copied, LedgerError> {
    let reader = Reader::require(&Location::file(copy, true))?;
    if let Some(flaw) = reader.check()?.into_iter().find(|flaw| flaw.rule == "integrity") {
        return Err(wrong(of, format!("its copy is damaged: {}", flaw.message)));
    }
    let bytes = fs::metadata(copy).map_err(|e| LedgerError::io(copy, &e))?.len();
    Ok(Copied { identity: reader.identity()?, bytes, counts: reader.counts()? })
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
