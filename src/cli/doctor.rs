//! `weir doctor`: whether this machine can carry calls with this configuration.

use std::process::ExitCode;

/// Flags of `weir doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("nothing is checked yet")
}
