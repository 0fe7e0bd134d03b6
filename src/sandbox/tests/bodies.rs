//! Every documented status and body.

use jiff::SignedDuration;

use super::*;

fn user(sandbox: &Running) -> Uuid {
    sandbox.world().sources().into_iter().find(|source| source.kind == SessionKind::User).unwrap().id
}

fn detail(text: &str) -> Value {
    json!({ "detail": text })
}

#[tokio::test]
async fn an_import_answers_201_with_the_plural_decision() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let source = user(&sandbox);
    let order = client.order(source, MintOptions::default());
    let seen = client.import(&order).await;
    let body = seen.json();
    assert_eq!(seen.status, 201, "{body}");
    assert_eq!(seen.header("server"), super::super::SERVER);
    assert!(seen.header("date").ends_with("GMT"));
    assert_eq!(body["shared_from_session"], json!(source));
    assert_eq!(body["status"], "In Review");
    assert_eq!(body["session_kind"], "user");
    assert_eq!(body["environment"], "sandbox");
    assert_eq!(body["session_url"], Value::Null);
    assert_eq!(body["vendor_data"], json!(format!("acme-{source}")));
    assert_eq!(body["features"][0]["feature"], "ID_VERIFICATION");
    assert!(body["id_verifications"][0]["full_name"].is_string());
    assert_eq!(body["nfc_verifications"], Value::Null);

    let path = format!("/v3/session/{}/decision/", body["session_id"].as_str().unwrap());
    let (one, two) = (client.get(&path).await.json(), client.get(&path).await.json());
    let portrait = |body: &Value| body["id_verifications"][0]["portrait_image"].as_str().unwrap().to_owned();
    assert_ne!(portrait(&one), portrait(&two));
    assert!(portrait(&one).contains("X-Amz-Expires=3600"));
    assert_eq!(one["liveness_checks"][0]["score"], two["liveness_checks"][0]["score"]);
    assert_eq!(one["shared_from_session"], json!(source));

    client.import(&order).await.is(403, &detail("This session has already been shared with your application."));
    let fresh = client.order(source, MintOptions { ttl: SignedDuration::from_mins(5), ..MintOptions::default() });
    client.import(&fresh).await.is(403, &detail("This session has already been shared with your application."));
}

#[tokio::test]
async fn a_company_is_imported_with_registry_and_people() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let source = sandbox.world().seed_session(SessionKind::Business, Status::Approved, Some("co"));
    let mut order = client.order(source, MintOptions::default());
    order["trust_review"] = json!(true);
    order.as_object_mut().unwrap().remove("vendor_data");
    let body = client.import(&order).await.json();
    assert_eq!((&body["status"], &body["vendor_data"]), (&json!("Approved"), &json!("co")));
    assert!(body["registry_checks"][0]["company_name"].is_string());
    assert!(body["key_people_checks"][0]["people"][0]["role"].is_string());
    assert!(body.get("id_verifications").is_none());
    let list = client.get("/v3/sessions/?session_kind=business&vendor_data=co").await.json();
    assert_eq!(list["results"][0]["workflow_id"], json!(sandbox.workflow(SessionKind::Business)));
}

#[tokio::test]
async fn refusals_of_2026() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let (world, source) = (sandbox.world(), user(&sandbox));
    let refused = |text: &str| json!({ "share_token": [text] });

    let mut order = client.order(source, MintOptions::default());
    order["share_token"] = json!("eyJh.eyJz.c2ln");
    client.import(&order).await.is(400, &refused("Invalid share token."));
    let late = MintOptions { ttl: SignedDuration::from_secs(-5), ..MintOptions::default() };
    client.import(&client.order(source, late)).await.is(400, &refused("Share token has expired."));
    let other = MintOptions { for_application: Some(Uuid::from_u128(9)), ..MintOptions::default() };
    let wrong = refused("This token is not valid for this application.");
    client.import(&client.order(source, other)).await.is(400, &wrong);
    let gone = world.seed_session(SessionKind::User, Status::Approved, None);
    let order = client.order(gone, MintOptions::default());
    world.delete_source(gone).unwrap();
    client.import(&order).await.is(400, &refused("Original session does not exist."));

    let unknown = detail("Workflow does not exist for this application.");
    for workflow in [Uuid::from_u128(1), sandbox.archived_workflow(), sandbox.workflow(SessionKind::Business)] {
        let mut order = client.order(source, MintOptions::default());
        order["workflow_id"] = json!(workflow);
        client.import(&order).await.is(404, &unknown);
    }
    let missing = json!({ "trust_review": ["Must be a valid boolean."], "workflow_id": ["This field is required."] });
    client.import(&json!({ "share_token": "x", "trust_review": "yes" })).await.is(400, &missing);
    let mut order = client.order(source, MintOptions::default());
    order["vendor_data"] = json!("ü".repeat(1001));
    assert_eq!(client.import(&order).await.status, 400);
    world.set_credit(false);
    let poor = client.import(&client.order(source, MintOptions::default())).await;
    assert_eq!(poor.status, 403);
    assert!(poor.json()["error"].as_str().unwrap().starts_with("You don't have enough credits"));
    assert!(world.imported().is_empty());
}

#[tokio::test]
async fn keys_and_privileges() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let world = sandbox.world();
    let forbidden = detail("You do not have permission to perform this action.");
    client.with_key("").get("/v3/sessions/").await.is(403, &forbidden);
    let invalid = detail("Authentication credentials were not provided or are invalid.");
    client.with_key("sk_test_nobody").get("/v3/sessions/").await.is(401, &invalid);
    let reader = client.with_key(&world.add_key(Privileges::of(&[Privilege::ReadSessions])));
    assert_eq!(reader.get("/v3/sessions/?limit=1").await.status, 200);
    reader.get("/v3/workflows/").await.is(403, &forbidden);
    let order = client.order(user(&sandbox), MintOptions::default());
    reader.import(&order).await.is(403, &forbidden);
    let writer = client.with_key(&world.add_key(Privileges::of(&[Privilege::WriteSessions])));
    assert_eq!(writer.import(&order).await.status, 201);
    writer.get("/v3/sessions/").await.is(403, &forbidden);
    world.revoke_key(&writer.key);
    writer.get("/v3/sessions/").await.is(401, &invalid);
}

#[tokio::test]
async fn the_router_answers_without_the_api() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let moved = client.get("/v3/sessions?limit=1").await;
    assert_eq!((moved.status, moved.header("location")), (301, "/v3/sessions/?limit=1"));
    let page = client.get("/v3/session/carmen/decision/").await;
    assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
    let health = client.with_key("").get("/system/healthcheck").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    let unknown = format!("/v3/session/{}/decision/", Uuid::from_u128(5));
    client.with_key("").get(&unknown).await.is(404, &detail("Not found."));
    assert_eq!(client.post("/v3/sessions/", &json!({})).await.status, 405);
}

#[tokio::test]
async fn tokens_are_minted_by_the_partner() {
    let sandbox = start(config()).await;
    let partner = client(&sandbox).with_key(&sandbox.partner_key());
    let source = user(&sandbox);
    let path = format!("/v3/session/{source}/share/");
    let seen = partner.post(&path, &json!({ "for_application_id": sandbox.application_id() })).await;
    assert_eq!((seen.status, &seen.json()["session_kind"]), (200, &json!("user")));
    let mut order = client(&sandbox).order(source, MintOptions::default());
    order["share_token"] = seen.json()["share_token"].clone();
    assert_eq!(client(&sandbox).import(&order).await.status, 201);

    let field = |name: &str, text: &str| json!({ name: [text] });
    let target = |id: Uuid| json!({ "for_application_id": id });
    let text = "Target application does not exist.";
    partner.post(&path, &target(Uuid::from_u128(1))).await.is(400, &field("for_application_id", text));
    let text = "Cannot share a session with the same application.";
    let own = target(sandbox.partner_application_id());
    partner.post(&path, &own).await.is(400, &field("for_application_id", text));
    let text = "Ensure this value is greater than or equal to 60.";
    let short = json!({ "for_application_id": sandbox.application_id(), "ttl_in_seconds": 5 });
    partner.post(&path, &short).await.is(400, &field("ttl_in_seconds", text));
    let open = sandbox.world().seed_session(SessionKind::User, Status::InProgress, None);
    let text = "Only finished sessions (\"Approved\", \"Declined\", \"In Review\") can be shared.";
    let open = format!("/v3/session/{open}/share/");
    partner.post(&open, &target(sandbox.application_id())).await.is(400, &field("detail", text));
    let foreign = client(&sandbox).post(&path, &target(sandbox.partner_application_id())).await;
    foreign.is(404, &detail("Not found."));
}

#[tokio::test]
async fn a_session_is_reviewed_and_deleted() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let order = client.order(user(&sandbox), MintOptions::default());
    let id = client.import(&order).await.json()["session_id"].as_str().unwrap().to_owned();
    let path = format!("/v3/session/{id}/update-status/");
    let update = |body: Value| {
        let (client, path) = (client.with_key(&client.key), path.clone());
        async move { client.send(Method::PATCH, &path, Some(&body)).await.unwrap() }
    };
    let text = "You can only update the status to 'Approved', 'Declined', or 'Resubmitted'.";
    update(json!({ "new_status": "In Review" })).await.is(400, &json!({ "new_status": [text] }));
    update(json!({})).await.is(400, &json!({ "new_status": ["This field is required."] }));
    update(json!({ "new_status": "Approved", "comment": "fine" })).await.is(200, &json!({ "session_id": id }));
    let same = json!(["The new status is the same as the current status."]);
    update(json!({ "new_status": "Approved" })).await.is(400, &same);
    let decision = client.get(&format!("/v3/session/{id}/decision/")).await.json();
    assert_eq!(decision["status"], "Approved");
    assert_eq!(decision["reviews"][0]["user"], "API Client");

    let path = format!("/v3/session/{id}/delete/");
    let deleted = client.send(Method::DELETE, &path, None).await.unwrap();
    assert_eq!((deleted.status, &deleted.json()["session_id"]), (200, &json!(id)));
    client.send(Method::DELETE, &path, None).await.unwrap().is(404, &detail("Not found."));
    assert_eq!(client.import(&order).await.status, 403, "a deleted import does not free its source");
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let world = sandbox.world();
    for number in 0..5 {
        let _ = world.seed_own_session(SessionKind::User, Status::Approved, Some(&format!("v{}", number % 2)));
    }
    for _ in 0..120 {
        let _ = world.seed_own_session(SessionKind::Business, Status::Declined, None);
    }
    let page = client.get("/v3/sessions/?limit=2&status=Approved").await.json();
    assert_eq!((&page["count"], &page["previous"]), (&json!(5), &Value::Null));
    let numbers = |page: &Value| {
        page["results"].as_array().unwrap().iter().map(|r| r["session_number"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&page), [Some(5), Some(4)]);
    assert!(page["results"][0].get("workflow_id").is_none() && page["results"][0].get("shared_from_session").is_none());
    let next = page["next"].as_str().unwrap().strip_prefix(&sandbox.base_url()).unwrap();
    assert_eq!(next, "/v3/sessions/?status=Approved&limit=2&offset=2");
    let second = client.get(next).await.json();
    assert_eq!(numbers(&second), [Some(3), Some(2)]);
    assert!(second["previous"].is_string());

    let count = |query: &'static str| {
        let client = client.with_key(&client.key);
        async move { client.get(&format!("/v3/sessions/?{query}")).await.json()["count"].as_u64().unwrap() }
    };
    assert_eq!(count("vendor_data=v1").await, 2);
    assert_eq!(count("vendor_data=V1").await, 0);
    assert_eq!(count("session_kind=business").await, 100);
    assert_eq!(count("session_kind=ALL").await, 105);
    assert_eq!(count("status=approved").await, 0);
    assert_eq!(count("workflow_id=rubbish").await, 5);
    assert_eq!(count("date_from=2020-01-01&date_to=2020-01-02").await, 0);
    let id = page["results"][0]["session_id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v3/sessions/?search={id}")).await.json()["count"], 1);
    let kind = json!({ "session_kind": "Must be \"user\", \"business\", or \"all\"." });
    client.get("/v3/sessions/?session_kind=galaxy").await.is(400, &kind);
    client.get("/v3/sessions/?date_from=soon").await.is(400, &json!({ "date_from": ["Enter a valid date."] }));
}

#[tokio::test]
async fn the_seed_dialect_speaks_as_the_older_page() {
    let sandbox = start(Config { dialect: Dialect::Seed, ..config() }).await;
    let client = client(&sandbox);
    let (world, source) = (sandbox.world(), user(&sandbox));
    let late = MintOptions { ttl: SignedDuration::from_secs(-5), ..MintOptions::default() };
    client.import(&client.order(source, late)).await.is(401, &detail("Share token invalid or expired."));
    let other = MintOptions { for_application: Some(Uuid::from_u128(9)), ..MintOptions::default() };
    client.import(&client.order(source, other)).await.is(403, &detail("Token not intended for your application."));
    let gone = world.seed_session(SessionKind::User, Status::Approved, None);
    let order = client.order(gone, MintOptions::default());
    world.delete_source(gone).unwrap();
    client.import(&order).await.is(404, &detail("Original session no longer exists."));
    client.with_key("nobody").get("/v3/sessions/").await.is(401, &detail("Invalid or missing API key"));

    let body =
        client.import(&client.order(source, MintOptions { legacy: true, ..MintOptions::default() })).await.json();
    assert_eq!(body["features"][0], "ID_VERIFICATION");
    assert!(body["id_verification"]["full_name"].is_string());
    assert_eq!(body["nfc"], Value::Null);
    assert!(body["session_url"].as_str().unwrap().starts_with("https://verify.didit.me/session/"));
    for key in ["session_kind", "shared_from_session", "expires_at", "id_verifications"] {
        assert!(body.get(key).is_none(), "{key}");
    }
    assert_eq!(client.get("/v3/workflows/").await.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn workflows_are_listed_and_read() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let page = client.get("/v3/workflows/?limit=2").await.json();
    assert_eq!((&page["count"], page["results"].as_array().unwrap().len()), (&json!(3), 2));
    let one = client.get(&format!("/v3/workflows/{}/", sandbox.archived_workflow())).await.json();
    assert_eq!((&one["is_archived"], &one["workflow_type"]), (&json!(true), &json!("kyc")));
}
