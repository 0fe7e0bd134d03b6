//! What the tests share: a folder with manifests, the program in it, and the servers it talks to.

pub mod browser;
pub mod canary;
pub mod cut;
pub mod fake;
pub mod front;
pub mod ledger;
pub mod page;
pub mod patience;
pub mod postgres;
pub mod program;
pub mod scene;
pub mod schemas;
pub mod terminal;
pub mod token;

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

pub use canary::Canaries;
pub use fake::{Fake, Reply};
pub use front::{Front, Manner};
pub use ledger::file_only;
pub use patience::{end_of, output_of, wait_for};
pub use program::{Folder, Output};
pub use scene::{Scene, sandbox};
pub use token::Token;

/// Sends a signal to a program.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The keys of a JSON object, in their order.
pub fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// A uuid out of JSON.
pub fn uuid(value: &serde_json::Value) -> uuid::Uuid {
    value.as_str().unwrap_or_else(|| panic!("no id but {value}")).parse().unwrap()
}
