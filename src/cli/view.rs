//! Showing what a run came to: on stdout, and in report files.

use super::Failure;
use super::args::OutputArgs;
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{Requests, Run, RunEnd, RunError, RunFinding, RunId, RunOutcome};
use crate::report::document::RunView;
use crate::report::{ApplyDocument, AuditDocument, file, text};

/// A run as the ledger has it, from which every form is made.
pub(super) struct Shown {
    pub(super) run: RunId,
    pub(super) command: String,
    pub(super) outcomes: Vec<RunOutcome>,
    pub(super) findings: Vec<RunFinding>,
    pub(super) end: RunEnd,
}

impl Shown {
    /// An earlier run; one that was killed has no end of its own.
    pub(super) fn earlier(run: &Run, outcomes: Vec<RunOutcome>, findings: Vec<RunFinding>) -> Self {
        let end = run.end.clone().unwrap_or_else(|| RunEnd {
            at: run.started_at,
            seconds: 0.0,
            requests: Requests::default(),
            verified: None,
            error: Some(RunError {
                code: Condition::Internal.code(),
                name: Condition::Internal.name().to_owned(),
                message: "the run did not come to its end; the next apply resolves what it left open".to_owned(),
            }),
            conditions: Exit::from(Condition::Internal).stored(),
        });
        Self { run: run.id, command: run.command.clone(), outcomes, findings, end }
    }

    pub(super) fn exit(&self) -> Exit {
        Exit::from_stored(&self.end.conditions)
    }

    fn verification_exit(&self) -> Exit {
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

    fn json(&self) -> serde_json::Result<serde_json::Value> {
        self.with_view(|view| match self.command.as_str() {
            "audit" => serde_json::to_value(AuditDocument::new(view)),
            _ => serde_json::to_value(ApplyDocument::new(view)),
        })
    }

    fn with_view<T>(&self, show: impl FnOnce(RunView<'_>) -> T) -> T {
        let (exit, verification_exit) = (self.exit(), self.verification_exit());
        show(RunView {
            run: self.run,
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

    /// Shows the run as asked, and writes its reports; its exit.
    pub(super) fn show(&self, output: &OutputArgs, console: &Console) -> Result<Exit, Failure> {
        let broken = |error: serde_json::Error| Failure::new(Condition::Internal, error.to_string());
        if output.json.json {
            console.json(&self.json().map_err(broken)?);
        } else {
            console.out(&self.with_view(|view| text::run(&self.command, &view, console.style())));
        }
        let mut exit = self.exit();
        for target in &output.reports {
            let text = crate::text::json(&self.json().map_err(broken)?).map_err(broken)?;
            if let Err(error) = file::write_whole(&target.0, &text) {
                // The run stands; only its report could not be written.
                Failure::unwritable(&target.0, &error).say(console);
                exit.add(Condition::Internal);
            }
        }
        Ok(exit)
    }
}
