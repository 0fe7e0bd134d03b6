//! A scripted server, for what the sandbox doesn't say: it answers each import as a script says, and reads as an
//! application without sessions would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::program::Folder;
use super::token::Token;

/// The receiving application of manifests for a fake.
pub const APPLICATION: Uuid = Uuid::from_u128(0xA0);
/// Its workflow for persons.
pub const WORKFLOW: Uuid = Uuid::from_u128(0xB0);
/// The key that programs are given.
pub const KEY: &str = "sk_test_canary0key0000000000000000000000000000000000";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub fn is_import(&self) -> bool {
        self.method == "POST" && self.target == "/v3/session/import-shared/"
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, more headers, a body.
    Whole(u16, Vec<(String, String)>, String),
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, then nothing: the connection stays open.
    Hang(Vec<u8>),
    /// These bytes, then one byte after each pause, for ever.
    Drip(Vec<u8>, Duration),
    /// These bytes, then more of them (64 KiB, again and again), up to a number.
    Flood(Vec<u8>, Vec<u8>, u64),
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::Whole(status, vec![("content-type".to_owned(), "application/json".to_owned())], body.to_owned())
    }

    pub fn html(status: u16) -> Self {
        let body = "<html><head><title>nope</title></head><body>Carmen Española</body></html>";
        Self::Whole(status, vec![("content-type".to_owned(), "text/html".to_owned())], body.to_owned())
    }

    pub fn with(self, name: &str, value: &str) -> Self {
        match self {
            Self::Whole(status, mut headers, body) => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Whole(status, headers, body)
            }
            other => panic!("{other:?} has no headers"),
        }
    }

    /// What would be a success, cut: the whole `Content-Length` and half of the body.
    pub fn cut(status: u16, body: &Value) -> Self {
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        Self::Bytes([head.as_bytes(), &body.as_bytes()[..body.len() / 2]].concat())
    }

    /// A gibibyte of spaces, which JSON allows before a value; chunked or with its length.
    pub fn gibibyte(status: u16, is_chunked: bool) -> Self {
        let length = if is_chunked { "transfer-encoding: chunked" } else { "content-length: 1073741824" };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{length}\r\n\r\n").into_bytes();
        let spaces = vec![b' '; 1 << 16];
        let piece = if is_chunked { [b"10000\r\n", spaces.as_slice(), b"\r\n"].concat() } else { spaces };
        Self::Flood(head, piece, 1 << 14)
    }
}

/// Answers a request; `None` leaves it to [`usual`].
pub type Script = Box<dyn Fn(&Request, usize) -> Option<Reply> + Send + Sync>;

/// A running scripted server, which stops when dropped, and a folder with a manifest for it.
pub struct Fake {
    pub folder: Folder,
    pub base_url: String,
    log: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

impl Fake {
    /// A server that answers by `script`; its second argument counts the imports before.
    pub fn new(script: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(Box::new(script));
        let (all, ended) = (Arc::clone(&log), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for line in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (script, all, ended) = (Arc::clone(&script), Arc::clone(&all), Arc::clone(&ended));
                if let Ok(line) = line {
                    std::thread::spawn(move || serve(line, &script, &all, &ended));
                }
            }
        });
        let mut folder = Folder::new();
        folder.set("DIDIT_API_KEY", KEY);
        Self { folder, base_url, log, stopped }
    }

    /// Answers every import with this.
    pub fn answering(reply: Reply) -> Self {
        Self::new(move |request, _| request.is_import().then(|| reply.clone()))
    }

    pub fn head(&self) -> String {
        format!(
            "version: 1\nname: acme\napplication: {{id: {APPLICATION}, base_url: \"{}\"}}\n\
             defaults: {{workflow_id: {WORKFLOW}, trust_review: false, vendor_data: \"acme-{{id}}\"}}\n",
            self.base_url
        )
    }

    /// Writes `m.yaml` with entries `e0`, `e1`, ... for sources 1, 2, ...
    pub fn write_entries(&self, count: usize) {
        let mut text = self.head() + "imports:\n";
        for n in 0..count {
            let token = Token::new(Uuid::from_u128(n as u128 + 1)).text();
            text += &format!("  - {{id: e{n}, share_token: {token}}}\n");
        }
        self.folder.write("m.yaml", &text);
    }

    pub fn apply(&self, more: &[&str]) -> super::Output {
        let mut args = vec!["apply", "m.yaml", "--yes", "--json"];
        args.extend(more);
        self.folder.run(&args)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub fn imports(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::is_import).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.base_url.trim_start_matches("http://"));
    }
}

fn serve(mut line: TcpStream, script: &Script, log: &Mutex<Vec<Request>>, ended: &AtomicBool) {
    let Some(request) = read(&line) else { return };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|request| request.is_import()).count();
        log.push(request.clone());
        before
    };
    let reply = script(&request, before).unwrap_or_else(|| usual(&request));
    let bytes = match reply {
        Reply::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            format!("{head}\r\n{body}").into_bytes()
        }
        Reply::Bytes(bytes) => bytes,
        Reply::Hang(bytes) => {
            if line.write_all(&bytes).is_ok() {
                pause_until(ended, Duration::MAX);
            }
            return;
        }
        Reply::Drip(bytes, pause) => {
            let mut sent = line.write_all(&bytes);
            while sent.is_ok() && pause_until(ended, pause) {
                sent = line.write_all(b" ");
            }
            return;
        }
        Reply::Flood(bytes, piece, times) => {
            let mut sent = line.write_all(&bytes);
            for _ in 0..times {
                if sent.is_err() || ended.load(Ordering::SeqCst) {
                    break;
                }
                sent = line.write_all(&piece);
            }
            return;
        }
    };
    let _ = line.write_all(&bytes).and_then(|()| line.flush());
}

/// Sleeps, but not beyond the server's end; says whether it goes on.
fn pause_until(ended: &AtomicBool, pause: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < pause && !ended.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20).min(pause));
    }
    !ended.load(Ordering::SeqCst)
}

fn read(line: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(line);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|header| header.0 == "content-length").and_then(|header| header.1.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, body: String::from_utf8_lossy(&body).into_owned() })
}

/// An application with one workflow and no sessions.
pub fn usual(request: &Request) -> Reply {
    let path = request.target.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/v3/sessions/") => {
            Reply::json(200, &json!({"count": 0, "next": null, "previous": null, "results": []}))
        }
        ("GET", "/v3/workflows/") => Reply::json(
            200,
            &json!([{"uuid": WORKFLOW, "workflow_id": WORKFLOW, "workflow_label": "KYC", "workflow_type": "kyc",
                "status": "published", "is_archived": false}]),
        ),
        ("GET", path) if path.ends_with("/decision/") => Reply::json(404, &json!({"detail": "Not found."})),
        _ => Reply::html(404),
    }
}

/// The answer to an import: the new session in the plural shape.
pub fn created(session: Uuid, request: &Request) -> Value {
    json!({
        "session_id": session, "session_kind": "user", "session_number": 7, "session_url": null,
        "status": "In Review", "workflow_id": request.json()["workflow_id"],
        "vendor_data": request.json()["vendor_data"], "features": [], "reviews": [],
        "created_at": jiff::Timestamp::now(), "expires_at": null, "environment": "sandbox",
    })
}
