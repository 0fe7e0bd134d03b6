//! Snapshots of what people read. The tables are drawn for a pipe: no colour, no width.

mod kinds;

use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::document::{ApplyDocument, Entries, LedgerRef, RunView, StatusDocument};
use super::outcomes::{Outcomes, Rows};
use super::text;
use crate::console::{LogFormat, Style};
use crate::didit::Class;
use crate::exit::{Condition, Exit};
use crate::ledger::LedgerError;
use crate::ledger::records::{
    Attempt, EntryId, Origin, Receiver, Record, RecordedError, Requests, Run, RunFinding, RunId, RunOutcome, Session,
    Settings, State,
};
use crate::manifest::{Application, Digest, Limits, Manifest, Manifests, SecretRef};
use crate::plan::{Action, Forecast, Item, Late, Plan, Remedy};
use crate::token::{FingerprintKey, SessionKind};
use crate::verify::Expectations;

const STYLE: Style =
    Style { color: false, color_err: false, quiet: false, verbose: 0, log_format: LogFormat::Text, width: None };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x1111_1111_2222_4333_8444_0000_0000_0000 + n)
}

fn manifests() -> Manifests {
    let manifest = Manifest {
        partners: Vec::new(),
        path: "manifests/acme.yaml".to_owned(),
        name: "acme-2026q4".to_owned(),
        digest: Digest::known("0".repeat(64)),
        application: Application {
            id: Some(id(1)),
            base_url: Url::parse("https://verification.didit.me").unwrap(),
            api_key: SecretRef::Env("DIDIT_API_KEY".to_owned()),
        },
        limits: Limits::default(),
        expect: Expectations::default(),
        entries: Vec::new(),
        unused_tokens: 2,
        patterns: Vec::new(),
    };
    Manifests { manifests: vec![manifest], warnings: Vec::new() }
}

fn item(n: u128, label: &str, action: Action, reason: Option<&str>) -> Item {
    Item {
        manifest: "acme-2026q4".to_owned(),
        id: label.to_owned(),
        action,
        reason: reason.map(str::to_owned),
        source_session_id: Some(id(n)),
        session_kind: Some(if n.is_multiple_of(2) { SessionKind::User } else { SessionKind::Business }),
        workflow_id: Some(id(99)),
        trust_review: Some(n == 10),
        vendor_data: Some(format!("partner-{n}")),
        expires_at: Some(at(if action == Action::Expired { -60 } else { 5400 })),
        session_id: None,
        place: format!("people.csv:{n}"),
        entry: Some((0, 0)),
        record: None,
    }
}

#[test]
fn a_plan_shows_what_changes_first_and_counts_the_rest() {
    let plan = Plan::of(
        vec![
            item(10, "carmen", Action::Import, None),
            item(11, "evil\u{202e}\u{1b}[2Jid", Action::Import, None),
            item(12, "lost", Action::Recover, Some("a request was sent and its outcome is not known yet")),
            item(13, "done", Action::Unchanged, None),
            item(14, "late", Action::Expired, Some("the token has expired; the partner has to mint a new one")),
            item(15, "other", Action::Conflict, Some("imported with another workflow_id, which Didit can't change")),
        ],
        Forecast { writes: 3, reads: 7, seconds: 0, expire_before_turn: 0, trusted: 1 },
        Late::default(),
    );
    insta::assert_snapshot!("plan", text::plan(&manifests(), &plan, at(0), STYLE));
    let nothing = Plan::default();
    insta::assert_snapshot!("plan_of_nothing", text::plan(&manifests(), &nothing, at(0), STYLE));
}

/// What is marked is marked in words at any width, also where not every row is shown.
#[test]
fn a_plan_fits_the_terminal_and_leaves_out_nothing_that_deserves_a_look() {
    let mut items: Vec<Item> = (20..50).map(|n| item(n, &id(n).to_string(), Action::Import, None)).collect();
    items[27].trust_review = Some(true);
    items[28].expires_at = Some(at(300));
    items.push(item(
        50,
        "other",
        Action::Conflict,
        Some("imported with another workflow_id, which Didit can't change"),
    ));
    let forecast = Forecast { writes: 30, reads: 32, seconds: 0, expire_before_turn: 0, trusted: 1 };
    let late = Late { items: vec![29], remedy: Some(Remedy { longer_seconds: 60, writes_per_minute: 450 }) };
    let plan = Plan::of(items, forecast, late);
    for width in [40, 80, 200] {
        let text = text::plan(&manifests(), &plan, at(0), Style { width: Some(width), ..STYLE });
        insta::assert_snapshot!(format!("plan_at_{width}"), text);
    }
}

#[test]
fn a_plan_names_the_tokens_that_die_before_their_turn_and_says_what_would_save_them() {
    let items = (0..5).map(|n| item(n, &format!("e{n}"), Action::Import, None)).collect();
    let plan = Plan::of(
        items,
        Forecast { writes: 1, reads: 3, seconds: 0, expire_before_turn: 4, trusted: 0 },
        Late { items: vec![1, 2, 3, 4], remedy: Some(Remedy { longer_seconds: 5 * 60, writes_per_minute: 450 }) },
    );
    let text = text::plan(&manifests(), &plan, at(0), STYLE);
    let told = text.split_once("Forecast:").unwrap().1;
    insta::assert_snapshot!("plan_late", told);
}

fn outcome(label: &str, outcome: &str, error: Option<(Class, Option<u16>, &str)>) -> RunOutcome {
    RunOutcome {
        manifest: "acme-2026q4".to_owned(),
        label: label.to_owned(),
        entry: Some(EntryId(1)),
        outcome: outcome.to_owned(),
        source_session_id: Some(id(2)),
        session: None,
        session_kind: Some(SessionKind::User),
        workflow_id: Some(id(99)),
        vendor_data: None,
        attempts: 1,
        error: error.map(|(class, http_status, detail)| RecordedError {
            class,
            http_status,
            detail: detail.to_owned(),
        }),
        from_application_id: Some(id(5)),
        for_application_id: Some(id(1)),
        expires_at: Some(at(5400)),
    }
}

#[test]
fn a_run_tells_what_needs_attention_before_its_totals() {
    let outcomes = vec![
        outcome("a", "imported", None),
        outcome("b", "refused", Some((Class::SourceGone, Some(400), "the original session does not exist"))),
        outcome("c", "unknown", Some((Class::Timeout, None, "no answer within 30 s; 2 sessions may be this entry's"))),
        outcome("d", "conflict", None),
    ];
    let finding = RunFinding {
        entry: EntryId(1),
        manifest: "acme-2026q4".to_owned(),
        label: "a".to_owned(),
        session_id: Some(id(3)),
        rule: "workflow-drift".to_owned(),
        block: String::new(),
        severity: "error".to_owned(),
        message: "the session has another workflow".to_owned(),
        expected: Some(id(99).to_string()),
        actual: Some(id(98).to_string()),
        first_seen: at(0),
        new: true,
    };
    let exit: Exit = [Condition::UnknownOutcome, Condition::Partial].into_iter().collect();
    let view = RunView {
        run: RunId(7),
        seconds: 61.25,
        requests: Requests { writes: 5, reads: 9, throttled: 1 },
        verified: Some((2, 1)),
        outcomes: &outcomes.into(),
        findings: &[finding],
        error: None,
        exit: &exit,
        verification_exit: &exit,
    };
    insta::assert_snapshot!("run", text::run("apply", &view, STYLE));
}

#[test]
fn an_entry_is_shown_with_every_attempt() {
    let record = Record {
        id: EntryId(1),
        manifest: "acme-2026q4".to_owned(),
        label: "carmen".to_owned(),
        receiver: Receiver { application_id: None, base_url: "https://verification.didit.me".to_owned(), key: None },
        source_session_id: Some(id(2)),
        source_hash: None,
        token: None,
        from_application_id: None,
        session_kind: Some(SessionKind::User),
        state: State::Imported,
        settings: Settings {
            workflow_id: Some(id(99)),
            trust_review: Some(true),
            vendor_data: Some("=cmd()".to_owned()),
        },
        answer_lost: false,
        answered: true,
        attempts: 2,
        first_sent_at: Some(at(0)),
        session: Some(Session {
            session_id: id(3),
            session_number: Some(43_762),
            session_url: None,
            status: Some("Approved".to_owned()),
        }),
        imported_at: Some(at(2)),
        error: None,
        place: "people.csv:7".to_owned(),
        run: RunId(1),
        audited_at: None,
    };
    let attempt = |number, outcome: &str, class, detail: Option<&str>| Attempt {
        run: RunId(1),
        number,
        sent_at: at(i64::from(number)),
        answered_at: None,
        outcome: outcome.to_owned(),
        http_status: None,
        class,
        detail: detail.map(str::to_owned),
        session_id: None,
        token: FingerprintKey::from_bytes([1; 32]).fingerprint(b"token").to_string(),
    };
    let attempts = [
        attempt(1, "unknown", Some(Class::Timeout), Some("no answer within 30 s")),
        attempt(2, "imported", None, None),
    ];
    let run = Run {
        id: RunId(1),
        command: "apply".to_owned(),
        started_at: at(0),
        origin: Origin { actor: "ann@host".to_owned(), reason: Some("TICKET-7".to_owned()), reference: None },
        end: None,
    };
    insta::assert_snapshot!("entry", text::entry(&record, &attempts, Some(&run)));
    insta::assert_snapshot!("totals", text::totals(&[(record.state, 1), (State::Refused, 0)]));
    insta::assert_snapshot!("entries", text::entries(&[(&record).into()], STYLE));
}

/// A document that is begun is ended: of a ledger that turns out to be damaged, its exit says so.
#[test]
fn a_document_of_entries_says_at_its_end_that_not_all_could_be_read() {
    let damaged = LedgerError::Corrupt { path: "state/ledger.db".into(), detail: "page 7".to_owned() };
    let (ledger, counts, exit) = (LedgerRef::new(None), [(State::Imported, 2)], Exit::ok());
    let runs = std::collections::HashMap::new();
    for (rows, code) in [(vec![], 0), (vec![Err(damaged)], 12)] {
        let entries = Entries::new(rows.into_iter(), &runs);
        let document = serde_json::to_value(StatusDocument::new(ledger, &counts, &entries, &exit)).unwrap();
        assert_eq!((&document["entries"], &document["summary"]["imported"]), (&serde_json::json!([]), &2.into()));
        assert_eq!(document["exit"]["code"], code);
        assert_eq!(entries.failed().is_some(), code == 12);
    }
}

/// The same of a run's document: it is told of the rows that could be read, and why there are no more.
#[test]
fn a_document_of_a_run_says_at_its_end_that_not_all_could_be_read() {
    for is_damaged in [false, true] {
        let rows = move || {
            let damaged = LedgerError::Corrupt { path: "state/ledger.db".into(), detail: "page 7".to_owned() };
            let told = std::iter::once(Ok(outcome("maria", "imported", None)));
            Box::new(told.chain(is_damaged.then_some(Err(damaged)))) as Rows
        };
        let outcomes = Outcomes::new([("imported", 1)], rows);
        let view = RunView {
            run: RunId(1),
            seconds: 1.0,
            requests: Requests::default(),
            verified: None,
            outcomes: &outcomes,
            findings: &[],
            error: None,
            exit: &Exit::ok(),
            verification_exit: &Exit::ok(),
        };
        let document = serde_json::to_value(ApplyDocument::new(view)).unwrap();
        let code = if is_damaged { 12 } else { 0 };
        assert_eq!((document["imports"].as_array().unwrap().len(), &document["exit"]["code"]), (1, &code.into()));
        assert_eq!(document["error"]["code"].as_u64(), is_damaged.then_some(12));
    }
}
