//! A sandbox without limits in a process of its own, and the program's runs against it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use didit_sync::ledger::{Location, Reader};

/// The program; `DIDIT_BENCH_PROGRAM` names another build of it.
fn program() -> String {
    std::env::var("DIDIT_BENCH_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_didit-sync").to_owned())
}

/// A sandbox, with a manifest of all its sessions in a folder of its own. Dropping it ends the process.
pub struct World {
    server: Child,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// What `--ledger` says.
    pub ledger: String,
    /// The imports that the manifest asks for.
    pub imports: Vec<Import>,
}

/// One import, as it is sent.
pub struct Import {
    pub token: String,
    pub workflow: String,
    pub vendor_data: String,
}

/// What a run of the program came to.
pub struct Ran {
    /// The whole process, from its start to its end.
    pub process: Duration,
    /// From the run's first line in the ledger to its last but one, as the ledger tells it.
    pub run: Duration,
    /// The most memory it ever had, in MiB.
    pub memory: u64,
    /// Requests that it sent.
    pub requests: u64,
    /// Sessions verified.
    pub checked: u64,
}

impl World {
    /// Starts a sandbox that shares so many sessions.
    pub fn start(sessions: usize, concurrency: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Command::new(program())
            .args(["sandbox", "--listen", "127.0.0.1:0", "--quiet", "--manifest", "m.yaml"])
            .args(["--writes-per-minute", "0", "--reads-per-minute", "0", "--sessions", &sessions.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a sandbox");
        let told = BufReader::new(server.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let lines = told.take_while(|line| !line.starts_with('#'));
        let pair =
            |line: String| line.strip_prefix("export ")?.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        let environment: Vec<_> = lines.filter_map(pair).collect();
        let ledger = folder.path().join("ledger.db").display().to_string();
        let mut world = Self { server, folder, environment, ledger, imports: Vec::new() };
        world.write_sources(concurrency);
        world
    }

    /// A variable that the sandbox told.
    pub fn variable(&self, name: &str) -> &str {
        self.environment.iter().find(|pair| pair.0 == name).map_or("", |pair| pair.1.as_str())
    }

    /// Where everything of it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Raises the manifest's limits, and writes its entries into a source of lines beside it.
    fn write_sources(&mut self, concurrency: usize) {
        let path = self.path().join("m.yaml");
        let text = fs::read_to_string(&path).expect("the sandbox's manifest");
        let (head, entries) = text.split_once("imports:\n").expect("imports");
        let mut kind = "user";
        for line in entries.lines() {
            if let Some(comment) = line.trim_start().strip_prefix("# ") {
                kind = if comment.starts_with("business") { "business" } else { "user" };
            } else if let Some((_, token)) = line.split_once("share_token: ") {
                let workflow = if kind == "user" { "DIDIT_WORKFLOW_USER" } else { "DIDIT_WORKFLOW_BUSINESS" };
                let workflow = self.variable(workflow).to_owned();
                let vendor_data = format!("acme-{}", self.imports.len());
                self.imports.push(Import { token: token.to_owned(), workflow, vendor_data });
            }
        }
        let lines: String = self.imports.iter().map(Import::line).collect();
        fs::write(self.path().join("entries.ndjson"), lines).expect("a source");
        let limits = format!(
            "limits: {{writes_per_minute: 1000000, reads_per_minute: 1000000, concurrency: {concurrency}}}\n\
             sources:\n  - {{file: entries.ndjson}}\n"
        );
        fs::write(&path, format!("{head}{limits}")).expect("a manifest");
    }

    /// Begins a command of the program in the world's folder.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        Command::new(program())
            .args(arguments)
            .args(["--quiet", "--progress", "none", "--ledger", &self.ledger])
            .current_dir(self.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .spawn()
            .expect("the program")
    }

    /// Runs a command of the program in the world's folder, all its memory and time told.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let begun = Instant::now();
        let mut child = self.begin(arguments);
        let (pid, ended) = (child.id(), AtomicBool::new(false));
        let (status, process, memory) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| most_memory(pid, &ended));
            let status = child.wait().expect("its end");
            let process = begun.elapsed();
            ended.store(true, Ordering::Relaxed);
            (status, process, watch.join().unwrap_or(0))
        });
        assert!(status.success(), "{arguments:?}: {status}");
        let reader = Reader::require(&self.ledger()).expect("the ledger");
        let end =
            reader.runs().expect("its runs").into_iter().filter_map(|run| run.end).next_back().expect("a run's end");
        Ran {
            process,
            run: Duration::from_secs_f64(end.seconds),
            memory,
            requests: end.requests.writes + end.requests.reads,
            checked: end.verified.map_or(0, |(_, checked)| checked),
        }
    }

    /// The sessions that the ledger knows.
    pub fn sessions(&self) -> Vec<String> {
        let records = Reader::require(&self.ledger()).expect("the ledger").records().expect("its records");
        records.iter().filter_map(|record| Some(record.session.as_ref()?.session_id.to_string())).collect()
    }

    fn ledger(&self) -> Location {
        Location::parse(Path::new(&self.ledger), true, &|name| std::env::var_os(name)).expect("a ledger")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It has nothing to keep.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Import {
    fn line(&self) -> String {
        let Self { token, workflow, vendor_data } = self;
        format!("{{\"share_token\":\"{token}\",\"workflow_id\":\"{workflow}\",\"vendor_data\":\"{vendor_data}\"}}\n")
    }

    /// The body of its request.
    pub fn body(&self) -> String {
        let Self { token, workflow, vendor_data } = self;
        format!(
            "{{\"share_token\":\"{token}\",\"trust_review\":false,\"workflow_id\":\"{workflow}\",\
             \"vendor_data\":\"{vendor_data}\"}}"
        )
    }
}

/// `VmHWM` of a process, looked at until it ends.
fn most_memory(pid: u32, ended: &AtomicBool) -> u64 {
    let mut most = 0;
    while !ended.load(Ordering::Relaxed) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = kilobytes.unwrap_or(most);
        std::thread::sleep(Duration::from_millis(20));
    }
    most / 1024
}
