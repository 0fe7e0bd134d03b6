//! How a connection is made: its encryption, its patience, and what the server is told.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation, TargetSessionAttrs};

use super::ServerError;
use super::parameters::Values;
use super::roots::Roots;
use super::tls::{Connector, Manner};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
const APPLICATION: &str = "didit-sync";

/// Whether connections are encrypted. A socket's never is.
#[derive(Clone)]
pub(super) enum Encryption {
    /// No.
    Off,
    /// If the server can.
    Preferred(Connector),
    /// Or not made at all.
    Required(Connector),
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Preferred(_) => "Preferred",
            Self::Required(_) => "Required",
        })
    }
}

/// The modes of libpq, by what they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Disable,
    /// And `allow`, which libpq has begin without.
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn read(values: &Values) -> Result<Option<Self>, ServerError> {
        let Some(mode) = values.text("sslmode")? else { return Ok(None) };
        Ok(Some(match mode {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(values.wrong("sslmode", "disable, allow, prefer, require, verify-ca or verify-full")),
        }))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl Encryption {
    /// What the values ask for. `is_remote`: whether there is a host that is reached otherwise than by a socket.
    pub(super) fn read(values: &Values, home: Option<&Path>, is_remote: bool) -> Result<Self, ServerError> {
        let is_of_the_system = values.text("sslrootcert")? == Some("system");
        let mode = Mode::read(values)?;
        let mode = mode.unwrap_or(if is_of_the_system { Mode::VerifyFull } else { Mode::Prefer });
        if is_of_the_system && mode < Mode::VerifyFull {
            return Err(ServerError::WeakRoots { mode: mode.as_str() });
        }
        let is_direct = values.text("sslnegotiation")? == Some("direct");
        if is_direct && mode < Mode::Require {
            return Err(ServerError::WeakDirect);
        }
        if mode == Mode::Disable || !is_remote {
            return Ok(Self::Off);
        }
        let connector = Connector::new(Manner {
            roots: roots(values, home, mode)?,
            is_named: mode == Mode::VerifyFull,
            versions: (
                values.text("ssl_min_protocol_version")? != Some("TLSv1.3"),
                values.text("ssl_max_protocol_version")? != Some("TLSv1.2"),
            ),
            sends_name: values.text("sslsni")? != Some("0"),
            is_direct,
        })
        .map_err(|error| ServerError::Tls { detail: error.to_string() })?;
        Ok(if mode == Mode::Prefer { Self::Preferred(connector) } else { Self::Required(connector) })
    }
}

/// Who may sign. As in libpq, roots that are there are asked in every mode; where none are, `verify-full` asks the system's.
fn roots(values: &Values, home: Option<&Path>, mode: Mode) -> Result<Option<Roots>, ServerError> {
    match values.path("sslrootcert") {
        Some(path) if path == Path::new("system") => return Roots::of_the_system().map(Some),
        Some(path) => return Roots::read(&path).map(Some),
        None => {}
    }
    if let Some(path) = home.map(|home| home.join(".postgresql/root.crt")).filter(|path| path.exists()) {
        return Roots::read(&path).map(Some);
    }
    match mode {
        Mode::Disable | Mode::Prefer | Mode::Require => Ok(None),
        Mode::VerifyCa => Err(ServerError::WeakRoots { mode: mode.as_str() }),
        Mode::VerifyFull => Roots::of_the_system().map(Some),
    }
}

/// What connections have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// How long one address may take, from the first packet until the server takes queries.
    pub(super) connect_timeout: Option<Duration>,
    /// Whether hosts and addresses are tried in any order.
    pub(super) is_shuffled: bool,
    application: String,
    options: Option<String>,
    keepalives: bool,
    keepalive_idle: Option<Duration>,
    keepalive_interval: Option<Duration>,
    keepalive_count: Option<u32>,
    tcp_user_timeout: Option<Duration>,
    target: TargetSessionAttrs,
    binding: ChannelBinding,
    negotiation: SslNegotiation,
}

impl Settings {
    /// What the values say, and what holds where they are silent.
    pub(super) fn read(values: &Values) -> Result<Self, ServerError> {
        // In libpq, nothing and less stand for the system's own.
        let seconds = |name, usual| {
            let number = values.number(name)?;
            Ok::<_, ServerError>(number.map_or(Some(usual), |number| positive(number).map(Duration::from_secs)))
        };
        let application = match values.text("application_name")? {
            None => values.text("fallback_application_name")?,
            given => given,
        };
        let count = values.number("keepalives_count")?;
        let unacknowledged = values.number("tcp_user_timeout")?;
        Ok(Self {
            connect_timeout: seconds("connect_timeout", CONNECT_TIMEOUT)?,
            is_shuffled: values.text("load_balance_hosts")? == Some("random"),
            application: application.unwrap_or(APPLICATION).to_owned(),
            options: values.text("options")?.map(str::to_owned),
            keepalives: values.number("keepalives")? != Some(0),
            keepalive_idle: seconds("keepalives_idle", KEEPALIVE_IDLE)?,
            keepalive_interval: seconds("keepalives_interval", KEEPALIVE_INTERVAL)?,
            keepalive_count: count.map_or(Some(KEEPALIVE_COUNT), |count| positive(count).map(|count| count as u32)),
            tcp_user_timeout: unacknowledged
                .map_or(Some(TCP_USER_TIMEOUT), |number| positive(number).map(Duration::from_millis)),
            target: match values.text("target_session_attrs")? {
                // A ledger needs what is stricter of the two.
                Some("read-write" | "primary") => TargetSessionAttrs::ReadWrite,
                Some("read-only") => TargetSessionAttrs::ReadOnly,
                _ => TargetSessionAttrs::Any,
            },
            binding: match values.text("channel_binding")? {
                Some("disable") => ChannelBinding::Disable,
                Some("require") => ChannelBinding::Require,
                _ => ChannelBinding::Prefer,
            },
            negotiation: match values.text("sslnegotiation")? {
                Some("direct") => SslNegotiation::Direct,
                _ => SslNegotiation::Postgres,
            },
        })
    }

    /// Has `config` say the same.
    pub(super) fn apply(&self, config: &mut Config) {
        config
            .application_name(&self.application)
            .keepalives(self.keepalives)
            .target_session_attrs(self.target)
            .channel_binding(self.binding)
            .ssl_negotiation(self.negotiation);
        if let Some(options) = &self.options {
            config.options(options);
        }
        if let Some(idle) = self.keepalive_idle {
            config.keepalives_idle(idle);
        }
        if let Some(interval) = self.keepalive_interval {
            config.keepalives_interval(interval);
        }
        if let Some(count) = self.keepalive_count {
            config.keepalives_retries(count);
        }
        if let Some(timeout) = self.connect_timeout {
            config.connect_timeout(timeout);
        }
        if let Some(timeout) = self.tcp_user_timeout {
            config.tcp_user_timeout(timeout);
        }
    }
}

fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}
