//! What was found up to date: manifests of which every entry was imported as it is asked for.
//!
//! Such an entry stays so until it is erased or repaired: whatever changes what a plan reads of an entry raises the
//! generation first, and an erasure drops what is noted. So a note is good until a run raises the generation that is no
//! audit, for as long as the files are the same and no entry more is imported (by a run that began before). Damage is met all
//! the same: where a note takes the place of a pass over the entries, the imported ones are counted by themselves.

use super::db::params;
use super::records::RunId;
use super::{Ledger, LedgerError, Reader};
use crate::token::Fingerprint;

/// Whether a run that may have changed an entry came after a generation.
macro_rules! has_changed_since {
    ($generation:literal $(, $beside:literal)?) => {
        concat!(
            "EXISTS (SELECT 1 FROM generations g JOIN runs r ON r.id = g.run WHERE g.generation > ",
            $generation,
            " AND r.command <> 'audit'",
            $($beside,)?
            ")"
        )
    };
}

const FIND: &str =
    concat!("SELECT found FROM up_to_date WHERE inputs = ?1 AND NOT ", has_changed_since!("up_to_date.generation"));
const DROP_STALE: &str = concat!("DELETE FROM up_to_date WHERE ", has_changed_since!("up_to_date.generation"));
const NOTE: &str = concat!(
    "INSERT INTO up_to_date (inputs, generation, found) SELECT ?1, generation, ?2 FROM meta WHERE NOT ",
    has_changed_since!("?3", " AND g.run <> ?4"),
    " ON CONFLICT (inputs) DO UPDATE SET generation = excluded.generation, found = excluded.found"
);

impl Reader {
    /// What was noted of these inputs, if it is still good.
    pub fn up_to_date(&self, inputs: Fingerprint) -> Result<Option<String>, LedgerError> {
        self.run_query(|connection| {
            if !connection.has_table("up_to_date")? {
                return Ok(None);
            }
            connection.find(FIND, [inputs.as_bytes()], |row| row.get(0))
        })
    }

    /// How many entries are imported, by a pass over all, which meets what is damaged.
    pub fn imported(&self) -> Result<u64, LedgerError> {
        let sql = "SELECT count(*) FILTER (WHERE state = 'imported') FROM entries NOT INDEXED";
        self.run_query(|connection| connection.query_row(sql, (), |row| row.get(0)))
    }
}

impl Ledger {
    /// How many entries are imported, and the generation.
    pub async fn imported(&self) -> Result<(u64, u64), LedgerError> {
        let sql = "SELECT (SELECT count(*) FROM entries WHERE state = 'imported'), generation FROM meta";
        self.writer.call(move |tx| tx.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))).await
    }

    /// Notes what a run found or left up to date, in place of what is good no more. `planned` is the generation before its
    /// plan: where another run may have changed an entry since, nothing is noted.
    pub async fn note_up_to_date(
        &self,
        inputs: Fingerprint,
        (planned, run): (u64, RunId),
        found: String,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                tx.execute(DROP_STALE, ())?;
                tx.execute(NOTE, params![inputs.as_bytes(), found, planned, run.0]).map(drop)
            })
            .await
    }
}
