//! How the entries that a run worked on ended, until it is told and kept: a million are held at once, so of each little
//! but what the plan does not say.

use uuid::Uuid;

use super::job::{Done, Finished};
use crate::didit::Status;
use crate::ledger::records::{EntryId, RecordedError, Session};
use crate::lifecycle::Settled;
use crate::plan::Plan;
use crate::token::SessionKind;

/// The ends of entries, by their places in the plan.
#[derive(Debug, Default)]
pub struct Ended(Vec<End>);

impl Ended {
    /// Adds those of a lane.
    pub fn add(&mut self, mut ends: Vec<End>) {
        if self.0.is_empty() {
            self.0 = ends;
        } else {
            self.0.append(&mut ends);
        }
        self.0.sort_unstable_by_key(|end| end.item);
    }

    /// That of an item, if a lane worked on it.
    #[must_use]
    pub fn get(&self, item: usize) -> Option<&End> {
        let at = self.0.binary_search_by_key(&item, |end| end.item as usize).ok()?;
        self.0.get(at)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries were imported by this run.
    #[must_use]
    pub fn imported(&self) -> u64 {
        self.0.iter().filter(|end| end.result == Finished::Settled(Settled::Imported)).count() as u64
    }
}

/// How an entry ended.
#[derive(Debug)]
pub struct End {
    item: u32,
    /// Requests sent in this run.
    pub attempts: u32,
    /// The ledger's row.
    pub row: Option<EntryId>,
    /// How.
    pub result: Finished,
    /// The kind, where it was learnt.
    pub kind: Option<SessionKind>,
    session: Option<Made>,
    apart: Option<Box<Apart>>,
}

/// A session, in less room.
#[derive(Debug)]
struct Made {
    id: Uuid,
    number: Option<i64>,
    url: Option<Box<str>>,
    status: Option<Status>,
}

/// What few entries have: what is not as planned.
#[derive(Debug, Default, PartialEq)]
struct Apart {
    source: Option<Uuid>,
    workflow_id: Option<Uuid>,
    error: Option<RecordedError>,
}

impl End {
    /// That of a job.
    #[must_use]
    pub fn of(done: Done, plan: &Plan) -> Self {
        let sent = done.sent.and_then(|sent| sent.workflow_id);
        let apart = Apart {
            source: done.source.filter(|source| plan.source_session(done.item) != Some(*source)),
            workflow_id: sent.filter(|sent| plan.workflow_id(done.item) != Some(*sent)),
            error: done.error,
        };
        Self {
            item: done.item as u32,
            attempts: done.attempts,
            row: done.row,
            result: done.result,
            kind: done.kind,
            session: done.session.map(Made::from),
            apart: (apart != Apart::default()).then(|| Box::new(apart)),
        }
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.session.as_ref().map(Session::from)
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// The source session, where another one was learnt than the plan knows.
    #[must_use]
    pub fn source(&self) -> Option<Uuid> {
        self.apart.as_ref()?.source
    }

    /// The workflow that was sent, where the plan names another one, or none.
    #[must_use]
    pub fn workflow_id(&self) -> Option<Uuid> {
        self.apart.as_ref()?.workflow_id
    }

    /// Why there is no session.
    #[must_use]
    pub fn error(&self) -> Option<&RecordedError> {
        self.apart.as_ref()?.error.as_ref()
    }
}

impl From<Session> for Made {
    fn from(session: Session) -> Self {
        Self {
            id: session.session_id,
            number: session.session_number,
            url: session.session_url.map(String::into_boxed_str),
            status: session.status.as_deref().and_then(Status::parse),
        }
    }
}

impl From<&Made> for Session {
    fn from(made: &Made) -> Self {
        Self {
            session_id: made.id,
            session_number: made.number,
            session_url: made.url.as_deref().map(str::to_owned),
            status: made.status.as_ref().map(ToString::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didit::Class;

    fn done(item: usize) -> Done {
        let session = Session {
            session_id: Uuid::from_u128(item as u128 + 1),
            session_number: Some(7),
            session_url: Some("https://verify.didit.me/session/x".to_owned()),
            status: Some("In Review".to_owned()),
        };
        Done {
            item,
            row: Some(EntryId(3)),
            result: Finished::Settled(Settled::Imported),
            session: Some(session),
            kind: Some(SessionKind::Business),
            source: Some(Uuid::from_u128(9)),
            sent: None,
            attempts: 2,
            took: std::time::Duration::ZERO,
            error: None,
        }
    }

    fn plan(items: usize) -> Plan {
        let item = |n: usize| crate::plan::Item {
            manifest: "m".to_owned(),
            id: n.to_string(),
            action: crate::plan::Action::Import,
            reason: None,
            source_session_id: Some(Uuid::from_u128(9)),
            session_kind: None,
            workflow_id: None,
            trust_review: None,
            vendor_data: None,
            expires_at: None,
            session_id: None,
            place: String::new(),
            entry: None,
            record: None,
        };
        Plan::of((0..items).map(item).collect(), crate::plan::Forecast::default(), crate::plan::Late::default())
    }

    #[test]
    fn an_end_tells_what_its_job_came_to_and_repeats_nothing_of_the_plan() {
        let plan = plan(2);
        let end = End::of(done(0), &plan);
        assert_eq!(end.session(), done(0).session);
        assert_eq!((end.row, end.attempts, end.kind), (Some(EntryId(3)), 2, Some(SessionKind::Business)));
        assert!(end.apart.is_none(), "as planned: {end:?}");

        let error = RecordedError { class: Class::Network, http_status: None, detail: "gone".to_owned() };
        let (source, sent) = (Uuid::from_u128(10), Uuid::from_u128(11));
        let settings = crate::ledger::records::Settings { workflow_id: Some(sent), ..Default::default() };
        let other =
            Done { session: None, source: Some(source), sent: Some(settings), error: Some(error.clone()), ..done(1) };
        let end = End::of(other, &plan);
        assert!(!end.has_session());
        assert_eq!((end.source(), end.workflow_id(), end.error()), (Some(source), Some(sent), Some(&error)));
    }

    #[test]
    fn ends_of_several_lanes_are_found_by_their_items() {
        let plan = plan(7);
        let mut ended = Ended::default();
        for lane in [vec![6, 1, 4], vec![5, 0]] {
            ended.add(lane.into_iter().map(|item| End::of(done(item), &plan)).collect());
        }
        let found = |item| ended.get(item).and_then(End::session).map(|session| session.session_id);
        for item in [0, 1, 4, 5, 6] {
            assert_eq!(found(item), Some(Uuid::from_u128(item as u128 + 1)), "{item}");
        }
        assert_eq!((found(2), found(7), ended.imported()), (None, None, 5));
    }

    #[test]
    fn an_end_takes_little_room() {
        assert!(size_of::<End>() <= 112, "{} bytes", size_of::<End>());
    }
}
