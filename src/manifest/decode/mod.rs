//! From the tree to typed settings. Every function reports what is wrong and goes on, so that a manifest with five
//! mistakes is told five times what to write instead, in one go.
//!
//! Positions: the key for an unknown key, the value for a bad value, the first line of the map for something missing.

mod application;
mod expect;
mod mint;
mod scalar;
mod settings;

use super::bounds::Bounds;
use super::code::Code;
use super::draft::{Draft, Field, Files, Raw, Settings, Source};
use super::keys;
use super::model::Limits;
use super::sink::{At, FileId, Mark, Sink};
use super::yaml::{Node, Pair, Value};
use crate::verify::{Compiler, is_rule_name as is_name};

pub(super) use application::{OUTSIDE_HELP, is_loopback};
pub(super) use scalar::{UUID_HELP, likely_bool, parse_uuid, truncated};
pub(super) use settings::{LABEL_LIMIT, LITERAL_HELP, NOT_A_TOKEN};

/// One manifest being decoded.
pub(super) struct Decoder<'a> {
    pub(super) sink: &'a mut Sink,
    pub(super) file: FileId,
    pub(super) bounds: &'a Bounds,
    pub(super) compiler: &'a mut Compiler,
}

/// The keys of a map.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n, 't> {
    pairs: &'n [Pair<'t>],
    mark: Mark,
}

impl<'n, 't> Fields<'n, 't> {
    fn get(&self, key: &str) -> Option<&'n Node<'t>> {
        self.pairs.iter().find(|pair| pair.key == key).map(|pair| &pair.value)
    }
}

impl Decoder<'_> {
    /// The whole manifest but the entries of `imports`; `None` where its root is no map.
    pub(super) fn manifest(&mut self, root: &Node<'_>) -> Option<Raw> {
        let fields = self.map(root, "a manifest", keys::MANIFEST)?;
        self.version(fields);
        let name = self.name(fields);
        let application = self.application(fields.get("application"));
        let partners = self.partners(fields.get("partners"));
        let limits = fields.get("limits").map_or_else(Limits::default, |node| self.limits(node));
        let defaults = self.defaults(fields.get("defaults"));
        let sources = self.list(fields.get("sources"), "sources", Self::source);
        let tokens = self.list(fields.get("tokens"), "tokens", Self::tokens);
        let mints = Vec::new();
        Some(Raw { file: self.file, name, application, partners, limits, defaults, mints, sources, tokens })
    }

    /// The items of `imports`.
    pub(super) fn imports<'n, 't>(&mut self, root: &'n Node<'t>) -> &'n [Node<'t>] {
        let Value::Map(pairs) = &root.value else { return &[] };
        self.nodes(Fields { pairs, mark: root.mark }.get("imports"), "imports")
    }

    fn version(&mut self, fields: Fields<'_, '_>) {
        let help = "write `version: 1`";
        match fields.get("version") {
            None => self.error(Code::MissingKey, fields.mark, "the manifest has no `version`", help),
            Some(node) => match &node.value {
                Value::Number(text) if text == "1" => {}
                Value::Number(text) => {
                    let message = format!("version {} is not known to this program", truncated(text));
                    self.error(Code::BadVersion, node.mark, message, help);
                }
                Value::Broken => {}
                _ => self.wrong_type(node, "version", "the number 1", help),
            },
        }
    }

    fn name(&mut self, fields: Fields<'_, '_>) -> Field<String> {
        let help = "write `name: acme-2026q4`: lower-case letters, digits and hyphens, at most 63";
        let Some(node) = fields.get("name") else {
            self.error(Code::MissingKey, fields.mark, "the manifest has no `name`", help);
            return Field::Bad;
        };
        let name = self.text(node, "name").filter(|name| {
            let good = is_name(name);
            if !good {
                let message = format!("`{}` is not a name of a manifest", truncated(name));
                self.error(Code::BadName, node.mark, message, help);
            }
            good
        });
        Field::from(name.map(str::to_owned), self.at(node))
    }

    fn defaults(&mut self, node: Option<&Node<'_>>) -> Settings {
        let Some(node) = node.filter(|node| !matches!(node.value, Value::Null)) else { return Settings::default() };
        self.map(node, "`defaults`", keys::DEFAULTS).map_or_else(Settings::default, |fields| self.settings(fields))
    }

    /// One item of `imports`.
    pub(super) fn entry(&mut self, node: &Node<'_>) -> Option<Draft> {
        let fields = self.map(node, "an entry", keys::ENTRY)?;
        let mut draft = Draft::new(self.at(node));
        draft.token = fields.get("share_token").map_or(Field::Absent, |node| self.token(node));
        draft.session =
            fields.get("source_session_id").map_or(Field::Absent, |node| self.uuid(node, "source_session_id"));
        draft.id = fields.get("id").map_or(Field::Absent, |node| self.label(node));
        draft.settings = self.settings(fields);
        draft.mint = fields.get("mint").map_or(Field::Absent, |node| self.mint(node, keys::MINT));
        Some(draft)
    }

    fn source(&mut self, node: &Node<'_>) -> Option<Source> {
        let fields = self.map(node, "a source", keys::SOURCE)?;
        let mut files = self.files(fields, keys::COLUMNS, "a source");
        let mint = fields.get("mint").map_or(Field::Absent, |node| self.mint(node, keys::SOURCE_MINT));
        self.check_minting_columns(&mut files.columns, !mint.is_absent());
        Some(Source { files, mint, settings: self.settings(fields) })
    }

    fn tokens(&mut self, node: &Node<'_>) -> Option<Files> {
        let fields = self.map(node, "an item of `tokens`", keys::TOKENS)?;
        Some(self.files(fields, keys::TOKEN_COLUMNS, "an item of `tokens`"))
    }

    /// A list; nothing at all counts as an empty one.
    fn list<T>(
        &mut self,
        node: Option<&Node<'_>>,
        key: &str,
        each: impl Fn(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Vec<T> {
        self.nodes(node, key).iter().filter_map(|node| each(self, node)).collect()
    }

    fn nodes<'n, 't>(&mut self, node: Option<&'n Node<'t>>, key: &str) -> &'n [Node<'t>] {
        match node.map(|node| (&node.value, node)) {
            None | Some((Value::Null | Value::Broken, _)) => &[],
            Some((Value::List(nodes), _)) => nodes,
            Some((_, node)) => {
                self.wrong_type(node, key, "a list", "begin each item with `- `");
                &[]
            }
        }
    }

    /// A map with known keys. Unknown ones are reported, each at its key.
    fn map<'n, 't>(&mut self, node: &'n Node<'t>, what: &str, known: &[&str]) -> Option<Fields<'n, 't>> {
        match &node.value {
            Value::Map(pairs) => {
                for pair in pairs {
                    self.key(pair, what, known);
                }
                Some(Fields { pairs, mark: node.mark })
            }
            Value::Broken => None,
            _ => {
                let message = format!("{what} has to be a map, not {}", kind(&node.value));
                let help = format!("write `key: value` lines; the keys are {}", listed(known));
                self.error(Code::WrongType, node.mark, message, help);
                None
            }
        }
    }

    fn key(&mut self, pair: &Pair<'_>, what: &str, known: &[&str]) {
        let key = pair.key.as_ref();
        if !known.contains(&key) {
            let help = match keys::likely(key, known) {
                Some(likely) => format!("did you mean `{likely}`?"),
                None => format!("the keys of {what} are {}", listed(known)),
            };
            // In place of a reference somebody may have put a secret in braces: it is not repeated.
            let named = known != keys::REFERENCE || keys::likely(key, known).is_some();
            let message = if named {
                format!("unknown key `{}` in {what}", truncated(key))
            } else {
                format!("unknown key in {what}")
            };
            self.error(Code::UnknownKey, pair.mark, message, help);
        }
    }

    /// A scalar that is text. Numbers and booleans are told to be quoted.
    fn text<'n>(&mut self, node: &'n Node<'_>, key: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => return Some(text),
            Value::Broken => {}
            Value::Number(text) => {
                let help = format!("quote it: `{key}: \"{}\"`", truncated(text));
                self.wrong_type(node, key, "text", &help);
            }
            Value::Bool(value) => {
                let help = format!("quote it: `{key}: \"{value}\"`");
                self.wrong_type(node, key, "text", &help);
            }
            Value::Null => self.wrong_type(node, key, "text", "write a value, or leave the key out"),
            _ => self.wrong_type(node, key, "text", "write one value"),
        }
        None
    }

    fn wrong_type(&mut self, node: &Node<'_>, key: &str, wanted: &str, help: &str) {
        if !matches!(node.value, Value::Broken) {
            let message = format!("`{key}` has to be {wanted}, not {}", kind(&node.value));
            self.error(Code::WrongType, node.mark, message, help);
        }
    }

    fn error(&mut self, code: Code, mark: Mark, message: impl Into<String>, help: impl Into<String>) {
        self.sink.error(code, mark.of(self.file), message, help);
    }

    fn at(&self, node: &Node<'_>) -> At {
        node.mark.of(self.file)
    }
}

/// What a value is, in words; never the value itself.
pub(super) fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Broken => "this",
    }
}

/// `a`, `b` and `c`.
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
