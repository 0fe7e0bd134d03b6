//! Whose a record is, held against the rule as it reads: each entry in turn looks through all records.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::{Item, Past, Snapshot, receiver};
use super::{Spec, identity, manifests, now, token};
use crate::ledger::records::{
    EntryId, Identity, Receiver, RecentImports, Record, RunId, Settings, Sketch, Sought, State,
};
use crate::ledger::token_hash;
use crate::manifest::{Entry, Manifest, Manifests};
use crate::token::Fingerprint;

/// What a record is made of: numbers are small, so that records and entries meet.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Row {
    source: Option<u128>,
    source_hash: bool,
    token: Option<u8>,
    token_hashed: bool,
    state: State,
    application: Option<u128>,
    other_url: bool,
    ours: bool,
}

fn row() -> impl Strategy<Value = Row> {
    (
        proptest::option::weighted(0.6, 1_u128..5),
        any::<bool>(),
        proptest::option::weighted(0.7, 0_u8..5),
        proptest::bool::weighted(0.3),
        proptest::sample::select(State::ALL.to_vec()),
        proptest::option::weighted(0.2, 1_u128..3),
        proptest::bool::weighted(0.2),
        any::<bool>(),
    )
        .prop_map(|(source, source_hash, token, token_hashed, state, application, other_url, ours)| Row {
            source,
            source_hash,
            token,
            token_hashed,
            state,
            application,
            other_url,
            ours,
        })
}

fn spec() -> impl Strategy<Value = Spec> {
    proptest::option::weighted(0.6, 1_u128..5).prop_map(|source| Spec {
        source,
        business: false,
        trust: false,
        vendor_data: None,
        minutes: None,
    })
}

fn record(row: &Row, n: i64, specs: &[Spec]) -> Record {
    let key = identity().key;
    // The token of the entry at that place, where there is one; of a row of the ledger's own else.
    let token = row.token.map(|at| match specs.get(usize::from(at)) {
        Some(spec) => token(spec, usize::from(at)).fingerprint(&key),
        None => key.fingerprint(&[at]),
    });
    let hash = row.token.filter(|_| row.source.is_none() && row.source_hash);
    let source_hash = hash.map(|at| match (at % 2, token) {
        (0, Some(token)) => token_hash(&key, &token),
        _ => key.fingerprint(Uuid::from_u128(u128::from(at)).to_string().as_bytes()),
    });
    Record {
        id: EntryId(n),
        manifest: if row.ours { "m" } else { "other" }.to_owned(),
        label: format!("row {n}"),
        receiver: Receiver {
            application_id: row.application.map(Uuid::from_u128),
            base_url: if row.other_url { "https://else.example" } else { "https://verification.didit.me" }.to_owned(),
            key: None,
        },
        source_session_id: row.source.map(Uuid::from_u128),
        source_hash,
        token: token.map(|token| if row.token_hashed { token_hash(&key, &token) } else { token }),
        from_application_id: None,
        session_kind: None,
        state: row.state,
        settings: Settings::default(),
        answer_lost: false,
        answered: false,
        attempts: 1,
        first_sent_at: None,
        session: None,
        imported_at: None,
        error: None,
        place: "m.yaml:1".to_owned(),
        run: RunId(1),
        audited_at: None,
    }
}

/// The rule, without an index.
fn take(records: &[Record], taken: &mut HashSet<EntryId>, manifest: &Manifest, entry: &Entry) -> Option<EntryId> {
    let receiver = receiver(manifest, entry);
    let fits = |it: &&Record| it.receiver.as_ref().matches(receiver.as_ref());
    let free = |it: &&Record| it.state == State::Erased || !taken.contains(&it.id);
    let best = candidates(records, entry)
        .into_iter()
        .filter(fits)
        .filter(free)
        .max_by_key(|it| (it.state == State::Erased, it.manifest == manifest.name, std::cmp::Reverse(it.id)))?;
    taken.insert(best.id);
    Some(best.id)
}

fn candidates<'r>(records: &'r [Record], entry: &Entry) -> Vec<&'r Record> {
    let key = identity().key;
    let all = |is: &dyn Fn(&Record) -> bool| records.iter().filter(|it| is(it)).collect::<Vec<_>>();
    let hashed = |it: &Record, hash: Fingerprint| it.source_session_id.is_none() && it.source_hash == Some(hash);
    if let Some(source) = entry.source_session_id {
        let hash = key.fingerprint(source.to_string().as_bytes());
        let found = all(&|it| it.source_session_id == Some(source) || hashed(it, hash));
        if !found.is_empty() {
            return found;
        }
    }
    let Some(token) = entry.read_token().unwrap().map(|token| token.fingerprint(&key)) else { return Vec::new() };
    let hash = token_hash(&key, &token);
    let any_erased = records.iter().any(|it| it.state == State::Erased);
    all(&|it| {
        let found = it.token == Some(token) || any_erased && (it.token == Some(hash) || hashed(it, hash));
        let source = it.source_session_id;
        found && (entry.source_session_id.is_none() || source.is_none() || source == entry.source_session_id)
    })
}

/// The same records, seen in parts.
struct Parted<'s>(&'s Snapshot, usize);

impl Past for Parted<'_> {
    type Error = std::convert::Infallible;

    fn identity(&self) -> Option<&Identity> {
        self.0.identity()
    }

    fn recent(&self) -> &[RecentImports] {
        self.0.recent()
    }

    fn see_all<S: Send>(
        &self,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, Self::Error> {
        let part = |records: &[Record]| {
            let mut seen = begin();
            for record in records {
                see(&mut seen, &record.sketch());
            }
            seen
        };
        Ok(self.0.records.chunks(self.1).map(part).collect())
    }

    /// No more than what has to be seen.
    fn see_those<S: Send>(
        &self,
        sought: &Sought<'_>,
        begin: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, &Sketch<'_>) + Sync,
    ) -> Result<Vec<S>, Self::Error> {
        let erased = self.0.records.iter().find(|it| it.state == State::Erased).map(|it| it.id);
        let is_sought = |it: &&Record| {
            it.source_session_id.is_none_or(|source| sought.sources.contains(&source))
                || Some(it.id) == erased
                || it.token.is_some_and(|token| sought.tokens.contains(&token))
                || it.state == State::Imported && sought.manifests.contains(&&*it.manifest)
        };
        let records = self.0.records.iter().filter(is_sought).cloned().collect();
        Parted(&Snapshot { records, ..self.0.clone() }, self.1).see_all(begin, see)
    }

    fn records(&self, ids: &[EntryId]) -> Result<Vec<Record>, Self::Error> {
        Past::records(self.0, ids)
    }
}

fn told(manifests: &Arc<Manifests>, past: &impl Past<Error = std::convert::Infallible>, at: Timestamp) -> Vec<Item> {
    let Ok(plan) = super::super::plan(manifests, past, at, false);
    plan.items().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_entry_takes_the_record_that_the_rule_gives_it_and_what_is_left_is_an_orphan(
        specs in proptest::collection::vec(spec(), 0..5),
        rows in proptest::collection::vec(row(), 0..8),
        part in 1_usize..4,
    ) {
        let manifests = Arc::new(manifests(&specs));
        let records: Vec<Record> = rows.iter().zip(1..).map(|(row, n)| record(row, n, &specs)).collect();
        let snapshot = Snapshot { identity: Some(identity()), records, recent: Vec::new() };
        let items = told(&manifests, &snapshot, now());
        let mut taken = HashSet::new();
        let manifest = &manifests.manifests[0];
        let mut entries: Vec<_> = manifest.entries.iter().enumerate().collect();
        entries.sort_by_key(|(_, entry)| entry.label());
        for (e, entry) in entries {
            let item = items.iter().find(|item| item.entry == Some((0, e))).unwrap();
            prop_assert_eq!(item.record, take(&snapshot.records, &mut taken, manifest, entry));
        }
        let left = snapshot.records.iter().filter(|it| it.state == State::Imported && it.manifest == "m");
        let left: HashSet<EntryId> = left.map(|it| it.id).filter(|id| !taken.contains(id)).collect();
        let orphans: HashSet<EntryId> =
            items.iter().filter(|item| item.entry.is_none()).filter_map(|item| item.record).collect();
        prop_assert_eq!(orphans, left);
        prop_assert_eq!(&told(&manifests, &Parted(&snapshot, part), now()), &items);
        // The order of entries decides nothing.
        let mut turned = manifests.manifests.clone();
        turned[0].entries.reverse();
        let turned = Arc::new(Manifests { manifests: turned, warnings: Vec::new() });
        let without_places = |items: Vec<Item>| items.into_iter().map(|item| Item { entry: None, ..item }).collect::<Vec<_>>();
        prop_assert_eq!(without_places(told(&turned, &snapshot, now())), without_places(items));
    }
}
