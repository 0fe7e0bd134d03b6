//! Charts as inline SVG: bars of what came how often, and the imports in time against the limit.
//!
//! Words and numbers stand beside the drawings as text, so that they can be read at every width and aloud.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::summary::{duration, grouped, tone};
use crate::pace::SPAN;
use crate::report::Report;
use crate::text::inert;

/// The limit where no manifest tells one: Didit's documented one.
const WRITES_PER_MINUTE: u32 = 300;
/// Columns of the timeline's drawing.
const WIDTH: usize = 600;
/// Its height.
const HEIGHT: f64 = 100.0;
/// Bars of one chart; the rest is one bar.
const BARS: usize = 12;

/// A chart of bars.
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) bars: Vec<Bar>,
}

/// A bar.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) count: String,
    /// Its width, in percent of the longest.
    pub(super) width: String,
    pub(super) tone: &'static str,
}

/// The charts that have something to show.
pub(super) fn all(report: &Report) -> Vec<Bars> {
    let outcomes = report.outcomes.counts().iter().map(|(name, count)| (name.replace('_', " "), tone(name), *count));
    let sessions = report.outcomes.iter().filter_map(|it| it.session);
    let statuses = counted(sessions.map(|session| {
        let status = session.status.as_deref().unwrap_or("not told");
        (inert(status), tone(status))
    }));
    let errors = report.outcomes.iter().filter_map(|it| it.error);
    let errors = counted(errors.map(|error| (error.class.to_string(), "bad")));
    let findings = counted(report.findings.iter().map(|it| (inert(&it.rule), tone(&it.severity))));
    // Of a run without an end, the ledger as it is now is told, which is not what the run left.
    let states = report.states.iter().filter(|_| report.run.end.is_some());
    let states = states.map(|it| (it.state.as_str(), it.entries));
    let mut ledger: BTreeMap<&str, u64> = BTreeMap::new();
    states.for_each(|(state, entries)| *ledger.entry(state).or_default() += entries);
    let ledger = ledger.into_iter().map(|(state, count)| (state.to_owned(), tone(state), count));
    let charts = [
        bars("Entries by outcome", outcomes.collect()),
        bars("Sessions by status", statuses),
        bars("Entries without a session, by cause", errors),
        bars("Findings by rule", findings),
        bars("The whole ledger when the run ended", ledger.collect()),
    ];
    charts.into_iter().flatten().collect()
}

type Counted = Vec<(String, &'static str, u64)>;

fn counted(names: impl Iterator<Item = (String, &'static str)>) -> Counted {
    let mut counts: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counted: Counted = counts.into_iter().map(|((name, tone), count)| (name, tone, count)).collect();
    counted.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
    if counted.len() > BARS {
        let rest: u64 = counted.drain(BARS..).map(|(.., count)| count).sum();
        counted.push(("others".to_owned(), "plain", rest));
    }
    counted
}

/// The chart; none of nothing.
fn bars(title: &'static str, mut counts: Counted) -> Option<Bars> {
    counts.retain(|(.., count)| *count > 0);
    let most = counts.iter().map(|(.., count)| *count).max()?;
    let bars = counts.into_iter().map(|(name, tone, count)| Bar {
        name,
        count: grouped(count),
        // What is there is seen, however little it is.
        width: format!("{:.1}", (count as f64 / most as f64 * 100.0).max(0.8)),
        tone,
    });
    Some(Bars { title, bars: bars.collect() })
}

/// How many imports left in the 60 seconds before each moment, of the busiest key.
pub(super) struct Timeline {
    /// The area under the count, and the height of the limit, in a box of [`WIDTH`] by [`HEIGHT`].
    pub(super) area: String,
    pub(super) line: String,
    pub(super) limit_y: String,
    /// In words.
    pub(super) limit: String,
    pub(super) top: String,
    pub(super) end: String,
    pub(super) middle: String,
    pub(super) told: String,
}

impl Timeline {
    /// The timeline of a run that sent something.
    pub(super) fn of(report: &Report) -> Option<Self> {
        let sends = report.sends.first()?;
        let start = report.run.started_at;
        let since = |at: &Timestamp| at.duration_since(start).as_secs_f64().max(0.0);
        let times: Vec<f64> = sends.iter().map(since).collect();
        // What a minute holds is seen until a minute after the last one; but a run of seconds is not drawn as a minute.
        let length = report.end.seconds.max(times.last().copied()?).max(1.0);
        let limit = u64::from(report.writes_per_minute.unwrap_or(WRITES_PER_MINUTE));
        let counts: Vec<u64> = (0..=WIDTH).map(|x| within_span(&times, x as f64 / WIDTH as f64 * length)).collect();
        // The peak may lie between two columns.
        let peak = times.iter().map(|time| within_span(&times, *time)).max().unwrap_or(0);
        let top = peak.max(limit) as f64 * 1.1;
        let y = |count: u64| format!("{:.1}", HEIGHT - count as f64 / top * HEIGHT);
        let line = path(&counts, y);
        let keys = if report.sends.len() > 1 {
            format!(", of the busiest of {} keys", report.sends.len())
        } else {
            String::new()
        };
        Some(Self {
            area: format!("{line}V{HEIGHT}H0Z"),
            line,
            limit_y: y(limit),
            limit: grouped(limit),
            top: grouped(top as u64),
            end: duration(length),
            middle: duration(length / 2.0),
            told: format!(
                "{} imports sent{keys}; at most {} in any 60 seconds, where the limit is {}.",
                grouped(times.len() as u64),
                grouped(peak),
                grouped(limit)
            ),
        })
    }
}

/// How many of the times lie in the span that ends at `at`, which belongs to it.
fn within_span(times: &[f64], at: f64) -> u64 {
    let from = times.partition_point(|time| *time <= at - SPAN.as_secs_f64());
    let to = times.partition_point(|time| *time <= at);
    (to - from) as u64
}

/// A line through the counts, column by column; columns of one height are one stroke.
fn path(counts: &[u64], y: impl Fn(u64) -> String) -> String {
    let mut path = format!("M0 {}", y(counts[0]));
    for (x, pair) in counts.windows(2).enumerate() {
        if pair[0] != pair[1] {
            let _ = write!(path, "H{x}L{} {}", x + 1, y(pair[1]));
        }
    }
    let _ = write!(path, "H{WIDTH}");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_holds_what_came_in_the_last_60_seconds() {
        let times = [0.0, 0.0, 30.0, 60.0, 61.0];
        for (at, count) in [(0.0, 2), (29.9, 2), (30.0, 3), (59.9, 3), (60.0, 2), (61.0, 3), (90.0, 2), (122.0, 0)] {
            assert_eq!(within_span(&times, at), count, "{at}");
        }
    }

    #[test]
    fn the_line_is_as_short_as_its_steps() {
        let mut counts = vec![0; WIDTH + 1];
        counts[10..20].fill(5);
        assert_eq!(path(&counts, |count| count.to_string()), "M0 0H9L10 5H19L20 0H600");
    }

    #[test]
    fn few_are_seen_beside_many_and_a_chart_of_many_names_ends() {
        let chart =
            bars("x", vec![("a".to_owned(), "", 50_000), ("b".to_owned(), "", 1), ("c".to_owned(), "", 0)]).unwrap();
        let widths: Vec<&str> = chart.bars.iter().map(|bar| bar.width.as_str()).collect();
        assert_eq!(widths, ["100.0", "0.8"]);
        assert!(bars("x", vec![("a".to_owned(), "", 0)]).is_none());
        let names = counted((0..40).map(|n| (format!("name {n}"), "plain")));
        assert_eq!((names.len(), names.last().unwrap().2), (BARS + 1, 40 - BARS as u64));
    }
}
