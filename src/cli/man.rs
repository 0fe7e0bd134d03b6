//! `man`: the man pages, made of the command line's own description.

use std::fs;
use std::io;
use std::path::Path;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::Failure;
use super::args::{Cli, ManArgs};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::explain;

const NAME: &str = "didit-sync";

pub(super) fn run(args: &ManArgs, console: &Console) -> Result<Exit, Failure> {
    let pages =
        pages().map_err(|error| Failure::new(Condition::Internal, format!("no page could be made: {error}")))?;
    let Some(dir) = &args.dir else {
        console.out(&String::from_utf8_lossy(&pages[0].1));
        return Ok(Exit::ok());
    };
    fs::create_dir_all(dir).map_err(|error| Failure::unwritable(dir, &error))?;
    for (name, page) in &pages {
        let path = dir.join(name);
        crate::report::file::write_whole(&path, &String::from_utf8_lossy(page))
            .map_err(|error| Failure::unwritable(&path, &error))?;
    }
    tell(dir, pages.len(), console);
    Ok(Exit::ok())
}

fn tell(dir: &Path, count: usize, console: &Console) {
    console.out(&format!("{count} pages: {}\n", crate::text::inert(&dir.display().to_string())));
}

/// The file and the contents of every page, the main one first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = super::command().disable_help_flag(true);
    command.build();
    let mut found = Vec::new();
    add(&command, NAME, &mut found);
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    found.iter().map(|(name, command)| Ok((format!("{name}.1"), page(name, command, &names)?))).collect()
}

/// A command and those below it, each with the name of its page.
fn add(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((name.to_owned(), command.clone()));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below, &format!("{name}-{}", below.get_name()), found);
    }
}

fn page(name: &str, command: &clap::Command, names: &[String]) -> io::Result<Vec<u8>> {
    let is_main = name == NAME;
    let usage = name.replacen(NAME, "", 1).replace('-', " ");
    let command = command.clone().display_name(name.to_owned()).bin_name(format!("{NAME}{usage}"));
    // No date, so that the same release makes the same bytes; an empty one would be left out, and what follows moved up.
    let source = concat!("didit-sync ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).date(" ").source(source).manual("didit-sync manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if is_main {
        exits().to_writer(&mut page)?;
        variables().to_writer(&mut page)?;
        files().to_writer(&mut page)?;
        examples().to_writer(&mut page)?;
    }
    see_also(name, names).to_writer(&mut page)?;
    Ok(page)
}

/// A section of terms with what each means.
fn terms(title: &str, terms: impl IntoIterator<Item = (String, String)>) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in terms {
        roff.control("TP", []).text([bold(term)]).text([roman(meaning)]);
    }
    roff
}

fn exits() -> Roff {
    let exits = explain::topics().into_iter().filter_map(|topic| {
        let number = topic.number?;
        Some((number.to_string(), format!("{}: {}", topic.code, topic.meaning)))
    });
    let mut roff = terms("EXIT STATUS", exits);
    roff.control("PP", []).text([roman(
        "Where several apply, it is the first of 64, 65, 11, 12, 130 or 143, 1, 10, 69, 6, 7, 4, 3, 5, 8, 2.",
    )]);
    roff
}

fn variables() -> Roff {
    let own = [
        ("DIDIT_API_KEY", "The API key, where a manifest does not say otherwise."),
        ("NO_COLOR", "No colours, where --color does not say otherwise."),
    ];
    let own = own.map(|(name, meaning)| (name.to_owned(), meaning.to_owned()));
    let mut roff = terms("ENVIRONMENT", own.into_iter().chain(Cli::twins()));
    roff.control("PP", []).text([roman("An option beats its variable, and a variable the manifest.")]);
    roff
}

fn files() -> Roff {
    let files = [
        (
            "state/ledger.db",
            "The ledger: what was done. Beside it, while it is in use, its log (-wal, -shm) and locks.",
        ),
        ("manifests/NAME.yaml", "Where init writes a manifest."),
    ];
    terms("FILES", files.map(|(file, meaning)| (file.to_owned(), meaning.to_owned())))
}

fn examples() -> Roff {
    let examples = [
        ("didit-sync demo", "The whole job against an embedded stand-in for Didit."),
        ("didit-sync doctor manifests/acme.yaml", "Whether all is ready."),
        ("didit-sync plan manifests/acme.yaml", "What apply would do."),
        ("didit-sync apply manifests/acme.yaml --yes --report remint=tokens.csv", "Import, and list the dead tokens."),
        ("didit-sync audit --report markdown=audit.md", "Check all imported sessions again."),
        ("didit-sync explain token_expired", "What a code means."),
    ];
    terms("EXAMPLES", examples.map(|(line, meaning)| (line.to_owned(), meaning.to_owned())))
}

/// From the main page to all, from the others back, and to those below.
fn see_also(name: &str, names: &[String]) -> Roff {
    let is_near =
        |other: &&String| *other != name && (name == NAME || *other == NAME || other.starts_with(&format!("{name}-")));
    let near: Vec<&String> = names.iter().filter(is_near).collect();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (at, other) in near.iter().enumerate() {
        let end = if at + 1 == near.len() { "(1)" } else { "(1), " };
        words.extend([bold(other.as_str()), roman(end)]);
    }
    roff.text(words);
    if name != NAME {
        roff.control("PP", []).text([roman("Exit status, environment and files: see "), italic(NAME), roman("(1).")]);
    }
    roff
}
