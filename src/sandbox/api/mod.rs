//! The operations of the API: from a request and the world to an answer. Nothing here waits.

mod body;
mod import;
mod list;
mod session;
mod share;
mod workflows;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use uuid::Uuid;

use super::Dialect;
use super::answer::{Answer, FORBIDDEN};
use super::limits::Budget;
use super::model::Privilege;
use super::route::Operation;
use super::shared::Shared;

/// A request with its whole body.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    /// The key presented, if any.
    pub(super) fn key(&self) -> Option<&str> {
        self.headers.get("x-api-key").and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty())
    }

    /// The budget that the request counts against.
    pub(super) fn budget(&self) -> Budget {
        if self.method == Method::GET { Budget::Reads } else { Budget::Writes }
    }

    /// Path and query.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Does what is asked.
pub(super) fn perform(shared: &Shared, operation: Operation, call: &Call) -> Answer {
    let answer = match operation {
        Operation::Import => import::import(shared, call),
        Operation::Share(id) => share::share(shared, call, id),
        Operation::List => list::list(shared, call),
        Operation::Decision(id) => session::decision(shared, call, id),
        Operation::Delete(id) => session::delete(shared, call, id),
        Operation::UpdateStatus(id) => session::update_status(shared, call, id),
        Operation::Workflows => workflows::list(shared, call),
        Operation::Workflow(id) => workflows::one(shared, call, id),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

/// The application of the presented key, where the key is good and has the privilege.
fn authorise(shared: &Shared, call: &Call, privilege: Privilege) -> Result<Uuid, Answer> {
    let Some(key) = call.key() else {
        return Err(match shared.config.dialect {
            Dialect::V2026 => Answer::detail(StatusCode::FORBIDDEN, FORBIDDEN),
            Dialect::Seed => bad_key(Dialect::Seed),
        });
    };
    let Some(known) = shared.state().key(key) else { return Err(bad_key(shared.config.dialect)) };
    if known.privileges.has(privilege) {
        Ok(known.application)
    } else {
        Err(Answer::detail(StatusCode::FORBIDDEN, FORBIDDEN))
    }
}

fn bad_key(dialect: Dialect) -> Answer {
    let text = match dialect {
        Dialect::V2026 => "Authentication credentials were not provided or are invalid.",
        Dialect::Seed => "Invalid or missing API key",
    };
    Answer::detail(StatusCode::UNAUTHORIZED, text)
}
