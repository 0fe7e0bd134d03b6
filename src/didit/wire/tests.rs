use serde_json::{Value, json};

use super::*;

/// The published page of the import, word for word.
const PAGE: &str = include_str!("../fixtures/import-shared-page.txt");

/// The page's long example as it stands there: a JSON string that holds almost-JSON.
fn long_example() -> &'static str {
    PAGE.lines().find(|line| line.starts_with("\"{")).unwrap()
}

fn read(value: &Value) -> Decision {
    Decision::read(value.to_string().as_bytes()).unwrap()
}

fn id(digit: char) -> Uuid {
    "########-####-####-####-############".replace('#', &digit.to_string()).parse().unwrap()
}

#[test]
fn the_long_example_of_the_page_is_read_whole() {
    let inner: String = serde_json::from_str(long_example()).unwrap();
    let corrected = inner.replace("\"FACE_MATCH\",\n  ]", "\"FACE_MATCH\"\n  ]");
    assert_ne!(inner, corrected);
    let proper = Decision::read(corrected.as_bytes()).unwrap();
    assert_eq!(proper.session_id, "11111111-2222-3333-4444-555555555555".parse::<Uuid>().unwrap());
    assert_eq!(proper.session_number, Some(43762));
    assert_eq!(
        proper.session_url.as_deref(),
        Some("https://verify.didit.me/session/11111111-2222-3333-4444-555555555555")
    );
    assert_eq!(proper.status, Some(Status::InReview));
    assert_eq!(proper.workflow_id, Some(proper.session_id));
    assert_eq!(proper.vendor_data, Presence::Value("11111111-1111-1111-1111-111111111111".into()));
    assert_eq!((proper.session_kind, proper.shared_from_session, proper.expires_at), (None, None, None));
    assert_eq!(proper.created_at, Some("2024-07-24T08:54:25.443172Z".parse().unwrap()));
    let features: Vec<_> = proper.features.iter().map(|f| (f.feature.as_str(), f.status.clone().unwrap())).collect();
    assert_eq!(
        features,
        [("ID_VERIFICATION", Status::Approved), ("LIVENESS", Status::Approved), ("FACE_MATCH", Status::InReview)]
    );
    let reviewed_at = "2024-07-18T13:29:00.366811Z".parse().ok();
    assert_eq!(proper.reviews, [Review { new_status: Some(Status::Declined), created_at: reviewed_at }]);
    assert_eq!(proper.document_expiries().count(), 1);

    // Word for word, with the comma too many, and as the string of the page.
    assert_eq!(Decision::read(inner.as_bytes()).unwrap(), proper);
    assert_eq!(Decision::read(long_example().as_bytes()).unwrap(), proper);
}

#[test]
fn the_singular_shape_becomes_the_plural_one() {
    let inner: String = serde_json::from_str(long_example()).unwrap();
    let json = Value::from(&Decision::read(inner.as_bytes()).unwrap().json);
    assert_eq!(json["liveness_checks"][0]["score"], json!(89.92));
    assert_eq!(
        json["id_verifications"][0]["parsed_address"]["raw_results"]["geometry"]["location"]["lat"],
        37.422_280_4
    );
    assert_eq!(json["face_matches"][0]["status"], "In Review");
    for (old, new) in [("nfc", "nfc_verifications"), ("phone", "phone_verifications"), ("aml", "aml_screenings")] {
        assert_eq!((json.get(old), json.get(new)), (None, Some(&Value::Null)), "{old}");
    }
    assert_eq!(json["expected_details"]["first_name"], "Carmen");
    assert_eq!(json.get("registry_checks"), None);
}

#[test]
fn both_shapes_of_one_session_give_the_same_decision() {
    let singular = json!({
        "session_id": id('1'), "status": "IN_REVIEW", "features": ["LIVENESS", "AML"],
        "liveness": {"status": "APPROVED", "score": 90.0}, "aml": null,
    });
    let plural = json!({
        "session_id": id('1'), "status": "In Review",
        "features": [{"feature": "LIVENESS", "status": "Approved"}, {"feature": "AML", "status": null}],
        "liveness_checks": [{"status": "Approved", "score": 90.0}], "aml_screenings": null,
    });
    assert_eq!(read(&singular), read(&plural));
}

#[test]
fn the_plural_shape_is_read_as_it_is() {
    let json = json!({
        "session_id": id('2'), "session_kind": "business", "shared_from_session": id('8'), "session_number": 982,
        "session_url": null, "status": "Approved", "workflow_id": id('9'), "vendor_data": "company-1",
        "environment": "sandbox", "expires_at": "2026-05-24T08:42:11Z",
        "features": [{"feature": "KYB_REGISTRY", "status": "Declined", "node_id": "n1"}],
        "registry_checks": [{"status": "Approved", "node_id": "n1", "warnings": []}], "aml_screenings": null,
    });
    let decision = read(&json);
    assert_eq!(decision.session_kind, Some(SessionKind::Business));
    assert_eq!((decision.shared_from_session, decision.workflow_id), (Some(id('8')), Some(id('9'))));
    assert_eq!((decision.session_url.as_ref(), decision.session_number), (None, Some(982)));
    assert_eq!(decision.environment, Some(Environment::Sandbox));
    assert_eq!(decision.features[0].status, Some(Status::Declined));
    assert_eq!(decision.json, json.into());
}

#[test]
fn a_plural_block_beats_a_singular_one_and_other_things_of_the_name_stay() {
    let decision = read(&json!({
        "session_id": id('1'), "liveness": {"score": 1}, "liveness_checks": [{"score": 2}], "phone": "+34 600",
        "face_match": [{"score": 3}],
    }));
    let json = Value::from(&decision.json);
    assert_eq!(json["liveness_checks"], json!([{"score": 2}]));
    assert_eq!(json["face_matches"], json!([{"score": 3}]));
    assert_eq!(json["phone"], "+34 600");
}

#[test]
fn without_a_list_the_features_are_those_whose_checks_ran() {
    let decision = read(&json!({
        "session_id": id('1'),
        "liveness_checks": [{"status": "Declined"}, {"status": "Approved"}],
        "email_verifications": [{"status": "Approved"}], "aml_screenings": [],
    }));
    let features: Vec<_> = decision.features.iter().map(|f| (f.feature.as_str(), f.status.clone())).collect();
    assert_eq!(features, [("LIVENESS", Some(Status::Declined)), ("EMAIL_VERIFICATION", Some(Status::Approved))]);
}

#[test]
fn vendor_data_tells_absent_from_null() {
    let of = |value: Value| read(&value).vendor_data;
    assert_eq!(of(json!({"session_id": id('1')})), Presence::Absent);
    assert_eq!(of(json!({"session_id": id('1'), "vendor_data": null})), Presence::Null);
    assert_eq!(of(json!({"session_id": id('1'), "vendor_data": ""})), Presence::Value(String::new()));
    assert_eq!(of(json!({"session_id": id('1'), "vendor_data": 42})), Presence::Value("42".into()));
}

#[test]
fn only_a_session_id_is_required_and_odd_fields_are_none() {
    let decision = read(&json!({
        "session_id": id('1'), "session_kind": 3, "session_number": "12", "session_url": "javascript:alert(1)",
        "status": ["Approved"], "workflow_id": "mine", "features": "OCR + LIVENESS", "reviews": {}, "created_at": 5,
    }));
    assert_eq!((decision.session_number, decision.session_url, decision.status), (Some(12), None, None));
    assert!(decision.features.is_empty() && decision.reviews.is_empty());
    for body in ["", "{}", "[]", "null", "\"x\"", "{\"session_id\":\"x\"}", "{\"session_id\":null}", "<html>"] {
        assert_eq!(Decision::read(body.as_bytes()), Err(NotADecision), "{body}");
    }
}

#[test]
fn promise_5_debug_shows_nothing_personal() {
    let decision =
        read(&json!({"session_id": id('1'), "vendor_data": "v", "id_verifications": [{"first_name": "Carmen"}]}));
    assert!(!format!("{decision:?}").contains("Carmen"));
}

#[test]
fn promise_5_rows_keep_nothing_personal() {
    let body = json!({"count": 2, "next": "https://x/?offset=1", "previous": null, "results": [
        {"session_id": id('1'), "session_kind": "user", "session_number": 5, "status": "In Review", "full_name": "Carmen",
         "vendor_data": "v", "created_at": "2026-05-17T08:42:11Z", "phone_number": {"number": "+34"}},
        {"session_id": id('2'), "session_kind": "business", "workflow_id": id('9'), "company_name": "Acme"},
    ]});
    let page = read_page(body.to_string().as_bytes()).unwrap();
    assert_eq!((page.count, page.next.as_deref()), (Some(2), Some("https://x/?offset=1")));
    let rows = read_rows(&page).unwrap();
    assert_eq!(rows[0].vendor_data, Presence::Value("v".into()));
    assert_eq!((rows[1].kind, rows[1].workflow_id), (Some(SessionKind::Business), Some(id('9'))));
    assert!(!format!("{rows:?}").contains("Carmen"));
    for body in ["{}", "3", "{\"results\":{}}", "<html>"] {
        assert!(read_page(body.as_bytes()).is_none(), "{body}");
    }
    assert!(read_rows(&read_page(b"[{\"session_id\":1}]").unwrap()).is_none());
}

#[test]
fn workflows_come_paginated_or_bare() {
    let rows = json!([
        {"uuid": id('1'), "workflow_id": id('1'), "workflow_type": "kyc", "status": "published", "is_archived": false},
        {"uuid": id('2'), "workflow_type": "kyb", "status": "draft", "is_archived": true, "features": ["OCR"]},
        {"workflow_id": id('3'), "workflow_type": "adaptive_age_verification", "features": "OCR + LIVENESS"},
    ]);
    let read = |body: &Value| read_workflows(&read_page(body.to_string().as_bytes()).unwrap()).unwrap();
    let bare = read(&rows);
    assert_eq!(bare, read(&json!({"count": 3, "next": null, "previous": null, "results": rows})));
    assert_eq!((bare[0].kind, bare[0].published, bare[0].archived), (WorkflowKind::User, Some(true), false));
    assert_eq!((bare[1].kind, bare[1].published, bare[1].archived), (WorkflowKind::Business, Some(false), true));
    assert_eq!((bare[2].kind, bare[2].published), (WorkflowKind::Other, None));
    assert!(bare[1].is(id('2')) && bare[2].is(id('3')) && !bare[0].is(id('3')));
    assert!(bare[0].kind.takes(SessionKind::User) && !bare[0].kind.takes(SessionKind::Business));
}

#[test]
fn the_head_of_an_answer_says_of_the_session_what_the_whole_says() {
    let answer = json!({
        "session_id": id('1'), "session_kind": "business", "session_number": 7, "session_url": "https://example.com/7",
        "status": "In Review", "workflow_id": id('2'), "vendor_data": "seven", "shared_from_session": id('3'),
        "created_at": "2026-11-01T00:00:00Z", "expires_at": "2026-12-01T00:00:00Z", "environment": "sandbox",
        "features": [{"feature": "AML", "status": "Approved"}], "reviews": [{"new_status": "Approved"}],
    });
    let whole = read(&answer);
    assert!(whole.session_kind.is_some() && whole.expires_at.is_some() && whole.environment.is_some());
    let head = Decision::read_head(answer.to_string().as_bytes()).unwrap();
    let bare = |it: Decision| Decision { features: Vec::new(), reviews: Vec::new(), json: Json::Null, ..it };
    assert_eq!(bare(head), bare(whole));
}
