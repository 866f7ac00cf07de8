//! Keys of the STUN and TURN server, and the rules between them. Part of [`super`].

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::setting::section;
use super::value::{Keys, Secret};

/// A shorter one could be guessed from a password that it made, which every member holds.
const MIN_SECRET_BYTES: usize = 16;

/// The longest realm that a client must take (RFC 8489 §14.9), in bytes.
const MOST_REALM: usize = 127;

section! {
    /// STUN and TURN, for members whose networks let nothing else through, and for other software. Off until it has a place to
    /// listen. Members get credentials by themselves; docs/turn.md tells how others do.
    Turn as "turn" {
        /// Addresses and ports for UDP and TCP, such as `"0.0.0.0:3478"` and `"[::]:3478"`. Empty: off.
        listen: Vec<SocketAddr> = Vec::new(),
        /// The same for TLS, such as "0.0.0.0:5349"; 443 gets through most firewalls. Needs tls_cert, tls_key and host.
        tls_listen: Vec<SocketAddr> = Vec::new(),
        /// PEM file of the certificate for host and its issuers. Watched: a renewed one is taken over.
        tls_cert: String = String::new(),
        /// PEM file of its private key.
        tls_key: String = String::new(),
        /// Addresses that relayed packets come from as peers see them, one for each family. Empty: those of media.advertise, or of
        /// this host's interfaces.
        advertise: Vec<IpAddr> = Vec::new(),
        /// Name of this server in the URLs that members get, such as "turn.example.org". Empty: the first advertised address, and no
        /// TLS.
        host: String = String::new(),
        /// Names what credentials are for. Software with users below needs the same.
        realm: String = "weir".to_owned(),
        /// Makes credentials that expire: the name is "EXPIRY:USER", the password its HMAC-SHA1 in base64. Share it with software that
        /// makes them too. Empty: drawn at each start.
        secret: Secret = Secret::new(""),
        /// Users of other software and their passwords, which do not expire: `users.NAME = "PASSWORD"`.
        users: Keys = Keys::default(),
        /// How long credentials for members are good for new allocations, in seconds.
        credential_ttl_s: u32 = 43_200,
        /// UDP ports of relayed addresses, from here…
        relay_port_min: u16 = 49_152,
        /// …to here. The firewall must let them in.
        relay_port_max: u16 = 65_535,
        /// Allocations at a time.
        allocations: u32 = 4_000,
        /// Allocations of one user at a time. A browser makes some for each network and URL, and as many again when it restarts ICE.
        user_allocations: u32 = 32,
        /// What one allocation sends and receives together, in kilobits per second. 0: no limit.
        allocation_kbps: u32 = 40_000,
        /// The same for one user with all its allocations.
        user_kbps: u32 = 80_000,
        /// How long an allocation lives without a refresh, in seconds, unless it asks for more…
        lifetime_s: u32 = 600,
        /// …and at most.
        max_lifetime_s: u32 = 3_600,
        /// TCP and TLS connections at a time.
        connections: u32 = 4_000,
        /// The same from one address, behind which may be many people.
        address_connections: u32 = 200,
        /// Networks that members may be relayed to although they are not of the public internet, such as "10.1.0.0/16". This node's own
        /// media is always allowed.
        allow_peers: Vec<IpNet> = Vec::new(),
        /// Networks that nobody is relayed to, whatever else holds.
        deny_peers: Vec<IpNet> = Vec::new(),
    }
}

impl Turn {
    /// Whether there is anything to serve.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.tls_listen.is_empty()
    }

    /// As (key, what is wrong and the mend), for what holds not.
    pub(super) fn broken_rules(&self, media_ports: std::ops::Range<u32>) -> Vec<(String, String)> {
        let mut broken = Vec::new();
        let mut rule = |holds: bool, key: &str, what: &str| {
            if !holds {
                broken.push((format!("turn.{key}"), what.to_owned()));
            }
        };
        let tls = !self.tls_listen.is_empty();
        rule(!tls || !self.tls_cert.is_empty(), "tls_cert", "is needed for turn.tls_listen: the PEM file of a certificate");
        rule(
            !tls || !self.tls_key.is_empty(),
            "tls_key",
            "is needed for turn.tls_listen: the PEM file of the certificate's key",
        );
        rule(!tls || !self.host.is_empty(), "host", "is needed for turn.tls_listen: the name that the certificate is for");
        let named = self.host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        rule(named, "host", "must be a bare name such as \"turn.example.org\", without scheme or port");
        let fixed = self.listen.iter().chain(&self.tls_listen).all(|addr| addr.port() != 0);
        rule(fixed, "listen", "needs fixed ports: members are told them");
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        let named = (1..=MOST_REALM).contains(&self.realm.len()) && self.realm.chars().all(plain);
        rule(named, "realm", "must be 1 to 127 letters, digits or signs, without spaces");
        let secret = self.secret.expose().len();
        rule(
            secret == 0 || secret >= MIN_SECRET_BYTES,
            "secret",
            "is too short to be safe; at least 16 bytes are needed. Make one with: openssl rand -hex 32",
        );
        for (name, password) in self.users.iter() {
            let key = format!("users.{name}");
            rule(!password.expose().is_empty(), &key, "the password is empty: everybody could use it");
            rule(name.len() <= 256, &key, "names have 256 bytes at most");
        }
        rule(self.relay_port_min >= 1_024, "relay_port_min", "must be at least 1024: lower ports are for services");
        rule(self.relay_port_min <= self.relay_port_max, "relay_port_max", "must not be below turn.relay_port_min");
        let relayed = u32::from(self.relay_port_min)..u32::from(self.relay_port_max) + 1;
        let apart = relayed.end <= media_ports.start || media_ports.end <= relayed.start;
        rule(!self.is_on() || apart, "relay_port_min", "the relayed ports include those of media.udp_port; choose others");
        for (key, number) in [
            ("credential_ttl_s", self.credential_ttl_s),
            ("allocations", self.allocations),
            ("user_allocations", self.user_allocations),
            ("connections", self.connections),
            ("address_connections", self.address_connections),
        ] {
            rule(number > 0, key, "must be at least 1");
        }
        rule(self.lifetime_s >= 60, "lifetime_s", "must be at least 60: clients refresh a minute ahead");
        rule(self.max_lifetime_s >= self.lifetime_s, "max_lifetime_s", "must not be below turn.lifetime_s");
        broken
    }
}
