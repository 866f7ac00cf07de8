//! The node's STUN and TURN server: from configuration to settings, sockets, and the URLs that members are told. Part of
//! [`super`]; the server itself is [`crate::turn`].

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::config::{Advertised, Config, Turn};
use crate::edge::ice_servers::IceServers;
use crate::net;
use crate::turn::shell::{self, Start, Tls};
use crate::turn::{Issuer, Own, Policy, Settings};

/// Where one of this node's media sockets is.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaSocket {
    /// As browsers are told.
    pub(super) told: SocketAddr,
    /// As it is bound, which may be to any address.
    pub(super) bound: SocketAddr,
}

/// Starts it, if it is configured. `advertised` is what browsers are told of this node.
pub(super) fn start(
    config: &Config,
    advertised: &[Advertised],
    media: &[MediaSocket],
) -> anyhow::Result<Option<(shell::Handle, IceServers)>> {
    let turn = &config.turn;
    if !turn.is_on() {
        return Ok(None);
    }
    let external = external(turn, advertised);
    anyhow::ensure!(!external.is_empty(), "no address is known that relayed packets could come from: set turn.advertise");
    let host = net::interface_addresses().context("the host's interfaces cannot be read")?;
    let secret = match turn.secret.expose() {
        "" => (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect(),
        set => set.to_owned(),
    };
    let issuer = Issuer::new(&secret);
    let (bind_v4, bind_v6) = binds(turn, &external);
    let servers = ice_servers(turn, &external, &issuer);
    let count = |setting: u32| usize::try_from(setting).unwrap_or(usize::MAX);
    let own_ips = host.iter().chain(&external).copied().chain(advertised.iter().map(|one| one.ip)).collect();
    let settings = Settings {
        realm: turn.realm.clone(),
        issuer,
        users: turn.users.iter().map(|(name, password)| (name.to_owned(), password.expose().to_owned())).collect(),
        external,
        bind_v4,
        bind_v6,
        ports: turn.relay_port_min..=turn.relay_port_max,
        allocations: count(turn.allocations),
        user_allocations: turn.user_allocations,
        allocation_kbps: turn.allocation_kbps,
        user_kbps: turn.user_kbps,
        lifetime: Duration::from_secs(turn.lifetime_s.into()),
        most_lifetime: Duration::from_secs(turn.max_lifetime_s.into()),
        policy: Policy {
            deny: turn.deny_peers.clone(),
            allow: turn.allow_peers.clone(),
            own_media: media.iter().map(|socket| reached(*socket, &host, bind_v4, bind_v6)).collect(),
            own_ips,
        },
    };
    let tls = match turn.tls_listen.as_slice() {
        [] => None,
        listen => {
            let tls =
                Tls::load(Path::new(&turn.tls_cert), Path::new(&turn.tls_key)).context("turn.tls_cert and turn.tls_key")?;
            Some((tls, bind_all(listen, "turn.tls_listen", "TCP", shell::bind_tcp)?))
        }
    };
    tracing::info!(listen = ?turn.listen, tls_listen = ?turn.tls_listen, relayed = ?settings.external, "STUN and TURN");
    let handle = shell::start(Start {
        settings,
        udp: bind_all(&turn.listen, "turn.listen", "UDP", shell::bind_udp)?,
        tcp: bind_all(&turn.listen, "turn.listen", "TCP", shell::bind_tcp)?,
        tls,
        connections: count(turn.connections),
        address_connections: count(turn.address_connections),
    })?;
    Ok(Some((handle, servers)))
}

fn bind_all<T>(
    listen: &[SocketAddr],
    key: &str,
    kind: &str,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let bound = |addr: &SocketAddr| {
        let bound = bind(*addr);
        bound.with_context(|| format!("{key}: {kind} {addr} cannot be bound; is another server running? `weir doctor` tells"))
    };
    listen.iter().map(bound).collect()
}

/// The addresses of relayed packets as peers see them, one for each family.
fn external(turn: &Turn, advertised: &[Advertised]) -> Vec<IpAddr> {
    let known: Vec<IpAddr> = match turn.advertise.as_slice() {
        [] => advertised.iter().map(|one| one.ip).collect(),
        set => set.to_vec(),
    };
    let of = |is_v4: bool| known.iter().copied().find(|ip| ip.is_ipv4() == is_v4);
    of(true).into_iter().chain(of(false)).collect()
}

/// Where relayed addresses are bound: where clients are heard, unless peers could not be reached from there.
fn binds(turn: &Turn, external: &[IpAddr]) -> (Ipv4Addr, Ipv6Addr) {
    let local_only = external.iter().all(IpAddr::is_loopback);
    let heard: Vec<IpAddr> = turn.listen.iter().chain(&turn.tls_listen).map(SocketAddr::ip).collect();
    let mut usable = heard.iter().filter(|ip| local_only || !ip.is_loopback());
    let v4 = usable.clone().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    let v6 = usable.find_map(|ip| match ip {
        IpAddr::V6(ip) => Some(*ip),
        IpAddr::V4(_) => None,
    });
    (v4.unwrap_or(Ipv4Addr::UNSPECIFIED), v6.unwrap_or(Ipv6Addr::UNSPECIFIED))
}

/// How a relayed address reaches a media socket: as it is told, or past the NAT that stands in front of this host.
fn reached(socket: MediaSocket, host: &[IpAddr], bind_v4: Ipv4Addr, bind_v6: Ipv6Addr) -> Own {
    let MediaSocket { told, bound } = socket;
    let ip = match (bound.ip(), told.ip()) {
        (ip, _) if !ip.is_unspecified() => ip,
        (_, ip) if host.contains(&ip) => ip,
        (_, IpAddr::V4(_)) if bind_v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        (_, IpAddr::V4(_)) => bind_v4.into(),
        (_, IpAddr::V6(_)) if bind_v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        (_, IpAddr::V6(_)) => bind_v6.into(),
    };
    Own { told, at: SocketAddr::new(ip, bound.port()) }
}

/// The URLs of RFC 7064 and RFC 7065.
fn ice_servers(turn: &Turn, external: &[IpAddr], issuer: &Issuer) -> IceServers {
    let heard = |ip: &&IpAddr| turn.listen.iter().any(|addr| addr.is_ipv4() == ip.is_ipv4());
    let bare = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let hosts: Vec<String> = match turn.host.as_str() {
        "" => external.iter().filter(heard).map(bare).collect(),
        name => vec![name.to_owned()],
    };
    let ports = |listen: &[SocketAddr]| listen.iter().map(SocketAddr::port).collect::<BTreeSet<_>>();
    let urls = |scheme: &str, ports: BTreeSet<u16>, rest: &str| {
        let of = |host: &String| ports.iter().map(|port| format!("{scheme}:{host}:{port}{rest}")).collect::<Vec<_>>();
        hosts.iter().flat_map(of).collect::<Vec<_>>()
    };
    let (plain, tls) = (ports(&turn.listen), ports(&turn.tls_listen));
    IceServers {
        stun: urls("stun", plain.clone(), ""),
        // The cheapest first.
        turn: [
            urls("turn", plain.clone(), "?transport=udp"),
            urls("turn", plain, "?transport=tcp"),
            urls("turns", tls, "?transport=tcp"),
        ]
        .concat(),
        credentials: Some((issuer.clone(), Duration::from_secs(turn.credential_ttl_s.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(keys: &[(&str, &str)]) -> Turn {
        let mut layers = crate::config::Layers::default();
        for (key, value) in keys {
            layers.flag("--set", &format!("turn.{key}"), value);
        }
        layers.load().expect("sound").config.turn
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn members_are_told_every_way_in_the_cheapest_first() {
        let issuer = Issuer::new("secret");
        let both = turn(&[("listen", "0.0.0.0:3478,[::]:3478")]);
        let told = ice_servers(&both, &ips(&["198.51.100.7", "2001:db8::7"]), &issuer);
        assert_eq!(told.stun, ["stun:198.51.100.7:3478", "stun:[2001:db8::7]:3478"]);
        assert_eq!(told.turn.len(), 4);
        let named = turn(&[
            ("listen", "0.0.0.0:3478"),
            ("tls_listen", "0.0.0.0:443"),
            ("host", "turn.example.org"),
            ("tls_cert", "a"),
            ("tls_key", "b"),
        ]);
        let told = ice_servers(&named, &ips(&["198.51.100.7"]), &issuer);
        assert_eq!(
            told.turn,
            [
                "turn:turn.example.org:3478?transport=udp",
                "turn:turn.example.org:3478?transport=tcp",
                "turns:turn.example.org:443?transport=tcp"
            ]
        );
        // Nobody hears IPv6 there.
        assert_eq!(ice_servers(&turn(&[("listen", "0.0.0.0:3478")]), &ips(&["2001:db8::7"]), &issuer).turn, [""; 0]);
    }

    #[test]
    fn media_is_reached_past_the_nat_in_front_of_it() {
        let socket =
            |told: &str, bound: &str| MediaSocket { told: told.parse().expect("told"), bound: bound.parse().expect("bound") };
        let any = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let host = ips(&["127.0.0.1", "10.0.0.5", "198.51.100.9"]);
        for (told, bound, bind, expected) in [
            ("198.51.100.9:7882", "0.0.0.0:7882", any, "198.51.100.9:7882"),
            ("198.51.100.7:40000", "0.0.0.0:7882", any, "127.0.0.1:7882"),
            ("198.51.100.7:40000", "10.0.0.5:7882", any, "10.0.0.5:7882"),
            ("198.51.100.7:40000", "0.0.0.0:7882", (Ipv4Addr::new(10, 0, 0, 5), any.1), "10.0.0.5:7882"),
            ("198.51.100.7:40000", "[::]:7882", any, "127.0.0.1:7882"),
        ] {
            let own = reached(socket(told, bound), &host, bind.0, bind.1);
            assert_eq!(own.at.to_string(), expected, "{told} {bound}");
        }
    }

    #[test]
    fn relayed_addresses_are_bound_where_peers_can_be_reached() {
        let behind_a_proxy = turn(&[("listen", "127.0.0.1:3478")]);
        assert_eq!(binds(&behind_a_proxy, &ips(&["198.51.100.7"])).0, Ipv4Addr::UNSPECIFIED);
        assert_eq!(binds(&behind_a_proxy, &ips(&["127.0.0.1"])).0, Ipv4Addr::LOCALHOST);
        let one = turn(&[("listen", "10.0.0.5:3478")]);
        assert_eq!(binds(&one, &ips(&["198.51.100.7"])).0, Ipv4Addr::new(10, 0, 0, 5));
    }
}
