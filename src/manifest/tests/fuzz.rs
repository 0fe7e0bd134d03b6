//! Manifests and sources that are harmed at random, from what is right: no panic, no hang, bounded memory, no token
//! shown, and every diagnostic whole and in its place. A short form runs with the tests; the long one by hand:
//!
//! ```text
//! DIDIT_SYNC_TEST_FUZZ=10m cargo test --lib manifest::tests::fuzz -- --ignored --nocapture
//! ```

use std::io::Write as _;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process may take at most, in KiB.
const MEMORY: u64 = 512 << 10;

/// Pieces that mean something to one of the readers.
const PIECES: &[&str] = &[
    "\n",
    "\r",
    "\t",
    " ",
    "  - ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ",",
    "#",
    "|",
    ">-\n",
    "&a ",
    "*a",
    "!!str ",
    "!env ",
    "---\n",
    "...\n",
    "<<: ",
    "? ",
    "~",
    "null",
    "true",
    "yes",
    "0x10",
    "1e999",
    ".nan",
    "-1",
    "18446744073709551616",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "\u{1f600}",
    "e\u{301}",
    "\u{85}",
    "\\u0000",
    "\\x",
    "%",
    "@",
    "`",
    "share_token: ",
    "source_session_id: ",
    "api_key: ",
    "exec: [sh]",
    "{env: PATH}",
    "{file: m.yaml}",
    "file: \"**/*\"",
    "file: m.yaml",
    "file: p.csv",
    "expect: [{name: a, rule: \"session.x[0]\"}]",
    "mint: {partner: bank}",
    "{source_session_id}",
    "trust_review: ",
    "columns: {id: id}",
    "on_invalid: skip",
    "on_duplicate: latest",
    "version: 2",
    "{\"a\":",
    "[[[[[[[[",
    "\"\"",
];

/// The files of a case, each with its seed.
fn seeds() -> Vec<(&'static str, Vec<String>)> {
    let (one, two) = (token(1, 4_000_000_000), token(2, 4_000_000_000));
    let (session_1, session_3) = (session(1), session(3));
    let sources = "sources:\n  - {file: p.csv, on_invalid: skip}\n  - {file: q.ndjson, trust_review: true}\n  - file: r.json\n  - file: s.yaml\ntokens:\n  - {file: t.txt, on_duplicate: latest}\n";
    let example = |text: &str| text.to_owned();
    vec![
        (
            "m.yaml",
            vec![
                format!(
                    "{}imports:\n  - share_token: {one}\n    id: carmen\n  - source_session_id: {session_3}\n{sources}",
                    head()
                ),
                format!("{}{sources}", head()),
                example(include_str!("../../../manifests/group.yaml")),
                example(include_str!("../../../manifests/inline.yaml")),
                example(include_str!("../../../manifests/migration.yaml")),
                example(include_str!("../../../manifests/rules.yaml")),
            ],
        ),
        ("p.csv", vec![format!("id,share_token,trust_review\ncarmen,{one},true\n\"d,\"\"o\",{two},false\n")]),
        (
            "q.ndjson",
            vec![format!(
                "{{\"id\": \"a\", \"share_token\": \"{one}\"}}\n{{\"id\": \"b\", \"source_session_id\": \"{session_1}\"}}\n"
            )],
        ),
        ("r.json", vec![format!("[{{\"id\": \"a\", \"share_token\": \"{two}\", \"vendor_data\": \"\\u00e4\"}}]")]),
        ("s.yaml", vec![format!("- share_token: {two}\n  id: z\n- {{source_session_id: {session_3}}}\n")]),
        ("t.txt", vec![format!("{one}\n{two}\n")]),
    ]
}

/// A text with some harm done to it.
fn harmed(rng: &mut StdRng, text: &str, other: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.random_range(1..6) {
        let from = rng.random_range(0..=bytes.len());
        let to = bytes.len().min(from + rng.random_range(0..24));
        match rng.random_range(0..9) {
            0 => drop(bytes.drain(from..to)),
            1 => bytes.truncate(from),
            2 => bytes.splice(from..from, bytes[from..to].to_vec()).for_each(drop),
            3 if from < bytes.len() => bytes[from] = rng.random(),
            4 => {
                let cut = other.len().min(rng.random_range(0..=other.len()));
                bytes.splice(from..to, other.as_bytes()[cut..].iter().copied()).for_each(drop);
            }
            // Much of the same.
            5 if rng.random_ratio(1, 8) => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                let many = piece.repeat(rng.random_range(1..20_000));
                bytes.splice(from..from, many.bytes()).for_each(drop);
            }
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                bytes.splice(from..from, piece.bytes()).for_each(drop);
            }
        }
    }
    bytes
}

/// What a campaign came to.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    good: u64,
    diagnostics: usize,
    slowest: Duration,
}

fn campaign(seed: u64, mut goes_on: impl FnMut(u64) -> bool) -> Figures {
    let mut rng = StdRng::seed_from_u64(seed);
    let seeds = seeds();
    let folder = Folder::new(&[]).env(|_| None);
    let mut figures = Figures::default();
    let tokens = [token(1, 4_000_000_000), token(2, 4_000_000_000)];
    while goes_on(figures.cases) {
        // The rest of a token that was cut can't be told from other text.
        let mut is_cut = false;
        for (name, texts) in &seeds {
            let text = &texts[rng.random_range(0..texts.len())];
            let others = &seeds[rng.random_range(0..seeds.len())].1;
            let is_harmed = rng.random_ratio(1, if *name == "m.yaml" { 2 } else { 4 });
            let bytes = if is_harmed { harmed(&mut rng, text, &others[0]) } else { text.clone().into_bytes() };
            let told = String::from_utf8_lossy(&bytes);
            is_cut |= tokens.iter().fold(told.into_owned(), |told, token| told.replace(token, "")).contains(CANARY);
            folder.write(name, &bytes);
        }
        let began = Instant::now();
        match folder.load(&["m.yaml"]) {
            Ok(_) => figures.good += 1,
            Err(wrong) => {
                let shown = wrong.render(false);
                assert!(is_cut || !shown.contains(CANARY), "case {}: {shown}", figures.cases);
                assert!(wrong.errors() > 0 && wrong.0.iter().all(|it| it.line > 0 && it.column > 0), "{shown}");
                let place = |it: &crate::manifest::Diagnostic| (it.file.clone(), it.line, it.column);
                assert!(wrong.0.is_sorted_by_key(place), "case {}: {shown}", figures.cases);
                assert!(!wrong.0.iter().any(|it| it.message.contains('\n') || it.help.contains('\n')), "{shown}");
                figures.diagnostics += wrong.0.len();
            }
        }
        let took = began.elapsed();
        assert!(took < PATIENCE, "case {} of seed {seed} took {took:?}", figures.cases);
        figures.slowest = figures.slowest.max(took);
        figures.cases += 1;
    }
    figures
}

#[test]
fn what_is_harmed_at_random_is_read_or_told() {
    let figures = campaign(7, |cases| cases < 300);
    assert!(figures.good > 0 && figures.diagnostics > 300, "{figures:?}");
}

/// The most memory that this process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}

#[test]
#[ignore = "takes as long as DIDIT_SYNC_TEST_FUZZ says, by default a minute"]
fn what_is_harmed_at_random_for_long_is_read_or_told() {
    let span = std::env::var("DIDIT_SYNC_TEST_FUZZ").unwrap_or_else(|_| "1m".to_owned());
    let span: jiff::SignedDuration = span.parse().unwrap();
    let until = Instant::now() + span.unsigned_abs();
    let seed = rand::random();
    let figures = campaign(seed, |_| Instant::now() < until);
    let peak = peak();
    let _ = writeln!(std::io::stderr(), "seed {seed}: {figures:?}, {peak} KiB at most");
    assert!(peak < MEMORY, "{peak} KiB");
}
