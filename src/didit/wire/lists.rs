//! Lists: sessions and workflows (`didit-api.md` sections 4 and 8). Rows carry names, phone numbers and e-mail
//! addresses; only ids, statuses, `vendor_data` and times are kept.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Presence, Status, boolean, integer, kind, lenient, status, text, time, uuid, vendor_data};
use crate::didit::{Fields, Json};
use crate::token::SessionKind;

/// A row of the session list, without what it says about a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session_id: Uuid,
    /// Its kind.
    pub kind: Option<SessionKind>,
    /// Its number within the application.
    pub session_number: Option<i64>,
    /// Its status.
    pub status: Option<Status>,
    /// Its `vendor_data`.
    pub vendor_data: Presence<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Its workflow; only rows of business sessions say.
    pub workflow_id: Option<Uuid>,
}

/// What a workflow verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkflowKind {
    /// `kyc`: sessions of people.
    User,
    /// `kyb`: sessions of companies.
    Business,
    /// Any other type; what it takes is not documented.
    Other,
}

impl WorkflowKind {
    /// Whether a session of `kind` fits; a type that is not documented is not judged.
    #[must_use]
    pub fn takes(self, kind: SessionKind) -> bool {
        match self {
            Self::User => kind == SessionKind::User,
            Self::Business => kind == SessionKind::Business,
            Self::Other => true,
        }
    }
}

/// A workflow of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// `workflow_id`, the group; a decision names this one.
    pub workflow_id: Option<Uuid>,
    /// `uuid`, the version.
    pub uuid: Option<Uuid>,
    /// What it verifies.
    pub kind: WorkflowKind,
    /// Whether it is archived; `false` where the list does not say.
    pub archived: bool,
    /// Whether it is published; `None` where the list does not say.
    pub published: Option<bool>,
}

impl Workflow {
    /// Whether `id` names this workflow: requests may use either of its ids.
    #[must_use]
    pub fn is(&self, id: Uuid) -> bool {
        self.workflow_id == Some(id) || self.uuid == Some(id)
    }

    fn read(fields: &Fields) -> Option<Self> {
        let (workflow_id, uuid) = (uuid(fields, "workflow_id"), uuid(fields, "uuid"));
        (workflow_id.is_some() || uuid.is_some()).then(|| Self {
            workflow_id,
            uuid,
            kind: match text(fields, "workflow_type").unwrap_or_default().to_ascii_lowercase().as_str() {
                "kyc" => WorkflowKind::User,
                "kyb" => WorkflowKind::Business,
                _ => WorkflowKind::Other,
            },
            archived: boolean(fields, "is_archived").unwrap_or(false),
            published: text(fields, "status").map(|status| status.eq_ignore_ascii_case("published")),
        })
    }
}

impl SessionRow {
    fn read(fields: &Fields) -> Option<Self> {
        Some(Self {
            session_id: uuid(fields, "session_id")?,
            kind: kind(fields),
            session_number: integer(fields, "session_number"),
            status: status(fields, "status"),
            vendor_data: vendor_data(fields),
            created_at: time(fields, "created_at"),
            workflow_id: uuid(fields, "workflow_id"),
        })
    }
}

/// A page as it came: `{count, next, previous, results}`, or a bare array, which is the only page.
pub(in crate::didit) struct RawPage {
    /// `count`. Stops at 100 for businesses: never page by it.
    pub(in crate::didit) count: Option<u64>,
    /// The address of the next page, unchecked.
    pub(in crate::didit) next: Option<String>,
    results: Vec<Json>,
}

/// Reads a page; `None` where the body is none.
pub(in crate::didit) fn read_page(body: &[u8]) -> Option<RawPage> {
    match lenient::parse(body)? {
        Json::Array(results) => Some(RawPage { count: None, next: None, results }),
        Json::Object(mut fields) => match fields.remove("results")? {
            Json::Array(results) => Some(RawPage {
                count: fields.get("count").and_then(Json::as_u64),
                next: text(&fields, "next").filter(|next| !next.is_empty()).map(str::to_owned),
                results,
            }),
            _ => None,
        },
        _ => None,
    }
}

/// The page's rows; `None` where one has no session id, since a list with holes proves no absence.
pub(in crate::didit) fn read_rows(page: &RawPage) -> Option<Vec<SessionRow>> {
    page.results.iter().map(|row| SessionRow::read(row.as_object()?)).collect()
}

/// The page's workflows; `None` where one has no id.
pub(in crate::didit) fn read_workflows(page: &RawPage) -> Option<Vec<Workflow>> {
    page.results.iter().map(|row| Workflow::read(row.as_object()?)).collect()
}
