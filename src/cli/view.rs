//! Showing what a run came to: on stdout, and in report files.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::{fs, io};

use super::args::{Global, OutputArgs, ReportTarget};
use super::{Failure, setup};
use jiff::Timestamp;

use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{EntryId, Origin, Record, Run, RunError, RunOutcome};
use crate::ledger::{LedgerError, Location, Reader};
use crate::report::{Kind, Outcomes, RenderError, Report, file, markdown, text};
use crate::run::{Ran, Told};

/// Shows a run that has just ended, and writes its reports; its exit.
///
/// What is shown is what the run itself tells. Reports are of the ledger, so that they can be made again with the same
/// bytes; only where it could not take the run's end, they are of the run, too.
pub(super) fn show_run(
    command: &str,
    ran: Ran,
    origin: Origin,
    output: &OutputArgs,
    global: &Global,
    console: &Console,
) -> Exit {
    let run = Run { id: ran.run, command: command.to_owned(), started_at: ran.end.at, origin, end: None };
    // Where the ledger could not take the run's end, it is not asked for anything either.
    let is_kept = ran.exit.conditions().all(|condition| condition != Condition::Ledger);
    let outcomes = if output.json.json && is_kept { filled(&ran.outcomes, global) } else { told(&ran.outcomes) };
    let shown = Report {
        run,
        end: ran.end,
        outcomes,
        findings: ran.findings,
        states: Vec::new(),
        waiting: Vec::new(),
        sends: Vec::new(),
        writes_per_minute: None,
    };
    show(&shown, output.json.json, console);
    let mut exit = shown.exit();
    if let Some(error) = shown.outcomes.failed() {
        Failure::from(error).say(console);
        exit.add(Condition::Ledger);
    }
    if !output.reports.is_empty() {
        let report = kept(&shown, global).unwrap_or_else(|| Report { outcomes: told(&ran.outcomes), ..shown });
        exit.add_if(!write_all(&report, &output.reports, console), Condition::Internal);
    }
    exit
}

/// So many outcomes are held at once.
const PAGE: usize = 4000;

/// What a run tells of its entries by itself.
fn told(ran: &Arc<Told>) -> Outcomes {
    let told = Arc::clone(ran);
    Outcomes::new(counts(ran), move || Box::new(told.iter().map(Ok)))
}

fn counts(ran: &Told) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    ran.names().map(|(_, name)| (name, 1))
}

/// The same, with what the ledger knows of the sessions of entries that were as they should be.
fn filled(ran: &Arc<Told>, global: &Global) -> Outcomes {
    let (told, location) = (Arc::clone(ran), setup::location(global));
    Outcomes::new(counts(ran), move || {
        let (rows, location) = (Box::new(told.iter()), location.clone());
        Box::new(Filled { rows, location, reader: None, failed: None, page: Vec::new().into_iter() })
    })
}

/// Outcomes to which the ledger adds what it knows, many at a time. Where it can't be read, that is missing, and the error
/// comes behind all of them.
struct Filled {
    rows: Box<dyn Iterator<Item = RunOutcome>>,
    location: Result<Location, LedgerError>,
    reader: Option<Reader>,
    failed: Option<LedgerError>,
    page: std::vec::IntoIter<RunOutcome>,
}

impl Filled {
    fn next_page(&mut self) -> Vec<RunOutcome> {
        let mut page: Vec<RunOutcome> = self.rows.by_ref().take(PAGE).collect();
        let mut open: Vec<&mut RunOutcome> = page.iter_mut().filter(|it| it.is_as_it_was()).collect();
        open.sort_unstable_by_key(|it| it.entry);
        if !open.is_empty() && self.failed.is_none() {
            let ids: Vec<EntryId> = open.iter().filter_map(|it| it.entry).collect();
            match self.records(&ids) {
                Ok(records) => open.into_iter().zip(records).for_each(|(it, record)| {
                    it.session = record.session.or_else(|| it.session.take());
                }),
                Err(error) => self.failed = Some(error),
            }
        }
        page
    }

    fn records(&mut self, ids: &[EntryId]) -> Result<Vec<Record>, LedgerError> {
        if self.reader.is_none() {
            self.reader = Some(Reader::require(self.location.as_ref().map_err(Clone::clone)?)?);
        }
        self.reader.as_ref().map_or(Ok(Vec::new()), |reader| reader.records_of(ids))
    }
}

impl Iterator for Filled {
    type Item = Result<RunOutcome, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.as_slice().is_empty() {
            self.page = self.next_page().into_iter();
        }
        self.page.next().map(Ok).or_else(|| self.failed.take().map(Err))
    }
}

/// A run that has ended, as the ledger has it.
fn kept(told: &Report, global: &Global) -> Option<Report> {
    if told.exit().conditions().any(|condition| condition == Condition::Ledger) {
        return None;
    }
    let reader = Rc::new(Reader::require(&setup::location(global).ok()?).ok()?);
    Report::read(&reader, told.run.id).ok()?.filter(|report| report.run.end.is_some())
}

/// Writes the reports of a run that began at or after `since` and could not go on, if the ledger can be read; what is
/// said of it.
pub(super) fn broken_off(
    error: LedgerError,
    since: Timestamp,
    output: &OutputArgs,
    global: &Global,
    console: &Console,
) -> Failure {
    let read = || {
        let reader = Rc::new(Reader::require(&setup::location(global).ok()?).ok()?);
        let last = reader.runs().ok()?.pop()?;
        // The ledger keeps milliseconds.
        let is_this = last.end.is_none() && last.started_at.as_millisecond() >= since.as_millisecond();
        Report::read(&reader, last.id).ok()?.filter(|_| is_this)
    };
    let failure = Failure::from(error);
    if !output.reports.is_empty()
        && let Some(mut report) = read()
    {
        let (code, name) = (failure.exit.code(), failure.exit.name().to_owned());
        report.end.error = Some(RunError { code, name, message: failure.message.clone() });
        report.end.conditions = failure.exit.stored();
        // What can't be written is said; the failure itself counts for the exit.
        write_all(&report, &output.reports, console);
    }
    failure
}

/// Shows a run on stdout.
pub(super) fn show(report: &Report, json: bool, console: &Console) {
    if json {
        console.json(&report.document());
    } else {
        console.out(&report.with_view(|view| text::run(&report.run.command, &view, console.style())));
    }
}

/// Writes reports; whether all could be written. The run stands, whatever becomes of its reports.
pub(super) fn write_all(report: &Report, targets: &[ReportTarget], console: &Console) -> bool {
    let mut all = true;
    for target in targets {
        let written = if target.kind == Kind::Markdown {
            let written = write_markdown(&target.path, |budget| markdown::run(report, budget));
            written.and_then(|()| report.outcomes.failed().map_or(Ok(()), |error| Err(io::Error::other(error))))
        } else {
            let is_public = target.kind.is_public();
            file::write_as_made(&target.path, is_public, |to| Ok(target.kind.write(report, to)?))
        };
        if let Err(error) = written {
            Failure::unwritable(&target.path, &error).say(console);
            all = false;
        }
    }
    all
}

pub(super) fn broken(error: &RenderError) -> Failure {
    Failure::new(Condition::Internal, error.to_string())
}

/// Writes a Markdown report within the budget of a comment; what goes to the summary of a GitHub Actions step, in which
/// other commands of the step have a part, is added there, within its budget.
pub(super) fn write_markdown(path: &Path, render: impl FnOnce(usize) -> String) -> io::Result<()> {
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|summary| !summary.is_empty());
    if summary.is_none_or(|summary| path != Path::new(&summary)) {
        return file::write(path, &render(markdown::COMMENT), false);
    }
    let taken = fs::metadata(path).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
    file::append(path, &render(markdown::STEP_SUMMARY.saturating_sub(taken)))
}
