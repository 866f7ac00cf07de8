//! TLS toward servers: whom the machine trusts is trusted, as browsers do.

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};

/// A client that believes the authorities of this machine. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for OpenSSL. Without
/// any, no server is believed, which matters only to those who use TLS.
pub(super) fn of_this_machine() -> Arc<ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "certificates of authorities could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    trusting(roots)
}

pub(super) fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map(|config| config.with_root_certificates(roots).with_no_client_auth());
    Arc::new(config.unwrap_or_else(|_| unreachable!("ring speaks TLS 1.2 and 1.3")))
}
