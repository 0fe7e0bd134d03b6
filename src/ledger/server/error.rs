//! Why a server can't be told from what was given.

use std::path::PathBuf;

use super::parameters::Setting;

/// Why a URL, or what the environment adds to it, names no server that can be reached. Says nothing of the URL's text, as
/// any part of that may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No URL of a server.
    #[error("this names no server")]
    NoServer,
    /// An `@` behind the hosts.
    #[error("the server's URL has an @ where none may be")]
    StrayAt,
    /// A `%` that begins no byte.
    #[error("the server's URL has a % without two hexadecimal digits, or %00")]
    Escape,
    /// Brackets that hold no address.
    #[error("the server's URL has an address in [brackets] that is cut off or empty, or followed by something else")]
    Brackets,
    /// A parameter that is no `name=value`.
    #[error("parameter {nth} of the server's URL is not name=value")]
    Malformed {
        /// Counted from 1.
        nth: usize,
    },
    /// A parameter that nobody knows.
    #[error("parameter {nth} of the server's URL is not known{}", .meant.map_or(String::new(), |name| format!(": is {name} meant?")))]
    Unknown {
        /// Counted from 1.
        nth: usize,
        /// What is nearly its name.
        meant: Option<&'static str>,
    },
    /// A parameter that libpq knows and this program doesn't.
    #[error("{setting} is not supported")]
    Unsupported {
        /// Which.
        setting: Setting,
        /// What to do instead.
        advice: &'static str,
    },
    /// A value that can't be.
    #[error("{setting} may not be what it is: it has to be {allowed}")]
    Value {
        /// Of what.
        setting: Setting,
        /// What it may be.
        allowed: &'static str,
    },
    /// Nobody to log in as.
    #[error("the server's URL names no user, and the system has no name for the one who runs this")]
    NoUser,
    /// Roots that can't be read.
    #[error("the certificates in {path} can't be used: {detail}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The system's roots can't be read.
    #[error("the system's certificates can't be used: {detail}")]
    SystemRoots {
        /// What is wrong.
        detail: String,
    },
    /// Everybody with a certificate from a public authority would pass.
    #[error("sslmode={mode} proves nothing with the system's certificates, as those sign for everybody")]
    WeakRoots {
        /// The mode.
        mode: &'static str,
    },
    /// TLS that begins at once has no way back.
    #[error("sslnegotiation=direct needs sslmode=require or more")]
    WeakDirect,
    /// TLS can't be set up.
    #[error("TLS can't be set up: {detail}")]
    Tls {
        /// What the library says.
        detail: String,
    },
}

impl ServerError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoServer | Self::Brackets => "write postgres://USER@HOST:PORT/DATABASE; an address of IPv6 as [::1]",
            Self::StrayAt | Self::Escape => {
                "encode what has a meaning in a URL: @ as %40, / as %2F, : as %3A, % as %25; a password is better kept in ~/.pgpass"
            }
            Self::Malformed { .. } => {
                "write parameters as ?NAME=VALUE&NAME=VALUE, with = in a value as %3D and & as %26"
            }
            Self::Unknown { .. } => {
                "correct its name, or leave it out; if it is part of a password, encode ? there as %3F"
            }
            Self::Unsupported { advice, .. } => advice,
            Self::Value { setting, .. } if setting.is_of_the_environment() => {
                "correct the variable, or unset it for this program"
            }
            Self::Value { .. } => "correct it; characters that have a meaning in a URL have to be encoded there",
            Self::NoUser => "name one: postgres://USER@HOST/DATABASE",
            Self::Roots { .. } => "name a file in PEM with sslrootcert that this user may read",
            Self::SystemRoots { .. } => "install the package ca-certificates, or name a file with sslrootcert",
            Self::WeakRoots { .. } => "use sslmode=verify-full, or name the server's own authority with sslrootcert",
            Self::WeakDirect => "add sslmode=verify-full, or leave sslnegotiation out",
            Self::Tls { .. } => "leave out what the URL says of TLS versions",
        }
    }
}
