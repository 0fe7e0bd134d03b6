//! What the tests share: a folder with manifests, the program in it, and the servers it talks to.

pub mod browser;
pub mod canary;
pub mod fake;
pub mod page;
pub mod program;
pub mod scene;
pub mod terminal;
pub mod token;

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use canary::Canaries;
pub use fake::{Fake, Reply};
pub use program::{Folder, Output};
pub use scene::{Scene, sandbox};
pub use token::Token;

/// Waits until something holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

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
