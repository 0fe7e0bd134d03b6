//! What is said when the program itself is wrong. The message of a panic may quote what it met (the value of a failed
//! `unwrap`, a line of an answer), so it is never shown: only where it happened, and, where `RUST_BACKTRACE` asks for
//! it, through which functions. A message without any value in it, a literal of the source, is shown.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use serde_json::Map;

use super::Failure;
use crate::console::{Console, Level};
use crate::exit::Condition;
use crate::mask::quoted;

const HELP: &str = "please report this place in the program; what is on record stands, and running again is safe";

/// From now on panics are told on this console, by whatever thread.
pub(super) fn tell_on(console: &Console) {
    let console = console.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        let message = message(panic, &place);
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        let mut facts = Map::from_iter([("help".to_owned(), HELP.into())]);
        facts.extend(trace.clone().map(|trace| ("backtrace".to_owned(), trace.into())));
        console.tell(Level::Error, &message, &facts, |_| {
            format!("error: {message}\n  help: {HELP}\n{}", trace.unwrap_or_default())
        });
    }));
}

fn message(panic: &PanicHookInfo<'_>, place: &str) -> String {
    let literal = literal(panic.payload()).map_or_else(String::new, |text| format!(": {}", quoted(text)));
    format!("didit-sync has a bug{place}{literal}")
}

/// The message, where it is a literal of the source: what was formatted may hold anything.
fn literal(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

/// Runs `work`; a panic in it, which has been told, is a failure like others.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::new(Condition::Internal, "didit-sync has a bug and ended early").with_help(HELP))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_5_a_panic_shows_nothing_that_was_formatted_into_it() {
        let canary = "Carmen 99999999R".to_owned();
        let formatted = catch_unwind(|| panic!("no way with {canary}")).unwrap_err();
        assert_eq!(literal(&*formatted), None);
        let literally = catch_unwind(|| panic!("never")).unwrap_err();
        assert_eq!(literal(&*literally), Some("never"));
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        let failure = caught::<()>(|| panic!("never")).unwrap_err();
        assert_eq!((failure.exit.code(), failure.exit.name()), (1, "internal"));
        assert!(caught(|| Ok(7)).is_ok_and(|seven| seven == 7));
    }
}
