//! A run as the ledger has it, from which every form is made: so that a report made later has the same bytes.

use std::rc::Rc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::Outcomes;
use super::document::{ApplyDocument, AuditDocument, RunView};
use crate::exit::{Condition, Exit};
use crate::ledger::records::{Requests, Run, RunEnd, RunError, RunFinding, RunId, StateCount};
use crate::ledger::{self, LedgerError, Reader, Sends};

/// A run: what it was asked, what it came to, and the ledger when it ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// Number, command, beginning, and who ran it why. Its `end` is in [`Report::end`].
    pub run: Run,
    /// How it ended; of a run that was killed, that it did.
    pub end: RunEnd,
    /// Its entries, sorted by label; none for an audit.
    pub outcomes: Outcomes,
    /// Its findings, sorted by manifest, label and rule.
    pub findings: Vec<RunFinding>,
    /// The entries of the whole ledger when it ended, sorted by manifest and state.
    pub states: Vec<StateCount>,
    /// When the tokens die of entries that were still to be imported.
    pub waiting: Vec<Timestamp>,
    /// When its requests to import left, for each key, the busiest first.
    pub sends: Vec<Sends>,
    /// The least of its manifests' `writes_per_minute`, where known.
    pub writes_per_minute: Option<u32>,
}

/// The document of a run, whose rows are made one by one as they are written.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a>(&'a Report);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.with_view(|view| {
            if self.0.is_audit() {
                AuditDocument::new(view).serialize(serializer)
            } else {
                ApplyDocument::new(view).serialize(serializer)
            }
        })
    }
}

impl Report {
    /// Reads a run; `None` where the ledger has no such one.
    pub fn read(reader: &Rc<Reader>, run: RunId) -> Result<Option<Self>, LedgerError> {
        let Some(run) = reader.runs()?.into_iter().find(|it| it.id == run) else { return Ok(None) };
        let counts = reader.outcome_counts(run.id)?;
        let outcomes = if run.end.is_none() && counts.is_empty() {
            reader.traces(run.id)?.into()
        } else {
            let (reader, run) = (Rc::clone(reader), run.id);
            let counts = counts.iter().map(|(name, count)| (name.as_str(), *count));
            Outcomes::new(counts, move || Box::new(ledger::Outcomes::new(&reader, run)))
        };
        let end = match &run.end {
            Some(end) => end.clone(),
            None => unended(&run, reader.run_attempts(run.id)?),
        };
        Ok(Some(Self {
            findings: reader.run_findings(run.id)?,
            states: reader.run_states(run.id)?,
            waiting: reader.waiting_tokens(run.id)?,
            sends: reader.run_sends(run.id)?,
            writes_per_minute: reader.run_writes_per_minute(run.id)?,
            run,
            end,
            outcomes,
        }))
    }

    /// The run's exit.
    #[must_use]
    pub fn exit(&self) -> Exit {
        Exit::from_stored(&self.end.conditions)
    }

    /// Whether it was an audit: its rows are findings, not imports.
    #[must_use]
    pub fn is_audit(&self) -> bool {
        self.run.command == "audit"
    }

    /// The exit of its verification alone.
    #[must_use]
    pub fn verification_exit(&self) -> Exit {
        let (sessions, checked) = self.end.verified.unwrap_or_default();
        let mut exit = Exit::ok();
        exit.add_if(self.findings.iter().any(RunFinding::is_error), Condition::Findings);
        // Sessions that were not reached because the time was up are no fault of the API.
        let of_run: Vec<Condition> = self.exit().conditions().collect();
        let is_late = of_run.contains(&Condition::Incomplete) && !of_run.contains(&Condition::Unavailable);
        let why = if is_late { Condition::Incomplete } else { Condition::Unavailable };
        exit.add_if(checked < sessions, why);
        exit
    }

    /// The JSON document: `didit-sync/apply.v1` or `didit-sync/audit.v1`.
    #[must_use]
    pub fn document(&self) -> Document<'_> {
        Document(self)
    }

    /// Shows it to who makes a document or a text of it.
    pub fn with_view<T>(&self, show: impl FnOnce(RunView<'_>) -> T) -> T {
        let (exit, verification_exit) = (self.exit(), self.verification_exit());
        show(RunView {
            run: self.run.id,
            seconds: self.end.seconds,
            requests: self.end.requests,
            verified: self.end.verified,
            outcomes: &self.outcomes,
            findings: &self.findings,
            error: self.end.error.as_ref(),
            exit: &exit,
            verification_exit: &verification_exit,
        })
    }
}

/// The end of a run that has none: it was killed, or is still running.
fn unended(run: &Run, attempts: u64) -> RunEnd {
    let next = match run.command.as_str() {
        "audit" => "the next audit goes on with the sessions that it did not come to",
        _ => "the next apply resolves what it left open",
    };
    RunEnd {
        at: run.started_at,
        seconds: 0.0,
        requests: Requests { writes: attempts, ..Requests::default() },
        verified: None,
        error: Some(RunError {
            code: Condition::Internal.code(),
            name: Condition::Internal.name().to_owned(),
            message: format!("the run did not come to its end; {next}"),
        }),
        conditions: Exit::from(Condition::Internal).stored(),
    }
}
