//! Why a command ended before a run began: one mapping from every error to its exit.

use serde_json::Map;

use crate::console::{Console, Level, LogFormat, paint};
use crate::didit::ClientError;
use crate::exit::{Condition, Exit};
use crate::ledger::LedgerError;
use crate::manifest::{Diagnostic, Diagnostics, Severity};
use crate::mask::quoted;

/// Where more is said of a diagnostic.
pub(super) const EXPLAINED: &str = "`didit-sync explain CODE` says more of a code in brackets";

/// More diagnostics than this nobody reads on a terminal.
const TOLD: usize = 300;

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
    /// A failure without more to say. It may quote what was given, so what may be a secret in it is masked.
    #[must_use]
    pub fn new(condition: Condition, message: impl Into<String>) -> Self {
        let message = quoted(&message.into()).into_owned();
        Self { exit: condition.into(), message, help: None, diagnostics: Vec::new() }
    }

    /// With a word of what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(quoted(&help.into()).into_owned());
        self
    }

    /// A file that could not be written.
    #[must_use]
    pub fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Condition::Internal, format!("{} can't be written: {error}", path.display()))
    }

    /// Says it on stderr, diagnostics first.
    pub fn say(&self, console: &Console) {
        say_diagnostics(&self.diagnostics, console);
        let help = self.help.as_deref();
        let facts = Map::from_iter([("help".to_owned(), help.into())]);
        console.tell(Level::Error, &self.message, &facts, |color| {
            let help = help.map_or_else(String::new, |help| format!("  help: {help}\n"));
            format!("{}: {}\n{help}", paint(color, "1;31", "error"), self.message)
        });
    }
}

/// Says on stderr what is wrong with manifests. To people, of hundreds the first are told, and how many more there are;
/// to programs, and with `-v`, all.
pub(super) fn say_diagnostics(diagnostics: &[Diagnostic], console: &Console) {
    let style = console.style();
    let all = style.verbose > 0 || style.log_format == LogFormat::Json;
    let told = if all { diagnostics.len() } else { diagnostics.len().min(TOLD) };
    diagnostics[..told].iter().for_each(|diagnostic| say_diagnostic(diagnostic, console));
    let more = diagnostics.len() - told;
    if more > 0 {
        let level = diagnostics[told..].iter().map(|it| it.severity).min().map_or(Level::Warning, level);
        console.say(level, &format!("{more} more of these are not shown; -v shows all, and --json tells all"));
    }
}

fn level(severity: Severity) -> Level {
    match severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
    }
}

/// Says on stderr what is wrong at a place of a manifest.
pub fn say_diagnostic(diagnostic: &Diagnostic, console: &Console) {
    let level = level(diagnostic.severity);
    let facts = Map::from_iter([
        ("code".to_owned(), diagnostic.code.to_string().into()),
        ("file".to_owned(), diagnostic.file.as_str().into()),
        ("line".to_owned(), diagnostic.line.into()),
        ("column".to_owned(), diagnostic.column.into()),
        ("help".to_owned(), diagnostic.help.as_str().into()),
    ]);
    console.tell(level, &diagnostic.message, &facts, |color| diagnostic.render(color));
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
        let failure = Self::new(Condition::Manifest, message).with_help(EXPLAINED);
        Self { diagnostics: diagnostics.0, ..failure }
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
