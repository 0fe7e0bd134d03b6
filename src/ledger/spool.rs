//! What waits on this machine while the ledger's server is away: sessions that answers named and nobody could record.
//!
//! An entry whose outcome is not on record stays open, and the next run looks its session up. Where reads don't show which
//! session came from which source, several may fit, and the answer that is lost with its process was the only proof. So
//! each such answer is also written to a file of this machine until the server has it.
//!
//! - **When.** As soon as the server gives no good answer, all that waits is written, and whatever comes after it at once.
//!   Nothing is written while the server is well. The file is removed once all that it holds is recorded.
//! - **Afterwards.** The next apply or repair on this machine records what a dead process left, before it does anything
//!   else. Recording it twice is harmless: what is settled by then stands.
//! - **Secrets.** Ids, a status and the session's page, as in the ledger; the file is 0600, its folder 0700.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::db::{self, Connection, params};
use super::imports;
use super::records::{AnswerKind, AttemptId, EntryId, Evidence, Outcome, RunId, Session, State};
use crate::token::SessionKind;

/// What waits, of one process.
#[derive(Debug)]
pub(super) struct Spool {
    /// `None` where this machine has no place for it.
    path: Option<PathBuf>,
    state: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    is_away: bool,
    /// The number of the next one.
    next: u64,
    /// What is not recorded yet, and whether it is in the file.
    pending: BTreeMap<u64, (Line, bool)>,
    /// Locked for as long as this process lives.
    file: Option<File>,
}

/// A session that waits to be recorded. One that is dropped goes on to wait.
#[derive(Debug)]
pub(super) struct Ticket {
    spool: Arc<Spool>,
    number: u64,
}

impl Ticket {
    /// It is durable in the ledger.
    pub(super) fn recorded(self) {
        let mut waiting = self.spool.waiting();
        waiting.pending.remove(&self.number);
        self.spool.remove_if_done(&mut waiting);
    }
}

/// A session as it is kept in the file, one on each line.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Whose outcome it is: rows of a ledger that was put back from a backup may have the same numbers.
    host: String,
    pid: u32,
    entry: i64,
    run: i64,
    at: Timestamp,
    attempt: Option<i64>,
    session_id: Uuid,
    session_number: Option<i64>,
    session_url: Option<String>,
    status: Option<String>,
    source_session_id: Option<Uuid>,
    session_kind: Option<String>,
    /// Verdict and words.
    evidence: Option<(String, String)>,
}

/// The verdicts that name a session.
const VERDICTS: [&str; 2] = ["proof", "sole-candidate"];

impl Line {
    /// `None` for what the next run finds out by itself: that there is no session, or nobody knows.
    fn of(it: &Outcome) -> Option<Self> {
        let session = it.session.as_ref().filter(|_| it.state == State::Imported)?;
        Some(Self {
            host: crate::host::name(),
            pid: std::process::id(),
            entry: it.entry.0,
            run: it.run.0,
            at: it.at,
            attempt: it.attempt.filter(|(_, kind)| *kind == AnswerKind::Imported).map(|(attempt, _)| attempt.0),
            session_id: session.session_id,
            session_number: session.session_number,
            session_url: session.session_url.clone(),
            status: session.status.clone(),
            source_session_id: it.source_session_id,
            session_kind: it.session_kind.map(|kind| kind.as_str().to_owned()),
            evidence: it.evidence.as_ref().map(|it| (it.verdict.to_owned(), it.detail.clone())),
        })
    }

    fn outcome(&self, attempt: Option<i64>) -> Outcome {
        let evidence = self.evidence.as_ref().and_then(|(verdict, detail)| {
            let verdict = VERDICTS.into_iter().find(|known| known == verdict)?;
            Some(Evidence { verdict, session_id: Some(self.session_id), detail: detail.clone() })
        });
        Outcome {
            entry: EntryId(self.entry),
            run: RunId(self.run),
            at: self.at,
            attempt: attempt.map(|attempt| (AttemptId(attempt), AnswerKind::Imported)),
            state: State::Imported,
            session: Some(Session {
                session_id: self.session_id,
                session_number: self.session_number,
                session_url: self.session_url.clone(),
                status: self.status.clone(),
            }),
            source_session_id: self.source_session_id,
            session_kind: self.session_kind.as_deref().and_then(SessionKind::parse),
            error: None,
            evidence,
        }
    }
}

impl Spool {
    /// Of this process, for a ledger. Nothing is made yet.
    pub(super) fn new(folder: Option<&Path>, ledger: Uuid, runner: &str) -> Arc<Self> {
        let path = folder.map(|folder| folder.join(format!("{}{runner}{SUFFIX}", prefix(ledger))));
        Arc::new(Self { path, state: Mutex::default() })
    }

    /// Takes note of what is about to be recorded, if it names a session.
    pub(super) fn enter(self: &Arc<Self>, outcome: &Outcome) -> Option<Ticket> {
        let line = Line::of(outcome)?;
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.pending.insert(number, (line, false));
        if waiting.is_away {
            self.write(&mut waiting);
        }
        Some(Ticket { spool: Arc::clone(self), number })
    }

    /// The server gives no good answer: all that waits is durably here when this returns.
    pub(super) fn server_is_away(&self) {
        let mut waiting = self.waiting();
        waiting.is_away = true;
        self.write(&mut waiting);
    }

    /// The server answers again.
    pub(super) fn server_is_back(&self) {
        let mut waiting = self.waiting();
        waiting.is_away = false;
        self.remove_if_done(&mut waiting);
    }

    /// The file, if there is one.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        self.waiting().file.as_ref().and(self.path.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, waiting: &mut Waiting) {
        let Some(path) = &self.path else { return };
        if waiting.pending.values().all(|(_, is_written)| *is_written) {
            return;
        }
        if let Err(error) = append(path, waiting) {
            // Still in memory, and told by this run in the end.
            tracing::warn!(error = %error, file = %path.display(), "what waits for the ledger's server can't be kept on this machine");
        }
    }

    fn remove_if_done(&self, waiting: &mut Waiting) {
        if waiting.is_away || !waiting.pending.is_empty() {
            return;
        }
        if let (Some(_), Some(path)) = (waiting.file.take(), &self.path) {
            remove(path);
        }
    }
}

fn append(path: &Path, waiting: &mut Waiting) -> std::io::Result<()> {
    let file = match &mut waiting.file {
        Some(file) => file,
        none => none.insert(create(path)?),
    };
    let mut text = Vec::new();
    for (line, _) in waiting.pending.values().filter(|(_, is_written)| !is_written) {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    waiting.pending.values_mut().for_each(|(_, is_written)| *is_written = true);
    Ok(())
}

/// Makes the file, durably, and locks it for as long as this process lives.
fn create(path: &Path) -> std::io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    file.lock()?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(error = %error, file = %path.display(), "what waited for the ledger's server is recorded, but its file can't be removed");
        }
        _ => {}
    }
}

const SUFFIX: &str = ".ndjson";

fn prefix(ledger: Uuid) -> String {
    format!("spool-{ledger}-")
}

/// What processes that are no more left on this machine for a ledger.
#[derive(Debug)]
pub(super) struct Left {
    path: PathBuf,
    /// Nobody else records it meanwhile.
    _lock: File,
    lines: Vec<Line>,
    /// Lines that can't be read, but for a last one that was broken off, which was never told to be kept.
    unreadable: usize,
}

/// What is left in `folder` for a ledger; what a living process keeps is its own.
pub(super) fn left(folder: &Path, ledger: Uuid) -> Vec<Left> {
    let prefix = prefix(ledger);
    let is_spool = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(SUFFIX))
    };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut paths: Vec<PathBuf> = files.filter(is_spool).collect();
    paths.sort();
    paths.into_iter().filter_map(read).collect()
}

fn read(path: PathBuf) -> Option<Left> {
    let read = || -> std::io::Result<Option<(File, String)>> {
        let mut file = File::open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Some((file, text)))
    };
    match read() {
        Ok(None) => None,
        Ok(Some((lock, text))) => {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let parsed: Vec<Option<Line>> = whole.lines().map(|line| serde_json::from_str(line).ok()).collect();
            let unreadable = parsed.iter().filter(|line| line.is_none()).count();
            Some(Left { path, _lock: lock, lines: parsed.into_iter().flatten().collect(), unreadable })
        }
        Err(error) => {
            tracing::warn!(error = %error, file = %path.display(), "what waits for the ledger's server can't be read");
            None
        }
    }
}

impl Left {
    /// Records all of it in one transaction; how many sessions were not on record, and how many lines belong to no row.
    pub(super) fn record(&self, tx: &Connection) -> db::Result<(usize, usize)> {
        let (mut recorded, mut unfit) = (0, self.unreadable);
        for line in &self.lines {
            match record(tx, line)? {
                Fate::Recorded => recorded += 1,
                Fate::Settled => {}
                Fate::Unfit => unfit += 1,
            }
        }
        Ok((recorded, unfit))
    }

    /// What was recorded goes; what belongs to no row is put aside for people.
    pub(super) fn done(self, recorded: usize, unfit: usize) {
        if recorded > 0 {
            tracing::warn!(sessions = recorded, "recorded what an earlier run on this machine could not");
        }
        if unfit == 0 {
            return remove(&self.path);
        }
        let aside = self.path.with_extension("unfit");
        let is_aside = std::fs::rename(&self.path, &aside).is_ok();
        let file = if is_aside { &aside } else { &self.path };
        tracing::warn!(lines = unfit, file = %file.display(), "lines that waited for the ledger's server fit no entry of it");
    }
}

enum Fate {
    Recorded,
    /// It stands already, or was decided otherwise by hand since.
    Settled,
    Unfit,
}

fn record(tx: &Connection, line: &Line) -> db::Result<Fate> {
    let found = tx.find(
        "SELECT e.state, e.session_id,
           EXISTS (SELECT 1 FROM evidence v WHERE v.entry = e.id AND v.verdict = 'forgotten' AND v.at >= ?5),
           EXISTS (SELECT 1 FROM attempts a WHERE a.id = ?6 AND a.entry = e.id AND a.run = r.id),
           EXISTS (SELECT 1 FROM answers w WHERE w.attempt = ?6)
         FROM entries e JOIN runs r ON r.id = ?2 AND r.host = ?3 AND r.pid = ?4 WHERE e.id = ?1",
        params![line.entry, line.run, line.host, line.pid, line.at.as_millisecond(), line.attempt],
        |row| {
            let (state, session): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let (is_forgotten, has_attempt, has_answer): (bool, bool, bool) = (row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((State::parse(&state), session, is_forgotten, has_attempt, has_answer))
        },
    )?;
    let Some((state, session, is_forgotten, has_attempt, has_answer)) = found else { return Ok(Fate::Unfit) };
    if line.attempt.is_some() && !has_attempt {
        return Ok(Fate::Unfit);
    }
    match state {
        // Nothing of what was erased may be kept.
        Some(State::Erased) => return Ok(Fate::Settled),
        Some(State::Imported) if session == Some(line.session_id.to_string()) => return Ok(Fate::Settled),
        _ if is_forgotten => return Ok(Fate::Settled),
        Some(State::Imported) => return Ok(Fate::Unfit),
        _ => {}
    }
    let attempt = line.attempt.filter(|_| !has_answer);
    imports::settle(tx, &line.outcome(attempt))?;
    Ok(Fate::Recorded)
}
