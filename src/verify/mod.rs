//! Verification: is each imported session what was asked for, and is it still?
//!
//! The rules are pure functions of what was sent ([`Subject`]) and what the API says now ([`Fetched`]). They run on
//! all cores ([`judge_all`]), off the threads that do the network ([`judge_in_background`]).
//!
//! Settings are compared with what was *sent*, never with today's manifest; a field that the API does not return is
//! not judged. Rules that need no history are in `judge`. [`Rule::StatusDrift`], [`Rule::StatusReviewed`] and
//! [`Rule::EvidenceDrift`] (`drift`) compare the [`Evidence`] of a decision with that of a [`Baseline`], which also says
//! what was accepted. The user's own ones ([`Rule::Expect`]) are expressions over the decision ([`Expectations`]).
//!
//! A finding says ids, statuses and `vendor_data`, never personal data: not even the date at which a document expired.

mod canonical;
mod digest;
mod drift;
mod evidence;
mod expect;
mod judge;
mod rule;
mod volatile;

use serde::Serialize;
use uuid::Uuid;

use crate::didit::{Decision, Environment, Unread};
use crate::token::SessionKind;

pub use digest::Digest;
pub use drift::drift;
pub use evidence::{Baseline, Evidence, KeptBaseline, Reviewed};
pub use expect::{
    Compiler, Expectation, Expectations, Flaw, MAX_RULE, MAX_RULES, Reason, Verdict, is_name as is_rule_name,
};
pub use judge::{
    Case, Interrupted, Judged, Judging, Measure, Sighting, UnreadableBaseline, judge, judge_all, judge_in_background,
};
pub use rule::{Rule, Severity};

/// The settings an import was sent with; `None` where they are not known, as of an adopted session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The workflow.
    pub workflow_id: Option<Uuid>,
    /// Whether the source's status was to be kept.
    pub trust_review: Option<bool>,
    /// The `vendor_data`; `None` also where none was sent.
    pub vendor_data: Option<String>,
}

/// An imported session as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The manifest's name.
    pub manifest: String,
    /// The entry's label.
    pub id: String,
    /// The session in the receiving application.
    pub session_id: Uuid,
    /// The session it was imported from.
    pub source_session_id: Option<Uuid>,
    /// Its kind.
    pub kind: Option<SessionKind>,
    /// What was sent.
    pub sent: Sent,
    /// The status in the import's own answer.
    pub import_status: Option<String>,
    /// The environment of the key.
    pub key_environment: Option<Environment>,
    /// The user's own rules for it.
    pub expect: Expectations,
}

/// What the API says of a session now.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// The session with its results.
    Decision(Box<Decision>),
    /// The same, to be read where it is judged.
    Unread(Unread),
    /// There is no such session.
    Missing,
    /// It was not asked, or did not answer: only recorded facts are judged.
    NotChecked,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The manifest's name.
    pub manifest: String,
    /// The entry's label.
    pub id: String,
    /// The session.
    pub session_id: Uuid,
    /// The rule that failed.
    pub rule: Rule,
    /// The block of evidence that it is about, if it is about one.
    pub block: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence for people.
    pub message: String,
    /// What should be.
    pub expected: Option<String>,
    /// What is.
    pub actual: Option<String>,
}

impl Subject {
    /// A finding about this session, of the rule's own severity.
    #[must_use]
    pub fn finding(&self, rule: Rule, message: &str) -> Finding {
        Finding {
            manifest: self.manifest.clone(),
            id: self.id.clone(),
            session_id: self.session_id,
            severity: rule.severity(),
            rule,
            block: None,
            message: message.to_owned(),
            expected: None,
            actual: None,
        }
    }
}

impl Finding {
    /// The same with what should be and what is.
    #[must_use]
    pub fn comparing(mut self, expected: &impl ToString, actual: &impl ToString) -> Self {
        self.expected = Some(expected.to_string());
        self.actual = Some(actual.to_string());
        self
    }

    /// The order of every output: manifest, entry, rule, block, then session.
    fn key(&self) -> (&str, &str, &str, Option<&str>, Uuid) {
        (&self.manifest, &self.id, self.rule.as_str(), self.block.as_deref(), self.session_id)
    }
}

#[cfg(test)]
mod tests;
