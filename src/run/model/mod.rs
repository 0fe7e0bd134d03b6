//! A model of everything that can go wrong, explored completely within a bound.
//!
//! Two processes share ledger A under its lock, a third has ledger B; all import the same source sessions into one
//! application. Each works on all its entries at once, so that a crash finds several requests in flight. Processes
//! crash at any step, requests, answers and lookups are lost, requests arrive late (after their process died, after
//! another has begun), tokens expire and are minted anew, runs end early, the server refuses a second import of a source
//! session, and its reads show the source or don't. What the processes decide is decided by the very functions that
//! the program runs ([`crate::plan::decide`], [`crate::lifecycle::Standing`], [`super::resolve::judge`],
//! [`crate::report::document::advice`]); the model supplies only the world around them, and what a row of the ledger
//! comes to ([`state`], [`program`]).
//!
//! # Why it is small enough
//!
//! With [`World::apart`] every step is taken as it stands: lock and plan, intent and sending, serving, answering, reading
//! the list, deciding, settling. Three entries with two crashes and two losses are far too many states for that. These
//! reductions leave out no behaviour, only its repetitions; a test holds the ledgers that are reached with them
//! against those reached without.
//!
//! - *Symmetry.* Entries are interchangeable: all that concerns one is a [`Column`], and columns are sorted. So are the
//!   processes of a ledger, which its lock lets work one at a time; one stands for both, and the number of runs is
//!   without bound. Then the two ledgers are alike too, and of a state and its mirror image the smaller is taken.
//! - *An intent and its sending* are one step: a crash between them is a crash after them whose request is never
//!   served, which no property forbids. The same goes for a request that is lost rather than late.
//! - *Serving and answering* are one step ([`Step::Exchange`]): a crash, or a loss, after the server's commit and before
//!   the answer is one before the commit, with the request served late. What others do in between doesn't touch the
//!   entry's row, and finds the session made either way.
//! - *A lookup's list and what it settles* are one step: the settling looks at nothing that others write. A request served
//!   between them is one that is served after them. Where a lookup can only find the session, it is joined to the answer
//!   that led to it: a crash between them leaves what a crash before the answer leaves
//!   ([`World::finds_at_once`]). Where sources are hidden and vendor data is shared, a lookup stays in three steps
//!   ([`World::asks`]), since what the ledger says of others then counts.
//! - *Lock and plan* are joined to the first request. A run that ends before it took an entry (a limit, a signal) may do
//!   so anywhere; an entry not yet taken is therefore as one that the next run takes.
//! - *The fate of a token* matters when somebody looks at it, so it is joined to the step that looks ([`Fate`]).
//! - *What can't change anything any more* is forgotten: late requests once the session is made or their token is
//!   dead, answers that nobody awaits, times where the source is proof, how much of a retry budget is spent where too
//!   few answers can still be lost to reach its end, the difference between states of a row that the plan takes for the same.
//!
//! # What is proved
//!
//! Each property holds in each state. That every path ends is not one of stateright's `eventually`, which overlooks
//! cycles and joins; instead every step must make a number smaller, but for the one that takes up an entry
//! ([`distance`]), and an entry that is done may not be left in `sending`. So each run ends, with each entry that it
//! took settled, and what is open is planned for the next.
//!
//! Tokens die in the order in which they were minted, and at most two of an entry live at once. A server that answers
//! 429 for ever, or refuses for reasons of its own, is left to the tests of [`crate::lifecycle`].
//!
//! # Bound of the long form
//!
//! Three entries, two crashes and one re-mint, with two losses and one expiry where reads show the source; where they
//! hide it, two losses without an expiry, then one loss with it. Two entries where the receiver has older sessions alike
//! (two losses), and where the entries of a ledger share their vendor data (one crash, one loss). `.ci/run model` prints
//! states and times. The longest run, by hand, is all of it at once with hidden sources: 25,672,263 states, 420 s on two
//! cores with three times as much to do (`by_hand_...`); the same with shown sources has 4,261,542 states.

mod program;
mod properties;
mod state;
mod worlds;

use stateright::{Model, Property};

use crate::ledger::records::State;
use crate::lifecycle::Lookup;
use program::{Clock, looked};
use state::{Broken, Column, ENTRIES, Job, LEDGER_OF, Last, PROCESSES, Phase, Reply, System};

/// What is explored, and how far.
#[derive(Clone, Copy, Debug)]
struct World {
    entries: usize,
    crashes: u8,
    /// Requests, answers and lookups lost or late.
    losses: u8,
    expiries: u8,
    remints: u8,
    /// Whether reads name the source of a session.
    shows_source: bool,
    vendor: Vendor,
    own: Own,
    /// Sends that are spent when a run begins, so that few losses reach the end of the retry budget.
    spent: u8,
    /// Whether every step is taken apart, though some can be joined.
    apart: bool,
    /// What is wrong with this program or server.
    flaw: Option<Flaw>,
}

/// Who sends which vendor data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    /// Each entry has its own, the same in both ledgers.
    Distinct,
    /// It is the same for all entries of both ledgers.
    Alike,
    /// It is the same for all entries of a ledger, and another in the other ledger.
    AlikeApart,
}

/// A session of the receiver's own with the same vendor data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    None,
    /// Older than any attempt.
    Older,
    /// Made after the first attempt.
    Younger,
}

/// A fault of the program or the server; each breaks a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// The request leaves before its intent is durable.
    LateIntent,
    /// The plan takes an open entry for a fresh one.
    OpenIsFresh,
    /// An open entry with a dead token expires without a lookup.
    ExpiresUnseen,
    /// "Already imported" ends an entry as refused.
    RefusesOpen,
    /// A lookup doesn't ask whether other entries sent the same vendor data.
    IgnoresSharing,
    /// A lookup asks that before it reads the list.
    AsksBeforeListing,
    /// Two processes work on one ledger at once.
    NoLock,
    /// The server imports a source session as often as it is asked.
    Duplicates,
    /// The retry budget is not looked at.
    SendsForEver,
    /// What a lookup could not decide is not recorded.
    LeavesUnsettled,
    /// An unknown outcome comes with the advice of its class alone.
    ForgetsAdvice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A process takes the lock and plans.
    Begin(usize),
    /// A run ends without having taken every entry: a limit, a signal.
    End(usize),
    /// A process begins to send an entry, or to look for its session; its token may have died or been minted anew
    /// just before.
    Take(usize, usize, Fate),
    /// A process reads the list of sessions.
    List(usize, usize, Clock),
    /// A process asks its ledger about the vendor data.
    Ask(usize, usize),
    /// What a lookup decided becomes durable.
    Settle(usize, usize),
    /// The answer arrives and becomes durable.
    Answer(usize, usize),
    /// The server takes a request, and its answer arrives and becomes durable; the token may have died just before.
    Exchange(usize, usize, Fate),
    /// The same, and the lookup that follows fails.
    Miss(usize, usize, Fate),
    /// The process waits no longer; its request may still be under way.
    TimeOut(usize, usize),
    /// The lookup fails.
    Fail(usize, usize),
    Crash(usize),
    /// The server takes a request that is waited for.
    Serve(usize, usize),
    /// The server takes a request of a token that nobody of this ledger waits for.
    ServeLate(usize, usize, u8),
    /// The oldest token of an entry that lives dies.
    Expire(usize),
    Remint(usize),
}

/// What happened to the tokens of an entry before they were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Died,
    Reminted,
    Replaced,
}

impl World {
    fn steps_of_job(&self, system: &System, p: usize, e: usize, steps: &mut Vec<Step>) {
        let job = &system.columns[e].jobs[p];
        let may_lose = system.losses > 0;
        match job.phase {
            Phase::Done if self.apart || !self.plan(system, e, LEDGER_OF[p]).is_pending() => {}
            Phase::Done | Phase::Ready => {
                let column = &system.columns[e];
                let alive = !self.apart && column.lives(0);
                let expires = alive && system.expiries > 0;
                let remints = alive && may_remint(system, e);
                steps.push(Step::Take(p, e, Fate::Kept));
                if expires && column.oldest() == 0 {
                    steps.push(Step::Take(p, e, Fate::Died));
                }
                if remints {
                    steps.push(Step::Take(p, e, Fate::Reminted));
                }
                if remints && expires {
                    steps.push(Step::Take(p, e, Fate::Replaced));
                }
            }
            Phase::Sent if self.apart => steps.push(Step::Serve(p, e)),
            Phase::Sent => {
                let column = &system.columns[e];
                let token = column.rows[LEDGER_OF[p]].token;
                let dies = system.expiries > 0 && column.lives(token) && column.oldest() == token;
                for fate in [Fate::Kept, Fate::Died].into_iter().take(1 + usize::from(dies)) {
                    steps.push(Step::Exchange(p, e, fate));
                    if may_lose && self.finds_at_once(column, p) {
                        steps.push(Step::Miss(p, e, fate));
                    }
                }
            }
            Phase::Served(_) => steps.push(Step::Answer(p, e)),
            Phase::Looking { .. } if self.asks_first() => steps.push(Step::Ask(p, e)),
            Phase::Looking { .. } | Phase::Asked { .. } => {
                let own = self.may_seem_near(&system.columns[e], *job);
                let others = self.asks() && system.columns.iter().enumerate().any(|(it, c)| it != e && c.is_made());
                for own_is_near in [false, true].into_iter().take(1 + usize::from(own)) {
                    for others_are_old in [false, true].into_iter().take(1 + usize::from(others)) {
                        steps.push(Step::List(p, e, Clock { own_is_near, others_are_old }));
                    }
                }
            }
            Phase::Listed { .. } => steps.push(Step::Ask(p, e)),
            Phase::Decided { .. } => steps.push(Step::Settle(p, e)),
        }
        match job.phase {
            Phase::Sent | Phase::Served(_) if may_lose => steps.push(Step::TimeOut(p, e)),
            Phase::Looking { .. } if may_lose => steps.push(Step::Fail(p, e)),
            _ => {}
        }
    }

    fn asks_first(&self) -> bool {
        self.asks() && self.flaw == Some(Flaw::AsksBeforeListing)
    }

    /// Whether the clocks decide if the entry's own session is young enough.
    fn may_seem_near(&self, column: &Column, job: Job) -> bool {
        !self.shows_source && column.is_made() && job.first_attempt == Some(state::Before::Session)
    }

    fn carry_out(&self, system: &mut System, step: Step) {
        match step {
            Step::Begin(p) => {
                system.works[p] = true;
                for e in 0..self.entries {
                    self.begin(system, p, e);
                }
            }
            Step::Take(p, e, fate) => {
                if system.columns[e].jobs[p].phase == Phase::Done {
                    self.begin(system, p, e);
                }
                suffer(system, e, fate);
                self.step(system, p, e);
            }
            Step::Exchange(p, e, fate) | Step::Miss(p, e, fate) => {
                suffer(system, e, fate);
                let column = &mut system.columns[e];
                let token = column.rows[LEDGER_OF[p]].token;
                let reply = self.serve(column, LEDGER_OF[p], token);
                self.answered(system, p, e, Some(reply));
                if let (Step::Miss(..), Phase::Looking { .. }) = (step, system.columns[e].jobs[p].phase) {
                    self.carry_out(system, Step::Fail(p, e));
                }
            }
            Step::List(p, e, clock) => {
                let (dead, asked) = match system.columns[e].jobs[p].phase {
                    Phase::Looking { dead } => (dead, None),
                    Phase::Asked { dead, shared } => (dead, Some(shared)),
                    _ => return,
                };
                self.list(system, p, e, dead, clock);
                if let (Some(shared), Phase::Listed { dead, seen }) = (asked, system.columns[e].jobs[p].phase) {
                    self.judge(system, p, e, dead, seen, shared);
                }
                self.settle_at_once(system, p, e);
            }
            Step::Ask(p, e) => {
                let shared = self.is_shared(system, e, LEDGER_OF[p]);
                match system.columns[e].jobs[p].phase {
                    Phase::Looking { dead } => system.columns[e].jobs[p].phase = Phase::Asked { dead, shared },
                    Phase::Listed { dead, seen } => self.judge(system, p, e, dead, seen, shared),
                    _ => {}
                }
            }
            Step::Settle(p, e) => {
                if let Phase::Decided { settled, found } = system.columns[e].jobs[p].phase {
                    self.settle(system, p, e, settled, found);
                }
            }
            Step::Answer(p, e) => {
                if let Phase::Served(reply) = system.columns[e].jobs[p].phase {
                    self.answered(system, p, e, Some(reply));
                }
            }
            Step::TimeOut(p, e) => {
                system.losses -= 1;
                abandon(&mut system.columns[e], p);
                self.answered(system, p, e, None);
            }
            Step::Fail(p, e) => {
                system.losses -= 1;
                if let Phase::Looking { dead } = system.columns[e].jobs[p].phase {
                    looked(system, p, e, dead, Lookup::Failed, None);
                }
                self.settle_at_once(system, p, e);
            }
            Step::End(p) => {
                system.works[p] = false;
                for column in &mut system.columns {
                    column.jobs[p] = Job::default();
                }
            }
            Step::Crash(p) => crash(system, p),
            Step::Serve(p, e) => {
                let column = &mut system.columns[e];
                let token = column.rows[LEDGER_OF[p]].token;
                column.jobs[p].phase = Phase::Served(self.serve(column, LEDGER_OF[p], token));
            }
            Step::ServeLate(ledger, e, token) => {
                let column = &mut system.columns[e];
                column.late[ledger] &= !(1 << token);
                self.serve(column, ledger, token);
            }
            Step::Expire(e) => suffer(system, e, Fate::Died),
            Step::Remint(e) => suffer(system, e, Fate::Reminted),
        }
    }

    /// Whether a lookup may be taken together with what leads to it: the session is there, and will be found. A crash
    /// between them leaves what a crash before them leaves.
    fn finds_at_once(&self, column: &Column, p: usize) -> bool {
        !self.apart && column.is_made() && self.flaw.is_none() && column.is_certain(self, LEDGER_OF[p])
    }

    fn find_at_once(&self, system: &mut System) {
        for e in 0..self.entries {
            for p in 0..PROCESSES {
                let column = &system.columns[e];
                if let (true, Phase::Looking { dead }) = (self.finds_at_once(column, p), column.jobs[p].phase) {
                    self.list(system, p, e, dead, Clock { own_is_near: false, others_are_old: false });
                    self.settle_at_once(system, p, e);
                }
            }
        }
    }

    /// Settles what a lookup decided, where nothing can come between that matters.
    fn settle_at_once(&self, system: &mut System, p: usize, e: usize) {
        if let (false, Phase::Decided { settled, found }) = (self.apart || self.asks(), system.columns[e].jobs[p].phase)
        {
            self.settle(system, p, e, settled, found);
        }
    }

    /// The server: it refuses dead tokens, and a second import of one source session.
    fn serve(&self, column: &mut Column, ledger: usize, token: u8) -> Reply {
        if !column.lives(token) {
            return Reply::TokenExpired;
        }
        if column.is_made() && self.flaw != Some(Flaw::Duplicates) {
            return Reply::AlreadyImported;
        }
        column.made[ledger] += 1;
        Reply::Imported
    }
}

/// At most two tokens of an entry live at once.
fn may_remint(system: &System, e: usize) -> bool {
    system.remints > 0 && !system.columns[e].lives(1)
}

/// Whether a process holds the lock of its ledger.
fn holds_lock(system: &System, p: usize) -> bool {
    system.works[p] || system.columns.iter().any(|column| column.jobs[p].phase != Phase::Done)
}

/// Ends the runs that have nothing more to do, and looks whether the step was one that may be.
fn conclude(before: &System, step: Step, system: &mut System) {
    for p in 0..PROCESSES {
        system.works[p] &= system.columns.iter().any(|column| column.jobs[p].phase != Phase::Done);
    }
    let (begins, ends) = match step {
        Step::Begin(_) => (true, None),
        Step::Take(p, e, _) => (before.columns[e].jobs[p].phase == Phase::Done, Some((p, e))),
        Step::Exchange(p, e, _)
        | Step::Miss(p, e, _)
        | Step::Answer(p, e)
        | Step::Settle(p, e)
        | Step::TimeOut(p, e) => (false, Some((p, e))),
        Step::List(p, e, _) | Step::Fail(p, e) | Step::Ask(p, e) => (false, Some((p, e))),
        _ => (false, None),
    };
    if let Some((p, e)) = ends {
        let column = &system.columns[e];
        let is_left = column.rows[LEDGER_OF[p]].state == Some(State::Sending);
        let is_done = column.jobs[p].phase == Phase::Done;
        system.blame(Broken::Unsettled, is_done && is_left);
    }
    system.blame(Broken::Endless, !begins && distance(system) >= distance(before));
}

/// How far all runs are from their end at most: a number that every step but the begin of a run makes smaller. A lost
/// answer or lookup, a crash and a token's fate cost of a budget, which outweighs whatever they put back.
fn distance(system: &System) -> u32 {
    let job = |job: &Job| match job.phase {
        Phase::Done => 0,
        Phase::Decided { .. } => 1,
        Phase::Listed { dead, .. } if dead || job.last != Last::Lost => 2,
        Phase::Asked { dead, .. } if dead || job.last != Last::Lost => 3,
        Phase::Looking { dead } if dead || job.last != Last::Lost => 4,
        Phase::Served(_) => 5,
        Phase::Sent => 6,
        Phase::Ready => 7,
        // Only after a lost answer may a lookup end in sending again; with a dead token nothing is sent.
        Phase::Listed { .. } => 8,
        Phase::Asked { .. } => 9,
        Phase::Looking { .. } => 10,
    };
    let late = system.columns.iter().flat_map(|column| column.late).map(u8::count_ones).sum::<u32>();
    let jobs: u32 = system.columns.iter().flat_map(|column| &column.jobs).map(job).sum();
    let budgets = system.crashes + system.losses + system.expiries + system.remints;
    1000 * u32::from(budgets) + late + jobs
}

fn suffer(system: &mut System, e: usize, fate: Fate) {
    if matches!(fate, Fate::Reminted | Fate::Replaced) {
        system.remints -= 1;
        system.columns[e].remint();
    }
    if matches!(fate, Fate::Died | Fate::Replaced) {
        system.expiries -= 1;
        system.columns[e].expire();
    }
}

/// Nobody waits any more for what is under way.
fn abandon(column: &mut Column, p: usize) {
    if column.jobs[p].phase == Phase::Sent {
        let ledger = LEDGER_OF[p];
        column.late[ledger] |= 1 << column.rows[ledger].token;
    }
}

fn crash(system: &mut System, p: usize) {
    system.crashes -= 1;
    system.works[p] = false;
    for column in &mut system.columns {
        abandon(column, p);
        let is_under_way = matches!(column.jobs[p].phase, Phase::Sent | Phase::Served(_));
        column.rows[LEDGER_OF[p]].lost |= is_under_way;
        column.jobs[p] = Job::default();
    }
}

impl Model for World {
    type State = System;
    type Action = Step;

    fn init_states(&self) -> Vec<System> {
        let mut columns = [Column::default(); ENTRIES];
        for column in &mut columns[..self.entries] {
            column.alive = 1;
        }
        vec![System {
            columns,
            works: [false; PROCESSES],
            crashes: self.crashes,
            losses: self.losses,
            expiries: self.expiries,
            remints: self.remints,
            broken: None,
        }]
    }

    fn actions(&self, system: &System, steps: &mut Vec<Step>) {
        for (p, ledger) in LEDGER_OF.into_iter().enumerate() {
            let others = (0..PROCESSES).filter(|other| *other != p && LEDGER_OF[*other] == ledger);
            let is_working = holds_lock(system, p);
            // Idle processes of one ledger are interchangeable: the first stands for all.
            let has_lock = others.clone().all(|other| !holds_lock(system, other) && (is_working || other > p));
            if !has_lock && self.flaw != Some(Flaw::NoLock) {
                continue;
            }
            if is_working && system.crashes > 0 {
                steps.push(Step::Crash(p));
            }
            let is_pending = || (0..self.entries).any(|e| self.plan(system, e, ledger).is_pending());
            if self.apart && !is_working && is_pending() {
                steps.push(Step::Begin(p));
            }
            let is_untaken = |job: &Job| job.phase == Phase::Ready && job.last == Last::None;
            let mut jobs = system.columns.iter().map(|column| column.jobs[p]);
            if self.apart && is_working && jobs.all(|job| job.phase == Phase::Done || is_untaken(&job)) {
                steps.push(Step::End(p));
            }
            for e in 0..self.entries {
                self.steps_of_job(system, p, e, steps);
            }
        }
        for (e, column) in system.columns[..self.entries].iter().enumerate() {
            for (ledger, late) in column.late.into_iter().enumerate() {
                let tokens = (0..2).filter(|token| late & (1 << token) != 0);
                steps.extend(tokens.map(|token| Step::ServeLate(ledger, e, token)));
            }
            if column.is_over() {
                continue;
            }
            let is_refused = column.rows.iter().any(|row| row.state == Some(State::Refused));
            let is_dead = !column.lives(0);
            if column.alive != 0 && system.expiries > 0 && (self.apart || is_refused) {
                steps.push(Step::Expire(e));
            }
            if may_remint(system, e) && (self.apart || is_dead || is_refused) {
                steps.push(Step::Remint(e));
            }
        }
    }

    fn next_state(&self, last: &System, step: Step) -> Option<System> {
        let mut system = *last;
        self.carry_out(&mut system, step);
        self.find_at_once(&mut system);
        conclude(last, step, &mut system);
        Some(system.canonical(self))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
