//! The step before the first: the entry's token is minted or had from a program, where that is how it comes about.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Job, Step, Stepped, recorded};
use crate::didit::{Class, Failure};
use crate::ledger::LedgerError;
use crate::lifecycle::{Answer, Next, Settled, TokenLife};
use crate::pace::backoff;
use crate::run::budget::Slot;
use crate::run::context::Context;
use crate::run::events::Event;
use crate::run::lane::{CallError, Lane, can_pass};
use crate::run::mint::{Partner, Partners};
use crate::token::ShareToken;

/// How long a minted token has to live still when its turn has come.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// How long a token is fresh: less than any lives.
const FRESH: Duration = Duration::from_secs(30);

impl Job {
    /// Whether a token has to be minted before the entry can be sent: there is none, or it won't live that long.
    pub fn wants_mint(&self, context: &Context, lane: &Lane) -> bool {
        context.partner(self.at).is_some() && !self.given.as_ref().is_some_and(|token| self.will_live(token, lane))
    }

    /// Whether a minted token lives long enough. Of one just made our clock is not asked: it may be wrong.
    fn will_live(&self, token: &ShareToken, lane: &Lane) -> bool {
        let expires_at = || token.unverified_claims().and_then(|claims| claims.expires_at);
        let until = lane.server_now().checked_add(MARGIN).unwrap_or(Timestamp::MAX);
        self.minted_at.is_some_and(|at| at.elapsed() < FRESH) || expires_at().is_none_or(|at| at > until)
    }

    /// Whether its token was minted, or its program run, and it waits to be sent.
    pub fn is_prepared(&self) -> bool {
        (self.given.is_some() && self.minted_at.is_some()) || self.asked.is_some()
    }

    /// Whether a program is to be run for its token: once for an entry.
    pub fn wants_program(&self, context: &Context) -> bool {
        self.asked.is_none() && context.has_program(self.at)
    }

    /// Runs the program, and keeps what it gave; how long that took.
    pub async fn ask_program(&mut self, context: &Context) -> Duration {
        let began = Instant::now();
        let (_, entry) = context.entry(self.at);
        self.asked = Some(context.fresh_token(entry).await);
        began.elapsed()
    }

    /// Has a token minted, in this slot of the partner's budget.
    pub async fn mint(&mut self, context: &Context, lane: &Lane, partner: &Partner, slot: Slot) -> Stepped {
        let step = self.try_mint(context, lane, partner, slot).await.unwrap_or_else(Step::Ledger);
        (step, None)
    }

    async fn try_mint(
        &mut self,
        context: &Context,
        lane: &Lane,
        partner: &Partner,
        slot: Slot,
    ) -> Result<Step, LedgerError> {
        let (manifest, entry) = context.entry(self.at);
        self.given = None;
        let minted = match entry.workflow().map_or(Ok(()), |workflow| lane.takes(workflow)) {
            Ok(()) => Partners::mint(manifest, entry, partner, slot).await,
            // No token is minted in vain.
            Err(why) => Err(CallError::Api(Failure::here(Class::WorkflowUnknown, why))),
        };
        let failure = match minted {
            Ok(token) => {
                self.learn(token.unverified_claims().as_ref());
                (self.given, self.minted_at, self.mint_sends) = (Some(token), Some(Instant::now()), 0);
                return Ok(Step::Prepared(Duration::ZERO));
            }
            Err(CallError::Ledger(error)) => return Err(error),
            Err(CallError::Api(failure)) => failure,
        };
        match self.mint_again(context, partner, &failure) {
            Some(after) => Ok(Step::Again(after)),
            None => self.give_up_minting(context, lane, partner, failure).await,
        }
    }

    /// When to try again, if that can help. A 429 spends nothing: the budget knows when it is over.
    fn mint_again(&mut self, context: &Context, partner: &Partner, failure: &Failure) -> Option<Duration> {
        if failure.class == Class::Throttled {
            return Some(Duration::ZERO);
        }
        self.mint_sends += 1;
        let after =
            backoff(self.mint_sends, rand::random()).filter(|_| can_pass(failure) && partner.down().is_none())?;
        context.means.events.tell(Event::Retrying {
            who: Some(context.who(self.item)),
            attempt: self.mint_sends,
            class: failure.class,
            after,
        });
        Some(after)
    }

    async fn give_up_minting(
        &mut self,
        context: &Context,
        lane: &Lane,
        partner: &Partner,
        failure: Failure,
    ) -> Result<Step, LedgerError> {
        let (manifest, entry) = context.entry(self.at);
        let error = recorded(&failure);
        let step = if self.open {
            // What can't be sent can still be looked for. That nothing could be minted says nothing about what was sent,
            // as long as a token of it may live.
            self.last = Some((Answer::NotProcessed(failure.class), error));
            let life = self.life_of_sent(context, lane).await?;
            let (next, found) = self.look_up(context, lane, life).await?;
            let nothing_is_open = next == Next::Settle(Settled::Expired);
            let next = if nothing_is_open { Next::Settle(Settled::Refused) } else { next };
            self.follow(context, (next, found)).await?
        } else {
            self.refuse_unsent(context, lane, manifest, entry, error).await?
        };
        let Step::Done(done) = step else { return Ok(step) };
        if matches!(failure.class, Class::Credentials | Class::NoCredit) {
            return Ok(Step::Stop(done, failure));
        }
        Ok(match partner.down() {
            Some(halt) => Step::Down(done, halt),
            None => Step::Done(done),
        })
    }

    /// Whether a token that was sent for this entry, in this run or an earlier one, may live still.
    async fn life_of_sent(&self, context: &Context, lane: &Lane) -> Result<TokenLife, LedgerError> {
        let Some(row) = self.row else { return Ok(TokenLife::Missing) };
        let end = context.means.ledger.sent_tokens_end(row).await?;
        Ok(if end.is_some_and(|end| end <= lane.server_now()) { TokenLife::Dead } else { TokenLife::Missing })
    }
}
