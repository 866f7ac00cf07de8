//! The command line. Owns the commands and the flags they share; one file per command. Everything it starts is `node`'s work.

mod certs;
mod config;
mod dev;
mod doctor;
mod drain;
mod flags;
mod impair;
mod load;
mod logging;
mod run;
mod serve;
mod token;
mod topology;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A QUIC-native media relay that carries large group calls across regions.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 110, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  weir dev                              try it: a call on this machine, nothing to configure
  weir token --generate-key             make an API key for a real deployment
  weir config check weir.toml           see whether a configuration is sound
  weir doctor --config weir.toml        see whether this machine can carry calls with it
  weir serve --config weir.toml         run a node
  weir load --dev -m 20                 see what it bears";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::Args),
    /// Run a node for trying things out, on loopback, with keys thrown away at the end
    Dev(dev::Args),
    /// Have a running node take nothing new, and wait until everybody has moved away from it
    Drain(drain::Args),
    /// Mint a token that lets somebody join a room, or make an API key
    Token(token::Args),
    /// Check, explain or draw a topology document
    Topology(topology::Args),
    /// Make the certificates by which nodes know each other
    Certs(certs::Args),
    /// Show or check the configuration
    Config(config::Args),
    /// Check whether this machine can carry calls: ports, buffers, addresses, limits
    Doctor(doctor::Args),
    /// Relay UDP over a bad path: delay, loss, a bottleneck
    Impair(impair::Args),
    /// Send a crowd to a server and measure how it fares
    Load(Box<load::Args>),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Drain(args) => drain::run(args),
        Command::Token(args) => token::run(args),
        Command::Topology(args) => topology::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Config(args) => config::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Impair(args) => impair::run(args),
        Command::Load(args) => load::run(*args),
    };
    done.unwrap_or_else(|why| {
        // The chain of causes, outermost first, without a backtrace: this is read by operators.
        eprintln!("weir: {why:#}");
        ExitCode::FAILURE
    })
}

/// Writes a line to standard output. Whoever read it may be gone, as `| head` is: no reason to stop, let alone to panic.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_explains_itself() {
        let mut root = Cli::command();
        root.build();
        root.clone().debug_assert();
        let mut waiting: Vec<_> = root.get_subcommands().filter(|command| command.get_name() != "help").collect();
        while let Some(command) = waiting.pop() {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
            waiting.extend(command.get_subcommands().filter(|inner| inner.get_name() != "help"));
        }
    }
}
