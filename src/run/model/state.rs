//! What the model remembers: small numbers, in a form that is the same for what can't be told apart.

use super::{Flaw, Own, Vendor, World};
use crate::didit::Class;
use crate::ledger::records::State;
use crate::lifecycle::{Answer, Lookup, Next, Settled, Standing, TokenLife};
use crate::pace::MAX_SENDS;

/// The most entries of a world.
pub const ENTRIES: usize = 3;
/// Processes 0 and 1 share ledger 0; process 2 has ledger 1.
pub const PROCESSES: usize = 3;
pub const LEDGER_OF: [usize; PROCESSES] = [0, 0, 1];
pub const LEDGERS: usize = 2;

/// Everything, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct System {
    /// One for each entry, sorted: entries are interchangeable.
    pub columns: [Column; ENTRIES],
    /// Whether a process works, and holds the lock of its ledger, where every step is taken apart.
    pub works: [bool; PROCESSES],
    /// What is left of crashes, losses, expiries and re-mints.
    pub crashes: u8,
    pub losses: u8,
    pub expiries: u8,
    pub remints: u8,
    /// The first thing that a step did and no step may do.
    pub broken: Option<Broken>,
}

/// What can be wrong with a step, where the state after it doesn't show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A request left for an entry that is imported.
    SentFromFinal,
    /// An entry was left in `sending` by a run that goes on without it.
    Unsettled,
    /// A step brought no process nearer to the end of its run.
    Endless,
    /// An entry was left `unknown` without the command that settles it.
    WithoutAdvice,
}

/// All that concerns one entry, everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column {
    /// Sessions that the server made of the source, by the ledger whose request made them.
    pub made: [u8; LEDGERS],
    /// The tokens that live, as bits: the newest, and the one before.
    pub alive: u8,
    /// Requests under way that nobody waits for, as bits of tokens, by the ledger for which they were sent.
    pub late: [u8; LEDGERS],
    /// What the ledgers say.
    pub rows: [Row; LEDGERS],
    /// What the processes do about it.
    pub jobs: [Job; PROCESSES],
}

/// A row of a ledger, reduced to what decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// `None`: there is no row.
    pub state: Option<State>,
    /// The class of the recorded error, where it is `refused`.
    pub class: Option<Class>,
    /// The token last sent: how many were minted since.
    pub token: u8,
    /// An attempt ended without an answer.
    pub lost: bool,
    /// Whether the source had a session before the first attempt; `None` before that.
    pub first_attempt: Option<Before>,
    /// The session on record.
    pub session: Option<Id>,
}

/// Whether the source had a session when the first request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Before {
    Nothing,
    Session,
}

/// A session's id, seen from an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// A session of the entry's source.
    Right,
    /// Any other.
    Wrong,
}

/// What a process does about an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    pub phase: Phase,
    pub open: bool,
    pub lost: bool,
    pub sends: u8,
    pub last: Last,
    /// As in the row, but where the entry was not open, of this run.
    pub first_attempt: Option<Before>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing (more) in this run.
    #[default]
    Done,
    /// A step is due.
    Ready,
    /// The intent is durable; the request is under way.
    Sent,
    /// The server has decided; the answer is under way.
    Served(Reply),
    /// A lookup is due, with a token that is known to be dead, or not.
    Looking { dead: bool },
    /// The ledger was asked whether the vendor data is shared, before the list was read: what a flaw does.
    Asked { dead: bool, shared: bool },
    /// The sessions were listed.
    Listed { dead: bool, seen: Seen },
    /// The lookup has decided; that is not durable yet.
    Decided { settled: Verdict, found: Option<Id> },
}

/// What a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seen {
    /// The session of the entry's source, and whether it is older than the first attempt.
    pub own: Option<bool>,
    /// Sessions of other entries that carry the same vendor data.
    pub others: u8,
}

/// [`Settled`], in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Imported,
    Recovered,
    Refused,
    Expired,
    Unknown,
}

impl From<Settled> for Verdict {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Imported => Self::Imported,
            Settled::Recovered => Self::Recovered,
            Settled::Refused => Self::Refused,
            Settled::Expired => Self::Expired,
            Settled::Unknown => Self::Unknown,
        }
    }
}

/// The server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reply {
    Imported,
    AlreadyImported,
    TokenExpired,
}

/// The last answer of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Last {
    #[default]
    None,
    Lost,
    AlreadyImported,
    TokenExpired,
}

impl Last {
    /// As the program has it.
    pub fn answer(self) -> Option<Answer> {
        match self {
            Self::None => None,
            Self::Lost => Some(Answer::Unknown(Class::Timeout)),
            Self::AlreadyImported => Some(Answer::Refused(Class::AlreadyImported)),
            Self::TokenExpired => Some(Answer::Refused(Class::TokenExpired)),
        }
    }
}

impl System {
    /// Notes what is broken, if it is.
    pub fn blame(&mut self, broken: Broken, is_broken: bool) {
        self.broken = self.broken.or(is_broken.then_some(broken));
    }

    /// The same in the one form that stands for all that behave alike.
    pub fn canonical(mut self, world: &World) -> Self {
        let entries = world.entries;
        for column in &mut self.columns[..entries] {
            column.forget(world);
            if !world.apart {
                column.simplify(world, self.losses);
            }
        }
        self.columns[..entries].sort_unstable();
        if world.apart || world.flaw == Some(Flaw::NoLock) {
            return self;
        }
        // The processes of a ledger are as one, and so the ledgers are alike.
        let mut mirrored = self;
        for column in &mut mirrored.columns[..entries] {
            *column = column.mirrored();
        }
        mirrored.columns[..entries].sort_unstable();
        if mirrored.columns < self.columns { mirrored } else { self }
    }
}

impl Column {
    pub fn is_made(&self) -> bool {
        self.made != [0; LEDGERS]
    }

    pub fn lives(&self, token: u8) -> bool {
        self.alive & (1 << token) != 0
    }

    /// A new token is minted.
    pub fn remint(&mut self) {
        self.alive = self.alive << 1 | 1;
        self.late = self.late.map(|late| late << 1);
        for row in &mut self.rows {
            row.token += 1;
        }
    }

    /// The oldest token that lives dies.
    pub fn expire(&mut self) {
        self.alive &= !(1 << self.oldest());
    }

    /// The oldest token that lives; they die in the order in which they were minted.
    pub fn oldest(&self) -> u8 {
        self.alive.checked_ilog2().unwrap_or_default() as u8
    }

    /// The same column where the ledgers are exchanged.
    pub fn mirrored(&self) -> Self {
        let mut jobs = self.jobs;
        jobs.swap(0, 2);
        let swap = |[a, b]: [u8; LEDGERS]| [b, a];
        let [a, b] = self.rows;
        Self { made: swap(self.made), late: swap(self.late), rows: [b, a], jobs, ..*self }
    }

    /// Nothing will ever be done about it again.
    pub fn is_over(&self) -> bool {
        self.rows.iter().all(|row| row.state == Some(State::Imported))
            && self.jobs.iter().all(|job| job.phase == Phase::Done)
    }

    /// Forgets what can't change anything any more.
    fn forget(&mut self, world: &World) {
        let refused = self.is_made() && world.flaw != Some(Flaw::Duplicates);
        self.late = self.late.map(|late| if refused { 0 } else { late & self.alive });
        for job in self.jobs.iter_mut().filter(|job| job.phase == Phase::Done) {
            *job = Job::default();
        }
        for ledger in 0..LEDGERS {
            let is_idle = self.is_idle(ledger);
            let row = &mut self.rows[ledger];
            // Which token was sent decides only about a request under way, and about what was refused.
            if is_idle && row.state != Some(State::Refused) {
                row.token = 0;
            } else if row.token > 0 && (is_idle || self.alive & (1 << row.token) == 0) {
                row.token = DEAD;
            }
            if is_idle && row.state == Some(State::Imported) {
                *row = Row { lost: false, first_attempt: Some(Before::Nothing), ..*row };
            }
        }
        if self.is_over() {
            self.alive = 0;
        }
    }

    /// Forgets what decides alike.
    fn simplify(&mut self, world: &World, losses: u8) {
        let certain: [bool; LEDGERS] = std::array::from_fn(|ledger| self.is_certain(world, ledger));
        for (p, job) in self.jobs.iter_mut().enumerate() {
            // Every answer but a lost one ends an entry or leads to a lookup, so a run sends as often as answers can
            // still be lost, and once more: where that is short of the budget, it doesn't matter how much is spent.
            if u32::from(job.sends + losses) + 1 < MAX_SENDS {
                job.sends = 0;
            }
            job.simplify();
            // The next answer takes the place of the last.
            if job.phase == Phase::Sent {
                job.last = Last::None;
            }
            if certain[LEDGER_OF[p]] {
                *job = Job { lost: false, first_attempt: job.first_attempt.map(|_| Before::Nothing), ..*job };
            }
        }
        for (ledger, row) in self.rows.iter_mut().enumerate() {
            if certain[ledger] {
                *row = Row { lost: false, first_attempt: row.first_attempt.map(|_| Before::Nothing), ..*row };
            }
            row.state = match row.state {
                // The plan knows both as open.
                Some(State::Unknown) => Some(State::Sending),
                // The plan takes both for fresh; refused for good is only a token that lives.
                Some(State::Expired) => None,
                Some(State::Refused) if row.token != 0 || self.alive & 1 == 0 => None,
                state => state,
            };
            if row.state.is_none() {
                *row = Row { class: None, token: 0, ..*row };
            }
        }
    }

    /// Whether a lookup finds the session wherever there is one, whatever the ledger knows of times: the source is
    /// proof, or the session is the only one alike and was certainly made after the first attempt.
    pub fn is_certain(&self, world: &World, ledger: usize) -> bool {
        let is_younger = |before: Option<Before>| before == Some(Before::Nothing);
        let mut jobs = (0..PROCESSES).filter(|p| LEDGER_OF[*p] == ledger).map(|p| &self.jobs[p]);
        world.shows_source
            || world.vendor == Vendor::Distinct
                && world.own == Own::None
                && is_younger(self.rows[ledger].first_attempt)
                && jobs.all(|job| {
                    job.phase == Phase::Done
                        || job.phase == Phase::Ready && job.first_attempt.is_none()
                        || is_younger(job.first_attempt)
                })
    }

    pub fn is_idle(&self, ledger: usize) -> bool {
        (0..PROCESSES).all(|p| LEDGER_OF[p] != ledger || self.jobs[p].phase == Phase::Done)
    }
}

impl Job {
    /// Lookups from which the same follows, whatever they find, and that end the entry, are the same.
    fn simplify(&mut self) {
        let Phase::Looking { dead } = self.phase else { return };
        let follows = |dead, job: Self| LOOKUPS.map(|lookup| job.after_lookup(dead, lookup));
        let canonical = Self { open: true, sends: 0, last: Last::None, ..*self };
        let ends = follows(true, canonical);
        if self.last != Last::AlreadyImported && follows(dead, *self) == ends {
            *self = Self { phase: Phase::Looking { dead: true }, ..canonical };
        }
    }

    /// What follows from a lookup.
    pub fn after_lookup(self, dead: bool, lookup: Lookup) -> Next {
        let token = if dead { TokenLife::Dead } else { TokenLife::Lives };
        let standing = Standing { open: self.open, sends: u32::from(self.sends), token };
        standing.after_lookup(self.last.answer(), lookup)
    }
}

const LOOKUPS: [Lookup; 4] = [Lookup::Found, Lookup::Ambiguous, Lookup::Nothing, Lookup::Failed];

/// A token that is dead, or at least is not the newest and not under way.
const DEAD: u8 = 7;
