//! What `--json` prints: one document in every case, each with a schema that the program prints, and what becomes of it
//! where stdout is full or nobody reads it. That each document of the suite is as its schema says is checked where the
//! tests read them (`support::schemas`).

use std::fs::OpenOptions;
use std::process::Stdio;

use clap::ValueEnum as _;
use didit_sync::cli;
use didit_sync::report::schema::Output as Schema;
use didit_sync::sandbox::Config;
use serde_json::Value;

use crate::support::ledger::is_postgres;
use crate::support::schemas::validator;
use crate::support::{Folder, Output, Scene, output_of, sandbox};

/// A command that prints the document, in a folder where an apply went before.
fn prints(schema: Schema) -> &'static [&'static str] {
    match schema {
        Schema::Plan => &["plan", "m.yaml"],
        Schema::Apply => &["apply", "m.yaml", "--yes"],
        Schema::Audit => &["audit"],
        Schema::Status => &["status"],
        Schema::Error => &["validate", "none.yaml"],
        Schema::Validate => &["validate", "m.yaml"],
        Schema::Runs => &["report", "--list"],
        Schema::Period => &["report", "--since", "2020-01-01"],
        Schema::Doctor => &["doctor", "m.yaml"],
        Schema::Explain => &["explain"],
        Schema::Check => &["ledger", "check"],
        Schema::Backup => &["ledger", "backup", "b.db"],
        Schema::Move => &["ledger", "move", "--to", "moved.db"],
    }
}

fn name(schema: Schema) -> String {
    schema.to_possible_value().unwrap().get_name().to_owned()
}

#[test]
fn every_document_is_printed_by_a_command_and_its_schema_by_schema() {
    let scene = Scene::new(sandbox(3));
    scene.write_all();
    scene.apply().exits(0);
    // A server has its own backups.
    let printed = |output: &&Schema| !(is_postgres() && **output == Schema::Backup);
    for output in Schema::value_variants().iter().filter(printed) {
        let document = scene.run(&[prints(*output), &["--json"]].concat()).json();
        assert_eq!(document["format"], output.format(), "{document:#}");
        let printed = scene.run(&["schema", "--output", &name(*output)]).exits(0);
        let schema: Value = serde_json::from_str(&printed.stdout).unwrap();
        assert_eq!(schema, cli::schema::of(*output));
        let validator = validator(&schema);
        assert!(validator.is_valid(&document));
        // A key more, a key less, another format: each is told.
        for harm in [
            |it: &mut Value| it["more"] = 1.into(),
            |it: &mut Value| drop(it.as_object_mut().unwrap().shift_remove("exit")),
            |it: &mut Value| it["format"] = "didit-sync/other.v1".into(),
        ] {
            let mut harmed = document.clone();
            harm(&mut harmed);
            assert!(!validator.is_valid(&harmed), "{harmed:#}");
        }
    }
    scene.run(&["schema", "--output", "nonsense"]).exits(64);
}

#[test]
fn with_json_wherever_it_stands_a_wrong_flag_is_told_in_a_document() {
    let folder = Folder::new();
    for args in [
        &["--json"][..],
        &["--json", "plan"],
        &["plan", "--json"],
        &["plan", "--json", "--no-such-flag", "m.yaml"],
        &["ledger", "--json"],
        &["ledger", "adopt", "--json"],
        &["report", "--since", "yesterday", "--json"],
        &["schema", "--output", "--json"],
        &["demo", "--json"],
        &["no-such-command", "--json"],
    ] {
        let document = folder.run(args).exits(64).json();
        assert_eq!(document["format"], "didit-sync/error.v1", "{args:?}");
    }
}

fn run_into(folder: &Folder, args: &[&str], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let child = folder.command(args).stdout(stdout).spawn().unwrap();
    let ended = output_of(child);
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(!stderr.contains("panicked") && !stderr.contains("has a bug"), "{stderr}");
    (ended.status.code(), stderr)
}

#[test]
fn a_stdout_that_is_full_is_an_error_and_what_was_done_is_on_record() {
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [
        &["validate", "m.yaml", "--json"][..],
        &["plan", "m.yaml", "--json"],
        &["plan", "m.yaml"],
        &["apply", "m.yaml", "--yes", "--json"],
        &["status"],
        &["report", "--json"],
        &["schema"],
        &["explain"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let (code, stderr) = run_into(&scene, args, full());
        assert_eq!(code, Some(1), "{args:?} {stderr}");
        assert!(stderr.contains("error: stdout can't be written: ") && stderr.contains("report"), "{args:?} {stderr}");
    }
    // What weighs more stays the exit.
    assert_eq!(run_into(&scene, &["plan", "--json"], full()).0, Some(64));
    assert_eq!(run_into(&scene, &["plan", "none.yaml", "--json"], full()).0, Some(65));
    // The apply imported all the same, once.
    assert_eq!(scene.world.imported().len(), 2);
    assert_eq!(scene.apply().exits(0).json()["summary"]["unchanged"], 2);
}

#[test]
fn a_reader_that_goes_away_stops_nothing_and_changes_no_exit() {
    let scene = Scene::new(Config { faults: "import.latency=50ms".parse().unwrap(), ..sandbox(2) });
    scene.write_all();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for (args, code) in [
        (&["plan", "m.yaml", "--json", "--detailed-exitcode"][..], 2),
        (&["apply", "m.yaml", "--yes", "--json"], 0),
        (&["status", "--json"], 0),
        (&["explain"], 0),
        (&["plan", "--json"], 64),
        (&["plan", "none.yaml", "--json"], 65),
    ] {
        let (ended, stderr) = run_into(&scene, args, closed());
        assert_eq!(ended, Some(code), "{args:?} {stderr}");
    }
    assert_eq!(scene.world.imported().len(), 2);
    // Nor does a stderr that nobody reads.
    let child = scene.command(&["plan", "none.yaml", "--json"]).stderr(closed()).spawn().unwrap();
    Output::of(child).exits(65).json();
}
