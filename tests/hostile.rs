//! Promise 8 and its neighbours: servers that say absurd things, and sessions of strangers.

use std::fmt::Write as _;

use serde_json::json;
use uuid::Uuid;

use crate::support::fake::{Request, WORKFLOW, created};

use crate::support::{Fake, Output, Reply, Scene, Token, sandbox, wait_for};

const STRANGER: Uuid = Uuid::from_u128(0x5772);

fn lists(request: &Request) -> bool {
    request.method == "GET" && request.target.starts_with("/v3/sessions/") && !request.target.contains("limit=1&")
}

/// A server that lists one old session, whatever was asked, and says nothing of where it came from.
fn with_a_stranger(import: Reply, vendor_data: Option<&'static str>) -> Fake {
    let session = json!({"session_id": STRANGER, "session_kind": "user", "session_number": 1, "status": "Approved",
        "vendor_data": vendor_data, "created_at": "2020-01-01T00:00:00Z", "workflow_id": WORKFLOW});
    Fake::new(move |request, _| {
        if request.is_import() {
            return Some(import.clone());
        }
        if lists(request) {
            return Some(Reply::json(200, &json!({"count": 1, "next": null, "previous": null, "results": [session]})));
        }
        request.target.contains(&STRANGER.to_string()).then(|| Reply::json(200, &session))
    })
}

#[test]
fn promise_2_an_unexplained_403_takes_no_strangers_session() {
    for vendor_data in [None, Some("acme-e0")] {
        let fake = with_a_stranger(Reply::json(403, &json!({"detail": "Blocked by policy."})), vendor_data);
        fake.write_entries(1);
        let done = fake.apply(&[]).exits(10).json();
        assert_eq!(done["imports"][0]["session_id"], json!(null), "{done:#}");
        assert_eq!(done["imports"][0]["error"]["class"], "credentials", "{done:#}");
        let plan = fake.folder.run(&["plan", "m.yaml", "--json"]).json();
        assert_eq!(plan["actions"][0]["action"], "retry", "{plan:#}");
    }
}

#[test]
fn promise_3_a_session_without_the_vendor_data_is_not_taken_for_an_earlier_import() {
    let said = json!({"detail": "This session has already been shared with your application."});
    for (vendor_data, outcome, code) in
        [(None, "unknown", 6), (Some("other"), "unknown", 6), (Some("acme-e0"), "recovered", 0)]
    {
        let fake = with_a_stranger(Reply::json(403, &said), vendor_data);
        fake.write_entries(1);
        let done = fake.apply(&["--no-verify"]).exits(code).json();
        assert_eq!(done["imports"][0]["outcome"], outcome, "{vendor_data:?} {done:#}");
    }
}

#[test]
fn promise_8_a_pause_of_zero_is_no_storm() {
    let fake = Fake::new(|request, before| {
        request.is_import().then(|| match before {
            0 | 1 => Reply::json(429, &json!({"detail": "Request was throttled."})).with("Retry-After", "0"),
            _ => Reply::json(201, &created(Uuid::from_u128(0xE0), request)),
        })
    });
    fake.write_entries(1);
    let done = fake.apply(&["--no-verify"]).exits(0).json();
    assert_eq!((fake.imports().len(), &done["requests"]["throttled"]), (3, &json!(2)));
    assert!(done["seconds"].as_f64().unwrap() >= 2.0, "{done:#}");
}

#[test]
fn promise_8_an_absurd_pause_is_no_panic_and_can_be_interrupted() {
    let throttled = Reply::json(429, &json!({"detail": "Request was throttled."}));
    let fake = Fake::answering(throttled.with("Retry-After", "99999999999999999999"));
    fake.write_entries(3);
    let child = fake.folder.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("a request", || !fake.imports().is_empty());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let ended = Output::of(child).exits(130);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_eq!(ended.json()["summary"]["not_sent"], 3);
}

#[test]
fn a_token_program_runs_once_for_all_sends_of_its_entry() {
    let fake = Fake::new(|request, before| {
        request.is_import().then(|| match before {
            0 => Reply::json(429, &json!({"detail": "Request was throttled."})).with("Retry-After", "1"),
            _ => Reply::json(201, &created(Uuid::from_u128(0xE0), request)),
        })
    });
    let source = Uuid::from_u128(1);
    fake.folder.write("token.txt", &Token::new(source).text());
    let script = "echo ran >> runs.txt; cat token.txt";
    let mut text = fake.head();
    let _ = write!(
        text,
        "imports:\n  - {{id: a, source_session_id: {source}, share_token: {{exec: [sh, -c, \"{script}\"]}}}}\n"
    );
    fake.folder.write("m.yaml", &text);
    fake.apply(&["--allow-exec", "--no-verify"]).exits(0);
    assert_eq!((fake.imports().len(), fake.folder.read("runs.txt").lines().count()), (2, 1));
}

#[test]
fn only_the_keys_of_what_is_sent_are_read() {
    let scene = Scene::new(sandbox(2));
    let [one, two] = scene.sources().try_into().unwrap();
    for (name, source, key) in [("one", &one, "DIDIT_API_KEY"), ("two", &two, "NOT_SET")] {
        let head = scene.head(name).replace("DIDIT_API_KEY", key);
        let text = format!("{head}imports:\n  - {{id: {name}, share_token: {}}}\n", scene.mint(source.id));
        scene.write(&format!("{name}.yaml"), &text);
    }
    let both = ["apply", "one.yaml", "two.yaml", "--yes", "--json"];
    scene.run(&both).exits(10);
    let done = scene.run(&[both.as_slice(), &["--only", "one"]].concat()).exits(0).json();
    assert_eq!((&done["summary"]["imported"], &done["summary"]["not_sent"]), (&json!(1), &json!(1)), "{done:#}");
}
