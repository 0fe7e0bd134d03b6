//! One request over HTTP, and nothing more: the only file that names reqwest. In simulated time, a server within the
//! process takes its place ([`Server`]); everything above is the same.
//!
//! - Redirects are off, since the key must not travel; a 3xx is an answer like any other.
//! - Nothing is sent twice. reqwest's own policy, which resends after an HTTP/2 refusal, is replaced by
//!   [`reqwest::retry::never`]. What remains is below it: a pooled connection found dead before a byte of the request
//!   was taken is replaced by a fresh one, which is not a second sending.
//! - The timeout spans everything from the call to the last byte of the body. Connecting has a shorter one of its own,
//!   so that a connection that hangs is known to have carried nothing.
//! - A body is read up to [`MAX_BODY`]; one that ends before its announced length is an error, never a short success.
//! - The key and the bodies, which hold tokens, are wiped when the last request is done with them. What the layers below
//!   copy into their buffers is beyond reach.
//! - Idle connections are dropped after [`IDLE`], before usual servers drop them: an answer lost to that race would
//!   be an unknown outcome.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, redirect, retry};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::rate::http_date;
use super::{ApiKey, Class, Failure, RateHeaders};

/// The largest body that is read, in bytes. An answer to an import has some 10 kB.
const MAX_BODY: usize = 8 * 1024 * 1024;
const IDLE: Duration = Duration::from_secs(30);
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL isn't one that a key may be sent to.
    #[error("the base URL {0}")]
    BaseUrl(&'static str),
    /// The HTTP library can't be set up, for example for lack of root certificates.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

/// An answer that came whole, of any status.
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// A server within the process.
pub trait Server: Send + Sync {
    /// Answers a request, in its own time; `None` where the connection is lost.
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<Option<Response>>;
}

/// A future that a [`Server`] gives.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A request to a [`Server`].
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub verb: Verb,
    /// The address.
    pub url: Url,
    /// The body, JSON.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

/// A [`Server`]'s answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the headers of an answer say, body or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) rate: RateHeaders,
    pub(super) server_date: Option<Timestamp>,
    pub(super) sandbox: bool,
}

/// The way to the API, as one key.
#[derive(Clone)]
pub(super) enum Transport {
    Http(Http),
    InProcess(Arc<dyn Server>),
}

impl Transport {
    /// Sends one request and reads its whole answer. `with_key` is false for what is public.
    pub(super) async fn send(
        &self,
        verb: Verb,
        url: Url,
        body: Option<Zeroizing<Vec<u8>>>,
        with_key: bool,
    ) -> (Head, Result<Raw, Failure>) {
        match self {
            Self::Http(http) => http.send(verb, url, body, with_key).await,
            Self::InProcess(server) => match Arc::clone(server).answer(Request { verb, url, body }).await {
                None => (Head::default(), Err(lost())),
                Some(Response { status, headers, body }) => {
                    let text = |name: &str| headers.iter().find(|header| header.0 == name).map(|it| it.1.as_str());
                    (read_head(text), Ok(Raw { status, body: body.into() }))
                }
            },
        }
    }
}

/// A connection pool that speaks as one key.
#[derive(Clone)]
pub(super) struct Http {
    pool: reqwest::Client,
    key: HeaderValue,
    timeout: Duration,
}

impl Http {
    /// # Panics
    /// Never: an [`ApiKey`] is printable ASCII.
    pub(super) fn new(base: &Url, key: &ApiKey, timeout: Duration) -> Result<Self, ClientError> {
        check_base(base)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("didit-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(base.scheme() == "https")
            .timeout(timeout)
            .connect_timeout(MAX_CONNECT.min(timeout.mul_f32(0.8)))
            .pool_idle_timeout(IDLE);
        if is_loopback(base) {
            builder = builder.no_proxy();
        }
        let key = Bytes::from_owner(Zeroizing::new(key.expose().as_bytes().to_owned()));
        let mut header = HeaderValue::from_maybe_shared(key).expect("printable ASCII can stand in a header");
        header.set_sensitive(true);
        Ok(Self {
            pool: builder.build().map_err(|error| ClientError::Setup(error.without_url()))?,
            key: header,
            timeout,
        })
    }

    async fn send(
        &self,
        verb: Verb,
        url: Url,
        body: Option<Zeroizing<Vec<u8>>>,
        with_key: bool,
    ) -> (Head, Result<Raw, Failure>) {
        let method = match verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        };
        let mut request = self.pool.request(method, url).header(ACCEPT, "application/json");
        if with_key {
            request = request.header("x-api-key", self.key.clone());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(Bytes::from_owner(body));
        }
        match request.send().await {
            Err(error) => (Head::default(), Err(self.failed(&error))),
            Ok(response) => {
                let headers = response.headers();
                let head = read_head(|name| headers.get(name)?.to_str().ok());
                let status = response.status().as_u16();
                (head, self.read_body(response).await.map(|body| Raw { status, body }))
            }
        }
    }

    async fn read_body(&self, mut response: reqwest::Response) -> Result<Bytes, Failure> {
        let status = response.status().as_u16();
        let announced = response.content_length().unwrap_or(0).min(MAX_BODY as u64) as usize;
        // Most bodies come in one piece, which is taken as it is.
        let (mut first, mut body) = (Bytes::new(), Vec::new());
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if first.len() + body.len() + chunk.len() <= MAX_BODY => {
                    if first.is_empty() && body.is_empty() {
                        first = chunk;
                        continue;
                    }
                    if body.is_empty() {
                        body.reserve(announced.max(first.len() + chunk.len()));
                        body.extend_from_slice(&std::mem::take(&mut first));
                    }
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return lost_body(status, &Failure::protocol(status, "an answer of more than 8 MiB")),
                Ok(None) if body.is_empty() => return Ok(first),
                Ok(None) => return Ok(body.into()),
                Err(error) if error.is_timeout() => {
                    let detail = format!("HTTP {status}, but its body did not end {}", self.in_time());
                    return lost_body(status, &Failure::unknown(Class::Timeout, Some(status), detail));
                }
                Err(_) => {
                    let detail = format!("HTTP {status}, but the connection was lost before its body ended");
                    return lost_body(status, &Failure::unknown(Class::Network, Some(status), detail));
                }
            }
        }
    }

    /// What a request without an answer means.
    fn failed(&self, error: &reqwest::Error) -> Failure {
        if error.is_builder() {
            return Failure::not_sent(Class::Protocol, "no request could be made of the address");
        }
        if error.is_connect() {
            return Failure::not_sent(Class::Network, connect_trouble(error));
        }
        if error.is_timeout() {
            return Failure::unknown(Class::Timeout, None, format!("no answer {}", self.in_time()));
        }
        if chain(error).any(|text| text.contains("invalid http") || text.contains("invalid header")) {
            return Failure::unknown(Class::Protocol, None, "the answer is not HTTP".to_owned());
        }
        lost()
    }

    fn in_time(&self) -> String {
        format!("within {} s", self.timeout.as_secs_f32())
    }
}

fn lost() -> Failure {
    Failure::unknown(Class::Network, None, "the connection was lost before an answer came".to_owned())
}

/// A body that did not come whole matters less where the status alone decides: 429 and 5xx.
fn lost_body(status: u16, failure: &Failure) -> Result<Bytes, Failure> {
    if status == 429 || status >= 500 { Ok(Bytes::new()) } else { Err(failure.clone()) }
}

/// Why no connection came to be, in fixed words.
fn connect_trouble(error: &reqwest::Error) -> &'static str {
    let refused = sources(error)
        .filter_map(|source| source.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
    if refused {
        "connection refused"
    } else if error.is_dns() {
        "the host's name could not be resolved"
    } else if error.is_timeout() {
        "no connection came to be in time"
    } else if chain(error).any(|text| text.contains("certificate")) {
        "the server's certificate was not accepted"
    } else if chain(error).any(|text| text.contains("tunnel") || text.contains("proxy")) {
        "the proxy made no connection"
    } else if chain(error).any(|text| text.contains("handshake") || text.contains("tls") || text.contains("corrupt")) {
        "no secure connection could be agreed on"
    } else {
        "no connection could be made"
    }
}

fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&source| source.source())
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = String> {
    sources(error).map(|source| source.to_string().to_lowercase())
}

fn read_head<'h>(text: impl Fn(&str) -> Option<&'h str>) -> Head {
    let server_date = text("date").and_then(http_date);
    Head {
        rate: RateHeaders::read(&text, server_date.unwrap_or_else(Timestamp::now)),
        server_date,
        sandbox: text("server").is_some_and(|server| server.to_ascii_lowercase().contains("sandbox")),
    }
}

/// A key goes over https, or to this machine.
fn check_base(base: &Url) -> Result<(), ClientError> {
    let why = match base.scheme() {
        _ if base.host().is_none() => "names no host",
        _ if !base.username().is_empty() || base.password().is_some() => "must not hold a user or a password",
        _ if base.query().is_some() || base.fragment().is_some() => "must not hold a query or a fragment",
        "https" => return Ok(()),
        "http" if is_loopback(base) => return Ok(()),
        "http" => "must begin with https, except for a loopback address",
        _ => "must begin with https",
    };
    Err(ClientError::BaseUrl(why))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_only_sent_over_https_or_to_loopback() {
        let check = |text: &str| check_base(&text.parse().unwrap()).is_ok();
        for good in ["https://verification.didit.me", "http://127.0.0.1:8787/", "http://[::1]:1", "http://localhost/x"]
        {
            assert!(check(good), "{good}");
        }
        for bad in [
            "http://verification.didit.me",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://localhost",
            "data:text/plain,x",
            "https://user@host",
            "https://host?x=1",
            "https://host#x",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }
}
