//! What ran, and its totals.

use std::collections::BTreeSet;

use jiff::{Timestamp, Unit};

use crate::report::Report;
use crate::text::inert;

/// A line of what ran.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// A total.
pub(super) struct Tile {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) tone: &'static str,
}

/// Whose run it was, when, why.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let run = &report.run;
    let mut facts = Vec::new();
    let mut tell = |name, value: String| facts.push(Fact { name, value });
    tell("Command", inert(&run.command));
    let of_outcomes = report.outcomes.iter().map(|it| it.manifest);
    let manifests: BTreeSet<String> = of_outcomes.chain(report.findings.iter().map(|it| it.manifest.clone())).collect();
    if !manifests.is_empty() {
        tell("Manifests", manifests.iter().map(|name| inert(name)).collect::<Vec<_>>().join(", "));
    }
    tell("Started", second(run.started_at));
    if run.end.is_some() {
        tell("Took", duration(report.end.seconds));
    }
    tell("Actor", inert(&run.origin.actor));
    if let Some(reason) = &run.origin.reason {
        tell("Reason", inert(reason));
    }
    if let Some(reference) = &run.origin.reference {
        tell("Reference", inert(reference));
    }
    facts
}

/// Entries by outcome, sessions verified, findings, requests.
pub(super) fn tiles(report: &Report) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut tell = |name: &str, value: String, tone| tiles.push(Tile { name: name.replace('_', " "), value, tone });
    if !report.is_audit() {
        tell("entries", grouped(report.outcomes.len()), "");
        for (name, count) in report.outcomes.counts().iter().filter(|(_, count)| *count > 0) {
            tell(name, grouped(*count), tone(name));
        }
    }
    if let Some((sessions, checked)) = report.end.verified {
        let tone = if checked < sessions { "warn" } else { "" };
        tell(&format!("verified of {}", grouped(sessions)), grouped(checked), tone);
        let errors = report.findings.iter().filter(|finding| finding.is_error()).count() as u64;
        tell("errors found", grouped(errors), if errors > 0 { "bad" } else { "" });
        let others = report.findings.len() as u64 - errors;
        tell("other findings", grouped(others), if others > 0 { "warn" } else { "" });
    }
    let requests = report.end.requests;
    tell("writes", grouped(requests.writes), "");
    tell("reads", grouped(requests.reads), "");
    tell("throttled", grouped(requests.throttled), if requests.throttled > 0 { "warn" } else { "" });
    tiles
}

/// Whether an outcome, a severity or a session's status is good, bad, or waits for somebody.
pub(super) fn tone(name: &str) -> &'static str {
    match name {
        "imported" | "recovered" | "Approved" => "good",
        "refused" | "unknown" | "error" | "Declined" => "bad",
        "expired" | "needs_token" | "conflict" | "not_sent" | "warning" | "In Review" => "warn",
        _ => "plain",
    }
}

/// A time to the second.
pub(super) fn second(at: Timestamp) -> String {
    let at = at.round(Unit::Second).unwrap_or(at);
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A span, in words that grow with it.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A number with a thin space between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}
