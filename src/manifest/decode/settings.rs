//! The settings of entries, sources and defaults.

use compact_str::CompactString;

use super::{Decoder, Fields, listed, truncated};
use crate::manifest::code::Code;
use crate::manifest::draft::{Columns, Field, Files, Settings, TokenSpec};
use crate::manifest::keys;
use crate::manifest::model::WorkflowChoice;
use crate::manifest::read::Format;
use crate::manifest::template::Template;
use crate::manifest::yaml::{Node, Value};
use crate::token::ShareToken;

/// The longest label, in bytes.
pub(in crate::manifest) const LABEL_LIMIT: usize = 255;

/// What is said of a text that is no token; never the text.
pub(in crate::manifest) const NOT_A_TOKEN: &str = "this does not have the form of a share token";

/// What is said of a token that may also be referred to.
pub(in crate::manifest) const TOKEN_HELP: &str = "paste the whole token, three base64url parts joined by dots, or \
    write {env: NAME}, {file: PATH} or {exec: [PROGRAM, ARG...]}";

/// What is said of a token that has to be a literal.
pub(in crate::manifest) const LITERAL_HELP: &str = "paste the whole token: three base64url parts joined by dots";

impl Decoder<'_> {
    pub(super) fn settings(&mut self, fields: Fields<'_, '_>) -> Settings {
        Settings {
            workflow: fields.get("workflow_id").map_or(Field::Absent, |node| self.workflow(node)),
            trust: fields.get("trust_review").map_or(Field::Absent, |node| self.boolean(node, "trust_review")),
            vendor: fields.get("vendor_data").map_or(Field::Absent, |node| self.vendor_data(node)),
            expect: fields.get("expect").map_or(Field::Absent, |node| self.expect(node)),
        }
    }

    /// A UUID, or `{user: UUID, business: UUID}`.
    fn workflow(&mut self, node: &Node<'_>) -> Field<WorkflowChoice> {
        if !matches!(node.value, Value::Map(_)) {
            return match self.uuid(node, "workflow_id") {
                Field::Good(uuid, at) => Field::Good(WorkflowChoice::One(uuid), at),
                _ => Field::Bad,
            };
        }
        let Some(fields) = self.map(node, "`workflow_id`", keys::WORKFLOW) else { return Field::Bad };
        let mut kind = |key: &str| fields.get(key).map(|node| self.uuid(node, key));
        let (user, business) = (kind("user"), kind("business"));
        if user.is_none() && business.is_none() {
            if fields.pairs.is_empty() {
                self.error(
                    Code::BadValue,
                    node.mark,
                    "`workflow_id` names no workflow",
                    "write a UUID, or `{user: UUID, business: UUID}`",
                );
            }
            return Field::Bad;
        }
        if [&user, &business].iter().any(|field| field.as_ref().is_some_and(Field::is_bad)) {
            return Field::Bad;
        }
        let id = |field: Option<Field<_>>| field.and_then(|field| field.good().copied());
        Field::Good(WorkflowChoice::ByKind { user: id(user), business: id(business) }, self.at(node))
    }

    fn vendor_data(&mut self, node: &Node<'_>) -> Field<Template> {
        let Some(text) = self.text(node, "vendor_data") else { return Field::Bad };
        if text.is_empty() {
            self.error(Code::BadValue, node.mark, "`vendor_data` is empty", "write a value, or leave the key out");
            return Field::Bad;
        }
        match Template::parse(text) {
            Ok(template) => Field::Good(template, self.at(node)),
            Err(bad) => {
                self.error(Code::UnknownPlaceholder, node.mark, format!("{} in `vendor_data`", bad.message), bad.help);
                Field::Bad
            }
        }
    }

    pub(super) fn label(&mut self, node: &Node<'_>) -> Field<CompactString> {
        let Some(text) = self.text(node, "id") else { return Field::Bad };
        if text.is_empty() || text.len() > LABEL_LIMIT {
            let help = format!("write a label of 1 to {LABEL_LIMIT} bytes, or leave the key out");
            self.error(Code::BadValue, node.mark, format!("`id` has {} bytes", text.len()), help);
            return Field::Bad;
        }
        Field::Good(text.into(), self.at(node))
    }

    /// A literal token or a reference to one.
    pub(super) fn token(&mut self, node: &Node<'_>) -> Field<TokenSpec> {
        let spec = match &node.value {
            Value::Text(text) => {
                let token = ShareToken::parse(text).ok();
                if token.is_none() {
                    self.error(Code::MalformedToken, node.mark, NOT_A_TOKEN, TOKEN_HELP);
                }
                token.map(TokenSpec::Literal)
            }
            Value::Map(_) => self.reference(node, "share_token").map(TokenSpec::Reference),
            _ => {
                self.wrong_type(node, "share_token", "a token or a reference to one", TOKEN_HELP);
                None
            }
        };
        Field::from(spec, self.at(node))
    }

    /// What `sources` and `tokens` share.
    pub(super) fn files(&mut self, fields: Fields<'_, '_>, columns: &[&str], what: &str) -> Files {
        let mut choice = |key: &str, words| fields.get(key).is_some_and(|node| self.choice(node, key, words));
        let (latest, skip) = (choice("on_duplicate", ["error", "latest"]), choice("on_invalid", ["error", "skip"]));
        let pattern = if let Some(node) = fields.get("file") {
            self.pattern(node, columns == keys::TOKEN_COLUMNS)
        } else {
            let help = "write `file: people/*.csv`";
            self.error(Code::MissingKey, fields.mark, format!("{what} has no `file`"), help);
            Field::Bad
        };
        let columns = fields.get("columns").map_or_else(Columns::unnamed, |node| self.columns(node, columns));
        Files { at: fields.mark.of(self.file), pattern, columns, latest, skip }
    }

    fn pattern(&mut self, node: &Node<'_>, tokens: bool) -> Field<String> {
        let Some(text) = self.text(node, "file") else { return Field::Bad };
        let format = Format::of(text).filter(|format| tokens || *format != Format::Lines);
        if format.is_none() {
            let message = format!("`{}` has no known ending", truncated(text));
            let help = if tokens {
                "use .txt (one token a line), .csv, .tsv, .ndjson, .jsonl, .json or .yaml, each also as .gz or .zst"
            } else {
                "use .csv, .tsv, .ndjson, .jsonl, .json or .yaml, each also as .gz or .zst"
            };
            self.error(Code::BadGlob, node.mark, message, help);
            return Field::Bad;
        }
        Field::Good(text.to_owned(), self.at(node))
    }

    fn columns(&mut self, node: &Node<'_>, known: &[&str]) -> Columns {
        let mut columns = Columns::unnamed();
        let Some(fields) = self.map(node, "`columns`", known) else { return columns };
        for (slot, key) in keys::COLUMNS.iter().enumerate() {
            let Some(node) = fields.get(key) else { continue };
            let Some(name) = self.text(node, key) else { continue };
            if name.is_empty() {
                self.error(
                    Code::BadValue,
                    node.mark,
                    format!("`{key}` names no column"),
                    "write the column's name in the file",
                );
            }
            name.clone_into(&mut columns.0[slot].name);
            columns.0[slot].named = Some(self.at(node));
        }
        self.check_columns(&columns);
        columns
    }

    /// One column of the file can't be two of ours. A column that was given away under its own name is ours no more.
    fn check_columns(&mut self, columns: &Columns) {
        for (slot, column) in columns.0.iter().enumerate() {
            let Some(at) = column.named else { continue };
            let twice: Vec<&str> = columns.0[..slot]
                .iter()
                .zip(keys::COLUMNS)
                .filter(|(other, _)| other.named.is_some() && other.name == column.name)
                .map(|(_, key)| *key)
                .chain([keys::COLUMNS[slot]])
                .collect();
            if twice.len() > 1 {
                let message = format!("the column `{}` is named for {}", truncated(&column.name), listed(&twice));
                self.sink.error(Code::BadValue, at, message, "name another column");
            }
        }
    }
}
