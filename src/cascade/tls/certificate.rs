//! A node's certificate as a file holds it: whose it is, from when to when, and which root stands behind it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verify::Neighbours;
use super::{Name, TlsError};

/// A node's certificate, and those between it and a root.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub name: Name,
    /// From when on it is good.
    pub starts: SystemTime,
    /// When neighbours begin to refuse it.
    pub expires: SystemTime,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Certificate {
    /// The first certificate of a text, and those that follow it.
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        const WHAT: &str = "the node's certificate";
        let chain = certificates(pem, WHAT)?;
        let leaf = chain.first().ok_or(TlsError::NoCertificate(WHAT))?;
        let (starts, expires) = validity(leaf)?;
        Ok(Self { name: Name::of(leaf)?, starts, expires, chain })
    }

    /// Whether one of the roots in a text stands behind it. Its dates are for those who are shown it.
    pub fn is_signed_by(&self, roots: &str) -> Result<(), TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        self.check(&Neighbours::new(trusted(roots)?, self.name.cluster.clone(), &provider)?)
    }

    pub(super) fn check(&self, neighbours: &Neighbours) -> Result<(), TlsError> {
        let (leaf, between) = self.chain.split_first().ok_or(TlsError::Nameless)?;
        neighbours.chain(leaf, between, self.starts).map_err(|why| TlsError::NotOurs(why.to_string()))
    }
}

/// The roots in a text.
pub(super) fn trusted(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(pem, "the trusted roots")? {
        roots.add(root).map_err(|why| TlsError::Malformed(why.to_string()))?;
    }
    Ok(roots)
}

pub(super) fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::NoCertificate(what))
}

/// From when to when the first certificate of a text is good, whatever it names.
pub fn lifetime_of(pem: &str) -> Result<(SystemTime, SystemTime), TlsError> {
    const WHAT: &str = "the text";
    validity(certificates(pem, WHAT)?.first().ok_or(TlsError::NoCertificate(WHAT))?)
}

/// From when to when a certificate is good.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|why| TlsError::Malformed(why.to_string()))?;
    let time = |unix: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or(0));
    Ok((time(parsed.validity().not_before.timestamp()), time(parsed.validity().not_after.timestamp())))
}
