//! `weir serve`: a node as configured.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::flags::ConfigFlags;
use super::{logging, run};
use crate::config::{Layers, Loaded};
use crate::node::{self, Cascade, Node};

/// Flags of `weir serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Topology document, to be one node of several [cascade.topology]
    #[arg(long, value_name = "FILE")]
    topology: Option<String>,
    /// Which node this is; its region, role and address are those that the document lists for it [node.id]
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    #[command(flatten)]
    flags: ConfigFlags,
}

const EXAMPLES: &str = "\
Every key can be set in the file, as WEIR_SECTION__KEY in the environment, or with --set; the later wins.

Examples:
  weir serve --config weir.toml
  weir serve --config weir.toml --advertise 203.0.113.7
  weir serve --set media.shards=2 --log debug
  WEIR_AUTH__KEYS__myapp=$(cat myapp.secret) weir serve
  weir serve --config weir.toml --topology cascade/two-tier-tree.toml --node fra-core-1

SIGINT or SIGTERM stops it: members and nodes that depend on it move elsewhere, then it ends. A second one ends it at once.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut layers = Layers::default();
    for (flag, key, value) in [("--topology", "cascade.topology", &args.topology), ("--node", "node.id", &args.node)] {
        if let Some(value) = value {
            layers.flag(flag, key, value);
        }
    }
    let mut loaded = args.flags.load_over(layers)?;
    fill_from_topology(&mut loaded)?;
    let config = loaded.config;
    anyhow::ensure!(
        !config.node.role.is_edge() || !config.auth.keys.is_empty(),
        "nobody could join: no API key is configured.\n\
         Make one with `weir token --generate-key` and put it into the file under [auth.keys], or into \
         WEIR_AUTH__KEYS__NAME. To try weir without one: weir dev"
    );
    logging::start(&config.log)?;
    let cascade = Cascade::from_config(&config)?;
    let (http, admin) = (config.http.listen, config.admin.listen);
    let drain = Duration::from_millis(config.node.drain_ms.into());
    run::until_stopped(drain, Node::start(config, cascade), move || tracing::info!(%http, %admin, "serving"))
}

/// What the topology document lists of this node and nobody has set.
fn fill_from_topology(loaded: &mut Loaded) -> anyhow::Result<()> {
    let config = &mut loaded.config;
    if config.cascade.topology.is_empty() {
        return Ok(());
    }
    let topology = node::read_topology(Path::new(&config.cascade.topology))?;
    let Some(listed) = topology.nodes.iter().find(|listed| listed.id == config.node.id) else {
        // Nodes need not be listed; but then they have to say where they are.
        let names: Vec<_> = topology.nodes.iter().map(|listed| listed.id.as_str()).collect();
        anyhow::ensure!(
            loaded.sources.contains_key("node.region"),
            "{} does not list a node {}, so node.region must be set; it lists: {}",
            config.cascade.topology,
            config.node.id,
            names.join(", ")
        );
        return Ok(());
    };
    if !loaded.sources.contains_key("node.region") {
        config.node.region = listed.region.clone();
    }
    if !loaded.sources.contains_key("node.role") {
        config.node.role = listed.role;
    }
    if !loaded.sources.contains_key("cascade.listen") {
        let port = listed.addr.rsplit(':').next().and_then(|port| port.parse().ok());
        config.cascade.listen.set_port(port.context("the listed address has no port")?);
    }
    Ok(())
}
