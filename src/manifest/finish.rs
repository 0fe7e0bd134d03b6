//! A draft becomes an entry: the source's settings and the defaults fill in what it leaves open, its token is read
//! where that may be done while planning, `vendor_data` is filled in, and what is missing is told at its first line.

use std::sync::Arc;

use uuid::Uuid;

use super::code::Code;
use super::decode::{NOT_A_TOKEN, truncated};
use super::draft::{Draft, Field, MintSpec, Settings, TokenSpec};
use super::entry::{Applications, Entry, FileName, Label, Place, Referred, Said, Shared, TokenSource, Vendor};
use super::load::LoadOptions;
use super::model::{Mint, SecretRef, WorkflowChoice};
use super::secrets;
use super::sink::{At, Sink};
use super::template::Template;
use crate::mask::holds_secret;
use crate::token::{Claims, SessionKind, ShareToken};
use crate::verify::Expectations;

/// The longest `vendor_data`, in bytes.
const VENDOR_LIMIT: usize = 2000;

/// An entry with what only loading needs to know of it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: Entry,
    pub(super) at: At,
    /// Where its id and its token stand, if not at `at`.
    elsewhere: Option<Box<Elsewhere>>,
    /// Whether it came from `sources`, and its source says `on_duplicate: latest`.
    pub(super) row: Option<Origin>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Elsewhere {
    id: Option<At>,
    token: Option<At>,
}

impl Item {
    pub(super) fn new(entry: Entry, at: At, row: Option<Origin>) -> Self {
        Self { entry, at, elsewhere: None, row }
    }

    /// Where its id stands, or the entry.
    pub(super) fn id_at(&self) -> At {
        self.elsewhere.as_ref().and_then(|at| at.id).unwrap_or(self.at)
    }

    /// Where its token stands, or the entry.
    pub(super) fn token_at(&self) -> At {
        self.elsewhere.as_ref().and_then(|at| at.token).unwrap_or(self.at)
    }

    /// Takes over that files have moved by so many.
    pub(super) fn move_files(&mut self, by: u32) {
        self.at = self.at.moved(by);
        if let Some(at) = &mut self.elsewhere {
            (at.id, at.token) = (at.id.map(|at| at.moved(by)), at.token.map(|at| at.moved(by)));
        }
    }

    /// Notes that its token stands there.
    pub(super) fn set_token_at(&mut self, at: At) {
        self.elsewhere.get_or_insert_default().token = Some(at);
    }
}

/// How the rows of a source are dealt with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) latest: bool,
    pub(super) skip: bool,
}

/// What makes entries of drafts: one for the entries of a manifest, one for each part of a source.
pub(super) struct Finisher<'a> {
    pub(super) defaults: &'a Settings,
    pub(super) source: Option<&'a Settings>,
    pub(super) options: &'a LoadOptions,
    pub(super) row: Option<Origin>,
    /// The name of the file that the entries stand in.
    file: FileName,
    /// The `vendor_data` of source or defaults.
    vendor: Option<Arc<Template>>,
    /// The last few settings, which the next entry likely has as well.
    shared: Vec<Arc<Shared>>,
    applications: Option<Arc<Applications>>,
}

/// How many different settings are remembered.
const REMEMBERED: usize = 16;

/// Something is wrong and was reported.
struct Told;

/// A token as far as it is known.
struct Token {
    source: TokenSource,
    claims: Option<Claims>,
}

impl<'a> Finisher<'a> {
    pub(super) fn new(
        defaults: &'a Settings,
        source: Option<(&'a Settings, Origin)>,
        options: &'a LoadOptions,
        file: FileName,
    ) -> Self {
        let (source, row) = (source.map(|(settings, _)| settings), source.map(|(_, origin)| origin));
        let set = source.map_or(&Field::Absent, |source| &source.vendor);
        let vendor = first([&Field::Absent, set, &defaults.vendor]).good().cloned().map(Arc::new);
        Self { defaults, source, options, row, file, vendor, shared: Vec::new(), applications: None }
    }

    /// The name of the file that the entries stand in.
    pub(super) fn file(&self) -> &FileName {
        &self.file
    }

    /// The entry of a draft; `None` where something is wrong, which is reported.
    pub(super) fn finish(&mut self, mut draft: Draft, sink: &mut Sink) -> Option<Item> {
        let errors = sink.errors();
        let token = self.token(&mut draft, sink);
        let session = session(&draft, token.as_ref().and_then(|token| token.claims.as_ref()), sink);
        let place = Place { file: self.file.clone(), line: draft.at.mark.line };
        if let Field::Good(id, at) = &draft.id
            && holds_secret(id)
        {
            secret(sink, *at, "id");
        }
        let bad = draft.token.is_bad() || draft.session.is_bad() || draft.id.is_bad() || token.is_none();
        let sound = !bad && sink.errors() == errors;
        let label = match (&draft.id, session) {
            (Field::Good(id, _), _) => Label::Text(id),
            (_, Some(session)) => Label::Session(session),
            _ => Label::Place(&place),
        };
        let vendor = self.vendor_data(&draft, session, label, sound, sink);
        let workflow = self.workflow(&draft, sink);
        let trust_review = self.trust_review(&draft, sink);
        if sink.errors() > errors || bad {
            return None;
        }
        let (token, vendor) = (token?, vendor.ok()?);
        let is_filled = vendor == Vendor::Filled;
        let shared = self.shared(workflow?, trust_review?, &draft.settings.expect, is_filled);
        let elsewhere = Elsewhere { id: draft.id.at(), token: draft.token.at() };
        let is_elsewhere = [elsewhere.id, elsewhere.token].iter().flatten().any(|at| *at != draft.at);
        let claims = token.claims.as_ref();
        let entry = Entry {
            said: claims.map_or_else(Said::default, |claims| Said::new(claims, &mut self.applications)),
            id: match draft.id {
                Field::Good(id, _) => Some(id),
                _ => None,
            },
            source_session_id: session,
            session_kind: claims.and_then(|claims| claims.session_kind),
            token: token.source,
            vendor,
            ..Entry::new(place, shared)
        };
        let elsewhere = is_elsewhere.then(|| Box::new(elsewhere));
        Some(Item { entry, at: draft.at, elsewhere, row: self.row })
    }

    /// These settings, as an earlier entry has them where one does.
    fn shared(
        &mut self,
        workflow: WorkflowChoice,
        trust_review: bool,
        own: &Field<Expectations>,
        is_filled: bool,
    ) -> Arc<Shared> {
        let (defaults, source) = (self.defaults, self.source);
        let set = source.map_or(&Field::Absent, |source| &source.expect);
        // The nearest list there is replaces those further out, as any setting does. Rows have none.
        let expect = first([own, set, &defaults.expect]).good();
        let is_same = |known: &&Arc<Shared>| {
            known.workflow == Some(workflow)
                && known.trust_review == Some(trust_review)
                && known.vendor.is_some() == is_filled
                && expect.map_or(known.expect.is_empty(), |expect| *expect == known.expect)
        };
        if let Some(known) = self.shared.iter().rev().find(is_same) {
            return Arc::clone(known);
        }
        let vendor = self.vendor.clone().filter(|_| is_filled);
        let expect = expect.cloned().unwrap_or_default();
        let shared = Arc::new(Shared { workflow: Some(workflow), trust_review: Some(trust_review), expect, vendor });
        if self.shared.len() == REMEMBERED {
            self.shared.remove(0);
        }
        self.shared.push(Arc::clone(&shared));
        shared
    }

    /// The token, read now unless a program has to give it. It is taken out of the draft.
    fn token(&self, draft: &mut Draft, sink: &mut Sink) -> Option<Token> {
        match &draft.mint {
            Field::Absent => {}
            Field::Bad => return None,
            Field::Good(spec, at) => return mint(draft, spec, *at, sink),
        }
        let nothing = TokenSpec::Row(TokenSource::Missing, None);
        match &mut draft.token {
            Field::Bad => None,
            Field::Absent => {
                if draft.session.is_absent() {
                    let help =
                        "write `share_token`, or `source_session_id` for an entry whose token comes from `tokens`";
                    let message = "the entry has neither a token nor a source session";
                    sink.error(Code::MissingToken, draft.at, message, help);
                }
                Some(Token { source: TokenSource::Missing, claims: None })
            }
            Field::Good(spec, at) => match (std::mem::replace(spec, nothing), *at) {
                (TokenSpec::Row(source, claims), _) => Some(Token { source, claims }),
                (TokenSpec::Literal(token), _) => {
                    let claims = token.unverified_claims();
                    Some(Token { source: TokenSource::Literal(token), claims })
                }
                (TokenSpec::Reference(reference), at) => self.reference(draft, reference, at, sink),
            },
        }
    }

    /// A token that stands elsewhere.
    fn reference(&self, draft: &Draft, reference: SecretRef, at: At, sink: &mut Sink) -> Option<Token> {
        let read = match &reference {
            _ if !self.options.tokens => None,
            SecretRef::Exec { command, .. } => {
                self.exec(draft, at, command, sink);
                None
            }
            SecretRef::Env(name) => Some(secrets::read_env(name, &self.options.env)),
            SecretRef::File { written, path, roots } => Some(secrets::read_file(written, path, roots)),
        };
        let token = match read {
            None => return Some(Token { source: TokenSource::reference(reference), claims: None }),
            Some(Ok(text)) => ShareToken::parse(&text).map_err(|_| (Code::MalformedToken, NOT_A_TOKEN.to_owned())),
            Some(Err(error)) => Err((Code::UnreadableSecret, error.to_string())),
        };
        match token {
            Ok(token) => {
                let claims = token.unverified_claims();
                let referred = Referred { reference, now: Some(token) };
                Some(Token { source: TokenSource::Reference(Box::new(referred)), claims })
            }
            Err((code, message)) => {
                let help = format!("put the whole token into {}, or correct the reference", reference.describe());
                sink.error(code, draft.at, message, help);
                None
            }
        }
    }

    fn exec(&self, draft: &Draft, at: At, command: &[String], sink: &mut Sink) {
        if draft.session.is_absent() {
            let help = "write `source_session_id: UUID`, so that the program need not run for an entry that is done";
            let message = "a token had by `exec` needs the entry's `source_session_id`";
            sink.error(Code::ExecNeedsSession, draft.at, message, help);
        }
        exec_allowed(sink, self.options, at, command);
    }

    /// How it is kept, once filled in and measured. Where the token is not `sound`, that its session is not known has
    /// been told.
    fn vendor_data(
        &self,
        draft: &Draft,
        session: Option<Uuid>,
        label: Label<'_>,
        sound: bool,
        sink: &mut Sink,
    ) -> Result<Vendor, Told> {
        let own = &draft.settings.vendor;
        let set = self.source.map_or(&Field::Absent, |source| &source.vendor);
        let (template, at) = match first([own, set, &self.defaults.vendor]) {
            Field::Absent => return Ok(Vendor::None),
            Field::Bad => return Err(Told),
            Field::Good(template, at) => (template, *at),
        };
        if own.is_absent() && template.is_harmless(session, draft.id.good().is_some(), VENDOR_LIMIT) {
            return Ok(Vendor::Filled);
        }
        let Some(text) = template.fill(session, label) else {
            if !self.options.tokens {
                // The token might name it.
                return Ok(Vendor::None);
            }
            if sound {
                let help = "write `source_session_id` into the entry, or a `vendor_data` of its own";
                let message = "`vendor_data` asks for the source session, which the token does not name";
                sink.error(Code::MissingKey, draft.at, message, help);
            }
            return Err(Told);
        };
        if let (Field::Good(_, at), Field::Good(other, _)) = (own, set) {
            let other = other.fill(session, label);
            if other.as_deref() != Some(text.as_str()) {
                contradicts(sink, *at, "vendor_data", &truncated(&other.unwrap_or_default()));
            }
        }
        if holds_secret(&text) {
            secret(sink, at, "vendor_data");
            return Err(Told);
        }
        if text.len() > VENDOR_LIMIT {
            let message = format!(
                "`vendor_data` has {} bytes once filled in, over the {VENDOR_LIMIT} that Didit takes",
                text.len()
            );
            sink.error(Code::VendorDataTooLong, at, message, format!("shorten it to {VENDOR_LIMIT} bytes"));
            return Err(Told);
        }
        Ok(if own.is_absent() { Vendor::Filled } else { Vendor::Own(text.into()) })
    }

    fn workflow(&self, draft: &Draft, sink: &mut Sink) -> Option<WorkflowChoice> {
        let own = &draft.settings.workflow;
        let set = self.source.map_or(&Field::Absent, |source| &source.workflow);
        if let (Field::Good(own, at), Field::Good(set, _)) = (own, set) {
            let kinds = [Some(SessionKind::User), Some(SessionKind::Business)];
            let agrees = own == set
                || kinds.iter().any(|kind| set.resolve(*kind).is_some() && set.resolve(*kind) == own.resolve(*kind));
            if !agrees {
                contradicts(sink, *at, "workflow_id", "another one");
            }
        }
        match first([own, set, &self.defaults.workflow]) {
            Field::Good(workflow, _) => Some(*workflow),
            Field::Bad => None,
            Field::Absent => {
                let help = "write `workflow_id` into the entry, its source or `defaults`";
                sink.error(Code::MissingWorkflow, draft.at, "the entry has no `workflow_id`", help);
                None
            }
        }
    }

    fn trust_review(&self, draft: &Draft, sink: &mut Sink) -> Option<bool> {
        let own = &draft.settings.trust;
        let set = self.source.map_or(&Field::Absent, |source| &source.trust);
        if let (Field::Good(own, at), Field::Good(set, _)) = (own, set)
            && own != set
        {
            contradicts(sink, *at, "trust_review", if *set { "true" } else { "false" });
        }
        match first([own, set, &self.defaults.trust]) {
            Field::Good(trust, _) => Some(*trust),
            Field::Bad => None,
            Field::Absent => {
                let help = "write `trust_review: true` or `false` into the entry, its source or `defaults`";
                sink.error(Code::MissingTrustReview, draft.at, "the entry has no `trust_review`", help);
                None
            }
        }
    }
}

/// A token that is minted when its turn has come.
fn mint(draft: &Draft, spec: &MintSpec, at: At, sink: &mut Sink) -> Option<Token> {
    if !draft.token.is_absent() {
        let at = draft.token.at().unwrap_or(at);
        let message = "the entry has a token, and `mint` is to make one as well";
        sink.error(Code::TokenAndMint, at, message, "keep one of the two");
        return None;
    }
    let mint =
        Mint { partner: spec.partner.good()?.clone(), session_id: *spec.session.good()?, ttl: *spec.ttl.good()? };
    Some(Token { source: TokenSource::Mint(Box::new(mint)), claims: None })
}

fn session(draft: &Draft, claims: Option<&Claims>, sink: &mut Sink) -> Option<Uuid> {
    let claimed = claims.and_then(|claims| claims.session_id);
    let Field::Good(session, at) = &draft.session else { return draft.own_session().or(claimed) };
    let minted = draft.mint.good().and_then(|mint| mint.session.good());
    if let Some(other) = minted.filter(|other| *other != session) {
        let message = format!("a token is minted for session {other}, the entry is for {session}");
        let help = "correct one of the two, or leave `source_session_id` out";
        sink.error(Code::SessionMismatch, *at, message, help);
    }
    if let Some(other) = claimed.filter(|other| other != session) {
        let at = draft.token.at().unwrap_or(draft.at);
        let message = format!("the token is for session {other}, the entry for {session}");
        sink.error(
            Code::SessionMismatch,
            at,
            message,
            "put the token of this session here, or correct `source_session_id`",
        );
    }
    Some(*session)
}

/// A token or key where it would be kept and shown.
fn secret(sink: &mut Sink, at: At, key: &str) {
    let message = format!("`{key}` holds a share token or an API key, and would be kept and shown");
    sink.error(Code::SecretMisplaced, at, message, "a token belongs under `share_token`; write another value");
}

fn contradicts(sink: &mut Sink, at: At, key: &str, set: &str) {
    let message = format!("the source sets `{key}` itself, to {set}; this row says otherwise");
    sink.error(Code::ContradictsSource, at, message, format!("drop `{key}` from the source or from its rows"));
}

/// Says that a program would have to run, where nobody allowed it.
pub(super) fn exec_allowed(sink: &mut Sink, options: &LoadOptions, at: At, command: &[String]) {
    if options.allow_exec {
        return;
    }
    let program = command.first().map_or("", String::as_str);
    let message = format!("the program `{}` would have to run", truncated(program));
    let help = "allow it with `--allow-exec`, if you trust the manifest";
    if options.sending {
        sink.error(Code::ExecNotAllowed, at, message, help);
    } else {
        sink.warning(Code::ExecNotAllowed, at, message, help);
    }
}

/// The first that is not absent.
fn first<T>(fields: [&Field<T>; 3]) -> &Field<T> {
    fields.into_iter().find(|field| !field.is_absent()).unwrap_or(&Field::Absent)
}
