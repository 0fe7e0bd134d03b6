//! One table for each classifier: status and body against class, effect and whether it is recognised. The last column
//! cites the section of `didit-api.md`, `page` being the user's own document.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);
const PERMISSION: &str = r#"{"detail":"You do not have permission to perform this action."}"#;
const NO_CREDENTIALS: &str = r#"{"detail":"Authentication credentials were not provided or are invalid."}"#;
const WRITE_LIMIT: &str =
    r#"{"detail":"Write request rate limit exceeded. You can make up to 300 requests per minute."}"#;
const READ_LIMIT: &str = r#"{"detail":"GET request rate limit exceeded. You can make up to 600 requests per minute."}"#;
const HTML: &str = "<!doctype html><title>Carmen: invalid share token, api key</title>";
const CREDITS: &str =
    r#"{"error":"You don't have enough credits to perform this request. Please top up at https://business.didit.me"}"#;

/// Status, body, class, effect, recognised, source.
type Row = (u16, &'static str, Class, Effect, bool, &'static str);

use Class::{
    AlreadyImported, BadRequest, Credentials, Network, NoCredit, Protocol, Server, SourceGone, SourceNotShareable,
    Throttled, Timeout, TokenExpired, TokenInvalid, WorkflowUnknown, WrongAudience,
};
use Effect::{NotProcessed, Refused, Unknown};

fn now() -> Timestamp {
    Timestamp::from_second(1_753_634_266).unwrap()
}

/// The claims of a token that expires `seconds` from now and names `audience`.
fn claims(seconds: i64, audience: Option<Uuid>) -> Claims {
    Claims {
        session_id: None,
        session_kind: None,
        from_application_id: None,
        for_application_id: audience,
        issued_at: None,
        expires_at: Timestamp::from_second(now().as_second() + seconds).ok(),
    }
}

fn import(status: u16, body: &str, claims: Option<&Claims>) -> Failure {
    classify_import(status, body.as_bytes(), &ImportContext { claims, application: Some(HERE), now: now() })
}

fn check(rows: &[Row], classify: impl Fn(u16, &str) -> Failure) {
    for (status, body, class, effect, recognised, source) in rows {
        let failure = classify(*status, body);
        let found = (failure.class, failure.effect, failure.recognised, failure.http_status);
        assert_eq!(found, (*class, *effect, *recognised, Some(*status)), "{status} {body} ({source}): {failure:?}");
        assert!(failure.detail.starts_with(&format!("HTTP {status}")), "{failure:?}");
        assert!(!failure.detail.contains("Carmen"), "{failure:?}");
    }
}

const IMPORT: &[Row] = &[
    // The published bodies.
    (400, r#"{"share_token":["Invalid share token."]}"#, TokenInvalid, Refused, true, "2"),
    (400, r#"{"share_token":["Share token has expired."]}"#, TokenExpired, Refused, true, "2"),
    (400, r#"{"share_token":["This token is not valid for this application."]}"#, WrongAudience, Refused, true, "2"),
    (400, r#"{"share_token":["Original session does not exist."]}"#, SourceGone, Refused, true, "2"),
    (400, r#"{"workflow_id":["This field is required."]}"#, BadRequest, Refused, true, "2"),
    (403, PERMISSION, Credentials, Refused, true, "2"),
    (
        403,
        r#"{"detail":"This session has already been shared with your application."}"#,
        AlreadyImported,
        Refused,
        true,
        "2",
    ),
    (404, r#"{"detail":"Workflow does not exist for this application."}"#, WorkflowUnknown, Refused, true, "2"),
    (429, WRITE_LIMIT, Throttled, NotProcessed, true, "2"),
    // The table of the page, in its own words and as one may put them.
    (401, r#"{"detail":"Share token invalid or expired."}"#, TokenInvalid, Refused, true, "page"),
    (401, r#"{"detail":"Share token has expired."}"#, TokenExpired, Refused, true, "page"),
    (401, r#"{"detail":"Invalid share token"}"#, TokenInvalid, Refused, true, "page"),
    (401, r#"{"share_token":["Carmen"]}"#, TokenInvalid, Refused, false, "10"),
    (401, r#"{"detail":"Bad token Carmen"}"#, TokenInvalid, Refused, false, "10"),
    (403, r#"{"detail":"Token not intended for your application."}"#, WrongAudience, Refused, true, "page"),
    (403, r#"{"detail":"Session has already been imported."}"#, AlreadyImported, Refused, true, "page"),
    (
        403,
        r#"{"detail":"Token not intended for your application, or session has already been imported."}"#,
        AlreadyImported,
        Refused,
        true,
        "page",
    ),
    (404, r#"{"detail":"Original session no longer exists."}"#, SourceGone, Refused, true, "page"),
    (404, r#"{"detail":"workflow_id not found in your application."}"#, WorkflowUnknown, Refused, true, "page"),
    (404, r#"{"detail":"No such workflow, Carmen"}"#, WorkflowUnknown, Refused, false, "13.3"),
    (404, r#"{"detail":"Not found."}"#, SourceGone, Refused, false, "13.3"),
    (404, r#"{"message":"no route matched, Carmen"}"#, Protocol, Unknown, false, "1"),
    // Every envelope.
    (400, r#"{"detail":"Share token has expired."}"#, TokenExpired, Refused, true, "1"),
    (400, r#"{"detail":["Share token has expired."]}"#, TokenExpired, Refused, true, "1"),
    (400, r#"{"share_token":"Share token has expired."}"#, TokenExpired, Refused, true, "1"),
    (400, r#"{"share_token":[["Share token has expired."]]}"#, TokenExpired, Refused, true, "1"),
    (400, r#"{"share_token":[{"sub":["Share token has expired."]}]}"#, TokenExpired, Refused, true, "1"),
    (400, r#"["Share token has expired."]"#, TokenExpired, Refused, true, "1"),
    (400, r#"{"error":"Share token has expired."}"#, TokenExpired, Refused, true, "1"),
    (400, r#""Share token has expired.""#, TokenExpired, Refused, true, "1"),
    (400, "Share token has expired.", TokenExpired, Refused, true, "1"),
    (400, r#"{"detail":"SHARE  TOKEN has\nexpired","code":"token_expired"}"#, TokenExpired, Refused, true, "1"),
    (400, HTML, Protocol, Unknown, false, "1"),
    (400, "", BadRequest, Refused, false, "1"),
    (404, HTML, Protocol, Unknown, false, "1"),
    (404, "", Protocol, Unknown, false, "1"),
    // Fields.
    (400, r#"{"trust_review":["Must be a valid boolean."]}"#, BadRequest, Refused, true, "14"),
    (400, r#"{"workflow_id":["Must be a valid UUID."]}"#, BadRequest, Refused, true, "14"),
    (400, r#"{"workflow_id":["Carmen has been archived"]}"#, WorkflowUnknown, Refused, false, "14"),
    (400, r#"{"detail":"JSON parse error - Invalid token at Carmen"}"#, BadRequest, Refused, true, "14"),
    (400, r#"{"vendor_data":["Ensure this field has no more than 2000 characters."]}"#, BadRequest, Refused, true, "9"),
    (400, r#"{"vendor_data":["'already imported api key Carmen' is wrong"]}"#, BadRequest, Refused, false, "9"),
    (400, r#"{"share_token":["Carmen"]}"#, TokenInvalid, Refused, false, "1"),
    (422, r#"{"detail":"Carmen"}"#, BadRequest, Refused, false, "1"),
    // Keys and money.
    (401, r#"{"detail":"This API key has expired."}"#, Credentials, Refused, true, "10"),
    (401, r#"{"detail":"Invalid or missing API key"}"#, Credentials, Refused, true, "10"),
    (401, NO_CREDENTIALS, Credentials, Refused, true, "10"),
    (403, NO_CREDENTIALS, Credentials, Refused, true, "5"),
    (
        401,
        r#"{"detail":"You must be authenticated with a valid access token to access this endpoint."}"#,
        Credentials,
        Refused,
        true,
        "8",
    ),
    (401, r#"{"detail":"Carmen"}"#, Credentials, Refused, false, "10"),
    (401, "", Credentials, Refused, false, "10"),
    (401, HTML, Credentials, Refused, false, "10"),
    (403, r#"{"detail":"Carmen"}"#, Credentials, Refused, false, "2"),
    (403, "", Credentials, Refused, false, "2"),
    (403, HTML, Credentials, Refused, false, "2"),
    (403, r#"{"detail":"Carmen","code":"application_deleted"}"#, Credentials, Refused, true, "10"),
    (404, r#"{"detail":"Not found.","code":"application_deleted"}"#, Credentials, Refused, true, "10"),
    (402, "", NoCredit, Refused, true, "10"),
    (402, r#"{"detail":"Carmen"}"#, NoCredit, Refused, true, "10"),
    (403, CREDITS, NoCredit, Refused, true, "10"),
    (403, r#"{"error":"You don’t have enough credits to perform this request."}"#, NoCredit, Refused, true, "10"),
    (400, r#"{"detail":"You don't have enough credits to perform this request."}"#, NoCredit, Refused, true, "13.15"),
    (403, r#"{"detail":"Carmen","code":"insufficient_credits"}"#, NoCredit, Refused, true, "10"),
    (403, r#"{"detail":"Carmen","code":"contract_billing_suspended"}"#, NoCredit, Refused, true, "10"),
    (403, r#"{"error":{"code":"insufficient_credits"}}"#, NoCredit, Refused, true, "10"),
    // What the status decides.
    (200, r#"{"detail":"Carmen"}"#, Protocol, Unknown, false, "13.6"),
    (301, "", Protocol, Unknown, false, "1"),
    (302, HTML, Protocol, Unknown, false, "1"),
    (308, "", Protocol, Unknown, false, "1"),
    (405, r#"{"detail":"Method \"POST\" not allowed."}"#, Protocol, Unknown, false, "1"),
    (407, "", Network, NotProcessed, true, "1"),
    (408, "", Timeout, Unknown, true, "1"),
    (415, r#"{"detail":"Unsupported media type"}"#, Protocol, Unknown, false, "1"),
    (429, "", Throttled, NotProcessed, true, "11"),
    (429, HTML, Throttled, NotProcessed, true, "11"),
    (
        429,
        r#"{"detail":"Request was throttled. Expected available in 30 seconds."}"#,
        Throttled,
        NotProcessed,
        true,
        "8",
    ),
    (500, "", Server, Unknown, true, "2"),
    (500, r#"{"detail":"This session has already been shared with your application."}"#, Server, Unknown, true, "2"),
    (502, HTML, Server, Unknown, true, "2"),
    (503, r#"{"detail":"Carmen"}"#, Server, Unknown, true, "2"),
    (504, "", Server, Unknown, true, "2"),
    (999, "", Protocol, Unknown, false, "1"),
];

#[test]
fn every_documented_answer_to_an_import_is_judged_right() {
    let fitting = claims(3600, Some(HERE));
    check(IMPORT, |status, body| import(status, body, Some(&fitting)));
}

#[test]
fn without_claims_only_the_ambiguous_text_is_judged_otherwise() {
    for (status, body, class, effect, ..) in IMPORT {
        let failure = import(*status, body, None);
        assert_eq!((failure.class, failure.effect), (*class, *effect), "{status} {body}");
    }
    let either = r#"{"detail":"Token not intended for your application, or session has already been imported."}"#;
    assert!(!import(403, either, None).recognised);
    assert_eq!(import(403, either, Some(&claims(60, Some(THERE)))).class, WrongAudience);
}

#[test]
fn claims_decide_what_the_text_leaves_open() {
    let expired = claims(-1, Some(HERE));
    let foreign = claims(3600, Some(THERE));
    let either = r#"{"detail":"Share token invalid or expired."}"#;
    for (status, body, claims, class) in [
        (401, either, &expired, TokenExpired),
        (401, r#"{"detail":"Carmen"}"#, &expired, TokenExpired),
        (401, "", &expired, TokenExpired),
        (401, HTML, &expired, TokenExpired),
        (400, r#"{"share_token":["Carmen"]}"#, &expired, TokenExpired),
        (400, r#"{"share_token":["Carmen"]}"#, &foreign, WrongAudience),
        (403, r#"{"detail":"Carmen"}"#, &foreign, WrongAudience),
        (403, "", &foreign, WrongAudience),
        // What the text says stands, whatever the claims say.
        (400, r#"{"share_token":["Invalid share token."]}"#, &expired, TokenInvalid),
        (401, r#"{"detail":"This API key has expired."}"#, &expired, Credentials),
        (403, r#"{"detail":"This session has already been shared with your application."}"#, &foreign, AlreadyImported),
        (403, PERMISSION, &foreign, Credentials),
        (403, r#"{"detail":"Carmen"}"#, &expired, Credentials),
        (400, r#"{"detail":"Carmen"}"#, &expired, BadRequest),
    ] {
        let failure = import(status, body, Some(claims));
        assert_eq!(failure.class, class, "{status} {body}: {failure:?}");
        assert_eq!(failure.recognised, class != Credentials && class != BadRequest || !body.contains("Carmen"));
    }
    // At the very second of its `exp` a token is dead.
    assert_eq!(import(401, either, Some(&claims(0, None))).class, TokenExpired);
    assert_eq!(import(401, either, Some(&claims(1, None))).class, TokenInvalid);
}

#[test]
fn promise_5_details_are_made_of_documented_words() {
    let fitting = claims(3600, Some(HERE));
    for (status, body, detail) in [
        (400, r#"{"share_token":["Share token has expired."]}"#, "HTTP 400: share_token: Share token has expired."),
        (
            404,
            r#"{"detail":"Workflow does not exist for this application."}"#,
            "HTTP 404: Workflow does not exist for this application.",
        ),
        (400, r#"{"share_token":["Carmen"]}"#, "HTTP 400 with an unrecognised text about share_token"),
        (400, r#"{"Carmen":["Carmen"]}"#, "HTTP 400 with an unrecognised body"),
        (403, r#"{"code":"insufficient_credits","detail":"Carmen"}"#, "HTTP 403: insufficient_credits"),
        (403, "", "HTTP 403 with an empty body"),
        (502, HTML, "HTTP 502 with a page of HTML"),
    ] {
        assert_eq!(import(status, body, Some(&fitting)).detail, detail);
    }
}

const SHARE: &[Row] = &[
    (
        400,
        r#"{"detail":["Only finished sessions (\"Approved\", \"Declined\", \"In Review\") can be shared."]}"#,
        SourceNotShareable,
        Refused,
        true,
        "3",
    ),
    (400, r#"{"for_application_id":["Target application does not exist."]}"#, WrongAudience, Refused, true, "3"),
    (
        400,
        r#"{"for_application_id":["Cannot share a session with the same application."]}"#,
        BadRequest,
        Refused,
        true,
        "3",
    ),
    (
        400,
        r#"{"ttl_in_seconds":["Ensure this value is greater than or equal to 60."]}"#,
        BadRequest,
        Refused,
        true,
        "3",
    ),
    (401, NO_CREDENTIALS, Credentials, Refused, true, "3"),
    (403, PERMISSION, Credentials, Refused, true, "3"),
    (403, r#"{"detail":"Carmen"}"#, Credentials, Refused, false, "3"),
    (404, r#"{"detail":"Not found."}"#, SourceGone, Refused, true, "3"),
    (404, HTML, Protocol, Unknown, false, "3"),
    (402, "", NoCredit, Refused, true, "10"),
    (403, CREDITS, NoCredit, Refused, true, "10"),
    (400, r#"{"detail":"Carmen"}"#, BadRequest, Refused, false, "1"),
    (400, HTML, Protocol, Unknown, false, "1"),
    (429, WRITE_LIMIT, Throttled, NotProcessed, true, "3"),
    (301, "", Protocol, Unknown, false, "1"),
    (500, "", Server, Unknown, true, "1"),
];

#[test]
fn every_documented_answer_to_minting_is_judged_right() {
    check(SHARE, |status, body| classify_share(status, body.as_bytes()));
}

const READ: &[Row] = &[
    (301, "", Protocol, Unknown, false, "4"),
    (400, r#"{"session_kind":"Must be \"user\", \"business\", or \"all\"."}"#, BadRequest, Refused, true, "4"),
    (400, r#"{"date_from":["Enter a valid date."]}"#, BadRequest, Refused, true, "4"),
    (
        400,
        r#"{"api_service":["Select a valid choice. FOO is not one of the available choices."]}"#,
        BadRequest,
        Refused,
        true,
        "4",
    ),
    (
        401,
        r#"{"detail":"You must be authenticated with a valid access token to access this endpoint."}"#,
        Credentials,
        Refused,
        true,
        "8",
    ),
    (401, r#"{"detail":"Carmen"}"#, Credentials, Refused, false, "10"),
    (403, PERMISSION, Credentials, Refused, true, "4"),
    (403, NO_CREDENTIALS, Credentials, Refused, true, "5"),
    (403, HTML, Credentials, Refused, false, "10"),
    (404, r#"{"detail":"Not found."}"#, SourceGone, Refused, true, "5"),
    (404, r#"{"detail":"Session not found."}"#, SourceGone, Refused, true, "5"),
    (404, r#"{"detail":"Not found.","code":"application_deleted"}"#, Credentials, Refused, true, "10"),
    (404, HTML, Protocol, Unknown, false, "5"),
    (404, "", Protocol, Unknown, false, "1"),
    (429, READ_LIMIT, Throttled, NotProcessed, true, "5"),
    (
        400,
        r#"{"retain_face_embeddings":["Privacy erasure cannot retain biometric templates."]}"#,
        BadRequest,
        Refused,
        true,
        "6",
    ),
    (
        400,
        r#"{"detail":"A finite biometric-template retention duration is required."}"#,
        BadRequest,
        Refused,
        true,
        "6",
    ),
    (409, r#"{"detail":"Carmen","code":"in_filed_report"}"#, BadRequest, Refused, true, "6"),
    (
        503,
        r#"{"detail":"The biometric-template operation could not finish because an external store is unavailable. The operation is retryable."}"#,
        Server,
        Unknown,
        true,
        "6",
    ),
    (503, "", Server, Unknown, true, "8"),
];

#[test]
fn every_documented_answer_to_a_read_or_deletion_is_judged_right() {
    check(READ, |status, body| classify_read(status, body.as_bytes()));
}

#[test]
fn every_status_is_judged_and_only_429_and_407_are_certainly_not_processed() {
    for status in 200..1000 {
        for body in ["", "{}", HTML, r#"{"detail":"Carmen"}"#] {
            for failure in [
                import(status, body, None),
                classify_share(status, body.as_bytes()),
                classify_read(status, body.as_bytes()),
            ] {
                assert_eq!(failure.effect == NotProcessed, matches!(status, 407 | 429), "{failure:?}");
                assert!(failure.effect == Unknown || matches!(status, 400..=499), "{failure:?}");
                assert_eq!(failure.effect == Unknown && status != 408, matches!(failure.class, Server | Protocol));
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_of_the_server_gets_into_a_detail(status in 200u16..600, key in "[a-z_]{1,12}", text in "[0-9q]{6,40}") {
        let body = serde_json::json!({"detail": text, key: [text], "code": text}).to_string();
        let failure = import(status, &body, None);
        prop_assert!(!failure.detail.contains(&text), "{}", failure.detail);
    }

    #[test]
    fn garbage_never_panics(status in 100u16..1000, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let context = ImportContext { claims: None, application: None, now: now() };
        let _ = classify_import(status, &body, &context);
        let _ = classify_read(status, &body);
    }
}
