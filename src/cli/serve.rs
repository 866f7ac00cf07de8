//! `weir serve`: a node as configured.

use std::process::ExitCode;
use std::time::Duration;

use super::flags::{ConfigFlags, PlaceFlags};
use super::{logging, run};
use crate::node::{Cascade, Node};

/// Flags of `weir serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    place: PlaceFlags,
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
    let config = args.place.load(&args.flags)?.config;
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
