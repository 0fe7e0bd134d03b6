use proptest::prelude::*;

use super::*;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn busy(runners: usize) -> Fleet {
    Fleet { runners: vec![Worker::busy(); runners], lasts: seconds(3600), ..Fleet::default() }
}

#[test]
fn one_to_eight_runners_use_the_limit_and_meet_no_429() {
    for runners in [1, 2, 4, 8] {
        let played = play(&busy(runners));
        // Without the first window, which opens whole.
        let used = played.used(300, seconds(600), seconds(3600));
        let a_minute = played.exchanges as f64 / 60.0;
        assert_eq!(played.refused, 0, "{runners} runners");
        assert!(used >= 0.95, "{runners} runners use {used}");
        assert!(a_minute <= 150.0, "{runners} runners exchange {a_minute} times a minute");
    }
}

#[test]
fn a_429_pauses_all_and_what_a_stranger_leaves_is_used() {
    for runners in [1, 4] {
        let fleet = Fleet { stranger: 100, ..busy(runners) };
        let played = play(&fleet);
        let used = played.used(200, seconds(2400), seconds(3600));
        assert_eq!(played.in_pause, 0, "{runners} runners");
        assert!(used >= 0.8, "{runners} runners use {used} of what is left");
    }
}

#[test]
fn a_lower_limit_is_learnt_once_for_all() {
    for runners in [1, 4] {
        let fleet = Fleet { server_limit: Some(100), ..busy(runners) };
        let played = play(&fleet);
        let used = played.used(100, seconds(600), seconds(3600));
        assert!(used >= 0.9, "{runners} runners use {used} of what is left");
    }
}

#[test]
fn a_dead_runners_slots_come_back() {
    let mut fleet = busy(3);
    fleet.runners[0].dies = Some(seconds(1000));
    fleet.runners[1].dies = Some(seconds(1010));
    let played = play(&fleet);
    assert_eq!(played.refused, 0);
    assert!(played.used(300, seconds(1200), seconds(3600)) >= 0.95);
}

/// A runner of any kind.
fn any_worker() -> impl Strategy<Value = Worker> {
    let jobs = proptest::collection::vec((0_u64..600, 1_u64..400), 0..5);
    (0_u64..300, proptest::option::of(1_u64..600), 1_u32..64, jobs).prop_map(|(joins, dies, concurrency, jobs)| {
        Worker {
            joins: seconds(joins),
            dies: dies.map(seconds),
            concurrency,
            jobs: jobs.into_iter().map(|(at, count)| (seconds(at), count)).collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever joins, idles and dies, however long answers take, and whatever becomes of exchanges: a strict server that
    /// counts on arrival refuses nothing.
    #[test]
    fn no_429_of_our_own_doing(
        limit in 1_u32..60,
        runners in proptest::collection::vec(any_worker(), 1..9),
        way in (0_u64..200, 0_u64..5000),
        work in 0_u64..20_000,
        exchange in 1_u64..1000,
        lost in prop_oneof![Just(0.0), 0.0..0.5],
        seed in any::<u64>(),
    ) {
        let fleet = Fleet {
            limit,
            lasts: seconds(900),
            runners,
            way: (Duration::from_millis(way.0), Duration::from_millis(way.0 + way.1)),
            work: Duration::from_millis(work),
            exchange: Duration::from_millis(exchange),
            lost,
            seed,
            ..Fleet::default()
        };
        let played = play(&fleet);
        prop_assert_eq!(played.refused, 0);
        prop_assert_eq!(played.in_pause, 0);
    }

    /// No runner that has something to do waits for more than two windows, however many ask.
    #[test]
    fn nobody_starves(runners in 1_usize..20, limit in 20_u32..300, seed in any::<u64>()) {
        let fleet = Fleet { limit, seed, lasts: seconds(300), ..busy(runners) };
        let played = play(&fleet);
        for wait in &played.longest_wait {
            prop_assert!(*wait <= seconds(125), "{wait:?} of {played:?}");
        }
    }
}
