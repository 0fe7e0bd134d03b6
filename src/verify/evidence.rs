//! What is kept of a decision to know it again: statuses, features, reviews, and a keyed digest of each block. Pure.
//!
//! A block is a field of the decision, such as `id_verifications`. Its digest is an HMAC under the ledger's key, over
//! the session's id too: nobody without the key learns from it whether two people have the same name, and nobody with
//! the ledger alone reads one. Left out is what `volatile.txt` lists.

use std::collections::BTreeMap;
use std::io;

use compact_str::{CompactString, format_compact};
use jiff::Timestamp;
use litemap::LiteMap;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::canonical::{write_apart, write_block};
use super::digest::Digest;
use super::volatile::VOLATILE;
use super::{Finding, Rule};
use crate::didit::{Decision, Fields, Json, Status};
use crate::token::{FingerprintKey, PreparedKey};

/// Joins a block's name and that of a field kept apart.
pub(super) const APART: char = '/';

/// A decision as it is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The status.
    pub status: Option<Status>,
    /// Each feature with the statuses it has, sorted.
    #[serde(serialize_with = "as_map")]
    pub features: LiteMap<CompactString, CompactString>,
    /// The reviews.
    pub reviews: Vec<Reviewed>,
    /// Each block that the API returns, with its digest. `BLOCK/FIELD` is a field that has a rule of its own.
    #[serde(serialize_with = "as_map")]
    pub blocks: LiteMap<CompactString, Digest>,
}

/// As a map, even where it is empty: of that, `litemap` makes a list.
fn as_map<V: Serialize, S: Serializer>(map: &LiteMap<CompactString, V>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter())
}

/// A review, as it is known again: not who, nor the comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The status that was set.
    pub status: Option<Status>,
    /// When.
    pub at: Option<Timestamp>,
}

impl Evidence {
    /// The evidence of a decision.
    #[must_use]
    pub fn of(decision: &Decision, key: &FingerprintKey) -> Self {
        let reviews = decision.reviews.iter();
        Self {
            status: decision.status.clone(),
            features: features(decision),
            reviews: reviews
                .map(|review| Reviewed { status: review.new_status.clone(), at: review.created_at })
                .collect(),
            blocks: blocks(decision, key),
        }
    }

    /// Reviews in `now` that were not there before.
    pub(super) fn new_reviews<'n>(&'n self, now: &'n Self) -> impl Iterator<Item = &'n Reviewed> {
        now.reviews.iter().filter(|review| !self.reviews.contains(review))
    }

    /// Whether the status in `now` is what the last new review set.
    #[must_use]
    pub fn is_explained(&self, now: &Self) -> bool {
        let last = self.new_reviews(now).max_by_key(|review| review.at);
        let Some(last) = last else { return false };
        // Without a time, or with equal ones, nobody knows which was the last.
        self.new_reviews(now).any(|review| review.at == last.at && review.status == now.status)
    }

    /// The baseline after `now` was seen, where it is another: a reviewed status becomes part of it, and so does what
    /// the API did not return before.
    #[must_use]
    pub fn moved_on(&self, now: &Self) -> Option<Self> {
        // Most nights, most sessions: nothing is copied to find that out.
        if self == now {
            return None;
        }
        let mut next = self.clone();
        if self.status == now.status || self.status.is_none() || self.is_explained(now) {
            next.status = now.status.clone().or(next.status);
            if !now.reviews.is_empty() {
                next.reviews.clone_from(&now.reviews);
            }
        }
        if next.features.is_empty() {
            next.features.clone_from(&now.features);
        }
        for (block, digest) in now.blocks.iter() {
            next.blocks.try_insert(block.clone(), *digest);
        }
        (next != *self).then_some(next)
    }
}

fn features(decision: &Decision) -> LiteMap<CompactString, CompactString> {
    let named = decision.features.iter();
    let mut told: Vec<(&str, &str)> =
        named.map(|it| (it.feature.as_str(), it.status.as_ref().map_or("none", Status::as_str))).collect();
    told.sort_unstable();
    let of_one = told.chunk_by(|one, other| one.0 == other.0);
    let joined = |statuses: &[(&str, &str)]| match statuses {
        [(_, status)] => CompactString::from(*status),
        several => several.iter().map(|(_, status)| *status).collect::<Vec<_>>().join(", ").into(),
    };
    of_one.map(|statuses| (statuses[0].0.into(), joined(statuses))).collect()
}

fn blocks(decision: &Decision, key: &FingerprintKey) -> LiteMap<CompactString, Digest> {
    let key = key.prepared();
    let mut blocks = Vec::new();
    let mut out = Vec::with_capacity(1024);
    let fields = decision.json.as_object().into_iter().flat_map(Fields::iter);
    for (field, block) in fields.filter(|(field, _)| !VOLATILE.is_left_out(field)) {
        let name = plain(field, &key);
        let mut digest = |name: CompactString, write: &dyn Fn(&mut Vec<u8>) -> bool| {
            begin(&mut out, decision.session_id, &name);
            let digest = if write(&mut out) { Digest::of(&key, &out) } else { Digest::NOTHING };
            blocks.push((name, digest));
        };
        if is_checks(block) {
            for apart in &VOLATILE.apart {
                digest(format_compact!("{name}{APART}{apart}"), &|out| write_apart(block, apart, out));
            }
        }
        digest(name, &|out| write_block(block, field, out));
    }
    blocks.into_iter().collect()
}

/// A block of checks, not a list of anything else.
fn is_checks(block: &Json) -> bool {
    block.as_array().is_some_and(|items| items.iter().any(|item| item.as_object().is_some()))
}

fn begin(out: &mut Vec<u8>, session: Uuid, name: &str) {
    out.clear();
    out.extend_from_slice(session.as_bytes());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

/// A name that can be shown: others write it.
fn plain(name: &str, key: &PreparedKey) -> CompactString {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain && !name.is_empty() && name.len() <= 40 {
        name.into()
    } else {
        format_compact!("other_{}", key.fingerprint(name.as_bytes()))
    }
}

/// What a session is measured against: what the first verification saw, or what was accepted later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The session.
    pub session_id: Uuid,
    /// What was seen of it; `None` where there was nothing, as of a missing session that was accepted.
    pub seen: Option<Evidence>,
    /// Findings that were accepted, by rule, each with what there was. They stay accepted while it is the same.
    pub accepted: BTreeMap<String, Option<String>>,
}

impl Baseline {
    /// The baseline of a first verification.
    #[must_use]
    pub fn new(session_id: Uuid, seen: Evidence) -> Self {
        Self { session_id, seen: Some(seen), accepted: BTreeMap::new() }
    }

    /// The baseline after a session was looked at, where it is another than the one known: what the first verification
    /// saw, or what moved on by itself.
    #[must_use]
    pub fn after(known: Option<&Self>, session_id: Uuid, now: &Evidence) -> Option<Self> {
        let Some(known) = known.filter(|known| known.session_id == session_id) else {
            return Some(Self::new(session_id, now.clone()));
        };
        let seen = match &known.seen {
            None => now.clone(),
            Some(then) => then.moved_on(now)?,
        };
        Some(Self { seen: Some(seen), ..known.clone() })
    }

    /// The baseline that takes what is there now for good: what was seen, and what was found of it by rules that
    /// measure against something else. The user's own rules say what the user wants, and are not accepted away.
    #[must_use]
    pub fn accepting<'f>(
        known: Option<&Self>,
        session_id: Uuid,
        now: Option<&Evidence>,
        found: impl Iterator<Item = &'f Finding>,
    ) -> Self {
        let known = known.filter(|known| known.session_id == session_id);
        let mut accepted = known.map(|known| known.accepted.clone()).unwrap_or_default();
        for finding in found {
            match finding.rule {
                Rule::Expect(_) | Rule::StatusDrift | Rule::StatusReviewed | Rule::EvidenceDrift => {}
                _ => drop(accepted.insert(finding.rule.to_string(), finding.actual.clone())),
            }
        }
        let seen = now.cloned().or_else(|| known?.seen.clone());
        Self { session_id, seen, accepted }
    }

    /// Whether a finding is what was accepted.
    #[must_use]
    pub fn accepts(&self, finding: &Finding) -> bool {
        self.accepted.get(finding.rule.as_str()).is_some_and(|actual| *actual == finding.actual)
    }
}

/// A baseline as the ledger keeps it. Most nights, of most sessions, it says what is there now, and need not be read to
/// find that out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBaseline(String);

impl KeptBaseline {
    /// Reads it; `None` where it is no baseline.
    #[must_use]
    pub fn read(&self) -> Option<Baseline> {
        serde_json::from_str(&self.0).ok()
    }

    /// Whether it says that this was seen of this session, and nothing else: in the words that [`Baseline::new`] is kept
    /// in. What an earlier version kept in others is read.
    #[must_use]
    pub fn is_just(&self, session_id: Uuid, seen: &Evidence) -> bool {
        #[derive(Serialize)]
        struct Just<'e> {
            session_id: Uuid,
            seen: &'e Evidence,
            accepted: BTreeMap<&'e str, &'e str>,
        }
        let just = Just { session_id, seen, accepted: BTreeMap::new() };
        let mut rest = Rest(self.0.as_bytes());
        serde_json::to_writer(&mut rest, &just).is_ok() && rest.0.is_empty()
    }
}

impl From<String> for KeptBaseline {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What is left of a text once what was written is taken from it. Anything else can't be written.
struct Rest<'t>(&'t [u8]);

impl io::Write for Rest<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(text).ok_or(io::ErrorKind::InvalidData)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
