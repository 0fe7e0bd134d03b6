//! Whether everything that a run needs is as it should be: for `doctor`.
//!
//! ```text
//! Examination (ledger) ──► ledger.rs ───────┐
//! keys, base URLs ───────► application.rs ──┼─► Checks ─► Diagnosis ─► exit, report
//! plan, manifests ───────► work.rs ─────────┤
//! variables ─────────────► surroundings.rs ─┘
//! ```
//!
//! Reads only: nothing is written to a ledger or its folder, and of the API only the healthcheck, one page of sessions
//! with one row, and the workflows are asked for. So what a key may write shows in the first import alone, and is said
//! so. These few reads are not on record, as a run's are.
//!
//! A check that can't be made because of another one's result is `skipped`, and says which. An error has the exit code
//! that `apply` would end with; a warning changes no exit.

pub mod application;
pub mod ledger;
pub mod surroundings;
#[cfg(test)]
mod tests;
pub mod work;

use schemars::JsonSchema;
use serde::Serialize;

pub use application::Application;

use crate::exit::{Condition, Exit};
use crate::mask::quoted;
use crate::text::inert;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// A run works, but somebody should look.
    Warning,
    /// A run would fail.
    Error,
    /// Not made, for lack of something else.
    Skipped,
}

impl Outcome {
    /// The name in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at. Complete when it is made: its texts are inert and masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What was looked at, such as `clock`.
    pub name: &'static str,
    /// Of what: a manifest, an application, the ledger's path; `None` where it is of the machine.
    pub subject: Option<String>,
    /// How it ended.
    pub result: Outcome,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What of an error decides the exit.
    #[serde(skip)]
    pub condition: Option<Condition>,
}

impl Check {
    fn new(name: &'static str, subject: Option<&str>, result: Outcome, message: &str) -> Self {
        let shown = |text: &str| quoted(&inert(text)).into_owned();
        let subject = subject.map(shown);
        Self { name, subject, result, message: shown(message), help: None, condition: None }
    }

    /// All is well.
    #[must_use]
    pub fn ok(name: &'static str, subject: Option<&str>, message: &str) -> Self {
        Self::new(name, subject, Outcome::Ok, message)
    }

    /// Somebody should look.
    #[must_use]
    pub fn warning(name: &'static str, subject: Option<&str>, message: &str, help: &str) -> Self {
        Self::new(name, subject, Outcome::Warning, message).with_help(help)
    }

    /// A run would fail, with this condition.
    #[must_use]
    pub fn error(name: &'static str, subject: Option<&str>, condition: Condition, message: &str, help: &str) -> Self {
        Self { condition: Some(condition), ..Self::new(name, subject, Outcome::Error, message).with_help(help) }
    }

    /// Not made.
    #[must_use]
    pub fn skipped(name: &'static str, subject: Option<&str>, why: &str) -> Self {
        Self::new(name, subject, Outcome::Skipped, why)
    }

    fn with_help(self, help: &str) -> Self {
        Self { help: Some(quoted(&inert(help)).into_owned()), ..self }
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// In the order in which it is shown.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// The exit: the conditions of all errors.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.checks.iter().filter_map(|check| check.condition).collect()
    }

    /// The error that decides the exit, the first of its kind.
    #[must_use]
    pub fn worst(&self) -> Option<(Condition, &Check)> {
        let first = self.exit().conditions().next()?;
        self.checks.iter().find(|check| check.condition == Some(first)).map(|check| (first, check))
    }

    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, result: Outcome) -> usize {
        self.checks.iter().filter(|check| check.result == result).count()
    }
}
