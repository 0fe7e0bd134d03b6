//! `report`: earlier runs, from the ledger.

use std::fmt::Write as _;

use super::args::{Global, ReportArgs};
use super::{Failure, setup, view};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::Reader;
use crate::ledger::records::{Run, RunId};
use crate::report::{Report, RunsDocument};
use crate::text::inert;

pub(super) fn run(args: &ReportArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let reader = Reader::require(&setup::location(global))?;
    let runs = reader.runs()?;
    if args.list {
        if args.output.json.json {
            console.json(&RunsDocument::new(&runs));
        } else {
            console.out(&list(&runs));
        }
        return Ok(Exit::ok());
    }
    let is_reported = |run: &&Run| matches!(run.command.as_str(), "apply" | "audit");
    let run = match args.run {
        None => runs.iter().rfind(is_reported).map(|run| run.id),
        Some(id) => Some(RunId(id)),
    };
    let report = run.map(|run| Report::read(&reader, run)).transpose()?.flatten();
    let Some(report) = report else {
        return Err(
            Failure::new(Condition::Usage, "there is no such run").with_help("`didit-sync report --list` lists them")
        );
    };
    // The report's own exit: that of the run it shows is in the document.
    match args.format {
        Some(kind) => console.out(&kind.render(&report).map_err(|error| view::broken(&error))?),
        None => view::show(&report, args.output.json.json, console)?,
    }
    let mut exit = Exit::ok();
    exit.add_if(!view::write_all(&report, &args.output.reports, console)?, Condition::Internal);
    Ok(exit)
}

fn list(runs: &[Run]) -> String {
    let mut out = String::new();
    for run in runs {
        let end = run.end.as_ref().map_or_else(
            || "did not end".to_owned(),
            |end| format!("exit {}", Exit::from_stored(&end.conditions).code()),
        );
        let started = run.started_at.round(jiff::Unit::Second).unwrap_or(run.started_at);
        let actor = inert(&run.origin.actor);
        let reason = run.origin.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", inert(reason)));
        let _ = writeln!(out, "{:>5}  {started}  {:<14} {end:<12} {actor}{reason}", run.id.0, run.command);
    }
    out
}
