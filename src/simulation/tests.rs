//! What is promised of schedules, in simulated time. The long forms are in `benches/schedule.rs`, which prints their table.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

pub(super) fn played(scenario: &Scenario) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    play(scenario, folder.path(), paused).unwrap()
}

pub(super) fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[track_caller]
fn assert_no_429(outcome: &Outcome) {
    assert_eq!((outcome.traffic.writes_refused, outcome.traffic.reads_refused), (0, 0), "{outcome:?}");
}

#[test]
fn entries_take_the_windows_they_need_and_one_round_trip_for_each() {
    for entries in [1, 299, 300, 301, 1500] {
        let outcome = played(&Scenario { entries, concurrency: 700, ..Scenario::default() });
        assert_eq!((outcome.imported, outcome.verified), (entries, entries as u64));
        assert_no_429(&outcome);
        let windows = (entries as u32 - 1) / 300;
        let longest = outcome.round_trips.iter().max().copied().unwrap();
        // One for the first window, whose first request goes alone, and the last answer.
        let most = seconds(60) * windows + longest * (windows + 1) + longest;
        assert!(outcome.importing >= seconds(60) * windows && outcome.importing <= most, "{entries}: {outcome:?}");
        // The run ends one round trip after the last import, plus what the read budget needs.
        assert!(
            outcome.took <= outcome.importing + longest * 3,
            "{entries}: {:?} {:?}",
            outcome.took,
            outcome.importing
        );
    }
}

#[test]
fn a_long_run_comes_close_to_the_best_schedule_that_there_is() {
    let outcome = played(&Scenario { entries: 5000, ..Scenario::default() });
    assert_eq!(outcome.imported, 5000);
    assert_no_429(&outcome);
    let best = best_schedule(&outcome.round_trips, 300, 32);
    assert!(outcome.importing.mul_f64(0.99) <= best, "{:?} against {best:?}", outcome.importing);
}

#[test]
fn deaths_and_restarts_meet_no_429_and_cost_little() {
    let scenario = Scenario { entries: 4000, ..Scenario::default() };
    let undisturbed = played(&scenario);
    let mut dice = StdRng::seed_from_u64(1);
    let whole = undisturbed.took.as_millis() as u64;
    let mut crashes: Vec<_> = (0..8).map(|_| Duration::from_millis(dice.random_range(0..whole))).collect();
    crashes.sort();
    let outcome = played(&Scenario { crashes, ..scenario });
    assert_eq!((outcome.imported, outcome.processes), (4000, 9));
    assert_no_429(&outcome);
    let longest = undisturbed.round_trips.iter().max().copied().unwrap();
    let most = undisturbed.took.mul_f64(1.01) + longest * 8;
    assert!(outcome.took <= most, "{:?} against {:?}", outcome.took, undisturbed.took);
}

#[test]
fn minted_tokens_wait_for_nothing_and_keep_both_budgets_full() {
    for writes_per_minute in [300, 200] {
        let minting = Some(Minting { writes_per_minute, ttl: seconds(60) });
        let outcome = played(&Scenario { entries: 1500, minting, concurrency: 100, ..Scenario::default() });
        assert_eq!((outcome.imported, outcome.traffic.minted), (1500, 1500), "none is minted in vain");
        assert_no_429(&outcome);
        assert_eq!(outcome.traffic.mints_refused, 0);
        assert!(outcome.longest_wait < seconds(10), "{:?}", outcome.longest_wait);
        // The slower key decides, and a minting goes before each import.
        let longest = outcome.round_trips.iter().max().copied().unwrap();
        let windows = 1499 / writes_per_minute;
        let most = seconds(60) * windows + longest * (windows + 1) + seconds(10);
        assert!(outcome.importing <= most, "{writes_per_minute}: {:?} against {most:?}", outcome.importing);
    }
}

#[test]
fn a_stranger_on_the_same_key_leaves_us_the_rest_and_we_use_it() {
    let spell = |from, until| Spell { from: seconds(from), until: seconds(until), per_minute: 150 };
    let stranger = vec![spell(300, 900), spell(1500, 2100)];
    let outcome = played(&Scenario { entries: 8000, stranger, verify: false, ..Scenario::default() });
    assert_eq!(outcome.imported, 8000);
    let minutes = outcome.importing.as_secs_f64() / 60.0;
    let left = 300.0 * minutes - outcome.traffic.of_stranger as f64;
    let used = 8000.0 / left;
    assert!(used >= 0.9, "{used} {:?}", outcome.traffic);
    assert!(outcome.traffic.writes_refused < 400, "{:?}", outcome.traffic);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Few enough entries that every order can be tried, and more.
    #[test]
    fn as_many_as_can_be_are_imported_in_time_and_the_forecast_names_the_others(
        minutes in proptest::collection::vec(proptest::option::weighted(0.9, 0_u64..6), 1..14),
        limit in 1_u32..4,
    ) {
        // Between the turns, so that round trips decide nothing.
        let deadlines: Vec<_> = minutes.iter().map(|minute| minute.map(|minute| seconds(minute * 60 + 30))).collect();
        let entries = deadlines.len();
        let fast = Duration::from_millis(1)..Duration::from_millis(5);
        let scenario = Scenario {
            entries, deadlines: deadlines.clone(), writes_per_minute: limit, verify: false,
            way: fast.clone(), work: fast.clone(), read_work: fast, ..Scenario::default()
        };
        let outcome = played(&scenario);
        let turn = |sent: usize| seconds(60) * (sent as u32 / limit);
        let known: Vec<_> = deadlines.iter().flatten().copied().collect();
        let endless = entries - known.len();
        prop_assert_eq!(outcome.imported, most_in_time(&known, turn) + endless);
        if known.len() <= 7 {
            prop_assert_eq!(most_in_time(&known, turn), most_in_any_order(&known, turn));
        }
        prop_assert_eq!(outcome.left, outcome.forecast_late);
        prop_assert_eq!(outcome.traffic.writes, outcome.imported as u64, "nothing was sent in vain");
    }
}

/// By trying every set of deadlines: one can be met whole exactly if it can in order of deadline.
fn most_in_any_order(deadlines: &[Duration], turn: impl Fn(usize) -> Duration) -> usize {
    let can_be_met = |set: u32| {
        let mut chosen: Vec<_> = (0..deadlines.len()).filter(|i| set & (1 << i) != 0).map(|i| deadlines[i]).collect();
        permutations(&mut chosen, 0, &|order| order.iter().enumerate().all(|(k, deadline)| turn(k) < *deadline))
    };
    (0..1_u32 << deadlines.len()).filter(|set| can_be_met(*set)).map(u32::count_ones).max().unwrap_or(0) as usize
}

/// Whether any order from `from` on is good.
fn permutations(order: &mut [Duration], from: usize, is_good: &impl Fn(&[Duration]) -> bool) -> bool {
    if from == order.len() {
        return is_good(order);
    }
    (from..order.len()).any(|other| {
        order.swap(from, other);
        let good = permutations(order, from + 1, is_good);
        order.swap(from, other);
        good
    })
}
