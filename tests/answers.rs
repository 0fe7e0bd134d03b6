//! Promise 8 for servers: whatever comes in place of an answer, to an import or to a read, nothing wrong is recorded, no
//! session is lost or made twice, the key goes nowhere else, and the program stays small and ends.

#![expect(clippy::print_stdout, reason = "a campaign prints its figures")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::{Request, created};
use crate::support::program::peak;
use crate::support::{Fake, Output, Reply};

const SESSION: Uuid = Uuid::from_u128(0x5E55);
const SOURCE: Uuid = Uuid::from_u128(1);

/// What may come in place of an answer, each with a name.
fn hostile(elsewhere: &str) -> Vec<(&'static str, Reply)> {
    let good =
        json!({"session_id": Uuid::from_u128(0xBAD), "status": "Approved", "vendor_data": "acme-e0", "results": []});
    let head = |more: &str| format!("HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n{more}").into_bytes();
    let redirect = |status| Reply::Whole(status, vec![("location".to_owned(), elsewhere.to_owned())], String::new());
    vec![
        ("cut in the body, with the whole length", Reply::cut(201, &good)),
        ("closed without a word", Reply::Bytes(Vec::new())),
        ("closed within the first line", Reply::Bytes(b"HTTP/1.1 201 Cre".to_vec())),
        ("closed within the headers", Reply::Bytes(head("content-le"))),
        ("a page with status 502", Reply::html(502)),
        ("a page with status 200", Reply::html(200)),
        ("an empty body", Reply::text(200, "")),
        ("null", Reply::text(201, "null")),
        ("a list of numbers", Reply::text(201, "[1, 2, 3]")),
        ("an empty object", Reply::text(201, "{}")),
        ("numbers for ids", Reply::json(201, &json!({"session_id": 7, "results": 7, "next": 7}))),
        ("words for ids", Reply::json(201, &json!({"session_id": "seven", "results": [{"session_id": "seven"}]}))),
        ("a hundred thousand brackets", Reply::text(201, &"[".repeat(100_000))),
        ("another protocol", Reply::Bytes(b"220 mail.example.com ESMTP\r\n".to_vec())),
        ("a gibibyte", Reply::gibibyte(201, false)),
        ("a gibibyte in chunks", Reply::gibibyte(201, true)),
        ("headers without end", Reply::Flood(head(""), b"x-more: of the same\r\n".repeat(1000), 1 << 16)),
        ("a slow drip", Reply::Drip(head("content-length: 100000\r\n\r\n{"), Duration::from_millis(200))),
        ("nothing for ever", Reply::Hang(Vec::new())),
        ("headers and nothing for ever", Reply::Hang(head("content-length: 100000\r\n\r\n"))),
        ("301 to another host", redirect(301)),
        ("302 to another host", redirect(302)),
        ("307 to another host", redirect(307)),
        ("308 to another host", redirect(308)),
    ]
}

/// Runs everything on a few threads: most of the time is waiting.
fn all<T: Send>(cases: Vec<T>, run: impl Fn(T) + Sync) {
    let cases = Mutex::new(cases);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().unwrap().pop();
                    let Some(case) = next else { return };
                    run(case);
                }
            });
        }
    });
}

/// The imported session as its decision tells.
fn session() -> Value {
    json!({"session_id": SESSION, "session_kind": "user", "session_number": 7, "status": "In Review",
        "vendor_data": "acme-e0", "workflow_id": crate::support::fake::WORKFLOW, "features": [], "reviews": [],
        "created_at": jiff::Timestamp::now(), "environment": "sandbox", "shared_from_session": SOURCE})
}

fn lists(request: &Request) -> bool {
    request.method == "GET" && request.target.starts_with("/v3/sessions/")
}

/// The list that checks the key before the first send asks for one row.
fn looks_up(request: &Request) -> bool {
    lists(request) && !request.target.contains("limit=1&") && !request.target.ends_with("limit=1")
}

fn decides(request: &Request) -> bool {
    request.method == "GET" && request.target.ends_with("/decision/")
}

/// An application in which the session exists once `has_session` says so.
fn well(request: &Request, has_session: bool) -> Option<Reply> {
    if request.is_import() {
        let said = json!({"detail": "This session has already been shared with your application."});
        return Some(if has_session { Reply::json(403, &said) } else { Reply::json(201, &session()) });
    }
    if lists(request) && has_session {
        let page = json!({"count": 1, "next": null, "previous": null, "results": [session()]});
        return Some(Reply::json(200, &page));
    }
    (decides(request) && has_session).then(|| Reply::json(200, &session()))
}

/// Applies one entry, each request of which may take a second.
fn apply(fake: &Fake) -> (Output, u64) {
    fake.write_entries(1);
    let text = fake.folder.read("m.yaml") + "limits: {timeout: 1s}\n";
    fake.folder.write("m.yaml", &text);
    measured(fake.folder.start(&["apply", "m.yaml", "--yes", "--json"]))
}

/// A program's output, and the most memory that it had, in KiB, as far as /proc tells.
fn measured(mut child: std::process::Child) -> (Output, u64) {
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(&child));
        std::thread::sleep(Duration::from_millis(5));
    }
    (Output::of(child), most)
}

#[track_caller]
fn assert_sane(what: &str, fake: &Fake, elsewhere: &Fake, (ended, memory): &(Output, u64)) {
    assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
    assert!(*memory < 200 * 1024, "{what}: {memory} KiB");
    assert_eq!(elsewhere.requests().len(), 0, "{what}: another host was asked");
    assert!(!ended.stdout.contains("Carmen") && !ended.stderr.contains("Carmen"), "{what}: foreign text");
    fake.folder.run(&["ledger", "check"]).exits(0);
    let status = fake.folder.run(&["status", "e0", "--json"]);
    if status.code == Some(0) {
        let attempts = status.json()["entries"][0]["attempts"].as_array().unwrap().len();
        assert_eq!(attempts, fake.imports().len(), "{what}: requests and intents");
    }
}

#[test]
fn promise_8_whatever_an_import_is_answered_its_session_is_found_and_made_once() {
    let elsewhere = Arc::new(Fake::new(|_, _| None));
    let cases =
        hostile(&elsewhere.base_url).into_iter().flat_map(|case| [(case.clone(), false), (case, true)]).collect();
    let most = AtomicU64::new(0);
    all(cases, |((what, reply), is_committed)| {
        let what = format!("{what}, {}", if is_committed { "after the commit" } else { "before the commit" });
        let fake = Fake::new(move |request, before| match (request.is_import(), before) {
            (true, 0) => Some(reply.clone()),
            (true, _) => well(request, is_committed),
            // What the second request made is there from then on.
            (false, before) => well(request, (is_committed && before > 0) || before > 1),
        });
        let ended = apply(&fake);
        most.fetch_max(ended.1, Ordering::SeqCst);
        assert_sane(&what, &fake, &elsewhere, &ended);
        let done = ended.0.json();
        assert_eq!(done["exit"]["code"], 0, "{what}: {done:#}");
        let outcome = if is_committed { "recovered" } else { "imported" };
        assert_eq!(
            (&done["imports"][0]["outcome"], &done["imports"][0]["session_id"]),
            (&json!(outcome), &json!(SESSION)),
            "{what}"
        );
        assert!(fake.imports().len() <= 2, "{what}");
        assert_eq!(done["verification"]["findings"], json!([]), "{what}");
    });
    println!("the most memory that a run had: {} KiB", most.into_inner());
}

/// The kinds for which reads are tried; the rest differs in nothing that a read could tell.
fn hostile_to_reads(elsewhere: &str) -> Vec<(&'static str, Reply)> {
    let wanted = [
        "cut in",
        "closed without",
        "502",
        "status 200",
        "an empty object",
        "words for",
        "a gibibyte",
        "drip",
        "nothing for",
        "307",
    ];
    hostile(elsewhere).into_iter().filter(|(what, _)| wanted.iter().any(|word| what.contains(word))).collect()
}

#[test]
fn promise_8_whatever_the_first_read_is_answered_nothing_is_sent() {
    let elsewhere = Arc::new(Fake::new(|_, _| None));
    all(hostile_to_reads(&elsewhere.base_url), |(what, reply)| {
        let fake = Fake::new(move |request, _| if lists(request) { Some(reply.clone()) } else { well(request, false) });
        let ended = apply(&fake);
        assert_sane(what, &fake, &elsewhere, &ended);
        let done = ended.0.json();
        assert_eq!(done["exit"]["name"], "unavailable", "{what}: {done:#}");
        assert_eq!((&done["summary"]["not_sent"], fake.imports().len()), (&json!(1), 0), "{what}");
        assert!(fake.requests().len() <= 3, "{what}");
    });
}

#[test]
fn promise_8_whatever_the_workflows_are_answered_imports_go_on() {
    let elsewhere = Arc::new(Fake::new(|_, _| None));
    all(hostile_to_reads(&elsewhere.base_url), |(what, reply)| {
        let fake = Fake::new(move |request, before| {
            if request.target.starts_with("/v3/workflows/") { Some(reply.clone()) } else { well(request, before > 0) }
        });
        let ended = apply(&fake);
        assert_sane(what, &fake, &elsewhere, &ended);
        let done = ended.0.json();
        assert_eq!(
            (&done["exit"]["code"], &done["imports"][0]["session_id"]),
            (&json!(0), &json!(SESSION)),
            "{what}: {done:#}"
        );
    });
}

#[test]
fn promise_8_whatever_a_verification_is_answered_no_finding_is_made_of_it() {
    let elsewhere = Arc::new(Fake::new(|_, _| None));
    all(hostile_to_reads(&elsewhere.base_url), |(what, reply)| {
        let fake = Fake::new(
            move |request, before| {
                if decides(request) { Some(reply.clone()) } else { well(request, before > 0) }
            },
        );
        let ended = apply(&fake);
        assert_sane(what, &fake, &elsewhere, &ended);
        let done = ended.0.json();
        assert_eq!(done["exit"]["name"], "unavailable", "{what}: {done:#}");
        assert_eq!(
            (&done["imports"][0]["outcome"], &done["imports"][0]["session_id"]),
            (&json!("imported"), &json!(SESSION)),
            "{what}"
        );
        let verification = &done["verification"];
        assert_eq!((&verification["findings"], &verification["summary"]["checked"]), (&json!([]), &json!(0)), "{what}");
    });
}

#[test]
fn promise_8_whatever_a_lookup_is_answered_the_entry_stays_open_until_a_better_day() {
    let elsewhere = Arc::new(Fake::new(|_, _| None));
    let kinds = hostile_to_reads(&elsewhere.base_url);
    let cases = kinds.into_iter().flat_map(|case| [(case.clone(), false), (case, true)]).collect();
    all(cases, |((what, reply), is_decision)| {
        let what = format!("{what}, to the {}", if is_decision { "decision" } else { "list" });
        // The answer to the first import is lost after its commit; the day gets better once that is told.
        let better = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&better);
        let fake = Fake::new(move |request, before| {
            let is_hit = if is_decision { decides(request) } else { looks_up(request) };
            match (request.is_import(), before) {
                (true, 0) => Some(Reply::Bytes(Vec::new())),
                (false, _) if is_hit && seen.load(Ordering::SeqCst) == 0 => Some(reply.clone()),
                (_, before) => well(request, before > 0),
            }
        });
        let ended = apply(&fake);
        assert_sane(&what, &fake, &elsewhere, &ended);
        let done = ended.0.json();
        assert_eq!(done["imports"][0]["outcome"], "unknown", "{what}: {done:#}");
        assert_eq!(done["imports"][0]["session_id"], Value::Null, "{what}");
        assert!(matches!(ended.0.code, Some(6 | 69)), "{what}: {done:#}");
        assert_eq!(fake.folder.run(&["plan", "m.yaml", "--json"]).exits(0).json()["summary"]["recover"], 1, "{what}");

        better.store(1, Ordering::SeqCst);
        let done = apply(&fake).0.exits(0).json();
        assert_eq!(
            (&done["imports"][0]["outcome"], &done["imports"][0]["session_id"]),
            (&json!("recovered"), &json!(SESSION)),
            "{what}"
        );
    });
}

#[test]
fn promise_8_a_page_of_a_list_is_not_followed_to_another_host() {
    let elsewhere = Fake::new(|_, _| None);
    let next = format!("{}/v3/sessions/?limit=50&offset=50", elsewhere.base_url);
    let fake = Fake::new(move |request, before| match (request.is_import(), before) {
        (true, 0) => Some(Reply::Bytes(Vec::new())),
        (true, _) => well(request, false),
        (false, _) if looks_up(request) => {
            Some(Reply::json(200, &json!({"count": 99, "next": next, "previous": null, "results": []})))
        }
        (false, before) => well(request, before > 1),
    });
    let (ended, _) = apply(&fake);
    assert_eq!(elsewhere.requests().len(), 0, "another host was asked");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    // A list that was not read to its end proves no absence: the entry is made by sending it again, or left open.
    let row = &ended.json()["imports"][0];
    assert!(row["session_id"] == json!(SESSION) || row["outcome"] == "unknown", "{row:#}");
}

#[test]
fn promise_8_of_a_session_that_is_another_than_asked_for_nothing_is_recorded() {
    // An answer to a decision that is well formed, and of another session.
    let fake = Fake::new(|request, before| {
        if decides(request) {
            let mut other = created(Uuid::from_u128(0xBAD), request);
            other["vendor_data"] = json!("acme-other");
            return Some(Reply::json(200, &other));
        }
        well(request, before > 0)
    });
    let (ended, _) = apply(&fake);
    let done = ended.json();
    assert_eq!(done["imports"][0]["session_id"], json!(SESSION));
    assert_eq!(done["verification"]["findings"], json!([]), "{done:#}");
    assert_eq!(ended.code, Some(69), "{done:#}");
}
