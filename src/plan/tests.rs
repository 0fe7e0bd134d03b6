//! Properties of the planner: the plan of what was just applied is all `unchanged`, and order changes nothing.

mod matching;

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use url::Url;
use uuid::Uuid;

use super::{Action, Plan, Snapshot, receiver};
use crate::didit::Class;
use crate::ledger::records::{EntryId, Identity, Record, RecordedError, RunId, Session, Settings, State};
use crate::manifest::{
    Application, Digest, Entry, Limits, Manifest, Manifests, Mint, Partner, Place, SecretRef, Shared, TokenSource,
    Vendor, WorkflowChoice,
};
use crate::token::{FingerprintKey, SessionKind, ShareToken};
use crate::verify::Expectations;

fn plan(manifests: &Manifests, snapshot: &Snapshot, now: Timestamp, retry_refused: bool) -> Plan {
    let Ok(plan) = super::plan(&Arc::new(manifests.clone()), snapshot, now, retry_refused);
    plan
}

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

#[derive(Clone, Debug)]
struct Spec {
    source: Option<u128>,
    business: bool,
    trust: bool,
    vendor_data: Option<String>,
    minutes: Option<i64>,
}

fn spec() -> impl Strategy<Value = Spec> {
    (
        proptest::option::weighted(0.8, 1_u128..1_000_000),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of("[a-z]{1,8}"),
        proptest::option::of(-5_i64..100),
    )
        .prop_map(|(source, business, trust, vendor_data, minutes)| Spec {
            source,
            business,
            trust,
            vendor_data,
            minutes,
        })
}

fn token(spec: &Spec, n: usize) -> ShareToken {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = match spec.source {
        None => format!("unreadable {n}"),
        Some(source) => serde_json::json!({
            "session_id": Uuid::from_u128(source),
            "session_kind": if spec.business { "business" } else { "user" },
            "exp": spec.minutes.map(|minutes| now().as_second() + 60 * minutes),
        })
        .to_string(),
    };
    let text = format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln{n}", URL_SAFE_NO_PAD.encode(claims));
    ShareToken::parse(&text).unwrap()
}

fn entry(spec: &Spec, n: usize) -> Entry {
    let token = token(spec, n);
    let claims = token.unverified_claims();
    let place = Place { file: "m.yaml".into(), line: n as u32 + 1 };
    let shared = Shared::new(WorkflowChoice::One(Uuid::from_u128(77)), spec.trust);
    let vendor = spec.vendor_data.as_ref().map_or(Vendor::None, |text| Vendor::Own(text.into()));
    let mut entry = Entry::new(place, Arc::new(shared));
    entry.learn(claims.as_ref());
    (entry.token, entry.vendor) = (TokenSource::Literal(token), vendor);
    entry
}

fn manifests(specs: &[Spec]) -> Manifests {
    let mut seen = std::collections::HashSet::new();
    let entries: Vec<Entry> = specs
        .iter()
        .enumerate()
        .filter(|(_, spec)| spec.source.is_none_or(|source| seen.insert(source)))
        .map(|(n, spec)| entry(spec, n))
        .collect();
    let manifest = Manifest {
        partners: Vec::new(),
        path: "m.yaml".to_owned(),
        name: "m".to_owned(),
        digest: Digest::default(),
        application: Application {
            id: None,
            base_url: Url::parse("https://verification.didit.me").unwrap(),
            api_key: SecretRef::Env("KEY".to_owned()),
        },
        limits: Limits::default(),
        expect: Expectations::default(),
        entries,
        unused_tokens: 0,
        patterns: Vec::new(),
    };
    Manifests { manifests: vec![manifest], warnings: Vec::new() }
}

fn identity() -> Identity {
    Identity { id: Uuid::from_u128(1), generation: 0, key: FingerprintKey::from_bytes([3; 32]) }
}

/// What the ledger holds when a run has imported whatever the plan asked to send.
fn applied(manifests: &Manifests, plan: &Plan, identity: &Identity) -> Snapshot {
    let sent = plan.items().filter(|item| item.action == Action::Import);
    let records = sent
        .enumerate()
        .map(|(n, item)| {
            let (m, e) = item.entry.unwrap();
            let (manifest, entry) = (&manifests.manifests[m], &manifests.manifests[m].entries[e]);
            Record {
                id: EntryId(n as i64 + 1),
                manifest: item.manifest.clone(),
                label: item.id.clone(),
                receiver: receiver(manifest, entry),
                source_session_id: item.source_session_id,
                source_hash: None,
                token: entry.read_token().unwrap().map(|token| token.fingerprint(&identity.key)),
                from_application_id: None,
                session_kind: item.session_kind,
                state: State::Imported,
                settings: Settings {
                    workflow_id: item.workflow_id,
                    trust_review: item.trust_review,
                    vendor_data: item.vendor_data.clone(),
                },
                answer_lost: false,
                answered: true,
                attempts: 1,
                first_sent_at: Some(now()),
                session: Some(Session {
                    session_id: Uuid::from_u128(1000 + n as u128),
                    session_number: None,
                    session_url: None,
                    status: None,
                }),
                imported_at: Some(now()),
                error: None,
                place: item.place.clone(),
                run: RunId(1),
                audited_at: None,
            }
        })
        .collect();
    Snapshot { identity: Some(identity.clone()), records, recent: Vec::new() }
}

proptest! {
    #[test]
    fn the_plan_of_unchanged_input_after_apply_is_all_unchanged(specs in proptest::collection::vec(spec(), 0..30)) {
        let manifests = manifests(&specs);
        let identity = identity();
        let empty = Snapshot { identity: Some(identity.clone()), records: Vec::new(), recent: Vec::new() };
        let first = plan(&manifests, &empty, now(), false);
        prop_assert_eq!(first.pending() + first.count(Action::Expired), first.len() as u64);
        let snapshot = applied(&manifests, &first, &identity);
        // A day later every token is dead, which changes nothing for what is imported.
        let later = now().checked_add(jiff::SignedDuration::from_hours(24)).unwrap();
        for at in [now(), later] {
            let second = plan(&manifests, &snapshot, at, false);
            prop_assert_eq!(second.count(Action::Unchanged), first.pending());
            prop_assert_eq!(second.pending() + second.count(Action::Orphan), 0);
        }
    }

    #[test]
    fn the_order_of_entries_changes_nothing(specs in proptest::collection::vec(spec(), 0..20)) {
        let manifests = manifests(&specs);
        let mut turned = manifests.clone();
        turned.manifests[0].entries.reverse();
        let strip = |plan: Plan| -> Vec<_> {
            plan.items().map(|item| (item.id, item.action, item.vendor_data, item.place)).collect()
        };
        let empty = Snapshot::default();
        prop_assert_eq!(
            strip(plan(&manifests, &empty, now(), false)),
            strip(plan(&turned, &empty, now(), false))
        );
    }

    #[test]
    fn another_token_for_the_same_session_makes_no_second_entry(specs in proptest::collection::vec(spec(), 1..20)) {
        let manifests = manifests(&specs);
        let identity = identity();
        let empty = Snapshot { identity: Some(identity.clone()), records: Vec::new(), recent: Vec::new() };
        let first = plan(&manifests, &empty, now(), false);
        let snapshot = applied(&manifests, &first, &identity);
        let mut reminted = manifests.clone();
        for (n, entry) in reminted.manifests[0].entries.iter_mut().enumerate() {
            if let Some(source) = entry.source_session_id {
                let spec = Spec { source: Some(source.as_u128()), business: entry.session_kind == Some(SessionKind::Business), trust: false, vendor_data: None, minutes: Some(50) };
                entry.token = TokenSource::Literal(token(&spec, 1000 + n));
            }
        }
        let second = plan(&reminted, &snapshot, now(), false);
        let known = first.items().filter(|item| item.action == Action::Import && item.source_session_id.is_some());
        for item in known {
            let again = second.items().find(|it| it.id == item.id).unwrap();
            prop_assert_eq!(again.action, Action::Unchanged);
        }
    }
}

#[test]
fn an_entry_that_left_its_manifest_is_an_orphan_and_stays() {
    let spec = Spec { source: Some(1), business: false, trust: false, vendor_data: None, minutes: Some(9) };
    let manifests = manifests(&[spec]);
    let identity = identity();
    let first =
        plan(&manifests, &Snapshot { identity: Some(identity.clone()), records: vec![], recent: vec![] }, now(), false);
    let snapshot = applied(&manifests, &first, &identity);
    let mut emptied = manifests;
    emptied.manifests[0].entries.clear();
    let second = plan(&emptied, &snapshot, now(), false);
    assert_eq!((second.len(), second.item(0).action), (1, Action::Orphan));
}

/// Manifests whose one entry is minted.
fn minting() -> Manifests {
    let spec = Spec { source: Some(1), business: false, trust: true, vendor_data: None, minutes: None };
    let mut manifests = manifests(&[spec]);
    let manifest = &mut manifests.manifests[0];
    manifest.partners =
        vec![Partner { name: "bank".to_owned(), api_key: SecretRef::Env("BANK".to_owned()), writes_per_minute: 300 }];
    let entry = &mut manifest.entries[0];
    let session_id = entry.source_session_id.unwrap();
    let ttl = std::time::Duration::from_mins(15);
    entry.token = TokenSource::Mint(Box::new(Mint { partner: "bank".to_owned(), session_id, ttl }));
    entry.learn(None);
    manifests
}

#[test]
fn an_entry_that_is_minted_needs_no_token_and_never_expires() {
    let manifests = minting();
    let identity = identity();
    let empty = Snapshot { identity: Some(identity.clone()), records: vec![], recent: vec![] };
    let first = plan(&manifests, &empty, now(), false);
    let item = &first.item(0);
    assert_eq!((item.action, item.expires_at), (Action::Import, None));
    assert_eq!((first.forecast.writes, first.forecast.reads, first.forecast.trusted), (2, 3, 1));

    let mut snapshot = applied(&manifests, &first, &identity);
    snapshot.records[0].token = Some(identity.key.fingerprint(b"the token minted then"));
    let action = |snapshot: &Snapshot| plan(&manifests, snapshot, now(), false).item(0).action;
    assert_eq!(action(&snapshot), Action::Unchanged);
    for (state, expected) in
        [(State::Sending, Action::Recover), (State::Expired, Action::Import), (State::Erased, Action::Erased)]
    {
        snapshot.records[0].state = state;
        assert_eq!(action(&snapshot), expected, "{state:?}");
    }
    // Whatever it was refused for, a token can be minted anew.
    snapshot.records[0].state = State::Refused;
    for class in Class::ALL {
        snapshot.records[0].error = Some(RecordedError { class, http_status: None, detail: String::new() });
        assert_eq!(action(&snapshot), Action::Retry, "{class}");
    }
}
