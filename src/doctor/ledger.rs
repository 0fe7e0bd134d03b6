//! The ledger: folder, permissions, file system, space, contents, locks.

use super::Check;
use crate::exit::Condition;
use crate::ledger::{Around, Contents, Examination, LedgerError};

/// Less free space than this is too little for SQLite to work with, and than this, for a large run.
const NO_SPACE: u64 = 1 << 20;
const LITTLE_SPACE: u64 = 100 << 20;

/// The checks of what was found at this path.
#[must_use]
pub fn checks(path: &str, found: &Examination) -> Vec<Check> {
    let of = Some(path);
    let refused =
        |name, error: &LedgerError| Check::error(name, of, Condition::Ledger, &error.to_string(), error.help());
    let mut checks = Vec::new();
    match (&found.writable, &found.around) {
        (writable, Some(around)) => {
            checks.push(match (writable, &around.missing_folder) {
                (Err(error), _) => refused("ledger-folder", error),
                (Ok(()), Some(folder)) => {
                    Check::ok("ledger-folder", of, &format!("{} is still to be made, and can be", folder.display()))
                }
                (Ok(()), None) => Check::ok("ledger-folder", of, "the folder can be written"),
            });
            checks.push(match &around.file_system {
                Err(error) => refused("ledger-file-system", error),
                Ok(()) => Check::ok("ledger-file-system", of, "no network file system, or an allowed one"),
            });
            checks.push(space(of, around.free_bytes));
        }
        (Err(error), None) => {
            checks.push(refused("ledger-server", error));
            return checks;
        }
        (Ok(()), None) => checks.push(Check::ok("ledger-server", of, "it answers, and can be written")),
    }
    let Some(contents) = &found.contents else {
        checks.push(Check::ok("ledger", of, "there is none yet: the first apply starts it"));
        return checks;
    };
    checks.extend(found.around.as_ref().map(|around| permissions(of, around)));
    match contents {
        Err(error) => {
            checks.push(refused("ledger", error));
            checks.push(Check::skipped("ledger-integrity", of, "the ledger can't be read"));
        }
        Ok(contents) => {
            checks.push(version(of, contents));
            checks.extend(found.around.as_ref().map(|_| integrity(of, contents)));
        }
    }
    checks.push(lock(of, found));
    checks
}

fn space(of: Option<&str>, free: Option<u64>) -> Check {
    let name = "ledger-space";
    let Some(free) = free else { return Check::skipped(name, of, "the free space can't be told") };
    let message = format!("{} free on its disk", size(free));
    match free {
        ..NO_SPACE => Check::error(name, of, Condition::Ledger, &message, "free space: nothing can be recorded"),
        NO_SPACE..LITTLE_SPACE => Check::warning(name, of, &message, "free space before a large run"),
        LITTLE_SPACE.. => Check::ok(name, of, &message),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0x4000_0000.. => format!("{} GiB", bytes >> 30),
        0x10_0000.. => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

fn permissions(of: Option<&str>, found: &Around) -> Check {
    let name = "ledger-permissions";
    if found.open_to_others.is_empty() {
        return Check::ok(name, of, "for its owner alone");
    }
    let files = found.open_to_others.iter().map(|(file, mode)| format!("{} ({mode:04o})", file.display()));
    let paths = found.open_to_others.iter().map(|(file, _)| file.display().to_string());
    Check::warning(
        name,
        of,
        &format!("others have rights to {}", files.collect::<Vec<_>>().join(", ")),
        &format!("chmod 600 {}", paths.collect::<Vec<_>>().join(" ")),
    )
}

fn version(of: Option<&str>, contents: &Contents) -> Check {
    let Contents { version, newest, entries, .. } = contents;
    let message = if version < newest {
        format!("{entries} entries, version {version}: the next run makes a copy and migrates it to {newest}")
    } else {
        format!("{entries} entries, version {version}, which this release writes")
    };
    Check::ok("ledger", of, &message)
}

fn integrity(of: Option<&str>, contents: &Contents) -> Check {
    let name = "ledger-integrity";
    match contents.flaws.first() {
        None => Check::ok(name, of, "SQLite's quick check finds nothing; `didit-sync ledger check` looks deeper"),
        Some(flaw) => Check::error(
            name,
            of,
            Condition::Ledger,
            &format!("SQLite: {flaw}"),
            "keep the file as it is, and go back to the last backup that `didit-sync ledger check` finds sound",
        ),
    }
}

fn lock(of: Option<&str>, found: &Examination) -> Check {
    let name = "ledger-lock";
    match (&found.changed_by, &found.audited_by) {
        (Err(error), _) | (_, Err(error)) => {
            Check::error(name, of, Condition::Ledger, &error.to_string(), error.help())
        }
        (Ok(Some(holder)), _) if found.around.is_none() => Check::warning(
            name,
            of,
            &format!("runs are at work: {holder}"),
            "another apply goes on beside them; a repair exits 11 until they end, or waits with --wait-lock 10m",
        ),
        (Ok(Some(holder)), _) => Check::warning(
            name,
            of,
            &format!("a run holds it: {holder}"),
            "another apply or repair exits 11 until then, or waits with --wait-lock 10m",
        ),
        (_, Ok(Some(holder))) => Check::warning(
            name,
            of,
            &format!("an audit goes on: {holder}"),
            "another audit exits 11 until then, or waits with --wait-lock 10m",
        ),
        (Ok(None), Ok(None)) => Check::ok(name, of, "nobody holds it"),
    }
}
