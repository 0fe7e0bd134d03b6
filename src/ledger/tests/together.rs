//! What is read and written of many entries at a time is of those that were asked for, and of no other.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::{begin, imported, intent, now, place};
use crate::didit::Class;
use crate::ledger::read::records_among;
use crate::ledger::records::{EntryId, Record, RecordedError, RunId};
use crate::ledger::{Ledger, LedgerError, Reader, Verdict, findings};
use crate::verify::{Baseline, Evidence, Finding, Rule, Severity};

async fn filled(ledger: &Ledger, entries: u128) -> RunId {
    let run = begin(ledger).await;
    for n in 1..=entries {
        let (entry, attempt) = ledger.intend(intent(run, n, None)).await.unwrap();
        ledger.settle(imported(run, entry, attempt, n)).await.unwrap();
    }
    run
}

fn ids(numbers: impl IntoIterator<Item = i64>) -> Vec<EntryId> {
    numbers.into_iter().map(EntryId).collect()
}

fn numbers(records: &[Record]) -> Vec<EntryId> {
    records.iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn records_come_as_they_were_asked_for_and_one_that_is_not_there_is_an_error() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    // More than one span holds.
    let (last, error) = (1100, RecordedError { class: Class::TokenExpired, http_status: None, detail: String::new() });
    let described = (1..=last as u128).map(|n| intent(run, n, None).describe);
    ledger.keep_expired(described.collect(), run, error).await.unwrap();
    let reader = Reader::require(&place.location).unwrap();
    let backwards = ids((1..=last).rev());
    for wanted in [Vec::new(), ids([7, 3, 3, 900, 7]), ids([1, 11, 20, last]), backwards] {
        let found = ledger.records_of(wanted.clone()).await.unwrap();
        assert_eq!(numbers(&found), wanted);
        assert!(found.iter().all(|it| it.label == format!("entry-{}", it.id.0)));
        assert_eq!(reader.records_of(&wanted).unwrap(), found);
        // As on a server.
        assert_eq!(reader.run_query(|connection| records_among(connection, &wanted, 8)).unwrap(), found);
    }
    for missing in [ids([0, 1]), ids([1, last + 1]), ids([1, last + 1, last + 2, 2])] {
        assert!(matches!(reader.records_of(&missing), Err(LedgerError::Corrupt { .. })), "{missing:?}");
    }
}

#[tokio::test]
async fn a_look_changes_the_entries_that_were_looked_at_alone() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = filled(&ledger, 30).await;
    let finding = |n: i64| Finding {
        manifest: "acme".to_owned(),
        id: format!("entry-{n}"),
        session_id: Uuid::from_u128(n as u128),
        rule: Rule::VendorDataDrift,
        block: None,
        severity: Severity::Error,
        message: "another".to_owned(),
        expected: None,
        actual: None,
    };
    let baseline = |n: i64| (EntryId(n), Baseline::new(Uuid::from_u128(n as u128), Evidence::default()));
    let first = Verdict {
        checked: ids(1..=20),
        found: (1..=20).map(|n| (EntryId(n), finding(n))).collect(),
        baselines: (1..=20).map(baseline).collect(),
    };
    ledger.keep_findings(run, now(), first).await.unwrap();

    // Unsorted, with gaps of one and of many; one of them is found again.
    let looked_at = ids([20, 3, 4, 5, 7, 1]);
    let later = Timestamp::from_millisecond(now().as_millisecond() + 1000).unwrap();
    let next = begin(&ledger).await;
    let again = Verdict { checked: looked_at.clone(), found: vec![(EntryId(4), finding(4))], baselines: Vec::new() };
    ledger.keep_findings(next, later, again).await.unwrap();
    let standing = ledger.standing(ids(1..=20)).await.unwrap();
    let standing: BTreeSet<i64> = standing.into_iter().map(|(entry, _)| entry.0).collect();
    let closed = [1, 3, 5, 7, 20];
    assert_eq!(standing, (1..=20).filter(|n| !closed.contains(n)).collect());
    for record in ledger.records_of(ids(1..=30)).await.unwrap() {
        let expected = match record.id {
            id if looked_at.contains(&id) => Some(later),
            EntryId(..=20) => Some(now()),
            _ => None,
        };
        assert_eq!(record.audited_at, expected, "{:?}", record.id);
    }

    let wanted = ids([20, 2, 5, 21, 900]);
    let baselines = ledger.baselines(wanted.clone()).await.unwrap();
    let reader = Reader::require(&place.location).unwrap();
    let on_a_server = reader.run_query(|connection| findings::baselines(connection, &wanted, 8)).unwrap();
    assert_eq!(on_a_server, baselines);
    let mut found: Vec<i64> = baselines.keys().map(|entry| entry.0).collect();
    found.sort_unstable();
    assert_eq!(found, [2, 5, 20], "21 and 900 have none, and nobody asked for 3 and 4");
    for n in found {
        assert_eq!(baselines[&EntryId(n)].read(), Some(baseline(n).1));
    }
}
