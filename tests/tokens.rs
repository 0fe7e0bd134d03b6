//! Where tokens come from, and that they are no entry's identity.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use didit_sync::sandbox::Config;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::{Scene, sandbox, wait_for};

fn one(scene: &Scene, token: &str) {
    scene.write("m.yaml", &(scene.head("acme") + &format!("imports:\n  - {{share_token: {token}}}\n")));
}

#[test]
fn a_second_token_for_the_same_session_makes_no_second_entry() {
    let scene = Scene::new(sandbox(1));
    let source = scene.sources()[0].id;
    one(&scene, &scene.mint(source));
    scene.apply().exits(0);
    one(&scene, &scene.mint_for(source, SignedDuration::from_hours(5)));
    let before = scene.world.counts().requests;
    let done = scene.apply().exits(0).json();
    assert_eq!((&done["summary"]["unchanged"], scene.world.counts().requests), (&json!(1), before));
    // A token that died after its import changes nothing.
    one(&scene, &scene.mint_for(source, SignedDuration::from_secs(-100)));
    assert_eq!(scene.plan().exits(0).json()["actions"][0]["action"], "unchanged");
    scene.apply().exits(0);
    // Nor does a roster line without one.
    scene.write("m.yaml", &(scene.head("acme") + &format!("imports: [{{source_session_id: {source}}}]\n")));
    assert_eq!(scene.plan().exits(0).json()["actions"][0]["action"], "unchanged");
    let status = scene.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn a_roster_decides_and_an_inbox_delivers() {
    let scene = Scene::new(sandbox(4));
    let sources = scene.sources();
    let mut roster = "source_session_id,vendor_data\n".to_owned();
    for (n, source) in sources.iter().take(3).enumerate() {
        roster += &format!("{},user-{n}\n", source.id);
    }
    scene.write("roster.csv", &roster);
    // The fourth agrees with no entry; the third is missing; the first comes twice, the later expiry is taken.
    let short = scene.mint_for(sources[0].id, SignedDuration::from_secs(-5));
    let inbox = format!("share_token\n{short}\n{}\n{}\n", scene.mint(sources[0].id), scene.mint(sources[3].id));
    scene.write("inbox/today.csv", &inbox);
    scene.write("inbox/late.txt", &format!("{}\n", scene.mint(sources[1].id)));
    let text = scene.head("acme")
        + "sources: [{file: roster.csv}]\ntokens: [{file: \"inbox/*.csv\", on_duplicate: latest}, {file: \"inbox/*.txt\"}]\n";
    scene.write("m.yaml", &text);
    let plan = scene.plan().exits(0).json();
    assert_eq!((&plan["summary"]["import"], &plan["summary"]["needs-token"]), (&json!(2), &json!(1)));
    let done = scene.apply().exits(5).json();
    assert_eq!((&done["summary"]["imported"], &done["summary"]["needs_token"]), (&json!(2), &json!(1)));
    assert!(scene.imported_from(sources[3].id).is_none(), "a token alone imports nothing");
    scene.write("inbox/late.txt", &format!("{}\n", scene.mint(sources[2].id)));
    let done = scene.apply().exits(0).json();
    assert_eq!((&done["summary"]["imported"], &done["summary"]["unchanged"]), (&json!(1), &json!(2)));
}

#[test]
fn tokens_come_from_the_environment_and_from_files() {
    let mut scene = Scene::new(sandbox(2));
    let sources = scene.sources();
    let token = scene.mint(sources[0].id);
    scene.set("CARMEN", &token);
    scene.write("tokens/eva", &format!("{}\n", scene.mint(sources[1].id)));
    let text = scene.head("acme")
        + "imports:\n  - {id: carmen, share_token: {env: CARMEN}}\n  - {id: eva, share_token: {file: tokens/eva}}\n";
    scene.write("m.yaml", &text);
    let plan = scene.plan().exits(0).json();
    assert_eq!(plan["actions"][0]["source_session_id"], json!(sources[0].id));
    assert_eq!(scene.apply().exits(0).json()["summary"]["imported"], 2);
}

/// The second entry waits behind the first, whose answer takes a while; meanwhile its file is replaced.
#[test]
fn a_file_is_read_again_just_before_the_request() {
    let config = Config { faults: "import.latency=1500ms".parse().unwrap(), ..sandbox(2) };
    let scene = Scene::new(config);
    let sources = scene.sources();
    let (old, new) = (
        scene.mint_for(sources[1].id, SignedDuration::from_hours(2)),
        scene.mint_for(sources[1].id, SignedDuration::from_hours(3)),
    );
    scene.write("late", &old);
    let text = scene.head("acme")
        + &format!(
            "imports:\n  - {{id: a, share_token: {}}}\n  - {{id: b, share_token: {{file: late}}}}\n",
            scene.mint_for(sources[0].id, SignedDuration::from_hours(1))
        );
    scene.write("m.yaml", &text);
    let child = scene.start(&["apply", "m.yaml", "--yes", "--json"]);
    wait_for("a request", || scene.writes() > 0);
    scene.write("late", &new);
    let done = crate::support::Output::of(child).exits(0).json();
    assert_eq!(done["summary"]["imported"], 2);
    let sent: Vec<_> = scene.world.requests().into_iter().filter_map(|it| it.body).collect();
    assert!(sent.iter().any(|body| body["share_token"] == json!(new)), "the new token was sent");
    assert!(sent.iter().all(|body| body["share_token"] != json!(old)), "the old token was not");
}

fn with_exec(scene: &Scene) {
    let source = scene.sources()[0].id;
    let script = format!("#!/bin/sh\necho ran >> \"$0.log\"\necho {}\n", scene.mint(source));
    let path = scene.write("mint.sh", &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let text = scene.head("acme")
        + &format!(
            "imports:\n  - {{id: a, source_session_id: {source}, share_token: {{exec: [{}]}}}}\n",
            path.display()
        );
    scene.write("m.yaml", &text);
}

fn times_run(scene: &Scene) -> usize {
    fs::read_to_string(scene.path("mint.sh.log")).map_or(0, |log| log.lines().count())
}

#[test]
fn programs_run_only_when_allowed_once_and_not_for_what_is_done() {
    let scene = Scene::new(sandbox(1));
    with_exec(&scene);
    let refused = scene.apply().exits(65).json();
    assert_eq!(refused["format"], "didit-sync/error.v1");
    assert_eq!(times_run(&scene), 0);
    let warned = scene.run(&["plan", "m.yaml", "--json"]).exits(0);
    assert_eq!(warned.json()["actions"][0]["action"], "import");
    assert!(warned.stderr.contains("--allow-exec"), "{}", warned.stderr);
    scene.run(&["validate", "m.yaml", "--allow-exec"]).exits(0);
    scene.run(&["plan", "m.yaml", "--allow-exec"]).exits(0);
    assert_eq!(times_run(&scene), 0);
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--allow-exec"]).exits(0).json();
    assert_eq!((&done["summary"]["imported"], times_run(&scene)), (&json!(1), 1));
    scene.run(&["apply", "m.yaml", "--yes", "--allow-exec"]).exits(0);
    assert_eq!(times_run(&scene), 1);
}

#[test]
fn promise_5_a_program_that_fails_is_told_without_its_output() {
    let scene = Scene::new(sandbox(1));
    with_exec(&scene);
    scene.write("mint.sh", "#!/bin/sh\necho a-secret-on-stdout\necho a-secret-on-stderr >&2\nexit 3\n");
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--allow-exec"]);
    assert!(!done.stdout.contains("a-secret") && !done.stderr.contains("a-secret"), "{done:?}");
    let document = done.exits(5).json();
    assert_eq!(document["imports"][0]["outcome"], "needs_token");
    assert!(scene.world.imported().is_empty());
}

#[test]
fn a_key_comes_from_a_file_or_a_program() {
    let mut scene = Scene::new(sandbox(2));
    scene.unset("DIDIT_API_KEY");
    let key = scene.running.api_key();
    scene.write("key", &format!("{key}\n"));
    let script = scene.write("key.sh", &format!("#!/bin/sh\necho {key}\n"));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for (n, api_key) in ["{file: key}".to_owned(), format!("{{exec: [{}]}}", script.display())].into_iter().enumerate()
    {
        let token = scene.mint(scene.sources()[n].id);
        let text = scene.head("acme").replace("{env: DIDIT_API_KEY}", &api_key);
        scene.write("m.yaml", &(text + &format!("imports:\n  - {{share_token: {token}}}\n")));
        let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--allow-exec"]).exits(0).json();
        assert_eq!(done["summary"]["imported"], 1);
    }
}
