//! The host's own network as the kernel tells it. Owns nothing; `node` takes addresses to advertise from here, `weir doctor`
//! compares configured ones with it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Addresses of interfaces that are up, loopback included, IPv4 first; without link-local ones, which mean nothing to
/// anybody who does not know the interface.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = getifaddrs()?
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|ip| scope(*ip) != Scope::LinkLocal)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// From everywhere, as far as its digits tell.
    Public,
    /// From its own network only: RFC 1918, RFC 4193, RFC 6598.
    Private,
    /// From its own wire only.
    LinkLocal,
    /// From this host only.
    Loopback,
    /// It is no host's address: unspecified, multicast, broadcast, documentation.
    Unusable,
}

/// Where `ip` can be reached from.
pub fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        IpAddr::V4(v4) => scope_v4(v4),
        IpAddr::V6(v6) => scope_v6(v6),
    }
}

/// Whether a socket can be bound to an address on this host; the reason where it cannot.
pub fn can_bind_udp(addr: SocketAddr) -> io::Result<()> {
    std::net::UdpSocket::bind(addr).map(drop)
}

/// The same for a listener.
pub fn can_bind_tcp(addr: SocketAddr) -> io::Result<()> {
    std::net::TcpListener::bind(addr).map(drop)
}

fn scope_v4(ip: Ipv4Addr) -> Scope {
    let [a, b, ..] = ip.octets();
    if ip.is_loopback() {
        Scope::Loopback
    } else if ip.is_link_local() {
        Scope::LinkLocal
    } else if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_documentation() || a == 0 || a >= 240 {
        Scope::Unusable
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Scope::Private
    } else {
        Scope::Public
    }
}

fn scope_v6(ip: Ipv6Addr) -> Scope {
    let [head, second, ..] = ip.segments();
    if ip.is_loopback() {
        Scope::Loopback
    } else if ip.is_unicast_link_local() {
        Scope::LinkLocal
    } else if ip.is_unspecified() || ip.is_multicast() || (head == 0x2001 && second == 0x0db8) {
        Scope::Unusable
    } else if ip.is_unique_local() {
        Scope::Private
    } else {
        Scope::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_where_they_can_be_reached() {
        for (ip, expected) in [
            ("8.8.8.8", Scope::Public),
            ("100.63.255.255", Scope::Public),
            ("100.64.0.1", Scope::Private),
            ("10.1.2.3", Scope::Private),
            ("172.31.0.1", Scope::Private),
            ("172.32.0.1", Scope::Public),
            ("192.168.1.1", Scope::Private),
            ("169.254.1.1", Scope::LinkLocal),
            ("127.0.0.2", Scope::Loopback),
            ("0.0.0.0", Scope::Unusable),
            ("203.0.113.7", Scope::Unusable),
            ("224.0.0.1", Scope::Unusable),
            ("255.255.255.255", Scope::Unusable),
            ("::1", Scope::Loopback),
            ("fe80::1", Scope::LinkLocal),
            ("fd00::1", Scope::Private),
            ("2001:db8::1", Scope::Unusable),
            ("2606:4700::1111", Scope::Public),
            ("::ffff:10.0.0.1", Scope::Private),
        ] {
            assert_eq!(scope(ip.parse().expect("an address")), expected, "{ip}");
        }
    }

    #[test]
    fn this_host_has_loopback_and_nothing_link_local() {
        let found = interface_addresses().expect("interfaces are readable");
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
        assert!(found.iter().all(|ip| scope(*ip) != Scope::LinkLocal), "{found:?}");
    }
}
