//! The page of a run: what it holds, how large it is, and, where Chromium is installed, that it works.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use didit_sync::didit::Class;
use didit_sync::exit::{Condition, Exit};
use didit_sync::ledger::records::{
    EntryId, Origin, RecordedError, Requests, Run, RunEnd, RunFinding, RunId, RunOutcome, Session, State, StateCount,
};
use didit_sync::report::{Report, html};
use didit_sync::token::SessionKind;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::support::{Folder, Scene, sandbox};

/// Breaks out of whatever does not escape: text, attributes, scripts, JSON.
const HOSTILE: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{2028}\u{202e}&amp;<!--";

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_795_000_000_000 + milliseconds).unwrap()
}

/// An id as random ones are: not one byte of it can be saved.
fn id(n: u128) -> Uuid {
    Uuid::from_u128((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn error(class: Class, http_status: Option<u16>, detail: &str) -> RecordedError {
    RecordedError { class, http_status, detail: detail.to_owned() }
}

fn outcome(n: usize) -> RunOutcome {
    let (outcome, status, error) = match n % 25 {
        3 => ("refused", None, Some(error(Class::SourceGone, Some(400), "the original session does not exist"))),
        7 => ("expired", None, Some(error(Class::TokenExpired, None, "the token expired before its turn"))),
        11 => ("unknown", None, Some(error(Class::Timeout, None, "no answer within 30 s"))),
        19 => ("recovered", Some("In Review"), None),
        n if n % 5 == 0 => ("imported", Some("Declined"), None),
        n if n % 2 == 0 => ("imported", Some("Approved"), None),
        _ => ("imported", Some("In Review"), None),
    };
    let n = n as u128;
    let session = |status: &str| Session {
        session_id: id(2 * n),
        session_number: Some(4_000 + n as i64),
        session_url: None,
        status: Some(status.to_owned()),
    };
    RunOutcome {
        manifest: "acme-2026q4".to_owned(),
        label: id(2 * n + 1).to_string(),
        entry: Some(EntryId(n as i64 + 1)),
        outcome: outcome.to_owned(),
        source_session_id: Some(id(2 * n + 1)),
        session: status.map(session),
        session_kind: Some(if n.is_multiple_of(4) { SessionKind::Business } else { SessionKind::User }),
        workflow_id: Some(id(7)),
        vendor_data: Some(format!("acme-customer-{:07}", (n * 7919) % 9_999_991)),
        attempts: 1 + u32::from(error.is_some()),
        error,
        from_application_id: None,
        for_application_id: None,
        expires_at: None,
    }
}

/// 300 at once, and 300 more as each window opens.
fn sends(count: usize) -> Vec<Timestamp> {
    (0..count).map(|n| at((n / 300) as i64 * 60_150 + (n % 300) as i64 * 12)).collect()
}

fn finding(n: usize, rule: &str, severity: &str, message: &str) -> RunFinding {
    RunFinding {
        entry: EntryId(n as i64),
        manifest: "acme-2026q4".to_owned(),
        label: id(2 * n as u128 + 1).to_string(),
        session_id: Some(id(2 * n as u128)),
        rule: rule.to_owned(),
        block: String::new(),
        severity: severity.to_owned(),
        message: message.to_owned(),
        expected: Some(id(7).to_string()),
        actual: Some(id(8).to_string()),
        first_seen: at(n as i64 * 1000),
        new: n.is_multiple_of(2),
    }
}

fn report(entries: usize) -> Report {
    let exit: Exit = [Condition::UnknownOutcome, Condition::Findings, Condition::Partial].into_iter().collect();
    let sends = sends(entries);
    let seconds = sends.last().map_or(0.2, |last| last.duration_since(at(0)).as_secs_f64() + 0.4);
    let outcomes: Vec<RunOutcome> = (0..entries).map(outcome).collect();
    let origin = Origin {
        actor: "ann@ops-1".to_owned(),
        reason: Some("OPS-4711: customers of the north branch".to_owned()),
        reference: Some("4f1c2d9".to_owned()),
    };
    let end = RunEnd {
        at: at(0) + SignedDuration::from_secs_f64(seconds),
        seconds,
        requests: Requests { writes: entries as u64 + 3, reads: entries as u64 * 2, throttled: 1 },
        verified: Some((entries as u64 * 22 / 25, entries as u64 * 22 / 25)),
        error: None,
        conditions: exit.stored(),
    };
    let state = |state, entries| StateCount { manifest: "acme-2026q4".to_owned(), state, entries };
    Report {
        run: Run { id: RunId(7), command: "apply".to_owned(), started_at: at(0), origin, end: Some(end.clone()) },
        end,
        outcomes,
        findings: vec![
            finding(2, "workflow-drift", "error", "the session has another workflow"),
            finding(4, "status-unexpected", "error", "imported for review, and is Approved"),
            finding(5, "document-expired", "warning", "a document is past its date"),
        ],
        states: vec![state(State::Imported, 1 + entries as u64), state(State::Refused, 3)],
        waiting: Vec::new(),
        sends: vec![sends],
        writes_per_minute: Some(300),
    }
}

fn hostile() -> Report {
    let mut report = report(40);
    report.run.origin.actor = HOSTILE.into();
    report.run.origin.reason = Some(HOSTILE.into());
    for it in &mut report.outcomes[..4] {
        it.label = HOSTILE.into();
        it.manifest = HOSTILE.into();
        it.outcome = HOSTILE.into();
        it.vendor_data = Some(HOSTILE.into());
        it.error = Some(error(Class::BadRequest, Some(400), HOSTILE));
        if let Some(session) = &mut it.session {
            session.status = Some(HOSTILE.into());
        }
    }
    report.findings[0].message = HOSTILE.into();
    report.findings[0].rule = HOSTILE.into();
    report.findings[0].severity = HOSTILE.into();
    report
}

#[test]
fn the_page_loads_nothing_and_says_so_in_its_policy() {
    let page = html::render(&report(40)).unwrap();
    assert!(page.contains("content=\"default-src &#39;none&#39;; style-src &#39;sha256-"), "{}", &page[..600]);
    for way_out in [" src=", " href=", "url(", "@import", "http:", "https:", "//", " style=", " onload="] {
        let lines = page.lines().filter(|line| line.contains(way_out) && !line.trim_start().starts_with("//"));
        // Base64 has slashes of its own.
        let lines: Vec<&str> = lines.filter(|line| !line.contains("data-rows>")).collect();
        assert!(lines.is_empty(), "{way_out}: {lines:#?}");
    }
}

#[test]
fn foreign_text_is_only_text() {
    let page = html::render(&hostile()).unwrap();
    assert_eq!(page.matches("<script").count(), 3, "two tables' rows and the page's own");
    assert_eq!(page.matches("</script>").count(), 3);
    assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains(['\u{2028}', '\u{202e}']));
    assert!(page.contains("&lt;/script&gt;") || page.contains("&#60;/script&#62;"), "it is shown all the same");
    assert!(page.contains("\\u{202e}"), "what moves text is told");
}

#[test]
fn secrets_in_packed_rows_are_masked_as_well() {
    let mut report = report(3);
    let key = format!("sk_live_{}", "a1b2c3d4".repeat(4));
    report.outcomes[0].vendor_data = Some(key.clone());
    let page = html::render(&report).unwrap();
    let packed = page.split("data-rows>").nth(2).unwrap().split('<').next().unwrap();
    let rows = unpacked(packed);
    assert!(rows.contains("(masked)") && !rows.contains(&key), "{rows}");
    // What is not packed is masked when it is written.
    assert!(!didit_sync::mask::masked(&page).contains(&key));
}

fn unpacked(packed: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::DeflateDecoder::new(&bytes[..]), &mut text).unwrap();
    text
}

#[test]
fn a_page_of_50_000_entries_is_under_5_mb_and_shows_1_000_without_its_script() {
    let page = html::render(&report(50_000)).unwrap();
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    let table = page.split("id=\"entries\"").nth(1).unwrap();
    assert_eq!(table.matches("<tr><td").count(), 1_000);
    assert!(table.contains("The first 1\u{202f}000 of 50\u{202f}000"));
    let packed = table.split("data-rows>").nth(1).unwrap().split('<').next().unwrap();
    let rows: Vec<Vec<String>> = serde_json::from_str(&unpacked(packed)).unwrap();
    assert_eq!(rows.len(), 50_000);
}

#[test]
fn an_audit_and_a_run_of_nothing_have_pages() {
    let mut audit = report(0);
    audit.run.command = "audit".to_owned();
    audit.sends.clear();
    let page = html::render(&audit).unwrap();
    assert!(
        page.contains("id=\"findings\"") && !page.contains("id=\"entries\"") && !page.contains("class=\"timeline\"")
    );
    let mut nothing = report(0);
    nothing.findings.clear();
    nothing.sends.clear();
    nothing.writes_per_minute = None;
    let page = html::render(&nothing).unwrap();
    assert!(page.contains("id=\"entries\"") && !page.contains("id=\"findings\""));
    assert_eq!(html::render(&nothing).unwrap(), page);
}

#[test]
fn the_program_writes_the_page_of_an_apply_an_audit_and_an_earlier_run() {
    let scene = Scene::new(sandbox(4));
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--report", "html=apply.html"]).exits(0);
    let page = scene.read("apply.html");
    assert!(page.contains("<title>didit-sync apply, run 1</title>") && page.contains("exit 0: ok"));
    assert!(
        page.contains("4 imports sent; at most 4 in any 60 seconds, where the limit is 300."),
        "the ledger's times"
    );
    scene.run(&["report", "--report", "html=again.html"]).exits(0);
    assert_eq!(scene.read("again.html"), page, "a page made later has the same bytes");
    scene.run(&["audit", "--report", "html=audit.html"]).exits(0);
    let audit = scene.read("audit.html");
    assert!(audit.contains("<title>didit-sync audit, run 2</title>") && !audit.contains("id=\"entries\""));
    scene.run(&["report", "1", "--report", "html=first.html"]).exits(0);
    assert_eq!(scene.read("first.html"), page);
}

#[test]
fn the_timeline_is_of_the_manifests_limit() {
    let scene = Scene::new(sandbox(2));
    let text = scene.manifest("acme").replace("imports:\n", "limits: {writes_per_minute: 120}\nimports:\n");
    scene.write("m.yaml", &text);
    scene.run(&["apply", "m.yaml", "--yes", "--report", "html=apply.html"]).exits(0);
    let page = scene.read("apply.html");
    assert!(page.contains("2 imports sent; at most 2 in any 60 seconds, where the limit is 120."));
    // Another limit later changes nothing about this run.
    scene.write("m.yaml", &text.replace("120", "60"));
    scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    scene.run(&["report", "1", "--report", "html=again.html"]).exits(0);
    assert_eq!(scene.read("again.html"), page);
}

/// Chromium's name, if it is installed.
#[expect(clippy::print_stderr, reason = "what a test leaves out is said")]
fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    if found.is_none() {
        assert!(std::env::var_os("DIDIT_SYNC_CHROMIUM").is_none(), "there is no Chromium");
        eprintln!("left out: the page in a browser, for there is no Chromium");
    }
    found
}

/// The page after its script ran, and what the browser complained of.
fn browse(folder: &Folder, chromium: &str, page: &str, hash: &str) -> (String, String) {
    let path = folder.write("page.html", page);
    let profile = folder.path(&format!("profile-{}", hash.len()));
    let mut command = Command::new(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]);
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg(format!("file://{}{hash}", path.display()));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let complaints = stderr.lines().filter(|line| line.contains("CONSOLE")).fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    });
    (String::from_utf8_lossy(&output.stdout).into_owned(), complaints)
}

/// The rows of a table as the browser shows them.
fn rows_of<'p>(page: &'p str, table: &str) -> Vec<&'p str> {
    let section = page.split(&format!("data-table=\"{table}\"")).nth(1).unwrap();
    let body = section.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    body.split("<tr>").skip(1).collect()
}

#[test]
fn in_a_browser_rows_are_unpacked_searched_and_counted_without_a_complaint() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    let page = html::render(&report(2_500)).unwrap();
    // The policy forbids every request, and the browser would complain of one.
    let (all, complaints) = browse(&folder, chromium, &page, "");
    assert_eq!(complaints, "");
    assert!(all.contains("data-ready=\"yes\""));
    assert_eq!(rows_of(&all, "entries").len(), 100);
    assert!(all.contains("1 to 100 of 2\u{202f}500 shown") && all.contains("page 1 of 25"));

    // The last entry, which does not stand in the page as HTML.
    let last = id(2 * 2_499 + 1).to_string();
    assert!(!page.contains(&last));
    let (found, complaints) = browse(&folder, chromium, &page, &format!("#q={last}"));
    assert_eq!(complaints, "");
    assert!(rows_of(&found, "entries").len() == 1 && rows_of(&found, "entries")[0].contains(&last));
    assert!(rows_of(&found, "findings").is_empty());
    assert!(found.contains("nothing found"));
}

#[test]
fn in_a_browser_a_request_would_be_complained_of() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    let page = html::render(&report(3)).unwrap().replace("</h1>", "</h1><img src=\"https://didit.me/x.png\">");
    let (_, complaints) = browse(&folder, chromium, &page, "");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
}

#[test]
fn in_a_browser_foreign_text_stays_text() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    let (page, complaints) = browse(&folder, chromium, &html::render(&hostile()).unwrap(), "");
    assert_eq!(complaints, "");
    assert!(page.contains("data-ready=\"yes\"") && !page.contains("<img"));
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(rows_of(&page, "entries").len(), 40);
}

#[test]
fn in_a_browser_50_000_entries_are_there_at_once() {
    let Some(chromium) = chromium() else { return };
    let folder = Folder::new();
    let page = html::render(&report(50_000)).unwrap();
    let began = Instant::now();
    let (small, _) = browse(&folder, chromium, "<!doctype html><p>", "#1");
    let empty = began.elapsed();
    assert!(small.contains("<p>"));
    let began = Instant::now();
    let (all, complaints) = browse(&folder, chromium, &page, "");
    let took = began.elapsed().saturating_sub(empty);
    assert_eq!(complaints, "");
    assert!(all.contains("1 to 100 of 50\u{202f}000 shown"));
    // A second on a machine that has nothing else to do.
    assert!(took.as_secs() < 5, "{took:?}");
}
