//! `--max-duration`: the time after which a run sends nothing new.
//!
//! When it is up, the run winds down as for a first signal: no import leaves any more, no session is fetched any more,
//! and what is in flight may end for as long as `grace` lasts. It ends as usual where nothing was left.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::stop::{Listener, Request, wait_for};

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// From its start until it sends nothing new.
    pub most: Duration,
    /// From then until what is in flight is given up.
    pub grace: Duration,
}

/// A listener that hears what `stop` hears, and when the time of a run that began at `started` is up.
pub(super) fn within(limit: Option<TimeLimit>, mut stop: Listener, started: Instant) -> Listener {
    let Some((limit, end)) = limit.and_then(|limit| Some((limit, started.checked_add(limit.most)?))) else {
        return stop;
    };
    let mut heard = *stop.borrow_and_update();
    let (sender, listener) = watch::channel(heard);
    tokio::spawn(async move {
        let mut is_counting = true;
        loop {
            let request = tokio::select! {
                biased;
                () = sender.closed() => return,
                asked = wait_for(&mut stop, |asked| *asked != heard) => { heard = asked; asked }
                () = sleep_until(end), if is_counting && heard == Request::GoOn => {
                    Request::TimeUp { most: limit.most, grace: limit.grace }
                }
            };
            is_counting = false;
            sender.send_replace(request);
        }
    });
    listener
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Condition;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_time_is_up_once_and_a_signal_beats_it() {
        let (signals, stop) = watch::channel(Request::GoOn);
        let started = Instant::now();
        let limit = TimeLimit { most: MINUTE, grace: Duration::ZERO };
        let mut listener = within(Some(limit), stop, started);
        let asked = wait_for(&mut listener, |asked| *asked != Request::GoOn).await;
        assert_eq!(asked, Request::TimeUp { most: MINUTE, grace: Duration::ZERO });
        assert_eq!(started.elapsed(), MINUTE);
        let signal = Request::Wind { condition: Condition::Interrupted, grace: MINUTE };
        signals.send(signal).unwrap();
        assert_eq!(wait_for(&mut listener, |now| *now != asked).await, signal);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_signal_the_time_is_not_counted() {
        let (signals, stop) = watch::channel(Request::GoOn);
        let mut listener = within(Some(TimeLimit { most: MINUTE, grace: MINUTE }), stop, Instant::now());
        let signal = Request::Wind { condition: Condition::Terminated, grace: MINUTE * 9 };
        signals.send(signal).unwrap();
        assert_eq!(wait_for(&mut listener, |asked| *asked != Request::GoOn).await, signal);
        let more = tokio::time::timeout(MINUTE * 5, wait_for(&mut listener, |asked| *asked != signal)).await;
        assert!(more.is_err(), "{more:?}");
    }
}
