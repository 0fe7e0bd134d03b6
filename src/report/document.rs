//! The JSON documents of spec section 4.

mod plan;
mod status;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde::ser::SerializeSeq as _;
use uuid::Uuid;

use crate::didit::Class;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{Identity, RecordedError, Requests, Run, RunError, RunFinding, RunId, RunOutcome};
use crate::manifest::{Diagnostic, Manifests};
use crate::report::Outcomes;
use crate::report::schema::{Output, outcomes_counted};
use crate::token::SessionKind;

pub use plan::PlanDocument;
pub use status::{Entries, StatusDocument, StatusEntry};

/// Counts by name, in a fixed order.
type Counts = serde_json::Map<String, serde_json::Value>;

#[derive(Debug, Serialize, JsonSchema)]
struct ManifestRef<'a> {
    path: &'a str,
    name: &'a str,
    digest: &'a str,
}

/// The ledger that a document speaks of.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct LedgerRef {
    /// Its id; `None` where there is none yet.
    pub id: Option<Uuid>,
    /// Its generation.
    pub generation: u64,
}

impl LedgerRef {
    /// The reference to a ledger, or to none.
    #[must_use]
    pub fn new(identity: Option<&Identity>) -> Self {
        Self {
            id: identity.map(|identity| identity.id),
            generation: identity.map_or(0, |identity| identity.generation),
        }
    }
}

/// `didit-sync/validate.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ValidateDocument<'a> {
    #[schemars(extend("const" = Output::Validate.format()))]
    format: &'static str,
    manifests: Vec<ManifestRef<'a>>,
    diagnostics: &'a [Diagnostic],
    exit: &'a Exit,
}

impl<'a> ValidateDocument<'a> {
    /// The document of manifests without an error.
    #[must_use]
    pub fn new(manifests: &'a Manifests, exit: &'a Exit) -> Self {
        let refs = ManifestRef::all(manifests);
        Self { format: Output::Validate.format(), manifests: refs, diagnostics: &manifests.warnings, exit }
    }
}

impl<'a> ManifestRef<'a> {
    fn all(manifests: &'a Manifests) -> Vec<Self> {
        let all = manifests.manifests.iter();
        all.map(|it| Self { path: &it.path, name: &it.name, digest: it.digest() }).collect()
    }
}

/// Outcomes of an apply, in the order of its summary.
pub const OUTCOMES: [&str; 10] = [
    "imported",
    "recovered",
    "unchanged",
    "refused",
    "expired",
    "needs_token",
    "conflict",
    "unknown",
    "not_sent",
    "erased",
];

/// `didit-sync/apply.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApplyDocument<'a> {
    #[schemars(extend("const" = Output::Apply.format()))]
    format: &'static str,
    run: RunId,
    #[schemars(schema_with = "outcomes_counted")]
    summary: Counts,
    seconds: f64,
    requests: Requests,
    #[schemars(with = "Vec<ImportRow<'a>>")]
    imports: Imports<'a>,
    verification: Option<AuditDocument<'a>>,
    #[schemars(with = "Option<ErrorBody<'a>>")]
    error: LastError<'a>,
    #[schemars(with = "Exit")]
    exit: LastExit<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ImportRow<'a> {
    manifest: &'a str,
    id: &'a str,
    #[schemars(extend("enum" = OUTCOMES))]
    outcome: &'a str,
    source_session_id: Option<Uuid>,
    session_id: Option<Uuid>,
    session_number: Option<i64>,
    session_url: Option<&'a str>,
    session_kind: Option<SessionKind>,
    status: Option<&'a str>,
    workflow_id: Option<Uuid>,
    vendor_data: Option<&'a str>,
    attempts: u32,
    error: Option<EntryError<'a>>,
}

/// Why an entry has no session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EntryError<'a> {
    class: Class,
    http_status: Option<u16>,
    detail: &'a str,
    advice: String,
}

impl<'a> EntryError<'a> {
    fn new(error: &'a RecordedError, label: &str, is_open: bool) -> Self {
        Self {
            class: error.class,
            http_status: error.http_status,
            detail: &error.detail,
            advice: advice(error.class, label, is_open),
        }
    }
}

/// What to do about an entry without a session: the class's advice, or, where its outcome is open, the one command
/// that settles it.
#[must_use]
pub fn advice(class: Class, label: &str, is_open: bool) -> String {
    if is_open {
        format!(
            "run again; if it stays unknown, find the session in the console and settle it with `didit-sync ledger adopt {} SESSION_ID`",
            crate::text::inert(label)
        )
    } else {
        class.advice().to_owned()
    }
}

impl<'a> ImportRow<'a> {
    pub(super) fn new(it: &'a RunOutcome) -> Self {
        let session = it.session.as_ref();
        Self {
            manifest: &it.manifest,
            id: &it.label,
            outcome: &it.outcome,
            source_session_id: it.source_session_id,
            session_id: session.map(|session| session.session_id),
            session_number: session.and_then(|session| session.session_number),
            session_url: session.and_then(|session| session.session_url.as_deref()),
            session_kind: it.session_kind,
            status: session.and_then(|session| session.status.as_deref()),
            workflow_id: it.workflow_id,
            vendor_data: it.vendor_data.as_deref(),
            attempts: it.attempts,
            error: it.error.as_ref().map(|error| EntryError::new(error, &it.label, it.outcome == "unknown")),
        }
    }
}

/// What a run left, from which its documents are made.
#[derive(Clone, Copy, Debug)]
pub struct RunView<'a> {
    /// Its number.
    pub run: RunId,
    /// How long it took.
    pub seconds: f64,
    /// What it sent.
    pub requests: Requests,
    /// Sessions to verify and verified; `None` where nothing was to be.
    pub verified: Option<(u64, u64)>,
    /// Its entries.
    pub outcomes: &'a Outcomes,
    /// Its findings.
    pub findings: &'a [RunFinding],
    /// Why it ended early.
    pub error: Option<&'a RunError>,
    /// Its exit.
    pub exit: &'a Exit,
    /// The exit of its verification alone.
    pub verification_exit: &'a Exit,
}

impl<'a> ApplyDocument<'a> {
    /// The document of an apply.
    #[must_use]
    pub fn new(view: RunView<'a>) -> Self {
        Self {
            format: Output::Apply.format(),
            run: view.run,
            summary: view.outcomes.counts().iter().map(|(name, n)| ((*name).to_owned(), (*n).into())).collect(),
            seconds: view.seconds,
            requests: view.requests,
            imports: Imports(view.outcomes),
            verification: view
                .verified
                .map(|_| AuditDocument::new(RunView { error: None, exit: view.verification_exit, ..view })),
            error: LastError { outcomes: view.outcomes, of_run: view.error },
            exit: LastExit { outcomes: view.outcomes, of_run: view.exit },
        }
    }
}

/// Why the run ended early; of a ledger that turned out to be damaged while the rows were written, that it did.
#[derive(Debug)]
struct LastError<'a> {
    outcomes: &'a Outcomes,
    of_run: Option<&'a RunError>,
}

impl Serialize for LastError<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (code, name) = (Condition::Ledger.code(), Condition::Ledger.name().to_owned());
        let failed = self.outcomes.failed().map(|error| RunError { code, name, message: error.to_string() });
        failed.as_ref().or(self.of_run).map(ErrorBody::of_run).serialize(serializer)
    }
}

/// The exit, likewise.
#[derive(Debug)]
struct LastExit<'a> {
    outcomes: &'a Outcomes,
    of_run: &'a Exit,
}

impl Serialize for LastExit<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut exit = self.of_run.clone();
        exit.add_if(self.outcomes.failed().is_some(), Condition::Ledger);
        exit.serialize(serializer)
    }
}

/// `didit-sync/audit.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditDocument<'a> {
    #[schemars(extend("const" = Output::Audit.format()))]
    format: &'static str,
    run: RunId,
    summary: AuditSummary,
    #[schemars(with = "Vec<FindingRow<'a>>")]
    findings: Findings<'a>,
    error: Option<ErrorBody<'a>>,
    exit: &'a Exit,
}

/// The rows of an apply, made one by one as they are written.
#[derive(Debug)]
struct Imports<'a>(&'a Outcomes);

impl Serialize for Imports<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(None)?;
        for it in self.0.iter() {
            rows.serialize_element(&ImportRow::new(&it))?;
        }
        rows.end()
    }
}

/// The rows of an audit, likewise.
#[derive(Debug)]
struct Findings<'a>(&'a [RunFinding]);

impl Serialize for Findings<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(finding_row))
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct AuditSummary {
    sessions: u64,
    checked: u64,
    findings: SeverityCounts,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SeverityCounts {
    error: u64,
    warning: u64,
    info: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FindingRow<'a> {
    manifest: &'a str,
    id: &'a str,
    session_id: Option<Uuid>,
    rule: &'a str,
    #[schemars(extend("enum" = ["error", "warning", "info"]))]
    severity: &'a str,
    message: &'a str,
    expected: Option<&'a str>,
    actual: Option<&'a str>,
    first_seen: Timestamp,
    new: bool,
}

impl<'a> AuditDocument<'a> {
    /// The document of an audit, or of the verification in an apply.
    #[must_use]
    pub fn new(view: RunView<'a>) -> Self {
        let count = |severity: &str| view.findings.iter().filter(|it| it.severity == severity).count() as u64;
        let (sessions, checked) = view.verified.unwrap_or_default();
        Self {
            format: Output::Audit.format(),
            run: view.run,
            summary: AuditSummary {
                sessions,
                checked,
                findings: SeverityCounts { error: count("error"), warning: count("warning"), info: count("info") },
            },
            findings: Findings(view.findings),
            error: view.error.map(ErrorBody::of_run),
            exit: view.exit,
        }
    }
}

pub(super) fn finding_row(it: &RunFinding) -> FindingRow<'_> {
    FindingRow {
        manifest: &it.manifest,
        id: &it.label,
        session_id: it.session_id,
        rule: &it.rule,
        severity: &it.severity,
        message: &it.message,
        expected: it.expected.as_deref(),
        actual: it.actual.as_deref(),
        first_seen: it.first_seen,
        new: it.new,
    }
}

/// `didit-sync/runs.v1`: `report --list`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunsDocument<'a> {
    #[schemars(extend("const" = Output::Runs.format()))]
    format: &'static str,
    runs: Vec<RunRow<'a>>,
    exit: Exit,
}

/// A run in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunRow<'a> {
    run: RunId,
    command: &'a str,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    actor: &'a str,
    reason: Option<&'a str>,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    exit: Option<Exit>,
}

impl<'a> RunsDocument<'a> {
    /// The document of all runs.
    #[must_use]
    pub fn new(runs: &'a [Run]) -> Self {
        Self { format: Output::Runs.format(), runs: runs.iter().map(RunRow::new).collect(), exit: Exit::ok() }
    }
}

impl<'a> RunRow<'a> {
    /// The row of a run.
    #[must_use]
    pub fn new(run: &'a Run) -> Self {
        Self {
            run: run.id,
            command: &run.command,
            started_at: run.started_at,
            ended_at: run.end.as_ref().map(|end| end.at),
            actor: &run.origin.actor,
            reason: run.origin.reason.as_deref(),
            reference: run.origin.reference.as_deref(),
            exit: run.end.as_ref().map(|end| Exit::from_stored(&end.conditions)),
        }
    }
}

/// `didit-sync/error.v1`: no run began.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorDocument<'a> {
    #[schemars(extend("const" = Output::Error.format()))]
    format: &'static str,
    error: ErrorBody<'a>,
    exit: &'a Exit,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ErrorBody<'a> {
    pub(super) code: u8,
    pub(super) name: &'a str,
    pub(super) message: &'a str,
    pub(super) diagnostics: &'a [Diagnostic],
}

impl<'a> ErrorBody<'a> {
    fn of_run(error: &'a RunError) -> Self {
        Self { code: error.code, name: &error.name, message: &error.message, diagnostics: &[] }
    }
}

impl<'a> ErrorDocument<'a> {
    /// The document of an error.
    #[must_use]
    pub fn new(message: &'a str, diagnostics: &'a [Diagnostic], exit: &'a Exit) -> Self {
        Self {
            format: Output::Error.format(),
            error: ErrorBody { code: exit.code(), name: exit.name(), message, diagnostics },
            exit,
        }
    }
}
