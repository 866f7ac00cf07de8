//! Handshakes between two nodes in memory: who is let in, and who is not.

use std::time::UNIX_EPOCH;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConnection, ServerConnection};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Leaf;
use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A clock that stands.
#[derive(Debug)]
struct Clock(SystemTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.duration_since(UNIX_EPOCH).expect("after 1970")))
    }
}

fn authority() -> Authority {
    Authority::new("test", now()).expect("an authority")
}

fn tls_at(roots: &str, leaf: Leaf, at: SystemTime) -> Tls {
    let pem = Pem { ca: roots.to_owned(), cert: leaf.cert, key: leaf.key };
    Tls::with_clock(&pem, Arc::new(Clock(at))).expect("sound files")
}

fn node(authority: &Authority, name: &str) -> Tls {
    tls_at(authority.root(), leaf(authority, name), now())
}

fn leaf(authority: &Authority, name: &str) -> Leaf {
    authority.issue(&NodeId::new(name), &RegionId::new("fra"), now(), DAY).expect("a certificate")
}

/// A node whose certificate is signed by the authority but holds other names. It would not load its own files as they are, so
/// it is given a sound identity's configurations with the certificate exchanged.
fn named(authority: &Authority, names: &[&str]) -> Tls {
    let names = names.iter().map(|name| SanType::URI((*name).try_into().expect("ASCII"))).collect();
    let odd = authority.signed(names, "odd", now(), DAY).expect("a certificate");
    with_chain(authority, &odd.cert, &odd.key)
}

fn with_chain(authority: &Authority, cert: &str, key: &str) -> Tls {
    let sound = node(authority, "sound");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clock: Arc<dyn TimeProvider> = Arc::new(Clock(now()));
    let roots = certificate::trusted(authority.root()).expect("a root");
    let neighbours = Arc::new(Neighbours::new(roots, "test".to_owned(), &provider).expect("a verifier"));
    let chain = certificate::certificates(cert, "odd").expect("certificates");
    let key = || PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let server = server_config(&provider, &clock, &neighbours, &chain, key()).expect("a server");
    let client = client_config(&provider, &clock, &neighbours, &chain, key()).expect("a client");
    Tls { server: Arc::new(server), client: Arc::new(client), ..sound }
}

/// Both ends, once their handshake is over.
fn connect(
    client: Arc<rustls::ClientConfig>,
    expected: Option<&str>,
    server: Arc<rustls::ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(server_name(expected.map(NodeId::new).as_ref())).expect("a name");
    let mut client = ClientConnection::new(client, name).expect("a client");
    let mut server = ServerConnection::new(server).expect("a server");
    for _ in 0..8 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("it is memory");
        }
        server.read_tls(&mut bytes.as_slice()).expect("it is memory");
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("it is memory");
        }
        client.read_tls(&mut bytes.as_slice()).expect("it is memory");
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// Who the other is, as the dialing and the accepting end see it.
fn meet(dialer: &Tls, expected: Option<&str>, listener: &Tls) -> Result<(String, String), String> {
    let (client, server) =
        connect(dialer.client_config(), expected, listener.server_config()).map_err(|why| why.to_string())?;
    let seen = |tls: &Tls, certificates: Option<&[CertificateDer<'static>]>| {
        let leaf = certificates.and_then(<[_]>::first).expect("it was shown");
        tls.identity_of(leaf).map(|identity| identity.node.to_string()).map_err(|why| why.to_string())
    };
    Ok((seen(dialer, client.peer_certificates())?, seen(listener, server.peer_certificates())?))
}

/// Neither as the one who dials nor as the one who is dialed.
fn assert_refused(stranger: &Tls, ours: &Tls, why: &str) {
    for refused in [meet(stranger, None, ours), meet(ours, None, stranger)] {
        let said = refused.expect_err("it must be refused");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn neighbours_learn_who_the_other_is() {
    let authority = authority();
    let (a, b) = (node(&authority, "a"), node(&authority, "b.rack-1"));
    assert_eq!(meet(&a, Some("b.rack-1"), &b), Ok(("b.rack-1".into(), "a".into())));
    assert_eq!(meet(&a, None, &b), Ok(("b.rack-1".into(), "a".into())));
    assert_eq!((a.identity().region.as_str(), a.cluster()), ("fra", "test"));
    assert_eq!((a.starts(), a.expires()), (now() - HOUR, now() + DAY));
}

#[test]
fn another_node_than_the_one_dialed_is_refused() {
    let authority = authority();
    let said = meet(&node(&authority, "a"), Some("c"), &node(&authority, "b")).expect_err("b is not c");
    assert!(said.contains("b answered where c was dialed"), "{said}");
}

#[test]
fn a_leaf_of_another_authority_is_refused_though_it_claims_the_same_cluster() {
    let (ours, theirs) = (authority(), authority());
    assert_refused(&node(&theirs, "a"), &node(&ours, "b"), "UnknownIssuer");
}

#[test]
fn a_leaf_is_good_between_its_dates_only() {
    let authority = authority();
    let at = |time| tls_at(authority.root(), leaf(&authority, "b"), time);
    let a = |time| {
        tls_at(authority.root(), authority.issue(&NodeId::new("a"), &RegionId::new("r"), now(), 9 * DAY).expect("one"), time)
    };
    assert!(meet(&a(now() + DAY - HOUR), Some("b"), &at(now() + DAY - HOUR)).is_ok());
    assert_refused(&at(now() + DAY + HOUR), &a(now() + DAY + HOUR), "expired");
    assert!(meet(&a(now() - HOUR / 2), Some("b"), &at(now() - HOUR / 2)).is_ok(), "clocks may differ");
    let said = meet(&a(now() - 2 * HOUR), Some("b"), &at(now() - 2 * HOUR)).expect_err("too early");
    assert!(said.contains("not valid yet"), "{said}");
}

#[test]
fn a_leaf_must_name_exactly_one_node_of_the_cluster() {
    let authority = authority();
    let ours = node(&authority, "b");
    assert_refused(&named(&authority, &[]), &ours, "names nobody");
    let a = "spiffe://test/region/fra/node/a";
    assert!(meet(&named(&authority, &[a]), Some("b"), &ours).is_ok(), "no host name is needed");
    assert_refused(&named(&authority, &[a, "spiffe://test/region/fra/node/c"]), &ours, "2 URI names");
    assert_refused(&named(&authority, &[a, "https://example.org"]), &ours, "2 URI names");
    assert_refused(&named(&authority, &["https://example.org"]), &ours, "not a node's name");
    assert_refused(&named(&authority, &["spiffe://test/region/fra/node/A"]), &ours, "not a node's name");
    assert_refused(&named(&authority, &["spiffe://tset/region/fra/node/a"]), &ours, "of cluster tset");
}

#[test]
fn a_node_cannot_name_others() {
    let authority = authority();
    let stolen = leaf(&authority, "a");
    let key = KeyPair::from_pem(&stolen.key).expect("a key");
    let cert = certificate::certificates(&stolen.cert, "a").expect("one");
    let issuer = Issuer::from_ca_cert_der(&cert[0], key).expect("an issuer");
    let (fresh, mut params) = (KeyPair::generate().expect("a key"), CertificateParams::default());
    params.subject_alt_names = vec![SanType::URI("spiffe://test/region/fra/node/c".try_into().expect("ASCII"))];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let forged = params.signed_by(&fresh, &issuer).expect("signed");
    let chain = format!("{}{}", forged.pem(), stolen.cert);
    assert_refused(&with_chain(&authority, &chain, &fresh.serialize_pem()), &node(&authority, "b"), "invalid peer certificate");
}

#[test]
fn during_a_rotation_old_and_new_leaves_are_good_and_afterwards_only_new_ones() {
    let (old, new) = (authority(), Authority::new("test", now() + DAY).expect("another"));
    let both = format!("{}\n{}\n", new.root(), old.root());
    let (old_leaf, new_leaf) = (|| leaf(&old, "a"), || leaf(&new, "b"));
    let (a, b) = (tls_at(&both, old_leaf(), now()), tls_at(&both, new_leaf(), now()));
    assert!(meet(&a, Some("b"), &b).is_ok() && meet(&b, Some("a"), &a).is_ok());
    assert!(meet(&a, None, &tls_at(&both, leaf(&old, "c"), now())).is_ok());
    assert_refused(&a, &tls_at(new.root(), new_leaf(), now()), "UnknownIssuer");
    let alone = Pem { ca: new.root().to_owned(), cert: old_leaf().cert, key: old_leaf().key };
    assert!(matches!(Tls::from_pem(&alone), Err(TlsError::NotOurs(_))), "and it hears so when it starts");
}

#[test]
fn nothing_is_resumed_nor_sent_early_and_only_this_protocol_is_spoken() {
    let authority = authority();
    let (a, b) = (node(&authority, "a"), node(&authority, "b"));
    let (client, server) = connect(a.client_config(), Some("b"), b.server_config()).expect("they meet");
    assert_eq!(client.tls13_tickets_received(), 0);
    assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(ALPN), Some(ALPN)));
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(server.server_name(), None, "whom it expects is not said in the clear");
    // Again, with the same configurations: in full.
    let (again, _) = connect(a.client_config(), Some("b"), b.server_config()).expect("they meet again");
    assert_eq!(again.handshake_kind(), Some(rustls::HandshakeKind::Full));
    let mut other = (*a.client_config()).clone();
    other.alpn_protocols = vec![b"h3".to_vec()];
    assert!(connect(Arc::new(other), Some("b"), b.server_config()).is_err());
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let authority = authority();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_details(provider, Arc::new(Clock(now())))
        .with_protocol_versions(&[&TLS13])
        .expect("versions")
        .with_root_certificates(certificate::trusted(authority.root()).expect("a root"))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let said = connect(Arc::new(client), Some("b"), node(&authority, "b").server_config()).expect_err("it must be refused");
    assert!(said.to_string().contains("sent no certificates"), "{said}");
}

#[test]
fn files_that_do_not_belong_together_are_told_apart() {
    let authority = authority();
    let (a, b) = (leaf(&authority, "a"), leaf(&authority, "b"));
    let load = |ca: &str, cert: &str, key: &str| {
        Tls::from_pem(&Pem { ca: ca.to_owned(), cert: cert.to_owned(), key: key.to_owned() })
            .map(|tls| tls.identity().node.to_string())
    };
    let root = authority.root();
    assert_eq!(load(root, &a.cert, &a.key), Ok("a".to_owned()));
    assert!(matches!(load(root, &a.cert, &b.key), Err(TlsError::Key(_))));
    assert!(matches!(load(root, root, authority.key()), Err(TlsError::NotAName(_))), "a root is no node");
    assert_eq!(load("", &a.cert, &a.key), Err(TlsError::NoCertificate("the trusted roots")));
    assert_eq!(load(root, &a.key, &a.key), Err(TlsError::NoCertificate("the node's certificate")));
    assert_eq!(load(root, &a.cert, &a.cert), Err(TlsError::NoKey("the node's private key")));
    let truncated = &a.cert[..a.cert.len() / 2];
    assert_eq!(load(root, truncated, &a.key), Err(TlsError::NoCertificate("the node's certificate")));
}

#[test]
fn an_authority_survives_its_files_and_knows_its_root_among_two() {
    let (old, new) = (authority(), Authority::new("test", now() + DAY).expect("another"));
    let roots = format!("{}\n{}", new.root(), old.root());
    for one in [&old, &new] {
        let read = Authority::from_pem(&roots, one.key()).expect("it is among them");
        assert_eq!((read.cluster(), read.root(), read.key()), ("test", one.root(), one.key()));
        assert!(meet(&node(&read, "a"), Some("b"), &node(one, "b")).is_ok());
    }
    assert!(matches!(Authority::from_pem(old.root(), new.key()), Err(TlsError::Key(_))));
}

#[test]
fn certificates_say_what_they_are_for_and_end_with_their_root() {
    let authority = authority();
    let leaf = leaf(&authority, "a");
    let der = &certificate::certificates(&leaf.cert, "a").expect("one")[0];
    let (_, parsed) = X509Certificate::from_der(der).expect("X.509");
    let usage = parsed.extended_key_usage().expect("sound").expect("there");
    assert!(usage.value.server_auth && usage.value.client_auth && !usage.value.any);
    assert!(!parsed.is_ca());
    let der = &certificate::certificates(authority.root(), "root").expect("one")[0];
    let (_, root) = X509Certificate::from_der(der).expect("X.509");
    assert!(root.is_ca() && root.key_usage().expect("sound").expect("there").value.key_cert_sign());
    let late = now() + 3_649 * DAY;
    let leaf = authority.issue(&NodeId::new("a"), &RegionId::new("r"), late, 7 * DAY).expect("one");
    assert_eq!(Certificate::from_pem(&leaf.cert).expect("sound").expires, now() + 3_650 * DAY);
    let over = authority.issue(&NodeId::new("a"), &RegionId::new("r"), now() + 3_651 * DAY, 7 * DAY);
    assert_eq!(over.map(|_| ()), Err(TlsError::RootExpired));
}

#[test]
fn names_that_could_be_mistaken_are_not_certified() {
    let authority = authority();
    for name in ["", "../ca", "a/node/b", "A", "a b", "a\0", "ü", "a%2fb", "-"] {
        let issued = authority.issue(&NodeId::new(name), &RegionId::new("fra"), now(), DAY);
        assert!(matches!(issued, Err(TlsError::BadName { what: "node", .. })), "{name}");
        let issued = authority.issue(&NodeId::new("a"), &RegionId::new(name), now(), DAY);
        assert!(matches!(issued, Err(TlsError::BadName { what: "region", .. })), "{name}");
        assert!(matches!(Authority::new(name, now()), Err(TlsError::BadName { what: "cluster", .. })), "{name}");
    }
}

#[test]
fn a_deployment_without_files_gets_identities_of_its_own() {
    let names = [("a", "fra"), ("b", "iad")].map(|(node, region)| (NodeId::new(node), RegionId::new(region)));
    let all = Tls::ephemeral("dev", &names, SystemTime::now()).expect("identities");
    assert_eq!(meet(&all[0], Some("b"), &all[1]), Ok(("b".into(), "a".into())));
    let others = Tls::ephemeral("dev", &names, SystemTime::now()).expect("identities");
    assert_refused(&others[0], &all[1], "UnknownIssuer");
}
