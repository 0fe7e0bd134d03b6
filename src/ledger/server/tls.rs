//! TLS: what of the server's certificate is verified, and the stream that tokio-postgres is handed.
//!
//! The proof that the server has its certificate's key is asked for in every mode: binding a password to the connection
//! (`SCRAM-SHA-256-PLUS`) rests upon it, even where nobody is trusted to sign.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::certificate;
use super::roots::Roots;

/// How TLS is spoken.
pub(super) struct Manner {
    /// Who may sign the server's certificate; nobody is asked where `None`.
    pub(super) roots: Option<Roots>,
    /// Whether it has to be the certificate of the host that was named.
    pub(super) is_named: bool,
    /// Whether TLS 1.2 and 1.3 may be spoken.
    pub(super) versions: (bool, bool),
    /// Whether the host is named to the server before the key is agreed upon.
    pub(super) sends_name: bool,
    /// Whether TLS begins at once (`sslnegotiation=direct`).
    pub(super) is_direct: bool,
}

/// Makes TLS of connections.
#[derive(Clone)]
pub(super) struct Connector(Arc<ClientConfig>);

impl Connector {
    /// One that verifies as `manner` says.
    pub(super) fn new(manner: Manner) -> Result<Self, Error> {
        let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
        versions.extend(manner.versions.1.then_some(&TLS13));
        versions.extend(manner.versions.0.then_some(&TLS12));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier { roots: manner.roots, is_named: manner.is_named, provider: Arc::clone(&provider) };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_sni = manner.sends_name;
        if manner.is_direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Self(Arc::new(config)))
    }
}

/// Verifies certificates with libpq's modes in place of the Web's: not at all, the signer, the signer and the name.
struct Verifier {
    roots: Option<Roots>,
    is_named: bool,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("is_named", &self.is_named).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let signed = verify_server_cert_signed_by_trust_anchor(&parsed, &roots.store, intermediates, now, algorithms);
        match signed {
            // A self-signed certificate that is itself among the roots, which is how small servers are set up: what is
            // held against it is that it may sign others. Its dates are looked at before that, and have errors of their own.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if roots.has(certificate) => {}
            signed => signed?,
        }
        if self.is_named {
            verify_server_name(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.0)), host: host.to_owned() })
    }
}

/// The handshake with one server.
pub(super) struct Handshake {
    connector: TlsConnector,
    host: String,
}

/// A handshake that failed: told from other errors by its type, since `sslmode=prefer` may then go on without.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_words(.0))]
pub(super) struct Failed(io::Error);

/// What the library says, but for what people meet while they set up a server: that is said in their words.
fn in_words(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    let plain = match cause {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the server's certificate is signed by nobody who is trusted (sslrootcert says who is)"
        }
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => match &*other.to_string() {
            "CaUsedAsEndEntity" => {
                "the server's certificate is an authority's own, and not among the trusted ones (sslrootcert says which are)"
            }
            "UnsupportedCertVersion" => {
                "the server's certificate is of X.509 version 1: it has to be made anew, as version 3 with the host's name \
                 as subject alternative name"
            }
            _ => return error.to_string(),
        },
        _ => return error.to_string(),
    };
    plain.to_owned()
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, Failed>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(|error| Failed(io::Error::other(error)))?;
            self.connector.connect(name, stream).await.map(Encrypted).map_err(Failed)
        })
    }
}

/// An encrypted connection.
pub(super) struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates().unwrap_or_default();
        let end_point = certificates.first().and_then(|certificate| certificate::end_point(certificate));
        end_point.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// As `openssl x509 -req` of OpenSSL 3.0 makes it.
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBJTCBywIUKGja7L/rTWE88YKxJcuPLH9XADAwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjIyNDIzMFoYDzIxMjYxMTAyMjI0MjMw
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AATWeUcERl3SoiKbui2bUIAd9LUB9plSe9tCSFXJiFs0Q2cJ71ZYwa8mt5KiB6DC
TzoeJjxJXzoqMuM224aDwAvAMAoGCCqGSM49BAMCA0kAMEYCIQDXTlOMMZEdEcka
oq5Gsr7gUOnk2HEcDGwWE+IXqxBm7wIhAOFh4OZz5oL2IB6Ibvr0u/mAvSkubb1P
hfbEaI7JpGNm
-----END CERTIFICATE-----";

    #[test]
    fn an_old_certificate_is_told_as_such() {
        let certificate = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        let error = ParsedCertificate::try_from(&certificate).err().unwrap();
        let error = Failed(io::Error::new(io::ErrorKind::InvalidData, error)).to_string();
        assert!(error.contains("version 1: it has to be made anew"), "{error}");
    }
}
