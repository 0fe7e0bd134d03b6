//! Ends of an entry of which nothing was sent: durable in the ledger like any other.

use super::{Finished, Job, Step, describe, expired};
use crate::ledger::LedgerError;
use crate::ledger::records::{RecordedError, State};
use crate::lifecycle::Settled;
use crate::manifest::{Entry, Manifest};
use crate::run::context::Context;
use crate::run::lane::Lane;

impl Job {
    /// The token is past its end.
    pub(super) async fn expire_unsent(
        &mut self,
        context: &Context,
        lane: &Lane,
        manifest: &Manifest,
        entry: &Entry,
    ) -> Result<Step, LedgerError> {
        let describe = describe(lane, manifest, entry, Some(&entry.known_claims()), self.kind);
        let row =
            context.means.ledger.settle_unsent(self.row, describe, context.run, State::Expired, expired()).await?;
        self.row = Some(row);
        Ok(Step::Done(self.done(Finished::Settled(Settled::Expired), None, Some(expired()))))
    }

    /// It is known beforehand that the API would refuse.
    pub(super) async fn refuse_unsent(
        &mut self,
        context: &Context,
        lane: &Lane,
        manifest: &Manifest,
        entry: &Entry,
        error: RecordedError,
    ) -> Result<Step, LedgerError> {
        let describe = describe(lane, manifest, entry, Some(&entry.known_claims()), self.kind);
        let row =
            context.means.ledger.settle_unsent(self.row, describe, context.run, State::Refused, error.clone()).await?;
        self.row = Some(row);
        Ok(Step::Done(self.done(Finished::Settled(Settled::Refused), None, Some(error))))
    }
}
