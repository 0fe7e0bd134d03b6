//! The server: binds, takes every request through the same steps, and stops with its handle.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::token::{SessionKind, ShareToken};

use super::answer::Answer;
use super::api::{Call, perform};
use super::faults::{Drawn, Trouble};
use super::limits::{Budget, Standing, Verdict};
use super::route::{Operation, Route};
use super::shared::Shared;
use super::wire::{Line, Wires};
use super::{Config, Error, World};

/// The longest body read.
const BODY_BYTES: usize = 1 << 20;
/// How long a shutdown waits for answers in flight.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Starts sandboxes.
#[derive(Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Binds and serves until the handle is dropped or shut down. Needs a tokio runtime.
    pub async fn start(config: Config) -> Result<Running, Error> {
        if !config.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(config.listen));
        }
        let failed = |source| Error::Bind { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::new(config, format!("http://{address}")));
        let (stop, stopped) = watch::channel(false);
        let service = Service { shared: shared.clone(), stopped: stopped.clone() };
        let router = Router::new().fallback(serve_one).with_state(service);
        let service = router.into_make_service_with_connect_info::<Line>();
        let server = axum::serve(Wires(listener), service).with_graceful_shutdown(until(stopped));
        let task = tokio::spawn(async move {
            // It ends with the signal; errors of single connections end there.
            let _ = server.await;
        });
        Ok(Running { shared, stop, task })
    }
}

/// A running sandbox. Dropping it stops the server: idle connections close, hanging requests are answered.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Running {
    /// Stops accepting, waits for answers in flight (two seconds at most), and frees the port.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(SHUTDOWN, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }

    /// Asks the server to stop, without waiting for it.
    pub fn stop_now(&self) {
        self.stop.send_replace(true);
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.shared.base_url.clone()
    }

    /// The receiving application's key, with every privilege.
    #[must_use]
    pub fn api_key(&self) -> String {
        self.shared.names.receiver_key.clone()
    }

    /// The receiving application.
    #[must_use]
    pub fn application_id(&self) -> Uuid {
        self.shared.names.receiver
    }

    /// The partner's key, with every privilege.
    #[must_use]
    pub fn partner_key(&self) -> String {
        self.shared.names.partner_key.clone()
    }

    /// The application that shares.
    #[must_use]
    pub fn partner_application_id(&self) -> Uuid {
        self.shared.names.partner
    }

    /// The receiving application's published workflow for a kind.
    #[must_use]
    pub fn workflow(&self, kind: SessionKind) -> Uuid {
        self.shared.workflow(self.shared.names.receiver, kind)
    }

    /// The receiving application's archived workflow.
    #[must_use]
    pub fn archived_workflow(&self) -> Uuid {
        super::state::workflow_id(self.shared.seed, self.shared.names.receiver, "archived")
    }

    /// Ready-to-use environment variables: name and value.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        vec![
            pair("DIDIT_API_KEY", self.api_key()),
            pair("DIDIT_BASE_URL", self.base_url()),
            pair("DIDIT_APPLICATION_ID", self.application_id().to_string()),
            pair("DIDIT_WORKFLOW_USER", self.workflow(SessionKind::User).to_string()),
            pair("DIDIT_WORKFLOW_BUSINESS", self.workflow(SessionKind::Business).to_string()),
            pair("PARTNER_DIDIT_API_KEY", self.partner_key()),
            pair("PARTNER_DIDIT_APPLICATION_ID", self.partner_application_id().to_string()),
        ]
    }

    /// What the sandbox was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// A handle on the world behind the API.
    #[must_use]
    pub fn world(&self) -> World {
        World::new(self.shared.clone())
    }
}

#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

/// Waits for the signal to stop.
async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which stops as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn serve_one(State(service): State<Service>, ConnectInfo(line): ConnectInfo<Line>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES).await else {
        return Answer::page(StatusCode::PAYLOAD_TOO_LARGE).into_response();
    };
    let (path, query) = split(&parts.uri);
    let call = Call { method: parts.method, path, query, headers: parts.headers, body };
    let records = &service.shared.records;
    let record = records.arrive(&call.method, &call.target(), &call.headers, &call.body);
    let exchange = Exchange { service: &service, call: &call, line: &line, record };
    let answer = exchange.answer().await;
    if !line.is_aborted() {
        records.decide(record, answer.status.as_u16());
    }
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        records.throttled.fetch_add(1, Ordering::Relaxed);
    }
    answer.into_response()
}

fn split(uri: &Uri) -> (String, Option<String>) {
    (uri.path().to_owned(), uri.query().map(str::to_owned))
}

/// One request on its way.
struct Exchange<'a> {
    service: &'a Service,
    call: &'a Call,
    line: &'a Line,
    record: Option<usize>,
}

impl Exchange<'_> {
    async fn answer(&self) -> Answer {
        match Route::find(&self.call.method, &self.call.path) {
            Route::Health => Answer::json(StatusCode::OK, &json!({ "status": "ok", "timestamp": Timestamp::now() })),
            Route::Unknown => Answer::page(StatusCode::NOT_FOUND),
            Route::SlashMissing => {
                let query = self.call.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
                Answer::redirect(StatusCode::MOVED_PERMANENTLY, &format!("{}/{query}", self.call.path))
            }
            Route::WrongMethod => {
                let text = format!("Method \"{}\" not allowed.", self.call.method);
                Answer::detail(StatusCode::METHOD_NOT_ALLOWED, &text)
            }
            Route::Api(operation) => self.limited(operation).await,
        }
    }

    /// Asks the rate limit first. Without a key, requests share one window.
    async fn limited(&self, operation: Operation) -> Answer {
        let shared = &self.service.shared;
        let (key, budget) = (self.call.key().unwrap_or_default(), self.call.budget());
        let counter = if budget == Budget::Reads { &shared.records.reads } else { &shared.records.writes };
        counter.fetch_add(1, Ordering::Relaxed);
        let standing = match shared.limits.admit(key, budget) {
            Verdict::Refused(standing) => return Answer::throttled(budget, standing),
            Verdict::Accepted(standing) => Some(standing),
            Verdict::Unlimited => None,
        };
        let drawn = shared.draw(operation.kind(), || entry_of(operation, self.call));
        if let Some(trouble) = drawn.trouble {
            shared.records.strike(self.record, trouble.as_str());
        }
        if drawn.trouble == Some(Trouble::Throttle) {
            if standing.is_some() {
                shared.limits.refund(key, budget);
            }
            return Answer::throttled_by_fault();
        }
        self.struck(operation, drawn, standing).await
    }

    /// Performs the operation between the faults that come before and after it.
    async fn struck(&self, operation: Operation, drawn: Drawn, standing: Option<Standing>) -> Answer {
        self.pause(drawn.latency / 2).await;
        if let Some(answer) = self.before(drawn.trouble).await {
            return answer;
        }
        let answer = perform(&self.service.shared, operation, self.call).with_standing(standing);
        self.pause(drawn.latency / 2).await;
        // Noted before a fault can keep the answer back for good.
        self.service.shared.records.decide(self.record, answer.status.as_u16());
        self.after(drawn.trouble, answer).await
    }

    async fn before(&self, trouble: Option<Trouble>) -> Option<Answer> {
        match trouble? {
            Trouble::Html => Some(Answer::page(StatusCode::BAD_GATEWAY)),
            Trouble::Redirect => {
                let to = format!("{}/redirected{}", self.service.shared.base_url, self.call.target());
                Some(Answer::redirect(StatusCode::TEMPORARY_REDIRECT, &to))
            }
            Trouble::ErrorBefore => Some(server_error()),
            Trouble::LostBefore => {
                self.line.abort();
                Some(server_error())
            }
            Trouble::Hang => Some(self.hang().await),
            _ => None,
        }
    }

    async fn after(&self, trouble: Option<Trouble>, answer: Answer) -> Answer {
        match trouble {
            Some(Trouble::ErrorAfter) => return server_error(),
            Some(Trouble::LostAfter) => self.line.abort(),
            Some(Trouble::HangAfter) => return self.hang().await,
            Some(Trouble::Cut) => self.line.cut(answer.body_len()),
            Some(Trouble::Garbage) => return answer.garbled(),
            _ => {}
        }
        answer
    }

    /// Until the client gives up, or the sandbox stops: then the connection is reset.
    async fn hang(&self) -> Answer {
        until(self.service.stopped.clone()).await;
        self.line.abort();
        server_error()
    }

    async fn pause(&self, time: Duration) {
        if !time.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = until(self.service.stopped.clone()) => {}
            }
        }
    }
}

fn server_error() -> Answer {
    Answer::page(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Whose attempt a request is: for an import the session that its token names, else path and query.
fn entry_of(operation: Operation, call: &Call) -> Uuid {
    let named = if operation == Operation::Import { session_named(&call.body) } else { None };
    named.unwrap_or_else(|| {
        let hash = Sha256::new().chain_update(call.target()).finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Uuid::from_bytes(half)
    })
}

fn session_named(body: &[u8]) -> Option<Uuid> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    ShareToken::parse(body.get("share_token")?.as_str()?).ok()?.unverified_claims()?.session_id
}
