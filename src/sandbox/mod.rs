//! The sandbox: a local stand-in for the Didit API, to try the tool with, for `demo`, and for end-to-end tests.
//!
//! ```text
//! wire ─► server ─► route ─► limits ─► faults ─► api ─► state      (one request)
//!  ▲         │                           │        │
//!  │         └─ record                   │        └─ answer, decision, jwt
//!  └───────────── cuts and aborts ◄──────┘
//! ```
//!
//! **What it promises.** Every status and body is the documented one of the chosen [`Dialect`]; what Didit leaves
//! open is decided here once and said in the docs of the module that decides it. Ids, keys, names and the dice of
//! the faults follow from [`Config::seed`]; only times (and the signatures of media links, which change at every
//! fetch) do not.
//!
//! **State.** One mutex around the world, held for a lookup or a change and never across an `await` or while a body
//! is rendered. The check for an earlier import and the import itself are one step under that lock, so two
//! simultaneous imports of one source end in one 201 and one 403. Nothing is written to disk.
//!
//! **Order of checks.** The router (301 for a path without its slash, an HTML 404 for an id that is no UUID), then
//! the rate limit of the presented key, then the faults, then existence where the documentation says it comes before
//! authentication (decision, delete), then key, privilege, body, token, workflow, duplicate.
//!
//! **Where it listens.** On loopback only: it hands out sessions to whoever asks with a key anybody can derive.

mod answer;
mod api;
mod config;
mod decision;
mod faults;
mod jwt;
mod limits;
mod manifest;
mod model;
mod persona;
mod record;
mod route;
mod seed;
mod server;
mod shared;
mod state;
mod wire;
mod world;

#[cfg(test)]
mod tests;

pub use config::{Config, Dialect};
pub use faults::{FaultError, Faults};
pub use manifest::write_manifest;
pub use model::{Change, ImportedSession, Privilege, Privileges, SourceSession, Status};
pub use record::{Counts, RequestRecord};
pub use server::{Running, Sandbox};
pub use world::{MintOptions, World};

use std::net::SocketAddr;
use std::path::PathBuf;

use uuid::Uuid;

/// The value of the `Server` header of every answer.
pub const SERVER: &str = concat!("didit-sync-sandbox/", env!("CARGO_PKG_VERSION"));

/// Why the sandbox could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address to listen on is not a loopback address.
    #[error("the sandbox listens on loopback only, not on {0}: use an address such as 127.0.0.1:8787")]
    NotLoopback(SocketAddr),
    /// The address could not be bound.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No session of that id.
    #[error("the sandbox has no session {0}")]
    UnknownSession(Uuid),
    /// The manifest's file exists.
    #[error("{} exists and is not overwritten: remove it or choose another name", .0.display())]
    ManifestExists(PathBuf),
    /// The manifest could not be written.
    #[error("can't write {}: {source}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
