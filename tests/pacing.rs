//! The documented limits are used whole and never exceeded.

use std::time::{Duration, Instant};

use didit_sync::sandbox::Config;
use serde_json::json;

use crate::support::{Scene, end_of, sandbox};

#[test]
fn six_hundred_entries_take_one_window_and_meet_no_429() {
    let scene = Scene::new(sandbox(600));
    scene.write_all();
    let plan = scene.plan().exits(0).json();
    assert_eq!(plan["forecast"]["seconds"], 60);
    let began = Instant::now();
    let done = scene.apply().exits(0).json();
    let took = began.elapsed();
    assert_eq!(done["summary"]["imported"], 600);
    assert_eq!(done["verification"]["summary"]["checked"], 600);
    assert_eq!(scene.world.throttled(), 0);
    assert_eq!(done["requests"]["throttled"], 0);
    // Alone on the machine it takes less than 63 s; beside the other tests the processor is what it waits for.
    assert!(took > Duration::from_secs(60) && took < Duration::from_secs(75), "{took:?}");
    let imports: Vec<_> = scene.world.requests().into_iter().filter(|it| it.method == "POST").collect();
    let gap = imports[300].arrived - imports[0].arrived;
    assert!(gap > Duration::from_secs(60) && gap < Duration::from_secs(65), "the window opens after {gap:?}");
}

#[test]
fn three_hundred_entries_take_seconds() {
    let scene = Scene::new(sandbox(300));
    scene.write_all();
    let done = scene.apply().exits(0).json();
    assert_eq!(done["summary"]["imported"], 300);
    assert!(done["seconds"].as_f64().unwrap() < 20.0, "{}", done["seconds"]);
    assert_eq!(scene.world.throttled(), 0);
}

/// What an earlier run sent counts: with 4 writes a minute a second run has one left, and waits for the rest.
#[test]
fn a_run_knows_what_the_run_before_it_sent() {
    let scene = Scene::new(Config { writes_per_minute: 4, ..sandbox(5) });
    let text = scene.manifest("acme") + "limits: {writes_per_minute: 4}\n";
    scene.write("m.yaml", &text);
    scene.run(&["apply", "m.yaml", "--yes", "--limit", "4"]).exits(8);
    let seconds = scene.plan().exits(0).json()["forecast"]["seconds"].as_u64().unwrap();
    assert!((40..=61).contains(&seconds), "the plan knows it, too: {seconds}");
    let mut child = scene.start(&["apply", "m.yaml", "--yes", "--json", "--no-verify"]);
    // The checks before the first send show that the run is under way; a write would follow at once.
    let reads = scene.world.counts().reads;
    let until = Instant::now() + Duration::from_secs(20);
    while scene.world.counts().reads < reads + 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    let (writes, throttled) = (scene.writes(), scene.world.throttled());
    child.kill().unwrap();
    end_of(&mut child);
    assert_eq!((writes, throttled), (4, 0));
}

#[test]
fn a_429_pauses_and_loses_nothing() {
    // The server's limit is lower than the manifest's: one 429 teaches it. Ten more requests would wait a minute,
    // so the run is only as long as its first pause.
    let config = Config { faults: "import.throttle=x1".parse().unwrap(), ..sandbox(3) };
    let scene = Scene::new(config);
    scene.write_all();
    let done = scene.apply().exits(0).json();
    assert_eq!(done["summary"]["imported"], 3);
    assert!(done["requests"]["throttled"].as_u64().unwrap() >= 1);
    let attempts: Vec<_> = done["imports"].as_array().unwrap().iter().map(|row| row["error"].clone()).collect();
    assert_eq!(attempts, [json!(null), json!(null), json!(null)]);
}

/// Two applications, each with a key and a budget of its own: together they send twice what one key may.
#[test]
fn applications_run_side_by_side_each_on_its_own_budget() {
    let mut one = Scene::new(Config { writes_per_minute: 60, seed: 1, ..sandbox(60) });
    let two = Scene::new(Config { writes_per_minute: 60, seed: 2, ..sandbox(60) });
    one.set("OTHER_KEY", &two.running.api_key());
    let limits = "limits: {writes_per_minute: 60}\n";
    one.write("one.yaml", &(one.manifest("one") + limits));
    let text = two.manifest("two").replace("DIDIT_API_KEY", "OTHER_KEY").replace("id: e", "id: f") + limits;
    one.write("two.yaml", &text);
    let plan = one.run(&["plan", "one.yaml", "two.yaml", "--json"]).exits(0).json();
    assert_eq!((&plan["forecast"]["writes"], &plan["forecast"]["seconds"]), (&json!(120), &json!(0)));
    let done = one.run(&["apply", "one.yaml", "two.yaml", "--yes", "--json", "--no-verify"]).exits(0).json();
    assert_eq!(done["summary"]["imported"], 120, "{done:#}");
    assert_eq!((one.writes(), two.writes()), (60, 60));
    assert_eq!((one.world.throttled(), two.world.throttled()), (0, 0));
    // On one budget the second sixty would have waited for a minute.
    assert!(done["seconds"].as_f64().unwrap() < 55.0, "{}", done["seconds"]);
    let span = |scene: &Scene| {
        let posts = scene.world.requests().into_iter().filter(|it| it.method == "POST").map(|it| it.arrived);
        (posts.clone().min().unwrap(), posts.max().unwrap())
    };
    let (first, second) = (span(&one), span(&two));
    assert!(first.0 < second.1 && second.0 < first.1, "side by side, not one after the other");
}

/// A program may take its time, as one that asks a vault does: meanwhile others run, and none holds a place in the
/// window.
#[test]
fn programs_that_give_tokens_run_side_by_side_and_once_each() {
    let scene = Scene::new(sandbox(6));
    let mut text = scene.head("acme") + "limits: {concurrency: 5}\nimports:\n";
    for (n, source) in scene.sources().iter().enumerate() {
        scene.write(&format!("t{n}"), &scene.mint(source.id));
        let script = format!("echo begin >> log; sleep 0.5; echo end >> log; cat t{n}");
        let id = source.id;
        text += &format!("  - {{id: e{n}, source_session_id: {id}, share_token: {{exec: [sh, -c, \"{script}\"]}}}}\n");
    }
    scene.write("m.yaml", &text);
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--allow-exec", "--no-verify"]).exits(0).json();
    assert_eq!(done["summary"]["imported"], 6, "{done:#}");
    let log = scene.read("log");
    let (mut running, mut most) = (0, 0);
    for line in log.lines() {
        running += if line == "begin" { 1 } else { -1 };
        most = most.max(running);
    }
    assert_eq!((running, log.lines().count()), (0, 12), "each program ran once");
    assert!((2..=5).contains(&most), "{most} programs at a time");
}
