//! All entries of one manifest: those of `imports`, then the rows of `sources`, then the tokens delivered apart.
//!
//! One source session is one entry. The same row twice is no error; rows that differ in the token alone are settled
//! by `on_duplicate`; rows that differ in more are an error whatever the settings, since nobody can tell which is
//! meant. Under `on_invalid: skip` a bad row becomes an invalid entry, told in the plan with its file and line.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::bounds::Bounds;
use super::code::Code;
use super::draft::{Files, Raw, Source};
use super::finish::{Finisher, Item, Origin};
use super::globs::{self, BadPattern, Match};
use super::keys;
use super::load::LoadOptions;
use super::model::{Entry, Invalid, Place, TokenSource};
use super::read::Format;
use super::sink::{At, FileId, FileInfo, Finding, Mark, Shape, Sink};
use super::sources::{self, Broken, Row, Rows};
use crate::didit::Class;
use crate::token::ShareToken;
use crate::verify::Expectations;

/// What tells entries apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Session(Uuid),
    /// The digest of a token whose session can't be read.
    Token([u8; 32]),
}

/// The entries of one manifest while they come in.
pub(super) struct Gather<'a> {
    pub(super) sink: &'a mut Sink,
    pub(super) raw: &'a Raw,
    pub(super) bounds: &'a Bounds,
    pub(super) options: &'a LoadOptions,
    pub(super) items: Vec<Item>,
    pub(super) unused_tokens: u64,
    index: HashMap<Identity, usize>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(sink: &'a mut Sink, raw: &'a Raw, bounds: &'a Bounds, options: &'a LoadOptions) -> Self {
        Self { sink, raw, bounds, options, items: Vec::new(), unused_tokens: 0, index: HashMap::new() }
    }

    /// Everything, in order.
    pub(super) fn all(&mut self) {
        let raw = self.raw;
        for draft in &raw.imports {
            let item = self.finisher().finish(draft, None, None);
            self.take(item);
        }
        for source in &raw.sources {
            self.source(source);
        }
        for files in raw.tokens.iter().filter(|_| self.options.tokens) {
            super::deliver::tokens(self, files);
        }
        self.settle();
    }

    fn finisher(&mut self) -> Finisher<'_> {
        Finisher { sink: self.sink, defaults: &self.raw.defaults, options: self.options }
    }

    fn source(&mut self, source: &Source) {
        let wanted: &[usize] =
            if source.mint.is_absent() { &[sources::TOKEN, sources::SESSION] } else { &[sources::MINTED] };
        let origin = Origin { latest: source.files.latest, skip: source.files.skip };
        for (found, format) in self.files(&source.files) {
            let file = self.file(&found, format, &source.files);
            let mut rows = SourceRows { gather: self, source, origin, file };
            let read = sources::read(&found.path, format, &source.files.columns, wanted, &mut rows);
            if let Err(broken) = read {
                self.broken_file(broken, file, &source.files);
            }
        }
    }

    /// The files of a pattern, each with its format.
    pub(super) fn files(&mut self, files: &Files) -> Vec<(Match, Format)> {
        let Some(pattern) = files.pattern.good() else { return Vec::new() };
        let at = files.pattern.at().unwrap_or(files.at);
        let found = match globs::expand(pattern, self.bounds) {
            Ok(found) => found,
            Err(BadPattern::Outside(path)) => {
                let message = format!("`{path}` leads out of the manifest's folder");
                self.sink.error(Code::OutsideFolder, at, message, super::decode::OUTSIDE_HELP);
                return Vec::new();
            }
            Err(BadPattern::Syntax(reason)) => {
                let message = format!("`{pattern}` is not a pattern of file names: {reason}");
                self.sink.error(Code::BadGlob, at, message, "write a pattern such as `people/*.csv`");
                return Vec::new();
            }
        };
        if found.is_empty() {
            let message = format!("`{pattern}` matches no file");
            self.sink.warning(Code::EmptyGlob, at, message, "correct the pattern, or leave it if files come later");
        }
        found.into_iter().filter_map(|found| Format::of(&found.shown).map(|format| (found, format))).collect()
    }

    /// Makes a file known to the sink.
    pub(super) fn file(&mut self, found: &Match, format: Format, files: &Files) -> FileId {
        let shape = match format {
            Format::Cells(delimiter) => Shape::Cells(delimiter),
            Format::JsonLines | Format::Json => Shape::Json,
            Format::Yaml => Shape::Yaml,
            Format::Lines => Shape::Tokens,
        };
        let token_key = files.columns.0[sources::TOKEN].name.clone();
        self.sink.file(FileInfo { shown: found.shown.clone(), path: found.path.clone(), shape, token_key })
    }

    /// Reports why a file can't be read, or counts it as an invalid entry.
    fn broken_file(&mut self, broken: Broken, file: FileId, files: &Files) {
        let before = self.sink.len();
        let line = match &broken {
            Broken::Format { mark, .. } => mark.line,
            _ => 0,
        };
        self.report_broken(broken, file, files);
        if files.skip {
            let findings = self.sink.take_from(before);
            let origin = Origin { latest: files.latest, skip: true };
            self.invalid(&findings, Mark { line, ..Mark::START }.of(file), None, origin);
        }
    }

    /// Reports why a file can't be read, at the file where it is its contents, else at the manifest.
    pub(super) fn report_broken(&mut self, broken: Broken, file: FileId, files: &Files) {
        let shown = self.sink.shown(file).to_owned();
        match broken {
            Broken::Unreadable(reason) => {
                let message = format!("`{shown}` can't be read: {reason}");
                self.sink.error(
                    Code::UnreadableSource,
                    files.at,
                    message,
                    "correct `file`, or the file and its permissions",
                );
            }
            Broken::Format { code, mark, message, help } => self.sink.error(code, mark.of(file), message, help),
            Broken::Column(slot) => {
                let column = &files.columns.0[slot];
                let message = format!("`{shown}` has no column `{}`", column.name);
                let help = format!("name the column of the file that holds `{}`", keys::COLUMNS[slot]);
                self.sink.error(Code::MissingColumn, column.named.unwrap_or(files.at), message, help);
            }
        }
    }

    /// A bad row or file as an entry that is never sent.
    fn invalid(&mut self, findings: &[Finding], at: At, known: Option<(Option<String>, Option<Uuid>)>, origin: Origin) {
        let token = findings.iter().any(|finding| finding.code == Code::MalformedToken);
        let class = if token { Class::TokenInvalid } else { Class::BadRequest };
        let messages: Vec<String> = findings.iter().map(|finding| super::snippet::scrub(&finding.message)).collect();
        let place = Place { file: self.sink.shown(at.file).to_owned(), line: at.mark.line };
        let (id, session) = known.unwrap_or_default();
        let id = id.filter(|id| !crate::mask::holds_secret(id));
        let entry = Entry {
            id: id.or(session.map(|session| session.to_string())).unwrap_or_else(|| place.to_string()),
            place,
            source_session_id: session,
            session_kind: None,
            token: TokenSource::Missing,
            token_now: None,
            claims: None,
            workflow: None,
            trust_review: None,
            vendor_data: None,
            expect: Expectations::default(),
            invalid: Some(Invalid { class, message: messages.join("; ") }),
        };
        self.items.push(Item { entry, at, id_at: None, token_at: None, row: Some(origin) });
    }

    /// Takes an entry in, unless one for its session is there.
    fn take(&mut self, item: Option<Item>) {
        let Some(item) = item else { return };
        let Some(identity) = identity(&item.entry) else {
            self.items.push(item);
            return;
        };
        match self.index.get(&identity) {
            None => {
                self.index.insert(identity, self.items.len());
                self.items.push(item);
            }
            Some(&at) => self.again(at, item),
        }
    }

    /// A second entry for one session.
    fn again(&mut self, at: usize, item: Item) {
        let first = &self.items[at];
        let earlier = self.sink.place(first.at);
        let later = self.sink.place(item.at);
        let session =
            item.entry.source_session_id.map_or("one token".to_owned(), |session| format!("session {session}"));
        let (Some(one), Some(two)) = (first.row, item.row) else {
            let message = format!("{session} is imported twice, first at {earlier}");
            self.sink.error(Code::DuplicateSession, item.at, message, "keep one of the two entries");
            return;
        };
        if let Some(key) = difference(first, &item) {
            let message = format!("{earlier} and {later} are both for {session} but differ in `{key}`");
            self.sink.error(Code::RowsDiffer, item.at, message, "keep the row that is right");
            return;
        }
        match (&first.entry.token_now, &item.entry.token_now) {
            (None, None) if item.entry.mint().is_some() => self.items[at] = item,
            (_, None) => {}
            (Some(a), Some(b)) if a == b => {}
            (None, Some(_)) => self.items[at] = item,
            (Some(_), Some(_)) if one.latest && two.latest => {
                if self.is_better(&item.entry, &self.items[at].entry) {
                    self.items[at] = item;
                }
            }
            _ => {
                let message = format!("{earlier} and {later} hold different tokens for {session}");
                let help = "keep one of the two, or write `on_duplicate: latest` into the source";
                self.sink.error(Code::DuplicateSession, item.at, message, help);
            }
        }
    }

    /// Whether the first token is to be preferred: minted for us, then expiring last, then by its text, so that the
    /// order of rows decides nothing.
    pub(super) fn is_better(&self, one: &Entry, two: &Entry) -> bool {
        fn text(entry: &Entry) -> Option<&str> {
            entry.token_now.as_ref().map(ShareToken::expose)
        }
        let key = |entry: &Entry| (!self.is_foreign(entry), entry.expires_at());
        (key(one), text(one)) > (key(two), text(two))
    }

    /// Whether the token was minted for another application.
    fn is_foreign(&self, entry: &Entry) -> bool {
        let minted = entry.claims.as_ref().and_then(|claims| claims.for_application_id);
        matches!((self.raw.application.id, minted), (Some(ours), Some(minted)) if ours != minted)
    }

    /// The place of the entry for a session.
    pub(super) fn entry_of(&self, session: Uuid) -> Option<usize> {
        self.index.get(&Identity::Session(session)).copied()
    }

    /// Last, once tokens are known: what they say of kind and audience, and ids for invalid rows.
    fn settle(&mut self) {
        let ours = self.raw.application.id;
        for at in 0..self.items.len() {
            let foreign = self.is_foreign(&self.items[at].entry);
            let entry = &mut self.items[at].entry;
            entry.session_kind = entry.claims.as_ref().and_then(|claims| claims.session_kind);
            if foreign {
                let minted = entry.claims.as_ref().and_then(|claims| claims.for_application_id).unwrap_or_default();
                let ours = ours.unwrap_or_default();
                let message = format!("the token was minted for application {minted}, not for {ours}");
                entry.invalid = Some(Invalid { class: Class::WrongAudience, message });
            }
            if let (Some(kind), Some(_), None) = (entry.session_kind, &entry.workflow, entry.workflow_id()) {
                self.no_workflow_for(at, kind.as_str());
            }
        }
        self.name_invalid();
    }

    fn no_workflow_for(&mut self, at: usize, kind: &str) {
        let place = self.items[at].at;
        let message = format!("the session is of a {kind}, and `workflow_id` names no workflow for that kind");
        let help = format!("write `workflow_id: {{{kind}: UUID}}` besides");
        if self.items[at].row.is_some_and(|origin| origin.skip) {
            self.items[at].entry.invalid = Some(Invalid { class: Class::BadRequest, message });
        } else {
            self.sink.error(Code::MissingWorkflow, place, message, help);
        }
    }

    /// Invalid rows give way: an id or session that a good entry (or an earlier row) has is not theirs.
    fn name_invalid(&mut self) {
        let is_bad = |item: &Item| item.entry.workflow.is_none();
        let mut ids: std::collections::HashSet<String> =
            self.items.iter().filter(|item| !is_bad(item)).map(|item| item.entry.id.clone()).collect();
        let mut sessions: std::collections::HashSet<Uuid> =
            self.items.iter().filter(|item| !is_bad(item)).filter_map(|item| item.entry.source_session_id).collect();
        self.items.retain_mut(|item| {
            if item.entry.workflow.is_some() {
                return true;
            }
            if item.entry.source_session_id.is_some_and(|session| !sessions.insert(session)) {
                item.entry.source_session_id = None;
                item.entry.id = item.entry.place.to_string();
            }
            // A file that two sources name gives each of its bad rows once.
            ids.insert(item.entry.id.clone()) || {
                item.entry.id = item.entry.place.to_string();
                ids.insert(item.entry.id.clone())
            }
        });
    }
}

/// The rows of one source file.
struct SourceRows<'g, 'a> {
    gather: &'g mut Gather<'a>,
    source: &'g Source,
    origin: Origin,
    file: FileId,
}

impl SourceRows<'_, '_> {
    fn item(&mut self, row: &Row<'_>, exact: bool) -> Option<Item> {
        let draft = sources::draft(row, &self.source.mint, self.file, exact, self.gather.sink);
        self.gather.finisher().finish(&draft, Some(&self.source.settings), Some(self.origin))
    }
}

impl Rows for SourceRows<'_, '_> {
    fn row(&mut self, row: &Row<'_>) {
        let before = self.gather.sink.len();
        let mut item = self.item(row, false);
        if self.gather.sink.len() > before {
            // Something is wrong: once more, with the places of the cells.
            self.gather.sink.take_from(before);
            item = self.item(row, true);
            if self.origin.skip {
                let findings = self.gather.sink.take_from(before);
                let draft = sources::draft(row, &self.source.mint, self.file, false, self.gather.sink);
                self.gather.sink.take_from(before);
                let known = (draft.id.good().cloned(), draft.own_session());
                self.gather.invalid(&findings, row.start.of(self.file), Some(known), self.origin);
                return;
            }
        }
        self.gather.take(item);
    }

    fn bad(&mut self, mark: Mark, code: Code, message: String) {
        let before = self.gather.sink.len();
        self.gather.sink.error(
            code,
            mark.of(self.file),
            message,
            "correct the row, or write `on_invalid: skip` into the source",
        );
        if self.origin.skip {
            let findings = self.gather.sink.take_from(before);
            self.gather.invalid(&findings, mark.of(self.file), None, self.origin);
        }
    }
}

fn identity(entry: &Entry) -> Option<Identity> {
    let token = |token: &ShareToken| Identity::Token(Sha256::digest(token.expose()).into());
    entry.source_session_id.map(Identity::Session).or_else(|| entry.token_now.as_ref().map(token))
}

/// The first setting in which two rows for one session differ, apart from the token.
fn difference(one: &Item, two: &Item) -> Option<&'static str> {
    let (a, b) = (&one.entry, &two.entry);
    let labelled = one.id_at.is_some() || two.id_at.is_some();
    [
        ("id", labelled && a.id != b.id),
        ("workflow_id", a.workflow != b.workflow),
        ("trust_review", a.trust_review != b.trust_review),
        ("vendor_data", a.vendor_data != b.vendor_data),
        ("mint", is_minted_otherwise(a, b)),
    ]
    .into_iter()
    .find_map(|(key, differs)| differs.then_some(key))
}

/// Whether two entries for one session differ in how their token comes about, where that is more than another token.
fn is_minted_otherwise(one: &Entry, two: &Entry) -> bool {
    let has_none = |entry: &Entry| matches!(entry.token, TokenSource::Missing);
    one.mint() != two.mint() && !has_none(one) && !has_none(two)
}
