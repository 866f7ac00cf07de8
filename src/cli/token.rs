//! `weir token`: an API key, or a token that lets somebody join.

use std::process::ExitCode;

/// Flags of `weir token`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print a fresh API key and secret for the configuration, and nothing else
    #[arg(long)]
    generate_key: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.generate_key {
        let secret: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        println!("[auth.keys]\nkey-{:08x} = \"{secret}\"", rand::random::<u32>());
    }
    Ok(ExitCode::SUCCESS)
}
