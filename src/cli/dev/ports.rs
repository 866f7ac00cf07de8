//! Which ports a node of `weir dev` takes: those that nobody has. Part of `cli::dev`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use rand::RngExt;

use crate::config::{Loaded, Source};

/// How many ports are tried from the wanted one up.
const PORTS_TRIED: u16 = 200;

/// Where `--port 0` looks: below the ports that systems give to outgoing connections.
const ANYWHERE: std::ops::Range<u16> = 10_000..30_000;

/// Ports that nodes of this process will bind.
#[derive(Debug, Default)]
pub(super) struct Taken {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
}

impl Taken {
    /// Moves ports that nobody asked for to the next free ones, so that a second `weir dev` beside a first just works. Where any
    /// free one will do, the search begins anywhere: nodes that start at the same moment would race for the usual ones.
    /// `index` counts the nodes of one process: further ones take the ports behind the first's.
    pub(super) fn step_over(&mut self, loaded: &mut Loaded, asked: Option<u16>, index: u16) {
        let chosen = |key: &str| loaded.sources.get(key).is_none_or(|source| *source == Source::Dev);
        let (move_http, move_admin) = (chosen("http.listen") && asked.is_none(), chosen("admin.listen"));
        let (move_udp, move_tcp) = (chosen("media.udp_port"), chosen("media.tcp_port"));
        let further = index > 0;
        let from = |usual: u16| {
            if asked == Some(0) || usual == 0 { rand::rng().random_range(ANYWHERE) } else { usual.saturating_add(index) }
        };
        let config = &mut loaded.config;
        let shards = u16::from(config.media.shard_count());
        let http = config.http.listen.port();
        if move_http || http == 0 || further {
            config.http.listen.set_port(self.tcp(from(http)));
        }
        self.tcp.insert(config.http.listen.port());
        let admin = config.admin.listen.port();
        if move_admin || admin == 0 || further {
            config.admin.listen.set_port(self.tcp(from(admin)));
        }
        self.tcp.insert(config.admin.listen.port());
        if move_udp || further {
            let is_free = |port: u16| !self.udp.contains(&port) && udp_is_free(port);
            let all_free = |first: u16| (0..shards).all(|shard| first.checked_add(shard).is_some_and(is_free));
            config.media.udp_port = free_from(from(config.media.udp_port), all_free);
        }
        self.udp.extend((0..shards).map(|shard| config.media.udp_port.saturating_add(shard)));
        if (move_tcp || further) && config.media.tcp_port != 0 {
            config.media.tcp_port = self.tcp(from(config.media.tcp_port));
        }
        self.tcp.insert(config.media.tcp_port);
        if chosen("turn.listen") || further {
            for listen in &mut config.turn.listen {
                // Both kinds of one number, as members are told one.
                let both = |port: u16| {
                    !self.tcp.contains(&port) && !self.udp.contains(&port) && tcp_is_free(port) && udp_is_free(port)
                };
                listen.set_port(free_from(from(listen.port()), both));
            }
        }
        for listen in &config.turn.listen {
            self.tcp.insert(listen.port());
            self.udp.insert(listen.port());
        }
    }

    /// A further TCP port from `wanted` up.
    pub(super) fn another_tcp(&mut self, wanted: u16) -> u16 {
        let port = self.tcp(wanted);
        self.tcp.insert(port);
        port
    }

    fn tcp(&self, wanted: u16) -> u16 {
        free_from(wanted, |port| !self.tcp.contains(&port) && tcp_is_free(port))
    }
}

/// The first port from `wanted` up that is free; `wanted` itself if none is, so that binding it tells what is wrong.
fn free_from(wanted: u16, is_free: impl Fn(u16) -> bool) -> u16 {
    (wanted..=wanted.saturating_add(PORTS_TRIED)).find(|port| is_free(*port)).unwrap_or(wanted)
}

fn tcp_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn udp_is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
