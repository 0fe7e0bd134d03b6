//! What the ledger keeps, as plain values.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::didit::Class;
use crate::token::{Fingerprint, SessionKind};

mod reported;
mod sketch;
mod sums;

pub use reported::{RunFinding, RunOutcome, StateCount};
pub use sketch::{ReceiverRef, Sketch, Sought};
pub use sums::{FindingSum, ImportSum, PeriodSums, RefusalSum, RepairSum};

/// An entry's number in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub i64);

/// A run's number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RunId(pub i64);

/// An attempt's number in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub i64);

/// What is known of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its session exists and its id is on record.
    Imported,
    /// The server said no.
    Refused,
    /// Its token died before a session was made of it.
    Expired,
    /// A request was sent, and what became of it could not be settled.
    Unknown,
    /// A request was sent (or was about to be), and no outcome is on record.
    Sending,
    /// Erased by hand.
    Erased,
}

impl State {
    /// Every state, in the order of outputs.
    pub const ALL: [Self; 6] =
        [Self::Imported, Self::Refused, Self::Expired, Self::Unknown, Self::Sending, Self::Erased];

    /// The name in outputs and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Sending => "sending",
            Self::Erased => "erased",
        }
    }

    /// Reads [`State::as_str`] back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The receiving application, as far as it is known: two descriptions mean the same application where their ids are
/// equal, or, where one has none, where base URL and (if both know it) key are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receiver {
    /// The claims' `for_application_id`, else `application.id`.
    pub application_id: Option<Uuid>,
    /// Without a trailing slash.
    pub base_url: String,
    /// Fingerprint of the key, where one was read.
    pub key: Option<Fingerprint>,
}

impl Receiver {
    /// Whether both can be the same application.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.as_ref().matches(other.as_ref())
    }
}

/// By when each request of earlier runs had arrived, as far as the ledger tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentRequests {
    /// POST, PATCH and DELETE.
    pub writes: Vec<Timestamp>,
    /// GET.
    pub reads: Vec<Timestamp>,
}

/// The imports of the last minute with one key, named as a manifest names it: a plan has no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentImports {
    /// The base URL without a trailing slash.
    pub base_url: String,
    /// The reference to the key, as kept with the manifest.
    pub api_key: String,
    /// By when each had arrived.
    pub at: Vec<Timestamp>,
}

/// Which of a key's two budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKind {
    /// POST, PATCH and DELETE.
    Writes,
    /// GET.
    Reads,
}

impl BudgetKind {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Reads => "reads",
        }
    }
}

/// Requests that are about to leave.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// The key's fingerprint.
    pub key: Fingerprint,
    /// The budget.
    pub budget: BudgetKind,
    /// How many at most.
    pub requests: u32,
    /// None of them leaves later.
    pub until: Timestamp,
    /// The block before, which is done.
    pub before: Option<Block>,
}

/// A block's number in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendId(pub i64);

/// A reserved block that is done.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Which.
    pub id: SendId,
    /// What was sent of it.
    pub sent: u32,
    /// When the last of it left.
    pub last: Timestamp,
}

/// Settings of an import as sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// `workflow_id`.
    pub workflow_id: Option<Uuid>,
    /// `trust_review`.
    pub trust_review: Option<bool>,
    /// `vendor_data`.
    pub vendor_data: Option<String>,
}

/// The session that an import made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id in the receiving application.
    pub session_id: Uuid,
    /// Its number there.
    pub session_number: Option<i64>,
    /// Its page, where the API tells one.
    pub session_url: Option<String>,
    /// Its status as the import's own answer told.
    pub status: Option<String>,
}

impl Session {
    /// One of which nothing but the id is known.
    #[must_use]
    pub fn known_by(session_id: Uuid) -> Self {
        Self { session_id, session_number: None, session_url: None, status: None }
    }

    /// Whether more than its id is known.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.session_number.is_some() || self.session_url.is_some() || self.status.is_some()
    }
}

/// Why an entry has no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedError {
    /// The class.
    pub class: Class,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// What was said, in recognised words.
    pub detail: String,
}

/// One entry as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub id: EntryId,
    /// The manifest's name.
    pub manifest: String,
    /// The label.
    pub label: String,
    /// The receiving application.
    pub receiver: Receiver,
    /// The shared session in the partner's application, once known.
    pub source_session_id: Option<Uuid>,
    /// After an erasure: the keyed hash of the source session.
    pub source_hash: Option<Fingerprint>,
    /// The token last sent.
    pub token: Option<Fingerprint>,
    /// The application that shared.
    pub from_application_id: Option<Uuid>,
    /// The kind.
    pub session_kind: Option<SessionKind>,
    /// What is known.
    pub state: State,
    /// Settings as last sent.
    pub settings: Settings,
    /// Whether it is unsettled and the answer to one of its requests is unknown.
    pub answer_lost: bool,
    /// Whether the import's own answer is on record: not so where a lookup found the session, or a person named it.
    pub answered: bool,
    /// How many requests were sent.
    pub attempts: u32,
    /// When the first one was.
    pub first_sent_at: Option<Timestamp>,
    /// The session, if imported.
    pub session: Option<Session>,
    /// When its id was recorded.
    pub imported_at: Option<Timestamp>,
    /// The last refusal or failure, if any.
    pub error: Option<RecordedError>,
    /// `FILE:LINE` at the last apply.
    pub place: String,
    /// The run that last changed it.
    pub run: RunId,
    /// When its session was last verified.
    pub audited_at: Option<Timestamp>,
}

impl Record {
    /// Whether people may mean this entry: by label, source session, session id or vendor data.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let is = |id: Option<Uuid>| id.is_some_and(|id| id.to_string().eq_ignore_ascii_case(name));
        self.label == name
            || is(self.source_session_id)
            || is(self.session.as_ref().map(|session| session.session_id))
            || self.settings.vendor_data.as_deref() == Some(name)
    }
}

/// What identifies an entry and describes it, for a first row in the ledger.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The manifest's name.
    pub manifest: String,
    /// The label.
    pub label: String,
    /// The receiving application.
    pub receiver: Receiver,
    /// The shared session, where known.
    pub source_session_id: Option<Uuid>,
    /// The application that shared. Of a token that is sent, only where its claims name the source session, too: that they
    /// do is told by this.
    pub from_application_id: Option<Uuid>,
    /// The kind.
    pub session_kind: Option<SessionKind>,
    /// `FILE:LINE`.
    pub place: String,
}

/// The intent to send one request.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The entry's row, if it has one.
    pub entry: Option<EntryId>,
    /// Its description, for a new row or to refresh the old one.
    pub describe: NewEntry,
    /// The run.
    pub run: RunId,
    /// When it leaves, by the server's clock.
    pub sent_at: Timestamp,
    /// When it leaves, by this machine's clock.
    pub left_at: Timestamp,
    /// The token.
    pub token: Fingerprint,
    /// The token's `exp`.
    pub token_expires_at: Option<Timestamp>,
    /// What is sent.
    pub settings: Settings,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// A session was made.
    Imported,
    /// The server said no.
    Refused,
    /// It certainly was not processed.
    NotProcessed,
    /// Nobody knows.
    Unknown,
}

impl AnswerKind {
    /// The name in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Refused => "refused",
            Self::NotProcessed => "not_processed",
            Self::Unknown => "unknown",
        }
    }
}

/// The answer to one attempt, and the entry's state after it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The entry.
    pub entry: EntryId,
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
    /// The answered attempt; `None` where a lookup settled the entry or it expired unsent.
    pub attempt: Option<(AttemptId, AnswerKind)>,
    /// The state from now on.
    pub state: State,
    /// The session, if there is one.
    pub session: Option<Session>,
    /// The source session, where the answer names it and the row does not yet.
    pub source_session_id: Option<Uuid>,
    /// The kind, where the answer names it.
    pub session_kind: Option<SessionKind>,
    /// The refusal, if there is one.
    pub error: Option<RecordedError>,
    /// Why a session was taken to be this entry's, or none was.
    pub evidence: Option<Evidence>,
}

/// Evidence of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// `proof`, `sole-candidate`, `ambiguous` or `none`.
    pub verdict: &'static str,
    /// The session meant.
    pub session_id: Option<Uuid>,
    /// In words: counts and ids only.
    pub detail: String,
}

/// One attempt with its answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Attempt {
    /// The run.
    pub run: RunId,
    /// From 1, for each entry.
    pub number: u32,
    /// When the intent was recorded.
    pub sent_at: Timestamp,
    /// When the answer was.
    pub answered_at: Option<Timestamp>,
    /// `imported`, `refused`, `not_processed`, `unknown`, or `open`.
    pub outcome: String,
    /// The HTTP status.
    pub http_status: Option<u16>,
    /// The class of a refusal or failure.
    pub class: Option<Class>,
    /// In recognised words.
    pub detail: Option<String>,
    /// The session that the answer named.
    pub session_id: Option<Uuid>,
    /// The token's fingerprint, 8 hex digits.
    pub token: String,
}

/// Who runs, why and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `--actor`.
    pub actor: String,
    /// `--reason`.
    pub reason: Option<String>,
    /// `--ref`.
    pub reference: Option<String>,
}

/// A run as begun, and, if it ended by itself, its end.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// `apply`, `audit`, `ledger adopt`, ...
    pub command: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Who, why.
    pub origin: Origin,
    /// Its end.
    pub end: Option<RunEnd>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Requests sent.
    pub requests: Requests,
    /// Sessions to be verified, and how many were; `None` where nothing was verified.
    pub verified: Option<(u64, u64)>,
    /// Why it ended early.
    pub error: Option<RunError>,
    /// The exit's conditions, the first being the exit's own.
    pub conditions: Vec<String>,
}

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RunError {
    /// The exit code that stands for it.
    pub code: u8,
    /// Its name.
    pub name: String,
    /// In words.
    pub message: String,
}

/// Requests of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Requests {
    /// POST, PATCH, DELETE.
    pub writes: u64,
    /// GET.
    pub reads: u64,
    /// 429s met.
    pub throttled: u64,
}

impl std::iter::Sum for Requests {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            writes: a.writes + b.writes,
            reads: a.reads + b.reads,
            throttled: a.throttled + b.throttled,
        })
    }
}

/// Something that `ledger check` found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Flaw {
    /// What does not hold.
    pub rule: &'static str,
    /// The manifest of the entry, where it is about one.
    pub manifest: Option<String>,
    /// The entry's label.
    pub id: Option<String>,
    /// In words.
    pub message: String,
}

impl Flaw {
    /// A flaw of no entry in particular.
    #[must_use]
    pub fn of_file(rule: &'static str, message: String) -> Self {
        Self { rule, manifest: None, id: None, message }
    }
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Of entries.
    pub entries: u64,
    /// Of attempts.
    pub attempts: u64,
    /// Of answers.
    pub answers: u64,
    /// Of evidence.
    pub evidence: u64,
    /// Of runs.
    pub runs: u64,
    /// Of what runs reported.
    pub outcomes: u64,
}

/// A copy of the ledger.
#[derive(Clone, Debug)]
pub struct Copied {
    /// What the copy says it is.
    pub identity: Identity,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub counts: Counts,
}

/// What audits need of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestFacts {
    /// Its name.
    pub name: String,
    /// Its path as given.
    pub path: String,
    /// Its digest.
    pub digest: String,
    /// `application.id`.
    pub application_id: Option<Uuid>,
    /// The base URL without a trailing slash.
    pub base_url: String,
    /// The reference of the key, as JSON.
    pub api_key: serde_json::Value,
    /// The limits, as JSON.
    pub limits: serde_json::Value,
    /// The `expect` rules, as JSON.
    pub expect: serde_json::Value,
}

/// The ledger's id, generation and key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Made once, with the ledger.
    pub id: Uuid,
    /// Raised by every run that sent a request and by every repair.
    pub generation: u64,
    /// The key of fingerprints and digests.
    pub key: crate::token::FingerprintKey,
}
