//! Where the entry of a source session stands, among very many: a hash table of numbers that holds no session itself.
//!
//! A slot is the number and 32 bits of the session's hash, so that neither a search nor growth looks at entries that
//! are others'.

use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use uuid::Uuid;

/// Numbers by source session.
#[derive(Default)]
pub(crate) struct BySession {
    hasher: RandomState,
    slots: HashTable<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    number: u32,
}

impl Slot {
    /// The tag over all bits, of which the table looks at the first and the last.
    fn hash(self) -> u64 {
        u64::from(self.tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl BySession {
    /// With room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { slots: HashTable::with_capacity(count), ..Self::default() }
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.slots.reserve(count, |it| it.hash());
    }

    /// The number of a session, where it has one: `is_of` says whether a number is of this session.
    pub(crate) fn find(&self, session: Uuid, is_of: impl Fn(u32) -> bool) -> Option<u32> {
        let slot = self.slot(session, 0);
        self.slots.find(slot.hash(), |it| it.tag == slot.tag && is_of(it.number)).map(|it| it.number)
    }

    /// Notes the number of a session that has none yet.
    pub(crate) fn insert(&mut self, session: Uuid, number: u32) {
        let slot = self.slot(session, number);
        self.slots.insert_unique(slot.hash(), slot, |it| it.hash());
    }

    fn slot(&self, session: Uuid, number: u32) -> Slot {
        Slot { tag: self.hasher.hash_one(session.as_u128()) as u32, number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_its_number() {
        let sessions: Vec<Uuid> = (0..10_000).map(|n| Uuid::from_u128(n * n)).collect();
        let mut table = BySession::default();
        for (number, session) in (0..).zip(&sessions) {
            assert_eq!(table.find(*session, |at| sessions[at as usize] == *session), None);
            table.insert(*session, number);
        }
        for (number, session) in (0..).zip(&sessions) {
            assert_eq!(table.find(*session, |at| sessions[at as usize] == *session), Some(number));
        }
    }
}
