//! The runner's side of a shared budget: what it holds of it, and when it speaks to the ledger.
//!
//! See [`grants`](super::grants) for the whole. A purse holds blocks of slots, hands them out as they open, and says when
//! the next exchange with the ledger is due. An exchange does everything at once: it reports answers, gives back what
//! can't be used in time, hears of pauses, and asks for the next block before the last is used up. It is due
//!
//! - when more is wanted than is held;
//! - shortly before a slot opens that was granted long before, for a pause may have begun since: what the ledger said
//!   last must not be older than [`FRESH`] when a request leaves;
//! - when slots are to be given back, and when a 429 was met;
//! - now and then, as long as something is under way or unreported.

use std::collections::VecDeque;
use std::time::Duration;

use super::grants::{Ask, BlockId, Granted, Refusal, Reply, Report, RunnerId};

/// No request leaves on a word of the ledger that is older.
pub const FRESH: Duration = Duration::from_secs(3);
/// Between two exchanges at most, while something is under way or unreported.
const REPORT: Duration = Duration::from_secs(15);
/// So long before a slot opens the ledger is asked whether there is a pause.
const LEAD: Duration = Duration::from_millis(500);
/// Slots that nobody wants are given back after this.
const IDLE: Duration = Duration::from_secs(2);
/// After a lost exchange.
const AGAIN: Duration = Duration::from_secs(1);
/// A request begins so long after the exchange that was due at most, however busy the machine is.
const SLACK: Duration = Duration::from_secs(10);
/// How many slots are asked for at first, and at most.
const SMALLEST: u32 = 4;
const LARGEST: u32 = 4096;
/// Without a word of the server, a pause is so long until the ledger says how long it is.
const PAUSE: Duration = Duration::from_secs(5);

/// A slot in use. Give it back by [`Purse::answered`], [`Purse::unsent`] or [`Purse::refused`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Token {
    block: BlockId,
    opens: Duration,
}

/// Whether the next request may leave.
#[derive(Debug, PartialEq, Eq)]
pub enum Draw {
    /// It may, with this slot.
    Go(Token),
    /// Not before this time.
    Wait(Duration),
    /// Not before the ledger has spoken.
    WaitForWord,
}

/// What a runner holds of one budget. Times are durations since any fixed origin of the runner's clock, which never goes
/// back.
#[derive(Debug)]
pub struct Purse {
    runner: RunnerId,
    limit: u32,
    in_force: u32,
    /// The longest time between a request's leaving and its answer.
    timeout: Duration,
    held: Vec<Held>,
    /// How many wait for a slot.
    waiting: u32,
    wanted_at: Option<Duration>,
    /// How many slots are asked for.
    wants: u32,
    /// How many the last block had.
    size: u32,
    ask_at: Duration,
    /// When the exchange began that the ledger's last word is from.
    heard_at: Option<Duration>,
    asking: bool,
    turn: u64,
    /// What was told in words that were lost, and in the one under way: by when each answer came.
    told: Vec<Told>,
    refusals: Vec<(Duration, Refusal)>,
    /// When slots open that nobody held when the ledger spoke last.
    next: Vec<Duration>,
    paused_until: Duration,
    report_at_once: bool,
}

/// A block.
#[derive(Debug)]
struct Held {
    id: BlockId,
    openings: VecDeque<Duration>,
    use_until: Duration,
    in_flight: u32,
    answered: Vec<Duration>,
    unsent: u32,
}

impl Held {
    fn give_back(&mut self) -> u32 {
        let given = self.openings.len() as u32;
        self.openings.clear();
        self.unsent += given;
        given
    }

    fn is_done(&self) -> bool {
        self.openings.is_empty() && self.in_flight == 0 && self.answered.is_empty() && self.unsent == 0
    }
}

#[derive(Clone, Debug)]
struct Told {
    block: BlockId,
    turn: u64,
    answered: Vec<Duration>,
    unsent: u32,
}

impl Purse {
    /// An empty purse of a runner whose manifest allows `limit` requests in any 60 seconds, and whose requests are
    /// answered or given up within `timeout`.
    #[must_use]
    pub fn new(runner: RunnerId, limit: u32, timeout: Duration) -> Self {
        Self {
            runner,
            limit: limit.max(1),
            in_force: limit.max(1),
            timeout,
            held: Vec::new(),
            waiting: 0,
            wanted_at: None,
            wants: SMALLEST,
            size: 0,
            ask_at: Duration::ZERO,
            heard_at: None,
            asking: false,
            turn: 0,
            told: Vec::new(),
            refusals: Vec::new(),
            next: Vec::new(),
            paused_until: Duration::ZERO,
            report_at_once: false,
        }
    }

    /// The limit in force, as the ledger said last.
    #[must_use]
    pub fn limit_in_force(&self) -> u32 {
        self.in_force
    }

    /// `count` more wait for a slot.
    pub fn wait_begins(&mut self, count: u32) {
        self.waiting += count;
    }

    /// `count` wait no more.
    pub fn wait_ends(&mut self, count: u32, now: Duration) {
        self.waiting = self.waiting.saturating_sub(count);
        self.wanted_at = Some(now);
    }

    /// Decides whether a request may leave now.
    pub fn draw(&mut self, now: Duration) -> Draw {
        self.expire(now);
        self.wanted_at = Some(now);
        if now < self.paused_until {
            return Draw::Wait(self.paused_until);
        }
        let is_fresh = self.is_fresh(now);
        let first = self.held.iter_mut().filter(|held| !held.openings.is_empty());
        let Some(held) = first.min_by_key(|held| held.openings.front().copied()) else { return Draw::WaitForWord };
        match held.openings.front().copied() {
            Some(opens) if opens > now => Draw::Wait(opens),
            Some(opens) if is_fresh => {
                held.openings.pop_front();
                held.in_flight += 1;
                Draw::Go(Token { block: held.id, opens })
            }
            _ => Draw::WaitForWord,
        }
    }

    /// When more than `ahead` further requests may leave, as far as is known, and if no other runner takes what is still
    /// to be had.
    #[must_use]
    pub fn opens_at(&self, ahead: u32) -> Option<Duration> {
        let mut openings: Vec<Duration> = self.held.iter().flat_map(|held| held.openings.iter().copied()).collect();
        openings.extend(&self.next);
        if ahead as usize >= openings.len() {
            return None;
        }
        let opens = *openings.select_nth_unstable(ahead as usize).1;
        Some(opens.max(self.paused_until))
    }

    /// How many slots it holds that no request has used.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.held.iter().map(|held| held.openings.len() as u32).sum()
    }

    /// The request was answered, or given up.
    pub fn answered(&mut self, token: &Token, now: Duration) {
        if let Some(held) = self.block_of(token) {
            held.answered.push(now);
        }
    }

    /// The request never left: its slot may be used by another.
    pub fn unsent(&mut self, token: &Token) {
        if let Some(held) = self.block_of(token) {
            let at = held.openings.partition_point(|opens| *opens <= token.opens);
            held.openings.insert(at, token.opens);
        }
    }

    /// The request was refused with a 429: nothing more leaves, and the ledger is told.
    pub fn refused(&mut self, token: &Token, now: Duration, retry_after: Option<Duration>, limit: Option<u32>) {
        if let Some(held) = self.block_of(token) {
            held.unsent += 1;
        }
        self.refusals.push((now, Refusal { age: Duration::ZERO, retry_after, limit }));
        self.pause(now + retry_after.unwrap_or(PAUSE));
    }

    /// Nobody wants anything any more: what is held is given back with the next word.
    pub fn rest(&mut self) {
        self.wanted_at = None;
        for held in &mut self.held {
            held.give_back();
        }
    }

    /// Whether something is left to tell.
    #[must_use]
    pub fn has_to_tell(&self) -> bool {
        !self.told.is_empty()
            || !self.refusals.is_empty()
            || self.held.iter().any(|held| held.unsent > 0 || !held.answered.is_empty())
    }

    fn block_of(&mut self, token: &Token) -> Option<&mut Held> {
        let held = self.held.iter_mut().find(|held| held.id == token.block)?;
        held.in_flight = held.in_flight.saturating_sub(1);
        Some(held)
    }

    fn pause(&mut self, until: Duration) {
        self.next.clear();
        self.paused_until = self.paused_until.max(until);
        for held in &mut self.held {
            held.give_back();
        }
    }

    fn expire(&mut self, now: Duration) {
        let late = self.held.iter_mut().filter(|held| held.use_until <= now);
        let given: u32 = late.map(Held::give_back).sum();
        if given > 0 {
            self.wants = (self.wants / 2).max(SMALLEST);
        }
    }

    fn is_fresh(&self, now: Duration) -> bool {
        self.heard_at.is_some_and(|heard| now <= heard + FRESH)
    }

    /// Whether somebody waits, or did a moment ago and will again.
    fn is_wanted(&self, now: Duration) -> bool {
        self.waiting > 0 || self.wanted_at.is_some_and(|at| now < at + IDLE)
    }

    /// When the next exchange with the ledger is due; `None` while one is under way, or nothing is to be said.
    pub fn due(&mut self, now: Duration) -> Option<Duration> {
        if self.asking {
            return None;
        }
        self.expire(now);
        let mut due = Duration::MAX;
        let is_unreported = self.held.iter().any(|held| !held.answered.is_empty());
        let gives_back = self.held.iter().any(|held| held.unsent > 0);
        if !self.refusals.is_empty() || gives_back || self.report_at_once && is_unreported {
            due = now;
        }
        let left = self.left();
        if left > 0 {
            if self.is_wanted(now) {
                due = due.min(self.fresh_word_due().unwrap_or(now));
            } else {
                due = due.min(now);
            }
            if self.waiting == 0
                && let Some(wanted) = self.wanted_at
            {
                due = due.min(wanted + IDLE);
            }
            due = due.min(self.held.iter().filter(|held| !held.openings.is_empty()).map(|held| held.use_until).min()?);
        }
        if self.wants_more(now) {
            due = due.min(self.ask_at.max(self.paused_until));
        }
        if is_unreported || !self.told.is_empty() || self.held.iter().any(|held| held.in_flight > 0) {
            due = due.min(self.heard_at.map_or(now, |heard| heard + REPORT));
        }
        if !self.told.is_empty() {
            // The last exchange was lost.
            due = due.max(self.ask_at);
        }
        (due < Duration::MAX).then(|| due.max(now))
    }

    /// When to ask so that the first slot can be used as soon as it opens; `None` where that is now.
    fn fresh_word_due(&self) -> Option<Duration> {
        let heard = self.heard_at?;
        let first = self.held.iter().filter_map(|held| held.openings.front().copied()).min()?;
        Some(first.saturating_sub(LEAD).max((heard + FRESH).saturating_sub(LEAD)))
    }

    /// Whether the next block should be on its way: half of the last is used.
    fn wants_more(&self, now: Duration) -> bool {
        let left = self.left();
        let is_short = self.waiting > left && left <= self.size;
        is_short || left <= self.size / 2 && self.is_wanted(now)
    }

    /// Begins an exchange: what to tell the ledger. To be followed by [`Purse::told`] or [`Purse::lost`].
    pub fn ask(&mut self, now: Duration) -> Ask {
        self.expire(now);
        if !self.is_wanted(now) {
            let given: u32 = self.held.iter_mut().map(Held::give_back).sum();
            if given > 0 {
                self.wants = (self.wants / 2).max(SMALLEST);
            }
        }
        self.asking = true;
        self.turn += 1;
        for held in &mut self.held {
            if held.unsent > 0 || !held.answered.is_empty() {
                self.told.push(Told {
                    block: held.id,
                    turn: self.turn,
                    answered: std::mem::take(&mut held.answered),
                    unsent: std::mem::take(&mut held.unsent),
                });
            }
        }
        let mut holding: Vec<BlockId> = self.held.iter().filter(|held| !held.is_done()).map(|held| held.id).collect();
        holding.extend(self.told.iter().map(|told| told.block));
        let left = self.left();
        let is_asking = now >= self.ask_at.max(self.paused_until) && self.is_wanted(now) && left <= self.size;
        Ask {
            runner: self.runner,
            turn: self.turn,
            holding,
            limit: self.limit,
            // The next word is due within `REPORT`, and a request may leave until then.
            longest: self.timeout + REPORT + SLACK,
            reports: self.told.iter().map(|told| told.report(now)).collect(),
            refusals: self.refusals.iter().map(|(at, it)| Refusal { age: now.saturating_sub(*at), ..*it }).collect(),
            wanted: if is_asking { self.wants.max(self.waiting) } else { 0 },
        }
    }

    /// Ends an exchange that began at `asked`, with what the ledger answered.
    pub fn told(&mut self, asked: Duration, now: Duration, reply: Reply) {
        self.asking = false;
        self.heard_at = Some(asked);
        self.told.clear();
        // What was met since is told next.
        self.refusals.retain(|(at, _)| *at > asked);
        self.held.retain(|held| !held.is_done());
        self.ask_at = now + reply.ask_after;
        self.report_at_once = reply.report_at_once;
        self.in_force = reply.limit;
        self.next = reply.next.iter().map(|opens| now + *opens).collect();
        if let Some(Granted { block, opens_in, use_within }) = reply.granted {
            self.size = opens_in.len() as u32;
            self.wants = (self.wants * 2).min(LARGEST);
            self.held.push(Held {
                id: block,
                openings: opens_in.into_iter().map(|opens| now + opens).collect(),
                use_until: asked + use_within,
                in_flight: 0,
                answered: Vec::new(),
                unsent: 0,
            });
        }
        if let Some(pause) = reply.pause {
            self.pause(now + pause);
        } else if now < self.paused_until {
            // A 429 that the ledger has yet to hear of.
            self.pause(self.paused_until);
        }
    }

    /// Ends an exchange of which it isn't known whether the ledger heard it.
    pub fn lost(&mut self, now: Duration) {
        self.asking = false;
        self.ask_at = now + AGAIN;
    }
}

impl Told {
    fn report(&self, now: Duration) -> Report {
        Report {
            block: self.block,
            turn: self.turn,
            answered: self.answered.iter().map(|at| now.saturating_sub(*at)).collect(),
            unsent: self.unsent,
        }
    }
}
