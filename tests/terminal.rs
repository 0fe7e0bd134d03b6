//! What a person sees on a terminal: the question, bars beside log lines, colours, and what SIGUSR1 answers.

use didit_sync::sandbox::Config;
use rustix::process::Signal;

use crate::support::terminal::run;
use crate::support::{Canaries, Output, Scene, sandbox, signal, wait_for};

const QUESTION: &str = "Only `yes` does:";

#[test]
fn the_question_tells_what_will_be_imported_where_and_under_which_key_and_only_yes_carries_it_out() {
    let scene = Scene::new(sandbox(3));
    let (one, other) = (scene.manifest("acme"), scene.head("rest"));
    let trusted = one.replacen("share_token:", "trust_review: true, share_token:", 1);
    let (first, last) = trusted.trim_end().rsplit_once('\n').unwrap();
    scene.write("m.yaml", &format!("{first}\n"));
    scene.write(
        "n.yaml",
        &format!("{}imports:\n{last}\n", other.replace(&scene.running.base_url(), "http://localhost:1")),
    );
    let app = scene.running.application_id();
    for answer in ["", "y", "no"] {
        let seen = run(&mut scene.command(&["apply", "m.yaml", "n.yaml"]), (60, 100), QUESTION, answer);
        assert_eq!((seen.code, scene.world.counts().requests), (Some(8), 0), "{:#?}", seen.lines);
        let told = seen.lines.join("\n");
        let told = &told[told.find("This imports").unwrap()..];
        let key = told.split_once("fingerprint ").unwrap().1[..8].to_owned();
        assert!(key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        for line in [
            "This imports 3 entries and takes a few seconds.".to_owned(),
            "  1 of them TRUSTED: they take over the partner's status.".to_owned(),
            format!("  into application {app} at {}", scene.running.base_url().trim_end_matches('/')),
            format!("  into application {app} at http://localhost:1"),
            format!("    with the key env:DIDIT_API_KEY, fingerprint {key}"),
            "    from acme (m.yaml): 2 to import, 1 trusted".to_owned(),
            "    from rest (n.yaml): 1 to import".to_owned(),
        ] {
            assert!(told.lines().any(|told| told == line), "{line:?} is not in\n{told}");
        }
        Canaries::new(&[], &[&scene.running.api_key()]).assert_not_in("the terminal", &seen.bytes);
    }
    let only = ["apply", "m.yaml", "--only", "e01", "--color", "never"];
    let seen = run(&mut scene.command(&only), (60, 100), QUESTION, "yes");
    assert!(seen.lines.iter().any(|line| line == "This imports 1 entry and takes a few seconds."), "{:#?}", seen.lines);
    assert_eq!((seen.code, scene.world.imported().len()), (Some(0), 1), "{:#?}", seen.lines);
}

#[test]
fn bars_and_log_lines_share_a_terminal_without_litter_at_any_width() {
    for columns in [40, 80, 200] {
        let faults = "latency=20ms..200ms,import.error-before=10%".parse().unwrap();
        let scene = Scene::new(Config { faults, ..sandbox(12) });
        scene.write_all();
        let mut apply = scene.command(&["apply", "m.yaml", "--yes", "-vv", "--progress", "bars"]);
        let seen = run(apply.env("TERM", "xterm"), (900, columns), "", "");
        assert_eq!(seen.code, Some(0), "{:#?}", seen.lines);
        let drawn = String::from_utf8(seen.bytes).unwrap();
        assert!(drawn.contains("verifying "), "{drawn}");
        assert!(columns < 60 || drawn.contains('█'), "{drawn}");
        let litter: Vec<_> =
            seen.lines.iter().filter(|line| line.contains(['█', '░']) || line.starts_with("verifying")).collect();
        assert!(litter.is_empty(), "{litter:#?}");
        // A line that is wrapped is whole over its rows.
        let text = seen.lines.concat();
        assert_eq!(text.matches("importsent").count() + text.matches("import sent").count(), scene.writes() as usize);
    }
}

#[test]
fn sigusr1_tells_where_a_run_is_and_a_plain_run_writes_no_control_characters() {
    let scene = Scene::new(Config { faults: "import.hang-after=x1".parse().unwrap(), ..sandbox(2) });
    scene.write("m.yaml", &(scene.manifest("acme") + "limits: {concurrency: 1, timeout: 5s}\n"));
    let child = scene.start(&["apply", "m.yaml", "--yes", "-q"]);
    wait_for("an import", || scene.world.imported().len() == 1);
    signal(&child, Signal::USR1);
    let output = Output::of(child).exits(0);
    let told: Vec<&str> = output.stderr.lines().collect();
    assert!(
        matches!(told[..], [line] if line.starts_with("run 1 importing for ") && line.contains("imported 0 of 2")),
        "{told:?}"
    );
    let plain = scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    assert!(!plain.stderr.contains(|c: char| c.is_control() && c != '\n'), "{:?}", plain.stderr);
}

#[test]
fn an_option_for_colour_beats_no_color_and_that_beats_clicolor_force() {
    let scene = Scene::new(sandbox(1));
    scene.write_all();
    let colored = |env: &[(&str, &str)], more: &[&str]| {
        let args = [["plan", "m.yaml"].as_slice(), more].concat();
        let child = scene.command(&args).envs(env.iter().copied()).spawn().unwrap();
        Output::of(child).exits(0).stdout.contains('\x1b')
    };
    let (no, force) = (("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"));
    for (env, more, expected) in [
        (vec![], vec![], false),
        (vec![force], vec![], true),
        (vec![("CLICOLOR_FORCE", "0")], vec![], false),
        (vec![("CLICOLOR_FORCE", "")], vec![], false),
        (vec![no, force], vec![], false),
        (vec![("NO_COLOR", ""), force], vec![], true),
        (vec![no], vec!["--color", "always"], true),
        (vec![force], vec!["--color", "never"], false),
        (vec![no, ("DIDIT_SYNC_COLOR", "always")], vec![], true),
        (vec![("DIDIT_SYNC_COLOR", "always")], vec!["--color", "never"], false),
    ] {
        assert_eq!(colored(&env, &more), expected, "{env:?} {more:?}");
    }
    let on_terminal = |env: &[(&str, &str)]| {
        let mut plan = scene.command(&["plan", "m.yaml"]);
        run(plan.envs(env.iter().copied()), (24, 80), "", "").bytes.contains(&0x1b)
    };
    assert!(on_terminal(&[("TERM", "xterm")]) && !on_terminal(&[("TERM", "dumb")]));
    assert!(!on_terminal(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
}
