//! `weir config`: what a node would be told, and whether it is sound.

use std::path::PathBuf;
use std::process::ExitCode;

use super::flags::ConfigFlags;
use super::say;
use crate::config::{Layers, effective};

/// Flags of `weir config`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print every key with its meaning, its value and who set it; secrets stay hidden
    #[command(after_help = PRINT_EXAMPLES)]
    Print {
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Check a file and say all that is wrong with it, by line
    #[command(after_help = "Example:\n  weir config check weir.toml && systemctl restart weir")]
    Check {
        /// The file
        file: PathBuf,
    },
}

const PRINT_EXAMPLES: &str = "\
Examples:
  weir config print > weir.toml                 a file to start from
  weir config print --config weir.toml          what holds, and who said so";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Print { flags } => say(effective(&flags.load()?).trim_end()),
        Action::Check { file } => {
            let mut layers = Layers::default();
            layers.file(&file);
            let loaded = layers.load()?;
            say(format_args!("{}: sound", file.display()));
            if loaded.config.auth.keys.is_empty() {
                say("note: it holds no API key; unless WEIR_AUTH__KEYS__NAME gives one, `weir serve` will not start");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
