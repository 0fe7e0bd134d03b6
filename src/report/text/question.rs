//! What is told before `yes`: what will be imported into which application, under which key, from which manifests.

use std::fmt::Write as _;

use super::plan::time;
use super::sheet::wrapped;
use super::short;
use crate::console::{Style, paint};
use crate::manifest::Manifest;
use crate::plan::{Action, Forecast, Item};
use crate::text::inert;
use crate::token::Fingerprint;

/// What is to be sent for one manifest.
#[derive(Clone, Debug)]
pub struct Share<'m> {
    /// The manifest.
    pub manifest: &'m Manifest,
    /// The key's fingerprint.
    pub key: Fingerprint,
    /// What is to be sent.
    pub items: Vec<&'m Item>,
}

/// What is about to happen. `limit`: `--limit`, where it leaves something out.
#[must_use]
pub fn question(shares: &[Share<'_>], forecast: Forecast, limit: Option<u64>, style: Style) -> String {
    let all: usize = shares.iter().map(|share| share.items.len()).sum();
    let trusted: usize = shares.iter().map(|share| trusted(&share.items)).sum();
    let most = limit.map_or_else(String::new, |limit| format!(" (--limit: at most {limit} of them)"));
    let mut out =
        wrapped(&format!("This imports {}{most} and takes {}.", counted_entries(all), time(forecast)), style.width, 0);
    if trusted > 0 {
        let note = format!("{trusted} of them TRUSTED: they take over the partner's status.");
        out += &paint(style.color, "1;33", wrapped(&note, style.width, 2).trim_end());
        out += "\n";
    }
    for share in shares {
        let mut line = |indent: usize, words: String| out += &wrapped(&words, style.width, indent);
        let application = &share.manifest.application;
        line(2, format!("into application {} at {}", short(application.id), inert(&application.base())));
        line(4, format!("with the key {}, fingerprint {}", inert(&application.api_key.describe()), share.key));
        let mut from =
            format!("from {} ({}): {}", share.manifest.name, inert(&share.manifest.path), parts(&share.items));
        let trusted = self::trusted(&share.items);
        if trusted > 0 {
            let _ = write!(from, ", {trusted} trusted");
        }
        line(4, from);
    }
    out
}

/// `40 to import, 2 to retry`.
fn parts(items: &[&Item]) -> String {
    let parts = [Action::Recover, Action::Import, Action::Retry].into_iter().filter_map(|action| {
        let count = items.iter().filter(|item| item.action == action).count();
        (count > 0).then(|| format!("{count} to {action}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn counted_entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn trusted(items: &[&Item]) -> usize {
    items.iter().filter(|item| item.trust_review == Some(true) && item.action != Action::Recover).count()
}
