//! `junit`: a run as a CI server shows tests. A suite for the run itself and one for each manifest; a case for each
//! entry of an apply, and for each finding.
//!
//! Everything that is not as it should be is a `failure`: the schemas in use disagree on how an `error` is written.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use super::document::advice;
use super::kind::RenderError;
use crate::ledger::records::{RunFinding, RunOutcome};
use crate::text::inert;

/// Outcomes that CI servers show as skipped.
const SKIPPED: [&str; 2] = ["not_sent", "erased"];

/// The document.
pub fn render(report: &Report) -> Result<String, RenderError> {
    let mut document = Document::new("didit-sync");
    let seconds = Duration::try_from_secs_f64(report.end.seconds).unwrap_or_default();
    document.set_time(seconds);
    document.add_test_suite(of_run(report, seconds));
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    for it in report.outcomes.iter() {
        suite(&mut suites, &it.manifest).add_test_case(of_entry(&it));
    }
    for it in &report.findings {
        suite(&mut suites, &it.manifest).add_test_case(of_finding(it));
    }
    document.add_test_suites(suites.into_values());
    // Schemas know this attribute for suites alone; the first is the document's.
    let skipped: u64 = SKIPPED.iter().map(|name| report.outcomes.count(name)).sum();
    let skipped = format!(" skipped=\"{skipped}\"");
    Ok(document.to_string()?.replacen(&skipped, "", 1))
}

fn suite<'s>(suites: &'s mut BTreeMap<String, TestSuite>, manifest: &str) -> &'s mut TestSuite {
    suites.entry(manifest.to_owned()).or_insert_with(|| TestSuite::new(plain(manifest)))
}

fn of_run(report: &Report, seconds: Duration) -> TestSuite {
    let mut suite = TestSuite::new(plain(&report.run.command));
    suite.set_time(seconds);
    let status = match &report.end.error {
        None => TestCaseStatus::success(),
        Some(error) => failed(&error.name, &error.message, None),
    };
    let mut case = TestCase::new(format!("run {}", report.run.id.0), status);
    case.set_classname(plain(&report.run.command)).set_time(seconds);
    suite.add_test_case(case);
    suite
}

fn of_entry(it: &RunOutcome) -> TestCase {
    let status = match it.outcome.as_str() {
        "imported" | "recovered" | "unchanged" => TestCaseStatus::success(),
        outcome if SKIPPED.contains(&outcome) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(outcome.replace('_', " "));
            status
        }
        outcome => match &it.error {
            None => failed(outcome, outcome, None),
            Some(error) => {
                let advice = advice(error.class, &it.label, outcome == "unknown");
                failed(&format!("{outcome}: {}", error.class), &error.detail, Some(&advice))
            }
        },
    };
    let mut case = TestCase::new(plain(&it.label), status);
    case.set_classname(plain(&it.manifest));
    if let Some(session) = &it.session {
        case.set_system_out(format!("{} session {}", it.outcome, session.session_id));
    }
    case
}

fn of_finding(it: &RunFinding) -> TestCase {
    let told = match (&it.expected, &it.actual) {
        (Some(expected), Some(actual)) => format!("expected {expected}, found {actual}"),
        _ => String::new(),
    };
    let age = if it.new { "new".to_owned() } else { format!("since {:.0}", it.first_seen) };
    let status = if it.is_error() {
        failed(&it.rule, &it.message, Some(&format!("{age}; {told}")))
    } else {
        TestCaseStatus::success()
    };
    let mut case = TestCase::new(plain(&format!("{} {}", it.label, it.rule)), status);
    case.set_classname(plain(&it.manifest));
    if !it.is_error() {
        case.set_system_out(plain(&format!("{} ({age}): {}; {told}", it.severity, it.message)));
    }
    case
}

fn failed(kind: &str, message: &str, more: Option<&str>) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(plain(kind)).set_message(plain(message));
    if let Some(more) = more {
        status.set_description(plain(more));
    }
    status
}

/// Inert; quick-junit escapes what XML takes for its own.
fn plain(text: &str) -> String {
    inert(&crate::mask::masked(text))
}
