use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::didit::Status;
use crate::token::FingerprintKey;

const SOURCE: Uuid = Uuid::from_u128(1);
const SESSION: Uuid = Uuid::from_u128(2);
const WORKFLOW: Uuid = Uuid::from_u128(3);
const OTHER: Uuid = Uuid::from_u128(4);

fn today() -> jiff::civil::Date {
    jiff::civil::date(2026, 11, 23)
}

fn subject() -> Subject {
    Subject {
        manifest: "acme".into(),
        id: "carmen".into(),
        session_id: SESSION,
        source_session_id: Some(SOURCE),
        kind: Some(SessionKind::User),
        sent: Sent { workflow_id: Some(WORKFLOW), trust_review: Some(false), vendor_data: Some("user-42".into()) },
        import_status: Some("In Review".into()),
        key_environment: Some(Environment::Live),
        expect: Expectations::default(),
    }
}

/// A decision with nothing wrong, in the plural shape.
fn plural() -> Value {
    json!({
        "session_id": SESSION, "session_kind": "user", "shared_from_session": SOURCE, "status": "Approved",
        "workflow_id": WORKFLOW, "vendor_data": "user-42", "environment": "live",
        "features": [{"feature": "ID_VERIFICATION", "status": "Approved"}, {"feature": "LIVENESS", "status": "Approved"}],
        "id_verifications": [{"status": "Approved", "expiration_date": "2026-11-23", "first_name": "Carmen"}],
        "liveness_checks": [{"status": "Approved"}],
    })
}

/// The same in the singular shape, which says less.
fn singular() -> Value {
    json!({
        "session_id": SESSION, "status": "APPROVED", "workflow_id": WORKFLOW, "vendor_data": "user-42",
        "features": ["ID_VERIFICATION", "LIVENESS"],
        "id_verification": {"status": "Approved", "expiration_date": "2026-11-23", "first_name": "Carmen"},
        "liveness": {"status": "Approved"},
    })
}

fn fetched(json: &Value) -> Fetched {
    Fetched::Decision(Box::new(Decision::read(json.to_string().as_bytes()).unwrap()))
}

fn measure() -> Measure {
    Measure { today: today(), key: FingerprintKey::from_bytes([7; 32]) }
}

/// As the ledger has it.
fn kept(baseline: &Baseline) -> KeptBaseline {
    serde_json::to_string(baseline).unwrap().into()
}

fn case(subject: Subject, fetched: Fetched) -> Case {
    Case { subject, fetched, baseline: None }
}

/// `json` with what stands at the pointer replaced.
fn with(mut json: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[key] = value;
    json
}

fn found(subject: &Subject, json: &Value) -> Vec<Finding> {
    judge(subject, &fetched(json), today())
}

/// The one finding, which says nothing personal.
fn one(subject: &Subject, json: &Value) -> (String, Severity, Option<String>, Option<String>) {
    let mut findings = found(subject, json);
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = findings.remove(0);
    let told = serde_json::to_string(&finding).unwrap();
    assert!(!told.contains("Carmen") && !told.contains("2026"), "{told}");
    (finding.rule.to_string(), finding.severity, finding.expected, finding.actual)
}

fn error(
    rule: &str,
    expected: &impl ToString,
    actual: &impl ToString,
) -> (String, Severity, Option<String>, Option<String>) {
    (rule.to_owned(), Severity::Error, Some(expected.to_string()), Some(actual.to_string()))
}

#[test]
fn a_session_that_is_as_asked_for_has_no_findings_in_either_shape() {
    assert_eq!(found(&subject(), &plural()), []);
    assert_eq!(found(&subject(), &singular()), []);
    assert_eq!(judge(&subject(), &Fetched::NotChecked, today()), []);
}

#[test]
fn a_missing_session_is_an_error() {
    let findings = judge(&subject(), &Fetched::Missing, today());
    assert_eq!((findings.len(), &findings[0].rule, findings[0].severity), (1, &Rule::SessionMissing, Severity::Error));
}

#[test]
fn each_setting_that_drifted_is_an_error() {
    let subject = subject();
    let kind = with(plural(), "/session_kind", json!("business"));
    assert_eq!(one(&subject, &kind), error("kind-drift", &"user", &"business"));
    let source = with(plural(), "/shared_from_session", json!(OTHER));
    assert_eq!(one(&subject, &source), error("source-drift", &SOURCE, &OTHER));
    let environment = with(plural(), "/environment", json!("sandbox"));
    assert_eq!(one(&subject, &environment), error("environment-mismatch", &"live", &"sandbox"));
    for shape in [plural(), singular()] {
        let workflow = with(shape.clone(), "/workflow_id", json!(OTHER));
        assert_eq!(one(&subject, &workflow), error("workflow-drift", &WORKFLOW, &OTHER));
        let vendor_data = with(shape.clone(), "/vendor_data", json!("user-43"));
        assert_eq!(one(&subject, &vendor_data), error("vendor-data-drift", &"user-42", &"user-43"));
        let gone = one(&subject, &with(shape, "/vendor_data", Value::Null));
        assert_eq!(gone, ("vendor-data-drift".into(), Severity::Error, Some("user-42".into()), None));
    }
}

#[test]
fn what_the_api_does_not_return_is_not_judged() {
    assert_eq!(found(&subject(), &json!({"session_id": SESSION})), []);
}

#[test]
fn what_was_not_sent_is_not_judged() {
    let unknown = Subject {
        source_session_id: None,
        kind: None,
        sent: Sent::default(),
        import_status: None,
        key_environment: None,
        ..subject()
    };
    let other = with(with(plural(), "/vendor_data", json!("x")), "/workflow_id", json!(OTHER));
    assert_eq!(found(&unknown, &other), []);
}

#[test]
fn the_imports_own_answer_must_be_in_review_where_the_review_was_not_trusted() {
    let imported = |trust_review, status: &str| Subject {
        sent: Sent { trust_review, ..subject().sent },
        import_status: Some(status.into()),
        ..subject()
    };
    assert_eq!(
        one(&imported(Some(false), "APPROVED"), &plural()),
        error("status-unexpected", &"In Review", &"Approved")
    );
    for status in ["In Review", "IN_REVIEW", "in-review"] {
        assert_eq!(found(&imported(Some(false), status), &plural()), [], "{status}");
    }
    assert_eq!(found(&imported(Some(true), "Approved"), &plural()), []);
    assert_eq!(found(&imported(None, "Approved"), &plural()), []);
    // It is a recorded fact: known without asking the API again.
    assert_eq!(judge(&imported(Some(false), "Approved"), &Fetched::NotChecked, today()).len(), 1);
    assert_eq!(judge(&imported(Some(false), "Approved"), &Fetched::Missing, today()).len(), 2);
}

#[test]
fn promise_5_an_expired_document_is_a_warning_that_does_not_tell_the_date() {
    let expired = ("document-expired".to_owned(), Severity::Warning, Some("valid".into()), Some("expired".into()));
    let yesterday = json!("2026-11-22");
    assert_eq!(one(&subject(), &with(plural(), "/id_verifications/0/expiration_date", yesterday.clone())), expired);
    assert_eq!(one(&subject(), &with(singular(), "/id_verification/expiration_date", yesterday)), expired);
    for odd in [Value::Null, json!(""), json!("soon"), json!(2020), json!("20-11-2022")] {
        assert_eq!(found(&subject(), &with(plural(), "/id_verifications/0/expiration_date", odd)), []);
    }
}

#[test]
fn a_declined_feature_matters_in_an_approved_session_only() {
    let told = ("feature-declined".to_owned(), Severity::Warning, None, Some("declined: LIVENESS".to_owned()));
    let declined = with(plural(), "/features/1/status", json!("DECLINED"));
    assert_eq!(one(&subject(), &declined), told);
    assert_eq!(one(&subject(), &with(singular(), "/liveness/status", json!("Declined"))), told);
    assert_eq!(found(&subject(), &with(declined, "/status", json!("Declined"))), []);
}

#[test]
fn one_session_under_two_entries_is_an_error_of_both() {
    let other = Subject { manifest: "zeta".into(), id: "bea".into(), ..subject() };
    let alone = Subject { id: "dora".into(), session_id: OTHER, ..subject() };
    let sessions = [other, subject(), subject(), alone].map(|subject| case(subject, Fetched::NotChecked));
    let findings = judge_all(&sessions, &measure()).findings;
    let told: Vec<_> = findings.iter().map(|f| (f.manifest.as_str(), f.actual.as_deref().unwrap())).collect();
    assert_eq!(told, [("acme", "also under zeta/bea"), ("zeta", "also under acme/carmen")]);
    assert!(findings.iter().all(|finding| finding.rule == Rule::DuplicateSession));
}

#[tokio::test]
async fn the_background_finds_the_same() {
    let wrong = with(with(plural(), "/vendor_data", json!("x")), "/session_kind", json!("business"));
    let sessions: Vec<_> = (0..500)
        .map(|n| {
            case(
                Subject { id: format!("{:03}", 499 - n), session_id: Uuid::from_u128(n), ..subject() },
                fetched(&wrong),
            )
        })
        .collect();
    let judged = judge_all(&sessions, &measure());
    assert_eq!((judged.findings.len(), judged.seen.len()), (1000, 500));
    assert!(judged.findings.is_sorted_by_key(|finding| (finding.id.clone(), finding.rule.to_string())));
    let (in_background, sessions) = judge_in_background(Judging::OnAllCores, sessions, measure()).await.unwrap();
    assert_eq!(in_background, judged);
    assert!(sessions.iter().all(|case| case.fetched == Fetched::NotChecked), "the decisions are dropped");
}

#[test]
fn every_rule_has_a_name_that_reads_back() {
    for rule in Rule::BUILT_IN.into_iter().chain([Rule::expect("approved")]) {
        assert_eq!(Rule::parse(rule.as_str()), Some(rule.clone()));
        let json = serde_json::to_value(&rule).unwrap();
        assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), rule);
    }
    assert_eq!(Rule::expect("approved").as_str(), "expect:approved");
    assert_eq!((Rule::parse("expect:"), Rule::parse("drift")), (None, None));
}

proptest! {
    /// Whatever status came with an untrusted import, it is judged by what it means, not by how it is spelt.
    #[test]
    fn spelling_never_makes_a_finding(status in prop::sample::select(Status::KNOWN.to_vec()), shout: bool) {
        let spelt = if shout { status.as_str().to_uppercase().replace(' ', "_") } else { status.as_str().to_owned() };
        let subject = Subject { import_status: Some(spelt), ..subject() };
        let findings = judge(&subject, &Fetched::NotChecked, today());
        prop_assert_eq!(findings.is_empty(), status == Status::InReview);
    }

    /// The order of the sessions changes nothing.
    #[test]
    fn findings_do_not_depend_on_the_order(order in Just((0..12_u128).collect::<Vec<_>>()).prop_shuffle()) {
        let session = |n: u128| {
            let subject = Subject { id: format!("{n:02}"), session_id: Uuid::from_u128(n % 7), ..subject() };
            case(subject, if n.is_multiple_of(3) { Fetched::Missing } else { fetched(&with(plural(), "/workflow_id", json!(OTHER))) })
        };
        let sorted: Vec<_> = (0..12).map(session).collect();
        let shuffled: Vec<_> = order.into_iter().map(session).collect();
        prop_assert_eq!(judge_all(&sorted, &measure()).findings, judge_all(&shuffled, &measure()).findings);
    }
}

fn evidence(json: &Value) -> Evidence {
    let Fetched::Decision(decision) = fetched(json) else { unreachable!() };
    Evidence::of(&decision, &measure().key)
}

/// Rules and blocks that drift from `then` to `now`, with every other rule's findings.
fn drifted(then: &Value, now: &Value) -> Vec<(String, Option<String>)> {
    let baseline = Some(kept(&Baseline::new(SESSION, evidence(then))));
    let case = Case { subject: subject(), fetched: fetched(now), baseline };
    let findings = judge_all(&[case], &measure()).findings;
    findings.into_iter().map(|finding| (finding.rule.to_string(), finding.block)).collect()
}

fn of(block: &str) -> Vec<(String, Option<String>)> {
    vec![("evidence-drift".to_owned(), Some(block.to_owned()))]
}

#[test]
fn a_changed_name_date_or_number_is_drift_of_its_block() {
    for field in ["first_name", "date_of_birth", "document_number", "expiration_date"] {
        let now = with(plural(), &format!("/id_verifications/0/{field}"), json!("2031-01-01"));
        assert_eq!(drifted(&plural(), &now), of("id_verifications"), "{field}");
    }
    let gone = with(plural(), "/liveness_checks", Value::Null);
    assert_eq!(drifted(&plural(), &gone), of("liveness_checks"));
    assert_eq!(drifted(&gone, &plural()), of("liveness_checks"));
}

#[test]
fn what_has_a_rule_of_its_own_is_told_once() {
    let rule = |name: &str| vec![(name.to_owned(), None)];
    let expired = with(plural(), "/id_verifications/0/expiration_date", json!("2020-01-01"));
    assert_eq!(drifted(&plural(), &expired), rule("document-expired"));
    let declined = with(plural(), "/features/1/status", json!("Declined"));
    let declined = with(declined, "/liveness_checks/0/status", json!("Declined"));
    assert_eq!(drifted(&plural(), &declined), rule("feature-declined"));
    // Where that rule is silent, it is evidence.
    let in_review = with(plural(), "/features/1/status", json!("In Review"));
    assert_eq!(drifted(&plural(), &in_review), of("features"));
    let check_alone = with(plural(), "/liveness_checks/0/status", json!("In Review"));
    assert_eq!(drifted(&plural(), &check_alone), of("liveness_checks"));
}

#[test]
fn both_shapes_of_one_session_are_the_same_evidence() {
    assert_eq!(drifted(&plural(), &singular()), []);
    assert_eq!(drifted(&singular(), &plural()), []);
    let renamed = with(singular(), "/id_verification/first_name", json!("Elena"));
    assert_eq!(drifted(&plural(), &renamed), of("id_verifications"));
}

#[test]
fn a_block_that_was_not_returned_before_is_measured_from_then_on() {
    let more = with(plural(), "/metadata", json!({"a": 1}));
    assert_eq!(drifted(&plural(), &more), []);
    let next = evidence(&plural()).moved_on(&evidence(&more)).unwrap();
    assert_eq!((next.moved_on(&evidence(&more)), next.blocks), (None, evidence(&more).blocks));
}

#[test]
fn only_a_review_since_the_baseline_explains_a_status_and_only_the_last_one() {
    let review =
        |status: &str, day: u32| json!({"new_status": status, "created_at": format!("2026-11-{day:02}T00:00:00Z")});
    let reviewed =
        |status: &str, reviews: &[Value]| with(with(plural(), "/status", json!(status)), "/reviews", json!(reviews));
    let rule = |then: &Value, now: &Value| drifted(then, now).remove(0).0;
    let old = [review("Declined", 1)];
    let then = reviewed("Approved", &old);
    assert_eq!(rule(&then, &reviewed("Declined", &old)), "status-drift");
    let two = [review("Declined", 3), old[0].clone(), review("In Review", 2)];
    assert_eq!(rule(&then, &reviewed("Declined", &two)), "status-reviewed");
    assert_eq!(rule(&then, &reviewed("In Review", &two)), "status-drift");
    // A reviewed status becomes the baseline; one that nobody explains does not.
    let moved = |now: &Value| evidence(&then).moved_on(&evidence(now)).map(|next| next.status);
    assert_eq!(moved(&reviewed("Declined", &two)), Some(Some(Status::Declined)));
    assert_eq!(moved(&reviewed("In Review", &two)), None);
    assert_eq!(moved(&then), None);
}

#[test]
fn promise_5_evidence_says_nothing_personal_and_two_sessions_or_ledgers_nothing_alike() {
    let kept = serde_json::to_string(&Baseline::new(SESSION, evidence(&plural()))).unwrap();
    assert!(!kept.contains("Carmen") && !kept.contains("2026-11-23"), "{kept}");
    let block = |evidence: Evidence| *evidence.blocks.get("id_verifications").unwrap();
    let other_session = with(plural(), "/session_id", json!(OTHER));
    assert_ne!(block(evidence(&plural())), block(evidence(&other_session)));
    let Fetched::Decision(decision) = fetched(&plural()) else { unreachable!() };
    let other_ledger = Evidence::of(&decision, &FingerprintKey::from_bytes([8; 32]));
    assert_ne!(block(evidence(&plural())), block(other_ledger));
}

#[test]
fn evidence_is_kept_as_it_was_by_earlier_versions() {
    let of_nothing = r#"{"status":null,"features":{},"reviews":[],"blocks":{}}"#;
    assert_eq!(serde_json::to_string(&Evidence::default()).unwrap(), of_nothing);
    assert_eq!(serde_json::from_str::<Evidence>(of_nothing).unwrap(), Evidence::default());
    let text = r#"{"status":"Approved","features":{"AML":"Approved"},"reviews":[],"blocks":{"aml_screenings":"","id_verifications":"00112233445566778899aabbccddeeff"}}"#;
    let read: Evidence = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}

#[test]
fn a_baseline_of_another_session_measures_nothing() {
    let then = with(plural(), "/id_verifications/0/first_name", json!("Elena"));
    let baseline = Some(Baseline { session_id: OTHER, ..Baseline::new(SESSION, evidence(&then)) });
    let case = Case { subject: subject(), fetched: fetched(&plural()), baseline: baseline.as_ref().map(kept) };
    assert_eq!(judge_all(&[case], &measure()).findings, []);
    let after = Baseline::after(baseline.as_ref(), SESSION, &evidence(&plural()));
    assert_eq!(after, Some(Baseline::new(SESSION, evidence(&plural()))));
}

#[test]
fn a_baseline_is_read_only_where_it_says_anything_else_than_what_is_there() {
    let (now, other) = (evidence(&plural()), evidence(&with(plural(), "/status", json!("Declined"))));
    let just = Baseline::new(SESSION, now.clone());
    assert!(kept(&just).is_just(SESSION, &now));
    assert_eq!(kept(&just).read(), Some(just.clone()));
    let accepted = Baseline { accepted: [("vendor-data-drift".to_owned(), None)].into(), ..just.clone() };
    let unseen = Baseline { seen: None, ..just.clone() };
    let spaced = KeptBaseline::from(serde_json::to_string_pretty(&just).unwrap());
    let longer = KeptBaseline::from(format!("{} ", serde_json::to_string(&just).unwrap()));
    for it in [kept(&accepted), kept(&unseen), kept(&Baseline::new(OTHER, now.clone())), spaced.clone(), longer] {
        assert!(!it.is_just(SESSION, &now), "{it:?}");
    }
    assert!(!kept(&just).is_just(SESSION, &other));
    let seen = |baseline: KeptBaseline| {
        let case = Case { subject: subject(), fetched: fetched(&plural()), baseline: Some(baseline) };
        judge_all(&[case], &measure()).seen[0].clone()
    };
    let same = seen(kept(&just)).unwrap();
    assert_eq!((same.now.as_ref(), same.known(), same.next(SESSION)), (Some(&now), None, None));
    // In other words, it says the same.
    let same = seen(spaced).unwrap();
    assert_eq!((same.known(), same.next(SESSION)), (Some(&just), None));
    let taken = seen(kept(&unseen)).unwrap();
    assert_eq!(taken.next(SESSION), Some(just));
    assert_eq!(
        seen("{}".to_owned().into()),
        Err(UnreadableBaseline { entry: format!("{}/{}", subject().manifest, subject().id) })
    );
}

#[test]
fn what_was_accepted_stays_so_while_it_is_the_same() {
    let moved = with(plural(), "/vendor_data", json!("user-43"));
    let finding = found(&subject(), &moved);
    let baseline = Baseline::accepting(None, SESSION, Some(&evidence(&moved)), finding.iter());
    let judged = |json: &Value| {
        let case = Case { subject: subject(), fetched: fetched(json), baseline: Some(kept(&baseline)) };
        judge_all(&[case], &measure()).findings.len()
    };
    assert_eq!((judged(&moved), judged(&with(plural(), "/vendor_data", json!("user-44")))), (0, 1));
    let own = subject().finding(Rule::expect("approved"), "not so");
    let baseline = Baseline::accepting(None, SESSION, None, [own.clone()].iter());
    assert!(!baseline.accepts(&own), "the user's own rules are not accepted away");
}
