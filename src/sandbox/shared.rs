//! What all parts of one sandbox share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::token::SessionKind;

use super::faults::Drawn;
use super::jwt::Signer;
use super::limits::Limits;
use super::record::Records;
use super::route::Kind;
use super::seed::Seed;
use super::state::State;
use super::{Config, Dialect};

/// Locks, whatever a panicking thread left behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ids and keys that follow from the seed.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) receiver: Uuid,
    pub(super) partner: Uuid,
    pub(super) receiver_key: String,
    pub(super) partner_key: String,
}

impl Names {
    fn new(seed: Seed) -> Self {
        Self {
            receiver: seed.uuid("application", &[b"receiver"]),
            partner: seed.uuid("application", &[b"partner"]),
            receiver_key: seed.key("key", &[b"receiver"]),
            partner_key: seed.key("key", &[b"partner"]),
        }
    }
}

/// One sandbox.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) base_url: String,
    pub(super) seed: Seed,
    pub(super) names: Names,
    pub(super) signer: Signer,
    pub(super) state: Mutex<State>,
    pub(super) limits: Limits,
    pub(super) records: Records,
    attempts: Mutex<HashMap<(Kind, Uuid), u32>>,
    fetches: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: Config, base_url: String) -> Self {
        let seed = Seed(config.seed);
        let names = Names::new(seed);
        let state = State::new(seed, &names, config.sessions);
        Self {
            base_url,
            seed,
            signer: Signer::new(seed.bytes("signer", &[])),
            limits: Limits::new(config.writes_per_minute, config.reads_per_minute),
            records: Records::new(config.record_requests),
            state: Mutex::new(state),
            attempts: Mutex::default(),
            fetches: AtomicU64::new(0),
            names,
            config,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn is_seed_dialect(&self) -> bool {
        self.config.dialect == Dialect::Seed
    }

    /// Counts an attempt of this entry and draws its faults.
    pub(super) fn draw(&self, kind: Kind, entry: impl FnOnce() -> Uuid) -> Drawn {
        if self.config.faults.is_empty() {
            return Drawn::default();
        }
        let entry = entry();
        let attempt = {
            let mut attempts = lock(&self.attempts);
            let attempt = attempts.entry((kind, entry)).or_insert(0);
            *attempt += 1;
            *attempt
        };
        self.config.faults.draw(self.seed, kind, entry, attempt)
    }

    /// Counts a fetch of a decision: media links are signed anew for each.
    pub(super) fn next_fetch(&self) -> u64 {
        self.fetches.fetch_add(1, Ordering::Relaxed)
    }

    /// The default workflow of an application for a kind.
    pub(super) fn workflow(&self, application: Uuid, kind: SessionKind) -> Uuid {
        super::state::workflow_id(self.seed, application, kind.as_str())
    }
}
