//! The orders in which entries wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Context, Job};

/// An entry that waits for its turn; the one whose token dies first comes first, those without a known end last. What
/// decides stands beside the job, not in it: to find the next of many, one would look into several that lie anywhere. And
/// of a million entries most have no job yet: it is made when their turn has come.
#[derive(Debug)]
pub(super) struct Queued {
    rank: Reverse<(Timestamp, usize)>,
    job: Option<Box<Job>>,
}

impl Queued {
    /// One whose job is not begun.
    pub(super) fn fresh(context: &Context, item: usize) -> Self {
        Self { rank: rank(context.plan.expires_at(item), item), job: None }
    }

    /// When its token dies, as far as known.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let Reverse((deadline, _)) = self.rank;
        (deadline != Timestamp::MAX).then_some(deadline)
    }

    /// Its job.
    pub(super) fn into_job(self, context: &Context) -> Option<Box<Job>> {
        let Reverse((_, item)) = self.rank;
        self.job.or_else(|| Job::begin(context, item).map(Box::new))
    }
}

fn rank(deadline: Option<Timestamp>, item: usize) -> Reverse<(Timestamp, usize)> {
    Reverse((deadline.unwrap_or(Timestamp::MAX), item))
}

impl From<Box<Job>> for Queued {
    fn from(job: Box<Job>) -> Self {
        Self { rank: rank(job.deadline, job.item), job: Some(job) }
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// A job that waits for its backoff to end.
#[derive(Debug)]
pub(super) struct Waiting {
    /// When.
    pub(super) due: Instant,
    /// Which.
    pub(super) job: Box<Job>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.job.item).cmp(&(other.due, other.job.item))
    }
}

/// The job of a queue that comes first. The queue gives its memory back as it empties: what is done takes some, too.
pub(super) fn next(queue: &mut BinaryHeap<Queued>, context: &Context) -> Option<Box<Job>> {
    const SMALL: usize = 1024;
    let first = queue.pop();
    if queue.capacity() > SMALL && queue.len() < queue.capacity() / 2 {
        queue.shrink_to(queue.len() + queue.len() / 4);
    }
    first?.into_job(context)
}
