//! A connection to PostgreSQL, used as SQLite's is: each call waits for its answer.
//!
//! The wire is driven by one thread of its own, so that a call may wait on any thread, also on one that serves other
//! tasks, as it does with SQLite. A host that is gone is found by its connection (`keepalives`). A server that is there
//! and says nothing is taken for lost where somebody waits to send, and there what becomes of the transaction is for the
//! writer to find out; a long look at a large ledger may take its time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::{Error, Params, Result, Value};
use crate::ledger::Server;

/// No statement of a run takes longer on a server that is well, nor does a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub(in crate::ledger) struct Link {
    client: Client,
    /// For how long it waits for an answer; `None`: as long as there is a connection.
    patience: Cell<Option<Duration>>,
    /// By their text as it is written for SQLite.
    prepared: RefCell<HashMap<String, Statement>>,
}

type Answer<T> = std::result::Result<T, tokio_postgres::Error>;

/// What drives the wires of all connections.
fn wires() -> Result<&'static Runtime> {
    static WIRES: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let wires = WIRES.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("database").enable_all().build()
    });
    wires.as_ref().map_err(|error| Error::Unwritable(format!("no thread for the database: {error}")))
}

/// Waits for an answer, on whatever thread this is.
fn wait<T>(patience: Option<Duration>, future: impl Future<Output = Answer<T>>) -> Result<T> {
    let _within = wires()?.enter();
    let Some(patience) = patience else { return Ok(pollster::block_on(future)?) };
    match pollster::block_on(tokio::time::timeout(patience, future)) {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Silent),
    }
}

impl Link {
    /// Connects to a server.
    pub(in crate::ledger) fn connect(server: &Server) -> Result<Self> {
        let (client, driver) = wait(Some(PATIENCE), server.connect())?;
        wires()?.spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(error = told(&error), "the connection to the ledger's server ended");
            }
        });
        Ok(Self { client, patience: Cell::new(None), prepared: RefCell::new(HashMap::new()) })
    }

    /// From now on, a server that says nothing is taken for lost.
    pub(in crate::ledger) fn hurry(&self) {
        self.patience.set(Some(PATIENCE));
    }

    fn wait<T>(&self, answer: impl Future<Output = Answer<T>>) -> Result<T> {
        wait(self.patience.get(), answer)
    }

    /// Carries out statements that take and return nothing.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.prepared.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(&translated(sql)))?;
        self.prepared.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) fn execute(&self, statement: &Statement, params: impl Params) -> Result<u64> {
        params.with(|values| self.wait(self.client.execute(statement, &references(values))))
    }

    pub(super) fn query(&self, statement: &Statement, params: impl Params) -> Result<Vec<Row>> {
        params.with(|values| self.wait(self.client.query(statement, &references(values))))
    }
}

fn references<'v>(values: &'v [Value<'v>]) -> Vec<&'v (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// A statement as PostgreSQL reads it: its parameters are `$1`, and the hints for SQLite's planner are gone.
fn translated(sql: &str) -> String {
    let mut translated = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', 'I', 'N', 'C']) {
        translated.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(literal) = rest.strip_prefix('\'') {
            // No literal of ours has a quote in it that is not doubled, which reads as two literals.
            let end = literal.find('\'').map_or(literal.len(), |end| end + 1);
            translated.push_str(&rest[..=end]);
            rest = &rest[end + 1..];
        } else if let Some(number) = rest.strip_prefix('?') {
            translated.push('$');
            rest = number;
        } else if let Some(hint) = rest.strip_prefix("INDEXED BY ") {
            rest = hint.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        } else if let Some(hint) = rest.strip_prefix("NOT INDEXED").or_else(|| rest.strip_prefix("CROSS ")) {
            // `CROSS JOIN` tells SQLite alone in which order to join.
            rest = hint;
        } else {
            translated.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    translated.push_str(rest);
    translated
}

/// An error with what is behind it, on one line.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(of_server) = error.as_db_error() {
        let more = [of_server.detail(), of_server.hint()].into_iter().flatten();
        return std::iter::once(of_server.message()).chain(more).collect::<Vec<_>>().join("; ");
    }
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Whether the same may succeed on another connection, or at another time: the server restarts, another takes over, or
/// two transactions were in each other's way.
pub(in crate::ledger) fn may_pass(error: &Error) -> bool {
    match error {
        Error::Silent => true,
        Error::Postgres(error) => error.code().map_or_else(|| is_of_the_way(error), is_passing),
        _ => false,
    }
}

fn is_passing(code: &SqlState) -> bool {
    // Connection exceptions, shutdowns and starts, conflicts of transactions, lacks of room, a standby, a transaction that
    // stood still for too long, a statement that was cancelled or did not get its lock, a disk that failed.
    ["08", "57P", "57014", "40", "53", "55P03", "58030", "25006", "25P03"]
        .iter()
        .any(|class| code.code().starts_with(class))
}

/// No answer of a server at all, but for one that can't be reached by what was given.
fn is_of_the_way(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.source().and_then(|source| source.downcast_ref::<std::io::Error>()).is_some()
}

#[cfg(test)]
mod tests {
    use super::translated;

    #[test]
    fn statements_are_told_as_postgresql_reads_them() {
        for (written, read) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT a FROM b WHERE c = ?1 AND d IN (?2, ?12)", "SELECT a FROM b WHERE c = $1 AND d IN ($2, $12)"),
            ("SELECT id FROM t INDEXED BY t_by_x WHERE x = ?1", "SELECT id FROM t  WHERE x = $1"),
            ("SELECT id FROM t NOT INDEXED", "SELECT id FROM t "),
            ("SELECT 'why?1' || 'it''s ?', ?1 INTO N", "SELECT 'why?1' || 'it''s ?', $1 INTO N"),
            ("SELECT 'open", "SELECT 'open"),
        ] {
            assert_eq!(translated(written), read);
        }
    }
}
