//! What a loaded manifest is: plain data with every default filled in, every placeholder expanded and every check
//! done, so that nothing past this module asks where a setting came from.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use url::Url;
use uuid::Uuid;

use super::digest::Digest;
use super::entry::Entry;
use crate::didit::Class;
use crate::token::SessionKind;
use crate::verify::Expectations;

/// All manifests of one command, in the order given (directories sorted).
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The manifests; names, entry ids and source sessions are unique over all of them.
    pub manifests: Vec<Manifest>,
    /// What deserves a word but stops nothing.
    pub warnings: Vec<super::Diagnostic>,
}

/// One manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The path as given on the command line (or found in the directory given).
    pub path: String,
    /// `name`, `[a-z0-9][a-z0-9-]{0,62}`.
    pub name: String,
    /// SHA-256 over the parsed entries and settings with defaults filled in; [`Manifest::digest`] is the text.
    pub digest: Digest,
    /// The receiving application.
    pub application: Application,
    /// Limits with defaults filled in.
    pub limits: Limits,
    /// `defaults.expect`: the rules of entries that have none of their own, nor of their source.
    pub expect: Expectations,
    /// The source applications that tokens are minted in, sorted by name.
    pub partners: Vec<Partner>,
    /// The entries of `imports` and `sources`, in the order in which they stand.
    pub entries: Vec<Entry>,
    /// Tokens of `tokens` that agree with no entry.
    pub unused_tokens: u64,
    /// The patterns of the files that were read for them, in order.
    pub patterns: Vec<String>,
}

impl Manifest {
    /// SHA-256 over the parsed entries and settings with defaults filled in, as hex: comments, order, formatting and
    /// tokens leave it alone.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.digest.of(self)
    }
}

/// The variable that holds the key where nothing else is said.
pub const API_KEY: &str = "DIDIT_API_KEY";

/// The receiving application.
#[derive(Clone, Debug)]
pub struct Application {
    /// `application.id`.
    pub id: Option<Uuid>,
    /// `application.base_url`: scheme, host, port and perhaps a path prefix, without a trailing slash problem:
    /// read it with [`Application::base`].
    pub base_url: Url,
    /// Where the key is to be had; default `{env: DIDIT_API_KEY}`. Read only by a command about to send.
    pub api_key: SecretRef,
}

/// Didit's own address, and the key that `DIDIT_API_KEY` holds.
impl Default for Application {
    fn default() -> Self {
        Self {
            id: None,
            base_url: Url::parse("https://verification.didit.me").expect("the default base URL is a URL"),
            api_key: SecretRef::Env(API_KEY.to_owned()),
        }
    }
}

impl Manifest {
    /// The partner of this name.
    #[must_use]
    pub fn partner(&self, name: &str) -> Option<&Partner> {
        self.partners.iter().find(|partner| partner.name == name)
    }
}

impl Application {
    /// The base URL as text without a trailing slash.
    #[must_use]
    pub fn base(&self) -> String {
        self.base_url.as_str().trim_end_matches('/').to_owned()
    }
}

/// A source application in which tokens are minted: an item of `partners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Its key in `partners`.
    pub name: String,
    /// Where its API key is to be had. Read only by a command about to mint.
    pub api_key: SecretRef,
    /// `writes_per_minute` of that key, default 300.
    pub writes_per_minute: u32,
}

/// The minting of a token (spec section 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// The name of the partner, which [`Manifest::partners`] has.
    pub partner: String,
    /// The session to share; it is the entry's source session.
    pub session_id: Uuid,
    /// How long the token is to live, 60 s to 24 h, default 15 min.
    pub ttl: Duration,
}

/// A reference to a secret that stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `{env: NAME}`.
    Env(String),
    /// `{file: PATH}`: the path as written and the path to open, already held inside the allowed roots.
    File {
        /// As written in the manifest.
        written: String,
        /// The path to open: relative paths joined to the manifest's folder, canonical.
        path: PathBuf,
        /// The allowed roots, canonical. `path` is checked against them again when it is opened.
        roots: Vec<PathBuf>,
    },
    /// `{exec: [PROGRAM, ARG...]}`: run without a shell in the manifest's folder, only with `--allow-exec`.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
        /// The manifest's folder, canonical.
        folder: PathBuf,
    },
}

impl SecretRef {
    /// The reference (never the value), as shown and as kept in the ledger: `env:NAME`, `file:PATH`, `exec:PROGRAM`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File { written, .. } => format!("file:{written}"),
            Self::Exec { command, .. } => format!("exec:{}", command.first().map_or("", String::as_str)),
        }
    }
}

/// `limits`, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `writes_per_minute`, default 300.
    pub writes_per_minute: u32,
    /// `reads_per_minute`, default 600.
    pub reads_per_minute: u32,
    /// `concurrency`, default 32.
    pub concurrency: u32,
    /// `timeout`, default 30 s.
    pub timeout: Duration,
    /// `max_failures`, default 5%.
    pub max_failures: MaxFailures,
    /// `max_trusted`, default none.
    pub max_trusted: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            writes_per_minute: 300,
            reads_per_minute: 600,
            concurrency: 32,
            timeout: Duration::from_secs(30),
            max_failures: MaxFailures::Percent(5.0),
            max_trusted: None,
        }
    }
}

/// `max_failures`: how many refusals by the server stop a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    /// More than this many.
    Count(u64),
    /// More than this share of the entries to be sent, in percent; not judged before 20 refusals.
    Percent(f64),
}

impl std::str::FromStr for MaxFailures {
    type Err = String;

    /// Reads `12` or `5%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither a number such as `10` nor a share such as `5%`");
        match text.trim().strip_suffix('%') {
            None => text.trim().parse().map(Self::Count).map_err(|_| wrong()),
            Some(number) => match number.trim().parse::<f64>() {
                Ok(share) if (0.0..=100.0).contains(&share) => Ok(Self::Percent(share)),
                _ => Err(wrong()),
            },
        }
    }
}

/// `workflow_id`, one for all or by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum WorkflowChoice {
    /// One UUID.
    One(Uuid),
    /// `{user: UUID, business: UUID}`; either may be absent.
    ByKind {
        /// For persons.
        user: Option<Uuid>,
        /// For companies.
        business: Option<Uuid>,
    },
}

impl WorkflowChoice {
    /// The workflow for a session of this kind.
    #[must_use]
    pub fn resolve(&self, kind: Option<SessionKind>) -> Option<Uuid> {
        match (self, kind) {
            (Self::One(id), _) => Some(*id),
            (Self::ByKind { user, .. }, Some(SessionKind::User)) => *user,
            (Self::ByKind { business, .. }, Some(SessionKind::Business)) => *business,
            (Self::ByKind { .. }, None) => None,
        }
    }
}

/// Why an entry is `invalid` before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// `bad_request`, `token_invalid` or `wrong_audience`.
    pub class: Class,
    /// What is wrong, in words, without a token.
    pub message: String,
}
