//! The step before the first: the entry's token is minted, where that is how it comes about.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Job, Step, Stepped, recorded};
use crate::didit::{Class, Failure};
use crate::ledger::LedgerError;
use crate::lifecycle::{Answer, TokenLife};
use crate::run::context::Context;
use crate::run::lane::Lane;
use crate::token::ShareToken;

/// How long a minted token has to live still when its turn has come.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// How long a token is fresh: less than any lives.
const FRESH: Duration = Duration::from_secs(30);

impl Job {
    /// Whether a token has to be minted before the entry can be sent: there is none, or it won't live that long.
    pub fn wants_mint(&self, context: &Context, lane: &Lane) -> bool {
        let (_, entry) = context.entry(self.at);
        entry.mint().is_some() && !self.given.as_ref().is_some_and(|token| self.will_live(token, lane))
    }

    /// Whether a minted token lives long enough. Of one just made our clock is not asked: it may be wrong.
    fn will_live(&self, token: &ShareToken, lane: &Lane) -> bool {
        let expires_at = || token.unverified_claims().and_then(|claims| claims.expires_at);
        let until = lane.server_now().checked_add(MARGIN).unwrap_or(Timestamp::MAX);
        self.minted_at.is_some_and(|at| at.elapsed() < FRESH) || expires_at().is_none_or(|at| at > until)
    }

    /// Has a token minted.
    pub async fn mint(&mut self, context: &Context, lane: &Lane) -> Stepped {
        let step = self.try_mint(context, lane).await.unwrap_or_else(Step::Ledger);
        (step, None)
    }

    async fn try_mint(&mut self, context: &Context, lane: &Lane) -> Result<Step, LedgerError> {
        let (manifest, entry) = context.entry(self.at);
        self.given = None;
        let failure = match entry.workflow.map_or(Ok(()), |workflow| lane.takes(workflow)) {
            Ok(()) => match context.partners.mint(manifest, entry).await {
                Ok(token) => {
                    self.learn(token.unverified_claims().as_ref());
                    (self.given, self.minted_at) = (Some(token), Some(Instant::now()));
                    return Ok(Step::Minted);
                }
                Err(failure) => failure,
            },
            // No token is minted in vain.
            Err(why) => Failure::here(Class::WorkflowUnknown, why),
        };
        let error = recorded(&failure);
        let step = if self.open {
            // What can't be sent can still be looked for. That nothing could be minted says nothing about what was sent.
            self.last = Some((Answer::NotProcessed(failure.class), error));
            let next = self.look_up(context, lane, TokenLife::Missing).await?;
            self.follow(context, next).await?
        } else {
            self.refuse_unsent(context, lane, manifest, entry, error).await?
        };
        let Step::Done(done) = step else { return Ok(step) };
        if matches!(failure.class, Class::Credentials | Class::NoCredit) {
            return Ok(Step::Stop(done, failure));
        }
        Ok(match context.partners.down(manifest, entry) {
            Some(halt) => Step::Down(done, halt),
            None => Step::Done(done),
        })
    }
}
