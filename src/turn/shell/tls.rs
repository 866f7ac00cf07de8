//! The certificate of TURN over TLS, read from files and read again when they change, so that renewing one needs no restart.
//! Part of [`super`].

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {why}; it must hold PEM blocks, the certificate first and its issuers after it", .path.display())]
    Certificate { path: PathBuf, why: rustls::pki_types::pem::Error },
    #[error("{}: {why}; it must hold the private key as a PEM block", .path.display())]
    Key { path: PathBuf, why: rustls::pki_types::pem::Error },
    #[error("{} and {} do not go together: {why}", .certificate.display(), .key.display())]
    Mismatch { certificate: PathBuf, key: PathBuf, why: rustls::Error },
}

/// A certificate and its key, as they are in their files now.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: RefCell<TlsAcceptor>,
    /// When the files were written that are in use.
    written: RefCell<Option<SystemTime>>,
}

impl Tls {
    /// Reads both files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            written: RefCell::new(written(certificate)),
            acceptor: RefCell::new(acceptor(certificate, key)?),
        })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.borrow().clone();
        acceptor.accept(stream).await
    }

    /// Follows the files for as long as it is awaited.
    pub(super) async fn renew(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = written(&self.certificate);
            if now == *self.written.borrow() {
                continue;
            }
            // Half-written files are tried again.
            match acceptor(&self.certificate, &self.key) {
                Ok(acceptor) => {
                    self.acceptor.replace(acceptor);
                    self.written.replace(now);
                    tracing::info!("the TURN certificate was renewed");
                }
                Err(error) => tracing::warn!(%error, "the TURN certificate changed and can't be read: the old one stays"),
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let bad = |why| TlsError::Certificate { path: certificate.to_owned(), why };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).map_err(bad)?.collect();
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| TlsError::Key { path: key.to_owned(), why })?;
    let mismatch = |why| TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned(), why };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(mismatch)?;
    let config = config.with_no_client_auth().with_single_cert(chain.map_err(bad)?, private).map_err(mismatch)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
