//! Looking for the session of an entry, with patience for one that was just made.

use super::{Job, Sought, session};
use crate::didit::Class;
use crate::ledger::LedgerError;
use crate::ledger::records::Evidence;
use crate::lifecycle::{Answer, Lookup, Next, Settled, TokenLife};
use crate::pace::PATIENCE;
use crate::run::context::Context;
use crate::run::lane::{CallError, Lane};
#[cfg(debug_assertions)]
use crate::run::points::Point;
use crate::run::resolve::{Wanted, look_up};

impl Job {
    /// Looks for the session; the answer says what follows, and what was found.
    pub(super) async fn look_up(
        &mut self,
        context: &Context,
        lane: &Lane,
        token: TokenLife,
    ) -> Result<Sought, LedgerError> {
        let mut waits = PATIENCE.iter();
        loop {
            let sought = self.look_once(context, lane, token).await?;
            let is_absent = sought.1.as_ref().is_some_and(|(_, evidence)| evidence.verdict == "none");
            // What may have been made a moment ago need not be listed yet; sending again finds that out by itself.
            match waits.next().filter(|_| is_absent && self.open && sought.0 != Next::Send) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Ok(sought),
            }
        }
    }

    async fn look_once(&mut self, context: &Context, lane: &Lane, token: TokenLife) -> Result<Sought, LedgerError> {
        let Some(row) = self.row else { return Ok((Next::Settle(Settled::Unknown), None)) };
        let last = self.last.as_ref().map(|(answer, _)| *answer);
        let standing = self.standing(token);
        // Only a session that existed before anybody asked here can be older than the first request.
        let is_older = !self.lost && last == Some(Answer::Refused(Class::AlreadyImported));
        let wanted = Wanted {
            entry: row,
            source: self.source,
            kind: self.kind,
            vendor_data: self.sent.as_ref().and_then(|sent| sent.vendor_data.clone()),
            since: self.first_sent_at.filter(|_| !is_older),
            vendor_data_is_shared: false,
        };
        let looked = look_up(lane, &context.means.ledger, wanted).await;
        #[cfg(debug_assertions)]
        Point::LookedUp.pass();
        match looked {
            Ok(looked) => {
                if let Some(decision) = looked.decision.as_ref().filter(|_| looked.lookup == Lookup::Found) {
                    self.source = self.source.or(decision.shared_from_session);
                    self.kind = self.kind.or(decision.session_kind);
                }
                let found = looked.decision.map(|decision| session(&decision));
                let lookup =
                    if looked.lookup == Lookup::Found && found.is_none() { Lookup::Failed } else { looked.lookup };
                Ok((standing.after_lookup(last, lookup), Some((found, looked.evidence))))
            }
            Err(CallError::Api(failure)) => {
                let detail = format!("the lookup failed: {}", failure.detail);
                let evidence = Evidence { verdict: "failed", session_id: None, detail };
                Ok((standing.after_lookup(last, Lookup::Failed), Some((None, evidence))))
            }
            Err(CallError::Ledger(error)) => Err(error),
        }
    }
}
