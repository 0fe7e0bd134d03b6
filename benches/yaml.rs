//! Large YAML: loading a manifest whose entries stand in it, beside the parser alone over the same text in the same
//! run, and the most memory that `validate` takes beside the file's size.
//!
//! `cargo bench --bench yaml`, with 10,000 entries; `DIDIT_SYNC_BENCH_ENTRIES=100000` says otherwise.

#![expect(clippy::unwrap_used, reason = "a measurement that can't be made ends")]
#![expect(clippy::print_stdout, reason = "the ratios are what this is for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use didit_sync::manifest::{LoadOptions, load};
use serde_yaml::granit_parser::{Options, Parser};
use uuid::Uuid;

const HEAD: &str = "version: 1
name: bench
defaults: {workflow_id: 9f9b1234-aaaa-4bbb-8ccc-1234567890ab, trust_review: false, vendor_data: \"acme-{source_session_id}\"}
";
const PROGRAM: &str = env!("CARGO_BIN_EXE_didit-sync");
/// How often each is timed for the printed ratio.
const TURNS: usize = 11;

fn token(n: u128) -> String {
    let claims = format!(
        r#"{{"session_id":"{}","session_kind":"user","from_application_id":"{}","for_application_id":"{}","iat":1795000000,"exp":4795000000,"jti":"{:064x}"}}"#,
        Uuid::from_u128(n),
        Uuid::from_u128(1 << 80),
        Uuid::from_u128(1 << 81),
        n * 0x9e37_79b9_7f4a_7c15,
    );
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims), part(&format!("{n:032}")))
}

fn flow(n: u128) -> String {
    format!("  - {{id: entry-{n}, share_token: {}}}\n", token(n))
}

fn block(n: u128) -> String {
    format!("  - id: entry-{n}\n    share_token: {}\n", token(n))
}

fn manifest(entries: u128, entry: impl Fn(u128) -> String) -> String {
    let mut text = format!("{HEAD}imports:\n");
    (0..entries).for_each(|n| {
        let _ = write!(text, "{}", entry(n));
    });
    text
}

/// The fastest way to have all events: borrowed text, no comments.
fn parse(text: &str) -> usize {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut events = 0;
    while let Some(event) = parser.next_event() {
        black_box(event.unwrap());
        events += 1;
    }
    events
}

fn loaded(path: &str) -> usize {
    load(&[path.to_owned()], &LoadOptions::default()).expect("the manifest is valid").manifests[0].entries.len()
}

fn timed(run: impl FnOnce() -> usize) -> Duration {
    let begin = Instant::now();
    black_box(run());
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The most memory that `validate` takes of this manifest, in bytes.
fn peak(path: &str) -> u64 {
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%M", PROGRAM, "validate", path])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap().trim().parse::<u64>().unwrap() << 10
}

fn ratios(name: &str, path: &str, text: &str) {
    let (mut parser, mut load) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        parser.push(timed(|| parse(text)));
        load.push(timed(|| loaded(path)));
    }
    let (parser, load) = (median(parser), median(load));
    println!(
        "{name}: {:.1} MB; parser {parser:.0?}, load {load:.0?}: {:.2} times; memory {:.2} times the file",
        text.len() as f64 / 1e6,
        load.as_secs_f64() / parser.as_secs_f64(),
        peak(path) as f64 / text.len() as f64,
    );
}

fn benches(criterion: &mut Criterion) {
    let entries = std::env::var("DIDIT_SYNC_BENCH_ENTRIES").map_or(10_000, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let forms = [("flow", flow as fn(u128) -> String), ("block", block)];
    for (name, entry) in forms {
        let text = manifest(entries, entry);
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, &text).unwrap();
        let path = Path::new(&path).to_str().unwrap();
        ratios(name, path, &text);
        let mut group = criterion.benchmark_group(format!("load {entries} inline entries, {name}"));
        group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(10);
        group.bench_function("baseline: the parser alone", |b| b.iter(|| black_box(parse(&text))));
        group.bench_function("load", |b| b.iter(|| black_box(loaded(path))));
        group.finish();
    }
}

criterion_group!(yaml_benches, benches);
criterion_main!(yaml_benches);
