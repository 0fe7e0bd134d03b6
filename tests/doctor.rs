//! `doctor`: what it finds, that it changes nothing, and its exit; `explain` and `man` beside it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use didit_sync::sandbox::Config;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::ledger::is_postgres;
use crate::support::{Canaries, Fake, Folder, Output, Reply, Scene, file_only, keys, patience, sandbox, wait_for};

/// The checks of this name: result and message.
fn found(document: &Value, name: &str) -> Vec<(String, String)> {
    let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.map(|check| (text(&check["result"]), text(&check["message"]))).collect()
}

/// The one check of this name has this result, and its message these words.
#[track_caller]
fn assert_found(document: &Value, name: &str, result: &str, words: &str) {
    let found = found(document, name);
    let is_so = matches!(found.as_slice(), [(is, message)] if is == result && message.contains(words));
    assert!(is_so, "no {name} that is {result} with `{words}`: {document:#}");
}

fn doctor(folder: &Folder, code: i32) -> Value {
    folder.run(&["doctor", "m.yaml", "--json"]).exits(code).json()
}

/// The text without what differs from run to run.
fn steady(scene: &Scene, output: &Output) -> String {
    let line = |line: &str| match line.split_once("ledger-space state/ledger.db: ") {
        Some((before, _)) => format!("{before}ledger-space state/ledger.db: ..."),
        None => line.to_owned(),
    };
    let text: Vec<String> = output.stdout.lines().map(line).collect();
    text.join("\n").replace(scene.running.base_url().as_str().trim_end_matches('/'), "http://SANDBOX")
}

#[test]
fn all_is_well_and_nothing_is_changed() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    let fresh = scene.run(&["doctor", "m.yaml"]).exits(0);
    if !is_postgres() {
        insta::assert_snapshot!("before_the_first_apply", steady(&scene, &fresh));
    }
    assert!(!scene.path("state").exists() && scene.bytes_under("state").is_empty());
    scene.apply().exits(0);
    let (before, writes) = (scene.bytes_under("state"), scene.writes());
    let later = scene.run(&["doctor", "m.yaml", "--json"]).exits(0);
    let document = later.json();
    assert_eq!(keys(&document), ["format", "checks", "error", "exit"]);
    assert_eq!((&document["format"], &document["error"]), (&json!("didit-sync/doctor.v1"), &Value::Null));
    for check in document["checks"].as_array().unwrap() {
        assert_eq!(keys(check), ["name", "subject", "result", "message", "help"]);
        assert_eq!((&check["result"], &check["help"]), (&json!("ok"), &Value::Null), "{check:#}");
    }
    assert_found(&document, "key", "ok", "fingerprint ");
    assert_found(&document, "ledger", "ok", "2 entries");
    assert_found(&document, "tokens", "ok", "nothing is to be sent");
    scene.assert_unchanged("state", &before);
    assert_eq!(scene.writes(), writes);
    Canaries::new(&[], &[&scene.running.api_key()]).assert_untold("doctor", &later);
}

#[test]
fn without_a_manifest_what_the_ledger_remembers_is_asked() {
    let mut scene = Scene::new(sandbox(1));
    scene.write_all();
    scene.apply().exits(0);
    fs::remove_file(scene.path("m.yaml")).unwrap();
    let told = scene.run(&["doctor", "--json"]).exits(0).json();
    assert_found(&told, "access", "ok", "read:sessions");
    assert_eq!(found(&told, "manifest"), []);
    scene.unset("DIDIT_API_KEY");
    let told = scene.run(&["doctor", "--json"]).exits(10).json();
    assert_found(&told, "key", "error", "DIDIT_API_KEY");
    assert_found(&told, "connection", "ok", "healthcheck");
    assert_found(&told, "access", "skipped", "no key");
    assert_eq!(scene.run(&["doctor", "--ledger", "none.db"]).exits(0).stderr, "");
}

#[test]
fn a_wrong_key_is_10() {
    let mut scene = Scene::new(sandbox(1));
    scene.write_all();
    scene.set("DIDIT_API_KEY", "sk_live_nobody0has0this0key000000000000000000000000");
    let told = scene.run(&["doctor", "m.yaml", "--json"]).exits(10);
    let document = told.json();
    assert_found(&document, "access", "error", "rejects the key");
    assert_found(&document, "workflows", "skipped", "key");
    assert_found(&document, "environment", "warning", "live key");
    assert_eq!(document["error"]["name"], "credentials");
    Canaries::of(&["nobody0has0this"]).assert_untold("doctor", &told);
}

#[test]
fn a_server_that_is_not_there_is_69() {
    let mut folder = Folder::new();
    folder.set("DIDIT_API_KEY", "sk_test_any");
    // Free, and not listened on any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let of = |base: &str| {
        format!("version: 1\nname: acme\napplication: {{base_url: \"{base}\"}}\nlimits: {{timeout: 5s}}\n")
    };
    folder.write("m.yaml", &of(&format!("http://127.0.0.1:{port}")));
    let told = doctor(&folder, 69);
    assert_found(&told, "connection", "error", "connection refused");
    assert_found(&told, "api", "skipped", "can't be reached");
    // It speaks, but not TLS.
    let fake = Fake::new(|_, _| None);
    folder.write("m.yaml", &of(&fake.base_url.replace("http:", "https:")));
    assert_found(&doctor(&folder, 69), "connection", "error", "secure connection");
    folder.write("m.yaml", &of("https://no-such-host.invalid"));
    let refused = doctor(&folder, 65);
    assert_found(&refused, "base-url", "error", "not sent to no-such-host.invalid");
}

#[test]
fn a_server_that_is_not_the_api_is_69_and_told_what_it_answers() {
    for (reply, words) in [
        (Reply::html(200), "not what the API answers"),
        (Reply::html(404), "HTTP 404"),
        (Reply::text(307, "").with("location", "https://elsewhere.example/"), "redirect"),
        (Reply::html(502), "HTTP 502"),
    ] {
        let fake = Fake::new(move |_, _| Some(reply.clone()));
        fake.write_entries(1);
        let told = fake.folder.run(&["doctor", "m.yaml", "--json"]).exits(69);
        assert_found(&told.json(), "api", "error", words);
        Canaries::of(&["Carmen"]).assert_untold("doctor", &told);
    }
}

#[test]
fn a_clock_that_is_off_is_a_warning_and_one_that_is_far_off_an_error() {
    for (seconds, code, result, words) in
        [(2, 0, "ok", "clock here"), (-30, 0, "warning", "s ahead of"), (3600, 1, "error", "behind")]
    {
        let fake = Fake::new(move |request, _| {
            let date = Timestamp::now() + SignedDuration::from_secs(seconds);
            let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            Some(crate::support::fake::usual(request).with("date", &date))
        });
        fake.write_entries(1);
        assert_found(&doctor(&fake.folder, code), "clock", result, words);
    }
}

#[test]
fn limits_are_held_against_what_the_server_states() {
    for (stated, result, words) in [("100", "warning", "allows 100"), ("600", "ok", "of 600")] {
        let reply = move |request: &_, _| Some(crate::support::fake::usual(request).with("x-ratelimit-limit", stated));
        let fake = Fake::new(reply);
        fake.write_entries(1);
        assert_found(&doctor(&fake.folder, 0), "limits", result, words);
    }
    let fake = Fake::new(|_, _| None);
    fake.write_entries(1);
    let told = doctor(&fake.folder, 0);
    assert_found(&told, "limits", "skipped", "no answer");
    assert_found(&told, "clock", "skipped", "Date");
}

#[test]
fn workflows_that_can_take_no_session_are_told_as_apply_would_end() {
    let scene = Scene::new(sandbox(1));
    let source = scene.sources()[0].id;
    let archived = scene.running.archived_workflow().to_string();
    for (workflow, words) in [("9f9b1234-aaaa-bbbb-cccc-1234567890ab", "no such workflow"), (&archived, "archived")] {
        let entry = format!("imports: [{{share_token: {}, workflow_id: {workflow}}}]\n", scene.mint(source));
        scene.write("m.yaml", &(scene.head("acme") + &entry));
        let told = doctor(&scene, 3);
        assert_found(&told, "workflows", "error", words);
    }
}

#[test]
fn promise_6_a_ledger_that_cannot_be_used_is_12() {
    if file_only("a damaged file") {
        return;
    }
    let scene = Scene::new(sandbox(1));
    scene.write_all();
    scene.apply().exits(0);
    let sound = fs::read(scene.ledger()).unwrap();
    // SQLite keeps `user_version` here.
    let mut newer = sound.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(scene.ledger(), newer).unwrap();
    let told = doctor(&scene, 12);
    assert_found(&told, "ledger", "error", "newer");
    assert_found(&told, "ledger-integrity", "skipped", "");
    fs::write(scene.ledger(), b"no ledger at all, but a file").unwrap();
    assert_found(&doctor(&scene, 12), "ledger", "error", "damaged");
    let mut damaged = sound.clone();
    for page in damaged.chunks_mut(4096).skip(1) {
        page[..64].fill(0xaa);
    }
    fs::write(scene.ledger(), damaged).unwrap();
    let told = doctor(&scene, 12);
    let errors = |name| found(&told, name).iter().any(|(result, _)| result == "error");
    assert!(errors("ledger") || errors("ledger-integrity"), "{told:#}");
    fs::write(scene.ledger(), sound).unwrap();
    fs::set_permissions(scene.ledger(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_found(&doctor(&scene, 0), "ledger-permissions", "warning", "0644");
}

#[test]
fn of_several_conditions_the_weightiest_is_the_exit() {
    if file_only("a damaged file") {
        return;
    }
    let mut scene = Scene::new(sandbox(1));
    scene.write_all();
    scene.set("DIDIT_API_KEY", "sk_test_nobody0has0this0key000000000000000000000000");
    scene.write("state/ledger.db", "no ledger at all, but a file");
    let told = doctor(&scene, 12);
    assert_eq!(told["exit"], json!({"code": 12, "name": "ledger", "conditions": ["ledger", "credentials"]}));
    assert_eq!(told["error"]["code"], 12);
    scene.write("m.yaml", "version: 1\nnmae: acme\n");
    let told = scene.run(&["doctor", "m.yaml", "--json"]).exits(65);
    assert!(told.stderr.contains("m.yaml:2:1: error[unknown-key]"), "{}", told.stderr);
    let told = told.json();
    assert_eq!(told["exit"]["conditions"], json!(["manifest", "ledger"]));
    assert_eq!(told["error"]["diagnostics"][0]["code"], "missing-key");
}

#[test]
fn promise_4_who_holds_the_ledger_is_named_and_not_disturbed() {
    let scene = Scene::new(Config { faults: "import.latency=4s".parse().unwrap(), ..sandbox(1) });
    scene.write_all();
    let apply = scene.start(&["apply", "m.yaml", "--yes"]);
    let pid = apply.id();
    wait_for("a request", || scene.writes() > 0);
    let told = doctor(&scene, 0);
    assert_found(&told, "ledger-lock", "warning", &format!("pid {pid} on "));
    Output::of(apply).exits(0);
    assert_found(&doctor(&scene, 0), "ledger-lock", "ok", "nobody");
}

#[test]
fn misspelt_variables_and_programs_that_are_not_there_are_told() {
    let mut scene = Scene::new(sandbox(1));
    let session = scene.sources()[0].id;
    let of =
        |program: &str| format!("imports: [{{source_session_id: {session}, share_token: {{exec: [{program}]}}}}]\n");
    scene.write("m.yaml", &(scene.head("acme") + &of("./none.sh")));
    scene.set("DIDIT_SYNC_LEDGR", "sk_live_secret000000000000000");
    scene.set("DIDIT_SYNC_PROGRESS", "none");
    let told = scene.run(&["doctor", "m.yaml"]).exits(0);
    assert!(told.stdout.contains("warning  variables DIDIT_SYNC_LEDGR"), "{}", told.stdout);
    assert!(told.stdout.contains("did you mean DIDIT_SYNC_LEDGER?"), "{}", told.stdout);
    let set = if is_postgres() { "DIDIT_SYNC_LEDGER, DIDIT_SYNC_PROGRESS" } else { "DIDIT_SYNC_PROGRESS" };
    assert!(told.stdout.contains(&format!("the environment sets {set}")), "{}", told.stdout);
    assert!(told.stdout.contains("warning  program ./none.sh: it is not found"), "{}", told.stdout);
    Canaries::of(&["secret000"]).assert_untold("doctor", &told);
    scene.write("m.yaml", &(scene.head("acme") + &of("env")));
    assert_found(&doctor(&scene, 0), "program", "warning", "may not run");
    let told = scene.run(&["doctor", "m.yaml", "--json", "--allow-exec"]).exits(0).json();
    assert_found(&told, "program", "ok", "/env is there");
}

#[test]
fn partners_are_asked_with_their_own_keys() {
    let mut scene = Scene::new(sandbox(1));
    let text = scene.head("acme")
        + "partners: {bank: {api_key: {env: BANK_KEY}}}\n"
        + &format!("imports: [{{mint: {{partner: bank, session_id: {}}}}}]\n", scene.sources()[0].id);
    scene.write("m.yaml", &text);
    let keys = |told: &Value| found(told, "key").into_iter().map(|(result, _)| result).collect::<Vec<_>>();
    assert_eq!(keys(&doctor(&scene, 10)), ["ok", "error"]);
    let own = scene.running.api_key();
    scene.set("BANK_KEY", &own);
    let told = doctor(&scene, 3);
    assert!(found(&told, "key").iter().any(|(_, message)| message.contains("can't share with itself")), "{told:#}");
    let partner = scene.running.partner_key();
    scene.set("BANK_KEY", &partner);
    let told = doctor(&scene, 0);
    assert_eq!(keys(&told), ["ok", "ok"]);
    assert!(found(&told, "access")[1].1.contains("minting"), "{told:#}");
    assert_eq!(found(&told, "workflows").len(), 1);
}

#[test]
fn explain_knows_every_code_and_guesses_at_others() {
    let folder = Folder::new();
    let document = folder.run(&["explain", "--json"]).exits(0).json();
    assert_eq!(
        (&document["format"], keys(&document)),
        (&json!("didit-sync/explain.v1"), vec!["format", "topics", "exit"])
    );
    for topic in document["topics"].as_array().unwrap() {
        let of_topic = ["code", "kind", "number", "severity", "meaning", "more", "wrong", "right", "example", "help"];
        assert_eq!(keys(topic), of_topic);
    }
    let list = folder.run(&["explain"]).exits(0).stdout;
    assert!(list.contains("69 unavailable") && list.contains("evidence-drift"), "{list}");
    assert!(folder.run(&["explain", "6"]).exits(0).stdout.starts_with("unknown-outcome (exit 6)\n"));
    let unknown = folder.run(&["explain", "unknwon_key"]).exits(64);
    assert!(unknown.stderr.contains("did you mean unknown-key?"), "{}", unknown.stderr);
    assert_eq!(folder.run(&["explain", "x", "--json"]).exits(64).json()["error"]["name"], "usage");
}

/// What a checker of man pages says; `None` where it is not installed.
fn lint(program: &str, args: &[&str], page: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).arg(page).env("MANROFFSEQ", "").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    let output = patience::run(&mut command).ok()?;
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `.ci/run` sets this, and a checker that is missing is an error then.
const MUST_CHECK: &str = "DIDIT_SYNC_TEST_MAN";

#[test]
fn man_pages_are_whole_and_without_a_warning() {
    let folder = Folder::new();
    let page = folder.run(&["man"]).exits(0).stdout;
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"] {
        let quoted = format!(".SH \"{section}\"");
        assert!(page.contains(&format!(".SH {section}\n")) || page.contains(&quoted), "no {section}:\n{page}");
    }
    assert!(page.contains("DIDIT_SYNC_LEDGER") && page.contains("DIDIT_SYNC_REPORT"), "{page}");
    folder.run(&["man", "--dir", "pages"]).exits(0);
    let mut names: Vec<_> = fs::read_dir(folder.path("pages")).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(folder.read("pages/didit-sync.1"), page);
    assert!(names.contains(&"didit-sync-ledger-adopt.1".into()) && names.len() > 20, "{names:?}");
    for name in names {
        let path = folder.path("pages").join(name);
        let said = lint("man", &["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"], &path);
        let Some(said) = said else {
            assert!(std::env::var_os(MUST_CHECK).is_none(), "man is not installed");
            return;
        };
        assert_eq!(said, "", "{}", path.display());
    }
}
