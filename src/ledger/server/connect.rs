//! Connecting: hosts and their addresses one after another, until one answers.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::seq::SliceRandom as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, NoTls, Socket};
use tracing::{debug, warn};

use super::Server;
use super::endpoint::{Endpoint, Host};
use super::settings::Encryption;
use super::tls::Failed;

/// What carries a connection: it has to be polled for the client to get anywhere.
pub(in crate::ledger) type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

type Connected = (Client, Driver);

impl Server {
    /// Connects to the first host that answers as it should. The driver has to be spawned by the caller.
    ///
    /// A host that refuses the user, or doesn't have the database, ends it: the others are not asked for a way around.
    pub(in crate::ledger) async fn connect(&self) -> Result<(Client, Driver), Error> {
        let mut failure = None;
        for endpoint in self.in_order(&self.endpoints) {
            let addresses = match self.addresses(&endpoint).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failure = failed(error).await.err();
                    continue;
                }
            };
            for address in self.in_order(&addresses) {
                match self.reach(&endpoint, address).await {
                    Err(error) if !is_final(&error) => {
                        debug!("no connection to {endpoint}: {}", told(&error));
                        failure = Some(error);
                    }
                    connected_or_final => return connected_or_final,
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None => failed(io::Error::new(io::ErrorKind::NotFound, "the host has no address")).await,
        }
    }

    /// `places` in the order in which they are tried.
    fn in_order<T: Clone>(&self, places: &[T]) -> Vec<T> {
        let mut places = places.to_vec();
        if self.settings.is_shuffled {
            places.shuffle(&mut rand::rng());
        }
        places
    }

    /// The addresses of a host; a socket has one that is none.
    async fn addresses(&self, endpoint: &Endpoint) -> io::Result<Vec<Option<IpAddr>>> {
        let name = match &endpoint.host {
            Host::Socket(_) => return Ok(vec![None]),
            Host::Tcp(_, Some(address)) => return Ok(vec![Some(*address)]),
            Host::Tcp(name, None) => name.as_str(),
        };
        let found = in_time(self.settings.connect_timeout, tokio::net::lookup_host((name, endpoint.port))).await?;
        let found = found.map_err(|error| io::Error::new(error.kind(), format!("{endpoint}: {error}")))?;
        Ok(found.map(|address| Some(address.ip())).collect())
    }

    /// Connects to one address, with and without encryption as the mode has it.
    async fn reach(&self, endpoint: &Endpoint, address: Option<IpAddr>) -> Result<Connected, Error> {
        let config = |mode| self.config(endpoint, address, mode);
        let encryption = if address.is_some() { &self.encryption } else { &Encryption::Off };
        match encryption {
            Encryption::Off => self.open(&config(SslMode::Disable), NoTls).await,
            Encryption::Required(connector) => self.open(&config(SslMode::Require), connector.clone()).await,
            Encryption::Preferred(connector) => {
                let error = match self.open(&config(SslMode::Prefer), connector.clone()).await {
                    Err(error) if may_do_without(&error) => error,
                    connected_or_final => return connected_or_final,
                };
                warn!(
                    "no encrypted connection to {endpoint}, trying without, as sslmode=prefer has it: {}",
                    told(&error)
                );
                // A broken handshake is what is to be mended; where the server lets nobody in with TLS, what it says without.
                let plain = self.open(&config(SslMode::Disable), NoTls).await;
                plain.map_err(|plain| if error.as_db_error().is_some() { plain } else { error })
            }
        }
    }

    pub(super) fn config(&self, endpoint: &Endpoint, address: Option<IpAddr>, mode: SslMode) -> Config {
        let mut config = Config::new();
        config.user(&self.user).dbname(&self.database).port(endpoint.port).ssl_mode(mode);
        self.settings.apply(&mut config);
        match &endpoint.host {
            Host::Socket(folder) => config.host_path(folder),
            Host::Tcp(name, _) => config.host(name),
        };
        if let Some(address) = address {
            config.hostaddr(address);
        }
        if let Some(password) = &endpoint.password {
            config.password(password.expose());
        }
        config
    }

    /// Connects once. tokio-postgres has only the socket's connection in time, not what the server says then.
    async fn open<T>(&self, config: &Config, tls: T) -> Result<Connected, Error>
    where
        T: MakeTlsConnect<Socket> + Send,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        match in_time(self.settings.connect_timeout, config.connect(tls)).await {
            Ok(connected) => connected.map(|(client, connection)| (client, Box::pin(connection) as Driver)),
            Err(error) => failed(error).await,
        }
    }
}

/// What `attempt` comes to, if it does in time.
async fn in_time<T>(limit: Option<Duration>, attempt: impl Future<Output = T>) -> io::Result<T> {
    let Some(limit) = limit else { return Ok(attempt.await) };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()));
    timeout(limit, attempt).await.map_err(late)
}

/// Whether the server has decided: the user is refused, or the database isn't there.
fn is_final(error: &Error) -> bool {
    let refusals = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    error.code().is_some_and(|code| refusals.contains(code))
}

/// Whether a connection without encryption may fare better: the handshake failed, or the server lets the user in without
/// encryption only. A password that was refused is not sent once more.
fn may_do_without(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Failed>)
        || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

/// An error with its causes, on one line.
fn told(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    crate::text::inert(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Fails with an error of tokio-postgres that `error` is the cause of. That library makes none for others, so it is given a
/// connection that fails.
async fn failed(error: io::Error) -> Result<Connected, Error> {
    let mut config = Config::new();
    config.user(env!("CARGO_PKG_NAME")).ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect_raw(Broken(Some(error)), NoTls).await?;
    Ok((client, Box::pin(connection)))
}

/// A connection that says one error.
struct Broken(Option<io::Error>);

impl Broken {
    fn fail<T>(&mut self) -> Poll<io::Result<T>> {
        Poll::Ready(Err(self.0.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())))
    }
}

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }
}

impl AsyncWrite for Broken {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.fail()
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }
}
