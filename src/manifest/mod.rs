//! Manifests: desired state, from YAML and source files to plain entries.
//!
//! ```text
//! YAML ─ yaml ─► tree ─ decode ─► drafts ─ finish ─► entries ─ gather ─► one per session ─ check ─► Manifests
//! files ─ sources ─► rows ─────────┘                              ▲
//! tokens ─ sources ─► rows ─ deliver ─────────────────────────────┘
//! ```
//!
//! A large `imports` is cut into `pieces`, each of which goes from YAML to entries by itself (`imports`).
//!
//! Up to `gather`, parts of a source (`sources::stream`) go their way side by side; there they are taken in order. What
//! comes out is small (`entry`): a token of a row is not held but read again where it stands (`spot`).
//!
//! Whatever is wrong goes to the one `sink`, with its place, and the work goes on; at the end all of it is told at
//! once, sorted, each with its line and every secret in it masked (`snippet`). A manifest is data: `bounds` keeps its
//! files in its folder, `secrets` runs a program only where the user allowed it, and nothing here opens a connection.

mod bounds;
mod cells;
mod check;
mod code;
mod decode;
mod deliver;
mod diagnostic;
mod digest;
mod draft;
mod entry;
mod finish;
mod gather;
mod globs;
mod imports;
mod inputs;
mod json;
mod keep;
mod keys;
mod load;
mod model;
mod ordinary;
mod pieces;
mod read;
mod schema;
mod secrets;
mod sink;
mod snippet;
mod sources;
mod spot;
mod starter;
mod template;
#[cfg(test)]
mod tests;
mod unclosed;
mod yaml;

pub use code::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Severity, Snippet};
pub use digest::Digest;
pub use entry::{Entry, FileName, Label, Place, Referred, Shared, TokenSource, Vendor};
pub use inputs::{Contents, Inputs};
pub use load::{LoadOptions, load, may_receive_key};
pub use model::{
    API_KEY, Application, Invalid, Limits, Manifest, Manifests, MaxFailures, Mint, Partner, SecretRef, WorkflowChoice,
};
pub use schema::schema;
pub use secrets::{Environment, SecretError, SecretPolicy, resolve};
pub use spot::{Spot, TokenMoved};
pub use starter::starter;
