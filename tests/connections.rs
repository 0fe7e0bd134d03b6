//! Connections, and how much is under way at once: HTTP/2 where the server chooses it, HTTP/1.1 where it does not, the
//! same connections again and again, never more requests in flight than `concurrency`, and after a kill at most twice
//! as many entries whose outcome is not known.

use axum::http::Version;
use didit_sync::sandbox::Config;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::crash::{Moment, seed};
use crate::support::front::Seen;
use crate::support::{Front, Manner, Output, Scene, sandbox, wait_for};

/// An import takes longer than a connection to be made, as it does at Didit.
const LATENCY: &str = "import.latency=2ms..6ms";
const H2: &[&str] = &["h2", "http/1.1"];
const H1: &[&str] = &["http/1.1"];

/// A sandbox without limits, a front before it, and a manifest that sends its entries to the front.
fn scene(entries: usize, concurrency: usize, manner: Manner) -> (Scene, Front) {
    let limitless = Config { writes_per_minute: 0, reads_per_minute: 0, ..sandbox(entries) };
    let mut scene = Scene::new(Config { faults: LATENCY.parse().unwrap(), ..limitless });
    let front = Front::new(&scene, manner);
    let entries = scene.manifest("acme").replace(&scene.running.base_url(), &front.base_url);
    let limits = format!("{{writes_per_minute: 1000000, reads_per_minute: 1000000, concurrency: {concurrency}}}");
    scene.write("m.yaml", &format!("{entries}limits: {limits}\n"));
    if !front.certificate.is_empty() {
        let certificate = scene.write("front.pem", &front.certificate);
        scene.set("SSL_CERT_FILE", certificate.to_str().unwrap());
    }
    (scene, front)
}

/// Imports everything by one request each, and verifies it.
#[track_caller]
fn import_all(entries: usize, concurrency: usize, manner: Manner) -> Seen {
    let (scene, front) = scene(entries, concurrency, manner);
    let done = scene.apply().exits(0).json();
    assert_eq!(done["summary"]["imported"], entries, "{manner:?}");
    assert_eq!(done["verification"]["summary"]["checked"], entries, "{manner:?}");
    assert_eq!((scene.writes() as usize, scene.world.imported().len()), (entries, entries), "{manner:?}");
    let seen = front.seen();
    assert!(seen.versions.len() > 2 * entries, "an import and a decision each: {manner:?}, {seen:?}");
    assert!(seen.most_in_flight <= concurrency, "{manner:?}: {} at once", seen.most_in_flight);
    seen
}

#[track_caller]
fn assert_all_came_by(version: Version, seen: &Seen) {
    let others: Vec<_> = seen.versions.iter().filter(|it| **it != version).collect();
    assert!(others.is_empty(), "{version:?} was expected: {others:?}");
}

/// The first requests go one after another, so that their connection is known to be HTTP/2 when the many come.
#[test]
fn http_2_is_spoken_where_the_server_chooses_it_and_one_connection_is_enough() {
    let seen = import_all(150, 16, Manner { offers: Some(H2), ..Manner::default() });
    assert_all_came_by(Version::HTTP_2, &seen);
    assert_eq!(seen.connections, 1);
    assert!(seen.most_in_flight > 8, "only {} at once", seen.most_in_flight);
}

/// What a server takes at once by one connection is its own limit: the rest waits, and no more connections are made.
#[test]
fn a_server_that_takes_fewer_streams_than_may_be_in_flight_gets_no_more() {
    let seen = import_all(60, 16, Manner { offers: Some(H2), streams: Some(4), ..Manner::default() });
    assert_all_came_by(Version::HTTP_2, &seen);
    assert_eq!((seen.connections, seen.most_in_flight), (1, 4));
}

/// A request that finds no connection free begins one, and goes by whatever is free first: the new one, or one that was
/// in use. In the latter case there is one more than requests in flight, for the next request. That is met while the
/// first few are made, and by a slow machine a little more often: half as many again are allowed, for 602 requests.
#[test]
fn http_1_1_is_spoken_otherwise_and_connections_are_used_again() {
    const CONCURRENCY: usize = 8;
    for offers in [Some(H1), Some(&[] as &[&str]), None] {
        let seen = import_all(300, CONCURRENCY, Manner { offers, ..Manner::default() });
        assert_all_came_by(Version::HTTP_11, &seen);
        assert!(seen.most_in_flight > CONCURRENCY / 2, "{offers:?}: only {} at once", seen.most_in_flight);
        let connections = seen.connections;
        assert!(connections <= CONCURRENCY + CONCURRENCY / 2, "{offers:?}: {connections} connections");
    }
}

/// Whoever answers for the server, the key does not go to a stranger.
#[test]
fn nothing_is_sent_to_a_server_whose_certificate_nobody_vouches_for() {
    let (scene, front) = scene(2, 2, Manner { offers: Some(H2), ..Manner::default() });
    let other = Front::new(&scene, Manner { offers: Some(H2), ..Manner::default() });
    scene.write("front.pem", &other.certificate);
    let done = scene.apply().exits(69);
    assert!(done.stdout.contains("the server's certificate was not accepted"), "{}", done.stdout);
    assert_eq!((front.seen().versions.len(), scene.writes()), (0, 0));
}

/// Proxies end a connection after so many requests. What they took is answered, and the rest goes by another.
#[test]
fn connections_that_the_server_ends_are_replaced_and_no_request_is_lost() {
    const EACH: usize = 30;
    for (offers, version) in [(Some(H2), Version::HTTP_2), (Some(H1), Version::HTTP_11), (None, Version::HTTP_11)] {
        let seen = import_all(100, 8, Manner { offers, requests_a_connection: Some(EACH), ..Manner::default() });
        assert_all_came_by(version, &seen);
        assert!(seen.connections >= seen.versions.len() / EACH, "{offers:?}: {} connections", seen.connections);
    }
}

/// As many outcomes may be waiting for the disk as there are requests in flight, and all of them are on record as being
/// sent. Runs after a kill begin with what the killed one left, so that the bound holds after many kills, too.
#[test]
fn after_a_kill_at_most_twice_as_many_entries_are_open_as_may_be_in_flight() {
    const KILLS: usize = 10;
    let seed = seed();
    let mut dice = StdRng::seed_from_u64(seed);
    let mut most_open = 0;
    for concurrency in [1, 3, 8] {
        let said = format!("concurrency {concurrency}, DIDIT_SYNC_TEST_SEED={seed}");
        // More than the killed runs import.
        let entries = 150 + 30 * concurrency;
        let (scene, front) = scene(entries, concurrency, Manner::default());
        for _ in 0..KILLS {
            let mut child = scene.start(&["apply", "m.yaml", "--yes", "--quiet"]);
            assert!(Moment::draw(&mut dice, 20).strike(&scene, &mut child), "a run ended by itself: {said}");
            // There is no ledger yet where the kill came first.
            let status = scene.run(&["status", "--json"]).json();
            let recorded = status["entries"].as_array().into_iter().flatten();
            let open = recorded.filter(|entry| entry["state"] == "sending").count();
            assert!(open <= 2 * concurrency, "{open} entries are open: {said}");
            most_open = most_open.max(open);
            wait_for("the end of what the dead run sent", || front.seen().in_flight == 0);
        }
        scene.apply().exits(0);
        let states = scene.run(&["status", "--json"]).exits(0).json();
        let recorded = states["entries"].as_array().unwrap();
        assert!(recorded.len() == entries && recorded.iter().all(|entry| entry["state"] == "imported"), "{said}");
        assert_eq!(scene.world.imported().len(), entries, "{said}");
        let most = front.seen().most_in_flight;
        assert!(most <= concurrency, "{most} requests were in flight at once: {said}");
        assert_eq!(most, concurrency, "never as many as may be: {said}");
    }
    assert!(most_open > 1, "no kill left anything open: DIDIT_SYNC_TEST_SEED={seed}");
}

#[test]
fn no_request_has_a_thread_of_its_own() {
    let (scene, front) = scene(600, 200, Manner::default());
    let mut apply = scene.start(&["apply", "m.yaml", "--yes", "--quiet"]);
    let tasks = format!("/proc/{}/task", apply.id());
    let mut most = 0;
    while apply.try_wait().unwrap().is_none() {
        most = most.max(std::fs::read_dir(&tasks).map_or(0, Iterator::count));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Output::of(apply).exits(0);
    assert!(front.seen().most_in_flight > 100, "only {} at once", front.seen().most_in_flight);
    // The runtime's and rayon's, one for each core, the ledger's, and a few that come and go.
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!((1..2 * cores + 16).contains(&most), "{most} threads");
}
