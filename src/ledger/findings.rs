//! What verification keeps: findings, and the baselines that they are measured against.
//!
//! A finding is known again by entry, rule and block: `first_seen` stays while it is open. It is closed by a look at
//! its session that doesn't find it any more, or by an acceptance. All that one look came to is one transaction, with
//! the time of the look, so that an audit that dies goes on where it was.

use std::collections::HashMap;

use super::db::{self, Connection, Row, params};
use jiff::Timestamp;
use uuid::Uuid;

use super::records::{EntryId, RunFinding, RunId};
use super::store::{insert_evidence, text};
use super::{Ledger, LedgerError, read, spans};
use crate::verify::{Baseline, Finding, KeptBaseline, Rule, Severity};

/// What looks at sessions came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The entries whose sessions were looked at: what is not found of them any more is closed.
    pub checked: Vec<EntryId>,
    /// What was found.
    pub found: Vec<(EntryId, Finding)>,
    /// New baselines.
    pub baselines: Vec<(EntryId, Baseline)>,
}

/// What is there of an entry's session now, to be taken as its baseline.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The entry.
    pub entry: EntryId,
    /// The new baseline.
    pub baseline: Baseline,
    /// Which findings are accepted with it, in words.
    pub told: String,
}

impl Ledger {
    /// Keeps the verdict of a run: opens new findings, closes those that were not found again, and returns what was
    /// found with `first_seen` and `new`. An entry that has another session by now, or none, is left alone.
    pub async fn keep_findings(
        &self,
        run: RunId,
        at: Timestamp,
        verdict: Verdict,
    ) -> Result<Vec<RunFinding>, LedgerError> {
        self.writer.call(move |tx| keep_findings(tx, run, at, &verdict)).await
    }

    /// The baselines of these entries, where they have one.
    pub async fn baselines(&self, entries: Vec<EntryId>) -> Result<HashMap<EntryId, KeptBaseline>, LedgerError> {
        self.writer.call(move |tx| baselines(tx, &entries, spans::between(tx))).await
    }

    /// The open findings of these entries as they were last told.
    pub async fn standing(&self, entries: Vec<EntryId>) -> Result<Vec<(EntryId, Finding)>, LedgerError> {
        self.writer
            .call(move |tx| {
                let mut query = tx.prepare(
                    "SELECT r.manifest, r.label, r.session_id, r.rule, r.block, r.severity, r.message, r.expected, r.actual
                     FROM findings f JOIN run_findings r ON r.entry = f.entry AND r.rule = f.rule AND r.block = f.block
                     WHERE f.entry = ?1 AND f.closed_at IS NULL AND r.run = (SELECT max(l.run) FROM run_findings l
                       WHERE l.entry = f.entry AND l.rule = f.rule AND l.block = f.block)",
                )?;
                let mut standing = Vec::new();
                for entry in &entries {
                    query.each([entry.0], |row| {
                        standing.extend(finding(row)?.map(|finding| (*entry, finding)));
                        Ok(())
                    })?;
                }
                Ok(standing)
            })
            .await
    }

    /// Takes what is there now as baselines, and closes the findings that said so: `audit --accept`. The caller holds
    /// the lock of repairs. Returns the entries of which it was taken: one that changed meanwhile is left alone.
    pub async fn accept(
        &self,
        run: RunId,
        at: Timestamp,
        acceptances: Vec<Acceptance>,
    ) -> Result<Vec<EntryId>, LedgerError> {
        self.writer
            .call(move |tx| {
                let mut taken = Vec::with_capacity(acceptances.len());
                for acceptance in &acceptances {
                    if accept(tx, run, at, acceptance)? {
                        taken.push(acceptance.entry);
                    }
                }
                Ok(taken)
            })
            .await
    }
}

/// Drops what was seen of an entry's session, and closes its findings: what comes is another session, or none.
pub(super) fn drop_history(tx: &Connection, entry: EntryId, at: Timestamp) -> db::Result<()> {
    tx.execute("DELETE FROM baselines WHERE entry = ?1", [entry.0])?;
    tx.execute(
        "UPDATE findings SET closed_at = ?2 WHERE entry = ?1 AND closed_at IS NULL",
        params![entry.0, at.as_millisecond()],
    )
    .map(drop)
}

/// The baselines of these entries, read in spans with so many others between two of them.
pub(super) fn baselines(
    tx: &Connection,
    entries: &[EntryId],
    between: i64,
) -> db::Result<HashMap<EntryId, KeptBaseline>> {
    let mut wanted = entries.to_vec();
    wanted.sort_unstable();
    let mut query = tx.prepare("SELECT entry, facts FROM baselines WHERE entry BETWEEN ?1 AND ?2")?;
    let mut baselines = HashMap::with_capacity(wanted.len());
    for (first, last) in spans::spans(wanted.iter().copied(), between) {
        query.each([first, last], |row| {
            let entry = EntryId(row.get(0)?);
            if wanted.binary_search(&entry).is_ok() {
                baselines.insert(entry, KeptBaseline::from(row.get::<String>(1)?));
            }
            Ok(())
        })?;
    }
    Ok(baselines)
}

/// A finding as kept; `None` for a rule that came later than this program.
fn finding(row: &Row<'_>) -> db::Result<Option<Finding>> {
    let session: Option<String> = row.get(2)?;
    let rule: String = row.get(3)?;
    let Some((rule, session_id)) = Rule::parse(&rule).zip(session.and_then(|id| id.parse().ok())) else {
        return Ok(None);
    };
    let severity: String = row.get(5)?;
    let severities = [Severity::Error, Severity::Warning, Severity::Info];
    Ok(Some(Finding {
        manifest: row.get(0)?,
        id: row.get(1)?,
        session_id,
        severity: severities.into_iter().find(|it| it.as_str() == severity).unwrap_or_else(|| rule.severity()),
        rule,
        block: Some(row.get::<String>(4)?).filter(|block| !block.is_empty()),
        message: row.get(6)?,
        expected: row.get(7)?,
        actual: row.get(8)?,
    }))
}

/// Whether the entry has this session still.
fn has_session(tx: &Connection, entry: EntryId, session: Uuid) -> db::Result<bool> {
    tx.prepare("SELECT EXISTS (SELECT 1 FROM entries WHERE id = ?1 AND state = 'imported' AND session_id = ?2)")?
        .query_row(params![entry.0, session.to_string()], |row| row.get(0))
}

fn keep_findings(tx: &Connection, run: RunId, at: Timestamp, verdict: &Verdict) -> db::Result<Vec<RunFinding>> {
    let mut kept = Vec::with_capacity(verdict.found.len());
    for (entry, finding) in &verdict.found {
        if has_session(tx, *entry, finding.session_id)? {
            kept.push(keep_finding(tx, run, at, *entry, finding)?);
        }
    }
    for (entry, baseline) in &verdict.baselines {
        if has_session(tx, *entry, baseline.session_id)? {
            keep_baseline(tx, *entry, run, at, baseline)?;
        }
    }
    let mut close = tx.prepare(
        "UPDATE findings SET closed_at = ?3 WHERE entry BETWEEN ?1 AND ?2 AND closed_at IS NULL AND NOT EXISTS (
           SELECT 1 FROM run_findings r
           WHERE r.run = ?4 AND r.entry = findings.entry AND r.rule = findings.rule AND r.block = findings.block)",
    )?;
    // By their numbers: nearly all are imported.
    let mut audited =
        tx.prepare("UPDATE entries NOT INDEXED SET audited_at = ?3 WHERE id BETWEEN ?1 AND ?2 AND state = 'imported'")?;
    let mut checked = verdict.checked.clone();
    checked.sort_unstable();
    for (first, last) in spans::spans(checked, 0) {
        close.execute(params![first, last, at.as_millisecond(), run.0])?;
        audited.execute(params![first, last, at.as_millisecond()])?;
    }
    Ok(kept)
}

fn keep_finding(
    tx: &Connection,
    run: RunId,
    at: Timestamp,
    entry: EntryId,
    finding: &Finding,
) -> db::Result<RunFinding> {
    let rule = finding.rule.to_string();
    let block = finding.block.clone().unwrap_or_default();
    let new = tx
        .prepare(
            "INSERT INTO findings (entry, rule, block, first_seen) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (entry, rule, block) WHERE closed_at IS NULL DO NOTHING",
        )?
        .execute(params![entry.0, rule, block, at.as_millisecond()])?
        > 0;
    let first_seen = tx
        .prepare("SELECT first_seen FROM findings WHERE entry = ?1 AND rule = ?2 AND block = ?3 AND closed_at IS NULL")?
        .query_row(params![entry.0, rule, block], |row| row.get(0))?;
    let kept = RunFinding {
        entry,
        manifest: finding.manifest.clone(),
        label: finding.id.clone(),
        session_id: Some(finding.session_id),
        rule,
        block,
        severity: finding.severity.to_string(),
        message: finding.message.clone(),
        expected: finding.expected.clone(),
        actual: finding.actual.clone(),
        first_seen: read::time(first_seen),
        new,
    };
    tx.prepare(
        "INSERT INTO run_findings (run, entry, manifest, label, session_id, rule, block, severity, message, expected, actual,
           first_seen, new) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (run, entry, rule, block) DO UPDATE SET manifest = excluded.manifest, label = excluded.label,
           session_id = excluded.session_id, severity = excluded.severity, message = excluded.message,
           expected = excluded.expected, actual = excluded.actual, first_seen = excluded.first_seen, new = excluded.new",
    )?
    .execute(params![
        run.0,
        entry.0,
        kept.manifest,
        kept.label,
        text(kept.session_id),
        kept.rule,
        kept.block,
        kept.severity,
        kept.message,
        kept.expected,
        kept.actual,
        first_seen,
        kept.new,
    ])?;
    Ok(kept)
}

fn keep_baseline(tx: &Connection, entry: EntryId, run: RunId, at: Timestamp, baseline: &Baseline) -> db::Result<()> {
    let facts = serde_json::to_string(baseline).map_err(|e| db::Error::Unwritable(e.to_string()))?;
    tx.prepare(
        "INSERT INTO baselines (entry, run, at, session_id, facts) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (entry) DO UPDATE SET run = excluded.run, at = excluded.at, session_id = excluded.session_id,
           facts = excluded.facts",
    )?
    .execute(params![entry.0, run.0, at.as_millisecond(), baseline.session_id.to_string(), facts])
    .map(drop)
}

/// The user's own rules are not accepted away: they say what the user wants.
fn accept(tx: &Connection, run: RunId, at: Timestamp, it: &Acceptance) -> db::Result<bool> {
    if !has_session(tx, it.entry, it.baseline.session_id)? {
        return Ok(false);
    }
    keep_baseline(tx, it.entry, run, at, &it.baseline)?;
    tx.execute(
        "UPDATE findings SET closed_at = ?2 WHERE entry = ?1 AND closed_at IS NULL AND rule NOT LIKE 'expect:%'",
        params![it.entry.0, at.as_millisecond()],
    )?;
    tx.execute(
        "DELETE FROM run_findings WHERE run = ?2 AND entry = ?1 AND rule NOT LIKE 'expect:%'",
        params![it.entry.0, run.0],
    )?;
    insert_evidence(tx, it.entry, run, at, "accepted", Some(it.baseline.session_id), &it.told)?;
    Ok(true)
}
