//! What people read on the terminal. Foreign text is made inert; colour is never the only carrier.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

use super::document::{RunView, advice, count_outcomes};
use crate::console::{Style, paint};
use crate::ledger::records::{Attempt, Record, Run, RunOutcome, State};
use crate::manifest::Manifests;
use crate::plan::{Action, Item, Plan};
use crate::progress::duration;
use crate::text::inert;

/// How many rows of one kind are shown without `-v`.
const ROWS: usize = 20;

/// A table as wide as the terminal.
fn table(header: &[&str], style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(|title| (*title).to_owned()));
    if let Some(width) = style.width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

fn draw(table: &Table) -> String {
    let mut out = String::new();
    for line in table.lines() {
        let _ = writeln!(out, "  {}", line.trim_end());
    }
    out
}

fn short<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| inert(&value.to_string()))
}

fn mark(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Recover => ("?", "36"),
        Action::Import => ("+", "32"),
        Action::Retry => ("~", "33"),
        Action::Unchanged => ("=", "2"),
        Action::Conflict | Action::Expired | Action::NeedsToken | Action::Invalid => ("!", "31"),
        Action::Erased | Action::Orphan => (".", "2"),
    }
}

/// A plan: what would change first, what is unchanged counted.
#[must_use]
pub fn plan(manifests: &Manifests, plan: &Plan, now: Timestamp, style: Style) -> String {
    let mut out = String::new();
    for manifest in &manifests.manifests {
        let app = short(manifest.application.id);
        let _ = writeln!(
            out,
            "{} ({}): {} entries, application {app} at {}",
            manifest.name,
            inert(&manifest.path),
            manifest.entries.len(),
            inert(&manifest.application.base()),
        );
        if manifest.unused_tokens > 0 {
            let _ = writeln!(out, "  {} delivered tokens agree with no entry and are not used", manifest.unused_tokens);
        }
    }
    for action in Action::ALL {
        if matches!(action, Action::Unchanged | Action::Orphan) && style.verbose == 0 {
            continue;
        }
        out += &plan_section(manifests, plan, action, now, style);
    }
    out += "\n";
    out += &plan_summary(plan);
    out
}

fn plan_section(manifests: &Manifests, plan: &Plan, action: Action, now: Timestamp, style: Style) -> String {
    let items: Vec<_> = plan.items.iter().filter(|item| item.action == action).collect();
    if items.is_empty() {
        return String::new();
    }
    let (sign, color) = mark(action);
    let shown = if style.verbose > 0 { items.len() } else { items.len().min(ROWS) };
    let mut table = table(&["", "id", "kind", "workflow", "vendor_data", "expires in", ""], style);
    for item in &items[..shown] {
        table.add_row([
            paint(style.color, color, sign),
            inert(&item.id),
            short(item.session_kind),
            item.workflow_id.map_or_else(|| "-".to_owned(), |id| id.to_string()[..8].to_owned()),
            short(item.vendor_data.as_deref()),
            expiry(manifests, item, now),
            notes(item),
        ]);
    }
    let title = format!("{sign} {action}: {}", items.len());
    let mut out = format!("\n{}\n{}", paint(style.color, color, &title), draw(&table));
    if shown < items.len() {
        let _ = writeln!(out, "  ... and {} more (-v shows all)", items.len() - shown);
    }
    out
}

fn expiry(manifests: &Manifests, item: &Item, now: Timestamp) -> String {
    let entry = item.entry.and_then(|(m, e)| manifests.manifests.get(m)?.entries.get(e));
    let is_minted = entry.is_some_and(|entry| entry.mint().is_some());
    match item.expires_at {
        None if is_minted && item.action.is_pending() => "minted".to_owned(),
        None => "-".to_owned(),
        Some(at) if at <= now => "expired".to_owned(),
        Some(at) => duration(at.duration_since(now).as_secs().unsigned_abs()),
    }
}

fn notes(item: &Item) -> String {
    let trusted = (item.trust_review == Some(true) && item.action.is_pending()).then(|| "TRUSTED".to_owned());
    let reason = item.reason.as_deref().map(inert);
    trusted.into_iter().chain(reason).collect::<Vec<_>>().join(" ")
}

fn plan_summary(plan: &Plan) -> String {
    let counts: Vec<String> = Action::ALL
        .into_iter()
        .filter_map(|action| match plan.count(action) {
            0 => None,
            count => Some(format!("{count} {action}")),
        })
        .collect();
    let mut out =
        if counts.is_empty() { "Nothing is listed.\n".to_owned() } else { format!("Plan: {}.\n", counts.join(", ")) };
    if plan.pending() > 0 {
        let forecast = plan.forecast;
        let time = match forecast.seconds {
            0 => "a few seconds".to_owned(),
            seconds => format!("about {}", duration(seconds)),
        };
        let (writes, reads) = (counted(forecast.writes as usize, "write"), counted(forecast.reads as usize, "read"));
        let _ = writeln!(out, "Forecast: {writes}, {reads}, {time}.");
        if forecast.trusted > 0 {
            let imports = counted(forecast.trusted as usize, "new import");
            let _ = writeln!(out, "  {imports} with trust_review: true, which takes over the partner's status.");
        }
        out += &late(plan);
    } else {
        out += "Nothing to send.\n";
    }
    out
}

/// Which tokens die before their turn, and what would save them.
fn late(plan: &Plan) -> String {
    const SHOWN: usize = 3;
    let items = &plan.late.items;
    let Some(remedy) = plan.late.remedy.filter(|_| !items.is_empty()) else { return String::new() };
    let mut names: Vec<String> = items.iter().take(SHOWN).map(|index| inert(&plan.items[*index].id)).collect();
    if items.len() > SHOWN {
        names.push(format!("and {} more", items.len() - SHOWN));
    }
    let tokens = counted(items.len(), "token");
    let mut out = format!("  {tokens} will expire before their turn and not be sent: {}.\n", names.join(", "));
    let _ = writeln!(
        out,
        "  To save them: let them live {} longer, or mint them here (`partners`); or send {} times a minute, where Didit \
         allows it or with a second key; or leave out as many entries that go before them.",
        duration(remedy.longer_seconds),
        remedy.writes_per_minute,
    );
    out
}

/// A run: totals, what needs attention, findings.
#[must_use]
pub fn run(command: &str, view: &RunView<'_>, style: Style) -> String {
    let mut out = String::new();
    if !view.outcomes.is_empty() {
        out += &troubles(view.outcomes, style);
    }
    out += &findings(view, style);
    let counts: Vec<String> = count_outcomes(view.outcomes)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    let what = if command == "audit" { "Audit" } else { "Run" };
    let totals = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    let _ = writeln!(out, "{what} {}{totals}.", view.run.0);
    if let Some((sessions, checked)) = view.verified.filter(|(sessions, _)| *sessions > 0) {
        let errors = view.findings.iter().filter(|it| it.is_error()).count();
        let (errors, findings) = (counted(errors, "error"), counted(view.findings.len(), "finding"));
        let _ = writeln!(out, "Verified {checked} of {sessions} sessions: {errors}, {findings}.");
    }
    let requests = view.requests;
    let _ = writeln!(
        out,
        "{} writes, {} reads, throttled {} times, {:.1} s.",
        requests.writes, requests.reads, requests.throttled, view.seconds
    );
    if let Some(error) = view.error {
        let _ = writeln!(out, "{}: {}", paint(style.color, "1;31", "stopped"), inert(&error.message));
    }
    out
}

fn troubles(outcomes: &[RunOutcome], style: Style) -> String {
    let troubled: Vec<_> = outcomes.iter().filter(|it| it.error.is_some() || it.outcome == "conflict").collect();
    if troubled.is_empty() {
        return String::new();
    }
    let shown = if style.verbose > 0 { troubled.len() } else { troubled.len().min(ROWS) };
    let mut out = String::new();
    for it in &troubled[..shown] {
        let sign = paint(style.color, "31", "!");
        let _ = writeln!(out, "{sign} {} {}", inert(&it.label), it.outcome.replace('_', " "));
        let Some(error) = &it.error else { continue };
        let _ = writeln!(out, "    {}: {}", error.class, inert(&error.detail));
        let _ = writeln!(out, "    → {}", advice(error.class, &it.label, it.outcome == "unknown"));
    }
    if shown < troubled.len() {
        let _ = writeln!(out, "... and {} more (-v shows all)", troubled.len() - shown);
    }
    out + "\n"
}

fn findings(view: &RunView<'_>, style: Style) -> String {
    let mut out = String::new();
    let shown = if style.verbose > 0 { view.findings.len() } else { view.findings.len().min(ROWS) };
    for it in &view.findings[..shown] {
        let color = if it.is_error() { "1;31" } else { "33" };
        let age = if it.new { "new".to_owned() } else { format!("since {:.0}", it.first_seen) };
        let _ = writeln!(
            out,
            "{} {} {}: {} ({age})",
            paint(style.color, color, &it.severity),
            it.rule,
            inert(&it.label),
            inert(&it.message)
        );
        if let (Some(expected), Some(actual)) = (&it.expected, &it.actual) {
            let _ = writeln!(out, "    expected {}, found {}", inert(expected), inert(actual));
        }
    }
    if shown < view.findings.len() {
        let _ = writeln!(out, "... and {} more (-v shows all)", view.findings.len() - shown);
    }
    if !out.is_empty() {
        out += "\n";
    }
    out
}

/// Totals of the ledger.
#[must_use]
pub fn totals(records: &[Record]) -> String {
    let mut out = format!("{} entries\n", records.len());
    for state in State::ALL {
        let count = records.iter().filter(|record| record.state == state).count();
        if count > 0 {
            let _ = writeln!(out, "  {state:9} {count}");
        }
    }
    out
}

/// Entries, one a line.
#[must_use]
pub fn entries<'a>(records: impl Iterator<Item = &'a Record>, style: Style) -> String {
    let mut table = table(&["id", "state", "kind", "session", "status", "vendor_data"], style);
    for record in records {
        let session = record.session.as_ref();
        table.add_row([
            inert(&record.label),
            record.state.to_string(),
            short(record.session_kind),
            short(session.map(|session| session.session_id)),
            short(session.and_then(|session| session.status.as_deref())),
            short(record.settings.vendor_data.as_deref()),
        ]);
    }
    draw(&table)
}

/// One entry with every attempt.
#[must_use]
pub fn entry(record: &Record, attempts: &[Attempt], run: Option<&Run>) -> String {
    let session = record.session.as_ref();
    let mut out = format!("{} ({})\n", inert(&record.label), inert(&record.manifest));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:15} {value}");
    };
    line("state", record.state.to_string());
    line("source session", short(record.source_session_id));
    line("session", short(session.map(|session| session.session_id)));
    line("status", short(session.and_then(|session| session.status.as_deref())));
    line("kind", short(record.session_kind));
    line("workflow", short(record.settings.workflow_id));
    line("trust_review", short(record.settings.trust_review));
    line("vendor_data", short(record.settings.vendor_data.as_deref()));
    line("imported at", short(record.imported_at));
    line("place", inert(&record.place));
    if let Some(run) = run {
        let reason = run.origin.reason.as_deref().map_or_else(String::new, |reason| format!(", {}", inert(reason)));
        line("run", format!("{} by {}{reason}", run.id.0, inert(&run.origin.actor)));
    }
    if let Some(error) = &record.error {
        line("error", format!("{}: {}", error.class, inert(&error.detail)));
        let is_open = matches!(record.state, State::Unknown | State::Sending);
        line("advice", advice(error.class, &record.label, is_open));
    }
    for attempt in attempts {
        let said = attempt.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", inert(detail)));
        let status = attempt.http_status.map_or_else(String::new, |status| format!(" HTTP {status}"));
        let _ = writeln!(
            out,
            "  attempt {:<7} {} run {} token {}{status} {}{said}",
            attempt.number, attempt.sent_at, attempt.run.0, attempt.token, attempt.outcome
        );
    }
    out
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A cell of a CSV: one that a spreadsheet would take for a formula is led by an apostrophe.
#[must_use]
pub fn csv_cell(text: &str) -> String {
    let inert = inert(text);
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{inert}") } else { inert }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert!(csv_cell(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(csv_cell("partner-1"), "partner-1");
    }
}
