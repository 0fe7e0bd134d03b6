//! `status`: what the ledger knows.
//!
//! Entries pass by once, in order, and are written as they are read: of a ledger of any size a few hundred are in memory.

use std::collections::HashMap;
use std::io;

use super::args::{Global, StatusArgs};
use super::{Failure, setup};
use crate::console::{Console, Style};
use crate::exit::Exit;
use crate::ledger::records::{Run, RunId};
use crate::ledger::{LedgerError, Reader, Which};
use crate::report::{Entries, LedgerRef, StatusDocument, StatusEntry, text};

pub(super) fn run(args: &StatusArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let reader = Reader::require(&setup::location(global)?)?;
    let which = which(args, &reader)?;
    let is_listed = args.json.json || args.csv || !args.ids.is_empty();
    if !is_listed && args.state.is_none() && console.style().verbose == 0 {
        console.out(&text::totals(&reader.state_totals()?));
        return Ok(Exit::ok());
    }
    if !is_listed {
        lines(&reader, which, console)?;
        return Ok(Exit::ok());
    }
    let runs: HashMap<RunId, Run> = reader.runs()?.into_iter().map(|run| (run.id, run)).collect();
    if args.csv {
        csv(&reader, which, &runs, console)?;
    } else if args.json.json {
        return document(&reader, which, &runs, &Exit::ok(), console);
    } else {
        for listed in reader.listed(which)? {
            let listed = listed?;
            console.out(&text::entry(&listed.record, &listed.attempts, runs.get(&listed.record.run)));
        }
    }
    Ok(Exit::ok())
}

/// The document of entries. Where the ledger turns out to be damaged once it is begun, it says so at its end.
pub(super) fn document(
    reader: &Reader,
    which: Which,
    runs: &HashMap<RunId, Run>,
    exit: &Exit,
    console: &Console,
) -> Result<Exit, Failure> {
    let ledger = LedgerRef::new(Some(&reader.identity()?));
    let counts = reader.state_counts()?;
    let entries = Entries::new(reader.listed(which)?, runs);
    console.json(&StatusDocument::new(ledger, &counts, &entries, exit));
    let Some(error) = entries.failed() else { return Ok(exit.clone()) };
    let failure = Failure::from(error);
    failure.say(console);
    Ok(failure.exit)
}

/// Which entries are asked for.
fn which(args: &StatusArgs, reader: &Reader) -> Result<Which, Failure> {
    if args.ids.is_empty() {
        return Ok(args.state.map_or(Which::All, Which::In));
    }
    let named = reader.named(&args.ids)?;
    if let Some(id) = args.ids.iter().zip(&named).find_map(|(id, found)| found.is_empty().then_some(id)) {
        return Err(setup::nothing_named(id));
    }
    let named = named.into_iter().flatten().filter(|(_, state)| args.state.is_none_or(|asked| *state == asked));
    Ok(Which::These(reader.ordered(named.map(|(id, _)| id))?))
}

/// One line for each entry.
fn lines(reader: &Reader, which: Which, console: &Console) -> Result<(), LedgerError> {
    let style: Style = console.style();
    let mut measure = text::EntryMeasure::default();
    reader.see_lines(&which, |line| measure.see(line))?;
    let lines = measure.lines(style);
    let mut entries = reader.lines(which)?;
    written(console, |to| {
        to.write_all(lines.head().as_bytes())?;
        for entry in entries.by_ref() {
            match entry {
                Ok(entry) => to.write_all(lines.line(&entry).as_bytes())?,
                Err(error) => return Ok(Some(error)),
            }
        }
        Ok(None)
    })
}

fn csv(reader: &Reader, which: Which, runs: &HashMap<RunId, Run>, console: &Console) -> Result<(), LedgerError> {
    let mut entries = reader.listed(which)?;
    written(console, |to| {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(StatusEntry::CSV_HEADER)?;
        for listed in entries.by_ref() {
            match listed {
                Ok(it) => {
                    let entry = StatusEntry::new(&it.record, &it.attempts, runs.get(&it.record.run));
                    writer.write_record(entry.csv_cells())?;
                }
                Err(error) => return writer.flush().map(|()| Some(error)),
            }
        }
        writer.flush().map(|()| None)
    })
}

/// Writes to stdout what is read meanwhile, up to where the ledger can't be read.
fn written(
    console: &Console,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<Option<LedgerError>>,
) -> Result<(), LedgerError> {
    let mut failed = None;
    console.fill(|to| {
        failed = write(to)?;
        Ok(())
    });
    failed.map_or(Ok(()), Err)
}
