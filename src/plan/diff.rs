//! Which record of the ledger is which entry of the manifests.
//!
//! The identity of an entry is its source session for the receiving application. Where the claims of a token can't be
//! read, it is the token's fingerprint, until an answer has named the source session.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::Snapshot;
use crate::ledger::records::{Receiver, Record, State};
use crate::ledger::token_hash;
use crate::manifest::{Entry, Manifest, Manifests};
use crate::token::Fingerprint;

/// An index over the records, from which each entry takes its own.
#[derive(Debug)]
pub struct Matches<'a> {
    snapshot: &'a Snapshot,
    by_source: HashMap<Uuid, Vec<usize>>,
    by_source_hash: HashMap<Fingerprint, Vec<usize>>,
    by_token: HashMap<Fingerprint, Vec<usize>>,
    any_erased: bool,
    taken: HashSet<usize>,
    names: HashSet<&'a str>,
}

impl<'a> Matches<'a> {
    /// Indexes the snapshot.
    #[must_use]
    pub fn new(manifests: &'a Manifests, snapshot: &'a Snapshot) -> Self {
        let mut matches = Self {
            snapshot,
            by_source: HashMap::with_capacity(snapshot.records.len()),
            by_source_hash: HashMap::new(),
            by_token: HashMap::new(),
            any_erased: snapshot.records.iter().any(|record| record.state == State::Erased),
            taken: HashSet::new(),
            names: manifests.manifests.iter().map(|manifest| manifest.name.as_str()).collect(),
        };
        for (index, record) in snapshot.records.iter().enumerate() {
            matches.add(index, record);
        }
        matches
    }

    fn add(&mut self, index: usize, record: &Record) {
        if let Some(source) = record.source_session_id {
            self.by_source.entry(source).or_default().push(index);
        } else if let Some(hash) = record.source_hash {
            self.by_source_hash.entry(hash).or_default().push(index);
        }
        if let Some(token) = record.token {
            self.by_token.entry(token).or_default().push(index);
        }
    }

    /// The record of an entry, which no other entry gets.
    pub fn take(&mut self, manifest: &Manifest, entry: &Entry) -> Option<usize> {
        let receiver = receiver(manifest, entry);
        let candidates = self.candidates(entry);
        let records = &self.snapshot.records;
        let best = candidates
            .into_iter()
            .filter(|index| records[*index].receiver.matches(&receiver))
            // An erased entry is erased for whoever asks, and whatever else is on record.
            .filter(|index| records[*index].state == State::Erased || !self.taken.contains(index))
            .max_by_key(|index| {
                (
                    records[*index].state == State::Erased,
                    records[*index].manifest == manifest.name,
                    std::cmp::Reverse(*index),
                )
            })?;
        self.taken.insert(best);
        Some(best)
    }

    fn candidates(&self, entry: &Entry) -> Vec<usize> {
        let key = self.snapshot.key();
        if let Some(source) = entry.source_session_id {
            let mut found = self.by_source.get(&source).cloned().unwrap_or_default();
            if let Some(hash) = key.map(|key| key.fingerprint(source.to_string().as_bytes())) {
                found.extend(self.by_source_hash.get(&hash).into_iter().flatten());
            }
            if !found.is_empty() {
                return found;
            }
        }
        let token = key.and_then(|key| Some(entry.read_token().ok()??.fingerprint(key)));
        let mut found = token.as_ref().and_then(|token| self.by_token.get(token).cloned()).unwrap_or_default();
        let hash = token.zip(key).map(|(token, key)| token_hash(key, &token));
        if let Some(hash) = hash.filter(|_| self.any_erased) {
            found.extend(self.by_token.get(&hash).into_iter().flatten());
            found.extend(self.by_source_hash.get(&hash).into_iter().flatten());
        }
        // The same token under another, known source would be another entry.
        found.retain(|index| {
            let source = self.snapshot.records[*index].source_session_id;
            entry.source_session_id.is_none() || source.is_none() || source == entry.source_session_id
        });
        found
    }

    /// Imported records under a name among these manifests that no entry took.
    pub fn orphans(&self) -> impl Iterator<Item = usize> + '_ {
        self.snapshot.records.iter().enumerate().filter_map(|(index, record)| {
            let ours = record.state == State::Imported && self.names.contains(record.manifest.as_str());
            (ours && !self.taken.contains(&index)).then_some(index)
        })
    }
}

/// The receiving application of an entry, as far as the manifest and the token's claims tell.
#[must_use]
pub fn receiver(manifest: &Manifest, entry: &Entry) -> Receiver {
    let claimed = entry.for_application_id();
    Receiver { application_id: claimed.or(manifest.application.id), base_url: manifest.application.base(), key: None }
}
