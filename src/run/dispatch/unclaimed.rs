//! Jobs that another run may be at work on, where several share one ledger.
//!
//! They are claimed a few ahead of their turn, without a slot of any budget: what another run is done with, or at work
//! on, costs no request's time. No more are claimed than are about to be sent, so that what is left is split among all
//! who have slots.

use std::collections::BinaryHeap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};

use super::{Context, Dispatcher, Job, Lane, Queued, Running, Stepped, next};

/// How many times as many jobs as may be in flight are claimed ahead.
const AHEAD: usize = 2;

/// Entries that are not claimed yet.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    /// Those whose token is at hand.
    sendable: BinaryHeap<Queued>,
    /// Those whose token is to be minted, or had from a program.
    to_prepare: BinaryHeap<Queued>,
    looks: JoinSet<((Box<Job>, Stepped), Kind)>,
    /// How many of either are looked at.
    looking: [usize; 2],
}

/// What a job needs before it can be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Sendable,
    ToPrepare,
}

/// A job that was looked at.
pub(super) type Looked = Result<(Id, ((Box<Job>, Stepped), Kind)), JoinError>;

impl Unclaimed {
    fn queue(&mut self, kind: Kind) -> &mut BinaryHeap<Queued> {
        match kind {
            Kind::Sendable => &mut self.sendable,
            Kind::ToPrepare => &mut self.to_prepare,
        }
    }

    /// Adds one, which may have to be prepared.
    pub(super) fn push(&mut self, queued: Queued, prepares: bool) {
        self.queue(if prepares { Kind::ToPrepare } else { Kind::Sendable }).push(queued);
    }

    /// How many there are, but for those that are looked at.
    pub(super) fn len(&self) -> usize {
        self.sendable.len() + self.to_prepare.len()
    }

    /// Whether any is looked at.
    pub(super) fn is_looking(&self) -> bool {
        !self.looks.is_empty()
    }

    /// The next that was looked at.
    pub(super) async fn looked(&mut self) -> Option<Looked> {
        self.looks.join_next_with_id().await
    }

    /// What is left of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Queued> {
        self.sendable.drain().chain(self.to_prepare.drain())
    }
}

impl Dispatcher {
    /// Whether a job has to be claimed before anything else.
    pub(super) fn is_unclaimed(&self, job: &Job) -> bool {
        !job.claimed && self.context.means.ledger.is_shared()
    }

    /// Claims as many as are about to be sent or prepared.
    pub(super) fn claim_ahead(&mut self) {
        if self.halt.is_some() || self.unclaimed.len() == 0 {
            return;
        }
        for (kind, claimed) in [(Kind::Sendable, self.sendable()), (Kind::ToPrepare, self.to_prepare())] {
            let wanted = (AHEAD * self.width()).saturating_sub(claimed + self.unclaimed.looking[kind as usize]);
            for _ in 0..wanted {
                let Some(job) = next(self.unclaimed.queue(kind), &self.context) else { break };
                self.look_at(job, kind);
            }
        }
    }

    fn look_at(&mut self, mut job: Box<Job>, kind: Kind) {
        let running = Running::of(&job);
        let (context, lane): (Arc<Context>, Arc<Lane>) = (Arc::clone(&self.context), Arc::clone(&self.lane));
        let handle = self.unclaimed.looks.spawn(async move {
            let stepped = job.look(&context, &lane).await;
            ((job, stepped), kind)
        });
        self.unclaimed.looking[kind as usize] += 1;
        self.running.insert(handle.id(), running);
    }

    pub(super) fn on_looked(&mut self, looked: Looked) {
        match looked {
            Ok((id, (stepped, kind))) => {
                self.unclaimed.looking[kind as usize] -= 1;
                self.on_step(Ok((id, stepped)));
            }
            Err(error) => self.on_step(Err(error)),
        }
    }
}
