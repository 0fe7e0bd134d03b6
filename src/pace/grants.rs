//! One budget of one key, shared by many runners: the sliding window as the ledger keeps it.
//!
//! A runner alone keeps a [`Window`](super::Window) in its memory. Where several runners send with one key, the window
//! lives in the ledger they share, and each takes slots from it in blocks: one exchange with the ledger for some seconds'
//! worth of requests, and the same exchange reports what became of earlier ones. The runner's side is
//! [`Purse`](super::Purse).
//!
//! # What is kept
//!
//! As many slots as the limit allows. Each is one of:
//!
//! - *free*: nothing is kept of it;
//! - *settled*: its request was answered, and the slot is free from a known time on, 60 seconds after the answer;
//! - *held*: it belongs to a block of a runner, which may use it from its opening on and must begin to by the block's
//!   end.
//!
//! A block may hold slots that open later: who asks while the window is full is given the next ones to open, in the
//! order of asking. So nobody asks in vain again and again, nobody is passed over, and each request leaves the moment its
//! slot opens. What opens more than [`AHEAD`] from now is not given away; who then has to wait keeps its place in a queue.
//!
//! # Why no request is refused
//!
//! A request counts at the server from its arrival, at some time between its leaving and its answer. A slot is used by
//! one request, not before its opening, and passes on 60 seconds after that request's answer, when the server has
//! forgotten it. So the server never counts more requests than there are slots. Times are the ledger's own; runners hear
//! and tell durations only, and each error is to the safe side: an answer's age was measured before the ledger looked at
//! its clock, an opening counts from when the runner heard of it, and a block's end from when the runner asked.
//!
//! An exchange may be lost, on the way there or back. A runner therefore numbers its words, repeats what it reported in
//! a lost one under the old number, and names the blocks it knows: what was reported already isn't taken twice, a block
//! that the runner never heard of comes back, and a word that arrives after a later one changes nothing.
//!
//! A runner that says nothing any more may have sent all it held. Its block is taken as sent at the last moment at which
//! that can have been: its end, or the runner's last word, and the longest time that a request is under way. Sixty
//! seconds after that its slots are free. A block is a few seconds of the limit, so little is lost.
//!
//! # What it costs
//!
//! A slot is idle from its opening until its request leaves, and it is taken for a round trip beyond the 60 seconds, as in
//! a window of one's own. Openings are known ahead, so the first is nearly nothing; answers are reported long before their
//! slots open, so reporting lazily costs nothing. With round trips of 1.6 s in the mean, no client can use more than
//! `60 / 61.6` = 97% of the limit; `benches/schedule.rs` shows what is reached.
//!
//! The database's clock is trusted to run evenly. Set back, it makes everyone wait a minute at most; set ahead, it makes
//! slots open too early by as much, and the 429s that may come of it pause everyone as any others do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::share::Share;
use super::window::SPAN;

/// What opens later than this is not given away yet, unless it follows closely on what is.
pub const AHEAD: Duration = Duration::from_secs(10);
/// A block's slots open within this.
const BREADTH: Duration = Duration::from_secs(5);
/// A request begins at most so long after the last opening of its block.
const USE_WITHIN: Duration = Duration::from_secs(5);
/// Added to the span: the grain of timers and clocks on either side.
const GRAIN: Duration = Duration::from_millis(20);
/// Answers are kept by so many milliseconds, rounded up.
const STEP: u64 = 50;
/// Who has to wait asks again after this at the latest: slots may have been given back.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// And not before this, where it isn't known when a slot opens.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Who doesn't come back so long after it should have loses its place.
const LATE: Duration = Duration::from_secs(5);
/// Runners are told of slots that open within this, and of so many at most.
const FORESEEN: Duration = Duration::from_secs(30);
const FORESEEN_AT_MOST: usize = 256;
/// A block of a runner that is alone holds the requests of so many seconds.
const ALONE: u64 = 3;

/// Who asks: one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunnerId(pub Uuid);

/// A block of slots, among those of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockId(u64);

/// What a runner says, and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who.
    pub runner: RunnerId,
    /// The number of this word: higher than any before it.
    pub turn: u64,
    /// The blocks it knows of which something is still to be reported.
    pub holding: Vec<BlockId>,
    /// The limit as the runner's manifest says it.
    pub limit: u32,
    /// How long a request of this runner may still be under way after this word, at most.
    pub longest: Duration,
    /// What became of slots.
    pub reports: Vec<Report>,
    /// 429s met.
    pub refusals: Vec<Refusal>,
    /// How many slots it could use. Zero only reports.
    pub wanted: u32,
}

/// What became of the slots of a block since the last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which block.
    pub block: BlockId,
    /// The number of the word that it was first told in.
    pub turn: u64,
    /// How long ago each answer came.
    pub answered: Vec<Duration>,
    /// How many are given back: no request used them.
    pub unsent: u32,
}

/// A 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How long ago it came.
    pub age: Duration,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// The limit as the server says it.
    pub limit: Option<u32>,
}

/// What the ledger answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Nobody sends for so long.
    pub pause: Option<Duration>,
    /// Slots, where there are some.
    pub granted: Option<Granted>,
    /// When the next slots open that nobody holds, from now, as far as is known: nothing is promised.
    pub next: Vec<Duration>,
    /// Not to be asked again sooner. A pause is not counted in.
    pub ask_after: Duration,
    /// Answers are to be reported at once: after a pause, others wait for them.
    pub report_at_once: bool,
    /// The limit in force.
    pub limit: u32,
}

/// A block of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its name in reports.
    pub block: BlockId,
    /// When each slot opens, from now; in order.
    pub opens_in: Vec<Duration>,
    /// Requests are to begin within this from now.
    pub use_within: Duration,
}

/// One budget of one key. Times are durations since any fixed origin of the ledger's clock; kept in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    blocks: Vec<Block>,
    /// How many slots come free at a time.
    settled: BTreeMap<u64, u32>,
    queue: Vec<Waiting>,
    next_block: u64,
    paused_until: u64,
    /// Pauses in a row.
    refusals: u32,
    trial: Option<Trial>,
    learnt: Option<Learnt>,
    /// The highest limit that any runner asked with.
    configured: u32,
    share: Share,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Block {
    id: BlockId,
    runner: RunnerId,
    /// The last word of the runner that touched it.
    turn: u64,
    /// Openings of the slots that nothing was reported of; in order.
    openings: Vec<u64>,
    granted: u64,
    /// Requests begin before this.
    use_until: u64,
    /// The server has forgotten the last of them.
    gone: u64,
}

/// A runner that was turned away, in the order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    runner: RunnerId,
    wanted: u32,
    until: u64,
}

/// After a pause one request tries the way, then twice as many with every answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Trial {
    since: u64,
    abreast: u32,
}

/// A limit that the server taught.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Learnt {
    limit: u32,
    probe_at: u64,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When the slot of a request that was answered, or may have arrived, at `at` is free.
fn forgotten(at: u64) -> u64 {
    at.saturating_add(millis(SPAN + GRAIN)).next_multiple_of(STEP)
}

impl Grants {
    /// Hears a runner, and answers it: reports first, then refusals, then what it asks for.
    pub fn exchange(&mut self, now: Duration, ask: &Ask) -> Reply {
        self.advance(now, ask.limit);
        for report in &ask.reports {
            self.report(now, ask.runner, report);
        }
        self.renew(now, ask);
        for refusal in &ask.refusals {
            self.pause(now, refusal, ask.limit);
        }
        let granted = if ask.wanted > 0 { self.grant(now, ask) } else { Err(Duration::ZERO) };
        if granted.is_ok() || ask.wanted == 0 {
            self.queue.retain(|waiting| waiting.runner != ask.runner);
        }
        let pause = self.paused_until.saturating_sub(millis(now));
        Reply {
            pause: (pause > 0).then(|| Duration::from_millis(pause)),
            ask_after: granted.as_ref().err().copied().unwrap_or_default(),
            granted: granted.ok(),
            next: self.next(now, ask.limit),
            report_at_once: self.trial.is_some(),
            limit: ask.limit.max(1).min(self.most_learnt(ask.limit)),
        }
    }

    /// Counts a request that was sent without this ledger's leave, and had arrived by `arrived`.
    pub fn recall(&mut self, arrived: Duration) {
        *self.settled.entry(forgotten(millis(arrived))).or_default() += 1;
    }

    /// How many requests of a window are the runners'.
    fn most(&self, configured: u32) -> u32 {
        let learnt = self.learnt.map_or(u32::MAX, |learnt| learnt.limit);
        configured.max(1).min(learnt).min(self.share.size())
    }

    /// Slots that are not free.
    fn own(&self) -> u32 {
        self.settled.values().sum::<u32>() + self.held()
    }

    fn held(&self) -> u32 {
        self.blocks.iter().map(|block| block.openings.len() as u32).sum()
    }

    fn advance(&mut self, now: Duration, configured: u32) {
        let at = millis(now);
        self.after_set_back(at);
        self.settled = self.settled.split_off(&(at + 1));
        self.blocks.retain(|block| block.gone > at && !block.openings.is_empty());
        self.queue.retain(|waiting| waiting.until > at);
        self.configured = self.configured.max(configured);
        if let Some(learnt) = &mut self.learnt
            && at >= learnt.probe_at
        {
            learnt.limit = learnt.limit.saturating_add((learnt.limit / 10).max(1));
            learnt.probe_at = at + millis(SPAN);
            if learnt.limit >= self.configured {
                self.learnt = None;
            }
        }
        let most = self.learnt.map_or(self.configured, |learnt| learnt.limit.min(self.configured));
        self.share.advance(now, self.own(), most);
    }

    /// No slot is settled for longer than a span: what says so was noted before the clock was set back, and counts from
    /// now. Openings stay in order with what they follow on.
    fn after_set_back(&mut self, at: u64) {
        let latest = forgotten(at);
        let is_late = |time: &u64| *time > latest;
        if !self.settled.keys().any(is_late) && !self.blocks.iter().any(|block| block.granted > at) {
            return;
        }
        let late: u32 = self.settled.split_off(&(latest + 1)).values().sum();
        if late > 0 {
            *self.settled.entry(latest).or_default() += late;
        }
        for block in &mut self.blocks {
            let back = block.granted.saturating_sub(at);
            block.granted -= back;
            block.use_until -= back;
            block.gone -= back;
            for opening in &mut block.openings {
                *opening = opening.saturating_sub(back);
            }
        }
        self.paused_until = self.paused_until.min(latest);
        for waiting in &mut self.queue {
            waiting.until = waiting.until.min(latest);
        }
    }

    /// Takes a report of slots. A report of a block that is gone says nothing new but for late answers.
    fn report(&mut self, now: Duration, runner: RunnerId, report: &Report) {
        let at = millis(now);
        let it = self.blocks.iter().position(|block| block.id == report.block && block.runner == runner);
        if it.is_some_and(|it| self.blocks[it].turn >= report.turn) {
            return;
        }
        for age in &report.answered {
            let free = forgotten(millis(now.saturating_sub(*age)));
            if free > at {
                *self.settled.entry(free).or_default() += 1;
            }
        }
        if !report.answered.is_empty() {
            self.refusals = 0;
        }
        let Some(block) = it.and_then(|it| self.blocks.get_mut(it)) else { return };
        block.turn = report.turn;
        let used = report.answered.len().min(block.openings.len());
        block.openings.drain(..used);
        let kept = block.openings.len().saturating_sub(report.unsent as usize);
        // What was to open later is still taken until then.
        for opening in block.openings.drain(kept..).filter(|opening| *opening > at) {
            *self.settled.entry(opening).or_default() += 1;
        }
        let answered = report.answered.len() as u32;
        if let Some(trial) = &mut self.trial
            && block.granted >= trial.since
        {
            trial.abreast = trial.abreast.saturating_mul(2_u32.saturating_pow(answered));
        }
        if self.trial.is_some_and(|trial| trial.abreast >= self.configured) {
            self.trial = None;
        }
    }

    /// A runner that speaks lives: what it holds may still be sent, and counts from now on. What it never heard of comes
    /// back.
    fn renew(&mut self, now: Duration, ask: &Ask) {
        let at = millis(now);
        let gone = forgotten(millis(now + ask.longest));
        for block in self.blocks.iter_mut().filter(|block| block.runner == ask.runner && block.turn < ask.turn) {
            block.turn = ask.turn;
            block.gone = block.gone.max(gone);
            if !ask.holding.contains(&block.id) {
                for opening in block.openings.drain(..).filter(|opening| *opening > at) {
                    *self.settled.entry(opening).or_default() += 1;
                }
            }
        }
        self.blocks.retain(|block| !block.openings.is_empty());
    }

    /// A 429: everyone pauses for as long as the server says (by default 5 s, doubling to 40 s), and its limit is learnt.
    fn pause(&mut self, now: Duration, refusal: &Refusal, configured: u32) {
        let met = now.saturating_sub(refusal.age);
        let fallback = Duration::from_secs(5) * 2_u32.pow(self.refusals.min(3));
        let pause = refusal.retry_after.unwrap_or(fallback) + GRAIN;
        // The first of a burst; the others left before it was known.
        if millis(met) >= self.paused_until {
            self.refusals += 1;
            self.trial = Some(Trial { since: millis(now), abreast: 1 });
            self.share.refused(now, self.own(), pause);
        }
        self.paused_until = self.paused_until.max(millis(met + pause));
        if let Some(limit) = refusal.limit.filter(|limit| *limit > 0 && *limit < self.most_learnt(configured)) {
            // Its own word: it is probed again only after ten quiet windows.
            self.learnt = Some(Learnt { limit, probe_at: millis(now + SPAN * 10) });
        }
    }

    fn most_learnt(&self, configured: u32) -> u32 {
        self.learnt.map_or(configured, |learnt| learnt.limit)
    }

    /// How many slots a block holds: less where many ask, so that what is urgent waits for nobody's block, but not so few
    /// that the ledger is asked for every request.
    fn block_size(&self, most: u32, runner: RunnerId) -> u32 {
        let mut runners: Vec<RunnerId> = self.blocks.iter().map(|block| block.runner).collect();
        runners.extend(self.queue.iter().map(|waiting| waiting.runner));
        runners.push(runner);
        runners.sort_unstable();
        runners.dedup();
        let most = u64::from(most);
        (most * ALONE / 60 / runners.len() as u64).max(most / 60).max(1) as u32
    }

    /// Gives slots, or says how long to wait.
    fn grant(&mut self, now: Duration, ask: &Ask) -> Result<Granted, Duration> {
        let at = millis(now);
        if at < self.paused_until {
            return Err(Duration::ZERO);
        }
        let most = self.most(ask.limit);
        let mut wanted = ask.wanted.min(self.block_size(most, ask.runner));
        if let Some(trial) = self.trial {
            // One that died with its slot holds back nobody for longer than its block.
            let trying = self.blocks.iter().filter(|block| block.granted >= trial.since && block.use_until > at);
            let trying: usize = trying.map(|block| block.openings.len()).sum();
            wanted = wanted.min(trial.abreast.saturating_sub(trying as u32));
        }
        let before = self.queue.iter().take_while(|waiting| waiting.runner != ask.runner);
        let before: u32 = before.map(|waiting| waiting.wanted).sum();
        let openings = self.openings(at, most, (before + wanted.max(1)) as usize);
        let first = openings.get(before as usize).copied();
        let last = match first {
            Some(first) if first <= at + millis(AHEAD) => first + millis(BREADTH),
            _ => 0,
        };
        let mine: Vec<u64> =
            openings.into_iter().skip(before as usize).take(wanted as usize).take_while(|it| *it <= last).collect();
        let Some(latest) = mine.last().copied() else {
            return Err(self.queue_up(at, ask, first));
        };
        for opening in mine.iter().filter(|opening| **opening > at) {
            self.take_settled(*opening);
        }
        let use_until = latest + millis(USE_WITHIN);
        let id = BlockId(self.next_block);
        self.next_block += 1;
        let opens_in = mine.iter().map(|opening| Duration::from_millis(opening - at)).collect();
        self.blocks.push(Block {
            id,
            runner: ask.runner,
            turn: ask.turn,
            openings: mine,
            granted: at,
            use_until,
            gone: forgotten(use_until + millis(ask.longest)),
        });
        Ok(Granted { block: id, opens_in, use_within: Duration::from_millis(use_until - at) })
    }

    /// When the next slots open that nobody holds, as far as is known, at most `count`.
    fn openings(&self, at: u64, most: u32, count: usize) -> Vec<u64> {
        let own = self.own();
        let free = most.saturating_sub(own);
        // Where the limit has shrunk, so many have to pass first.
        let excess = own.saturating_sub(most);
        let settled = self.settled.iter().flat_map(|(time, slots)| std::iter::repeat_n(*time, *slots as usize));
        std::iter::repeat_n(at, free as usize).chain(settled.skip(excess as usize)).take(count).collect()
    }

    /// What a runner may look forward to; nothing while one request tries the way for all.
    fn next(&self, now: Duration, limit: u32) -> Vec<Duration> {
        let at = millis(now);
        if self.trial.is_some() || at < self.paused_until {
            return Vec::new();
        }
        let latest = at + millis(FORESEEN);
        let openings = self.openings(at, self.most(limit), FORESEEN_AT_MOST);
        openings.into_iter().take_while(|it| *it <= latest).map(|it| Duration::from_millis(it - at)).collect()
    }

    fn take_settled(&mut self, opening: u64) {
        if let Some(slots) = self.settled.get_mut(&opening) {
            *slots -= 1;
            if *slots == 0 {
                self.settled.remove(&opening);
            }
        }
    }

    /// Keeps a runner's place, and says when it should come back. Its slot opens at `opening`, if that is known.
    fn queue_up(&mut self, at: u64, ask: &Ask, opening: Option<u64>) -> Duration {
        // What is held can't be free again before a span has passed since its opening.
        let held = self.blocks.iter().filter_map(|block| block.openings.first()).min();
        let opening = opening.or_else(|| held.map(|opening| forgotten(*opening)));
        let known = opening.map_or(0, |opening| opening.saturating_sub(at + millis(AHEAD)));
        let wait = Duration::from_millis(known).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let until = at + millis(wait + LATE);
        let wanted = ask.wanted.min(self.block_size(self.most(ask.limit), ask.runner));
        match self.queue.iter_mut().find(|waiting| waiting.runner == ask.runner) {
            Some(waiting) => *waiting = Waiting { wanted, until, ..*waiting },
            None => self.queue.push(Waiting { runner: ask.runner, wanted, until }),
        }
        wait
    }
}

#[cfg(test)]
mod tests;
