//! What the program does between two events of the world. What is decided here is decided by the program's own
//! functions: [`plan::decide`], [`Standing`], [`resolve::judge`] and [`advice`].

use std::sync::OnceLock;

use jiff::Timestamp;
use uuid::Uuid;

use super::state::{Before, Broken, Id, Job, LEDGER_OF, LEDGERS, Last, Phase, Reply, Row, Seen, System, Verdict};
use super::{Flaw, Own, Vendor, World};
use crate::didit::Class;
use crate::ledger::records::{EntryId, State};
use crate::lifecycle::{Answer, Lookup, Next, Standing, TokenLife};
use crate::pace::MAX_SENDS;
use crate::plan::{self, Facts, Known, Token};
use crate::report::document::advice;
use crate::run::resolve::{self, Candidate, Carries, Source, Wanted};
use crate::token::SessionKind;

/// What a lookup sees of the times of sessions, where that is not certain: clocks tell seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The entry's session, older than the first attempt, seems young enough.
    pub own_is_near: bool,
    /// Sessions of other entries are older than the first attempt.
    pub others_are_old: bool,
}

impl World {
    /// The action of the plan for an entry in a ledger.
    pub fn plan(&self, system: &System, e: usize, ledger: usize) -> plan::Action {
        let column = &system.columns[e];
        let row = &column.rows[ledger];
        let known = match row.state {
            None | Some(State::Expired) => Known::Fresh,
            Some(State::Sending | State::Unknown) if self.flaw == Some(Flaw::OpenIsFresh) => Known::Fresh,
            Some(State::Sending | State::Unknown) => Known::Open,
            Some(State::Imported) => Known::Imported { differing: crate::plan::Differing::default() },
            Some(State::Refused) => Known::Refused {
                class: row.class.unwrap_or(Class::Protocol),
                same_token: row.token == 0,
                same_settings: true,
            },
            Some(State::Erased) => Known::Erased,
        };
        let token = if column.lives(0) { Token::Usable } else { Token::Dead };
        decide(known, token)
    }

    /// A process plans an entry.
    pub fn begin(&self, system: &mut System, p: usize, e: usize) {
        let action = self.plan(system, e, LEDGER_OF[p]);
        let row = system.columns[e].rows[LEDGER_OF[p]];
        let open = action == plan::Action::Recover;
        let phase = if action.is_pending() { Phase::Ready } else { Phase::Done };
        let lost = open && row.lost;
        let first_attempt = row.first_attempt.filter(|_| open);
        system.columns[e].jobs[p] = Job { phase, open, lost, sends: self.spent, last: Last::None, first_attempt };
    }

    /// The token is read and the step begins: an intent becomes durable and its request leaves, or the entry
    /// expires, or its session is to be looked for.
    pub fn step(&self, system: &mut System, p: usize, e: usize) {
        let column = &mut system.columns[e];
        let alive = column.lives(0);
        let token = if alive { TokenLife::Lives } else { TokenLife::Dead };
        let job = column.jobs[p];
        let open = job.open && self.flaw != Some(Flaw::ExpiresUnseen);
        match (Standing { open, sends: u32::from(job.sends), token }).begin() {
            Next::Send => self.send(system, p, e),
            Next::LookUp => column.jobs[p].phase = Phase::Looking { dead: !alive },
            _ => self.settle(system, p, e, Verdict::Expired, None),
        }
    }

    fn send(&self, system: &mut System, p: usize, e: usize) {
        let column = system.columns[e];
        system.blame(Broken::SentFromFinal, column.rows[LEDGER_OF[p]].state == Some(State::Imported));
        system.blame(Broken::Endless, u32::from(column.jobs[p].sends) >= MAX_SENDS);
        let column = &mut system.columns[e];
        let row = &mut column.rows[LEDGER_OF[p]];
        let before = if column.made == [0; LEDGERS] { Before::Nothing } else { Before::Session };
        row.first_attempt.get_or_insert(before);
        row.token = 0;
        if self.flaw != Some(Flaw::LateIntent) {
            (row.state, row.class) = (Some(State::Sending), None);
        }
        column.jobs[p].first_attempt.get_or_insert(before);
        column.jobs[p].phase = Phase::Sent;
    }

    /// An answer, or that there is none, is recorded, and what follows is taken up.
    pub fn answered(&self, system: &mut System, p: usize, e: usize, reply: Option<Reply>) {
        let column = &mut system.columns[e];
        let (job, row) = (&mut column.jobs[p], &mut column.rows[LEDGER_OF[p]]);
        let (last, answer) = match reply {
            Some(Reply::Imported) => (Last::None, Answer::Imported),
            Some(Reply::AlreadyImported) => (Last::AlreadyImported, Answer::Refused(Class::AlreadyImported)),
            Some(Reply::TokenExpired) => (Last::TokenExpired, Answer::Refused(Class::TokenExpired)),
            None => (Last::Lost, Answer::Unknown(Class::Timeout)),
        };
        let before = Standing { open: job.open, sends: u32::from(job.sends), token: TokenLife::Lives };
        let after = before.answered(answer);
        let next = match before.after_answer(answer) {
            Next::LookUp if self.flaw == Some(Flaw::RefusesOpen) && reply == Some(Reply::AlreadyImported) => {
                Next::Settle(crate::lifecycle::Settled::Refused)
            }
            Next::LookUp if self.flaw == Some(Flaw::SendsForEver) && reply.is_none() => Next::Send,
            next => next,
        };
        (job.open, job.sends, job.last) = (after.open, after.sends as u8, last);
        job.lost |= reply.is_none();
        row.lost |= reply.is_none();
        match next {
            Next::Settle(settled) => {
                let found = (answer == Answer::Imported).then_some(Id::Right);
                self.settle(system, p, e, settled.into(), found);
            }
            // Until a lookup or another answer has decided, the entry is open, unless its refusal is on record.
            next => {
                let undecided = after.open || next == Next::LookUp;
                row.state = Some(if undecided { State::Sending } else { State::Refused });
                job.phase = if next == Next::LookUp { Phase::Looking { dead: false } } else { Phase::Ready };
            }
        }
    }

    /// Reads the list.
    pub fn list(&self, system: &mut System, p: usize, e: usize, dead: bool, clock: Clock) {
        let ledger = LEDGER_OF[p];
        let job = system.columns[e].jobs[p];
        let own_is_listed = match self.vendor {
            Vendor::AlikeApart => system.columns[e].made[ledger] > 0,
            Vendor::Distinct | Vendor::Alike => system.columns[e].is_made(),
        };
        let others = system.columns.iter().enumerate().filter(|(other, column)| {
            let owned = column.rows[ledger].session.is_some();
            let carries = match self.vendor {
                Vendor::Distinct => false,
                Vendor::Alike => column.is_made(),
                Vendor::AlikeApart => column.made[ledger] > 0,
            };
            *other != e && carries && !owned
        });
        let others = if clock.others_are_old { 0 } else { others.count() as u8 };
        let own = own_is_listed.then(|| job.first_attempt == Some(Before::Session) && !clock.own_is_near);
        let seen = Seen { own, others };
        if self.asks() {
            system.columns[e].jobs[p].phase = Phase::Listed { dead, seen };
        } else {
            self.judge(system, p, e, dead, seen, false);
        }
    }

    /// Whether the answer to "is the vendor data shared?" can change while a lookup is made, and matters.
    pub fn asks(&self) -> bool {
        self.vendor != Vendor::Distinct && !self.shows_source
    }

    /// Whether another entry of the ledger sent the same vendor data.
    pub fn is_shared(&self, system: &System, e: usize, ledger: usize) -> bool {
        self.vendor != Vendor::Distinct
            && self.flaw != Some(Flaw::IgnoresSharing)
            && (0..self.entries).any(|other| other != e && system.columns[other].rows[ledger].first_attempt.is_some())
    }

    /// Judges what was listed.
    pub fn judge(&self, system: &mut System, p: usize, e: usize, dead: bool, seen: Seen, shared: bool) {
        let job = &mut system.columns[e].jobs[p];
        let is_older = !job.lost && job.last == Last::AlreadyImported;
        let wanted = Wanted {
            entry: EntryId(e as i64),
            source: Some(source(e)),
            kind: Some(SessionKind::User),
            vendor_data: Some("vendor data".to_owned()),
            since: (!is_older).then(|| time(FIRST_ATTEMPT)),
            vendor_data_is_shared: shared,
        };
        let candidates = self.candidates(e, seen);
        let (lookup, evidence) = resolve::judge(&wanted, &candidates, true);
        let found = evidence.session_id.filter(|_| lookup == Lookup::Found);
        let found = found.map(|id| if id == session(e) { Id::Right } else { Id::Wrong });
        looked(system, p, e, dead, lookup, found);
    }

    fn candidates(&self, e: usize, seen: Seen) -> Vec<Candidate> {
        let candidate = |session_id, of, second| {
            let source = if self.shows_source { of } else { Source::Untold };
            Candidate { session_id, source, carries: Carries::Yes, created_at: Some(time(second)), owned: false }
        };
        let mut candidates = Vec::with_capacity(4);
        for other in (0..usize::from(seen.others)).map(|n| 100 + n) {
            candidates.push(candidate(session(other), Source::Of(source(other)), FIRST_ATTEMPT + 50));
        }
        match self.own {
            Own::None => {}
            Own::Older => candidates.push(candidate(session(200), Source::Own, FIRST_ATTEMPT - 100)),
            Own::Younger => candidates.push(candidate(session(200), Source::Own, FIRST_ATTEMPT + 100)),
        }
        if let Some(is_older) = seen.own {
            let second = if is_older { FIRST_ATTEMPT - 50 } else { FIRST_ATTEMPT + 50 };
            candidates.push(candidate(session(e), Source::Of(source(e)), second));
        }
        candidates
    }

    /// What became of an entry in this run becomes durable.
    pub fn settle(&self, system: &mut System, p: usize, e: usize, settled: Verdict, found: Option<Id>) {
        let column = &mut system.columns[e];
        let (job, row) = (&mut column.jobs[p], &mut column.rows[LEDGER_OF[p]]);
        let last = match job.last.answer() {
            Some(Answer::Refused(class) | Answer::Unknown(class)) => class,
            _ => Class::Network,
        };
        let (state, class) = match settled {
            Verdict::Imported | Verdict::Recovered => (State::Imported, None),
            Verdict::Refused => (State::Refused, Some(last)),
            Verdict::Expired => (State::Expired, None),
            Verdict::Unknown => (State::Unknown, None),
        };
        job.phase = Phase::Done;
        let is_open = state == State::Unknown;
        let is_told_open = is_open && self.flaw != Some(Flaw::ForgetsAdvice);
        if is_open && self.flaw == Some(Flaw::LeavesUnsettled) {
            return;
        }
        *row = Row { state: Some(state), class, session: found.or(row.session), ..*row };
        system.blame(
            Broken::WithoutAdvice,
            is_open && !advice(last, "entry", is_told_open).contains("ledger adopt entry "),
        );
    }
}

/// What follows from a lookup.
pub fn looked(system: &mut System, p: usize, e: usize, dead: bool, lookup: Lookup, found: Option<Id>) {
    let job = &mut system.columns[e].jobs[p];
    job.phase = match job.after_lookup(dead, lookup) {
        Next::Settle(settled) | Next::Stop(settled) => Phase::Decided { settled: settled.into(), found },
        _ => Phase::Ready,
    };
}

/// The program's own decision, which also says why; the common ones are asked for once.
fn decide(known: Known, token: Token) -> plan::Action {
    static COMMON: OnceLock<[plan::Action; 6]> = OnceLock::new();
    let ask = |known, token| plan::decide(&Facts { known, invalid: false, token, retry_refused: false }).0;
    let common = |known, token| match known {
        Known::Fresh => 0,
        Known::Open => 1,
        _ => 2,
    } * 2 + usize::from(token == Token::Usable);
    match known {
        Known::Fresh | Known::Open => {}
        Known::Imported { .. } => {}
        _ => return ask(known, token),
    }
    let actions = COMMON.get_or_init(|| {
        let known = [Known::Fresh, Known::Open, Known::Imported { differing: crate::plan::Differing::default() }];
        std::array::from_fn(|n| ask(known[n / 2], if n % 2 == 1 { Token::Usable } else { Token::Dead }))
    });
    actions[common(known, token)]
}

/// Second of the first attempt, on the scale that a lookup sees.
const FIRST_ATTEMPT: i64 = 1_000_000;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn source(n: usize) -> Uuid {
    Uuid::from_u128(1000 + n as u128)
}

fn session(n: usize) -> Uuid {
    Uuid::from_u128(2000 + n as u128)
}
