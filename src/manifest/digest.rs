//! The digest of a manifest: over what it means, not over its bytes.
//!
//! SHA-256 over canonical JSON of the settings and entries with defaults filled in, the entries sorted by identity.
//! Tokens, places and paths have no part in it, so a re-minted token, a moved row or a comment leaves it alone.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::draft::Raw;
use super::finish::Item;
use super::model::{Limits, MaxFailures, SecretRef};

/// The digest as 64 hex digits.
pub(super) fn digest(name: &str, raw: &Raw, items: &[Item]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(head(name, raw).to_string());
    let mut entries: Vec<String> = items.iter().map(entry).collect();
    entries.sort_unstable();
    for entry in entries {
        hasher.update("\n");
        hasher.update(entry);
    }
    hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn head(name: &str, raw: &Raw) -> Value {
    let mut head = json!({
        "version": 1,
        "name": name,
        "application": {
            "id": raw.application.id,
            "base_url": raw.application.base_url.as_str().trim_end_matches('/'),
            "api_key": key(&raw.application.api_key),
        },
        "limits": limits(&raw.limits),
    });
    let partners = raw.partners.iter().map(|partner| {
        let api_key = partner.api_key.good().map(key);
        json!({"name": partner.name, "api_key": api_key, "writes_per_minute": partner.writes_per_minute})
    });
    // What the ledger keeps for entries that leave the manifest.
    if let Some(expect) = raw.defaults.expect.good().filter(|expect| !expect.is_empty()) {
        head["expect"] = expect.to_json();
    }
    if !raw.partners.is_empty() {
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
fn entry(item: &Item) -> String {
    let entry = &item.entry;
    // A label that is only the place of the entry says nothing of it.
    let default = entry.source_session_id.map(|session| session.to_string());
    let label = if item.is_labelled() { entry.id.as_ref().map(ToString::to_string) } else { default };
    let mut line = json!({
        "source_session_id": entry.source_session_id,
        "id": label,
        "workflow_id": entry.workflow(),
        "trust_review": entry.trust_review(),
        "vendor_data": entry.vendor_data(),
        "bad": entry.workflow().is_none(),
    });
    if let Some(mint) = entry.mint() {
        line["mint"] = json!({"partner": mint.partner, "ttl_ms": mint.ttl.as_millis() as u64});
    }
    if !entry.expect().is_empty() {
        line["expect"] = entry.expect().to_json();
    }
    line.to_string()
}
