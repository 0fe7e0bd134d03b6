//! The simulated API: a strict sliding window for writes and one for reads, which count on arrival; and what of the
//! import, the lists and the decisions a run needs.
//!
//! A request arrives whether or not its sender still lives, so arrivals are kept in a queue of their own and carried out
//! in their order, each when time has come to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scenario::{Refusal, Scenario, WORKFLOW, token};
use super::{START, after};
use crate::didit::{BoxFuture, Request, Response, Server, Verb};
use crate::pace::SPAN;
use crate::run::Clock;
use crate::token::ShareToken;

/// Somebody else writes with the same key.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// From then on, after the start.
    pub from: Duration,
    /// Until then.
    pub until: Duration,
    /// So often, evenly.
    pub per_minute: u32,
}

/// What arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Writes accepted.
    pub writes: u64,
    /// Reads accepted.
    pub reads: u64,
    /// Writes refused with a 429.
    pub writes_refused: u64,
    /// Reads refused with a 429.
    pub reads_refused: u64,
    /// The stranger's writes, accepted.
    pub of_stranger: u64,
    /// Tokens minted.
    pub minted: u64,
    /// Minting refused with a 429.
    pub mints_refused: u64,
}

/// The API.
pub(super) struct Api {
    state: Mutex<State>,
    way: Range<Duration>,
    work: Range<Duration>,
    read_work: Range<Duration>,
}

struct State {
    clock: Option<Clock>,
    dice: StdRng,
    writes: Window,
    reads: Window,
    /// The partner's writes.
    mints: Window,
    ttl: Duration,
    /// When the token of an entry that waits to be sent was minted.
    minted: HashMap<usize, Timestamp>,
    longest_wait: Duration,
    arrivals: BTreeMap<(Timestamp, u64), Request>,
    answers: HashMap<u64, Response>,
    number: u64,
    /// When each entry was imported.
    imported: Vec<Option<Timestamp>>,
    /// How many imports of each entry arrived.
    arrived: Vec<usize>,
    refusal: Option<Refusal>,
    first_write: Option<Timestamp>,
    last_answer: Timestamp,
    round_trips: BTreeMap<u64, Duration>,
    stranger: VecDeque<Timestamp>,
    traffic: Traffic,
}

/// The requests accepted in the last 60 seconds.
struct Window {
    limit: usize,
    accepted: VecDeque<Timestamp>,
}

impl Window {
    fn new(limit: u32) -> Self {
        Self { limit: limit as usize, accepted: VecDeque::new() }
    }

    /// Accepts a request, or says how long until the oldest leaves the window.
    fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        while self.accepted.front().is_some_and(|at| after(*at, SPAN) <= now) {
            self.accepted.pop_front();
        }
        match self.accepted.front() {
            Some(oldest) if self.accepted.len() >= self.limit => {
                Err(Duration::try_from(after(*oldest, SPAN).duration_since(now)).unwrap_or_default())
            }
            _ => {
                self.accepted.push_back(now);
                Ok(())
            }
        }
    }
}

impl Api {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let state = State {
            clock: None,
            dice: StdRng::seed_from_u64(scenario.seed),
            writes: Window::new(scenario.writes_per_minute),
            reads: Window::new(scenario.reads_per_minute),
            mints: Window::new(scenario.minting.map_or(0, |minting| minting.writes_per_minute)),
            ttl: scenario.minting.map_or(Duration::ZERO, |minting| minting.ttl),
            minted: HashMap::new(),
            longest_wait: Duration::ZERO,
            arrivals: BTreeMap::new(),
            answers: HashMap::new(),
            number: 0,
            imported: vec![None; scenario.entries],
            arrived: vec![0; scenario.entries],
            refusal: scenario.refusal,
            first_write: None,
            last_answer: START,
            round_trips: BTreeMap::new(),
            stranger: scenario.stranger.iter().flat_map(Spell::times).collect(),
            traffic: Traffic::default(),
        };
        Self {
            state: Mutex::new(state),
            way: scenario.way.clone(),
            work: scenario.work.clone(),
            read_work: scenario.read_work.clone(),
        }
    }

    pub(super) fn set_clock(&self, clock: Clock) {
        self.state().clock = Some(clock);
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    pub(super) fn importing(&self) -> Duration {
        let state = self.state();
        let first = state.first_write.unwrap_or(state.last_answer);
        Duration::try_from(state.last_answer.duration_since(first)).unwrap_or_default()
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.state().longest_wait
    }

    pub(super) fn round_trips(&self) -> Vec<Duration> {
        self.state().round_trips.values().copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spell {
    fn times(&self) -> impl Iterator<Item = Timestamp> {
        let each = SPAN / self.per_minute.max(1);
        let (from, until) = (self.from, self.until);
        (0..).map(move |n| from + each * n).take_while(move |at| *at < until).map(|at| after(START, at))
    }
}

fn draw(dice: &mut StdRng, range: &Range<Duration>) -> Duration {
    if range.is_empty() { range.start } else { dice.random_range(range.clone()) }
}

impl Server for Api {
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<Option<Response>> {
        let api = self;
        Box::pin(async move {
            let (number, there, rest, is_import) = {
                let mut state = api.state();
                let is_import = request.verb != Verb::Get && !is_mint(&request);
                let there = draw(&mut state.dice, &api.way);
                let work = if is_import { &api.work } else { &api.read_work };
                let work = draw(&mut state.dice, work);
                let back = draw(&mut state.dice, &api.way);
                state.number += 1;
                let now = state.now();
                if is_import {
                    state.first_write.get_or_insert(now);
                }
                let (number, arrives) = (state.number, after(now, there));
                state.arrivals.insert((arrives, number), request);
                (number, there, work + back, is_import)
            };
            tokio::time::sleep(there).await;
            let answer = {
                let mut state = api.state();
                state.carry_out_arrivals();
                state.answers.remove(&number)
            };
            let is_accepted = answer.as_ref().is_some_and(|answer| answer.status != 429);
            if is_accepted {
                tokio::time::sleep(rest).await;
            }
            let mut state = api.state();
            let now = state.now();
            if is_import && is_accepted {
                state.last_answer = now;
                state.round_trips.insert(number, there + rest);
            }
            answer.map(|mut answer| {
                answer.headers.push(("date", http_date(now)));
                answer
            })
        })
    }
}

impl State {
    fn now(&self) -> Timestamp {
        self.clock.map_or(START, |clock| clock.now())
    }

    /// Everything that has arrived by now, the stranger's requests among it, in its order.
    fn carry_out_arrivals(&mut self) {
        // Timers keep whole milliseconds.
        let now = after(self.now(), Duration::from_millis(1));
        while let Some(entry) = self.arrivals.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, number), request) = entry.remove_entry();
            while self.stranger.front().is_some_and(|stranger| *stranger <= at) {
                let taken = self.stranger.pop_front().map(|at| self.writes.take(at).is_ok());
                self.traffic.of_stranger += u64::from(taken == Some(true));
            }
            let response = self.carry_out(at, &request);
            self.answers.insert(number, response);
        }
    }

    fn carry_out(&mut self, at: Timestamp, request: &Request) -> Response {
        let traffic = &mut self.traffic;
        let (window, accepted, refused) = match request.verb {
            Verb::Get => (&mut self.reads, &mut traffic.reads, &mut traffic.reads_refused),
            _ if is_mint(request) => (&mut self.mints, &mut traffic.minted, &mut traffic.mints_refused),
            _ => (&mut self.writes, &mut traffic.writes, &mut traffic.writes_refused),
        };
        let (limit, taken) = (window.limit, window.take(at));
        if let Err(wait) = taken {
            *refused += 1;
            return throttled(limit, wait);
        }
        *accepted += 1;
        match request.verb {
            Verb::Get => self.read(request),
            _ if is_mint(request) => self.mint(at, request),
            _ => self.import(at, request),
        }
    }

    fn mint(&mut self, at: Timestamp, request: &Request) -> Response {
        let id = request.url.path().split('/').nth(3).and_then(|text| text.parse().ok()).unwrap_or_default();
        let n = number_of(id);
        self.minted.insert(n, at);
        let end = Timestamp::from_second(after(at, self.ttl).as_second()).unwrap_or(Timestamp::MAX);
        answer(200, &json!({"share_token": token(n, Some(end)), "session_kind": "user"}))
    }

    fn import(&mut self, at: Timestamp, request: &Request) -> Response {
        let body: Value = request.body.as_ref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        let token = body["share_token"].as_str().and_then(|text| ShareToken::parse(text).ok());
        let Some(claims) = token.and_then(|token| token.unverified_claims()) else {
            return answer(400, &json!({"share_token": ["Invalid share token."]}));
        };
        if claims.expires_at.is_some_and(|end| end <= at) {
            return answer(400, &json!({"share_token": ["Share token has expired."]}));
        }
        let n = number_of(claims.session_id.unwrap_or_default());
        if let Some(minted) = self.minted.remove(&n) {
            let wait = Duration::try_from(at.duration_since(minted)).unwrap_or_default();
            self.longest_wait = self.longest_wait.max(wait);
        }
        if let Some((status, body)) = self.refuse(n) {
            return Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
        }
        match self.imported.get_mut(n) {
            None => answer(400, &json!({"share_token": ["Original session does not exist."]})),
            Some(Some(_)) => {
                answer(403, &json!({"detail": "This session has already been shared with your application."}))
            }
            Some(made) => {
                *made = Some(at);
                answer(201, &session(n, at))
            }
        }
    }

    fn refuse(&mut self, n: usize) -> Option<(u16, &'static str)> {
        let arrived = self.arrived.get_mut(n)?;
        *arrived += 1;
        self.refusal?(n, *arrived - 1)
    }

    fn read(&self, request: &Request) -> Response {
        let path = request.url.path();
        if path.starts_with("/v3/workflows/") {
            let row = json!({"workflow_id": WORKFLOW, "workflow_type": "kyc", "status": "published"});
            return answer(200, &json!([row]));
        }
        if path.starts_with("/v3/sessions/") {
            let wanted = request.url.query_pairs().find(|pair| pair.0 == "vendor_data").map(|pair| pair.1.into_owned());
            let n = wanted.and_then(|text| text.parse::<usize>().ok());
            let rows: Vec<Value> = n.and_then(|n| Some(session(n, (*self.imported.get(n)?)?))).into_iter().collect();
            return answer(200, &json!({"count": rows.len(), "next": null, "previous": null, "results": rows}));
        }
        let id = path.split('/').nth(3).and_then(|text| text.parse::<Uuid>().ok()).unwrap_or_default();
        let n = number_of(id);
        match self.imported.get(n).copied().flatten() {
            Some(at) if id == session_id(n) => answer(200, &session(n, at)),
            _ => answer(404, &json!({"detail": "Not found."})),
        }
    }
}

fn is_mint(request: &Request) -> bool {
    request.url.path().ends_with("/share/")
}

fn number_of(id: Uuid) -> usize {
    (id.as_u128() & u128::from(u64::MAX)) as usize
}

fn session_id(n: usize) -> Uuid {
    Uuid::from_u128((0x5E << 64) | n as u128)
}

fn session(n: usize, at: Timestamp) -> Value {
    json!({
        "session_id": session_id(n), "session_kind": "user", "session_number": n, "session_url": null,
        "status": "In Review", "workflow_id": WORKFLOW, "vendor_data": n.to_string(),
        "shared_from_session": Scenario::source(n), "created_at": at, "features": [], "reviews": [],
    })
}

fn answer(status: u16, body: &Value) -> Response {
    Response { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn throttled(limit: usize, wait: Duration) -> Response {
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    let mut response = answer(429, &json!({"detail": "Request was throttled."}));
    response.headers = vec![("retry-after", seconds.to_string()), ("x-ratelimit-limit", limit.to_string())];
    response
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
