//! How a ledger's server is named and reached.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A ledger's server.
#[derive(Clone)]
pub struct Server {
    config: tokio_postgres::Config,
    name: String,
}

/// Why it can't be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(String);

impl Server {
    /// Whether a value names a server.
    #[must_use]
    pub fn is_named(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Reads the URL.
    pub fn parse(text: &str, _env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ServerError> {
        let config: tokio_postgres::Config =
            text.parse().map_err(|e: tokio_postgres::Error| ServerError(e.to_string()))?;
        Ok(Self { name: format!("postgres://{}", config.get_dbname().unwrap_or_default()), config })
    }

    pub(super) async fn connect(&self) -> Result<(tokio_postgres::Client, Driver), tokio_postgres::Error> {
        let (client, connection) = self.config.connect(tokio_postgres::NoTls).await?;
        Ok((client, Box::pin(connection)))
    }
}

/// What drives a connection.
type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Server({})", self.name)
    }
}
