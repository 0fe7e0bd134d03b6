//! The reference of the commands, from clap's description of them.
//!
//! Made here, since what is asked for fits no crate: the environment twins beside their options, and what holds
//! everywhere once and not below each command.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Arg, Command};
use didit_sync::cli::args::Cli;
use didit_sync::explain;

/// Every command with its usage, arguments and options.
pub fn commands() -> String {
    let mut command = didit_sync::cli::command();
    command.build();
    let twins = Cli::twins();
    let mut out = String::new();
    for below in visible(&command) {
        add(below, &twins, &mut out);
    }
    let _ = write!(out, "## Everywhere\n\nOptions of every command.\n\n");
    table(command.get_arguments().filter(|arg| arg.is_global_set() && !is_clap(arg)), &twins, &mut out);
    out
}

/// The exits, from the weightiest of `explain`'s texts.
pub fn exits() -> String {
    let mut out = "| exit | name | meaning |\n| --- | --- | --- |\n".to_owned();
    for topic in explain::topics() {
        if let Some(number) = topic.number {
            let _ = writeln!(out, "| {number} | {} | {} |", topic.code, cell(&topic.meaning));
        }
    }
    out
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
}

fn is_clap(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn add(command: &Command, twins: &BTreeMap<String, String>, out: &mut String) {
    if command.has_subcommands() {
        visible(command).for_each(|below| add(below, twins, out));
        return;
    }
    let name = command.get_bin_name().unwrap().trim_start_matches("didit-sync ");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(out, "## {name}\n\n{}.\n\n```text\n{usage}\n```\n\n", about.trim_end_matches('.'));
    table(command.get_arguments().filter(|arg| !arg.is_global_set() && !is_clap(arg)), twins, out);
}

fn table<'a>(args: impl Iterator<Item = &'a Arg>, twins: &BTreeMap<String, String>, out: &mut String) {
    let rows: Vec<String> = args.map(|arg| row(arg, twins)).collect();
    if !rows.is_empty() {
        let head = "| option | environment | default | what it is |\n| --- | --- | --- | --- |";
        let _ = write!(out, "{head}\n{}\n\n", rows.join("\n"));
    }
}

fn row(arg: &Arg, twins: &BTreeMap<String, String>) -> String {
    let twin = arg.get_long().map(|long| format!("DIDIT_SYNC_{}", long.to_uppercase().replace('-', "_")));
    let twin = twin.filter(|twin| twins.contains_key(twin));
    if let Some(named) = arg.get_env() {
        assert_eq!(twin.as_deref(), named.to_str(), "a twin has its option's name");
    }
    let takes_value = arg.get_action().takes_values();
    let default = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
    let default = if takes_value && !default.is_empty() { format!("`{default}`") } else { String::new() };
    let twin = twin.map(|twin| format!("`{twin}`")).unwrap_or_default();
    format!("| `{}` | {twin} | {default} | {} |", cell(&form(arg)), cell(&help(arg)))
}

/// `-y, --yes`, `--limit N`, `MANIFEST`.
fn form(arg: &Arg) -> String {
    let value = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => format!("{short}--{long} {value}"),
        Some(long) => format!("{short}--{long}"),
        None => value,
    }
}

fn help(arg: &Arg) -> String {
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if !help.ends_with('.') {
        help.push('.');
    }
    let hidden = !arg.get_action().takes_values();
    let values = arg.get_possible_values();
    if !hidden && !values.is_empty() {
        let values = values.iter().map(|value| {
            let meaning = value.get_help().map(|it| format!(" ({})", it.to_string().trim_end_matches('.')));
            format!("`{}`{}", value.get_name(), meaning.unwrap_or_default())
        });
        let _ = write!(help, " One of {}.", values.collect::<Vec<_>>().join(", "));
    }
    help
}

/// Text that ends no cell.
pub fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
