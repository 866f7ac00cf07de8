//! The cluster's own certificate authority: makes roots and nodes' certificates. Owns what is written into them; who keeps the
//! files, and how they are rotated, is `cli::certs`'s. Draws keys from the system's randomness.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificate::{certificates, validity};
use super::{Name, TlsError, server_name};
use crate::id::{NodeId, RegionId, is_name};

/// How long a root is good for. Rotation replaces it long before.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// How long a node's certificate is good for unless the operator says otherwise. Longer ones spare renewals, and let a stolen
/// key in for longer: there is no revocation list.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How far before now certificates begin: clocks of nodes may differ by this much.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// A root and its key: whoever has it can name nodes.
pub struct Authority {
    cluster: String,
    root: String,
    key: String,
    expires: SystemTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A node's certificate and its key, in PEM form.
pub struct Leaf {
    pub cert: String,
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new(cluster: &str, now: SystemTime) -> Result<Self, TlsError> {
        if !is_name(cluster) {
            return Err(TlsError::BadName { what: "cluster", name: cluster.chars().take(80).collect() });
        }
        let key = KeyPair::generate().map_err(not_made)?;
        let mut params = CertificateParams::default();
        // Roots of one cluster differ by name too, so that a person can tell them apart.
        let mark: String = key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name = common_name(&format!("weir {cluster} root {mark}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![uri(&format!("spiffe://{cluster}"))?];
        let expires = date(&mut params, now, ROOT_LIFETIME);
        let root = params.self_signed(&key).map_err(not_made)?.pem();
        let pem = key.serialize_pem();
        Ok(Self { cluster: cluster.to_owned(), root, key: pem, expires, issuer: Issuer::new(params, key) })
    }

    /// From its files. With several roots the key tells which one signs.
    pub fn from_pem(roots: &str, key: &str) -> Result<Self, TlsError> {
        let pair = KeyPair::from_pem(key).map_err(|why| TlsError::Key(why.to_string()))?;
        for (text, der) in roots_of(roots)? {
            let (_, parsed) = X509Certificate::from_der(&der).map_err(|why| TlsError::Malformed(why.to_string()))?;
            if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
                continue;
            }
            let cluster = cluster_of(&der)?;
            let (_, expires) = validity(&der)?;
            let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(not_made)?;
            return Ok(Self { cluster, root: format!("{text}\n"), key: key.to_owned(), expires, issuer });
        }
        Err(TlsError::Key("none of the trusted roots has this key".to_owned()))
    }

    /// Whose nodes it names.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its certificate, in PEM form.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Its private key, in PEM form.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A certificate for a node, good for `lifetime` from `now` on, but no longer than the root.
    pub fn issue(&self, node: &NodeId, region: &RegionId, now: SystemTime, lifetime: Duration) -> Result<Leaf, TlsError> {
        let name = Name::new(&self.cluster, region, node)?;
        let dns = server_name(Some(node)).try_into().map_err(not_made)?;
        self.signed(vec![uri(&name.uri())?, SanType::DnsName(dns)], node.as_str(), now, lifetime)
    }

    /// A certificate with any names.
    pub(super) fn signed(
        &self,
        names: Vec<SanType>,
        title: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate().map_err(not_made)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(title);
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let left = self.expires.duration_since(now).map_err(|_| TlsError::RootExpired)?;
        date(&mut params, now, lifetime.min(left));
        let cert = params.signed_by(&key, &self.issuer).map_err(not_made)?.pem();
        Ok(Leaf { cert, key: key.serialize_pem() })
    }
}

/// The certificates of a PEM text, each with its own lines of it.
pub fn roots_of(pem: &str) -> Result<Vec<(&str, CertificateDer<'static>)>, TlsError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let texts = pem.match_indices(BEGIN).filter_map(|(at, _)| {
        let text = pem.get(at..)?;
        text.get(..text.find(END)? + END.len())
    });
    let ders = certificates(pem, "the trusted roots")?;
    Ok(texts.zip(ders).collect())
}

/// The cluster that a root names.
pub fn cluster_of(root: &CertificateDer<'_>) -> Result<String, TlsError> {
    let (_, parsed) = X509Certificate::from_der(root).map_err(|why| TlsError::Malformed(why.to_string()))?;
    let names = parsed.subject_alternative_name().map_err(|why| TlsError::Malformed(why.to_string()))?;
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    let cluster = names.find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://").filter(|cluster| is_name(cluster)),
        _ => None,
    });
    cluster.map(str::to_owned).ok_or_else(|| TlsError::NotAName("the root names no cluster (spiffe://<cluster>)".to_owned()))
}

/// The lifetime that certificates get; returns its end.
fn date(params: &mut CertificateParams, now: SystemTime, lifetime: Duration) -> SystemTime {
    let epoch = date_time_ymd(1970, 1, 1);
    let unix = |time: SystemTime| Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let end = now + lifetime;
    params.not_before = epoch + unix(now.checked_sub(BACKDATED).unwrap_or(UNIX_EPOCH));
    params.not_after = epoch + unix(end);
    end
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn uri(text: &str) -> Result<SanType, TlsError> {
    Ok(SanType::URI(text.try_into().map_err(not_made)?))
}

fn not_made(why: rcgen::Error) -> TlsError {
    TlsError::NotMade(why.to_string())
}
