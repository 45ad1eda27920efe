//! TLS for the pages, from a certificate and a key in PEM files that somebody else renews.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};

/// How long a certificate is used until its files are read again. Those who renew certificates leave hours.
const FRESH: Duration = Duration::from_mins(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}; it must hold PEM, the server's certificate first", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// Certificate and key do not serve.
    #[error("{} and {}: {source}", .certificate.display(), .key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong.
        source: RustlsError,
    },
}

/// Certificate and key of a server.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Mutex<(TlsAcceptor, Instant)>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let current = (read(&certificate, &key)?, Instant::now());
        Ok(Self { certificate, key, current: Arc::new(Mutex::new(current)) })
    }

    /// What accepts connections now. Files that have become unreadable leave the last good pair in use, which is logged.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= FRESH {
            current.1 = Instant::now();
            match read(&self.certificate, &self.key) {
                Ok(acceptor) => current.0 = acceptor,
                Err(error) => tracing::warn!(%error, "the last certificate that could be read stays in use"),
            }
        }
        current.0.clone()
    }
}

fn read(certificate: &PathBuf, key: &PathBuf) -> Result<TlsAcceptor, TlsError> {
    let file = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::File { path, source }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).map_err(file(certificate))?.collect();
    let chain = chain.map_err(file(certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
