//! The ledger on a server: its tables, and the sessions in which it is written.
//!
//! - **Tables** are made by whoever comes first, in one transaction, and migrated forward by a newer program.
//! - **A session** is one process that writes. It has a row in `runners`, and each of its transactions leaves its number
//!   there: after a lost connection that row tells whether the last one was committed.
//! - **Locks** are advisory ones, of the session's own connection. The server releases them with the connection, however
//!   the process dies; a session that has lost its connection takes its lock again with the next one, before it writes.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::db::{self, Connection, Link, params};
use super::lock::Purpose;
use super::records::RunId;
use super::{LedgerError, Location, Server, spool};
use crate::token::FingerprintKey;

/// One for each version, in order.
pub(super) const MIGRATIONS: [&str; 3] =
    [include_str!("postgres1.sql"), include_str!("postgres2.sql"), include_str!("postgres3.sql")];

/// For how long a session that shows no sign of life is taken to live.
const LEASE_SECONDS: i64 = 180;

/// How long after its last sign of life a runner is taken for dead whose connection has ended, and how long after its own
/// start a server leaves runners time to come back.
const GRACE_SECONDS: i64 = 60;

/// How often a session that has nothing to write shows that it lives.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Between two looks at a lock that another session holds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// How often a read is begun again, and how much longer is waited before each.
const READS: u32 = 5;
const BETWEEN_READS: Duration = Duration::from_millis(500);

/// What a lock of the ledger is called on its server: told apart from the locks of other ledgers in the same database.
const LOCK: &str = "(('meta'::regclass)::oid::bigint << 8) | CAST(?1 AS BIGINT)";

impl Purpose {
    fn number(self) -> i64 {
        match self {
            Self::Change | Self::Apply => 1,
            Self::Audit => 2,
        }
    }

    /// Takes the lock, if that can be done at once: applies share theirs.
    fn taking(self) -> &'static str {
        match self {
            Self::Apply => "pg_try_advisory_lock_shared",
            Self::Change | Self::Audit => "pg_try_advisory_lock",
        }
    }
}

/// Another process that writes, or wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It is at work, as far as can be told.
    Lives,
    /// It is not, and its row is gone.
    Gone,
}

/// Whether a runner lives. One that doesn't is taken out, and its claims with it.
pub(super) fn peer(connection: &Connection, runner: &str) -> db::Result<Peer> {
    let sql = "SELECT host, pid, backend, batch, lease_until < clock_timestamp(),
         NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.pid = backend),
         greatest(lease_until - make_interval(secs => ?2), pg_postmaster_start_time()) + make_interval(secs => ?3)
           < clock_timestamp()
       FROM runners WHERE id = ?1";
    let params = params![runner, LEASE_SECONDS as f64, GRACE_SECONDS as f64];
    let found = connection.find(sql, params, |row| {
        let (host, pid): (String, i64) = (row.get(0)?, row.get(1)?);
        let sign: (i64, i64) = (row.get(2)?, row.get(3)?);
        let (is_over, is_cut, is_late): (bool, bool, bool) = (row.get(4)?, row.get(5)?, row.get(6)?);
        Ok((is_over || is_cut && (is_late || is_ended_here(&host, pid)), sign))
    })?;
    match found {
        None => Ok(Peer::Gone),
        Some((false, _)) => Ok(Peer::Lives),
        Some((true, (backend, batch))) => {
            let taken_out = connection.execute(
                "DELETE FROM runners WHERE id = ?1 AND backend = ?2 AND batch = ?3",
                params![runner, backend, batch],
            )?;
            // Else it has shown that it lives, or somebody else has taken it out.
            if taken_out > 0 { Ok(Peer::Gone) } else { peer(connection, runner) }
        }
    }
}

/// Waits until no other transaction is here, and keeps others out until this one ends. In a file that is so anyway.
pub(super) fn one_at_a_time(connection: &Connection) -> db::Result<()> {
    if connection.is_file() { Ok(()) } else { connection.batch("SELECT pg_advisory_xact_lock(1146312014, 1)") }
}

/// Whether the process of a run may still be at work; in a file, where only one can be, that is never asked of another.
pub(super) fn is_at_work(connection: &Connection, run: RunId) -> db::Result<bool> {
    if connection.is_file() {
        return Ok(false);
    }
    let sql = "SELECT x.id FROM runs r JOIN runners x ON x.host = r.host AND x.pid = r.pid WHERE r.id = ?1";
    let runners: Vec<String> = connection.query_all(sql, [run.0], |row| row.get(0))?;
    for runner in runners {
        if peer(connection, &runner)? == Peer::Lives {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it was a process of this machine that is there no more.
fn is_ended_here(host: &str, pid: i64) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    host == crate::host::name() && pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// A process that writes.
#[derive(Debug)]
pub(super) struct Session {
    server: Server,
    id: String,
    /// The lock that it holds, whatever becomes of its connection.
    lock: Option<Purpose>,
    /// The number of its last transaction.
    batch: i64,
    connection: Option<Connection>,
}

impl Session {
    /// Connects for writing, making the tables where there are none.
    pub(super) fn open(server: &Server) -> Result<Self, LedgerError> {
        let failed = |error: db::Error| LedgerError::of_server(server, &error);
        let connection = connect(server).map_err(failed)?;
        migrate(&connection, server)?;
        connection.hurry();
        let session = Self {
            server: server.clone(),
            id: Uuid::new_v4().to_string(),
            lock: None,
            batch: 0,
            connection: Some(connection),
        };
        session.register().map_err(failed)?;
        Ok(session)
    }

    /// What it is called in the ledger.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn location(&self) -> Location {
        Location::Server(Box::new(self.server.clone()))
    }

    /// Reads something.
    pub(super) fn read<T>(&self, read: impl Fn(&Connection) -> db::Result<T>) -> db::Result<T> {
        read(self.connected()?)
    }

    /// What an error of this session means for the ledger.
    pub(super) fn failure(&self, error: &db::Error) -> LedgerError {
        LedgerError::of_server(&self.server, error)
    }

    /// Takes a lock, waiting for it at most `wait`.
    pub(super) fn lock(&mut self, purpose: Purpose, wait: Duration) -> Result<(), LedgerError> {
        let deadline = Instant::now() + wait;
        loop {
            let connection = self.connected().map_err(|error| self.failure(&error))?;
            if take(connection, purpose).map_err(|error| self.failure(&error))? {
                // It may have waited for longer than its lease.
                self.register().map_err(|error| self.failure(&error))?;
                self.lock = Some(purpose);
                return Ok(());
            }
            if Instant::now() >= deadline {
                let holder = holder(connection, purpose).map_err(|error| self.failure(&error))?;
                let holder = holder.unwrap_or_else(|| "a process that has just begun".to_owned());
                return Err(LedgerError::Locked { path: self.server.to_string(), holder });
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Records what earlier processes on this machine could not, if this one may change entries.
    pub(super) fn record_what_waits(&mut self, ledger: Uuid) -> Result<(), LedgerError> {
        let may_change = matches!(self.lock, Some(Purpose::Apply | Purpose::Change));
        let Some(folder) = self.server.spool().filter(|_| may_change).map(Path::to_owned) else { return Ok(()) };
        for left in spool::left(&folder, ledger) {
            let mut counts = (0, 0);
            let work = |connection: &Connection| {
                counts = left.record(connection)?;
                Ok(())
            };
            self.transact(false, work).map_err(|error| self.failure(&error))?;
            left.done(counts.0, counts.1);
        }
        Ok(())
    }

    /// For how long its server may be away.
    pub(super) fn patience(&self) -> Duration {
        self.server.patience()
    }

    /// Carries out a transaction. One that is carried out `again` is left alone if it was committed all the same.
    pub(super) fn transact(&mut self, again: bool, work: impl FnMut(&Connection) -> db::Result<()>) -> db::Result<()> {
        if !again {
            self.batch += 1;
        }
        let done = self.try_to_transact(again, work);
        if done.is_err() {
            // It may be broken, or in the middle of something.
            self.connection = None;
        }
        done
    }

    fn try_to_transact(&mut self, again: bool, mut work: impl FnMut(&Connection) -> db::Result<()>) -> db::Result<()> {
        self.reconnect()?;
        let (connection, id, batch) = (self.connected()?, &self.id, self.batch);
        if again {
            let sql = "SELECT batch FROM runners WHERE id = ?1";
            let last: Option<i64> = connection.find(sql, [id], |row| row.get(0))?;
            if last == Some(batch) {
                return Ok(());
            }
        }
        let transaction = connection.begin()?;
        let renewed = connection.execute(
            "UPDATE runners SET batch = ?2, lease_until = clock_timestamp() + make_interval(secs => ?3) WHERE id = ?1",
            params![id, batch, LEASE_SECONDS as f64],
        )?;
        if renewed == 0 {
            // Others may have gone on with its entries.
            return Err(db::Error::Unwritable(TAKEN_FOR_DEAD.to_owned()));
        }
        work(connection)?;
        transaction.commit()
    }

    fn connected(&self) -> db::Result<&Connection> {
        self.connection.as_ref().ok_or(db::Error::Silent)
    }

    /// Connects again where the connection is gone, with the lock that this session has.
    fn reconnect(&mut self) -> db::Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connection = connect(&self.server)?;
        connection.hurry();
        if let Some(purpose) = self.lock
            && !take(&connection, purpose)?
        {
            // The server may not have noticed yet that the old connection is gone.
            let mine: bool = connection.query_row(
                &format!("SELECT count(*) > 0 FROM pg_locks l JOIN runners r ON r.backend = l.pid WHERE r.id = ?2 AND {OF_LOCK}"),
                params![purpose.number(), self.id],
                |row| row.get(0),
            )?;
            let error = if mine { db::Error::Silent } else { db::Error::Unwritable(TAKEN.to_owned()) };
            return Err(error);
        }
        connection
            .execute("UPDATE runners SET backend = pg_backend_pid() WHERE id = ?1", [self.id.as_str()])
            .map(drop)?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Makes its row, or renews it, and clears away what others left that ended without a word.
    fn register(&self) -> db::Result<()> {
        let connection = self.connected()?;
        // What somebody else is at is left to them: whoever waits here could be waited for there.
        connection.batch(
            "DELETE FROM runners WHERE id IN (
               SELECT id FROM runners WHERE lease_until < clock_timestamp() FOR UPDATE SKIP LOCKED)",
        )?;
        connection.execute(
            "INSERT INTO runners (id, host, pid, backend, since, batch, lease_until)
             VALUES (?1, ?2, ?3, pg_backend_pid(), ?4, 0, clock_timestamp() + make_interval(secs => ?5))
             ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
            params![
                self.id,
                crate::host::name(),
                std::process::id(),
                Timestamp::now().as_millisecond(),
                LEASE_SECONDS as f64
            ],
        )?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            // Otherwise whoever meets its claims finds that it is gone.
            let _ = connection.execute("DELETE FROM runners WHERE id = ?1", [self.id.as_str()]);
            drop(Release(connection));
        }
    }
}

/// Releases the locks of a connection when it is dropped: the server may notice the connection's end only after the next
/// command has asked for them.
pub(super) struct Release<'c>(pub(super) &'c Connection);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        // A broken connection is noticed, sooner or later.
        let _ = self.0.batch("SELECT pg_advisory_unlock_all()");
    }
}

const TAKEN_FOR_DEAD: &str = "this run was silent for so long that others took it for dead";
const TAKEN: &str = "another run took the ledger while the connection was lost";

/// Of `pg_locks l`: the lock that is numbered `?1`.
const OF_LOCK: &str = "l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND ((l.classid::bigint << 32) | l.objid::bigint) = ((('meta'::regclass)::oid::bigint << 8) | CAST(?1 AS BIGINT))";

/// Takes a lock if it is free.
pub(super) fn take(connection: &Connection, purpose: Purpose) -> db::Result<bool> {
    connection.query_row(&format!("SELECT {}({LOCK})", purpose.taking()), [purpose.number()], |row| row.get(0))
}

/// Who holds a lock, as it is told to people.
pub(super) fn holder(connection: &Connection, purpose: Purpose) -> db::Result<Option<String>> {
    let sql = format!(
        "SELECT r.host, r.pid, r.since FROM pg_locks l LEFT JOIN runners r ON r.backend = l.pid WHERE {OF_LOCK} LIMIT 1"
    );
    connection.find(&sql, [purpose.number()], |row| {
        let (host, pid): (Option<String>, Option<i64>) = (row.get(0)?, row.get(1)?);
        let Some((host, pid)) = host.zip(pid) else { return Ok("a process that has just begun".to_owned()) };
        let since = super::read::time(row.get(2)?);
        let since = since.round(jiff::Unit::Second).unwrap_or(since);
        Ok(format!("pid {pid} on {}, since {since}", crate::text::inert(&host)))
    })
}

/// Connects, and refuses what can't keep a ledger.
pub(super) fn connect(server: &Server) -> db::Result<Connection> {
    let connection = Connection::Postgres(Box::new(Link::connect(server)?));
    // A process that is stopped in the middle of a transaction must not hold its rows from the others for ever.
    connection.batch(
        "SET synchronous_commit = on; SET client_min_messages = warning; SET idle_in_transaction_session_timeout = '30s'",
    )?;
    Ok(connection)
}

/// Whether the server lets a run write.
pub(super) fn examine(server: &Server) -> Result<(), LedgerError> {
    let connection = connect(server).map_err(|error| LedgerError::of_server(server, &error))?;
    refuse_unfit(&connection, server)
}

/// Connects to a ledger for reading; `None` where there is none.
pub(super) fn open_for_reading(server: &Server) -> Result<Option<Connection>, LedgerError> {
    let failed = |error: db::Error| LedgerError::of_server(server, &error);
    let connection = connect(server).map_err(failed)?;
    connection.batch("SET default_transaction_read_only = on").map_err(failed)?;
    Ok(version(&connection, server)?.map(|_| connection))
}

/// Reads something; on a new connection, where the last one was lost.
pub(super) fn read<T>(
    server: &Server,
    connection: &mut Option<Connection>,
    read: impl Fn(&Connection) -> db::Result<T>,
) -> db::Result<T> {
    let mut tries = 0;
    loop {
        let answer = match connection {
            Some(connection) => read(connection),
            None => connect(server).and_then(|new| read(connection.insert(new))),
        };
        match answer {
            Err(error) if db::may_pass(&error) && tries < READS => {
                *connection = None;
                tries += 1;
                std::thread::sleep(BETWEEN_READS * tries);
            }
            answer => return answer,
        }
    }
}

/// The version of its tables; `None` where there are none.
fn version(connection: &Connection, server: &Server) -> Result<Option<i64>, LedgerError> {
    let failed = |error: db::Error| LedgerError::of_server(server, &error);
    let exists: bool =
        connection.query_row("SELECT to_regclass('meta') IS NOT NULL", (), |row| row.get(0)).map_err(failed)?;
    if !exists {
        return Ok(None);
    }
    let version: Option<i64> = connection.find("SELECT version FROM meta", (), |row| row.get(0)).map_err(failed)?;
    let corrupt = |detail: &str| LedgerError::Corrupt { path: server.to_string(), detail: detail.to_owned() };
    match version {
        None if is_incoming(connection).map_err(failed)? => Err(LedgerError::Incoming(server.to_string())),
        None => Err(corrupt("its identity is gone")),
        Some(version) if version > MIGRATIONS.len() as i64 => Err(LedgerError::Newer(server.to_string())),
        version => Ok(version),
    }
}

/// Whether tables without an identity are those of a ledger that is being moved here.
fn is_incoming(connection: &Connection) -> db::Result<bool> {
    connection.query_row("SELECT to_regclass('incoming') IS NOT NULL", (), |row| row.get(0))
}

/// Lets one session at a time make tables; released with its transaction.
pub(super) const MAKING: &str = "SELECT pg_advisory_xact_lock(1146312014, 0)";

/// Makes the tables, or brings them to this program's version.
fn migrate(connection: &Connection, server: &Server) -> Result<(), LedgerError> {
    let failed = |error: db::Error| LedgerError::of_server(server, &error);
    let newest = MIGRATIONS.len() as i64;
    refuse_unfit(connection, server)?;
    if version(connection, server)? == Some(newest) {
        return Ok(());
    }
    let transaction = connection.begin().map_err(failed)?;
    // One at a time: whoever waited finds them made.
    connection.batch(MAKING).map_err(failed)?;
    let from = version(connection, server)?;
    for sql in MIGRATIONS.iter().skip(from.unwrap_or(0) as usize) {
        connection.batch(sql).map_err(failed)?;
    }
    match from {
        Some(_) => connection.execute("UPDATE meta SET version = ?1", [newest]).map(drop),
        None => connection
            .execute(
                "INSERT INTO meta (id, ledger_id, generation, fingerprint_key, created_at, version) VALUES (1, ?1, 0, ?2, ?3, ?4)",
                params![
                    Uuid::new_v4().to_string(),
                    FingerprintKey::random().as_bytes(),
                    Timestamp::now().as_millisecond(),
                    newest
                ],
            )
            .map(drop),
    }
    .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Removes the dead rows of the tables, which hold what was overwritten.
pub(super) fn scrub(server: &Server) -> Result<(), LedgerError> {
    let failed = |error: db::Error| LedgerError::of_server(server, &error);
    let connection = connect(server).map_err(failed)?;
    for table in [
        "entries",
        "attempts",
        "answers",
        "evidence",
        "run_outcomes",
        "run_findings",
        "baselines",
        "runs",
        "run_ends",
        "up_to_date",
    ] {
        connection.batch(&format!("VACUUM (FULL) {table}")).map_err(failed)?;
    }
    Ok(())
}

/// What can't keep a ledger: another database that speaks PostgreSQL's protocol, but whose advisory locks lock nothing;
/// a standby; a database in which nothing may be written.
pub(super) fn refuse_unfit(connection: &Connection, server: &Server) -> Result<(), LedgerError> {
    let failed = |error: db::Error| LedgerError::of_server(server, &error);
    let refused = |detail: &str| LedgerError::Server { ledger: server.to_string(), detail: detail.to_owned() };
    let version: String = connection.query_row("SELECT version()", (), |row| row.get(0)).map_err(failed)?;
    if !version.starts_with("PostgreSQL ") {
        let name = version.split_whitespace().next().unwrap_or_default();
        return Err(refused(&format!("{name} has no locks that this program could rely on; it needs PostgreSQL")));
    }
    let sql = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
    let (is_standby, is_read_only): (bool, bool) =
        connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    match (is_standby, is_read_only) {
        (true, _) => Err(refused("this server is a standby, which can't be written; name the primary")),
        (false, true) => Err(refused("its transactions are read-only; name a database that can be written")),
        (false, false) => Ok(()),
    }
}
