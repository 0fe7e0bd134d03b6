//! When a run sent its imports, and how many it was to send a minute.

use jiff::Timestamp;

use super::LedgerError;
use super::read::{Reader, keeps_reports, time};
use super::records::RunId;

/// When requests to import left, of one API key, in order.
pub type Sends = Vec<Timestamp>;

/// A key: where it is used, and its fingerprint.
type Key = (String, Option<Vec<u8>>);

impl Reader {
    /// When a run's requests to import left: for each key the times in order, the busiest key first. Requests that were
    /// certainly not processed count for no limit, and are left out.
    pub fn run_sends(&self, run: RunId) -> Result<Vec<Sends>, LedgerError> {
        let mut sends: Vec<(Key, Sends)> = self.run_query(|connection| {
            let mut sends: Vec<(Key, Sends)> = Vec::new();
            // Version 1 knows only when the intent was recorded, a moment before.
            let has_left = connection.has_column("attempts", "left_at")?;
            let at = if has_left { "coalesce(a.left_at, a.sent_at)" } else { "a.sent_at" };
            let mut query = connection.prepare(&format!(
                "SELECT e.base_url, e.key, {at} AS at FROM attempts a
                 JOIN entries e ON e.id = a.entry LEFT JOIN answers b ON b.attempt = a.id
                 WHERE a.run = ?1 AND coalesce(b.outcome, '') <> 'not_processed'
                 ORDER BY 1, 2 NULLS FIRST, at"
            ))?;
            query.each([run.0], |row| {
                let (key, at): (Key, Timestamp) = ((row.get(0)?, row.get(1)?), time(row.get(2)?));
                match sends.last_mut() {
                    Some((last, times)) if *last == key => times.push(at),
                    _ => sends.push((key, vec![at])),
                }
                Ok(())
            })?;
            Ok(sends)
        })?;
        sends.sort_by_key(|(_, times)| std::cmp::Reverse(times.len()));
        Ok(sends.into_iter().map(|(_, times)| times).collect())
    }

    /// The least `writes_per_minute` of a run's manifests; of runs before version 4 nothing is known.
    pub fn run_writes_per_minute(&self, run: RunId) -> Result<Option<u32>, LedgerError> {
        self.run_query(|connection| {
            if !keeps_reports(connection)? {
                return Ok(None);
            }
            let sql = "SELECT min(writes_per_minute) FROM run_limits WHERE run = ?1";
            connection.query_row(sql, [run.0], |row| row.get(0))
        })
    }
}
