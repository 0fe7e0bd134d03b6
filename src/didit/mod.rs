//! The Didit API: the client, what goes over the wire, and what an answer means.
//!
//! ```text
//! Client (client.rs) ─► transport.rs ─► the API        the only file that names reqwest
//!    │                       │
//!    │        status, body, headers, or a Failure of the connection (failure.rs)
//!    ▼                       ▼
//! wire/ reads a success    classify.rs judges the rest, by the words of phrases.rs
//! ```
//!
//! What is promised here:
//!
//! - A request ends in one of three ways, see [`Effect`]: certainly not processed, refused, or unknown. Nothing here
//!   retries, follows a redirect, or sends a body twice; when to send again is decided elsewhere.
//! - No error, detail or `Debug` text carries a key, a token or a text of the server that is not documented:
//!   a [`Failure::detail`] is put together from a fixed vocabulary.
//! - Both generations of the API's answers are read into one model, see [`wire`].

mod classify;
mod client;
mod failure;
mod json;
mod key;
mod phrases;
mod rate;
mod refusal;
mod transport;
pub mod wire;

pub use classify::{ImportContext, classify_import, classify_read, classify_share};
pub use client::{Answer, Client, ImportRequest, ListQuery, Next, Page, ShareRequest};
pub use failure::{Effect, Failure};
pub use json::{Fields, Json};
pub use key::{ApiKey, Environment, MalformedKey};
pub use rate::{RateHeaders, clock_skew};
pub use refusal::Class;
pub use transport::{BoxFuture, ClientError, Request, Response, Server, Verb};
pub use wire::{Decision, Feature, Presence, Review, SessionRow, Status, Unread, Workflow};
