//! What reports read: of runs, of killed ones, of ledgers of older versions, of periods.

use super::*;
use crate::didit::Class;
use crate::ledger::records::{Evidence, ManifestFacts, RecordedError, Requests, RunEnd, RunOutcome, StateCount};

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
    let path = &place.file.path;
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

pub(in crate::ledger) fn ended(at: Timestamp) -> RunEnd {
    RunEnd { at, seconds: 0.0, requests: Requests::default(), verified: None, error: None, conditions: Vec::new() }
}

#[tokio::test]
async fn what_an_audit_knew_of_tokens_is_not_changed_by_an_apply_that_ends_after_it() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let apply = killed(&ledger).await;
    let origin = Origin { actor: "ann@host".to_owned(), reason: None, reference: None };
    let audit = ledger.begin_run("audit", origin, now()).await.unwrap();
    ledger.end_run(audit, ended(now())).await.unwrap();
    let reader = || Reader::require(&place.location).unwrap();
    let states = reader().run_states(audit).unwrap();
    assert_eq!(reader().waiting_tokens(audit).unwrap(), []);
    let mut outcomes = reader().traces(apply).unwrap();
    for outcome in &mut outcomes {
        outcome.expires_at = Some(now());
    }
    let later = now() + jiff::SignedDuration::from_secs(1);
    ledger.report(apply, false, move || outcomes.clone().into_iter()).await.unwrap();
    ledger.end_run(apply, ended(later)).await.unwrap();
    begin(&ledger).await;
    assert_eq!((reader().waiting_tokens(audit).unwrap(), reader().run_states(audit).unwrap()), (Vec::new(), states));
    assert_eq!(reader().waiting_tokens(apply).unwrap().len(), 2, "one was refused, one is open");
}

#[tokio::test]
async fn promise_10_facts_and_rules_of_a_manifest_are_kept_together_or_not_at_all() {
    let place = place();
    let facts = |digest: &str| ManifestFacts {
        name: "acme".to_owned(),
        path: "acme.yaml".to_owned(),
        digest: digest.to_owned(),
        application_id: None,
        base_url: "http://127.0.0.1:1".to_owned(),
        api_key: serde_json::json!({"env": "KEY"}),
        limits: serde_json::json!({}),
        expect: serde_json::json!([]),
    };
    let rules = |name: &str| {
        let rules = serde_json::json!([{"name": name, "rule": "true", "severity": "error"}]);
        vec![crate::ledger::EntryRules { source: None, label: "a".to_owned(), rules }]
    };
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    ledger.keep_manifest(facts("first"), rules("first"), run).await.unwrap();
    drop(ledger);
    let trigger = "CREATE TRIGGER broken BEFORE INSERT ON entry_rules BEGIN SELECT RAISE(ABORT, 'broken'); END";
    rusqlite::Connection::open(&place.file.path).unwrap().execute_batch(trigger).unwrap();
    let ledger = Ledger::open(&place.location).unwrap();
    ledger.keep_manifest(facts("second"), rules("second"), run).await.unwrap_err();
    drop(ledger);
    let ledger = Ledger::open(&place.location).unwrap();
    assert_eq!(ledger.manifests().await.unwrap()[0].digest, "first");
    assert_eq!(ledger.kept_rules().await.unwrap().of("acme", None, "a").unwrap()[0]["name"], "first");
}

/// A ledger as a version from 4 on left it: an entry that was imported, audited and found to have drifted.
fn of_version(path: &std::path::Path, version: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let connection = rusqlite::Connection::open(path).unwrap();
    for schema in &crate::ledger::file::MIGRATIONS[..version] {
        connection.execute_batch(schema).unwrap();
    }
    let rows = format!(
        "PRAGMA application_id = 0x4453594e; PRAGMA user_version = {version};
         INSERT INTO meta VALUES (1, '{id}', 7, zeroblob(32), 0);
         INSERT INTO runs VALUES (1, 'apply', 0, 'ann', NULL, NULL, 'h', 1, '0'), (2, 'audit', 5, 'ann', NULL, NULL, 'h', 1, '0');
         INSERT INTO run_ends VALUES (1, 4, 1.0, 1, 1, 0, 1, 1, NULL, '[0]'), (2, 9, 1.0, 0, 1, 0, 1, 1, NULL, '[4]');
         INSERT INTO manifests VALUES ('acme', 'm.yaml', 'd', NULL, 'http://127.0.0.1:1', '{{}}', '{{}}', '[]', 1);
         INSERT INTO run_limits VALUES (1, 'acme', 300);
         INSERT INTO entries (manifest, label, base_url, source_session_id, state, attempts, session_id, imported_at, place, run, audited_at)
           VALUES ('acme', 'a', 'http://127.0.0.1:1', '{id}', 'imported', 0, '{session}', 3, 'm.yaml:1', 1, 8);
         INSERT INTO run_outcomes (run, label, manifest, entry, outcome, session_id, attempts, expires_at)
           VALUES (1, 'a', 'acme', 1, 'imported', '{session}', 1, 77);
         INSERT INTO run_states VALUES (1, 'acme', 'imported', 1), (2, 'acme', 'imported', 1);
         INSERT INTO findings (entry, rule, first_seen, closed_at) VALUES (1, 'vendor-data-drift', 8, NULL);
         INSERT INTO run_findings VALUES (2, 1, 'acme', 'a', '{session}', 'vendor-data-drift', {block} 'error', 'm', 'x', 'y', 8, 1);",
        block = if version >= 6 { "''," } else { "" },
        id = Uuid::from_u128(1),
        session = Uuid::from_u128(100),
    );
    connection.execute_batch(&rows).unwrap();
    if version >= 5 {
        let name = FingerprintKey::from_bytes([0; 32]).fingerprint(Uuid::from_u128(1).to_string().as_bytes());
        connection.execute("INSERT INTO rule_lists VALUES (1, '[7]')", []).unwrap();
        let sql = "INSERT INTO entry_rules VALUES ('acme', ?1, 1)";
        connection.execute(sql, [name.as_bytes().as_slice()]).unwrap();
    }
}

#[tokio::test]
async fn promise_6_ledgers_of_versions_4_to_9_are_backed_up_and_keep_all_that_they_knew() {
    for version in 4..=9 {
        let place = place();
        let path = &place.file.path;
        of_version(path, version);
        let old = fs::read(path).unwrap();
        // Reading needs no migration, and makes none.
        let known = || {
            let reader = Reader::require(&place.location).unwrap();
            let outcome = reader.run_outcomes(RunId(1)).unwrap().remove(0);
            let finding = reader.run_findings(RunId(2)).unwrap().remove(0);
            let record = reader.records().unwrap().remove(0);
            assert_eq!((finding.rule.as_str(), finding.block.as_str()), ("vendor-data-drift", ""), "{version}");
            assert!(finding.new && record.audited_at == Some(finding.first_seen), "{version}");
            let states = [RunId(1), RunId(2)].map(|run| reader.run_states(run).unwrap());
            (outcome, finding, record, states, reader.run_writes_per_minute(RunId(1)).unwrap())
        };
        let before = known();
        assert_eq!(fs::read(path).unwrap(), old, "{version}");
        let ledger = Ledger::open(&place.location).unwrap();
        let backup = path.with_file_name(format!("ledger.db.v{version}.bak"));
        assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
        let of_backup = rusqlite::Connection::open(&backup).unwrap();
        let kept: usize = of_backup.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(kept, version);
        assert_eq!(known(), before, "{version}");
        assert_eq!((ledger.identity().id, ledger.identity().generation), (Uuid::from_u128(1), 7));
        let rules = ledger.kept_rules().await.unwrap();
        let own = rules.of("acme", Some(Uuid::from_u128(1)), "a").cloned();
        assert_eq!(own, (version >= 5).then(|| serde_json::json!([7])), "{version}");
        // The finding stays open with its first sight, and what is new since works.
        let entry = before.2.id;
        let standing = ledger.standing(vec![entry]).await.unwrap();
        assert_eq!(standing.len(), 1, "{version}");
        let run = begin(&ledger).await;
        let verdict = crate::ledger::Verdict { checked: vec![entry], found: standing, baselines: Vec::new() };
        let again = ledger.keep_findings(run, now(), verdict).await.unwrap();
        assert_eq!((again[0].first_seen, again[0].new), (before.1.first_seen, false), "{version}");
        assert!(ledger.baselines(vec![entry]).await.unwrap().is_empty(), "{version}");
        drop(ledger);
        assert!(Reader::require(&place.location).unwrap().check().unwrap().is_empty(), "{version}");
    }
}

/// An outcome of its own, as a run tells it that has it from elsewhere.
fn told(label: String, manifest: &str, entry: Option<EntryId>, outcome: &str) -> RunOutcome {
    RunOutcome {
        manifest: manifest.to_owned(),
        label,
        entry,
        outcome: outcome.to_owned(),
        source_session_id: None,
        session: None,
        session_kind: None,
        workflow_id: None,
        vendor_data: None,
        attempts: 0,
        error: None,
        from_application_id: None,
        for_application_id: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn outcomes_are_read_page_by_page_in_order_and_reporting_again_replaces_them() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let run = begin(&ledger).await;
    let of =
        |n: usize| told(format!("e{:04}", n / 2), if n.is_multiple_of(2) { "acme" } else { "other" }, None, "not_sent");
    let all: Vec<RunOutcome> = (0..2501).map(of).collect();
    let (given, fewer) = (all.clone(), all[..3].to_vec());
    ledger.report(run, false, move || given.clone().into_iter().rev()).await.unwrap();
    let reader = std::rc::Rc::new(Reader::require(&place.location).unwrap());
    let read = || crate::ledger::Outcomes::new(&reader, run).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!((read(), reader.outcome_counts(run).unwrap()), (all, vec![("not_sent".to_owned(), 2501)]));
    let again = fewer.clone();
    ledger.report(run, false, move || again.clone().into_iter()).await.unwrap();
    assert_eq!((read(), reader.run_outcomes(run).unwrap()), (fewer.clone(), fewer));
}

#[tokio::test]
async fn what_is_reported_of_an_unchanged_entry_is_what_the_ledger_knows_of_it() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let first = killed(&ledger).await;
    let known = ledger.records().await.unwrap();
    let imported = known.iter().find(|record| record.state == State::Imported).unwrap().clone();
    let run = begin(&ledger).await;
    let (entry, label) = (Some(imported.id), imported.label.clone());
    let outcome = move || std::iter::once(told(label.clone(), "acme", entry, "unchanged"));
    ledger.report(run, false, outcome).await.unwrap();
    let reader = Reader::require(&place.location).unwrap();
    let kept = reader.run_outcomes(run).unwrap().remove(0);
    assert!(imported.session.is_some() && first != run);
    assert_eq!((kept.session, kept.for_application_id), (imported.session, imported.receiver.application_id));
}

#[tokio::test]
async fn what_is_up_to_date_is_noted_unless_another_run_came_between_and_is_good_until_one_comes() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let inputs = ledger.identity().key.fingerprint(b"inputs");
    let noted = || Reader::require(&place.location).unwrap().up_to_date(inputs).unwrap();
    let (_, planned) = ledger.imported().await.unwrap();
    let (own, other) = (begin(&ledger).await, begin(&ledger).await);
    ledger.raise_generation(own).await.unwrap();
    let note = |found: &str| ledger.note_up_to_date(inputs, (planned, own), found.to_owned());
    note("first").await.unwrap();
    assert_eq!(noted().as_deref(), Some("first"), "the run's own sending is in it");
    note("second").await.unwrap();
    assert_eq!(noted().as_deref(), Some("second"));
    ledger.raise_generation(other).await.unwrap();
    assert_eq!(noted(), None);
    note("third").await.unwrap();
    assert_eq!(noted(), None, "the other one sends what this run's plan did not know of");
    let (_, planned) = ledger.imported().await.unwrap();
    ledger.note_up_to_date(inputs, (planned, own), "fourth".to_owned()).await.unwrap();
    assert_eq!(noted().as_deref(), Some("fourth"));
}

/// Which run has the rows that each run reported.
fn held_by(place: &Place) -> Vec<(i64, Option<i64>)> {
    let connection = rusqlite::Connection::open(&place.file.path).unwrap();
    let sql = "SELECT r.id, (SELECT told_by FROM repeated_outcomes p WHERE p.run = r.id) FROM runs r ORDER BY r.id";
    let mut query = connection.prepare(sql).unwrap();
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn rows_kept(place: &Place) -> u64 {
    let connection = rusqlite::Connection::open(&place.file.path).unwrap();
    connection.query_row("SELECT count(*) FROM run_outcomes", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_a_run_before_reported_is_kept_once_and_read_of_each() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let of = |n: usize, manifest: &str| {
        let it = told(format!("e{n:04}"), manifest, None, if n.is_multiple_of(3) { "refused" } else { "needs_token" });
        let error = RecordedError { class: Class::TokenInvalid, http_status: Some(400), detail: "no".to_owned() };
        let expires_at = Some(now() + std::time::Duration::from_nanos(1));
        RunOutcome { error: n.is_multiple_of(3).then_some(error), expires_at, ..it }
    };
    let acme: Vec<RunOutcome> = (0..2500).map(|n| of(n, "acme")).collect();
    let other: Vec<RunOutcome> = (0..5).map(|n| of(n, "other")).collect();
    let mut changed = acme.clone();
    changed[2400].attempts += 1;
    let (fewer, more) = (acme[..2499].to_vec(), (0..2501).map(|n| of(n, "acme")).collect::<Vec<_>>());
    let reported = [&acme, &acme, &other, &acme, &other, &changed, &changed, &acme, &fewer, &more, &acme];
    let mut runs = Vec::new();
    for outcomes in reported {
        let run = begin(&ledger).await;
        let given = outcomes.clone();
        ledger.report(run, true, move || given.clone().into_iter()).await.unwrap();
        ledger.end_run(run, ended(now())).await.unwrap();
        runs.push(run);
    }
    let expected = [None, Some(1), None, Some(1), Some(3), None, Some(6), None, None, None, None];
    assert_eq!(held_by(&place), (1..).zip(expected).collect::<Vec<_>>());
    let of_all = 2500 + 5 + 2500 + 2500 + 2499 + 2501 + 2500;
    assert_eq!(rows_kept(&place), of_all);
    let reader = std::rc::Rc::new(Reader::require(&place.location).unwrap());
    for (run, outcomes) in runs.into_iter().zip(reported) {
        let kept = |it: &RunOutcome| RunOutcome { expires_at: Some(now()), ..it.clone() };
        let read: Vec<RunOutcome> = crate::ledger::Outcomes::new(&reader, run).map(Result::unwrap).collect();
        assert_eq!(read, outcomes.iter().map(kept).collect::<Vec<_>>());
        assert_eq!(reader.run_outcomes(run).unwrap(), read);
        let counts: u64 = reader.outcome_counts(run).unwrap().iter().map(|(_, count)| count).sum();
        assert_eq!(counts, outcomes.len() as u64);
        assert_eq!(reader.waiting_tokens(run).unwrap().len(), outcomes.len(), "of run {run:?}");
    }
}

#[tokio::test]
async fn what_is_told_of_erased_entries_stands_by_number_and_is_known_again() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let first = begin(&ledger).await;
    let mut entries = Vec::new();
    for n in 1..=3 {
        let (entry, attempt) = ledger.intend(intent(first, n, None)).await.unwrap();
        ledger.settle(imported(first, entry, attempt, 100 + n)).await.unwrap();
        entries.push(entry);
    }
    ledger.end_run(first, ended(now())).await.unwrap();
    let outcomes = |erased: usize| {
        let name = move |at: usize| if at == erased { "erased" } else { "unchanged" };
        let of = move |(at, entry): (usize, &EntryId)| told(format!("e{at}"), "acme", Some(*entry), name(at));
        entries.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    for erased in [0, 0, 1, 2, 2] {
        let (run, given) = (begin(&ledger).await, outcomes(erased));
        ledger.report(run, true, move || given.clone().into_iter()).await.unwrap();
        ledger.end_run(run, ended(now())).await.unwrap();
    }
    let told_by: Vec<Option<i64>> = held_by(&place).into_iter().map(|(_, told_by)| told_by).collect();
    assert_eq!(told_by, [None, None, Some(2), None, None, Some(5)]);
}

#[tokio::test]
async fn what_a_repair_changed_is_not_told_as_before() {
    let place = place();
    let ledger = Ledger::open(&place.location).unwrap();
    let first = begin(&ledger).await;
    let (entry, attempt) = ledger.intend(intent(first, 1, None)).await.unwrap();
    ledger.settle(imported(first, entry, attempt, 101)).await.unwrap();
    ledger.end_run(first, ended(now())).await.unwrap();
    for adopted in [None, None, Some(102), None] {
        if let Some(session) = adopted {
            let repair = begin(&ledger).await;
            ledger.raise_generation(repair).await.unwrap();
            ledger.adopt(entry, repair, Uuid::from_u128(session), now()).await.unwrap();
            ledger.end_run(repair, ended(now())).await.unwrap();
        }
        let run = begin(&ledger).await;
        let told = told("e".to_owned(), "acme", Some(entry), "unchanged");
        ledger.report(run, true, move || std::iter::once(told.clone())).await.unwrap();
        ledger.end_run(run, ended(now())).await.unwrap();
    }
    let told_by: Vec<Option<i64>> = held_by(&place).into_iter().map(|(_, told_by)| told_by).collect();
    assert_eq!(told_by, [None, None, Some(2), None, None, Some(5)]);
    let reader = Reader::require(&place.location).unwrap();
    let session = |run| reader.run_outcomes(RunId(run)).unwrap()[0].session.clone().unwrap().session_id;
    assert_eq!([3, 6].map(session), [101, 102].map(Uuid::from_u128));
}
