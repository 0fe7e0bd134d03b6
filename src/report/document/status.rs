//! The document of `status`, whose entries are read one by one as they are written.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{Counts, EntryError, LedgerRef};
use crate::exit::{Condition, Exit};
use crate::ledger::records::{Attempt, Record, Run, RunId, State};
use crate::ledger::{LedgerError, Listed};
use crate::report::schema::{Output, states_counted};
use crate::token::SessionKind;

/// `didit-sync/status.v1`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusDocument<'a, 'r> {
    #[schemars(extend("const" = Output::Status.format()))]
    format: &'static str,
    ledger: LedgerRef,
    #[schemars(schema_with = "states_counted")]
    summary: Counts,
    #[schemars(with = "Vec<StatusEntry<'a>>")]
    entries: Rows<'a, 'r>,
    #[schemars(with = "Exit")]
    exit: LastWord<'a, 'r>,
}

/// Entries as they are read, with the runs that changed them.
pub struct Entries<'a> {
    rows: RefCell<Box<dyn Iterator<Item = Result<Listed, LedgerError>> + 'a>>,
    runs: &'a HashMap<RunId, Run>,
    failed: Cell<Option<LedgerError>>,
}

impl<'a> Entries<'a> {
    /// Entries with the runs of the ledger.
    pub fn new(rows: impl Iterator<Item = Result<Listed, LedgerError>> + 'a, runs: &'a HashMap<RunId, Run>) -> Self {
        Self { rows: RefCell::new(Box::new(rows)), runs, failed: Cell::new(None) }
    }

    /// Why not all could be read.
    #[must_use]
    pub fn failed(&self) -> Option<LedgerError> {
        self.failed.take()
    }
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entries")
    }
}

/// The rows, which end where the ledger can't be read.
#[derive(Debug)]
struct Rows<'a, 'r>(&'a Entries<'r>);

impl Serialize for Rows<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = self.0.rows.try_borrow_mut().map_err(S::Error::custom)?;
        let mut rows = serializer.serialize_seq(None)?;
        for listed in entries.by_ref() {
            match listed {
                Ok(listed) => {
                    let run = self.0.runs.get(&listed.record.run);
                    rows.serialize_element(&StatusEntry::new(&listed.record, &listed.attempts, run))?;
                }
                Err(error) => {
                    self.0.failed.set(Some(error));
                    break;
                }
            }
        }
        rows.end()
    }
}

/// The exit, which is known once the entries are written: of a ledger that turned out to be damaged when the document
/// was begun, the document says so at its end.
#[derive(Debug)]
struct LastWord<'a, 'r> {
    entries: &'a Entries<'r>,
    exit: &'a Exit,
}

impl Serialize for LastWord<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let failed = self.entries.failed.take();
        let exit = if failed.is_some() { &Exit::from(Condition::Ledger) } else { self.exit };
        self.entries.failed.set(failed);
        exit.serialize(serializer)
    }
}

/// An entry as `status` shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusEntry<'a> {
    manifest: &'a str,
    id: &'a str,
    state: State,
    source_session_id: Option<Uuid>,
    session_id: Option<Uuid>,
    session_number: Option<i64>,
    session_kind: Option<SessionKind>,
    status: Option<&'a str>,
    workflow_id: Option<Uuid>,
    trust_review: Option<bool>,
    vendor_data: Option<&'a str>,
    imported_at: Option<Timestamp>,
    attempts: &'a [Attempt],
    error: Option<EntryError<'a>>,
    provenance: Provenance<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Provenance<'a> {
    run: RunId,
    actor: Option<&'a str>,
    reason: Option<&'a str>,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    place: &'a str,
    from_application_id: Option<Uuid>,
    token: Option<String>,
}

impl<'a> StatusEntry<'a> {
    /// An entry with its attempts and the run that last changed it.
    #[must_use]
    pub fn new(record: &'a Record, attempts: &'a [Attempt], run: Option<&'a Run>) -> Self {
        let session = record.session.as_ref();
        let origin = run.map(|run| &run.origin);
        Self {
            manifest: &record.manifest,
            id: &record.label,
            state: record.state,
            source_session_id: record.source_session_id,
            session_id: session.map(|session| session.session_id),
            session_number: session.and_then(|session| session.session_number),
            session_kind: record.session_kind,
            status: session.and_then(|session| session.status.as_deref()),
            workflow_id: record.settings.workflow_id,
            trust_review: record.settings.trust_review,
            vendor_data: record.settings.vendor_data.as_deref(),
            imported_at: record.imported_at,
            attempts,
            error: record.error.as_ref().map(|error| {
                let is_open = matches!(record.state, State::Unknown | State::Sending);
                EntryError::new(error, &record.label, is_open)
            }),
            provenance: Provenance {
                run: record.run,
                actor: origin.map(|origin| origin.actor.as_str()),
                reason: origin.and_then(|origin| origin.reason.as_deref()),
                reference: origin.and_then(|origin| origin.reference.as_deref()),
                place: &record.place,
                from_application_id: record.from_application_id,
                token: record.token.filter(|_| record.state != State::Erased).map(|token| token.to_string()),
            },
        }
    }

    /// The header of the CSV form: the keys in their order.
    pub const CSV_HEADER: [&'static str; 15] = [
        "manifest",
        "id",
        "state",
        "source_session_id",
        "session_id",
        "session_number",
        "session_kind",
        "status",
        "workflow_id",
        "trust_review",
        "vendor_data",
        "imported_at",
        "attempts",
        "error",
        "provenance",
    ];

    /// The cells of the CSV form: `attempts` is their number, `error` its class, `provenance` JSON.
    #[must_use]
    pub fn csv_cells(&self) -> Vec<String> {
        fn cell<T: ToString>(value: Option<T>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        let cells = [
            self.manifest.to_owned(),
            self.id.to_owned(),
            self.state.to_string(),
            cell(self.source_session_id),
            cell(self.session_id),
            cell(self.session_number),
            cell(self.session_kind),
            cell(self.status),
            cell(self.workflow_id),
            cell(self.trust_review),
            cell(self.vendor_data),
            cell(self.imported_at),
            self.attempts.len().to_string(),
            cell(self.error.as_ref().map(|error| error.class)),
            serde_json::to_string(&self.provenance).unwrap_or_default(),
        ];
        cells.map(|text| crate::report::text::csv_cell(&text)).into()
    }
}

impl<'a, 'r> StatusDocument<'a, 'r> {
    /// The document: `summary` counts all entries of the ledger, `entries` are those asked for.
    #[must_use]
    pub fn new(ledger: LedgerRef, all: &[(State, u64)], entries: &'a Entries<'r>, exit: &'a Exit) -> Self {
        let summary = all.iter().map(|(state, count)| (state.as_str().to_owned(), (*count).into())).collect();
        let (entries, exit) = (Rows(entries), LastWord { entries, exit });
        Self { format: Output::Status.format(), ledger, summary, entries, exit }
    }
}
