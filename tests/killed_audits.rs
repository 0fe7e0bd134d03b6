//! An audit that dies, or is stopped, has lost nothing of what it looked at, and the next one goes on with the rest: no
//! finding is lost, none is new twice, and no baseline is another than that of an audit that came to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;

use didit_sync::sandbox::{Change, Config, Status};
use rusqlite::types::FromSql;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ledger::Sql;
use crate::support::{Output, Scene, end_of, sandbox, signal, wait_for};

const SESSIONS: usize = 60;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// Label, rule, block.
type Name = (String, String, String);

/// Sessions imported and verified once, which then changed in five ways; an audit of them takes more than a second, in
/// which it keeps what it found more than once.
fn changed() -> Scene {
    let scene = Scene::new(Config {
        writes_per_minute: 0,
        reads_per_minute: 0,
        faults: "decision.latency=40ms".parse().unwrap(),
        ..sandbox(SESSIONS)
    });
    let limits = "limits: {concurrency: 2, writes_per_minute: 9999, reads_per_minute: 9999}\n";
    scene.write("m.yaml", &(scene.manifest("acme") + limits));
    scene.apply().exits(0);
    std::fs::remove_file(scene.path("m.yaml")).unwrap();
    for (n, source) in scene.sources().iter().enumerate() {
        let session = scene.imported_from(source.id).unwrap();
        let change = match n % 6 {
            0 => Change::Delete,
            1 => Change::VendorData(Some("another".to_owned())),
            2 => Change::Status(Status::KycExpired),
            3 => Change::Review { status: Status::Declined, comment: "no".to_owned() },
            4 => Change::Rename("Nobody Else".to_owned()),
            _ => continue,
        };
        scene.world.change(session, change).unwrap();
    }
    scene
}

/// What a ledger knows of audits.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    /// When each session was looked at last.
    audited: BTreeMap<String, i64>,
    /// The open findings, with their first sight.
    open: BTreeMap<Name, i64>,
    /// In how many runs each finding was told as new, and whether it was told at all.
    told: BTreeMap<Name, i64>,
    baselines: BTreeMap<String, String>,
}

fn by_name(ledger: &mut Sql, sql: &str) -> BTreeMap<Name, i64> {
    ledger.rows(sql, &[]).iter().map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3))).collect()
}

fn by_label<V: FromSql>(ledger: &mut Sql, sql: &str) -> BTreeMap<String, V> {
    ledger.rows(sql, &[]).iter().map(|row| (row.get(0), row.get(1))).collect()
}

impl Known {
    fn of(scene: &Scene, ledger: &str) -> Self {
        let ledger = &mut scene.sql_at(ledger);
        let of_entry = "JOIN entries e ON e.id = x.entry";
        let open =
            format!("SELECT e.label, rule, block, first_seen FROM findings x {of_entry} WHERE closed_at IS NULL");
        // A server sums up into another type than it has summed.
        let new = "CAST(sum(x.new) AS bigint)";
        let told = format!("SELECT e.label, x.rule, x.block, {new} FROM run_findings x {of_entry} GROUP BY 1, 2, 3");
        Self {
            audited: by_label(ledger, "SELECT label, audited_at FROM entries"),
            open: by_name(ledger, &open),
            told: by_name(ledger, &told),
            baselines: by_label(ledger, &format!("SELECT e.label, facts FROM baselines x {of_entry}")),
        }
    }
}

/// One ledger whose audits die, beside what an audit that does not die makes of a copy of it.
struct Campaign {
    scene: Scene,
    /// Before the first audit.
    before: Known,
    /// After an audit of a copy that came to its end.
    whole: Known,
    last: Known,
}

impl Campaign {
    fn new() -> Self {
        let scene = changed();
        scene.copy_ledger("state/ledger.db", "copy/ledger.db");
        let document = scene.run(&["audit", "--json", "--ledger", &scene.ledger_at("copy/ledger.db")]).exits(4).json();
        assert_eq!(document["findings"].as_array().unwrap().len(), SESSIONS / 6 * 5, "{document:#}");
        let (before, whole) = (Known::of(&scene, "state/ledger.db"), Known::of(&scene, "copy/ledger.db"));
        let last = Known::of(&scene, "state/ledger.db");
        assert_eq!(whole.told.len(), SESSIONS / 6 * 5);
        Self { scene, before, whole, last }
    }

    /// The sessions that no audit looked at yet.
    fn left(&self) -> BTreeSet<String> {
        self.last
            .audited
            .iter()
            .filter(|(label, at)| self.before.audited[*label] == **at)
            .map(|it| it.0.clone())
            .collect()
    }

    /// Holds what is known now against what was known before, and against the audit that did not die: of each session
    /// all is kept that a look at it comes to, or nothing.
    fn compare(&mut self, moment: &str) {
        let now = Known::of(&self.scene, "state/ledger.db");
        for (label, at) in &now.audited {
            assert!(*at >= self.last.audited[label], "{moment}: {label} was looked at before");
            let is_looked_at = *at > self.before.audited[label];
            let of = |known: &Known| known.told.clone().into_iter().filter(|it| it.0.0 == *label).collect::<Vec<_>>();
            let expected = if is_looked_at { of(&self.whole) } else { Vec::new() };
            assert_eq!(of(&now), expected, "{moment}: findings of {label}, each new in one run");
            let baselines = if is_looked_at { &self.whole.baselines } else { &self.before.baselines };
            assert_eq!(now.baselines[label], baselines[label], "{moment}: baseline of {label}");
        }
        // What a review explained is told once; the rest stays, with its first sight.
        let stays = |name: &&Name| name.1 != "status-reviewed";
        for (name, first_seen) in self.last.open.iter().filter(|it| stays(&it.0)) {
            assert_eq!(now.open.get(name), Some(first_seen), "{moment}: {name:?}");
        }
        let open: BTreeSet<&Name> = now.open.keys().filter(stays).collect();
        assert_eq!(open, now.told.keys().filter(stays).collect(), "{moment}");
        self.last = now;
        self.scene.run(&["ledger", "check"]).exits(0);
    }

    fn decisions(&self) -> Vec<String> {
        let all = self.scene.world.requests().into_iter().filter(|request| request.path.ends_with("/decision/"));
        all.map(|request| request.path).collect()
    }

    /// What is left is all that the next audit of so many looks at, and then a whole one finds what there is, and
    /// nothing new.
    fn goes_on(&mut self) {
        let left = self.left();
        let before = self.decisions().len();
        let limit = left.len().to_string();
        let document = self.scene.run(&["audit", "--json", "--limit", &limit]).exits(4).json();
        assert_eq!(document["summary"]["checked"], json!(left.len()));
        let sessions = self.scene.run(&["status", "--json"]).exits(0).json();
        let of = |label: &String| {
            let entries = sessions["entries"].as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["id"] == json!(label)).unwrap();
            format!("/v3/session/{}/decision/", entry["session_id"].as_str().unwrap())
        };
        let asked: BTreeSet<String> = self.decisions().split_off(before).into_iter().collect();
        assert_eq!(asked, left.iter().map(of).collect());
        self.compare("the audit of what was left");
        assert_eq!(self.left(), BTreeSet::new());
        let last = self.scene.run(&["audit", "--json"]).exits(4).json();
        let findings = last["findings"].as_array().unwrap();
        assert_eq!(findings.len(), SESSIONS / 6 * 4, "{last:#}");
        assert!(findings.iter().all(|finding| finding["new"] == false), "{last:#}");
        self.compare("the last audit");
        assert_eq!((&self.last.told, &self.last.baselines), (&self.whole.told, &self.whole.baselines));
    }
}

#[cfg(debug_assertions)]
fn die_at(scene: &Scene, point: &str, args: &[&str]) {
    let mut command = scene.command(&[&["audit", "--json"], args].concat());
    let died = end_of(&mut command.env("DIDIT_SYNC_TEST_STOP_AT", point).spawn().unwrap());
    assert_eq!(died.signal(), Some(SIGABRT), "{point} was not passed");
}

#[cfg(debug_assertions)]
#[test]
fn an_audit_that_dies_around_a_commit_has_kept_each_session_whole_or_not_at_all() {
    let mut campaign = Campaign::new();
    let mut left = SESSIONS;
    for (point, keeps) in [
        ("fetched:1", false),
        ("judged:1", false),
        ("kept:1", true),
        ("kept:2", true),
        ("fetched:2", true),
        ("judged:2", true),
    ] {
        let limit = left.to_string();
        die_at(&campaign.scene, point, &["--limit", &limit]);
        campaign.compare(point);
        let now = campaign.left().len();
        assert!(if keeps { now <= left } else { now == left }, "{point}: {left} were left, and {now} are");
        left = now;
    }
    assert!((1..SESSIONS).contains(&left), "{left}");
    campaign.goes_on();
}

#[test]
fn an_audit_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let mut campaign = Campaign::new();
    for after in [1, 3, 7, 20, 31] {
        let before = campaign.decisions().len();
        let limit = campaign.left().len().to_string();
        let mut audit = campaign.scene.start(&["audit", "--limit", &limit]);
        wait_for("some decisions", || {
            campaign.decisions().len() >= before + after || audit.try_wait().unwrap().is_some()
        });
        audit.kill().unwrap();
        let killed = end_of(&mut audit);
        assert!(killed.signal() == Some(SIGKILL) || killed.code() == Some(4), "{killed}");
        campaign.compare(&format!("killed after {after} requests"));
    }
    if campaign.left().is_empty() {
        // As slow as this machine was, all was looked at between the kills.
        return;
    }
    campaign.goes_on();
}

const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

/// Signals an audit once it has kept something, and before it has looked at all; its document.
fn interrupted(campaign: &Campaign, sent: Signal, code: i32, args: &[&str]) -> Value {
    let limit = campaign.left().len().to_string();
    let all = [&["audit", "--json", "--limit", &limit], args].concat();
    let audit: Child = campaign.scene.start(&all);
    wait_for("what is kept", || Known::of(&campaign.scene, "state/ledger.db").audited != campaign.last.audited);
    signal(&audit, sent);
    Output::of(audit).exits(code).json()
}

#[test]
fn promise_7_a_signal_in_the_middle_of_an_audit_leaves_what_was_looked_at() {
    let mut campaign = Campaign::new();
    for (sent, code) in SIGNALS {
        let left = campaign.left().len();
        let document = interrupted(&campaign, sent, code, &[]);
        campaign.compare("a signal");
        let checked = left - campaign.left().len();
        assert_eq!(document["summary"]["checked"], json!(checked), "what is told is what is on record");
        assert!((1..left).contains(&checked), "{checked} of {left}");
        assert_eq!((&document["exit"]["name"], &document["error"]["code"]), (&json!("interrupted"), &json!(code)));
        let run = document["run"].to_string();
        let again = campaign.scene.run(&["report", &run, "--json"]).exits(0).stdout;
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), document);
    }
    campaign.goes_on();
}

#[test]
fn promise_7_a_signal_before_an_acceptance_leaves_all_to_be_accepted() {
    let mut campaign = Campaign::new();
    let accept = ["--accept", "all", "--reason", "migration", "--actor", "ada"];
    for (sent, code) in SIGNALS {
        let document = interrupted(&campaign, sent, code, &accept);
        // What was looked at is on record, as for any audit, and nothing of it was accepted.
        campaign.compare("a signal before the acceptance");
        assert!(document["error"]["message"].as_str().unwrap().ends_with("; nothing was accepted"), "{document:#}");
        assert!(!document["findings"].as_array().unwrap().is_empty(), "{document:#}");
    }
    let runs = campaign.scene.run(&["report", "--list", "--json"]).exits(0).stdout;
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let last = runs["runs"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["actor"], &last["reason"]), (&json!("ada"), &json!("migration")));
    campaign.goes_on();
}

#[test]
fn promise_7_a_signal_ends_an_acceptances_wait_for_the_lock() {
    for (sent, code) in SIGNALS {
        let scene = Scene::new(sandbox(2));
        scene.write_all();
        scene.apply().exits(0);
        for it in scene.world.imported() {
            scene.world.change(it.session_id, Change::Delete).unwrap();
        }
        let lock = scene.hold();
        let before = Known::of(&scene, "state/ledger.db");
        let args = ["audit", "--json", "--accept", "all", "--reason", "r", "--wait-lock", "10m"];
        let audit = scene.start(&args);
        wait_for("the findings", || Known::of(&scene, "state/ledger.db").open.len() == 2);
        let began = std::time::Instant::now();
        signal(&audit, sent);
        let document = Output::of(audit).exits(code).json();
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!((&document["format"], &document["exit"]["code"]), (&json!("didit-sync/audit.v1"), &json!(code)));
        assert!(document["error"]["message"].as_str().unwrap().ends_with("; nothing was accepted"), "{document:#}");
        assert_eq!(document["findings"].as_array().unwrap().len(), 2);
        assert_eq!(Known::of(&scene, "state/ledger.db").baselines, before.baselines);
        drop(lock);
        let accepted = scene.run(&["audit", "--json", "--accept", "all", "--reason", "r"]).exits(0).json();
        assert_eq!(accepted["findings"], json!([]));
    }
}

#[cfg(debug_assertions)]
#[test]
fn promise_11_an_acceptance_that_dies_is_whole_or_not_there_and_says_who_and_why() {
    for (point, is_there) in [("accepting:1", false), ("accepted:1", true)] {
        let campaign = Campaign::new();
        let scene = &campaign.scene;
        die_at(scene, point, &["--accept", "all", "--reason", "migration", "--actor", "ada"]);
        let known = Known::of(scene, "state/ledger.db");
        let audited = known.audited.iter().filter(|(label, at)| campaign.before.audited[*label] < **at).count();
        assert_eq!(audited, SESSIONS, "{point}");
        assert_eq!(known.open.is_empty(), is_there, "{point}: {:?}", known.open);
        assert_eq!(known.baselines == campaign.whole.baselines, !is_there, "{point}");
        let runs = scene.run(&["report", "--list", "--json"]).exits(0).stdout;
        let runs: Value = serde_json::from_str(&runs).unwrap();
        let run = runs["runs"].as_array().unwrap().last().unwrap();
        assert_eq!((&run["actor"], &run["reason"]), (&json!("ada"), &json!("migration")), "{point}");
        scene.run(&["ledger", "check"]).exits(0);
        let code = if is_there { 0 } else { 4 };
        let next = scene.run(&["audit", "--json"]).exits(code).json();
        let findings = next["findings"].as_array().unwrap();
        assert_eq!(findings.len(), if is_there { 0 } else { SESSIONS / 6 * 4 }, "{point}: {next:#}");
        assert!(findings.iter().all(|finding| finding["new"] == false), "{point}");
    }
}

/// All sessions of the ledger have drifted.
fn drifted(sessions: usize, faults: &str) -> Scene {
    let scene = Scene::new(Config { faults: faults.parse().unwrap(), ..sandbox(sessions) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1}\n"));
    scene.apply().exits(0);
    for it in scene.world.imported() {
        scene.world.change(it.session_id, Change::VendorData(Some("another".to_owned()))).unwrap();
    }
    scene
}

#[test]
fn an_acceptance_takes_what_its_audit_looked_at_and_no_more() {
    let scene = drifted(5, "");
    let audit = |args: &[&str], code: i32| scene.run(&[&["audit", "--json"], args].concat()).exits(code).json();
    let accept = ["--accept", "all", "--reason", "moved"];
    let done = audit(&[&accept[..], &["--limit", "2"]].concat(), 8);
    assert_eq!((&done["summary"]["checked"], &done["findings"]), (&json!(2), &json!([])));
    // The two are as they should be; the next of two goes on with others.
    let next = audit(&["--limit", "2"], 4);
    assert_eq!(next["findings"].as_array().unwrap().len(), 2, "{next:#}");
    let seen = next["findings"][0]["id"].as_str().unwrap();
    // A session that is named has to be among those that are looked at: this one is the last in turn.
    let refused = audit(&["--accept", seen, "--reason", "moved", "--limit", "1"], 64);
    assert_eq!(refused["format"], "didit-sync/error.v1");
    let told = refused["error"]["message"].as_str().unwrap();
    assert!(told.contains("is not among the sessions of this audit"), "{refused:#}");
    let done = audit(&["--accept", seen, "--reason", "moved"], 4);
    assert_eq!(done["findings"].as_array().unwrap().len(), 2, "{done:#}");
    // Recorded facts are nothing seen: asked by option or by environment.
    audit(&[&accept[..], &["--offline"]].concat(), 64);
    let mut command = scene.command(&[&["audit", "--json"], &accept[..]].concat());
    Output::of(command.env("DIDIT_SYNC_OFFLINE", "1").spawn().unwrap()).exits(64);
    assert_eq!(audit(&accept, 0)["findings"], json!([]));
}

#[test]
fn an_acceptance_whose_time_is_up_takes_what_was_looked_at() {
    let scene = drifted(20, "decision.latency=60ms");
    let args = ["audit", "--json", "--accept", "all", "--reason", "moved", "--max-duration", "700ms"];
    let done = scene.run(&args).exits(8).json();
    assert_eq!(done["findings"], json!([]));
    let checked = done["summary"]["checked"].as_u64().unwrap();
    let rest = scene.run(&["audit", "--json"]).exits(4).json();
    assert_eq!(rest["findings"].as_array().unwrap().len() as u64, 20 - checked, "{checked}");
}
