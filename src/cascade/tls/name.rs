//! A node's name in a certificate: the SPIFFE id. Owns how it is written, read and compared; that the certificate is genuine is
//! [`super::verify`]'s.

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;
use crate::cascade::wire::Identity;
use crate::id::{NodeId, RegionId, is_name};

/// Ends the names that are dialed: nobody's domain, never looked up.
const SUFFIX: &str = "node.weir";

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub cluster: String,
    pub identity: Identity,
}

/// What to pass to a connect call: the node that must answer. `None`: any node of the cluster, when only an address is known.
pub fn server_name(node: Option<&NodeId>) -> String {
    node.map_or_else(|| SUFFIX.to_owned(), |node| format!("{node}.{SUFFIX}"))
}

/// Whom a dialed name allows to answer: the opposite of [`server_name`]. `None`: it is none of ours.
pub(super) fn expected(name: &ServerName<'_>) -> Option<Option<NodeId>> {
    let ServerName::DnsName(name) = name else { return None };
    let node = name.as_ref().strip_suffix(SUFFIX)?;
    if node.is_empty() {
        return Some(None);
    }
    node.strip_suffix('.').filter(|node| is_name(node)).map(|node| Some(NodeId::new(node)))
}

impl Name {
    /// The name of a node; `None` if one of the three is no name.
    pub fn new(cluster: &str, region: &RegionId, node: &NodeId) -> Result<Self, TlsError> {
        for (what, name) in [("cluster", cluster), ("region", region.as_str()), ("node", node.as_str())] {
            if !is_name(name) {
                return Err(TlsError::BadName { what, name: name.chars().take(80).collect() });
            }
        }
        Ok(Self { cluster: cluster.to_owned(), identity: Identity { region: region.clone(), node: node.clone() } })
    }

    /// As a URI.
    pub fn uri(&self) -> String {
        let Identity { region, node } = &self.identity;
        format!("spiffe://{}/region/{region}/node/{node}", self.cluster)
    }

    /// From a URI, which must be written exactly as [`Name::uri`] writes it.
    pub fn parse(uri: &str) -> Result<Self, TlsError> {
        let foreign = || TlsError::NotAName(uri.chars().take(200).collect());
        let rest = uri.strip_prefix("spiffe://").ok_or_else(foreign)?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let (cluster, region_word, region, node_word, node) = (next(), next(), next(), next(), next());
        if (region_word, node_word, parts.next()) != ("region", "node", None) {
            return Err(foreign());
        }
        Self::new(cluster, &RegionId::new(region), &NodeId::new(node)).map_err(|_| foreign())
    }

    /// The one name in a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let malformed = |why: &dyn std::fmt::Display| TlsError::Malformed(why.to_string());
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|why| malformed(&why))?;
        let names = parsed.subject_alternative_name().map_err(|why| malformed(&why))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .collect();
        match uris.as_slice() {
            [] => Err(TlsError::Nameless),
            [uri] => Self::parse(uri),
            several => Err(TlsError::SeveralNames(several.len())),
        }
    }

    /// The node, if it belongs to a cluster.
    pub fn within(self, cluster: &str) -> Result<Identity, TlsError> {
        if self.cluster == cluster {
            return Ok(self.identity);
        }
        Err(TlsError::OtherCluster { expected: cluster.to_owned(), found: self.cluster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_uri() {
        let name = Name::new("prod.example.org", &RegionId::new("fra"), &NodeId::new("fra-1.rack-2")).expect("three names");
        assert_eq!(name.uri(), "spiffe://prod.example.org/region/fra/node/fra-1.rack-2");
        assert_eq!(Name::parse(&name.uri()), Ok(name));
    }

    #[test]
    fn what_is_not_exactly_a_nodes_uri_is_refused() {
        for uri in [
            "",
            "spiffe://c",
            "spiffe://c/region/r/node/",
            "spiffe://c/region//node/n",
            "spiffe:///region/r/node/n",
            "spiffe://c/region/r/node/n/",
            "spiffe://c/region/r/node/n/x",
            "spiffe://c/region/r/node/n?x",
            "spiffe://c/region/r/node/n#x",
            "spiffe://c/region/r/node/..",
            "spiffe://c/region/r/node/%6e",
            "spiffe://C/region/r/node/n",
            "spiffe://c:1/region/r/node/n",
            "spiffe://u@c/region/r/node/n",
            "SPIFFE://c/region/r/node/n",
            "spiffe://c/node/n/region/r",
            "https://c/region/r/node/n",
        ] {
            assert!(Name::parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn the_dialed_name_says_who_must_answer() {
        let parsed = |text: &str| expected(&ServerName::try_from(text.to_owned()).expect(text));
        let node = NodeId::new("fra-1.rack-2");
        assert_eq!(parsed(&server_name(Some(&node))), Some(Some(node)));
        assert_eq!(parsed(&server_name(None)), Some(None));
        assert_eq!(parsed("example.org"), None);
        assert_eq!(parsed("xnode.weir"), None);
        assert_eq!(parsed("127.0.0.1"), None);
    }
}
