//! Many runners on one budget, event by event: the purses and the ledger's grants as they are, against a server with a
//! strict window. No runtime, no clock; an hour takes a moment.
//!
//! Each runner has a clock of its own, which began at some other time and runs a little fast or slow. Exchanges with the
//! ledger take a while, and may be lost: before they are heard, after, or so that the ledger hears them when the runner
//! has long given them up. Requests of a runner that dies may still arrive.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use crate::pace::grants::{Ask, Grants, Reply, RunnerId};
use crate::pace::{Draw, FRESH, Purse, SPAN, Token};

/// An exchange without an answer is given up after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is played.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Requests in any 60 seconds that runners believe to be allowed.
    pub limit: u32,
    /// What the server allows, if that is another number; it teaches it with every 429.
    pub server_limit: Option<u32>,
    /// How long is played.
    pub lasts: Duration,
    /// The runners.
    pub runners: Vec<Worker>,
    /// Shortest and longest time on the way, in each direction.
    pub way: (Duration, Duration),
    /// The server works on a request for so long at most.
    pub work: Duration,
    /// An exchange with the ledger takes so long at most, in each direction.
    pub exchange: Duration,
    /// How many exchanges are lost, of one.
    pub lost: f64,
    /// Somebody else who sends so many requests a minute with the same key, in the second half.
    pub stranger: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// One runner.
#[derive(Clone, Debug)]
pub struct Worker {
    /// When it starts.
    pub joins: Duration,
    /// When it dies, without a word.
    pub dies: Option<Duration>,
    /// How many requests it has in flight at most.
    pub concurrency: u32,
    /// When it gets how much to do.
    pub jobs: Vec<(Duration, u64)>,
}

impl Worker {
    /// A runner that is there from the beginning and always has something to do.
    #[must_use]
    pub fn busy() -> Self {
        Self { joins: Duration::ZERO, dies: None, concurrency: 32, jobs: vec![(Duration::ZERO, u64::MAX / 2)] }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            limit: 300,
            server_limit: None,
            lasts: Duration::from_secs(1200),
            runners: vec![Worker::busy()],
            way: (Duration::from_millis(20), Duration::from_millis(120)),
            work: Duration::from_secs(3),
            exchange: Duration::from_millis(10),
            lost: 0.0,
            stranger: 0,
            seed: 1,
        }
    }
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// When the runners' accepted requests arrived.
    pub arrivals: Vec<Duration>,
    /// 429s that runners met.
    pub refused: u64,
    /// Exchanges with the ledger.
    pub exchanges: u64,
    /// Accepted requests of each runner.
    pub by_runner: Vec<u64>,
    /// The longest time that each runner waited with something to do and nothing in flight.
    pub longest_wait: Vec<Duration>,
    /// Requests that left while the ledger knew of a pause for longer than a purse may not know of it.
    pub in_pause: u64,
}

impl Played {
    /// Which share of the limit was used from `from` on, until `until`.
    #[must_use]
    pub fn used(&self, limit: u32, from: Duration, until: Duration) -> f64 {
        let sent = self.arrivals.iter().filter(|at| (from..until).contains(*at)).count() as f64;
        sent * 60.0 / (f64::from(limit) * until.saturating_sub(from).as_secs_f64())
    }
}

enum Event {
    Join(usize),
    Die(usize),
    Jobs(usize, u64),
    Wake(usize),
    Arrive { of: usize, token: Token, answers: Duration },
    Answer { of: usize, token: Token, refused: Option<Duration> },
    Hear { of: usize, ask: Box<Ask>, asked: Duration, fate: Fate },
    Word { of: usize, asked: Duration, reply: Box<Reply> },
    Lost(usize),
    Stranger,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Heard,
    AnswerLost,
}

struct Runner {
    purse: Purse,
    alive: bool,
    in_flight: u32,
    concurrency: u32,
    jobs: u64,
    is_waiting: bool,
    starving_since: Option<Duration>,
    /// Its clock: what it showed at the beginning, and how fast it runs.
    origin: Duration,
    pace: f64,
    wakes_at: Option<Duration>,
}

impl Runner {
    fn local(&self, time: Duration) -> Duration {
        self.origin + time.mul_f64(self.pace)
    }

    /// When its clock shows `local`: rounded up, as timers are.
    fn global(&self, local: Duration) -> Duration {
        local.saturating_sub(self.origin).div_f64(self.pace) + Duration::from_micros(1)
    }
}

struct Playing<'a> {
    fleet: &'a Fleet,
    dice: StdRng,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    runners: Vec<Runner>,
    grants: Grants,
    ledger_origin: Duration,
    paused: (Duration, Duration),
    window: VecDeque<Duration>,
    played: Played,
}

/// Plays it.
#[must_use]
pub fn play(fleet: &Fleet) -> Played {
    let mut dice = StdRng::seed_from_u64(fleet.seed);
    let runner = |(number, worker): (usize, &Worker)| Runner {
        purse: Purse::new(RunnerId(Uuid::from_u128(number as u128 + 1)), fleet.limit, fleet.way.1 * 2 + fleet.work),
        alive: false,
        in_flight: 0,
        concurrency: worker.concurrency,
        jobs: 0,
        is_waiting: false,
        starving_since: None,
        origin: Duration::from_millis(dice.random_range(0..1_000_000_000)),
        pace: 1.0 + dice.random_range(-0.000_1..0.000_1),
        wakes_at: None,
    };
    let runners: Vec<Runner> = fleet.runners.iter().enumerate().map(runner).collect();
    let mut playing = Playing {
        fleet,
        events: BTreeMap::new(),
        count: 0,
        grants: Grants::default(),
        ledger_origin: Duration::from_millis(dice.random_range(0..1_800_000_000_000)),
        paused: (Duration::ZERO, Duration::ZERO),
        window: VecDeque::new(),
        played: Played {
            by_runner: vec![0; runners.len()],
            longest_wait: vec![Duration::ZERO; runners.len()],
            ..Played::default()
        },
        runners,
        dice,
    };
    playing.begin();
    while let Some(((now, _), event)) = playing.events.pop_first() {
        if now > fleet.lasts {
            break;
        }
        playing.happen(now, event);
    }
    playing.played
}

impl Playing<'_> {
    fn begin(&mut self) {
        for (of, worker) in self.fleet.runners.iter().enumerate() {
            self.at(worker.joins, Event::Join(of));
            if let Some(dies) = worker.dies {
                self.at(dies, Event::Die(of));
            }
            for (at, jobs) in &worker.jobs {
                self.at(*at, Event::Jobs(of, *jobs));
            }
        }
        if self.fleet.stranger > 0 {
            self.at(self.fleet.lasts / 2, Event::Stranger);
        }
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.count += 1;
        self.events.insert((time, self.count), event);
    }

    fn some(&mut self, shortest: Duration, longest: Duration) -> Duration {
        Duration::from_micros(self.dice.random_range(shortest.as_micros() as u64..=longest.as_micros() as u64))
    }

    fn happen(&mut self, now: Duration, event: Event) {
        if let Some(of) = self.on(now, event)
            && self.runners[of].alive
        {
            self.step(now, of);
        }
    }

    /// Lets an event happen, and tells whom it concerns.
    fn on(&mut self, now: Duration, event: Event) -> Option<usize> {
        match event {
            Event::Join(of) => {
                self.runners[of].alive = true;
                Some(of)
            }
            Event::Die(of) => {
                self.runners[of].alive = false;
                None
            }
            Event::Jobs(of, jobs) => {
                self.runners[of].jobs += jobs;
                Some(of)
            }
            Event::Wake(of) => {
                self.runners[of].wakes_at = None;
                Some(of)
            }
            Event::Arrive { of, token, answers } => {
                let refused = self.arrive(now);
                if refused.is_some() {
                    self.played.refused += 1;
                } else {
                    self.played.arrivals.push(now);
                    self.played.by_runner[of] += 1;
                }
                self.at(answers, Event::Answer { of, token, refused });
                None
            }
            Event::Answer { of, token, refused } => {
                self.answer(now, of, &token, refused);
                Some(of)
            }
            Event::Hear { of, ask, asked, fate } => {
                self.hear(now, of, &ask, asked, fate);
                None
            }
            Event::Word { of, asked, reply } => {
                let local = self.runners[of].local(now);
                self.runners[of].purse.told(asked, local, *reply);
                Some(of)
            }
            Event::Lost(of) => {
                let local = self.runners[of].local(now);
                self.runners[of].purse.lost(local);
                Some(of)
            }
            Event::Stranger => {
                self.arrive(now);
                self.at(now + Duration::from_secs(60) / self.fleet.stranger, Event::Stranger);
                None
            }
        }
    }

    /// A request arrives at the server, which counts exactly: how long to wait where it is refused.
    fn arrive(&mut self, now: Duration) -> Option<Duration> {
        while self.window.front().is_some_and(|arrived| *arrived + SPAN <= now) {
            self.window.pop_front();
        }
        let limit = self.fleet.server_limit.unwrap_or(self.fleet.limit);
        if self.window.len() < limit as usize {
            self.window.push_back(now);
            return None;
        }
        let free = self.window.front().map_or(SPAN, |arrived| (*arrived + SPAN).saturating_sub(now));
        Some(Duration::from_secs(free.as_secs() + 1))
    }

    fn answer(&mut self, now: Duration, of: usize, token: &Token, refused: Option<Duration>) {
        let runner = &mut self.runners[of];
        let local = runner.local(now);
        runner.in_flight -= 1;
        match refused {
            None => runner.purse.answered(token, local),
            Some(retry_after) => {
                runner.jobs += 1;
                let taught = self.fleet.server_limit;
                runner.purse.refused(token, local, Some(retry_after), taught);
            }
        }
    }

    fn hear(&mut self, now: Duration, of: usize, ask: &Ask, asked: Duration, fate: Fate) {
        let reply = self.grants.exchange(self.ledger_origin + now, ask);
        if let Some(pause) = reply.pause {
            let from = if now < self.paused.1 { self.paused.0 } else { now };
            self.paused = (from, now + pause);
        }
        if fate == Fate::Heard {
            let back = self.some(Duration::ZERO, self.fleet.exchange);
            self.at(now + back, Event::Word { of, asked, reply: Box::new(reply) });
        }
    }

    /// A runner does what it can.
    fn step(&mut self, now: Duration, of: usize) {
        let waits_until = self.send(now, of);
        let runner = &mut self.runners[of];
        let local = runner.local(now);
        let due = runner.purse.due(local);
        if due.is_some_and(|due| due <= local) {
            let ask = runner.purse.ask(local);
            self.exchange(now, of, ask, local);
        }
        let runner = &mut self.runners[of];
        let next = [waits_until, runner.purse.due(local)].into_iter().flatten().map(|at| runner.global(at)).min();
        if let Some(next) = next.map(|at| at.max(now + Duration::from_micros(1)))
            && runner.wakes_at.is_none_or(|at| at > next)
        {
            runner.wakes_at = Some(next);
            self.at(next, Event::Wake(of));
        }
    }

    /// Sends what may leave; tells when the next may, on the runner's clock.
    fn send(&mut self, now: Duration, of: usize) -> Option<Duration> {
        let local = self.runners[of].local(now);
        loop {
            let runner = &mut self.runners[of];
            let wants = runner.jobs > 0 && runner.in_flight < runner.concurrency;
            if wants != runner.is_waiting {
                runner.is_waiting = wants;
                if wants { runner.purse.wait_begins(1) } else { runner.purse.wait_ends(1, local) }
            }
            let starves = wants && runner.in_flight == 0;
            let since = *runner.starving_since.get_or_insert(now);
            if !starves {
                runner.starving_since = None;
            }
            self.played.longest_wait[of] = self.played.longest_wait[of].max(now.saturating_sub(since));
            if !wants {
                return None;
            }
            match runner.purse.draw(local) {
                Draw::Go(token) => {
                    runner.jobs -= 1;
                    runner.in_flight += 1;
                    if now > self.paused.0 + FRESH + self.fleet.exchange * 2 && now < self.paused.1 {
                        self.played.in_pause += 1;
                    }
                    let there = self.some(self.fleet.way.0, self.fleet.way.1);
                    let work = self.some(Duration::ZERO, self.fleet.work);
                    let back = self.some(self.fleet.way.0, self.fleet.way.1);
                    let answers = now + there + work + back;
                    self.at(now + there, Event::Arrive { of, token, answers });
                }
                Draw::Wait(at) => return Some(at),
                Draw::WaitForWord => return None,
            }
        }
    }

    fn exchange(&mut self, now: Duration, of: usize, ask: Ask, asked: Duration) {
        self.played.exchanges += 1;
        let there = self.some(Duration::ZERO, self.fleet.exchange);
        let ask = Box::new(ask);
        if !self.dice.random_bool(self.fleet.lost) {
            return self.at(now + there, Event::Hear { of, ask, asked, fate: Fate::Heard });
        }
        self.at(now + PATIENCE, Event::Lost(of));
        let fate = Fate::AnswerLost;
        match self.dice.random_range(0..3) {
            0 => {}
            1 => self.at(now + there, Event::Hear { of, ask, asked, fate }),
            _ => {
                let late = self.some(Duration::ZERO, PATIENCE * 4);
                self.at(now + late, Event::Hear { of, ask, asked, fate });
            }
        }
    }
}

#[cfg(test)]
mod tests;
