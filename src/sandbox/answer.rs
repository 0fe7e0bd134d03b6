//! Answers: every documented status and body that is not a session's.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, SERVER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Dialect;
use super::limits::{Budget, Standing, whole_seconds};
use super::state::Refusal;

/// The one text for a missing privilege.
pub(super) const FORBIDDEN: &str = "You do not have permission to perform this action.";

/// A status, headers and a body.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// A JSON body.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, content_type: Some("application/json"), body, headers: Vec::new() }
    }

    /// `{"detail": "..."}`.
    pub(super) fn detail(status: StatusCode, text: &str) -> Self {
        Self::json(status, &json!({ "detail": text }))
    }

    /// 400 with `{"field": ["..."]}`.
    pub(super) fn field(field: &str, text: &str) -> Self {
        Self::json(StatusCode::BAD_REQUEST, &json!({ field: [text] }))
    }

    /// A page, as routers and gateways answer.
    pub(super) fn page(status: StatusCode) -> Self {
        let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        let body =
            format!("<!doctype html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
        Self { status, content_type: Some("text/html; charset=utf-8"), body: body.into_bytes(), headers: Vec::new() }
    }

    /// No body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: None, body: Vec::new(), headers: Vec::new() }
    }

    /// A redirection.
    pub(super) fn redirect(status: StatusCode, to: &str) -> Self {
        let mut answer = Self::page(status);
        if let Ok(location) = HeaderValue::from_str(to) {
            answer.headers.push((LOCATION, location));
        }
        answer
    }

    /// 404.
    pub(super) fn not_found() -> Self {
        Self::detail(StatusCode::NOT_FOUND, "Not found.")
    }

    /// 429 since the window is full.
    pub(super) fn throttled(budget: Budget, standing: Standing) -> Self {
        let what = match budget {
            Budget::Reads => "GET",
            Budget::Writes => "Write",
        };
        let text =
            format!("{what} request rate limit exceeded. You can make up to {} requests per minute.", standing.limit);
        Self::detail(StatusCode::TOO_MANY_REQUESTS, &text)
            .with(RETRY_AFTER, whole_seconds(standing.reset))
            .with_standing(Some(standing))
    }

    /// 429 as a fault: somebody else used the window up.
    pub(super) fn throttled_by_fault() -> Self {
        let text = "Request was throttled. Expected available in 1 seconds.";
        Self::detail(StatusCode::TOO_MANY_REQUESTS, text).with(RETRY_AFTER, 1)
    }

    /// A refused import, in the words of the dialect.
    pub(super) fn refused(dialect: Dialect, refusal: Refusal) -> Self {
        let status = |code| Self::detail(code, refusal_text(dialect, refusal));
        match (dialect, refusal) {
            (_, Refusal::NoCredit) => {
                Self::json(StatusCode::FORBIDDEN, &json!({ "error": refusal_text(dialect, refusal) }))
            }
            (_, Refusal::AlreadyImported) | (Dialect::Seed, Refusal::WrongAudience) => status(StatusCode::FORBIDDEN),
            (_, Refusal::WorkflowUnknown) | (Dialect::Seed, Refusal::SourceGone) => status(StatusCode::NOT_FOUND),
            (Dialect::Seed, Refusal::TokenInvalid | Refusal::TokenExpired) => status(StatusCode::UNAUTHORIZED),
            (Dialect::V2026, _) => Self::field("share_token", refusal_text(dialect, refusal)),
        }
    }

    /// Adds a header with a number.
    pub(super) fn with(mut self, name: HeaderName, number: u64) -> Self {
        self.headers.push((name, HeaderValue::from(number)));
        self
    }

    /// Adds the `X-RateLimit-*` headers, where there is a limit.
    pub(super) fn with_standing(self, standing: Option<Standing>) -> Self {
        let Some(standing) = standing else { return self };
        let now = Timestamp::now().as_second().max(0) as u64;
        self.with(HeaderName::from_static("x-ratelimit-limit"), u64::from(standing.limit))
            .with(HeaderName::from_static("x-ratelimit-remaining"), u64::from(standing.remaining))
            .with(HeaderName::from_static("x-ratelimit-reset"), now + whole_seconds(standing.reset))
    }

    /// The same status with a body that is not JSON.
    pub(super) fn garbled(mut self) -> Self {
        self.body = b"\x7b\"session_id\": \xff\xfe upstream".to_vec();
        self
    }

    /// The length of the body.
    pub(super) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The answer as it goes out.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static(super::SERVER));
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.extend(self.headers);
        response
    }
}

fn refusal_text(dialect: Dialect, refusal: Refusal) -> &'static str {
    const CREDIT: &str =
        "You don't have enough credits to perform this request. Please top up at https://business.didit.me";
    match (dialect, refusal) {
        (_, Refusal::NoCredit) => CREDIT,
        (Dialect::V2026, Refusal::TokenInvalid) => "Invalid share token.",
        (Dialect::V2026, Refusal::TokenExpired) => "Share token has expired.",
        (Dialect::V2026, Refusal::WrongAudience) => "This token is not valid for this application.",
        (Dialect::V2026, Refusal::SourceGone) => "Original session does not exist.",
        (Dialect::V2026, Refusal::WorkflowUnknown) => "Workflow does not exist for this application.",
        (Dialect::V2026, Refusal::AlreadyImported) => "This session has already been shared with your application.",
        (Dialect::Seed, Refusal::TokenInvalid | Refusal::TokenExpired) => "Share token invalid or expired.",
        (Dialect::Seed, Refusal::WrongAudience) => "Token not intended for your application.",
        (Dialect::Seed, Refusal::SourceGone) => "Original session no longer exists.",
        (Dialect::Seed, Refusal::WorkflowUnknown) => "workflow_id not found in your application.",
        (Dialect::Seed, Refusal::AlreadyImported) => "Session has already been imported.",
    }
}
