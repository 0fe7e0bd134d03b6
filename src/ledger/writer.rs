//! The single writer: one thread owns the connection and commits, in one transaction, all calls that gathered while
//! it was busy with the last commit. Each call is acknowledged only after the commit that holds it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::watch::Watch;
use super::{LedgerError, file};

/// How many calls wait for the disk at most; past it callers wait to be taken, and so does sending.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce(&Transaction<'_>) -> rusqlite::Result<Acknowledge> + Send>;
type Acknowledge = Box<dyn FnOnce() + Send>;

/// A handle on the writer.
#[derive(Clone, Debug)]
pub(super) enum Writer {
    /// The writer thread. When the last handle is dropped, the thread ends what is queued and closes the file, which
    /// empties the write-ahead log into it; the drop waits for that.
    Thread(Arc<Thread>),
    /// No thread: each call is a transaction of its own, made by its caller. For simulated time.
    InPlace(Arc<InPlace>),
}

#[derive(Debug)]
pub(super) struct InPlace {
    connection: Mutex<Connection>,
    path: PathBuf,
}

#[derive(Debug)]
pub(super) struct Thread {
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    handle: Option<JoinHandle<()>>,
    failure: Arc<OnceLock<LedgerError>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(handle) = self.handle.take() {
            // A panic in there has failed its callers already.
            let _ = handle.join();
        }
    }
}

impl Writer {
    pub(super) fn start(connection: Connection, watch: Watch, path: &Path) -> Result<Self, LedgerError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let failure = Arc::new(OnceLock::new());
        let (thread_path, thread_failure) = (path.to_owned(), Arc::clone(&failure));
        let handle = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write_all(connection, watch, queue, &thread_path, &thread_failure))
            .map_err(|e| LedgerError::io(path, &e))?;
        Ok(Self::Thread(Arc::new(Thread { jobs: Some(jobs), handle: Some(handle), failure })))
    }

    pub(super) fn in_place(connection: Connection, path: &Path) -> Self {
        Self::InPlace(Arc::new(InPlace { connection: Mutex::new(connection), path: path.to_owned() }))
    }

    /// Runs `work` in the next transaction and returns its value once that is durable.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let thread = match self {
            Self::Thread(thread) => thread,
            Self::InPlace(place) => return place.call(work),
        };
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let value = work(transaction)?;
            // Nobody waits any more if the caller was stopped; the commit stands all the same.
            Ok(Box::new(move || drop(reply.send(value))))
        });
        // The thread says why before it ends, so this waits for an instant at most.
        let gone = || thread.failure.wait().clone();
        let jobs = thread.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl InPlace {
    fn call<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        in_transaction(&mut connection, work).map_err(|error| LedgerError::sqlite(&self.path, &error))
    }
}

/// Serves calls until every handle is gone. A failed transaction fails every call in it and ends the thread: after a
/// full disk or a damaged file nothing more may be promised, and whoever calls next is told the same.
fn write_all(
    mut connection: Connection,
    mut watch: Watch,
    mut queue: mpsc::Receiver<Job>,
    path: &Path,
    failure: &OnceLock<LedgerError>,
) {
    let last_word = LastWord { path, failure };
    let mut batch = Vec::new();
    while queue.blocking_recv_many(&mut batch, QUEUE) > 0 {
        if let Err(error) = commit(&mut connection, &mut watch, path, batch.drain(..)) {
            return last_word.say(error);
        }
    }
}

/// Says why the thread ended, whatever ended it, a panic included.
struct LastWord<'t> {
    path: &'t Path,
    failure: &'t OnceLock<LedgerError>,
}

impl LastWord<'_> {
    fn say(&self, error: LedgerError) {
        // The first word stands.
        let _ = self.failure.set(error);
    }
}

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        self.say(LedgerError::io(self.path, &"its writer has stopped"));
    }
}

/// One transaction of all jobs. Those of a failed one are dropped unanswered, which tells their callers to look at
/// the recorded failure; so are those of one that went into a file which nobody will find.
fn commit(
    connection: &mut Connection,
    watch: &mut Watch,
    path: &Path,
    jobs: impl Iterator<Item = Job>,
) -> Result<(), LedgerError> {
    let acknowledgements = write(connection, jobs).map_err(|error| LedgerError::sqlite(path, &error))?;
    watch.check().map_err(|error| if watch.has_ledger() { error } else { save(connection, path, error) })?;
    for acknowledge in acknowledgements {
        acknowledge();
    }
    Ok(())
}

fn write(connection: &mut Connection, jobs: impl Iterator<Item = Job>) -> rusqlite::Result<Vec<Acknowledge>> {
    in_transaction(connection, |transaction| jobs.map(|job| job(transaction)).collect())
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// The file is gone from its folder, but while it is open here, all of it can still be read: it is saved beside where
/// it was, if that can be done.
fn save(connection: &Connection, path: &Path, error: LedgerError) -> LedgerError {
    let copy = file::sibling(path, &format!(".saved-{}", std::process::id()));
    let is_saved = file::create_private(&copy).is_ok() && connection.backup("main", &copy, None).is_ok();
    if is_saved { error.saved_to(copy) } else { error }
}
