//! didit-sync: imports shared Didit verifications as manifests say, and keeps account of them.
//!
//! ```text
//! manifests ─ manifest ─► entries ─┐
//!                                  ├─ plan (pure) ─► actions ─► run ─► outcomes ─► ledger ─► report
//! ledger ── snapshot ──────────────┘                  │  ▲                           ▲
//!                                              pace ──┘  └── didit (HTTP)            │
//!                                                     └─ events ─► progress   verify (rayon) ─► findings
//! ```

pub mod didit;
pub mod manifest;
pub mod sandbox;
pub mod text;
pub mod token;
