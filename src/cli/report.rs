//! `report`: earlier runs, from the ledger.

use std::fmt::Write as _;

use super::args::{Global, ReportArgs};
use super::view::Shown;
use super::{Failure, setup};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::Reader;
use crate::ledger::records::{Run, RunId};
use crate::report::RunsDocument;
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
        None => runs.iter().rfind(is_reported),
        Some(id) => runs.iter().find(|run| run.id == RunId(id)),
    };
    let Some(run) = run else {
        return Err(
            Failure::new(Condition::Usage, "there is no such run").with_help("`didit-sync report --list` lists them")
        );
    };
    let shown = Shown::earlier(run, reader.run_outcomes(run.id)?, reader.run_findings(run.id)?);
    // The report's own exit: that of the run it shows is in the document.
    shown.show(&args.output, console).map(|_| Exit::ok())
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
