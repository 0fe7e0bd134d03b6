//! What people read on the terminal. Foreign text is made inert; colour is never the only carrier.

mod plan;
mod question;
mod sheet;

use std::fmt::Write as _;

use self::sheet::{Column, Measure, Row, Sheet};
use super::Outcomes;
use super::document::{RunView, advice};
use crate::console::{Style, paint};
use crate::ledger::Line;
use crate::ledger::records::{Attempt, Record, Run, State};
use crate::text::inert;

pub use plan::{Heading, plan, up_to_date};
pub use question::{Share, question};

/// How many rows of one kind are shown without `-v`.
const ROWS: usize = 20;

/// Outcomes of entries that are as they should be.
const WELL: [&str; 3] = ["imported", "recovered", "unchanged"];

fn short<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| inert(&value.to_string()))
}

/// A run: totals, what needs attention, findings.
#[must_use]
pub fn run(command: &str, view: &RunView<'_>, style: Style) -> String {
    let mut out = String::new();
    out += &troubles(view.outcomes, style);
    out += &findings(view, style);
    let counts: Vec<String> = (view.outcomes.counts().iter())
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    let what = if command == "audit" { "Audit" } else { "Run" };
    let totals = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    let _ = writeln!(out, "{what} {}{totals}.", view.run.0);
    if let Some((sessions, checked)) = view.verified.filter(|(sessions, _)| *sessions > 0) {
        let errors = view.findings.iter().filter(|it| it.is_error()).count();
        let (errors, findings) = (counted(errors, "error"), counted(view.findings.len(), "finding"));
        let _ = writeln!(out, "Verified {checked} of {sessions} sessions: {errors}, {findings}.");
    }
    let requests = view.requests;
    let _ = writeln!(
        out,
        "{} writes, {} reads, throttled {} times, {:.1} s.",
        requests.writes, requests.reads, requests.throttled, view.seconds
    );
    if let Some(error) = view.error {
        let _ = writeln!(out, "{}: {}", paint(style.color, "1;31", "stopped"), inert(&error.message));
    }
    out
}

fn troubles(outcomes: &Outcomes, style: Style) -> String {
    let mut out = String::new();
    // Of nothing else there is anything to say.
    if WELL.iter().map(|name| outcomes.count(name)).sum::<u64>() == outcomes.len() {
        return out;
    }
    let shown = if style.verbose > 0 { usize::MAX } else { ROWS };
    let mut count = 0;
    for it in outcomes.iter().filter(|it| it.error.is_some() || it.outcome == "conflict") {
        count += 1;
        if count > shown {
            continue;
        }
        let sign = paint(style.color, "31", "!");
        let _ = writeln!(out, "{sign} {} {}", inert(&it.label), it.outcome.replace('_', " "));
        let Some(error) = &it.error else { continue };
        let _ = writeln!(out, "    {}: {}", error.class, inert(&error.detail));
        let _ = writeln!(out, "    → {}", advice(error.class, &it.label, it.outcome == "unknown"));
    }
    match count.saturating_sub(shown) {
        _ if count == 0 => {}
        0 => out += "\n",
        more => drop(writeln!(out, "... and {more} more (-v shows all)\n")),
    }
    out
}

fn findings(view: &RunView<'_>, style: Style) -> String {
    let mut out = String::new();
    let shown = if style.verbose > 0 { view.findings.len() } else { view.findings.len().min(ROWS) };
    for it in &view.findings[..shown] {
        let color = if it.is_error() { "1;31" } else { "33" };
        let age = if it.new { "new".to_owned() } else { format!("since {:.0}", it.first_seen) };
        let _ = writeln!(
            out,
            "{} {} {}: {} ({age})",
            paint(style.color, color, &it.severity),
            it.rule,
            inert(&it.label),
            inert(&it.message)
        );
        if let (Some(expected), Some(actual)) = (&it.expected, &it.actual) {
            let _ = writeln!(out, "    expected {}, found {}", inert(expected), inert(actual));
        }
    }
    if shown < view.findings.len() {
        let _ = writeln!(out, "... and {} more (-v shows all)", view.findings.len() - shown);
    }
    if !out.is_empty() {
        out += "\n";
    }
    out
}

/// Totals of the ledger: how many entries are in each state.
#[must_use]
pub fn totals(counts: &[(State, u64)]) -> String {
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut out = format!("{all} entries\n");
    for (state, count) in counts {
        if *count > 0 {
            let _ = writeln!(out, "  {state:9} {count}");
        }
    }
    out
}

const ENTRY_COLUMNS: [Column; 6] = [
    Column::shortened("id", 0, 12),
    Column::whole("state", 1),
    Column::whole("kind", 4),
    Column::whole("session", 2),
    Column::whole("status", 3),
    Column::shortened("vendor_data", 5, 12),
];

fn entry_cells(it: &Line) -> Vec<String> {
    vec![
        inert(&it.label),
        it.state.to_string(),
        short(it.session_kind),
        short(it.session_id),
        short(it.status.as_deref()),
        short(it.vendor_data.as_deref()),
    ]
}

/// What entries need on their lines. All are seen before the first is shown.
#[derive(Debug)]
pub struct EntryMeasure(Measure<'static>);

impl Default for EntryMeasure {
    fn default() -> Self {
        Self(Measure::new(&ENTRY_COLUMNS))
    }
}

impl EntryMeasure {
    /// Sees an entry.
    pub fn see(&mut self, entry: &Line) {
        self.0.see(&entry_cells(entry));
    }

    /// The lines for entries like these.
    #[must_use]
    pub fn lines(&self, style: Style) -> EntryLines {
        EntryLines(Sheet::new(&self.0, ("", None), style.width))
    }
}

/// Entries, one a line.
#[derive(Debug)]
pub struct EntryLines(Sheet<'static>);

impl EntryLines {
    /// The titles.
    #[must_use]
    pub fn head(&self) -> String {
        self.0.head()
    }

    /// The line of an entry.
    #[must_use]
    pub fn line(&self, entry: &Line) -> String {
        self.0.row(&Row { cells: entry_cells(entry), below: None })
    }
}

/// A few entries, one a line.
#[must_use]
pub fn entries(entries: &[Line], style: Style) -> String {
    let mut measure = EntryMeasure::default();
    for entry in entries {
        measure.see(entry);
    }
    let lines = measure.lines(style);
    entries.iter().fold(lines.head(), |out, entry| out + &lines.line(entry))
}

/// One entry with every attempt.
#[must_use]
pub fn entry(record: &Record, attempts: &[Attempt], run: Option<&Run>) -> String {
    let session = record.session.as_ref();
    let mut out = format!("{} ({})\n", inert(&record.label), inert(&record.manifest));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:15} {value}");
    };
    line("state", record.state.to_string());
    line("source session", short(record.source_session_id));
    line("session", short(session.map(|session| session.session_id)));
    line("status", short(session.and_then(|session| session.status.as_deref())));
    line("kind", short(record.session_kind));
    line("workflow", short(record.settings.workflow_id));
    line("trust_review", short(record.settings.trust_review));
    line("vendor_data", short(record.settings.vendor_data.as_deref()));
    line("imported at", short(record.imported_at));
    line("place", inert(&record.place));
    if let Some(run) = run {
        let reason = run.origin.reason.as_deref().map_or_else(String::new, |reason| format!(", {}", inert(reason)));
        line("run", format!("{} by {}{reason}", run.id.0, inert(&run.origin.actor)));
    }
    if let Some(error) = &record.error {
        line("error", format!("{}: {}", error.class, inert(&error.detail)));
        let is_open = matches!(record.state, State::Unknown | State::Sending);
        line("advice", advice(error.class, &record.label, is_open));
    }
    for attempt in attempts {
        let said = attempt.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", inert(detail)));
        let status = attempt.http_status.map_or_else(String::new, |status| format!(" HTTP {status}"));
        let _ = writeln!(
            out,
            "  attempt {:<7} {} run {} token {}{status} {}{said}",
            attempt.number, attempt.sent_at, attempt.run.0, attempt.token, attempt.outcome
        );
    }
    out
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A cell of a CSV: one that a spreadsheet would take for a formula is led by an apostrophe.
#[must_use]
pub fn csv_cell(text: &str) -> String {
    let inert = inert(text);
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{inert}") } else { inert }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert!(csv_cell(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(csv_cell("partner-1"), "partner-1");
    }
}
