//! What is generated in the pages.

use std::fs;

use super::page::root;
use super::{cli, codes, manifest};

const END: &str = "<!-- end generated -->";

#[test]
fn what_is_generated_is_up_to_date() {
    holds("docs/cli.md", "commands", &cli::commands());
    holds("docs/cli.md", "exits", &cli::exits());
    holds("docs/manifest.md", "keys", &manifest::keys());
    holds("docs/codes.md", "codes", &codes::codes());
}

/// Asserts that a page has this text between its marks, or writes it there.
fn holds(page: &str, name: &str, text: &str) {
    let path = root().join(page);
    let stored = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = stored.split_once(&begin).unwrap_or_else(|| panic!("{page} has no `{name}`"));
    let (old, after) = rest.split_once(END).unwrap_or_else(|| panic!("{page} does not end `{name}`"));
    let new = format!("\n{}\n\n", text.trim());
    if old == new {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{page} is stale: UPDATE_DOCS=1 cargo test --test main docs::generated"
    );
    fs::write(&path, format!("{before}{begin}{new}{END}{after}")).unwrap();
}
