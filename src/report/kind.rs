//! The kinds of reports: one small file for each, all of the one [`Report`].

use super::{Report, csv, html, json};

/// A kind of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The run's JSON document.
    Json,
    /// Imports of an apply, findings of an audit.
    Csv,
    /// A page for people.
    Html,
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// CSV.
    #[error(transparent)]
    Csv(#[from] ::csv::Error),
    /// A form that is written line by line.
    #[error(transparent)]
    Text(#[from] std::fmt::Error),
}

impl Kind {
    /// Every kind, in the order of outputs.
    pub const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Html];

    /// The name, as in `--report KIND=FILE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
        }
    }

    /// Reads [`Kind::as_str`] back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The whole text of the report. Ends with a line end.
    pub fn render(self, report: &Report) -> Result<String, RenderError> {
        match self {
            Self::Json => json::render(report),
            Self::Csv => csv::render(report),
            Self::Html => html::render(report),
        }
    }
}
