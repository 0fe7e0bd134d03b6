//! What a sandbox is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::Faults;

/// How a sandbox is to behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen: a loopback address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What ids, keys, names and faults follow from.
    pub seed: u64,
    /// How many sessions the partner has to share at the start.
    pub sessions: usize,
    /// POST, PATCH and DELETE requests accepted per key in any 60 seconds; 0 for no limit.
    pub writes_per_minute: u32,
    /// GET requests accepted per key in any 60 seconds; 0 for no limit.
    pub reads_per_minute: u32,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// Which generation of the API to speak.
    pub dialect: Dialect,
    /// Whether a decision read with GET has `shared_from_session`. Some API versions return it, the published schema
    /// does not list it. The dialect `seed` never returns it.
    pub reads_show_source: bool,
    /// Whether deleting an imported session frees its source for another import. Didit does not say; by default it
    /// does not.
    pub delete_frees_source: bool,
    /// Keep every request with headers and body in memory, tokens and keys included: for tests, since it grows.
    pub record_requests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            seed: 1,
            sessions: 20,
            writes_per_minute: 300,
            reads_per_minute: 600,
            faults: Faults::default(),
            dialect: Dialect::V2026,
            reads_show_source: true,
            delete_frees_source: false,
            record_requests: false,
        }
    }
}

/// A generation of the API, as its documentation describes it.
///
/// | | `2026` | `seed` |
/// |---|---|---|
/// | bad token | 400 with a field error | 401 |
/// | token for another application | 400 with a field error | 403 |
/// | source session deleted | 400 with a field error | 404 |
/// | wrong key, no key | 401, 403 | 401, 401 |
/// | decision | plural V3 shape, `session_url` null | singular V2 shape, `session_url` a link |
/// | workflows | a page of results | a bare array |
/// | delete | 200 with a body | 204 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The newest documentation.
    #[default]
    V2026,
    /// The older import-shared page.
    Seed,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::V2026, Self::Seed];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2026 => "2026",
            Self::Seed => "seed",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == text.trim())
            .ok_or_else(|| format!("`{text}` is no dialect: use `2026` or `seed`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_reads_back() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.to_string().parse(), Ok(dialect));
        }
        assert!("2027".parse::<Dialect>().unwrap_err().contains("`2026` or `seed`"));
    }
}
