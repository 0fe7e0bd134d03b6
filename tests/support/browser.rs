//! Chromium as a person's hands and eyes: real keys go in over the browser's own protocol, and what the page then shows
//! comes out. Messages take a pipe (`--remote-debugging-pipe`: JSON, each ended by a zero byte): no port, no socket.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// An answer of the browser takes longer only if it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one tab, which ends with this value.
pub struct Browser {
    child: Child,
    // Closed, it ends the browser.
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    sent: u64,
    session: Option<String>,
    events: VecDeque<Value>,
    complaints: Vec<String>,
    _profile: TempDir,
}

/// Chromium's name, if it is installed.
pub fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

impl Browser {
    /// Starts Chromium by its name.
    pub fn start(chromium: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // The protocol's pipe is descriptors 3 and 4.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh", chromium, "--remote-debugging-pipe"]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,900", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (teller, heard) = channel();
        thread::spawn(move || {
            let messages = from.split(0).map_while(Result::ok);
            messages.map(|it| serde_json::from_slice(&it).unwrap()).try_for_each(|it: Value| teller.send(it))
        });
        let (events, complaints) = (VecDeque::new(), Vec::new());
        let mut browser =
            Self { child, to, from: heard, sent: 0, session: None, events, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].take();
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// One command of the protocol, and its result.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let to = self.to.as_mut().unwrap();
        to.write_all(format!("{message}\0").as_bytes()).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut heard = self.from.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if heard["id"] == self.sent {
                assert!(heard["error"].is_null(), "{method}: {}", heard["error"]);
                return heard["result"].take();
            }
            self.note(heard);
        }
    }

    fn note(&mut self, event: Value) {
        if let "Log.entryAdded" | "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" =
            event["method"].as_str().unwrap_or_default()
        {
            self.complaints.push(event["params"].to_string());
        }
        self.events.push_back(event);
    }

    /// Opens a file, and waits until it has loaded; `hash` is what follows its name.
    pub fn open(&mut self, path: &Path, hash: &str) {
        self.events.clear();
        self.complaints.clear();
        // From one hash to another, a browser would stay on the page.
        self.call("Page.navigate", &json!({"url": "about:blank"}));
        self.wait_for_load();
        self.call("Page.navigate", &json!({"url": format!("file://{}{hash}", path.display())}));
        self.wait_for_load();
    }

    fn wait_for_load(&mut self) {
        let is_load = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_load) {
            let heard = self.from.recv_timeout(PATIENCE).expect("the page did not load");
            self.note(heard);
        }
        self.events.retain(|event| !is_load(event));
    }

    /// Waits until an expression is true on the page.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let script = format!(
            "new Promise((done) => {{ let n = 0;
            const look = () => ({expression}) ? done(true) : n++ > 2000 ? done(false) : setTimeout(look, 5); look(); }})"
        );
        let held = self.evaluate(&script);
        assert_eq!(held, true, "{expression} did not happen; focus is on {}", self.focus());
    }

    /// What a script's value is on the page; a promise's when it is fulfilled.
    #[track_caller]
    pub fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// The text of a script's value.
    #[track_caller]
    pub fn text(&mut self, script: &str) -> String {
        self.evaluate(script).as_str().unwrap_or_default().to_owned()
    }

    /// Which element has the focus, in words: `button Next`, `input Search`.
    pub fn focus(&mut self) -> String {
        self.text(
            "(() => { const it = document.activeElement;
            const name = it.ariaLabel ?? (it.labels?.[0]?.firstChild ?? it).textContent;
            return `${it.tagName.toLowerCase()} ${name.trim()}`; })()",
        )
    }

    /// Presses a key and lets it go: `Tab`, `Shift+Tab`, `Enter`, `Space`, `ArrowDown`, or a character.
    pub fn press(&mut self, key: &str) {
        let (shift, key) = key.strip_prefix("Shift+").map_or((0, key), |key| (8, key));
        let (key, code, text) = match key {
            "Tab" => (key, 9, ""),
            "Enter" => (key, 13, "\r"),
            "Escape" => (key, 27, ""),
            "Space" => (" ", 32, " "),
            "End" => (key, 35, ""),
            "Home" => (key, 36, ""),
            "ArrowRight" => (key, 39, ""),
            "ArrowDown" => (key, 40, ""),
            _ => (key, key.to_ascii_uppercase().bytes().next().unwrap(), key),
        };
        let of = |kind: &str, text: &str| {
            let name = if key == " " { "Space" } else { key };
            json!({"type": kind, "key": key, "code": name, "windowsVirtualKeyCode": code, "modifiers": shift, "text": text})
        };
        self.call("Input.dispatchKeyEvent", &of(if text.is_empty() { "rawKeyDown" } else { "keyDown" }, text));
        self.call("Input.dispatchKeyEvent", &of("keyUp", ""));
    }

    /// Types characters, one key after another.
    pub fn write(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(&c.to_string()));
    }

    /// What the browser complained of since the page was opened: errors, refused requests, anything logged.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Addresses that were asked for since the page was opened, the page's own among them.
    pub fn requests(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.to = None;
        // What the browser still says is read until it ends.
        let until = Instant::now() + Duration::from_secs(10);
        while self.from.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
