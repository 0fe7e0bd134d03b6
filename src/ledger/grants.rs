//! Budgets that runners share: the state of [`Grants`], one row for each key and kind of request.
//!
//! Only a ledger on a server has them; a file's belongs to one run at a time, which keeps its windows in memory. An
//! exchange is part of one short transaction, and locks its row until that is committed. Times are by the server's clock,
//! read once the row is locked: two exchanges on one row never see time run backwards, whatever the runners' clocks show.

use std::time::Duration;

use super::db::{self, Connection, params};
use super::records::BudgetKind;
use super::{Ledger, LedgerError};
use crate::pace::grants::{Ask, Grants, Reply};
use crate::token::Fingerprint;

impl Ledger {
    /// Hears a runner that shares a key's budget, and answers it; when this returns, the slots it names are the runner's.
    /// For a ledger that [is shared](Self::is_shared).
    pub async fn exchange(&self, key: Fingerprint, budget: BudgetKind, ask: Ask) -> Result<Reply, LedgerError> {
        self.writer.call(move |tx| exchange(tx, key, budget, &ask)).await
    }
}

fn exchange(tx: &Connection, key: Fingerprint, budget: BudgetKind, ask: &Ask) -> db::Result<Reply> {
    let mut grants = locked(tx, key, budget)?;
    let now: i64 =
        tx.query_row("SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)", (), |row| {
            row.get(0)
        })?;
    let now = Duration::from_millis(u64::try_from(now).unwrap_or_default());
    let reply = grants.exchange(now, ask);
    let state = serde_json::to_string(&grants).map_err(|error| db::Error::Unwritable(error.to_string()))?;
    tx.execute(
        "UPDATE budgets SET state = ?3 WHERE key = ?1 AND budget = ?2",
        params![key.as_bytes(), budget.as_str(), state],
    )?;
    Ok(reply)
}

/// The state of a budget, which nobody else reads or changes before this transaction ends.
fn locked(tx: &Connection, key: Fingerprint, budget: BudgetKind) -> db::Result<Grants> {
    let read = || {
        tx.find(
            "SELECT state FROM budgets WHERE key = ?1 AND budget = ?2 FOR UPDATE",
            params![key.as_bytes(), budget.as_str()],
            |row| row.get::<String>(0),
        )
    };
    let mut state = read()?;
    if state.is_none() {
        tx.execute(
            "INSERT INTO budgets (key, budget, state) VALUES (?1, ?2, '{}') ON CONFLICT (key, budget) DO NOTHING",
            params![key.as_bytes(), budget.as_str()],
        )?;
        state = read()?;
    }
    let state = state.ok_or(db::Error::NoRow)?;
    serde_json::from_str(&state).map_err(|error| db::Error::Unreadable(format!("budget: {error}")))
}
