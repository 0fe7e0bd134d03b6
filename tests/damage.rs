//! Promises 6 and 8 for a damaged ledger: pages at random places are overwritten, and every command ends with 12 or with
//! the right answer; `ledger check` says what is wrong.
//!
//! The long form prints its figures; `DIDIT_SYNC_TEST_SEED=N` draws the same places again:
//!
//! ```text
//! cargo test --test main damage:: -- --ignored --nocapture
//! ```

#![expect(clippy::print_stdout, reason = "a campaign prints its figures")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use didit_sync::sandbox::Config;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::support::{Output, Scene, file_only, sandbox};

const PAGE: usize = 4096;
const ENTRIES: usize = 300;

/// What becomes of a page.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Random bytes.
    Noise,
    /// Zeros, as where a file system lost a block.
    Zeros,
    /// Noise in its second half, as where a write was torn.
    Torn,
    /// Another page's bytes, as where a write went astray.
    Astray,
}

/// A ledger of some hundred entries, as it was, and what commands say of it.
struct Sound {
    scene: Scene,
    files: BTreeMap<PathBuf, Vec<u8>>,
    told: Vec<(Vec<&'static str>, String)>,
}

impl Sound {
    fn new() -> Self {
        let scene = Scene::new(Config {
            writes_per_minute: 0,
            reads_per_minute: 0,
            record_requests: false,
            ..sandbox(ENTRIES)
        });
        scene
            .write("m.yaml", &(scene.manifest("acme") + "limits: {writes_per_minute: 9999, reads_per_minute: 9999}\n"));
        scene.apply().exits(0);
        let source = scene.sources()[ENTRIES / 2].id.to_string();
        let source: &'static str = Box::leak(source.into_boxed_str());
        let commands = [
            vec!["status", "--json"],
            vec!["plan", "m.yaml", "--json"],
            vec!["report", "--json"],
            vec!["status", source, "--json"],
        ];
        let told = commands.map(|command| (command.clone(), scene.run(&command).exits(0).stdout));
        Self { files: scene.bytes_under("state"), told: told.into(), scene }
    }

    fn restore(&self) {
        fs::remove_dir_all(self.scene.path("state")).unwrap();
        fs::create_dir(self.scene.path("state")).unwrap();
        for (path, bytes) in &self.files {
            fs::write(path, bytes).unwrap();
        }
    }

    fn harm(&self, random: &mut StdRng, harm: Harm) -> Vec<usize> {
        self.restore();
        let mut bytes = fs::read(self.scene.ledger()).unwrap();
        let pages = bytes.len() / PAGE;
        let hit: Vec<usize> = (0..random.random_range(1..=2)).map(|_| random.random_range(0..pages)).collect();
        for page in &hit {
            let at = page * PAGE;
            match harm {
                Harm::Noise => random.fill_bytes(&mut bytes[at..at + PAGE]),
                Harm::Zeros => bytes[at..at + PAGE].fill(0),
                Harm::Torn => random.fill_bytes(&mut bytes[at + PAGE / 2..at + PAGE]),
                Harm::Astray => {
                    let from = ((page + random.random_range(1..pages)) % pages) * PAGE;
                    bytes.copy_within(from..from + PAGE, at);
                }
            }
        }
        fs::write(self.scene.ledger(), bytes).unwrap();
        hit
    }
}

/// What came of a campaign.
#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    commands: u32,
    refused: u32,
    found_by_check: u32,
    wrong: Vec<String>,
    wrong_and_unnoticed: Vec<String>,
    unnoticed: Vec<String>,
}

fn campaign(name: &str, harms: &[Harm], rounds: u32, seed: u64) -> Tally {
    let mut random = StdRng::seed_from_u64(seed);
    let sound = Sound::new();
    let mut tally = Tally::default();
    for round in 0..rounds {
        let harm = harms[round as usize % harms.len()];
        let hit = sound.harm(&mut random, harm);
        let what = format!("seed {seed}, round {round}, {harm:?} of pages {hit:?}");
        let check = sound.scene.run(&["ledger", "check", "--json"]);
        let is_found = check.code == Some(12);
        tally.found_by_check += u32::from(is_found);
        let mut judge = |command: &[&str], ended: &Output, is_right: bool| {
            tally.commands += 1;
            assert!(!ended.stderr.contains("panicked"), "{what} {command:?}: {}", ended.stderr);
            match ended.code {
                Some(12) => tally.refused += 1,
                _ if is_right => {}
                code => {
                    let wrong = format!("{what} {command:?}: exit {code:?} {:.300}", ended.stderr);
                    if !is_found {
                        tally.wrong_and_unnoticed.push(wrong.clone());
                    }
                    tally.wrong.push(wrong);
                }
            }
        };
        for (command, told) in &sound.told {
            let ended = sound.scene.run(command);
            judge(command, &ended, ended.code == Some(0) && ended.stdout == *told);
        }
        let backup = sound.scene.run(&["ledger", "backup", "b.db"]);
        let is_same = || sound.scene.run(&["ledger", "check", "--ledger", "b.db"]).code == Some(0);
        judge(&["ledger", "backup"], &backup, backup.code == Some(0) && !is_found && is_same());
        let _ = fs::remove_file(sound.scene.path("b.db"));
        let writes = sound.scene.writes();
        let audit = sound.scene.run(&["audit", "--limit", "20", "--json"]);
        judge(&["audit"], &audit, matches!(audit.code, Some(0 | 8)));
        let apply = sound.scene.apply();
        let is_right = apply.code == Some(0) && apply.json()["summary"]["unchanged"] == ENTRIES;
        judge(&["apply"], &apply, is_right && sound.scene.writes() == writes);
        if !is_found {
            tally.unnoticed.push(what);
        }
        tally.rounds += 1;
    }
    println!(
        "{name}, seed {seed}: {} rounds, {} commands, {} ended with 12, {} wrong; check found {}",
        tally.rounds,
        tally.commands,
        tally.refused,
        tally.wrong.len(),
        tally.found_by_check
    );
    tally
}

fn seed() -> u64 {
    std::env::var("DIDIT_SYNC_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random)
}

#[track_caller]
fn assert_right(tally: &Tally) {
    assert_eq!(tally.wrong, Vec::<String>::new());
    assert_eq!(tally.unnoticed, Vec::<String>::new(), "`ledger check` called these sound");
}

#[test]
fn promise_6_damaged_pages_end_commands_with_12_or_leave_their_answers_right() {
    if file_only("pages of the file") {
        return;
    }
    assert_right(&campaign("damage", &[Harm::Noise, Harm::Zeros], 14, seed()));
}

#[test]
#[ignore = "takes minutes: cargo test --test main damage:: -- --ignored --nocapture"]
fn promise_6_three_hundred_damaged_ledgers() {
    if file_only("pages of the file") {
        return;
    }
    assert_right(&campaign("noise and zeros", &[Harm::Noise, Harm::Zeros], 300, seed()));
}

/// SQLite keeps no checksums: half a page, or another's, can make sense and be wrong. Then `ledger check` knows it.
#[track_caller]
fn assert_known_to_check(tally: &Tally) {
    assert_eq!(tally.wrong_and_unnoticed, Vec::<String>::new());
}

#[test]
fn promise_6_whatever_makes_an_answer_wrong_is_found_by_check() {
    if file_only("pages of the file") {
        return;
    }
    assert_known_to_check(&campaign("torn and astray", &[Harm::Torn, Harm::Astray], 14, seed()));
}

#[test]
#[ignore = "takes minutes: cargo test --test main damage:: -- --ignored --nocapture"]
fn promise_6_three_hundred_ledgers_with_pages_torn_and_astray() {
    if file_only("pages of the file") {
        return;
    }
    assert_known_to_check(&campaign("torn and astray", &[Harm::Torn, Harm::Astray], 300, seed()));
}
