//! The commands: wiring, no logic. Each reads its arguments, calls the library and shows what came of it.

mod apply;
pub mod args;
mod audit;
mod bug;
mod complete;
mod demo;
mod doctor;
mod erase;
mod expectations;
mod explain;
mod failure;
mod files;
mod ledger;
mod man;
mod moving;
mod names;
mod origin;
mod plan;
mod report;
mod reviewed;
mod sandbox;
pub mod schema;
mod sealed;
mod setup;
mod signals;
mod status;
mod up_to_date;
mod values;
mod view;

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;

use args::{Cli, Color, Command, Global, LedgerCommand};
use clap::CommandFactory as _;
use clap::builder::{FalseyValueParser, TypedValueParser as _};
pub use failure::Failure;
use signals::{Signals, Source};
use tokio::sync::oneshot;

use crate::console::{Console, LogFormat, Style};
use crate::exit::{Condition, Exit};
use crate::log;
use crate::report::ErrorDocument;

/// As much as a main thread has.
const STACK: usize = 8 << 20;

/// For texts that are written before it is known how.
const PLAIN: Style =
    Style { color: false, color_err: false, quiet: false, verbose: 0, log_format: LogFormat::Text, width: None };

/// Runs the program with these arguments; the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    sealed::seal();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(found) = complete::answer(&arguments, |name| std::env::var_os(name)) {
        Console::new(PLAIN).out(&found);
        return 0;
    }
    let cli = match Cli::read(&arguments, |name| std::env::var_os(name)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let console = Console::new(style(&cli.global));
    bug::tell_on(&console);
    let speaker = Console::new(console.style());
    log::start(&speaker);
    let json = wants_json(&cli.command);
    // A signal silences what the command says, not what is said of the signal.
    let exit = match bug::caught(|| run(cli, &speaker)) {
        Ok(exit) => exit,
        Err(failure) => fail(failure, json, &console),
    };
    written(exit, &[&speaker, &console]).code()
}

/// The exit, with an error where what was to stand on stdout does not.
fn written(mut exit: Exit, consoles: &[&Console]) -> Exit {
    if let Some((console, why)) = consoles.iter().find_map(|console| Some((console, console.lost()?))) {
        let failure = Failure::new(Condition::Internal, format!("stdout can't be written: {why}"));
        failure
            .with_help("make room for it; what a run did is on record, and `didit-sync report` shows it again")
            .say(console);
        exit.add(Condition::Internal);
    }
    exit
}

fn run(cli: Cli, console: &Console) -> Result<Exit, Failure> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if !sends(&cli.command) {
        // For signals alone: a thread for each core would take longer to start than the command takes.
        threads.worker_threads(1);
    }
    let runtime = threads
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Condition::Internal, format!("the runtime could not be started: {error}")))?;
    let source = {
        let _within = runtime.enter();
        Source::new()?
    };
    let signals = Signals::new();
    let (sender, mut ended) = oneshot::channel();
    let (handle, of_command, console) = (runtime.handle().clone(), signals.clone(), console.clone());
    let speaker = console.clone();
    // On a thread of its own, so that a signal ends the program whatever the command waits for.
    std::thread::Builder::new()
        .name("command".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let exit = handle.block_on(carry_out(cli, &speaker, &of_command));
            // Nobody waits any more after a signal.
            let _ = sender.send(exit);
        })
        .map_err(|error| Failure::new(Condition::Internal, format!("no thread could be started: {error}")))?;
    let panicked = |_| Err(Failure::new(Condition::Internal, "the program failed: this is a bug, please report it"));
    let interrupted = runtime.block_on(async {
        tokio::select! {
            biased;
            exit = &mut ended => Err(exit.unwrap_or_else(panicked)),
            failure = signals.serve(source) => Ok(failure),
        }
    });
    match interrupted {
        // A hung lookup must not hold the exit; what counts is on record.
        Err(exit) => {
            runtime.shutdown_background();
            exit
        }
        // What the command has just told stands; else its thread goes with the process, and the runtime under it.
        Ok(_) if !console.seal() => runtime.block_on(ended).unwrap_or_else(panicked),
        Ok(failure) => {
            std::mem::forget(runtime);
            Err(failure)
        }
    }
}

async fn carry_out(cli: Cli, console: &Console, signals: &Signals) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Init(args) => files::init(&args, console),
        Command::Validate(args) => plan::validate(&args, global, console),
        Command::Plan(args) => plan::run(&args, global, console),
        Command::Apply(args) => apply::run(&args, global, console, signals).await,
        Command::Audit(args) => audit::run(&args, global, console, signals).await,
        Command::Status(args) => status::run(&args, global, console),
        Command::Report(args) => report::run(&args, global, console),
        Command::Ledger(command) => ledger::run(command, global, console, signals).await,
        Command::Sandbox(args) => sandbox::run(args, console, signals).await,
        Command::Demo(args) => demo::run(&args, global, console, signals).await,
        Command::Doctor(args) => doctor::run(&args, global, console).await,
        Command::Explain(args) => explain::run(&args, console),
        Command::Schema(args) => Ok(schema::run(&args, console)),
        Command::Completions { shell } => Ok(complete::script(shell, console)),
        Command::Man(args) => man::run(&args, console),
    }
}

/// Whether a command has to do with the network.
fn sends(command: &Command) -> bool {
    !matches!(
        command,
        Command::Init(_)
            | Command::Validate(_)
            | Command::Plan(_)
            | Command::Status(_)
            | Command::Report(_)
            | Command::Explain(_)
            | Command::Schema(_)
            | Command::Completions { .. }
            | Command::Man(_)
    )
}

fn wants_json(command: &Command) -> bool {
    match command {
        Command::Validate(args) => args.json.json,
        Command::Plan(args) => args.json.json,
        Command::Apply(args) => args.output.json.json,
        Command::Audit(args) => args.output.json.json,
        Command::Status(args) => args.json.json,
        Command::Report(args) => args.output.json.json,
        Command::Doctor(args) => args.json.json,
        Command::Explain(args) => args.json.json,
        Command::Ledger(LedgerCommand::Adopt(args)) => args.json.json,
        Command::Ledger(LedgerCommand::Forget(args)) => args.json.json,
        Command::Ledger(LedgerCommand::Erase(args)) => args.entries.json.json,
        Command::Ledger(LedgerCommand::Check(args)) => args.json.json,
        Command::Ledger(LedgerCommand::Backup(args)) => args.json.json,
        _ => false,
    }
}

/// Shows why no run began.
fn fail(failure: Failure, json: bool, console: &Console) -> Exit {
    if json {
        console.json(&ErrorDocument::new(&failure.message, &failure.diagnostics, &failure.exit));
    }
    failure.say(console);
    failure.exit
}

/// Wrong flags, or help and version asked for. clap quotes arguments and the environment, so its texts are written
/// as all others are, with secrets masked.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let asked = Asked::of(arguments, &|name| std::env::var_os(name));
    let log_format = if asked.json_lines { LogFormat::Json } else { LogFormat::Text };
    let console = Console::new(Style { log_format, ..PLAIN });
    let rendered = error.render();
    let text = |is_terminal: bool| {
        let text =
            if is_colored(Color::Auto, is_terminal) { rendered.ansi().to_string() } else { rendered.to_string() };
        crate::mask::quoted(&text).into_owned()
    };
    if !error.use_stderr() {
        console.out(&text(std::io::stdout().is_terminal()));
        return written(Exit::ok(), &[&console]).code();
    }
    let failure = Failure::new(Condition::Usage, usage_message(error));
    if asked.json {
        console.json(&ErrorDocument::new(&failure.message, &failure.diagnostics, &failure.exit));
    }
    if asked.json_lines {
        failure.say(&console);
    } else {
        console.err(&text(std::io::stderr().is_terminal()));
    }
    written(failure.exit, &[&console]).code()
}

/// What of clap's text says what is wrong, on one line.
fn usage_message(error: &clap::Error) -> String {
    use clap::error::ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    if matches!(error.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand) {
        return "no command is given".to_owned();
    }
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    crate::text::inert(lines.join(" ").trim_start_matches("error: "))
}

/// In what forms errors are asked for, read from arguments that clap did not take.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    json: bool,
    json_lines: bool,
}

impl Asked {
    fn of(arguments: &[OsString], env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let mut options = arguments.iter().skip(1).take_while(|argument| *argument != "--");
        let mut json = env("DIDIT_SYNC_JSON").is_some_and(|value| is_true(&value));
        let mut form = env("DIDIT_SYNC_LOG_FORMAT");
        while let Some(option) = options.next() {
            json |= option == "--json";
            if option == "--log-format" {
                form = options.next().cloned();
            } else if let Some(value) = option.to_str().and_then(|option| option.strip_prefix("--log-format=")) {
                form = Some(value.into());
            }
        }
        Self { json, json_lines: form.is_some_and(|form| form == "json") }
    }
}

/// As clap reads a flag's variable.
fn is_true(value: &OsStr) -> bool {
    FalseyValueParser::new().parse_ref(&Cli::command(), None, value).unwrap_or(false)
}

fn style(global: &Global) -> Style {
    let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    Style {
        color: is_colored(global.color, out),
        color_err: is_colored(global.color, err),
        quiet: global.quiet,
        verbose: global.verbose,
        log_format: global.log_format,
        width: out.then(columns).flatten(),
    }
}

fn is_colored(asked: Color, is_terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_zero = |name: &str| std::env::var_os(name).is_some_and(|value| value == "0");
    match asked {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR") => false,
        Color::Auto if set("CLICOLOR_FORCE") && !is_zero("CLICOLOR_FORCE") => true,
        Color::Auto => is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}

fn columns() -> Option<u16> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// The command line's description, for completions and checks.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
