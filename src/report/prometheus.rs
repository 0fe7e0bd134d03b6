//! `prometheus`: gauges for the node exporter's textfile collector.
//!
//! What is of the run has its command as label; the rest is of the ledger. The collector refuses two files with the same
//! metric and labels, so there is one file for a machine's runs on one ledger: the last run's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Report;
use super::kind::RenderError;
use crate::ledger::records::State;
use crate::text::inert;

/// Within which times tokens are counted as expiring, in seconds.
const WITHIN: [(&str, i64); 3] = [("1h", 3_600), ("4h", 4 * 3_600), ("24h", 24 * 3_600)];

/// The metrics of a run.
pub fn render(report: &Report) -> Result<String, RenderError> {
    let mut out = String::new();
    let command = [("command", report.run.command.as_str())];
    let at = format!("{:.3}", report.end.at.as_millisecond() as f64 / 1000.0);
    gauge(
        &mut out,
        "run_timestamp_seconds",
        "When the last run ended, in seconds since 1970.",
        [(command.to_vec(), at)],
    )?;
    let seconds = report.end.seconds.to_string();
    gauge(&mut out, "run_duration_seconds", "How long the last run took.", [(command.to_vec(), seconds)])?;
    let code = report.exit().code().to_string();
    gauge(&mut out, "run_exit_code", "The exit code of the last run.", [(command.to_vec(), code)])?;
    entries(&mut out, report)?;
    findings(&mut out, report)?;
    let left = |within: i64| {
        let seconds = report.waiting.iter().map(|at| at.duration_since(report.end.at).as_secs());
        seconds.filter(|left| (0..within).contains(left)).count().to_string()
    };
    let expiring = WITHIN.map(|(name, within)| (vec![("within", name)], left(within)));
    gauge(&mut out, "tokens_expiring", "Live tokens of entries not imported yet that expire within a time.", expiring)?;
    let throttled = report.end.requests.throttled.to_string();
    gauge(
        &mut out,
        "throttled_requests",
        "Requests of the last run that the API throttled.",
        [(Vec::new(), throttled)],
    )?;
    Ok(out)
}

/// Every state of every manifest, so that a series does not end when the last entry leaves a state.
fn entries(out: &mut String, report: &Report) -> Result<(), RenderError> {
    let mut manifests: Vec<&str> = report.states.iter().map(|count| count.manifest.as_str()).collect();
    manifests.dedup();
    let count = |manifest: &str, state: State| {
        let of = report.states.iter().find(|count| count.manifest == manifest && count.state == state);
        of.map_or(0, |count| count.entries).to_string()
    };
    let samples = manifests.iter().flat_map(|manifest| {
        State::ALL.map(|state| (vec![("manifest", *manifest), ("state", state.as_str())], count(manifest, state)))
    });
    gauge(out, "entries", "Entries of the ledger.", samples)
}

fn findings(out: &mut String, report: &Report) -> Result<(), RenderError> {
    let mut counts: BTreeMap<(&str, &str, bool), u64> = BTreeMap::new();
    for it in &report.findings {
        *counts.entry((&it.severity, &it.rule, it.new)).or_default() += 1;
    }
    let samples = counts.into_iter().map(|((severity, rule, new), count)| {
        let new = if new { "true" } else { "false" };
        (vec![("severity", severity), ("rule", rule), ("new", new)], count.to_string())
    });
    gauge(out, "findings", "Findings of the last run.", samples)
}

/// A gauge with its samples; nothing where there are none.
fn gauge<'s>(
    out: &mut String,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Vec<(&'s str, &'s str)>, String)>,
) -> Result<(), RenderError> {
    let mut head = format!("# HELP didit_sync_{name} {help}\n# TYPE didit_sync_{name} gauge\n");
    for (labels, value) in samples {
        out.push_str(&std::mem::take(&mut head));
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(out, "didit_sync_{name}{labels} {value}")?;
    }
    Ok(())
}

/// The value of a label.
fn escaped(text: &str) -> String {
    inert(&crate::mask::masked(text)).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_label_can_not_end_itself() {
        assert_eq!(escaped("a\"} 1\n\\b"), "a\\\"} 1\\\\n\\\\b");
    }
}
