//! Promise 5, of the process itself: what it says when it panics, what a kill leaves in the ledger's files, and what
//! others on the machine can read of it while it runs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};

use didit_sync::sandbox::Config;
use serde_json::json;
use uuid::Uuid;

use crate::support::ledger::is_postgres;
use crate::support::patience::run;
use crate::support::{Canaries, Scene, end_of, sandbox, wait_for};

const NOBODY: u32 = 65534;
const GIVEN: [&str; 1] = ["m.yaml"];

/// Sources `e00`, `e01`, ... in `m.yaml`, and what may stand nowhere else.
fn scene(config: Config) -> (Scene, Canaries) {
    let scene = Scene::new(config);
    scene.write_all();
    let text = scene.read("m.yaml");
    let tokens: Vec<String> =
        text.split([' ', '}']).filter(|word| didit_sync::token::has_jwt_form(word)).map(str::to_owned).collect();
    assert_eq!(tokens.len(), scene.sources().len());
    let canaries = Canaries::new(&tokens, &[&scene.running.api_key()]);
    (scene, canaries)
}

/// An apply in the middle of its work, that a test ends.
struct Running(Child);

impl Running {
    fn of(scene: &Scene, imported: usize) -> Self {
        let before = scene.world.counts().requests;
        let child = scene.start(&["apply", "m.yaml", "--yes", "-vv", "--no-verify"]);
        let is_at_work = || scene.world.counts().requests > before && scene.writes() > imported as u64;
        wait_for("a run at work", || scene.world.imported().len() >= imported && is_at_work());
        Self(child)
    }

    fn proc(&self, name: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself can't be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[cfg(debug_assertions)]
fn promise_5_a_panic_says_where_and_repeats_nothing() {
    for point in ["intending", "intended", "answered", "settled"] {
        let (mut scene, canaries) = scene(sandbox(3));
        let secret = scene.mint(scene.sources()[0].id);
        let text = format!("Carmen Canaria 99999999R {secret} {}", scene.running.api_key());
        scene.set("DIDIT_SYNC_TEST_STOP_AT", &format!("{point}:1"));
        scene.set("DIDIT_SYNC_TEST_PANIC", &text);
        scene.set("RUST_BACKTRACE", "1");
        let args = ["apply", "m.yaml", "--yes", "--json", "-vv", "--report", "json=r.json"];
        let done = scene.run(&args).exits(1);
        let document = done.json();
        assert_eq!(
            (&document["format"], &document["exit"]["name"]),
            (&json!("didit-sync/apply.v1"), &json!("internal"))
        );
        assert!(done.stderr.contains("src/run/points.rs:") && done.stderr.contains("report"), "{}", done.stderr);
        let personal = Canaries::of(&["Carmen", "99999999R"]);
        for canaries in [&canaries, &personal, &Canaries::new(&[secret], &[])] {
            canaries.assert_untold(point, &done);
            canaries.assert_unwritten(&scene, &GIVEN);
        }
        // What was sent is on record or open, and the next run has it all.
        scene.unset("DIDIT_SYNC_TEST_STOP_AT");
        scene.apply().exits(0);
        for source in scene.sources() {
            assert!(scene.imported_from(source.id).is_some(), "{point}");
        }
    }
}

#[test]
#[cfg(debug_assertions)]
fn promise_5_a_panic_while_verifying_is_kept_without_its_message() {
    let (mut scene, _) = scene(sandbox(3));
    scene.set("DIDIT_SYNC_TEST_PANIC", "Carmen Canaria 99999999R");
    let personal = Canaries::of(&["Carmen", "99999999R"]);
    for (args, format) in [
        (&["apply", "m.yaml", "--yes", "--json", "-vv"][..], "didit-sync/apply.v1"),
        (&["audit", "--json", "--report", "json=a.json"], "didit-sync/audit.v1"),
    ] {
        scene.set("DIDIT_SYNC_TEST_STOP_AT", "fetched:1");
        let done = scene.run(args).exits(1);
        let document = done.json();
        assert_eq!((&document["format"], &document["error"]["name"]), (&json!(format), &json!("internal")));
        personal.assert_untold(format, &done);
        personal.assert_unwritten(&scene, &GIVEN);
    }
    scene.unset("DIDIT_SYNC_TEST_STOP_AT");
    assert_eq!(scene.run(&["audit", "--json"]).exits(0).json()["summary"]["checked"], 3);
}

#[test]
#[cfg(debug_assertions)]
fn promise_5_with_log_format_json_a_panic_is_one_line_like_others() {
    let (mut scene, _) = scene(sandbox(1));
    scene.set("DIDIT_SYNC_TEST_STOP_AT", "answered:1");
    scene.set("DIDIT_SYNC_TEST_PANIC", "Carmen");
    let done = scene.run(&["apply", "m.yaml", "--yes", "--json", "--log-format", "json"]).exits(1);
    let lines: Vec<serde_json::Value> =
        done.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let told = lines.iter().find(|line| line["message"].as_str().unwrap().contains("has a bug")).unwrap();
    assert_eq!(told["level"], "error");
}

#[test]
fn promise_5_a_kill_leaves_no_secret_in_the_ledger_its_log_or_a_backup() {
    // Slow in every request, so that neither run ends before it is killed.
    let faults = "latency=200ms..300ms,import.lost-after=x1";
    let (scene, canaries) = scene(Config { faults: faults.parse().unwrap(), ..sandbox(20) });
    for imported in [3, 9] {
        let mut running = Running::of(&scene, imported);
        // Of a ledger on a server there is no such folder.
        std::fs::create_dir_all(scene.path("state")).unwrap();
        scene.run(&["ledger", "backup", &format!("state/{imported}.db")]).exits(0);
        running.0.kill().unwrap();
        assert_eq!(end_of(&mut running.0).signal(), Some(9));
        let files = scene.bytes_under("state");
        // A server keeps its own.
        let log = files.iter().find(|(path, _)| path.to_string_lossy().ends_with("ledger.db-wal"));
        assert!(
            is_postgres() || log.is_some_and(|(_, bytes)| !bytes.is_empty()),
            "the log of the killed run is there: {:?}",
            files.keys()
        );
        canaries.assert_unwritten(&scene, &GIVEN);
    }
    // What the log held goes into the file.
    scene.apply().exits(0);
    canaries.assert_unwritten(&scene, &GIVEN);
}

#[test]
fn promise_5_a_running_apply_shows_no_secret_in_its_command_line() {
    let (scene, canaries) = scene(Config { faults: "import.latency=200ms".parse().unwrap(), ..sandbox(10) });
    let running = Running::of(&scene, 0);
    let line = running.proc("cmdline");
    assert!(!line.is_empty());
    canaries.assert_not_in("the command line", &line);
}

/// A secret in an argument stands in everyone's process list and in a shell's history.
#[test]
fn promise_5_no_option_takes_a_token_or_a_key() {
    fn check(command: &clap::Command) {
        for option in command.get_arguments() {
            let names =
                [Some(option.get_id().as_str()), option.get_long(), option.get_env().and_then(|env| env.to_str())];
            for name in names.into_iter().flatten().map(str::to_lowercase) {
                for word in ["key", "token", "secret", "password", "credential"] {
                    assert!(!name.contains(word), "{name} of {}", command.get_name());
                }
            }
        }
        command.get_subcommands().for_each(check);
    }
    check(&didit_sync::cli::command());
}

#[test]
#[cfg(target_os = "linux")]
fn promise_5_a_run_leaves_no_core() {
    let (scene, _) = scene(Config { faults: "import.latency=200ms".parse().unwrap(), ..sandbox(10) });
    let running = Running::of(&scene, 0);
    let limits = String::from_utf8(running.proc("limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
}

#[test]
#[cfg(all(debug_assertions, target_os = "linux"))]
fn promise_5_an_abort_leaves_no_core_where_cores_are_wanted() {
    let (mut scene, canaries) = scene(sandbox(1));
    scene.set("DIDIT_SYNC_TEST_STOP_AT", "answered:1");
    let program = scene.command(&["apply", "m.yaml", "--yes"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -c unlimited; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(scene.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let status = end_of(&mut command.spawn().unwrap());
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    canaries.assert_unwritten(&scene, &GIVEN);
}

/// The sandbox's process holds keys, too, and needs no manifest to be looked at.
#[test]
#[cfg(target_os = "linux")]
fn promise_5_others_of_the_same_user_read_neither_memory_nor_environment() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    fs::copy(env!("CARGO_BIN_EXE_didit-sync"), at("didit-sync")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Root may read everything, so both are somebody else then.
    let as_user = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir("/").env("DIDIT_API_KEY", "c4nary");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let readable = |pid: u32, name: &str| {
        let output = run(&mut as_user("head", &["-c", "1", &format!("/proc/{pid}/{name}")])).unwrap();
        output.status.success() && !output.stdout.is_empty()
    };
    let program = at("didit-sync");
    let mut ours =
        Running(as_user(program.to_str().unwrap(), &["sandbox", "--listen", "127.0.0.1:0"]).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(ours.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("export"), "{line}");
    let other = Running(as_user("sleep", &["600"]).spawn().unwrap());
    assert!(readable(other.0.id(), "environ"), "the measure works");
    for name in ["environ", "maps", "mem", "auxv"] {
        assert!(!readable(ours.0.id(), name), "{name}");
    }
}

#[test]
fn promise_5_a_program_that_gives_a_token_is_not_given_the_key() {
    let mut scene = Scene::new(sandbox(2));
    let sources = scene.sources();
    let key = scene.running.api_key();
    let script = |name: &str, token: &str| {
        let path = scene.write(name, &format!("#!/bin/sh\nenv > \"$0.env\"\necho {token}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let entry = |source: Uuid, program: &str| {
        format!("imports: [{{id: a, source_session_id: {source}, share_token: {{exec: [{program}]}}}}]\n")
    };
    let one = script("one.sh", &scene.mint(sources[0].id));
    let two = script("two.sh", &scene.mint(sources[1].id));
    let fetch = script("fetch.sh", &key);
    scene.write("one.yaml", &(scene.head("one") + &entry(sources[0].id, &one)));
    // A program that fetches a key has what it needs for that, whatever that is.
    let text = scene.head("two").replace("{env: DIDIT_API_KEY}", &format!("{{exec: [{fetch}]}}"));
    scene.write("two.yaml", &(text + &entry(sources[1].id, &two)));
    scene.set("SOURCE_KEY", "of the partner");
    scene.run(&["apply", "one.yaml", "--yes", "--allow-exec", "--no-verify"]).exits(0);
    scene.run(&["apply", "two.yaml", "--yes", "--allow-exec", "--no-verify"]).exits(0);
    let given = scene.read("one.sh.env");
    assert!(!given.contains(&key) && !given.contains("DIDIT_API_KEY"), "{given}");
    assert!(given.contains("SOURCE_KEY=of the partner"), "{given}");
    for other in ["two.sh.env", "fetch.sh.env"] {
        assert!(scene.read(other).contains("DIDIT_API_KEY="), "no manifest names the variable as a receiver's key");
    }
}
