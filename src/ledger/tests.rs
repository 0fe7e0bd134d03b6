//! Tests of the promises that the ledger keeps by itself.

mod files;
mod listing;
pub(super) mod queries;
pub(super) mod reported;
mod together;
mod transferred;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::file::sibling;
use super::records::{
    AnswerKind, EntryId, Intent, NewEntry, Origin, Outcome, Receiver, RecordedError, RunId, Session, Settings, Sought,
    State,
};
use super::{Ledger, LedgerError, LedgerFile, Location, Lock, Purpose, Reader};
use crate::didit::Class;
use crate::token::{FingerprintKey, SessionKind};

pub(super) struct Place {
    pub(super) location: Location,
    pub(super) file: LedgerFile,
    _folder: tempfile::TempDir,
}

pub(super) fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = LedgerFile { path: folder.path().join("state/ledger.db"), allow_network_fs: false };
    Place { location: Location::File(file.clone()), file, _folder: folder }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_millisecond(1_795_000_000_000).unwrap()
}

pub(super) async fn begin(ledger: &Ledger) -> RunId {
    let origin = Origin { actor: "ann@host".to_owned(), reason: None, reference: None };
    ledger.begin_run("apply", origin, now()).await.unwrap()
}

pub(super) fn intent(run: RunId, n: u128, entry: Option<EntryId>) -> Intent {
    Intent {
        entry,
        describe: NewEntry {
            manifest: "acme".to_owned(),
            label: format!("entry-{n}"),
            receiver: Receiver { application_id: None, base_url: "http://127.0.0.1:1".to_owned(), key: None },
            source_session_id: Some(Uuid::from_u128(n)),
            from_application_id: None,
            session_kind: Some(SessionKind::User),
            place: "acme.yaml:7".to_owned(),
        },
        run,
        left_at: now(),
        sent_at: now(),
        token: FingerprintKey::from_bytes([7; 32]).fingerprint(&n.to_be_bytes()),
        token_expires_at: None,
        settings: Settings {
            workflow_id: Some(Uuid::from_u128(9)),
            trust_review: Some(false),
            vendor_data: Some(format!("acme-{n}")),
        },
    }
}

pub(super) fn imported(run: RunId, entry: EntryId, attempt: super::records::AttemptId, session: u128) -> Outcome {
    Outcome {
        entry,
        run,
        at: now(),
        attempt: Some((attempt, AnswerKind::Imported)),
        state: State::Imported,
        session: Some(Session {
            session_id: Uuid::from_u128(session),
            session_number: Some(7),
            session_url: None,
            status: Some("In Review".to_owned()),
        }),
        source_session_id: None,
        session_kind: None,
        error: None,
        evidence: None,
    }
}

#[tokio::test]
async fn promise_1_an_intent_is_readable_by_others_when_the_call_returns() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let (entry, attempt) = ledger.intend(intent(run, 1, None)).await.unwrap();
    let open = Reader::require(&place.location).unwrap().records().unwrap();
    assert_eq!((open[0].id, open[0].state, open[0].attempts), (entry, State::Sending, 1));

    ledger.settle(imported(run, entry, attempt, 100)).await.unwrap();
    let done = Reader::require(&place.location).unwrap().records().unwrap();
    assert_eq!(done[0].state, State::Imported);
    assert_eq!(done[0].session.as_ref().unwrap().session_id, Uuid::from_u128(100));
}

#[tokio::test]
async fn promise_11_attempts_are_added_and_never_changed() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let (entry, _lost) = ledger.intend(intent(run, 1, None)).await.unwrap();
    let (again, attempt) = ledger.intend(intent(run, 1, Some(entry))).await.unwrap();
    assert_eq!(again, entry);
    ledger.settle(imported(run, entry, attempt, 100)).await.unwrap();
    let attempts = Reader::require(&place.location).unwrap().attempts(entry).unwrap();
    let told: Vec<_> = attempts.iter().map(|it| (it.number, it.outcome.as_str())).collect();
    assert_eq!(told, [(1, "open"), (2, "imported")]);
}

#[tokio::test]
async fn calls_of_many_workers_are_all_kept() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let workers: Vec<_> = (1..=200)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let (entry, attempt) = ledger.intend(intent(run, n, None)).await.unwrap();
                ledger.settle(imported(run, entry, attempt, 1000 + n)).await.unwrap();
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let records = ledger.records().await.unwrap();
    assert_eq!(records.len(), 200);
    for record in records {
        let source = record.source_session_id.unwrap().as_u128();
        assert_eq!(record.session.unwrap().session_id, Uuid::from_u128(1000 + source));
    }
}

#[tokio::test]
async fn calls_that_gather_while_the_disk_is_waited_for_are_one_commit_which_is_synced() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let (begin_work, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let writer = ledger.writer.clone();
    let work = move |_: &super::db::Connection| Ok(begin_work.send(()).is_ok() && gate.recv().is_ok());
    let busy = tokio::spawn(async move { writer.call(work).await });
    begun.recv().await.unwrap();
    let intents = (1..=100).map(|n| (ledger.clone(), n));
    let intents = intents.map(|(ledger, n)| tokio::spawn(async move { ledger.intend(intent(run, n, None)).await }));
    let intents: Vec<_> = intents.collect();
    let (writer, location) = (ledger.writer.clone(), place.location.clone());
    let look = tokio::spawn(async move {
        let look = move |tx: &super::db::Connection| {
            let here: i64 = tx.query_row("SELECT max(id) FROM entries", (), |row| row.get(0))?;
            let synced: i64 = tx.query_row("PRAGMA synchronous", (), |row| row.get(0))?;
            let journal: String = tx.query_row("PRAGMA journal_mode", (), |row| row.get(0))?;
            Ok((here, Reader::require(&location).unwrap().records().unwrap().len(), synced, journal))
        };
        writer.call(look).await
    });
    // Until all are sent to the writer, which is busy still: each is by the first poll of its task.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    go_on.send(()).unwrap();
    assert!(busy.await.unwrap().unwrap());
    let full = 2;
    assert_eq!(look.await.unwrap().unwrap(), (100, 0, full, "wal".to_owned()), "none is committed without the others");
    for intent in intents {
        intent.await.unwrap().unwrap();
    }
    assert_eq!(ledger.records().await.unwrap().len(), 100);
}

#[tokio::test]
async fn promise_6_the_ledger_is_its_owners_only_and_leaves_no_log_behind() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    begin(&ledger).await;
    drop(ledger);
    let path = &place.file.path;
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["ledger.db"]);
}

#[tokio::test]
async fn reading_leaves_no_trace() {
    let place = place();
    assert!(Reader::open(&place.location).unwrap().is_none());
    assert!(matches!(Reader::require(&place.location), Err(LedgerError::Missing(_))));
    let ledger = Ledger::open(&place.location).unwrap();
    begin(&ledger).await;
    drop(ledger);
    let before = fs::read(&place.file.path).unwrap();
    let reader = Reader::require(&place.location).unwrap();
    assert_eq!(reader.runs().unwrap().len(), 1);
    drop(reader);
    assert_eq!(fs::read(&place.file.path).unwrap(), before);
    assert_eq!(fs::read_dir(place.file.path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn promise_6_newer_foreign_and_damaged_files_are_refused_untouched() {
    let place = place();
    drop(Ledger::open(&place.location).unwrap());
    let path = &place.file.path;
    let whole = fs::read(path).unwrap();

    let newer = rusqlite::Connection::open(path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(matches!(Ledger::open(&place.location), Err(LedgerError::Newer(_))));
    assert!(matches!(Reader::open(&place.location), Err(LedgerError::Newer(_))));

    let mut foreign = whole;
    foreign[68..72].copy_from_slice(&[0; 4]);
    for bytes in [b"not a database at all, but long enough to be read as one".as_slice(), &foreign] {
        fs::write(path, bytes).unwrap();
        assert!(matches!(Ledger::open(&place.location), Err(LedgerError::Corrupt { .. })), "{}", bytes.len());
        assert!(matches!(Reader::open(&place.location), Err(LedgerError::Corrupt { .. })), "{}", bytes.len());
        assert_eq!(fs::read(path).unwrap(), bytes);
    }
}

#[test]
fn promise_4_the_second_holder_is_told_who_is_the_first() {
    let place = place();
    let first = Lock::take(&place.location, Purpose::Change, Duration::ZERO).unwrap();
    let Err(LedgerError::Locked { holder, .. }) = Lock::take(&place.location, Purpose::Change, Duration::ZERO) else {
        panic!("the lock was given twice");
    };
    assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
    Lock::take(&place.location, Purpose::Audit, Duration::ZERO).unwrap();
    drop(first);
    Lock::take(&place.location, Purpose::Change, Duration::ZERO).unwrap();
}

#[tokio::test]
async fn promise_8_after_a_failed_write_every_call_says_why() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    // An attempt of an entry that does not exist breaks a foreign key.
    let broken = Outcome { evidence: None, ..imported(run, EntryId(404), super::records::AttemptId(404), 1) };
    let Err(first) = ledger.settle(broken).await else { panic!("a broken write was acknowledged") };
    let Err(second) = ledger.records().await else { panic!("a call after a failed write was served") };
    for error in [first, second] {
        assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
    }
}

/// What a kill can leave while a ledger is made: an empty file, a header, our mark, tables without identity; with the
/// write-ahead log, as nobody closed the file.
fn half_made(steps: usize, path: &std::path::Path) {
    let making = path.with_extension("making");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&making, b"").unwrap();
    let connection = rusqlite::Connection::open(&making).unwrap();
    // A migration and its version are one transaction.
    let tables = format!("BEGIN; {}; PRAGMA user_version = 1; COMMIT;", include_str!("schema.sql"));
    for statement in
        ["PRAGMA journal_mode = WAL", "PRAGMA application_id = 0x4453594e", &tables].into_iter().take(steps)
    {
        connection.execute_batch(statement).unwrap();
    }
    for suffix in ["", "-wal"] {
        let _ = fs::copy(sibling(&making, suffix), sibling(path, suffix));
    }
}

#[tokio::test]
async fn promise_6_a_kill_while_the_ledger_is_made_is_made_good() {
    for steps in 0..=3 {
        let place = place();
        half_made(steps, &place.file.path);
        let before = fs::read(&place.file.path).unwrap();
        assert!(Reader::open(&place.location).unwrap().is_none(), "{steps}");
        assert!(matches!(Reader::require(&place.location), Err(LedgerError::Missing(_))), "{steps}");
        assert_eq!(fs::read(&place.file.path).unwrap(), before, "{steps}");
        let ledger = Ledger::open(&place.location).unwrap();
        let id = ledger.identity().id;
        begin(&ledger).await;
        drop(ledger);
        let reader = Reader::require(&place.location).unwrap();
        assert_eq!((reader.identity().unwrap().id, reader.runs().unwrap().len()), (id, 1), "{steps}");
        assert_eq!(Ledger::open(&place.location).unwrap().identity().id, id, "{steps}");
    }
}

/// A ledger as the version before saved plans left it, with a run that had raised its generation.
fn of_version_2(path: &std::path::Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let tables = concat!(include_str!("schema.sql"), include_str!("schema2.sql"));
    connection.execute_batch(tables).unwrap();
    connection.pragma_update(None, "application_id", 0x4453_594e).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    let rows = format!(
        "INSERT INTO meta VALUES (1, '{}', 7, zeroblob(32), 0); INSERT INTO runs VALUES (1, 'apply', 0, 'ann', NULL, NULL, 'h', 1, '0');",
        Uuid::from_u128(1)
    );
    connection.execute_batch(&rows).unwrap();
}

#[tokio::test]
async fn promise_6_a_ledger_of_version_2_takes_only_the_states_that_there_are() {
    let place = place();
    let path = &place.file.path;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    of_version_2(path);
    drop(Ledger::open(&place.location).unwrap());
    let connection = rusqlite::Connection::open(path).unwrap();
    let entry = |state: &str| {
        let sql = "INSERT INTO entries (manifest, label, base_url, state, attempts, place, run) VALUES ('m', 'e', 'u', ?1, 1, 'p', 1)";
        connection.execute(sql, [state])
    };
    for state in State::ALL {
        entry(state.as_str()).unwrap();
    }
    assert!(entry("done").unwrap_err().to_string().contains("CHECK"));
    let check: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn promise_6_a_ledger_of_version_2_is_backed_up_and_takes_saved_plans() {
    let place = place();
    let path = &place.file.path;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    of_version_2(path);
    let ledger = Ledger::open(&place.location).unwrap();
    let backup = path.with_file_name("ledger.db.v2.bak");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let plan = |n| FingerprintKey::from_bytes([1; 32]).fingerprint(&[n]);
    assert_eq!(
        ledger.plan_past(plan(1)).await.unwrap(),
        super::PlanPast::default(),
        "nothing is known of earlier runs"
    );
    let run = begin(&ledger).await;
    ledger.use_plan(run, plan(1)).await.unwrap();
    let past = ledger.plan_past(plan(1)).await.unwrap();
    assert_eq!((past.used.as_ref().map(|run| run.id), &past.used), (Some(run), &past.raised));
    assert_eq!(ledger.plan_past(plan(2)).await.unwrap().used, None);
    let audit = begin(&ledger).await;
    ledger.raise_generation(audit).await.unwrap();
    assert_eq!(ledger.plan_past(plan(1)).await.unwrap().raised.map(|run| run.id), Some(audit));
    drop(ledger);
    assert_eq!(Ledger::open(&place.location).unwrap().identity().generation, 9);
}

#[tokio::test]
async fn promise_6_a_ledger_that_lost_its_identity_is_damaged_and_gets_no_new_one() {
    let place = place();
    begin(&Ledger::open(&place.location).unwrap()).await;
    let path = &place.file.path;
    rusqlite::Connection::open(path).unwrap().execute("DELETE FROM meta", []).unwrap();
    assert!(matches!(Ledger::open(&place.location), Err(LedgerError::Corrupt { .. })));
    assert!(matches!(Reader::open(&place.location), Err(LedgerError::Corrupt { .. })));
}

async fn with_entries(place: &Place) {
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    for n in 1..=200 {
        ledger.intend(intent(run, n, None)).await.unwrap();
    }
}

/// Overwrites the pages that hold a text, but the first.
fn damage(path: &std::path::Path, text: &str) {
    let mut bytes = fs::read(path).unwrap();
    let mut pages = 0;
    for page in bytes.chunks_mut(4096).skip(1) {
        if page.windows(text.len()).any(|window| window == text.as_bytes()) {
            page.fill(0xA5);
            pages += 1;
        }
    }
    assert!(pages > 0, "no page holds {text}");
    // In place: who has it open sees it.
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
}

#[tokio::test]
async fn promise_6_a_damaged_page_is_found_by_the_read_or_write_that_meets_it() {
    let place = place();
    with_entries(&place).await;
    damage(&place.file.path, "entry-100");
    let reader = Reader::require(&place.location).unwrap();
    assert_eq!(reader.runs().unwrap().len(), 1);
    assert!(matches!(reader.records(), Err(LedgerError::Corrupt { .. })));
    let ledger = Ledger::open(&place.location).unwrap();
    let Err(LedgerError::Corrupt { .. }) = ledger.forget(EntryId(100), RunId(1), now()).await else {
        panic!("a write to a damaged page was acknowledged, or told as something else");
    };
    drop(ledger);
    let ledger = Ledger::open(&place.location).unwrap();
    assert!(matches!(ledger.records().await, Err(LedgerError::Corrupt { .. })));
}

#[tokio::test]
async fn promise_6_values_that_nobody_wrote_are_damage() {
    let place = place();
    with_entries(&place).await;
    let connection = rusqlite::Connection::open(&place.file.path).unwrap();
    connection.execute("UPDATE entries SET source_session_id = 'no id' WHERE id = 9", []).unwrap();
    drop(connection);
    assert!(matches!(Reader::require(&place.location).unwrap().records(), Err(LedgerError::Corrupt { .. })));
}

#[tokio::test]
async fn a_writer_that_starts_under_a_reader_is_read_through_its_log() {
    let place = place();
    with_entries(&place).await;
    let reader = Reader::require(&place.location).unwrap();
    let ledger = Ledger::open(&place.location).unwrap();
    begin(&ledger).await;
    assert_eq!(reader.runs().unwrap().len(), 2, "what was read of the file alone would be old");
    drop(ledger);

    // A page half written by a checkpoint, whole in the log.
    let reader = Reader::require(&place.location).unwrap();
    let writer = rusqlite::Connection::open(&place.file.path).unwrap();
    writer.execute("UPDATE entries SET place = 'moved'", []).unwrap();
    damage(&place.file.path, "entry-100");
    let records = reader.records().unwrap();
    assert_eq!((records.len(), records[99].place.as_str()), (200, "moved"));
}

#[tokio::test]
async fn what_tells_whether_claims_name_the_source_is_told_of_the_token_last_sent() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let partner = Some(Uuid::from_u128(40));
    let from = || Reader::require(&place.location).unwrap().records().unwrap()[0].from_application_id;
    let with = |entry, n, from| {
        let mut intent = intent(run, n, entry);
        intent.describe.from_application_id = from;
        intent
    };
    let (entry, _) = ledger.intend(with(None, 1, partner)).await.unwrap();
    assert_eq!(from(), partner);
    // One whose claims can't be read: the entry is known by it from now on.
    ledger.intend(with(Some(entry), 2, None)).await.unwrap();
    assert_eq!(from(), None);
    let error = RecordedError { class: Class::TokenExpired, http_status: None, detail: String::new() };
    let described = with(None, 1, partner).describe;
    ledger.settle_unsent(Some(entry), described, run, State::Expired, error).await.unwrap();
    assert_eq!(from(), None, "nothing was sent");
    let tokens = vec![with(None, 2, None).token];
    let sought = Sought { sources: Vec::new(), tokens, manifests: Vec::new() };
    for _ in 0..32 {
        ledger.intend(intent(run, 9, None)).await.unwrap();
    }
    let seen =
        Reader::require(&place.location).unwrap().see_those(&sought, Vec::new, |seen, it| seen.push(it.id)).unwrap();
    assert_eq!(seen, Some(vec![entry]));
}

/// What is being handed to the writer in the moment in which it ends is answered, too.
#[test]
fn promise_8_no_call_waits_for_a_writer_that_has_ended() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    for _ in 0..200 {
        let place = place();
        let ledger = Ledger::open(&place.location).unwrap();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let writer = ledger.writer.clone();
                runtime.spawn(async move { while writer.call(|_| Ok(())).await.is_ok() {} })
            })
            .collect();
        let failing = ledger.writer.call(|tx| tx.execute("SELECT 1 FROM nothing", ()).map(drop));
        assert!(runtime.block_on(failing).is_err());
        for caller in callers {
            let ended = async { tokio::time::timeout(std::time::Duration::from_secs(60), caller).await };
            runtime.block_on(ended).expect("an answer").unwrap();
        }
    }
}
