//! Flags that fill the configuration, shared by the commands that load one.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{Layers, Loaded};
use crate::node;

/// Where the configuration comes from.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigFlags {
    /// TOML file to read; `weir config print` shows every key
    #[arg(long, short, value_name = "FILE", env = "WEIR_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Set any key; wins over file and environment
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,
    /// Address of the public listener [http.listen]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) http_listen: Option<String>,
    /// Address of the operator's listener [admin.listen]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) admin_listen: Option<String>,
    /// UDP port of the first shard [media.udp_port]
    #[arg(long, value_name = "PORT")]
    pub(super) udp_port: Option<String>,
    /// Port for ICE over TCP, 0 for none [media.tcp_port]
    #[arg(long, value_name = "PORT")]
    pub(super) tcp_port: Option<String>,
    /// Media threads, 0 for one per core [media.shards]
    #[arg(long, value_name = "COUNT")]
    pub(super) shards: Option<String>,
    /// Address told to browsers; may be given several times [media.advertise]
    #[arg(long, value_name = "IP[:PORT]")]
    pub(super) advertise: Vec<String>,
    /// Which events are logged, such as "debug" [log.filter]
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
}

/// Which node of a deployment this is.
#[derive(Debug, Default, clap::Args)]
pub(super) struct PlaceFlags {
    /// Topology document, to be one node of several [cascade.topology]
    #[arg(long, value_name = "FILE")]
    topology: Option<String>,
    /// Which node this is; its region, role and port are those that the document lists for it [node.id]
    #[arg(long, value_name = "ID")]
    node: Option<String>,
}

impl PlaceFlags {
    /// The configuration, with what the topology document lists of this node and nobody has set.
    pub(super) fn load(&self, flags: &ConfigFlags) -> anyhow::Result<Loaded> {
        let mut layers = Layers::default();
        for (flag, key, value) in [("--topology", "cascade.topology", &self.topology), ("--node", "node.id", &self.node)] {
            if let Some(value) = value {
                layers.flag(flag, key, value);
            }
        }
        let mut loaded = flags.load_over(layers)?;
        fill_from_topology(&mut loaded)?;
        Ok(loaded)
    }
}

impl ConfigFlags {
    /// File, environment and flags, in this order, over what `layers` holds already.
    pub(super) fn load_over(&self, mut layers: Layers) -> anyhow::Result<Loaded> {
        if let Some(path) = &self.config {
            layers.file(path);
        }
        // Names and values that are not text cannot be ours.
        layers.env(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))));
        let advertise = (!self.advertise.is_empty()).then(|| self.advertise.join(","));
        for (flag, key, value) in [
            ("--http-listen", "http.listen", &self.http_listen),
            ("--admin-listen", "admin.listen", &self.admin_listen),
            ("--udp-port", "media.udp_port", &self.udp_port),
            ("--tcp-port", "media.tcp_port", &self.tcp_port),
            ("--shards", "media.shards", &self.shards),
            ("--advertise", "media.advertise", &advertise),
            ("--log", "log.filter", &self.log),
        ] {
            if let Some(value) = value {
                layers.flag(flag, key, value);
            }
        }
        for (key, value) in &self.set {
            layers.flag("--set", key, value);
        }
        layers.load().map_err(|mistakes| anyhow::anyhow!("the configuration is not sound\n{mistakes}"))
    }

    /// File, environment and flags.
    pub(super) fn load(&self) -> anyhow::Result<Loaded> {
        self.load_over(Layers::default())
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected SECTION.KEY=VALUE, such as media.shards=2")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
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
