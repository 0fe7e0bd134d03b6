//! What `explain` says, as a page.

use std::fmt::Write as _;

use didit_sync::explain::{Kind, Topic, topics};

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Exit => "Exits",
        Kind::Action => "Actions of a plan",
        Kind::Outcome => "Outcomes of an apply",
        Kind::State => "States of an entry in the ledger",
        Kind::Refusal => "Refusals",
        Kind::Rule => "Rules of verification",
        Kind::Manifest => "Diagnostics of a manifest",
        Kind::Ledger => "Findings of ledger check",
    }
}

/// Every code, by kind.
pub fn codes() -> String {
    let mut out = String::new();
    let mut kind = None;
    for topic in topics() {
        if kind.replace(topic.kind) != Some(topic.kind) {
            let _ = write!(out, "## {}\n\n", title(topic.kind));
        }
        add(&topic, &mut out);
    }
    out
}

fn add(topic: &Topic, out: &mut String) {
    let _ = write!(out, "### `{}`\n\n", topic.code);
    let mut about = topic.number.map_or_else(String::new, |number| format!("Exit {number}. "));
    about += &topic.severity.map_or_else(String::new, |severity| format!("Severity {severity}. "));
    let _ = write!(out, "{about}{}\n\n", topic.meaning);
    if let Some(more) = &topic.more {
        let _ = write!(out, "{more}\n\n");
    }
    for (title, language, lines) in
        [("Wrong:", "yaml", topic.wrong), ("Right:", "yaml", topic.right), ("For example:", "text", topic.example)]
    {
        if let Some(lines) = lines {
            let _ = write!(out, "{title}\n\n```{language}\n{lines}\n```\n\n");
        }
    }
    let _ = write!(out, "What to do: {}\n\n", topic.help);
}
