//! `json`: the run's document, on several lines.

use std::io;

use super::Report;
use super::kind::RenderError;

/// Writes the document that `--json` prints.
pub fn write(report: &Report, to: &mut dyn io::Write) -> Result<(), RenderError> {
    crate::text::write_json(&report.document(), &mut *to)?;
    Ok(to.write_all(b"\n")?)
}
