//! `demo`: the whole job against an embedded sandbox, told step by step.
//!
//! Every step is the command of that name, with arguments made here instead of read. Between the steps the ledger is
//! held against the sandbox; the demo succeeds only where both agree and everything came as told.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::args::{ApplyArgs, AuditArgs, DemoArgs, Global, JsonArgs, ManifestArgs, OriginArgs, OutputArgs, PlanArgs};
use super::signals::Signals;
use super::{Failure, apply, audit, plan, sandbox, setup};
use crate::console::{Console, paint};
use crate::demo::{Folder, FolderError, Scene, faults, verdict};
use crate::exit::{Condition, Exit};
use crate::ledger::Reader;
use crate::ledger::records::{RunEnd, RunFinding, RunOutcome};
use crate::run::{Listener, Request};
use crate::sandbox::{Config, Running, Sandbox};

/// After Ctrl-C, the time for what is in flight.
const GRACE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    args: &DemoArgs,
    global: &Global,
    console: &Console,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let stop = signals.begin(GRACE)?;
    let internal = |error: &dyn std::fmt::Display| Failure::new(Condition::Internal, error.to_string());
    let config = Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        sessions: 0,
        faults: faults().map_err(|error| internal(&error))?,
        ..Config::default()
    };
    let folder = Folder::create(args.folder.as_deref())?;
    let server = Sandbox::start(config).await.map_err(|error| sandbox::cannot(&error))?;
    let scene = Scene::seed(&server).map_err(|error| sandbox::cannot(&error))?;
    folder.write(&scene, &server)?;
    let global = inner(global, &folder);
    let demo = Demo { server: &server, scene: &scene, folder: &folder, global: &global, console, signals, stop };
    let ended = demo.steps().await;
    server.shutdown().await;
    ended
}

/// The options of the steps: the demo's own ledger, and nothing that manifests must not have.
fn inner(global: &Global, folder: &Folder) -> Global {
    Global {
        ledger: folder.ledger(),
        wait_ledger: global.wait_ledger,
        allow_network_fs: global.allow_network_fs,
        allow_exec: false,
        roots: Vec::new(),
        allow_hosts: Vec::new(),
        color: global.color,
        progress: global.progress,
        quiet: global.quiet,
        verbose: global.verbose,
        log_format: global.log_format,
    }
}

/// A demo on its way.
struct Demo<'a> {
    server: &'a Running,
    scene: &'a Scene,
    folder: &'a Folder,
    global: &'a Global,
    console: &'a Console,
    signals: &'a Signals,
    stop: Listener,
}

/// A run as the ledger has it.
struct Recorded {
    outcomes: Vec<RunOutcome>,
    findings: Vec<RunFinding>,
    end: RunEnd,
}

impl Demo<'_> {
    async fn steps(&self) -> Result<Exit, Failure> {
        self.opening();
        for step in 1..=4 {
            let (exit, expected) = match step {
                1 => (self.plan()?, vec![]),
                2 => (self.apply(1).await?, vec![Condition::Partial, Condition::NeedsInput]),
                3 => (self.apply(2).await?, vec![Condition::NeedsInput]),
                _ => (self.audit().await?, vec![]),
            };
            if let Some(condition) = self.interrupted() {
                self.console.out("\nInterrupted. What was in flight is on record; the files are left as they are.\n");
                return Ok(condition.into());
            }
            self.judge(step, &exit, &expected.into_iter().collect())?;
        }
        self.closing();
        Ok(Exit::ok())
    }

    fn interrupted(&self) -> Option<Condition> {
        match *self.stop.borrow() {
            Request::GoOn | Request::TimeUp { .. } => None,
            Request::Wind { condition, .. } | Request::Now { condition } => Some(condition),
        }
    }

    fn plan(&self) -> Result<Exit, Failure> {
        self.title(1, "plan", "Nothing is sent yet: manifest, tokens and ledger are compared.");
        let args = PlanArgs {
            manifests: self.manifests(),
            json: JSON,
            out: None,
            detailed_exitcode: false,
            reports: Vec::new(),
        };
        plan::run(&args, self.global, self.console)
    }

    async fn apply(&self, round: u8) -> Result<Exit, Failure> {
        let words = match round {
            1 => "Plans again, imports, records each outcome, and checks what came of it.",
            _ => "The same again: what is done is not done twice.",
        };
        self.title(round + 1, "apply --yes", words);
        let args = ApplyArgs {
            manifests: self.manifests(),
            yes: true,
            only: Vec::new(),
            limit: None,
            max_failures: None,
            max_trusted: None,
            plan: None,
            max_duration: None,
            grace: GRACE,
            no_verify: false,
            retry_refused: false,
            require_ledger: round > 1,
            output: output(),
            origin: origin(),
        };
        apply::run(&args, self.global, self.console, self.signals).await
    }

    async fn audit(&self) -> Result<Exit, Failure> {
        self.title(4, "audit", "Fetches every imported session again; needs no tokens.");
        let args = AuditArgs {
            manifests: self.manifests().manifests,
            limit: None,
            max_duration: None,
            offline: false,
            accept: Vec::new(),
            output: output(),
            origin: origin(),
        };
        audit::run(&args, self.global, self.console, self.signals).await
    }

    fn manifests(&self) -> ManifestArgs {
        ManifestArgs { manifests: vec![self.folder.manifest().to_string_lossy().into_owned()] }
    }

    /// Checks a step and tells what came of it.
    fn judge(&self, step: u8, exit: &Exit, expected: &Exit) -> Result<(), Failure> {
        let mut wrong = Vec::new();
        if exit != expected {
            wrong.push(format!("exit code: expected {}, found {}", expected.code(), exit.code()));
        }
        let existing = self.server.world().imported();
        let told = match step {
            1 => {
                if self.folder.ledger().exists() || !existing.is_empty() {
                    wrong.push("the plan changed something".to_owned());
                }
                PLANNED.to_owned()
            }
            2 => {
                let run = self.recorded()?;
                wrong.extend(verdict::first_run(self.scene, &run.outcomes, &existing));
                applied(&run)
            }
            3 => {
                let run = self.recorded()?;
                wrong.extend(verdict::second_run(self.scene, &run.outcomes, &run.end, existing.len()));
                AGAIN.to_owned()
            }
            _ => {
                let run = self.recorded()?;
                wrong.extend(verdict::audit(self.scene, &run.findings, &run.end));
                AUDITED.to_owned()
            }
        };
        if !wrong.is_empty() {
            let message = format!("step {step} of the demo did not end as it should: {}", wrong.join("; "));
            return Err(Failure::new(Condition::Internal, message)
                .with_help(format!("its files are in {}", self.folder.path().display())));
        }
        self.console.out(&format!("\n(exit code {}: {})\n{told}", exit.code(), exit.name()));
        Ok(())
    }

    /// The last run.
    fn recorded(&self) -> Result<Recorded, Failure> {
        let reader = Reader::require(&setup::location(self.global)?)?;
        let missing = || Failure::new(Condition::Internal, "the ledger does not have the demo's last run");
        let run = reader.runs()?.into_iter().max_by_key(|run| run.id.0).ok_or_else(missing)?;
        Ok(Recorded {
            outcomes: reader.run_outcomes(run.id)?,
            findings: reader.run_findings(run.id)?,
            end: run.end.ok_or_else(missing)?,
        })
    }

    fn opening(&self) {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "A partner shares {} verified sessions with us. A sandbox at {} stands in for Didit;",
            self.scene.good + 3,
            self.server.base_url()
        );
        text += "to make it real, it loses some of its answers. Nothing leaves this machine.\n\n";
        let _ = writeln!(text, "  manifest  {}", shown(&self.folder.manifest()));
        let _ = writeln!(text, "  roster    {}", shown(&self.folder.roster()));
        let _ = writeln!(text, "  ledger    {}", shown(&self.folder.ledger()));
        text += "\nThe steps are the commands as shown, run in that folder with `--ledger ledger.db`.\n";
        self.console.out(&text);
    }

    fn title(&self, step: u8, command: &str, words: &str) {
        let line = format!("=== {step} of 4: didit-sync {command} demo.yaml");
        self.console.out(&format!("\n{}\n{words}\n\n", paint(self.console.style().color, "1", &line)));
    }

    fn closing(&self) {
        let ledger = shown(&self.folder.ledger());
        let line = paint(self.console.style().color, "1", "=== Everything ended as expected.");
        self.console.out(&format!(
            "\n{line}\nThe sandbox is gone now, but its files are still there. Look further:\n\
             \x20 didit-sync status --ledger {ledger}\n\
             \x20 didit-sync status {} --ledger {ledger}\n\
             \x20 didit-sync report --list --ledger {ledger}\n\
             \x20 didit-sync plan {} --ledger {ledger}\n\
             Start your own: didit-sync init; and to try it, didit-sync sandbox --manifest trial.yaml\n\
             Remove it all:  rm -r {}\n",
            Scene::DELETED,
            shown(&self.folder.manifest()),
            shown(self.folder.path()),
        ));
    }
}

const JSON: JsonArgs = JsonArgs { json: false };

const PLANNED: &str = "\
`too-late` waits for a new token, since its own has expired; `not-for-us` carries a token for another application.
Neither is sent. `minted-twice` has two tokens and is one entry: the later token counts.
";

const AGAIN: &str = "\
Not one request was sent: the ledger knows what is done, and sending the refused token again would not help. Exit
code 5 goes on saying that three entries wait for someone: here the partner, who has to mint new tokens or to say
that an entry can be dropped.
";

const AUDITED: &str = "\
Each session is still there, with the workflow, the vendor_data and the status it should have.
";

fn applied(run: &Recorded) -> String {
    let recovered = verdict::count(&run.outcomes, &["recovered"]);
    let answers = if recovered == 1 { "1 answer was".to_owned() } else { format!("{recovered} answers were") };
    format!(
        "{answers} lost on the way, though the import was done. Such a request is on record before it leaves, so the\n\
         session was looked for, found, and is `recovered`: nobody is imported twice, and no session id is lost.\n\
         `deleted` was refused, because the partner deleted that session after sharing it. Exit code 3 says that\n\
         entries were refused in this run; the other {} went on all the same.\n",
        verdict::count(&run.outcomes, &["imported", "recovered"]),
    )
}

fn output() -> OutputArgs {
    OutputArgs { json: JSON, reports: Vec::new() }
}

fn origin() -> OriginArgs {
    OriginArgs { actor: None, reason: Some("demo".to_owned()), reference: None, wait_lock: Duration::ZERO }
}

/// A path as a shell takes it.
fn shown(path: &Path) -> String {
    let text = crate::text::inert(&path.to_string_lossy());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Exists(_) => {
                Self::new(Condition::Usage, error.to_string()).with_help("name another folder, or leave --folder out")
            }
            FolderError::Unwritable { .. } => Self::new(Condition::Internal, error.to_string()),
        }
    }
}
