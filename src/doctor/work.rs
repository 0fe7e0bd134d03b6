//! The work at hand: manifests, their tokens, and the programs that give them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::Check;
use crate::manifest::{Manifest, Manifests, SecretRef};
use crate::plan::{Action, Plan};

/// What lives no longer than this is worth a warning: a run takes its time, and tokens live an hour by default.
const SOON: SignedDuration = SignedDuration::from_mins(10);

/// The manifests, which could be read.
#[must_use]
pub fn manifests(manifests: &Manifests) -> Vec<Check> {
    let check = |manifest: &Manifest| {
        let of = Some(manifest.path.as_str());
        let entries = counted(manifest.entries.len(), "entry", "entries");
        let message = format!("{} is valid, {entries}", manifest.name);
        match manifests.warnings.iter().filter(|warning| warning.file == manifest.path).count() {
            0 => Check::ok("manifest", of, &message),
            n => {
                let message = format!("{message}, {}", counted(n, "warning", "warnings"));
                Check::warning("manifest", of, &message, "`didit-sync validate` shows what is meant")
            }
        }
    };
    manifests.manifests.iter().map(check).collect()
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The tokens that a run would send now.
#[must_use]
pub fn tokens(plan: &Plan, now: Timestamp) -> Check {
    let name = "tokens";
    let (expired, missing) = (plan.count(Action::Expired), plan.count(Action::NeedsToken));
    let pending = plan.pending();
    let ends = plan.items.iter().filter(|item| item.action.is_pending()).filter_map(|item| item.expires_at);
    let soon = ends.filter(|end| end.duration_since(now) < SOON).count();
    let late = plan.forecast.expire_before_turn;
    let told: Vec<String> = [
        (expired, "expired"),
        (missing, "missing"),
        (late, "expiring before their turn"),
        (soon as u64, "expiring within ten minutes"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let message = match (pending, told.is_empty()) {
        (0, true) => "nothing is to be sent".to_owned(),
        (n, true) => format!("{n} to be sent, none of which expires within ten minutes"),
        (n, false) => format!("{n} to be sent; of the tokens {}", told.join(", ")),
    };
    if told.is_empty() {
        Check::ok(name, None, &message)
    } else {
        Check::warning(name, None, &message, "apply soon, or ask the partner for new tokens (--report remint=FILE)")
    }
}

/// The programs that give tokens: whether they are there and may run. None of them is run.
#[must_use]
pub fn programs(manifests: &Manifests, allow_exec: bool, path: Option<&OsStr>) -> Vec<Check> {
    let mut programs: BTreeMap<(&str, &Path), u64> = BTreeMap::new();
    for entry in manifests.manifests.iter().flat_map(|manifest| &manifest.entries) {
        if let Some(SecretRef::Exec { command, folder }) = entry.token.referred() {
            let program = command.first().map_or("", String::as_str);
            *programs.entry((program, folder.as_path())).or_default() += 1;
        }
    }
    let check = |((program, folder), entries): ((&str, &Path), u64)| {
        let (name, of) = ("program", Some(program));
        match find(program, folder, path) {
            None => Check::warning(
                name,
                of,
                &format!("it is not found, and {entries} tokens come from it"),
                "install it, or correct the `exec` of the manifest",
            ),
            Some(_) if !allow_exec => Check::warning(
                name,
                of,
                &format!("it is there and may not run, and {entries} tokens come from it"),
                "pass --allow-exec, if you trust the manifest",
            ),
            Some(found) => Check::ok(name, of, &format!("{} is there", found.display())),
        }
    };
    programs.into_iter().map(check).collect()
}

/// The file that would run: by `PATH`, or from the manifest's folder where the name has a slash.
fn find(program: &str, folder: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let runs = |file: &PathBuf| file.is_file() && accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    if program.contains('/') {
        return Some(folder.join(program)).filter(runs);
    }
    std::env::split_paths(path?).map(|place| place.join(program)).find(runs)
}
