//! Reports of runs, and the same again later, from the ledger.

use std::io::Write as _;
use std::process::{Command, Stdio};

use didit_sync::report::Kind;
use didit_sync::sandbox::Change;
use jiff::SignedDuration;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Scene, end_of, keys, output_of, patience, sandbox, signal, wait_for};

/// `--report KIND=r.KIND` for every kind.
fn all_kinds() -> Vec<String> {
    Kind::ALL.iter().flat_map(|kind| ["--report".to_owned(), format!("{0}=r.{0}", kind.as_str())]).collect()
}

/// Runs with every kind of report.
fn run_with_reports(scene: &Scene, args: &[&str]) -> crate::support::Output {
    let reports = all_kinds();
    let args: Vec<&str> = args.iter().copied().chain(reports.iter().map(String::as_str)).collect();
    scene.run(&args)
}

/// Asserts that every report of the run, made again now, has the bytes of the files.
#[track_caller]
fn assert_same_bytes_later(scene: &Scene, run: &str) {
    for kind in Kind::ALL.map(Kind::as_str) {
        let written = scene.read(&format!("r.{kind}"));
        let again = scene.run(&["report", run, "--format", kind]).exits(0).stdout;
        assert_eq!(again, written, "{kind} of run {run}");
        let target = format!("{kind}=again");
        scene.run(&["report", run, "--report", &target]).exits(0);
        assert_eq!(scene.read("again"), written, "{kind} of run {run} in a file");
    }
}

/// Five entries: a dead token, a session that the partner deleted, a roster line without a token, an evil one, a plain
/// one.
fn mixed() -> Scene {
    let scene = Scene::new(sandbox(5));
    let sources = scene.sources();
    let dead = scene.mint_for(sources[0].id, SignedDuration::from_secs(-1));
    let gone = scene.mint(sources[1].id);
    scene.world.delete_source(sources[1].id).unwrap();
    let mut text = scene.head("acme") + "imports:\n";
    text += &format!("  - {{id: dead, share_token: {dead}}}\n  - {{id: gone, share_token: {gone}}}\n");
    text += &format!(
        "  - {{id: roster, source_session_id: {}, workflow_id: {}}}\n",
        sources[2].id,
        scene.running.workflow(didit_sync::token::SessionKind::User)
    );
    let evil = r#""=x\"<img src=x>|`@ann`""#;
    text += &format!("  - {{id: {evil}, vendor_data: {evil}, share_token: {}}}\n", scene.mint(sources[3].id));
    text += &format!("  - {{id: plain, share_token: {}}}\n", scene.mint(sources[4].id));
    scene.write("m.yaml", &text);
    scene
}

#[test]
fn every_kind_of_an_apply_is_made_again_with_the_same_bytes() {
    let scene = mixed();
    run_with_reports(&scene, &["apply", "m.yaml", "--yes", "--reason", "<b>@bob</b>"]).exits(3);
    assert_same_bytes_later(&scene, "1");
    let csv = scene.read("r.csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let document: Value = serde_json::from_str(&scene.read("r.json")).unwrap();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), keys(&document["imports"][0]));
    assert_eq!(reader.records().count(), 5);
    let remint = scene.read("r.remint");
    let lines: Vec<Vec<&str>> = remint.lines().map(|line| line.split(',').collect()).collect();
    let head = ["id", "source_session_id", "from_application_id", "for_application_id", "reason", "expired_at"];
    assert_eq!(lines[0], head);
    assert_eq!(
        lines[1..].iter().map(|row| (row[0], row[4])).collect::<Vec<_>>(),
        [("dead", "expired"), ("roster", "needs_token")]
    );
    let receiver = scene.running.application_id().to_string();
    assert!(
        lines[1..].iter().all(|row| row[3] == receiver) && lines[1][2].len() == 36 && !lines[1][5].is_empty(),
        "{remint}"
    );
    // Whatever happens later.
    scene.run(&["audit"]);
    scene.run(&["ledger", "forget", "plain", "--reason", "to try"]).exits(0);
    scene.apply();
    assert_same_bytes_later(&scene, "1");
}

#[test]
fn every_kind_of_an_audit_is_made_again_with_the_same_bytes() {
    let scene = Scene::new(sandbox(3));
    scene.write_all();
    scene.apply().exits(0);
    scene.world.change(scene.world.imported()[0].session_id, Change::Delete).unwrap();
    run_with_reports(&scene, &["audit"]).exits(4);
    assert_same_bytes_later(&scene, "2");
    let csv = scene.read("r.csv");
    let document: Value = serde_json::from_str(&scene.read("r.json")).unwrap();
    assert_eq!(csv.lines().next().unwrap().split(',').collect::<Vec<_>>(), keys(&document["findings"][0]));
    assert!(csv.contains("session-missing"), "{csv}");
    assert!(
        scene
            .read("r.prometheus")
            .contains("didit_sync_findings{severity=\"error\",rule=\"session-missing\",new=\"true\"} 1\n")
    );
}

/// A tool that reads reports as their readers do; says so where it is not installed.
fn tool(name: &str, package: &str) -> bool {
    let is_there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        // Past the test's capture, so that it is seen.
        let _ = writeln!(std::io::stderr(), "LEFT OUT: a check with {name} (Debian: apt install {package})");
    }
    is_there
}

#[test]
fn the_collector_and_ci_servers_can_read_their_reports() {
    let scene = mixed();
    run_with_reports(&scene, &["apply", "m.yaml", "--yes"]).exits(3);
    let metrics = scene.read("r.prometheus");
    for line in [
        "didit_sync_run_exit_code{command=\"apply\"} 3",
        "didit_sync_entries{manifest=\"acme\",state=\"imported\"} 2",
        "didit_sync_tokens_expiring{within=\"24h\"} 1",
        "didit_sync_throttled_requests 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }
    let readable =
        std::os::unix::fs::PermissionsExt::mode(&scene.path("r.prometheus").metadata().unwrap().permissions());
    assert_eq!(readable & 0o444, 0o444, "the collector is another user");
    if tool("promtool", "prometheus") {
        let mut check = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
        let output = output_of(check);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas/junit.xsd");
    if tool("xmllint", "libxml2-utils") {
        let mut check = Command::new("xmllint");
        check.args(["--noout", "--nonet", "--schema", schema]).arg(scene.path("r.junit"));
        let output = patience::run(&mut check).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_report_is_written_on_every_exit_of_a_run_that_began() {
    let mut scene = Scene::new(sandbox(2));
    scene.write_all();
    let code = |scene: &Scene| serde_json::from_str::<Value>(&scene.read("r.json")).unwrap()["exit"]["code"].clone();
    scene.set("DIDIT_API_KEY", "sk_test_wrong");
    run_with_reports(&scene, &["apply", "m.yaml", "--yes"]).exits(10);
    assert_eq!(code(&scene), 10);
    assert_same_bytes_later(&scene, "1");
    let key = scene.running.api_key();
    scene.set("DIDIT_API_KEY", &key);
    // A guard that lets nothing be sent.
    let text = scene.read("m.yaml");
    scene.write("m.yaml", &text.replace("trust_review: false", "trust_review: true"));
    run_with_reports(&scene, &["apply", "m.yaml", "--yes", "--max-trusted", "1"]).exits(7);
    assert_eq!(code(&scene), 7);
    assert_same_bytes_later(&scene, "2");
    // A report that can't be written takes nothing from the run, nor from the other reports.
    let args = ["apply", "m.yaml", "--yes", "--report", "csv=no/such/folder/r.csv", "--report", "json=r.json"];
    scene.run(&args).exits(1);
    assert_eq!((scene.world.imported().len(), code(&scene)), (2, 0.into()));
}

#[test]
fn a_signal_and_an_api_that_is_gone_leave_their_reports() {
    let config = didit_sync::sandbox::Config { faults: "import.latency=400ms".parse().unwrap(), ..sandbox(3) };
    let scene = Scene::new(config);
    let text = scene.manifest("acme") + "limits: {concurrency: 1}\n";
    scene.write("m.yaml", &text);
    let child = scene.start(&["apply", "m.yaml", "--yes", "--report", "json=r.json", "--report", "junit=r.junit"]);
    wait_for("an import", || scene.writes() > 0);
    signal(&child, Signal::INT);
    crate::support::Output::of(child).exits(130);
    let document: Value = serde_json::from_str(&scene.read("r.json")).unwrap();
    assert_eq!((&document["exit"]["code"], &document["imports"].as_array().unwrap().len()), (&130.into(), &3));
    assert!(scene.read("r.junit").contains("<skipped message=\"not sent\"/>"));
    // Nothing listens there.
    scene.write("m.yaml", &text.replace(scene.running.base_url().as_str(), "http://127.0.0.1:9/"));
    scene.run(&["apply", "m.yaml", "--yes", "--report", "json=r.json"]).exits(69);
    let document: Value = serde_json::from_str(&scene.read("r.json")).unwrap();
    assert_eq!(document["exit"]["code"], 69);
}

#[test]
fn a_ledger_that_takes_nothing_more_can_still_be_reported() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "1"]).exits(8);
    // Before the first request, and when the run is to end.
    for table in ["generations", "run_ends"] {
        scene.sql().refuse_inserts_into(table);
        let _ = std::fs::remove_file(scene.path("r.json"));
        scene.run(&["apply", "m.yaml", "--yes", "--report", "json=r.json"]).exits(12);
        let document: Value = serde_json::from_str(&scene.read("r.json")).unwrap();
        assert_eq!(document["exit"]["code"], 12, "{table}: {document:#}");
    }
    assert_eq!(scene.world.imported().len(), 2);
}

#[test]
fn a_killed_run_is_reported_by_what_it_left() {
    let config = didit_sync::sandbox::Config { faults: "import.latency=700ms".parse().unwrap(), ..sandbox(3) };
    let scene = Scene::new(config);
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
    let mut child = scene.start(&["apply", "m.yaml", "--yes"]);
    wait_for("two imports", || scene.writes() > 1);
    child.kill().unwrap();
    end_of(&mut child);
    let report: Value = serde_json::from_str(&scene.run(&["report", "--json"]).exits(0).stdout).unwrap();
    assert_eq!(report["format"], "didit-sync/apply.v1");
    assert!(report["error"]["message"].as_str().unwrap().contains("did not come to its end"), "{report:#}");
    let imports = report["imports"].as_array().unwrap();
    let outcomes: Vec<&Value> = imports.iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["imported", "unknown"], "{report:#}");
    assert!(imports[0]["session_id"].is_string() && imports[1]["session_id"].is_null());
    assert_eq!(report["requests"]["writes"], 2);
    // Whatever later runs find out, do and forget.
    let texts =
        |run: &str| Kind::ALL.map(|kind| scene.run(&["report", run, "--format", kind.as_str()]).exits(0).stdout);
    let before = texts("1");
    let assert_same = |after: &str| {
        for (kind, (then, now)) in Kind::ALL.iter().zip(before.iter().zip(texts("1"))) {
            assert_eq!(*then, now, "{} after {after}", kind.as_str());
        }
    };
    let audit = scene.start(&["audit"]);
    crate::support::Output::of(audit);
    assert_same("an audit");
    scene.apply().exits(0);
    assert_same("an apply that resolves it");
    scene.run(&["ledger", "forget", "e00", "--reason", "to try"]).exits(0);
    assert_same("a repair");
    scene.write("m.yaml", &scene.read("m.yaml").replace("id: e0", "id: f0"));
    scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    assert_same("an apply under other labels");
    let states = |text: &str| text.matches("state=\"imported\"} 3").count();
    assert_eq!((states(&before[5]), states(&texts("5")[5])), (0, 1), "{}", before[5]);
}

#[test]
fn a_killed_audit_is_reported_by_what_it_found_and_met() {
    let config = didit_sync::sandbox::Config { faults: "decision.latency=150ms".parse().unwrap(), ..sandbox(6) };
    let scene = Scene::new(config);
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify", "--limit", "5"]).exits(8);
    for it in scene.world.imported() {
        scene.world.change(it.session_id, Change::VendorData(Some("another".to_owned()))).unwrap();
    }
    let requests = scene.world.counts().requests;
    let mut audit = scene.start(&["audit"]);
    wait_for("the fourth decision", || scene.world.counts().requests > requests + 4);
    audit.kill().unwrap();
    end_of(&mut audit);
    let texts = || Kind::ALL.map(|kind| scene.run(&["report", "2", "--format", kind.as_str()]).exits(0).stdout);
    let before = texts();
    let document: Value = serde_json::from_str(&before[0]).unwrap();
    assert!(!document["findings"].as_array().unwrap().is_empty(), "{document:#}");
    assert!(document["error"]["message"].as_str().unwrap().contains("the next audit goes on"), "{document:#}");
    assert!(before[5].contains("state=\"imported\"} 5"), "{}", before[5]);
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify"]).exits(0);
    assert_eq!(texts(), before);
    scene.run(&["audit", "--accept", "all", "--reason", "moved"]).exits(0);
    assert_eq!(texts(), before);
}

#[test]
fn a_run_that_met_an_empty_ledger_says_so_later_too() {
    let mut scene = Scene::new(sandbox(1));
    scene.write_all();
    scene.set("DIDIT_API_KEY", "sk_test_wrong");
    scene.run(&["apply", "m.yaml", "--yes"]).exits(10);
    let metrics = || scene.run(&["report", "1", "--format", "prometheus"]).exits(0).stdout;
    let before = metrics();
    let mut command = scene.command(&["apply", "m.yaml", "--yes"]);
    let child = command.env("DIDIT_API_KEY", scene.running.api_key()).spawn().unwrap();
    crate::support::Output::of(child).exits(0);
    assert_eq!(metrics(), before);
}

#[test]
fn the_files_of_the_environment_are_the_last_runs_and_no_older_run_is_written_over_them() {
    let mut scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.set("DIDIT_SYNC_REPORT", "prometheus=r.prom,json=r.json");
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "1"]).exits(8);
    scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    let of_last = [scene.read("r.prom"), scene.read("r.json")];
    for looked in [&["report", "1"][..], &["report", "--list"], &["report", "--since", "2020-01-01"]] {
        scene.run(looked).exits(0);
        assert_eq!([scene.read("r.prom"), scene.read("r.json")], of_last, "{looked:?}");
    }
    // The last run's are made again where they are gone.
    std::fs::remove_file(scene.path("r.prom")).unwrap();
    scene.run(&["report"]).exits(0);
    assert_eq!([scene.read("r.prom"), scene.read("r.json")], of_last);
    scene.run(&["report", "1", "--report", "json=r.json"]).exits(0);
    assert_ne!(scene.read("r.json"), of_last[1], "what is asked for is written");
}

#[test]
fn an_audits_report_and_the_list_of_runs() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--report", "json=r.json"]).exits(0);
    assert_eq!(scene.read("r.json"), done.stdout, "the report is the document");
    let audit = scene.run(&["audit", "--json"]).exits(0).stdout;
    assert_eq!(scene.run(&["report", "--json"]).exits(0).stdout, audit);
    assert_eq!(scene.run(&["report", "1", "--json"]).exits(0).stdout, done.stdout);
    scene.run(&["report", "99"]).exits(64);
    scene.run(&["report", "--format", "pdf"]).exits(64);
    let wrong = scene.run(&["apply", "m.yaml", "--yes", "--report", "pdf=x"]).exits(64);
    assert!(wrong.stderr.contains("json, csv, junit, markdown, html, prometheus, remint"), "{}", wrong.stderr);
    let listed = scene.run(&["report", "--list"]).exits(0).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

#[test]
fn a_plan_is_a_comment_and_a_steps_summary_is_added_to() {
    let mut scene = mixed();
    scene.unset("DIDIT_API_KEY");
    scene.run(&["plan", "m.yaml", "--report", "markdown=plan.md"]).exits(0);
    let comment = scene.read("plan.md");
    assert!(comment.starts_with("## didit-sync plan: 3 to send\n"), "{comment}");
    assert!(comment.find("### expired: 1") < comment.find("### import: 3"), "the worst first: {comment}");
    assert!(comment.contains(r#"`` =x"<img src=x>|`@ann` ``"#), "{comment}");
    scene.run(&["plan", "m.yaml", "--report", "json=plan.json"]).exits(64);
    let summary = scene.write("summary.md", "before\n").display().to_string();
    scene.set("GITHUB_STEP_SUMMARY", &summary);
    let target = format!("markdown={summary}");
    scene.run(&["plan", "m.yaml", "--report", &target]).exits(0);
    let head: Vec<&str> = comment.lines().take(5).collect();
    assert!(scene.read("summary.md").starts_with(&format!("before\n{}\n", head.join("\n"))));
}

#[test]
fn an_erased_entry_is_told_as_erased_in_every_report() {
    let scene = mixed();
    run_with_reports(&scene, &["apply", "m.yaml", "--yes"]).exits(3);
    // One of the five was deleted.
    let source = scene.sources()[3].id;
    let session = scene.imported_from(source).unwrap();
    scene.run(&["ledger", "erase", "plain", "--reason", "request 4711"]).exits(0);
    for kind in Kind::ALL.map(Kind::as_str) {
        let text = scene.run(&["report", "1", "--format", kind]).exits(0).stdout;
        for id in [source.to_string(), session.to_string()] {
            assert!(!text.contains(&id), "{kind}: {text}");
        }
        if matches!(kind, "json" | "csv" | "markdown") {
            assert!(text.contains("erased-"), "{kind}: {text}");
        }
    }
}

#[test]
fn a_period_is_summed_up() {
    let scene = mixed();
    scene.run(&["apply", "m.yaml", "--yes", "--actor", "ann", "--ref", "TICKET-7"]).exits(3);
    scene.world.change(scene.world.imported()[0].session_id, Change::Delete).unwrap();
    scene.run(&["audit"]).exits(4);
    scene.run(&["ledger", "forget", "gone", "--actor", "bob", "--reason", "=cmd() | `@ann`"]).exits(0);
    let period = |args: &[&str]| {
        let all: Vec<&str> = ["report", "--since", "2020-01-01"].iter().chain(args).copied().collect();
        scene.run(&all).exits(0).stdout
    };
    let document: Value = serde_json::from_str(&period(&["--json"])).unwrap();
    let shape = ["format", "since", "until", "summary", "imported", "refused", "findings", "repairs", "runs", "exit"];
    assert_eq!((keys(&document), &document["format"]), (shape.to_vec(), &"didit-sync/period.v1".into()));
    assert_eq!(document["since"], "2020-01-01T00:00:00Z");
    let summary = &document["summary"];
    assert_eq!(
        (&summary["imported"], &summary["refused"], &summary["repairs"], &summary["runs"]),
        (&2.into(), &1.into(), &1.into(), &2.into()),
        "{document:#}"
    );
    assert_eq!(summary["findings"], serde_json::json!({"opened": 1, "closed": 0, "open": 1}));
    let sessions: u64 =
        document["imported"].as_array().unwrap().iter().map(|it| it["sessions"].as_u64().unwrap()).sum();
    assert_eq!(sessions, 2);
    assert_eq!(document["refused"][0], serde_json::json!({"class": "source_gone", "entries": 1, "requests": 1}));
    assert_eq!((&document["repairs"][0]["actor"], &document["repairs"][0]["entries"]), (&"bob".into(), &1.into()));
    assert_eq!((&document["runs"][0]["actor"], &document["runs"][0]["ref"]), (&"ann".into(), &"TICKET-7".into()));
    let text = period(&[]);
    assert!(text.contains("ledger forget of 1 entries by bob, reason =cmd() | `@ann`"), "{text}");
    let csv = period(&["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(rows.iter().any(|row| &row[0] == "repairs" && row.iter().any(|cell| cell == "'=cmd() | `@ann`")), "{csv}");
    assert!(period(&["--format", "markdown"]).contains("reason `` =cmd() | `@ann` ``"));
    period(&["--report", "csv=p.csv"]);
    assert_eq!(scene.read("p.csv"), csv);
    // Nothing happened before.
    let before: Value =
        serde_json::from_str(&scene.run(&["report", "--until", "2020-01-01", "--json"]).exits(0).stdout).unwrap();
    assert_eq!((&before["summary"]["imported"], &before["since"]), (&0.into(), &Value::Null));
    scene.run(&["report", "--since", "2026-01-01", "--until", "2025-01-01"]).exits(64);
    scene.run(&["report", "--since", "2026-01-01", "--format", "junit"]).exits(64);
    scene.run(&["report", "1", "--since", "2026-01-01"]).exits(64);
}
