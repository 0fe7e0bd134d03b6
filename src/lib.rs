//! didit-sync: imports shared Didit verifications as manifests say, and keeps account of them.
//!
//! ```text
//! manifests ─ manifest ─► entries ─┐
//!                                  ├─ plan (pure) ─► actions ─► run ─► outcomes ─► ledger ─► report
//! ledger ── snapshot ──────────────┘                  │  ▲                           ▲
//!                                              pace ──┘  └── didit (HTTP)            │
//!                                                     └─ events ─► progress   verify (rayon) ─► findings
//! ```

pub mod cli;
pub mod console;
pub mod demo;
pub mod didit;
pub mod exit;
pub mod host;
pub mod ledger;
pub mod lifecycle;
pub mod manifest;
pub mod pace;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod text;
pub mod token;
pub mod verify;
