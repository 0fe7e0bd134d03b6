//! `report`: earlier runs, from the ledger.

use std::fmt::Write as _;
use std::rc::Rc;

use jiff::Timestamp;

use super::args::{Global, ReportArgs};
use super::{Failure, setup, view};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::Reader;
use crate::ledger::records::{Run, RunId};
use crate::report::{Kind, Period, RenderError, Report, RunsDocument, file, markdown};
use crate::text::inert;

pub(super) fn run(args: &ReportArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let reader = Rc::new(Reader::require(&setup::location(global)?)?);
    let runs = reader.runs()?;
    if args.list {
        if args.output.json.json {
            console.json(&RunsDocument::new(&runs));
        } else {
            console.out(&list(&runs));
        }
        return Ok(Exit::ok());
    }
    if args.since.is_some() || args.until.is_some() {
        return period(args, &reader, console);
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
        Some(kind) => console.fill(|to| match kind.write(&report, to) {
            // Told below.
            Err(RenderError::Ledger(_)) => Ok(()),
            written => Ok(written?),
        }),
        None => view::show(&report, args.output.json.json, console),
    }
    if let Some(error) = report.outcomes.failed() {
        let failure = Failure::from(error);
        if args.format.is_some() || !args.output.json.json {
            return Err(failure);
        }
        // The document says so at its end, and there is but one.
        failure.say(console);
        return Ok(failure.exit);
    }
    let mut exit = Exit::ok();
    exit.add_if(!view::write_all(&report, &args.output.reports, console), Condition::Internal);
    Ok(exit)
}

/// A period instead of a run.
fn period(args: &ReportArgs, reader: &Reader, console: &Console) -> Result<Exit, Failure> {
    let until = args.until.unwrap_or_else(Timestamp::now);
    if args.since.is_some_and(|since| since >= until) {
        return Err(Failure::new(Condition::Usage, "--since has to be before --until"));
    }
    let kinds = args.format.into_iter().chain(args.output.reports.iter().map(|target| target.kind));
    if let Some(kind) = kinds.into_iter().find(|kind| !is_of_period(*kind)) {
        let message = format!("a period is reported as json, csv or markdown, not as {}", kind.as_str());
        return Err(Failure::new(Condition::Usage, message).with_help("name a run, for the other kinds"));
    }
    let period = Period::read(reader, args.since, until)?;
    match args.format {
        Some(kind) => console.out(&render(&period, kind).map_err(|error| view::broken(&error))?),
        None if args.output.json.json => console.json(&period.document()),
        None => console.out(&period.text()),
    }
    let mut exit = Exit::ok();
    for target in &args.output.reports {
        let written = if target.kind == Kind::Markdown {
            view::write_markdown(&target.path, |budget| period.markdown(budget))
        } else {
            file::write(&target.path, &render(&period, target.kind).map_err(|error| view::broken(&error))?, false)
        };
        if let Err(error) = written {
            Failure::unwritable(&target.path, &error).say(console);
            exit.add(Condition::Internal);
        }
    }
    Ok(exit)
}

fn is_of_period(kind: Kind) -> bool {
    matches!(kind, Kind::Json | Kind::Csv | Kind::Markdown)
}

fn render(period: &Period, kind: Kind) -> Result<String, RenderError> {
    match kind {
        Kind::Csv => period.csv(),
        Kind::Markdown => Ok(period.markdown(markdown::COMMENT)),
        _ => Ok(crate::text::json(&period.document())? + "\n"),
    }
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
