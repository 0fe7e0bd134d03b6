//! The values of options, as people write them.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::ledger::records::State;
use crate::report::Kind;

/// `KIND=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTarget {
    /// The kind.
    pub kind: Kind,
    /// The file.
    pub path: PathBuf,
}

impl std::str::FromStr for ReportTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Kind::ALL.map(Kind::as_str).join(", ");
        match text.split_once('=') {
            Some((kind, path)) if !path.is_empty() => Ok(Self { kind: kind.parse()?, path: path.into() }),
            _ => Err(format!("expected KIND=FILE, where KIND is one of {names}")),
        }
    }
}

/// `markdown=FILE`: the one form of a plan beside JSON.
pub(super) fn plan_report(text: &str) -> Result<ReportTarget, String> {
    let target: ReportTarget = text.parse()?;
    if target.kind == Kind::Markdown { Ok(target) } else { Err("a plan is written as markdown=FILE".to_owned()) }
}

/// Reads `30s`, `10m`, `1h 30m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 30s, 10m or 1h");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

/// The beginning of a day, or a moment.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    moment(text, 0)
}

/// The end of a day, or a moment.
pub(super) fn until(text: &str) -> Result<Timestamp, String> {
    moment(text, 1)
}

/// A moment, or the midnight so many days after the one with which a day begins, in UTC.
fn moment(text: &str, days: i64) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no date such as 2026-10-01 and no moment such as 2026-10-01T12:00:00Z");
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A date may be followed by a time without its zone, which says nothing for sure.
    let day: Date = text.parse().ok().filter(|_| !text.contains(':')).ok_or_else(wrong)?;
    let day = day.checked_add(jiff::Span::new().days(days)).map_err(|_| wrong())?;
    day.to_zoned(TimeZone::UTC).map(|day| day.timestamp()).map_err(|_| wrong())
}

pub(super) fn state(text: &str) -> Result<State, String> {
    let names = State::ALL.map(State::as_str).join(", ");
    State::parse(text).ok_or_else(|| format!("expected one of {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_part_of_the_period_that_it_ends_and_a_moment_is_not() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (text, from, to) in [
            ("2026-10-01", "2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z"),
            ("2026-10-01T12:00:00Z", "2026-10-01T12:00:00Z", "2026-10-01T12:00:00Z"),
            ("2026-10-01T12:00:00+02:00", "2026-10-01T10:00:00Z", "2026-10-01T10:00:00Z"),
        ] {
            assert_eq!((since(text), until(text)), (Ok(at(from)), Ok(at(to))));
        }
        for text in ["", "yesterday", "2026-13-01", "2026-10-01T12:00:00", "9999-12-31"] {
            assert!(until(text).is_err(), "{text}");
        }
    }
}
