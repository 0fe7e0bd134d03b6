//! What an answer that is no success means: by status first, then by code, then by text, and where these leave it
//! open, by what the token says of itself. Pure.
//!
//! Public sources disagree on some statuses (`didit-api.md` section 13): an expired token is a 400 in the newer ones
//! and a 401 in the user's own page, a deleted source a 400 or a 404, another receiver a 400 or a 403. So within 4xx
//! a recognised text decides whatever the status is, and the status decides only what no text explains.

use jiff::Timestamp;
use uuid::Uuid;

use super::phrases::{Meaning, Said, Shape};
use super::{Class, Effect, Failure};
use crate::token::Claims;

/// What is known of an import's token and receiver besides the answer.
#[derive(Clone, Copy, Debug)]
pub struct ImportContext<'c> {
    /// The token's claims, where they can be read.
    pub claims: Option<&'c Claims>,
    /// The receiving application, where the manifest names it.
    pub application: Option<Uuid>,
    /// The server's time, or the local one where it gives none.
    pub now: Timestamp,
}

impl ImportContext<'_> {
    fn expired(&self) -> bool {
        self.claims.and_then(|claims| claims.expires_at).is_some_and(|exp| exp <= self.now)
    }

    /// Whether the token names the receiver: `None` where either is unknown.
    fn fits_receiver(&self) -> Option<bool> {
        Some(self.claims?.for_application_id? == self.application?)
    }
}

/// Judges the answer to an import (`didit-api.md` section 2).
#[must_use]
pub fn classify_import(status: u16, body: &[u8], context: &ImportContext<'_>) -> Failure {
    let said = Said::read(body);
    if let Some(failure) = by_status(status, &said) {
        return failure;
    }
    let invalid_or_expired = if context.expired() { Class::TokenExpired } else { Class::TokenInvalid };
    let no = |class| refused(status, &said, class, true);
    match said.meaning {
        Some(Meaning::Key) => no(Class::Credentials),
        Some(Meaning::NoCredit) => no(Class::NoCredit),
        Some(Meaning::AudienceOrImported) => match context.fits_receiver() {
            Some(false) => no(Class::WrongAudience),
            fits => refused(status, &said, Class::AlreadyImported, fits.is_some()),
        },
        Some(Meaning::AlreadyImported) => no(Class::AlreadyImported),
        Some(Meaning::WrongAudience) => no(Class::WrongAudience),
        Some(Meaning::Workflow) => no(Class::WorkflowUnknown),
        Some(Meaning::SourceGone) => no(Class::SourceGone),
        Some(Meaning::NotShareable) => no(Class::SourceNotShareable),
        Some(Meaning::TokenInvalidOrExpired) => no(invalid_or_expired),
        Some(Meaning::TokenExpired) => no(Class::TokenExpired),
        Some(Meaning::TokenInvalid) => no(Class::TokenInvalid),
        Some(Meaning::Field | Meaning::NoTarget) if !matches!(status, 401 | 403) => no(Class::BadRequest),
        Some(Meaning::Field | Meaning::NoTarget | Meaning::NotFound | Meaning::Busy) | None => {
            unexplained_import(status, &said, context)
        }
    }
}

/// An import refused in words that are not documented: the status, the field and the claims decide.
fn unexplained_import(status: u16, said: &Said, context: &ImportContext<'_>) -> Failure {
    let about_token = said.field == Some("share_token") || (matches!(status, 401 | 403) && said.names_token);
    let by_claims = |class, why: &str| {
        let mut failure = refused(status, said, class, true);
        failure.detail = format!("{}; by its own claims the token {why}", failure.detail);
        failure
    };
    let wrong_audience = context.fits_receiver() == Some(false);
    match status {
        401 if context.expired() => by_claims(Class::TokenExpired, "has expired"),
        400 | 403 | 422 if about_token && context.expired() => by_claims(Class::TokenExpired, "has expired"),
        403 if wrong_audience => by_claims(Class::WrongAudience, "is for another application"),
        400 | 401 | 422 if about_token && wrong_audience => {
            by_claims(Class::WrongAudience, "is for another application")
        }
        400 | 401 | 403 | 422 if about_token => refused(status, said, Class::TokenInvalid, false),
        401 | 403 => refused(status, said, Class::Credentials, false),
        404 | 410 if said.names_workflow => refused(status, said, Class::WorkflowUnknown, false),
        404 if said.shape != Shape::Api => not_the_api(status, said),
        404 | 410 => refused(status, said, Class::SourceGone, false),
        _ if said.shape == Shape::Html => not_the_api(status, said),
        _ if said.field == Some("workflow_id") => refused(status, said, Class::WorkflowUnknown, false),
        _ => refused(status, said, Class::BadRequest, false),
    }
}

/// Judges the answer to the minting of a token (`didit-api.md` section 3).
#[must_use]
pub fn classify_share(status: u16, body: &[u8]) -> Failure {
    let said = Said::read(body);
    match (by_status(status, &said), said.meaning) {
        (Some(failure), _) => failure,
        (None, Some(Meaning::NotShareable)) => refused(status, &said, Class::SourceNotShareable, true),
        (None, Some(Meaning::NoTarget)) => refused(status, &said, Class::WrongAudience, true),
        (None, _) => unexplained(status, &said),
    }
}

/// Judges the answer to a read or a deletion (`didit-api.md` sections 4 to 8).
#[must_use]
pub fn classify_read(status: u16, body: &[u8]) -> Failure {
    let said = Said::read(body);
    by_status(status, &said).unwrap_or_else(|| unexplained(status, &said))
}

/// A 4xx to anything but an import.
fn unexplained(status: u16, said: &Said) -> Failure {
    match (said.meaning, status) {
        (Some(Meaning::Key), _) => refused(status, said, Class::Credentials, true),
        (Some(Meaning::NoCredit), _) => refused(status, said, Class::NoCredit, true),
        (_, 401 | 403) => refused(status, said, Class::Credentials, false),
        (_, 404) if said.shape != Shape::Api => not_the_api(status, said),
        (meaning, 404 | 410) => refused(status, said, Class::SourceGone, meaning.is_some()),
        _ if said.shape == Shape::Html => not_the_api(status, said),
        (meaning, _) => refused(status, said, Class::BadRequest, meaning.is_some()),
    }
}

/// What the status alone decides.
fn by_status(status: u16, said: &Said) -> Option<Failure> {
    let unknown = |class| Failure::unknown(class, Some(status), said.detail(status));
    match status {
        300..=399 => Some(Failure::protocol(
            status,
            "a redirect, which is not followed since the key must not travel; write the API's own address as base_url",
        )),
        400 | 401 | 403 | 404 | 409..=414 | 416..=420 | 422..=425 | 427 | 428 | 430..=499 => None,
        402 => Some(refused(status, said, Class::NoCredit, true)),
        405 | 406 | 415 | 421 | 426 => Some(not_the_api(status, said)),
        407 => {
            let mut failure = Failure::not_sent(Class::Network, "HTTP 407: the proxy asks for authentication");
            failure.http_status = Some(status);
            Some(failure)
        }
        408 => Some(unknown(Class::Timeout)),
        429 => Some(Failure { effect: Effect::NotProcessed, ..unknown(Class::Throttled) }),
        500..=599 => Some(unknown(Class::Server)),
        200..=299 => Some(Failure::protocol(status, "a success that is not what the API answers to this request")),
        _ => Some(Failure::protocol(status, "not a status of the API")),
    }
}

fn refused(status: u16, said: &Said, class: Class, recognised: bool) -> Failure {
    Failure { class, http_status: Some(status), detail: said.detail(status), effect: Effect::Refused, recognised }
}

/// Something other than the API answered: the base URL may be wrong.
fn not_the_api(status: u16, said: &Said) -> Failure {
    Failure { detail: said.detail(status), ..Failure::protocol(status, "") }
}

#[cfg(test)]
mod tests;
