//! Who may sign a server's certificate.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::warn;

use super::ServerError;

/// The roots that are trusted.
pub(super) struct Roots {
    /// As those that sign.
    pub(super) store: RootCertStore,
    /// As they are.
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Those in a file of PEM.
    pub(super) fn read(path: &Path) -> Result<Self, ServerError> {
        let failed = |detail: String| ServerError::Roots { path: path.to_owned(), detail };
        let pem = fs::read(path).map_err(|error| failed(error.to_string()))?;
        let certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(format!("it is not in PEM: {error}")))?;
        let mut store = RootCertStore::empty();
        let (added, left) = store.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            let detail = if left == 0 { "it holds no certificate" } else { "none of its certificates can be used" };
            return Err(failed(detail.to_owned()));
        }
        if left > 0 {
            warn!("certificates in {} that can't be used: {left} of {}", path.display(), added + left);
        }
        Ok(Self { store, certificates })
    }

    /// Those of the system.
    pub(super) fn of_the_system() -> Result<Self, ServerError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(found.certs);
        if added == 0 {
            let detail = found.errors.first().map_or_else(|| "none is there".to_owned(), ToString::to_string);
            return Err(ServerError::SystemRoots { detail });
        }
        Ok(Self { store, certificates: Vec::new() })
    }

    /// Whether this very certificate is one of a file's.
    pub(super) fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|root| root == certificate)
    }
}
