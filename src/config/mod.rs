//! What a node is told at its start: one typed tree, filled from a TOML file, `WEIR_…` variables and flags, later ones
//! winning. Owns every key, its default, its meaning and the rules between keys. Does not act on any of it: `node` reads the
//! tree as plain data, `cli` loads and prints it.

mod layers;
mod print;
mod setting;
mod turn;
mod value;

pub use layers::{Layers, Loaded, Mistake, Mistakes, Source};
pub use print::effective;
pub use turn::Turn;
pub use value::{Advertised, AppKey, Keys, LogFormat, Origin, Secret};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::cluster::Role;
use crate::id::{NodeId, RegionId};
use setting::section;

/// A shard's index is one byte, and the shard of the links has one too.
const MAX_SHARDS: u32 = 254;

/// A shorter secret could be guessed: HS256 wants at least the size of its hash (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

section! {
    /// Who this node is.
    Node as "node" {
        /// Name of this node in logs, metrics and to other nodes. Default: the host's name.
        id: NodeId = NodeId::new(host_name()),
        /// The place it stands in; nodes of one region are near to each other.
        region: RegionId = RegionId::new("local"),
        /// What it does: "edge" talks to browsers, "core" forwards between nodes, "both" does both.
        role: Role = Role::Both,
        /// How long a stop waits for members and other nodes to have moved away, in milliseconds.
        drain_ms: u32 = 3_000,
    }
}

section! {
    /// The public listener: web app, room protocol.
    Http as "http" {
        /// Address and port.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080),
        /// Web origins that may open the room protocol, such as "https://meet.example.org". Empty: the page's own host only.
        origins: Vec<Origin> = Vec::new(),
        /// Where browsers reach this node, such as "https://fra.example.org". Members of other nodes are told, so that they can come
        /// here when theirs fails. Empty: they are not.
        url: String = String::new(),
    }
}

section! {
    /// Links to other nodes. Without a topology document this node stands alone.
    Cascade as "cascade" {
        /// The topology document; see `weir topology --help`. Watched: a copy with a higher epoch is taken over at once.
        topology: String = String::new(),
        /// Address and UDP port where other nodes reach this one. Port 0: any, for nodes that nobody needs to dial.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443),
        /// What other nodes dial, as "host:port". Empty: as the topology document lists this node.
        advertise: String = String::new(),
        /// Directory of ca.pem, NODE.pem and NODE-key.pem, as `weir certs` makes them. Watched: renewed ones are taken over.
        certs: String = "certs".to_owned(),
    }
}

section! {
    /// The operator's listener: health, metrics, rooms. It asks nobody for a password, so keep it off public addresses.
    Admin as "admin" {
        /// Address and port.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090),
    }
}

section! {
    /// Sockets and shards that carry the packets.
    Media as "media" {
        /// Address the media sockets bind.
        listen_ip: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        /// UDP port of the first shard; each further shard takes the next one.
        udp_port: u16 = 7882,
        /// Port for ICE over TCP, for networks that let no UDP out. 0: off.
        tcp_port: u16 = 7881,
        /// Media threads. 0: one per core.
        shards: u32 = 0,
        /// Addresses told to browsers: "203.0.113.7", or "203.0.113.7:40000" where a NAT maps the first shard's UDP port to 40000
        /// (and the next shards' to the ports after it). Empty: the addresses of this host's interfaces.
        advertise: Vec<Advertised> = Vec::new(),
        /// How long a packet may wait for others to the same member, in milliseconds. More saves CPU and adds delay. 0: not at all.
        gather_ms: u32 = 0,
        /// Video and audio sent to one member at most, in megabits per second.
        member_budget_mbps: u32 = 20,
        /// Microphones of one room that are passed on at a time; two more where they spoke within the last seconds. Rooms with no
        /// more than these are passed on whole. 0: always all.
        loudest: u32 = 3,
        /// A room takes a further shard when its shards have this many of its members each.
        room_members_per_shard: u32 = 50,
    }
}

section! {
    /// PeerJS clients, who find each other by way of this node at the path /peerjs/ of the public listener. Their pages must be of
    /// http.origins, as with the room protocol.
    Peerjs as "peerjs" {
        /// Apps that are served, each by the `key` that its pages give to PeerJS. It keeps apps apart and is no secret: every page
        /// holds it. Empty: nobody is served.
        keys: Vec<AppKey> = Vec::new(),
        /// Those of them whose pages may list everybody who is there, as PeerServer's allow_discovery does for all.
        discovery: Vec<AppKey> = Vec::new(),
        /// How many of limits.connections may be those of PeerJS clients, who need no token: the others are kept for rooms.
        connections: u32 = 5_000,
    }
}

section! {
    /// What one node takes on before it refuses more.
    Limits as "limits" {
        /// Rooms at a time.
        rooms: u32 = 10_000,
        /// Members at a time, over all rooms.
        members: u32 = 10_000,
        /// Members of one room. Everybody is told of everybody, so work grows with its square.
        room_members: u32 = 1_000,
        /// Viewers of one room who come by WHEP with the same token, or with others of its identity.
        token_viewers: u32 = 250,
        /// Tracks one member may publish.
        member_tracks: u32 = 12,
        /// A media thread that works for so much of its time, in percent, takes no newcomers; beyond, everybody's pictures get smaller,
        /// the largest first. 0: never.
        busy_percent: u32 = 85,
        /// Open connections to the public listener, those without a session included.
        connections: u32 = 15_000,
    }
}

section! {
    /// Members' sessions.
    Session as "session" {
        /// How long a member is kept after its WebSocket is lost, in milliseconds.
        resume_ms: u32 = 30_000,
        /// How often a client is asked to ping, in milliseconds.
        ping_ms: u32 = 5_000,
        /// How long a new WebSocket may take to say hello, in milliseconds.
        hello_ms: u32 = 5_000,
    }
}

section! {
    /// Who may join.
    Auth as "auth" {
        /// API keys and the secrets that sign their tokens: `keys.NAME = "SECRET"`.
        keys: Keys = Keys::default(),
        /// How far ahead a token for joining may expire at most, in seconds.
        max_ttl_s: u32 = 600,
    }
}

section! {
    /// What is written to standard error.
    Log as "log" {
        /// "text" for people, "json" for machines.
        format: LogFormat = LogFormat::Text,
        /// Which events: a level, or `tracing` directives such as "info,weir::edge=debug". By default without the handshake
        /// library's warnings, which every browser's join calls forth.
        filter: String = "info,rtc_dtls=error,rtc_sctp=off".to_owned(),
    }
}

setting::tree! {
    /// Everything a node is told at its start.
    Config {
        node: Node,
        http: Http,
        admin: Admin,
        cascade: Cascade,
        media: Media,
        turn: Turn,
        peerjs: Peerjs,
        limits: Limits,
        session: Session,
        auth: Auth,
        log: Log,
    }
}

impl Media {
    /// How many shards run: as configured, or one per core.
    pub fn shard_count(&self) -> u8 {
        let wanted = match self.shards {
            0 => std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
            set => set,
        };
        u8::try_from(wanted.min(MAX_SHARDS)).unwrap_or(u8::MAX)
    }
}

impl Config {
    /// What types cannot say: rules on a value and between values, as (key, what is wrong and the mend).
    fn broken_rules(&self) -> Vec<(String, String)> {
        let mut broken = Vec::new();
        let mut rule = |holds: bool, key: &str, what: String| {
            if !holds {
                broken.push((key.to_owned(), what));
            }
        };
        let media = &self.media;
        rule(media.udp_port != 0, "media.udp_port", "must not be 0: browsers are told this port, so it has to be fixed".into());
        rule(media.shards <= MAX_SHARDS, "media.shards", format!("at most {MAX_SHARDS}"));
        rule(
            u32::from(media.udp_port) + u32::from(media.shard_count()) <= 65_536,
            "media.udp_port",
            format!("{} shards need that many ports from here up; choose a lower port", media.shard_count()),
        );
        for mapped in &media.advertise {
            rule(
                mapped.port.is_none_or(|port| u32::from(port) + u32::from(media.shard_count()) <= 65_536),
                "media.advertise",
                format!("{mapped}: {} shards need that many ports from there up", media.shard_count()),
            );
        }
        rule(media.gather_ms <= 20, "media.gather_ms", "at most 20: more delay than that is heard".into());
        rule(media.member_budget_mbps > 0, "media.member_budget_mbps", "must be at least 1".into());
        rule(media.loudest <= 16, "media.loudest", "at most 16: nobody can listen to more; 0 passes all on".into());
        rule(media.room_members_per_shard > 0, "media.room_members_per_shard", "must be at least 1".into());
        for (key, limit) in [
            ("limits.rooms", self.limits.rooms),
            ("limits.members", self.limits.members),
            ("limits.room_members", self.limits.room_members),
            ("limits.token_viewers", self.limits.token_viewers),
            ("limits.member_tracks", self.limits.member_tracks),
            ("limits.connections", self.limits.connections),
            ("peerjs.connections", self.peerjs.connections),
            ("session.ping_ms", self.session.ping_ms),
            ("session.hello_ms", self.session.hello_ms),
            ("auth.max_ttl_s", self.auth.max_ttl_s),
        ] {
            rule(limit > 0, key, "must be at least 1".into());
        }
        rule(
            self.http.listen != self.admin.listen,
            "admin.listen",
            "is the public listener's address (http.listen) too".into(),
        );
        for key in self.peerjs.discovery.iter().filter(|key| !self.peerjs.keys.contains(key)) {
            rule(false, "peerjs.discovery", format!("{key} is none of peerjs.keys; add it there too"));
        }
        for (name, secret) in self.auth.keys.iter() {
            let length = secret.expose().len();
            rule(
                length >= MIN_SECRET_BYTES,
                &format!("auth.keys.{name}"),
                format!(
                    "the secret has {length} bytes, too few to be safe; at least {MIN_SECRET_BYTES} are needed. \
                     Make one with: weir token --generate-key"
                ),
            );
        }
        let media_ports = u32::from(media.udp_port)..u32::from(media.udp_port) + u32::from(media.shard_count());
        broken.extend(self.turn.broken_rules(media_ports));
        if let Err(why) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            let what = format!("not a filter: {why}; write a level such as \"info\", or \"info,weir::edge=debug\"");
            broken.push(("log.filter".to_owned(), what));
        }
        broken
    }
}

/// The host's name as far as it is fit for one; otherwise a fresh name.
fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = told.unwrap_or_default().chars().filter(fit).take(64).collect();
    if name.is_empty() || name == "localhost" { format!("node-{:08x}", rand::random::<u32>()) } else { name }
}

#[cfg(test)]
mod tests;
