//! What can't be had in a test's folder: network file systems, full disks, older ledgers.

use super::*;
use crate::ledger::{Around, Contents, Examination, LedgerError};

fn around() -> Around {
    Around { missing_folder: None, file_system: Ok(()), open_to_others: Vec::new(), free_bytes: Some(5 << 30) }
}

fn sound() -> Examination {
    Examination {
        writable: Ok(()),
        around: Some(around()),
        contents: Some(Ok(Contents { version: 6, newest: 6, entries: 3, flaws: Vec::new() })),
        changed_by: Ok(None),
        audited_by: Ok(None),
    }
}

fn diagnosed(found: &Examination) -> Diagnosis {
    Diagnosis { checks: ledger::checks("state/ledger.db", found) }
}

fn of<'d>(diagnosis: &'d Diagnosis, name: &str) -> &'d Check {
    diagnosis.checks.iter().find(|check| check.name == name).unwrap()
}

#[test]
fn promise_6_a_network_file_system_is_an_error_of_the_ledger() {
    assert_eq!(diagnosed(&sound()).exit(), Exit::ok());
    let refused = LedgerError::NetworkFileSystem { path: "state/ledger.db".into(), kind: "nfs".to_owned() };
    let diagnosis =
        diagnosed(&Examination { around: Some(Around { file_system: Err(refused), ..around() }), ..sound() });
    let check = of(&diagnosis, "ledger-file-system");
    assert_eq!((check.result, diagnosis.exit().code()), (Outcome::Error, 12));
    assert!(check.message.contains("nfs") && check.help.as_ref().unwrap().contains("--allow-network-fs"), "{check:?}");
}

#[test]
fn space_is_judged_before_a_run_needs_it() {
    for (free, result) in [
        (0, Outcome::Error),
        ((1 << 20) - 1, Outcome::Error),
        (1 << 20, Outcome::Warning),
        (100 << 20, Outcome::Ok),
        (u64::MAX, Outcome::Ok),
    ] {
        let diagnosis =
            diagnosed(&Examination { around: Some(Around { free_bytes: Some(free), ..around() }), ..sound() });
        assert_eq!(of(&diagnosis, "ledger-space").result, result, "{free}");
    }
    let diagnosis = diagnosed(&Examination { around: Some(Around { free_bytes: None, ..around() }), ..sound() });
    assert_eq!(of(&diagnosis, "ledger-space").result, Outcome::Skipped);
}

#[test]
fn of_a_server_nothing_is_told_that_only_files_have() {
    let diagnosis = diagnosed(&Examination { around: None, ..sound() });
    let names: Vec<&str> = diagnosis.checks.iter().map(|check| check.name).collect();
    assert_eq!(names, ["ledger-server", "ledger", "ledger-lock"]);
    let away = LedgerError::Server { ledger: "postgres://h/d".to_owned(), detail: "connection refused".to_owned() };
    let diagnosis = diagnosed(&Examination { around: None, writable: Err(away), ..sound() });
    assert_eq!((diagnosis.checks.len(), diagnosis.exit().code()), (1, 12));
    assert!(of(&diagnosis, "ledger-server").message.contains("connection refused"));
}

#[test]
fn an_older_ledger_is_migrated_and_a_flawed_one_is_an_error() {
    let contents = Contents { version: 3, newest: 6, entries: 3, flaws: vec!["page 3: btree".to_owned()] };
    let diagnosis = diagnosed(&Examination { contents: Some(Ok(contents)), ..sound() });
    assert!(of(&diagnosis, "ledger").message.contains("migrates it to 6"));
    assert!(of(&diagnosis, "ledger-integrity").message.contains("page 3"));
    assert_eq!(diagnosis.exit().code(), 12);
}

#[test]
fn texts_are_inert_and_the_weightiest_error_is_the_exit() {
    let check = Check::error("key", Some("a\u{202e}b"), Condition::Credentials, "sk_live_abcdefghijkl", "x\ny");
    assert_eq!(check.subject.as_deref(), Some("a\\u{202e}b"));
    assert!(!check.message.contains("abcdefgh") && check.help.as_deref() == Some("x\\ny"), "{check:?}");
    let other = Check::error("ledger", None, Condition::Ledger, "m", "h");
    let diagnosis = Diagnosis { checks: vec![check, other.clone(), Check::ok("clock", None, "m")] };
    assert_eq!(diagnosis.worst(), Some((Condition::Ledger, &other)));
    assert_eq!(diagnosis.exit().code(), 12);
}

#[test]
fn variables_are_known_or_likely_misspelt() {
    let known = ["DIDIT_SYNC_LEDGER", "DIDIT_SYNC_ROOT"].map(str::to_owned);
    let set = ["DIDIT_SYNC_ROOT", "DIDIT_SYNC_LEDGAR", "DIDIT_SYNC_SOMETHING_ELSE", "PATH"].map(str::to_owned);
    let checks = surroundings::variables(&set, &known);
    let told: Vec<_> = checks.iter().map(|check| (check.subject.as_deref(), check.help.as_deref())).collect();
    assert_eq!(told[0], (None, None));
    assert_eq!(told[1], (Some("DIDIT_SYNC_LEDGAR"), Some("did you mean DIDIT_SYNC_LEDGER?")));
    assert_eq!(told[2].1, Some("`didit-sync COMMAND --help` names the variables"));
    assert_eq!(told.len(), 3);
}
