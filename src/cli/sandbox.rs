//! `sandbox`: serves the stand-in until it is interrupted.

use std::time::Duration;

use super::Failure;
use super::args::SandboxArgs;
use super::signals::Signals;
use crate::console::{Console, Level};
use crate::exit::{Condition, Exit};
use crate::run::{Request, wait_for};
use crate::sandbox::{Config, Error, Sandbox, write_manifest};

pub(super) async fn run(args: SandboxArgs, console: &Console, signals: &Signals) -> Result<Exit, Failure> {
    let mut stop = signals.begin(Duration::ZERO)?;
    let config = Config {
        listen: args.listen,
        seed: args.seed,
        sessions: args.sessions,
        writes_per_minute: args.writes_per_minute,
        reads_per_minute: args.reads_per_minute,
        faults: args.faults.unwrap_or_default(),
        dialect: args.dialect,
        ..Config::default()
    };
    let running = Sandbox::start(config).await.map_err(|error| cannot(&error))?;
    if let Some(path) = &args.manifest {
        write_manifest(&running, path).map_err(|error| cannot(&error))?;
    }
    for (name, value) in running.environment() {
        console.reveal(&format!("export {name}={value}\n"));
    }
    if let Some(path) = &args.manifest {
        console.out(&format!("# try: didit-sync plan {}\n", path.display()));
    }
    console.say(Level::Info, &format!("sandbox at {}; Ctrl-C ends it", running.base_url()));
    wait_for(&mut stop, |request| *request != Request::GoOn).await;
    running.shutdown().await;
    Ok(Exit::ok())
}

pub(super) fn cannot(error: &Error) -> Failure {
    let condition = match error {
        Error::NotLoopback(_) | Error::ManifestExists(_) => Condition::Usage,
        _ => Condition::Internal,
    };
    let failure = Failure::new(condition, error.to_string());
    match error {
        Error::Bind { .. } => failure.with_help("another sandbox may be running: name another port with --listen"),
        _ => failure,
    }
}
