//! `markdown`: for a pull request or the summary of a CI step. The worst first, within a budget of bytes; what does not
//! fit is counted.
//!
//! Foreign text stands in code spans, whose fences are longer than any run of backticks in it: there it can't be HTML,
//! a link, a mention or anything else. Secrets are masked before, while they still have their form.

use std::collections::HashSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::Report;
use super::document::advice;
use super::text::counted;
use crate::ledger::records::{RunFinding, RunOutcome};
use crate::manifest::Manifests;
use crate::plan::{Action, Item, Plan};
use crate::progress::duration;
use crate::text::inert;

/// How long a comment on a pull request may be, in bytes: GitHub takes 65,536 characters.
pub const COMMENT: usize = 65_000;

/// How long the summary of a step may be, in bytes: GitHub takes a mebibyte.
pub const STEP_SUMMARY: usize = 1_000_000;

/// What is kept free for telling what was cut.
const RESERVE: usize = 2_000;

/// Within how many seconds a token's end is marked; tokens live for an hour, if nobody says otherwise.
const SOON: i64 = 900;

/// How much of a foreign text is shown, in characters.
const SHOWN: usize = 300;

/// Outcomes and findings, the worst first; the words say what they are.
const SECTIONS: [(Rows, &str); 13] = [
    (Rows::Outcome("unknown"), "outcome unknown"),
    (Rows::Finding("error"), "findings of severity error"),
    (Rows::Outcome("refused"), "refused"),
    (Rows::Outcome("conflict"), "in conflict with what was imported"),
    (Rows::Outcome("expired"), "expired, the partner has to mint a new token"),
    (Rows::Outcome("needs_token"), "without a token"),
    (Rows::Outcome("not_sent"), "not sent"),
    (Rows::Finding("warning"), "findings of severity warning"),
    (Rows::Finding("info"), "findings of severity info"),
    (Rows::Outcome("recovered"), "recovered"),
    (Rows::Outcome("imported"), "imported"),
    (Rows::Outcome("erased"), "erased"),
    (Rows::Outcome("unchanged"), "unchanged"),
];

/// Actions of a plan, the worst first.
const ACTIONS: [Action; 10] = [
    Action::Invalid,
    Action::Conflict,
    Action::Expired,
    Action::NeedsToken,
    Action::Recover,
    Action::Retry,
    Action::Import,
    Action::Orphan,
    Action::Erased,
    Action::Unchanged,
];

/// Rows of a section.
#[derive(Clone, Copy)]
enum Rows {
    /// Entries of this outcome.
    Outcome(&'static str),
    /// Findings of this severity.
    Finding(&'static str),
}

/// A run.
#[must_use]
pub fn run(report: &Report, budget: usize) -> String {
    let mut page = Page::new(head(report), budget);
    for (rows, title) in SECTIONS {
        match rows {
            Rows::Outcome(name) => {
                let rows = report.outcomes.iter().filter(|it| it.outcome == name);
                page.section(title, report.outcomes.count(name) as usize, rows.map(|it| entry(&it)));
            }
            Rows::Finding(severity) => {
                let rows = || report.findings.iter().filter(|it| it.severity == severity);
                page.section(title, rows().count(), rows().map(finding));
            }
        }
    }
    page.end()
}

fn head(report: &Report) -> String {
    let exit = report.exit();
    let mut out = format!("## didit-sync {}, run {}: {}\n\n", report.run.command, report.run.id.0, exit.name());
    let counts: Vec<String> = (report.outcomes.counts().iter())
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    if !counts.is_empty() {
        let _ = writeln!(out, "**{}.**", counts.join(", "));
    }
    if let Some(error) = &report.end.error {
        let _ = writeln!(out, "\nStopped: {}\n", code(&error.message));
    }
    if let Some((sessions, checked)) = report.end.verified {
        let errors = counted(report.findings.iter().filter(|it| it.is_error()).count(), "error");
        let findings = counted(report.findings.len(), "finding");
        let _ = writeln!(out, "Verified {checked} of {sessions} sessions: {errors}, {findings}.");
    }
    let requests = report.end.requests;
    let _ = writeln!(
        out,
        "{} writes, {} reads, throttled {} times, {:.1} s. Exit {}.",
        requests.writes,
        requests.reads,
        requests.throttled,
        report.end.seconds,
        exit.code()
    );
    let origin = &report.run.origin;
    let _ = write!(out, "By {}", code(&origin.actor));
    for (name, text) in [("reason", &origin.reason), ("ref", &origin.reference)] {
        if let Some(text) = text {
            let _ = write!(out, ", {name} {}", code(text));
        }
    }
    let _ = writeln!(out, ", at {:.0}.", report.end.at);
    out
}

fn entry(it: &RunOutcome) -> String {
    let mut line = format!("- {} ({})", code(&it.label), code(&it.manifest));
    if let Some(session) = &it.session {
        let _ = write!(line, ": session {}", code(&session.session_id.to_string()));
        if let Some(status) = &session.status {
            let _ = write!(line, ", {}", code(status));
        }
    }
    if let Some(error) = &it.error {
        let status = error.http_status.map_or_else(String::new, |status| format!(" (HTTP {status})"));
        let advice = advice(error.class, &it.label, it.outcome == "unknown");
        let _ = write!(line, ": {}{status}: {} → {}", error.class, code(&error.detail), code(&advice));
    }
    if let Some(vendor_data) = &it.vendor_data {
        let _ = write!(line, "; vendor data {}", code(vendor_data));
    }
    line
}

fn finding(it: &RunFinding) -> String {
    let age = if it.new { "new".to_owned() } else { format!("since {:.0}", it.first_seen) };
    let mut line =
        format!("- {} {} ({}), {age}: {}", code(&it.rule), code(&it.label), code(&it.manifest), code(&it.message));
    if let (Some(expected), Some(actual)) = (&it.expected, &it.actual) {
        let _ = write!(line, ": expected {}, found {}", code(expected), code(actual));
    }
    line
}

/// A plan as a comment on the pull request that asks for it.
#[must_use]
pub fn plan(manifests: &Manifests, plan: &Plan, now: Timestamp, budget: usize) -> String {
    let mut page = Page::new(plan_head(manifests, plan), budget);
    let late: HashSet<usize> = plan.late.items.iter().copied().collect();
    for action in ACTIONS {
        let mut items: Vec<usize> = plan.with(|it| it == action).collect();
        let is_trusted = |index: usize| plan.trust_review(index) == Some(true) && action.is_pending();
        items.sort_by_key(|index| (!late.contains(index), !is_trusted(*index)));
        let lines = items.into_iter().map(|index| planned(&plan.item(index), late.contains(&index), now));
        page.section(action.as_str(), plan.count(action) as usize, lines);
    }
    page.end()
}

fn plan_head(manifests: &Manifests, plan: &Plan) -> String {
    let mut out = format!("## didit-sync plan: {} to send\n\n", plan.pending());
    for manifest in &manifests.manifests {
        let application = manifest.application.id.map_or_else(|| "untold".to_owned(), |id| code(&id.to_string()));
        let _ = writeln!(
            out,
            "{} ({}): {} entries, application {application} at {}.",
            code(&manifest.name),
            code(&manifest.path),
            manifest.entries.len(),
            code(&manifest.application.base()),
        );
    }
    let counts: Vec<String> = ACTIONS
        .into_iter()
        .map(|action| (plan.count(action), action))
        .filter(|(count, _)| *count > 0)
        .map(|(count, action)| format!("{count} {action}"))
        .collect();
    let counts = if counts.is_empty() { "nothing is listed".to_owned() } else { counts.join(", ") };
    let _ = writeln!(out, "\n**{counts}.**");
    let forecast = plan.forecast;
    if plan.pending() > 0 {
        let time = if forecast.seconds == 0 {
            "a few seconds".to_owned()
        } else {
            format!("about {}", duration(forecast.seconds))
        };
        let _ = writeln!(out, "Forecast: {} writes, {} reads, {time}.", forecast.writes, forecast.reads);
    }
    if forecast.trusted > 0 {
        let imports = counted(forecast.trusted as usize, "new import");
        let _ = writeln!(out, "\n⚠️ **{imports} with trust_review: true**, which takes over the partner's status.");
    }
    if !plan.late.items.is_empty() {
        let tokens = counted(plan.late.items.len(), "token");
        let _ = writeln!(out, "\n⚠️ **{tokens} will expire before their turn** and not be sent.");
    }
    out
}

fn is_trusted(item: &Item) -> bool {
    item.trust_review == Some(true) && item.action.is_pending()
}

fn planned(item: &Item, is_late: bool, now: Timestamp) -> String {
    let mut line = format!("- {} ({})", code(&item.id), code(&item.place));
    if is_trusted(item) {
        line += " **TRUSTED**";
    }
    if let Some(kind) = item.session_kind {
        let _ = write!(line, " {kind}");
    }
    if let Some(workflow) = item.workflow_id {
        let _ = write!(line, ", workflow {}", code(&workflow.to_string()));
    }
    if let Some(vendor_data) = &item.vendor_data {
        let _ = write!(line, ", vendor data {}", code(vendor_data));
    }
    if let Some(at) = item.expires_at.filter(|_| item.action.is_pending()) {
        let left = duration(at.duration_since(now).as_secs().unsigned_abs());
        let told = if at <= now { "the token has expired".to_owned() } else { format!("the token expires in {left}") };
        let is_soon = is_late || at.duration_since(now).as_secs() < SOON;
        let _ = write!(line, ", {}", if is_soon { format!("**{told}**") } else { told });
    }
    if is_late {
        line += ", **before its turn**";
    }
    if let Some(reason) = &item.reason {
        let _ = write!(line, ": {}", code(reason));
    }
    line
}

/// Text within a budget.
pub(super) struct Page {
    out: String,
    budget: usize,
    cut: Vec<(String, usize)>,
}

impl Page {
    pub(super) fn new(head: String, budget: usize) -> Self {
        Self { out: head, budget: budget.saturating_sub(RESERVE), cut: Vec::new() }
    }

    /// Lines under a title that counts them. After the first line that does not fit none is written.
    pub(super) fn section(&mut self, title: &str, count: usize, lines: impl Iterator<Item = String>) {
        if count == 0 {
            return;
        }
        let mut left = count;
        let mut text = format!("\n### {title}: {count}\n\n");
        for line in Some(lines).filter(|_| self.cut.is_empty()).into_iter().flatten() {
            if self.out.len() + text.len() + line.len() + 1 > self.budget {
                break;
            }
            text += &line;
            text.push('\n');
            self.out += &std::mem::take(&mut text);
            left -= 1;
        }
        if left > 0 {
            self.cut.push((title.to_owned(), left));
        }
    }

    pub(super) fn end(mut self) -> String {
        if !self.cut.is_empty() {
            let total: usize = self.cut.iter().map(|(_, count)| count).sum();
            let told: Vec<String> = self.cut.iter().map(|(title, count)| format!("{title}: {count}")).collect();
            let _ = write!(self.out, "\n**{total} lines did not fit and are left out**: {}.\n", told.join("; "));
        }
        self.out
    }
}

/// Foreign text as a code span on one line.
pub(super) fn code(text: &str) -> String {
    let mut text = inert(&crate::mask::masked(text));
    if let Some((at, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(at);
        text.push('…');
    }
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let is_edgy = |c: char| c == '`' || c == ' ';
    let space = if text.starts_with(is_edgy) || text.ends_with(is_edgy) { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_can_not_leave_its_span() {
        for (text, span) in [
            ("plain", "`plain`"),
            ("a`b", "``a`b``"),
            ("``", "``` `` ```"),
            ("<script>@ann|", "`<script>@ann|`"),
            ("a\n# b", "`a\\n# b`"),
            (" ", "(empty)"),
            ("\u{202e}x", "`\\u{202e}x`"),
            ("sk_live_0123456789abcdef", "`(masked)`"),
        ] {
            assert_eq!(code(text), span);
        }
        assert_eq!(code(&"x".repeat(400)).chars().count(), SHOWN + 3);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nothing_later_slips_in() {
        let mut page = Page::new("head\n".to_owned(), RESERVE + 60);
        page.section("worst", 3, (0..3).map(|n| format!("- {n}{}", "x".repeat(10))));
        page.section("rest", 1, std::iter::once("-".to_owned()));
        let text = page.end();
        assert!(text.len() < RESERVE + 60 && text.contains("- 0") && !text.contains("- 2x"), "{text}");
        assert!(text.ends_with("lines did not fit and are left out**: worst: 1; rest: 1.\n"), "{text}");
    }
}
