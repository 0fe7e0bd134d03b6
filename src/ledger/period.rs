//! Sums over a period, for reports.

use super::db::{self, Connection, Row};
use jiff::Timestamp;

use super::read::{Reader, class, kind, optional_uuid};
use super::records::{FindingSum, ImportSum, PeriodSums, RefusalSum, RepairSum, RunId};
use super::{LedgerError, outcomes};

/// From, to (which is no part of it), in milliseconds.
type Span = [i64; 2];

impl Reader {
    /// What happened from `since` to before `until`.
    ///
    /// An entry that was erased since is not among the imported any more.
    pub fn sums(&self, since: Timestamp, until: Timestamp) -> Result<PeriodSums, LedgerError> {
        let span = [since.as_millisecond(), until.as_millisecond()];
        self.run_query(|connection| {
            Ok(PeriodSums {
                imported: imported(connection, span)?,
                refused: refused(connection, span)?,
                findings: findings(connection, span)?,
                repairs: repairs(connection, span)?,
            })
        })
    }
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    of: [i64; 2],
    read: impl FnMut(&Row<'_>) -> db::Result<T>,
) -> db::Result<Vec<T>> {
    connection.prepare(sql)?.query_all(of, read)
}

fn imported(connection: &Connection, span: Span) -> db::Result<Vec<ImportSum>> {
    let sql = "SELECT from_application_id, workflow_id, trust_review, session_kind, count(*) FROM entries
       WHERE imported_at >= ?1 AND imported_at < ?2 GROUP BY 1, 2, 3, 4
       ORDER BY 1 NULLS FIRST, 2 NULLS FIRST, 3 NULLS FIRST, 4 NULLS FIRST";
    rows(connection, sql, span, |row| {
        Ok(ImportSum {
            from_application_id: optional_uuid(row, 0)?,
            workflow_id: optional_uuid(row, 1)?,
            trust_review: row.get(2)?,
            session_kind: kind(row, 3)?,
            sessions: row.get(4)?,
        })
    })
}

/// What runs reported, and the answers themselves, which a killed run did not come to report. "Already imported" is no
/// refusal: the session is there.
fn refused(connection: &Connection, span: Span) -> db::Result<Vec<RefusalSum>> {
    let sql = format!(
        "WITH told (class, entry, requests) AS (
         SELECT o.error_class, o.manifest || '/' || o.label, 0 FROM runs r CROSS JOIN run_outcomes o ON o.run = {}
           WHERE o.outcome = 'refused' AND r.started_at >= ?1 AND r.started_at < ?2
         UNION ALL
         SELECT b.class, e.manifest || '/' || e.label, 1
           FROM answers b JOIN attempts a ON a.id = b.attempt JOIN entries e ON e.id = a.entry
           WHERE b.outcome = 'refused' AND b.class <> 'already_imported' AND b.answered_at >= ?1 AND b.answered_at < ?2)
       SELECT class, count(DISTINCT entry), CAST(sum(requests) AS BIGINT) FROM told WHERE class IS NOT NULL GROUP BY 1 ORDER BY 1",
        outcomes::told_by(connection, "r.id")?
    );
    let all = rows(connection, &sql, span, |row| Ok((class(row, 0)?, row.get(1)?, row.get(2)?)))?;
    let known = all.into_iter().filter_map(|(class, entries, requests)| Some((class?, entries, requests)));
    Ok(known.map(|(class, entries, requests)| RefusalSum { class, entries, requests }).collect())
}

fn findings(connection: &Connection, span: Span) -> db::Result<Vec<FindingSum>> {
    let sql =
        "SELECT f.rule, coalesce((SELECT x.severity FROM run_findings x WHERE x.entry = f.entry AND x.rule = f.rule
           ORDER BY x.run DESC LIMIT 1), 'error'),
         count(*) FILTER (WHERE f.first_seen >= ?1), count(*) FILTER (WHERE f.closed_at < ?2),
         count(*) FILTER (WHERE f.closed_at IS NULL OR f.closed_at >= ?2)
       FROM findings f WHERE f.first_seen < ?2 AND (f.closed_at IS NULL OR f.closed_at >= ?1) GROUP BY 1, 2 ORDER BY 2, 1";
    rows(connection, sql, span, |row| {
        Ok(FindingSum {
            rule: row.get(0)?,
            severity: row.get(1)?,
            opened: row.get(2)?,
            closed: row.get(3)?,
            open: row.get(4)?,
        })
    })
}

fn repairs(connection: &Connection, span: Span) -> db::Result<Vec<RepairSum>> {
    let sql = "SELECT r.id, (SELECT count(DISTINCT entry) FROM evidence v WHERE v.run = r.id) FROM runs r
       WHERE r.command NOT IN ('apply', 'audit') AND r.started_at >= ?1 AND r.started_at < ?2 ORDER BY r.id";
    rows(connection, sql, span, |row| Ok(RepairSum { run: RunId(row.get(0)?), entries: row.get(1)? }))
}
