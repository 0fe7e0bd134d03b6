//! The pages' blocks `console`, run as they stand.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use didit_sync::sandbox::write_manifest;
use regex::Regex;

use super::page::{Page, root};
use crate::support::{Scene, patience, sandbox};

/// A command with what the page shows of its output.
#[derive(Debug)]
struct Step {
    command: String,
    shown: Vec<String>,
}

#[test]
fn the_readme_does_what_it_shows() {
    play("README.md");
}

#[test]
fn bulk_migration_does_what_it_shows() {
    play("docs/bulk-migration.md");
}

#[test]
fn gitops_does_what_it_shows() {
    play("docs/gitops.md");
}

#[test]
fn nightly_audit_does_what_it_shows() {
    play("docs/nightly-audit.md");
}

#[test]
fn manifest_does_what_it_shows() {
    play("docs/manifest.md");
}

/// The blocks are in no page that no test plays.
#[test]
fn every_session_is_played() {
    let played = ["README.md", "docs/bulk-migration.md", "docs/gitops.md", "docs/manifest.md", "docs/nightly-audit.md"];
    for page in super::page::pages() {
        let is_played = played.iter().any(|path| page.path == Path::new(path));
        assert_eq!(page.blocks_of("console").next().is_some(), is_played, "{}", page.path.display());
    }
}

#[expect(clippy::print_stderr, reason = "what is left out is said")]
fn play(path: &str) {
    let page = Page::read(path);
    let steps: Vec<Step> = page.blocks_of("console").flat_map(|block| steps(&block.text)).collect();
    if page.text.contains("mint.sh") && patience::run(Command::new("curl").arg("--version")).is_err() {
        eprintln!("{path} is left out: there is no curl");
        return;
    }
    let mut config = sandbox(20);
    config.seed = 1;
    let scene = Scene::new(config);
    copy(&root().join("manifests"), &scene.path("manifests"), &scene.running.base_url());
    write_manifest(&scene.running, &scene.path("trial.yaml")).unwrap();
    for block in &page.blocks {
        if let Some(name) = &block.file {
            scene.write(name, &block.text);
        }
    }
    let printed = run(&scene, &steps);
    for (step, printed) in steps.iter().zip(&printed) {
        let printed: Vec<String> = printed.lines().map(plain).collect();
        let shown: Vec<String> = step.shown.iter().map(|line| plain(line)).collect();
        assert!(is_shown(&shown, &printed), "{path}: {}\nshown:\n{shown:#?}\nprinted:\n{printed:#?}", step.command);
    }
}

/// A copy of the examples for the scene's sandbox.
fn copy(from: &Path, to: &Path, base_url: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name();
        // What somebody's own trials left.
        if name.to_string_lossy().starts_with('.') || (from.ends_with("inbox") && name != ".gitignore") {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name), base_url);
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            fs::write(to.join(name), text.replace("http://127.0.0.1:8787", base_url)).unwrap();
        }
    }
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.replace("\\\n", "").lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
            (None, Some(step)) => step.shown.push(line.to_owned()),
            (None, None) => panic!("output before a command: {line}"),
        }
    }
    steps
}

/// One shell runs all; what each step printed, both streams together.
fn run(scene: &Scene, steps: &[Step]) -> Vec<String> {
    const MARK: &str = "@@ next @@";
    let mut script = "exec 2>&1\n".to_owned();
    for step in steps {
        script += &format!("{}\ncode=$?; echo '{MARK}'; (exit $code)\n", step.command);
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_didit-sync")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).current_dir(scene.path("")).env_clear().stdin(Stdio::null());
    shell.env("PATH", path).env("HOME", scene.path("")).envs(scene.running.environment());
    let output = patience::run(&mut shell).unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace(&scene.running.base_url(), "http://127.0.0.1:8787");
    text.split(&format!("{MARK}\n")).map(str::to_owned).collect()
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for (pattern, word) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b[0-9a-f]{8}\b", "HEX"),
        (r"\b\d+m \d+s\b|\b\d+(\.\d+)? s\b", "SPAN"),
        (r" {2,}", "  "),
    ] {
        line = Regex::new(pattern).unwrap().replace_all(&line, word).into_owned();
    }
    line
}

/// Whether the lines are there, in this order and nothing between them but where `...` stands.
fn is_shown(shown: &[String], printed: &[String]) -> bool {
    let Some((first, rest)) = shown.split_first() else { return true };
    if first == "..." {
        return (0..=printed.len()).any(|skipped| is_shown_to_the_end(rest, &printed[skipped..]));
    }
    is_shown_to_the_end(shown, printed)
}

fn is_shown_to_the_end(shown: &[String], printed: &[String]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((first, _)), _) if first == "..." => is_shown(shown, printed),
        (Some((line, shown)), Some((there, printed))) => line == there && is_shown_to_the_end(shown, printed),
        (Some(_), None) => false,
    }
}
