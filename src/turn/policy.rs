//! Which peers a relay may send to and hear from. A relay that forwards anywhere is a way into its operator's network, so
//! everything that is not plainly of the public internet is refused, in whatever clothes it comes; this node's own media
//! sockets are let through exactly. Owns that judgement; `server` asks it when a permission is made and for each packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// A media socket of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// As browsers know it.
    pub told: SocketAddr,
    /// Where it is reached from this host: what browsers are told may lead to a NAT in front of it.
    pub at: SocketAddr,
}

/// What the operator says of peers, beside what is refused always.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Refused, whatever else holds.
    pub deny: Vec<IpNet>,
    /// Let through, even if private.
    pub allow: Vec<IpNet>,
    /// Let through, by address and port.
    pub own_media: Vec<Own>,
    /// Addresses of this host: nothing but its media, its relayed addresses and what is allowed above is for peers here.
    pub own_ips: Vec<IpAddr>,
}

impl Policy {
    /// Whether a permission may be made for that address; ports are judged when something is sent.
    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if self.is_denied(ip) {
            return false;
        }
        let own = self.own_ips.contains(&ip) || self.own_media.iter().any(|own| own.told.ip() == ip);
        own || self.is_allowed(ip) || is_public(ip)
    }

    /// Whether something may go to, or come from, that address and port. `is_relayed` tells whether it is an allocation's here.
    pub(super) fn lets_through(&self, peer: SocketAddr, is_relayed: impl FnOnce() -> bool) -> bool {
        let ip = peer.ip().to_canonical();
        if peer.port() == 0 || self.is_denied(ip) {
            return false;
        }
        let exactly = || self.own_media.iter().any(|own| own.told == peer) || is_relayed();
        let public = is_public(ip) && !self.own_ips.contains(&ip);
        public || self.is_allowed(ip) || exactly()
    }

    /// Where to send what is for `peer`.
    pub(super) fn way_to(&self, peer: SocketAddr) -> SocketAddr {
        self.own_media.iter().find(|own| own.told == peer).map_or(peer, |own| own.at)
    }

    /// Whom what came from `from` is of.
    pub(super) fn came_from(&self, from: SocketAddr) -> SocketAddr {
        self.own_media.iter().find(|own| own.at == from).map_or(from, |own| own.told)
    }

    fn is_denied(&self, ip: IpAddr) -> bool {
        self.deny.iter().any(|net| net.contains(&ip))
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(&ip))
    }
}

/// Whether an address can be a host's on the public internet, and leads to nothing else by an IPv4 address inside it.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// The special-purpose registry (RFC 6890), and what is no host's.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match a {
        // "This network", loopback, multicast, reserved and broadcast; RFC 1918.
        0 | 10 | 127 | 224..=255 => true,
        // Shared by carriers' NATs (RFC 6598).
        100 => (64..128).contains(&b),
        // Link-local, where clouds keep their metadata.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Private; protocol assignments and documentation; 6to4 relays.
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        // Benchmarks; documentation.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let [a, b, c, d, _, _, g, h] = segments;
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        // NAT64 (RFC 6052): the IPv4 host behind it is the peer. The prefix for local use (RFC 8215) is refused below.
        (0x64, 0xff9b) if segments.get(2..6) == Some(&[0, 0, 0, 0]) => is_public_v4(v4(g, h)),
        // 6to4 (RFC 3056) leads to the IPv4 host in it.
        (0x2002, _) => is_public_v4(v4(b, c)),
        // Teredo (RFC 4380) leads to the server and to the client in it, the latter with its bits turned round.
        (0x2001, 0) => is_public_v4(v4(c, d)) && is_public_v4(v4(!g, !h)),
        // Protocol assignments; documentation.
        (0x2001, 0x01..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => false,
        // All that is assigned to hosts so far; this leaves out loopback, unspecified, unique local, link-local, multicast.
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address and port")
    }

    /// What has been the way into networks through relays, and its relatives.
    const ABUSED: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "192.88.99.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "ff0e::1",
        "100::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2002:c0a8:101::1",
        "2001:0:808:808::f5ff:fffe",
        "2001:0:7f00:1::f7f7:f7f7",
        "2001:2::1",
        "2001:10::1",
        "4000::1",
        "1::1",
    ];

    #[test]
    fn what_is_not_of_the_public_internet_is_refused_in_any_clothes() {
        let policy = Policy::default();
        for text in ABUSED {
            assert!(!policy.permits(ip(text)), "permission for {text}");
            assert!(!policy.lets_through(SocketAddr::new(ip(text), 9), || false), "send to {text}");
        }
    }

    #[test]
    fn what_is_public_is_let_through() {
        let policy = Policy::default();
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
            "2001:4860::1",
        ] {
            assert!(policy.permits(ip(text)), "permission for {text}");
            assert!(policy.lets_through(SocketAddr::new(ip(text), 9), || false), "send to {text}");
            assert!(!policy.lets_through(SocketAddr::new(ip(text), 0), || false), "port 0 of {text}");
        }
    }

    #[test]
    fn our_own_media_is_let_through_by_address_and_port_only() {
        let own_media = vec![Own { told: at("198.51.100.7:40000"), at: at("10.0.0.5:7882") }];
        let policy = Policy { own_media, own_ips: vec![ip("8.8.4.4"), ip("10.0.0.5")], ..Policy::default() };
        assert!(policy.permits(ip("198.51.100.7")));
        assert!(policy.lets_through(at("198.51.100.7:40000"), || false));
        assert!(!policy.lets_through(at("198.51.100.7:40001"), || false), "the port beside it");
        assert!(!policy.lets_through(at("10.0.0.5:7882"), || false), "its address inside");
        assert_eq!(policy.way_to(at("198.51.100.7:40000")), at("10.0.0.5:7882"));
        assert_eq!(policy.came_from(at("10.0.0.5:7882")), at("198.51.100.7:40000"));
        assert_eq!(policy.way_to(at("8.8.8.8:9")), at("8.8.8.8:9"));
        // Services that listen on this host's public address are not for peers.
        assert!(!policy.lets_through(at("8.8.4.4:22"), || false));
        assert!(policy.lets_through(at("8.8.4.4:50000"), || true), "another client's relayed address");
    }

    #[test]
    fn the_operator_allows_and_denies_and_denying_wins() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        let policy = Policy {
            allow: nets(&["10.1.0.0/16", "127.0.0.0/8"]),
            deny: nets(&["10.1.2.0/24", "8.0.0.0/8"]),
            ..Policy::default()
        };
        for (text, good) in [
            ("10.1.0.1", true),
            ("::ffff:10.1.0.1", true),
            ("10.2.0.1", false),
            ("10.1.2.1", false),
            ("8.8.8.8", false),
            ("::ffff:8.8.8.8", false),
            ("127.0.0.1", true),
            ("9.9.9.9", true),
        ] {
            assert_eq!(policy.permits(ip(text)), good, "{text}");
            assert_eq!(policy.lets_through(SocketAddr::new(ip(text), 9), || false), good, "{text}");
        }
        // Not even what is ours.
        let own_media = vec![Own { told: at("8.8.8.8:7882"), at: at("8.8.8.8:7882") }];
        let policy = Policy { own_media, ..policy };
        assert!(!policy.permits(ip("8.8.8.8")) && !policy.lets_through(at("8.8.8.8:7882"), || true));
    }
}
