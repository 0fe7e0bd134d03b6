//! What was asked of the sandbox: counters always, whole requests on demand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::shared::lock;

/// A request as it arrived, headers and body included: it holds keys and tokens.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Every header, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, where it is JSON.
    pub body: Option<Value>,
    /// The status answered, or decided on where the fault struck after the commit and sent nothing; `None` where
    /// nothing was decided: still in flight, given up by the client, or struck before the commit.
    pub status: Option<u16>,
    /// The fault that struck, by its name in [`super::Faults`].
    pub fault: Option<&'static str>,
    /// When it arrived.
    pub at: Timestamp,
    /// When it arrived, on the clock of the rate limits.
    pub arrived: Instant,
}

impl RequestRecord {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }
}

/// How many requests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests, whatever their answer.
    pub requests: u64,
    /// GET requests to the API, refused ones included.
    pub reads: u64,
    /// POST, PATCH and DELETE requests to the API, refused ones included.
    pub writes: u64,
    /// Requests answered with 429.
    pub throttled: u64,
}

/// Counters and, where wanted, the log.
#[derive(Debug)]
pub(super) struct Records {
    keep: bool,
    log: Mutex<Vec<RequestRecord>>,
    pub(super) requests: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) throttled: AtomicU64,
}

impl Records {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            keep,
            log: Mutex::default(),
            requests: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        }
    }

    /// Notes an arrival; the answer is noted under the number returned.
    pub(super) fn arrive(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.keep {
            return None;
        }
        let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let record = RequestRecord {
            method: method.to_string(),
            path: path.to_owned(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: serde_json::from_slice(body).ok(),
            status: None,
            fault: None,
            at: Timestamp::now(),
            arrived: Instant::now(),
        };
        let mut log = lock(&self.log);
        log.push(record);
        Some(log.len() - 1)
    }

    /// Notes the fault that strikes a request.
    pub(super) fn strike(&self, number: Option<usize>, fault: &'static str) {
        self.edit(number, |record| record.fault = Some(fault));
    }

    /// Notes the status decided on.
    pub(super) fn decide(&self, number: Option<usize>, status: u16) {
        self.edit(number, |record| record.status = Some(status));
    }

    fn edit(&self, number: Option<usize>, edit: impl FnOnce(&mut RequestRecord)) {
        if let Some(number) = number
            && let Some(record) = lock(&self.log).get_mut(number)
        {
            edit(record);
        }
    }

    pub(super) fn all(&self) -> Vec<RequestRecord> {
        lock(&self.log).clone()
    }

    pub(super) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: load(&self.requests),
            reads: load(&self.reads),
            writes: load(&self.writes),
            throttled: load(&self.throttled),
        }
    }
}
