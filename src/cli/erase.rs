//! `ledger erase`: leaves of an entry what it is known again by, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::args::{EraseArgs, Global};
use super::ledger::{begin, end, tell};
use super::names::{self, Named, Problems};
use super::setup::Held;
use super::signals::Signals;
use super::{Failure, audit, setup};
use crate::console::{Console, Level};
use crate::didit::{self, Class};
use crate::exit::{Condition, Exit};
use crate::ledger::records::{EntryId, ManifestFacts, Record, Requests, RunError, RunId, State};
use crate::ledger::{Ledger, LedgerError, Purpose, scrub};
use crate::manifest::Code;
use crate::pace::backoff;
use crate::run::{CallError, Events, Lane, Listener, Means, Request, wait_for};
use crate::text::inert;

pub(super) async fn run(
    args: &EraseArgs,
    global: &Global,
    console: &Console,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let origin = &args.entries.origin;
    let Some(reason) = origin.reason.as_deref().filter(|reason| !reason.trim().is_empty()) else {
        return Err(Failure::new(Condition::Usage, "an erasure needs a reason")
            .with_help("say why, without naming the person: --reason \"request 4711\""));
    };
    let from = args.entries.from.as_deref();
    let named = names::all(&args.entries.ids, from)?;
    let held = setup::hold(global, Purpose::Change, origin.wait_lock)?;
    let records = with_sharers(&held.ledger, &named).await?;
    let mut problems = Problems::new(from);
    let mut asked: Vec<&Record> = Vec::new();
    for name in &named {
        let found = names::find(&records, &held.ledger.identity().key, name, &mut problems);
        let Some(record) = found else { continue };
        if let Some((what, help)) = hindrance(record, &records, reason, args.delete) {
            problems.add(name, Code::BadValue, format!("{} {what}", inert(&name.name)), help);
        } else if asked.iter().all(|other| other.id != record.id) {
            asked.push(record);
        }
    }
    problems.check()?;
    let ids: Vec<EntryId> = asked.iter().map(|record| record.id).collect();
    // What is erased already only has its remains swept up again.
    asked.retain(|record| record.state != State::Erased);
    for record in asked.iter().filter(|record| matches!(record.state, State::Unknown | State::Sending)) {
        let message =
            format!("{}: a request was sent and its outcome is unknown: a session may exist", inert(&record.label));
        console.say(Level::Warning, &message);
    }
    let mut exit = Exit::ok();
    if !asked.is_empty() {
        let deletions = if args.delete { Some(Deletions::new(&asked, &held, global).await?) } else { None };
        let stop = signals.begin(Duration::ZERO)?;
        let run = begin(&held, "ledger erase", origin).await?;
        let stopped = match &deletions {
            None => forgo(&held, asked.iter().map(|record| record.id).collect(), run).await.map(|()| None),
            Some(deletions) => {
                let stopped = deletions.carry_out(&asked, &held, run, stop).await;
                deletions.close().await?;
                stopped
            }
        };
        let requests = deletions.as_ref().map_or_else(Requests::default, Deletions::requests);
        let error = match stopped? {
            None => None,
            Some(failure) => {
                exit = failure.exit.clone();
                failure.say(console);
                Some(RunError { code: exit.code(), name: exit.name().to_owned(), message: failure.message })
            }
        };
        end(&held, run, requests, error, &exit).await.map_err(|failure| unswept(failure, &ids))?;
    }
    let Held { ledger, lock } = held;
    drop(ledger);
    scrub(&setup::location(global)?).map_err(|error| unswept(error.into(), &ids))?;
    tell(lock, &ids, exit, args.entries.json.json, global, console)
}

/// The entries among which those named are, and those that share a session with one of them.
async fn with_sharers(ledger: &Ledger, named: &[Named]) -> Result<Vec<Record>, LedgerError> {
    let asked = || named.iter().map(|it| &*it.name);
    let found = names::candidates(ledger, asked()).await?;
    let sessions: Vec<String> =
        found.iter().filter_map(|it| Some(it.session.as_ref()?.session_id.to_string())).collect();
    names::candidates(ledger, asked().chain(sessions.iter().map(String::as_str))).await
}

/// A failure after the rows were overwritten. By their old names the entries are not known any more.
fn unswept(failure: Failure, ids: &[EntryId]) -> Failure {
    let labels: Vec<String> = ids.iter().map(|id| format!("erased-{}", id.0)).collect();
    failure.with_help(format!(
        "what was overwritten can still be in the file until it is rewritten: free space, then didit-sync ledger erase {} \
         --reason TEXT",
        labels.join(" ")
    ))
}

/// Why an entry can't be erased as things are, and what to do about it.
fn hindrance(record: &Record, records: &[Record], reason: &str, delete: bool) -> Option<(String, &'static str)> {
    if record.state == State::Erased {
        return None;
    }
    let session = record.session.as_ref().map(|session| session.session_id);
    let is_told = |id: Option<Uuid>| id.is_some_and(|id| reason.to_lowercase().contains(&id.to_string()));
    if is_told(session) || is_told(record.source_session_id) {
        return Some(("is named by the reason, which is kept".to_owned(), "name a ticket instead"));
    }
    if record.source_session_id.is_none() && record.token.is_none() && record.attempts == 0 {
        let what = "has neither a known source session nor a token that was sent: nothing could be known again";
        return Some((what.to_owned(), "`didit-sync ledger forget` drops what is known of it"));
    }
    let shares = |other: &&Record| {
        other.id != record.id && session.is_some() && session == other.session.as_ref().map(|it| it.session_id)
    };
    if let Some(other) = records.iter().find(shares) {
        let what = format!("has a session that stands under {}, too", inert(&other.label));
        return Some((what, "settle first whose it is: `didit-sync ledger forget`"));
    }
    if delete && matches!(record.state, State::Unknown | State::Sending) {
        let what = "has no session on record yet, but there may be one".to_owned();
        return Some((what, "settle it first, by `apply` or `ledger adopt`; or erase it without --delete"));
    }
    None
}

async fn forgo(held: &Held, entries: Vec<EntryId>, run: RunId) -> Result<(), Failure> {
    let left = held.ledger.erase(entries, run, Timestamp::now()).await?;
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Condition::Internal, format!("{} entries could not be known again and were left", left.len())))
}

/// Where the sessions are to be deleted.
struct Deletions {
    lanes: Vec<Arc<Lane>>,
    of: HashMap<EntryId, usize>,
}

impl Deletions {
    /// Reads the keys of all manifests that imported these entries.
    async fn new(asked: &[&Record], held: &Held, global: &Global) -> Result<Self, Failure> {
        let facts: HashMap<String, ManifestFacts> =
            held.ledger.manifests().await?.into_iter().map(|facts| (facts.name.clone(), facts)).collect();
        let imported: Vec<&&Record> = asked.iter().filter(|record| record.session.is_some()).collect();
        let mut receivers = Vec::new();
        for record in &imported {
            receivers.push(audit::receiver(&record.manifest, &facts, None, global)?);
        }
        let means = Means::new(held.ledger.clone(), Events::none());
        let (lanes, lane_of) = setup::lanes(&receivers, global, &means).await?;
        for ((record, receiver), lane) in imported.iter().zip(&receivers).zip(&lane_of) {
            let then = &record.receiver;
            let is_same_application = match (then.application_id, receiver.application_id) {
                (Some(then), Some(now)) => then == now,
                // Another key may be of another application, to which the session is unknown: no proof of a deletion.
                _ => then.key.is_none_or(|key| key == lanes[*lane].key),
            };
            if !is_same_application || then.base_url != lanes[*lane].base_url {
                let label = inert(&record.label);
                let message = format!(
                    "{label} was imported into another application, or with another key, than manifest {} names now",
                    record.manifest
                );
                return Err(Failure::new(Condition::Credentials, message)
                    .with_help("delete the session in the console and erase without --delete; nothing was changed"));
            }
        }
        setup::recall(&means, lanes.iter()).await?;
        let of = imported.iter().map(|record| record.id).zip(lane_of).collect();
        Ok(Self { lanes, of })
    }

    /// Notes that nothing more leaves.
    async fn close(&self) -> Result<(), Failure> {
        for lane in &self.lanes {
            lane.close().await?;
        }
        Ok(())
    }

    fn requests(&self) -> Requests {
        self.lanes.iter().map(|lane| lane.requests()).sum()
    }

    /// Deletes each session and erases its entry, one by one, up to the first that can't be deleted. A signal ends
    /// that after the deletion that is under way, a second one at once.
    async fn carry_out(
        &self,
        asked: &[&Record],
        held: &Held,
        run: RunId,
        mut stop: Listener,
    ) -> Result<Option<Failure>, Failure> {
        for record in asked {
            if let Some(condition) = stop.borrow().condition() {
                return Ok(Some(interrupted(condition)));
            }
            if let Some((session, lane)) = record.session.as_ref().zip(self.of.get(&record.id)) {
                let deleted = tokio::select! {
                    deleted = delete(&self.lanes[*lane], session.session_id) => deleted,
                    asked = wait_for(&mut stop, |asked| matches!(asked, Request::Now { .. })) => {
                        return Ok(asked.condition().map(interrupted));
                    }
                };
                match deleted {
                    Ok(()) => {}
                    Err(CallError::Ledger(error)) => return Err(error.into()),
                    Err(CallError::Api(failure)) => return Ok(Some(undeleted(record, &failure))),
                }
            }
            forgo(held, vec![record.id], run).await?;
        }
        Ok(None)
    }
}

async fn delete(lane: &Lane, session: Uuid) -> Result<(), CallError> {
    let mut failed = 0;
    loop {
        let slot = lane.writes.acquire().await;
        slot.is_fit()?;
        let place = lane.place().await;
        lane.note_write().await?;
        let failure = match lane.send(slot, place, lane.client.delete_session(session)).await.result {
            Ok(()) => return Ok(()),
            Err(failure) if failure.class == Class::Throttled => continue,
            Err(failure) => failure,
        };
        failed += 1;
        let can_pass = matches!(failure.class, Class::Server | Class::Network | Class::Timeout);
        match backoff(failed, rand::random()).filter(|_| can_pass) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(CallError::Api(failure)),
        }
    }
}

fn interrupted(condition: Condition) -> Failure {
    Failure::new(condition, "interrupted; what was not erased before stays as it is").with_help("erase the rest again")
}

/// The message is kept with the run, so it names the entry by its number alone.
fn undeleted(record: &Record, failure: &didit::Failure) -> Failure {
    let condition = match failure.class {
        Class::Credentials => Condition::Credentials,
        _ => Condition::Unavailable,
    };
    let message = format!("the session of entry {} could not be deleted: {}", record.id.0, failure.detail);
    Failure::new(condition, message).with_help("it stays as it is, and so does what comes after it; erase again")
}
