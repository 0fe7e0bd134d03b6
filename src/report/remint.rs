//! `remint`: what to ask the partner for, as a table to send: the sessions for which no usable token is there.

use jiff::Timestamp;
use uuid::Uuid;

use super::kind::RenderError;
use super::{Report, csv};
use crate::didit::Class;
use crate::ledger::records::RunOutcome;

/// The columns.
pub const HEADER: [&str; 6] =
    ["id", "source_session_id", "from_application_id", "for_application_id", "reason", "expired_at"];

/// The table; of an audit, which needs no tokens, the header alone.
pub fn render(report: &Report) -> Result<String, RenderError> {
    csv::lines(&HEADER, report.outcomes.iter().filter_map(|it| row(&it, report.end.at)))
}

fn row(it: &RunOutcome, at: Timestamp) -> Option<Vec<String>> {
    let reason = reason(it)?;
    let is_told = matches!(reason, "expired" | "token_expired");
    let expired_at = it.expires_at.filter(|expires| is_told || *expires <= at);
    let id = |id: Option<Uuid>| id.map_or_else(String::new, |id| id.to_string());
    Some(vec![
        it.label.clone(),
        id(it.source_session_id),
        id(it.from_application_id),
        id(it.for_application_id),
        reason.to_owned(),
        expired_at.map_or_else(String::new, |at| at.to_string()),
    ])
}

/// Why the partner has to mint again; `None` where that would not help.
fn reason(it: &RunOutcome) -> Option<&'static str> {
    match it.outcome.as_str() {
        "expired" => Some("expired"),
        "needs_token" => Some("needs_token"),
        "refused" => it
            .error
            .as_ref()
            .map(|error| error.class)
            .filter(|class| matches!(class, Class::TokenExpired | Class::TokenInvalid))
            .map(Class::as_str),
        _ => None,
    }
}
