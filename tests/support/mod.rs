//! What the tests share: a folder with manifests, the program in it, and the servers it talks to.

pub mod canary;
pub mod fake;
pub mod program;
pub mod scene;
pub mod token;

pub use canary::Canaries;
pub use fake::{Fake, Reply};
pub use program::{Folder, Output};
pub use scene::{Scene, sandbox};
pub use token::Token;

/// The keys of a JSON object, in their order.
pub fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// A uuid out of JSON.
pub fn uuid(value: &serde_json::Value) -> uuid::Uuid {
    value.as_str().unwrap_or_else(|| panic!("no id but {value}")).parse().unwrap()
}
