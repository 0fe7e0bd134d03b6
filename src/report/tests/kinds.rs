//! Snapshots of every kind of report, with texts that try to be more than text.

use super::*;
use crate::ledger::records::{RunEnd, RunError, StateCount};
use crate::report::csv::{FINDING_KEYS, IMPORT_KEYS};
use crate::report::{Kind, Report, markdown};

/// A formula, markup, a mention, quotes, control and bidi characters, and a key in the wrong place.
const EVIL: &str = "=cmd|' /C'!A0\"</pre><script>alert(1)</script>`**@ann**`]]>&\u{202e}\u{1b}[2J\n# x {a=\"b\"} sk_live_0123456789abcdef01";

fn origin() -> Origin {
    Origin { actor: "ann@host".to_owned(), reason: Some(EVIL.to_owned()), reference: Some("TICKET-7".to_owned()) }
}

fn report(command: &str) -> Report {
    let session = Session {
        session_id: id(3),
        session_number: Some(43_762),
        session_url: Some("https://verify.didit.me/x".to_owned()),
        status: Some("In Review".to_owned()),
    };
    let dead = |label: &str, class| outcome(label, "refused", Some((class, Some(400), "no")));
    let outcomes = vec![
        RunOutcome {
            expires_at: Some(at(-60)),
            ..outcome("dead", "expired", Some((Class::TokenExpired, None, "late")))
        },
        RunOutcome { vendor_data: Some(EVIL.to_owned()), ..dead(EVIL, Class::SourceGone) },
        RunOutcome { session: Some(session), ..outcome("fine", "imported", None) },
        RunOutcome { expires_at: None, ..outcome("later", "needs_token", None) },
        RunOutcome { expires_at: Some(at(7200)), ..outcome("left", "not_sent", None) },
        outcome("lost", "unknown", Some((Class::Timeout, None, EVIL))),
        dead("refused", Class::TokenInvalid),
    ];
    let finding = |label: &str, rule: &str, severity: &str, message: &str| RunFinding {
        entry: EntryId(1),
        manifest: "acme-2026q4".to_owned(),
        label: label.to_owned(),
        session_id: Some(id(3)),
        rule: rule.to_owned(),
        block: String::new(),
        severity: severity.to_owned(),
        message: message.to_owned(),
        expected: Some(EVIL.to_owned()),
        actual: Some("no".to_owned()),
        first_seen: at(0),
        new: severity == "error",
    };
    let count = |state, entries| StateCount { manifest: "acme-2026q4".to_owned(), state, entries };
    let exit: Exit = [Condition::UnknownOutcome, Condition::Partial].into_iter().collect();
    Report {
        run: Run { id: RunId(7), command: command.to_owned(), started_at: at(0), origin: origin(), end: None },
        end: RunEnd {
            at: at(61),
            seconds: 61.25,
            requests: Requests { writes: 5, reads: 9, throttled: 1 },
            verified: Some((2, 1)),
            error: Some(RunError { code: 69, name: "unavailable".to_owned(), message: EVIL.to_owned() }),
            conditions: exit.stored(),
        },
        outcomes: if command == "audit" { Vec::new() } else { outcomes }.into(),
        findings: vec![
            finding("fine", "workflow-drift", "error", "the session has another workflow"),
            finding(EVIL, "expect:live\"}", "warning", EVIL),
        ],
        states: vec![count(State::Imported, 5), count(State::Refused, 2)],
        waiting: vec![at(7200), at(-60), at(4000)],
        sends: vec![vec![at(0), at(1)]],
        writes_per_minute: Some(300),
    }
}

fn rendered(kind: Kind, command: &str) -> String {
    let mut text = Vec::new();
    kind.write(&report(command), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    // What writing adds: the mask of what has a secret's form.
    crate::mask::masked(&text).into_owned()
}

#[test]
fn each_kind_of_an_apply() {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Html) {
        insta::assert_snapshot!(format!("apply_{}", kind.as_str()), rendered(kind, "apply"));
    }
}

#[test]
fn each_kind_of_an_audit() {
    for kind in [Kind::Csv, Kind::Junit, Kind::Markdown, Kind::Prometheus, Kind::Remint] {
        insta::assert_snapshot!(format!("audit_{}", kind.as_str()), rendered(kind, "audit"));
    }
}

#[test]
fn foreign_text_is_inert_in_every_kind() {
    for kind in Kind::ALL {
        for command in ["apply", "audit"] {
            let text = rendered(kind, command);
            let what = format!("{kind:?} of {command}: {text}");
            assert!(text.ends_with('\n'), "{what}");
            assert!(!text.contains("sk_live_0123"), "{what}");
            assert!(!text.contains(['\u{202e}', '\u{1b}']), "{what}");
            match kind {
                Kind::Junit => assert!(!text.contains("<script>"), "{what}"),
                // Its own.
                Kind::Html => assert_eq!(text.matches("<script>").count(), 1, "{what}"),
                Kind::Csv | Kind::Remint => {
                    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
                    for cell in reader
                        .records()
                        .map(Result::unwrap)
                        .flat_map(|row| row.iter().map(str::to_owned).collect::<Vec<_>>())
                    {
                        assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{what}");
                    }
                }
                Kind::Markdown => {
                    for line in text.lines() {
                        assert!(!outside_of_spans(line).contains("ann"), "{what}");
                    }
                }
                Kind::Json | Kind::Prometheus => {}
            }
        }
    }
}

/// What of a line a reader of Markdown takes for more than the text of a code span.
fn outside_of_spans(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let (before, after) = rest.split_at(start);
        out += before;
        let length = after.len() - after.trim_start_matches('`').len();
        let after = &after[length..];
        // The next run of just as many backticks.
        let mut from = 0;
        let end = loop {
            let Some(at) = after[from..].find('`').map(|at| from + at) else { break None };
            let run = after[at..].len() - after[at..].trim_start_matches('`').len();
            if run == length {
                break Some(at + run);
            }
            from = at + run;
        };
        rest = &after[end.expect("a span that is closed")..];
    }
    out + rest
}

#[test]
fn csv_headers_are_the_keys_of_the_document() {
    let document = serde_json::to_value(report("apply").document()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&document["imports"][0]), IMPORT_KEYS);
    assert_eq!(keys(&document["verification"]["findings"][0]), FINDING_KEYS);
}

#[test]
fn a_comment_keeps_its_budget_and_a_summary_its_own() {
    let mut report = report("apply");
    let fill =
        |n: usize| outcome(&format!("entry-{n}"), if n.is_multiple_of(1000) { "unknown" } else { "imported" }, None);
    report.outcomes = (0..20_000).map(fill).collect::<Vec<_>>().into();
    for budget in [markdown::COMMENT, markdown::STEP_SUMMARY] {
        let text = markdown::run(&report, budget);
        assert!(text.len() <= budget, "{}", text.len());
        assert!(text.len() > budget * 9 / 10 || !text.contains("did not fit"), "{}", text.len());
        assert_eq!(text.matches("\n- `entry-").filter(|_| true).count() + cut(&text), 20_000);
        assert!(text.contains("### outcome unknown: 20\n"), "the worst is whole");
    }
}

fn cut(text: &str) -> usize {
    let Some((_, told)) = text.rsplit_once("left out**: ") else { return 0 };
    told.trim_end_matches(".\n").rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_plan_as_a_comment_has_the_worst_first_and_marks_what_is_trusted_and_what_expires() {
    let plan = Plan::of(
        vec![
            item(10, "carmen", Action::Import, None),
            item(11, EVIL, Action::Import, None),
            item(12, "lost", Action::Recover, Some("a request was sent and its outcome is not known yet")),
            item(13, "done", Action::Unchanged, None),
            item(14, "late", Action::Expired, Some("the token has expired; the partner has to mint a new one")),
            item(15, "other", Action::Conflict, Some("imported with another workflow_id, which Didit can't change")),
        ],
        Forecast { writes: 3, reads: 7, seconds: 0, expire_before_turn: 1, trusted: 1 },
        Late { items: vec![1], remedy: Some(Remedy { longer_seconds: 5 * 60, writes_per_minute: 450 }) },
    );
    insta::assert_snapshot!("plan_markdown", markdown::plan(&manifests(), &plan, at(0), markdown::COMMENT));
}
