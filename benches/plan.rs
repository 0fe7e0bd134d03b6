//! Loading and planning, each beside its baseline in the same run: bare parsing of the same file, and one pass over
//! a hash map of the same ids.
//!
//! `cargo bench --bench plan`

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use didit_sync::manifest::{Label, LoadOptions, Manifests, load};
use didit_sync::plan::{Snapshot, plan};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

const ENTRIES: u128 = 10_000;

/// What a bare parser would read a row into.
#[derive(Deserialize)]
struct Row {
    share_token: String,
    vendor_data: String,
}

fn rows() -> String {
    let mut rows = String::new();
    for n in 0..ENTRIES {
        let claims = format!(
            r#"{{"session_id":"{}","session_kind":"user","iat":1795000000,"exp":4795000000}}"#,
            Uuid::from_u128(n)
        );
        let token = format!("eyJhbGciOiJIUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims));
        let _ = writeln!(rows, r#"{{"share_token":"{token}","vendor_data":"acme-{n}"}}"#);
    }
    rows
}

const MANIFEST: &str = "version: 1
name: bench
defaults: {workflow_id: 9f9b1234-aaaa-4bbb-8ccc-1234567890ab, trust_review: false}
sources: [{file: rows.ndjson}]
";

fn loaded(path: &str) -> Manifests {
    load(&[path.to_owned()], &LoadOptions::default()).expect("the manifest is valid")
}

fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows();
    std::fs::write(folder.path().join("rows.ndjson"), &rows).expect("rows");
    let path = folder.path().join("m.yaml");
    std::fs::write(&path, MANIFEST).expect("manifest");
    let path = path.to_string_lossy().into_owned();

    let mut group = criterion.benchmark_group("load 10,000 NDJSON entries");
    group.throughput(Throughput::Bytes(rows.len() as u64)).sample_size(10);
    group.bench_function("baseline: serde_json into a struct", |b| {
        b.iter(|| {
            for line in rows.lines() {
                let row: Row = serde_json::from_str(line).expect("a row");
                black_box((row.share_token.len(), row.vendor_data.len()));
            }
        });
    });
    group.bench_function("load", |b| b.iter(|| black_box(loaded(&path))));
    group.finish();

    let manifests = Arc::new(loaded(&path));
    let mut group = criterion.benchmark_group("plan 10,000 entries");
    group.throughput(Throughput::Elements(ENTRIES as u64)).sample_size(20);
    group.bench_function("baseline: a hash map of the same ids", |b| {
        b.iter(|| {
            let ids: HashMap<Label<'_>, usize> =
                manifests.manifests[0].entries.iter().enumerate().map(|(n, entry)| (entry.label(), n)).collect();
            black_box(ids.len())
        });
    });
    let now = Timestamp::now();
    group.bench_function("plan", |b| {
        b.iter(|| {
            let Ok(plan) = plan(&manifests, &Snapshot::default(), now, false);
            black_box(plan);
        });
    });
    group.finish();
}

criterion_group!(plan_benches, benches);
criterion_main!(plan_benches);
