//! `ledger`: repairs by hand. Each is a run with actor and reason.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::args::{AdoptArgs, BackupArgs, CheckArgs, ForgetArgs, Global, LedgerCommand, OriginArgs};
use super::names::{self, Named, Problems};
use super::setup::Held;
use super::signals::Signals;
use super::{Failure, erase, moving, origin, setup, status};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{Counts, EntryId, Flaw, Record, Requests, RunEnd, RunError, RunId, State};
use crate::ledger::{LedgerError, Line, Lock, Purpose, Reader, Which, back_up};
use crate::manifest::Code;
use crate::report::LedgerRef;
use crate::report::schema::Output;
use crate::text::inert;

pub(super) async fn run(
    command: LedgerCommand,
    global: &Global,
    console: &Console,
    signals: &Signals,
) -> Result<Exit, Failure> {
    if let LedgerCommand::Check(args) = &command {
        return check(args, global, console);
    }
    setup::require_ledger(global)?;
    match command {
        LedgerCommand::Adopt(args) => adopt(&args, global, console, signals).await,
        LedgerCommand::Forget(args) => forget(&args, global, console, signals).await,
        LedgerCommand::Erase(args) => erase::run(&args, global, console, signals).await,
        LedgerCommand::Check(args) => check(&args, global, console),
        LedgerCommand::Backup(args) => backup(&args, global, console, signals),
        LedgerCommand::Move(args) => moving::run(&args, global, console, signals),
    }
}

async fn adopt(args: &AdoptArgs, global: &Global, console: &Console, signals: &Signals) -> Result<Exit, Failure> {
    let from = args.from.as_deref();
    let named = match (from, &args.id) {
        (Some(path), _) => names::read(path, true)?,
        (None, id) => {
            let session = args.session_id.map(|id| id.to_string()).unwrap_or_default();
            vec![Named { session, ..Named::given(id.as_deref().unwrap_or_default()) }]
        }
    };
    let held = setup::hold(global, Purpose::Change, args.origin.wait_lock)?;
    let asked = named.iter().flat_map(|named| [&*named.name, &*named.session]).filter(|name| !name.is_empty());
    let records = names::candidates(&held.ledger, asked).await?;
    let mut problems = Problems::new(from);
    let mut adopted: Vec<(EntryId, Uuid)> = Vec::new();
    for name in &named {
        let record = unerased(&records, &held, name, &mut problems);
        let Ok(session) = Uuid::try_parse(&name.session) else {
            let message = format!("`{}` is no session id", inert(&name.session));
            problems.add(name, Code::BadUuid, message, "write the session's UUID into the second column");
            continue;
        };
        let Some(record) = record else { continue };
        let owns = |other: &&Record| other.session.as_ref().is_some_and(|it| it.session_id == session);
        if let Some(owner) = records.iter().filter(|other| other.id != record.id).find(owns) {
            let label = inert(&owner.label);
            let message = format!("session {session} belongs to entry {label}");
            problems.add(
                name,
                Code::BadValue,
                message,
                format!("if that is wrong, first: didit-sync ledger forget {label}"),
            );
        } else if adopted.iter().any(|(id, other)| *id == record.id || *other == session) {
            let message = format!("{} or session {session} stands on an earlier line, too", inert(&name.name));
            problems.add(name, Code::BadValue, message, "write each entry and each session once");
        } else {
            adopted.push((record.id, session));
        }
    }
    problems.check()?;
    // What follows is one moment's work, which a signal does not cut short.
    signals.begin(Duration::ZERO)?;
    let run = begin(&held, "ledger adopt", &args.origin).await?;
    for (id, session) in &adopted {
        held.ledger.adopt(*id, run, *session, Timestamp::now()).await?;
    }
    end(&held, run, Requests::default(), None, &Exit::ok()).await?;
    let ids: Vec<EntryId> = adopted.into_iter().map(|(id, _)| id).collect();
    close_and_tell(held, &ids, args.json.json, global, console)
}

async fn forget(args: &ForgetArgs, global: &Global, console: &Console, signals: &Signals) -> Result<Exit, Failure> {
    let from = args.from.as_deref();
    let named = names::all(&args.ids, from)?;
    let held = setup::hold(global, Purpose::Change, args.origin.wait_lock)?;
    let records = names::candidates(&held.ledger, named.iter().map(|named| &*named.name)).await?;
    let mut problems = Problems::new(from);
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for name in &named {
        let record = unerased(&records, &held, name, &mut problems);
        ids.extend(record.map(|record| record.id).filter(|id| seen.insert(*id)));
    }
    problems.check()?;
    signals.begin(Duration::ZERO)?;
    let run = begin(&held, "ledger forget", &args.origin).await?;
    for id in &ids {
        held.ledger.forget(*id, run, Timestamp::now()).await?;
    }
    end(&held, run, Requests::default(), None, &Exit::ok()).await?;
    close_and_tell(held, &ids, args.json.json, global, console)
}

fn unerased<'r>(records: &'r [Record], held: &Held, name: &Named, problems: &mut Problems<'_>) -> Option<&'r Record> {
    let record = names::find(records, &held.ledger.identity().key, name, problems)?;
    if record.state == State::Erased {
        let message = format!("{} was erased and stays so", inert(&name.name));
        problems.add(name, Code::BadValue, message, "leave it out");
        return None;
    }
    Some(record)
}

/// `didit-sync/check.v1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct CheckDocument<'a> {
    #[schemars(extend("const" = Output::Check.format()))]
    format: &'static str,
    findings: &'a [Flaw],
    exit: &'a Exit,
}

fn check(args: &CheckArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let found = Reader::require(&setup::location(global)?).and_then(|reader| reader.check());
    let flaws = match found {
        Err(LedgerError::Corrupt { detail, .. }) => vec![Flaw::of_file("integrity", detail)],
        found => found?,
    };
    let mut exit = Exit::ok();
    exit.add_if(!flaws.is_empty(), Condition::Ledger);
    if args.json.json {
        console.json(&CheckDocument { format: Output::Check.format(), findings: &flaws, exit: &exit });
    } else if flaws.is_empty() {
        console.out("The ledger is sound.\n");
    } else {
        for flaw in &flaws {
            let of = flaw.id.as_deref().map_or_else(String::new, |id| format!(" {}", inert(id)));
            console.out(&format!("error {}{of}: {}\n", flaw.rule, inert(&flaw.message)));
        }
        console.out("Keep the file as it is, and go back to the last backup that `ledger check` finds sound.\n");
    }
    Ok(exit)
}

/// `didit-sync/backup.v1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct BackupDocument<'a> {
    #[schemars(extend("const" = Output::Backup.format()))]
    format: &'static str,
    ledger: LedgerRef,
    path: String,
    bytes: u64,
    rows: Counts,
    exit: &'a Exit,
}

fn backup(args: &BackupArgs, global: &Global, console: &Console, signals: &Signals) -> Result<Exit, Failure> {
    let path = args.path.display().to_string();
    if args.path.symlink_metadata().is_ok() {
        return Err(Failure::new(Condition::Usage, format!("{} exists already", inert(&path)))
            .with_help("name a new file; a backup never takes the place of one"));
    }
    let stop = signals.begin(Duration::ZERO)?;
    let asked = || stop.borrow().condition();
    let Some(copied) = back_up(&setup::location(global)?, &args.path, &|| asked().is_some())? else {
        let condition = asked().unwrap_or(Condition::Interrupted);
        return Err(Failure::new(condition, "interrupted; nothing of the copy was left"));
    };
    let exit = Exit::ok();
    if args.json.json {
        console.json(&BackupDocument {
            format: Output::Backup.format(),
            ledger: LedgerRef::new(Some(&copied.identity)),
            path,
            bytes: copied.bytes,
            rows: copied.counts,
            exit: &exit,
        });
    } else {
        console.out(&format!(
            "{} entries in {} bytes, read back: {}\n",
            copied.counts.entries,
            copied.bytes,
            inert(&path)
        ));
    }
    Ok(exit)
}

pub(super) async fn begin(held: &Held, command: &str, origin: &OriginArgs) -> Result<RunId, Failure> {
    let run = held.ledger.begin_run(command, origin::of_process(origin), Timestamp::now()).await?;
    held.ledger.raise_generation(run).await?;
    Ok(run)
}

pub(super) async fn end(
    held: &Held,
    run: RunId,
    requests: Requests,
    error: Option<RunError>,
    exit: &Exit,
) -> Result<(), Failure> {
    let at = Timestamp::now();
    let end = RunEnd { at, seconds: 0.0, requests, verified: None, error, conditions: exit.stored() };
    Ok(held.ledger.end_run(run, end).await?)
}

fn close_and_tell(
    held: Held,
    ids: &[EntryId],
    json: bool,
    global: &Global,
    console: &Console,
) -> Result<Exit, Failure> {
    let Held { ledger, lock } = held;
    // Closed, the ledger is read as everyone reads it; the lock keeps others from changing it meanwhile.
    drop(ledger);
    tell(lock, ids, Exit::ok(), json, global, console)
}

/// Shows the entries as the ledger has them now.
pub(super) fn tell(
    lock: Lock,
    ids: &[EntryId],
    exit: Exit,
    json: bool,
    global: &Global,
    console: &Console,
) -> Result<Exit, Failure> {
    let reader = Reader::require(&setup::location(global)?)?;
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let told = if json {
        let runs = reader.runs()?.into_iter().map(|run| (run.id, run)).collect();
        status::document(&reader, Which::These(ids), &runs, &exit, console)
    } else {
        let changed: Vec<Line> = reader.lines(Which::These(ids))?.collect::<Result<_, _>>()?;
        console.out(&crate::report::text::entries(&changed, console.style()));
        Ok(exit)
    };
    drop(lock);
    told
}
