//! A row becomes a draft: each cell read for what its column means.

use compact_str::CompactString;

use super::{Cell, ID, MINTED, Row, SESSION, TOKEN, TRUST, VENDOR, WORKFLOW};
use crate::manifest::code::Code;
use crate::manifest::decode::{LABEL_LIMIT, LITERAL_HELP, NOT_A_TOKEN, UUID_HELP, likely_bool, parse_uuid, truncated};
use crate::manifest::draft::{Draft, Field, MintSpec, TokenSpec};
use crate::manifest::keys;
use crate::manifest::model::WorkflowChoice;
use crate::manifest::sink::{At, FileId, Mark, Sink};
use crate::manifest::template::Template;

/// Reads a row of a source that mints as `mint` says, if it does. With `exact`, fields know the place of their cell,
/// else only that of the row.
pub(in crate::manifest) fn draft(
    row: &Row<'_>,
    mint: &Field<MintSpec>,
    file: FileId,
    exact: bool,
    sink: &mut Sink,
) -> Draft {
    let mut builder = Builder { row, file, exact, sink };
    let mut draft = Draft::new(row.start.of(file));
    if row.expect {
        let help = "write `expect` in the manifest";
        builder.sink.error(Code::BadRow, draft.at, "`expect` is not accepted in rows", help);
    }
    draft.token = builder.token();
    draft.mint = builder.mint(mint);
    draft.session = builder.uuid(SESSION);
    draft.id = builder.label();
    draft.settings.workflow = match builder.uuid(WORKFLOW) {
        Field::Good(uuid, at) => Field::Good(WorkflowChoice::One(uuid), at),
        Field::Bad => Field::Bad,
        Field::Absent => Field::Absent,
    };
    draft.settings.trust = builder.trust();
    draft.settings.vendor = builder.vendor();
    draft
}

struct Builder<'r, 'a, 's> {
    row: &'r Row<'a>,
    file: FileId,
    exact: bool,
    sink: &'s mut Sink,
}

impl<'r> Builder<'r, '_, '_> {
    fn at(&self, slot: usize) -> At {
        let mark: Mark = if self.exact { (self.row.locate)(slot) } else { self.row.start };
        mark.of(self.file)
    }

    fn error<T>(&mut self, slot: usize, code: Code, message: impl Into<String>, help: &str) -> Field<T> {
        let at = self.at(slot);
        self.sink.error(code, at, message, help);
        Field::Bad
    }

    /// The text of a cell; empty ones are absent, other types are errors.
    fn text(&mut self, slot: usize) -> Field<&'r str> {
        let key = keys::COLUMNS[slot];
        match &self.row.cells[slot] {
            None | Some(Cell::Null) => Field::Absent,
            Some(Cell::Text(text)) if text.trim().is_empty() => Field::Absent,
            Some(Cell::Text(text)) => Field::Good(text, self.at(slot)),
            Some(Cell::Bool(_)) => self.error(
                slot,
                Code::WrongType,
                format!("`{key}` has to be text, not true or false"),
                "put quotes around it",
            ),
            Some(Cell::Number(_)) => self.error(
                slot,
                Code::WrongType,
                format!("`{key}` has to be text, not a number"),
                "put quotes around it",
            ),
            Some(Cell::Nested) => {
                self.error(slot, Code::WrongType, format!("`{key}` has to be text"), "write one value")
            }
        }
    }

    fn token(&mut self) -> Field<TokenSpec> {
        if matches!(self.row.cells[TOKEN], Some(Cell::Nested)) {
            let help = "paste the whole token; {env}, {file} and {exec} are for `imports` of the manifest";
            return self.error(TOKEN, Code::TokenNotLiteral, "in rows a token is a literal", help);
        }
        match self.text(TOKEN) {
            Field::Good(text, at) => match self.row.token(text) {
                Some((source, claims)) => Field::Good(TokenSpec::Row(source, claims), at),
                None => self.error(TOKEN, Code::MalformedToken, NOT_A_TOKEN, LITERAL_HELP),
            },
            Field::Bad => Field::Bad,
            Field::Absent => Field::Absent,
        }
    }

    /// What the source says of minting, with the row's session.
    fn mint(&mut self, mint: &Field<MintSpec>) -> Field<MintSpec> {
        let Field::Good(mint, _) = mint else { return mint.clone() };
        let session = match self.uuid(MINTED) {
            Field::Absent => {
                let help = "name the session to share; `columns: {session_id: NAME}` says in which column they stand";
                let at = self.row.start.of(self.file);
                self.sink.error(Code::MissingKey, at, "the row has no `session_id`, of which a token is minted", help);
                Field::Bad
            }
            known => known,
        };
        Field::Good(MintSpec { session, ..mint.clone() }, self.at(MINTED))
    }

    fn uuid(&mut self, slot: usize) -> Field<uuid::Uuid> {
        match self.text(slot) {
            Field::Good(text, at) => match parse_uuid(text.trim()) {
                Ok(uuid) => Field::Good(uuid, at),
                Err(message) => self.error(slot, Code::BadUuid, message, UUID_HELP),
            },
            Field::Bad => Field::Bad,
            Field::Absent => Field::Absent,
        }
    }

    fn label(&mut self) -> Field<CompactString> {
        match self.text(ID) {
            Field::Good(text, _) if text.trim().len() > LABEL_LIMIT => {
                let message = format!("`id` has {} bytes", text.trim().len());
                self.error(ID, Code::BadValue, message, &format!("write at most {LABEL_LIMIT} bytes"))
            }
            Field::Good(text, at) => Field::Good(text.trim().into(), at),
            Field::Bad => Field::Bad,
            Field::Absent => Field::Absent,
        }
    }

    fn trust(&mut self) -> Field<bool> {
        if let Some(Cell::Bool(value)) = self.row.cells[TRUST] {
            return Field::Good(value, self.at(TRUST));
        }
        match self.text(TRUST) {
            Field::Good(text, at) if text.trim().eq_ignore_ascii_case("true") => Field::Good(true, at),
            Field::Good(text, at) if text.trim().eq_ignore_ascii_case("false") => Field::Good(false, at),
            Field::Good(text, _) => {
                let message = format!("`{}` is neither true nor false", truncated(text.trim()));
                let help = likely_bool(text).map(|meant| format!("write `{meant}`"));
                self.error(TRUST, Code::WrongType, message, help.as_deref().unwrap_or("write `true` or `false`"))
            }
            Field::Bad => Field::Bad,
            Field::Absent => Field::Absent,
        }
    }

    fn vendor(&mut self) -> Field<Template> {
        match self.text(VENDOR) {
            Field::Good(text, at) => match Template::parse(text) {
                Ok(template) => Field::Good(template, at),
                Err(bad) => self.error(VENDOR, Code::UnknownPlaceholder, bad.message, &bad.help),
            },
            Field::Bad => Field::Bad,
            Field::Absent => Field::Absent,
        }
    }
}
