//! Entries as they are listed: the same, and in the same order, as if all were read and sorted.

use super::{begin, imported, intent, place, with_entries};
use crate::ledger::records::{EntryId, Record, Sought, State};
use crate::ledger::{Ledger, LedgerError, Reader, Which};

/// More entries than are read at once, with labels that stand under several manifests, in several states.
async fn many(place: &super::Place) {
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    for n in 1..=1_300 {
        let (entry, attempt) = ledger.intend(intent(run, n, None)).await.unwrap();
        if n % 3 > 0 {
            ledger.settle(imported(run, entry, attempt, 10_000 + n)).await.unwrap();
        }
    }
    drop(ledger);
    let connection = rusqlite::Connection::open(&place.file.path).unwrap();
    let sql = "UPDATE entries SET label = 'again' WHERE id BETWEEN 100 AND 900;
       UPDATE entries SET label = 'é' || (id * 7919 % 1009) WHERE id > 1000;
       UPDATE entries SET manifest = 'm' || (id % 7) WHERE id % 2 = 0;
       UPDATE entries SET state = 'refused', session_id = NULL WHERE id % 50 = 1;
       UPDATE entries SET label = source_session_id WHERE id BETWEEN 910 AND 920;
       UPDATE entries SET vendor_data = 'shared' WHERE id % 100 = 3;
       UPDATE attempts SET vendor_data = 'shared' WHERE entry % 100 IN (3, 4);";
    connection.execute_batch(sql).unwrap();
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| (&a.label, &a.manifest).cmp(&(&b.label, &b.manifest)));
    records
}

#[tokio::test]
async fn what_is_listed_is_what_is_there_in_order() {
    let place = place();
    many(&place).await;
    let reader = Reader::require(&place.location).unwrap();
    let all = sorted(reader.records().unwrap());
    for state in [None, Some(State::Imported), Some(State::Refused), Some(State::Sending), Some(State::Erased)] {
        let which = state.map_or(Which::All, Which::In);
        let expected: Vec<Record> = all.iter().filter(|it| state.is_none_or(|s| it.state == s)).cloned().collect();
        let listed: Vec<Record> = reader.listed(which.clone()).unwrap().map(|it| it.unwrap().record).collect();
        assert_eq!(listed, expected, "{state:?}");
        let lines: Vec<String> = reader.lines(which).unwrap().map(|it| it.unwrap().label).collect();
        assert!(lines.iter().eq(expected.iter().map(|it| &it.label)), "{state:?}");
    }
    let count = |state: State| all.iter().filter(|it| it.state == state).count() as u64;
    assert_eq!(reader.state_counts().unwrap(), State::ALL.map(|state| (state, count(state))));
    assert_eq!(reader.state_totals().unwrap(), reader.state_counts().unwrap());
    let upper = all[0].session.as_ref().map(|it| it.session_id.to_string().to_uppercase()).unwrap_or_default();
    let source = |n: usize| reader.records_of(&[EntryId(n as i64)]).unwrap()[0].source_session_id.unwrap().to_string();
    let (labelled, upper_label) = (source(915), source(916).to_uppercase());
    for name in ["again", "shared", "é7", "nobody", &upper, &source(700), &labelled, &upper_label] {
        let named: Vec<EntryId> =
            reader.named(&[name.to_owned()]).unwrap().remove(0).into_iter().map(|it| it.0).collect();
        let expected: Vec<EntryId> = all.iter().filter(|it| it.is_named(name)).map(|it| it.id).collect();
        assert_eq!(reader.ordered(named).unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_walk_goes_on_through_the_log_where_a_writer_begins_under_it() {
    let place = place();
    many(&place).await;
    let reader = Reader::require(&place.location).unwrap();
    let expected: Vec<EntryId> = sorted(reader.records().unwrap()).iter().map(|it| it.id).collect();
    let mut walk = reader.listed(Which::All).unwrap();
    let mut seen: Vec<EntryId> = walk.by_ref().take(200).map(|it| it.unwrap().record.id).collect();
    let writer = rusqlite::Connection::open(&place.file.path).unwrap();
    writer.execute_batch("UPDATE entries SET place = 'moved'; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let rest: Vec<Record> = walk.map(|it| it.unwrap().record).collect();
    assert_eq!(rest.last().unwrap().place, "moved", "what was read of the file alone would be old");
    seen.extend(rest.iter().map(|it| it.id));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn promise_6_a_walk_ends_with_the_damage_that_it_meets() {
    let place = place();
    many(&place).await;
    let connection = rusqlite::Connection::open(&place.file.path).unwrap();
    let sql = "UPDATE entries SET source_session_id = 'no id' WHERE label = (SELECT max(label) FROM entries)";
    connection.execute(sql, []).unwrap();
    drop(connection);
    let reader = Reader::require(&place.location).unwrap();
    let listed: Vec<Result<_, LedgerError>> = reader.listed(Which::All).unwrap().collect();
    assert!(listed.len() > 500, "what comes before it is told: {}", listed.len());
    let (last, before) = listed.split_last().unwrap();
    assert!(matches!(last, Err(LedgerError::Corrupt { .. })) && before.iter().all(Result::is_ok));
}

#[tokio::test]
async fn an_empty_ledger_lists_nothing() {
    let place = place();
    drop(Ledger::open(&place.location).unwrap());
    let reader = Reader::require(&place.location).unwrap();
    assert_eq!(reader.listed(Which::All).unwrap().count(), 0);
    assert_eq!(reader.listed(Which::In(State::Unknown)).unwrap().count(), 0);
    let other = super::place();
    with_entries(&other).await;
    assert_eq!(Reader::require(&other.location).unwrap().listed(Which::All).unwrap().count(), 200);
}

#[tokio::test]
async fn what_is_sought_is_seen_and_little_else() {
    let place = place();
    many(&place).await;
    let connection = rusqlite::Connection::open(&place.file.path).unwrap();
    let sql = "UPDATE entries SET source_session_id = NULL WHERE id IN (11, 12);
       UPDATE entries SET manifest = 'rare' WHERE id IN (40, 41, 45);
       UPDATE entries SET from_application_id = source_session_id WHERE id = 1203";
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let reader = Reader::require(&place.location).unwrap();
    let all = reader.records().unwrap();
    let mut sought = Sought {
        sources: [6, 914].map(|at: usize| all[at].source_session_id.unwrap()).to_vec(),
        // The claims of the second name its source session.
        tokens: [1_200, 1_202].map(|at: usize| all[at].token.unwrap()).to_vec(),
        manifests: vec!["rare", "none"],
    };
    let seen = reader.see_those(&sought, Vec::new, |seen, it| seen.push(it.id.0)).unwrap();
    // 45 is not imported.
    assert_eq!(seen, Some(vec![7, 11, 12, 40, 41, 915, 1_201]));
    sought.sources.push(uuid::Uuid::from_u128(77_777));
    sought.manifests.push("acme");
    assert_eq!(reader.see_those(&sought, || (), |(), _| ()).unwrap(), None, "a pass over all is quicker");
}
