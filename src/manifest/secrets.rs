//! Secrets that stand elsewhere: a variable, a file, the output of a program.
//!
//! A manifest is data, so a program runs only where the policy allows it: without a shell, without input, for a
//! limited time, and killed with whoever waits for it. What it prints is the secret or nothing: no error repeats it. It
//! has our environment, but a program that gives a token has not the variables that hold keys. A file is checked against
//! the allowed folders again when it is opened, links followed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::bounds;
use super::model::SecretRef;
use super::read::{self, SECRET_LIMIT};

/// The environment as the program was started with; injected, so that tests need no real one.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// An environment that looks up as `lookup` does.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The process's own. A value that is not Unicode counts as not set.
    #[must_use]
    pub fn process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// No variables at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(|_| None)
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(..)")
    }
}

/// What resolving a secret may do.
#[derive(Clone, Debug)]
pub struct SecretPolicy {
    /// `--allow-exec`.
    pub allow_exec: bool,
    /// How long a program may take.
    pub timeout: Duration,
    /// Where variables are looked up.
    pub env: Environment,
    /// Variables that programs are not given: those that hold the receiving applications' keys, for programs that
    /// fetch or mint a token, which comes from another application.
    pub withheld: Vec<String>,
}

/// Why a secret can't be had. Holds names and paths, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or is empty.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// The file can't be read, is empty, too large, or outside.
    #[error("the file {path} can't be read: {reason}")]
    File {
        /// As written in the manifest.
        path: String,
        /// Why.
        reason: String,
    },
    /// It takes a program, which nobody allowed.
    #[error("the program {0} may run only with --allow-exec")]
    ExecNotAllowed(String),
    /// The program gave no secret.
    #[error("the program {program} gave no secret: {reason}")]
    Exec {
        /// The program.
        program: String,
        /// Why; nothing of its output.
        reason: String,
    },
}

/// Gets a secret: the variable, the file's contents or the program's output, surrounding white space dropped.
pub async fn resolve(reference: &SecretRef, policy: &SecretPolicy) -> Result<Zeroizing<String>, SecretError> {
    match reference {
        SecretRef::Env(name) => read_env(name, &policy.env),
        SecretRef::File { written, path, roots } => read_file(written, path, roots),
        SecretRef::Exec { command, folder } => {
            let program = command.first().cloned().unwrap_or_default();
            if !policy.allow_exec {
                return Err(SecretError::ExecNotAllowed(program));
            }
            let running = run(command, folder, &policy.withheld);
            let result = match tokio::time::timeout(policy.timeout, running).await {
                Ok(result) => result,
                Err(_) => Err(format!("it took longer than {} s", policy.timeout.as_secs_f64())),
            };
            result.map_err(|reason| SecretError::Exec { program, reason })
        }
    }
}

/// The value of a variable; an empty one counts as not set.
pub(super) fn read_env(name: &str, env: &Environment) -> Result<Zeroizing<String>, SecretError> {
    let value = env.get(name).map(Zeroizing::new).map(|value| Zeroizing::new(value.trim().to_owned()));
    value.filter(|value| !value.is_empty()).ok_or_else(|| SecretError::NotSet(name.to_owned()))
}

/// The contents of a small file inside the allowed folders.
pub(super) fn read_file(written: &str, path: &Path, roots: &[PathBuf]) -> Result<Zeroizing<String>, SecretError> {
    let wrong = |reason: String| SecretError::File { path: written.to_owned(), reason };
    let real = bounds::settle(path, roots).map_err(|error| wrong(read::reason(&error)))?;
    let mut limited =
        std::io::Read::take(std::fs::File::open(real).map_err(|error| wrong(read::reason(&error)))?, SECRET_LIMIT + 1);
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(|error| wrong(read::reason(&error)))?;
    text_of(&bytes).map_err(wrong)
}

/// Runs a program without a shell and takes its output. Dropping the future kills it.
async fn run(command: &[String], folder: &Path, withheld: &[String]) -> Result<Zeroizing<String>, String> {
    let (program, arguments) = command.split_first().ok_or("no program is named")?;
    let mut command = tokio::process::Command::new(program);
    for name in withheld {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it can't be started: {}", read::reason(&error)))?;
    let mut output = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        let mut limited = stdout.take(SECRET_LIMIT + 1);
        limited.read_to_end(&mut output).await.map_err(|error| read::reason(&error))?;
    }
    if output.len() as u64 > SECRET_LIMIT {
        return Err("it printed too much".to_owned());
    }
    let status = child.wait().await.map_err(|error| read::reason(&error))?;
    if !status.success() {
        return Err(format!("it failed ({status})"));
    }
    text_of(&output)
}

fn text_of(bytes: &[u8]) -> Result<Zeroizing<String>, String> {
    if bytes.len() as u64 > SECRET_LIMIT {
        return Err("it is too large".to_owned());
    }
    let text = std::str::from_utf8(read::without_bom(bytes)).map_err(|_| "it is not UTF-8 text")?.trim();
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Zeroizing::new(text.to_owned())) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn policy(allow_exec: bool) -> SecretPolicy {
        let env = Environment::new(|name| (name == "KEY").then(|| " s3cret\n".to_owned()));
        SecretPolicy { allow_exec, timeout: Duration::from_secs(20), env, withheld: Vec::new() }
    }

    fn exec(words: &[&str]) -> SecretRef {
        SecretRef::Exec { command: words.iter().map(|w| (*w).to_owned()).collect(), folder: PathBuf::from("/") }
    }

    #[tokio::test]
    async fn variables_are_trimmed_and_empty_is_not_set() {
        assert_eq!(*resolve(&SecretRef::Env("KEY".into()), &policy(false)).await.unwrap(), "s3cret");
        let error = resolve(&SecretRef::Env("NONE".into()), &policy(false)).await.unwrap_err();
        assert_eq!(error, SecretError::NotSet("NONE".into()));
    }

    #[tokio::test]
    async fn programs_run_only_when_allowed_and_without_a_shell() {
        let echo = exec(&["echo", "$HOME;x"]);
        assert!(matches!(resolve(&echo, &policy(false)).await, Err(SecretError::ExecNotAllowed(_))));
        assert_eq!(*resolve(&echo, &policy(true)).await.unwrap(), "$HOME;x");
    }

    #[tokio::test]
    async fn promise_5_a_failing_program_is_told_without_its_output() {
        let error =
            resolve(&exec(&["sh", "-c", "echo s3cret; echo s3cret >&2; exit 3"]), &policy(true)).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains('3') && !shown.contains("s3cret"), "{shown}");
        assert!(resolve(&exec(&["/none/such"]), &policy(true)).await.is_err());
        assert!(resolve(&exec(&["true"]), &policy(true)).await.is_err());
        assert!(resolve(&exec(&["yes"]), &policy(true)).await.unwrap_err().to_string().contains("too much"));
    }

    #[tokio::test]
    async fn a_slow_program_is_given_up() {
        let policy = SecretPolicy { timeout: Duration::from_millis(50), ..policy(true) };
        let error = resolve(&exec(&["sleep", "60"]), &policy).await.unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_turned_into_a_link_out_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&outside, "s3cret").unwrap();
        std::fs::write(inside.join("key"), "s3cret\n").unwrap();
        let roots = vec![inside.canonicalize().unwrap()];
        let file = SecretRef::File { written: "key".into(), path: inside.join("key"), roots };
        assert_eq!(*resolve(&file, &policy(false)).await.unwrap(), "s3cret");
        std::fs::remove_file(inside.join("key")).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("key")).unwrap();
        let error = resolve(&file, &policy(false)).await.unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
    }
}
