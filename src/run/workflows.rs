//! The workflows of an application, and which sessions they take.

use uuid::Uuid;

use crate::didit::Workflow;
use crate::manifest::WorkflowChoice;
use crate::token::SessionKind;

/// Pages of workflows that are read at most, and what is said of more: a list with an end missing proves no absence.
pub const WORKFLOW_PAGES: u32 = 20;
/// See [`WORKFLOW_PAGES`].
pub const ENDLESS: &str = "a list of workflows that does not end";

/// All workflows of an application.
#[derive(Clone, Debug, Default)]
pub struct Workflows(Vec<Workflow>);

impl Workflows {
    /// Those of a whole list: what is not in it does not exist.
    #[must_use]
    pub fn new(all: Vec<Workflow>) -> Self {
        Self(all)
    }

    /// The workflow that an id names, by either of its ids.
    #[must_use]
    pub fn find(&self, id: Uuid) -> Option<&Workflow> {
        self.0.iter().find(|candidate| candidate.is(id))
    }

    /// Why a session of this kind can't be imported with this workflow.
    #[must_use]
    pub fn refuses(&self, workflow: Uuid, kind: Option<SessionKind>) -> Option<&'static str> {
        let Some(found) = self.find(workflow) else {
            return Some("the receiving application has no such workflow");
        };
        if found.archived {
            return Some("the workflow is archived");
        }
        if kind.is_some_and(|kind| !found.kind.takes(kind)) {
            return Some("the workflow is for sessions of the other kind");
        }
        None
    }

    /// Why no session at all can be imported with this choice of workflows.
    pub fn takes(&self, choice: WorkflowChoice) -> Result<(), &'static str> {
        let of_kind = |kind| choice.resolve(Some(kind)).map(|id| self.refuses(id, Some(kind)));
        let refusals = [SessionKind::User, SessionKind::Business].into_iter().filter_map(of_kind);
        let refusals: Option<Vec<&'static str>> = refusals.collect();
        refusals.and_then(|refusals| refusals.first().copied()).map_or(Ok(()), Err)
    }

    /// Whether both ids name one workflow: a manifest may use a version's id where a decision names the group's.
    #[must_use]
    pub fn is_same(&self, one: Uuid, other: Uuid) -> bool {
        self.0.iter().any(|workflow| workflow.is(one) && workflow.is(other))
    }
}
