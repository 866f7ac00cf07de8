//! `weir dev`: a node for trying things out. Loopback only, a key that dies with the process, tokens for whoever asks.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::ExitCode;

use rand::RngExt;

use super::flags::ConfigFlags;
use super::{logging, run, say};
use crate::config::{Config, Keys, Layers, Loaded, Secret, Source};

/// How many ports are tried from the wanted one up.
const PORTS_TRIED: u16 = 200;

/// Where `--port 0` looks: below the ports that systems give to outgoing connections.
const ANYWHERE: std::ops::Range<u16> = 10_000..30_000;

/// Flags of `weir dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Port of the web app; 0 takes any free ports, for media too. Without it the first free port from 8080 up
    #[arg(long, short, value_name = "PORT")]
    port: Option<u16>,
    #[command(flatten)]
    flags: ConfigFlags,
}

const EXAMPLES: &str = "\
It binds loopback, draws a key that is thrown away at the end, and lets everybody on this machine in. \
Ports that are taken are stepped over. Browsers give camera and microphone to localhost without HTTPS.

Examples:
  weir dev                      then open the address it prints in two tabs
  weir dev --port 9000
  weir dev --shards 2 --log weir=debug";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut layers = Layers::default();
    for (key, value) in [
        ("http.listen", format!("127.0.0.1:{}", args.port.unwrap_or(8080))),
        ("media.listen_ip", "127.0.0.1".to_owned()),
        ("media.advertise", "127.0.0.1".to_owned()),
        ("log.filter", "warn,weir=info,rtc_dtls=error,rtc_sctp=off".to_owned()),
    ] {
        layers.given(Source::Dev, key, &value);
    }
    let mut loaded = args.flags.load_over(layers)?;
    let config = &mut loaded.config;
    if let Some(port) = args.port {
        config.http.listen.set_port(port);
    }
    for (key, ip) in [
        ("http.listen", config.http.listen.ip()),
        ("admin.listen", config.admin.listen.ip()),
        ("media.listen_ip", config.media.listen_ip),
    ] {
        anyhow::ensure!(
            ip.is_loopback(),
            "{key} is {ip}, but `weir dev` lets everybody in and so stays on loopback; use `weir serve` to be reached from outside"
        );
    }
    step_over_taken_ports(&mut loaded, args.port);
    let mut config = loaded.config;
    config.dev = true;
    config.auth.keys = throwaway_key();
    logging::start(&config.log)?;
    let banner = banner(&config);
    run::until_stopped(config, move || say(banner))
}

/// One key that nobody knows, for the node to sign the tokens that it hands out.
fn throwaway_key() -> Keys {
    let secret: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    std::iter::once(("dev".to_owned(), Secret::new(secret))).collect()
}

/// Moves ports that nobody asked for to the next free ones, so that a second `weir dev` beside a first just works. Where any
/// free one will do, the search begins anywhere: nodes that start at the same moment would race for the usual ones.
fn step_over_taken_ports(loaded: &mut Loaded, asked: Option<u16>) {
    let chosen = |key: &str| loaded.sources.get(key).is_none_or(|source| *source == Source::Dev);
    let (move_http, move_admin) = (chosen("http.listen") && asked.is_none(), chosen("admin.listen"));
    let (move_udp, move_tcp) = (chosen("media.udp_port"), chosen("media.tcp_port"));
    let from = |usual: u16| if asked == Some(0) || usual == 0 { rand::rng().random_range(ANYWHERE) } else { usual };
    let config = &mut loaded.config;
    let shards = u16::from(config.media.shard_count());
    let http = config.http.listen.port();
    if move_http || http == 0 {
        config.http.listen.set_port(free_from(from(http), tcp_is_free));
    }
    let (http, admin) = (config.http.listen.port(), config.admin.listen.port());
    if move_admin || admin == 0 {
        config.admin.listen.set_port(free_from(from(admin), |port| port != http && tcp_is_free(port)));
    }
    let admin = config.admin.listen.port();
    if move_udp {
        let all_free = |first: u16| (0..shards).all(|index| first.checked_add(index).is_some_and(udp_is_free));
        config.media.udp_port = free_from(from(config.media.udp_port), all_free);
    }
    if move_tcp && config.media.tcp_port != 0 {
        let is_free = |port: u16| ![http, admin].contains(&port) && tcp_is_free(port);
        config.media.tcp_port = free_from(from(config.media.tcp_port), is_free);
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

/// What a person needs to see: the address, large and clear.
fn banner(config: &Config) -> String {
    let (bold, dim, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let (http, admin) = (config.http.listen, config.admin.listen);
    format!(
        "\n  {bold}weir is running.{plain} Open this in two browser tabs:\n\n      \
         {bold}http://localhost:{}/{plain}\n\n  \
         {dim}Only this machine can reach it. Rooms and metrics: http://{admin}/metrics{plain}\n  \
         {dim}Ctrl-C stops it.{plain}\n",
        http.port()
    )
}
