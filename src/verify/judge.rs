//! The judging: one small function a rule.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::civil::Date;
use rayon::prelude::*;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Baseline, Evidence, Fetched, Finding, KeptBaseline, Rule, Subject, drift};
use crate::didit::{Decision, Environment, Presence, Status};
use crate::mask::masked;
use crate::token::FingerprintKey;

/// Entries that a `duplicate-session` names at most.
const MAX_NAMED: usize = 5;

/// The judging ended without a result: one of the rules has a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the verification was interrupted")]
pub struct Interrupted;

/// What a session is measured against can't be read, so nothing is said of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("the baseline of {entry} can't be read")]
pub struct UnreadableBaseline {
    /// Whose: `MANIFEST/ID`.
    pub entry: String,
}

/// A session to judge, with what is known of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was sent.
    pub subject: Subject,
    /// What the API says now.
    pub fetched: Fetched,
    /// What it is measured against, once it was verified.
    pub baseline: Option<KeptBaseline>,
}

/// What all sessions are judged by.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The date in UTC, by which expiry is measured.
    pub today: Date,
    /// The ledger's key, for digests.
    pub key: FingerprintKey,
}

/// What the judging came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Sorted by manifest, entry, rule and block.
    pub findings: Vec<Finding>,
    /// What was seen of each case, in their order.
    pub seen: Vec<Result<Sighting, UnreadableBaseline>>,
}

/// What was seen of a session, and what it was measured against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// What is there now; `None` where there was no decision.
    pub now: Option<Evidence>,
    then: Then,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Then {
    /// It was never verified.
    #[default]
    Unknown,
    /// What is there now, and nothing was accepted of it.
    Same,
    /// Something else, the same in other words, or of another session.
    Other(Box<Baseline>),
}

impl Sighting {
    fn of(case: &Case, measure: &Measure) -> Result<Self, UnreadableBaseline> {
        let now = match &case.fetched {
            Fetched::Decision(decision) => Some(Evidence::of(decision, &measure.key)),
            _ => None,
        };
        let Subject { manifest, id, .. } = &case.subject;
        let unreadable = || UnreadableBaseline { entry: crate::text::inert(&format!("{manifest}/{id}")) };
        let then = match (&case.baseline, &now) {
            (None, _) => Then::Unknown,
            (Some(kept), Some(now)) if kept.is_just(case.subject.session_id, now) => Then::Same,
            (Some(kept), _) => Then::Other(Box::new(kept.read().ok_or_else(unreadable)?)),
        };
        Ok(Self { now, then })
    }

    /// What it was measured against, unless that says what is there now and nothing else.
    #[must_use]
    pub fn known(&self) -> Option<&Baseline> {
        if let Then::Other(baseline) = &self.then { Some(baseline) } else { None }
    }

    /// The baseline that the session has from now on, where it is another: see [`Baseline::after`].
    #[must_use]
    pub fn next(&self, session_id: Uuid) -> Option<Baseline> {
        match &self.then {
            Then::Same => None,
            _ => Baseline::after(self.known(), session_id, self.now.as_ref()?),
        }
    }
}

/// Judges many sessions on all cores, those that stand under two entries too.
#[must_use]
pub fn judge_all(cases: &[Case], measure: &Measure) -> Judged {
    gather(cases.par_iter().map(|case| judge_case(case, measure)).collect(), cases)
}

/// The same, with each decision read, judged and dropped in one go. An answer that is no decision stays where it is, and
/// nothing is judged by it.
fn judge_and_strip(cases: &mut [Case], measure: &Measure) -> Judged {
    let judge = |case: &mut Case| {
        if let Fetched::Unread(unread) = &case.fetched {
            let Ok(decision) = unread.read() else { return (Vec::new(), Ok(Sighting::default())) };
            case.fetched = Fetched::Decision(Box::new(decision));
        }
        let judged = judge_case(case, measure);
        case.fetched = Fetched::NotChecked;
        judged
    };
    gather(cases.par_iter_mut().map(judge).collect(), cases)
}

/// What was found of a case, and what was seen.
type Of = (Vec<Finding>, Result<Sighting, UnreadableBaseline>);

fn gather(judged: Vec<Of>, cases: &[Case]) -> Judged {
    let mut all = Judged { findings: Vec::new(), seen: Vec::with_capacity(cases.len()) };
    for (findings, seen) in judged {
        all.findings.extend(findings);
        all.seen.push(seen);
    }
    all.findings.extend(duplicates(cases));
    all.findings.par_sort_by(|one, other| one.key().cmp(&other.key()));
    all
}

fn judge_case(case: &Case, measure: &Measure) -> Of {
    let Case { subject, fetched, .. } = case;
    let seen = match Sighting::of(case, measure) {
        Ok(seen) => seen,
        Err(unreadable) => return (Vec::new(), Err(unreadable)),
    };
    // A baseline of another session, as before a repair, measures nothing.
    let baseline = seen.known().filter(|baseline| baseline.session_id == subject.session_id);
    let mut findings = judge(subject, fetched, measure.today);
    findings.retain(|finding| !baseline.is_some_and(|baseline| baseline.accepts(finding)));
    if let (Some(now), Some(then)) = (&seen.now, baseline.and_then(|baseline| baseline.seen.as_ref())) {
        let drifted = drift(subject, then, now, &findings);
        findings.extend(drifted);
    }
    (findings, Ok(seen))
}

/// Where rules are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// On rayon's threads, while those of the network go on.
    OnAllCores,
    /// Right where it is asked for: in simulated time, in which no thread may be waited for.
    InPlace,
}

/// [`judge_all`], where it is to be done, with answers read there; the cases come back without the decisions, which are
/// large, but with those answers that are none.
pub async fn judge_in_background(
    judging: Judging,
    mut cases: Vec<Case>,
    measure: Measure,
) -> Result<(Judged, Vec<Case>), Interrupted> {
    if judging == Judging::InPlace {
        return Ok((judge_and_strip(&mut cases, &measure), cases));
    }
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        // A panic on a rayon thread would end the process, and with it outcomes that are not yet recorded.
        if let Ok(judged) = catch_unwind(AssertUnwindSafe(|| judge_and_strip(&mut cases, &measure))) {
            // Whoever asked may have gone; then nobody is to be told.
            let _ = sender.send((judged, cases));
        }
    });
    receiver.await.map_err(|_| Interrupted)
}

/// Judges one session by itself: every rule but `duplicate-session`, and those that need a baseline.
#[must_use]
pub fn judge(subject: &Subject, fetched: &Fetched, today: Date) -> Vec<Finding> {
    let mut findings: Vec<Finding> = status_unexpected(subject).into_iter().collect();
    match fetched {
        Fetched::NotChecked | Fetched::Unread(_) => {}
        Fetched::Missing => {
            findings.push(subject.finding(Rule::SessionMissing, "the API knows no such session any more"));
        }
        Fetched::Decision(decision) => {
            let rules = [
                kind_drift(subject, decision),
                workflow_drift(subject, decision),
                vendor_data_drift(subject, decision),
                source_drift(subject, decision),
                environment_mismatch(subject, decision),
                document_expired(subject, decision, today),
                feature_declined(subject, decision),
            ];
            findings.extend(rules.into_iter().flatten());
            findings.extend(subject.expect.findings(subject, &decision.json));
        }
    }
    findings
}

fn status_unexpected(subject: &Subject) -> Option<Finding> {
    let status = Status::parse(subject.import_status.as_deref()?)?;
    let wrong = subject.sent.trust_review == Some(false) && status != Status::InReview;
    wrong.then(|| {
        subject
            .finding(Rule::StatusUnexpected, "imported with trust_review false, but not put into review")
            .comparing(&Status::InReview, &status)
    })
}

fn kind_drift(subject: &Subject, decision: &Decision) -> Option<Finding> {
    let (expected, actual) = differing(subject.kind, decision.session_kind)?;
    Some(subject.finding(Rule::KindDrift, "the session is of another kind").comparing(&expected, &actual))
}

fn workflow_drift(subject: &Subject, decision: &Decision) -> Option<Finding> {
    let (expected, actual) = differing(subject.sent.workflow_id, decision.workflow_id)?;
    Some(subject.finding(Rule::WorkflowDrift, "the session has another workflow").comparing(&expected, &actual))
}

fn vendor_data_drift(subject: &Subject, decision: &Decision) -> Option<Finding> {
    let expected = subject.sent.vendor_data.as_deref()?;
    let actual = match &decision.vendor_data {
        Presence::Absent => return None,
        Presence::Null => None,
        Presence::Value(actual) if actual == expected => return None,
        // Others write it, and the finding is kept.
        Presence::Value(actual) => Some(masked(actual).into_owned()),
    };
    let message = match &actual {
        None => "the session has no vendor_data",
        Some(_) => "the session has another vendor_data",
    };
    let finding = subject.finding(Rule::VendorDataDrift, message);
    Some(Finding { expected: Some(expected.to_owned()), actual, ..finding })
}

fn source_drift(subject: &Subject, decision: &Decision) -> Option<Finding> {
    let (expected, actual) = differing(subject.source_session_id, decision.shared_from_session)?;
    Some(
        subject
            .finding(Rule::SourceDrift, "the session was imported from another session")
            .comparing(&expected, &actual),
    )
}

fn environment_mismatch(subject: &Subject, decision: &Decision) -> Option<Finding> {
    let (expected, actual) = differing(subject.key_environment, decision.environment)?;
    let message = match actual {
        Environment::Sandbox => "a live key, but a sandbox session",
        Environment::Live => "a sandbox key, but a live session",
    };
    Some(subject.finding(Rule::EnvironmentMismatch, message).comparing(&expected, &actual))
}

/// The date itself is personal data and is not told.
fn document_expired(subject: &Subject, decision: &Decision, today: Date) -> Option<Finding> {
    let expired = decision.document_expiries().any(|date| date < today);
    expired.then(|| subject.finding(Rule::DocumentExpired, "a document has expired").comparing(&"valid", &"expired"))
}

fn feature_declined(subject: &Subject, decision: &Decision) -> Option<Finding> {
    if decision.status != Some(Status::Approved) {
        return None;
    }
    let declined = decision.features.iter().filter(|feature| feature.status == Some(Status::Declined));
    let mut names: Vec<&str> = declined.map(|feature| feature.feature.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let message = "the session is Approved, but a feature is Declined";
    (!names.is_empty()).then(|| Finding {
        actual: Some(format!("declined: {}", names.join(", "))),
        ..subject.finding(Rule::FeatureDeclined, message)
    })
}

/// Both values, where both are known and they differ.
fn differing<T: PartialEq>(expected: Option<T>, actual: Option<T>) -> Option<(T, T)> {
    let (expected, actual) = (expected?, actual?);
    (expected != actual).then_some((expected, actual))
}

/// A finding for each entry whose session another entry has too.
fn duplicates(cases: &[Case]) -> Vec<Finding> {
    let mut by_session: HashMap<Uuid, Vec<&Subject>> = HashMap::with_capacity(cases.len());
    for Case { subject, .. } in cases {
        let entries = by_session.entry(subject.session_id).or_default();
        if !entries.iter().any(|other| same_entry(other, subject)) {
            entries.push(subject);
        }
    }
    let shared = by_session.into_values().filter(|entries| entries.len() > 1);
    shared.flat_map(|entries| entries.iter().map(|one| duplicate(one, &entries)).collect::<Vec<_>>()).collect()
}

fn same_entry(one: &Subject, other: &Subject) -> bool {
    (&one.manifest, &one.id) == (&other.manifest, &other.id)
}

fn duplicate(subject: &Subject, entries: &[&Subject]) -> Finding {
    let others = entries.iter().filter(|other| !same_entry(other, subject));
    let mut names: Vec<String> = others.map(|other| format!("{}/{}", other.manifest, other.id)).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let actual = format!("also under {}{more}", names.join(", "));
    let finding = subject.finding(Rule::DuplicateSession, "another entry has the same session");
    Finding { expected: Some("one entry".to_owned()), actual: Some(actual), ..finding }
}
