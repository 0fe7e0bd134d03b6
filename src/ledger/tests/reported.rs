//! What reports read: of runs, of killed ones, of ledgers of older versions, of periods.

use super::*;
use crate::didit::Class;
use crate::ledger::records::{Evidence, RecordedError, StateCount};

fn settled(
    entry: EntryId,
    run: RunId,
    attempt: crate::ledger::records::AttemptId,
    kind: AnswerKind,
    state: State,
) -> Outcome {
    let session = Session {
        session_id: Uuid::from_u128(900 + entry.0 as u128),
        session_number: Some(7),
        session_url: None,
        status: Some("In Review".to_owned()),
    };
    let error = RecordedError { class: Class::SourceGone, http_status: Some(400), detail: "gone".to_owned() };
    Outcome {
        entry,
        run,
        at: now(),
        attempt: Some((attempt, kind)),
        state,
        session: (state == State::Imported).then_some(session),
        source_session_id: None,
        session_kind: None,
        error: (kind == AnswerKind::Refused).then_some(error),
        evidence: None,
    }
}

/// A run that was killed: it imported one entry, was refused another, left a third open, found a fourth by a lookup,
/// and did not come to a fifth.
async fn killed(ledger: &Ledger) -> RunId {
    let run = begin(ledger).await;
    let mut sent = Vec::new();
    for n in 1..=4 {
        sent.push(ledger.intend(intent(run, n, None)).await.unwrap());
    }
    let [(one, first), (two, second), _, (four, fourth)] = sent[..] else { panic!("four were sent") };
    ledger.settle(settled(one, run, first, AnswerKind::Imported, State::Imported)).await.unwrap();
    ledger.settle(settled(two, run, second, AnswerKind::Refused, State::Refused)).await.unwrap();
    let mut found = settled(four, run, fourth, AnswerKind::Unknown, State::Imported);
    let session = found.session.as_ref().map(|session| session.session_id);
    found.evidence = Some(Evidence { verdict: "proof", session_id: session, detail: "x".to_owned() });
    ledger.settle(found).await.unwrap();
    run
}

#[tokio::test]
async fn a_killed_run_is_told_by_what_it_left_whatever_comes_later() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = killed(&ledger).await;
    let reader = Reader::require(&place.location).unwrap();
    let before = reader.traces(run).unwrap();
    let told: Vec<_> = before.iter().map(|it| (it.label.as_str(), it.outcome.as_str(), it.session.is_some())).collect();
    let expected = [
        ("entry-1", "imported", true),
        ("entry-2", "refused", false),
        ("entry-3", "unknown", false),
        ("entry-4", "recovered", true),
    ];
    assert_eq!(told, expected);
    assert_eq!(before[1].error.as_ref().map(|error| error.class), Some(Class::SourceGone));
    assert_eq!((before[0].attempts, reader.run_attempts(run).unwrap()), (1, 4));
    // The next run imports the third.
    let next = begin(&ledger).await;
    let (three, again) = ledger.intend(intent(next, 3, before[2].entry)).await.unwrap();
    ledger.settle(settled(three, next, again, AnswerKind::Imported, State::Imported)).await.unwrap();
    let reader = Reader::require(&place.location).unwrap();
    assert_eq!(reader.traces(run).unwrap(), before);
    let of_next = reader.traces(next).unwrap();
    assert_eq!((of_next.len(), of_next[0].outcome.as_str()), (1, "recovered"));
    // What is erased is told as such, here too.
    ledger.erase(vec![three], next, now()).await.unwrap();
    let reader = Reader::require(&place.location).unwrap();
    let erased = reader.traces(run).unwrap().into_iter().find(|it| it.entry == Some(three)).unwrap();
    assert_eq!((erased.outcome.as_str(), erased.source_session_id, erased.vendor_data), ("erased", None, None));
}

#[tokio::test]
async fn a_period_begins_with_its_first_moment_and_ends_before_its_last() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    killed(&ledger).await;
    let reader = Reader::require(&place.location).unwrap();
    let second = jiff::SignedDuration::from_secs(1);
    let counts = |since, until| {
        let sums = reader.sums(since, until).unwrap();
        let sessions: u64 = sums.imported.iter().map(|it| it.sessions).sum();
        (sessions, sums.refused.iter().map(|it| (it.class, it.entries, it.requests)).collect::<Vec<_>>())
    };
    let all = (2, vec![(Class::SourceGone, 1, 1)]);
    assert_eq!(counts(now(), now() + second), all);
    assert_eq!(counts(now() - second, now()), (0, Vec::new()));
    assert_eq!(counts(now() + second, now() + second + second), (0, Vec::new()));
}

#[tokio::test]
async fn promise_6_reports_of_a_ledger_of_version_3_need_no_migration() {
    let place = place();
    let path = &place.location.path;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    of_version_2(path);
    let rows = concat!(
        include_str!("../schema3.sql"),
        "; INSERT INTO entries (manifest, label, base_url, state, attempts, place, run) VALUES ('acme', 'a', 'x', 'refused', 0, '', 1);
         INSERT INTO run_outcomes (run, label, manifest, entry, outcome, attempts) VALUES (1, 'a', 'acme', 1, 'refused', 0);
         PRAGMA user_version = 3"
    );
    rusqlite::Connection::open(path).unwrap().execute_batch(rows).unwrap();
    let count = StateCount { manifest: "acme".to_owned(), state: State::Refused, entries: 1 };
    let check = || {
        let reader = Reader::require(&place.location).unwrap();
        let outcomes = reader.run_outcomes(RunId(1)).unwrap();
        assert_eq!((outcomes.len(), outcomes[0].expires_at), (1, None));
        assert_eq!(reader.run_states(RunId(1)).unwrap(), std::slice::from_ref(&count));
        assert_eq!(reader.waiting_tokens(RunId(1)).unwrap(), []);
        assert!(reader.sums(now(), now()).unwrap().imported.is_empty());
    };
    check();
    assert!(!path.with_file_name("ledger.db.v3.bak").exists());
    drop(Ledger::open(&place.location).unwrap());
    assert!(path.with_file_name("ledger.db.v3.bak").exists());
    check();
}
