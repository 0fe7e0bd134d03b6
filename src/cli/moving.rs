//! `ledger move`: to another file, or to a server and back.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Global, MoveArgs};
use super::signals::Signals;
use super::{Failure, setup};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::ledger::{Held, LedgerError, Location, Moved, move_to};
use crate::report::LedgerRef;
use crate::report::schema::Output;
use crate::text::inert;

/// How much of a digest tells people that two are equal; the document has all of it.
const SHOWN: usize = 16;

/// `didit-sync/move.v1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct MoveDocument<'a> {
    #[schemars(extend("const" = Output::Move.format()))]
    format: &'static str,
    ledger: LedgerRef,
    from: String,
    to: String,
    /// It was there already, equal in every row.
    was_there: bool,
    /// What each table holds, in both places.
    tables: &'a [Held],
    exit: &'a Exit,
}

pub(super) fn run(args: &MoveArgs, global: &Global, console: &Console, signals: &Signals) -> Result<Exit, Failure> {
    let from = setup::location(global)?;
    let to = target(args, global)?;
    let stop = signals.begin(Duration::ZERO)?;
    let asked = || stop.borrow().condition();
    let Some(moved) = move_to(&from, &to, args.wait_lock, &|| asked().is_some())? else {
        let condition = asked().unwrap_or(Condition::Interrupted);
        return Err(Failure::new(condition, "interrupted; the ledger is where it was")
            .with_help("run the same command again, which goes on or begins anew"));
    };
    let exit = Exit::ok();
    if args.json.json {
        console.json(&MoveDocument {
            format: Output::Move.format(),
            ledger: LedgerRef::new(Some(&moved.identity)),
            from: from.to_string(),
            to: to.to_string(),
            was_there: moved.was_there,
            tables: &moved.tables,
            exit: &exit,
        });
    } else {
        console.out(&told(&moved, &from, &to));
    }
    Ok(exit)
}

/// Where to; like what `--ledger` names, but its errors are of this option.
fn target(args: &MoveArgs, global: &Global) -> Result<Location, Failure> {
    match Location::parse(&args.to, global.allow_network_fs, &|name| std::env::var_os(name)) {
        Err(LedgerError::Url(error)) => {
            let help = LedgerError::Url(error.clone()).help();
            Err(Failure::new(Condition::Ledger, format!("--to: {error}")).with_help(help))
        }
        parsed => Ok(parsed?),
    }
}

fn told(moved: &Moved, from: &Location, to: &Location) -> String {
    let (from, to) = (inert(&from.to_string()), inert(&to.to_string()));
    let was = if moved.was_there { " already" } else { "" };
    let mut text = format!("The ledger is in {to}{was}, equal in every row:\n\n");
    let name = moved.tables.iter().map(|held| held.table.len()).max().unwrap_or_default();
    let rows = moved.tables.iter().map(|held| held.rows.to_string().len()).max().unwrap_or_default().max("rows".len());
    text.push_str(&format!("{:name$}  {:>rows$}  SHA-256\n", "table", "rows"));
    for held in &moved.tables {
        let digest = held.sha256.get(..SHOWN).unwrap_or(&held.sha256);
        text.push_str(&format!("{:name$}  {:>rows$}  {digest}\n", held.table, held.rows));
    }
    text.push_str(&format!(
        "\nFrom now on: --ledger {to} (or DIDIT_SYNC_LEDGER), everywhere.\n\
         {from} still has all it had, and was not changed. Don't use both: neither knows what is sent by the other.\n"
    ));
    text
}
