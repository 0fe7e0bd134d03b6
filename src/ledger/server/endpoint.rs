//! The places at which a server may answer: one for each host of the URL.

use std::fmt;
use std::net::{AddrParseError, IpAddr};
use std::num::{NonZeroU16, ParseIntError};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::ServerError;
use super::parameters::Values;
use super::password::Password;
use super::url::encoded;

const PORT: u16 = 5432;

/// Where distributions, and PostgreSQL's own build, have the socket.
const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// Where a server may answer.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The machine, or the socket.
    pub(super) host: Host,
    /// The port; part of a socket's name, too.
    pub(super) port: u16,
    /// What its user says there.
    pub(super) password: Option<Password>,
}

/// A machine, or a socket on this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// By name; where an address is given, it is not looked up.
    Tcp(String, Option<IpAddr>),
    /// The folder of a socket.
    Socket(PathBuf),
}

impl Host {
    /// Under which name the password file has it.
    pub(super) fn in_password_file(&self) -> &str {
        match self {
            Self::Tcp(name, _) => name,
            Self::Socket(folder) if SOCKET_FOLDERS.iter().any(|usual| Path::new(usual) == folder) => "localhost",
            Self::Socket(folder) => folder.to_str().unwrap_or_default(),
        }
    }

    /// What is there where nothing is said: a socket, or this machine.
    fn usual(port: u16) -> Self {
        let folder = SOCKET_FOLDERS.iter().map(Path::new).find(|folder| folder.join(socket_name(port)).exists());
        folder.map_or_else(|| Self::Tcp("localhost".to_owned(), None), |folder| Self::Socket(folder.to_owned()))
    }
}

/// The name of a socket in its folder.
fn socket_name(port: u16) -> String {
    format!(".s.PGSQL.{port}")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            // An address of IPv6, with its scope where it has one.
            Host::Tcp(name, _) if name.contains(':') => {
                write!(f, "[{}]", encoded(name.as_bytes()).replace("%3A", ":"))?;
            }
            Host::Tcp(name, _) => f.write_str(&encoded(name.as_bytes()))?,
            Host::Socket(folder) => f.write_str(&encoded(folder.as_os_str().as_bytes()))?,
        }
        write!(f, ":{}", self.port)
    }
}

/// All of them, in the order in which they are given; their passwords are not looked for yet.
pub(super) fn all(values: &Values) -> Result<Vec<Endpoint>, ServerError> {
    let hosts = values.list("host", name, "a host's name, or the folder of a socket")?;
    let addresses = values.list("hostaddr", address, "numeric addresses")?;
    let ports = values.list("port", port, "a number from 1 to 65535")?;
    let count = hosts.len().max(addresses.len()).max(1);
    if (!hosts.is_empty() && hosts.len() != count) || (!addresses.is_empty() && addresses.len() != count) {
        return Err(values.wrong("hostaddr", "one address for each host"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(values.wrong("port", "one port for all hosts, or one for each"));
    }
    let endpoint = |nth: usize| {
        let port = ports.get(nth).or(ports.first()).copied().unwrap_or(PORT);
        let address = addresses.get(nth).copied().flatten();
        let host = match (hosts.get(nth).map_or("", String::as_str), address) {
            ("", None) => Host::usual(port),
            (folder, None) if folder.starts_with('/') => Host::Socket(PathBuf::from(folder)),
            (name, Some(address)) if name.is_empty() || name.starts_with('/') => {
                Host::Tcp(address.to_string(), Some(address))
            }
            (name, address) => Host::Tcp(name.to_owned(), address),
        };
        Endpoint { host, port, password: None }
    };
    Ok((0..count).map(endpoint).collect())
}

/// An `@` is refused: it begins the name of an abstract socket, which tokio-postgres doesn't reach, or is part of a
/// password that should have been encoded.
fn name(text: &str) -> Result<String, ()> {
    if text.contains('@') { Err(()) } else { Ok(text.to_owned()) }
}

fn address(text: &str) -> Result<Option<IpAddr>, AddrParseError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn port(text: &str) -> Result<u16, ParseIntError> {
    if text.is_empty() { Ok(PORT) } else { text.parse().map(NonZeroU16::get) }
}
