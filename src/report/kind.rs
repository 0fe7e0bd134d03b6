//! The kinds of reports: one small file for each, all of the one [`Report`].

use std::io;

use crate::ledger::LedgerError;

use super::{Report, csv, html, json, junit, markdown, prometheus, remint};

/// A kind of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The run's JSON document.
    Json,
    /// Imports of an apply, findings of an audit.
    Csv,
    /// For CI servers.
    Junit,
    /// For a pull request.
    Markdown,
    /// A page for people.
    Html,
    /// For the textfile collector.
    Prometheus,
    /// To send to the partner.
    Remint,
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
    /// XML.
    #[error(transparent)]
    Junit(#[from] quick_junit::SerializeError),
    /// The ledger, of which only a part could be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What is written to.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A form that is written line by line.
    #[error(transparent)]
    Text(#[from] std::fmt::Error),
}

impl From<RenderError> for io::Error {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Io(error) => error,
            RenderError::Json(error) => error.into(),
            RenderError::Csv(error) => error.into(),
            other => io::Error::other(other),
        }
    }
}

impl Kind {
    /// Every kind, in the order of outputs.
    pub const ALL: [Self; 7] =
        [Self::Json, Self::Csv, Self::Junit, Self::Markdown, Self::Html, Self::Prometheus, Self::Remint];

    /// The name, as in `--report KIND=FILE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Prometheus => "prometheus",
            Self::Remint => "remint",
        }
    }

    /// Whether its files may be read by every user of the machine: the collector is another one. It holds names of
    /// manifests, states and rules, and counts.
    #[must_use]
    pub fn is_public(self) -> bool {
        self == Self::Prometheus
    }

    /// Writes the report, which ends with a line end: row by row, where its form has no totals before its rows that only
    /// the rows tell.
    pub fn write(self, report: &Report, to: &mut dyn io::Write) -> Result<(), RenderError> {
        let text = match self {
            Self::Json => json::write(report, to).map(|()| String::new())?,
            Self::Csv => csv::write(report, to).map(|()| String::new())?,
            Self::Junit => junit::render(report)?,
            Self::Markdown => markdown::run(report, markdown::COMMENT),
            Self::Html => html::render(report)?,
            Self::Prometheus => prometheus::render(report)?,
            Self::Remint => remint::render(report)?,
        };
        to.write_all(text.as_bytes())?;
        report.outcomes.failed().map_or(Ok(()), |error| Err(error.into()))
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::as_str).join(", ");
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| format!("expected one of {names}"))
    }
}
