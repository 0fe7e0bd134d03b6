//! What every code means that this program shows: for `explain`, and for the exits in the man page.
//!
//! The codes are those of the types that have them, so that none can be forgotten; the texts are data, in the `.md` files
//! beside this one. What a type says of its codes already (the meaning of a diagnostic, the advice of a class) is taken
//! from there.

#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use text::{Text, sections};

use crate::didit::Class;
use crate::exit::{Condition, Exit};
use crate::ledger::check_rules;
use crate::ledger::records::State;
use crate::manifest::Code;
use crate::plan::Action;
use crate::report::OUTCOMES;
use crate::verify::Rule;

/// What kind of code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// How a command ends.
    Exit,
    /// What a plan says of an entry.
    Action,
    /// What became of an entry in an apply.
    Outcome,
    /// What the ledger says of an entry.
    State,
    /// Why a request did not end in a session.
    Refusal,
    /// What verification finds.
    Rule,
    /// What is wrong with a manifest.
    Manifest,
    /// What is wrong with a ledger.
    Ledger,
}

impl Kind {
    const ALL: [Self; 8] =
        [Self::Exit, Self::Action, Self::Outcome, Self::State, Self::Refusal, Self::Rule, Self::Manifest, Self::Ledger];

    fn words(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Action => "action of a plan",
            Self::Outcome => "outcome of an apply",
            Self::State => "state of an entry in the ledger",
            Self::Refusal => "refusal",
            Self::Rule => "rule of verification",
            Self::Manifest => "diagnostic of a manifest",
            Self::Ledger => "finding of `ledger check`",
        }
    }

    fn texts(self) -> &'static str {
        match self {
            Self::Exit => include_str!("exits.md"),
            Self::Action => include_str!("actions.md"),
            Self::Outcome => include_str!("outcomes.md"),
            Self::State => include_str!("states.md"),
            Self::Refusal => include_str!("refusals.md"),
            Self::Rule => include_str!("rules.md"),
            Self::Manifest => include_str!("manifest.md"),
            Self::Ledger => include_str!("damage.md"),
        }
    }

    /// Every code of this kind, with its exit code, its severity and its own words, where it has them.
    fn codes(self) -> Vec<Named> {
        let plain = |code: &str| Named { code: code.to_owned(), ..Named::default() };
        match self {
            Self::Exit => {
                let mut exits: Vec<Named> =
                    Condition::ALL.map(|exit| Named { number: Some(exit.code()), ..plain(exit.name()) }).into();
                exits.push(Named { number: Some(Exit::ok().code()), ..plain(Exit::ok().name()) });
                exits.sort_by_key(|exit| exit.number);
                exits
            }
            Self::Action => Action::ALL.map(|action| plain(action.as_str())).into(),
            Self::Outcome => OUTCOMES.map(plain).into(),
            Self::State => State::ALL.map(|state| plain(state.as_str())).into(),
            Self::Refusal => {
                Class::ALL.map(|class| Named { help: Some(class.advice()), ..plain(class.as_str()) }).into()
            }
            Self::Rule => {
                let rules = Rule::BUILT_IN.into_iter().chain([Rule::expect("NAME")]);
                rules.map(|rule| Named { severity: Some(rule.severity().as_str()), ..plain(rule.as_str()) }).collect()
            }
            Self::Manifest => {
                Code::ALL.iter().map(|code| Named { meaning: Some(code.meaning()), ..plain(code.as_str()) }).collect()
            }
            Self::Ledger => check_rules().map(plain).collect(),
        }
    }
}

/// A code, and what its type says of it.
#[derive(Clone, Debug, Default)]
struct Named {
    code: String,
    number: Option<u8>,
    severity: Option<&'static str>,
    meaning: Option<&'static str>,
    help: Option<&'static str>,
}

/// A code explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Topic {
    /// The code as it is shown.
    pub code: String,
    /// Its kind.
    pub kind: Kind,
    /// The exit code.
    pub number: Option<u8>,
    /// The severity that a rule has of itself.
    pub severity: Option<&'static str>,
    /// What it means.
    pub meaning: String,
    /// How it comes about, and what else there is to know.
    pub more: Option<String>,
    /// Lines that lead to it.
    pub wrong: Option<&'static str>,
    /// The same, mended.
    pub right: Option<&'static str>,
    /// Something to try or to write.
    pub example: Option<&'static str>,
    /// What to do.
    pub help: String,
}

impl Topic {
    fn new(kind: Kind, named: Named, text: Text<'static>) -> Self {
        let (first, rest) = text.prose.split_once("\n\n").unwrap_or((text.prose, ""));
        let (meaning, more) = match named.meaning {
            Some(meaning) => (meaning.to_owned(), text.prose.to_owned()),
            None => (first.to_owned(), rest.to_owned()),
        };
        Self {
            code: named.code,
            kind,
            number: named.number,
            severity: named.severity,
            meaning,
            more: Some(more).filter(|more| !more.is_empty()),
            wrong: text.wrong,
            right: text.right,
            example: text.example,
            help: named.help.or(text.help).unwrap_or_default().to_owned(),
        }
    }

    /// The code with what tells it from others.
    fn title(&self) -> String {
        let number = self.number.map_or_else(String::new, |number| format!(" {number}"));
        let severity = self.severity.map_or_else(String::new, |severity| format!(", {severity}"));
        format!("{} ({}{number}{severity})", self.code, self.kind.words())
    }

    fn is(&self, asked: &str) -> bool {
        let asked = normal(asked);
        normal(&self.code) == asked
            || self.number.is_some_and(|number| number.to_string() == asked)
            || (self.code == "expect:NAME" && asked.starts_with("expect:"))
    }
}

/// `Token_Expired` and `token-expired` are one.
fn normal(code: &str) -> String {
    code.trim().to_ascii_lowercase().replace('_', "-")
}

/// Everything that can be explained, by kind.
#[must_use]
pub fn topics() -> Vec<Topic> {
    let of_kind = |kind: Kind| {
        let texts: Vec<Text<'static>> = sections(kind.texts()).collect();
        let text = move |code: &str| texts.iter().find(|text| text.code == code).copied().unwrap_or_default();
        kind.codes().into_iter().map(move |named| {
            let text = text(&named.code);
            Topic::new(kind, named, text)
        })
    };
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

/// What a code means: several topics, where several kinds have it.
#[must_use]
pub fn find(code: &str) -> Vec<Topic> {
    topics().into_iter().filter(|topic| topic.is(code)).collect()
}

/// Codes that may be meant, the nearest first.
#[must_use]
pub fn near(code: &str) -> Vec<String> {
    let asked = normal(code);
    let mut near: Vec<(usize, String)> = topics()
        .into_iter()
        .filter_map(|topic| {
            let known = normal(&topic.code);
            let distance = strsim::damerau_levenshtein(&asked, &known);
            let is_part = asked.len() >= 3 && known.contains(&asked);
            (is_part || distance <= 1 + known.len() / 4).then_some((distance, topic.code))
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().map(|(_, code)| code).take(4).collect()
}

/// The topics as people read them.
#[must_use]
pub fn text(topics: &[Topic]) -> String {
    topics.iter().map(of_one).collect::<Vec<_>>().join("\n")
}

fn of_one(topic: &Topic) -> String {
    let mut out = format!("{}\n  {}\n", topic.title(), topic.meaning);
    if let Some(more) = &topic.more {
        let _ = write!(out, "\n{}", indented(more, "  "));
    }
    for (title, lines) in [("wrong", topic.wrong), ("right", topic.right), ("example", topic.example)] {
        if let Some(lines) = lines {
            let _ = write!(out, "\n  {title}:\n{}", indented(lines, "    "));
        }
    }
    let _ = write!(out, "\n  what to do: {}\n", topic.help);
    out
}

fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{by}{line}\n") }).collect()
}

/// All codes with their meanings, one a line, by kind.
#[must_use]
pub fn list(topics: &[Topic]) -> String {
    let mut out = String::new();
    for kind in Kind::ALL {
        let _ = writeln!(out, "{}:", kind.words());
        for topic in topics.iter().filter(|topic| topic.kind == kind) {
            let number = topic.number.map_or_else(String::new, |number| format!("{number:>3} "));
            let _ = writeln!(out, "  {number}{:<24} {}", topic.code, topic.meaning);
        }
        out.push('\n');
    }
    out.push_str("More of each: didit-sync explain CODE\n");
    out
}
