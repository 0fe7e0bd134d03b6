//! The program as a child process, in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{ledger, schemas};

/// A folder that goes away with the test, and the environment of the programs run in it.
pub struct Folder {
    dir: TempDir,
    env: BTreeMap<String, String>,
    pub ledgers: ledger::Ledgers,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: BTreeMap::new(), ledgers: ledger::Ledgers::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The ledger's file, where it has one.
    pub fn ledger(&self) -> PathBuf {
        self.path(ledger::USUAL)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    pub fn unset(&mut self, name: &str) {
        self.env.remove(name);
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The text of a file; a document is as its schema says.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap();
        schemas::check(&text);
        text
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_didit-sync"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.dir.path());
        self.tell_ledger(&mut command);
        command.envs(&self.env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end. With `--json`, stdout is one document, whatever happens but a death.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        let output = Output::of(self.start(args));
        if args.contains(&"--json") && output.code.is_some() {
            output.document();
        }
        output
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Every file in a folder of this folder, or the one of this name, with its bytes. A ledger in a database counts as a folder where its file
    /// would be, and its tables as files.
    pub fn bytes_under(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.path(name), &mut found);
        found.extend(self.tables_under(name));
        found
    }

    /// Asserts that a folder holds these files, byte for byte.
    #[track_caller]
    pub fn assert_unchanged(&self, name: &str, before: &BTreeMap<PathBuf, Vec<u8>>) {
        let after = self.bytes_under(name);
        assert!(after.keys().eq(before.keys()), "{:?} became {:?}", before.keys(), after.keys());
        for (path, bytes) in after {
            assert!(before[&path] == bytes, "{} changed", path.display());
        }
    }

    /// Asserts that none of these texts is in any file of the ledger's folder.
    pub fn assert_ledger_free_of(&self, texts: &[&str]) {
        let files = self.bytes_under("state");
        assert!(files.keys().any(|path| path.iter().any(|part| part == "ledger.db")), "there is no ledger");
        for (path, bytes) in files {
            for text in texts {
                assert!(!contains(&bytes, text), "{} holds {text}", path.display());
            }
        }
    }
}

impl Output {
    /// What a program leaves; a document on stdout is as its schema says.
    #[track_caller]
    pub fn of(child: Child) -> Self {
        let output = super::output_of(child);
        let stdout = String::from_utf8(output.stdout).unwrap();
        schemas::check(&stdout);
        Self { code: output.status.code(), stdout, stderr: String::from_utf8(output.stderr).unwrap() }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The one document on stdout.
    #[track_caller]
    fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }

    /// The one document on stdout; its exit is the program's, as it is of all but `report`.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document = self.document();
        assert_eq!(document["exit"]["code"].as_i64(), self.code.map(i64::from), "{document:#}");
        document
    }
}

fn collect(path: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), found);
        }
    } else if path.exists() {
        found.insert(path.to_owned(), fs::read(path).unwrap());
    }
}

/// Whether `text` stands somewhere in `bytes`.
pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The most memory that a program ever had, in KiB, as far as /proc tells.
pub fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    peak.unwrap_or(0)
}
