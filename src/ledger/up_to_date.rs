//! What was found up to date: manifests of which every entry was imported as it is asked for.
//!
//! Such an entry stays so until it is erased or repaired: whatever changes what a plan reads of an entry raises the
//! generation first, and an erasure drops what is noted. So a note is good until a run raises the generation that is no
//! audit, for as long as the files are the same and no entry more is imported (by a run that began before). Damage is met all
//! the same: where a note takes the place of a pass over the entries, the imported ones are counted by themselves.

use super::db::params;
use super::{Ledger, LedgerError, Reader};
use crate::token::Fingerprint;

/// Whether a run that may have changed an entry came after a note.
macro_rules! is_stale {
    () => {
        "EXISTS (SELECT 1 FROM generations g JOIN runs r ON r.id = g.run
           WHERE g.generation > up_to_date.generation AND r.command <> 'audit')"
    };
}

const FIND: &str = concat!("SELECT found FROM up_to_date WHERE inputs = ?1 AND NOT ", is_stale!());
const DROP_STALE: &str = concat!("DELETE FROM up_to_date WHERE ", is_stale!());

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
    /// Notes what was found up to date with a ledger of this generation, in place of what is good no more.
    pub async fn note_up_to_date(
        &self,
        inputs: Fingerprint,
        generation: u64,
        found: String,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |tx| {
                tx.execute(DROP_STALE, ())?;
                tx.execute(
                    "INSERT INTO up_to_date (inputs, generation, found) VALUES (?1, ?2, ?3)
                     ON CONFLICT (inputs) DO UPDATE SET generation = excluded.generation, found = excluded.found",
                    params![inputs.as_bytes(), generation, found],
                )
                .map(drop)
            })
            .await
    }
}
