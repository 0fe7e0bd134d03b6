//! The sliding window: the server's own rule, seen from a client that knows only when it sent and when it was answered.
//!
//! The server counts the requests that arrived in the last 60 seconds. A request arrived at some time between leaving
//! and its answer, so its slot is surely free again 60 seconds after the answer; until the answer it is taken. With
//! that, a window is used whole as soon as it opens, and no request is refused unless somebody else uses the key.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::share::Share;

/// The span over which the API counts.
pub const SPAN: Duration = Duration::from_secs(60);

/// Added to the span: a timer's grain on either side.
const GRAIN: Duration = Duration::from_millis(5);

/// A taken slot. Give it back by [`Window::answered`] or [`Window::refused`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket(());

/// Whether the next request may leave.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may, with this slot.
    Go(Ticket),
    /// Not before this time.
    Wait(Duration),
    /// Not before an answer arrives.
    WaitForAnswer,
}

/// One budget of one key. Times are durations since any fixed origin.
#[derive(Debug)]
pub struct Window {
    configured: u32,
    limit: u32,
    share: Share,
    in_flight: u32,
    free_at: BinaryHeap<Reverse<Duration>>,
    paused_until: Duration,
    probe_at: Duration,
    /// Pauses in a row.
    refusals: u32,
    /// How many may be in flight at a time: one after a pause, twice as many with every answer. Whoever shares the key
    /// may have left one place.
    abreast: u32,
}

impl Window {
    /// A window of `limit` requests in any 60 seconds.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            configured: limit.max(1),
            limit: limit.max(1),
            share: Share::whole(),
            in_flight: 0,
            free_at: BinaryHeap::new(),
            paused_until: Duration::ZERO,
            probe_at: Duration::MAX,
            refusals: 0,
            abreast: u32::MAX,
        }
    }

    /// The limit in force: as configured, or as the server taught.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many of the window's requests may leave now or as soon as it opens.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.most().saturating_sub(self.own())
    }

    /// How many requests of a window are ours at most.
    fn most(&self) -> u32 {
        self.limit.min(self.share.size())
    }

    /// Our requests in the window.
    fn own(&self) -> u32 {
        self.in_flight + self.free_at.len() as u32
    }

    /// Decides whether a request may leave now.
    pub fn poll(&mut self, now: Duration) -> Decision {
        self.advance(now);
        if now < self.paused_until {
            return Decision::Wait(self.paused_until);
        }
        if self.in_flight >= self.abreast {
            return Decision::WaitForAnswer;
        }
        if self.free() > 0 {
            self.in_flight += 1;
            return Decision::Go(Ticket(()));
        }
        // The slot that must come free is not the first one where the limit has shrunk, but then the next look finds
        // out; waking early is harmless.
        let free_at = self.free_at.peek().map(|Reverse(at)| *at);
        let sooner = [free_at, self.share.looks_at()].into_iter().flatten().filter(|at| *at > now).min();
        sooner.map_or(Decision::WaitForAnswer, Decision::Wait)
    }

    /// When more than `ahead` further requests may leave, as far as is known; `None` while that hangs on an answer.
    #[must_use]
    pub fn opens_at(&self, ahead: u32) -> Option<Duration> {
        let settled = self.most().saturating_sub(self.in_flight);
        if ahead >= settled || self.in_flight.saturating_add(ahead) >= self.abreast {
            return None;
        }
        let has_to_pass = (self.free_at.len() + ahead as usize + 1).saturating_sub(settled as usize);
        let mut times: Vec<Duration> = self.free_at.iter().map(|Reverse(at)| *at).collect();
        let opens = has_to_pass.checked_sub(1).map_or(Duration::ZERO, |nth| *times.select_nth_unstable(nth).1);
        Some(opens.max(self.paused_until))
    }

    fn advance(&mut self, now: Duration) {
        while self.free_at.peek().is_some_and(|Reverse(at)| *at <= now) {
            self.free_at.pop();
        }
        self.share.advance(now, self.own(), self.limit);
        if now >= self.probe_at {
            self.limit = (self.limit + (self.limit / 10).max(1)).min(self.configured);
            self.probe_at = if self.limit < self.configured { now + SPAN } else { Duration::MAX };
        }
    }

    /// Takes a slot for a request of an earlier run, which is free again at `free_at`.
    pub fn recall(&mut self, free_at: Duration) {
        self.free_at.push(Reverse(free_at));
    }

    /// The request was answered, or given up, at `now`: its slot is taken for another 60 seconds.
    pub fn answered(&mut self, _ticket: Ticket, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.free_at.push(Reverse(now + SPAN + GRAIN));
        self.refusals = 0;
        self.abreast = self.abreast.saturating_mul(2);
    }

    /// The request never left: its slot is free at once.
    pub fn unsent(&mut self, _ticket: Ticket) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The request was refused with a 429: the slot is free, everyone pauses for `retry_after` (by default 5 s,
    /// doubling to 40 s), and `limit` teaches what the server allows.
    pub fn refused(&mut self, _ticket: Ticket, now: Duration, retry_after: Option<Duration>, limit: Option<u32>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let fallback = Duration::from_secs(5) * 2_u32.pow(self.refusals.min(3));
        let pause = retry_after.unwrap_or(fallback) + GRAIN;
        if now >= self.paused_until {
            // The first refusal of a burst; the others left before it was known.
            self.refusals += 1;
            self.abreast = 1;
            self.share.refused(now, self.own(), pause);
        }
        self.paused_until = self.paused_until.max(now + pause);
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit < self.limit) {
            self.limit = limit;
            // Its own word: it is probed again only after ten quiet windows.
            self.probe_at = now + SPAN * 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn go(window: &mut Window, now: Duration) -> Ticket {
        match window.poll(now) {
            Decision::Go(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_whole_window_leaves_at_once_and_the_next_when_it_opens() {
        let mut window = Window::new(3);
        let tickets: Vec<_> = (0..3).map(|_| go(&mut window, seconds(0))).collect();
        assert_eq!(window.poll(seconds(0)), Decision::WaitForAnswer);
        for ticket in tickets {
            window.answered(ticket, seconds(1));
        }
        assert_eq!(window.poll(seconds(2)), Decision::Wait(seconds(61) + GRAIN));
        let _ = go(&mut window, seconds(61) + GRAIN);
    }

    #[test]
    fn the_window_tells_when_it_will_open_for_more() {
        let mut window = Window::new(3);
        assert_eq!((window.opens_at(2), window.opens_at(3)), (Some(Duration::ZERO), None));
        let (one, two) = (go(&mut window, seconds(0)), go(&mut window, seconds(0)));
        assert_eq!((window.opens_at(0), window.opens_at(1)), (Some(Duration::ZERO), None));
        window.answered(one, seconds(1));
        window.answered(two, seconds(2));
        let opens: Vec<_> = (0..4).map(|ahead| window.opens_at(ahead)).collect();
        assert_eq!(opens, [Some(Duration::ZERO), Some(seconds(61) + GRAIN), Some(seconds(62) + GRAIN), None]);
        let three = go(&mut window, seconds(3));
        window.refused(three, seconds(3), Some(seconds(70)), None);
        // After a pause one request tries the way, and the others wait for its answer.
        assert_eq!((window.opens_at(0), window.opens_at(1)), (Some(seconds(73) + GRAIN), None));
    }

    #[test]
    fn a_429_pauses_everyone_and_teaches_the_limit() {
        let mut window = Window::new(300);
        let ticket = go(&mut window, seconds(0));
        window.refused(ticket, seconds(1), Some(seconds(7)), Some(60));
        assert_eq!(window.poll(seconds(2)), Decision::Wait(seconds(8) + GRAIN));
        assert_eq!(window.limit(), 60);
        let _ = go(&mut window, seconds(9));
    }

    #[test]
    fn a_429_without_a_header_backs_off_by_itself() {
        let mut window = Window::new(300);
        let mut now = seconds(0);
        for expected in [5, 10, 20, 40, 40] {
            let ticket = go(&mut window, now);
            window.refused(ticket, now, None, None);
            assert_eq!(window.poll(now), Decision::Wait(now + seconds(expected) + GRAIN));
            now += seconds(expected) + GRAIN;
        }
    }

    proptest! {
        /// Whatever the delays on the way there and back, a strict server that counts on arrival never sees more than
        /// the limit in any 60 seconds.
        #[test]
        fn a_strict_server_never_sees_more_than_the_limit(
            limit in 1_u32..8,
            delays in proptest::collection::vec((0_u64..3000, 0_u64..3000), 1..60),
        ) {
            let mut window = Window::new(limit);
            let mut now = Duration::ZERO;
            let mut flights: Vec<(Duration, Ticket)> = Vec::new();
            let mut arrivals = Vec::new();
            let mut delays = delays.into_iter();
            let mut next = delays.next();
            while next.is_some() || !flights.is_empty() {
                flights.sort_by_key(|(at, _)| Reverse(*at));
                let wake = if let Some((there, back)) = next {
                    match window.poll(now) {
                        Decision::Go(ticket) => {
                            let arrival = now + Duration::from_millis(there);
                            arrivals.push(arrival);
                            flights.push((arrival + Duration::from_millis(back), ticket));
                            next = delays.next();
                            continue;
                        }
                        Decision::Wait(at) => Some(at),
                        Decision::WaitForAnswer => None,
                    }
                } else {
                    None
                };
                let landing = flights.last().map(|(at, _)| *at);
                now = wake.into_iter().chain(landing).min().unwrap();
                while flights.last().is_some_and(|(at, _)| *at <= now) {
                    let (at, ticket) = flights.pop().unwrap();
                    window.answered(ticket, at);
                }
            }
            arrivals.sort();
            for (index, arrival) in arrivals.iter().enumerate() {
                let seen = arrivals[..=index].iter().filter(|other| **other + SPAN > *arrival).count();
                prop_assert!(seen <= limit as usize);
            }
        }
    }
}
