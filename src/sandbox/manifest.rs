//! Writes a manifest for a running sandbox, with a fresh token for every session that the partner can share.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::SignedDuration;

use crate::token::SessionKind;

use super::{Config, Error, MintOptions, Running};

/// Writes a version-1 manifest that imports every shareable source session, with tokens that live 24 hours. The file
/// holds tokens, so only its owner may read it; an existing file is never overwritten.
pub fn write_manifest(running: &Running, path: &Path) -> Result<(), Error> {
    let text = render(running)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::ManifestExists(path.to_owned()),
        _ => Error::Manifest { path: path.to_owned(), source },
    };
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(failed)
}

fn render(running: &Running) -> Result<String, Error> {
    let mut text = format!(
        "# Written by `didit-sync sandbox`. The share tokens below are secrets and live 24 hours.\n\
         version: 1\n\
         name: sandbox\n\
         application:\n  id: {}\n  base_url: {}\n  api_key: {{env: DIDIT_API_KEY}}\n\
         defaults:\n  workflow_id: {{user: {}, business: {}}}\n  trust_review: false\n  \
         vendor_data: \"acme-{{source_session_id}}\"\n",
        running.application_id(),
        running.base_url(),
        running.workflow(SessionKind::User),
        running.workflow(SessionKind::Business),
    );
    text.push_str(&limits(running.config()));
    let world = running.world();
    let options = MintOptions { ttl: SignedDuration::from_hours(24), ..MintOptions::default() };
    let shareable: Vec<_> = world.sources().into_iter().filter(|source| source.status.is_shareable()).collect();
    text.push_str(if shareable.is_empty() { "imports: []\n" } else { "imports:\n" });
    for source in shareable {
        let token = world.mint(source.id, options)?;
        // Writing to a String does not fail.
        let _ = writeln!(text, "  # {} {}, {}\n  - share_token: {token}", source.kind, source.id, source.status);
    }
    Ok(text)
}

/// The sandbox's limits, where they are not the documented ones.
fn limits(config: &Config) -> String {
    let usual = Config::default();
    let line = |name: &str, limit: u32, usual: u32| match limit {
        0 => String::new(),
        limit if limit == usual => String::new(),
        limit => format!("  {name}: {limit}\n"),
    };
    let lines = line("writes_per_minute", config.writes_per_minute, usual.writes_per_minute)
        + &line("reads_per_minute", config.reads_per_minute, usual.reads_per_minute);
    if lines.is_empty() { lines } else { format!("limits:\n{lines}") }
}
