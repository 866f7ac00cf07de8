//! `weir serve`: a node as configured.

use std::process::ExitCode;

use super::flags::ConfigFlags;
use super::{logging, run};

/// Flags of `weir serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
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

SIGINT or SIGTERM stops it: members are told, then it ends. A second one ends it at once.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.flags.load()?.config;
    anyhow::ensure!(
        !config.auth.keys.is_empty(),
        "nobody could join: no API key is configured.\n\
         Make one with `weir token --generate-key` and put it into the file under [auth.keys], or into \
         WEIR_AUTH__KEYS__NAME. To try weir without one: weir dev"
    );
    logging::start(&config.log)?;
    let (http, admin) = (config.http.listen, config.admin.listen);
    run::until_stopped(config, move || tracing::info!(%http, %admin, "serving"))
}
