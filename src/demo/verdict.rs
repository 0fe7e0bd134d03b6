//! Whether everything came as it should: the ledger's account against the sandbox's own.

use std::collections::HashMap;

use uuid::Uuid;

use super::Scene;
use crate::didit::Class;
use crate::ledger::records::{RunEnd, RunFinding, RunOutcome};
use crate::sandbox::ImportedSession;

/// Entries that ended in each of these ways.
#[must_use]
pub fn count(outcomes: &[RunOutcome], names: &[&str]) -> usize {
    outcomes.iter().filter(|it| names.contains(&it.outcome.as_str())).count()
}

/// What is wrong with the first run; nothing, if all is well. `existing`: what is in the sandbox.
#[must_use]
pub fn first_run(scene: &Scene, outcomes: &[RunOutcome], existing: &[ImportedSession]) -> Vec<String> {
    let mut wrong = Vec::new();
    expect(&mut wrong, "entries", scene.good + 3, outcomes.len());
    expect(&mut wrong, "imported", scene.good, count(outcomes, &["imported", "recovered"]));
    if count(outcomes, &["recovered"]) == 0 {
        wrong.push("no lost answer was recovered".to_owned());
    }
    for (label, outcome, class) in [
        (Scene::EXPIRED, "expired", Class::TokenExpired),
        (Scene::ELSEWHERE, "refused", Class::WrongAudience),
        (Scene::DELETED, "refused", Class::SourceGone),
    ] {
        let matches = |it: &RunOutcome| it.outcome == outcome && it.error.as_ref().is_some_and(|e| e.class == class);
        if !outcomes.iter().any(|it| it.label == label && matches(it)) {
            wrong.push(format!("`{label}` did not end as {outcome} ({class})"));
        }
    }
    expect(&mut wrong, "sessions in the sandbox", scene.good, existing.len());
    wrong.extend(strangers(outcomes, existing));
    wrong
}

/// Sessions of which the ledger and the sandbox do not say the same.
fn strangers(outcomes: &[RunOutcome], existing: &[ImportedSession]) -> Vec<String> {
    let source_of: HashMap<Uuid, Uuid> = existing.iter().map(|it| (it.session_id, it.source_id)).collect();
    let is_wrong = |it: &&RunOutcome| {
        let session = it.session.as_ref().map(|session| session.session_id);
        session.is_some_and(|session| source_of.get(&session).copied() != it.source_session_id)
    };
    outcomes.iter().filter(is_wrong).map(|it| format!("`{}` has the session of another", it.label)).collect()
}

/// What is wrong with the second run.
#[must_use]
pub fn second_run(scene: &Scene, outcomes: &[RunOutcome], end: &RunEnd, existing: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    expect(&mut wrong, "unchanged", scene.good, count(outcomes, &["unchanged"]));
    expect(&mut wrong, "requests of the second run", 0, (end.requests.writes + end.requests.reads) as usize);
    expect(&mut wrong, "sessions in the sandbox", scene.good, existing);
    wrong
}

/// What is wrong with the audit.
#[must_use]
pub fn audit(scene: &Scene, findings: &[RunFinding], end: &RunEnd) -> Vec<String> {
    let mut wrong = Vec::new();
    let (sessions, checked) = end.verified.unwrap_or_default();
    expect(&mut wrong, "audited sessions", scene.good, sessions as usize);
    expect(&mut wrong, "checked sessions", scene.good, checked as usize);
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    expect(&mut wrong, "findings of severity error", 0, errors);
    wrong
}

/// Notes a number that is not as expected.
fn expect(wrong: &mut Vec<String>, what: &str, expected: usize, found: usize) {
    if expected != found {
        wrong.push(format!("{what}: expected {expected}, found {found}"));
    }
}
