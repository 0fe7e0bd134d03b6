//! A folder and a sandbox.

use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};

use didit_sync::sandbox::{Config, MintOptions, Running, Sandbox, SourceSession, World};
use didit_sync::token::SessionKind;
use jiff::SignedDuration;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::program::{Folder, Output};

/// A sandbox of this many sessions that keeps every request.
pub fn sandbox(sessions: usize) -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), sessions, record_requests: true, ..Config::default() }
}

/// A folder whose programs talk to a sandbox.
pub struct Scene {
    folder: Folder,
    pub running: Running,
    pub world: World,
    // `None` only while dropping.
    runtime: Option<Runtime>,
}

impl Deref for Scene {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Folder {
        &mut self.folder
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A server that hangs keeps nobody from telling what went wrong.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(10));
        }
    }
}

impl Scene {
    pub fn new(config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(Sandbox::start(config)).unwrap();
        let mut folder = Folder::new();
        folder.set("DIDIT_API_KEY", &running.api_key());
        Self { folder, world: running.world(), running, runtime: Some(runtime) }
    }

    pub fn sources(&self) -> Vec<SourceSession> {
        self.world.sources()
    }

    pub fn mint(&self, source: Uuid) -> String {
        self.world.mint(source, MintOptions::default()).unwrap()
    }

    pub fn mint_for(&self, source: Uuid, ttl: SignedDuration) -> String {
        self.world.mint(source, MintOptions { ttl, ..MintOptions::default() }).unwrap()
    }

    /// Everything of a manifest before its entries: name, application, defaults with workflows of both kinds.
    pub fn head(&self, name: &str) -> String {
        format!(
            "version: 1\nname: {name}\napplication:\n  id: {}\n  base_url: {}\n  api_key: {{env: DIDIT_API_KEY}}\n\
             defaults:\n  workflow_id: {{user: {}, business: {}}}\n  trust_review: false\n  vendor_data: \"{name}-{{source_session_id}}\"\n",
            self.running.application_id(),
            self.running.base_url(),
            self.running.workflow(SessionKind::User),
            self.running.workflow(SessionKind::Business),
        )
    }

    /// A manifest with every source, labelled `e00`, `e01`, ...
    pub fn manifest(&self, name: &str) -> String {
        let mut text = self.head(name) + "imports:\n";
        for (n, source) in self.sources().iter().enumerate() {
            let _ = writeln!(text, "  - {{id: e{n:02}, share_token: {}}}", self.mint(source.id));
        }
        text
    }

    /// Writes `m.yaml` with every source.
    pub fn write_all(&self) {
        self.write("m.yaml", &self.manifest("acme"));
    }

    pub fn apply(&self) -> Output {
        self.run(&["apply", "m.yaml", "--yes", "--json"])
    }

    pub fn plan(&self) -> Output {
        self.run(&["plan", "m.yaml", "--json"])
    }

    /// POST requests that arrived.
    pub fn writes(&self) -> u64 {
        self.world.counts().writes
    }

    /// The session imported from a source, as the server knows it.
    pub fn imported_from(&self, source: Uuid) -> Option<Uuid> {
        let mut of = self.world.imported().into_iter().filter(|session| session.source_id == source);
        let found = of.next().map(|session| session.session_id);
        assert!(of.next().is_none(), "{source} was imported twice");
        found
    }
}
