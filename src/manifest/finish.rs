//! A draft becomes an entry: the source's settings and the defaults fill in what it leaves open, its token is read
//! where that may be done while planning, `vendor_data` is filled in, and what is missing is told at its first line.

use uuid::Uuid;

use super::code::Code;
use super::decode::{NOT_A_TOKEN, truncated};
use super::draft::{Draft, Field, MintSpec, Settings, TokenSpec};
use super::load::LoadOptions;
use super::model::{Entry, Mint, Place, SecretRef, TokenSource, WorkflowChoice};
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
    /// Where its id stands, if it was given one.
    pub(super) id_at: Option<At>,
    /// Where its token stands.
    pub(super) token_at: Option<At>,
    /// Whether it came from `sources`, and its source says `on_duplicate: latest`.
    pub(super) row: Option<Origin>,
}

/// How the rows of a source are dealt with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) latest: bool,
    pub(super) skip: bool,
}

/// What entries of one manifest share.
pub(super) struct Finisher<'a> {
    pub(super) sink: &'a mut Sink,
    pub(super) defaults: &'a Settings,
    pub(super) options: &'a LoadOptions,
}

/// Something is wrong and was reported.
struct Told;

/// A token as far as it is known.
struct Token {
    source: TokenSource,
    now: Option<ShareToken>,
    claims: Option<Claims>,
}

impl Finisher<'_> {
    /// The entry of a draft; `None` where something is wrong, which is reported.
    pub(super) fn finish(&mut self, draft: &Draft, source: Option<&Settings>, row: Option<Origin>) -> Option<Item> {
        let errors = self.sink.errors();
        let token = self.token(draft);
        let session = self.session(draft, token.as_ref().and_then(|token| token.claims.as_ref()));
        let place = Place { file: self.sink.shown(draft.at.file).to_owned(), line: draft.at.mark.line };
        let id = match (&draft.id, session) {
            (Field::Good(id, _), _) => id.clone(),
            (_, Some(session)) => session.to_string(),
            _ => place.to_string(),
        };
        if let Field::Good(id, at) = &draft.id
            && holds_secret(id)
        {
            self.secret(*at, "id");
        }
        let bad = draft.token.is_bad() || draft.session.is_bad() || draft.id.is_bad() || token.is_none();
        let sound = !bad && self.sink.errors() == errors;
        let vendor_data = self.vendor_data(draft, source, session, &id, sound);
        let workflow = self.workflow(draft, source);
        let trust_review = self.trust_review(draft, source);
        if self.sink.errors() > errors || bad {
            return None;
        }
        let token = token?;
        let entry = Entry {
            id,
            place,
            source_session_id: session,
            session_kind: token.claims.as_ref().and_then(|claims| claims.session_kind),
            token: token.source,
            token_now: token.now,
            claims: token.claims,
            workflow: Some(workflow?),
            trust_review: Some(trust_review?),
            vendor_data: vendor_data.ok()?,
            expect: self.expect(draft, source),
            invalid: None,
        };
        let (id_at, token_at) = (draft.id.at(), draft.token.at());
        Some(Item { entry, at: draft.at, id_at, token_at, row })
    }

    /// The token, read now unless a program has to give it.
    fn token(&mut self, draft: &Draft) -> Option<Token> {
        match &draft.mint {
            Field::Absent => {}
            Field::Bad => return None,
            Field::Good(spec, at) => return self.mint(draft, spec, *at),
        }
        let (spec, at) = match &draft.token {
            Field::Good(spec, at) => (spec, *at),
            Field::Bad => return None,
            Field::Absent => {
                if draft.session.is_absent() {
                    let help =
                        "write `share_token`, or `source_session_id` for an entry whose token comes from `tokens`";
                    self.sink.error(
                        Code::MissingToken,
                        draft.at,
                        "the entry has neither a token nor a source session",
                        help,
                    );
                }
                return Some(Token { source: TokenSource::Missing, now: None, claims: None });
            }
        };
        let read = match spec {
            TokenSpec::Literal(token) => {
                let claims = token.unverified_claims();
                return Some(Token { source: TokenSource::Literal, now: Some(token.clone()), claims });
            }
            TokenSpec::Reference(reference) if !self.options.tokens => {
                return Some(Token { source: TokenSource::Reference(reference.clone()), now: None, claims: None });
            }
            TokenSpec::Reference(reference @ SecretRef::Exec { command, .. }) => {
                self.exec(draft, at, command);
                return Some(Token { source: TokenSource::Reference(reference.clone()), now: None, claims: None });
            }
            TokenSpec::Reference(SecretRef::Env(name)) => secrets::read_env(name, &self.options.env),
            TokenSpec::Reference(SecretRef::File { written, path, roots }) => secrets::read_file(written, path, roots),
        };
        let TokenSpec::Reference(reference) = spec else { return None };
        let token = match read {
            Ok(text) => ShareToken::parse(&text).map_err(|_| (Code::MalformedToken, NOT_A_TOKEN.to_owned())),
            Err(error) => Err((Code::UnreadableSecret, error.to_string())),
        };
        match token {
            Ok(token) => {
                let claims = token.unverified_claims();
                Some(Token { source: TokenSource::Reference(reference.clone()), now: Some(token), claims })
            }
            Err((code, message)) => {
                let help = format!("put the whole token into {}, or correct the reference", reference.describe());
                self.sink.error(code, draft.at, message, help);
                None
            }
        }
    }

    /// A token that is minted when its turn has come.
    fn mint(&mut self, draft: &Draft, spec: &MintSpec, at: At) -> Option<Token> {
        if !draft.token.is_absent() {
            let at = draft.token.at().unwrap_or(at);
            let message = "the entry has a token, and `mint` is to make one as well";
            self.sink.error(Code::TokenAndMint, at, message, "keep one of the two");
            return None;
        }
        let mint =
            Mint { partner: spec.partner.good()?.clone(), session_id: *spec.session.good()?, ttl: *spec.ttl.good()? };
        Some(Token { source: TokenSource::Mint(mint), now: None, claims: None })
    }

    fn exec(&mut self, draft: &Draft, at: At, command: &[String]) {
        if draft.session.is_absent() {
            let help = "write `source_session_id: UUID`, so that the program need not run for an entry that is done";
            let message = "a token had by `exec` needs the entry's `source_session_id`";
            self.sink.error(Code::ExecNeedsSession, draft.at, message, help);
        }
        exec_allowed(self.sink, self.options, at, command);
    }

    fn session(&mut self, draft: &Draft, claims: Option<&Claims>) -> Option<Uuid> {
        let claimed = claims.and_then(|claims| claims.session_id);
        let Field::Good(session, at) = &draft.session else { return draft.own_session().or(claimed) };
        let minted = draft.mint.good().and_then(|mint| mint.session.good());
        if let Some(other) = minted.filter(|other| *other != session) {
            let message = format!("a token is minted for session {other}, the entry is for {session}");
            let help = "correct one of the two, or leave `source_session_id` out";
            self.sink.error(Code::SessionMismatch, *at, message, help);
        }
        if let Some(other) = claimed.filter(|other| other != session) {
            let at = draft.token.at().unwrap_or(draft.at);
            let message = format!("the token is for session {other}, the entry for {session}");
            self.sink.error(
                Code::SessionMismatch,
                at,
                message,
                "put the token of this session here, or correct `source_session_id`",
            );
        }
        Some(*session)
    }

    /// Filled in and measured; `None` is an entry without. Where the token is not
    /// `sound`, that its session is not known has been told.
    fn vendor_data(
        &mut self,
        draft: &Draft,
        source: Option<&Settings>,
        session: Option<Uuid>,
        id: &str,
        sound: bool,
    ) -> Result<Option<String>, Told> {
        let own = &draft.settings.vendor;
        let set = source.map_or(&Field::Absent, |source| &source.vendor);
        let chosen = first([own, set, &self.defaults.vendor]);
        let (template, at) = match chosen {
            Field::Absent => return Ok(None),
            Field::Bad => return Err(Told),
            Field::Good(template, at) => (template, *at),
        };
        let Some(text) = template.fill(session, id) else {
            if !self.options.tokens {
                // The token might name it.
                return Ok(None);
            }
            if sound {
                let help = "write `source_session_id` into the entry, or a `vendor_data` of its own";
                let message = "`vendor_data` asks for the source session, which the token does not name";
                self.sink.error(Code::MissingKey, draft.at, message, help);
            }
            return Err(Told);
        };
        if let (Field::Good(_, at), Field::Good(other, _)) = (own, set) {
            let other: &Template = other;
            if other.fill(session, id).as_deref() != Some(text.as_str()) {
                self.contradicts(*at, "vendor_data", &truncated(&other.fill(session, id).unwrap_or_default()));
            }
        }
        if holds_secret(&text) {
            self.secret(at, "vendor_data");
            return Err(Told);
        }
        if text.len() > VENDOR_LIMIT {
            let message = format!(
                "`vendor_data` has {} bytes once filled in, over the {VENDOR_LIMIT} that Didit takes",
                text.len()
            );
            self.sink.error(Code::VendorDataTooLong, at, message, format!("shorten it to {VENDOR_LIMIT} bytes"));
            return Err(Told);
        }
        Ok(Some(text))
    }

    fn workflow(&mut self, draft: &Draft, source: Option<&Settings>) -> Option<WorkflowChoice> {
        let own = &draft.settings.workflow;
        let set = source.map_or(&Field::Absent, |source| &source.workflow);
        if let (Field::Good(own, at), Field::Good(set, _)) = (own, set) {
            let kinds = [Some(SessionKind::User), Some(SessionKind::Business)];
            let agrees = own == set
                || kinds.iter().any(|kind| set.resolve(*kind).is_some() && set.resolve(*kind) == own.resolve(*kind));
            if !agrees {
                self.contradicts(*at, "workflow_id", "another one");
            }
        }
        match first([own, set, &self.defaults.workflow]) {
            Field::Good(workflow, _) => Some(*workflow),
            Field::Bad => None,
            Field::Absent => {
                let help = "write `workflow_id` into the entry, its source or `defaults`";
                self.sink.error(Code::MissingWorkflow, draft.at, "the entry has no `workflow_id`", help);
                None
            }
        }
    }

    fn trust_review(&mut self, draft: &Draft, source: Option<&Settings>) -> Option<bool> {
        let own = &draft.settings.trust;
        let set = source.map_or(&Field::Absent, |source| &source.trust);
        if let (Field::Good(own, at), Field::Good(set, _)) = (own, set)
            && own != set
        {
            self.contradicts(*at, "trust_review", if *set { "true" } else { "false" });
        }
        match first([own, set, &self.defaults.trust]) {
            Field::Good(trust, _) => Some(*trust),
            Field::Bad => None,
            Field::Absent => {
                let help = "write `trust_review: true` or `false` into the entry, its source or `defaults`";
                self.sink.error(Code::MissingTrustReview, draft.at, "the entry has no `trust_review`", help);
                None
            }
        }
    }

    /// The nearest list there is replaces those further out, as any setting does. Rows have none.
    fn expect(&self, draft: &Draft, source: Option<&Settings>) -> Expectations {
        let set = source.map_or(&Field::Absent, |source| &source.expect);
        first([&draft.settings.expect, set, &self.defaults.expect]).good().cloned().unwrap_or_default()
    }

    /// A token or key where it would be kept and shown.
    fn secret(&mut self, at: At, key: &str) {
        let message = format!("`{key}` holds a share token or an API key, and would be kept and shown");
        self.sink.error(Code::SecretMisplaced, at, message, "a token belongs under `share_token`; write another value");
    }

    fn contradicts(&mut self, at: At, key: &str, set: &str) {
        let message = format!("the source sets `{key}` itself, to {set}; this row says otherwise");
        self.sink.error(Code::ContradictsSource, at, message, format!("drop `{key}` from the source or from its rows"));
    }
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
