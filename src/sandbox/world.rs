//! The handle on the world behind the API: to set a scene, and to hold what the tool believes against what is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::token::SessionKind;

use super::jwt::Grant;
use super::model::{Change, ImportedSession, Privileges, Session, SourceSession, Status};
use super::record::{Counts, RequestRecord};
use super::shared::Shared;
use super::state::NewSession;
use super::{Config, Error};

/// The world of a running sandbox. Cheap to clone; it outlives the server.
#[derive(Clone, Debug)]
pub struct World {
    shared: Arc<Shared>,
}

/// How a token is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintOptions {
    /// How long it lives from now; negative for one that has expired already.
    pub ttl: SignedDuration,
    /// For which application; `None` for the receiving one.
    pub for_application: Option<Uuid>,
    /// Without the claim `session_kind`, as tokens from before business sharing are.
    pub legacy: bool,
}

impl Default for MintOptions {
    fn default() -> Self {
        Self { ttl: SignedDuration::from_hours(1), for_application: None, legacy: false }
    }
}

impl World {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the sandbox was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Gives the partner one more session, of any status.
    #[must_use]
    pub fn seed_session(&self, kind: SessionKind, status: Status, vendor_data: Option<&str>) -> Uuid {
        self.add(self.shared.names.partner, kind, status, vendor_data)
    }

    /// Gives the receiving application a session that it verified itself.
    #[must_use]
    pub fn seed_own_session(&self, kind: SessionKind, status: Status, vendor_data: Option<&str>) -> Uuid {
        self.add(self.shared.names.receiver, kind, status, vendor_data)
    }

    fn add(&self, application: Uuid, kind: SessionKind, status: Status, vendor_data: Option<&str>) -> Uuid {
        self.shared.state().add_session(NewSession {
            application,
            kind,
            status,
            vendor_data: vendor_data.map(str::to_owned),
            created_at: Timestamp::now(),
        })
    }

    /// The partner's sessions, oldest first.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceSession> {
        let source = |session: &Session| SourceSession {
            id: session.id,
            kind: session.kind,
            status: session.status,
            vendor_data: session.vendor_data.clone(),
        };
        self.shared.state().sessions_of(self.shared.names.partner).into_iter().map(source).collect()
    }

    /// Mints a token for any session, also one that the API would not share.
    pub fn mint(&self, source: Uuid, options: MintOptions) -> Result<String, Error> {
        let (kind, from_application) = {
            let state = self.shared.state();
            let session = state.session(source).ok_or(Error::UnknownSession(source))?;
            (session.kind, session.application)
        };
        let now = Timestamp::now().as_second();
        let expires_at = now.saturating_add(options.ttl.as_secs());
        let grant = Grant {
            session: source,
            kind,
            from_application,
            for_application: options.for_application.unwrap_or(self.shared.names.receiver),
            issued_at: now.min(expires_at - 60),
            expires_at,
        };
        Ok(self.shared.signer.sign(&grant, options.legacy))
    }

    /// The partner deletes a session; its tokens stay signed.
    pub fn delete_source(&self, id: Uuid) -> Result<(), Error> {
        self.shared.state().delete(id, false).map(|_| ()).ok_or(Error::UnknownSession(id))
    }

    /// What was imported into the receiving application and still exists, oldest first.
    #[must_use]
    pub fn imported(&self) -> Vec<ImportedSession> {
        let imported = |session: &Session| {
            let origin = session.origin?;
            Some(ImportedSession {
                session_id: session.id,
                session_number: session.number,
                source_id: origin.source,
                application_id: session.application,
                kind: session.kind,
                status: session.status,
                vendor_data: session.vendor_data.clone(),
                workflow_id: session.workflow,
                trust_review: origin.trust_review,
                created_at: session.created_at,
            })
        };
        self.shared.state().sessions_of(self.shared.names.receiver).into_iter().filter_map(imported).collect()
    }

    /// Changes a session of any application behind the API's back.
    pub fn change(&self, session_id: Uuid, change: Change) -> Result<(), Error> {
        let known = self.shared.state().change(session_id, change, Timestamp::now());
        if known { Ok(()) } else { Err(Error::UnknownSession(session_id)) }
    }

    /// Another key of the receiving application, with these privileges.
    #[must_use]
    pub fn add_key(&self, privileges: Privileges) -> String {
        self.shared.state().add_key(self.shared.names.receiver, privileges)
    }

    /// Another key of the partner, with these privileges.
    #[must_use]
    pub fn add_partner_key(&self, privileges: Privileges) -> String {
        self.shared.state().add_key(self.shared.names.partner, privileges)
    }

    /// Revokes a key.
    pub fn revoke_key(&self, key: &str) {
        self.shared.state().remove_key(key);
    }

    /// Whether the receiving application can pay; without credit imports are refused.
    pub fn set_credit(&self, has_credit: bool) {
        self.shared.state().set_credit(self.shared.names.receiver, has_credit);
    }

    /// Every request, in order of arrival; empty unless [`Config::record_requests`] is set.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.records.all()
    }

    /// How many requests there were.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.records.counts()
    }

    /// How many requests were answered with 429.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.shared.records.throttled.load(Ordering::Relaxed)
    }
}
