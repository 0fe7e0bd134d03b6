//! What is simulated: entries with deadlines, an API with its limits and delays, a stranger on the same key, deaths.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::after;
use super::api::Spell;
use crate::manifest::{
    Application, Digest, Entry, Environment, Limits, Manifest, Manifests, MaxFailures, Mint, Partner, Place,
    SecretPolicy, SecretRef, Shared, TokenSource, Vendor, WorkflowChoice,
};
use crate::run::TimeLimit;
use crate::token::{Claims, SessionKind};
use crate::verify::Expectations;

/// The receiving application, and its workflow.
pub(super) const APPLICATION: Uuid = Uuid::from_u128(0xA0);
pub(super) const WORKFLOW: Uuid = Uuid::from_u128(0xB0);

/// Tokens minted by the run itself.
#[derive(Clone, Copy, Debug)]
pub struct Minting {
    /// What the API allows the partner's key, and the manifest says.
    pub writes_per_minute: u32,
    /// How long a token lives.
    pub ttl: Duration,
}

/// The name of the partner that mints.
pub(super) const PARTNER: &str = "bank";

/// What the API says of the import of an entry, before which so many arrived.
pub type Refusal = fn(n: usize, before: usize) -> Option<(u16, &'static str)>;

/// A scenario. The default is Didit's limits, tokens that never die, no stranger and no death.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How many entries.
    pub entries: usize,
    /// When each token dies, after the start; those past the end of the list never do.
    pub deadlines: Vec<Option<Duration>>,
    /// What the API allows, and the manifest says.
    pub writes_per_minute: u32,
    /// The same for reads.
    pub reads_per_minute: u32,
    /// Requests in flight.
    pub concurrency: u32,
    /// How long a request, or an answer, is on its way.
    pub way: Range<Duration>,
    /// How long the API works on an import.
    pub work: Range<Duration>,
    /// How long it works on a read.
    pub read_work: Range<Duration>,
    /// When somebody else writes with the same key.
    pub stranger: Vec<Spell>,
    /// When the process dies, after the start, in order.
    pub crashes: Vec<Duration>,
    /// What the API says in place of importing an entry: a status and a body, given the entry and how many of its
    /// imports arrived before; `None` imports it.
    pub refusal: Option<Refusal>,
    /// When the run's time is up.
    pub time_limit: Option<TimeLimit>,
    /// What the run bears.
    pub max_failures: MaxFailures,
    /// Where tokens are minted by the run itself: what the API allows the partner's key, and how long a token lives.
    pub minting: Option<Minting>,
    /// Whether sessions are verified.
    pub verify: bool,
    /// Of all that is drawn.
    pub seed: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        let milliseconds = Duration::from_millis;
        Self {
            entries: 0,
            deadlines: Vec::new(),
            writes_per_minute: 300,
            reads_per_minute: 600,
            concurrency: 32,
            way: milliseconds(20)..milliseconds(120),
            work: milliseconds(0)..milliseconds(3000),
            read_work: milliseconds(0)..milliseconds(200),
            stranger: Vec::new(),
            crashes: Vec::new(),
            refusal: None,
            time_limit: None,
            max_failures: Limits::default().max_failures,
            minting: None,
            verify: true,
            seed: 1,
        }
    }
}

impl Scenario {
    /// The source session of an entry.
    pub(super) fn source(n: usize) -> Uuid {
        Uuid::from_u128((0x50 << 64) | n as u128)
    }

    /// The manifest of all entries.
    pub(super) fn manifests(&self, start: Timestamp) -> Manifests {
        let manifest = Manifest {
            path: "simulated.yaml".to_owned(),
            name: "simulated".to_owned(),
            digest: Digest::default(),
            application: Application {
                id: Some(APPLICATION),
                base_url: "http://localhost".parse().expect("a URL"),
                api_key: SecretRef::Env("DIDIT_API_KEY".to_owned()),
            },
            limits: Limits {
                writes_per_minute: self.writes_per_minute,
                reads_per_minute: self.reads_per_minute,
                concurrency: self.concurrency,
                max_failures: self.max_failures,
                ..Limits::default()
            },
            expect: Expectations::default(),
            partners: self.minting.iter().map(Minting::partner).collect(),
            entries: (0..self.entries).map(|n| self.entry(n, start)).collect(),
            unused_tokens: 0,
            patterns: Vec::new(),
        };
        Manifests { manifests: vec![manifest], warnings: Vec::new() }
    }

    fn entry(&self, n: usize, start: Timestamp) -> Entry {
        let minted = self.minting.map(|minting| TokenSource::Mint(Box::new(minting.of(n))));
        let claims = Claims {
            session_id: Some(Self::source(n)),
            session_kind: Some(SessionKind::User),
            from_application_id: None,
            for_application_id: Some(APPLICATION),
            issued_at: None,
            expires_at: self.expires_at(n, start),
        };
        let place = Place { file: "simulated.yaml".into(), line: n as u32 + 1 };
        let mut entry = Entry::new(place, Arc::new(Shared::new(WorkflowChoice::One(WORKFLOW), false)));
        entry.learn(Some(&claims).filter(|_| minted.is_none()));
        entry.id = Some(format!("e{n:07}").into());
        entry.source_session_id = Some(Self::source(n));
        entry.session_kind = Some(SessionKind::User);
        entry.token = minted.unwrap_or_else(|| TokenSource::reference(SecretRef::Env(n.to_string())));
        entry.vendor = Vendor::Own(n.to_string().into());
        entry
    }

    /// By whole seconds, as tokens tell it.
    fn expires_at(&self, n: usize, start: Timestamp) -> Option<Timestamp> {
        let deadline = self.deadlines.get(n).copied().flatten()?;
        Some(after(start, Duration::from_secs(deadline.as_secs())))
    }

    /// Tokens are made when they are read.
    pub(super) fn secrets(&self, start: Timestamp) -> SecretPolicy {
        let scenario = self.clone();
        let env = Environment::new(move |name| {
            let n = name.parse().ok()?;
            Some(token(n, scenario.expires_at(n, start)))
        });
        SecretPolicy { allow_exec: false, timeout: Duration::from_secs(30), env, withheld: Vec::new() }
    }
}

/// The token of an entry.
pub(super) fn token(n: usize, expires_at: Option<Timestamp>) -> String {
    let mut claims = json!({
        "session_id": Scenario::source(n),
        "session_kind": "user",
        "for_application_id": APPLICATION,
    });
    if let Some(at) = expires_at {
        claims["exp"] = json!(at.as_second());
    }
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()), part("a simulation"))
}

impl Minting {
    fn partner(&self) -> Partner {
        Partner {
            name: PARTNER.to_owned(),
            api_key: SecretRef::Env("BANK_DIDIT_API_KEY".to_owned()),
            writes_per_minute: self.writes_per_minute,
        }
    }

    fn of(self, n: usize) -> Mint {
        Mint { partner: PARTNER.to_owned(), session_id: Scenario::source(n), ttl: self.ttl }
    }
}
