//! Completions, loaded into the shells that are there and used in them.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::support::ledger::is_postgres;
use crate::support::{Scene, patience, sandbox};

/// A scene with imported entries, of which one has a label that shells would take apart, and the scripts.
fn scene() -> Scene {
    let scene = Scene::new(sandbox(3));
    let text = scene.manifest("acme").replace("id: e02,", "id: \"$(touch hacked) `touch hacked`;'\\\"\",");
    scene.write("m.yaml", &text);
    scene.apply().exits(0);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        scene.write(shell, &scene.run(&["completions", shell]).exits(0).stdout);
    }
    scene
}

/// What a shell offers by a script of its own; `None`, said plainly, where there is no such shell.
fn offered(scene: &Scene, shell: &str, script: &str) -> Option<Vec<String>> {
    let program = Path::new(env!("CARGO_BIN_EXE_didit-sync"));
    let folder = program.parent().unwrap().display();
    let mut command = Command::new(shell);
    command.args(["-c", script]).env_clear().current_dir(scene.path(""));
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("HOME", scene.path("")).env("TERM", "dumb");
    scene.tell_ledger(&mut command);
    let Ok(ended) = patience::run(&mut command) else {
        let _ = writeln!(std::io::stderr(), "LEFT OUT: {shell} is not installed, so its completions are not tried");
        return None;
    };
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    Some(String::from_utf8(ended.stdout).unwrap().lines().map(|it| it.trim_end().to_owned()).collect())
}

/// Lines to complete, each the words and what is offered first and among the rest.
fn assert_offers(scene: &Scene, shell: &str, script: impl Fn(&str) -> String) {
    let source = scene.sources()[2].id.to_string();
    for (line, expected) in [
        ("stat", &["status"][..]),
        ("ledger ", &["adopt", "forget", "erase", "check", "backup", "move"]),
        ("status e", &["e00", "e01"]),
        ("status ", &["e00", "e01", &source]),
        ("apply m.yaml --only e0", &["e00", "e01"]),
        ("audit --accept a", &["all"]),
        ("ledger forget ", &["e00", &source]),
        ("ledger erase e", &["e01"]),
        ("report ", &["1"]),
        ("explain unknown-k", &["unknown-key"]),
        ("schema --output ", &["plan", "error", "backup"]),
        ("plan m", &["m.yaml"]),
        ("plan --json --det", &["--detailed-exitcode"]),
    ] {
        let Some(found) = offered(scene, shell, &script(line)) else { return };
        for word in expected {
            assert!(found.iter().any(|it| it == word), "{shell}: `{line}` offers no {word}: {found:?}");
        }
        assert!(!found.iter().any(|it| it.contains("hacked")), "{found:?}");
    }
    assert!(!scene.path("hacked").exists());
    // Without a ledger nothing is offered, nothing said and nothing made.
    for ledger in ["none/l.db", "m.yaml"] {
        let found = offered(scene, shell, &script(&format!("status --ledger {ledger} e0"))).unwrap_or_default();
        assert!(found.iter().all(String::is_empty), "{found:?}");
    }
    assert!(!scene.path("none").exists());
}

#[test]
fn bash_completes_commands_entries_and_runs() {
    assert_offers(&scene(), "bash", |line| {
        format!(
            "source ./bash; COMP_LINE='didit-sync {line}'; read -ra COMP_WORDS <<< \"$COMP_LINE\"\n\
             [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9\n\
             _clap_complete_didit_sync didit-sync \"${{COMP_WORDS[COMP_CWORD]}}\" x 2>&1\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
    });
}

#[test]
fn zsh_completes_commands_entries_and_runs() {
    // The functions that its completion system would lend, replaced by ones that tell.
    assert_offers(&scene(), "zsh", |line| {
        format!(
            "compdef() {{ :; }}\n_describe() {{ local -a all=(\"${{(@P)3}}\"); for it in $all; do print -r -- ${{it%%:*}}; done }}\n\
             source ./zsh; line='didit-sync {line}'; words=(${{=line}}); [[ $line == *' ' ]] && words+=('')\n\
             CURRENT=${{#words}}; _clap_dynamic_completer_didit_sync"
        )
    });
}

#[test]
fn fish_completes_commands_entries_and_runs() {
    assert_offers(&scene(), "fish", |line| {
        format!("source ./fish; complete -C 'didit-sync {line}' | string replace -r '\\t.*' ''")
    });
}

#[test]
fn completing_changes_no_ledger_and_says_nothing_of_what_is_wrong() {
    let mut scene = scene();
    let before = scene.bytes_under("state");
    scene.set("DIDIT_SYNC_COMPLETE", "fish");
    let found = scene.run(&["--", "didit-sync", "status", ""]).exits(0);
    assert!(
        found.stdout.starts_with(&format!("{}\timported\ne00\timported\ne01\t", scene.sources()[2].id))
            && found.stderr.is_empty(),
        "{found:?}"
    );
    scene.assert_unchanged("state", &before);
    for (shell, words) in
        [("fish", &["--", "didit-sync", "no-such", "--x", ""][..]), ("no-such-shell", &["--", "didit-sync", ""])]
    {
        scene.set("DIDIT_SYNC_COMPLETE", shell);
        assert!(scene.run(words).exits(0).stderr.is_empty());
    }
    if is_postgres() {
        return;
    }
    scene.write("state/ledger.db", "no ledger");
    scene.set("DIDIT_SYNC_COMPLETE", "fish");
    let found = scene.run(&["--", "didit-sync", "status", ""]).exits(0);
    assert!(!found.stdout.contains("e00") && found.stderr.is_empty(), "{found:?}");
}
