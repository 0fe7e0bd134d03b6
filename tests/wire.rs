//! The request and the answer are those of the user's page.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::{WORKFLOW, created};
use crate::support::{Fake, Reply, Scene, Token, keys, sandbox};

#[test]
fn an_import_is_exactly_the_documented_request() {
    let scene = Scene::new(sandbox(2));
    let sources = scene.sources();
    let tokens = [scene.mint(sources[0].id), scene.mint(sources[1].id)];
    let text = format!(
        "version: 1\nname: acme\napplication: {{base_url: \"{}\"}}\nimports:\n\
         \x20 - {{share_token: {}, workflow_id: {w}, trust_review: true, vendor_data: partner-user-42}}\n\
         \x20 - {{share_token: {}, workflow_id: {w}, trust_review: false}}\n",
        scene.running.base_url(),
        tokens[0],
        tokens[1],
        w = scene.running.workflow(didit_sync::token::SessionKind::User),
    );
    scene.write("m.yaml", &text);
    scene.apply().exits(0);
    let requests = scene.world.requests();
    let imports: Vec<_> = requests.iter().filter(|it| it.method != "GET").collect();
    assert_eq!(imports.len(), 2);
    for import in imports {
        assert_eq!((import.method.as_str(), import.path.as_str()), ("POST", "/v3/session/import-shared/"));
        assert_eq!(import.header("x-api-key"), Some(scene.running.api_key().as_str()));
        assert_eq!(import.header("content-type"), Some("application/json"));
        assert_eq!(import.header("authorization"), None);
        let body = import.body.as_ref().unwrap();
        let trusted = body["share_token"] == json!(tokens[0]);
        let expected: &[&str] = if trusted {
            &["share_token", "trust_review", "workflow_id", "vendor_data"]
        } else {
            &["share_token", "trust_review", "workflow_id"]
        };
        let mut found = keys(body);
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(body["trust_review"], Value::Bool(trusted));
        assert_eq!(body["workflow_id"], json!(scene.running.workflow(didit_sync::token::SessionKind::User)));
        if trusted {
            assert_eq!(body["vendor_data"], "partner-user-42");
        }
    }
    for read in requests.iter().filter(|it| it.method == "GET") {
        let path = read.path.split('?').next().unwrap();
        assert!(path.ends_with('/'), "{path} has no slash at its end");
        assert_eq!(read.header("x-api-key"), Some(scene.running.api_key().as_str()));
    }
}

/// The long example of the import-shared page, in the older singular shape (its trailing comma removed).
fn page_example() -> Value {
    json!({
        "session_id": "11111111-2222-3333-4444-555555555555",
        "session_number": 43762,
        "session_url": "https://verify.didit.me/session/11111111-2222-3333-4444-555555555555",
        "status": "In Review",
        "workflow_id": "11111111-2222-3333-4444-555555555555",
        "features": ["ID_VERIFICATION", "LIVENESS", "FACE_MATCH"],
        "vendor_data": "11111111-1111-1111-1111-111111111111",
        "metadata": {"user_type": "premium", "account_id": "ABC123"},
        "expected_details": {"first_name": "Carmen", "last_name": "Española Española"},
        "contact_details": {"email": "carmen@example.com", "email_lang": "es"},
        "callback": "https://verify.didit.me/",
        "id_verification": {
            "status": "Approved", "document_type": "Identity Card", "document_number": "CAA000000",
            "personal_number": "99999999R", "portrait_image": "https://example.com/portrait.jpg",
            "date_of_birth": "1980-01-01", "age": 45, "expiration_date": "2031-06-02", "date_of_issue": "2021-06-02",
            "issuing_state": "ESP", "issuing_state_name": "Spain", "first_name": "Carmen",
            "last_name": "Española Española", "full_name": "Carmen Española Española", "gender": "F",
            "address": "Avda de Madrid 34, Madrid, Madrid", "extra_fields": {"dl_categories": [], "blood_group": null},
            "warnings": [{"risk": "QR_NOT_DETECTED", "additional_data": null, "log_type": "information",
                "short_description": "QR not detected", "long_description": "The system couldn't find it."}]
        },
        "nfc": null,
        "liveness": {"status": "Approved", "method": "ACTIVE_3D", "score": 89.92,
            "reference_image": "https://example.com/reference.jpg", "video_url": "https://example.com/video.mp4",
            "age_estimation": 24.3, "warnings": []},
        "face_match": {"status": "In Review", "score": 65.43, "warnings": []},
        "phone": null, "poa": null, "aml": null, "ip_analysis": null,
        "reviews": [{"user": "compliance@example.com", "new_status": "Declined",
            "comment": "Possible match found in AML screening", "created_at": "2024-07-18T13:29:00.366811Z"}],
        "created_at": "2024-07-24T08:54:25.443172Z"
    })
}

#[test]
fn the_pages_own_example_is_a_success_and_a_decision() {
    let page = page_example();
    let id = page["session_id"].as_str().unwrap().to_owned();
    let fake = Fake::new({
        let (page, id) = (page.clone(), id.clone());
        move |request, _| match request.target.as_str() {
            _ if request.is_import() => Some(Reply::json(201, &page)),
            target if target == format!("/v3/session/{id}/decision/") => Some(Reply::json(200, &page)),
            _ => None,
        }
    });
    let text = format!(
        "version: 1\nname: acme\napplication: {{base_url: \"{}\"}}\nimports:\n  - {{share_token: {}, id: carmen, \
         workflow_id: {WORKFLOW}, trust_review: false, vendor_data: \"11111111-1111-1111-1111-111111111111\"}}\n",
        fake.base_url,
        Token { kind: None, ..Token::new(Uuid::from_u128(1)) }.text(),
    );
    fake.folder.write("m.yaml", &text);
    let done = fake.apply(&[]);
    let document = done.json();
    let row = &document["imports"][0];
    assert_eq!((row["outcome"].as_str(), row["session_id"].as_str()), (Some("imported"), Some(id.as_str())));
    assert_eq!((row["status"].as_str(), row["session_number"].as_i64()), (Some("In Review"), Some(43762)));
    assert_eq!(row["session_url"], page["session_url"]);
    assert_eq!(row["session_kind"], "user", "a token without a kind is a person's");
    assert_eq!(document["verification"]["summary"]["checked"], 1);
    let rules: Vec<_> = document["verification"]["findings"].as_array().unwrap().iter().map(|it| &it["rule"]).collect();
    assert_eq!(rules, ["workflow-drift"], "the example's workflow is not the one asked for");
    let words = format!("{}{}", done.stdout, done.stderr);
    assert!(!words.contains("Carmen") && !words.contains("CAA000000"));
    fake.folder.assert_ledger_free_of(&[
        "Carmen",
        "CAA000000",
        "99999999R",
        "1980-01-01",
        "example.com/",
        "Possible match",
    ]);
    let status = fake.folder.run(&["status", "carmen", "--json"]).exits(0).json();
    assert_eq!(status["entries"][0]["workflow_id"], json!(WORKFLOW));
    assert_eq!(status["entries"][0]["status"], "In Review");
}

#[test]
fn any_2xx_with_a_session_id_is_a_success() {
    for status in [200, 201] {
        let session = Uuid::from_u128(0xCAFE);
        let fake = Fake::new(move |request, _| match request.target.as_str() {
            _ if request.is_import() => {
                Some(Reply::json(status, &json!({"session_id": session, "status": "IN_REVIEW"})))
            }
            target if target.ends_with("/decision/") => Some(Reply::json(200, &created(session, request))),
            _ => None,
        });
        fake.write_entries(1);
        let done = fake.apply(&["--no-verify"]).exits(0).json();
        assert_eq!(done["imports"][0]["session_id"], json!(session), "{status}");
        assert_eq!(done["verification"], Value::Null);
    }
}
