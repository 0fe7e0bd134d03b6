//! Tokens that the tool mints itself: just in time, with the partner's key and budget, in memory only.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use didit_sync::sandbox::{Config, Privilege, Privileges, RequestRecord, Status};
use didit_sync::token::SessionKind;
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::{Request, created};
use crate::support::{Fake, Output, Reply, Scene, Token, sandbox};

const PARTNERS: &str = "partners:\n  bank: {api_key: {env: BANK_DIDIT_API_KEY}}\n";

/// A sandbox whose partner's key is at hand.
fn scene(config: Config) -> Scene {
    let mut scene = Scene::new(config);
    let key = scene.running.partner_key();
    scene.set("BANK_DIDIT_API_KEY", &key);
    scene
}

fn head(scene: &Scene) -> String {
    scene.head("acme") + PARTNERS
}

/// Writes `m.yaml` with a minted entry for each of these sessions, labelled `e00`, `e01`, ...
fn write(scene: &Scene, sessions: &[Uuid], more: &str) {
    let mut text = head(scene) + more + "imports:\n";
    for (n, session) in sessions.iter().enumerate() {
        let _ = writeln!(text, "  - {{id: e{n:02}, mint: {{partner: bank, session_id: {session}}}}}");
    }
    scene.write("m.yaml", &text);
}

fn write_all(scene: &Scene, more: &str) -> Vec<Uuid> {
    let sessions: Vec<Uuid> = scene.sources().iter().map(|source| source.id).collect();
    write(scene, &sessions, more);
    sessions
}

fn posts(scene: &Scene, ending: &str) -> Vec<RequestRecord> {
    let all = scene.world.requests().into_iter();
    all.filter(|request| request.method == "POST" && request.path.ends_with(ending)).collect()
}

fn mints(scene: &Scene) -> Vec<RequestRecord> {
    posts(scene, "/share/")
}

fn imports(scene: &Scene) -> Vec<RequestRecord> {
    posts(scene, "/import-shared/")
}

fn sent_tokens(scene: &Scene) -> Vec<String> {
    let token = |it: RequestRecord| it.body.map(|body| body["share_token"].as_str().unwrap().to_owned());
    imports(scene).into_iter().filter_map(token).collect()
}

fn row<'d>(document: &'d Value, id: &str) -> &'d Value {
    let rows = document["imports"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no {id} in {document:#}"))
}

/// A period is summed up by partner, however its sessions came to be imported.
#[track_caller]
fn assert_of_partner(scene: &Scene, sessions: u64) {
    let period = scene.run(&["report", "--since", "2020-01-01", "--json"]).exits(0).json();
    let imported = period["imported"].as_array().unwrap();
    let partner = json!(scene.running.partner_application_id());
    assert!(imported.iter().all(|sum| sum["from_application_id"] == partner), "{period:#}");
    assert_eq!(imported.iter().map(|sum| sum["sessions"].as_u64().unwrap()).sum::<u64>(), sessions);
}

#[test]
fn entries_and_rows_are_minted_imported_and_never_again() {
    let mut scene = scene(sandbox(12));
    let sources = scene.sources();
    let mut text = head(&scene) + "imports:\n";
    for source in &sources[..4] {
        let _ = writeln!(text, "  - mint: {{partner: bank, session_id: {}, ttl: 60s}}", source.id);
    }
    text += "sources:\n  - {file: bank.csv, mint: {partner: bank, ttl: 24h}, columns: {session_id: case}}\n";
    scene.write("m.yaml", &text);
    let rows = sources[4..].iter().fold("case\n".to_owned(), |rows, source| rows + &format!("{}\n", source.id));
    scene.write("bank.csv", &rows);

    let plan = scene.plan().exits(0);
    let planned = plan.json();
    assert_eq!((&planned["summary"]["import"], &planned["forecast"]["writes"]), (&json!(12), &json!(24)));
    assert_eq!(scene.world.counts().requests, 0, "a plan sends nothing");
    let done = scene.apply().exits(0);
    let document = done.json();
    assert_eq!((&document["summary"]["imported"], &document["requests"]["writes"]), (&json!(12), &json!(24)));
    assert_eq!(scene.world.imported().len(), 12);
    assert!(sources.iter().any(|source| source.kind == SessionKind::Business));
    for source in &sources {
        let import = row(&document, &source.id.to_string());
        assert_eq!((&import["session_kind"], &import["attempts"]), (&json!(source.kind), &json!(1)));
    }
    // Each with its own lifetime, for the receiving application, with the partner's key.
    for mint in mints(&scene) {
        let row = sources.iter().position(|source| mint.path.contains(&source.id.to_string())).unwrap();
        let ttl = if row < 4 { 60 } else { 86_400 };
        let body = json!({"for_application_id": scene.running.application_id(), "ttl_in_seconds": ttl});
        assert_eq!(
            (mint.body.as_ref(), mint.header("x-api-key")),
            (Some(&body), Some(scene.running.partner_key().as_str()))
        );
    }
    assert_of_partner(&scene, 12);
    let sql = "SELECT count(*) FROM run_outcomes WHERE from_application_id = $1";
    let told: i64 = scene.sql().value(sql, &[&scene.running.partner_application_id().to_string()]);
    assert_eq!(told, 12, "reports of the run know the partner, too");
    // Nothing of a token or key is left anywhere.
    let status = scene.run(&["status", "--json"]).exits(0);
    let provenance = &status.json()["entries"][0]["provenance"];
    assert_eq!(provenance["from_application_id"], json!(scene.running.partner_application_id()));
    let mut secrets = sent_tokens(&scene);
    assert_eq!(secrets.len(), 12);
    secrets.push(scene.running.partner_key());
    for secret in &secrets {
        for output in [&plan, &done, &status] {
            assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret));
        }
    }
    scene.assert_ledger_free_of(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
    // Once more: nothing is minted, nothing sent, and no key is needed.
    let before = scene.world.counts().requests;
    scene.unset("BANK_DIDIT_API_KEY");
    scene.unset("DIDIT_API_KEY");
    assert_eq!(scene.apply().exits(0).json()["summary"]["unchanged"], 12);
    assert_eq!(scene.world.counts().requests, before);
}

/// A token leaves for the receiver right after it was minted, and no more are minted ahead than can be in flight.
#[test]
fn tokens_are_minted_just_in_time() {
    let scene = scene(Config { faults: "import.latency=200ms".parse().unwrap(), ..sandbox(24) });
    write_all(&scene, "limits: {concurrency: 4}\n");
    assert_eq!(scene.apply().exits(0).json()["summary"]["imported"], 24);
    let writes: Vec<_> = posts(&scene, "/").into_iter().map(|it| it.path.ends_with("/share/")).collect();
    let mut ahead = 0_i32;
    for (n, is_mint) in writes.iter().enumerate() {
        ahead += if *is_mint { 1 } else { -1 };
        // At most four are being minted or wait, while four are on their way.
        assert!((0..=8).contains(&ahead), "after {n}: {writes:?}");
    }
    // The first goes out alone on either side.
    assert_eq!(writes[..3], [true, false, true]);
}

#[test]
fn a_plan_needs_no_key_and_an_apply_says_which_is_missing() {
    let mut scene = scene(sandbox(2));
    write_all(&scene, "");
    scene.unset("BANK_DIDIT_API_KEY");
    assert_eq!(scene.plan().exits(0).json()["summary"]["import"], 2);
    let failed = scene.apply().exits(10).json();
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("BANK_DIDIT_API_KEY"), "{message}");
    assert_eq!(scene.world.counts().requests, 0);
}

#[test]
fn a_partners_key_that_may_not_mint_stops_the_run_after_one_request() {
    let mut scene = scene(sandbox(20));
    write_all(&scene, "");
    let readonly = scene.world.add_partner_key(Privileges::of(&[Privilege::ReadSessions]));
    for (key, status) in [("sk_test_wrong", 401), (readonly.as_str(), 403)] {
        scene.set("BANK_DIDIT_API_KEY", key);
        let before = mints(&scene).len();
        let failed = scene.apply().exits(10).json();
        let message = failed["error"]["message"].as_str().unwrap();
        for told in ["partner bank", "write:sessions", &format!("HTTP {status}")] {
            assert!(message.contains(told), "{message}");
        }
        assert_eq!((mints(&scene).len() - before, imports(&scene).len()), (1, 0));
        assert_eq!((&failed["summary"]["refused"], &failed["summary"]["not_sent"]), (&json!(1), &json!(19)));
    }
    let key = scene.running.partner_key();
    scene.set("BANK_DIDIT_API_KEY", &key);
    assert_eq!(scene.apply().exits(0).json()["summary"]["imported"], 20);
}

#[test]
fn refusals_to_mint_have_classes_and_are_tried_again() {
    let scene = scene(sandbox(2));
    let unfinished = scene.world.seed_session(SessionKind::User, Status::InProgress, None);
    let deleted = scene.world.seed_session(SessionKind::User, Status::Approved, None);
    scene.world.delete_source(deleted).unwrap();
    let mut sessions: Vec<Uuid> =
        scene.sources().iter().map(|source| source.id).filter(|id| *id != unfinished).collect();
    sessions.extend([unfinished, deleted]);
    write(&scene, &sessions, "");
    let document = scene.apply().exits(3).json();
    assert_eq!((&document["summary"]["imported"], &document["summary"]["refused"]), (&json!(2), &json!(2)));
    for (id, class, status) in [("e02", "source_not_shareable", 400), ("e03", "source_gone", 404)] {
        let row = row(&document, id);
        let error = &row["error"];
        assert_eq!(
            (&error["class"], &error["http_status"], &row["attempts"]),
            (&json!(class), &json!(status), &json!(0))
        );
        assert!(error["detail"].as_str().unwrap().starts_with("minting by partner bank: HTTP"), "{error}");
        assert!(!error["advice"].as_str().unwrap().is_empty());
    }
    let plan = scene.plan().exits(0).json();
    assert_eq!((&plan["summary"]["retry"], &plan["summary"]["unchanged"]), (&json!(2), &json!(2)));
    scene.world.change(unfinished, didit_sync::sandbox::Change::Status(Status::Approved)).unwrap();
    let document = scene.apply().exits(3).json();
    assert_eq!((&document["summary"]["imported"], &document["summary"]["refused"]), (&json!(1), &json!(1)));
    assert!(scene.imported_from(unfinished).is_some());
}

#[test]
fn a_wrong_application_to_mint_for_is_told() {
    let scene = scene(sandbox(1));
    let ours = scene.running.application_id().to_string();
    let cases = [(Uuid::from_u128(7), "wrong_audience"), (scene.running.partner_application_id(), "bad_request")];
    for (id, class) in cases {
        write_all(&scene, "");
        let text = scene.read("m.yaml").replace(&ours, &id.to_string());
        scene.write("m.yaml", &text);
        let ledger = scene.ledger_at(&format!("{class}.db"));
        let document = scene.run(&["apply", "m.yaml", "--yes", "--json", "--ledger", &ledger]).exits(3).json();
        assert_eq!(row(&document, "e00")["error"]["class"], class);
    }
    assert!(imports(&scene).is_empty());
}

#[test]
fn refusals_to_mint_count_against_max_failures() {
    let scene = scene(sandbox(6));
    let sessions = write_all(&scene, "limits: {max_failures: 0, concurrency: 1}\n");
    scene.world.delete_source(sessions[0]).unwrap();
    scene.world.delete_source(sessions[1]).unwrap();
    let document = scene.apply().exits(7).json();
    assert_eq!(document["exit"]["name"], "stopped-by-guard");
    assert_eq!(document["summary"]["imported"], 0, "{document:#}");
}

#[test]
fn nothing_is_minted_for_a_workflow_that_takes_no_session() {
    let scene = scene(sandbox(3));
    write_all(&scene, "");
    let archived = format!("workflow_id: {}", scene.running.archived_workflow());
    let text = scene.read("m.yaml");
    let start = text.find("workflow_id: {").unwrap();
    let end = start + text[start..].find('}').unwrap() + 1;
    scene.write("m.yaml", &text.replace(&text[start..end], &archived));
    let document = scene.apply().exits(3).json();
    assert_eq!((&row(&document, "e00")["error"]["class"], scene.writes()), (&json!("workflow_unknown"), 0));
}

#[test]
fn what_is_lost_on_either_way_is_made_good() {
    let faults = "share.lost-after=x1,import.lost-after=x1";
    let scene = scene(Config { faults: faults.parse().unwrap(), ..sandbox(6) });
    let sessions = write_all(&scene, "");
    let document = scene.apply().exits(0).json();
    assert_eq!(
        document["summary"]["imported"].as_u64().unwrap() + document["summary"]["recovered"].as_u64().unwrap(),
        6
    );
    assert!(sessions.iter().all(|session| scene.imported_from(*session).is_some()));
    // The lost ones were minted again; what was minted was sent again as it was.
    assert_eq!(mints(&scene).len(), 12);
    let mut tokens = sent_tokens(&scene);
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 6);
    assert_of_partner(&scene, 6);
}

#[test]
fn what_a_dead_run_left_open_is_sent_again_with_another_token() {
    let mut scene = scene(sandbox(3));
    let sessions = write_all(&scene, "limits: {concurrency: 1}\n");
    for point in ["intended:2", "answered:1"] {
        scene.set("DIDIT_SYNC_TEST_STOP_AT", point);
        scene.apply();
    }
    scene.unset("DIDIT_SYNC_TEST_STOP_AT");
    assert_eq!(scene.plan().exits(0).json()["summary"]["recover"], 1);
    let document = scene.apply().exits(0).json();
    assert_eq!(document["summary"]["unknown"], 0, "{document:#}");
    assert!(sessions.iter().all(|session| scene.imported_from(*session).is_some()));
    assert_eq!(scene.plan().exits(0).json()["summary"]["unchanged"], 3);
    assert_of_partner(&scene, 3);
}

/// The partner deleted the session after its import was sent and before anybody knew the answer.
#[test]
fn an_open_entry_that_can_not_be_minted_any_more_is_looked_for() {
    let mut scene = scene(sandbox(1));
    let sessions = write_all(&scene, "");
    scene.set("DIDIT_SYNC_TEST_STOP_AT", "answered:1");
    scene.apply();
    scene.unset("DIDIT_SYNC_TEST_STOP_AT");
    scene.world.delete_source(sessions[0]).unwrap();
    let document = scene.apply().exits(0).json();
    let row = row(&document, "e00");
    assert_eq!(row["outcome"], "recovered");
    assert_eq!(row["session_id"], json!(scene.imported_from(sessions[0]).unwrap()));
    assert_of_partner(&scene, 1);
}

/// A scripted server whose partner shares session 1 with this answer; its imports are answered as usual.
fn fake(share: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    let is_share = |request: &Request| request.method == "POST" && request.target.ends_with("/share/");
    let mut fake = Fake::new(move |request, _| {
        let imported = || Reply::json(201, &created(Uuid::from_u128(99), request));
        if is_share(request) { Some(share()) } else { request.is_import().then(imported) }
    });
    fake.folder.set("BANK_DIDIT_API_KEY", "sk_test_of_the_bank");
    let entry = format!("imports: [{{id: e0, mint: {{partner: bank, session_id: {}}}}}]\n", Uuid::from_u128(1));
    fake.folder.write("m.yaml", &(fake.head() + PARTNERS + &entry));
    fake
}

fn token_of(session: u128, ttl: i64) -> Reply {
    let token = Token { ttl, ..Token::new(Uuid::from_u128(session)) };
    Reply::json(200, &json!({"share_token": token.text(), "session_kind": "user"}))
}

#[test]
fn a_token_for_another_session_is_not_sent() {
    let fake = fake(|| token_of(2, 900));
    let document = fake.apply(&[]).exits(3).json();
    assert_eq!(row(&document, "e0")["error"]["class"], "token_invalid");
    assert!(fake.imports().is_empty());
}

/// Our clock, or the partner's, is wrong by an hour: the server decides, and nothing is minted over and over.
#[test]
fn a_token_that_looks_dead_when_it_is_minted_is_sent() {
    let fake = fake(|| token_of(1, -3600));
    assert_eq!(fake.apply(&["--no-verify"]).exits(0).json()["summary"]["imported"], 1);
    assert_eq!(fake.requests().iter().filter(|request| request.method == "POST").count(), 2);
}

#[test]
fn an_answer_that_is_no_token_is_asked_for_again_and_told() {
    let fake = fake(|| Reply::json(200, &json!({"detail": "soon"})));
    let document = fake.apply(&[]).exits(69).json();
    assert_eq!(row(&document, "e0")["error"]["class"], "protocol");
    assert_eq!(fake.requests().iter().filter(|request| request.method == "POST").count(), 5);
}

/// The token of the dead run's request is dead, its session is nowhere, and the partner's is gone: nothing is open.
#[test]
fn an_open_entry_is_settled_once_its_tokens_are_dead_and_nothing_is_found() {
    let deleted = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&deleted);
    let answer = move || {
        let is_gone = gone.load(Ordering::SeqCst);
        if is_gone { Reply::json(404, &json!({"detail": "Not found."})) } else { token_of(1, -3600) }
    };
    let mut fake = fake(answer);
    fake.folder.set("DIDIT_SYNC_TEST_STOP_AT", "intended:1");
    fake.apply(&[]);
    fake.folder.unset("DIDIT_SYNC_TEST_STOP_AT");
    deleted.store(true, Ordering::SeqCst);
    let plan = fake.folder.run(&["plan", "m.yaml", "--json"]).json();
    assert_eq!(plan["summary"]["recover"], 1);
    let document = fake.apply(&[]).exits(3).json();
    let row = row(&document, "e0");
    assert_eq!((&row["outcome"], &row["error"]["class"]), (&json!("refused"), &json!("source_gone")));
    assert_eq!(fake.folder.run(&["plan", "m.yaml", "--json"]).json()["summary"]["retry"], 1);
}

#[test]
fn a_partner_that_throttles_pauses_minting_alone() {
    let scene = scene(Config { faults: "share.throttle=x1".parse().unwrap(), ..sandbox(6) });
    let sources = scene.sources();
    let mut text = head(&scene) + "imports:\n";
    for (n, source) in sources.iter().enumerate() {
        let _ = if n % 2 == 0 {
            writeln!(text, "  - mint: {{partner: bank, session_id: {}}}", source.id)
        } else {
            writeln!(text, "  - share_token: {}", scene.mint(source.id))
        };
    }
    scene.write("m.yaml", &text);
    let document = scene.apply().exits(0).json();
    assert_eq!(document["summary"]["imported"], 6);
    assert_eq!(document["requests"]["throttled"].as_u64(), Some(scene.world.throttled()));
    assert!(scene.world.throttled() >= 3);
    let first_minted = mints(&scene).into_iter().find(|mint| mint.status == Some(200)).unwrap().arrived;
    let meanwhile = imports(&scene).into_iter().filter(|import| import.arrived < first_minted).count();
    assert_eq!(meanwhile, 3, "the others went on");
}

#[test]
fn a_partner_that_fails_for_good_ends_with_69() {
    let scene = scene(Config { faults: "share.error-before=100%".parse().unwrap(), ..sandbox(1) });
    write_all(&scene, "");
    let document = scene.apply().exits(69).json();
    assert_eq!((&row(&document, "e00")["error"]["class"], mints(&scene).len()), (&json!("server"), 5));
}

/// Runs until so many sessions are imported, then a moment longer, and interrupts.
fn interrupted_at(scene: &Scene, imported: usize) -> Value {
    let child = scene.start(&["apply", "m.yaml", "--yes", "--json", "--no-verify"]);
    let until = Instant::now() + Duration::from_secs(40);
    while scene.world.imported().len() < imported && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let document = Output::of(child).exits(130).json();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    document
}

fn minted(entries: &[Uuid], partner: &str) -> String {
    entries.iter().fold(String::new(), |text, session| {
        text + &format!("  - mint: {{partner: {partner}, session_id: {session}}}\n")
    })
}

/// With one token a minute the second waits; a signal waits for nothing.
#[test]
fn a_signal_gives_up_what_is_not_minted_yet() {
    let scene = scene(sandbox(3));
    write_all(&scene, "");
    let text = scene.read("m.yaml").replace("API_KEY}}\nimports", "API_KEY}, writes_per_minute: 1}\nimports");
    scene.write("m.yaml", &text);
    let document = interrupted_at(&scene, 1);
    assert_eq!((&document["summary"]["imported"], &document["summary"]["not_sent"]), (&json!(1), &json!(2)));
    assert_eq!(mints(&scene).len(), 1);
}

/// The one may mint once a minute. The other's entries don't wait for it.
#[test]
fn a_partner_that_has_to_wait_keeps_no_other_partner_waiting() {
    let mut scene = scene(sandbox(50));
    let key = scene.world.add_partner_key(Privileges::of(&[Privilege::WriteSessions]));
    scene.set("KIOSK_KEY", &key);
    let sources: Vec<Uuid> = scene.sources().iter().map(|source| source.id).collect();
    let partners = PARTNERS.replace("KEY}}", "KEY}, writes_per_minute: 1}") + "  kiosk: {api_key: {env: KIOSK_KEY}}\n";
    let entries = minted(&sources[..45], "bank") + &minted(&sources[45..], "kiosk");
    scene.write("m.yaml", &(scene.head("acme") + &partners + "imports:\n" + &entries));
    let document = interrupted_at(&scene, 6);
    assert_eq!((&document["summary"]["imported"], &document["summary"]["not_sent"]), (&json!(6), &json!(44)));
    assert_eq!(document["requests"]["writes"], 12);
}

/// Two tokens at one a minute take longer than forty imports at forty a minute: the first is minted at once.
#[test]
fn a_partners_budget_does_not_lie_idle_while_tokens_that_are_there_go_first() {
    let scene = scene(sandbox(42));
    let sources: Vec<Uuid> = scene.sources().iter().map(|source| source.id).collect();
    let mut text = scene.head("acme") + &PARTNERS.replace("KEY}}", "KEY}, writes_per_minute: 1}");
    text += "limits: {writes_per_minute: 40, concurrency: 4}\nimports:\n";
    text += &minted(&sources[..2], "bank");
    for source in &sources[2..] {
        let _ = writeln!(text, "  - share_token: {}", scene.mint_for(*source, SignedDuration::from_hours(1)));
    }
    scene.write("m.yaml", &text);
    let document = interrupted_at(&scene, 40);
    assert_eq!(document["summary"]["imported"], 40);
    let mint = mints(&scene)[0].arrived;
    assert!(imports(&scene).iter().filter(|import| import.arrived < mint).count() < 8);
}

/// The server takes two writes a minute of each key, which the manifest doesn't say: the minted token is refused with a
/// 429, and dies in the pause of a minute.
#[test]
fn a_token_that_died_before_it_could_be_sent_is_minted_again() {
    let scene = scene(Config { writes_per_minute: 2, ..sandbox(3) });
    let sources: Vec<Uuid> = scene.sources().iter().map(|source| source.id).collect();
    let mut text = head(&scene) + "limits: {concurrency: 1}\nimports:\n";
    for source in &sources[..2] {
        let _ = writeln!(text, "  - share_token: {}", scene.mint(*source));
    }
    let _ = writeln!(text, "  - mint: {{partner: bank, session_id: {}, ttl: 60s}}", sources[2]);
    scene.write("m.yaml", &text);
    let document = scene.apply().exits(0).json();
    assert_eq!((&document["summary"]["imported"], mints(&scene).len()), (&json!(3), 2));
    let tokens = sent_tokens(&scene);
    assert_eq!(tokens.len(), 4);
    assert_ne!(tokens[2], tokens[3]);
}

/// Both keys have 300 writes a minute, used side by side: 600 entries take one window, like 600 tokens that are there.
#[test]
fn six_hundred_entries_are_minted_and_imported_in_one_window() {
    let scene = scene(sandbox(600));
    write_all(&scene, "");
    let plan = scene.plan().exits(0).json();
    assert_eq!((&plan["forecast"]["writes"], &plan["forecast"]["seconds"]), (&json!(1200), &json!(60)));
    let began = Instant::now();
    let done = scene.apply().exits(0).json();
    let took = began.elapsed();
    assert_eq!((&done["summary"]["imported"], scene.world.throttled()), (&json!(600), 0));
    assert!(took > Duration::from_secs(60) && took < Duration::from_secs(75), "{took:?}");
    let imports = imports(&scene);
    let gap = imports[300].arrived - imports[0].arrived;
    assert!(gap > Duration::from_secs(60) && gap < Duration::from_secs(65), "the window opens after {gap:?}");
    // No token waited for a window: each was sent right after it was minted.
    let mints = mints(&scene);
    let minted = |session: &str| mints.iter().find(|mint| mint.path.contains(session)).unwrap().arrived;
    let claims = |it: &RequestRecord| {
        let token = it.body.as_ref().unwrap()["share_token"].as_str().unwrap().to_owned();
        didit_sync::token::ShareToken::parse(&token).unwrap().unverified_claims().unwrap().session_id.unwrap()
    };
    let waited = imports.iter().map(|it| it.arrived - minted(&claims(it).to_string())).max().unwrap();
    assert!(waited < Duration::from_secs(10), "a token waited {waited:?}");
}
