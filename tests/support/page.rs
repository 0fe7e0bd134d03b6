//! Runs whose pages are looked at: an ordinary one of any size, and one full of hostile text.

use didit_sync::didit::Class;
use didit_sync::exit::{Condition, Exit};
use didit_sync::ledger::records::{
    EntryId, Origin, RecordedError, Requests, Run, RunEnd, RunFinding, RunId, RunOutcome, Session, State, StateCount,
};
use didit_sync::report::Report;
use didit_sync::token::SessionKind;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Breaks out of whatever does not escape: text, attributes, scripts, JSON.
const HOSTILE: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{2028}\u{202e}&amp;<!--";

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_795_000_000_000 + milliseconds).unwrap()
}

/// An id as random ones are: not one byte of it can be saved.
pub fn id(n: u128) -> Uuid {
    Uuid::from_u128((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn error(class: Class, http_status: Option<u16>, detail: &str) -> RecordedError {
    RecordedError { class, http_status, detail: detail.to_owned() }
}

fn outcome(n: usize) -> RunOutcome {
    let (outcome, status, error) = match n % 25 {
        3 => ("refused", None, Some(error(Class::SourceGone, Some(400), "the original session does not exist"))),
        7 => ("expired", None, Some(error(Class::TokenExpired, None, "the token expired before its turn"))),
        11 => ("unknown", None, Some(error(Class::Timeout, None, "no answer within 30 s"))),
        19 => ("recovered", Some("In Review"), None),
        n if n % 5 == 0 => ("imported", Some("Declined"), None),
        n if n % 2 == 0 => ("imported", Some("Approved"), None),
        _ => ("imported", Some("In Review"), None),
    };
    let n = n as u128;
    let session = |status: &str| Session {
        session_id: id(2 * n),
        session_number: Some(4_000 + n as i64),
        session_url: None,
        status: Some(status.to_owned()),
    };
    RunOutcome {
        manifest: "acme-2026q4".to_owned(),
        label: id(2 * n + 1).to_string(),
        entry: Some(EntryId(n as i64 + 1)),
        outcome: outcome.to_owned(),
        source_session_id: Some(id(2 * n + 1)),
        session: status.map(session),
        session_kind: Some(if n.is_multiple_of(4) { SessionKind::Business } else { SessionKind::User }),
        workflow_id: Some(id(7)),
        vendor_data: Some(format!("acme-customer-{:07}", (n * 7919) % 9_999_991)),
        attempts: 1 + u32::from(error.is_some()),
        error,
        from_application_id: None,
        for_application_id: None,
        expires_at: None,
    }
}

/// 300 at once, and 300 more as each window opens.
fn sends(count: usize) -> Vec<Timestamp> {
    (0..count).map(|n| at((n / 300) as i64 * 60_150 + (n % 300) as i64 * 12)).collect()
}

fn finding(n: usize, rule: &str, severity: &str, message: &str) -> RunFinding {
    RunFinding {
        entry: EntryId(n as i64),
        manifest: "acme-2026q4".to_owned(),
        label: id(2 * n as u128 + 1).to_string(),
        session_id: Some(id(2 * n as u128)),
        rule: rule.to_owned(),
        block: String::new(),
        severity: severity.to_owned(),
        message: message.to_owned(),
        expected: Some(id(7).to_string()),
        actual: Some(id(8).to_string()),
        first_seen: at(n as i64 * 1000),
        new: n.is_multiple_of(2),
    }
}

/// An apply of so many entries, a few of them refused, expired or unknown, with three findings.
pub fn report(entries: usize) -> Report {
    let exit: Exit = [Condition::UnknownOutcome, Condition::Findings, Condition::Partial].into_iter().collect();
    let sends = sends(entries);
    let seconds = sends.last().map_or(0.2, |last| last.duration_since(at(0)).as_secs_f64() + 0.4);
    let outcomes: Vec<RunOutcome> = (0..entries).map(outcome).collect();
    let origin = Origin {
        actor: "ann@ops-1".to_owned(),
        reason: Some("OPS-4711: customers of the north branch".to_owned()),
        reference: Some("4f1c2d9".to_owned()),
    };
    let end = RunEnd {
        at: at(0) + SignedDuration::from_secs_f64(seconds),
        seconds,
        requests: Requests { writes: entries as u64 + 3, reads: entries as u64 * 2, throttled: 1 },
        verified: Some((entries as u64 * 22 / 25, entries as u64 * 22 / 25)),
        error: None,
        conditions: exit.stored(),
    };
    let state = |state, entries| StateCount { manifest: "acme-2026q4".to_owned(), state, entries };
    Report {
        run: Run { id: RunId(7), command: "apply".to_owned(), started_at: at(0), origin, end: Some(end.clone()) },
        end,
        outcomes: outcomes.into(),
        findings: vec![
            finding(2, "workflow-drift", "error", "the session has another workflow"),
            finding(4, "status-unexpected", "error", "imported for review, and is Approved"),
            finding(5, "document-expired", "warning", "a document is past its date"),
        ],
        states: vec![state(State::Imported, 1 + entries as u64), state(State::Refused, 3)],
        waiting: Vec::new(),
        sends: vec![sends],
        writes_per_minute: Some(300),
    }
}

/// A run whose every text is hostile.
pub fn hostile() -> Report {
    let mut report = report(40);
    report.run.origin.actor = HOSTILE.into();
    report.run.origin.reason = Some(HOSTILE.into());
    let mut outcomes: Vec<RunOutcome> = report.outcomes.iter().collect();
    for it in &mut outcomes[..4] {
        it.label = HOSTILE.into();
        it.manifest = HOSTILE.into();
        it.outcome = HOSTILE.into();
        it.vendor_data = Some(HOSTILE.into());
        it.error = Some(error(Class::BadRequest, Some(400), HOSTILE));
        if let Some(session) = &mut it.session {
            session.status = Some(HOSTILE.into());
        }
    }
    report.outcomes = outcomes.into();
    report.findings[0].message = HOSTILE.into();
    report.findings[0].rule = HOSTILE.into();
    report.findings[0].severity = HOSTILE.into();
    report
}
