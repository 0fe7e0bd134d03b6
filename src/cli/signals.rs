//! SIGINT and SIGTERM: the first asks the run to wind down, the second to stop at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::exit::Condition;
use crate::run::{Listener, Request};

/// Listens for signals from now on.
pub(super) fn listen(grace: Duration) -> Result<Listener, Failure> {
    let cannot = |error: std::io::Error| Failure::new(Condition::Internal, format!("signals can't be caught: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let (sender, listener) = watch::channel(Request::GoOn);
    tokio::spawn(async move {
        let mut is_first = true;
        loop {
            let condition = tokio::select! {
                _ = interrupt.recv() => Condition::Interrupted,
                _ = terminate.recv() => Condition::Terminated,
            };
            let request = if is_first { Request::Wind { condition, grace } } else { Request::Now { condition } };
            is_first = false;
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    Ok(listener)
}
