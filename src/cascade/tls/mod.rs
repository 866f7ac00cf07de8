//! Who a node is to its neighbours, and how it finds out who they are: mutual TLS 1.3 from the cluster's own authority. Owns the
//! two rustls configurations of a node and the check of a neighbour's certificate; certificates are made by [`authority`] and
//! read from files by `cli` and `node`. Pure but for rustls's own look at the clock when it judges a certificate's dates.
//!
//! A node's name is in its certificate as a URI, `spiffe://<cluster>/region/<region>/node/<node>`, so that any authority that
//! issues such names (SPIRE, for one) can take over from ours. Whoever dials says whom it expects: [`server_name`] goes to the
//! connect call, and the handshake fails if another node answers. Whoever accepts learns the caller from
//! [`Tls::identity_of`], and holds the hello against it.
//!
//! Nothing is resumed and nothing is sent early: each connection shows its certificate anew, so that a neighbour whose
//! certificate ran out or whose root was dropped does not come back by a ticket. A connection that is up is not touched by
//! that; whoever owns it closes it. New files need no restart: build another [`Tls`] and use its configurations from then on.

pub mod authority;
mod certificate;
mod name;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;

use self::authority::Authority;
pub use self::certificate::{Certificate, lifetime_of};
pub use self::name::{Name, server_name};
use self::verify::Neighbours;
use crate::cascade::wire::Identity;
use crate::id::{NodeId, RegionId};

/// The application protocol of a link: both ends refuse any other.
pub const ALPN: &[u8] = b"weir/1";

/// How long the certificates of [`Tls::ephemeral`] are good for. They die with the process; a longer one than this ends links.
const EPHEMERAL: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What is wrong with a certificate, a key or a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("{0}: no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(&'static str),
    #[error("{0}: no private key in PEM form (-----BEGIN PRIVATE KEY-----)")]
    NoKey(&'static str),
    #[error("not an X.509 certificate: {0}")]
    Malformed(String),
    #[error("the certificate names nobody: it needs one URI name, spiffe://<cluster>/region/<region>/node/<node>")]
    Nameless,
    #[error("the certificate has {0} URI names; one is allowed, so that nobody can be two nodes")]
    SeveralNames(usize),
    #[error("not a node's name: {0}; expected spiffe://<cluster>/region/<region>/node/<node>")]
    NotAName(String),
    #[error("the certificate is of cluster {found}; this node is of cluster {expected}")]
    OtherCluster { expected: String, found: String },
    #[error("{found} answered where {expected} was dialed")]
    OtherNode { expected: String, found: String },
    #[error("the node's certificate is signed by none of the trusted roots: issue it anew with `weir certs issue` ({0})")]
    NotOurs(String),
    #[error("the private key belongs to another certificate, or is of an unknown kind: {0}")]
    Key(String),
    #[error("{what} {name:?}: expected 1 to {} characters: a-z, 0-9, and inside also '-' and single dots", crate::id::MAX_NAME)]
    BadName { what: &'static str, name: String },
    #[error("the authority's root has expired: replace it with `weir certs rotate`")]
    RootExpired,
    #[error("the certificate could not be made: {0}")]
    NotMade(String),
}

/// The files of one node, read.
#[derive(Clone)]
pub struct Pem {
    /// Every root that is trusted: one, or two while the authority is rotated.
    pub ca: String,
    /// The node's certificate, and those between it and the root if there are any.
    pub cert: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem(…)")
    }
}

/// A node's identity, ready to be shown to neighbours and to check theirs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    certificate: Certificate,
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

impl Tls {
    /// From a node's files.
    pub fn from_pem(pem: &Pem) -> Result<Self, TlsError> {
        Self::with_clock(pem, Arc::new(DefaultTimeProvider))
    }

    /// One identity for each node, from an authority that nobody keeps: for `weir dev` and for tests.
    pub fn ephemeral(cluster: &str, nodes: &[(NodeId, RegionId)], now: SystemTime) -> Result<Vec<Self>, TlsError> {
        let authority = Authority::new(cluster, now)?;
        let issued = |(node, region): &(NodeId, RegionId)| {
            let leaf = authority.issue(node, region, now, EPHEMERAL)?;
            Self::from_pem(&Pem { ca: authority.root().to_owned(), cert: leaf.cert, key: leaf.key })
        };
        nodes.iter().map(issued).collect()
    }

    fn with_clock(pem: &Pem, clock: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        let certificate = Certificate::from_pem(&pem.cert)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = certificate::trusted(&pem.ca)?;
        let neighbours = Arc::new(Neighbours::new(roots, certificate.name.cluster.clone(), &provider)?);
        certificate.check(&neighbours)?;
        let key = || PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|_| TlsError::NoKey("the node's private key"));
        let server = server_config(&provider, &clock, &neighbours, &certificate.chain, key()?)?;
        let client = client_config(&provider, &clock, &neighbours, &certificate.chain, key()?)?;
        Ok(Self { certificate, server: Arc::new(server), client: Arc::new(client) })
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.certificate.name.identity.clone()
    }

    /// Whom it belongs to.
    pub fn cluster(&self) -> &str {
        &self.certificate.name.cluster
    }

    /// From when on the certificate is good.
    pub fn starts(&self) -> SystemTime {
        self.certificate.starts
    }

    /// When neighbours begin to refuse it.
    pub fn expires(&self) -> SystemTime {
        self.certificate.expires
    }

    /// For the listening end.
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For the dialing end; connect to [`server_name`].
    pub fn client_config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Whom a neighbour's certificate names, if it is one of this cluster. The handshake has checked everything else.
    pub fn identity_of(&self, certificate: &CertificateDer<'_>) -> Result<Identity, TlsError> {
        Name::of(certificate)?.within(&self.certificate.name.cluster)
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clock: &Arc<dyn TimeProvider>,
    neighbours: &Arc<Neighbours>,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_details(Arc::clone(provider), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| TlsError::NotMade(why.to_string()))?
        .with_client_cert_verifier(Arc::clone(neighbours) as Arc<_>)
        .with_single_cert(chain.to_vec(), key)
        .map_err(|why| TlsError::Key(why.to_string()))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    clock: &Arc<dyn TimeProvider>,
    neighbours: &Arc<Neighbours>,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ClientConfig, TlsError> {
    let mut config = rustls::ClientConfig::builder_with_details(Arc::clone(provider), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| TlsError::NotMade(why.to_string()))?
        // "Dangerous" is how rustls calls any verifier of one's own; see `verify`.
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(neighbours) as Arc<_>)
        .with_client_auth_cert(chain.to_vec(), key)
        .map_err(|why| TlsError::Key(why.to_string()))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The name would pass in the clear, and the other end has one certificate only.
    config.enable_sni = false;
    Ok(config)
}

#[cfg(test)]
mod tests;
