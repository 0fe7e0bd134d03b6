//! The calls of the API that this program makes, one method each.
//!
//! Each method sends exactly one request, so that whoever paces the sending counts what is sent. Paths end with a slash, since a
//! request to the other form is redirected and loses its key (`didit-api.md` section 1).

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, civil};
use serde::Serialize;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::classify::{ImportContext, classify_import, classify_read, classify_share};
use super::transport::{ClientError, Head, Http, Raw, Server, Transport, Verb};
use super::wire::{Decision, RawPage, SessionRow, Unread, Workflow, read_page, read_rows, read_workflows};
use super::{ApiKey, Environment, Failure, RateHeaders};
use crate::token::{SessionKind, ShareToken};

/// Workflows a page.
const WORKFLOW_PAGE: &str = "100";

/// What came of a call.
#[derive(Debug)]
pub struct Answer<T> {
    /// The result, or why there is none.
    pub result: Result<T, Failure>,
    /// The rate-limit headers of the (last) answer.
    pub rate: RateHeaders,
    /// The server's clock (`Date`).
    pub server_date: Option<Timestamp>,
    /// Whether the `Server` header says that it is a sandbox.
    pub sandbox: bool,
}

/// An import (`didit-api.md` section 2).
#[derive(Clone, Copy, Debug)]
pub struct ImportRequest<'r> {
    /// The token.
    pub token: &'r ShareToken,
    /// Whether the source's status is kept. Always sent.
    pub trust_review: bool,
    /// A workflow of the receiving application.
    pub workflow_id: Uuid,
    /// The new session's `vendor_data`; not sent where there is none.
    pub vendor_data: Option<&'r str>,
}

/// The minting of a token (`didit-api.md` section 3), with a key of the source application.
#[derive(Clone, Copy, Debug)]
pub struct ShareRequest {
    /// The session to share.
    pub session_id: Uuid,
    /// The application that may import it.
    pub for_application_id: Uuid,
    /// The token's lifetime, 60 to 86,400 seconds; the API's default is an hour.
    pub ttl: Option<Duration>,
}

/// Which sessions to list (`didit-api.md` section 4), newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Their kind: each has its own list.
    pub kind: SessionKind,
    /// Their `vendor_data`, exactly.
    pub vendor_data: Option<String>,
    /// Their workflow.
    pub workflow_id: Option<Uuid>,
    /// The first day of their creation, in UTC.
    pub date_from: Option<civil::Date>,
    /// Rows a page.
    pub limit: u32,
    /// Rows to skip.
    pub offset: u32,
}

impl ListQuery {
    /// All sessions of a kind, 50 a page.
    #[must_use]
    pub fn new(kind: SessionKind) -> Self {
        Self { kind, vendor_data: None, workflow_id: None, date_from: None, limit: 50, offset: 0 }
    }
}

/// The address of the next page, on the API's own host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next(Url);

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// The API's count of all rows; stops at 100 for businesses, so never page by it.
    pub count: Option<u64>,
    /// The next page.
    pub next: Option<Next>,
}

/// The API as one key sees it. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    /// Its path is without a trailing slash, and without `/v3`.
    base: Url,
    /// Where imports go.
    imports: Url,
    environment: Option<Environment>,
    application: Option<Uuid>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct ImportBody<'r> {
    share_token: &'r str,
    trust_review: bool,
    workflow_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor_data: Option<&'r str>,
}

#[derive(Serialize)]
struct ShareBody {
    for_application_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_in_seconds: Option<u64>,
}

impl Client {
    /// A client for the API at `base` (scheme, host, perhaps a path; a trailing `/v3` is understood). `timeout` is
    /// that of one whole request. The key is taken, so that no other copy need live.
    #[expect(clippy::needless_pass_by_value, reason = "the caller's copy of the key is wiped here")]
    pub fn new(base: &Url, key: ApiKey, timeout: Duration) -> Result<Self, ClientError> {
        let path = base.path().trim_end_matches('/');
        let transport = Transport::Http(Http::new(base, &key, timeout)?);
        let client = Self::at_base(transport, at(base, path.strip_suffix("/v3").unwrap_or(path)));
        Ok(Self { environment: key.environment(), ..client })
    }

    /// A client of a server within the process, which has no key and takes any address at `base`.
    #[must_use]
    pub fn in_process(base: &Url, server: Arc<dyn Server>) -> Self {
        Self::at_base(Transport::InProcess(server), at(base, base.path().trim_end_matches('/')))
    }

    fn at_base(transport: Transport, base: Url) -> Self {
        let imports = below(&base, "/v3/session/import-shared/");
        Self { transport, base, imports, environment: None, application: None }
    }

    /// Says which application receives, so that refusals can be explained by a token's audience.
    #[must_use]
    pub fn for_application(mut self, id: Option<Uuid>) -> Self {
        self.application = id;
        self
    }

    /// What the key's prefix says of its application.
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        self.environment
    }

    /// Imports a shared session. Any 2xx with a session id is a success; of the decision, its head is read.
    pub async fn import_shared(&self, request: &ImportRequest<'_>) -> Answer<Decision> {
        let body = ImportBody {
            share_token: request.token.expose(),
            trust_review: request.trust_review,
            workflow_id: request.workflow_id,
            vendor_data: request.vendor_data,
        };
        self.call(Verb::Post, self.imports.clone(), Some(json(&body)), |raw, head| {
            read_success(raw, Decision::read_head).unwrap_or_else(|| {
                let claims = request.token.unverified_claims();
                let now = head.server_date.unwrap_or_else(Timestamp::now);
                let context = ImportContext { claims: claims.as_ref(), application: self.application, now };
                Err(classify_import(raw.status, &raw.body, &context))
            })
        })
        .await
    }

    /// Mints a token for another application.
    pub async fn share(&self, request: &ShareRequest) -> Answer<ShareToken> {
        let ttl_in_seconds = request.ttl.map(|ttl| ttl.as_secs());
        let body = ShareBody { for_application_id: request.for_application_id, ttl_in_seconds };
        let url = self.v3(&["session", &request.session_id.to_string(), "share"]);
        self.call(Verb::Post, url, Some(json(&body)), |raw, _| {
            read_success(raw, minted).unwrap_or_else(|| Err(classify_share(raw.status, &raw.body)))
        })
        .await
    }

    /// The first page of a list of sessions.
    pub async fn sessions(&self, query: &ListQuery) -> Answer<Page<SessionRow>> {
        let mut url = self.v3(&["sessions"]);
        append_query(&mut url, query);
        self.page(url, read_rows).await
    }

    /// The page after one that [`Client::sessions`] or this gave.
    pub async fn sessions_after(&self, next: &Next) -> Answer<Page<SessionRow>> {
        self.page(next.0.clone(), read_rows).await
    }

    /// A session with its results; `None` where the API knows no such session.
    pub async fn decision(&self, session_id: Uuid) -> Answer<Option<Decision>> {
        let other = |raw: &Raw| Failure::protocol(raw.status, "the decision of another session");
        self.decision_as(session_id, |raw| {
            let read = read_success(raw, Decision::read)?;
            Some(read.and_then(|it| if it.session_id == session_id { Ok(it) } else { Err(other(raw)) }))
        })
        .await
    }

    /// The same, not read yet.
    pub async fn unread_decision(&self, session_id: Uuid) -> Answer<Option<Unread>> {
        let unread = |raw: &Raw| read_success(raw, |_| Ok::<_, ()>(Unread::new(session_id, raw.body.clone())));
        self.decision_as(session_id, unread).await
    }

    async fn decision_as<T>(
        &self,
        session_id: Uuid,
        success: impl FnOnce(&Raw) -> Option<Result<T, Failure>>,
    ) -> Answer<Option<T>> {
        let url = self.v3(&["session", &session_id.to_string(), "decision"]);
        self.call(Verb::Get, url, None, |raw, _| match success(raw) {
            Some(read) => read.map(Some),
            None => none_if_missing(raw, None),
        })
        .await
    }

    /// The first page of the application's workflows; newer versions of the API have several, older ones one.
    pub async fn workflows(&self) -> Answer<Page<Workflow>> {
        let mut url = self.v3(&["workflows"]);
        url.query_pairs_mut().append_pair("limit", WORKFLOW_PAGE);
        self.page(url, read_workflows).await
    }

    /// The page after one that [`Client::workflows`] or this gave.
    pub async fn workflows_after(&self, next: &Next) -> Answer<Page<Workflow>> {
        self.page(next.0.clone(), read_workflows).await
    }

    /// Deletes a session for good. A session that is gone already counts as deleted.
    pub async fn delete_session(&self, session_id: Uuid) -> Answer<()> {
        let url = self.v3(&["session", &session_id.to_string(), "delete"]);
        self.call(Verb::Delete, url, None, |raw, _| match raw.status {
            200 | 204 => Ok(()),
            _ => none_if_missing(raw, ()),
        })
        .await
    }

    /// Whether the API is up. Needs no key and is sent none; proves nothing about one.
    pub async fn healthcheck(&self) -> Answer<()> {
        let url = below(&self.base, "/system/healthcheck");
        let sent = self.transport.send(Verb::Get, url, None, false).await;
        finish(sent, |raw, _| match raw.status {
            200..=299 => Ok(()),
            status => Err(classify_read(status, &raw.body)),
        })
    }

    async fn page<T>(&self, url: Url, rows: fn(&RawPage) -> Option<Vec<T>>) -> Answer<Page<T>> {
        self.call(Verb::Get, url, None, |raw, _| {
            let read = |body: &[u8]| read_page(body).and_then(|page| Some((rows(&page)?, page))).ok_or(());
            let (rows, page) = read_success(raw, read).unwrap_or_else(|| Err(classify_read(raw.status, &raw.body)))?;
            let next = page.next.map(|next| self.next(&next, raw.status)).transpose()?;
            Ok(Page { rows, count: page.count, next })
        })
        .await
    }

    /// The next page's address, which must be on the API's own scheme, host and port: the key goes nowhere else.
    fn next(&self, text: &str, status: u16) -> Result<Next, Failure> {
        let base = below(&self.base, "/v3/");
        match base.join(text) {
            Ok(url) if url.origin() == self.base.origin() && url.username().is_empty() && url.password().is_none() => {
                Ok(Next(url))
            }
            _ => Err(Failure::protocol(status, "the next page is on another host, which is not asked")),
        }
    }

    async fn call<T>(
        &self,
        verb: Verb,
        url: Url,
        body: Option<Zeroizing<Vec<u8>>>,
        judge: impl FnOnce(&Raw, &Head) -> Result<T, Failure>,
    ) -> Answer<T> {
        finish(self.transport.send(verb, url, body, true).await, judge)
    }

    /// `{base}/v3/{segments}/`.
    fn v3(&self, segments: &[&str]) -> Url {
        below(&self.base, &format!("/v3/{}/", segments.join("/")))
    }
}

/// A URL's own scheme, host and port, with this path.
fn at(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url
}

/// A path below that of a base URL.
fn below(base: &Url, path: &str) -> Url {
    at(base, &format!("{}{path}", base.path().trim_end_matches('/')))
}

fn finish<T>(
    (head, raw): (Head, Result<Raw, Failure>),
    judge: impl FnOnce(&Raw, &Head) -> Result<T, Failure>,
) -> Answer<T> {
    Answer {
        result: raw.and_then(|raw| judge(&raw, &head)),
        rate: head.rate,
        server_date: head.server_date,
        sandbox: head.sandbox,
    }
}

/// Reads a 2xx; `None` for any other status. A 2xx that can't be read decides nothing.
fn read_success<T, E>(raw: &Raw, read: impl FnOnce(&[u8]) -> Result<T, E>) -> Option<Result<T, Failure>> {
    let unreadable = || Failure::protocol(raw.status, "a success that is not what the API answers to this request");
    matches!(raw.status, 200..=299).then(|| read(&raw.body).map_err(|_| unreadable()))
}

/// A 404 of the API's own is a result; a 404 of something else is not.
fn none_if_missing<T>(raw: &Raw, missing: T) -> Result<T, Failure> {
    let failure = classify_read(raw.status, &raw.body);
    if raw.status == 404 && failure.class == super::Class::SourceGone { Ok(missing) } else { Err(failure) }
}

fn minted(body: &[u8]) -> Result<ShareToken, ()> {
    let json: serde_json::Value = serde_json::from_slice(body).map_err(|_| ())?;
    let text = json.get("share_token").and_then(serde_json::Value::as_str).ok_or(())?;
    ShareToken::parse(text).map_err(|_| ())
}

/// A body in memory that is wiped, made to size so that growing it leaves no copies behind.
fn json(body: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut size = Size(0);
    let is_json = "texts, ids and booleans are JSON";
    serde_json::to_writer(&mut size, body).expect(is_json);
    let mut text = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *text, body).expect(is_json);
    text
}

/// Counts what is written.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn append_query(url: &mut Url, query: &ListQuery) {
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("session_kind", query.kind.as_str());
    if let Some(vendor_data) = &query.vendor_data {
        pairs.append_pair("vendor_data", vendor_data);
    }
    if let Some(workflow_id) = query.workflow_id {
        pairs.append_pair("workflow_id", &workflow_id.to_string());
    }
    if let Some(date) = query.date_from {
        pairs.append_pair("date_from", &date.to_string());
    }
    pairs.append_pair("limit", &query.limit.to_string());
    pairs.append_pair("offset", &query.offset.to_string());
}

#[cfg(test)]
mod tests;
