//! Why a command ended before a run began: one mapping from every error to its exit.

use crate::console::paint;
use crate::didit::ClientError;
use crate::exit::{Condition, Exit};
use crate::ledger::LedgerError;
use crate::manifest::{Diagnostic, Diagnostics};

/// Why a command ended before a run began.
#[derive(Debug)]
pub struct Failure {
    /// The exit.
    pub exit: Exit,
    /// What happened, on one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What is wrong with the manifests.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// A failure without more to say.
    #[must_use]
    pub fn new(condition: Condition, message: impl Into<String>) -> Self {
        Self { exit: condition.into(), message: message.into(), help: None, diagnostics: Vec::new() }
    }

    /// With a word of what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A file that could not be written.
    #[must_use]
    pub fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Condition::Internal, format!("{} can't be written: {error}", path.display()))
    }

    /// As shown on stderr.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut out: String = self.diagnostics.iter().map(|diagnostic| diagnostic.render(color)).collect();
        out += &format!("{}: {}\n", paint(color, "1;31", "error"), self.message);
        if let Some(help) = &self.help {
            out += &format!("  help: {help}\n");
        }
        out
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let condition = match error {
            LedgerError::Locked { .. } => Condition::Locked,
            _ => Condition::Ledger,
        };
        let help = error.help();
        Self::new(condition, error.to_string()).with_help(help)
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        let message = diagnostics.to_string();
        Self { diagnostics: diagnostics.0, ..Self::new(Condition::Manifest, message) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let condition = match error {
            ClientError::BaseUrl(_) => Condition::Manifest,
            ClientError::Setup(_) => Condition::Internal,
        };
        Self::new(condition, error.to_string())
    }
}
