//! Tests of what happens to the ledger's files: removed, replaced, under a second name, migrated, on a full disk.

use std::path::PathBuf;

use super::*;
use crate::ledger::{Verdict, file};

/// A ledger opened with its lock, with one run in it.
async fn held(place: &Place) -> (Ledger, Lock, RunId) {
    let lock = Lock::take(&place.location, Purpose::Change, Duration::ZERO).unwrap();
    let ledger = Ledger::open_held(&place.location, &lock).unwrap();
    let run = begin(&ledger).await;
    (ledger, lock, run)
}

fn beside(place: &Place, suffix: &str) -> PathBuf {
    sibling(&place.file.path, suffix)
}

#[tokio::test]
async fn promise_8_a_file_removed_or_replaced_under_a_run_is_noticed_before_anything_counts() {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        for is_replaced in [false, true] {
            let place = place();
            let (ledger, _lock, run) = held(&place).await;
            let path = beside(&place, suffix);
            if is_replaced {
                let other = beside(&place, ".other");
                fs::copy(&path, &other).unwrap();
                fs::rename(&other, &path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let Err(error) = ledger.intend(intent(run, 1, None)).await else {
                panic!("{suffix}: a request could leave whose intent is in a file that nobody finds");
            };
            assert!(matches!(error, LedgerError::Displaced { .. }), "{suffix} {is_replaced}: {error}");
            assert!(error.to_string().contains("was removed or replaced"), "{error}");
            let Err(LedgerError::Displaced { .. }) = ledger.records().await else { panic!("{suffix}: it goes on") };
        }
    }
}

#[tokio::test]
async fn promise_8_all_that_a_removed_ledger_held_is_saved() {
    let place = place();
    with_entries(&place).await;
    let (ledger, _lock, run) = held(&place).await;
    fs::remove_file(&place.file.path).unwrap();
    let Err(LedgerError::Displaced { saved: Some(saved), .. }) = ledger.intend(intent(run, 500, None)).await else {
        panic!("nothing was saved");
    };
    drop(ledger);
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
    let reader = Reader::require(&Location::file(saved, false)).unwrap();
    assert_eq!(reader.check().unwrap(), []);
    // With the intent of the request that did not leave: it is found to be open, and resolved.
    assert_eq!(reader.records().unwrap().len(), 201);
}

#[tokio::test]
async fn promise_8_what_was_in_a_removed_log_is_in_the_ledger_once_it_is_closed() {
    let place = place();
    let (ledger, _lock, run) = held(&place).await;
    ledger.intend(intent(run, 1, None)).await.unwrap();
    fs::remove_file(beside(&place, "-wal")).unwrap();
    ledger.intend(intent(run, 2, None)).await.unwrap_err();
    drop(ledger);
    let records = Reader::require(&place.location).unwrap().records().unwrap();
    assert!(records.iter().any(|record| record.source_session_id == Some(Uuid::from_u128(1))));
}

#[tokio::test]
async fn promise_4_who_lost_the_locks_file_sends_nothing_beside_the_next_holder() {
    let place = place();
    let (first, _lock, run) = held(&place).await;
    fs::remove_file(beside(&place, ".lock")).unwrap();
    let (second, _second_lock, second_run) = held(&place).await;
    assert!(matches!(first.intend(intent(run, 1, None)).await, Err(LedgerError::Displaced { .. })));
    second.intend(intent(second_run, 2, None)).await.unwrap();
}

#[test]
fn promise_4_a_waiter_does_not_wait_for_a_lock_that_is_gone() {
    let place = place();
    let _first = Lock::take(&place.location, Purpose::Change, Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| Lock::take(&place.location, Purpose::Change, Duration::from_secs(60)));
        fs::remove_file(beside(&place, ".lock")).unwrap();
        let lock = waiter.join().unwrap().unwrap();
        // It holds the file that the next one meets.
        let Err(LedgerError::Locked { .. }) = Lock::take(&place.location, Purpose::Change, Duration::ZERO) else {
            panic!("the lock was given twice");
        };
        drop(lock);
    });
}

#[test]
fn promise_4_a_holder_that_is_just_being_written_or_is_nonsense_is_told_all_the_same() {
    let place = place();
    let _first = Lock::take(&place.location, Purpose::Change, Duration::ZERO).unwrap();
    let whole = fs::read(beside(&place, ".lock")).unwrap();
    let long = "x".repeat(1 << 20);
    for text in [b"".as_slice(), &whole[..whole.len() / 2], b"\xff\xfe not text", long.as_bytes()] {
        fs::write(beside(&place, ".lock"), text).unwrap();
        let Err(LedgerError::Locked { holder, .. }) = Lock::take(&place.location, Purpose::Change, Duration::ZERO)
        else {
            panic!("the lock was given twice");
        };
        assert_eq!(holder, "a process that has just begun");
    }
}

#[test]
fn promise_4_the_words_of_a_dead_holder_lock_nothing_and_are_replaced() {
    let place = place();
    file::prepare_folder(&place.file).unwrap();
    let dead = r#"{"host":"gone","pid":4194305,"since":"2020-01-01T00:00:00Z","more":"than is written today"}"#;
    fs::write(beside(&place, ".lock"), dead).unwrap();
    let _lock = Lock::take(&place.location, Purpose::Change, Duration::ZERO).unwrap();
    let text = fs::read_to_string(beside(&place, ".lock")).unwrap();
    assert!(text.contains(&format!("\"pid\":{}", std::process::id())) && !text.contains("gone"), "{text}");
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}

#[tokio::test]
async fn promise_4_a_ledger_under_a_second_name_has_the_same_lock_and_log() {
    let place = place();
    let (ledger, _lock, run) = held(&place).await;
    let link = place.file.path.parent().unwrap().join("link.db");
    std::os::unix::fs::symlink(&place.file.path, &link).unwrap();
    let linked = Location::file(link, false);
    assert!(matches!(Lock::take(&linked, Purpose::Change, Duration::ZERO), Err(LedgerError::Locked { .. })));
    ledger.intend(intent(run, 1, None)).await.unwrap();
    let reader = Reader::require(&linked).unwrap();
    assert_eq!(reader.records().unwrap().len(), 1, "what is in the log was not read");
    drop(ledger);
    drop(reader);
    let ledger = Ledger::open(&linked).unwrap();
    ledger.intend(intent(run, 2, None)).await.unwrap();
}

fn version(path: &std::path::Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// The versions that there are, and one more.
fn with(next: &'static str) -> Vec<&'static str> {
    file::MIGRATIONS.into_iter().chain([next]).collect()
}

const NEWEST: i64 = file::MIGRATIONS.len() as i64;

#[tokio::test]
async fn promise_6_an_older_ledger_is_migrated_after_a_backup() {
    let place = place();
    with_entries(&place).await;
    let then = Reader::require(&place.location).unwrap().records().unwrap();
    let opened = file::open_with(&place.file, &with("ALTER TABLE entries ADD COLUMN note TEXT")).unwrap();
    opened.connection.execute("UPDATE entries SET note = 'new'", []).unwrap();
    drop(opened);
    assert_eq!(version(&place.file.path), NEWEST + 1);
    assert!(matches!(Ledger::open(&place.location), Err(LedgerError::Newer(_))), "it is newer now");

    let backup = beside(&place, &format!(".v{NEWEST}.bak"));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let reader = Reader::require(&Location::file(backup, false)).unwrap();
    assert_eq!(reader.records().unwrap(), then);
    assert_eq!(reader.check().unwrap(), []);
}

/// A ledger of the first version, as it is in the field.
#[tokio::test]
async fn promise_6_a_ledger_of_the_first_version_is_migrated_and_goes_on() {
    let place = place();
    fs::create_dir_all(place.file.path.parent().unwrap()).unwrap();
    drop(file::open_with(&place.file, &file::MIGRATIONS[..1]).unwrap());
    assert_eq!(version(&place.file.path), 1);
    assert_eq!(Reader::require(&place.location).unwrap().records().unwrap(), [], "it is read as it is");
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    ledger.intend(intent(run, 1, None)).await.unwrap();
    drop(ledger);
    assert_eq!(version(&place.file.path), NEWEST);
    assert_eq!(version(&beside(&place, ".v1.bak")), 1);
}

/// Findings of a ledger of the third version, which knows no blocks and no baselines.
#[tokio::test]
async fn promise_6_findings_of_the_third_version_are_read_and_stay() {
    let place = place();
    fs::create_dir_all(place.file.path.parent().unwrap()).unwrap();
    let opened = file::open_with(&place.file, &file::MIGRATIONS[..3]).unwrap();
    let rows = "INSERT INTO runs VALUES (1, 'audit', 1, 'ada', NULL, NULL, 'h', 1, '0');
        INSERT INTO entries (id, manifest, label, base_url, state, attempts, place, run, session_id)
          VALUES (1, 'acme', 'carmen', 'x', 'imported', 0, '', 1, '00000000-0000-0000-0000-000000000001');
        INSERT INTO findings VALUES (1, 1, 'kind-drift', 5000, NULL);
        INSERT INTO run_findings VALUES (1, 1, 'acme', 'carmen', '00000000-0000-0000-0000-000000000001', 'kind-drift',
          'error', 'm', 'user', 'business', 5000, 1);";
    opened.connection.execute_batch(rows).unwrap();
    drop(opened);
    let read = || {
        let reader = Reader::require(&place.location).unwrap();
        (reader.run_findings(RunId(1)).unwrap(), reader.check().unwrap())
    };
    let (then, flaws) = read();
    assert_eq!((then.len(), flaws), (1, Vec::new()));
    let ledger = Ledger::open(&place.location).unwrap();
    assert_eq!(ledger.standing(vec![EntryId(1)]).await.unwrap().len(), 1);
    let finding = ledger.standing(vec![EntryId(1)]).await.unwrap().remove(0);
    let verdict = Verdict { checked: vec![EntryId(1)], found: vec![finding], ..Verdict::default() };
    let run = begin(&ledger).await;
    let kept = ledger.keep_findings(run, Timestamp::now(), verdict).await.unwrap();
    assert_eq!((kept[0].first_seen, kept[0].new), (then[0].first_seen, false));
    drop(ledger);
    assert_eq!(read(), (then, Vec::new()));
}

#[tokio::test]
async fn promise_6_a_migration_that_fails_changes_nothing_and_none_is_made_without_a_backup() {
    let place = place();
    with_entries(&place).await;
    let then = Reader::require(&place.location).unwrap().records().unwrap();
    let half = "ALTER TABLE entries ADD COLUMN note TEXT; ALTER TABLE nothing ADD COLUMN x TEXT";
    file::open_with(&place.file, &with(half)).unwrap_err();
    assert_eq!(version(&place.file.path), NEWEST);
    assert_eq!(Ledger::open(&place.location).unwrap().records().await.unwrap(), then);

    let backup = beside(&place, &format!(".v{NEWEST}.bak"));
    fs::remove_file(&backup).unwrap();
    fs::create_dir(&backup).unwrap();
    file::open_with(&place.file, &with("ALTER TABLE entries ADD COLUMN note TEXT")).unwrap_err();
    assert_eq!(version(&place.file.path), NEWEST);
}

#[tokio::test]
async fn promise_8_a_ledger_that_may_not_grow_keeps_all_that_it_acknowledged() {
    let place = place();
    drop(Ledger::open(&place.location).unwrap());
    let pages = fs::metadata(&place.file.path).unwrap().len() / 4096;
    for most in pages..pages + 12 {
        let place = self::place();
        let ledger = Ledger::open(&place.location).unwrap();
        let run = begin(&ledger).await;
        ledger.writer.call(move |tx| tx.batch(&format!("PRAGMA max_page_count = {most}"))).await.unwrap();
        let mut kept = 0;
        let error = loop {
            match ledger.intend(intent(run, kept + 1, None)).await {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, LedgerError::Io { detail, .. } if detail.contains("full")), "{most}: {error}");
        assert!(ledger.records().await.is_err(), "{most}: it went on after a failed write");
        drop(ledger);
        let reader = Reader::require(&place.location).unwrap();
        assert_eq!(reader.check().unwrap(), []);
        assert_eq!(reader.records().unwrap().len() as u128, kept, "{most}");
    }
}

#[tokio::test]
async fn promise_7_a_backup_that_is_stopped_leaves_nothing_of_the_copy() {
    let place = place();
    with_entries(&place).await;
    let folder = place.file.path.parent().unwrap();
    let names = || -> Vec<_> { fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect() };
    let before = names();
    let copy = folder.join("copy.db");
    assert!(crate::ledger::back_up(&place.location, &copy, &|| true).unwrap().is_none());
    assert_eq!(names(), before);
    assert_eq!(crate::ledger::back_up(&place.location, &copy, &|| false).unwrap().unwrap().counts.entries, 200);
}
