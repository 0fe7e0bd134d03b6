//! From method and path to what is asked for. Pure.
//!
//! A path under `/v3` ends with a slash; without it the answer is 301 to the path with it. An id that is no UUID
//! never reaches the API: the router answers 404 with a page, as it does for a path it does not know.

use axum::http::Method;
use uuid::Uuid;

/// The kinds of requests that faults and counters tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Import,
    List,
    Decision,
    Workflows,
    Share,
    Delete,
    Update,
}

impl Kind {
    pub(super) const ALL: [Self; 7] =
        [Self::Import, Self::List, Self::Decision, Self::Workflows, Self::Share, Self::Delete, Self::Update];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::List => "list",
            Self::Decision => "decision",
            Self::Workflows => "workflows",
            Self::Share => "share",
            Self::Delete => "delete",
            Self::Update => "update",
        }
    }
}

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Import,
    Share(Uuid),
    List,
    Decision(Uuid),
    Delete(Uuid),
    UpdateStatus(Uuid),
    Workflows,
    Workflow(Uuid),
}

impl Operation {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Import => Kind::Import,
            Self::Share(_) => Kind::Share,
            Self::List => Kind::List,
            Self::Decision(_) => Kind::Decision,
            Self::Delete(_) => Kind::Delete,
            Self::UpdateStatus(_) => Kind::Update,
            Self::Workflows | Self::Workflow(_) => Kind::Workflows,
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Import | Self::Share(_) => Method::POST,
            Self::List | Self::Decision(_) | Self::Workflows | Self::Workflow(_) => Method::GET,
            Self::Delete(_) => Method::DELETE,
            Self::UpdateStatus(_) => Method::PATCH,
        }
    }
}

/// What the router makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// An operation of the API.
    Api(Operation),
    /// The healthcheck.
    Health,
    /// The path lacks its slash.
    SlashMissing,
    /// The path is known, the method is not.
    WrongMethod,
    /// Neither.
    Unknown,
}

impl Route {
    pub(super) fn find(method: &Method, path: &str) -> Self {
        if path == "/system/healthcheck" {
            return if *method == Method::GET { Self::Health } else { Self::WrongMethod };
        }
        let Some(rest) = path.strip_prefix("/v3/") else { return Self::Unknown };
        let (rest, slash) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        match operation(rest) {
            None => Self::Unknown,
            Some(_) if !slash => Self::SlashMissing,
            Some(operation) if operation.method() == *method => Self::Api(operation),
            Some(_) => Self::WrongMethod,
        }
    }
}

fn operation(path: &str) -> Option<Operation> {
    let parts: Vec<&str> = path.split('/').collect();
    let id = |text: &str| if text.len() == 36 { text.parse::<Uuid>().ok() } else { None };
    match parts.as_slice() {
        ["session", "import-shared"] => Some(Operation::Import),
        ["session", session, "share"] => id(session).map(Operation::Share),
        ["session", session, "decision"] => id(session).map(Operation::Decision),
        ["session", session, "delete"] => id(session).map(Operation::Delete),
        ["session", session, "update-status"] => id(session).map(Operation::UpdateStatus),
        ["sessions"] => Some(Operation::List),
        ["workflows"] => Some(Operation::Workflows),
        ["workflows", workflow] => id(workflow).map(Operation::Workflow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_documentation_says() {
        let id = Uuid::from_u128(7);
        let find = |method: &Method, path: &str| Route::find(method, path);
        assert_eq!(find(&Method::POST, "/v3/session/import-shared/"), Route::Api(Operation::Import));
        assert_eq!(find(&Method::POST, "/v3/session/import-shared"), Route::SlashMissing);
        assert_eq!(find(&Method::GET, "/v3/session/import-shared/"), Route::WrongMethod);
        let decision = format!("/v3/session/{id}/decision/");
        assert_eq!(find(&Method::GET, &decision), Route::Api(Operation::Decision(id)));
        assert_eq!(find(&Method::GET, "/v3/session/carmen/decision/"), Route::Unknown);
        assert_eq!(find(&Method::GET, "/v3/session/00000000000000000000000000000007/decision/"), Route::Unknown);
        assert_eq!(find(&Method::GET, "/v3/sessions/"), Route::Api(Operation::List));
        assert_eq!(find(&Method::GET, "/system/healthcheck"), Route::Health);
        assert_eq!(find(&Method::GET, "/"), Route::Unknown);
    }
}
