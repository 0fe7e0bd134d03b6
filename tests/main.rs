//! What users are promised, proved on the program itself: every test runs the binary as a child process, in a folder
//! of its own with a scrubbed environment, against the sandbox or against a scripted server.

#![expect(clippy::unwrap_used, reason = "helpers outside of #[test] functions fail a test by panicking, too")]

mod support;

mod answers;
mod audit;
mod clock;
mod crash;
mod damage;
mod disk;
mod exits;
mod files;
mod holders;
mod hostile;
mod lost_answers;
mod main_job;
mod manifest_errors;
mod pacing;
mod planning;
mod refusals;
mod repairs;
mod reports;
mod secrets;
mod status;
mod stopping;
mod tokens;
mod wire;
