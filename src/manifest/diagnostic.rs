//! One thing that is wrong with a manifest, and how it is shown.

use serde::Serialize;

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest can't be used.
    Error,
    /// It can.
    Warning,
}

/// One thing that is wrong, at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable code in kebab-case, such as `unknown-key`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// The path as given.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong, on one line; holds no token and no key.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The line itself, secrets masked, and how many characters from `column` are meant.
    #[serde(skip)]
    pub snippet: Option<Snippet>,
}

/// The line that a diagnostic points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The line, masked and with control characters escaped.
    pub text: String,
    /// Where the mark begins in `text`, in characters from 1 (masking and escaping can move it).
    pub column: u32,
    /// How many characters are marked, at least 1.
    pub width: u32,
}
