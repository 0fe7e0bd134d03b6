//! The rules that measure against a baseline.

use compact_str::CompactString;

use super::digest::Digest;
use super::evidence::{APART, Evidence};
use super::{Finding, Rule, Subject};

/// The field whose rule is [`Rule::DocumentExpired`].
const EXPIRY: &str = "expiration_date";

/// The status whose rule is [`Rule::FeatureDeclined`].
const DECLINED: &str = "Declined";

/// What changed since the baseline. `told` is what the other rules say of the same session: what they tell is not told
/// twice.
#[must_use]
pub fn drift(subject: &Subject, then: &Evidence, now: &Evidence, told: &[Finding]) -> Vec<Finding> {
    // Most nights, most sessions.
    if then == now {
        return Vec::new();
    }
    let features = changed_features(then, now);
    let mut findings: Vec<Finding> = status(subject, then, now).into_iter().collect();
    let is_told = |rule: &Rule| told.iter().any(|finding| finding.rule == *rule);
    let declined_is_told = is_told(&Rule::FeatureDeclined);
    let untold: Vec<FeatureChange<'_>> =
        features.iter().copied().filter(|(_, _, is)| !(declined_is_told && is.contains(DECLINED))).collect();
    if !untold.is_empty() {
        findings.push(features_drift(subject, &untold));
    }
    let speaks_for = |field: &str| match field {
        EXPIRY => is_told(&Rule::DocumentExpired),
        _ => !features.is_empty(),
    };
    findings.extend(changed_blocks(then, now, &speaks_for).into_iter().map(|block| block_drift(subject, &block)));
    findings
}

fn status(subject: &Subject, then: &Evidence, now: &Evidence) -> Option<Finding> {
    let (expected, actual) = (then.status.as_ref()?, now.status.as_ref()?);
    if expected == actual {
        return None;
    }
    let (rule, message) = if then.is_explained(now) {
        (Rule::StatusReviewed, "a review set another status")
    } else {
        (Rule::StatusDrift, "the status changed, and no review says why")
    };
    Some(subject.finding(rule, message).comparing(expected, actual))
}

/// A feature whose status changed: its name, what it was, what it is.
type FeatureChange<'e> = (&'e str, &'e str, &'e str);

fn changed_features<'e>(then: &'e Evidence, now: &'e Evidence) -> Vec<FeatureChange<'e>> {
    const ABSENT: &str = "absent";
    // What the API does not return is not judged.
    if then.features.is_empty() || now.features.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<&CompactString> = then.features.keys().chain(now.features.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of =
        |evidence: &'e Evidence, name: &CompactString| evidence.features.get(name).map_or(ABSENT, |it| it.as_str());
    names
        .into_iter()
        .map(|name| (name.as_str(), of(then, name), of(now, name)))
        .filter(|(_, was, is)| was != is && *was != "none" && *is != "none")
        .collect()
}

fn features_drift(subject: &Subject, changed: &[FeatureChange<'_>]) -> Finding {
    let list = |pick: &dyn Fn(&FeatureChange<'_>) -> String| changed.iter().map(pick).collect::<Vec<_>>().join("; ");
    let was = list(&|(name, was, _)| format!("{name}: {was}"));
    let is = list(&|(name, _, is)| format!("{name}: {is}"));
    let finding = subject.finding(Rule::EvidenceDrift, "the features are not what they were").comparing(&was, &is);
    Finding { block: Some("features".to_owned()), ..finding }
}

/// A block that changed.
struct BlockChange {
    name: String,
    was: Digest,
    is: Digest,
}

/// Each block once, whether it changed itself or in a field apart whose rule is silent.
fn changed_blocks(then: &Evidence, now: &Evidence, speaks_for: &dyn Fn(&str) -> bool) -> Vec<BlockChange> {
    let mut changes: Vec<BlockChange> = Vec::new();
    for (name, is) in now.blocks.iter() {
        let (block, field) =
            name.split_once(APART).map_or((name.as_str(), None), |(block, field)| (block, Some(field)));
        let Some(was) = then.blocks.get(name).filter(|was| *was != is) else { continue };
        let is_known = changes.last().is_some_and(|change| change.name == block);
        if !is_known && !field.is_some_and(speaks_for) {
            changes.push(BlockChange { name: block.to_owned(), was: *was, is: *is });
        }
    }
    changes
}

fn block_drift(subject: &Subject, change: &BlockChange) -> Finding {
    let digest = |digest: Digest| format!("{} {digest}", change.name);
    let message = format!("{} is not what it was", change.name);
    let finding = subject.finding(Rule::EvidenceDrift, &message).comparing(&digest(change.was), &digest(change.is));
    Finding { block: Some(change.name.clone()), ..finding }
}
