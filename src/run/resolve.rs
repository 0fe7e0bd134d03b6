//! Looking for the session of an entry whose answer was lost (spec section 6, promises 2 and 3).
//!
//! Candidates are the listed sessions of the entry's kind and vendor data; without vendor data, those made since the
//! first attempt. A `shared_from_session` equal to the source is proof. Where no read returns that field, the only
//! candidate is taken if nothing else can explain it. Everything else is ambiguous and left to a person, with the
//! evidence kept.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::lane::{CallError, Lane};
use super::listing::{self, is_young_enough};
use crate::didit::{Decision, Presence, SessionRow};
use crate::ledger::Ledger;
use crate::ledger::records::{EntryId, Evidence};
use crate::lifecycle::Lookup;
use crate::token::SessionKind;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The entry's row.
    pub entry: EntryId,
    /// The source session, where known.
    pub source: Option<Uuid>,
    /// The kind, where known.
    pub kind: Option<SessionKind>,
    /// The vendor data that was sent.
    pub vendor_data: Option<String>,
    /// When the first request left, by the server's clock; `None` only where the server said that the session
    /// existed before anybody asked here, so that it can be of any age.
    pub since: Option<Timestamp>,
    /// Whether another entry of the ledger sent the same vendor data; asked once the sessions are listed.
    pub vendor_data_is_shared: bool,
}

/// One session that may be the entry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub session_id: Uuid,
    /// What its decision says of its source.
    pub source: Source,
    /// Whether it carries the vendor data that was sent.
    pub carries: Carries,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Whether it belongs to another entry of the ledger.
    pub owned: bool,
}

/// What a decision says of a session's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Shared from this session.
    Of(Uuid),
    /// The field is there and empty: it was not imported.
    Own,
    /// This version of the API doesn't say.
    Untold,
}

/// Whether a session carries the vendor data that was sent, by its row and its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// One says so, and the other does not contradict.
    Yes,
    /// One says another, or none.
    No,
    /// Neither says anything.
    Untold,
}

/// Judges candidates. Pure. `complete` says whether they are all that the server lists.
#[must_use]
pub fn judge(wanted: &Wanted, candidates: &[Candidate], complete: bool) -> (Lookup, Evidence) {
    let evidence = |verdict, session_id, detail: String| Evidence { verdict, session_id, detail };
    let free: Vec<_> = candidates.iter().filter(|candidate| !candidate.owned).collect();
    if let Some(source) = wanted.source
        && let Some(proof) = free.iter().find(|candidate| candidate.source == Source::Of(source))
    {
        let detail = format!("shared_from_session is {source}");
        return (Lookup::Found, evidence("proof", Some(proof.session_id), detail));
    }
    let possible: Vec<_> = free
        .iter()
        .filter(|candidate| match candidate.source {
            Source::Of(source) => wanted.source.is_none_or(|wanted| wanted == source),
            Source::Own => false,
            Source::Untold => true,
        })
        .filter(|candidate| wanted.vendor_data.is_none() || candidate.carries != Carries::No)
        .filter(|candidate| is_young_enough(wanted.since, candidate.created_at))
        .collect();
    if !complete {
        let detail = format!("{} sessions were looked at, and there are more of them", candidates.len());
        return (Lookup::Ambiguous, evidence("ambiguous", None, detail));
    }
    let Some(first) = possible.first() else {
        let detail = format!("{} listed, none of them can be this entry's", candidates.len());
        return (Lookup::Nothing, evidence("none", None, detail));
    };
    let told_apart = first.carries == Carries::Yes && !wanted.vendor_data_is_shared;
    if possible.len() == 1 && told_apart && (wanted.since.is_none() || first.created_at.is_some()) {
        let detail = "the only session with this entry's vendor_data, which no other entry sent".to_owned();
        return (Lookup::Found, evidence("sole-candidate", Some(first.session_id), detail));
    }
    let ids: Vec<_> = possible.iter().take(5).map(|candidate| candidate.session_id.to_string()).collect();
    let detail = match ids.as_slice() {
        [id] => format!("session {id} may be this entry's, and nothing proves it"),
        _ => format!("{} sessions may be this entry's: {}", possible.len(), ids.join(", ")),
    };
    (Lookup::Ambiguous, evidence("ambiguous", None, detail))
}

/// What a lookup brought: the verdict, its evidence, and the session's decision if it was found.
#[derive(Debug)]
pub struct Looked {
    /// The verdict.
    pub lookup: Lookup,
    /// Why.
    pub evidence: Evidence,
    /// The session.
    pub decision: Option<Arc<Decision>>,
}

/// Looks for the entry's session. Whose the listed sessions are, and who else sent the same vendor data, is asked
/// after they were listed: whoever made one of them had said so in the ledger by then.
pub async fn look_up(lane: &Lane, ledger: &Ledger, mut wanted: Wanted) -> Result<Looked, CallError> {
    let (rows, complete) = list(lane, &wanted).await?;
    let owned: HashSet<Uuid> = ledger
        .owners(rows.iter().map(|row| row.session_id).collect())
        .await?
        .into_iter()
        .filter(|(_, owner)| *owner != wanted.entry)
        .map(|(session, _)| session)
        .collect();
    if let Some(vendor_data) = &wanted.vendor_data {
        wanted.vendor_data_is_shared = ledger.vendor_data_is_shared(wanted.entry, vendor_data.clone()).await?;
    }
    let mut candidates = Vec::new();
    let mut decisions = Vec::new();
    for row in rows {
        let owned = owned.contains(&row.session_id);
        let decision = if owned { None } else { lane.decision_for_lookup(row.session_id).await? };
        if decision.is_none() && !owned {
            continue;
        }
        candidates.push(candidate(&wanted, &row, decision.as_deref(), owned));
        decisions.extend(decision);
        if wanted.source.is_some_and(|source| candidates.last().is_some_and(|it| it.source == Source::Of(source))) {
            break;
        }
    }
    let (lookup, evidence) = judge(&wanted, &candidates, complete);
    let decision = decisions.into_iter().find(|decision| Some(decision.session_id) == evidence.session_id);
    Ok(Looked { lookup, evidence, decision })
}

fn candidate(wanted: &Wanted, row: &SessionRow, decision: Option<&Decision>, owned: bool) -> Candidate {
    let source = decision.map_or(Source::Untold, |decision| match decision.shared_from_session {
        Some(source) => Source::Of(source),
        None if decision.json.get("shared_from_session").is_some() => Source::Own,
        None => Source::Untold,
    });
    let created_at = decision.and_then(|decision| decision.created_at).or(row.created_at);
    let told = [Some(&row.vendor_data), decision.map(|decision| &decision.vendor_data)];
    let carries = carries(wanted.vendor_data.as_deref(), told.into_iter().flatten());
    Candidate { session_id: row.session_id, source, carries, created_at, owned }
}

fn carries<'t>(sent: Option<&str>, told: impl Iterator<Item = &'t Presence<String>>) -> Carries {
    told.fold(Carries::Untold, |so_far, told| match told {
        Presence::Absent => so_far,
        Presence::Value(value) if Some(value.as_str()) == sent && so_far != Carries::No => Carries::Yes,
        Presence::Value(_) | Presence::Null => Carries::No,
    })
}

/// The listed sessions that can be the entry's, and whether they are all there are.
async fn list(lane: &Lane, wanted: &Wanted) -> Result<(Vec<SessionRow>, bool), CallError> {
    let kinds = wanted.kind.map_or(vec![SessionKind::User, SessionKind::Business], |kind| vec![kind]);
    let mut rows = Vec::new();
    let mut complete = true;
    for kind in kinds {
        let listed = match &wanted.vendor_data {
            Some(vendor_data) => listing::with_vendor_data(lane, kind, vendor_data).await?,
            None => listing::made_since(lane, kind, wanted.since).await?,
        };
        // No decision is fetched of what can't be the session.
        let possible =
            |row: &&SessionRow| wanted.vendor_data.is_some() || is_young_enough(wanted.since, row.created_at);
        rows.extend(listed.rows.iter().filter(possible).cloned());
        complete &= listed.complete;
    }
    Ok((rows, complete))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didit::{ApiKey, Client};
    use crate::ledger::Location;
    use crate::ledger::records::{Intent, NewEntry, Origin, Receiver, RunId, Settings};
    use crate::manifest::Limits;
    use crate::run::{Events, Means};
    use crate::token::FingerprintKey;

    const SOURCE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn wanted() -> Wanted {
        Wanted {
            entry: EntryId(1),
            source: Some(SOURCE),
            kind: Some(SessionKind::User),
            vendor_data: Some("acme-1".to_owned()),
            since: Some(at(0)),
            vendor_data_is_shared: false,
        }
    }

    fn session(n: u128, source: Source) -> Candidate {
        let session_id = Uuid::from_u128(100 + n);
        Candidate { session_id, source, carries: Carries::Yes, created_at: Some(at(1)), owned: false }
    }

    fn verdict(wanted: &Wanted, candidates: &[Candidate]) -> (Lookup, Option<Uuid>) {
        let (lookup, evidence) = judge(wanted, candidates, true);
        (lookup, evidence.session_id)
    }

    #[test]
    fn promise_2_the_source_field_is_proof_among_any_others() {
        let candidates = [session(1, Source::Untold), session(2, Source::Of(OTHER)), session(3, Source::Of(SOURCE))];
        assert_eq!(verdict(&wanted(), &candidates), (Lookup::Found, Some(Uuid::from_u128(103))));
    }

    #[test]
    fn promise_2_without_proof_only_the_sole_candidate_is_taken() {
        let one = [session(1, Source::Untold)];
        assert_eq!(verdict(&wanted(), &one), (Lookup::Found, Some(Uuid::from_u128(101))));
        let two = [session(1, Source::Untold), session(2, Source::Untold)];
        assert_eq!(verdict(&wanted(), &two).0, Lookup::Ambiguous);
        let shared = Wanted { vendor_data_is_shared: true, ..wanted() };
        assert_eq!(verdict(&shared, &one).0, Lookup::Ambiguous);
        let without = Wanted { vendor_data: None, ..wanted() };
        let unlabelled = [Candidate { carries: Carries::Untold, ..session(1, Source::Untold) }];
        assert_eq!(verdict(&without, &unlabelled).0, Lookup::Ambiguous);
        // What nobody says to carry the vendor data is not taken; what is said not to is no candidate.
        assert_eq!(verdict(&wanted(), &unlabelled).0, Lookup::Ambiguous);
        let stranger = [Candidate { carries: Carries::No, ..session(1, Source::Untold) }];
        assert_eq!(verdict(&wanted(), &stranger).0, Lookup::Nothing);
    }

    #[test]
    fn promise_2_a_list_that_was_not_read_to_its_end_proves_no_absence() {
        assert_eq!(judge(&wanted(), &[], false).0, Lookup::Ambiguous);
        assert_eq!(judge(&wanted(), &[session(1, Source::Untold)], false).0, Lookup::Ambiguous);
        assert_eq!(judge(&wanted(), &[session(1, Source::Of(SOURCE))], false).0, Lookup::Found);
    }

    #[test]
    fn a_row_and_a_decision_must_not_contradict() {
        let yes = Presence::Value("a".to_owned());
        let other = Presence::Value("b".to_owned());
        let of = |told: [&Presence<String>; 2]| carries(Some("a"), told.into_iter());
        assert_eq!(of([&yes, &Presence::Absent]), Carries::Yes);
        assert_eq!(of([&Presence::Absent, &Presence::Absent]), Carries::Untold);
        for told in [[&yes, &other], [&other, &yes], [&Presence::Null, &yes], [&yes, &Presence::Null]] {
            assert_eq!(of(told), Carries::No, "{told:?}");
        }
    }

    #[test]
    fn promise_2_what_is_older_owned_own_or_of_another_source_is_not_taken() {
        let older = Candidate { created_at: Some(at(-60)), ..session(1, Source::Untold) };
        let owned = Candidate { owned: true, ..session(2, Source::Of(SOURCE)) };
        for candidate in [older, owned, session(3, Source::Own), session(4, Source::Of(OTHER))] {
            assert_eq!(verdict(&wanted(), std::slice::from_ref(&candidate)).0, Lookup::Nothing, "{candidate:?}");
        }
    }

    #[test]
    fn promise_3_an_earlier_import_may_be_of_any_age() {
        let earlier = Wanted { since: None, ..wanted() };
        let older = Candidate { created_at: Some(at(-99_999)), ..session(1, Source::Untold) };
        assert_eq!(verdict(&earlier, &[older]), (Lookup::Found, Some(Uuid::from_u128(101))));
    }

    /// A server where another entry's session is made while the list is on its way, its answer still to come.
    async fn busy_server(ledger: Ledger, other: Intent) -> url::Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answer = move |uri: axum::http::Uri| {
            let (ledger, other) = (ledger.clone(), other.clone());
            async move {
                let session = serde_json::json!({
                    "session_id": Uuid::from_u128(100), "session_kind": "user", "session_number": 7,
                    "status": "In Review", "vendor_data": "acme-1", "features": [], "created_at": at(1),
                });
                if uri.path().ends_with("/decision/") {
                    return axum::Json(session);
                }
                ledger.intend(other).await.unwrap();
                axum::Json(serde_json::json!({"count": 1, "next": null, "previous": null, "results": [session]}))
            }
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
        base
    }

    fn intent(run: RunId, n: u128) -> Intent {
        let receiver = Receiver { application_id: None, base_url: "http://127.0.0.1".to_owned(), key: None };
        Intent {
            entry: None,
            describe: NewEntry {
                manifest: "acme".to_owned(),
                label: format!("entry-{n}"),
                receiver,
                source_session_id: Some(Uuid::from_u128(n)),
                from_application_id: None,
                session_kind: Some(SessionKind::User),
                place: "acme.yaml:7".to_owned(),
            },
            run,
            sent_at: at(0),
            left_at: at(0),
            token: FingerprintKey::from_bytes([7; 32]).fingerprint(&n.to_be_bytes()),
            token_expires_at: None,
            settings: Settings {
                workflow_id: Some(Uuid::from_u128(9)),
                trust_review: Some(false),
                vendor_data: Some("acme-1".to_owned()),
            },
        }
    }

    #[tokio::test]
    async fn promise_2_a_session_made_beside_a_lookup_for_an_entry_alike_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::file(folder.path().join("ledger.db"), false);
        let ledger = Ledger::open(&location).unwrap();
        let origin = Origin { actor: "ann@host".to_owned(), reason: None, reference: None };
        let run = ledger.begin_run("apply", origin, at(0)).await.unwrap();
        let (entry, _) = ledger.intend(intent(run, 1)).await.unwrap();
        let base = busy_server(ledger.clone(), intent(run, 2)).await;
        let key = ApiKey::parse("sk_test_key_of_a_busy_server").unwrap();
        let fingerprint = key.fingerprint(&ledger.identity().key);
        let client = Client::new(&base, key, std::time::Duration::from_secs(5)).unwrap();
        let lane = Lane::new(
            client,
            fingerprint,
            base.to_string(),
            Limits::default(),
            Means::new(ledger.clone(), Events::none()),
        );
        let looked = look_up(&lane, &ledger, Wanted { entry, ..wanted() }).await.unwrap();
        assert_eq!(
            (looked.lookup, looked.evidence.session_id),
            (Lookup::Ambiguous, None),
            "{}",
            looked.evidence.detail
        );
    }
}
