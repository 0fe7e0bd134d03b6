//! How the session of a lost answer is looked for: lists that are long, shared, late or cut into pages.

use std::sync::atomic::{AtomicUsize, Ordering};

use didit_sync::sandbox::Config;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::{Request, created};
use crate::support::{Fake, Reply, Scene, sandbox, uuid};

fn is_list(request: &Request) -> bool {
    request.method == "GET" && request.target.starts_with("/v3/sessions/") && !request.target.contains("limit=1&")
}

fn already_shared() -> Reply {
    Reply::json(403, &json!({"detail": "This session has already been shared with your application."}))
}

/// A session in both shapes: as a row of a list and as a decision.
fn session(id: Uuid, source: Uuid, vendor_data: Option<&str>) -> Value {
    json!({"session_id": id, "session_kind": "user", "session_number": 3, "session_url": null, "status": "In Review",
        "vendor_data": vendor_data, "created_at": Timestamp::now(), "shared_from_session": source, "features": []})
}

#[test]
fn promise_2_lookups_without_vendor_data_share_their_lists() {
    let faults = "import.error-after=x1,list.latency=3s..3s".parse().unwrap();
    let scene = Scene::new(Config { faults, ..sandbox(15) });
    let text = scene.manifest("acme").replace("  vendor_data: \"acme-{source_session_id}\"\n", "");
    assert!(!text.contains("vendor_data"));
    scene.write("m.yaml", &text);
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--no-verify"]).exits(0).json();
    assert_eq!(done["summary"]["recovered"], 15, "{done:#}");
    for row in done["imports"].as_array().unwrap() {
        assert_eq!(Some(uuid(&row["session_id"])), scene.imported_from(uuid(&row["source_session_id"])));
    }
    let lists = scene.world.requests().iter().filter(|request| request.path.starts_with("/v3/sessions/")).count();
    assert!((2..=10).contains(&lists), "{lists} lists for 15 lookups");
}

#[test]
fn promise_2_a_session_that_is_listed_late_is_found() {
    let (made, source) = (Uuid::from_u128(0xE0), Uuid::from_u128(1));
    let lists = AtomicUsize::new(0);
    let fake = Fake::new(move |request, before| {
        if request.is_import() {
            return Some(if before == 0 { Reply::html(502) } else { already_shared() });
        }
        if is_list(request) {
            let rows = if lists.fetch_add(1, Ordering::SeqCst) < 2 {
                vec![]
            } else {
                vec![session(made, source, Some("acme-e0"))]
            };
            return Some(Reply::json(
                200,
                &json!({"count": rows.len(), "next": null, "previous": null, "results": rows}),
            ));
        }
        request.target.contains(&made.to_string()).then(|| Reply::json(200, &session(made, source, Some("acme-e0"))))
    });
    fake.write_entries(1);
    let done = fake.apply(&["--no-verify"]).exits(0).json();
    assert_eq!((&done["imports"][0]["outcome"], uuid(&done["imports"][0]["session_id"])), (&json!("recovered"), made));
}

#[test]
fn promise_2_a_list_without_vendor_data_is_read_back_to_the_first_attempt_and_no_further() {
    let (made, source) = (Uuid::from_u128(0xE0), Uuid::from_u128(1));
    let pages = std::sync::Arc::new(AtomicUsize::new(0));
    let read = std::sync::Arc::clone(&pages);
    let fake = Fake::new(move |request, before| {
        if request.is_import() {
            return Some(if before == 0 { Reply::html(502) } else { already_shared() });
        }
        if is_list(request) {
            let page = read.fetch_add(1, Ordering::SeqCst);
            // Three pages of today, the session on the third; then years of older ones.
            let row = |n: usize| {
                let mut row =
                    session(Uuid::from_u128((page * 1000 + n) as u128 + 0x10_0000), Uuid::from_u128(99), None);
                if page > 2 {
                    row["created_at"] = json!("2020-01-01T00:00:00Z");
                }
                row
            };
            let mut rows: Vec<Value> = (0..50).map(row).collect();
            if page == 2 {
                rows[49] = session(made, source, None);
            }
            let next = format!("/v3/sessions/?limit=50&offset={}", (page + 1) * 50);
            return Some(Reply::json(200, &json!({"count": 99_999, "next": next, "previous": null, "results": rows})));
        }
        let id = request.target.strip_prefix("/v3/session/")?.strip_suffix("/decision/")?.parse::<Uuid>().ok()?;
        let source = if id == made { source } else { Uuid::from_u128(99) };
        Some(Reply::json(200, &session(id, source, None)))
    });
    fake.write_entries(1);
    let text = fake.folder.read("m.yaml").replace(", vendor_data: \"acme-{id}\"", "");
    fake.folder.write("m.yaml", &text);
    let done = fake.apply(&["--no-verify"]).exits(0).json();
    assert_eq!((&done["imports"][0]["outcome"], uuid(&done["imports"][0]["session_id"])), (&json!("recovered"), made));
    assert_eq!(pages.load(Ordering::SeqCst), 4, "the fourth page is older than the first attempt");
}

#[test]
fn a_list_of_workflows_without_an_end_proves_no_absence() {
    let fake = Fake::new(|request, _| {
        if request.is_import() {
            return Some(Reply::json(201, &created(Uuid::from_u128(0xE0), request)));
        }
        let row = json!({"workflow_id": Uuid::from_u128(0xBAD), "workflow_type": "kyc", "status": "published"});
        let page = json!({"count": 1, "next": "/v3/workflows/?offset=1", "previous": null, "results": [row]});
        request.target.starts_with("/v3/workflows/").then(|| Reply::json(200, &page))
    });
    fake.write_entries(1);
    let done = fake.apply(&["--no-verify"]).exits(0);
    assert!(done.stderr.contains("a list of workflows that does not end"), "{}", done.stderr);
    assert_eq!(done.json()["summary"]["imported"], 1);
    assert_eq!(fake.requests().iter().filter(|it| it.target.starts_with("/v3/workflows/")).count(), 20);
}
