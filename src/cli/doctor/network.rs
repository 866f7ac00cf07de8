//! Ports, advertised addresses, socket buffers and offload: whether browsers' packets can come in and go out.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::Finding;
use crate::config::{Advertised, Config};
use crate::net::{Scope, can_bind_tcp, can_bind_udp, interface_addresses, scope};
use crate::shard::SOCKET_BUFFER;

/// How long a node on this host may take to answer.
const ANSWER: Duration = Duration::from_millis(500);

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let host = interface_addresses().unwrap_or_default();
    let mut findings = ports(config, node_answers(config.admin.listen));
    findings.extend(advertised(config, &host));
    findings.push(https(config));
    findings.push(admin(config));
    findings.extend(buffers());
    findings.push(offload());
    findings
}

/// Whether a node runs on this host already, by its operator's listener.
fn node_answers(admin: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        // A stranger may have much to say.
        stream.take(4_096).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Ok(["ready\n", "starting\n", "draining\n"].iter().any(|word| answer.ends_with(&format!("\r\n\r\n{word}"))))
    };
    ask().unwrap_or(false)
}

/// Every port of the configuration, tried by binding it. A node that runs already holds its own.
fn ports(config: &Config, running: bool) -> Vec<Finding> {
    let not_bound = |check, addr, kind, why: io::Error, breaks, key| match why.kind() {
        io::ErrorKind::AddrInUse if running => {
            Finding::ok(check, format!("{kind} {addr} is held, it seems by the node that runs"))
        }
        _ => not_bound(check, addr, kind, &why, breaks, key),
    };
    let media = &config.media;
    let mut findings = Vec::new();
    let udp: Vec<_> = (0..media.shard_count()).map(|index| media.udp_port.saturating_add(index.into())).collect();
    let taken = udp.iter().find_map(|port| {
        let addr = SocketAddr::new(media.listen_ip, *port);
        Some(not_bound("udp ports", addr, "UDP", can_bind_udp(addr).err()?, "media does not flow", "media.udp_port"))
    });
    let (first, last) = (udp.first().copied().unwrap_or_default(), udp.last().copied().unwrap_or_default());
    let range = if first == last { first.to_string() } else { format!("{first} to {last}") };
    let free = format!("{range} on {} are free, one for each shard; the firewall must let them in", media.listen_ip);
    findings.push(taken.unwrap_or_else(|| Finding::ok("udp ports", free)));
    findings.extend(turn(config).into_iter().map(|(addr, kind, key, bound)| match bound {
        Ok(()) => Finding::ok("turn ports", format!("{kind} {addr} is free; the firewall must let it in")),
        Err(why) => not_bound("turn ports", addr, kind, why, "a node does not start", key),
    }));
    let tcp = (media.tcp_port != 0).then_some(SocketAddr::new(media.listen_ip, media.tcp_port));
    for (check, addr, breaks, key) in [
        ("ice-tcp port", tcp, "members behind firewalls without UDP cannot join", "media.tcp_port"),
        ("public listener", Some(config.http.listen), "nobody can open the page or join", "http.listen"),
        ("admin listener", Some(config.admin.listen), "no health checks, no metrics", "admin.listen"),
    ] {
        findings.push(match addr {
            None => Finding::warn(check, "off", breaks, format!("set {key}")),
            Some(addr) => match can_bind_tcp(addr) {
                Ok(()) => Finding::ok(check, format!("TCP {addr} is free")),
                Err(why) => not_bound(check, addr, "TCP", why, breaks, key),
            },
        });
    }
    findings
}

/// Where clients of the STUN and TURN server are heard, and whether that can be bound.
fn turn(config: &Config) -> Vec<(SocketAddr, &'static str, &'static str, io::Result<()>)> {
    let turn = &config.turn;
    let udp = turn.listen.iter().map(|addr| (*addr, "UDP", "turn.listen", can_bind_udp(*addr)));
    let tcp = turn.listen.iter().map(|addr| (*addr, "TCP", "turn.listen", can_bind_tcp(*addr)));
    let tls = turn.tls_listen.iter().map(|addr| (*addr, "TCP", "turn.tls_listen", can_bind_tcp(*addr)));
    udp.chain(tcp).chain(tls).collect()
}

fn not_bound(check: &'static str, addr: SocketAddr, kind: &str, why: &io::Error, breaks: &str, key: &str) -> Finding {
    let (found, mend) = match why.kind() {
        io::ErrorKind::AddrInUse => {
            let look = if kind == "UDP" { "ss -ulnp" } else { "ss -tlnp" };
            ("is taken".to_owned(), format!("stop what holds it ({look} tells), or set {key}"))
        }
        io::ErrorKind::AddrNotAvailable => (
            "cannot be bound: this host does not have that address".to_owned(),
            format!("set {key} to an address of this host, or to 0.0.0.0"),
        ),
        io::ErrorKind::PermissionDenied => (
            "may not be bound by this user".to_owned(),
            format!("choose a port from 1024 up ({key}), or grant CAP_NET_BIND_SERVICE"),
        ),
        _ => (format!("cannot be bound: {why}"), format!("set {key}")),
    };
    Finding::fail(check, format!("{kind} {addr} {found}"), breaks, mend)
}

/// What browsers will be told, compared with what this host has.
fn advertised(config: &Config, host: &[IpAddr]) -> Vec<Finding> {
    const CHECK: &str = "advertised addresses";
    let media = &config.media;
    let local_only = scope(config.http.listen.ip()) == Scope::Loopback;
    let told: Vec<Advertised> = match (media.advertise.is_empty(), media.listen_ip.is_unspecified()) {
        (false, _) => media.advertise.clone(),
        (true, false) => vec![Advertised { ip: media.listen_ip, port: None }],
        (true, true) => {
            let usable = host.iter().filter(|ip| !ip.is_loopback() && (ip.is_ipv4() || media.listen_ip.is_ipv6()));
            usable.map(|ip| Advertised { ip: *ip, port: None }).collect()
        }
    };
    if told.is_empty() {
        return vec![Finding::fail(
            CHECK,
            "none: no interface has an address other than loopback",
            "a node does not start",
            "set media.advertise to the address that browsers should use",
        )];
    }
    let mut findings: Vec<_> = told.iter().filter_map(|one| advertised_one(CHECK, *one, config, host, local_only)).collect();
    let scopes: Vec<_> = told.iter().map(|one| scope(one.ip)).collect();
    if !local_only && !scopes.contains(&Scope::Public) && scopes.contains(&Scope::Private) {
        findings.push(Finding::warn(
            CHECK,
            format!("{}: private only", join(&told)),
            "members outside this network see and hear nothing",
            "if there are any: media.advertise = [\"the public address\"], with the UDP ports forwarded to this host",
        ));
    }
    if findings.is_empty() {
        let origin = if media.advertise.is_empty() { "from the interfaces" } else { "as configured" };
        findings.push(Finding::ok(CHECK, format!("{}, {origin}", join(&told))));
    }
    findings
}

fn advertised_one(check: &'static str, one: Advertised, config: &Config, host: &[IpAddr], local_only: bool) -> Option<Finding> {
    let media = &config.media;
    let family_differs = !media.listen_ip.is_unspecified() && media.listen_ip.is_ipv4() != one.ip.is_ipv4();
    let v6_unheard = media.listen_ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && one.ip.is_ipv6();
    if family_differs || v6_unheard {
        let mend = "set media.listen_ip to \"::\", or take the address out of media.advertise";
        let found = format!("{one} is advertised, but media.listen_ip {} does not hear it", media.listen_ip);
        return Some(Finding::fail(check, found, "members that choose it see and hear nothing", mend));
    }
    match scope(one.ip) {
        // Test networks use documentation addresses; what an interface has is an address.
        Scope::Unusable if !host.contains(&one.ip) => Some(Finding::fail(
            check,
            format!("{one} is no host's address (unspecified, multicast, or reserved for documentation)"),
            "members see and hear nothing",
            "set media.advertise to an address that browsers can reach",
        )),
        Scope::Loopback | Scope::LinkLocal if !local_only => Some(Finding::fail(
            check,
            format!("{one} is advertised while {} serves other hosts", config.http.listen),
            "members on other hosts see and hear nothing",
            "set media.advertise to an address that they can reach",
        )),
        _ if one.port.is_some() || host.contains(&one.ip) => None,
        _ => Some(Finding::warn(
            check,
            format!("{one} is on no interface of this host"),
            "nothing, if a NAT forwards it here port by port, as clouds do; otherwise members see and hear nothing",
            format!(
                "forward UDP from {} to this host, or write the mapped port: \"{}:PORT\"",
                one.udp(media.udp_port, 0),
                one.ip
            ),
        )),
    }
}

/// Browsers give a camera to pages over HTTPS and from localhost only.
fn https(config: &Config) -> Finding {
    let listen = config.http.listen;
    if scope(listen.ip()) == Scope::Loopback {
        return Finding::ok("https", format!("{listen} is for this host: a browser here, or a proxy that adds HTTPS"));
    }
    Finding::warn(
        "https",
        format!("{listen} speaks plain HTTP to other hosts"),
        "browsers give no camera or microphone to a page without HTTPS, and tokens could be read on the way",
        "put a proxy with a certificate in front, and set http.listen to loopback if it runs here",
    )
}

fn admin(config: &Config) -> Finding {
    let listen = config.admin.listen;
    if scope(listen.ip()) == Scope::Loopback {
        return Finding::ok("admin access", format!("{listen} is reachable from this host only"));
    }
    Finding::warn(
        "admin access",
        format!("{listen} is reachable from other hosts"),
        "whoever reaches it can list rooms and remove members: it asks for no password",
        "set admin.listen to loopback, or keep others out by the firewall",
    )
}

/// Whether the kernel grants the buffers that a shard asks for.
fn buffers() -> Vec<Finding> {
    let socket = match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(socket) => socket,
        Err(why) => {
            return vec![Finding::fail("udp buffers", format!("no socket: {why}"), "media does not flow", "see the error")];
        }
    };
    let socket = socket2::SockRef::from(&socket);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    [
        ("udp receive buffer", socket.recv_buffer_size(), "net.core.rmem_max"),
        ("udp send buffer", socket.send_buffer_size(), "net.core.wmem_max"),
    ]
    .map(|(check, granted, key)| {
        // Linux reports the double of what it grants, to account for its own bookkeeping (socket(7)).
        let doubled = if cfg!(target_os = "linux") { 2 } else { 1 };
        let granted = granted.unwrap_or_default() / doubled;
        if granted >= SOCKET_BUFFER {
            return Finding::ok(check, format!("{} KiB", granted / 1024));
        }
        Finding::warn(
            check,
            format!("{} KiB granted of {} KiB asked", granted / 1024, SOCKET_BUFFER / 1024),
            "packets are lost in bursts, when a thread is busy for some milliseconds",
            format!("sysctl -w {key}={SOCKET_BUFFER}, and the same in /etc/sysctl.d/ to keep it"),
        )
    })
    .into()
}

/// Whether the kernel takes several datagrams in one call.
fn offload() -> Finding {
    let segments = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| quinn_udp::UdpSocketState::new((&socket).into()))
        .map_or(1, |state| state.max_gso_segments());
    if segments > 1 {
        return Finding::ok("send offload (gso)", format!("{segments} datagrams a call"));
    }
    Finding::warn(
        "send offload (gso)",
        "the kernel has none",
        "sending costs two to three times the CPU; calls work",
        "run on Linux 4.18 or later, outside sandboxes that hide it",
    )
}

fn join(told: &[Advertised]) -> String {
    let texts: BTreeSet<_> = told.iter().map(ToString::to_string).collect();
    texts.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn config(advertise: &[&str], listen: &str) -> Config {
        let mut layers = crate::config::Layers::default();
        layers.flag("--advertise", "media.advertise", &advertise.join(","));
        layers.flag("--http-listen", "http.listen", listen);
        layers.load().expect("sound").config
    }

    fn worst(advertise: &[&str], listen: &str, host: &[&str]) -> State {
        let host: Vec<IpAddr> = host.iter().map(|ip| ip.parse().expect("an address")).collect();
        let findings = advertised(&config(advertise, listen), &host);
        findings.iter().map(|finding| finding.state).max().expect("at least one finding")
    }

    #[test]
    fn advertised_addresses_are_judged_by_who_can_reach_them() {
        let public = "0.0.0.0:8080";
        for (advertise, listen, host, expected) in [
            (&["8.8.8.8"][..], public, &["8.8.8.8"][..], State::Ok),
            (&["8.8.8.8"], public, &["10.0.0.1"], State::Warn),
            (&["8.8.8.8:40000"], public, &["10.0.0.1"], State::Ok),
            (&["10.0.0.1"], public, &["10.0.0.1"], State::Warn),
            (&["10.0.0.1", "8.8.8.8:7882"], public, &["10.0.0.1"], State::Ok),
            (&["127.0.0.1"], public, &["127.0.0.1"], State::Fail),
            (&["127.0.0.1"], "127.0.0.1:8080", &["127.0.0.1"], State::Ok),
            (&["203.0.113.7"], public, &[], State::Fail),
            (&["203.0.113.7"], public, &["203.0.113.7"], State::Ok),
            (&["2606:4700::1111"], public, &["2606:4700::1111"], State::Fail),
            (&[], public, &["127.0.0.1"], State::Fail),
            (&[], public, &["127.0.0.1", "8.8.8.8"], State::Ok),
            (&[], public, &["127.0.0.1", "192.168.0.2"], State::Warn),
        ] {
            assert_eq!(worst(advertise, listen, host), expected, "{advertise:?} {listen} {host:?}");
        }
    }

    #[test]
    fn a_taken_port_is_a_failure_that_names_its_key() {
        let held = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let mut config = config(&[], "127.0.0.1:8080");
        config.media.listen_ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        config.media.udp_port = held.local_addr().expect("bound").port();
        config.media.shards = 1;
        let finding = ports(&config, false).into_iter().next().expect("udp comes first");
        assert_eq!((finding.check, finding.state), ("udp ports", State::Fail));
        assert!(finding.found.ends_with("is taken") && finding.mend.contains("media.udp_port"), "{finding:?}");
    }
}
