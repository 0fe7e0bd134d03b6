//! Which record of the ledger is which entry of the manifests.
//!
//! The identity of an entry is its source session for the receiving application. Where the claims of a token can't be
//! read, it is the token's fingerprint, until an answer has named the source session.
//!
//! The entries are indexed, and the records pass by once ([`Index::see`]). Of most, a few bytes are kept: what they make
//! of the one entry with their source session. Those that a token or a hash may give to an entry are kept whole. When
//! all have passed, each entry takes its own ([`Matches::take`]).

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::action::Known;
use crate::by_session::BySession;
use crate::ledger::records::{EntryId, Receiver, ReceiverRef, Sketch, Sought, State};
use crate::ledger::token_hash;
use crate::manifest::{Entry, Manifest, Manifests};
use crate::token::{Fingerprint, FingerprintKey, SessionKind};

/// Of a manifest that is none of those given.
const FOREIGN: u32 = u32::MAX;
/// Of more entries the records are not looked for one by one.
const FEW: u32 = 10_000;
/// No candidate.
const NONE: u32 = u32::MAX;

/// An index over the entries of the manifests, which are numbered through.
pub(super) struct Index<'m> {
    manifests: &'m Manifests,
    key: Option<FingerprintKey>,
    bases: Vec<String>,
    names: HashMap<&'m str, u32>,
    /// The number of each manifest's first entry, and that of all.
    starts: Vec<u32>,
    by_source: BySession,
    /// Fingerprints of the tokens of entries without a source session, and what an erasure leaves of them.
    tokens: HashSet<Fingerprint>,
}

/// A record that may be an entry's.
struct Candidate {
    id: EntryId,
    /// The entry with its source session.
    entry: u32,
    /// The next one of that entry.
    next: u32,
    known: Known,
    manifest: u32,
    state: State,
    kind: Option<SessionKind>,
    session: Option<Uuid>,
    fits: bool,
    is_taken: bool,
}

/// A record that a token or a hash may give to an entry.
struct Odd {
    id: EntryId,
    manifest: String,
    application_id: Option<Uuid>,
    base_url: String,
    key: Option<Fingerprint>,
    vendor_data: Option<String>,
    /// What is not borrowed of it.
    rest: Sketch<'static>,
}

impl Odd {
    fn new(it: &Sketch<'_>) -> Self {
        let receiver = it.receiver;
        Self {
            id: it.id,
            manifest: it.manifest.to_owned(),
            application_id: receiver.application_id,
            base_url: receiver.base_url.to_owned(),
            key: receiver.key,
            vendor_data: it.vendor_data.map(str::to_owned),
            rest: Sketch {
                manifest: "",
                receiver: ReceiverRef { application_id: None, base_url: "", key: None },
                vendor_data: None,
                ..*it
            },
        }
    }

    fn sketch(&self) -> Sketch<'_> {
        Sketch {
            manifest: &self.manifest,
            receiver: ReceiverRef { application_id: self.application_id, base_url: &self.base_url, key: self.key },
            vendor_data: self.vendor_data.as_deref(),
            ..self.rest
        }
    }
}

/// What has passed by.
#[derive(Default)]
pub(super) struct Seen {
    candidates: Vec<Candidate>,
    /// In the order of their numbers.
    odd: Vec<Odd>,
    /// Imported, of our manifests, and no entry's.
    orphans: Vec<EntryId>,
    any_erased: bool,
}

/// The record of an entry.
pub(super) struct Taken {
    pub(super) id: EntryId,
    pub(super) known: Known,
    pub(super) kind: Option<SessionKind>,
    pub(super) session: Option<Uuid>,
    /// The source session, of one that was not found by it.
    pub(super) source: Option<Uuid>,
}

impl<'m> Index<'m> {
    pub(super) fn new(manifests: &'m Manifests, key: Option<&FingerprintKey>) -> Self {
        let all = &manifests.manifests;
        let mut starts = vec![0];
        for manifest in all {
            starts.push(starts.last().copied().unwrap_or(0) + manifest.entries.len() as u32);
        }
        let mut index = Self {
            manifests,
            key: key.cloned(),
            bases: all.iter().map(|manifest| manifest.application.base()).collect(),
            names: all.iter().map(|manifest| manifest.name.as_str()).zip(0..).collect(),
            by_source: BySession::with_capacity(starts.last().map_or(0, |count| *count as usize)),
            tokens: HashSet::new(),
            starts,
        };
        for (number, entry) in (0_u32..).zip(all.iter().flat_map(|manifest| &manifest.entries)) {
            index.add(number, entry);
        }
        index
    }

    fn add(&mut self, number: u32, entry: &Entry) {
        let Some(source) = entry.source_session_id else {
            if let Some((key, token)) = self.key.as_ref().zip(token_of(entry, self.key.as_ref())) {
                self.tokens.extend([token, token_hash(key, &token)]);
            }
            return;
        };
        self.by_source.insert(source, number);
    }

    /// The entry with this number: its manifest's place and its own.
    pub(super) fn at(&self, number: u32) -> (usize, usize) {
        at(&self.starts, number)
    }

    pub(super) fn entry(&self, number: u32) -> (&'m Manifest, &'m Entry) {
        let (m, e) = self.at(number);
        let manifest = &self.manifests.manifests[m];
        (manifest, &manifest.entries[e])
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// By what the records are found that can be an entry's, or an orphan: all others are passed over by
    /// [`Index::see`], but that there is an erased one. `None` where there are so many entries that they are not worth
    /// looking for one by one.
    pub(super) fn sought(&self) -> Option<Sought<'m>> {
        let entries = || self.manifests.manifests.iter().flat_map(|manifest| &manifest.entries);
        (self.count() <= FEW).then(|| Sought {
            sources: entries().filter_map(|entry| entry.source_session_id).collect(),
            tokens: self.tokens.iter().copied().collect(),
            manifests: self.names.keys().copied().collect(),
        })
    }

    fn by_source(&self, source: Uuid) -> Option<u32> {
        self.by_source.find(source, |number| self.entry(number).1.source_session_id == Some(source))
    }

    fn receiver(&self, number: u32) -> ReceiverRef<'_> {
        let (m, e) = self.at(number);
        let manifest = &self.manifests.manifests[m];
        let application_id = application(manifest, &manifest.entries[e]);
        ReceiverRef { application_id, base_url: &self.bases[m], key: None }
    }

    fn manifest(&self, name: &str) -> u32 {
        self.names.get(name).copied().unwrap_or(FOREIGN)
    }

    /// Looks at a record that passes by.
    pub(super) fn see(&self, seen: &mut Seen, it: &Sketch<'_>) {
        seen.any_erased |= it.state == State::Erased;
        let manifest = self.manifest(it.manifest);
        let entry = it.source_session_id.and_then(|source| self.by_source(source));
        let is_odd = it.source_session_id.is_none() || it.token.is_some_and(|token| self.tokens.contains(&token));
        if entry.is_none() && !is_odd {
            if it.state == State::Imported && manifest != FOREIGN {
                seen.orphans.push(it.id);
            }
            return;
        }
        if is_odd {
            seen.odd.push(Odd::new(it));
        }
        seen.candidates.push(Candidate {
            id: it.id,
            entry: entry.unwrap_or(NONE),
            next: NONE,
            known: entry.map_or(Known::Fresh, |number| Known::new(self.entry(number).1, it, self.key.as_ref())),
            manifest,
            state: it.state,
            kind: it.session_kind,
            session: it.session_id,
            fits: entry.is_some_and(|number| it.receiver.matches(self.receiver(number))),
            is_taken: false,
        });
    }
}

fn at(starts: &[u32], number: u32) -> (usize, usize) {
    let m = starts.partition_point(|start| *start <= number) - 1;
    (m, (number - starts[m]) as usize)
}

/// All that has passed by, from which each entry takes its own.
pub(super) struct Matches<'i, 'm> {
    index: &'i Index<'m>,
    seen: Seen,
    /// The first candidate of each entry.
    first: Vec<u32>,
    /// Candidates without a source session, by hash; all odd ones by token.
    by_source_hash: HashMap<Fingerprint, Vec<u32>>,
    by_token: HashMap<Fingerprint, Vec<u32>>,
}

impl<'i, 'm> Matches<'i, 'm> {
    /// Puts together what has passed by in parts, in order.
    pub(super) fn new(index: &'i Index<'m>, parts: Vec<Seen>) -> Self {
        let mut parts = parts.into_iter();
        let mut seen = parts.next().unwrap_or_default();
        for part in parts {
            seen.candidates.extend(part.candidates);
            seen.odd.extend(part.odd);
            seen.orphans.extend(part.orphans);
            seen.any_erased |= part.any_erased;
        }
        let mut first = vec![NONE; index.count() as usize];
        // From the last: a chain then begins with the first.
        for (number, candidate) in seen.candidates.iter_mut().enumerate().rev() {
            if let Some(first) = first.get_mut(candidate.entry as usize) {
                candidate.next = std::mem::replace(first, number as u32);
            }
        }
        let mut matches = Self { index, seen, first, by_source_hash: HashMap::new(), by_token: HashMap::new() };
        matches.index_odd();
        matches
    }

    fn index_odd(&mut self) {
        for odd in &self.seen.odd {
            let Ok(number) = self.seen.candidates.binary_search_by_key(&odd.id, |candidate| candidate.id) else {
                continue;
            };
            let number = number as u32;
            if let Some(hash) = odd.rest.source_hash.filter(|_| odd.rest.source_session_id.is_none()) {
                self.by_source_hash.entry(hash).or_default().push(number);
            }
            if let Some(token) = odd.rest.token {
                self.by_token.entry(token).or_default().push(number);
            }
        }
    }

    fn odd(&self, number: u32) -> Option<&Odd> {
        let id = self.seen.candidates[number as usize].id;
        let at = self.seen.odd.binary_search_by_key(&id, |odd| odd.id).ok()?;
        self.seen.odd.get(at)
    }

    /// The order in which entries take: that in which they stand; where a token may give a record to one of several, that
    /// of their ids, so that the order of rows decides nothing.
    pub(super) fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.index.count()).collect();
        if !self.seen.odd.is_empty() {
            order.sort_by_key(|number| (self.index.at(*number).0, self.index.entry(*number).1.label()));
        }
        order
    }

    /// The record of an entry, which no other entry gets.
    pub(super) fn take(&mut self, number: u32) -> Option<Taken> {
        let receiver = self.index.receiver(number);
        let (m, _) = self.index.at(number);
        let candidates = &self.seen.candidates;
        let fits = |at: u32| {
            let candidate = &candidates[at as usize];
            if candidate.entry == number {
                return candidate.fits;
            }
            self.odd(at).is_some_and(|odd| odd.sketch().receiver.matches(receiver))
        };
        // An erased entry is erased for whoever asks, and whatever else is on record.
        let is_free = |at: u32| {
            let candidate = &candidates[at as usize];
            candidate.state == State::Erased || !candidate.is_taken
        };
        let rank = |at: &u32| {
            let candidate = &candidates[*at as usize];
            (candidate.state == State::Erased, candidate.manifest as usize == m, std::cmp::Reverse(candidate.id))
        };
        let best = if self.seen.odd.is_empty() {
            self.chain(number).filter(|at| fits(*at) && is_free(*at)).max_by_key(rank)
        } else {
            self.candidates(number).into_iter().filter(|at| fits(*at) && is_free(*at)).max_by_key(rank)
        }?;
        let (known, source) = match self.odd(best).filter(|_| candidates[best as usize].entry != number) {
            Some(odd) => {
                let known = Known::new(self.index.entry(number).1, &odd.sketch(), self.index.key.as_ref());
                (known, odd.rest.source_session_id)
            }
            None => (candidates[best as usize].known, None),
        };
        let candidate = &mut self.seen.candidates[best as usize];
        candidate.is_taken = true;
        Some(Taken { id: candidate.id, known, kind: candidate.kind, session: candidate.session, source })
    }

    /// The candidates that have the source session of an entry.
    fn chain(&self, number: u32) -> impl Iterator<Item = u32> {
        let next = |at: u32| Some(at).filter(|at| *at != NONE);
        std::iter::successors(next(self.first[number as usize]), move |at| {
            next(self.seen.candidates[*at as usize].next)
        })
    }

    fn candidates(&self, number: u32) -> Vec<u32> {
        let entry = self.index.entry(number).1;
        let key = self.index.key.as_ref();
        let mut found = Vec::new();
        if let Some(source) = entry.source_session_id {
            found.extend(self.chain(number));
            if let Some(key) = key.filter(|_| !self.by_source_hash.is_empty()) {
                let hash = key.fingerprint(source.to_string().as_bytes());
                found.extend(self.by_source_hash.get(&hash).into_iter().flatten());
            }
            if !found.is_empty() {
                return found;
            }
        }
        if self.seen.odd.is_empty() {
            return found;
        }
        let token = token_of(entry, key);
        found.extend(token.and_then(|token| self.by_token.get(&token)).into_iter().flatten());
        let hash = token.zip(key).map(|(token, key)| token_hash(key, &token));
        if let Some(hash) = hash.filter(|_| self.seen.any_erased) {
            found.extend(self.by_token.get(&hash).into_iter().flatten());
            found.extend(self.by_source_hash.get(&hash).into_iter().flatten());
        }
        // The same token under another, known source would be another entry.
        found.retain(|at| {
            let source = self.odd(*at).and_then(|odd| odd.rest.source_session_id);
            entry.source_session_id.is_none() || source.is_none() || source == entry.source_session_id
        });
        found
    }

    /// Imported records under a name among these manifests that no entry took, in the order of their numbers.
    pub(super) fn orphans(self) -> Vec<EntryId> {
        let left = self.seen.candidates.iter().filter(|candidate| {
            candidate.state == State::Imported && candidate.manifest != FOREIGN && !candidate.is_taken
        });
        let mut orphans: Vec<EntryId> = self.seen.orphans;
        orphans.extend(left.map(|candidate| candidate.id));
        orphans.sort_unstable();
        orphans
    }
}

/// The fingerprint of an entry's token as it is now.
pub(super) fn token_of(entry: &Entry, key: Option<&FingerprintKey>) -> Option<Fingerprint> {
    Some(entry.read_token().ok()??.fingerprint(key?))
}

/// The receiving application of an entry, as far as the manifest and the token's claims tell.
#[must_use]
pub fn receiver(manifest: &Manifest, entry: &Entry) -> Receiver {
    let base_url = manifest.application.base();
    Receiver { application_id: application(manifest, entry), base_url, key: None }
}

fn application(manifest: &Manifest, entry: &Entry) -> Option<Uuid> {
    entry.for_application_id().or(manifest.application.id)
}
