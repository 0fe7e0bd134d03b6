//! The user's own rules as of each manifest's last apply, for audits without a manifest (promise 10).
//!
//! Those of a manifest's defaults stand with its facts. Here are the lists of entries for which others hold, each list
//! once. Entries are told by keyed hashes, so that nothing here names one; an erasure takes its list away all the same,
//! since a rule may quote what it is about.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::db::{self, Connection, params};
use serde_json::Value;
use uuid::Uuid;

use super::{Ledger, LedgerError};
use crate::token::{Fingerprint, FingerprintKey};

/// What the ledger keeps: the list of each entry that has one, as JSON or as it is read.
#[derive(Clone, Debug)]
pub struct KeptRules<T = Value> {
    lists: HashMap<i64, T>,
    of: HashMap<(String, [u8; 32]), i64>,
    key: FingerprintKey,
}

impl KeptRules {
    /// The same of some manifests alone, each list read. `read` is told a manifest that has it.
    pub fn read<T, E>(
        mut self,
        is_of: impl Fn(&str) -> bool,
        mut read: impl FnMut(&str, &Value) -> Result<T, E>,
    ) -> Result<KeptRules<T>, E> {
        self.of.retain(|(manifest, _), _| is_of(manifest));
        let mut lists = HashMap::new();
        for ((manifest, _), list) in &self.of {
            if let (Entry::Vacant(place), Some(kept)) = (lists.entry(*list), self.lists.get(list)) {
                place.insert(read(manifest, kept)?);
            }
        }
        Ok(KeptRules { lists, of: self.of, key: self.key })
    }
}

impl<T> KeptRules<T> {
    /// The rules of an entry; `None` where those of its manifest's defaults hold.
    #[must_use]
    pub fn of(&self, manifest: &str, source: Option<Uuid>, label: &str) -> Option<&T> {
        if self.of.is_empty() {
            return None;
        }
        let key = &self.key;
        let names = source.map(|source| name(key, Some(source), label)).into_iter().chain([name(key, None, label)]);
        let list = names.into_iter().find_map(|name| self.of.get(&(manifest.to_owned(), *name.as_bytes())))?;
        self.lists.get(list)
    }
}

/// What an entry is kept under.
fn name(key: &FingerprintKey, source: Option<Uuid>, label: &str) -> Fingerprint {
    match source {
        Some(source) => key.fingerprint(source.to_string().as_bytes()),
        None => key.fingerprint(label.as_bytes()),
    }
}

/// The rules of one entry.
#[derive(Clone, Debug)]
pub struct EntryRules {
    /// Its source session, where that is known.
    pub source: Option<Uuid>,
    /// Its label.
    pub label: String,
    /// Its rules, as JSON.
    pub rules: Value,
}

/// Keeps the lists of a manifest's entries, in place of what was kept of it.
pub(super) fn keep(tx: &Connection, key: &FingerprintKey, manifest: &str, entries: &[EntryRules]) -> db::Result<()> {
    tx.execute("DELETE FROM entry_rules WHERE manifest = ?1", [manifest])?;
    let mut lists: HashMap<String, i64> = HashMap::new();
    for entry in entries {
        let text = entry.rules.to_string();
        let list = match lists.get(&text) {
            Some(list) => *list,
            None => list_of(tx, &text)?,
        };
        lists.insert(text, list);
        let name = name(key, entry.source, &entry.label);
        tx.prepare(
            "INSERT INTO entry_rules (manifest, entry, rules) VALUES (?1, ?2, ?3)
             ON CONFLICT (manifest, entry) DO UPDATE SET rules = excluded.rules",
        )?
        .execute(params![manifest, name.as_bytes(), list])?;
    }
    drop_unused(tx)
}

impl Ledger {
    /// The rules that are kept of entries.
    pub async fn kept_rules(&self) -> Result<KeptRules, LedgerError> {
        let key = self.identity().key.clone();
        self.writer
            .call(move |tx| {
                let lists = tx
                    .prepare("SELECT id, rules FROM rule_lists")?
                    .query_all((), |row| Ok((row.get(0)?, super::read::json(row, 1)?)))?;
                let of = tx
                    .prepare("SELECT manifest, entry, rules FROM entry_rules")?
                    .query_all((), |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
                Ok(KeptRules { lists: lists.into_iter().collect(), of: of.into_iter().collect(), key: key.clone() })
            })
            .await
    }
}

fn list_of(tx: &Connection, text: &str) -> db::Result<i64> {
    tx.execute("INSERT INTO rule_lists (rules) VALUES (?1) ON CONFLICT (rules) DO NOTHING", [text])?;
    tx.query_row("SELECT id FROM rule_lists WHERE rules = ?1", [text], |row| row.get(0))
}

fn drop_unused(tx: &Connection) -> db::Result<()> {
    tx.execute("DELETE FROM rule_lists WHERE id NOT IN (SELECT rules FROM entry_rules)", ()).map(drop)
}

/// Takes away what is kept of an entry that is being erased.
pub(super) fn erase(tx: &Connection, key: &FingerprintKey, source: Option<&str>, entry: i64) -> db::Result<()> {
    let (manifest, label): (String, String) =
        tx.query_row("SELECT manifest, label FROM entries WHERE id = ?1", [entry], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if let Some(source) = source {
        let name = key.fingerprint(source.as_bytes());
        tx.execute("DELETE FROM entry_rules WHERE entry = ?1", [name.as_bytes()])?;
    }
    let name = key.fingerprint(label.as_bytes());
    tx.execute("DELETE FROM entry_rules WHERE manifest = ?1 AND entry = ?2", params![manifest, name.as_bytes()])?;
    drop_unused(tx)
}
