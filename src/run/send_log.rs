//! Noting requests in the ledger before they leave, so that the next run starts with the windows as they are, after a
//! clean end or a crash. Imports are noted as attempts; see [`Ledger::reserve`](crate::ledger::Ledger::reserve). Where
//! runners share a key's budgets through the ledger, it knows already, and nothing is noted.

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::means::Means;
use crate::ledger::LedgerError;
use crate::ledger::records::{Block, BudgetKind, Reservation, SendId};
use crate::token::Fingerprint;

/// A block is for reads of the next seconds: a dead run is taken to have sent all of it at the end of this.
const LIFE: SignedDuration = SignedDuration::from_secs(5);

/// The first block; twice as many while blocks are used up within their life, half as many when they are not.
const SMALLEST: u32 = 8;
/// The largest, or as many reads as a second holds where that is more.
const LARGEST: u32 = 512;

/// The requests of one key.
#[derive(Debug)]
pub(super) struct SendLog {
    means: Means,
    key: Fingerprint,
    largest: u32,
    reads: Mutex<Reads>,
}

#[derive(Debug)]
struct Reads {
    size: u32,
    open: Option<Open>,
}

/// A block that reads are taken from.
#[derive(Debug)]
struct Open {
    id: SendId,
    size: u32,
    sent: u32,
    until: Timestamp,
    last: Timestamp,
}

impl Open {
    fn done(&self) -> Block {
        Block { id: self.id, sent: self.sent, last: self.last }
    }
}

impl SendLog {
    pub(super) fn new(means: Means, key: Fingerprint) -> Self {
        Self { means, key, largest: LARGEST, reads: Mutex::new(Reads { size: SMALLEST, open: None }) }
    }

    /// With blocks for so many reads a minute.
    pub(super) fn reading(self, reads_per_minute: u32) -> Self {
        Self { largest: LARGEST.max(reads_per_minute / 60), ..self }
    }

    /// When this returns, one read may leave.
    pub(super) async fn before_read(&self) -> Result<(), LedgerError> {
        if self.means.ledger.is_shared() {
            return Ok(());
        }
        let mut reads = self.reads.lock().await;
        let now = self.means.clock.now();
        let is_open = |open: &Open| open.sent < open.size && now < open.until;
        if !reads.open.as_ref().is_some_and(is_open) {
            if let Some(open) = &reads.open {
                reads.size =
                    if open.sent < open.size { open.size / 2 } else { open.size * 2 }.clamp(SMALLEST, self.largest);
            }
            let (size, until) = (reads.size, now.saturating_add(LIFE).unwrap_or(Timestamp::MAX));
            let before = reads.open.as_ref().map(Open::done);
            let id = self.reserve(BudgetKind::Reads, size, until, before).await?;
            reads.open = Some(Open { id, size, sent: 0, until, last: now });
        }
        if let Some(open) = &mut reads.open {
            open.sent += 1;
            open.last = now;
        }
        Ok(())
    }

    /// When this returns, one write that is no import may leave.
    pub(super) async fn before_write(&self) -> Result<(), LedgerError> {
        if self.means.ledger.is_shared() {
            return Ok(());
        }
        self.reserve(BudgetKind::Writes, 1, self.means.clock.now(), None).await.map(drop)
    }

    /// Notes that nothing more leaves.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        let mut reads = self.reads.lock().await;
        match reads.open.take() {
            None => Ok(()),
            Some(open) => self.means.ledger.close_block(open.done()).await,
        }
    }

    async fn reserve(
        &self,
        budget: BudgetKind,
        requests: u32,
        until: Timestamp,
        before: Option<Block>,
    ) -> Result<SendId, LedgerError> {
        self.means.ledger.reserve(Reservation { key: self.key, budget, requests, until, before }).await
    }
}
