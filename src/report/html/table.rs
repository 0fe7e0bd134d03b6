//! Tables that can be searched: the first rows as HTML, all of them packed for the page's own script.
//!
//! Packed is: rows as JSON (arrays of texts), secrets masked, deflated without a header, in base64, so that no text of
//! theirs can end the element that holds them or be read as anything but data.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::summary::{grouped, second};
use crate::ledger::records::{RunFinding, RunOutcome};
use crate::mask::masked;
use crate::report::Report;
use crate::report::document::advice;
use crate::text::inert;

/// Rows that show without the script.
pub(super) const FIRST: usize = 1_000;

/// A table.
pub(super) struct Table {
    pub(super) title: &'static str,
    /// For ids and labels of the page.
    pub(super) name: &'static str,
    /// The column by which rows can be chosen.
    pub(super) choice: &'static str,
    pub(super) columns: Vec<Column>,
    /// The first rows.
    pub(super) first: Vec<Vec<Cell>>,
    pub(super) packed: String,
    /// How many rows there are.
    pub(super) total: String,
    /// How many of them show without the script, where that is not all.
    pub(super) shown: Option<String>,
}

/// A column: its head, and how its cells look (`tag`, `id`, `number`, `time`, `word`, `prose`).
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) look: &'static str,
}

/// A cell.
pub(super) struct Cell {
    pub(super) look: &'static str,
    pub(super) text: String,
}

const fn column(head: &'static str, look: &'static str) -> Column {
    Column { head, look }
}

const ENTRIES: [Column; 11] = [
    column("id", "id"),
    column("outcome", "tag"),
    column("status", "tag"),
    column("kind", "word"),
    column("error and advice", "prose"),
    column("vendor_data", "id"),
    column("session", "id"),
    column("source session", "id"),
    column("workflow", "id"),
    column("sends", "number"),
    column("manifest", "word"),
];

const FINDINGS: [Column; 9] = [
    column("id", "id"),
    column("severity", "tag"),
    column("rule", "word"),
    column("message", "prose"),
    column("expected", "id"),
    column("actual", "id"),
    column("session", "id"),
    column("first seen", "time"),
    column("manifest", "word"),
];

/// The tables of a run: its findings, which are few, before its entries.
pub(super) fn all(report: &Report) -> serde_json::Result<Vec<Table>> {
    let mut tables = Vec::new();
    if report.is_audit() || !report.findings.is_empty() {
        tables.push(table("Findings", "findings", &FINDINGS, report.findings.iter().map(finding))?);
    }
    if !report.is_audit() {
        tables.push(table("Entries", "entries", &ENTRIES, report.outcomes.iter().map(|it| entry(&it)))?);
    }
    Ok(tables)
}

fn table(
    title: &'static str,
    name: &'static str,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<String>>,
) -> serde_json::Result<Table> {
    let (mut packed, mut first, mut total) = (Packed::default(), Vec::new(), 0);
    for row in rows {
        packed.add(&row)?;
        if total < FIRST {
            first.push(row.into_iter().zip(columns).map(|(text, it)| Cell { look: it.look, text }).collect());
        }
        total += 1;
    }
    Ok(Table {
        title,
        name,
        choice: columns.iter().find(|column| column.look == "tag").map_or("", |column| column.head),
        columns: columns.to_vec(),
        first,
        packed: packed.end()?,
        total: grouped(total as u64),
        shown: (total > FIRST).then(|| grouped(FIRST as u64)),
    })
}

fn entry(it: &RunOutcome) -> Vec<String> {
    let session = it.session.as_ref();
    let error = it.error.as_ref().map(|error| {
        let status = error.http_status.map_or_else(String::new, |status| format!(" {status}"));
        let advice = advice(error.class, &it.label, it.outcome == "unknown");
        format!("{}{status}: {} \u{2192} {}", error.class, inert(&error.detail), inert(&advice))
    });
    vec![
        inert(&it.label),
        inert(&it.outcome),
        inert(session.and_then(|session| session.status.as_deref()).unwrap_or_default()),
        optional(it.session_kind),
        error.unwrap_or_default(),
        inert(it.vendor_data.as_deref().unwrap_or_default()),
        optional(session.map(|session| session.session_id)),
        optional(it.source_session_id),
        optional(it.workflow_id),
        it.attempts.to_string(),
        inert(&it.manifest),
    ]
}

fn finding(it: &RunFinding) -> Vec<String> {
    let new = if it.new { " (new)" } else { "" };
    vec![
        inert(&it.label),
        inert(&it.severity),
        inert(&it.rule),
        inert(&it.message),
        inert(it.expected.as_deref().unwrap_or_default()),
        inert(it.actual.as_deref().unwrap_or_default()),
        optional(it.session_id),
        second(it.first_seen) + new,
        inert(&it.manifest),
    ]
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Rows that become one word of base64.
pub(super) struct Packed {
    to: DeflateEncoder<Vec<u8>>,
    is_begun: bool,
}

impl Default for Packed {
    fn default() -> Self {
        Self { to: DeflateEncoder::new(Vec::new(), Compression::default()), is_begun: false }
    }
}

impl Packed {
    pub(super) fn add(&mut self, row: &[String]) -> serde_json::Result<()> {
        let json = serde_json::to_string(row)?;
        // A file masks what it is given; what is packed it can't see.
        self.write(if self.is_begun { "," } else { "[" }).and_then(|()| self.write(&masked(&json)))?;
        self.is_begun = true;
        Ok(())
    }

    pub(super) fn end(mut self) -> serde_json::Result<String> {
        self.write(if self.is_begun { "]" } else { "[]" })?;
        Ok(STANDARD.encode(self.to.finish().map_err(serde_json::Error::io)?))
    }

    fn write(&mut self, text: &str) -> serde_json::Result<()> {
        self.to.write_all(text.as_bytes()).map_err(serde_json::Error::io)
    }
}
