//! All entries of one manifest: those of `imports`, then the rows of `sources`, then the tokens delivered apart.
//!
//! One source session is one entry. The same row twice is no error; rows that differ in the token alone are settled
//! by `on_duplicate`; rows that differ in more are an error whatever the settings, since nobody can tell which is
//! meant. Under `on_invalid: skip` a bad row becomes an invalid entry, told in the plan with its file and line.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use compact_str::CompactString;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::bounds::Bounds;
use super::code::Code;
use super::draft::{Files, Raw, Source};
use super::entry::{Entry, FileName, Place, TokenSource};
use super::finish::{Finisher, Item, Origin};
use super::globs::{self, BadPattern, Match};
use super::keys;
use super::load::LoadOptions;
use super::model::Invalid;
use super::read::Format;
use super::sink::{At, FileId, FileInfo, Finding, Mark, Shape, Sink};
use super::sources::{self, Broken, Input, Row, Rows};
use super::spot::OpenFiles;
use crate::by_session::BySession;
use crate::didit::Class;
use crate::token::ShareToken;

/// Files up to this size are read side by side.
const SMALL: u64 = 4 << 20;

/// What tells entries apart.
#[derive(Clone, Copy, Debug)]
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
    /// The patterns of the files that are read, in order.
    pub(super) patterns: Vec<String>,
    /// The files that tokens are read again from.
    pub(super) open: Arc<OpenFiles>,
    /// The items that have a source session, by it.
    sessions: BySession,
    /// Those that have only a token, by its digest.
    tokens: HashMap<[u8; 32], usize>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(sink: &'a mut Sink, raw: &'a Raw, bounds: &'a Bounds, options: &'a LoadOptions) -> Self {
        Self {
            sink,
            raw,
            bounds,
            options,
            items: Vec::new(),
            unused_tokens: 0,
            patterns: Vec::new(),
            open: Arc::default(),
            sessions: BySession::default(),
            tokens: HashMap::new(),
        }
    }

    /// Everything, in order.
    pub(super) fn all(&mut self, imports: Vec<Vec<Item>>) {
        let raw = self.raw;
        let count = imports.iter().map(Vec::len).sum();
        self.items.reserve(count);
        self.sessions.reserve(count);
        for item in imports.into_iter().flatten() {
            self.take(Some(item));
        }
        for source in &raw.sources {
            self.source(source);
        }
        for files in raw.tokens.iter().filter(|_| self.options.tokens) {
            super::deliver::tokens(self, files);
        }
        self.settle();
    }

    fn source(&mut self, source: &'a Source) {
        let found = self.files(&source.files);
        let files: Vec<SourceFile> = found
            .into_iter()
            .map(|(found, format)| {
                let file = self.file(&found, format, &source.files);
                let is_small = std::fs::metadata(&found.path).is_ok_and(|file| file.len() <= SMALL);
                SourceFile { name: self.sink.name(file), found, format, file, is_small }
            })
            .collect();
        // A large file keeps all cores busy by itself, and no more of it is held than is worked on.
        for group in files.chunk_by(|one, two| one.is_small && two.is_small) {
            if let [file] = group {
                let read = self.reader(source)(file, &mut |part| self.take_part(part));
                self.took(read, file, source);
                continue;
            }
            let read = self.reader(source);
            let each = group.par_iter().map(|file| {
                let mut parts = Vec::new();
                let result = read(file, &mut |part| parts.push(part));
                (parts, result)
            });
            for (file, (parts, result)) in group.iter().zip(each.collect::<Vec<_>>()) {
                for part in parts {
                    self.take_part(part);
                }
                self.took(result, file, source);
            }
        }
    }

    fn took(&mut self, read: Result<(), Broken>, file: &SourceFile, source: &Source) {
        if let Err(broken) = read {
            self.broken_file(broken, file.file, &source.files);
        }
    }

    /// What reads a file of a source, part by part.
    fn reader(
        &self,
        source: &'a Source,
    ) -> impl Fn(&SourceFile, &mut (dyn FnMut(SourceRows<'a>) + Send)) -> Result<(), Broken> + Sync + use<'a> {
        let (raw, options, bounds, open) = (self.raw, self.options, self.bounds, Arc::clone(&self.open));
        let wanted: &[usize] =
            if source.mint.is_absent() { &[sources::TOKEN, sources::SESSION] } else { &[sources::MINTED] };
        let origin = Origin { latest: source.files.latest, skip: source.files.skip };
        move |it, take| {
            let part = || SourceRows {
                finisher: Finisher::new(&raw.defaults, Some((&source.settings, origin)), options, it.name.apart()),
                source,
                origin,
                file: it.file,
                sink: Sink::default(),
                items: Vec::new(),
            };
            let input = Input {
                path: &it.found.path,
                format: it.format,
                columns: &source.files.columns,
                wanted,
                name: &it.name,
                roots: &bounds.roots,
                files: &open,
                chunk: options.chunk,
                contents: options.contents.as_ref(),
            };
            sources::read(input, &part, take)
        }
    }

    /// Takes what a part of a source gave.
    fn take_part(&mut self, part: SourceRows<'_>) {
        self.sink.absorb(part.sink);
        self.items.reserve(part.items.len());
        for item in part.items {
            // A bad row is known by nothing that another could have as well.
            if item.entry.workflow().is_none() {
                self.items.push(item);
            } else {
                self.take(Some(item));
            }
        }
    }

    /// The files of a pattern, each with its format.
    pub(super) fn files(&mut self, files: &Files) -> Vec<(Match, Format)> {
        let Some(pattern) = files.pattern.good() else { return Vec::new() };
        let at = files.pattern.at().unwrap_or(files.at);
        self.patterns.push(pattern.clone());
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
            let at = Mark { line, ..Mark::START }.of(file);
            let item = invalid(&findings, at, self.sink.name(file), None, origin);
            self.items.push(item);
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

    /// Takes an entry in, unless one for its session is there.
    fn take(&mut self, item: Option<Item>) {
        let Some(item) = item else { return };
        let Some(identity) = identity(&item.entry) else {
            self.items.push(item);
            return;
        };
        let next = self.items.len();
        let earlier = match identity {
            Identity::Token(digest) => match self.tokens.entry(digest) {
                std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(next);
                    None
                }
            },
            Identity::Session(session) => {
                let first = self.entry_of(session);
                if first.is_none() {
                    self.sessions.insert(session, next as u32);
                }
                first
            }
        };
        match earlier {
            None => self.items.push(item),
            Some(at) => self.again(at, item),
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
        match (first.entry.has_token(), item.entry.has_token()) {
            (false, false) if item.entry.mint().is_some() => self.items[at] = item,
            (_, false) => {}
            (true, true) if is_same_token(&first.entry.token, &item.entry.token) => {}
            (false, true) => self.items[at] = item,
            (true, true) if one.latest && two.latest => {
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
        let key = |entry: &Entry| (!self.is_foreign(entry), entry.expires_at());
        // A file that changes under our hands is told when the token is read to be sent.
        let text = |entry: &Entry| entry.read_token().ok().flatten();
        key(one).cmp(&key(two)).then_with(|| {
            let (one, two) = (text(one), text(two));
            one.as_ref().map(ShareToken::expose).cmp(&two.as_ref().map(ShareToken::expose))
        }) == Ordering::Greater
    }

    /// Whether the token was minted for another application.
    fn is_foreign(&self, entry: &Entry) -> bool {
        matches!((self.raw.application.id, entry.for_application_id()), (Some(ours), Some(minted)) if ours != minted)
    }

    /// The place of the entry for a session.
    pub(super) fn entry_of(&self, session: Uuid) -> Option<usize> {
        let is_of = |at| self.items[at as usize].entry.source_session_id == Some(session);
        self.sessions.find(session, is_of).map(|at| at as usize)
    }

    /// Last, once tokens are known: what they say of kind and audience, and ids for invalid rows.
    fn settle(&mut self) {
        let ours = self.raw.application.id;
        for at in 0..self.items.len() {
            let foreign = self.is_foreign(&self.items[at].entry);
            let entry = &mut self.items[at].entry;
            if foreign {
                let minted = entry.for_application_id().unwrap_or_default();
                let ours = ours.unwrap_or_default();
                let message = format!("the token was minted for application {minted}, not for {ours}");
                entry.invalid = Some(Box::new(Invalid { class: Class::WrongAudience, message }));
            }
            if let (Some(kind), Some(_), None) = (entry.session_kind, entry.workflow(), entry.workflow_id()) {
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
            self.items[at].entry.invalid = Some(Box::new(Invalid { class: Class::BadRequest, message }));
        } else {
            self.sink.error(Code::MissingWorkflow, place, message, help);
        }
    }

    /// Invalid rows give way: an id or session that a good entry (or an earlier row) has is not theirs.
    fn name_invalid(&mut self) {
        let is_bad = |item: &Item| item.entry.workflow().is_none();
        if !self.items.iter().any(is_bad) {
            return;
        }
        let good = || self.items.iter().filter(|item| !is_bad(item));
        let mut labels: HashSet<String> = good().map(|item| item.entry.label().to_string()).collect();
        let mut sessions: HashSet<Uuid> = good().filter_map(|item| item.entry.source_session_id).collect();
        self.items.retain_mut(|item| {
            if !is_bad(item) {
                return true;
            }
            let entry = &mut item.entry;
            if entry.source_session_id.is_some_and(|session| !sessions.insert(session)) {
                (entry.id, entry.source_session_id) = (Some(entry.place.to_string().into()), None);
            }
            // A file that two sources name gives each of its bad rows once.
            labels.insert(entry.label().to_string()) || {
                entry.id = Some(entry.place.to_string().into());
                labels.insert(entry.label().to_string())
            }
        });
    }
}

/// A bad row or file as an entry that is never sent.
fn invalid(
    findings: &[Finding],
    at: At,
    file: FileName,
    known: Option<(Option<CompactString>, Option<Uuid>)>,
    origin: Origin,
) -> Item {
    let token = findings.iter().any(|finding| finding.code == Code::MalformedToken);
    let class = if token { Class::TokenInvalid } else { Class::BadRequest };
    let messages: Vec<String> = findings.iter().map(|finding| super::snippet::scrub(&finding.message)).collect();
    let (id, session) = known.unwrap_or_default();
    let entry = Entry {
        id: id.filter(|id| !crate::mask::holds_secret(id)),
        source_session_id: session,
        invalid: Some(Box::new(Invalid { class, message: messages.join("; ") })),
        ..Entry::new(Place { file, line: at.mark.line }, Arc::default())
    };
    Item::new(entry, at, Some(origin))
}

/// One file of a source.
struct SourceFile {
    found: Match,
    format: Format,
    file: FileId,
    name: FileName,
    is_small: bool,
}

/// The rows of a part of a source file.
struct SourceRows<'a> {
    finisher: Finisher<'a>,
    source: &'a Source,
    origin: Origin,
    file: FileId,
    sink: Sink,
    items: Vec<Item>,
}

impl SourceRows<'_> {
    fn item(&mut self, row: &Row<'_>, exact: bool) -> Option<Item> {
        let draft = sources::draft(row, &self.source.mint, self.file, exact, &mut self.sink);
        self.finisher.finish(draft, &mut self.sink)
    }

    fn invalid(&mut self, before: usize, at: At, known: Option<(Option<CompactString>, Option<Uuid>)>) {
        let findings = self.sink.take_from(before);
        self.items.push(invalid(&findings, at, self.finisher.file().clone(), known, self.origin));
    }
}

impl Rows for SourceRows<'_> {
    fn row(&mut self, row: &Row<'_>) {
        let before = self.sink.len();
        let mut item = self.item(row, false);
        if self.sink.len() > before {
            // Something is wrong: once more, with the places of the cells.
            self.sink.take_from(before);
            item = self.item(row, true);
            if self.origin.skip {
                let told = self.sink.len();
                let draft = sources::draft(row, &self.source.mint, self.file, false, &mut self.sink);
                self.sink.take_from(told);
                let known = (draft.id.good().cloned(), draft.own_session());
                return self.invalid(before, row.start.of(self.file), Some(known));
            }
        }
        self.items.extend(item);
    }

    fn bad(&mut self, mark: Mark, code: Code, message: String) {
        let before = self.sink.len();
        let help = "correct the row, or write `on_invalid: skip` into the source";
        self.sink.error(code, mark.of(self.file), message, help);
        if self.origin.skip {
            self.invalid(before, mark.of(self.file), None);
        }
    }
}

/// Whether both are the same token, as the text goes.
pub(super) fn is_same_token(one: &TokenSource, two: &TokenSource) -> bool {
    match (one, two) {
        (TokenSource::Row(one), TokenSource::Row(two)) => one.is_same_token(two),
        (TokenSource::Row(spot), other) | (other, TokenSource::Row(spot)) => {
            held(other).is_some_and(|token| spot.is_token(token))
        }
        (one, two) => held(one).is_some() && held(one) == held(two),
    }
}

/// The token, where it is held.
fn held(token: &TokenSource) -> Option<&ShareToken> {
    match token {
        TokenSource::Literal(token) => Some(token),
        TokenSource::Reference(referred) => referred.now.as_ref(),
        TokenSource::Row(_) | TokenSource::Mint(_) | TokenSource::Missing => None,
    }
}

fn identity(entry: &Entry) -> Option<Identity> {
    let token = || Some(Identity::Token(Sha256::digest(entry.read_token().ok()??.expose()).into()));
    entry.source_session_id.map(Identity::Session).or_else(token)
}

/// The first setting in which two rows for one session differ, apart from the token.
fn difference(one: &Item, two: &Item) -> Option<&'static str> {
    let (a, b) = (&one.entry, &two.entry);
    let labelled = a.id.is_some() || b.id.is_some();
    [
        ("id", labelled && a.label() != b.label()),
        ("workflow_id", a.workflow() != b.workflow()),
        ("trust_review", a.trust_review() != b.trust_review()),
        ("vendor_data", a.vendor_data() != b.vendor_data()),
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
