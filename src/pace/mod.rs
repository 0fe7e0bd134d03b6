//! Pacing: when the next request may leave. Pure decisions on an injected clock; the sleeping is done by `run`.

mod backoff;
pub mod grants;
mod purse;
mod share;
mod window;

pub use backoff::{MAX_SENDS, PATIENCE, backoff};
pub use purse::{Draw, FRESH, Purse, Token};
pub use window::{Decision, SPAN, Ticket, Window};
