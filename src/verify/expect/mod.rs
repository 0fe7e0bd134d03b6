//! The user's own rules: CEL expressions over a decision, bound to `session` (spec section 8).
//!
//! A rule comes from a manifest, which is data and may come from anybody, and is applied to a decision, which holds
//! personal data and may come late and odd. So:
//!
//! - What can be told of a rule by itself is told when it is read ([`Compiler`]): its length and nesting are bounded,
//!   and it may name nothing but `session`, the variables of its own loops, and the functions of the language.
//! - Evaluation ([`Expectations::judge`]) has a budget that loops, growing values and regular expressions spend; it
//!   counts steps, not time, so that the same rule comes to the same end on every machine.
//! - What is told of a failure is one of a few fixed sentences ([`Reason`]), never an error of the library, which may
//!   quote the decision. A panic in the library is such a failure, too.
//! - A text is compiled once, whatever number of entries has it.

mod compile;
mod evaluate;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Finding, Rule, Severity, Subject};
use crate::didit::Json;

use compile::Compiled;
pub use compile::{Compiler, Flaw, MAX_RULE};
pub use evaluate::Reason;

/// How many rules a list may have.
pub const MAX_RULES: usize = 64;

/// The rules of an entry, in the order written. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Expectations(Arc<[Expectation]>);

/// One rule.
#[derive(Clone)]
pub struct Expectation {
    name: String,
    text: Arc<str>,
    severity: Severity,
    /// `None` where the ledger keeps a rule that this release can't read any more.
    compiled: Option<Arc<Compiled>>,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It came to true.
    Holds,
    /// It came to false.
    Fails,
    /// It could not be evaluated.
    Unable(Reason),
}

impl Expectation {
    /// A rule of this name; the text is compiled, or was before.
    pub fn new(name: &str, text: &str, severity: Severity, compiler: &mut Compiler) -> Result<Self, Flaw> {
        let compiled = Some(compiler.compile(text)?);
        Ok(Self { name: name.to_owned(), text: text.into(), severity, compiled })
    }

    /// Its name, without `expect:`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn kept(value: &Value, compiler: &mut Compiler) -> Option<Self> {
        let text = |key: &str| value.get(key)?.as_str();
        let (name, rule) = (text("name")?, text("rule")?);
        let severity = serde_json::from_value(value.get("severity")?.clone()).ok()?;
        let compiled = compiler.compile(rule).ok();
        Some(Self { name: name.to_owned(), text: rule.into(), severity, compiled })
    }
}

/// Whether a text is a name of a rule: `[a-z0-9][a-z0-9-]{0,62}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(inner)
}

impl Expectations {
    /// These rules.
    #[must_use]
    pub fn new(rules: Vec<Expectation>) -> Self {
        Self(rules.into())
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the ledger keeps them and digests cover them: `[{"name", "rule", "severity"}]`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rule = |rule: &Expectation| json!({"name": rule.name, "rule": &*rule.text, "severity": rule.severity});
        self.0.iter().map(rule).collect()
    }

    /// Reads [`Expectations::to_json`] back; `None` where it is not that.
    #[must_use]
    pub fn from_json(value: &Value, compiler: &mut Compiler) -> Option<Self> {
        let rules: Option<Vec<_>> = value.as_array()?.iter().map(|rule| Expectation::kept(rule, compiler)).collect();
        rules.map(Self::new)
    }

    /// What becomes of each rule, over a decision in the plural shape. Never panics.
    #[must_use]
    pub fn judge(&self, decision: &Json) -> Vec<(&Expectation, Verdict)> {
        if self.is_empty() { Vec::new() } else { evaluate::all(&self.0, decision) }
    }

    /// The findings of those that do not hold.
    pub(super) fn findings(&self, subject: &Subject, decision: &Json) -> Vec<Finding> {
        let judged = self.judge(decision).into_iter();
        judged.filter_map(|(rule, verdict)| rule.finding(subject, verdict)).collect()
    }
}

impl Expectation {
    fn finding(&self, subject: &Subject, verdict: Verdict) -> Option<Finding> {
        let (message, actual) = match verdict {
            Verdict::Holds => return None,
            Verdict::Fails => ("the session is not as this rule of the manifest asks".to_owned(), Some("false")),
            Verdict::Unable(Reason::NotBoolean) => (Reason::NotBoolean.to_string(), None),
            Verdict::Unable(reason) => (format!("the rule can't be evaluated: {reason}"), None),
        };
        let finding = subject.finding(Rule::expect(&self.name), &message);
        let (expected, actual) = (Some("true".to_owned()), actual.map(str::to_owned));
        Some(Finding { severity: self.severity, expected, actual, ..finding })
    }
}

/// By what is written, as everything else follows from that.
impl PartialEq for Expectation {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.text, self.severity) == (&other.name, &other.text, other.severity)
    }
}

impl Eq for Expectation {}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {:?}", self.name, self.severity, self.text)
    }
}

impl fmt::Debug for Expectations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}
