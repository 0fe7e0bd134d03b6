//! `csv`: the rows of the JSON document, imports of an apply or findings of an audit, with its keys as header.
//!
//! A cell is the value as JSON has it, a text without quotes, `null` empty; an object is JSON. What a spreadsheet would
//! take for a formula is led by an apostrophe.

use std::io;

use serde_json::{Map, Value};

use super::Report;
use super::document::{ImportRow, finding_row};
use super::kind::RenderError;
use super::text::csv_cell;

/// The keys of a row of `imports`.
pub const IMPORT_KEYS: [&str; 13] = [
    "manifest",
    "id",
    "outcome",
    "source_session_id",
    "session_id",
    "session_number",
    "session_url",
    "session_kind",
    "status",
    "workflow_id",
    "vendor_data",
    "attempts",
    "error",
];

/// The keys of a row of `findings`.
pub const FINDING_KEYS: [&str; 10] =
    ["manifest", "id", "session_id", "rule", "severity", "message", "expected", "actual", "first_seen", "new"];

/// Writes the table of a run, row by row.
pub fn write(report: &Report, to: &mut dyn io::Write) -> Result<(), RenderError> {
    if report.is_audit() {
        write_rows(&FINDING_KEYS, report.findings.iter().map(|it| serde_json::to_value(finding_row(it))), to)
    } else {
        write_rows(&IMPORT_KEYS, report.outcomes.iter().map(|it| serde_json::to_value(ImportRow::new(&it))), to)
    }
}

fn write_rows(
    keys: &[&str],
    rows: impl Iterator<Item = serde_json::Result<Value>>,
    to: &mut dyn io::Write,
) -> Result<(), RenderError> {
    let mut writer = ::csv::Writer::from_writer(to);
    writer.write_record(keys)?;
    for row in rows {
        let row = row?;
        writer.write_record(keys.iter().map(|key| csv_cell(&cell(&row[*key]))))?;
    }
    Ok(writer.flush()?)
}

/// A header, and a line for each row.
pub fn table<'r>(keys: &[&str], rows: impl Iterator<Item = &'r Map<String, Value>>) -> Result<String, RenderError> {
    let cells = rows.map(|row| keys.iter().map(|key| cell(row.get(*key).unwrap_or(&Value::Null))).collect());
    lines(keys, cells)
}

/// A header, and lines of cells that are made inert.
pub fn lines(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<String, RenderError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| csv_cell(cell)))?;
    }
    let bytes = writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
