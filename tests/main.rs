//! What users are promised, proved on the program itself: every test runs the binary as a child process, in a folder
//! of its own with a scrubbed environment, against the sandbox or against a scripted server.
//!
//! With `DIDIT_SYNC_TEST_LEDGER=postgres`, every ledger is a database of a PostgreSQL that the tests run for themselves
//! (`support::postgres`), and not a file; tests of the file alone say that they are left out.
//!
//! The tests of a promise are named after it: `cargo test promise_5_` runs those of promise 5, here and beside the code.
//!
//! | promise | what is promised | where |
//! | --- | --- | --- |
//! | 1 | intent before the request, outcome before it counts; no session lost, none made twice | `crash`, `lost_answers`, `server_faults`, `server_away`; `ledger::tests`; `run::model` (`promises_1_to_3_`) |
//! | 2 | what was left open is resolved, by proof or the sole candidate, and the evidence kept | `lost_answers`, `crash`, `hostile`; `lifecycle`, `run::resolve`, `run::model` |
//! | 3 | "already imported" as the first answer is looked for | `lost_answers`, `hostile`; `run::resolve`, `run::model` |
//! | 4 | one writer at a time | `exits`, `crash`, `doctor`; `ledger::tests` |
//! | 5 | no token, key or personal data anywhere | `secrets` (outputs, errors, files), `logs`, `process` (panics, kills, cores, the machine); `mask`, `token`, `didit`, `manifest::snippet` |
//! | 6 | the ledger: private, migrated, moved whole, damage found | `exits`, `main_job`, `moving`; `ledger::tests` |
//! | 7 | signals | `exits`, `stopping`, `killed_audits` |
//! | 8 | full disks and garbage: a clear error, no wrong record; no redirect | `disk`, `server_faults`, `hostile`, `refusals`; `didit::client`, `ledger::tests` |
//! | 9 | erasure leaves a keyed hash; what is forgotten may be imported again | `repairs`, `planning`, `lost_answers`; `ledger::erase` |
//! | 10 | an audit needs no manifest | `audit`, `drift`, `expect` |
//! | 11 | every repair and acceptance is a run; attempts and runs are only added | `repairs`, `drift`, `killed_audits`; `ledger::tests` |

#![expect(clippy::unwrap_used, reason = "helpers outside of #[test] functions fail a test by panicking, too")]

mod support;

mod answers;
mod audit;
mod budgets;
mod clock;
mod completions;
mod connections;
mod crash;
mod damage;
mod disk;
mod docs;
mod doctor;
mod documents;
mod drift;
mod exits;
mod expect;
mod files;
mod guards;
mod holders;
mod hostile;
mod html;
mod keyboard;
mod killed_audits;
mod logs;
mod lost_answers;
mod main_job;
mod manifest_errors;
mod minting;
mod moving;
mod pacing;
mod planning;
mod postgres;
mod process;
mod refusals;
mod repairs;
mod reports;
mod resolution;
mod rewritten;
mod runners;
mod schedule;
mod secrets;
mod server_away;
mod server_faults;
mod status;
mod stopping;
mod terminal;
mod tokens;
mod up_to_date;
mod wire;
