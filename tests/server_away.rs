//! A ledger's server that stays away: what answers named meanwhile is kept on the machine, and recorded by the next run there.
//!
//! They need a PostgreSQL, and are left out where there is none.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use didit_sync::sandbox::Config;
use serde_json::Value;

use crate::crash::{Round, Tally, scene, with_faults};
use crate::server_faults::assert_all_told;
use crate::support::cut::Cut;
use crate::support::postgres::{Cluster, Database, cluster};
use crate::support::{Output, Scene, wait_for};

/// Requests whose answers come when the ledger's server is away; nothing but the answers tells which is whose.
struct Away<'t> {
    scene: &'t Scene,
    round: Round<'t>,
    cut: Cut,
    database: Database<'static>,
}

/// The first request of a run goes ahead of all others, and is recorded before they leave.
const ALIKE: usize = 5;
const WAITING: usize = ALIKE - 1;

fn alike_scene() -> Scene {
    scene(Config { reads_show_source: false, ..with_faults("import.latency=900ms") })
}

impl<'t> Away<'t> {
    fn new(server: &'static Cluster, scene: &'t Scene) -> Self {
        let (database, cut) = (server.database(), Cut::new(server.port));
        let round = Round::new(scene, "stays", ALIKE, ALIKE, ", concurrency: 4").with_ledger(database.url_at(cut.port));
        Self { scene, round, cut, database }
    }

    /// Begins a run, and has the server go away while its requests are under way.
    fn begin(&self, wait: &str) -> Child {
        let child = self.round.start(&[("DIDIT_SYNC_WAIT_LEDGER", wait.to_owned())]);
        let mut sql = self.database.connect();
        wait_for("intents", || {
            self.scene.writes() >= ALIKE as u64
                && sql.query_one("SELECT count(*) FROM attempts", &[]).unwrap().get::<_, i64>(0) == ALIKE as i64
        });
        self.cut.refuse(true);
        self.cut.now();
        child
    }

    fn spools(&self) -> Vec<PathBuf> {
        let folder = self.scene.path(".local/state/didit-sync");
        let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|it| it.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The one file, once it holds all answers.
    fn spool(&self) -> PathBuf {
        let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
        wait_for("answers on this machine", || self.spools().iter().map(|path| lines(path)).sum::<usize>() == WAITING);
        let [file] = <[PathBuf; 1]>::try_from(self.spools()).unwrap();
        file
    }

    /// Another run, which finds the server there; what became of each entry.
    fn again(&self) -> (Output, Vec<String>) {
        self.cut.refuse(false);
        let output = Output::of(self.round.start(&[]));
        (output, self.states())
    }

    fn states(&self) -> Vec<String> {
        let rows = self.database.connect().query("SELECT state FROM entries ORDER BY id", &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Where those stand whose answers waited.
    #[track_caller]
    fn assert_states(&self, expected: &str) {
        let states = self.states();
        assert_eq!((states.len(), &*states[0]), (ALIKE, "imported"));
        assert!(states[1..].iter().all(|state| state == expected), "{states:?}, not {expected}");
    }

    fn assert_settled(&self, output: &Output, unknown: bool) {
        let mut tally = Tally::default();
        self.round.compare_settled(&mut tally, output);
        tally.assert_promises_kept();
        self.assert_states(if unknown { "unknown" } else { "imported" });
    }
}

#[test]
fn promise_1_answers_that_a_server_that_stays_away_missed_are_kept_on_the_machine() {
    let Some(server) = cluster() else { return };
    let scene = alike_scene();
    let away = Away::new(server, &scene);
    let output = Output::of(away.begin("3s")).exits(12);
    let file = away.spool();
    let message = output.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&file.display().to_string()), "{message}");
    assert_all_told(&scene, &output);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let kept = fs::read_to_string(&file).unwrap();
    assert!(!kept.contains("eyJ") && !kept.contains(&scene.running.api_key()), "{kept}");
    let (output, _) = away.again();
    away.assert_settled(&output.exits(0), false);
    assert_eq!(away.spools(), Vec::<PathBuf>::new(), "what is recorded goes");
    // Kept a second time, it changes nothing; erased and forgotten entries stay so.
    let before = entries(&away.database);
    fs::write(&file, &kept).unwrap();
    let (output, _) = away.again();
    assert_eq!((output.code, entries(&away.database), away.spools()), (Some(0), before, Vec::new()));
    for (command, label) in [("erase", "e0001"), ("forget", "e0002")] {
        let ledger = away.database.url();
        scene.run(&["ledger", command, label, "--reason", "test", "--json", "--ledger", &ledger]).exits(0);
    }
    let before = entries(&away.database);
    fs::write(&file, &kept).unwrap();
    // Any repair records what waits.
    let args = ["ledger", "forget", "e0002", "--reason", "test", "--json", "--ledger", &away.database.url()];
    scene.run(&args).exits(0);
    assert_eq!((entries(&away.database), away.spools()), (before, Vec::new()));
}

/// What of the entries a settled outcome changes.
fn entries(database: &Database<'_>) -> Vec<(String, Option<String>, Option<String>)> {
    let sql = "SELECT state, session_id, status FROM entries ORDER BY id";
    database.connect().query(sql, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[test]
fn promise_2_without_what_was_kept_on_the_machine_nothing_tells_them_apart() {
    let Some(server) = cluster() else { return };
    let scene = alike_scene();
    let away = Away::new(server, &scene);
    Output::of(away.begin("3s")).exits(12);
    fs::remove_file(away.spool()).unwrap();
    let (output, _) = away.again();
    away.assert_settled(&output, true);
}

#[test]
fn promise_1_a_run_that_is_killed_while_it_waits_for_the_server_leaves_its_answers_to_the_next() {
    let Some(server) = cluster() else { return };
    let scene = alike_scene();
    let away = Away::new(server, &scene);
    let mut child = away.begin("5m");
    let file = away.spool();
    // While it lives, they are its own.
    away.assert_states("sending");
    child.kill().unwrap();
    child.wait().unwrap();
    // The last line of a power cut.
    let mut broken = OpenOptions::new().append(true).open(&file).unwrap();
    broken.write_all(b"{\"host\":\"half").unwrap();
    let (output, _) = away.again();
    away.assert_settled(&output.exits(0), false);
    assert_eq!(away.spools(), Vec::<PathBuf>::new());
}

#[test]
fn promise_1_a_run_whose_server_comes_back_in_time_leaves_nothing_on_the_machine() {
    let Some(server) = cluster() else { return };
    let scene = alike_scene();
    let away = Away::new(server, &scene);
    let child = away.begin("1m");
    let kept = away.spool();
    assert!(kept.exists());
    away.cut.refuse(false);
    let output = Output::of(child).exits(0);
    away.assert_settled(&output, false);
    assert_eq!(away.spools(), Vec::<PathBuf>::new());
}

#[test]
fn promise_1_what_was_kept_of_another_ledgers_rows_is_put_aside() {
    let Some(server) = cluster() else { return };
    let scene = alike_scene();
    let away = Away::new(server, &scene);
    Output::of(away.begin("2s")).exits(12);
    let file = away.spool();
    let mut lines: Vec<Value> =
        fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // As if the ledger had been put back from a backup, and its numbers given to others since.
    lines[0]["pid"] = Value::from(1);
    let unfit = lines[0]["entry"].as_i64().unwrap();
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let (output, states) = away.again();
    output.exits(6);
    // One is left, which may be of any entry that had the same vendor data.
    assert_eq!(states.iter().filter(|state| *state == "imported").count(), ALIKE - 1);
    let open = away.database.connect().query("SELECT id FROM entries WHERE state = 'unknown'", &[]).unwrap();
    assert_eq!(open.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [unfit]);
    let [aside] = <[PathBuf; 1]>::try_from(away.spools()).unwrap();
    assert_eq!(aside.extension().unwrap(), "unfit");
}
