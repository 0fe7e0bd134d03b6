//! Exit codes and the documents that carry them, locks, guards, signals, damaged ledgers.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use didit_sync::sandbox::Config;
use serde_json::{Value, json};

use crate::support::ledger::is_postgres;
use crate::support::program::{Folder, contains};
use crate::support::{Output, Scene, end_of, file_only, keys, sandbox, wait_for};

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn wrong_flags_are_64_with_and_without_json() {
    let folder = Folder::new();
    for args in [
        vec!["plan"],
        vec!["plan", "m.yaml", "--no-such-flag"],
        vec!["apply", "m.yaml", "--yes", "--limit", "many"],
        vec!["no-such-command"],
        vec!["status", "--state", "lost"],
        vec!["ledger", "adopt", "a", "not-a-uuid"],
        vec!["apply", "m.yaml", "--yes", "--report", "nonsense=x"],
    ] {
        let plain = folder.run(&args).exits(64);
        assert!(plain.stdout.is_empty() && !plain.stderr.is_empty(), "{plain:?}");
        let mut with_json = args.clone();
        with_json.push("--json");
        let document = folder.run(&with_json).exits(64).json();
        assert_eq!(keys(&document), ["format", "error", "exit"]);
        assert_eq!(document["format"], "didit-sync/error.v1");
        assert_eq!((&document["error"]["code"], &document["error"]["name"]), (&json!(64), &json!("usage")));
        assert_eq!(document["error"]["diagnostics"], json!([]));
    }
}

#[test]
fn the_twin_of_json_and_the_log_format_hold_for_wrong_flags_too() {
    let mut folder = Folder::new();
    folder.set("DIDIT_SYNC_JSON", "1");
    let told = folder.run(&["plan"]).exits(64);
    assert_eq!(told.json()["error"]["message"], "the following required arguments were not provided: <MANIFEST>...");
    folder.set("DIDIT_SYNC_JSON", "false");
    assert_eq!(folder.run(&["plan"]).exits(64).stdout, "");
    for args in [vec!["plan", "--log-format", "json"], vec!["--log-format=json", "plan"]] {
        let lines = json_lines(&folder.run(&args).exits(64));
        assert_eq!((lines.len(), &lines[0]["level"]), (1, &json!("error")));
    }
}

/// What stands on stderr, one JSON object a line.
fn json_lines(output: &Output) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}\n{}", output.stderr));
    output.stderr.lines().map(line).collect()
}

#[test]
fn with_log_format_json_every_line_on_stderr_is_an_object() {
    let folder = Folder::new();
    folder.write("m.yaml", "version: 1\nname: acme\nnmae: x\nsources: [{file: none/*.csv}]\n");
    let lines = json_lines(&folder.run(&["validate", "m.yaml", "--log-format", "json"]).exits(65));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, (level, code)) in lines.iter().zip([("error", "unknown-key"), ("warning", "empty-glob")]) {
        assert_eq!(keys(line), ["time", "level", "message", "code", "file", "line", "column", "help"]);
        assert_eq!((&line["level"], &line["code"], &line["file"]), (&json!(level), &json!(code), &json!("m.yaml")));
    }
    assert_eq!((&lines[0]["line"], &lines[0]["column"]), (&json!(3), &json!(1)));
    assert_eq!(keys(&lines[2]), ["time", "level", "message", "help"]);
    assert_eq!(lines[2]["message"], "1 error in the manifests");
    // Warnings alone, and another error.
    folder.write("m.yaml", "version: 1\nname: acme\nsources: [{file: none/*.csv}]\n");
    let lines = json_lines(&folder.run(&["plan", "m.yaml", "--log-format", "json"]).exits(0));
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &json!("warning")));
    assert!(folder.run(&["plan", "m.yaml", "--log-format", "json", "-q"]).exits(0).stderr.is_empty());
    let lines = json_lines(&folder.run(&["status", "--log-format", "json"]).exits(12));
    assert!(lines[0]["help"].as_str().unwrap().contains("--ledger"), "{lines:#?}");
}

#[test]
fn apply_without_a_terminal_needs_yes() {
    let scene = Scene::new(sandbox(1));
    scene.write_all();
    let refused = scene.run(&["apply", "m.yaml", "--json"]).exits(64).json();
    assert_eq!(refused["error"]["name"], "usage");
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn an_unknown_only_is_no_nothing_to_do() {
    let scene = Scene::new(sandbox(1));
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--only", "e0x"]).exits(64);
}

#[test]
fn a_limit_leaves_work_and_says_so() {
    let scene = Scene::new(sandbox(5));
    scene.write_all();
    let first = scene.run(&["apply", "m.yaml", "--yes", "--json", "--limit", "2"]).exits(8).json();
    assert_eq!((&first["summary"]["imported"], &first["summary"]["not_sent"]), (&json!(2), &json!(3)));
    assert_eq!(first["exit"], json!({"code": 8, "name": "incomplete", "conditions": ["incomplete"]}));
    let second = scene.run(&["apply", "m.yaml", "--yes", "--json", "--limit", "3"]).exits(0).json();
    assert_eq!(second["summary"]["imported"], 3);
}

#[test]
fn max_trusted_sends_nothing() {
    let scene = Scene::new(sandbox(3));
    scene.write("m.yaml", &scene.manifest("acme").replace("trust_review: false", "trust_review: true"));
    let stopped = scene.run(&["apply", "m.yaml", "--yes", "--json", "--max-trusted", "2"]).exits(7).json();
    assert_eq!(stopped["exit"]["name"], "stopped-by-guard");
    assert_eq!(stopped["summary"]["not_sent"], 3);
    assert_eq!(scene.world.counts().requests, 0);
    scene.write("m.yaml", &(scene.read("m.yaml") + "limits: {max_trusted: 2}\n"));
    scene.apply().exits(7);
    assert_eq!(scene.world.counts().requests, 0);
    scene.run(&["apply", "m.yaml", "--yes", "--max-trusted", "3"]).exits(0);
    assert_eq!(scene.world.imported().len(), 3);
}

#[test]
fn max_trusted_of_any_manifest_counts() {
    let scene = Scene::new(sandbox(2));
    let sources = scene.sources();
    for (name, source, limits) in [("one", 0, ""), ("two", 1, "limits: {max_trusted: 0}\n")] {
        let token = scene.mint(sources[source].id);
        let text = scene.head(name) + limits + &format!("imports: [{{share_token: {token}, trust_review: true}}]\n");
        scene.write(&format!("all/{name}.yaml"), &text);
    }
    scene.run(&["apply", "all", "--yes"]).exits(7);
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn several_conditions_are_all_told_and_the_weightiest_is_the_exit() {
    let scene = Scene::new(sandbox(4));
    let sources = scene.sources();
    scene.world.delete_source(sources[0].id).unwrap();
    let text = scene.manifest("acme");
    let dead = scene.mint_for(sources[1].id, jiff::SignedDuration::from_secs(-9));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // The first source is gone from the list that the manifest was made of.
    lines.push(format!(
        "  - {{id: gone, share_token: {}}}",
        crate::support::Token { receiver: scene.running.application_id(), ..crate::support::Token::new(sources[0].id) }
            .text()
    ));
    lines.retain(|line| !line.contains("id: e00,"));
    lines.push(format!("  - {{id: dead, share_token: {dead}}}"));
    scene.write("m.yaml", &(lines.join("\n") + "\n"));
    let done = scene.apply().exits(3).json();
    assert_eq!(done["exit"], json!({"code": 3, "name": "partial", "conditions": ["partial", "needs-input"]}));
}

#[test]
fn promise_4_the_second_of_two_is_told_who_holds_the_ledger() {
    let scene = Scene::new(Config { faults: "import.latency=3s".parse().unwrap(), ..sandbox(1) });
    scene.write_all();
    let mut first = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("the first request", || scene.writes() > 0);
    let holder = format!("pid {}", first.id());
    // On a server, applies work side by side.
    if !is_postgres() {
        let second = scene.run(&["apply", "m.yaml", "--yes", "--json"]).exits(11).json();
        assert_eq!((&second["format"], &second["exit"]["name"]), (&json!("didit-sync/error.v1"), &json!("locked")));
        let message = second["error"]["message"].as_str().unwrap();
        assert!(message.contains(&holder), "{message}");
    }
    let repair = scene.run(&["ledger", "forget", "e00"]).exits(11);
    assert!(repair.stderr.contains(&holder), "{repair:?}");
    // Reading is allowed all the while.
    assert_eq!(scene.plan().exits(0).json()["summary"]["recover"], 1);
    scene.run(&["status"]).exits(0);
    scene.run(&["audit"]).exits(0);
    // Waiting for the lock ends well.
    let third = scene.run(&["apply", "m.yaml", "--yes", "--json", "--wait-lock", "30s"]).exits(0).json();
    assert_eq!(third["summary"]["unchanged"], 1);
    assert!(end_of(&mut first).success());
    assert_eq!(scene.world.imported().len(), 1);
}

#[test]
fn promise_6_a_ledger_that_is_not_there_is_12() {
    let scene = Scene::new(sandbox(1));
    scene.write_all();
    let missing = scene.run(&["apply", "m.yaml", "--yes", "--json", "--require-ledger"]).exits(12).json();
    assert_eq!((&missing["format"], &missing["exit"]["name"]), (&json!("didit-sync/error.v1"), &json!("ledger")));
    for command in [vec!["status"], vec!["audit"], vec!["report"], vec!["ledger", "forget", "a"]] {
        scene.run(&command).exits(12);
    }
    assert!(!scene.ledger().exists() && scene.bytes_under("state").is_empty());
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn promise_6_a_ledger_that_can_not_be_used_is_12() {
    if file_only("a damaged file") {
        return;
    }
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    // A kill before anything was recorded leaves no ledger, but a file that the next apply makes whole.
    scene.write("state/ledger.db", "");
    scene.run(&["apply", "m.yaml", "--yes", "--json", "--require-ledger"]).exits(12);
    assert_eq!(scene.plan().exits(0).json()["summary"]["import"], 2);
    scene.run(&["status"]).exits(12);
    scene.apply().exits(0);
    let whole = fs::read(scene.ledger()).unwrap();
    let damage = |bytes: &[u8]| {
        fs::write(scene.ledger(), bytes).unwrap();
        let _ = fs::remove_file(scene.path("state/ledger.db-wal"));
        let _ = fs::remove_file(scene.path("state/ledger.db-shm"));
    };
    let refused = |what: &str| {
        for command in [vec!["plan", "m.yaml"], vec!["apply", "m.yaml", "--yes"], vec!["status"], vec!["audit"]] {
            let told = scene.run(&command);
            assert_eq!(told.code, Some(12), "{what} {command:?} {} {}", told.stdout, told.stderr);
        }
    };
    damage(b"this is not a ledger at all, but it is long enough to be looked at");
    refused("another file");
    // The database of another program.
    let other = scene.path("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
    damage(&fs::read(&other).unwrap());
    refused("another database");
    // Pages overwritten.
    let mut torn = whole.clone();
    let middle = torn.len() / 2;
    torn[4096..middle].fill(0xA5);
    damage(&torn);
    refused("torn");
    // One page in the middle: opening goes well, and the read that meets it tells.
    let mut page = whole.clone();
    let source = scene.sources()[1].id.to_string();
    for page in page.chunks_mut(4096).skip(1).filter(|page| contains(page, &source)) {
        page.fill(0xA5);
    }
    damage(&page);
    refused("one page");
    damage(&whole);
    let newer = rusqlite::Connection::open(scene.ledger()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    refused("newer");
    assert!(scene.run(&["status"]).stderr.contains("newer"));
    assert_eq!(scene.world.imported().len(), 2);
}

fn interrupted(name: &str, code: i32) {
    let scene = Scene::new(Config { faults: "import.latency=700ms".parse().unwrap(), ..sandbox(6) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 2}\n"));
    let child = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("the second request", || scene.writes() >= 2);
    signal(&child, name);
    let done = Output::of(child).exits(code).json();
    assert_eq!(done["exit"]["conditions"][0], "interrupted");
    assert_eq!(done["error"]["code"], code);
    let imported = done["summary"]["imported"].as_u64().unwrap();
    assert_eq!(imported, scene.world.imported().len() as u64, "what was in flight was recorded: {done:#}");
    assert!((1..6).contains(&imported));
    assert_eq!(done["summary"]["unknown"], 0);
    let rest = scene.apply().exits(0).json();
    assert_eq!(rest["summary"]["imported"].as_u64().unwrap() + imported, 6);
    assert_eq!(scene.world.imported().len(), 6);
}

#[test]
fn promise_7_sigint_ends_with_130_and_records_what_was_in_flight() {
    interrupted("INT", 130);
}

#[test]
fn promise_7_sigterm_ends_with_143_and_records_what_was_in_flight() {
    interrupted("TERM", 143);
}

#[test]
fn promise_7_a_second_signal_stops_at_once_and_nothing_is_lost() {
    let scene = Scene::new(Config { faults: "import.latency=20s".parse().unwrap(), ..sandbox(3) });
    scene.write_all();
    let began = Instant::now();
    let child = scene.start(&["apply", "m.yaml", "--yes", "--json", "--grace", "1m"]);
    wait_for("a request", || scene.writes() >= 1);
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "INT");
    let done = Output::of(child).exits(130).json();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(done["summary"]["unknown"], 1, "{done:#}");
    assert_eq!(scene.plan().exits(0).json()["summary"]["recover"], 1);
}

#[test]
fn promise_7_the_grace_ends_the_wait() {
    let scene = Scene::new(Config { faults: "import.hang=x1".parse().unwrap(), ..sandbox(3) });
    scene.write_all();
    let began = Instant::now();
    let child = scene.start(&["apply", "m.yaml", "--yes", "--json", "--grace", "1s"]);
    wait_for("a request", || scene.writes() >= 1);
    signal(&child, "TERM");
    let done = Output::of(child).exits(143).json();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(done["exit"]["conditions"], json!(["interrupted", "unknown-outcome"]));
    let rest = scene.apply().exits(0).json();
    assert_eq!(rest["summary"]["recovered"].as_u64().unwrap() + rest["summary"]["imported"].as_u64().unwrap(), 3);
    assert_eq!(scene.world.imported().len(), 3);
}

#[test]
fn a_failing_api_ends_with_69_after_twenty_failures_in_a_row() {
    let scene = Scene::new(Config {
        faults: "import.error-before=100%,decision.error-before=0%".parse().unwrap(),
        ..sandbox(60)
    });
    scene.write_all();
    let done = scene.apply().exits(69).json();
    assert_eq!(done["error"]["name"], "unavailable");
    assert!(scene.writes() < 20 + 64, "{}", scene.writes());
    assert!(scene.world.imported().is_empty());
    // All of fewer.
    let scene = Scene::new(Config { faults: "import.lost-before=100%".parse().unwrap(), ..sandbox(1) });
    scene.write_all();
    let done = scene.apply();
    assert_eq!(done.code, Some(69), "{}", done.stdout);
    assert!(scene.writes() <= 5, "five sends of one entry: {}", scene.writes());
}

#[test]
fn environment_twins_and_their_precedence() {
    let mut scene = Scene::new(sandbox(4));
    scene.write_all();
    scene.set("DIDIT_SYNC_JSON", "1");
    scene.set("DIDIT_SYNC_LIMIT", "1");
    scene.set("DIDIT_SYNC_LEDGER", "elsewhere/l.db");
    let done = scene.run(&["apply", "m.yaml", "--yes"]).exits(8).json();
    assert_eq!(done["summary"]["imported"], 1);
    assert!(scene.path("elsewhere/l.db").exists() && !scene.path("state").exists());
    let done = scene.run(&["apply", "m.yaml", "--yes", "--limit", "2"]).exits(8).json();
    assert_eq!(done["summary"]["imported"], 2);
}

#[test]
fn an_option_comes_before_the_environment_that_before_the_manifest_and_that_before_the_default() {
    let mut scene = Scene::new(sandbox(4));
    let trusted = scene.manifest("acme").replace("trust_review: false", "trust_review: true");
    scene.write("m.yaml", &(trusted.clone() + "limits: {max_trusted: 0}\n"));
    let apply = ["apply", "m.yaml", "--yes", "--json", "--limit", "1"];
    // The manifest: no trusted import, where the default is no limit.
    scene.run(&apply).exits(7);
    scene.set("DIDIT_SYNC_MAX_TRUSTED", "9");
    scene.run(&[&apply[..], &["--max-trusted", "0"]].concat()).exits(7);
    assert_eq!(scene.world.counts().writes, 0);
    scene.run(&apply).exits(8);
    assert_eq!(scene.world.imported().len(), 1);
    scene.set("DIDIT_SYNC_MAX_TRUSTED", "0");
    scene.run(&apply).exits(7);
    scene.run(&[&apply[..], &["--max-trusted", "9"]].concat()).exits(8);
    scene.unset("DIDIT_SYNC_MAX_TRUSTED");
    scene.write("m.yaml", &trusted);
    scene.run(&apply).exits(8);
    assert_eq!(scene.world.imported().len(), 3);
    // A value that is none is a wrong flag.
    scene.set("DIDIT_SYNC_MAX_TRUSTED", "few");
    scene.run(&apply).exits(64);
}
