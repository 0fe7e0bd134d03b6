//! What pages state and the code decides.

use std::collections::BTreeSet;
use std::fs;

use didit_sync::cli::args::Cli;

use super::page::{Page, pages, root};

/// The modules that `lib.rs` declares, and the folders and files of `src`.
#[test]
fn the_architecture_names_every_module_and_no_other() {
    let page = Page::read("docs/architecture.md");
    let rows = page.text.lines().filter_map(|line| line.strip_prefix("| [`src/"));
    let told: BTreeSet<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    let there: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "snapshots")
        .map(|entry| {
            let end = if entry.path().is_dir() { "/" } else { "" };
            entry.file_name().into_string().unwrap() + end
        })
        .collect();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    assert_eq!(told, there);
}

/// A command of the program, as words, up to where only a shell goes on; `None` where there is none.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.split(" #").next().unwrap().trim();
    let at = line.find("didit-sync ")?;
    let is_command = at == 0 || line[..at].ends_with(' ') || line[..at].ends_with('/') || line[..at].ends_with('(');
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line[at..].chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => quote = Some(c),
            ('|' | '>' | ';' | '&' | ')', None) => break,
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, None) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    // What stands for something that has a form.
    for (name, example) in [("SESSION_ID", "11111111-2222-3333-4444-555555555555"), ("SHELL", "bash")] {
        words.iter_mut().filter(|word| *word == name).for_each(|word| example.clone_into(word));
    }
    (is_command && quote.is_none()).then_some(words)
}

#[test]
fn the_program_understands_every_command_of_the_pages() {
    let mut tried = 0;
    for page in pages() {
        let scripts = page.blocks_of("sh").map(|block| block.text.replace("\\\n", " "));
        let lines = scripts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let spans = page.spans.iter().filter(|span| span.starts_with("didit-sync ")).cloned();
        let lines: Vec<String> = lines.chain(spans).collect();
        for words in lines.iter().filter_map(|line| words(line)) {
            let words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
            if let Err(error) = Cli::read(&words, |_| None) {
                use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                let is_asked = matches!(error.kind(), DisplayHelp | DisplayVersion);
                assert!(is_asked, "{}: {words:?}\n{error}", page.path.display());
            }
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn the_changelog_knows_this_version() {
    let page = Page::read("CHANGELOG.md");
    assert!(page.text.contains(&format!("\n## [{}]", env!("CARGO_PKG_VERSION"))), "no section of this version");
}
