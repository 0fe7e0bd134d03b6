//! Exit codes: what a scheduler can act on.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

/// A condition that holds at the end of a command. The exit is the first of those that hold, in the order of
/// [`Condition::ALL`]; every JSON document carries them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// 64: wrong flags.
    Usage,
    /// 65: invalid manifest.
    Manifest,
    /// 11: another run holds the ledger.
    Locked,
    /// 12: the ledger is missing where required, corrupt, newer, read-only, or its disk is full.
    Ledger,
    /// 130: SIGINT.
    Interrupted,
    /// 143: SIGTERM.
    Terminated,
    /// 1: an error that fits none of the others.
    Internal,
    /// 10: a key rejected, missing, or without the needed privilege.
    Credentials,
    /// 69: the API is unreachable or failing past the retry budget.
    Unavailable,
    /// 6: some entries could not be resolved; running again is safe.
    UnknownOutcome,
    /// 7: stopped by `max_failures`, `max_trusted`, or a stale plan.
    StoppedByGuard,
    /// 4: findings of severity error.
    Findings,
    /// 3: entries were refused in this run.
    Partial,
    /// 5: what remains waits for someone.
    NeedsInput,
    /// 8: stopped by `--limit` or `--max-duration` with work left.
    Incomplete,
    /// 2: only `plan --detailed-exitcode`.
    ChangesPending,
}

impl Condition {
    /// Every condition, the weightiest first.
    pub const ALL: [Self; 16] = [
        Self::Usage,
        Self::Manifest,
        Self::Locked,
        Self::Ledger,
        Self::Interrupted,
        Self::Terminated,
        Self::Internal,
        Self::Credentials,
        Self::Unavailable,
        Self::UnknownOutcome,
        Self::StoppedByGuard,
        Self::Findings,
        Self::Partial,
        Self::NeedsInput,
        Self::Incomplete,
        Self::ChangesPending,
    ];

    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::ChangesPending => 2,
            Self::Partial => 3,
            Self::Findings => 4,
            Self::NeedsInput => 5,
            Self::UnknownOutcome => 6,
            Self::StoppedByGuard => 7,
            Self::Incomplete => 8,
            Self::Credentials => 10,
            Self::Locked => 11,
            Self::Ledger => 12,
            Self::Usage => 64,
            Self::Manifest => 65,
            Self::Unavailable => 69,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::ChangesPending => "changes-pending",
            Self::Partial => "partial",
            Self::Findings => "findings",
            Self::NeedsInput => "needs-input",
            Self::UnknownOutcome => "unknown-outcome",
            Self::StoppedByGuard => "stopped-by-guard",
            Self::Incomplete => "incomplete",
            Self::Credentials => "credentials",
            Self::Locked => "locked",
            Self::Ledger => "ledger",
            Self::Usage => "usage",
            Self::Manifest => "manifest",
            Self::Unavailable => "unavailable",
            Self::Interrupted | Self::Terminated => "interrupted",
        }
    }

    /// Reads a stored `code name` pair back by its code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.code() == code)
    }
}

/// How a command ends: the conditions that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit(std::collections::BTreeSet<Condition>);

impl Exit {
    /// Nothing to say: exit 0.
    #[must_use]
    pub fn ok() -> Self {
        Self::default()
    }

    /// Adds a condition.
    pub fn add(&mut self, condition: Condition) {
        self.0.insert(condition);
    }

    /// Adds a condition where it holds.
    pub fn add_if(&mut self, holds: bool, condition: Condition) {
        if holds {
            self.add(condition);
        }
    }

    /// The conditions, the weightiest first.
    pub fn conditions(&self) -> impl Iterator<Item = Condition> + '_ {
        self.0.iter().copied()
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.0.first().map_or(0, |condition| condition.code())
    }

    /// The name of the exit.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.first().map_or("ok", |condition| condition.name())
    }

    /// The codes, as stored with a run.
    #[must_use]
    pub fn stored(&self) -> Vec<String> {
        self.conditions().map(|condition| condition.code().to_string()).collect()
    }

    /// Reads [`Exit::stored`] back.
    #[must_use]
    pub fn from_stored(codes: &[String]) -> Self {
        codes.iter().filter_map(|code| Condition::from_code(code.parse().ok()?)).collect()
    }
}

impl From<Condition> for Exit {
    fn from(condition: Condition) -> Self {
        Self([condition].into())
    }
}

impl FromIterator<Condition> for Exit {
    fn from_iter<I: IntoIterator<Item = Condition>>(conditions: I) -> Self {
        Self(conditions.into_iter().collect())
    }
}

/// `{"code","name","conditions":[names]}`.
impl Serialize for Exit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut document = serializer.serialize_struct("Exit", 3)?;
        document.serialize_field("code", &self.code())?;
        document.serialize_field("name", self.name())?;
        document.serialize_field("conditions", &self.conditions().map(Condition::name).collect::<Vec<_>>())?;
        document.end()
    }
}

impl JsonSchema for Exit {
    fn schema_name() -> Cow<'static, str> {
        "Exit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut names: Vec<&str> = Condition::ALL.into_iter().map(Condition::name).collect();
        names.dedup();
        let codes = std::iter::once(0).chain(Condition::ALL.into_iter().map(Condition::code));
        let exits = std::iter::once("ok").chain(names.iter().copied());
        json_schema!({
            "description": "How the command ended.",
            "type": "object",
            "properties": {
                "code": {"description": "The exit code.", "enum": codes.collect::<Vec<_>>()},
                "name": {"description": "Its name.", "enum": exits.collect::<Vec<_>>()},
                "conditions": {
                    "description": "Every condition that holds, the weightiest first; the exit is the first.",
                    "type": "array",
                    "items": {"enum": names},
                },
            },
            "required": ["code", "name", "conditions"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weightiest_condition_is_the_exit() {
        let codes: Vec<u8> = Condition::ALL.into_iter().map(Condition::code).collect();
        assert_eq!(codes, [64, 65, 11, 12, 130, 143, 1, 10, 69, 6, 7, 4, 3, 5, 8, 2], "spec section 3");
        for (rank, weightier) in Condition::ALL.into_iter().enumerate() {
            for lighter in &Condition::ALL[rank..] {
                let exit: Exit = [*lighter, weightier].into_iter().collect();
                assert_eq!(exit.code(), weightier.code());
                assert_eq!(Exit::from_stored(&exit.stored()), exit);
            }
        }
        assert_eq!((Exit::ok().code(), Exit::ok().name()), (0, "ok"));
    }
}
