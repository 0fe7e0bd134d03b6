//! The demo's scene and the checked-in examples, over real loopback HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{Folder, FolderError, Scene, faults, verdict};
use crate::didit::Client;
use crate::ledger::records::{Origin, Record, RunOutcome, State};
use crate::ledger::{Ledger, Location};
use crate::manifest::{self, Environment, LoadOptions, Manifests, SecretPolicy};
use crate::plan::{self, Snapshot};
use crate::run::{self, Apply, ApplyOptions, Audit, Check, Events, Lane, Means, Ran, Request, Sessions};
use crate::sandbox::{Change, Config, MintOptions, Running, Sandbox};
use crate::verify::{Expectations, Sent, Subject};

fn config() -> Config {
    Config { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Config::default() }
}

/// The commands' way, without the terminal.
struct Job {
    paths: Vec<String>,
    ledger: Ledger,
    sandbox: Running,
}

impl Job {
    fn new(paths: &[PathBuf], ledger: &Path, sandbox: Running) -> Self {
        let location = Location::file(ledger.to_owned(), true);
        let paths = paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
        Self { paths, ledger: Ledger::open(&location).unwrap(), sandbox }
    }

    fn env(&self) -> Environment {
        let known = self.sandbox.environment();
        Environment::new(move |name| Some(known.iter().find(|(known, _)| known == name)?.1.clone()))
    }

    fn load(&self) -> Manifests {
        let options = LoadOptions { allow_exec: true, sending: true, env: self.env(), ..LoadOptions::default() };
        manifest::load(&self.paths, &options).unwrap()
    }

    fn secrets(&self) -> SecretPolicy {
        SecretPolicy { allow_exec: true, timeout: Duration::from_secs(20), env: self.env(), withheld: Vec::new() }
    }

    fn means(&self) -> Means {
        Means::new(self.ledger.clone(), Events::none())
    }

    async fn snapshot(&self) -> Snapshot {
        let records = self.ledger.records().await.unwrap();
        Snapshot { identity: Some(self.ledger.identity().clone()), records, recent: Vec::new() }
    }

    /// One lane for each manifest.
    async fn lanes(&self, manifests: &Manifests) -> Vec<Arc<Lane>> {
        let mut lanes = Vec::new();
        for manifest in &manifests.manifests {
            let app = &manifest.application;
            let text = manifest::resolve(&app.api_key, &self.secrets()).await.unwrap();
            let key = crate::didit::ApiKey::parse(&text).unwrap();
            let fingerprint = key.fingerprint(&self.ledger.identity().key);
            let client = Client::new(&app.base_url, key, manifest.limits.timeout).unwrap().for_application(app.id);
            let lane = Lane::new(client, fingerprint, app.base(), manifest.limits.clone(), self.means());
            lanes.push(Arc::new(lane));
        }
        lanes
    }

    /// Every partner of every manifest.
    async fn partners(&self, manifests: &Manifests) -> run::Partners {
        let mut partners = run::Partners::default();
        for manifest in &manifests.manifests {
            for partner in &manifest.partners {
                let text = manifest::resolve(&partner.api_key, &self.secrets()).await.unwrap();
                let key = crate::didit::ApiKey::parse(&text).unwrap();
                let fingerprint = key.fingerprint(&self.ledger.identity().key);
                let app = &manifest.application;
                let client = Client::new(&app.base_url, key, manifest.limits.timeout).unwrap();
                let limit = partner.writes_per_minute;
                let minting =
                    run::Partner::new(client, fingerprint, app.base(), limit, manifest.limits.timeout, self.means());
                partners.add(manifest, &partner.name, minting);
            }
        }
        partners
    }

    async fn apply(&self) -> Ran {
        let manifests = Arc::new(self.load());
        let snapshot = self.snapshot().await;
        let Ok(plan) = plan::plan(&manifests, &snapshot, Timestamp::now(), false);
        let lanes = self.lanes(&manifests).await;
        let options = ApplyOptions { verify: true, ..ApplyOptions::default() };
        let work = Apply {
            partners: self.partners(&manifests).await,
            means: self.means(),
            snapshot: snapshot.into(),
            plan: Arc::new(plan),
            lane_of: (0..lanes.len()).map(Some).collect(),
            lanes,
            secrets: self.secrets(),
            options,
            origin: origin(),
            manifests,
        };
        let (_stop, listener) = tokio::sync::watch::channel(Request::GoOn);
        run::apply(work, listener).await.unwrap()
    }

    async fn audit(&self) -> Ran {
        let manifests = self.load();
        let records = self.snapshot().await.records;
        let mut lanes = Vec::new();
        for (manifest, lane) in manifests.manifests.iter().zip(self.lanes(&manifests).await) {
            let here =
                records.iter().filter(|record| record.manifest == manifest.name && record.state == State::Imported);
            let entries = here.map(|record| record.id).collect();
            let (rules, key_environment) = (manifest.entries.clone(), lane.client.environment());
            let check = move |record: Record| {
                let (session, sent, source) = (record.session?, record.settings, record.source_session_id);
                let entry = rules.iter().find(|entry| entry.source_session_id == source);
                let subject = Subject {
                    manifest: record.manifest,
                    id: record.label,
                    session_id: session.session_id,
                    source_session_id: source,
                    kind: record.session_kind,
                    sent: Sent {
                        workflow_id: sent.workflow_id,
                        trust_review: sent.trust_review,
                        vendor_data: sent.vendor_data,
                    },
                    import_status: session.status,
                    key_environment,
                    expect: entry.map_or_else(Expectations::default, |entry| entry.expect().clone()),
                };
                Some(Check { entry: record.id, subject, fresh: false, accept: false })
            };
            lanes.push((Arc::clone(&lane), Sessions::of(&self.means().ledger, entries, Box::new(check))));
        }
        let work =
            Audit { means: self.means(), lanes, limited: false, time_limit: None, accept: None, origin: origin() };
        let (_stop, listener) = tokio::sync::watch::channel(Request::GoOn);
        run::audit(work, listener).await.unwrap()
    }
}

fn all(ran: &Ran) -> Vec<RunOutcome> {
    ran.outcomes.iter().collect()
}

fn origin() -> Origin {
    Origin { actor: "test".to_owned(), reason: None, reference: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scene_plays_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(Config { sessions: 0, faults: faults().unwrap(), ..config() }).await.unwrap();
    let scene = Scene::seed(&sandbox).unwrap();
    let folder = Folder::create(Some(&dir.path().join("demo"))).unwrap();
    folder.write(&scene, &sandbox).unwrap();
    let job = Job::new(&[folder.manifest()], &folder.ledger(), sandbox);
    let world = job.sandbox.world();

    let first = job.apply().await;
    assert_eq!(verdict::first_run(&scene, &all(&first), &world.imported()), Vec::<String>::new());
    assert_eq!(verdict::count(&all(&first), &["recovered"]), 3, "as the pages say");
    let second = job.apply().await;
    let existing = world.imported().len();
    assert_eq!(verdict::second_run(&scene, &all(&second), &second.end, existing), Vec::<String>::new());
    let audit = job.audit().await;
    assert_eq!(verdict::audit(&scene, &audit.findings, &audit.end), Vec::<String>::new());
    assert_eq!((first.exit.code(), second.exit.code(), audit.exit.code()), (3, 5, 0));
    assert_eq!(world.throttled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_sees_what_went_wrong() {
    let sandbox = Sandbox::start(Config { sessions: 0, ..config() }).await.unwrap();
    let scene = Scene::seed(&sandbox).unwrap();
    let wrong = verdict::first_run(&scene, &[], &[]).join("\n");
    for told in ["imported: expected 57, found 0", "no lost answer", "`deleted` did not end", "sessions in the sandbox"]
    {
        assert!(wrong.contains(told), "{told}: {wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_for_the_owner_and_nothing_is_overwritten() {
    let sandbox = Sandbox::start(Config { sessions: 0, ..config() }).await.unwrap();
    let scene = Scene::seed(&sandbox).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/demo");
    let folder = Folder::create(Some(&path)).unwrap();
    folder.write(&scene, &sandbox).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        let secret = text.contains(&sandbox.api_key()) || text.contains("eyJ");
        assert_eq!(mode(&file) == 0o600, secret, "{}", file.display());
    }
    let before = std::fs::read(folder.roster()).unwrap();
    assert!(matches!(Folder::create(Some(&path)), Err(FolderError::Exists(_))));
    assert!(matches!(folder.write(&scene, &sandbox), Err(FolderError::Exists(_))));
    assert_eq!(std::fs::read(folder.roster()).unwrap(), before);
    let (one, two) = (Folder::create(None).unwrap(), Folder::create(None).unwrap());
    assert_ne!(one, two);
    for folder in [one, two] {
        assert_eq!(mode(folder.path()), 0o700);
        std::fs::remove_dir(folder.path()).unwrap();
    }
}

const EXAMPLES: [&str; 5] = ["group", "inline", "migration", "nightly-audit", "rules"];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

#[test]
fn the_examples_load_as_they_stand() {
    let path = |name: &str| examples().join(format!("{name}.yaml")).to_str().unwrap().to_owned();
    for name in EXAMPLES {
        let loaded = manifest::load(&[path(name)], &LoadOptions::default()).unwrap();
        assert_eq!(loaded.manifests[0].name, name);
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=didit-sync.schema.json\n"), "{name}");
    }
    assert!(manifest::load(&[examples().to_str().unwrap().to_owned()], &LoadOptions::default()).is_ok());
}

#[test]
fn the_checked_in_schema_is_the_programs() {
    let stored = std::fs::read_to_string(examples().join("didit-sync.schema.json")).unwrap();
    let current = serde_json::to_string_pretty(&manifest::schema()).unwrap();
    assert_eq!(stored.trim_end(), current, "run: didit-sync schema > manifests/didit-sync.schema.json");
}

/// A copy of the examples for this sandbox, with a token for every session in it. What mints is a file that holds
/// the token, so that the test needs no curl.
fn copy(to: &Path, sandbox: &Running) {
    for name in EXAMPLES {
        let text = std::fs::read_to_string(examples().join(format!("{name}.yaml"))).unwrap();
        let text = text.replace("http://127.0.0.1:8787", &sandbox.base_url());
        std::fs::write(to.join(format!("{name}.yaml")), text).unwrap();
    }
    for file in ["people/roster.csv", "archive/2026.csv", "bank/branch.csv"] {
        std::fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        std::fs::copy(examples().join(file), to.join(file)).unwrap();
    }
    let mint = |source: Uuid| sandbox.world().mint(source, MintOptions::default()).unwrap();
    let tokens: Vec<(Uuid, String)> = sandbox.world().sources().iter().map(|it| (it.id, mint(it.id))).collect();
    std::fs::create_dir(to.join("inbox")).unwrap();
    std::fs::create_dir(to.join("minted")).unwrap();
    let lines: Vec<&str> = tokens.iter().map(|(_, token)| token.as_str()).collect();
    std::fs::write(to.join("inbox/1.txt"), lines.join("\n")).unwrap();
    for (source, token) in tokens {
        std::fs::write(to.join("minted").join(source.to_string()), token).unwrap();
    }
    std::fs::write(to.join("mint.sh"), "cat \"minted/$1\"\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_run_against_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(config()).await.unwrap();
    copy(dir.path(), &sandbox);
    let paths = EXAMPLES.map(|name| dir.path().join(format!("{name}.yaml")));
    let job = Job::new(&paths, &dir.path().join("ledger.db"), sandbox);

    let first = job.apply().await;
    assert_eq!(verdict::count(&all(&first), &["imported"]), 20, "{:?}", all(&first));
    assert_eq!(first.end.requests.writes, 23, "three tokens were minted");
    assert_eq!((first.exit.code(), first.findings.len()), (0, 0), "{:?}", first.findings);
    let carmen = all(&first).into_iter().find(|it| it.label == "carmen").unwrap();
    assert_eq!(carmen.session.as_ref().unwrap().status.as_deref(), Some("Approved"), "trusted");

    let second = job.apply().await;
    assert_eq!(verdict::count(&all(&second), &["unchanged"]), 20);
    assert_eq!((second.end.requests.writes, second.end.requests.reads), (0, 0));
    // Audits need no tokens; the roster alone is enough.
    std::fs::remove_file(dir.path().join("inbox/1.txt")).unwrap();
    let audit = job.audit().await;
    assert_eq!((audit.exit.code(), audit.end.verified), (0, Some((20, 20))), "{:?}", audit.findings);
    // The rules are the example's own, of its defaults and of one entry.
    let world = job.sandbox.world();
    for (entry, block, field, value) in [
        ("651fdc55-71dc-4ec2-a651-8a795958a1d2", "registry_checks", "company_status", json!("dissolved")),
        ("6bfb713f-ab1e-4bb2-bd89-4307e23e5dc8", "id_verifications", "age", json!(17)),
    ] {
        let source: Uuid = entry.parse().unwrap();
        let session = world.imported().into_iter().find(|it| it.source_id == source).unwrap().session_id;
        let change = Change::Check { block: block.to_owned(), field: field.to_owned(), value };
        world.change(session, change).unwrap();
    }
    let audit = job.audit().await;
    let mut rules: Vec<&str> = audit.findings.iter().map(|it| it.rule.as_str()).collect();
    rules.retain(|rule| rule.starts_with("expect:"));
    assert_eq!((rules, audit.exit.code()), (vec!["expect:active", "expect:adult"], 4), "{:?}", audit.findings);
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_readme_has_every_command() {
    let readme = page("README.md");
    for command in crate::cli::command().get_subcommands().filter(|command| command.get_name() != "ledger") {
        let name = command.get_name();
        assert!(readme.contains(&format!("`{name}")), "{name}");
    }
    let command = crate::cli::command();
    for repair in command.find_subcommand("ledger").unwrap().get_subcommands() {
        assert!(readme.contains(&format!("| `ledger {}", repair.get_name())), "{}", repair.get_name());
    }
}

#[tokio::test]
async fn the_manifests_of_the_pages_load() {
    let sandbox = Sandbox::start(config()).await.unwrap();
    let world = sandbox.world();
    let application = "a5f3bca2-46e2-411e-90ef-a580900a57ee".parse().unwrap();
    let options = MintOptions { for_application: Some(application), ..MintOptions::default() };
    let token = world.mint(world.sources()[0].id, options).unwrap();
    for (name, entries) in [("README.md", 0), ("docs/manifest.md", 3)] {
        let dir = tempfile::tempdir().unwrap();
        let text = page(name);
        let yaml = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        std::fs::write(dir.path().join("acme.yaml"), yaml).unwrap();
        std::fs::write(dir.path().join("carmen.jwt"), &token).unwrap();
        let path = dir.path().join("acme.yaml").to_str().unwrap().to_owned();
        let loaded = manifest::load(&[path], &LoadOptions::default()).unwrap();
        assert_eq!(loaded.manifests[0].entries.len(), entries, "{name}");
        assert!(loaded.manifests[0].entries.iter().all(|entry| entry.invalid.is_none()));
    }
}
