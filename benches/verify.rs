//! What verification costs in CPU, beside bare parsing of the same bytes: `cargo bench --bench verify [-- --full]`.
//!
//! Recorded decisions of 3 to 4 KB are read, judged by every rule and measured against a baseline, as an audit does once
//! they are fetched, without rules of one's own and with ten. *parse* is `serde_json` into a `Value`, on as many cores.
//! Ratios are verification over parsing, and the time of one core over that of all. What the ledger knows of a session is
//! in memory before.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use didit_sync::didit::{Decision, Environment};
use didit_sync::token::{FingerprintKey, SessionKind};
use didit_sync::verify::{
    Baseline, Case, Compiler, Digest, Evidence, Expectation, Expectations, Fetched, Measure, Sent, Severity, Subject,
    judge_all,
};
use jiff::civil::date;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// Times each is measured; the best one counts.
const ROUNDS: usize = 5;

/// Decisions that one core takes at a time.
const BATCH: usize = 32;

fn main() {
    let count = if std::env::args().any(|arg| arg == "--full") { 100_000 } else { 20_000 };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let measure = Measure { today: date(2026, 11, 24), key: FingerprintKey::from_bytes([7; 32]) };
    let recorded: Vec<Recorded> = (0..count).map(|n| Recorded::new(n, &measure)).collect();
    let bytes: usize = recorded.iter().map(|it| it.body.len()).sum();
    println!("{count} decisions of {} bytes on average, best of {ROUNDS}, {cores} cores", bytes / count);
    println!("own rules  cores  parse s  verify s  per decision us  verify/parse");
    for rules in [Expectations::default(), ten_rules()] {
        let own = rules.to_json().as_array().map_or(0, Vec::len);
        let mut took = Vec::new();
        for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let parse = best(|| pool.install(|| parsed(&recorded)));
            let known = || recorded.iter().map(|it| it.known(&rules)).collect();
            let verify = best_of(known, |known| pool.install(|| verified(&recorded, known, &measure)));
            let each = verify.as_secs_f64() * 1e6 / count as f64;
            let (parse_s, verify_s) = (parse.as_secs_f64(), verify.as_secs_f64());
            println!(
                "{own:>9}  {threads:>5}  {parse_s:>7.3}  {verify_s:>8.3}  {each:>15.2}  {:>12.2}",
                verify_s / parse_s
            );
            took.push((parse, verify));
        }
        if let [(parse_one, verify_one), (parse_all, verify_all)] = took[..] {
            let times = |one: Duration, all: Duration| one.as_secs_f64() / all.as_secs_f64();
            let (parse, verify) = (times(parse_one, parse_all), times(verify_one, verify_all));
            println!("{own:>9}  1 core over {cores}: parse {parse:.2}, verify {verify:.2}");
        }
    }
}

/// Rules as people write them.
fn ten_rules() -> Expectations {
    const RULES: [&str; 10] = [
        "session.status == 'Approved'",
        "session.liveness_checks.all(c, c.score >= 80.0)",
        "session.face_matches.all(c, c.score >= 85)",
        "session.id_verifications.exists(d, d.status == 'Approved')",
        "session.id_verifications.all(d, d.issuing_state in ['ESP', 'PRT', 'FRA'])",
        "session.aml_screenings.all(a, a.total_hits == 0)",
        "session.ip_analyses.all(i, !i.is_vpn_or_tor && !i.is_data_center)",
        "session.features.all(f, f.status == 'Approved')",
        "session.vendor_data.startsWith('acme-')",
        "session.environment == 'live'",
    ];
    let mut compiler = Compiler::default();
    let rule = |(n, text): (usize, &&str)| {
        Expectation::new(&format!("rule-{n}"), text, Severity::Error, &mut compiler).expect("a rule")
    };
    Expectations::new(RULES.iter().enumerate().map(rule).collect())
}

fn best(work: impl Fn() -> usize) -> Duration {
    best_of(|| (), |()| work())
}

/// Each round with inputs of its own, which take no part in its time.
fn best_of<I>(inputs: impl Fn() -> I, work: impl Fn(I) -> usize) -> Duration {
    let round = || {
        let inputs = inputs();
        let begun = Instant::now();
        black_box(work(inputs));
        begun.elapsed()
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

/// The baseline's work: each body into a value.
fn parsed(recorded: &[Recorded]) -> usize {
    let parse = |it: &Recorded| black_box(serde_json::from_slice::<Value>(&it.body)).is_ok();
    recorded.par_iter().filter(|it| parse(it)).count()
}

/// Reads each body and judges it, a batch at a time; the number of findings.
fn verified(recorded: &[Recorded], mut known: Vec<Case>, measure: &Measure) -> usize {
    let batches = recorded.par_chunks(BATCH).zip(known.par_chunks_mut(BATCH));
    let judge = |(recorded, cases): (&[Recorded], &mut [Case])| {
        cases.iter_mut().zip(recorded).for_each(|(case, it)| case.fetched = it.fetched());
        let findings = judge_all(cases, measure).findings.len();
        for case in cases {
            case.fetched = Fetched::NotChecked;
        }
        findings
    };
    batches.map(judge).sum()
}

/// A decision as it came, and what is known of its session.
struct Recorded {
    body: Vec<u8>,
    subject: Subject,
    baseline: Baseline,
}

impl Recorded {
    fn new(n: usize, measure: &Measure) -> Self {
        let id = |kind: u128| Uuid::from_u128(kind << 64 | n as u128);
        let body = body(n, id(1), id(2)).into_bytes();
        let decision = Decision::read(&body).expect("a decision");
        let seen = Evidence::of(&decision, &measure.key);
        let sent =
            Sent { workflow_id: Some(WORKFLOW), trust_review: Some(true), vendor_data: Some(format!("acme-{n}")) };
        let subject = Subject {
            manifest: "bench".to_owned(),
            id: n.to_string(),
            session_id: id(1),
            source_session_id: Some(id(2)),
            kind: Some(SessionKind::User),
            sent,
            import_status: Some("Approved".to_owned()),
            key_environment: Some(Environment::Live),
            expect: Expectations::default(),
        };
        // One in ten has drifted.
        let mut baseline = Baseline::new(id(1), seen);
        if let Some(seen) = baseline.seen.as_mut().filter(|_| n.is_multiple_of(10)) {
            seen.blocks.insert("liveness_checks".into(), Digest::NOTHING);
        }
        Self { body, subject, baseline }
    }

    /// What the ledger says of it.
    fn known(&self, rules: &Expectations) -> Case {
        let subject = Subject { expect: rules.clone(), ..self.subject.clone() };
        let kept = serde_json::to_string(&self.baseline).expect("a baseline");
        Case { subject, fetched: Fetched::NotChecked, baseline: Some(kept.into()) }
    }

    fn fetched(&self) -> Fetched {
        Fetched::Decision(Box::new(Decision::read(&self.body).expect("a decision")))
    }
}

const WORKFLOW: Uuid = Uuid::from_u128(9);

/// The plural shape, as the sandbox has it.
const DECISION: &str = r#"{"session_id":"SESSION","session_kind":"user","shared_from_session":"SOURCE","session_number":NUMBER,
"session_url":null,"status":"Approved","workflow_id":"WORKFLOW","features":[
{"feature":"ID_VERIFICATION","status":"Approved","node_id":"feature_ocr_1"},
{"feature":"LIVENESS","status":"Approved","node_id":"feature_liveness_1"},
{"feature":"FACE_MATCH","status":"Approved","node_id":"feature_face_match_1"},
{"feature":"AML","status":"Approved","node_id":"feature_aml_1"}],
"vendor_data":"acme-NUMBER","metadata":null,"expected_details":null,"contact_details":null,"callback":null,
"nfc_skip_reason":null,"id_verifications":[{"node_id":"feature_ocr_1","status":"Approved",
"document_type":"Identity Card","document_number":"CAA-NUMBER","personal_number":"NUMBER-R",
"portrait_image":"LINK/portrait.jpgSIGNED","front_image":"LINK/front.jpgSIGNED","front_video":"LINK/front.mp4SIGNED",
"back_image":"LINK/back.jpgSIGNED","back_video":"LINK/back.mp4SIGNED","date_of_birth":"1980-01-01","age":46,
"expiration_date":"2031-06-02","date_of_issue":"2021-06-02","issuing_state":"ESP","issuing_state_name":"Spain",
"first_name":"Carmen","last_name":"Espa\u00f1ola","full_name":"Carmen Espa\u00f1ola","gender":"F",
"address":"Calle Mayor NUMBER, Madrid","formatted_address":"Calle Mayor NUMBER, Madrid, Spain",
"place_of_birth":"Madrid","marital_status":"Single","nationality":"ESP","extra_fields":{},"parsed_address":null,
"extra_files":[],"warnings":[]}],"nfc_verifications":null,"liveness_checks":[{"node_id":"feature_liveness_1",
"status":"Approved","method":"ACTIVE_3D","score":89.92,"reference_image":"LINK/reference.jpgSIGNED",
"video_url":"LINK/video.mp4SIGNED","age_estimation":24.3,"warnings":[]}],"face_matches":[{
"node_id":"feature_face_match_1","status":"Approved","score":91.5,"source_image":"LINK/source.jpgSIGNED",
"target_image":"LINK/target.jpgSIGNED","warnings":[]}],"phone_verifications":null,"email_verifications":null,
"poa_verifications":null,"document_ai_documents":null,"questionnaire_responses":null,"aml_screenings":[{
"node_id":"feature_aml_1","status":"Approved","total_hits":0,"score":1.25,"hits":[],
"screened_data":{"full_name":"Carmen Espa\u00f1ola"},"warnings":[]}],"ip_analyses":[{
"node_id":"feature_ip_analysis_1","status":"Approved","ip_address":"192.0.2.7","ip_country":"Spain",
"ip_country_code":"ESP","ip_city":"Madrid","is_vpn_or_tor":false,"is_data_center":false,"warnings":[]}],
"database_validations":null,"reviews":[],"created_at":"2026-05-17T08:42:11Z","expires_at":"2026-05-24T08:42:11Z",
"environment":"live"}"#;

fn body(n: usize, session: Uuid, source: Uuid) -> String {
    let signed = format!("?X-Amz-Expires=3600&X-Amz-Signature={:064x}", n * 7919);
    DECISION
        .replace("SESSION", &session.to_string())
        .replace("SOURCE", &source.to_string())
        .replace("WORKFLOW", &WORKFLOW.to_string())
        .replace("LINK", &format!("https://media.invalid/{session}"))
        .replace("SIGNED", &signed)
        .replace("NUMBER", &n.to_string())
}
