//! The command line. Each option but `--yes`, `--plan`, `--only` and `--accept` has an environment twin, `DIDIT_SYNC_` and
//! the option's name in capitals; an option beats the environment, the environment the manifest, the manifest the default.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, ValueHint};
use jiff::Timestamp;

pub use super::values::ReportTarget;
use super::values::{plan_report, since, state, time, until};
use crate::console::LogFormat;
use crate::ledger::records::State;
use crate::manifest::MaxFailures;
use crate::progress::Mode;
use crate::report::Kind;
use crate::report::schema::Output;
use crate::sandbox::{Dialect, Faults};

/// Imports shared Didit verifications as manifests say, and keeps account of them.
#[derive(Debug, Parser)]
#[command(name = "didit-sync", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Try it with nothing to set up: didit-sync demo")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

impl Cli {
    /// Reads arguments and the environment.
    ///
    /// The twins of repeatable options are lists. clap would split what stands on the command line, too, where `:` and
    /// `,` may be part of a path: so they are split here, and are the options' defaults. The files of
    /// `DIDIT_SYNC_REPORT` are the last run's: `report` makes them again, but what looks back leaves them alone.
    pub fn read(arguments: &[OsString], env: impl Fn(&str) -> Option<OsString>) -> Result<Self, clap::Error> {
        let list = |name: &str, between: u8| -> Vec<OsString> {
            let text = env(name).unwrap_or_default();
            let parts = text.as_bytes().split(|byte| *byte == between).filter(|part| !part.is_empty());
            parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
        };
        let with = |command: clap::Command, option: &'static str, values: Vec<OsString>| {
            command.mut_arg(option, |arg| arg.default_values(values).hide_default_value(true))
        };
        let mut command = with(Self::command(), "roots", list("DIDIT_SYNC_ROOT", b':'));
        command = with(command, "allow_hosts", list("DIDIT_SYNC_ALLOW_HOST", b','));
        for name in ["apply", "audit", "report"] {
            let reports = list("DIDIT_SYNC_REPORT", b',');
            command = command.mut_subcommand(name, |command| with(command, "reports", reports));
        }
        // Other kinds are meant for runs.
        let mut comments = list("DIDIT_SYNC_REPORT", b',');
        comments.retain(|report| report.as_bytes().starts_with(b"markdown="));
        command = command.mut_subcommand("plan", |command| with(command, "reports", comments));
        let matches = command.try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let Command::Report(args) = &mut cli.command {
            let of_report = matches.subcommand_matches("report").and_then(|matches| matches.value_source("reports"));
            if of_report == Some(ValueSource::DefaultValue) && args.looks_back() {
                args.output.reports.clear();
            }
        }
        Ok(cli)
    }

    /// The environment twins, each with the help of its option; sorted.
    #[must_use]
    pub fn twins() -> BTreeMap<String, String> {
        let mut twins: BTreeMap<String, String> = BTreeMap::new();
        add_twins(&Self::command(), &mut twins);
        twins
    }
}

/// The twins that are lists, see [`Cli::read`].
const LISTS: [(&str, &str); 3] =
    [("roots", "DIDIT_SYNC_ROOT"), ("allow_hosts", "DIDIT_SYNC_ALLOW_HOST"), ("reports", "DIDIT_SYNC_REPORT")];

fn add_twins(command: &clap::Command, twins: &mut BTreeMap<String, String>) {
    for arg in command.get_arguments() {
        let list = LISTS.iter().find(|(id, _)| arg.get_id() == id).map(|(_, name)| (*name).to_owned());
        if let Some(name) = arg.get_env().map(|name| name.to_string_lossy().into_owned()).or(list) {
            twins.entry(name).or_insert_with(|| arg.get_help().map(ToString::to_string).unwrap_or_default());
        }
    }
    command.get_subcommands().for_each(|command| add_twins(command, twins));
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The ledger: a file, or a PostgreSQL server's URL (`postgres://...`).
    #[arg(long, global = true, env = "DIDIT_SYNC_LEDGER", default_value = "state/ledger.db", value_name = "PATH")]
    pub ledger: PathBuf,
    /// Wait so long for a ledger's server that goes away in the middle of a run.
    #[arg(long, global = true, env = "DIDIT_SYNC_WAIT_LEDGER", value_name = "TIME", value_parser = time, default_value = "2m")]
    pub wait_ledger: Duration,
    /// Allow a ledger on a network file system.
    #[arg(long, global = true, env = "DIDIT_SYNC_ALLOW_NETWORK_FS", value_parser = FalseyValueParser::new())]
    pub allow_network_fs: bool,
    /// Let manifests run programs for tokens and keys ({exec: [...]}).
    #[arg(long, global = true, env = "DIDIT_SYNC_ALLOW_EXEC", value_parser = FalseyValueParser::new())]
    pub allow_exec: bool,
    /// Another folder that manifests may read files from (repeatable; in `DIDIT_SYNC_ROOT` with `:` between).
    #[arg(long = "root", global = true, value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Another host that a key may be sent to (repeatable; in `DIDIT_SYNC_ALLOW_HOST` with `,` between).
    #[arg(long = "allow-host", global = true, value_name = "HOST")]
    pub allow_hosts: Vec<String>,
    /// When to colour.
    #[arg(long, global = true, env = "DIDIT_SYNC_COLOR", value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// How progress is shown on stderr; SIGUSR1 asks for a line in any case.
    #[arg(long, global = true, env = "DIDIT_SYNC_PROGRESS", value_enum, default_value_t, value_name = "HOW")]
    pub progress: Mode,
    /// Only errors on stderr.
    #[arg(short, long, global = true, env = "DIDIT_SYNC_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// List everything, and log what a run does; twice: each import, too.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "DIDIT_SYNC_VERBOSE")]
    pub verbose: u8,
    /// The form of lines on stderr.
    #[arg(long, global = true, env = "DIDIT_SYNC_LOG_FORMAT", value_enum, default_value_t, value_name = "FORM")]
    pub log_format: LogFormat,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented starter manifest.
    Init(InitArgs),
    /// Check manifests and token claims, without network, key or ledger.
    Validate(ValidateArgs),
    /// Show what apply would do; sends nothing, needs no key.
    Plan(PlanArgs),
    /// Plan, ask, import, record, verify.
    Apply(ApplyArgs),
    /// Fetch imported sessions again and report what is not as it should be.
    Audit(AuditArgs),
    /// What the ledger knows.
    Status(StatusArgs),
    /// An earlier run again, or a period, from the ledger.
    Report(ReportArgs),
    /// Repairs of the ledger by hand.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Serve a local stand-in for the API.
    Sandbox(SandboxArgs),
    /// The whole job against an embedded sandbox, with nothing to set up.
    Demo(DemoArgs),
    /// Check key, base URL, clock, workflows and ledger; changes nothing.
    Doctor(DoctorArgs),
    /// What a code means that this program shows, with an example.
    Explain(ExplainArgs),
    /// Print the JSON Schema of the manifest, or of what --json prints.
    Schema(SchemaArgs),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write those of all commands.
    Man(ManArgs),
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file; by default manifests/NAME.yaml, NAME being the folder's.
    pub path: Option<PathBuf>,
}

/// The manifests of a command.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// Manifests, or folders of them.
    #[arg(required = true, value_name = "MANIFEST", value_hint = ValueHint::AnyPath)]
    pub manifests: Vec<String>,
}

/// `--json`.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// One JSON document on stdout.
    #[arg(long, env = "DIDIT_SYNC_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Save the plan.
    #[arg(long, env = "DIDIT_SYNC_OUT", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit 2 when there is something to send.
    #[arg(long, env = "DIDIT_SYNC_DETAILED_EXITCODE", value_parser = FalseyValueParser::new())]
    pub detailed_exitcode: bool,
    /// Write the plan as a comment for a pull request (repeatable; of `DIDIT_SYNC_REPORT`, what is markdown=FILE).
    #[arg(long = "report", value_name = "markdown=FILE", value_parser = plan_report)]
    pub reports: Vec<ReportTarget>,
}

/// Who runs, why and where; kept with the run.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// Who runs this (default: user@host; in CI the actor).
    #[arg(long, env = "DIDIT_SYNC_ACTOR", value_name = "NAME")]
    pub actor: Option<String>,
    /// Why.
    #[arg(long, env = "DIDIT_SYNC_REASON", value_name = "TEXT")]
    pub reason: Option<String>,
    /// A ticket or commit (default in CI: the commit and the run's URL).
    #[arg(long = "ref", env = "DIDIT_SYNC_REF", value_name = "TEXT")]
    pub reference: Option<String>,
    /// Wait so long for a ledger that another run holds.
    #[arg(long, env = "DIDIT_SYNC_WAIT_LOCK", value_name = "TIME", value_parser = time, default_value = "0s")]
    pub wait_lock: Duration,
}

/// `apply`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct ApplyArgs {
    /// The manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,
    /// Don't ask; required without a terminal.
    #[arg(long, short)]
    pub yes: bool,
    /// Carry out this saved plan (plan --out FILE), if it is still the plan; refuse it if not, or if it was used.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Only this entry: its label or source session (repeatable).
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// Send at most so many entries.
    #[arg(long, env = "DIDIT_SYNC_LIMIT", value_name = "N")]
    pub limit: Option<u64>,
    /// Stop sending after more refusals than this: a number, or a share such as 5%.
    #[arg(long, env = "DIDIT_SYNC_MAX_FAILURES", value_name = "N|N%")]
    pub max_failures: Option<MaxFailures>,
    /// Send nothing if more new imports than this keep the partner's status.
    #[arg(long, env = "DIDIT_SYNC_MAX_TRUSTED", value_name = "N")]
    pub max_trusted: Option<u64>,
    /// Send nothing new after this time, such as 20m; exit 8 if work is left.
    #[arg(long, env = "DIDIT_SYNC_MAX_DURATION", value_name = "TIME", value_parser = time)]
    pub max_duration: Option<Duration>,
    /// After Ctrl-C or --max-duration, wait so long for what is in flight.
    #[arg(long, env = "DIDIT_SYNC_GRACE", value_name = "TIME", value_parser = time, default_value = "10s")]
    pub grace: Duration,
    /// Don't fetch and check the imported sessions.
    #[arg(long, env = "DIDIT_SYNC_NO_VERIFY", value_parser = FalseyValueParser::new())]
    pub no_verify: bool,
    /// Send again what was refused for good.
    #[arg(long, env = "DIDIT_SYNC_RETRY_REFUSED", value_parser = FalseyValueParser::new())]
    pub retry_refused: bool,
    /// Exit 12 where there is no ledger yet, instead of starting one.
    #[arg(long, env = "DIDIT_SYNC_REQUIRE_LEDGER", value_parser = FalseyValueParser::new())]
    pub require_ledger: bool,
    /// How the result is given.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Who runs.
    #[command(flatten)]
    pub origin: OriginArgs,
}

/// How the result of a run is given.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Write a report (repeatable; in `DIDIT_SYNC_REPORT` with `,` between). KIND is json, csv, junit, markdown, html,
    /// prometheus, or remint, a table of the tokens that the partner has to mint again.
    #[arg(long = "report", value_name = "KIND=FILE")]
    pub reports: Vec<ReportTarget>,
}

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Manifests, or folders of them; without any, every imported session of the ledger.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::AnyPath)]
    pub manifests: Vec<String>,
    /// At most so many sessions, least recently audited first.
    #[arg(long, env = "DIDIT_SYNC_LIMIT", value_name = "N")]
    pub limit: Option<u64>,
    /// Stop after this time, such as 20m; exit 8 if sessions are left. The next audit begins with them.
    #[arg(long, env = "DIDIT_SYNC_MAX_DURATION", value_name = "TIME", value_parser = time)]
    pub max_duration: Option<Duration>,
    /// Judge what the ledger knows, without a request or a key.
    #[arg(long, env = "DIDIT_SYNC_OFFLINE", value_parser = FalseyValueParser::new())]
    pub offline: bool,
    /// Take what is there now as the baseline of this entry (repeatable), or of all; needs --reason.
    #[arg(long, value_name = "ID|all", requires = "reason", conflicts_with = "offline")]
    pub accept: Vec<String>,
    /// How the result is given.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Who runs.
    #[command(flatten)]
    pub origin: OriginArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Entries by label, source session, session id or `vendor_data`.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Only entries in this state.
    #[arg(long, env = "DIDIT_SYNC_STATE", value_parser = state, value_name = "STATE")]
    pub state: Option<State>,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
    /// CSV on stdout.
    #[arg(long, env = "DIDIT_SYNC_CSV", value_parser = FalseyValueParser::new(), conflicts_with = "json")]
    pub csv: bool,
}

/// `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run; by default the last apply or audit.
    pub run: Option<i64>,
    /// List the runs instead.
    #[arg(long, env = "DIDIT_SYNC_LIST", value_parser = FalseyValueParser::new())]
    pub list: bool,
    /// The report on stdout in this form: json, csv, junit, markdown, html, prometheus or remint.
    #[arg(long, env = "DIDIT_SYNC_FORMAT", value_name = "KIND")]
    pub format: Option<Kind>,
    /// Sum up a period instead, from this day or moment (2026-10-01, or 2026-10-01T12:00:00Z; UTC).
    #[arg(long, env = "DIDIT_SYNC_SINCE", value_name = "DATE", value_parser = since, conflicts_with_all = ["run", "list"])]
    pub since: Option<Timestamp>,
    /// The end of the period: a day is part of it, a moment is not (default: now).
    #[arg(long, env = "DIDIT_SYNC_UNTIL", value_name = "DATE", value_parser = until, conflicts_with_all = ["run", "list"])]
    pub until: Option<Timestamp>,
    /// How the result is given.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl ReportArgs {
    /// Whether it asks for something else than the last run.
    fn looks_back(&self) -> bool {
        self.run.is_some() || self.list || self.since.is_some() || self.until.is_some()
    }
}

/// `ledger`.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Record a session for an entry that could not be settled.
    Adopt(AdoptArgs),
    /// Drop what is known of entries, so that they may be imported again.
    Forget(ForgetArgs),
    /// Overwrite all that is known of entries, and never send them again.
    Erase(EraseArgs),
    /// Say whether the ledger is sound; changes nothing.
    Check(CheckArgs),
    /// Copy the ledger to a new file, also while an apply runs.
    Backup(BackupArgs),
    /// Move the ledger to another file, or to a server and back; what is there now stays as it is.
    Move(MoveArgs),
}

/// `ledger adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The entry: label, source session or `vendor_data`.
    #[arg(required_unless_present = "from")]
    pub id: Option<String>,
    /// Its session in the receiving application.
    #[arg(required_unless_present = "from")]
    pub session_id: Option<uuid::Uuid>,
    /// Many at once: a CSV or TSV with the columns id and `session_id`.
    #[arg(long, env = "DIDIT_SYNC_FROM", value_name = "FILE", conflicts_with = "id")]
    pub from: Option<PathBuf>,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Who runs.
    #[command(flatten)]
    pub origin: OriginArgs,
}

/// `ledger forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Entries: label, source session, session id or `vendor_data`.
    #[arg(required_unless_present = "from", value_name = "ID")]
    pub ids: Vec<String>,
    /// Many at once: one a line, or a CSV or TSV with the column id.
    #[arg(long, env = "DIDIT_SYNC_FROM", value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Who runs.
    #[command(flatten)]
    pub origin: OriginArgs,
}

/// `ledger erase`.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// Which entries, and who runs; `--reason` is required.
    #[command(flatten)]
    pub entries: ForgetArgs,
    /// Delete their sessions at Didit first.
    #[arg(long, env = "DIDIT_SYNC_DELETE", value_parser = FalseyValueParser::new())]
    pub delete: bool,
}

/// `ledger check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// `ledger backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The new file.
    pub path: PathBuf,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// `ledger move`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// Where to: a new file, or the URL of a database without a ledger in it.
    #[arg(long, env = "DIDIT_SYNC_TO", value_name = "LEDGER")]
    pub to: PathBuf,
    /// Wait so long for a ledger that another run holds.
    #[arg(long, env = "DIDIT_SYNC_WAIT_LOCK", value_name = "TIME", value_parser = time, default_value = "0s")]
    pub wait_lock: Duration,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// `sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Where to listen; loopback only.
    #[arg(long, env = "DIDIT_SYNC_LISTEN", default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// What makes it repeatable.
    #[arg(long, env = "DIDIT_SYNC_SEED", default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// How many sessions the partner has to share.
    #[arg(long, env = "DIDIT_SYNC_SESSIONS", default_value_t = 20, value_name = "N")]
    pub sessions: usize,
    /// Writes a minute; 0 is unlimited.
    #[arg(long, env = "DIDIT_SYNC_WRITES_PER_MINUTE", default_value_t = 300, value_name = "N")]
    pub writes_per_minute: u32,
    /// Reads a minute; 0 is unlimited.
    #[arg(long, env = "DIDIT_SYNC_READS_PER_MINUTE", default_value_t = 600, value_name = "N")]
    pub reads_per_minute: u32,
    /// Faults on demand, such as latency=20ms..80ms,import.lost-after=10%.
    #[arg(long, env = "DIDIT_SYNC_FAULTS", value_name = "SPEC")]
    pub faults: Option<Faults>,
    /// The generation of the API: 2026 or seed.
    #[arg(long, env = "DIDIT_SYNC_DIALECT", default_value = "2026", value_name = "NAME")]
    pub dialect: Dialect,
    /// Write a manifest with a token for every session.
    #[arg(long, env = "DIDIT_SYNC_MANIFEST", value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where to write manifest, source and ledger; by default a new folder among the temporary ones.
    #[arg(long, env = "DIDIT_SYNC_FOLDER", value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Manifests, or folders of them; without any, what the ledger keeps of the last applies, else `DIDIT_API_KEY`.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::AnyPath)]
    pub manifests: Vec<String>,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code, such as unknown-key, `token_expired`, recover, evidence-drift or 6; without one, all are listed.
    pub code: Option<String>,
    /// `--json`.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of this document instead.
    #[arg(long, env = "DIDIT_SYNC_OUTPUT", value_enum, value_name = "DOCUMENT")]
    pub output: Option<Output>,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this folder instead.
    #[arg(long, env = "DIDIT_SYNC_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
