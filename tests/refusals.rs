//! Every documented refusal ends in its class, with advice; keys are judged by few requests.

use didit_sync::didit::Class;
use didit_sync::sandbox::{Dialect, Privilege, Privileges};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::{Request, created};
use crate::support::{Fake, Output, Reply, Scene, Token, sandbox};

const PERMISSION: &str = "You do not have permission to perform this action.";

struct Case {
    status: u16,
    body: Value,
    class: &'static str,
    outcome: &'static str,
    exit: i32,
}

fn case(status: u16, body: Value, class: &'static str, outcome: &'static str, exit: i32) -> Case {
    Case { status, body, class, outcome, exit }
}

/// The user's page's table, and the newer bodies of the published API.
fn cases() -> Vec<Case> {
    let token = |text: &str| json!({"share_token": [text]});
    let detail = |text: &str| json!({"detail": text});
    vec![
        // The page's table.
        case(401, detail("Share token invalid or expired."), "token_invalid", "refused", 3),
        case(401, detail("Share token invalid or expired"), "token_invalid", "refused", 3),
        case(403, detail("Token not intended for your application."), "wrong_audience", "refused", 3),
        case(403, detail("Session has already been imported."), "already_imported", "unknown", 6),
        case(404, detail("Original session no longer exists."), "source_gone", "refused", 3),
        case(404, detail("workflow_id not found in your application."), "workflow_unknown", "refused", 3),
        // The published API.
        case(400, token("Invalid share token."), "token_invalid", "refused", 3),
        case(400, token("Share token has expired."), "token_expired", "refused", 3),
        case(400, token("This token is not valid for this application."), "wrong_audience", "refused", 3),
        case(400, token("Original session does not exist."), "source_gone", "refused", 3),
        case(400, json!({"workflow_id": ["This field is required."]}), "bad_request", "refused", 3),
        case(400, json!({"trust_review": ["Must be a valid boolean."]}), "bad_request", "refused", 3),
        case(
            400,
            json!({"vendor_data": [["Ensure this field has no more than 2000 bytes."]]}),
            "bad_request",
            "refused",
            3,
        ),
        case(400, json!(["The token is odd."]), "bad_request", "refused", 3),
        case(
            403,
            detail("This session has already been shared with your application."),
            "already_imported",
            "unknown",
            6,
        ),
        case(404, detail("Workflow does not exist for this application."), "workflow_unknown", "refused", 3),
        // Money: the run stops at once.
        case(402, json!({}), "no_credit", "refused", 7),
        case(
            403,
            json!({"error": "You don't have enough credits to perform this request. Please top up at https://business.didit.me"}),
            "no_credit",
            "refused",
            7,
        ),
        case(403, json!({"detail": "No.", "code": "insufficient_credits"}), "no_credit", "refused", 7),
        case(403, json!({"detail": "No.", "code": "contract_billing_suspended"}), "no_credit", "refused", 7),
        case(
            400,
            json!({"error": "You don't have enough credits to perform this request."}),
            "no_credit",
            "refused",
            7,
        ),
        // The key.
        case(403, detail(PERMISSION), "credentials", "refused", 10),
        case(401, detail("Invalid or missing API key"), "credentials", "refused", 10),
        case(401, detail("This API key has expired."), "credentials", "refused", 10),
        case(401, detail("Authentication credentials were not provided or are invalid."), "credentials", "refused", 10),
        case(403, json!({"detail": "Gone.", "code": "application_deleted"}), "credentials", "refused", 10),
    ]
}

#[test]
fn every_documented_refusal_has_its_class_advice_and_exit() {
    for case in cases() {
        let fake = Fake::answering(Reply::json(case.status, &case.body));
        fake.write_entries(1);
        let done = fake.apply(&[]);
        let document = done.json();
        let row = &document["imports"][0];
        let what = format!("{} {}: {row:#}", case.status, case.body);
        assert_eq!(row["error"]["class"], case.class, "{what}");
        assert_eq!(row["error"]["http_status"], case.status, "{what}");
        assert_eq!(row["outcome"], case.outcome, "{what}");
        assert_eq!(done.code, Some(case.exit), "{what}");
        assert_eq!(row["attempts"], 1, "{what}");
        assert!(row["error"]["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
        if case.outcome != "unknown" {
            let class = Class::parse(case.class).unwrap();
            assert_eq!(row["error"]["advice"], class.advice(), "{what}");
        }
        assert_eq!(document["summary"][case.outcome], 1);
        assert_eq!(fake.imports().len(), 1, "{what}");
    }
}

#[test]
fn an_expired_claim_explains_a_401_that_says_either() {
    let fake = Fake::answering(Reply::json(401, &json!({"detail": "Share token invalid or expired."})));
    // It dies between planning and the answer: the server's clock is an hour ahead.
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let date = ahead.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let late = Fake::new(move |request, _| {
        let reply = Reply::json(401, &json!({"detail": "Share token invalid or expired."}));
        request.is_import().then(|| reply.with("date", &date))
    });
    for (fake, class, exit) in [(fake, "token_invalid", 3), (late, "token_expired", 3)] {
        fake.write_entries(1);
        let document = fake.apply(&[]).exits(exit).json();
        assert_eq!(document["imports"][0]["error"]["class"], class);
    }
}

/// An application that lists one session with this vendor data, without saying where it came from.
fn with_session(session: Uuid, vendor_data: &'static str, import: Reply) -> Fake {
    Fake::new(move |request: &Request, _| {
        let row = json!({"session_id": session, "session_kind": "user", "session_number": 3, "status": "In Review",
            "vendor_data": vendor_data, "created_at": jiff::Timestamp::now()});
        if request.is_import() {
            Some(import.clone())
        } else if request.target.starts_with("/v3/sessions/") && request.target.contains(vendor_data) {
            Some(Reply::json(200, &json!({"count": 1, "next": null, "previous": null, "results": [row]})))
        } else if request.target.ends_with("/decision/") {
            let mut decision = created(session, request);
            decision["vendor_data"] = json!(vendor_data);
            decision["workflow_id"] = json!(crate::support::fake::WORKFLOW);
            Some(Reply::json(200, &decision))
        } else {
            None
        }
    })
}

#[test]
fn an_unrecognised_401_or_403_is_held_against_key_and_server_before_the_run_stops() {
    for status in [401, 403] {
        let body = json!({"detail": "Computer says no."});
        // The session is there: that explains it.
        let session = Uuid::from_u128(0xFEED);
        let there = with_session(session, "acme-e0", Reply::json(status, &body));
        there.write_entries(1);
        let found = there.apply(&[]).exits(0).json();
        assert_eq!(found["imports"][0]["outcome"], "recovered");
        assert_eq!(found["imports"][0]["session_id"], json!(session));
        // Nothing explains it: the run stops, with one write.
        let fake = Fake::answering(Reply::json(status, &body));
        fake.write_entries(5);
        let document = fake.apply(&[]).exits(10).json();
        assert_eq!(fake.imports().len(), 1);
        assert_eq!(document["error"]["name"], "credentials");
        assert_eq!(document["summary"]["not_sent"], 4, "{document:#}");
    }
}

#[test]
fn a_wrong_key_is_found_by_at_most_three_requests() {
    for dialect in Dialect::ALL {
        let mut scene = Scene::new(didit_sync::sandbox::Config { dialect, ..sandbox(8) });
        scene.write_all();
        scene.set("DIDIT_API_KEY", "sk_test_wrong");
        let document = scene.apply().exits(10).json();
        assert_eq!(document["exit"]["name"], "credentials");
        assert!(scene.world.counts().requests <= 3, "{:?}", scene.world.counts());
        assert_eq!(scene.writes(), 0);
        assert_eq!(document["summary"]["not_sent"], 8);
        assert!(!scene.apply().stdout.contains("sk_test_wrong"));
    }
}

#[test]
fn a_missing_key_is_told_before_anything_is_sent() {
    let mut scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.unset("DIDIT_API_KEY");
    let document = scene.apply().exits(10).json();
    assert_eq!(document["format"], "didit-sync/error.v1");
    assert!(document["error"]["message"].as_str().unwrap().contains("DIDIT_API_KEY"));
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn a_key_that_may_not_write_is_found_by_one_write_and_the_privilege_named() {
    let mut scene = Scene::new(sandbox(8));
    scene.write_all();
    let key = scene.world.add_key(Privileges::of(&[Privilege::ReadSessions, Privilege::ReadWorkflows]));
    scene.set("DIDIT_API_KEY", &key);
    let document = scene.apply().exits(10).json();
    assert_eq!(scene.writes(), 1);
    assert!(document["error"]["message"].as_str().unwrap().contains("write:sessions"), "{}", document["error"]);
}

#[test]
fn a_key_that_may_not_read_sessions_is_told_which_privilege_it_lacks() {
    let mut scene = Scene::new(sandbox(3));
    scene.write_all();
    let key = scene.world.add_key(Privileges::of(&[Privilege::WriteSessions]));
    scene.set("DIDIT_API_KEY", &key);
    let document = scene.apply().exits(10).json();
    assert!(document["error"]["message"].as_str().unwrap().contains("read:sessions"), "{}", document["error"]);
    assert_eq!(scene.writes(), 0);
}

#[test]
fn a_key_that_may_not_read_workflows_imports_all_the_same() {
    let mut scene = Scene::new(sandbox(3));
    scene.write_all();
    let key = scene.world.add_key(Privileges::of(&[Privilege::ReadSessions, Privilege::WriteSessions]));
    scene.set("DIDIT_API_KEY", &key);
    scene.apply().exits(0);
    assert_eq!(scene.world.imported().len(), 3);
}

#[test]
fn no_credit_stops_at_once_and_is_retried_once_there_is_some() {
    let scene = Scene::new(sandbox(6));
    scene.write_all();
    scene.world.set_credit(false);
    let document = scene.apply().exits(7).json();
    assert_eq!(scene.writes(), 1);
    assert_eq!((&document["summary"]["refused"], &document["summary"]["not_sent"]), (&json!(1), &json!(5)));
    assert_eq!(scene.plan().json()["summary"]["retry"], 1);
    scene.world.set_credit(true);
    assert_eq!(scene.apply().exits(0).json()["summary"]["imported"], 6);
}

#[test]
fn archived_unknown_and_wrong_kind_workflows_take_no_request_per_entry() {
    let scene = Scene::new(sandbox(4));
    let source = scene.sources()[0].id;
    let workflows = [
        scene.running.archived_workflow(),
        Uuid::from_u128(77),
        scene.running.workflow(didit_sync::token::SessionKind::Business),
    ];
    for workflow in workflows {
        let text = scene.head("acme")
            + &format!("imports:\n  - {{id: a, share_token: {}, workflow_id: {workflow}}}\n", scene.mint(source));
        scene.write("m.yaml", &text);
        let document = scene.apply().exits(3).json();
        let row = &document["imports"][0];
        assert_eq!((&row["error"]["class"], &row["attempts"]), (&json!("workflow_unknown"), &json!(0)), "{row:#}");
    }
    assert_eq!(scene.writes(), 0);
}

fn unavailable(reply: Reply) -> (Fake, Output) {
    let fake = Fake::new(move |_, _| Some(reply.clone()));
    fake.write_entries(3);
    let done = fake.apply(&[]);
    (fake, done)
}

#[test]
fn promise_8_a_base_url_that_is_not_the_api_is_found_by_three_requests() {
    let answers = [
        Reply::html(404),
        Reply::html(200),
        Reply::text(200, "\"hello\""),
        Reply::Whole(301, vec![("location".to_owned(), "https://example.invalid/".to_owned())], String::new()),
        Reply::Whole(307, vec![("location".to_owned(), "/elsewhere/".to_owned())], String::new()),
    ];
    for reply in answers {
        let what = format!("{reply:?}");
        let (fake, done) = unavailable(reply);
        assert_eq!(done.code, Some(69), "{what} {}", done.stdout);
        assert!(fake.requests().len() <= 3, "{what}");
        assert!(fake.imports().is_empty());
        assert!(fake.requests().iter().all(|request| request.target != "/elsewhere/"), "{what}");
        assert_eq!(done.json()["exit"]["name"], "unavailable");
        assert!(!done.stdout.contains("Carmen"), "foreign text");
    }
}

#[test]
fn an_api_that_refuses_connections_is_unavailable() {
    let fake = Fake::new(|_, _| None);
    fake.write_entries(2);
    let text = fake.folder.read("m.yaml");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fake.folder.write("m.yaml", &text.replace(&fake.base_url, &format!("http://127.0.0.1:{port}")));
    let document = fake.apply(&[]).exits(69).json();
    assert_eq!(document["summary"]["not_sent"], 2);
}

#[test]
fn promise_8_a_redirect_of_an_import_is_not_followed() {
    let fake = Fake::new(|request, _| {
        let reply = Reply::Whole(307, vec![("location".to_owned(), "/v3/elsewhere/".to_owned())], String::new());
        request.is_import().then_some(reply)
    });
    fake.write_entries(1);
    let done = fake.apply(&[]);
    let document = done.json();
    assert!(fake.requests().iter().all(|request| !request.target.contains("elsewhere")));
    assert_ne!(document["imports"][0]["outcome"], "imported");
    assert_eq!(document["imports"][0]["error"]["class"], "protocol");
}

#[test]
fn max_failures_stops_sending() {
    let fake = Fake::answering(Reply::json(400, &json!({"share_token": ["Original session does not exist."]})));
    fake.write_entries(60);
    let document = fake.apply(&["--max-failures", "3"]).exits(7).json();
    assert!(fake.imports().len() < 60, "{}", fake.imports().len());
    let refused = document["summary"]["refused"].as_u64().unwrap();
    let not_sent = document["summary"]["not_sent"].as_u64().unwrap();
    assert!(refused > 3 && refused + not_sent == 60, "{refused} {not_sent}");
    assert_eq!(document["exit"]["conditions"], json!(["stopped-by-guard", "partial"]));
    // As a share it is not judged before 20 refusals.
    let fake = Fake::answering(Reply::json(400, &json!({"share_token": ["Original session does not exist."]})));
    fake.write_entries(15);
    let document = fake.apply(&[]).exits(3).json();
    assert_eq!(document["summary"]["refused"], 15);
}

#[test]
fn a_dead_token_is_no_failure_of_the_guard() {
    let fake = Fake::answering(Reply::json(400, &json!({"share_token": ["Share token has expired."]})));
    fake.write_entries(8);
    let document = fake.apply(&["--max-failures", "1"]).exits(3).json();
    assert_eq!(document["summary"]["refused"], 8);
    // From now on the token counts as dead.
    let document = fake.apply(&[]).exits(5).json();
    assert_eq!((&document["summary"]["expired"], fake.imports().len()), (&json!(8), 8));
}

#[test]
fn tokens_for_another_application_are_refused_locally() {
    let fake = Fake::new(|_, _| None);
    let token = Token { receiver: Uuid::from_u128(0xBAD), ..Token::new(Uuid::from_u128(1)) }.text();
    fake.folder.write("m.yaml", &format!("{}imports:\n  - {{id: a, share_token: {token}}}\n", fake.head()));
    let done = fake.apply(&[]);
    let document = done.json();
    assert!(fake.requests().is_empty());
    assert_eq!(document["imports"][0]["outcome"], "refused", "{document:#}");
    assert_eq!(document["imports"][0]["error"]["class"], "wrong_audience");
    assert_eq!(document["imports"][0]["attempts"], 0);
    assert_eq!(done.code, Some(5));
}
