//! Reading the ledger: the same queries serve the writer's snapshots and the read-only commands.

use std::cell::{OnceCell, RefCell};

use super::db::{self, Cell, Connection, Row};
use jiff::Timestamp;
use uuid::Uuid;

use super::file::Stamp;
use super::records::{
    Attempt, Counts, EntryId, Flaw, Identity, ManifestFacts, Origin, Receiver, Record, RecordedError, Requests, Run,
    RunEnd, RunFinding, RunId, Session, Settings, State,
};
use super::spans;
use super::walk::record_columns;
use super::{LedgerError, LedgerFile, Location, Server, check, file, served};
use crate::didit::Class;
use crate::token::{Fingerprint, FingerprintKey, SessionKind};

/// A ledger opened for reading only.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    location: Location,
}

#[derive(Debug)]
enum Source {
    File(Box<FileSource>),
    /// `None` once the connection was lost.
    Server(Box<Server>, RefCell<Option<Connection>>),
}

#[derive(Debug)]
struct FileSource {
    connection: Connection,
    file: LedgerFile,
    /// What the file was like when it was opened as immutable; `None` where it is read through its log.
    as_of: Option<Stamp>,
    /// Opened once the file turned out to be written while it was read as immutable.
    through_log: OnceCell<Connection>,
}

impl Reader {
    /// Opens an existing ledger; `None` where there is none.
    pub fn open(location: &Location) -> Result<Option<Self>, LedgerError> {
        let source = match location {
            Location::File(file) => file::open_for_reading(file)?.map(|opened| {
                Source::File(Box::new(FileSource {
                    connection: Connection::Sqlite(opened.connection),
                    file: file.clone(),
                    as_of: opened.as_of,
                    through_log: OnceCell::new(),
                }))
            }),
            Location::Server(server) => served::open_for_reading(server)?
                .map(|connection| Source::Server(server.clone(), RefCell::new(Some(connection)))),
        };
        Ok(source.map(|source| Self { source, location: location.clone() }))
    }

    /// Opens a ledger that must exist.
    pub fn require(location: &Location) -> Result<Self, LedgerError> {
        Self::open(location)?.ok_or_else(|| LedgerError::Missing(location.to_string()))
    }

    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// Carries out a query; once more, where the first answer can't be trusted or the server was away.
    pub(super) fn run_query<T>(&self, query: impl Fn(&Connection) -> db::Result<T>) -> Result<T, LedgerError> {
        let read = |connection: &Connection| query(connection).map_err(|error| LedgerError::of(&self.location, &error));
        match &self.source {
            Source::File(source) => source.read(read),
            Source::Server(server, connection) => {
                let answer = served::read(server, &mut connection.borrow_mut(), query);
                answer.map_err(|error| LedgerError::of(&self.location, &error))
            }
        }
    }
}

impl FileSource {
    /// A writer may have begun since the file was opened as immutable: then once more, through the log.
    fn read<T>(&self, read: impl Fn(&Connection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        if let Some(through_log) = self.through_log.get() {
            return read(through_log);
        }
        let path = &self.file.path;
        let result = read(&self.connection);
        let doubtful = self
            .as_of
            .is_some_and(|as_of| matches!(result, Err(LedgerError::Corrupt { .. })) || as_of != Stamp::of(path));
        if !doubtful {
            return result;
        }
        match file::open_through_log(path) {
            Ok(connection) => read(self.through_log.get_or_init(|| Connection::Sqlite(connection))),
            // The writer is gone, and its log with it.
            Err(_) => result,
        }
    }
}

impl Reader {
    /// Id, generation and fingerprint key.
    pub fn identity(&self) -> Result<Identity, LedgerError> {
        self.run_query(identity)
    }

    /// Every entry, in the order they were first recorded.
    pub fn records(&self) -> Result<Vec<Record>, LedgerError> {
        self.run_query(records)
    }

    /// What audits know of the manifests.
    pub fn manifests(&self) -> Result<Vec<ManifestFacts>, LedgerError> {
        self.run_query(manifests)
    }

    /// Every attempt of an entry, first to last.
    pub fn attempts(&self, entry: EntryId) -> Result<Vec<Attempt>, LedgerError> {
        self.run_query(|connection| attempts(connection, entry))
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Result<Vec<Run>, LedgerError> {
        self.run_query(runs)
    }

    /// Everything that is wrong with the ledger.
    pub fn check(&self) -> Result<Vec<Flaw>, LedgerError> {
        self.run_query(check::check)
    }

    /// How many rows there are.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.run_query(counts)
    }

    /// The findings of a run, sorted by manifest, label, rule and block.
    pub fn run_findings(&self, run: RunId) -> Result<Vec<RunFinding>, LedgerError> {
        self.run_query(|connection| run_findings(connection, run))
    }
}

pub(super) const COUNTS: &str = "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM attempts),
   (SELECT count(*) FROM answers), (SELECT count(*) FROM evidence), (SELECT count(*) FROM runs),
   (SELECT count(*) FROM run_outcomes)";

pub(super) fn counts(connection: &Connection) -> db::Result<Counts> {
    connection.query_row(COUNTS, (), |row| {
        Ok(Counts {
            entries: row.get(0)?,
            attempts: row.get(1)?,
            answers: row.get(2)?,
            evidence: row.get(3)?,
            runs: row.get(4)?,
            outcomes: row.get(5)?,
        })
    })
}

/// A stored time.
pub(super) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn identity(connection: &Connection) -> db::Result<Identity> {
    connection.query_row("SELECT ledger_id, generation, fingerprint_key FROM meta", (), |row| {
        Ok(Identity { id: uuid(row, 0)?, generation: row.get(1)?, key: FingerprintKey::from_bytes(row.get(2)?) })
    })
}

/// Every entry, one, and some that stand together.
const RECORDS: &str = concat!(record_columns!(), " ORDER BY id");
pub(super) const RECORD: &str = concat!(record_columns!(), " WHERE id = ?1");
const RECORDS_BETWEEN: &str = concat!(record_columns!(), " WHERE id BETWEEN ?1 AND ?2 ORDER BY id");

pub(super) fn records(connection: &Connection) -> db::Result<Vec<Record>> {
    connection.prepare(RECORDS)?.query_all((), record)
}

pub(super) fn record_by_id(connection: &Connection, id: EntryId) -> db::Result<Record> {
    connection.prepare(RECORD)?.query_row([id.0], record)
}

/// These entries, in the order given.
pub(super) fn records_of(connection: &Connection, ids: &[EntryId]) -> db::Result<Vec<Record>> {
    records_among(connection, ids, spans::between(connection))
}

/// The same, in spans with so many others between two of them.
pub(super) fn records_among(connection: &Connection, ids: &[EntryId], between: i64) -> db::Result<Vec<Record>> {
    let mut wanted: Vec<(EntryId, usize)> = ids.iter().copied().zip(0..).collect();
    wanted.sort_unstable();
    let spans = spans::spans(wanted.iter().map(|(id, _)| *id), between);
    let mut found: Vec<Option<Record>> = ids.iter().map(|_| None).collect();
    let (mut query, mut next) = (connection.prepare(RECORDS_BETWEEN)?, wanted.into_iter().peekable());
    for (first, last) in spans {
        query.each([first, last], |row| {
            let id = EntryId(row.get(0)?);
            while let Some((it, at)) = next.next_if(|(it, _)| *it <= id) {
                if it == id {
                    found[at] = Some(record(row)?);
                }
            }
            Ok(())
        })?;
    }
    found.into_iter().collect::<Option<_>>().ok_or(db::Error::NoRow)
}

pub(super) fn manifests(connection: &Connection) -> db::Result<Vec<ManifestFacts>> {
    connection
        .prepare(
            "SELECT name, path, digest, application_id, base_url, api_key, limits, expect FROM manifests ORDER BY name",
        )?
        .query_all((), |row| {
            Ok(ManifestFacts {
                name: row.get(0)?,
                path: row.get(1)?,
                digest: row.get(2)?,
                application_id: optional_uuid(row, 3)?,
                base_url: row.get(4)?,
                api_key: json(row, 5)?,
                limits: json(row, 6)?,
                expect: json(row, 7)?,
            })
        })
}

pub(super) fn attempts(connection: &Connection, entry: EntryId) -> db::Result<Vec<Attempt>> {
    connection
        .prepare(
            "SELECT a.run, a.number, a.sent_at, b.answered_at, coalesce(b.outcome, 'open'), b.http_status, b.class, b.detail,
               b.session_id, a.token
             FROM attempts a LEFT JOIN answers b ON b.attempt = a.id WHERE a.entry = ?1 ORDER BY a.number",
        )?
        .query_all([entry.0], |row| {
            Ok(Attempt {
                run: RunId(row.get(0)?),
                number: row.get(1)?,
                sent_at: time(row.get(2)?),
                answered_at: row.get::<Option<i64>>(3)?.map(time),
                outcome: row.get(4)?,
                http_status: row.get(5)?,
                class: class(row, 6)?,
                detail: row.get(7)?,
                session_id: optional_uuid(row, 8)?,
                token: fingerprint(row, 9)?.map_or_else(String::new, |token| token.to_string()),
            })
        })
}

fn runs(connection: &Connection) -> db::Result<Vec<Run>> {
    connection
        .prepare(
            "SELECT r.id, r.command, r.started_at, r.actor, r.reason, r.ref, e.ended_at, e.seconds, e.writes, e.reads,
               e.throttled, e.sessions, e.checked, e.error, e.conditions
             FROM runs r LEFT JOIN run_ends e ON e.run = r.id ORDER BY r.id",
        )?
        .query_all((), |row| {
            Ok(Run {
                id: RunId(row.get(0)?),
                command: row.get(1)?,
                started_at: time(row.get(2)?),
                origin: Origin { actor: row.get(3)?, reason: row.get(4)?, reference: row.get(5)? },
                end: row.get::<Option<i64>>(6)?.map(|at| run_end(row, at)).transpose()?,
            })
        })
}

fn run_end(row: &Row<'_>, at: i64) -> db::Result<RunEnd> {
    let checked: u64 = row.get(12)?;
    Ok(RunEnd {
        at: time(at),
        seconds: row.get(7)?,
        requests: Requests { writes: row.get(8)?, reads: row.get(9)?, throttled: row.get(10)? },
        verified: row.get::<Option<u64>>(11)?.map(|sessions| (sessions, checked)),
        error: row.get::<Option<String>>(13)?.and_then(|text| serde_json::from_str(&text).ok()),
        conditions: serde_json::from_value(json(row, 14)?).unwrap_or_default(),
    })
}

/// Whether the ledger keeps what reports need beside outcomes: one of an older version, which only reading commands
/// have met since, does not.
pub(super) fn keeps_reports(connection: &Connection) -> db::Result<bool> {
    connection.has_column("run_outcomes", "expires_at")
}

fn run_findings(connection: &Connection, run: RunId) -> db::Result<Vec<RunFinding>> {
    // A ledger is read as it is: before version 4 findings had no blocks.
    let block = if connection.has_column("run_findings", "block")? { "block" } else { "''" };
    connection
        .prepare(&format!(
            "SELECT entry, manifest, label, session_id, rule, severity, message, expected, actual, first_seen, new,
               {block} AS block
             FROM run_findings WHERE run = ?1 ORDER BY manifest, label, rule, block"
        ))?
        .query_all([run.0], |row| {
            Ok(RunFinding {
                entry: EntryId(row.get(0)?),
                manifest: row.get(1)?,
                label: row.get(2)?,
                session_id: optional_uuid(row, 3)?,
                rule: row.get(4)?,
                severity: row.get(5)?,
                message: row.get(6)?,
                expected: row.get(7)?,
                actual: row.get(8)?,
                first_seen: time(row.get(9)?),
                new: row.get(10)?,
                block: row.get(11)?,
            })
        })
}

/// An entry, of the columns of `record_columns`.
pub(super) fn record(row: &Row<'_>) -> db::Result<Record> {
    let state = borrowed(row, 11)?.unwrap_or_default();
    Ok(Record {
        id: EntryId(row.get(0)?),
        label: row.get(1)?,
        manifest: row.get(2)?,
        receiver: Receiver { application_id: optional_uuid(row, 3)?, base_url: row.get(4)?, key: fingerprint(row, 5)? },
        source_session_id: optional_uuid(row, 6)?,
        source_hash: fingerprint(row, 7)?,
        token: fingerprint(row, 8)?,
        from_application_id: optional_uuid(row, 9)?,
        session_kind: kind(row, 10)?,
        state: State::parse(state).ok_or_else(|| unreadable(&format!("state {state}")))?,
        settings: Settings {
            workflow_id: optional_uuid(row, 12)?,
            trust_review: row.get(13)?,
            vendor_data: row.get(14)?,
        },
        attempts: row.get(15)?,
        first_sent_at: row.get::<Option<i64>>(16)?.map(time),
        session: session(row, [17, 18, 19, 20])?,
        imported_at: row.get::<Option<i64>>(21)?.map(time),
        error: error(row, 22, 23, 24)?,
        place: row.get(25)?,
        run: RunId(row.get(26)?),
        audited_at: row.get::<Option<i64>>(27)?.map(time),
        answer_lost: row.get(28)?,
        answered: row.get(29)?,
    })
}

/// A text where it stands; no copy is made of what is only looked at.
pub(super) fn borrowed<'r>(row: &Row<'r>, index: impl db::Column) -> db::Result<Option<&'r str>> {
    row.text(index)
}

/// The session of a row, by the columns of its id, number, page and status.
pub(super) fn session(row: &Row<'_>, [id, number, url, status]: [usize; 4]) -> db::Result<Option<Session>> {
    let Some(session_id) = optional_uuid(row, id)? else { return Ok(None) };
    let (session_number, session_url, status) = (row.get(number)?, row.get(url)?, row.get(status)?);
    Ok(Some(Session { session_id, session_number, session_url, status }))
}

pub(super) fn unreadable(what: &str) -> db::Error {
    db::Error::Unreadable(what.to_owned())
}

fn uuid(row: &Row<'_>, index: impl db::Column) -> db::Result<Uuid> {
    optional_uuid(row, index)?.ok_or_else(|| unreadable("id"))
}

pub(super) fn optional_uuid(row: &Row<'_>, index: impl db::Column) -> db::Result<Option<Uuid>> {
    borrowed(row, index)?.map(|text| text.parse().map_err(|_| unreadable("id"))).transpose()
}

pub(super) fn kind(row: &Row<'_>, index: impl db::Column) -> db::Result<Option<SessionKind>> {
    borrowed(row, index)?.map(|text| SessionKind::parse(text).ok_or_else(|| unreadable("kind"))).transpose()
}

pub(super) fn class(row: &Row<'_>, index: impl db::Column) -> db::Result<Option<Class>> {
    Ok(borrowed(row, index)?.and_then(Class::parse))
}

pub(super) fn fingerprint(row: &Row<'_>, index: impl db::Column) -> db::Result<Option<Fingerprint>> {
    match row.cell(index)? {
        Cell::Null => Ok(None),
        // An erasure leaves empty ones.
        Cell::Blob([]) => Ok(None),
        Cell::Blob(bytes) => Fingerprint::from_slice(bytes).map(Some).ok_or_else(|| unreadable("fingerprint")),
        _ => Err(unreadable("fingerprint")),
    }
}

pub(super) fn json(row: &Row<'_>, index: impl db::Column) -> db::Result<serde_json::Value> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text).map_err(|_| unreadable("JSON"))
}

pub(super) fn error(
    row: &Row<'_>,
    class_index: impl db::Column,
    status: impl db::Column,
    detail: impl db::Column,
) -> db::Result<Option<RecordedError>> {
    let Some(class) = class(row, class_index)? else { return Ok(None) };
    let detail: Option<String> = row.get(detail)?;
    Ok(Some(RecordedError { class, http_status: row.get(status)?, detail: detail.unwrap_or_default() }))
}
