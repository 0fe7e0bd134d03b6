//! A model of everything that can go wrong, explored completely within a bound.
//!
//! Two processes share ledger A (under its lock), a third has ledger B; all import the same source sessions into one
//! application. Processes crash at any step, requests and answers are lost or arrive late, tokens expire and are
//! minted anew, the server refuses a second import of a source session, and its reads show the source or don't. What
//! the processes decide is decided by the very functions that the program runs: [`plan::decide`], [`Standing`] and
//! [`resolve::judge`]; the model supplies only the world around them.
//!
//! Each ledger's own writes are atomic steps, as the writer's transactions are. A lookup reads the server in one
//! step.

use jiff::Timestamp;
use stateright::{Checker as _, Model, Property};
use uuid::Uuid;

use super::resolve::{self, Candidate, Carries, Source, Wanted};
use crate::didit::Class;
use crate::ledger::records::EntryId;
use crate::lifecycle::{Answer, Lookup, Next, Settled, Standing, TokenLife};
use crate::plan::{self, Facts, Known, Token};
use crate::token::SessionKind;

/// Processes 0 and 1 share ledger 0; process 2 has ledger 1.
const PROCESSES: usize = 3;
const LEDGER_OF: [usize; PROCESSES] = [0, 0, 1];
const LEDGERS: usize = 2;

/// What is explored, and how far.
#[derive(Clone, Copy, Debug)]
struct World {
    entries: usize,
    /// Runs that each process begins.
    runs: u8,
    crashes: u8,
    /// Requests and answers lost or late.
    losses: u8,
    expiries: u8,
    remints: u8,
    /// Whether reads name the source of a session.
    shows_source: bool,
    /// Whether the receiver has older sessions of its own with the same vendor data.
    own_sessions: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct System {
    /// Sessions made of each source, by the ledger whose request made them.
    made: Vec<Vec<u8>>,
    ledgers: [Ledger; LEDGERS],
    processes: [Process; PROCESSES],
    /// Requests and answers under way, sorted.
    network: Vec<Message>,
    /// The newest token of each entry; older ones are dead.
    tokens: Vec<TokenState>,
    crashes: u8,
    losses: u8,
    expiries: u8,
    remints: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TokenState {
    number: u8,
    lives: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Ledger {
    rows: Vec<Option<Row>>,
    /// The process that holds the lock.
    holder: Option<u8>,
}

/// A row of a ledger, reduced to what decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    state: RowState,
    /// The token last sent.
    token: u8,
    /// An attempt has no answer, or an unknown one.
    answer_lost: bool,
    /// How many sessions of the source there were before its first attempt.
    older: u8,
    /// The session on record, as its index in `made`.
    session: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RowState {
    Sending,
    Imported,
    Refused(Class),
    Expired,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    runs: u8,
    work: Option<Work>,
}

/// The entry that a process works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    entry: usize,
    phase: Phase,
    standing: Standing,
    last: Option<Answer>,
    /// Requests of this run, so that a late answer is told from the awaited one.
    sent: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Plan,
    Intend,
    Send,
    Wait,
    Answered(Answer),
    LookUp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    /// The ledger for which it was sent.
    ledger: u8,
    entry: usize,
    token: u8,
    /// The process that waits for the answer, and which of its sends it is; `None` when nobody does any more.
    awaited: Option<(u8, u8)>,
    /// `None`: a request under way to the server.
    answer: Option<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Reply {
    Imported(u8),
    AlreadyImported,
    TokenExpired,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Begin(usize),
    Advance(usize),
    Crash(usize),
    /// The process waits no longer; its request or answer may still be under way.
    TimeOut(usize),
    Serve(usize),
    Lose(usize),
    Deliver(usize),
    Expire(usize),
    Remint(usize),
}

impl World {
    /// One step of a process's own: what the program does between two events of the world.
    fn advance(&self, system: &mut System, p: usize) {
        let Some(mut work) = system.processes[p].work.take() else { return };
        let keep = match work.phase.clone() {
            Phase::Plan => plan_entry(system, p, &mut work),
            Phase::Intend => {
                intend(system, p, &work);
                work.phase = Phase::Send;
                true
            }
            Phase::Send => {
                work.sent += 1;
                send(system, p, &work);
                work.phase = Phase::Wait;
                true
            }
            Phase::Wait => true,
            Phase::Answered(answer) => {
                let before = work.standing;
                work.standing = before.answered(answer);
                work.last = Some(answer);
                let next = before.after_answer(answer);
                record_answer(system, p, &work, answer, next);
                follow(system, p, &mut work, next, None)
            }
            Phase::LookUp => {
                let (lookup, found) = self.look_up(system, p, &work);
                let next = work.standing.after_lookup(work.last, lookup);
                follow(system, p, &mut work, next, found)
            }
        };
        if keep {
            system.processes[p].work = Some(work);
        } else {
            self.next_entry(system, p, work.entry + 1);
        }
    }

    fn next_entry(&self, system: &mut System, p: usize, entry: usize) {
        if entry == self.entries {
            system.ledgers[LEDGER_OF[p]].holder = None;
            return;
        }
        let standing = Standing { open: false, sends: 0, token: TokenLife::Missing };
        system.processes[p].work = Some(Work { entry, phase: Phase::Plan, standing, last: None, sent: 0 });
    }

    fn look_up(&self, system: &System, p: usize, work: &Work) -> (Lookup, Option<u8>) {
        let entry = work.entry;
        let ledger = ledger_of(system, p);
        let row = ledger.rows[entry].as_ref().expect("only an entry with a row is looked up");
        let is_older = work.last == Some(Answer::Refused(Class::AlreadyImported));
        let wanted = Wanted {
            entry: EntryId(entry as i64),
            source: Some(source(entry)),
            kind: Some(SessionKind::User),
            vendor_data: Some(format!("entry-{entry}")),
            since: (row.answer_lost || !is_older).then(|| time(i64::from(row.older) * 100 + 50)),
            vendor_data_is_shared: false,
        };
        let mut candidates: Vec<Candidate> = (0..system.made[entry].len() as u8)
            .map(|n| Candidate {
                session_id: session(entry, n),
                source: if self.shows_source { Source::Of(source(entry)) } else { Source::Untold },
                carries: Carries::Yes,
                created_at: Some(time(i64::from(n + 1) * 100)),
                owned: false,
            })
            .collect();
        if self.own_sessions {
            let source = if self.shows_source { Source::Own } else { Source::Untold };
            let created_at = Some(time(0));
            let carries = Carries::Yes;
            candidates.push(Candidate { session_id: Uuid::from_u128(7), source, carries, created_at, owned: false });
        }
        let (lookup, evidence) = resolve::judge(&wanted, &candidates, true);
        let found = evidence.session_id.filter(|_| lookup == Lookup::Found);
        (lookup, found.map(|id| if id == Uuid::from_u128(7) { u8::MAX } else { (id.as_u128() & 0xff) as u8 }))
    }
}

/// Plans the entry; whether there is something to do.
fn plan_entry(system: &System, p: usize, work: &mut Work) -> bool {
    let token = system.tokens[work.entry];
    let row = ledger_of(system, p).rows[work.entry].as_ref();
    let known = match row.map(|row| (row.state, row)) {
        None | Some((RowState::Expired, _)) => Known::Fresh,
        Some((RowState::Sending | RowState::Unknown, _)) => Known::Open,
        Some((RowState::Imported, _)) => Known::Imported { differing: Vec::new() },
        Some((RowState::Refused(class), row)) => {
            Known::Refused { class, same_token: row.token == token.number, same_settings: true }
        }
    };
    let today = if token.lives { Token::Usable } else { Token::Dead };
    let (action, _) = plan::decide(&Facts { known, invalid: None, token: today, retry_refused: false });
    if !action.is_pending() {
        return false;
    }
    work.standing = Standing { open: action == plan::Action::Recover, sends: 0, token: life(token.lives) };
    match work.standing.begin() {
        Next::Send => work.phase = Phase::Intend,
        Next::LookUp => work.phase = Phase::LookUp,
        _ => return false,
    }
    true
}

fn ledger_of(system: &System, process: usize) -> &Ledger {
    &system.ledgers[LEDGER_OF[process]]
}

fn life(lives: bool) -> TokenLife {
    if lives { TokenLife::Lives } else { TokenLife::Dead }
}

fn source(entry: usize) -> Uuid {
    Uuid::from_u128(1000 + entry as u128)
}

fn session(entry: usize, n: u8) -> Uuid {
    Uuid::from_u128((2000 + entry as u128) << 8 | u128::from(n))
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("a time")
}

/// The intent becomes durable.
fn intend(system: &mut System, p: usize, work: &Work) {
    let older = system.made[work.entry].len() as u8;
    let token = system.tokens[work.entry].number;
    let row = &mut system.ledgers[LEDGER_OF[p]].rows[work.entry];
    let before = row.clone();
    *row = Some(Row {
        state: RowState::Sending,
        token,
        // An attempt without an answer is lost if the process dies now.
        answer_lost: true,
        older: before.as_ref().filter(|row| row.answer_lost).map_or(older, |row| row.older),
        session: before.and_then(|row| row.session),
    });
}

fn send(system: &mut System, p: usize, work: &Work) {
    let token = system.ledgers[LEDGER_OF[p]].rows[work.entry].as_ref().map_or(0, |row| row.token);
    let (ledger, awaited) = (LEDGER_OF[p] as u8, Some((p as u8, work.sent)));
    system.network.push(Message { ledger, entry: work.entry, token, awaited, answer: None });
    system.network.sort();
}

/// The answer becomes durable, with the state that the program records beside it.
fn record_answer(system: &mut System, p: usize, work: &Work, answer: Answer, next: Next) {
    let made = system.made[work.entry].len() as u8;
    let Some(row) = &mut system.ledgers[LEDGER_OF[p]].rows[work.entry] else { return };
    row.answer_lost = work.standing.open;
    if answer == Answer::Imported {
        row.state = RowState::Imported;
        row.session = Some(made - 1);
    } else if work.standing.open || matches!(next, Next::LookUp | Next::CheckKey) {
        row.state = RowState::Sending;
    } else if let Answer::Refused(class) | Answer::NotProcessed(class) = answer {
        row.state = RowState::Refused(class);
    }
}

/// Carries out what follows; whether the entry is still worked on.
fn follow(system: &mut System, p: usize, work: &mut Work, next: Next, found: Option<u8>) -> bool {
    let settled = match next {
        Next::Send | Next::SendWhenOpen => {
            // The next send reads the token again.
            let lives = system.tokens[work.entry].lives;
            work.standing.token = life(lives);
            work.phase = if lives { Phase::Intend } else { Phase::LookUp };
            if !lives && !work.standing.open {
                settle(system, p, work.entry, Settled::Expired, None);
                return false;
            }
            return true;
        }
        Next::LookUp | Next::CheckKey | Next::AwaitToken => {
            work.phase = Phase::LookUp;
            return true;
        }
        Next::Settle(settled) | Next::Stop(settled) => settled,
    };
    if settled != Settled::Imported {
        settle(system, p, work.entry, settled, found);
    }
    false
}

fn settle(system: &mut System, p: usize, entry: usize, settled: Settled, found: Option<u8>) {
    let Some(row) = &mut system.ledgers[LEDGER_OF[p]].rows[entry] else { return };
    row.state = match settled {
        Settled::Imported | Settled::Recovered => RowState::Imported,
        Settled::Refused => match row.state {
            RowState::Refused(class) => RowState::Refused(class),
            _ => RowState::Refused(Class::TokenInvalid),
        },
        Settled::Expired => RowState::Expired,
        Settled::Unknown => RowState::Unknown,
    };
    if settled == Settled::Recovered {
        row.session = found;
    }
}

impl Model for World {
    type State = System;
    type Action = Step;

    fn init_states(&self) -> Vec<System> {
        let ledger = Ledger { rows: vec![None; self.entries], holder: None };
        let process = Process { runs: 0, work: None };
        vec![System {
            made: vec![Vec::new(); self.entries],
            ledgers: [ledger.clone(), ledger],
            processes: [process.clone(), process.clone(), process],
            network: Vec::new(),
            tokens: vec![TokenState { number: 0, lives: true }; self.entries],
            crashes: 0,
            losses: 0,
            expiries: 0,
            remints: 0,
        }]
    }

    fn actions(&self, system: &System, steps: &mut Vec<Step>) {
        for (p, process) in system.processes.iter().enumerate() {
            match &process.work {
                None => {
                    let free = ledger_of(system, p).holder.is_none();
                    if free && process.runs < self.runs {
                        steps.push(Step::Begin(p));
                    }
                }
                Some(work) => {
                    if work.phase == Phase::Wait {
                        if system.losses < self.losses {
                            steps.push(Step::TimeOut(p));
                        }
                    } else {
                        steps.push(Step::Advance(p));
                    }
                    if system.crashes < self.crashes {
                        steps.push(Step::Crash(p));
                    }
                }
            }
        }
        for (m, message) in system.network.iter().enumerate() {
            steps.push(if message.answer.is_none() { Step::Serve(m) } else { Step::Deliver(m) });
            if system.losses < self.losses {
                steps.push(Step::Lose(m));
            }
        }
        for (entry, token) in system.tokens.iter().enumerate() {
            if token.lives && system.expiries < self.expiries {
                steps.push(Step::Expire(entry));
            }
            if !token.lives && system.remints < self.remints {
                steps.push(Step::Remint(entry));
            }
        }
    }

    fn next_state(&self, last: &System, step: Step) -> Option<System> {
        let mut system = last.clone();
        match step {
            Step::Begin(p) => {
                system.processes[p].runs += 1;
                system.ledgers[LEDGER_OF[p]].holder = Some(p as u8);
                self.next_entry(&mut system, p, 0);
            }
            Step::Advance(p) => self.advance(&mut system, p),
            Step::Crash(p) => {
                system.crashes += 1;
                system.processes[p].work = None;
                system.ledgers[LEDGER_OF[p]].holder = None;
            }
            Step::TimeOut(p) => {
                system.losses += 1;
                if let Some(work) = &mut system.processes[p].work {
                    work.phase = Phase::Answered(Answer::Unknown(Class::Timeout));
                }
            }
            Step::Serve(m) => serve(&mut system, m),
            Step::Lose(m) => {
                system.losses += 1;
                let message = system.network.remove(m);
                lost(&mut system, &message);
            }
            Step::Deliver(m) => {
                let message = system.network.remove(m);
                deliver(&mut system, &message);
            }
            Step::Expire(entry) => {
                system.expiries += 1;
                system.tokens[entry].lives = false;
            }
            Step::Remint(entry) => {
                system.remints += 1;
                system.tokens[entry] = TokenState { number: system.tokens[entry].number + 1, lives: true };
            }
        }
        forget_unawaited(&mut system);
        Some(system)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no second session for a source", |_, system: &System| {
                system.made.iter().all(|made| made.len() <= 1)
            }),
            Property::always("never a request without a durable intent", |_, system: &System| {
                system.processes.iter().enumerate().all(|(p, process)| match &process.work {
                    Some(Work { entry, phase: Phase::Wait, .. }) => {
                        let row = &system.ledgers[LEDGER_OF[p]].rows[*entry];
                        row.as_ref().is_some_and(|row| row.state == RowState::Sending && row.answer_lost)
                    }
                    _ => true,
                })
            }),
            Property::always("never a request from a final state", |_, system: &System| {
                system.processes.iter().enumerate().all(|(p, process)| match &process.work {
                    Some(Work { entry, phase: Phase::Intend | Phase::Send, .. }) => {
                        let row = &system.ledgers[LEDGER_OF[p]].rows[*entry];
                        row.as_ref().is_none_or(|row| row.state != RowState::Imported)
                    }
                    _ => true,
                })
            }),
            Property::always("no id under a wrong entry", |_, system: &System| {
                system.ledgers.iter().all(|ledger| {
                    ledger.rows.iter().enumerate().all(|(entry, row)| {
                        let session = row.as_ref().and_then(|row| row.session);
                        session.is_none_or(|n| usize::from(n) < system.made[entry].len())
                    })
                })
            }),
            Property::always("a session made for a ledger is on record there, or open", |_, system: &System| {
                system.made.iter().enumerate().all(|(entry, made)| {
                    made.iter().all(|ledger| {
                        let row = &system.ledgers[usize::from(*ledger)].rows[entry];
                        row.as_ref().is_some_and(|row| match row.state {
                            RowState::Imported => row.session.is_some(),
                            RowState::Sending | RowState::Unknown => true,
                            RowState::Refused(_) | RowState::Expired => false,
                        })
                    })
                })
            }),
            Property::eventually("every path ends", |world: &World, system: &System| {
                system.processes.iter().all(|process| process.work.is_none() && process.runs == world.runs)
            }),
            Property::sometimes("a lost answer is recovered", |_, system: &System| {
                system.losses > 0 && system.ledgers[0].rows.iter().flatten().all(|row| row.session.is_some())
            }),
            Property::sometimes("a crash is recovered from", |_, system: &System| {
                system.crashes > 0 && system.ledgers[0].rows.iter().flatten().all(|row| row.session.is_some())
            }),
        ]
    }
}

fn serve(system: &mut System, m: usize) {
    let mut message = system.network.remove(m);
    let token = system.tokens[message.entry];
    let lives = token.lives && token.number == message.token;
    let made = &mut system.made[message.entry];
    message.answer = Some(if !lives {
        Reply::TokenExpired
    } else if made.is_empty() {
        made.push(message.ledger);
        Reply::Imported(0)
    } else {
        Reply::AlreadyImported
    });
    system.network.push(message);
    system.network.sort();
}

/// A request or answer that will never arrive: whoever waits for it times out at once.
fn lost(system: &mut System, message: &Message) {
    answer_to(system, message, Answer::Unknown(Class::Network));
}

fn deliver(system: &mut System, message: &Message) {
    let answer = match message.answer {
        Some(Reply::Imported(_)) => Answer::Imported,
        Some(Reply::AlreadyImported) => Answer::Refused(Class::AlreadyImported),
        Some(Reply::TokenExpired) => Answer::Refused(Class::TokenExpired),
        None => return,
    };
    answer_to(system, message, answer);
}

fn answer_to(system: &mut System, message: &Message, answer: Answer) {
    let waiting = message.awaited.and_then(|(p, _)| system.processes[usize::from(p)].work.as_mut());
    if let Some(work) = waiting {
        work.phase = Phase::Answered(answer);
    }
}

/// A request that nobody waits for stays under way, and may still be served; its answer reaches nobody.
fn forget_unawaited(system: &mut System) {
    let processes = &system.processes;
    for message in &mut system.network {
        message.awaited = message.awaited.filter(|(p, sent)| {
            let work = processes[usize::from(*p)].work.as_ref();
            work.is_some_and(|work| work.entry == message.entry && work.sent == *sent && work.phase == Phase::Wait)
        });
    }
    system.network.retain(|message| message.answer.is_none() || message.awaited.is_some());
    system.network.sort();
}

/// Explores all of a world; the number of distinct states.
#[expect(clippy::print_stdout, reason = "the figures of the long form are for people")]
fn explore(world: World, threads: usize) -> usize {
    let begun = std::time::Instant::now();
    let checker = world.checker().threads(threads).spawn_dfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    println!("{world:?}: {states} states in {:.1?}", begun.elapsed());
    states
}

const WORLD: World = World {
    entries: 1,
    runs: 2,
    crashes: 1,
    losses: 1,
    expiries: 1,
    remints: 1,
    shows_source: true,
    own_sessions: true,
};

#[test]
fn promises_1_to_3_hold_where_reads_show_the_source() {
    assert!(explore(World { remints: 0, ..WORLD }, 1) > 100_000);
}

#[test]
fn promises_1_to_3_hold_where_reads_show_nothing_and_the_receiver_has_sessions_alike() {
    assert!(explore(World { shows_source: false, remints: 0, ..WORLD }, 1) > 100_000);
}

#[test]
fn promises_1_to_3_hold_for_two_entries() {
    let world = World { entries: 2, runs: 1, expiries: 0, remints: 0, shows_source: false, ..WORLD };
    assert!(explore(world, 1) > 100_000);
}

/// The long form, some minutes in a release build:
/// `cargo test --release --lib run::model -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes and gigabytes"]
fn promises_1_to_3_hold_in_larger_worlds() {
    for shows_source in [true, false] {
        for own_sessions in [true, false] {
            explore(World { crashes: 2, losses: 2, shows_source, own_sessions, ..WORLD }, 2);
        }
        explore(World { entries: 2, runs: 2, expiries: 1, remints: 0, shows_source, ..WORLD }, 2);
        explore(World { entries: 3, runs: 1, expiries: 0, remints: 0, shows_source, ..WORLD }, 2);
    }
}
