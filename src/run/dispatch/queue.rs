//! The orders in which jobs wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Job;

/// A job that may be launched; the one whose token dies first comes first, those without a known end last. What decides
/// stands beside the job, not in it: to find the next of many, one would look into several that lie anywhere.
#[derive(Debug)]
pub(super) struct Queued {
    rank: Reverse<(bool, Option<Timestamp>, usize)>,
    pub(super) job: Box<Job>,
}

impl From<Box<Job>> for Queued {
    fn from(job: Box<Job>) -> Self {
        Self { rank: Reverse((job.deadline.is_none(), job.deadline, job.item)), job }
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

/// The first job of a queue, which gives its memory back as it empties: what is done takes some, too.
pub(super) fn next(queue: &mut BinaryHeap<Queued>) -> Option<Box<Job>> {
    const SMALL: usize = 1024;
    let job = queue.pop().map(|queued| queued.job);
    if queue.capacity() > SMALL && queue.len() < queue.capacity() / 2 {
        queue.shrink_to(queue.len() + queue.len() / 4);
    }
    job
}
