//! Completions. For bash, zsh and fish the script that `completions` prints asks the program itself, by
//! `DIDIT_SYNC_COMPLETE=SHELL didit-sync -- WORDS`, so that entries and runs of the ledger are offered, too. The others'
//! know commands and options alone: in `PowerShell`, a line would be evaluated that nobody has entered yet.
//!
//! A ledger is only read, and never made; what can't be had is not offered, and nothing is said. Of foreign texts those
//! are offered that mean nothing to any shell; the others' entries go by their source session.

use std::ffi::{OsStr, OsString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use crate::console::Console;
use crate::exit::Exit;
use crate::explain;
use crate::ledger::records::{Record, Run, State};
use crate::ledger::{Location, Reader};

/// The variable by which a script asks, with its shell's name.
const VARIABLE: &str = "DIDIT_SYNC_COMPLETE";

/// More than this many nobody reads.
const MOST: usize = 200;

/// Prints the script for a shell.
pub(super) fn script(shell: Shell, console: &Console) -> Exit {
    let (name, mut script) = ("didit-sync", Vec::new());
    let shells = Shells::builtins();
    let dynamic =
        shells.completer(&shell.to_string()).filter(|_| matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish));
    // Writing to memory does not fail.
    let written = dynamic.is_some_and(|it| it.write_registration(VARIABLE, name, name, name, &mut script).is_ok());
    if !written {
        clap_complete::generate(shell, &mut super::command(), name, &mut script);
    }
    console.out(&String::from_utf8_lossy(&script));
    Exit::ok()
}

/// What a script asks for, if one asks; else `None`.
pub(super) fn answer(arguments: &[OsString], env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let shell = env(VARIABLE).filter(|shell| !shell.is_empty())?;
    std::panic::set_hook(Box::new(|_| ()));
    let answered = catch_unwind(AssertUnwindSafe(|| candidates(&shell, arguments, &env)));
    Some(answered.ok().flatten().unwrap_or_default())
}

fn candidates(shell: &OsStr, arguments: &[OsString], env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell.to_str()?)?;
    let words: Vec<OsString> = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let mut command = with_values(super::command(), location(&words, env).as_ref());
    command.build();
    let mut found = Vec::new();
    shell.write_complete(&mut command, words, std::env::current_dir().ok().as_deref(), &mut found).ok()?;
    String::from_utf8(found).ok()
}

/// The ledger that a line names.
fn location(words: &[OsString], env: &dyn Fn(&str) -> Option<OsString>) -> Option<Location> {
    let mut path = env("DIDIT_SYNC_LEDGER").map_or_else(|| PathBuf::from("state/ledger.db"), PathBuf::from);
    for (at, word) in words.iter().enumerate() {
        if word == "--ledger" {
            path = words.get(at + 1).map_or(path, PathBuf::from);
        } else if let Some(given) = word.to_str().and_then(|word| word.strip_prefix("--ledger=")) {
            path = PathBuf::from(given);
        }
    }
    let allow = |word: &OsString| word == "--allow-network-fs";
    let allow_network_fs = words.iter().any(allow) || env("DIDIT_SYNC_ALLOW_NETWORK_FS").is_some();
    Location::parse(&path, allow_network_fs, env).ok()
}

/// The command line, with values to offer.
fn with_values(command: clap::Command, location: Option<&Location>) -> clap::Command {
    let entries = |keep: fn(&Record) -> bool, all: bool| {
        let location = location.cloned();
        ArgValueCompleter::new(move |begun: &OsStr| entries(location.as_ref(), begun, keep, all))
    };
    let runs = {
        let location = location.cloned();
        ArgValueCompleter::new(move |begun: &OsStr| runs(location.as_ref(), begun))
    };
    let with = |command: clap::Command, path: &[&'static str], arg: &'static str, values: ArgValueCompleter| match path
    {
        [one] => command.mut_subcommand(*one, |command| command.mut_arg(arg, |arg| arg.add(values))),
        path => {
            let (outer, inner) = (path[0], path[1]);
            command.mut_subcommand(outer, |it| it.mut_subcommand(inner, |it| it.mut_arg(arg, |arg| arg.add(values))))
        }
    };
    let imported: fn(&Record) -> bool = |record| record.state == State::Imported;
    let open: fn(&Record) -> bool = |record| matches!(record.state, State::Unknown | State::Sending);
    let there: fn(&Record) -> bool = |record| record.state != State::Erased;
    let mut command = with(command, &["status"], "ids", entries(|_| true, false));
    command = with(command, &["apply"], "only", entries(there, false));
    command = with(command, &["audit"], "accept", entries(imported, true));
    command = with(command, &["ledger", "adopt"], "id", entries(open, false));
    command = with(command, &["ledger", "forget"], "ids", entries(there, false));
    command = with(command, &["ledger", "erase"], "ids", entries(there, false));
    command = with(command, &["report"], "run", runs);
    with(command, &["explain"], "code", ArgValueCompleter::new(codes))
}

fn entries(
    location: Option<&Location>,
    begun: &OsStr,
    keep: fn(&Record) -> bool,
    all: bool,
) -> Vec<CompletionCandidate> {
    let reader = location.and_then(|location| Reader::open(location).ok().flatten());
    let mut records = reader.and_then(|reader| reader.records().ok()).unwrap_or_default();
    records.sort_by(|a, b| a.label.cmp(&b.label));
    let all = all.then(|| ("all".to_owned(), "every entry".to_owned()));
    let named = records.iter().filter(|record| keep(record)).filter_map(|it| Some((name(it)?, it.state.to_string())));
    offered(all.into_iter().chain(named), begun)
}

/// What an entry is called, if it can be written into any shell as it is.
fn name(record: &Record) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    let label = &record.label;
    if !label.is_empty() && !label.starts_with('-') && label.chars().all(is_plain) {
        return Some(label.clone());
    }
    record.source_session_id.map(|id| id.to_string())
}

fn runs(location: Option<&Location>, begun: &OsStr) -> Vec<CompletionCandidate> {
    let reader = location.and_then(|location| Reader::open(location).ok().flatten());
    let runs = reader.and_then(|reader| reader.runs().ok()).unwrap_or_default();
    let told = |run: &Run| (run.id.0.to_string(), format!("{} at {:.0}", run.command, run.started_at));
    offered(runs.iter().rev().map(told), begun)
}

fn codes(begun: &OsStr) -> Vec<CompletionCandidate> {
    offered(explain::topics().into_iter().map(|topic| (topic.code, topic.meaning)), begun)
}

fn offered(values: impl Iterator<Item = (String, String)>, begun: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begun) = begun.to_str() else { return Vec::new() };
    let fitting = values.filter(|(value, _)| value.starts_with(begun)).take(MOST);
    fitting.map(|(value, help)| CompletionCandidate::new(value).help(Some(StyledStr::from(help)))).collect()
}
