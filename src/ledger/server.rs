//! A ledger's server: how it is named, and how it is reached.
//!
//! A server is named by a URL, which is read with libpq's conventions, so that what works with `psql` works here and means
//! the same: several hosts, sockets, the environment (`PG...`), the password file, the modes of TLS. What libpq knows and
//! this module doesn't is an error, never overlooked.
//!
//! - **Secrets.** A password is kept in memory that is wiped, apart from the copy that tokio-postgres has while it
//!   connects. Nothing that a [`Server`] or a [`ServerError`] shows has any part of it, not even where the URL was
//!   written wrongly, so errors name parameters and places, and quote no value but the path of a file.
//! - **TLS.** No mode is weaker here than in libpq. Where libpq goes on without a file that was named, this is an error.

mod certificate;
mod connect;
mod endpoint;
mod error;
#[cfg(test)]
mod live;
mod parameters;
mod password;
mod roots;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod url;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::endpoint::Endpoint;
pub use self::error::ServerError;
use self::parameters::Values;
use self::password::{Asked, Password};
use self::settings::{Encryption, Settings};

/// A ledger's server: where it is, and how it is reached.
///
/// `Display` shows it as a URL without password and parameters, which names it for people and for records.
#[derive(Clone)]
pub struct Server {
    user: String,
    database: String,
    /// Never empty.
    endpoints: Vec<Endpoint>,
    encryption: Encryption,
    settings: Settings,
    /// For how long it may be away in the middle of a run.
    patience: Duration,
    /// The folder for what waits on this machine meanwhile.
    spool: Option<PathBuf>,
}

/// `--wait-ledger`, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

impl Server {
    /// Whether what was given for a ledger names a server, and not a file: `postgres://` or `postgresql://`.
    #[must_use]
    pub fn is_named(text: &str) -> bool {
        url::after_scheme(text).is_some()
    }

    /// Reads a URL with libpq's conventions. `env` gives variables of the environment. The password file and roots of
    /// trust are read here, the server isn't asked anything.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ServerError> {
        let mut values = url::read(text)?;
        values.complete(env)?;
        let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let user = match values.text("user")? {
            Some(user) => user.to_owned(),
            None => whoami::username().map_err(|_| ServerError::NoUser)?,
        };
        let database = values.text("dbname")?.unwrap_or(&user).to_owned();
        let mut endpoints = endpoint::all(&values)?;
        let is_remote = endpoints.iter().any(|endpoint| matches!(endpoint.host, endpoint::Host::Tcp(..)));
        let encryption = Encryption::read(&values, home.as_deref(), is_remote)?;
        let settings = Settings::read(&values)?;
        let spool = state_folder(env, home.as_deref());
        give_passwords(&mut endpoints, &values, home, &user, &database);
        Ok(Self { user, database, endpoints, encryption, settings, patience: PATIENCE, spool })
    }

    pub(super) fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// The folder for what waits on this machine while the server is away.
    pub(super) fn spool(&self) -> Option<&Path> {
        self.spool.as_deref()
    }
}

/// The folder for state that a user's programs keep on a machine.
fn state_folder(env: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Option<PathBuf> {
    let named = env("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = named.or_else(|| Some(home?.join(".local/state")))?;
    Some(folder.join("didit-sync"))
}

/// The password that was given, else for each host what the password file says.
fn give_passwords(endpoints: &mut [Endpoint], values: &Values, home: Option<PathBuf>, user: &str, database: &str) {
    if let Some(password) = values.bytes("password") {
        let password = Password::new(password.clone());
        for endpoint in endpoints {
            endpoint.password = Some(password.clone());
        }
        return;
    }
    let named = values.path("passfile");
    let is_named = named.is_some();
    let Some(path) = named.or_else(|| home.map(|home| home.join(".pgpass"))) else { return };
    let Some(contents) = password::read(&path, is_named) else { return };
    for endpoint in endpoints {
        let asked = Asked { host: endpoint.host.in_password_file(), port: endpoint.port, database, user };
        endpoint.password = password::find(&contents, asked);
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", url::encoded(self.user.as_bytes()))?;
        for (nth, endpoint) in self.endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if nth == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", url::encoded(self.database.as_bytes()))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &format_args!("{self}"))
            .field("encryption", &self.encryption)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
