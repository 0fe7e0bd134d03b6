//! The parameters of libpq, which of them are taken here, and where their values come from.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::ServerError;

/// A parameter that libpq knows.
pub(super) struct Known {
    /// Its name.
    pub(super) name: &'static str,
    /// The variable that gives it where the URL doesn't.
    variable: Option<&'static str>,
    /// What it may be.
    allowed: Allowed,
}

/// What a parameter may be.
enum Allowed {
    /// What the place says that reads it.
    Any,
    /// One of these.
    Only(&'static [&'static str], &'static str),
    /// Nothing: what to do instead.
    Nothing(&'static str),
}

use Allowed::{Any, Nothing, Only};

const fn known(name: &'static str, variable: &'static str, allowed: Allowed) -> Known {
    let variable = if variable.is_empty() { None } else { Some(variable) };
    Known { name, variable, allowed }
}

const NO_CERTIFICATE: Allowed =
    Nothing("client certificates are not supported: use a password, and leave sslcert, sslkey and sslpassword out");
const NO_GSS: Allowed = Nothing("Kerberos and GSSAPI are not supported: use a password");
const NO_SERVICE: Allowed = Nothing("service files are not read: write what the service's section says into the URL");
const NO_REVOCATION: Allowed =
    Nothing("revocation lists are not read: leave it out, or name fewer roots in sslrootcert");

/// All of them, as of PostgreSQL 18.
///
/// `PGSSLCERT` and `PGSSLKEY` are not read, as a server that needs a certificate says so. What would weaken a
/// connection if it was overlooked, or lead to another server, is.
pub(super) const KNOWN: [Known; 53] = [
    known("application_name", "PGAPPNAME", Any),
    known("channel_binding", "PGCHANNELBINDING", Only(&["disable", "prefer", "require"], "disable, prefer or require")),
    known("client_encoding", "", Only(&["auto", "UTF8", "UTF-8", "utf8", "utf-8"], "UTF8")),
    known("connect_timeout", "PGCONNECT_TIMEOUT", Any),
    known("dbname", "PGDATABASE", Any),
    known("fallback_application_name", "", Any),
    known("gssdelegation", "", Only(&["0"], "0, as GSSAPI is not supported")),
    known("gssencmode", "PGGSSENCMODE", Only(&["disable", "prefer"], "disable or prefer, as GSSAPI is not supported")),
    known("gsslib", "", NO_GSS),
    known("host", "PGHOST", Any),
    known("hostaddr", "PGHOSTADDR", Any),
    known("keepalives", "", Any),
    known("keepalives_count", "", Any),
    known("keepalives_idle", "", Any),
    known("keepalives_interval", "", Any),
    known("krbsrvname", "", NO_GSS),
    known("load_balance_hosts", "PGLOADBALANCEHOSTS", Only(&["disable", "random"], "disable or random")),
    known("max_protocol_version", "PGMAXPROTOCOLVERSION", Only(&["3.0", "latest"], "3.0 or latest")),
    known("min_protocol_version", "PGMINPROTOCOLVERSION", Only(&["3.0"], "3.0")),
    known("oauth_client_id", "", Nothing("OAuth is not supported: use a password")),
    known("oauth_client_secret", "", Nothing("OAuth is not supported: use a password")),
    known("oauth_issuer", "", Nothing("OAuth is not supported: use a password")),
    known("oauth_scope", "", Nothing("OAuth is not supported: use a password")),
    known("options", "PGOPTIONS", Any),
    known("passfile", "PGPASSFILE", Any),
    known("password", "PGPASSWORD", Any),
    known("port", "PGPORT", Any),
    known("replication", "", Nothing("a ledger is no replica: leave it out")),
    known(
        "require_auth",
        "PGREQUIREAUTH",
        Nothing("the method can't be chosen: use channel_binding=require or sslmode=verify-full to know the server"),
    ),
    known(
        "requirepeer",
        "PGREQUIREPEER",
        Nothing("the server's user isn't looked at: keep the socket in its own folder"),
    ),
    known("requiressl", "PGREQUIRESSL", Only(&["0"], "0; write sslmode=require instead of 1")),
    known("scram_client_key", "", Nothing("keys of SCRAM are not taken: use a password")),
    known("scram_server_key", "", Nothing("keys of SCRAM are not taken: use a password")),
    known("service", "PGSERVICE", NO_SERVICE),
    known("servicefile", "", NO_SERVICE),
    known("sslcert", "", NO_CERTIFICATE),
    known("sslcertmode", "PGSSLCERTMODE", Only(&["disable", "allow"], "disable or allow, as no certificate is sent")),
    known("sslcompression", "", Only(&["0"], "0")),
    known("sslcrl", "PGSSLCRL", NO_REVOCATION),
    known("sslcrldir", "PGSSLCRLDIR", NO_REVOCATION),
    known("sslkey", "", NO_CERTIFICATE),
    known("sslkeylogfile", "", Nothing("keys of sessions are not written: leave it out")),
    known("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Only(&["TLSv1.2", "TLSv1.3"], "TLSv1.2 or TLSv1.3")),
    known(
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        Only(&["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], "TLSv1.2 or TLSv1.3"),
    ),
    known("sslmode", "PGSSLMODE", Any),
    known("sslnegotiation", "PGSSLNEGOTIATION", Only(&["postgres", "direct"], "postgres or direct")),
    known("sslpassword", "", NO_CERTIFICATE),
    known("sslrootcert", "PGSSLROOTCERT", Any),
    known("sslsni", "PGSSLSNI", Only(&["0", "1"], "0 or 1")),
    known(
        "target_session_attrs",
        "PGTARGETSESSIONATTRS",
        Only(
            &["any", "read-write", "read-only", "primary"],
            "any, read-write, primary or read-only, since a ledger is written to",
        ),
    ),
    known("tcp_user_timeout", "", Any),
    known("user", "PGUSER", Any),
    // No parameter of libpq, but of JDBC and others; a wrong guess would be worse than an error.
    known("currentSchema", "", Nothing("write options=-csearch_path%3DNAME instead")),
];

/// A parameter, and where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    name: &'static str,
    variable: Option<&'static str>,
}

impl Setting {
    /// One in the URL.
    pub(super) fn url(name: &'static str) -> Self {
        Self { name, variable: None }
    }

    /// Whether a variable gave it.
    pub(super) fn is_of_the_environment(self) -> bool {
        self.variable.is_some()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => f.write_str(variable),
            None => write!(f, "{} in the server's URL", self.name),
        }
    }
}

/// The values that were given, and by what.
#[derive(Default)]
pub(super) struct Values(BTreeMap<&'static str, (Setting, Zeroizing<Vec<u8>>)>);

impl Values {
    /// Sets one; a later one counts, and an empty one is none.
    pub(super) fn set(&mut self, setting: Setting, value: Zeroizing<Vec<u8>>) {
        if value.is_empty() {
            self.0.remove(setting.name);
        } else {
            self.0.insert(setting.name, (setting, value));
        }
    }

    /// Adds what the environment says of parameters that the URL leaves open, and refuses what is not supported.
    pub(super) fn complete(&mut self, env: &dyn Fn(&str) -> Option<OsString>) -> Result<(), ServerError> {
        for known in &KNOWN {
            if let Some(variable) = known.variable.filter(|_| !self.0.contains_key(known.name))
                && let Some(value) = env(variable)
            {
                let setting = Setting { name: known.name, variable: Some(variable) };
                self.set(setting, Zeroizing::new(value.into_vec()));
            }
            let Some((setting, value)) = self.0.get(known.name) else { continue };
            match known.allowed {
                Nothing(advice) => return Err(ServerError::Unsupported { setting: *setting, advice }),
                Only(values, allowed) if values.iter().all(|one| one.as_bytes() != value.as_slice()) => {
                    return Err(ServerError::Value { setting: *setting, allowed });
                }
                Any | Only(..) => {}
            }
        }
        Ok(())
    }

    /// A value, as it was given.
    pub(super) fn bytes(&self, name: &str) -> Option<&Zeroizing<Vec<u8>>> {
        self.0.get(name).map(|(_, value)| value)
    }

    /// A value that has to be text without control characters.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ServerError> {
        let Some((setting, value)) = self.0.get(name) else { return Ok(None) };
        match std::str::from_utf8(value) {
            Ok(text) if !text.contains(char::is_control) => Ok(Some(text)),
            _ => Err(ServerError::Value { setting: *setting, allowed: "text in UTF-8 without control characters" }),
        }
    }

    /// A value that has to be a whole number.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<i64>, ServerError> {
        let number = |text: &str| text.trim().parse::<i32>().ok().map(i64::from);
        let Some(text) = self.text(name)? else { return Ok(None) };
        number(text).map(Some).ok_or_else(|| self.wrong(name, "a whole number"))
    }

    /// The elements of a list, each with what `one` makes of it; empty where nothing was given.
    pub(super) fn list<T, E>(
        &self,
        name: &'static str,
        one: impl Fn(&str) -> Result<T, E>,
        allowed: &'static str,
    ) -> Result<Vec<T>, ServerError> {
        let Some(text) = self.text(name)? else { return Ok(Vec::new()) };
        text.split(',').map(|text| one(text.trim()).map_err(|_| self.wrong(name, allowed))).collect()
    }

    /// The error of a value that is not what it may be.
    pub(super) fn wrong(&self, name: &'static str, allowed: &'static str) -> ServerError {
        let setting = self.0.get(name).map_or(Setting::url(name), |(setting, _)| *setting);
        ServerError::Value { setting, allowed }
    }

    /// A path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.bytes(name).map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
    }
}
