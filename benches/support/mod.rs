//! Files of any size to measure with: a manifest, its NDJSON source, and a ledger that has imported every row of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use didit_sync::ledger::{Ledger, Location};
use rusqlite::{Connection, params};
use uuid::Uuid;

/// How many entries are asked for: `DIDIT_SYNC_BENCH_ENTRIES`, else `usual`.
pub fn entries(usual: u64) -> u64 {
    let asked = std::env::var("DIDIT_SYNC_BENCH_ENTRIES").ok();
    asked.map_or(usual, |asked| asked.replace('_', "").parse().expect("DIDIT_SYNC_BENCH_ENTRIES is a number"))
}

/// The shared session of the row with this number: as random as ids are, and the same each time.
pub fn source(n: u64) -> Uuid {
    id(n, 1)
}

/// What it was imported as.
pub fn session(n: u64) -> Uuid {
    id(n, 2)
}

fn id(n: u64, kind: u64) -> Uuid {
    let half = |k: u64| {
        let mut z = (n * 4 + k).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    uuid::Builder::from_random_bytes(((u128::from(half(kind)) << 64) | u128::from(half(kind ^ 3))).to_be_bytes())
        .into_uuid()
}

/// The workflow that all are imported with.
pub const WORKFLOW: &str = "9f9b1234-aaaa-4bbb-8ccc-1234567890ab";
const PARTNER: &str = "6a1e2f6c-1f0b-4c36-9a51-0d4b8f6f2a10";
const RECEIVER: &str = "b2f7c0de-52a1-4f0e-8d3c-77aa00bb11cc";
/// 2026-11-18, and far in the future.
const ISSUED: u64 = 1_795_000_000;
const EXPIRES: u64 = 4_795_000_000;

/// Writes `m.yaml` and the `rows.ndjson` that it reads, about 560 bytes a row.
pub fn write_manifest(folder: &Path, entries: u64) -> io::Result<()> {
    let manifest = format!(
        "version: 1\nname: bench\ndefaults: {{workflow_id: {WORKFLOW}, trust_review: false}}\nsources: [{{file: rows.ndjson}}]\n"
    );
    std::fs::write(folder.join("m.yaml"), manifest)?;
    let mut rows = BufWriter::new(File::create(folder.join("rows.ndjson"))?);
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let mut line = String::new();
    for n in 0..entries {
        let claims = format!(
            r#"{{"session_id":"{}","session_kind":"user","from_application_id":"{PARTNER}","for_application_id":"{RECEIVER}","iat":{ISSUED},"exp":{EXPIRES},"jti":"{}"}}"#,
            source(n),
            session(n)
        );
        let signature = URL_SAFE_NO_PAD.encode(session(n).as_bytes().repeat(2));
        line.clear();
        let _ = writeln!(
            line,
            r#"{{"share_token":"{head}.{}.{signature}","vendor_data":"acme-customer-{n:07}"}}"#,
            URL_SAFE_NO_PAD.encode(claims)
        );
        rows.write_all(line.as_bytes())?;
    }
    rows.flush()
}

/// Makes a ledger that has imported these rows, each with one attempt and its answer, in one run. Its file is made by
/// the program; the rows are put into it in one transaction, which takes a hundredth of the time. As in all ledgers, SQLite
/// has no statistics of it.
pub fn write_ledger(path: &Path, entries: u64) {
    drop(Ledger::open(&Location::file(path.to_owned(), true)).expect("a new ledger"));
    let mut connection = Connection::open(path).expect("the ledger");
    let fast = "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA wal_autocheckpoint = 0;";
    connection.execute_batch(fast).expect("pragmas");
    fill(&mut connection, entries).expect("rows");
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").expect("the log is written back");
}

fn fill(connection: &mut Connection, entries: u64) -> rusqlite::Result<()> {
    let at = ISSUED as i64 * 1000;
    let tx = connection.transaction()?;
    tx.execute(
        "INSERT INTO runs (id, command, started_at, actor, host, pid, version) VALUES (1, 'apply', ?1, 'bench', 'bench', 1, '0')",
        [at],
    )?;
    tx.execute(
        "INSERT INTO run_ends (run, ended_at, seconds, writes, reads, throttled, checked, conditions) VALUES (1, ?1, 1.0, ?2, 0, 0, 0, '[\"ok\"]')",
        params![at + 1000, entries],
    )?;
    tx.execute(
        "INSERT INTO manifests (name, path, digest, base_url, api_key, limits, expect, run)
         VALUES ('bench', 'm.yaml', '', 'https://verification.didit.me', '{\"env\":\"DIDIT_API_KEY\"}', '{}', '{}', 1)",
        [],
    )?;
    {
        let mut entry = tx.prepare(
            "INSERT INTO entries (id, manifest, label, application_id, base_url, key, source_session_id, token,
               from_application_id, session_kind, state, workflow_id, trust_review, vendor_data, attempts, first_sent_at,
               session_id, session_number, session_url, status, imported_at, place, run)
             VALUES (?1, 'bench', ?2, ?3, 'https://verification.didit.me', ?4, ?2, ?5, ?6, 'user', 'imported', ?7, 0, ?8, 1,
               ?9, ?10, ?1, ?11, 'In Review', ?9, ?12, 1)",
        )?;
        let mut attempt = tx.prepare(
            "INSERT INTO attempts (id, entry, run, number, sent_at, left_at, token, token_expires_at, workflow_id, trust_review, vendor_data)
             VALUES (?1, ?1, 1, 1, ?2, ?2, ?3, ?4, ?5, 0, ?6)",
        )?;
        let mut answer = tx.prepare(
            "INSERT INTO answers (attempt, answered_at, outcome, http_status, session_id) VALUES (?1, ?2, 'imported', 201, ?3)",
        )?;
        let mut outcome = tx.prepare(
            "INSERT INTO run_outcomes (run, label, manifest, entry, outcome, source_session_id, session_id, session_number,
               session_url, session_kind, status, workflow_id, vendor_data, attempts, from_application_id, for_application_id)
             VALUES (1, ?1, 'bench', ?2, 'imported', ?1, ?3, ?2, ?4, 'user', 'In Review', ?5, ?6, 1, ?7, ?8)",
        )?;
        for n in 0..entries {
            let (row, source, session) = (n as i64 + 1, source(n).to_string(), session(n).to_string());
            let token = [id(n, 4).as_bytes().as_slice(), id(n, 5).as_bytes()].concat();
            let url = format!("https://business.didit.me/sessions/{session}");
            let (vendor_data, place) = (format!("acme-customer-{n:07}"), format!("rows.ndjson:{row}"));
            entry.execute(params![
                row,
                source,
                RECEIVER,
                [7_u8; 32],
                token,
                PARTNER,
                WORKFLOW,
                vendor_data,
                at,
                session,
                url,
                place
            ])?;
            attempt.execute(params![row, at, token, EXPIRES as i64 * 1000, WORKFLOW, vendor_data])?;
            answer.execute(params![row, at, session])?;
            outcome.execute(params![source, row, session, url, WORKFLOW, vendor_data, PARTNER, RECEIVER])?;
        }
    }
    tx.commit()
}
