//! Flags that fill the configuration, shared by the commands that load one.

use std::path::PathBuf;

use crate::config::{Layers, Loaded};

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
