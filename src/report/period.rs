//! A period of the ledger, summed up for who answers for it: what was imported from whom, what was refused, what was
//! found, what was repaired by hand and why, and the runs.

use std::fmt::Write as _;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::csv;
use super::document::RunRow;
use super::kind::RenderError;
use super::markdown::{Page, code};
use super::schema::Output;
use crate::exit::Exit;
use crate::ledger::records::{FindingSum, ImportSum, PeriodSums, RefusalSum, Run, RunId};
use crate::ledger::{LedgerError, Reader};
use crate::text::inert;

/// The columns of the CSV form: the section, then the keys of the document's lists in their order.
const COLUMNS: [&str; 22] = [
    "section",
    "from_application_id",
    "workflow_id",
    "trust_review",
    "session_kind",
    "sessions",
    "class",
    "entries",
    "requests",
    "rule",
    "severity",
    "opened",
    "closed",
    "open",
    "run",
    "command",
    "started_at",
    "ended_at",
    "actor",
    "reason",
    "ref",
    "exit",
];

/// The lists of the document, in their order.
const LISTS: [&str; 5] = ["imported", "refused", "findings", "repairs", "runs"];

/// A period: from `since` to before `until`.
#[derive(Debug)]
pub struct Period {
    since: Option<Timestamp>,
    until: Timestamp,
    sums: PeriodSums,
    /// Runs that began in it, oldest first.
    runs: Vec<Run>,
}

/// `didit-sync/period.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PeriodDocument<'a> {
    #[schemars(extend("const" = Output::Period.format()))]
    format: &'static str,
    since: Option<Timestamp>,
    until: Timestamp,
    summary: Summary,
    imported: &'a [ImportSum],
    refused: &'a [RefusalSum],
    findings: &'a [FindingSum],
    repairs: Vec<RepairRow<'a>>,
    runs: Vec<RunRow<'a>>,
    exit: Exit,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Summary {
    imported: u64,
    trusted: u64,
    refused: u64,
    findings: FindingCounts,
    repairs: u64,
    runs: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FindingCounts {
    opened: u64,
    closed: u64,
    open: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RepairRow<'a> {
    run: RunId,
    command: &'a str,
    started_at: Timestamp,
    actor: &'a str,
    reason: Option<&'a str>,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    entries: u64,
}

impl Period {
    /// Reads a period; one without a beginning begins with the ledger.
    pub fn read(reader: &Reader, since: Option<Timestamp>, until: Timestamp) -> Result<Self, LedgerError> {
        let from = since.unwrap_or(Timestamp::UNIX_EPOCH);
        let mut runs = reader.runs()?;
        runs.retain(|run| run.started_at >= from && run.started_at < until);
        Ok(Self { since, until, sums: reader.sums(from, until)?, runs })
    }

    /// The JSON document.
    #[must_use]
    pub fn document(&self) -> PeriodDocument<'_> {
        PeriodDocument {
            format: Output::Period.format(),
            since: self.since,
            until: self.until,
            summary: self.summary(),
            imported: &self.sums.imported,
            refused: &self.sums.refused,
            findings: &self.sums.findings,
            repairs: self.repairs().collect(),
            runs: self.of_machine().map(RunRow::new).collect(),
            exit: Exit::ok(),
        }
    }

    fn summary(&self) -> Summary {
        let sums = &self.sums;
        let sessions =
            |keep: fn(&ImportSum) -> bool| sums.imported.iter().filter(|it| keep(it)).map(|it| it.sessions).sum();
        let findings = |count: fn(&FindingSum) -> u64| sums.findings.iter().map(count).sum();
        Summary {
            imported: sessions(|_| true),
            trusted: sessions(|it| it.trust_review == Some(true)),
            refused: sums.refused.iter().map(|it| it.entries).sum(),
            findings: FindingCounts {
                opened: findings(|it| it.opened),
                closed: findings(|it| it.closed),
                open: findings(|it| it.open),
            },
            repairs: sums.repairs.len() as u64,
            runs: self.of_machine().count() as u64,
        }
    }

    /// Applies and audits.
    fn of_machine(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !self.sums.repairs.iter().any(|repair| repair.run == run.id))
    }

    fn repairs(&self) -> impl Iterator<Item = RepairRow<'_>> {
        self.sums.repairs.iter().filter_map(|repair| {
            let run = self.runs.iter().find(|run| run.id == repair.run)?;
            Some(RepairRow {
                run: run.id,
                command: &run.command,
                started_at: run.started_at,
                actor: &run.origin.actor,
                reason: run.origin.reason.as_deref(),
                reference: run.origin.reference.as_deref(),
                entries: repair.entries,
            })
        })
    }

    /// One table of all lists; a cell is empty where its list has no such key.
    pub fn csv(&self) -> Result<String, RenderError> {
        let document = serde_json::to_value(self.document())?;
        let mut rows: Vec<Map<String, Value>> = Vec::new();
        for list in LISTS {
            for row in document[list].as_array().into_iter().flatten().filter_map(Value::as_object) {
                let mut row = row.clone();
                row.insert("section".to_owned(), list.into());
                rows.push(row);
            }
        }
        csv::table(&COLUMNS, rows.iter())
    }

    /// For a pull request or a step's summary.
    #[must_use]
    pub fn markdown(&self, budget: usize) -> String {
        let mut page = Page::new(format!("## didit-sync, {}\n\n**{}.**\n", self.span(), self.totals()), budget);
        for (title, lines) in self.sections(code) {
            page.section(title, lines.len(), lines.into_iter().map(|line| format!("- {line}")));
        }
        page.end()
    }

    /// For the terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("Period {}\n{}.\n", self.span(), self.totals());
        for (title, lines) in self.sections(inert) {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n{title}");
            }
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
        out
    }

    fn span(&self) -> String {
        let since = self.since.map_or_else(|| "the beginning".to_owned(), |at| format!("{at:.0}"));
        format!("from {since} to before {:.0}", self.until)
    }

    fn totals(&self) -> String {
        let it = self.summary();
        format!(
            "{} imported ({} with trust_review: true), {} refused, findings: {} opened, {} closed, {} open, {} repairs, {} runs",
            it.imported,
            it.trusted,
            it.refused,
            it.findings.opened,
            it.findings.closed,
            it.findings.open,
            it.repairs,
            it.runs
        )
    }

    /// Titles and lines, foreign text made inert by `quote`.
    fn sections(&self, quote: fn(&str) -> String) -> [(&'static str, Vec<String>); 5] {
        let sums = &self.sums;
        let findings = sums.findings.iter().map(|it| {
            let counts = format!("{} opened, {} closed, {} open", it.opened, it.closed, it.open);
            format!("{} {}: {counts}", it.severity, quote(&it.rule))
        });
        let refused = sums
            .refused
            .iter()
            .map(|it| format!("{}: {} entries, {} requests; {}", it.class, it.entries, it.requests, it.class.advice()));
        let repairs = self.repairs().map(|it| {
            let who = who(it.actor, it.reason, it.reference, quote);
            format!("run {} at {:.0}: {} of {} entries {who}", it.run.0, it.started_at, it.command, it.entries)
        });
        let runs = self.of_machine().map(|run| {
            let origin = &run.origin;
            let who = who(&origin.actor, origin.reason.as_deref(), origin.reference.as_deref(), quote);
            let end = run.end.as_ref().map(|end| format!("exit {}", Exit::from_stored(&end.conditions).code()));
            let end = end.unwrap_or_else(|| "did not end".to_owned());
            format!("run {} at {:.0}: {}, {end}, {who}", run.id.0, run.started_at, run.command)
        });
        [
            ("findings", findings.collect()),
            ("refused, by class", refused.collect()),
            ("repairs by hand", repairs.collect()),
            ("imported, by partner, workflow, trust and kind", sums.imported.iter().map(imported).collect()),
            ("runs", runs.collect()),
        ]
    }
}

fn imported(it: &ImportSum) -> String {
    fn told<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "untold".to_owned(), |value| value.to_string())
    }
    format!(
        "partner {}, workflow {}, trust_review {}, {}: {}",
        told(it.from_application_id),
        told(it.workflow_id),
        told(it.trust_review),
        it.session_kind.map_or_else(|| "kind untold".to_owned(), |kind| kind.to_string()),
        it.sessions
    )
}

fn who(actor: &str, reason: Option<&str>, reference: Option<&str>, quote: fn(&str) -> String) -> String {
    let mut out = format!("by {}", quote(actor));
    for (name, text) in [("reason", reason), ("ref", reference)] {
        if let Some(text) = text {
            let _ = write!(out, ", {name} {}", quote(text));
        }
    }
    out
}
