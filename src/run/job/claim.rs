//! Claiming an entry where several runs share one ledger, and taking over what another one made of it.

use std::time::Duration;

use super::{Context, Done, Entry, Finished, Fresh, Job, Lane, LedgerError, Manifest, State, Step, describe};
use crate::ledger::records::{AttemptId, Intent, Record, Settings};
use crate::ledger::{Claim, Wanted};

/// How long an entry of another run is left alone before it is looked at again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl Job {
    /// Claims the entry; what there is to do where it can't be worked on now, or needs no more work.
    pub(super) async fn claim(
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
        self.claim = ledger.claim_name(&wanted);
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

    /// Records the intent to send a request under the claim; `None` where the claim is lost.
    pub(super) async fn intend(
        &mut self,
        context: &Context,
        lane: &Lane,
        manifest: &Manifest,
        entry: &Entry,
        fresh: &Fresh,
        settings: &Settings,
    ) -> Result<Option<AttemptId>, LedgerError> {
        let sent_at = lane.server_now();
        let intent = Intent {
            entry: self.row,
            describe: describe(lane, manifest, entry, fresh.claims.as_ref(), self.kind),
            run: context.run,
            sent_at,
            left_at: context.means.clock.now(),
            token: fresh.token.fingerprint(&context.means.ledger.identity().key),
            token_expires_at: fresh.claims.as_ref().and_then(|claims| claims.expires_at),
            settings: settings.clone(),
        };
        let intended = context.means.ledger.intend_as_claimed(intent, self.claim).await?;
        let Some((row, attempt)) = intended else { return Ok(None) };
        self.row = Some(row);
        self.sent = Some(settings.clone());
        self.first_sent_at.get_or_insert(sent_at);
        self.attempts += 1;
        let attempts = self.attempts;
        let mut trace = self.trace();
        (trace.row, trace.attempts, trace.under_way) = (Some(row), attempts, true);
        trace.recorded = Some(State::Sending);
        drop(trace);
        Ok(Some(attempt))
    }

    /// Goes on from where another run left the entry; how it ended, if it did.
    fn take_over(&mut self, record: Record) -> Option<Done> {
        self.row = Some(record.id);
        self.trace().row = Some(record.id);
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
