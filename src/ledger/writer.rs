//! The single writer: one thread owns the connection and commits, in one transaction, all calls that gathered while
//! it was busy with the last commit. Each call is acknowledged only after the commit that holds it.
//!
//! On a server, a transaction that fails for a reason that may pass (a restart, a cut connection, another transaction in
//! its way) is carried out again on a new connection, for as long as `--wait-ledger` says: callers wait, and so does
//! sending. Whether a commit whose answer was lost took effect is told by a mark that each transaction leaves in the
//! ledger, so that none is carried out twice.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::db::{self, Connection};
use super::served::{self, Session};
use super::spool::{Spool, Ticket};
use super::watch::Watch;
use super::{LedgerError, LedgerFile, Location, file};

/// How many calls wait for the disk at most; past it callers wait to be taken, and so does sending.
const QUEUE: usize = 1024;

/// Between two tries to reach it.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// What is to be written: carried out as often as it takes to commit it, and then acknowledged.
trait Job: Send {
    fn carry_out(&mut self, connection: &Connection) -> db::Result<()>;
    fn acknowledge(self: Box<Self>);
}

struct Call<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<T>,
    /// What else is kept of it until it is durable.
    ticket: Option<Ticket>,
}

impl<T: Send, F: FnMut(&Connection) -> db::Result<T> + Send> Job for Call<T, F> {
    fn carry_out(&mut self, connection: &Connection) -> db::Result<()> {
        self.value = Some((self.work)(connection)?);
        Ok(())
    }

    fn acknowledge(self: Box<Self>) {
        if let Some(ticket) = self.ticket {
            ticket.recorded();
        }
        if let Some(value) = self.value {
            // Nobody waits any more if the caller was stopped; the commit stands all the same.
            let _ = self.reply.send(value);
        }
    }
}

/// A handle on the writer.
#[derive(Clone, Debug)]
pub(super) enum Writer {
    /// The writer thread. When the last handle is dropped, the thread ends what is queued and closes the ledger (a file's
    /// write-ahead log is emptied into it); the drop waits for that.
    Thread(Arc<Thread>),
    /// No thread: each call is a transaction of its own, made by its caller. For simulated time.
    InPlace(Arc<InPlace>),
}

#[derive(Debug)]
pub(super) struct InPlace {
    connection: Mutex<Connection>,
    location: Location,
}

#[derive(Debug)]
pub(super) struct Thread {
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
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

/// Where transactions go.
#[derive(Debug)]
pub(super) enum Kept {
    /// To a file, which must stay where it is.
    File {
        /// The connection.
        connection: Box<Connection>,
        /// The file.
        file: LedgerFile,
        /// Its files, which must stay where they are.
        watch: Watch,
    },
    /// To a server.
    Server(Box<Session>, Arc<Spool>),
}

impl Kept {
    fn location(&self) -> Location {
        match self {
            Self::File { file, .. } => Location::File(file.clone()),
            Self::Server(session, _) => session.location(),
        }
    }

    /// One transaction of all jobs.
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
        match self {
            // Those of a failed transaction are dropped unanswered, which tells their callers to look at the recorded
            // failure; so are those of one that went into a file which nobody will find.
            Self::File { connection, file, watch } => {
                write(connection, jobs).map_err(|error| LedgerError::of(&Location::File(file.clone()), &error))?;
                let displaced = watch.check();
                displaced.map_err(|error| if watch.has_ledger() { error } else { save(connection, &file.path, error) })
            }
            Self::Server(session, spool) => commit_on(session, spool, jobs),
        }
    }
}

/// Carries a transaction out until it is committed, or the server was away for too long.
fn commit_on(session: &mut Session, spool: &Spool, jobs: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
    let began = Instant::now();
    let mut tries = 0;
    loop {
        let work = |connection: &Connection| jobs.iter_mut().try_for_each(|job| job.carry_out(connection));
        let Err(error) = session.transact(tries > 0, work) else {
            if tries > 0 {
                tracing::warn!(seconds = began.elapsed().as_secs(), "the ledger's server answers again");
                spool.server_is_back();
            }
            return Ok(());
        };
        spool.server_is_away();
        if !db::may_pass(&error) || began.elapsed() > session.patience() {
            let failure = session.failure(&error);
            return Err(match spool.kept() {
                Some(file) => failure.spooled_to(file),
                None => failure,
            });
        }
        if tries == 0 {
            tracing::warn!(error = %error, "the ledger's server gave no good answer; nothing is sent until it does");
        }
        std::thread::sleep(PAUSES[tries.min(PAUSES.len() - 1)]);
        tries += 1;
    }
}

impl Writer {
    pub(super) fn start(kept: Kept) -> Result<Self, LedgerError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let failure = Arc::new(OnceLock::new());
        let of_thread = Arc::clone(&failure);
        let location = kept.location();
        let failed = |e: std::io::Error| LedgerError::io(Path::new(&location.to_string()), &e);
        if let Kept::Server(..) = kept {
            let jobs = jobs.downgrade();
            std::thread::Builder::new().name("lease".to_owned()).spawn(move || live(&jobs)).map_err(failed)?;
        }
        let handle = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write_all(kept, queue, &of_thread))
            .map_err(failed)?;
        Ok(Self::Thread(Arc::new(Thread { jobs: Some(jobs), handle: Some(handle), failure })))
    }

    pub(super) fn in_place(connection: Connection, location: Location) -> Self {
        Self::InPlace(Arc::new(InPlace { connection: Mutex::new(connection), location }))
    }

    /// Runs `work` in the next transaction and returns its value once that is durable. It may be run more than once,
    /// where a transaction has to be carried out again.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> db::Result<T> + Send + 'static,
    {
        self.call_with(None, work).await
    }

    /// The same; once it is durable, the ticket is handed back.
    pub(super) async fn call_with<T, F>(&self, ticket: Option<Ticket>, mut work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> db::Result<T> + Send + 'static,
    {
        let thread = match self {
            Self::Thread(thread) => thread,
            Self::InPlace(place) => return place.call(&mut work),
        };
        let (reply, answer) = oneshot::channel();
        // The thread says why before it ends, so this waits for an instant at most.
        let gone = || thread.failure.wait().clone();
        let jobs = thread.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Box::new(Call { work, value: None, reply, ticket })).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl InPlace {
    fn call<T>(&self, work: impl FnMut(&Connection) -> db::Result<T>) -> Result<T, LedgerError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        in_transaction(&connection, work).map_err(|error| LedgerError::of(&self.location, &error))
    }
}

/// Serves calls until every handle is gone. A failed transaction fails every call in it and ends the thread: after a
/// full disk or a damaged file nothing more may be promised, and whoever calls next is told the same.
fn write_all(mut kept: Kept, queue: mpsc::Receiver<Box<dyn Job>>, failure: &OnceLock<LedgerError>) {
    let mut queue = Queue(queue);
    let last_word = LastWord { location: kept.location(), failure };
    let mut batch = Vec::new();
    while queue.0.blocking_recv_many(&mut batch, QUEUE) > 0 {
        if let Err(error) = kept.commit(&mut batch) {
            return last_word.say(error);
        }
        for job in batch.drain(..) {
            job.acknowledge();
        }
    }
}

/// What waits for the writer. When it ends, all of it is dropped, so that no caller waits for an answer any more: also what
/// is just being sent, which a receiver that is merely dropped leaves in the channel.
struct Queue(mpsc::Receiver<Box<dyn Job>>);

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.close();
        while self.0.blocking_recv().is_some() {}
    }
}

/// A transaction that says nothing but that this process lives.
struct SignOfLife;

impl Job for SignOfLife {
    fn carry_out(&mut self, _: &Connection) -> db::Result<()> {
        Ok(())
    }

    fn acknowledge(self: Box<Self>) {}
}

/// Shows that this process lives, until its writer ends.
fn live(jobs: &mpsc::WeakSender<Box<dyn Job>>) {
    loop {
        std::thread::sleep(served::SIGN_OF_LIFE);
        let Some(jobs) = jobs.upgrade() else { return };
        if jobs.blocking_send(Box::new(SignOfLife)).is_err() {
            return;
        }
    }
}

/// Says why the thread ended, whatever ended it, a panic included.
struct LastWord<'t> {
    location: Location,
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
        self.say(LedgerError::io(Path::new(&self.location.to_string()), &"its writer has stopped"));
    }
}

fn write(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> db::Result<()> {
    in_transaction(connection, |connection| jobs.iter_mut().try_for_each(|job| job.carry_out(connection)))
}

fn in_transaction<T>(connection: &Connection, mut work: impl FnMut(&Connection) -> db::Result<T>) -> db::Result<T> {
    let transaction = connection.begin()?;
    let value = work(connection)?;
    transaction.commit()?;
    Ok(value)
}

/// The file is gone from its folder, but while it is open here, all of it can still be read: it is saved beside where
/// it was, if that can be done.
fn save(connection: &Connection, path: &Path, error: LedgerError) -> LedgerError {
    let copy = file::sibling(path, &format!(".saved-{}", std::process::id()));
    let is_saved = file::create_private(&copy).is_ok() && connection.copy_to(&copy).is_ok();
    if is_saved { error.saved_to(copy) } else { error }
}
