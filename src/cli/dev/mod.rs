//! `weir dev`: three regions in one process, for trying things out. Loopback only, a key that dies with the process, tokens for
//! whoever asks, and paths between the regions that can be made as bad as one likes.

mod ports;
mod regions;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::flags::ConfigFlags;
use super::{logging, run, say};
use crate::cascade::topology::Topology;
use crate::config::{Config, Keys, Layers, Loaded, Secret, Source};
use crate::id::{NodeId, RegionId};
use crate::impair::Impairment;
use crate::node;
use ports::Taken;
use regions::{Plan, Regions};

/// The regions unless a document names others.
const TOPOLOGY: &str = include_str!("../../../cascade/dev.toml");

/// Regions in one process at most: each is a whole node.
const MOST_REGIONS: usize = 8;

/// Flags of `weir dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Port of the first region's page, the next regions' follow; 0 takes any free ports, for media too. Without it the first free
    /// ones from 8080 up
    #[arg(long, short, value_name = "PORT")]
    port: Option<u16>,
    /// One node that stands alone, without regions
    #[arg(long)]
    single: bool,
    /// Document that names the regions and the links between them [default: three regions, as in cascade/dev.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "single")]
    topology: Option<PathBuf>,
    #[command(flatten)]
    paths: PathFlags,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// How bad the paths between regions are at the start; the dashboard changes them later.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Paths between regions")]
struct PathFlags {
    /// Delay in one direction, in milliseconds; without it half of the round trip that the topology names
    #[arg(long, value_name = "MS")]
    delay_ms: Option<f64>,
    /// Each packet waits up to this much longer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    jitter_ms: f64,
    /// Share of packets lost, such as 0.02
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    loss: f64,
    /// Packets lost in a row on average; 1 loses each by itself
    #[arg(long, value_name = "PACKETS", default_value_t = 1.0)]
    burst: f64,
    /// Bottleneck in kilobits per second; 0 is none
    #[arg(long, value_name = "KBPS", default_value_t = 0)]
    rate_kbps: u32,
}

const EXAMPLES: &str = "\
Each region is a node with its own page; the same room name on two pages is the same room. The dashboard shows where the media \
goes, makes paths worse and ends nodes. It binds loopback, draws keys that are thrown away at the end, and lets everybody on this \
machine in. Ports that are taken are stepped over. Browsers give camera and microphone to localhost without HTTPS.

Examples:
  weir dev                      then open two of the addresses it prints, and the dashboard
  weir dev --loss 0.02 --burst 3
  weir dev --topology cascade/three-region-mesh.toml
  weir dev --single --port 9000 one node, no regions
  weir dev --shards 2 --log weir=debug";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut layers = Layers::default();
    for (key, value) in [
        ("http.listen", format!("127.0.0.1:{}", args.port.unwrap_or(8080))),
        ("media.listen_ip", "127.0.0.1".to_owned()),
        ("media.advertise", "127.0.0.1".to_owned()),
        ("turn.listen", "127.0.0.1:3478".to_owned()),
        ("peerjs.keys", "peerjs".to_owned()),
        ("peerjs.discovery", "peerjs".to_owned()),
        ("media.shards", if args.single { "0" } else { "1" }.to_owned()),
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
    ]
    .into_iter()
    .chain(config.turn.listen.iter().chain(&config.turn.tls_listen).map(|addr| ("turn.listen", addr.ip())))
    {
        anyhow::ensure!(
            ip.is_loopback(),
            "{key} is {ip}, but `weir dev` lets everybody in and so stays on loopback; use `weir serve` to be reached from outside"
        );
    }
    config.dev = true;
    config.auth.keys = throwaway_key();
    logging::start(&config.log)?;
    let drain = Duration::from_millis(config.node.drain_ms.into());
    if args.single {
        Taken::default().step_over(&mut loaded, args.port, 0);
        let banner = banner(&[&loaded.config], loaded.config.admin.listen);
        return run::until_stopped(drain, node::Node::start(loaded.config, None), move || say(banner));
    }
    let topology = match &args.topology {
        Some(path) => node::read_topology(path)?,
        None => Topology::parse(TOPOLOGY).ok().context("the built-in topology is not sound")?.0,
    };
    let plan = plan(&loaded, topology, &args)?;
    let banner = banner(&plan.configs.iter().collect::<Vec<_>>(), plan.dashboard);
    run::until_stopped(drain, Regions::start(plan), move || say(banner))
}

/// One node for each region, on ports of its own.
fn plan(loaded: &Loaded, topology: Topology, args: &Args) -> anyhow::Result<Plan> {
    let regions: Vec<RegionId> = topology.regions().map(|region| region.id.clone()).collect();
    anyhow::ensure!(
        (1..=MOST_REGIONS).contains(&regions.len()),
        "`weir dev` runs 1 to {MOST_REGIONS} regions, and the topology has {}",
        regions.len()
    );
    let mut taken = Taken::default();
    let mut first = loaded.clone();
    taken.step_over(&mut first, args.port, 0);
    let dashboard = first.config.admin.listen;
    let mut configs = Vec::new();
    for (index, region) in regions.iter().enumerate() {
        let mut own = loaded.clone();
        if index == 0 {
            own = first.clone();
        } else {
            taken.step_over(&mut own, args.port, u16::try_from(index).unwrap_or(u16::MAX));
        }
        let config = &mut own.config;
        // The first one's own listener is the dashboard's; each node has another for itself.
        config.admin.listen.set_port(taken.another_tcp(dashboard.port()));
        config.node.id = NodeId::new(format!("{region}-1"));
        config.node.region = region.clone();
        config.http.url = format!("http://localhost:{}", config.http.listen.port());
        configs.push(own.config);
    }
    let paths = &args.paths;
    let impairment = |from: &RegionId, to: &RegionId| Impairment {
        delay_ms: paths.delay_ms.unwrap_or_else(|| f64::from(topology.rtt_ms(from, to).unwrap_or(0)) / 2.0),
        jitter_ms: paths.jitter_ms,
        loss: paths.loss,
        burst: paths.burst,
        rate_kbps: paths.rate_kbps,
        ..Impairment::default()
    };
    let mut impairments = Vec::new();
    for from in &regions {
        for to in regions.iter().filter(|to| *to != from && topology.may_link(from, to)) {
            impairments.push((from.clone(), to.clone(), impairment(from, to)));
        }
    }
    Ok(Plan { dashboard, configs, topology, impairments })
}

/// One key that nobody knows, for the node to sign the tokens that it hands out.
fn throwaway_key() -> Keys {
    let secret: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    std::iter::once(("dev".to_owned(), Secret::new(secret))).collect()
}

/// What a person needs to see: the addresses, large and clear.
fn banner(configs: &[&Config], dashboard: SocketAddr) -> String {
    let (bold, dim, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let page = |config: &&Config| {
        let region = if configs.len() > 1 { format!("   {dim}{}{plain}", config.node.region) } else { String::new() };
        format!("      {bold}http://localhost:{}/{plain}{region}\n", config.http.listen.port())
    };
    let pages: String = configs.iter().map(page).collect();
    let open = if configs.len() > 1 {
        format!("{} regions. Open two of these pages in two tabs", configs.len())
    } else {
        "Open this in two browser tabs".to_owned()
    };
    let metrics: Vec<String> = configs.iter().map(|config| format!("{}/metrics", config.admin.listen)).collect();
    let metrics = metrics.join(", ");
    format!(
        "\n  {bold}weir is running.{plain} {open}:\n\n{pages}\n  \
         Dashboard: {bold}http://{dashboard}/{plain}\n\n  \
         {dim}Only this machine can reach it. Metrics: {metrics}{plain}\n  \
         {dim}Ctrl-C stops it.{plain}\n"
    )
}
