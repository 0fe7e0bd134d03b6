//! Claiming an entry where several runs share one ledger, and taking over what another one made of it.

use std::time::Duration;

use super::{Context, Done, Entry, Finished, Fresh, Job, Lane, LedgerError, Manifest, State, Step, Stepped, describe};
use crate::ledger::records::Record;
use crate::ledger::{Claim, Wanted};

/// How long an entry of another run is left alone before it is looked at again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Job {
    /// Looks whether the entry is this run's to work on, before its turn.
    pub async fn look(&mut self, context: &Context, lane: &Lane) -> Stepped {
        let step = match self.try_to_look(context, lane).await {
            Ok(None) => Step::Again(Duration::ZERO),
            Ok(Some(step)) => step,
            Err(error) => Step::Ledger(error),
        };
        (step, None)
    }

    async fn try_to_look(&mut self, context: &Context, lane: &Lane) -> Result<Option<Step>, LedgerError> {
        let (manifest, entry) = context.entry(self.at);
        let is_named_by_token = self.source.is_none() && !entry.token.is_program();
        let token = if is_named_by_token { context.fresh_token(entry).await.ok().flatten() } else { None };
        let fresh = token.map(|token| Fresh { claims: token.unverified_claims(), token });
        self.claim(context, lane, manifest, entry, fresh.as_ref()).await
    }

    /// Claims the entry; what there is to do where it can't be worked on now, or needs no more work.
    async fn claim(
        &mut self,
        context: &Context,
        lane: &Lane,
        manifest: &Manifest,
        entry: &Entry,
        fresh: Option<&Fresh>,
    ) -> Result<Option<Step>, LedgerError> {
        let ledger = &context.means.ledger;
        let claims = fresh.and_then(|fresh| fresh.claims.as_ref());
        let mut described = describe(lane, manifest, entry, claims, self.kind);
        described.source_session_id = described.source_session_id.or(self.source);
        let wanted = Wanted {
            entry: described,
            token: fresh.map(|fresh| fresh.token.fingerprint(&ledger.identity().key)),
            seen: self.seen,
        };
        match ledger.claim(wanted).await? {
            Claim::Ours => {
                self.claimed = true;
                Ok(None)
            }
            Claim::Changed(record) => {
                self.claimed = true;
                self.seen = Some((&*record).into());
                Ok(self.take_over(*record).map(Step::Done))
            }
            Claim::Elsewhere => {
                let wait = FIRST_WAIT.saturating_mul(1 << self.waits.min(8)).min(LONGEST_WAIT);
                self.waits += 1;
                Ok(Some(Step::Again(wait)))
            }
        }
    }

    /// Goes on from where another run left the entry; how it ended, if it did.
    fn take_over(&mut self, record: Record) -> Option<Done> {
        self.row = Some(record.id);
        let mut trace = self.trace();
        (trace.row, trace.source) = (Some(record.id), record.source_session_id);
        drop(trace);
        self.source = self.source.or(record.source_session_id);
        self.kind = self.kind.or(record.session_kind);
        self.sent = Some(record.settings);
        if record.state == State::Sending {
            // That run is gone, and left it open.
            self.open = true;
            self.lost = record.answer_lost;
            self.first_sent_at = record.first_sent_at;
            return None;
        }
        Some(self.done(Finished::Elsewhere(record.state), record.session, record.error))
    }
}
