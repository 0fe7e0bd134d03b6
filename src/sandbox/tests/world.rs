//! The world behind the API.

use std::os::unix::fs::PermissionsExt as _;

use super::super::{Error, write_manifest};
use super::*;

#[tokio::test]
async fn only_loopback_is_served() {
    let config = Config { listen: "0.0.0.0:0".parse().unwrap(), ..Config::default() };
    let error = Sandbox::start(config).await.unwrap_err();
    assert!(matches!(error, Error::NotLoopback(_)));
    assert!(error.to_string().contains("loopback only"), "{error}");
}

#[tokio::test]
async fn everything_but_time_follows_from_the_seed() {
    let (one, two) = (start(config()).await, start(config()).await);
    let other = start(Config { seed: 2, ..config() }).await;
    assert_eq!(one.world().sources(), two.world().sources());
    assert_ne!(one.world().sources(), other.world().sources());
    assert_eq!(one.api_key(), two.api_key());
    assert_ne!(one.base_url(), two.base_url());
    assert!(one.api_key().starts_with("sk_test_") && one.api_key().len() == 51);
    let kinds: Vec<SessionKind> = one.world().sources().iter().map(|source| source.kind).collect();
    assert!(kinds.contains(&SessionKind::User) && kinds.contains(&SessionKind::Business));
}

#[tokio::test]
async fn simultaneous_imports_of_one_source_make_one_session() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let order = client.order(sandbox.world().sources()[0].id, MintOptions::default());
    let answers = tokio::join!(client.import(&order), client.import(&order), client.import(&order));
    let mut statuses = [answers.0.status, answers.1.status, answers.2.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403]);
    assert_eq!(sandbox.world().imported().len(), 1);
}

#[tokio::test]
async fn changes_show_in_the_decision() {
    let sandbox = start(config()).await;
    let client = client(&sandbox);
    let world = sandbox.world();
    let _ = client.import(&client.order(world.sources()[0].id, MintOptions::default())).await;
    let id = world.imported()[0].session_id;
    let changes = [
        Change::Rename("Somebody Else".to_owned()),
        Change::Document { field: "expiration_date".to_owned(), value: json!("2020-01-01") },
        Change::Check { block: "liveness_checks".to_owned(), field: "score".to_owned(), value: json!(1.5) },
        Change::Check { block: "nfc_verifications".to_owned(), field: "status".to_owned(), value: json!("Approved") },
        Change::Field { field: "nfc_skip_reason".to_owned(), value: json!("none") },
        Change::VendorData(Some("moved".to_owned())),
        Change::Workflow(Uuid::from_u128(4)),
        Change::Source(Uuid::from_u128(5)),
        Change::Environment("live".to_owned()),
        Change::Review { status: Status::Declined, comment: "no".to_owned() },
    ];
    for change in changes {
        world.change(id, change).unwrap();
    }
    let decision = client.get(&format!("/v3/session/{id}/decision/")).await.json();
    assert_eq!(decision["id_verifications"][0]["full_name"], "Somebody Else");
    assert_eq!(decision["id_verifications"][0]["expiration_date"], "2020-01-01");
    assert_eq!(decision["liveness_checks"][0]["score"], 1.5);
    assert_eq!(decision["nfc_verifications"], json!([{"status": "Approved"}]));
    assert_eq!(decision["nfc_skip_reason"], "none");
    assert_eq!(decision["workflow_id"], json!(Uuid::from_u128(4)));
    assert_eq!(decision["shared_from_session"], json!(Uuid::from_u128(5)));
    assert_eq!((&decision["environment"], &decision["status"]), (&json!("live"), &json!("Declined")));
    assert_eq!(decision["reviews"][0]["new_status"], "Declined");
    assert_eq!(client.get("/v3/sessions/?vendor_data=moved").await.json()["count"], 1);
    world.change(id, Change::Delete).unwrap();
    assert!(world.imported().is_empty() && world.change(id, Change::Delete).is_err());
}

#[tokio::test]
async fn a_deleted_import_can_free_its_source() {
    let sandbox = start(Config { delete_frees_source: true, reads_show_source: false, ..config() }).await;
    let client = client(&sandbox);
    let order = client.order(sandbox.world().sources()[0].id, MintOptions::default());
    let first = client.import(&order).await.json()["session_id"].as_str().unwrap().to_owned();
    let decision = client.get(&format!("/v3/session/{first}/decision/")).await.json();
    assert!(decision.get("shared_from_session").is_none());
    let _ = client.send(Method::DELETE, &format!("/v3/session/{first}/delete/"), None).await.unwrap();
    let second = client.import(&order).await;
    assert_eq!(second.status, 201);
    assert_ne!(second.json()["session_id"], json!(first));
}

#[tokio::test]
async fn requests_are_recorded_on_demand_and_the_port_is_freed() {
    let sandbox = start(config()).await;
    let _ = client(&sandbox).get("/v3/sessions/?limit=1").await;
    let world = sandbox.world();
    let record = &world.requests()[0];
    assert_eq!(
        (record.method.as_str(), record.path.as_str(), record.status),
        ("GET", "/v3/sessions/?limit=1", Some(200))
    );
    assert_eq!(record.header("x-api-key"), Some(sandbox.api_key().as_str()));
    let address = sandbox.base_url().replace("http://", "");
    sandbox.shutdown().await;
    assert!(tokio::net::TcpListener::bind(&address).await.is_ok());

    let quiet = start(Config { record_requests: false, ..config() }).await;
    let _ = client(&quiet).get("/v3/sessions/").await;
    assert!(quiet.world().requests().is_empty() && quiet.world().counts().requests == 1);
}

#[tokio::test]
async fn a_manifest_holds_a_token_for_each_source_and_is_never_overwritten() {
    let sandbox = start(Config { writes_per_minute: 50, ..config() }).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.yaml");
    write_manifest(&sandbox, &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let yaml: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(yaml["application"]["base_url"], json!(sandbox.base_url()));
    assert_eq!(yaml["application"]["api_key"]["env"], "DIDIT_API_KEY");
    assert_eq!(yaml["defaults"]["workflow_id"]["user"], json!(sandbox.workflow(SessionKind::User)));
    assert_eq!(yaml["defaults"]["vendor_data"], "acme-{source_session_id}");
    assert_eq!(yaml["limits"]["writes_per_minute"], 50);
    assert_eq!(yaml["imports"].as_array().unwrap().len(), 8);
    let mut order = client(&sandbox).order(sandbox.world().sources()[0].id, MintOptions::default());
    order["share_token"] = yaml["imports"][0]["share_token"].clone();
    assert_eq!(client(&sandbox).import(&order).await.status, 201);
    assert!(matches!(write_manifest(&sandbox, &path), Err(Error::ManifestExists(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
