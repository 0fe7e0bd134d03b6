//! The single writer: one thread owns the connection and commits, in one transaction, all calls that gathered while
//! it was busy with the last commit. Each call is acknowledged only after the commit that holds it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;

/// How many calls wait for the disk at most; past it callers wait to be taken, and so does sending.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce(&Transaction<'_>) -> rusqlite::Result<Acknowledge> + Send>;
type Acknowledge = Box<dyn FnOnce() + Send>;

/// A handle on the writer thread, which ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    failure: Arc<OnceLock<LedgerError>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, LedgerError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let failure = Arc::new(OnceLock::new());
        let (thread_path, thread_failure) = (path.clone(), Arc::clone(&failure));
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write_all(connection, queue, &thread_path, &thread_failure))
            .map_err(|e| LedgerError::io(&path, &e))?;
        Ok(Self { jobs, failure })
    }

    /// Runs `work` in the next transaction and returns its value once that is durable.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let value = work(transaction)?;
            // Nobody waits any more if the caller was stopped; the commit stands all the same.
            Ok(Box::new(move || drop(reply.send(value))))
        });
        let gone = || {
            let unknown = || LedgerError::io(Path::new("ledger"), &"its writer has stopped");
            self.failure.get().cloned().unwrap_or_else(unknown)
        };
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// Serves calls until every handle is gone. A failed transaction fails every call in it and ends the thread: after a
/// full disk or a damaged file nothing more may be promised, and whoever calls next is told the same.
fn write_all(mut connection: Connection, mut queue: mpsc::Receiver<Job>, path: &Path, failure: &OnceLock<LedgerError>) {
    let mut batch = Vec::new();
    while queue.blocking_recv_many(&mut batch, QUEUE) > 0 {
        if let Err(error) = commit(&mut connection, batch.drain(..)) {
            let _ = failure.set(LedgerError::sqlite(path, &error));
            return;
        }
    }
}

/// One transaction of all jobs. Those of a failed one are dropped unanswered, which tells their callers to look at
/// the recorded failure.
fn commit(connection: &mut Connection, jobs: impl Iterator<Item = Job>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = jobs.map(|job| job(&transaction)).collect::<rusqlite::Result<Vec<_>>>()?;
    transaction.commit()?;
    done.into_iter().for_each(|acknowledge| acknowledge());
    Ok(())
}
