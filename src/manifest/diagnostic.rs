//! One thing that is wrong with a manifest, and how it is shown.
//!
//! A diagnostic is complete when it is made: its texts are inert and masked, so that showing it needs no care.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::code::Code;
use crate::text::inert;

/// How many characters of a line are shown; a longer one is cut around the mark.
const LINE_SHOWN: usize = 100;

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest can't be used.
    Error,
    /// It can.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong, at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnostic {
    /// A stable code in kebab-case, such as `unknown-key`.
    pub code: Code,
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

/// Why no manifest came of it: every error and warning, sorted by file, line and column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// How many of them are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// All of them as shown, one after the other.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        self.0.iter().map(|diagnostic| diagnostic.render(color)).collect()
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors = self.errors();
        write!(f, "{errors} {} in the manifests", if errors == 1 { "error" } else { "errors" })
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic {
    /// The diagnostic as shown: `PATH:LINE:COLUMN: error[code]: message`, the marked line, the help. Ends in a line
    /// feed. The first line is never wrapped, so that editors and scripts can read it.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let paint = Paint { on: color, severity: self.severity };
        let mut out = format!(
            "{}:{}:{}: {}: {}\n",
            inert(&self.file),
            self.line,
            self.column,
            paint.strong(&format!("{}[{}]", self.severity.as_str(), self.code)),
            self.message,
        );
        if let Some(snippet) = &self.snippet {
            let (text, column, width) = snippet.cut(LINE_SHOWN);
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(column - 1);
            let mark = paint.strong(&"^".repeat(width));
            let _ = writeln!(out, " {} {text}", paint.dim(&format!("{number} |")));
            let _ = writeln!(out, " {} {indent}{mark}", paint.dim(&format!("{margin} |")));
        }
        if !self.help.is_empty() {
            let _ = writeln!(out, "  help: {}", self.help);
        }
        out
    }
}

impl Snippet {
    /// The line cut to about `shown` characters around the mark, with the mark's column (from 1) and width in it.
    fn cut(&self, shown: usize) -> (String, usize, usize) {
        let chars: Vec<char> = self.text.chars().collect();
        let start = (self.column.max(1) as usize - 1).min(chars.len());
        if chars.len() <= shown {
            let width = (self.width as usize).clamp(1, (chars.len() - start).max(1));
            return (self.text.clone(), start + 1, width);
        }
        let width = (self.width as usize).clamp(1, shown / 2);
        let from = (start + width / 2).saturating_sub(shown / 2).min(chars.len() - shown);
        let to = from + shown;
        let mut text = String::new();
        if from > 0 {
            text.push('…');
        }
        text.extend(&chars[from..to]);
        if to < chars.len() {
            text.push('…');
        }
        let column = start - from + usize::from(from > 0) + 1;
        (text, column, width.min((to - start).max(1)))
    }
}

struct Paint {
    on: bool,
    severity: Severity,
}

impl Paint {
    fn strong(&self, text: &str) -> String {
        let code = if self.severity == Severity::Error { "1;31" } else { "1;33" };
        self.wrap(code, text)
    }

    fn dim(&self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, column: u32, width: u32) -> Diagnostic {
        Diagnostic {
            code: Code::UnknownKey,
            severity: Severity::Error,
            file: "a.yaml".into(),
            line: 12,
            column,
            message: "unknown key `nmae`".into(),
            help: "did you mean `name`?".into(),
            snippet: Some(Snippet { text: text.into(), column, width }),
        }
    }

    #[test]
    fn a_diagnostic_shows_place_line_mark_and_help() {
        insta::assert_snapshot!(diagnostic("  nmae: x", 3, 4).render(false), @r"
        a.yaml:12:3: error[unknown-key]: unknown key `nmae`
         12 |   nmae: x
            |   ^^^^
          help: did you mean `name`?
        ");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}nmae{}", "x".repeat(300), "y".repeat(300));
        let shown = diagnostic(&text, 301, 4).render(false);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].chars().count() < 120 && lines[1].contains("nmae"));
        assert_eq!(lines[1].find("nmae").map(|_| ()), Some(()));
        let at = lines[1].chars().collect::<String>().split("nmae").next().unwrap().chars().count();
        assert_eq!(lines[2].chars().position(|c| c == '^'), Some(at));
    }

    #[test]
    fn a_mark_past_the_end_of_the_line_stays_in_sight() {
        let shown = diagnostic("ab", 9, 4).render(true);
        assert!(shown.contains("\u{1b}[1;31m^\u{1b}[0m"), "{shown}");
    }

    #[test]
    fn the_code_serializes_as_its_name() {
        let json = serde_json::to_value(diagnostic("x", 1, 1)).unwrap();
        assert_eq!((json["code"].as_str(), json["severity"].as_str()), (Some("unknown-key"), Some("error")));
    }
}
