//! The demo's scene: a sandbox with something of everything, the files that a user would have, and what has to come
//! of them. The steps themselves are the ordinary commands; they are told in `cli::demo`.
//!
//! - [`Scene`] gives the sandbox's partner 60 sessions and mints their tokens: both kinds, all shareable statuses,
//!   old tokens without `session_kind`, one minted twice, and three that cannot be imported.
//! - [`Folder`] writes manifest, roster, token and key where people can read them, secrets for their owner only. What
//!   exists is never overwritten.
//! - [`verdict`] holds what the ledger says against what the sandbox knows.

mod folder;
mod scene;
pub mod verdict;

#[cfg(test)]
mod tests;

pub use folder::{Folder, FolderError};
pub use scene::{Row, Scene, faults};
