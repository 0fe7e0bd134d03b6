//! The Didit API: the client, what goes over the wire, and what an answer means.

mod refusal;

pub use refusal::Class;
