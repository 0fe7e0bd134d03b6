//! Whole processes at size: a plan of entries that are all imported, and of as many that are all new, each beside a
//! process that only parses the same source. Wall time, as a ratio, and peak memory.
//!
//! What all are imported of is planned twice: with a ledger in which no apply has found that there is nothing to do, so
//! that every entry is read, and with one in which one has.
//!
//! `DIDIT_SYNC_BENCH_ENTRIES=1000000 cargo bench --bench million`, else 100,000 entries; in a temporary folder, which is
//! removed. `DIDIT_SYNC_BENCH_ROUNDS` says how often (3): the middle of them is told.

#![expect(clippy::print_stdout, reason = "its table is for people")]

#[path = "support/process.rs"]
mod process;
mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use serde::Deserialize;

/// What a bare parser reads a row into.
#[derive(Deserialize)]
struct Row {
    share_token: String,
    vendor_data: String,
}

/// The name under which this program calls itself to parse only.
const BARE: &str = "parse-only";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == BARE) {
        return parse_only(&args[2]);
    }
    let entries = support::entries(100_000);
    let rounds = std::env::var("DIDIT_SYNC_BENCH_ROUNDS").map_or(3, |asked| asked.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    support::write_manifest(folder.path(), entries).expect("the manifest");
    support::write_ledger(&folder.path().join("full.db"), entries);
    let (manifest, full, none) = (in_folder("m.yaml"), in_folder("full.db"), in_folder("none.db"));
    let found = in_folder("found.db");
    std::fs::copy(&full, &found).expect("a copy of the ledger");
    let (rows, saved) = (in_folder("rows.ndjson"), in_folder("plan.json"));
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
    println!(
        "{entries} entries: source {} MB, ledger {} MB",
        size("rows.ndjson") / 1_000_000,
        size("full.db") / 1_000_000
    );
    let this = std::env::current_exe().expect("this program").display().to_string();
    let program = env!("CARGO_BIN_EXE_didit-sync");
    let apply = || process::run(folder.path(), &[program, "apply", &manifest, "--ledger", &found, "--yes"]);
    let applies = [("apply, all imported, once", apply()), ("apply, all imported, again", apply())];
    let cases: [(&str, Vec<&str>); 7] = [
        ("bare parse of the source", vec![&this, BARE, &rows]),
        ("validate", vec![program, "validate", &manifest]),
        ("plan, found up to date", vec![program, "plan", &manifest, "--ledger", &found]),
        ("plan, all imported", vec![program, "plan", &manifest, "--ledger", &full]),
        ("plan, all new", vec![program, "plan", &manifest, "--ledger", &none]),
        ("plan --json, all imported", vec![program, "plan", &manifest, "--ledger", &full, "--json"]),
        ("plan --out, all new", vec![program, "plan", &manifest, "--ledger", &none, "--out", &saved]),
    ];
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
    let mut peaks = vec![0; cases.len()];
    for _ in 0..rounds {
        for (at, (_, command)) in cases.iter().enumerate() {
            let (time, peak) = process::run(folder.path(), command);
            took[at].push(time);
            peaks[at] = peak.max(peaks[at]);
        }
    }
    let applies = applies.iter().map(|(name, (time, peak))| (*name, time.as_secs_f64(), *peak));
    let middles: Vec<f64> = took.iter_mut().map(|all| middle(all).as_secs_f64()).collect();
    let each = cases.iter().zip(&middles).zip(peaks).map(|(((name, _), seconds), peak)| (*name, *seconds, peak));
    for (name, seconds, peak) in each.chain(applies) {
        println!(
            "{name:<28} {seconds:>7.2} s {:>6.2} times {:>7.1} MB at most",
            seconds / middles[0],
            peak as f64 / 1024.0
        );
    }
}

fn parse_only(rows: &str) {
    let mut bytes = 0;
    let (mut file, mut line) =
        (BufReader::with_capacity(1 << 20, File::open(rows).expect("the source")), String::new());
    while file.read_line(&mut line).expect("a line") > 0 {
        let row: Row = serde_json::from_str(&line).expect("a row");
        bytes += row.share_token.len() + row.vendor_data.len();
        line.clear();
    }
    std::hint::black_box(bytes);
}

fn middle(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
