//! Runners on one ledger in PostgreSQL share the budgets of their keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use didit_sync::ledger::records::BudgetKind;
use didit_sync::ledger::{Ledger, Location};
use didit_sync::pace::grants::{Ask, Granted, Report, RunnerId};
use didit_sync::run::{Budget, Events, Means};
use didit_sync::sandbox::Config;
use didit_sync::token::Fingerprint;
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::support::postgres::{Database, cluster};
use crate::support::{Scene, sandbox};

fn open(database: &Database<'_>) -> Ledger {
    let location = Location::parse(Path::new(&database.url()), false, &|_| None).unwrap();
    Ledger::open(&location).unwrap()
}

fn key(ledger: &Ledger) -> Fingerprint {
    ledger.identity().key.fingerprint(b"a key")
}

/// Runs `work` of each number on a thread with a runtime of its own.
fn side_by_side<T: Send>(count: u128, work: impl AsyncFn(u128) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let one = |number| move || Builder::new_current_thread().enable_all().build().unwrap().block_on(work(number));
        let threads: Vec<_> = (1..=count).map(|number| scope.spawn(one(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Takes all that it gets.
async fn take_all(ledger: &Ledger, number: u128) -> (Ask, Vec<Granted>) {
    let mut ask = Ask {
        runner: RunnerId(Uuid::from_u128(number)),
        turn: 0,
        holding: Vec::new(),
        limit: 300,
        longest: Duration::from_secs(30),
        reports: Vec::new(),
        refusals: Vec::new(),
        wanted: 50,
    };
    let mut all: Vec<Granted> = Vec::new();
    loop {
        ask.turn += 1;
        let reply = ledger.exchange(key(ledger), BudgetKind::Writes, ask.clone()).await.unwrap();
        let Some(granted) = reply.granted else { return (ask, all) };
        ask.holding.push(granted.block);
        all.push(granted);
    }
}

#[test]
fn ledgers_that_are_asked_at_once_give_every_slot_away_and_none_twice() {
    let Some(cluster) = cluster() else { return };
    let database = cluster.database();
    let ledger = open(&database);
    let taken = side_by_side(8, async |number| {
        let ledger = open(&database);
        take_all(&ledger, number).await
    });
    let slots = |all: &[Granted]| all.iter().map(|granted| granted.opens_in.len()).sum::<usize>();
    assert_eq!(taken.iter().map(|(_, all)| slots(all)).sum::<usize>(), 300);
    assert!(taken.iter().flat_map(|(_, all)| all).all(|granted| granted.opens_in.iter().all(Duration::is_zero)));

    // What one gives back another gets, and other budgets have their own slots.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ask, all) = taken.iter().max_by_key(|(_, all)| all.len()).unwrap().clone();
        let given = &all[0];
        let turn = ask.turn + 1;
        let report = Report { block: given.block, turn, answered: Vec::new(), unsent: given.opens_in.len() as u32 };
        let word = Ask { turn, reports: vec![report], wanted: 0, ..ask };
        ledger.exchange(key(&ledger), BudgetKind::Writes, word.clone()).await.unwrap();
        // Who was turned away waits for its place, until it hasn't come back for too long.
        let waiting = Ask { runner: taken[0].0.runner, ..taken[0].0.clone() };
        let reads = ledger.exchange(key(&ledger), BudgetKind::Reads, Ask { turn: turn + 1, ..waiting }).await.unwrap();
        assert!(reads.granted.is_some());
        let (_, again) = take_all(&ledger, 99).await;
        assert!(slots(&again) <= given.opens_in.len());
    });
}

#[test]
fn runners_send_what_a_window_holds_and_not_more() {
    let Some(cluster) = cluster() else { return };
    let database = cluster.database();
    drop(open(&database));
    let sent = side_by_side(4, async |_| {
        let means = Means::new(open(&database), Events::none());
        let key = key(&means.ledger);
        let budget = Arc::new(Budget::of_key(&means, key, BudgetKind::Writes, 60, Duration::from_secs(30)));
        assert!(budget.is_shared());
        let mut sent = 0;
        let until = tokio::time::Instant::now() + Duration::from_secs(8);
        while let Ok(mut slot) = tokio::time::timeout_at(until, budget.acquire()).await {
            slot.is_fit().unwrap();
            slot.leaves();
            drop(slot);
            sent += 1;
        }
        budget.close().await.unwrap();
        sent
    });
    assert_eq!(sent.iter().sum::<i32>(), 60, "{sent:?}");
    assert!(sent.iter().all(|sent| *sent > 0), "{sent:?}");
}

/// An audit and an apply read with one key: together they keep to its limit.
#[test]
fn an_audit_beside_an_apply_meets_no_429() {
    let Some(cluster) = cluster() else { return };
    let database = cluster.database();
    let url = database.url();
    let scene = Scene::new(Config { reads_per_minute: 20, ..sandbox(24) });
    let text = scene.manifest("acme") + "limits: {reads_per_minute: 20}\n";
    scene.write("m.yaml", &text);
    scene.run(&["apply", "m.yaml", "--yes", "--no-verify", "--limit", "12", "--ledger", &url]).exits(8);
    let audit = scene.start(&["audit", "--json", "--ledger", &url]);
    let apply = scene.start(&["apply", "m.yaml", "--yes", "--json", "--ledger", &url]);
    for child in [audit, apply] {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(scene.world.imported().len(), 24);
    assert_eq!(scene.world.throttled(), 0);
}
