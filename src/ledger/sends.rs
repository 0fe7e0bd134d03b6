//! The send log: what left in the last minute, so that the next run starts with the API's windows as they are.
//!
//! An import is known by its attempt. Every other request is noted before it leaves: a write by itself, reads in blocks
//! reserved ahead, of which a dead run is taken to have sent all. What is too old to count is forgotten.

use super::db::{self, Connection, params};
use jiff::{SignedDuration, Timestamp};

use super::read::time;
use super::records::{Block, RecentImports, RecentRequests, Reservation, SendId};
use super::{Ledger, LedgerError, Reader};
use crate::token::Fingerprint;

/// The API counts over a minute; twice that is kept.
const KEPT: SignedDuration = SignedDuration::from_mins(2);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// An answer comes at most so long after its request left: no `timeout` is longer.
const LONGEST_ANSWER: SignedDuration = SignedDuration::from_mins(10);

impl Ledger {
    /// Notes requests that are about to leave; when this returns, they may.
    pub async fn reserve(&self, reservation: Reservation) -> Result<SendId, LedgerError> {
        self.writer.call(move |tx| reserve(tx, &reservation)).await
    }

    /// Notes what was sent of a block, and when the last of it left.
    pub async fn close_block(&self, block: Block) -> Result<(), LedgerError> {
        self.writer.call(move |tx| close(tx, &block)).await
    }

    /// The imports of the last minute, by key as manifests name it.
    pub async fn recent_imports(&self, now: Timestamp) -> Result<Vec<RecentImports>, LedgerError> {
        self.writer.call(move |tx| recent_imports(tx, now)).await
    }

    /// What earlier runs sent with this key in the last minute.
    pub async fn recent_requests(&self, key: Fingerprint, now: Timestamp) -> Result<RecentRequests, LedgerError> {
        self.writer.call(move |tx| recent_requests(tx, key, now)).await
    }
}

fn reserve(tx: &Connection, it: &Reservation) -> db::Result<SendId> {
    if let Some(before) = &it.before {
        close(tx, before)?;
    }
    let old = it.until.saturating_sub(KEPT).unwrap_or(Timestamp::MIN);
    tx.prepare("DELETE FROM sends WHERE key = ?1 AND until < ?2")?
        .execute(params![it.key.as_bytes(), old.as_millisecond()])?;
    let id = tx.insert(
        "INSERT INTO sends (key, budget, requests, until) VALUES (?1, ?2, ?3, ?4)",
        params![it.key.as_bytes(), it.budget.as_str(), it.requests, it.until.as_millisecond(),],
    )?;
    Ok(SendId(id))
}

fn close(tx: &Connection, block: &Block) -> db::Result<()> {
    tx.prepare("UPDATE sends SET requests = ?2, until = ?3 WHERE id = ?1")?
        .execute(params![block.id.0, block.sent, block.last.as_millisecond()])
        .map(drop)
}

impl Reader {
    /// The imports of the last minute, by key as manifests name it.
    pub fn recent_imports(&self, now: Timestamp) -> Result<Vec<RecentImports>, LedgerError> {
        self.run_query(|connection| recent_imports(connection, now))
    }
}

/// When an import that left lately had arrived at the latest (ten seconds later, where it has no answer), with the times that bound this as parameters 1 to 4.
macro_rules! arrived {
    () => {
        "coalesce(b.answered_at, CASE WHEN a.left_at + 10000 < ?2 THEN a.left_at + 10000 ELSE ?2 END)"
    };
}
const ARRIVED: &str = concat!(
    arrived!(),
    " AS at FROM attempts a JOIN entries e ON e.id = a.entry LEFT JOIN answers b ON b.attempt = a.id
    WHERE a.left_at > ?3 AND a.left_at < ?4 AND ",
    arrived!(),
    " > ?1 AND coalesce(b.outcome, '') <> 'not_processed'"
);

fn times(now: Timestamp) -> [i64; 4] {
    let earlier = |span| now.saturating_sub(span).unwrap_or(Timestamp::MIN).as_millisecond();
    let latest = now.saturating_add(MINUTE).unwrap_or(Timestamp::MAX).as_millisecond();
    [earlier(MINUTE), now.as_millisecond(), earlier(MINUTE + LONGEST_ANSWER), latest]
}

fn recent_imports(connection: &Connection, now: Timestamp) -> db::Result<Vec<RecentImports>> {
    // A ledger of the first version that is only read.
    if !connection.has_column("attempts", "left_at")? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT m.base_url, m.api_key, at FROM manifests m JOIN (SELECT e.manifest AS name, {ARRIVED}) r USING (name)"
    );
    let mut recent: Vec<RecentImports> = Vec::new();
    connection.prepare(&sql)?.each(times(now), |row| {
        let (base_url, api_key, at): (String, String, Timestamp) = (row.get(0)?, row.get(1)?, time(row.get(2)?));
        match recent.iter_mut().find(|it| it.base_url == base_url && it.api_key == api_key) {
            Some(known) => known.at.push(at),
            None => recent.push(RecentImports { base_url, api_key, at: vec![at] }),
        }
        Ok(())
    })?;
    Ok(recent)
}

/// A request that the server did not count (a 429, no connection) is none. What lies more than a minute in the future
/// was noted before the clock was set back, and tells nothing.
pub(super) fn recent_requests(connection: &Connection, key: Fingerprint, now: Timestamp) -> db::Result<RecentRequests> {
    let mut recent = RecentRequests::default();
    let times = times(now);
    let [since, _, _, latest] = times;
    let mut imports = connection.prepare(&format!("SELECT {ARRIVED} AND e.key = ?5"))?;
    let of = params![times[0], times[1], times[2], times[3], key.as_bytes()];
    imports.each(of, |row| {
        recent.writes.push(time(row.get(0)?).min(now));
        Ok(())
    })?;
    let mut others = connection
        .prepare("SELECT budget = 'writes', requests, until FROM sends WHERE key = ?1 AND until > ?2 AND until < ?3")?;
    others.each(params![key.as_bytes(), since, latest], |row| {
        let (is_write, requests, until): (bool, u32, _) = (row.get(0)?, row.get(1)?, time(row.get(2)?));
        let of = if is_write { &mut recent.writes } else { &mut recent.reads };
        of.extend(std::iter::repeat_n(until.min(now), requests as usize));
        Ok(())
    })?;
    Ok(recent)
}

#[cfg(test)]
mod tests {
    use super::super::LedgerFile;
    use super::super::records::{
        AnswerKind, BudgetKind, EntryId, Intent, NewEntry, Origin, Outcome, Receiver, RunId, Settings, State,
    };
    use super::*;
    use crate::token::FingerprintKey;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn key(n: u8) -> Fingerprint {
        FingerprintKey::from_bytes([7; 32]).fingerprint(&[n])
    }

    async fn ledger(folder: &tempfile::TempDir) -> (Ledger, RunId) {
        let location = LedgerFile { path: folder.path().join("ledger.db"), allow_network_fs: true };
        let ledger = Ledger::open_for_simulation(&location).unwrap();
        let origin = Origin { actor: "ann".to_owned(), reason: None, reference: None };
        let run = ledger.begin_run("apply", origin, at(0)).await.unwrap();
        (ledger, run)
    }

    fn intent(run: RunId, n: u8, left_at: Timestamp) -> Intent {
        Intent {
            entry: None,
            describe: NewEntry {
                manifest: "acme".to_owned(),
                label: format!("e{n}"),
                receiver: Receiver { application_id: None, base_url: "http://[::1]".to_owned(), key: Some(key(1)) },
                source_session_id: None,
                from_application_id: None,
                session_kind: None,
                place: "m.yaml:1".to_owned(),
            },
            run,
            // A server's clock that is a day off changes nothing.
            sent_at: left_at.saturating_sub(SignedDuration::from_hours(24)).unwrap(),
            left_at,
            token: key(n),
            token_expires_at: None,
            settings: Settings { workflow_id: Some(uuid::Uuid::nil()), trust_review: Some(false), vendor_data: None },
        }
    }

    async fn answer(
        ledger: &Ledger,
        run: RunId,
        sent: (EntryId, super::super::records::AttemptId),
        second: i64,
        kind: AnswerKind,
    ) {
        let outcome = Outcome {
            entry: sent.0,
            run,
            at: at(second),
            attempt: Some((sent.1, kind)),
            state: State::Sending,
            session: None,
            source_session_id: None,
            session_kind: None,
            error: None,
            evidence: None,
        };
        ledger.settle(outcome).await.unwrap();
    }

    #[tokio::test]
    async fn an_import_counts_from_its_answer_or_from_the_last_moment_at_which_it_can_have_arrived() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, run) = ledger(&folder).await;
        let answered = ledger.intend(intent(run, 1, at(0))).await.unwrap();
        answer(&ledger, run, answered, 3, AnswerKind::Unknown).await;
        let throttled = ledger.intend(intent(run, 2, at(0))).await.unwrap();
        answer(&ledger, run, throttled, 3, AnswerKind::NotProcessed).await;
        ledger.intend(intent(run, 3, at(4))).await.unwrap();
        let writes = |now| {
            let ledger = ledger.clone();
            async move { ledger.recent_requests(key(1), at(now)).await.unwrap().writes }
        };
        assert_eq!(writes(5).await, [at(3), at(5)]);
        assert_eq!(writes(30).await, [at(3), at(14)]);
        assert_eq!(writes(70).await, [at(14)]);
        assert_eq!(writes(80).await, []);
        assert_eq!(ledger.recent_requests(key(9), at(5)).await.unwrap(), RecentRequests::default());
    }

    #[tokio::test]
    async fn of_an_open_block_all_is_taken_to_be_sent_and_of_a_closed_one_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = ledger(&folder).await;
        let reads = BudgetKind::Reads;
        let reserve = |budget, requests, until, before| Reservation { key: key(1), budget, requests, until, before };
        let first = ledger.reserve(reserve(reads, 8, at(5), None)).await.unwrap();
        assert_eq!(ledger.recent_requests(key(1), at(6)).await.unwrap().reads, vec![at(5); 8]);
        let done = Block { id: first, sent: 2, last: at(4) };
        ledger.reserve(reserve(reads, 4, at(11), Some(done))).await.unwrap();
        ledger.reserve(reserve(BudgetKind::Writes, 1, at(6), None)).await.unwrap();
        let recent = ledger.recent_requests(key(1), at(8)).await.unwrap();
        // What a block may still send counts from now on.
        assert_eq!(recent.reads, [at(4), at(4), at(8), at(8), at(8), at(8)]);
        assert_eq!(recent.writes, [at(6)]);
    }

    #[tokio::test]
    async fn what_was_noted_before_the_clock_was_set_back_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, run) = ledger(&folder).await;
        ledger.intend(intent(run, 1, at(86_400))).await.unwrap();
        let until = at(86_400);
        let block = Reservation { key: key(1), budget: BudgetKind::Reads, requests: 8, until, before: None };
        ledger.reserve(block).await.unwrap();
        assert_eq!(ledger.recent_requests(key(1), at(0)).await.unwrap(), RecentRequests::default());
    }
}
