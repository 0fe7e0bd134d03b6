//! Saved plans: each is good for one run. Which were carried out, and what has changed the ledger since.

use super::db::{self, Connection, Row, ToValue, params};
use jiff::Timestamp;

use super::read::time;
use super::records::RunId;
use super::store::raise_generation;
use super::{Ledger, LedgerError};
use crate::token::Fingerprint;

/// A run, as it is told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// Its number.
    pub id: RunId,
    /// `apply`, `audit`, `ledger adopt`, ...
    pub command: String,
    /// When it began.
    pub started_at: Timestamp,
}

/// What the ledger knows of a saved plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanPast {
    /// The run that carried it out.
    pub used: Option<RunRef>,
    /// The last run that raised the generation.
    pub raised: Option<RunRef>,
}

impl Ledger {
    /// Notes that a run carries out the saved plan with this fingerprint, and raises the generation: a plan that is made
    /// from now on is another.
    pub async fn use_plan(&self, run: RunId, digest: Fingerprint) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                tx.execute("INSERT INTO plans (run, digest) VALUES (?1, ?2)", params![run.0, digest.as_bytes()])?;
                raise_generation(tx, run)
            })
            .await
    }

    /// Whether the saved plan with this fingerprint was carried out, and what changed the ledger last.
    pub async fn plan_past(&self, digest: Fingerprint) -> Result<PlanPast, LedgerError> {
        self.writer
            .call(move |tx| {
                let used = "SELECT r.id, r.command, r.started_at FROM plans p JOIN runs r ON r.id = p.run
                            WHERE p.digest = ?1 ORDER BY r.id LIMIT 1";
                let raised = "SELECT r.id, r.command, r.started_at FROM generations g JOIN runs r ON r.id = g.run
                              ORDER BY g.generation DESC LIMIT 1";
                Ok(PlanPast { used: find(tx, used, params![digest.as_bytes()])?, raised: find(tx, raised, params![])? })
            })
            .await
    }
}

fn find(tx: &Connection, sql: &str, with: &[&dyn ToValue]) -> db::Result<Option<RunRef>> {
    let run =
        |row: &Row<'_>| Ok(RunRef { id: RunId(row.get(0)?), command: row.get(1)?, started_at: time(row.get(2)?) });
    tx.find(sql, with, run)
}
