//! `expect`: the user's own rules.

use super::scalar::meant;
use super::{Decoder, Field, Fields, kind, truncated};
use crate::manifest::code::Code;
use crate::manifest::keys;
use crate::manifest::yaml::{Node, Value};
use crate::mask::holds_secret;
use crate::verify::{Expectation, Expectations, MAX_RULES, Severity, is_rule_name};

const NAME_HELP: &str = "write `name: approved`: lower-case letters, digits and hyphens, at most 63";
const LIST_HELP: &str = "write a list of `{name: NAME, rule: \"CEL\"}`; `[]` is no rule at all";

impl Decoder<'_> {
    /// A list of rules; an empty one says that none of those further out hold here.
    pub(super) fn expect(&mut self, node: &Node<'_>) -> Field<Expectations> {
        let nodes = match &node.value {
            Value::List(nodes) => nodes,
            Value::Broken => return Field::Bad,
            other => {
                let message = format!("`expect` has to be a list, not {}", kind(other));
                self.error(Code::WrongType, node.mark, message, LIST_HELP);
                return Field::Bad;
            }
        };
        if nodes.len() > MAX_RULES {
            let message = format!("`expect` has {} rules, over the {MAX_RULES} that it may have", nodes.len());
            self.error(Code::OutOfRange, node.mark, message, "join some of them with `&&`");
            return Field::Bad;
        }
        let before = self.sink.errors();
        let mut rules: Vec<Expectation> = Vec::with_capacity(nodes.len());
        let mut names: Vec<&str> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(fields) = self.map(node, "a rule", keys::RULE) else { continue };
            rules.extend(self.rule(fields, &mut names));
        }
        let good = self.sink.errors() == before;
        Field::from(good.then(|| Expectations::new(rules)), self.at(node))
    }

    fn rule<'n>(&mut self, fields: Fields<'n, '_>, names: &mut Vec<&'n str>) -> Option<Expectation> {
        let name = self.rule_name(fields, names);
        let severity = fields.get("severity").map_or(Some(Severity::Error), |node| self.rule_severity(node));
        let Some(node) = fields.get("rule") else {
            let help = "write `rule: \"session.status == 'Approved'\"`";
            self.error(Code::MissingKey, fields.mark, "the rule has no `rule`", help);
            return None;
        };
        let text = self.text(node, "rule")?;
        if holds_secret(text) {
            let message = "`rule` holds a share token or an API key, and would be kept";
            self.error(Code::SecretMisplaced, node.mark, message, "write the rule without it");
            return None;
        }
        // The text is checked also where the name is wrong: all errors are told at once.
        match Expectation::new(name.unwrap_or_default(), text, severity.unwrap_or(Severity::Error), self.compiler) {
            Ok(rule) => (name.is_some() && severity.is_some()).then_some(rule),
            Err(flaw) => {
                self.error(Code::BadRule, node.mark, flaw.to_string(), flaw.help());
                None
            }
        }
    }

    fn rule_name<'n>(&mut self, fields: Fields<'n, '_>, names: &mut Vec<&'n str>) -> Option<&'n str> {
        let Some(node) = fields.get("name") else {
            self.error(Code::MissingKey, fields.mark, "the rule has no `name`", NAME_HELP);
            return None;
        };
        let name = self.text(node, "name")?;
        if !is_rule_name(name) {
            let message = format!("`{}` is not a name of a rule", truncated(name));
            self.error(Code::BadName, node.mark, message, NAME_HELP);
            return None;
        }
        if names.contains(&name) {
            let message = format!("two rules of one list are called `{name}`");
            self.error(Code::DuplicateRule, node.mark, message, "give one of them another name");
            return None;
        }
        names.push(name);
        Some(name)
    }

    fn rule_severity(&mut self, node: &Node<'_>) -> Option<Severity> {
        const HELP: &str = "write `error`, `warning` or `info`";
        let text = self.text(node, "severity")?;
        let known = [Severity::Error, Severity::Warning, Severity::Info];
        let severity = known.into_iter().find(|severity| severity.as_str() == text);
        if severity.is_none() {
            let message = format!("`severity` can't be `{}`", truncated(text));
            let help = meant(text, &known.map(Severity::as_str));
            self.error(Code::BadValue, node.mark, message, help.unwrap_or_else(|| HELP.to_owned()));
        }
        severity
    }
}
