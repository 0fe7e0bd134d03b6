//! Loading the rows of sources, each format beside its baseline in the same run: bare parsing of the same bytes into a
//! struct of the same fields, on one core.
//!
//! `cargo bench --bench manifest`; `DIDIT_SYNC_BENCH_ENTRIES` says how many rows, by default 100,000.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use didit_sync::manifest::{LoadOptions, load};
use serde::Deserialize;
use uuid::Uuid;

/// What a bare parser would read a row into.
#[derive(Deserialize)]
struct Row {
    share_token: String,
    vendor_data: String,
}

fn entries() -> u128 {
    std::env::var("DIDIT_SYNC_BENCH_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Tokens as long as those of the API.
fn tokens() -> impl Iterator<Item = (String, String)> {
    let application = Uuid::from_u128(7);
    (0..entries()).map(move |n| {
        let session = Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let claims = format!(
            r#"{{"session_id":"{session}","session_kind":"user","from_application_id":"{application}","for_application_id":"{application}","iat":1795000000,"exp":4795000000}}"#
        );
        let signature = "c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE";
        let token = format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{}.{signature}", URL_SAFE_NO_PAD.encode(claims));
        (token, format!("acme-{n}"))
    })
}

fn ndjson() -> String {
    tokens().fold(String::new(), |mut rows, (token, vendor)| {
        let _ = writeln!(rows, r#"{{"share_token":"{token}","vendor_data":"{vendor}"}}"#);
        rows
    })
}

fn csv() -> String {
    tokens().fold("share_token,vendor_data\n".to_owned(), |mut rows, (token, vendor)| {
        let _ = writeln!(rows, "{token},{vendor}");
        rows
    })
}

fn bare_lines(text: &str) {
    for line in text.lines() {
        let row: Row = serde_json::from_str(line).expect("a row");
        black_box((row.share_token.len(), row.vendor_data.len()));
    }
}

fn bare(name: &str, path: &Path) {
    let file = std::fs::File::open(path).expect("rows");
    let mut text = String::new();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_string(&mut text),
        Some("zst") => zstd::Decoder::new(file).expect("zstd").read_to_string(&mut text),
        _ => std::io::BufReader::new(file).read_to_string(&mut text),
    }
    .expect("rows");
    if name.contains("csv") {
        for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
            let row: Row = row.expect("a row");
            black_box((row.share_token.len(), row.vendor_data.len()));
        }
    } else if name.contains("ndjson") {
        bare_lines(&text);
    } else {
        let rows: Vec<Row> = serde_json::from_str(&text).expect("rows");
        black_box(rows.len());
    }
}

fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let lines = ndjson();
    std::fs::write(at("rows.ndjson"), &lines).expect("rows");
    std::fs::write(at("rows.csv"), csv()).expect("rows");
    std::fs::write(at("rows.json"), format!("[{}]", lines.trim_end().replace('\n', ",\n"))).expect("rows");
    let file = std::fs::File::create(at("rows.ndjson.gz")).expect("rows");
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    packed.write_all(lines.as_bytes()).and_then(|()| packed.finish()).expect("rows");
    std::fs::write(at("rows.ndjson.zst"), zstd::encode_all(lines.as_bytes(), 3).expect("zstd")).expect("rows");
    let bytes = lines.len() as u64;
    drop(lines);
    for name in ["rows.ndjson", "rows.csv", "rows.json", "rows.ndjson.gz", "rows.ndjson.zst"] {
        let manifest = at(&format!("{name}.yaml"));
        let text = format!(
            "version: 1\nname: bench\ndefaults: {{workflow_id: {}, trust_review: false}}\nsources: [{{file: {name}}}]\n",
            Uuid::from_u128(9)
        );
        std::fs::write(&manifest, text).expect("manifest");
        let manifest = [manifest.to_string_lossy().into_owned()];
        let mut group = criterion.benchmark_group(format!("load {} rows of {name}", entries()));
        group.throughput(Throughput::Bytes(bytes)).sample_size(10);
        group.bench_function("baseline: bare parsing on one core", |b| b.iter(|| bare(name, &at(name))));
        group.bench_function("load", |b| {
            b.iter(|| black_box(load(&manifest, &LoadOptions::default()).expect("the manifest is valid")));
        });
        group.finish();
    }
}

criterion_group!(manifest_benches, benches);
criterion_main!(manifest_benches);
