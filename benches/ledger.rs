//! The ledger at size: bytes an entry, how long a command takes to begin beside the same on a ledger of a thousand, and
//! how long commands take that read all of it, each beside a process that only reads the same columns with SQLite.
//!
//! `DIDIT_SYNC_BENCH_ENTRIES=1000000 cargo bench --bench ledger`, else 100,000 entries; in a temporary folder, which is
//! removed. `DIDIT_SYNC_BENCH_ROUNDS` says how often (3): the middle of them is told.

#![expect(clippy::print_stdout, reason = "its tables are for people")]

#[path = "support/process.rs"]
mod process;
mod support;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// The name under which this program calls itself to read only.
const BARE: &str = "read-only";

/// What is read for each command, column by column.
const PASSES: [(&str, &str); 4] = [
    ("states", "SELECT state, count(*) FROM entries GROUP BY state"),
    (
        "entries and attempts",
        "SELECT e.*, a.run, a.number, a.sent_at, a.token, b.answered_at, b.outcome, b.http_status, b.class, b.detail, b.session_id
         FROM entries e LEFT JOIN attempts a ON a.entry = e.id LEFT JOIN answers b ON b.attempt = a.id ORDER BY e.id",
    ),
    (
        "entries",
        "SELECT id, manifest, label, source_session_id, session_kind, workflow_id, trust_review, vendor_data, session_id, status
         FROM entries ORDER BY id",
    ),
    ("outcomes", "SELECT * FROM run_outcomes WHERE run = 1 ORDER BY label, manifest"),
];

/// Entries of the small ledger.
const FEW: u64 = 1_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == BARE) {
        return read_only(&args[2], &args[3]);
    }
    let entries = support::entries(100_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    let (small, large) = (in_folder("small.db"), in_folder("large.db"));
    support::write_ledger(Path::new(&small), FEW);
    support::write_ledger(Path::new(&large), entries);
    for path in [&small, &large] {
        // The first run is not to wait for what was written here.
        std::fs::File::open(path).and_then(|file| file.sync_all()).expect("the ledger is on the disk");
    }
    support::write_manifest(folder.path(), 1).expect("the manifest");
    // Of a name of its own: all other entries of its name were told as its orphans.
    let manifest = folder.path().join("m.yaml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest").replace("name: bench", "name: one");
    std::fs::write(manifest, text).expect("the manifest");
    sizes(&large, entries);
    begin(folder.path(), &small, &large, entries);
    read_all(folder.path(), &large);
}

/// Where the bytes of an entry are.
fn sizes(ledger: &str, entries: u64) {
    let bytes = std::fs::metadata(ledger).map_or(0, |file| file.len());
    println!("{entries} entries: {} MB, {} bytes each, of which", bytes / 1_000_000, bytes / entries);
    let connection = Connection::open(ledger).expect("the ledger");
    let sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name HAVING sum(pgsize) >= ?1 ORDER BY 2 DESC";
    let Ok(mut query) = connection.prepare(sql) else { return };
    let parts = query.query_map([entries], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))).expect("sizes");
    for (name, bytes) in parts.flatten() {
        println!("  {name:<28} {:>4}", bytes / entries);
    }
}

/// Commands that are about one entry, on a small ledger and on a large one.
fn begin(folder: &Path, small: &str, large: &str, entries: u64) {
    let program = env!("CARGO_BIN_EXE_didit-sync");
    let cases: [(&str, Vec<&str>); 5] = [
        ("status of one entry", vec!["status", "acme-customer-0000000"]),
        ("status", vec!["status"]),
        ("report --list", vec!["report", "--list"]),
        ("plan of one entry, imported", vec!["plan", "m.yaml"]),
        ("apply of one entry, imported", vec!["apply", "m.yaml", "--yes"]),
    ];
    println!("{:<32} {:>12} {:>12}", "to begin, ms, of entries", FEW, entries);
    for (name, command) in cases {
        let of = |ledger: &str| {
            let command: Vec<&str> = [program].into_iter().chain(command.iter().copied()).collect();
            let command: Vec<&str> = command.into_iter().chain(["--ledger", ledger]).collect();
            measured(folder, &command).0 * 1000.0
        };
        println!("{name:<32} {:>12.1} {:>12.1}", of(small), of(large));
    }
}

/// A pass, and the commands that it is the baseline of.
type Group = (usize, Vec<(&'static str, Vec<&'static str>)>);

/// Commands that read the whole ledger, each after its baseline.
fn read_all(folder: &Path, ledger: &str) {
    let program = env!("CARGO_BIN_EXE_didit-sync");
    let this = std::env::current_exe().expect("this program").display().to_string();
    let groups: [Group; 4] = [
        (0, vec![("status", vec!["status"])]),
        (
            1,
            vec![
                ("status --json", vec!["status", "--json"]),
                ("status --csv", vec!["status", "--csv"]),
                ("status --json --state imported", vec!["status", "--json", "--state", "imported"]),
            ],
        ),
        (2, vec![("status -v", vec!["status", "-v"]), ("audit --offline", vec!["audit", "--offline", "--json"])]),
        (
            3,
            vec![
                ("report", vec!["report", "1"]),
                ("report --format json", vec!["report", "1", "--format", "json"]),
                ("report --format csv", vec!["report", "1", "--format", "csv"]),
                ("report --format prometheus", vec!["report", "1", "--format", "prometheus"]),
            ],
        ),
    ];
    for (pass, commands) in groups {
        let number = pass.to_string();
        let (base, peak) = measured(folder, &[&this, BARE, &number, ledger]);
        println!("bare pass over {:<20} {base:>8.2} s {:>6.2} times {peak:>8.1} MB at most", PASSES[pass].0, 1.0);
        for (name, command) in commands {
            let command: Vec<&str> = [program].into_iter().chain(command).chain(["--ledger", ledger]).collect();
            let (seconds, peak) = measured(folder, &command);
            println!("  {name:<33} {seconds:>8.2} s {:>6.2} times {peak:>8.1} MB at most", seconds / base);
        }
    }
}

/// Reads every value of a pass.
fn read_only(pass: &str, ledger: &str) {
    let connection = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the ledger");
    let sql = PASSES[pass.parse::<usize>().expect("a number")].1;
    let mut query = connection.prepare(sql).expect("a pass");
    let columns = query.column_count();
    let mut rows = query.query([]).expect("rows");
    let mut bytes = 0;
    while let Some(row) = rows.next().expect("a row") {
        for column in 0..columns {
            bytes += row.get_ref(column).expect("a value").as_bytes_or_null().ok().flatten().map_or(8, <[u8]>::len);
        }
    }
    std::hint::black_box(bytes);
}

/// How long a process takes, the middle of some, in seconds; and its peak memory in MB.
fn measured(folder: &Path, command: &[&str]) -> (f64, f64) {
    let rounds = std::env::var("DIDIT_SYNC_BENCH_ROUNDS").map_or(3, |asked| asked.parse().expect("a number"));
    let mut took = Vec::new();
    let mut peak = 0;
    for _ in 0..rounds {
        let (time, most) = process::run(folder, command);
        took.push(time);
        peak = most.max(peak);
    }
    took.sort_unstable();
    (took[took.len() / 2].as_secs_f64(), peak as f64 / 1024.0)
}
