//! `ledger`: repairs by hand. Each is a run with actor and reason.

use jiff::Timestamp;

use super::args::{AdoptArgs, ForgetArgs, Global, LedgerCommand, OriginArgs};
use super::setup::Held;
use super::{Failure, origin, setup};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::records::{EntryId, Record, Requests, RunEnd, RunId, State};
use crate::ledger::{Purpose, Reader};
use crate::report::{LedgerRef, StatusDocument, StatusEntry};

pub(super) async fn run(command: LedgerCommand, global: &Global, console: &Console) -> Result<Exit, Failure> {
    setup::require_ledger(global)?;
    match command {
        LedgerCommand::Adopt(args) => adopt(&args, global, console).await,
        LedgerCommand::Forget(args) => forget(&args, global, console).await,
    }
}

async fn adopt(args: &AdoptArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let held = setup::hold(global, Purpose::Change, &args.origin)?;
    let records = held.ledger.records().await?;
    let record = one(&records, &args.id)?;
    if record.state == State::Erased {
        return Err(Failure::new(Condition::Usage, format!("{} was erased and stays so", args.id)));
    }
    let owner = records.iter().find(|other| {
        other.id != record.id && other.session.as_ref().is_some_and(|session| session.session_id == args.session_id)
    });
    if let Some(owner) = owner {
        let label = crate::text::inert(&owner.label);
        return Err(Failure::new(Condition::Usage, format!("session {} belongs to entry {label}", args.session_id))
            .with_help(format!("if that is wrong, first: didit-sync ledger forget {label}")));
    }
    let id = record.id;
    let run = begin(&held, "ledger adopt", &args.origin).await?;
    held.ledger.adopt(id, run, args.session_id, Timestamp::now()).await?;
    end(&held, run).await?;
    tell(held, &[id], args.json.json, global, console)
}

async fn forget(args: &ForgetArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let held = setup::hold(global, Purpose::Change, &args.origin)?;
    let records = held.ledger.records().await?;
    let mut ids = Vec::new();
    for name in &args.ids {
        let record = one(&records, name)?;
        if record.state == State::Erased {
            return Err(Failure::new(Condition::Usage, format!("{name} was erased and stays so")));
        }
        ids.push(record.id);
    }
    let run = begin(&held, "ledger forget", &args.origin).await?;
    for id in &ids {
        held.ledger.forget(*id, run, Timestamp::now()).await?;
    }
    end(&held, run).await?;
    tell(held, &ids, args.json.json, global, console)
}

fn one<'r>(records: &'r [Record], name: &str) -> Result<&'r Record, Failure> {
    let mut named = records.iter().filter(|record| record.is_named(name));
    match (named.next(), named.next()) {
        (None, _) => Err(setup::nothing_named(name)),
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => {
            let name = crate::text::inert(name);
            Err(Failure::new(Condition::Usage, format!("`{name}` names several entries"))
                .with_help("name the one by its source session"))
        }
    }
}

async fn begin(held: &Held, command: &str, origin: &OriginArgs) -> Result<RunId, Failure> {
    let run = held.ledger.begin_run(command, origin::of_process(origin), Timestamp::now()).await?;
    held.ledger.raise_generation().await?;
    Ok(run)
}

async fn end(held: &Held, run: RunId) -> Result<(), Failure> {
    let end = RunEnd {
        at: Timestamp::now(),
        seconds: 0.0,
        requests: Requests::default(),
        verified: None,
        error: None,
        conditions: Vec::new(),
    };
    Ok(held.ledger.end_run(run, end).await?)
}

/// Shows the entries as the ledger has them now.
fn tell(held: Held, ids: &[EntryId], json: bool, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let Held { ledger, lock } = held;
    // Closed, the ledger is read as everyone reads it; the lock keeps others from changing it meanwhile.
    drop(ledger);
    let reader = Reader::require(&setup::location(global))?;
    let records = reader.records()?;
    let changed: Vec<&Record> = records.iter().filter(|record| ids.contains(&record.id)).collect();
    let exit = Exit::ok();
    if json {
        let runs = reader.runs()?;
        let mut entries = Vec::with_capacity(changed.len());
        for record in &changed {
            let run = runs.iter().find(|run| run.id == record.run);
            entries.push(StatusEntry::new(record, reader.attempts(record.id)?, run));
        }
        let ledger = LedgerRef::new(Some(&reader.identity()?));
        console.json(&StatusDocument::new(ledger, &records, &entries, &exit));
    } else {
        console.out(&crate::report::text::entries(changed.into_iter(), console.style()));
    }
    drop(lock);
    Ok(exit)
}
