//! What a run came to with each of its entries: counted, and made or read one by one as rows are written, so that a report
//! of a million entries holds few of them.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::document::OUTCOMES;
use crate::ledger::LedgerError;
use crate::ledger::records::RunOutcome;

/// Outcomes, until one can't be read.
pub type Rows = Box<dyn Iterator<Item = Result<RunOutcome, LedgerError>>>;

/// The entries of a run, sorted by label and manifest. Where the ledger can't be read, they end: see [`Outcomes::failed`].
#[derive(Clone)]
pub struct Outcomes {
    counts: [(&'static str, u64); OUTCOMES.len()],
    total: u64,
    rows: Rc<dyn Fn() -> Rows>,
    failed: Rc<RefCell<Option<LedgerError>>>,
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outcomes").field(&self.counts).finish()
    }
}

impl Outcomes {
    /// Those that `rows` gives, which are `counts` of each kind.
    pub fn new<'n>(counts: impl IntoIterator<Item = (&'n str, u64)>, rows: impl Fn() -> Rows + 'static) -> Self {
        let (mut all, mut total) = (OUTCOMES.map(|name| (name, 0)), 0);
        for (name, count) in counts {
            total += count;
            if let Some((_, sum)) = all.iter_mut().find(|(known, _)| *known == name) {
                *sum += count;
            }
        }
        Self { counts: all, total, rows: Rc::new(rows), failed: Rc::default() }
    }

    /// How many there are of each kind, in the order of outputs.
    #[must_use]
    pub fn counts(&self) -> &[(&'static str, u64)] {
        &self.counts
    }

    /// How many there are of a kind.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.iter().filter(|(known, _)| *known == name).map(|(_, count)| count).sum()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = RunOutcome> + '_ {
        (self.rows)().map_while(|row| match row {
            Ok(row) => Some(row),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        })
    }

    /// Why not all could be read, if not all were.
    #[must_use]
    pub fn failed(&self) -> Option<LedgerError> {
        self.failed.borrow().clone()
    }
}

impl From<Vec<RunOutcome>> for Outcomes {
    fn from(all: Vec<RunOutcome>) -> Self {
        let all: Rc<[RunOutcome]> = all.into();
        let each = Rc::clone(&all);
        let rows = move || {
            let all = Rc::clone(&each);
            Box::new((0..all.len()).map(move |at| Ok(all[at].clone()))) as Rows
        };
        Self::new(all.iter().map(|it| (it.outcome.as_str(), 1)), rows)
    }
}
