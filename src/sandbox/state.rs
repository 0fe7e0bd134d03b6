//! The world's data and the changes it can undergo. No HTTP, no clock but the caller's, no lock: the one mutex is
//! around the whole of it, see [`super::shared`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::token::SessionKind;

use super::jwt::Grant;
use super::model::{Change, Key, Origin, Privileges, Review, Session, Status, Workflow};
use super::seed::Seed;
use super::shared::Names;

/// What can be imported once: receiving application, kind, source.
type Place = (Uuid, SessionKind, Uuid);

/// Everything the sandbox knows.
#[derive(Debug)]
pub(super) struct State {
    seed: Seed,
    applications: HashMap<Uuid, Application>,
    keys: HashMap<String, Key>,
    sessions: HashMap<Uuid, Session>,
    /// What was imported.
    imported: HashSet<Place>,
    /// How often a place was freed by a deletion.
    freed: HashMap<Place, u32>,
    environment: Arc<str>,
    made: u64,
}

/// One application.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) workflows: Vec<Workflow>,
    pub(super) has_credit: bool,
    number: u64,
    users: Shelf,
    businesses: Shelf,
}

/// The sessions of one kind in one application, indexed.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) by_number: BTreeMap<u64, Uuid>,
    pub(super) by_vendor_data: HashMap<String, BTreeSet<u64>>,
}

/// Why an import is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TokenInvalid,
    TokenExpired,
    WrongAudience,
    SourceGone,
    WorkflowUnknown,
    AlreadyImported,
    NoCredit,
}

/// What an import asks for, its token already verified.
#[derive(Clone, Debug)]
pub(super) struct ImportOrder {
    pub(super) receiver: Uuid,
    pub(super) grant: Grant,
    pub(super) workflow: Uuid,
    pub(super) trust_review: bool,
    pub(super) vendor_data: Option<String>,
    pub(super) now: Timestamp,
}

/// What a new session is made of.
pub(super) struct NewSession {
    pub(super) application: Uuid,
    pub(super) kind: SessionKind,
    pub(super) status: Status,
    pub(super) vendor_data: Option<String>,
    pub(super) created_at: Timestamp,
}

/// The id of an application's workflow of this name: `user`, `business` or `archived`.
pub(super) fn workflow_id(seed: Seed, application: Uuid, name: &str) -> Uuid {
    seed.uuid("workflow", &[application.as_bytes(), name.as_bytes()])
}

impl Application {
    fn new(seed: Seed, id: Uuid) -> Self {
        let workflow = |name, kind, label, archived, default| Workflow {
            id: workflow_id(seed, id, name),
            kind,
            label,
            archived,
            default,
        };
        let workflows = vec![
            workflow("archived", SessionKind::User, "KYC 2024", true, false),
            workflow("business", SessionKind::Business, "KYB", false, false),
            workflow("user", SessionKind::User, "KYC", false, true),
        ];
        Self { workflows, has_credit: true, number: 0, users: Shelf::default(), businesses: Shelf::default() }
    }

    pub(super) fn shelf(&self, kind: SessionKind) -> &Shelf {
        match kind {
            SessionKind::User => &self.users,
            SessionKind::Business => &self.businesses,
        }
    }

    fn shelf_mut(&mut self, kind: SessionKind) -> &mut Shelf {
        match kind {
            SessionKind::User => &mut self.users,
            SessionKind::Business => &mut self.businesses,
        }
    }

    /// Whether a session of this kind can be given this workflow.
    fn takes(&self, workflow: Uuid, kind: SessionKind) -> bool {
        self.workflows.iter().any(|known| known.id == workflow && known.kind == kind && !known.archived)
    }
}

impl Shelf {
    fn add(&mut self, session: &Session) {
        self.by_number.insert(session.number, session.id);
        if let Some(vendor_data) = &session.vendor_data {
            self.by_vendor_data.entry(vendor_data.clone()).or_default().insert(session.number);
        }
    }

    fn remove(&mut self, session: &Session) {
        self.by_number.remove(&session.number);
        let Some(vendor_data) = &session.vendor_data else { return };
        if let Some(numbers) = self.by_vendor_data.get_mut(vendor_data) {
            numbers.remove(&session.number);
            if numbers.is_empty() {
                self.by_vendor_data.remove(vendor_data);
            }
        }
    }
}

impl State {
    /// Two applications, each with its key and its workflows, and the partner's sessions.
    pub(super) fn new(seed: Seed, names: &Names, sessions: usize) -> Self {
        let mut state = Self {
            seed,
            applications: [names.receiver, names.partner].map(|id| (id, Application::new(seed, id))).into(),
            keys: HashMap::new(),
            sessions: HashMap::new(),
            imported: HashSet::new(),
            freed: HashMap::new(),
            environment: "sandbox".into(),
            made: 0,
        };
        let owners = [(&names.receiver_key, names.receiver), (&names.partner_key, names.partner)];
        for (key, application) in owners {
            state.keys.insert(key.clone(), Key { application, privileges: Privileges::ALL });
        }
        let now = Timestamp::now();
        for index in 0..sessions {
            let age = SignedDuration::from_mins((sessions - index) as i64);
            state.add_session(NewSession {
                application: names.partner,
                kind: if index % 4 == 3 { SessionKind::Business } else { SessionKind::User },
                status: [Status::Approved, Status::Approved, Status::InReview, Status::Approved, Status::Declined]
                    [index % 5],
                vendor_data: Some(format!("partner-{:05}", index + 1)),
                created_at: now - age,
            });
        }
        state
    }

    pub(super) fn key(&self, key: &str) -> Option<Key> {
        self.keys.get(key).copied()
    }

    pub(super) fn add_key(&mut self, application: Uuid, privileges: Privileges) -> String {
        self.made += 1;
        let key = self.seed.key("key", &[b"made", &self.made.to_be_bytes()]);
        self.keys.insert(key.clone(), Key { application, privileges });
        key
    }

    pub(super) fn remove_key(&mut self, key: &str) {
        self.keys.remove(key);
    }

    pub(super) fn application(&self, id: Uuid) -> Option<&Application> {
        self.applications.get(&id)
    }

    pub(super) fn set_credit(&mut self, application: Uuid, has_credit: bool) {
        if let Some(application) = self.applications.get_mut(&application) {
            application.has_credit = has_credit;
        }
    }

    pub(super) fn session(&self, id: Uuid) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// The sessions of an application, oldest first.
    pub(super) fn sessions_of(&self, application: Uuid) -> Vec<&Session> {
        let mut sessions: Vec<&Session> = self.sessions.values().filter(|s| s.application == application).collect();
        sessions.sort_unstable_by_key(|session| session.number);
        sessions
    }

    /// Adds a session that was not imported.
    pub(super) fn add_session(&mut self, new: NewSession) -> Uuid {
        self.made += 1;
        let id = self.seed.uuid("session", &[new.application.as_bytes(), &self.made.to_be_bytes()]);
        let session = Session {
            id,
            application: new.application,
            kind: new.kind,
            number: 0,
            status: new.status,
            verdict: new.status,
            vendor_data: new.vendor_data,
            workflow: workflow_id(self.seed, new.application, new.kind.as_str()),
            origin: None,
            shown_source: None,
            created_at: new.created_at,
            reviews: Vec::new(),
            persona: id,
            environment: self.environment.clone(),
            edits: BTreeMap::new(),
            check_edits: BTreeMap::new(),
            field_edits: BTreeMap::new(),
        };
        self.insert(session);
        id
    }

    fn insert(&mut self, mut session: Session) -> &Session {
        if let Some(application) = self.applications.get_mut(&session.application) {
            application.number += 1;
            session.number = application.number;
            application.shelf_mut(session.kind).add(&session);
        }
        self.sessions.entry(session.id).or_insert(session)
    }

    /// Imports a session, or says why not: credit, source, workflow, duplicate, in this order. The check for a
    /// duplicate and the import are one step.
    pub(super) fn import(&mut self, order: ImportOrder) -> Result<Session, Refusal> {
        let (source_id, kind) = (order.grant.session, order.grant.kind);
        let application = self.applications.get(&order.receiver).ok_or(Refusal::WrongAudience)?;
        if !application.has_credit {
            return Err(Refusal::NoCredit);
        }
        let source = self.sessions.get(&source_id).filter(|source| source.kind == kind);
        let source = source.filter(|source| source.application == order.grant.from_application);
        let source = source.ok_or(Refusal::SourceGone)?;
        if !application.takes(order.workflow, kind) {
            return Err(Refusal::WorkflowUnknown);
        }
        let place = (order.receiver, kind, source_id);
        if self.imported.contains(&place) {
            return Err(Refusal::AlreadyImported);
        }
        let clone = self.clone_of(source, order);
        self.imported.insert(place);
        Ok(self.insert(clone).clone())
    }

    fn clone_of(&self, source: &Session, order: ImportOrder) -> Session {
        let again = self.freed.get(&(order.receiver, source.kind, source.id)).copied().unwrap_or(0);
        let parts: [&[u8]; 3] = [order.receiver.as_bytes(), source.id.as_bytes(), &again.to_be_bytes()];
        Session {
            id: self.seed.uuid("import", &parts),
            application: order.receiver,
            number: 0,
            status: if order.trust_review { source.status } else { Status::InReview },
            vendor_data: order.vendor_data.or_else(|| source.vendor_data.clone()),
            workflow: order.workflow,
            origin: Some(Origin { source: source.id, trust_review: order.trust_review }),
            shown_source: Some(source.id),
            created_at: order.now,
            reviews: Vec::new(),
            ..source.clone()
        }
    }

    /// Deletes a session; `frees` whether its source can be imported again.
    pub(super) fn delete(&mut self, id: Uuid, frees: bool) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        if let Some(application) = self.applications.get_mut(&session.application) {
            application.shelf_mut(session.kind).remove(&session);
        }
        if let (true, Some(origin)) = (frees, session.origin) {
            let place = (session.application, session.kind, origin.source);
            self.imported.remove(&place);
            *self.freed.entry(place).or_insert(0) += 1;
        }
        Some(session)
    }

    /// Sets a status and notes the review that did.
    pub(super) fn review(&mut self, id: Uuid, review: Review) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.status = review.status;
            session.reviews.push(review);
        }
    }

    /// Changes a session; `false` where there is none.
    pub(super) fn change(&mut self, id: Uuid, change: Change, now: Timestamp) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        match change {
            Change::Rename(name) => {
                let field = match session.kind {
                    SessionKind::User => "full_name",
                    SessionKind::Business => "company_name",
                };
                session.edits.insert(field.to_owned(), name.into());
            }
            Change::Status(status) => session.status = status,
            Change::Review { status, comment } => {
                let entry = Review { user: "compliance@example.com", status, comment: Some(comment), at: now };
                self.review(id, entry);
            }
            Change::Document { field, value } => {
                session.edits.insert(field, value);
            }
            Change::Check { block, field, value } => {
                session.check_edits.insert((block, field), value);
            }
            Change::Field { field, value } => {
                session.field_edits.insert(field, value);
            }
            Change::VendorData(vendor_data) => self.set_vendor_data(id, vendor_data),
            Change::Workflow(workflow) => session.workflow = workflow,
            Change::Source(source) => session.shown_source = Some(source),
            Change::Environment(environment) => session.environment = environment.into(),
            Change::Delete => {
                self.delete(id, false);
            }
        }
        true
    }

    fn set_vendor_data(&mut self, id: Uuid, vendor_data: Option<String>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(application) = self.applications.get_mut(&session.application) else { return };
        let index = application.shelf_mut(session.kind);
        index.remove(session);
        session.vendor_data = vendor_data;
        index.add(session);
    }
}
