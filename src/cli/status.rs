//! `status`: what the ledger knows.

use std::collections::HashMap;

use super::args::{Global, StatusArgs};
use super::{Failure, setup};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::Reader;
use crate::ledger::records::{Record, Run, RunId};
use crate::report::{LedgerRef, StatusDocument, StatusEntry, text};

pub(super) fn run(args: &StatusArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let reader = Reader::require(&setup::location(global))?;
    let records = reader.records()?;
    let chosen = choose(args, &records)?;
    let runs: HashMap<RunId, Run> = reader.runs()?.into_iter().map(|run| (run.id, run)).collect();
    let exit = Exit::ok();
    if args.json.json || args.csv {
        let mut entries = Vec::with_capacity(chosen.len());
        for record in &chosen {
            entries.push(StatusEntry::new(record, reader.attempts(record.id)?, runs.get(&record.run)));
        }
        if args.csv {
            console.out(&csv(&entries)?);
        } else {
            let ledger = LedgerRef::new(Some(&reader.identity()?));
            console.json(&StatusDocument::new(ledger, &records, &entries, &exit));
        }
    } else if !args.ids.is_empty() {
        for record in &chosen {
            console.out(&text::entry(record, &reader.attempts(record.id)?, runs.get(&record.run)));
        }
    } else if args.state.is_some() || console.style().verbose > 0 {
        console.out(&text::entries(chosen.into_iter(), console.style()));
    } else {
        console.out(&text::totals(&records));
    }
    Ok(exit)
}

fn choose<'r>(args: &StatusArgs, records: &'r [Record]) -> Result<Vec<&'r Record>, Failure> {
    for id in &args.ids {
        if !records.iter().any(|record| record.is_named(id)) {
            return Err(setup::nothing_named(id));
        }
    }
    let mut chosen: Vec<&Record> = records
        .iter()
        .filter(|record| args.ids.is_empty() || args.ids.iter().any(|id| record.is_named(id)))
        .filter(|record| args.state.is_none_or(|state| record.state == state))
        .collect();
    chosen.sort_by(|a, b| (&a.label, &a.manifest).cmp(&(&b.label, &b.manifest)));
    Ok(chosen)
}

fn csv(entries: &[StatusEntry<'_>]) -> Result<String, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::new(Condition::Internal, error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(StatusEntry::CSV_HEADER).map_err(|error| broken(&error))?;
    for entry in entries {
        writer.write_record(entry.csv_cells()).map_err(|error| broken(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| broken(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
