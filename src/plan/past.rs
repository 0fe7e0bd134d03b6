//! What is on record, as the planner reads it: each entry once, borrowed, and whole only those few that it asks for.

use std::convert::Infallible;

use crate::ledger::records::{EntryId, Identity, RecentImports, Record, Sketch, Sought};

/// What is on record. Reading is its affair; the planner only asks.
pub trait Past {
    /// Why it can't be read.
    type Error;

    /// Id, generation and key; `None` where there is no ledger yet.
    fn identity(&self) -> Option<&Identity>;

    /// What was imported in the last minute, and takes its place in the windows.
    fn recent(&self) -> &[RecentImports];

    /// Has every entry seen once, in the order of their numbers: in one part, or in several side by side, which are
    /// given back in that order.
    fn see_all<S: Send>(
        &self,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, Self::Error>;

    /// As [`Past::see_all`], but entries that can not be meant by what is sought may be passed over.
    fn see_those<S: Send>(
        &self,
        _sought: &Sought<'_>,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, Self::Error> {
        self.see_all(begin, see)
    }

    /// These entries, in order of their numbers.
    fn records(&self, ids: &[EntryId]) -> Result<Vec<Record>, Self::Error>;
}

/// What the ledger knows, all of it in memory.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Id, generation and key; `None` where there is no ledger yet.
    pub identity: Option<Identity>,
    /// Every entry, in the order of their numbers.
    pub records: Vec<Record>,
    /// What was imported in the last minute, and takes its place in the windows.
    pub recent: Vec<RecentImports>,
}

impl Snapshot {
    /// The entry with this number.
    #[must_use]
    pub fn record(&self, id: EntryId) -> Option<&Record> {
        let at = self.records.binary_search_by_key(&id, |record| record.id).ok()?;
        self.records.get(at)
    }
}

impl Past for Snapshot {
    type Error = Infallible;

    fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    fn recent(&self) -> &[RecentImports] {
        &self.recent
    }

    fn see_all<S: Send>(
        &self,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, Infallible> {
        let mut seen = begin();
        self.records.iter().for_each(|record| see(&mut seen, &record.sketch()));
        Ok(vec![seen])
    }

    fn records(&self, ids: &[EntryId]) -> Result<Vec<Record>, Infallible> {
        Ok(ids.iter().filter_map(|id| self.record(*id).cloned()).collect())
    }
}
