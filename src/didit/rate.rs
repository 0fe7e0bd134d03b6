//! What an answer's headers say about limits and time (`didit-api.md` section 11). Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The rate-limit headers of an answer, each `None` where absent or unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// `X-RateLimit-Limit`: requests a minute.
    pub limit: Option<u32>,
    /// `X-RateLimit-Remaining`: of them, left in this window.
    pub remaining: Option<u32>,
    /// `X-RateLimit-Reset`: when the window opens again.
    pub reset: Option<Timestamp>,
    /// `Retry-After`: how long to wait, from when the answer was made.
    pub retry_after: Option<Duration>,
}

impl RateHeaders {
    /// Reads the headers through `header`, which gives a header's text by its lower-case name. `now` is the server's
    /// time (its `Date`), or the local time where it sends none.
    pub(super) fn read<'h>(header: impl Fn(&str) -> Option<&'h str>, now: Timestamp) -> Self {
        let number = |name| header(name)?.trim().parse().ok();
        Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            reset: header("x-ratelimit-reset").and_then(unix_seconds),
            retry_after: header("retry-after").and_then(|text| retry_after(text, now)),
        }
    }
}

fn unix_seconds(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.trim().parse().ok()?;
    seconds.is_finite().then(|| Timestamp::from_second(seconds as i64).ok()).flatten()
}

/// The shortest and the longest pause that a server is obeyed in: a zero would be a storm, and what is longer than an
/// hour is asked again then.
const PAUSES: std::ops::RangeInclusive<u64> = 1..=3600;

/// Seconds or an HTTP date, held within [`PAUSES`]; fractions are rounded up.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| pause(seconds.ceil() as u64));
    }
    let wait = http_date(text)?.duration_since(now);
    Some(pause(u64::try_from(wait.as_secs()).unwrap_or(0)))
}

fn pause(seconds: u64) -> Duration {
    Duration::from_secs(seconds.clamp(*PAUSES.start(), *PAUSES.end()))
}

/// A date as HTTP writes it, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text.trim()).ok()
}

/// The server's clock less ours, of an answer with this `Date` to a request that left and was answered at these times.
///
/// `Date` is cut to seconds, so half a second is added; it was written half-way between sending and answer. What a
/// second's grain explains is no skew.
#[must_use]
pub fn clock_skew(sent: Timestamp, answered: Timestamp, date: Timestamp) -> SignedDuration {
    let middle = i64::midpoint(sent.as_millisecond(), answered.as_millisecond());
    let skew = date.as_millisecond() + 500 - middle;
    SignedDuration::from_millis(if skew.abs() <= 1000 { 0 } else { skew })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = |text| retry_after(text, now()).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(1));
        assert_eq!(seconds("99999999999999999999"), Some(3600));
        assert_eq!(seconds("1.2"), Some(2));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(1));
        for text in ["", "-1", "soon", "NaN", "inf"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn headers_are_read_each_for_itself() {
        let all = RateHeaders::read(
            |name| match name {
                "x-ratelimit-limit" => Some("300"),
                "x-ratelimit-remaining" => Some("many"),
                "x-ratelimit-reset" => Some("784111800"),
                "retry-after" => Some("3"),
                _ => None,
            },
            now(),
        );
        assert_eq!((all.limit, all.remaining), (Some(300), None));
        assert_eq!(all.reset, Some(Timestamp::from_second(784_111_800).unwrap()));
        assert_eq!(all.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(RateHeaders::read(|_| None, now()), RateHeaders::default());
    }
}
