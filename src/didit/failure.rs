//! How a request failed, and what that leaves certain.

use super::Class;

/// What a failed request can have done. Outcomes are three, never two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Certainly not processed: nothing was sent, or the API said 429. Sending again is always safe.
    NotProcessed,
    /// The API answered and said no.
    Refused,
    /// It may have been processed: no answer, half an answer, 5xx, or an answer that is not the API's.
    Unknown,
}

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class that every output names.
    pub class: Class,
    /// The status of the answer, where there was one, even one whose body was cut.
    pub http_status: Option<u16>,
    /// One line for people, made of fixed phrases: it never carries an undocumented text of the server.
    pub detail: String,
    /// What the request can have done.
    pub effect: Effect,
    /// Whether the answer is a documented one. A 401 or 403 that is not ([`Class::Credentials`], `false`) is to be
    /// held against the key first, then against the entry, before it stops a run. [`Class::AlreadyImported`] with
    /// `false`: the text names two reasons and the claims can't decide between them.
    pub recognised: bool,
}

impl Failure {
    /// Nothing reached the API.
    pub(super) fn not_sent(class: Class, detail: &str) -> Self {
        Self { class, http_status: None, detail: detail.to_owned(), effect: Effect::NotProcessed, recognised: true }
    }

    /// Refused here, without asking the API.
    #[must_use]
    pub fn here(class: Class, detail: &str) -> Self {
        Self { class, http_status: None, detail: detail.to_owned(), effect: Effect::Refused, recognised: true }
    }

    /// The request left, and what came back (if anything) decides nothing.
    pub(super) fn unknown(class: Class, http_status: Option<u16>, detail: String) -> Self {
        Self { class, http_status, detail, effect: Effect::Unknown, recognised: true }
    }

    /// An answer that is not the API's, or not one to this request.
    pub(crate) fn protocol(http_status: u16, detail: &str) -> Self {
        Self {
            class: Class::Protocol,
            http_status: Some(http_status),
            detail: format!("HTTP {http_status}: {detail}"),
            effect: Effect::Unknown,
            recognised: false,
        }
    }
}
