//! The plan: what `apply` would do, as plain data. Pure: no file, clock, environment or network.
//!
//! ```text
//! Manifests ─┐
//! Past ──────┼─► diff ──► decisions (one action each) ──► forecast ──► Plan
//! now ───────┘
//! ```
//!
//! `plan` shows it and `apply` carries it out; both make it with these very functions. The same inputs give the same
//! plan, and the time decides only what is expired and the forecast.
//!
//! A plan of a million entries fits a laptop: what is on record passes by once ([`Past`]), what is kept of an entry are
//! the few bytes of its decision, and an [`Item`] is made when it is looked at.

mod action;
mod diff;
mod forecast;
mod past;
mod reason;
mod saved;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rayon::prelude::*;
use uuid::Uuid;

pub use action::{Action, Facts, Known, Token, decide};
pub use diff::receiver;
pub use forecast::{Due, Forecast, Late, Remedy, forecast};
pub use past::{Past, Snapshot};
pub use reason::{Differing, Reason};
pub use saved::{FORMAT, LedgerFit, Saved};

use crate::ledger::records::{EntryId, Record, Sketch};
use crate::manifest::{Entry, Label, Manifest, Manifests};
use crate::token::SessionKind;
use diff::{Index, Matches, Seen, Taken};

/// What the plan says of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The manifest's name.
    pub manifest: String,
    /// The label.
    pub id: String,
    /// What is to be done.
    pub action: Action,
    /// Why, in words, where it isn't plain from the action.
    pub reason: Option<String>,
    /// The shared session, where known.
    pub source_session_id: Option<Uuid>,
    /// Its kind.
    pub session_kind: Option<SessionKind>,
    /// The workflow that it is imported with.
    pub workflow_id: Option<Uuid>,
    /// Whether the source's status is kept.
    pub trust_review: Option<bool>,
    /// The vendor data.
    pub vendor_data: Option<String>,
    /// When the token dies.
    pub expires_at: Option<Timestamp>,
    /// The session, once imported.
    pub session_id: Option<Uuid>,
    /// `FILE:LINE`; of an orphan, where it last stood.
    pub place: String,
    /// Index into `Manifests::manifests` and its `entries`; `None` for an orphan.
    pub entry: Option<(usize, usize)>,
    /// Its record in the ledger.
    pub record: Option<EntryId>,
}

impl Item {
    /// Whether people may mean this item: by id or source session.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.source_session_id.is_some_and(|id| id.to_string().eq_ignore_ascii_case(name))
    }
}

/// The plan: one item for each entry, and one for each orphan, sorted by id and manifest.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What carrying it out takes.
    pub forecast: Forecast,
    /// The items whose token dies before its turn.
    pub late: Late,
    manifests: Arc<Manifests>,
    decisions: Vec<Decision>,
    /// The items of no entry.
    others: Vec<Item>,
    /// The source sessions that only the ledger knows.
    learned: HashMap<(u32, u32), Uuid>,
    counts: [u64; Action::ALL.len()],
}

/// What is decided of one item, and what the ledger adds to its entry.
#[derive(Clone, Copy, Debug)]
struct Decision {
    /// Of its record; 0 where there is none.
    record: i64,
    session: Option<Uuid>,
    kind: Option<SessionKind>,
    action: Action,
    reason: Option<Reason>,
    /// The manifest; `OTHER` where it is of no entry.
    manifest: u32,
    /// The entry; else the place among the others.
    entry: u32,
}

const OTHER: u32 = u32::MAX;

impl Plan {
    /// A plan of these items.
    #[must_use]
    pub fn of(items: Vec<Item>, forecast: Forecast, late: Late) -> Self {
        let decisions = (0..).zip(&items).map(|(at, item)| Decision::other(item, at)).collect();
        Self { forecast, late, decisions, others: items, ..Self::default() }.counted()
    }

    fn counted(mut self) -> Self {
        for decision in &self.decisions {
            self.counts[decision.action as usize] += 1;
        }
        self
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// How many items have this action.
    #[must_use]
    pub fn count(&self, action: Action) -> u64 {
        self.counts[action as usize]
    }

    /// How many items ask for a request.
    #[must_use]
    pub fn pending(&self) -> u64 {
        Action::ALL.into_iter().filter(|action| action.is_pending()).map(|action| self.count(action)).sum()
    }

    /// The action of an item.
    #[must_use]
    pub fn action(&self, index: usize) -> Action {
        self.decisions[index].action
    }

    /// The items with an action, in order.
    pub fn with(&self, is_wanted: impl Fn(Action) -> bool) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(move |index| is_wanted(self.action(*index)))
    }

    /// The items that ask for a request, in order.
    pub fn with_pending(&self) -> impl Iterator<Item = usize> {
        self.with(Action::is_pending)
    }

    /// When the token of an item dies.
    #[must_use]
    pub fn expires_at(&self, index: usize) -> Option<Timestamp> {
        match self.source(index) {
            Ok((_, entry)) => entry.expires_at(),
            Err(item) => item.expires_at,
        }
    }

    /// Whether an item keeps the source's status.
    #[must_use]
    pub fn trust_review(&self, index: usize) -> Option<bool> {
        match self.source(index) {
            Ok((_, entry)) => entry.trust_review(),
            Err(item) => item.trust_review,
        }
    }

    /// The entry of an item: indices into `Manifests::manifests` and its `entries`.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<(usize, usize)> {
        match self.source(index) {
            Ok(_) => Some((self.decisions[index].manifest as usize, self.decisions[index].entry as usize)),
            Err(item) => item.entry,
        }
    }

    /// The record of an item in the ledger.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<EntryId> {
        let record = self.decisions[index].record;
        (record != 0).then_some(EntryId(record))
    }

    /// Its entry with the manifest, or the item itself.
    fn source(&self, index: usize) -> Result<(&Manifest, &Entry), &Item> {
        let decision = &self.decisions[index];
        if decision.manifest == OTHER {
            return Err(&self.others[decision.entry as usize]);
        }
        let manifest = &self.manifests.manifests[decision.manifest as usize];
        Ok((manifest, &manifest.entries[decision.entry as usize]))
    }

    /// What an item is called by: its manifest's name, and its own.
    #[must_use]
    pub fn names(&self, index: usize) -> (Arc<str>, Arc<str>) {
        match self.source(index) {
            Ok((manifest, entry)) => (manifest.name.as_str().into(), entry.label().to_string().into()),
            Err(item) => (item.manifest.as_str().into(), item.id.as_str().into()),
        }
    }

    /// The source session of an item, where it is known.
    #[must_use]
    pub fn source_session(&self, index: usize) -> Option<Uuid> {
        match self.source(index) {
            Ok((_, entry)) => entry.source_session_id.or_else(|| self.learned_source(&self.decisions[index])),
            Err(item) => item.source_session_id,
        }
    }

    /// The kind of an item's session, where it is known.
    #[must_use]
    pub fn session_kind(&self, index: usize) -> Option<SessionKind> {
        match self.source(index) {
            Ok((_, entry)) => entry.session_kind.or(self.decisions[index].kind),
            Err(item) => item.session_kind,
        }
    }

    /// The workflow that an item is imported with, where that is known.
    #[must_use]
    pub fn workflow_id(&self, index: usize) -> Option<Uuid> {
        match self.source(index) {
            Ok((_, entry)) => entry.workflow()?.resolve(self.session_kind(index)),
            Err(item) => item.workflow_id,
        }
    }

    /// Whether an item is of an entry that tells its source session.
    #[must_use]
    pub fn tells_source(&self, index: usize) -> bool {
        self.source(index).is_ok_and(|(_, entry)| entry.source_session_id.is_some())
    }

    /// The source session of an entry that only the ledger knows.
    fn learned_source(&self, it: &Decision) -> Option<Uuid> {
        self.learned.get(&(it.manifest, it.entry)).copied()
    }

    /// All items, in order.
    #[must_use]
    pub fn items(&self) -> impl ExactSizeIterator<Item = Item> {
        (0..self.len()).map(|index| self.item(index))
    }

    /// An item.
    #[must_use]
    pub fn item(&self, index: usize) -> Item {
        let (manifest, entry) = match self.source(index) {
            Ok(of_entry) => of_entry,
            Err(item) => return item.clone(),
        };
        let it = &self.decisions[index];
        let invalid = entry.invalid.as_ref().map(|invalid| invalid.message.as_str());
        Item {
            manifest: manifest.name.clone(),
            id: entry.label().to_string(),
            action: it.action,
            reason: it.reason.map(|reason| reason.words(invalid)),
            source_session_id: self.source_session(index),
            session_kind: self.session_kind(index),
            workflow_id: self.workflow_id(index),
            trust_review: entry.trust_review(),
            vendor_data: entry.vendor_data().map(Cow::into_owned),
            expires_at: entry.expires_at(),
            session_id: it.session,
            place: entry.place.to_string(),
            entry: Some((it.manifest as usize, it.entry as usize)),
            record: self.record(index),
        }
    }

    /// Adds what is decided of every entry.
    fn decide_entries(&mut self, index: &Index<'_>, matches: &mut Matches<'_, '_>, now: Timestamp, retry: bool) {
        for number in matches.order() {
            let entry = index.entry(number).1;
            let taken = matches.take(number);
            let facts = action::Facts::new(entry, taken.as_ref().map(|taken| taken.known), now, retry);
            let decision = Decision::of(index.at(number), taken.as_ref(), decide(&facts));
            if let Some(source) = taken.and_then(|taken| taken.source).filter(|_| entry.source_session_id.is_none()) {
                self.learned.insert((decision.manifest, decision.entry), source);
            }
            self.decisions.push(decision);
        }
    }

    fn add_orphans(&mut self, records: &[Record]) {
        self.others = records.iter().map(orphan).collect();
        self.decisions.extend((0..).zip(&self.others).map(|(at, item)| Decision::other(item, at)));
    }

    /// Sorts by id and manifest: by the beginnings of the ids, and by the rest only where these are alike.
    fn sort(&mut self) {
        let (manifests, others) = (&self.manifests, &self.others);
        let key = |it: &Decision| match manifests.manifests.get(it.manifest as usize) {
            Some(manifest) => (manifest.entries[it.entry as usize].label(), manifest.name.as_str()),
            None => (Label::Text(&others[it.entry as usize].id), others[it.entry as usize].manifest.as_str()),
        };
        let decisions = &self.decisions;
        let begin = |(it, at): (&Decision, u32)| (key(it).0.beginning(), at);
        let mut order: Vec<(u64, u32)> = decisions.par_iter().zip(0..decisions.len() as u32).map(begin).collect();
        // An entry and an orphan may have one id in one manifest; then the entry comes first.
        order.par_sort_unstable_by(|(one, a), (two, b)| {
            let rest = || key(&decisions[*a as usize]).cmp(&key(&decisions[*b as usize])).then(a.cmp(b));
            one.cmp(two).then_with(rest)
        });
        self.decisions = order.into_iter().map(|(_, at)| decisions[at as usize]).collect();
    }

    fn foresee(&mut self, past: &impl Past, now: Timestamp) {
        let due = self.with_pending().filter_map(|index| {
            let at = self.entry(index)?;
            let (action, expires_at) = (self.action(index), self.expires_at(index));
            Some(Due { index, action, at, expires_at, trust_review: self.trust_review(index) })
        });
        let (forecast, late) = forecast(due, &self.manifests, past.recent(), now);
        for index in &late.items {
            self.decisions[*index].reason.get_or_insert(Reason::TooLate);
        }
        (self.forecast, self.late) = (forecast, late);
    }
}

impl Decision {
    fn of((m, e): (usize, usize), taken: Option<&Taken>, (action, reason): (Action, Option<Reason>)) -> Self {
        Self {
            record: taken.map_or(0, |taken| taken.id.0),
            session: taken.and_then(|taken| taken.session).filter(|_| action != Action::Erased),
            kind: taken.and_then(|taken| taken.kind),
            action,
            reason,
            manifest: m as u32,
            entry: e as u32,
        }
    }

    fn other(item: &Item, at: u32) -> Self {
        let record = item.record.map_or(0, |id| id.0);
        Self { record, session: None, kind: None, action: item.action, reason: None, manifest: OTHER, entry: at }
    }
}

/// Makes the plan.
///
/// `retry_refused` plans what was refused for good as `retry` (`apply --retry-refused`).
pub fn plan<P: Past>(
    manifests: &Arc<Manifests>,
    past: &P,
    now: Timestamp,
    retry_refused: bool,
) -> Result<Plan, P::Error> {
    let index = Index::new(manifests, past.identity().map(|identity| &identity.key));
    let see = |seen: &mut Seen, it: &Sketch<'_>| index.see(seen, it);
    let seen = match index.sought() {
        Some(sought) => past.see_those(&sought, Seen::default, see)?,
        None => past.see_all(Seen::default, see)?,
    };
    let mut matches = Matches::new(&index, seen);
    let decisions = Vec::with_capacity(index.count() as usize);
    let mut plan = Plan { manifests: Arc::clone(manifests), decisions, ..Plan::default() };
    plan.decide_entries(&index, &mut matches, now, retry_refused);
    let orphans = matches.orphans();
    drop(index);
    if !orphans.is_empty() {
        plan.add_orphans(&past.records(&orphans)?);
    }
    plan.sort();
    let mut plan = plan.counted();
    plan.foresee(past, now);
    Ok(plan)
}

fn orphan(record: &Record) -> Item {
    Item {
        manifest: record.manifest.clone(),
        id: record.label.clone(),
        action: Action::Orphan,
        reason: Some("imported earlier and in no manifest any more; kept".to_owned()),
        source_session_id: record.source_session_id,
        session_kind: record.session_kind,
        workflow_id: record.settings.workflow_id,
        trust_review: record.settings.trust_review,
        vendor_data: record.settings.vendor_data.clone(),
        expires_at: None,
        session_id: record.session.as_ref().map(|session| session.session_id),
        place: record.place.clone(),
        entry: None,
        record: Some(record.id),
    }
}

#[cfg(test)]
mod tests;
