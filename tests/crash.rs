//! Whatever dies when, no session is lost and none is made twice: campaigns of kills, faults and races against the
//! sandbox, each compared with what the server really has.
//!
//! The short forms run with all other tests. The long ones, which print their figures:
//!
//! ```text
//! cargo test --test main crash:: -- --ignored --nocapture
//! ```
//!
//! A campaign draws its moments from a seed, which it prints; `DIDIT_SYNC_TEST_SEED=N` draws them again. What a kill
//! can't show is a power cut: what the kernel was given survives the process.

#![expect(clippy::print_stdout, reason = "a campaign prints its figures")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use didit_sync::sandbox::{Config, Dialect, ImportedSession, Privileges, Status};
use didit_sync::token::SessionKind;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Output, Scene, end_of, file_only, sandbox, uuid};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// A sandbox that no budget slows down, for many rounds.
pub(crate) fn scene(config: Config) -> Scene {
    Scene::new(Config { writes_per_minute: 0, reads_per_minute: 0, record_requests: false, ..config })
}

pub(crate) fn with_faults(faults: &str) -> Config {
    Config { faults: faults.parse().unwrap(), ..sandbox(0) }
}

/// Sources nobody imported before, a manifest of them, and a ledger of their own.
pub(crate) struct Round<'t> {
    scene: &'t Scene,
    name: String,
    /// Label to source.
    sources: BTreeMap<String, Uuid>,
    /// Labels of entries with one vendor data, which nothing can tell apart where reads don't show the source.
    alike: Vec<String>,
    /// POST requests before the round.
    writes_before: u64,
    /// Where its ledger is.
    ledger: String,
}

/// What the ledger says of an entry.
struct Recorded {
    state: String,
    session: Option<Uuid>,
    attempts: usize,
    /// Everything, for messages.
    json: Value,
}

/// What was compared, over many rounds, and what was not as promised.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rounds: usize,
    entries: usize,
    runs: usize,
    /// Runs that died.
    deaths: usize,
    /// Those that left a request without an outcome.
    deaths_with_open_entries: usize,
    /// Those after which the ledger was not there yet, or empty.
    deaths_before_the_first_intent: usize,
    /// Sessions that the server has.
    sessions: usize,
    lost: Vec<String>,
    made_twice: Vec<String>,
    wrong: Vec<String>,
    sent_without_intent: Vec<String>,
    /// Unknown in the end though the evidence was not ambiguous.
    unknown_needlessly: Vec<String>,
    /// Unknown in the end, rightly.
    unknown: usize,
    unsettled: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.entries += other.entries;
        self.runs += other.runs;
        self.deaths += other.deaths;
        self.deaths_with_open_entries += other.deaths_with_open_entries;
        self.deaths_before_the_first_intent += other.deaths_before_the_first_intent;
        self.sessions += other.sessions;
        self.lost.extend(other.lost);
        self.made_twice.extend(other.made_twice);
        self.wrong.extend(other.wrong);
        self.sent_without_intent.extend(other.sent_without_intent);
        self.unknown_needlessly.extend(other.unknown_needlessly);
        self.unknown += other.unknown;
        self.unsettled.extend(other.unsettled);
    }

    pub(crate) fn figures(&self) -> String {
        format!(
            "{} rounds, {} entries, {} runs; {} deaths, of which {} left requests without an outcome and {} came before \
             the first intent; {} sessions at the server: {} lost, {} made twice, {} wrong, {} sent without an intent, \
             {} needlessly unknown ({} rightly), {} unsettled",
            self.rounds,
            self.entries,
            self.runs,
            self.deaths,
            self.deaths_with_open_entries,
            self.deaths_before_the_first_intent,
            self.sessions,
            self.lost.len(),
            self.made_twice.len(),
            self.wrong.len(),
            self.sent_without_intent.len(),
            self.unknown_needlessly.len(),
            self.unknown,
            self.unsettled.len(),
        )
    }

    #[track_caller]
    pub(crate) fn assert_promises_kept(&self) {
        let broken = [
            &self.lost,
            &self.made_twice,
            &self.wrong,
            &self.sent_without_intent,
            &self.unknown_needlessly,
            &self.unsettled,
        ];
        let broken: Vec<&String> = broken.into_iter().flatten().collect();
        assert!(broken.is_empty(), "{}\n{broken:#?}", self.figures());
    }
}

impl Recorded {
    fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "sending" | "unknown")
    }
}

impl<'t> Round<'t> {
    /// A round of so many entries, of which the first `alike` have one vendor data.
    pub(crate) fn new(scene: &'t Scene, name: &str, entries: usize, alike: usize, limits: &str) -> Self {
        let kind = |n: usize| if n % 3 == 2 { SessionKind::Business } else { SessionKind::User };
        let sources: BTreeMap<String, Uuid> = (0..entries)
            .map(|n| {
                let kind = if n < alike { SessionKind::User } else { kind(n) };
                (format!("e{n:04}"), scene.world.seed_session(kind, Status::Approved, None))
            })
            .collect();
        let mut text = scene.head(name);
        let _ = writeln!(text, "limits: {{writes_per_minute: 1000000, reads_per_minute: 1000000{limits}}}\nimports:");
        let alike: Vec<String> = sources.keys().take(alike).cloned().collect();
        for (label, source) in &sources {
            let more = if alike.contains(label) { format!(", vendor_data: {name}-alike") } else { String::new() };
            let _ = writeln!(text, "  - {{id: {label}, share_token: {}{more}}}", scene.mint(*source));
        }
        scene.write(&format!("{name}.yaml"), &text);
        Self {
            scene,
            name: name.to_owned(),
            sources,
            alike,
            writes_before: scene.writes(),
            ledger: scene.ledger_at(&format!("{name}/ledger.db")),
        }
    }

    /// The same, with another ledger.
    pub(crate) fn with_ledger(self, ledger: String) -> Self {
        Self { ledger, ..self }
    }

    fn command(&self, with: &[(&str, String)]) -> std::process::Command {
        let (manifest, ledger) = (format!("{}.yaml", self.name), &self.ledger);
        let mut command = self.scene.command(&["apply", &manifest, "--yes", "--json", "--quiet", "--ledger", ledger]);
        command.envs(with.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    pub(crate) fn start(&self, with: &[(&str, String)]) -> Child {
        self.command(with).spawn().unwrap()
    }

    /// What the ledger says, by label; nothing where there is no ledger yet.
    fn recorded(&self) -> HashMap<String, Recorded> {
        let output = self.scene.run(&["status", "--json", "--ledger", &self.ledger]);
        if output.code == Some(12) && output.stdout.contains("there is no ledger") {
            return HashMap::new();
        }
        let document = output.exits(0).json();
        let recorded = |json: &Value| Recorded {
            state: json["state"].as_str().unwrap().to_owned(),
            session: Some(&json["session_id"]).filter(|id| !id.is_null()).map(uuid),
            attempts: json["attempts"].as_array().unwrap().len(),
            json: json.clone(),
        };
        let entries = document["entries"].as_array().unwrap();
        entries.iter().map(|entry| (entry["id"].as_str().unwrap().to_owned(), recorded(entry))).collect()
    }

    /// The server's sessions of the round, by source.
    fn truth(&self) -> HashMap<Uuid, Vec<ImportedSession>> {
        let mut truth: HashMap<Uuid, Vec<ImportedSession>> =
            self.sources.values().map(|source| (*source, Vec::new())).collect();
        for session in self.scene.world.imported() {
            if let Some(of) = truth.get_mut(&session.source_id) {
                of.push(session);
            }
        }
        truth
    }

    /// What must hold at any moment at which nothing runs: each session of the server is on record, or its entry is
    /// open; and nothing left without an intent.
    fn compare(&self, tally: &mut Tally) -> HashMap<String, Recorded> {
        // The dead process's ledger moves no more; a request of it may still arrive at the server.
        let recorded = self.recorded();
        let truth = self.truth();
        for (label, source) in &self.sources {
            let (entry, sessions) = (recorded.get(label), &truth[source]);
            let said = || format!("{} {label}: server {sessions:?}, ledger {:?}", self.name, entry.map(|e| &e.json));
            if sessions.len() > 1 {
                tally.made_twice.push(said());
            }
            let on_record = entry.and_then(|entry| entry.session);
            let is_open = entry.is_some_and(Recorded::is_open);
            match (sessions.first().map(|session| session.session_id), on_record) {
                (Some(_), None) if !is_open => tally.lost.push(said()),
                (truth, Some(id)) if truth != Some(id) => tally.wrong.push(said()),
                _ => {}
            }
            if on_record.is_some() != entry.is_some_and(|entry| entry.state == "imported") {
                tally.wrong.push(said());
            }
        }
        let attempts: usize = recorded.values().map(|entry| entry.attempts).sum();
        let writes = self.scene.writes() - self.writes_before;
        if writes > attempts as u64 {
            tally.sent_without_intent.push(format!("{}: {writes} requests, {attempts} intents", self.name));
        }
        recorded
    }

    /// Compares after the death of a run.
    pub(crate) fn compare_dead(&self, tally: &mut Tally) {
        let recorded = self.compare(tally);
        tally.deaths += 1;
        tally.deaths_with_open_entries += usize::from(recorded.values().any(Recorded::is_open));
        tally.deaths_before_the_first_intent += usize::from(recorded.is_empty());
    }

    /// What must hold when a run came to its end: every entry has the server's id, but for those that nothing can
    /// tell apart, which say how to settle them.
    pub(crate) fn compare_settled(&self, tally: &mut Tally, output: &Output) {
        let recorded = self.compare(tally);
        let truth = self.truth();
        tally.rounds += 1;
        tally.entries += self.sources.len();
        tally.sessions += truth.values().map(Vec::len).sum::<usize>();
        let mut unknown = 0;
        for (label, source) in &self.sources {
            let entry = recorded.get(label);
            let said = || format!("{} {label}: {:?}", self.name, entry.map(|entry| &entry.json));
            match entry.map(|entry| entry.state.as_str()) {
                Some("imported") if truth[source].len() == 1 => {}
                Some("imported") => tally.wrong.push(said()),
                Some("unknown") => {
                    unknown += 1;
                    let advice = entry.and_then(|entry| entry.json["error"]["advice"].as_str()).unwrap_or_default();
                    if !self.alike.contains(label) || !advice.contains(&format!("ledger adopt {label}")) {
                        tally.unknown_needlessly.push(said());
                    }
                }
                _ => tally.unsettled.push(said()),
            }
        }
        tally.unknown += unknown;
        // A rerun of which every request failed says so (69) where something stays unknown (6).
        let exits: &[i32] = if unknown == 0 { &[0] } else { &[6, 69] };
        if !output.code.is_some_and(|code| exits.contains(&code)) {
            tally.unsettled.push(format!("{}: {output:?}", self.name));
        }
    }
}

/// When a run is killed.
pub(crate) enum Moment {
    /// So long after its start.
    After(Duration),
    /// So long after the server got that many requests.
    AtRequest(u64, Duration),
}

impl Moment {
    /// At any of a run's moments, and a little more often at those while requests are under way, however slow the
    /// machine is.
    pub(crate) fn draw(dice: &mut StdRng, requests: u64) -> Self {
        if dice.random_bool(0.3) {
            Self::After(Duration::from_micros(dice.random_range(0..150_000)))
        } else {
            Self::AtRequest(dice.random_range(0..requests), Duration::from_micros(dice.random_range(0..30_000)))
        }
    }

    /// Kills the child at this moment, unless it ends before. Whether it was killed.
    pub(crate) fn strike(self, scene: &Scene, child: &mut Child) -> bool {
        let (deadline, first) = (Instant::now() + Duration::from_secs(60), scene.world.counts().requests);
        let after = match self {
            Self::After(after) => after,
            Self::AtRequest(requests, after) => {
                while scene.world.counts().requests < first + requests {
                    assert!(Instant::now() < deadline, "a run neither sent nor ended");
                    if child.try_wait().unwrap().is_some() {
                        return false;
                    }
                    std::thread::sleep(Duration::from_micros(500));
                }
                after
            }
        };
        std::thread::sleep(after);
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        child.kill().unwrap();
        end_of(child).signal() == Some(SIGKILL)
    }
}

const ENTRIES: usize = 14;
const KILLS_IN_A_ROUND: usize = 8;
pub(crate) const TROUBLED: &str = "import.latency=2ms..40ms,list.latency=0ms..10ms,decision.latency=0ms..10ms,\
                        import.lost-after=8%,import.error-after=4%,import.cut=4%,import.lost-before=4%";

/// Kills runs at random moments, so often, and compares after each kill and at the end of each round.
fn crash_campaign(name: &str, config: Config, alike: usize, kills: usize, seed: u64) -> Tally {
    println!("crash campaign {name}: DIDIT_SYNC_TEST_SEED={seed}");
    let scene = scene(config);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    while tally.deaths < kills {
        let limits = format!(", concurrency: {}", dice.random_range(1..=8));
        let round = Round::new(&scene, &format!("r{}", tally.rounds), ENTRIES, alike, &limits);
        let mut here = 0;
        let output = loop {
            let mut child = round.start(&[]);
            tally.runs += 1;
            let may_kill = here < KILLS_IN_A_ROUND && tally.deaths < kills;
            let killed = may_kill && Moment::draw(&mut dice, 40).strike(&scene, &mut child);
            if !killed {
                break Output::of(child);
            }
            here += 1;
            round.compare_dead(&mut tally);
        };
        round.compare_settled(&mut tally, &output);
        scene.remove_ledgers(&round.name);
    }
    println!("crash campaign {name}: {}", tally.figures());
    tally
}

/// The seed that is given, or one by chance.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("DIDIT_SYNC_TEST_SEED").ok();
    given.map_or_else(rand::random, |text| text.parse().expect("DIDIT_SYNC_TEST_SEED is a number"))
}

fn showing_the_source() -> Config {
    with_faults(TROUBLED)
}

fn hiding_the_source() -> Config {
    Config { reads_show_source: false, ..with_faults(TROUBLED) }
}

fn older_dialect() -> Config {
    Config { dialect: Dialect::Seed, ..with_faults(TROUBLED) }
}

#[test]
fn promise_1_kills_at_random_moments_lose_nothing_and_make_nothing_twice() {
    crash_campaign("showing the source", showing_the_source(), 0, 40, seed()).assert_promises_kept();
}

#[test]
fn promise_2_kills_lose_nothing_where_reads_hide_the_source() {
    crash_campaign("hiding the source", hiding_the_source(), 2, 35, seed()).assert_promises_kept();
}

#[test]
fn promise_2_kills_lose_nothing_with_the_older_dialect() {
    crash_campaign("older dialect", older_dialect(), 0, 35, seed()).assert_promises_kept();
}

#[test]
#[ignore = "takes many minutes: cargo test --test main promise_1_two_thousand_kills -- --ignored --nocapture"]
fn promise_1_two_thousand_kills_lose_nothing_and_make_nothing_twice() {
    let seed = seed();
    let campaigns = [
        ("showing the source", showing_the_source(), 0, 700),
        ("hiding the source", hiding_the_source(), 2, 650),
        ("older dialect", older_dialect(), 0, 650),
    ];
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let started = campaigns
            .map(|(name, config, alike, kills)| scope.spawn(move || crash_campaign(name, config, alike, kills, seed)));
        for campaign in started {
            all.add(campaign.join().unwrap());
        }
    });
    println!("all crash campaigns: {}", all.figures());
    all.assert_promises_kept();
    assert!(all.deaths >= 2000);
}

/// Runs that die at a named point, once and once more, and one that doesn't.
#[cfg(debug_assertions)]
fn die_at_points(name: &str, config: Config, points: &[&str]) {
    let scene = scene(config);
    let mut tally = Tally::default();
    for point in points {
        for nth in 1..=3 {
            let round = Round::new(&scene, &format!("{point}{nth}"), 5, 0, "");
            let stop = [("DIDIT_SYNC_TEST_STOP_AT", format!("{point}:{nth}"))];
            let mut child = round.start(&stop);
            let died = end_of(&mut child);
            assert_eq!(died.signal(), Some(SIGABRT), "{name}: {point} is not passed {nth} times: {died}");
            round.compare_dead(&mut tally);
            // What is left may pass the point less often.
            let again = end_of(&mut round.start(&stop));
            assert!(again.signal() == Some(SIGABRT) || again.code() == Some(0), "{name} {point}:{nth} {again}");
            if again.signal().is_some() {
                round.compare_dead(&mut tally);
            }
            tally.runs += 3;
            round.compare_settled(&mut tally, &Output::of(round.start(&[])));
        }
    }
    println!("points, {name}: {}", tally.figures());
    tally.assert_promises_kept();
    assert_eq!(tally.unknown, 0);
}

#[cfg(debug_assertions)]
#[test]
fn promise_1_death_right_before_or_after_a_commit_loses_nothing() {
    die_at_points("all well", with_faults(""), &["intending", "intended", "answered", "settled"]);
}

#[cfg(debug_assertions)]
const ALL_POINTS: [&str; 5] = ["intending", "intended", "answered", "looked-up", "settled"];

#[cfg(debug_assertions)]
#[test]
fn promise_2_death_around_a_lookup_loses_nothing() {
    die_at_points("answers lost", with_faults("import.lost-after=x1"), &ALL_POINTS);
}

#[cfg(debug_assertions)]
#[test]
fn promise_2_death_around_a_lookup_loses_nothing_where_reads_hide_the_source() {
    let config = Config { reads_show_source: false, ..with_faults("import.lost-after=x1") };
    die_at_points("answers lost, source hidden", config, &ALL_POINTS);
}

#[test]
fn promise_1_death_between_the_servers_commit_and_its_answer_loses_nothing() {
    let scene = scene(with_faults("import.latency=300ms"));
    let mut tally = Tally::default();
    for nth in 1..=3 {
        let round = Round::new(&scene, &format!("sent{nth}"), 4, 0, ", concurrency: 1");
        let mut child = round.start(&[]);
        let deadline = Instant::now() + Duration::from_secs(30);
        // The server has the session for 150 ms before it answers.
        while round.truth().values().map(Vec::len).sum::<usize>() < nth {
            assert!(Instant::now() < deadline, "session {nth} was not made");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        end_of(&mut child);
        tally.runs += 2;
        round.compare_dead(&mut tally);
        round.compare_settled(&mut tally, &Output::of(round.start(&[])));
    }
    tally.assert_promises_kept();
    assert_eq!(tally.unknown, 0);
}

#[test]
fn promise_2_a_run_that_recovered_every_session_ends_well_though_every_answer_was_lost() {
    for faults in ["import.error-after=x9", "import.lost-after=x9", "import.cut=x9"] {
        let scene = scene(with_faults(faults));
        let round = Round::new(&scene, "lost", 3, 0, "");
        let output = Output::of(round.start(&[]));
        assert_eq!((output.code, &output.json()["summary"]["recovered"]), (Some(0), &Value::from(3)), "{faults}");
        let mut tally = Tally::default();
        round.compare_settled(&mut tally, &output);
        tally.assert_promises_kept();
    }
}

/// A quarter of the answers is lost in one way or another.
fn fault_campaign(name: &str, entries: usize, shows_source: bool) {
    let faults = "import.lost-after=10%,import.error-after=10%,import.cut=5%";
    let scene = scene(Config { reads_show_source: shows_source, ..with_faults(faults) });
    let mut tally = Tally::default();
    let round = Round::new(&scene, "faults", entries, 0, ", concurrency: 64");
    let begun = Instant::now();
    let (mut imported, mut recovered) = (0, 0);
    let output = loop {
        let output = Output::of(round.start(&[]));
        tally.runs += 1;
        let summary = &output.json()["summary"];
        imported += summary["imported"].as_u64().unwrap();
        recovered += summary["recovered"].as_u64().unwrap();
        round.compare(&mut tally);
        if output.code == Some(0) || tally.runs == 3 {
            break output;
        }
    };
    round.compare_settled(&mut tally, &output);
    let seconds = begun.elapsed().as_secs_f64();
    println!("fault campaign {name}: {imported} imported, {recovered} recovered, {seconds:.1} s; {}", tally.figures());
    tally.assert_promises_kept();
    assert_eq!((tally.sessions, imported + recovered), (entries, entries as u64), "{}", tally.figures());
    assert!(recovered > 0);
}

#[test]
fn promise_2_a_quarter_of_all_answers_lost_and_every_session_on_record() {
    fault_campaign("short", 500, true);
}

#[test]
fn promise_2_a_quarter_of_all_answers_lost_where_reads_hide_the_source() {
    fault_campaign("short, source hidden", 200, false);
}

#[test]
#[ignore = "takes minutes: cargo test --test main promise_2_five_thousand -- --ignored --nocapture"]
fn promise_2_five_thousand_entries_with_a_quarter_of_all_answers_lost() {
    fault_campaign("long", 5000, true);
}

#[test]
#[ignore = "takes minutes: cargo test --test main promise_2_five_thousand -- --ignored --nocapture"]
fn promise_2_five_thousand_entries_where_reads_hide_the_source() {
    fault_campaign("long, source hidden", 5000, false);
}

/// Two processes begin at the same moment; which one works is told by the key of the requests.
fn races(rounds: usize) {
    let faults = "import.latency=250ms".parse().unwrap();
    let scene = Scene::new(Config { faults, writes_per_minute: 0, reads_per_minute: 0, ..sandbox(0) });
    let mut tally = Tally::default();
    let mut won = [0, 0];
    for number in 0..rounds {
        let round = Round::new(&scene, &format!("race{number}"), 4, 0, "");
        let keys = [(); 2].map(|()| scene.world.add_key(Privileges::ALL));
        let commands = keys.clone().map(|key| round.command(&[("DIDIT_API_KEY", key)]));
        let outputs = commands.map(|mut command| command.spawn().unwrap()).map(Output::of);
        tally.runs += 2;
        let winner = usize::from(outputs[0].code != Some(0));
        let loser = 1 - winner;
        assert_eq!([outputs[winner].code, outputs[loser].code], [Some(0), Some(11)], "{outputs:#?}");
        assert_eq!(outputs[loser].json()["exit"]["name"], "locked");
        let requests = scene.world.requests();
        let sent_by = |key: &String| requests.iter().filter(|it| it.header("x-api-key") == Some(key)).count();
        assert_eq!(sent_by(&keys[loser]), 0, "the second sends nothing");
        assert!(sent_by(&keys[winner]) > 4);
        assert_eq!(scene.writes() - round.writes_before, 4);
        round.compare_settled(&mut tally, &outputs[winner]);
        won[winner] += 1;
    }
    println!("{rounds} races, won by the first {} times and by the second {}; {}", won[0], won[1], tally.figures());
    tally.assert_promises_kept();
}

#[test]
fn promise_4_of_two_processes_at_the_same_moment_one_works_and_one_sends_nothing() {
    if file_only("on a server they split the work") {
        return;
    }
    races(10);
}

#[test]
#[ignore = "takes a minute: cargo test --test main promise_4_fifty_races -- --ignored --nocapture"]
fn promise_4_fifty_races_of_two_processes() {
    races(50);
}
