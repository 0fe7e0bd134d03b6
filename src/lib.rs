//! didit-sync: imports shared Didit verifications as manifests say, and keeps account of them.
//!
//! ```text
//! manifests ─ manifest ─► entries ─┐
//!                                  ├─ plan (pure) ─► actions ─► run ─► outcomes ─► ledger ─► report
//! ledger ── snapshot ──────────────┘                  │  ▲                           ▲
//!                                              pace ──┘  └── didit (HTTP)            │
//!                                                     └─ events ─► progress, log  verify (rayon) ─► findings
//! ```
//!
//! One direction, no loops: who follows one share token from the YAML to the report passes each module once.
//!
//! What always holds:
//!
//! - No request leaves without its intent durably in the ledger, and no outcome counts before it is durable there.
//! - A request has three outcomes, never two: answered, certainly not processed, unknown. An entry with an unknown one
//!   is open, and is resolved before anything else is done with it ([`lifecycle`], checked by a model of crashes and
//!   losses beside [`run`]).
//! - Tokens and keys are values that mask themselves ([`token`], [`didit::ApiKey`]); neither they nor personal data nor
//!   unknown texts of a server reach the ledger, a log or a report. Foreign text is made inert where it is shown
//!   ([`text`]), and a secret that somebody put into the wrong place is masked by its form ([`mask`]).
//! - Only [`console`] names stdout and stderr, only [`ledger`] rusqlite, only [`didit`] reqwest, only one file of
//!   [`manifest`] the YAML crate, only one folder of [`verify`] the CEL crate, only [`progress`] indicatif.
//!   Only [`log`] names tracing's subscribers; of the modules above it, only the ledger logs by itself.
//! - [`plan`], [`lifecycle`], [`pace`], the classification in [`didit`] and the rules of [`verify`] are pure: no file, clock,
//!   environment or network.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`manifest`] | from YAML and source files to plain entries, every error told at once |
//! | [`token`] | share tokens, their unverified claims, fingerprints |
//! | [`plan`] | which entry is which record, and what is to be done: a plain value |
//! | [`lifecycle`] | the state machine of one entry |
//! | [`pace`] | when the next request may leave |
//! | [`didit`] | the API: client, wire types, what a refusal means |
//! | [`run`] | carries a plan out, and audits what was carried out |
//! | [`verify`] | is each session what was asked for |
//! | [`ledger`] | what was done, in SQLite |
//! | [`report`], [`progress`], [`log`], [`console`], [`text`], [`mask`] | what people and programs read |
//! | [`exit`], [`explain`] | the exit codes, and what every code means |
//! | [`doctor`] | whether everything that a run needs is as it should be |
//! | [`cli`] | the commands: wiring |
//! | [`sandbox`], [`demo`] | a stand-in for the API, and the whole job against it |
//! | [`simulation`] | the run in simulated time, against a simulated API |
//! | [`host`] | the machine's name |

mod ahead;
mod by_session;
pub mod cli;
pub mod console;
pub mod demo;
pub mod didit;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod host;
pub mod ledger;
pub mod lifecycle;
pub mod log;
pub mod manifest;
pub mod mask;
pub mod pace;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod simulation;
pub mod text;
pub mod token;
pub mod verify;
