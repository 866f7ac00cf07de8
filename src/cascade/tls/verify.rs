//! The check of a neighbour's certificate, the same at both ends: a chain to a trusted root by rustls's own verifier, then the
//! name in it. Differs from what browsers do in one thing only: the name is a node's URI and not a host's.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use super::TlsError;
use super::name::{self, Name};

/// Judges certificates of neighbours.
#[derive(Debug)]
pub(super) struct Neighbours {
    roots: Arc<RootCertStore>,
    cluster: String,
    algorithms: WebPkiSupportedAlgorithms,
    callers: Arc<dyn ClientCertVerifier>,
}

impl Neighbours {
    pub(super) fn new(roots: RootCertStore, cluster: String, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let roots = Arc::new(roots);
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let callers = callers.build().map_err(|why| TlsError::NotMade(why.to_string()))?;
        Ok(Self { roots, cluster, algorithms: provider.signature_verification_algorithms, callers })
    }

    /// Whether a trusted root stands behind a certificate at some time.
    pub(super) fn chain(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], at: SystemTime) -> Result<(), Error> {
        self.chain_at(leaf, between, UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    fn chain_at(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], at: UnixTime) -> Result<(), Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, between, at, self.algorithms.all)
    }
}

/// A reason that reads well where rustls prints reasons of others for programmers.
#[derive(thiserror::Error)]
#[error(transparent)]
struct Refused(TlsError);

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As this end reports it; the other one hears a certificate alert without reasons.
fn refused(why: TlsError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(why)))))
}

impl ServerCertVerifier for Neighbours {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain_at(end_entity, intermediates, now)?;
        let found = Name::of(end_entity).and_then(|name| name.within(&self.cluster)).map_err(refused)?;
        match name::expected(server_name) {
            Some(None) => Ok(ServerCertVerified::assertion()),
            Some(Some(node)) if node == found.node => Ok(ServerCertVerified::assertion()),
            Some(Some(node)) => Err(refused(TlsError::OtherNode { expected: node.to_string(), found: found.node.to_string() })),
            None => {
                Err(refused(TlsError::OtherNode { expected: server_name.to_str().into_owned(), found: found.node.to_string() }))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Neighbours {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.callers.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.callers.verify_client_cert(end_entity, intermediates, now)?;
        Name::of(end_entity).and_then(|name| name.within(&self.cluster)).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.callers.supported_verify_schemes()
    }
}
