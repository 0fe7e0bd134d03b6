//! What `doctor` shows: as text, and as `didit-sync/doctor.v1`.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::ErrorBody;
use super::schema::Output;
use crate::console::paint;
use crate::doctor::{Check, Diagnosis, Outcome};
use crate::exit::Exit;
use crate::manifest::Diagnostic;

/// `didit-sync/doctor.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorDocument<'a> {
    #[schemars(extend("const" = Output::Doctor.format()))]
    format: &'static str,
    checks: &'a [Check],
    error: Option<ErrorBody<'a>>,
    exit: &'a Exit,
}

impl<'a> DoctorDocument<'a> {
    /// The document; `diagnostics` are those of manifests that can't be used.
    #[must_use]
    pub fn new(diagnosis: &'a Diagnosis, diagnostics: &'a [Diagnostic], exit: &'a Exit) -> Self {
        let error = diagnosis.worst().map(|(condition, check)| ErrorBody {
            code: condition.code(),
            name: condition.name(),
            message: &check.message,
            diagnostics,
        });
        Self { format: Output::Doctor.format(), checks: &diagnosis.checks, error, exit }
    }
}

/// One line for each check, its help below, and a last line that counts.
#[must_use]
pub fn doctor(diagnosis: &Diagnosis, color: bool) -> String {
    let mut out = String::new();
    for check in &diagnosis.checks {
        let result = format!("{:<7}", check.result.as_str());
        let result = match check.result {
            Outcome::Ok => paint(color, "32", &result),
            Outcome::Warning => paint(color, "1;33", &result),
            Outcome::Error => paint(color, "1;31", &result),
            Outcome::Skipped => paint(color, "2", &result),
        };
        let of = check.subject.as_deref().map_or_else(String::new, |subject| format!(" {subject}"));
        let _ = writeln!(out, "{result}  {}{of}: {}", check.name, check.message);
        if let Some(help) = &check.help {
            let _ = writeln!(out, "         help: {help}");
        }
    }
    let counted =
        [(Outcome::Error, "error", "errors"), (Outcome::Warning, "warning", "warnings")].map(|(of, one, many)| {
            let count = diagnosis.count(of);
            format!("{count} {}", if count == 1 { one } else { many })
        });
    let skipped = match diagnosis.count(Outcome::Skipped) {
        0 => String::new(),
        n => format!(", {n} not made"),
    };
    let _ = writeln!(out, "\n{} checks: {}{skipped}.", diagnosis.checks.len(), counted.join(", "));
    out
}
