//! `json`: the run's document, on several lines.

use super::Report;
use super::kind::RenderError;

/// The document that `--json` prints.
pub fn render(report: &Report) -> Result<String, RenderError> {
    Ok(crate::text::json(&report.document()?)? + "\n")
}
