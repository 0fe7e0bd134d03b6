//! What a ledger's file does without while very many entries are imported at once: two indexes of ids that come in no
//! order. Each row would change a page of its own in both, and the larger they are, the more of what is written to the
//! disk is that. They are made anew in one go, which costs as much as some thousand rows one by one: by the first that
//! looks something up in them, by the run's end or, after a crash, when the file is next opened for writing.
//!
//! Nothing is ever found or not found for want of an index: without it, SQLite reads the table. A server keeps its own.

use super::db::{self, Connection};
use super::{Ledger, LedgerError};

/// Fewer imports keep the indexes; so do those of a ledger that holds more than they are.
const MANY: u64 = 5_000;

/// An index that can be made anew.
#[derive(Clone, Copy, Debug)]
pub(super) enum Index {
    /// Entries by their session.
    Sessions,
    /// Attempts by the `vendor_data` that was sent.
    VendorData,
}

/// All of them.
pub(super) const INDEXES: [Index; 2] = [Index::Sessions, Index::VendorData];

impl Index {
    /// Makes it where it is not there.
    pub(super) fn make(self) -> &'static str {
        match self {
            Self::Sessions => {
                "CREATE INDEX IF NOT EXISTS entries_by_session ON entries (session_id) WHERE session_id IS NOT NULL"
            }
            Self::VendorData => {
                "CREATE INDEX IF NOT EXISTS attempts_by_vendor_data ON attempts (vendor_data) WHERE vendor_data IS NOT NULL"
            }
        }
    }

    fn drop(self) -> &'static str {
        match self {
            Self::Sessions => "DROP INDEX IF EXISTS entries_by_session",
            Self::VendorData => "DROP INDEX IF EXISTS attempts_by_vendor_data",
        }
    }
}

impl Ledger {
    /// So many imports are about to begin: does without indexes where that pays. Whether it does.
    pub async fn put_indexes_off(&self, imports: u64) -> Result<bool, LedgerError> {
        if imports < MANY {
            return Ok(false);
        }
        self.writer
            .call(move |tx| {
                if !tx.is_file() {
                    return Ok(false);
                }
                let entries: i64 = tx.query_row("SELECT coalesce(max(id), 0) FROM entries", (), |row| row.get(0))?;
                let pays = u64::try_from(entries).is_ok_and(|entries| entries <= imports);
                if pays {
                    INDEXES.iter().try_for_each(|index| tx.batch(index.drop()))?;
                }
                Ok(pays)
            })
            .await
    }
}

/// Something is about to be looked up by this index.
pub(super) fn need(tx: &Connection, index: Index) -> db::Result<()> {
    if tx.is_file() { tx.batch(index.make()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::didit::Class;
    use crate::ledger::records::{EntryId, RecordedError, State};
    use crate::ledger::tests::reported::ended;
    use crate::ledger::tests::{begin, imported, intent, now, place};
    use crate::ledger::{LedgerFile, Reader};

    /// What the file says of those indexes that it has.
    fn indexes(file: &LedgerFile) -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE name IN ('entries_by_session', 'attempts_by_vendor_data') ORDER BY name";
        let connection = rusqlite::Connection::open(&file.path).unwrap();
        let mut query = connection.prepare(sql).unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    async fn import(ledger: &Ledger, numbers: std::ops::RangeInclusive<u128>) -> EntryId {
        let run = begin(ledger).await;
        let mut last = EntryId(0);
        for n in numbers {
            let (entry, attempt) = ledger.intend(intent(run, n, None)).await.unwrap();
            ledger.settle(imported(run, entry, attempt, 100 + n)).await.unwrap();
            last = entry;
        }
        last
    }

    #[tokio::test]
    async fn indexes_are_put_off_only_where_very_many_come_to_few() {
        let place = place();
        let ledger = Ledger::open(&place.location).unwrap();
        let run = begin(&ledger).await;
        let of_schema = indexes(&place.file);
        assert!(!ledger.put_indexes_off(MANY - 1).await.unwrap());
        assert_eq!(indexes(&place.file).len(), 2);
        assert!(ledger.put_indexes_off(MANY).await.unwrap());
        assert!(indexes(&place.file).is_empty());
        ledger.end_run(run, ended(now())).await.unwrap();
        assert_eq!(indexes(&place.file), of_schema);
        let expired = vec![intent(run, 1, None).describe; MANY as usize + 1];
        let error = RecordedError { class: Class::TokenExpired, http_status: None, detail: String::new() };
        ledger.keep_expired(expired, run, error).await.unwrap();
        assert!(!ledger.put_indexes_off(MANY).await.unwrap());
        assert_eq!(indexes(&place.file).len(), 2);
    }

    #[tokio::test]
    async fn what_is_looked_up_meanwhile_is_found_and_brings_its_index_back() {
        let place = place();
        let ledger = Ledger::open(&place.location).unwrap();
        import(&ledger, 1..=3).await;
        assert!(ledger.put_indexes_off(MANY).await.unwrap());
        let last = import(&ledger, 4..=6).await;
        let session = Uuid::from_u128(106);
        let reader = Reader::require(&place.location).unwrap();
        assert_eq!(reader.named(&[session.to_string()]).unwrap(), [[(last, State::Imported)]]);
        drop(reader);
        assert!(indexes(&place.file).is_empty());
        assert_eq!(ledger.owners(vec![session, Uuid::from_u128(101)]).await.unwrap().len(), 2);
        assert_eq!(indexes(&place.file).len(), 1);
        assert!(!ledger.vendor_data_is_shared(last, "acme-6".to_owned()).await.unwrap());
        assert!(ledger.vendor_data_is_shared(last, "acme-5".to_owned()).await.unwrap());
        assert_eq!(indexes(&place.file).len(), 2);
    }

    #[tokio::test]
    async fn after_a_crash_the_next_writer_makes_them() {
        let place = place();
        let ledger = Ledger::open(&place.location).unwrap();
        assert!(ledger.put_indexes_off(MANY).await.unwrap());
        import(&ledger, 1..=2).await;
        drop(ledger);
        assert!(indexes(&place.file).is_empty());
        drop(Ledger::open(&place.location).unwrap());
        assert_eq!(indexes(&place.file).len(), 2);
    }
}
