//! A server in front of the sandbox. It sees what the sandbox does not: the connections, what they speak, and how many
//! requests are in flight at once. It speaks TLS, HTTP/1.1 and HTTP/2, and lets the sandbox answer.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Version;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::scene::Scene;

/// How a front speaks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// With TLS, the protocols that it offers (ALPN), the best first; `None` without TLS.
    pub offers: Option<&'static [&'static str]>,
    /// How many requests it takes at once by one connection of HTTP/2.
    pub streams: Option<u32>,
    /// After how many requests it ends a connection, as proxies do: those that arrived are answered.
    pub requests_a_connection: Option<usize>,
}

/// What a front saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connections: usize,
    /// What each request came by.
    pub versions: Vec<Version>,
    pub in_flight: usize,
    pub most_in_flight: usize,
}

/// A running front, which ends when dropped.
pub struct Front {
    pub base_url: String,
    /// Its certificate, in PEM, which nobody vouches for; empty without TLS.
    pub certificate: String,
    seen: Arc<Mutex<Seen>>,
    // `None` only while dropping.
    runtime: Option<Runtime>,
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

impl Front {
    /// A front of a scene's sandbox.
    pub fn new(scene: &Scene, manner: Manner) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, certificate) = manner.offers.map(acceptor).unzip();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{address}");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let behind = Behind {
            client: reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            base_url: scene.running.base_url(),
            front: base_url.clone(),
            seen: Arc::clone(&seen),
        };
        runtime.spawn(listen(listener, tls, manner, behind));
        Self { base_url, certificate: certificate.unwrap_or_default(), seen, runtime: Some(runtime) }
    }

    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

/// The way on to the sandbox.
#[derive(Clone)]
struct Behind {
    client: reqwest::Client,
    base_url: String,
    /// The front's own address.
    front: String,
    seen: Arc<Mutex<Seen>>,
}

/// A connection's requests, as they come.
#[derive(Clone)]
struct Line {
    behind: Behind,
    requests: Arc<watch::Sender<usize>>,
}

/// A request in flight, until this is dropped: before its answer leaves, or where its client is gone.
struct InFlight(Arc<Mutex<Seen>>);

impl InFlight {
    fn begin(seen: &Arc<Mutex<Seen>>, version: Version) -> Self {
        let mut now = lock(seen);
        now.versions.push(version);
        now.in_flight += 1;
        now.most_in_flight = now.most_in_flight.max(now.in_flight);
        Self(Arc::clone(seen))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0).in_flight -= 1;
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap()
}

fn acceptor(offers: &[&str]) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificates = vec![made.cert.der().clone()];
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key).unwrap();
    config.alpn_protocols = offers.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, manner: Manner, behind: Behind) {
    while let Ok((line, _)) = listener.accept().await {
        lock(&behind.seen).connections += 1;
        tokio::spawn(welcome(line, tls.clone(), manner, behind.clone()));
    }
}

async fn welcome(line: TcpStream, tls: Option<TlsAcceptor>, manner: Manner, behind: Behind) {
    line.set_nodelay(true).unwrap();
    match tls {
        None => speak(line, manner, behind).await,
        Some(tls) => {
            if let Ok(line) = tls.accept(line).await {
                speak(line, manner, behind).await;
            }
        }
    }
}

async fn speak(line: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, manner: Manner, behind: Behind) {
    let (requests, mut counted) = watch::channel(0);
    let router = Router::new().fallback(pass_on).with_state(Line { behind, requests: Arc::new(requests) });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if let Some(streams) = manner.streams {
        builder.http2().max_concurrent_streams(streams);
    }
    let connection = builder.serve_connection(TokioIo::new(line), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let most = manner.requests_a_connection.unwrap_or(usize::MAX);
    let last = async { counted.wait_for(|requests| *requests >= most).await.is_ok() };
    // How a connection ends is its client's business: a program that is killed says no goodbye.
    tokio::select! {
        _ = connection.as_mut() => {}
        true = last => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn pass_on(State(line): State<Line>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let _in_flight = InFlight::begin(&line.behind.seen, parts.version);
    line.requests.send_modify(|requests| *requests += 1);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.headers.remove(HOST);
    let request = line.behind.client.request(parts.method, format!("{}{path}", line.behind.base_url));
    let answer = request.headers(parts.headers).body(body).send().await.unwrap();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    // They are of one connection and one body.
    for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        response.headers_mut().remove(name);
    }
    // A list says where it goes on.
    let body = answer.text().await.unwrap();
    *response.body_mut() = Body::from(body.replace(&line.behind.base_url, &line.behind.front));
    response
}
