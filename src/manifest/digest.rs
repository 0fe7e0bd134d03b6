//! The digest of a manifest: over what it means, not over its bytes.
//!
//! SHA-256 over canonical JSON of the settings and entries with defaults filled in, the entries sorted by identity.
//! Tokens, places and paths have no part in it, so a re-minted token, a moved row or a comment leaves it alone.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::entry::{Entry, Label};
use super::model::{Limits, Manifest, MaxFailures, SecretRef, WorkflowChoice};
use crate::verify::Expectations;

/// How many lines are held at once.
const LINES_AT_ONCE: usize = 8192;

/// The digest of a manifest, made when it is first asked for: of a million entries it takes its time.
#[derive(Clone, Debug, Default)]
pub struct Digest(OnceLock<String>);

impl Digest {
    /// One that is known.
    #[must_use]
    pub fn known(hex: String) -> Self {
        Self(hex.into())
    }

    /// The digest of this manifest.
    pub(super) fn of(&self, manifest: &Manifest) -> &str {
        self.0.get_or_init(|| digest(manifest))
    }
}

/// The digest as 64 hex digits.
fn digest(manifest: &Manifest) -> String {
    let entries = &manifest.entries;
    let mut hasher = Sha256::new();
    hasher.update(head(manifest).to_string());
    // Lines begin with the source session, or with `null`, which sorts behind them all.
    let session = |at: &u32| entries[*at as usize].source_session_id;
    let (mut known, unknown): (Vec<u32>, Vec<u32>) = (0..entries.len() as u32).partition(|at| session(at).is_some());
    known.par_sort_by_key(session);
    let lines = |order: &[u32]| order.par_iter().map(|at| line(&entries[*at as usize])).collect::<Vec<String>>();
    let mut add = |line: &String| {
        hasher.update("\n");
        hasher.update(line);
    };
    for part in known.chunks(LINES_AT_ONCE) {
        lines(part).iter().for_each(&mut add);
    }
    let mut last = lines(&unknown);
    last.par_sort_unstable();
    last.iter().for_each(&mut add);
    hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn head(manifest: &Manifest) -> Value {
    let application = &manifest.application;
    let mut head = json!({
        "version": 1,
        "name": manifest.name,
        "application": {
            "id": application.id,
            "base_url": application.base_url.as_str().trim_end_matches('/'),
            "api_key": key(&application.api_key),
        },
        "limits": limits(&manifest.limits),
    });
    let partners = manifest.partners.iter().map(|partner| {
        let api_key = key(&partner.api_key);
        json!({"name": partner.name, "api_key": api_key, "writes_per_minute": partner.writes_per_minute})
    });
    // What the ledger keeps for entries that leave the manifest.
    if !manifest.expect.is_empty() {
        head["expect"] = manifest.expect.to_json();
    }
    if !manifest.partners.is_empty() {
        head["partners"] = partners.collect();
    }
    head
}

fn key(reference: &SecretRef) -> Value {
    match reference {
        SecretRef::Env(name) => json!({ "env": name }),
        SecretRef::File { .. } => json!("file"),
        SecretRef::Exec { .. } => json!("exec"),
    }
}

fn limits(limits: &Limits) -> Value {
    json!({
        "writes_per_minute": limits.writes_per_minute,
        "reads_per_minute": limits.reads_per_minute,
        "concurrency": limits.concurrency,
        "timeout_ms": limits.timeout.as_millis() as u64,
        "max_failures": match limits.max_failures {
            MaxFailures::Count(count) => json!(count),
            MaxFailures::Percent(share) => json!(format!("{share}%")),
        },
        "max_trusted": limits.max_trusted,
    })
}

/// An entry as one line of JSON that begins with its identity, so that lines sort by it.
fn line(entry: &Entry) -> String {
    let line = Line {
        source_session_id: entry.source_session_id,
        // A label that is only the place of the entry, or that of a bad row, says nothing of it.
        id: entry
            .id
            .as_ref()
            .filter(|_| entry.workflow().is_some())
            .map(|id| Label::Text(id))
            .or(entry.source_session_id.map(Label::Session)),
        workflow_id: entry.workflow(),
        trust_review: entry.trust_review(),
        vendor_data: entry.vendor_data(),
        bad: entry.workflow().is_none(),
        mint: entry.mint().map(|mint| LineMint { partner: &mint.partner, ttl_ms: mint.ttl.as_millis() as u64 }),
        expect: Some(entry.expect()).filter(|expect| !expect.is_empty()).map(Expectations::to_json),
    };
    serde_json::to_string(&line).unwrap_or_default()
}

#[derive(Serialize)]
struct Line<'a> {
    source_session_id: Option<Uuid>,
    id: Option<Label<'a>>,
    workflow_id: Option<WorkflowChoice>,
    trust_review: Option<bool>,
    vendor_data: Option<Cow<'a, str>>,
    bad: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mint: Option<LineMint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Value>,
}

#[derive(Serialize)]
struct LineMint<'a> {
    partner: &'a str,
    ttl_ms: u64,
}
