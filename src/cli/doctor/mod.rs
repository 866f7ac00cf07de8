//! `weir doctor`: whether this machine can carry calls with this configuration. Owns what a finding is and how it is shown;
//! the checks are in `network` (ports, addresses, sockets), `links` (topology, certificates) and `machine` (memory, files, cores,
//! clock).

mod links;
mod machine;
mod network;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;

use super::flags::{ConfigFlags, PlaceFlags};
use super::say;
use crate::config::Config;

/// Flags of `weir doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceFlags,
    #[command(flatten)]
    flags: ConfigFlags,
}

const EXAMPLES: &str = "\
Run it with the configuration that `weir serve` gets, before it runs or while it does. \
It exits with 1 if anything would break calls, and sends nothing beyond this host.

Examples:
  weir doctor --config weir.toml
  weir doctor --config weir.toml --json | jq '.[] | select(.state != \"ok\")'";

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Calls work, but not for everybody or not as well as they could.
    Warn,
    /// Calls break.
    Fail,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    /// What it does to a call. Empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    breaks: String,
    /// What to do. Empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    mend: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), breaks: String::new(), mend: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>, breaks: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Warn, found: found.into(), breaks: breaks.into(), mend: mend.into() }
    }

    fn fail(check: &'static str, found: impl Into<String>, breaks: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Fail, found: found.into(), breaks: breaks.into(), mend: mend.into() }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (config, mut findings) = match args.place.load(&args.flags) {
        Ok(loaded) => (loaded.config, vec![Finding::ok("configuration", "sound")]),
        // The rest is still worth knowing, with the defaults.
        Err(why) => {
            let finding =
                Finding::fail("configuration", why.to_string(), "a node does not start with it", "mend what is listed");
            (Config::default(), vec![finding])
        }
    };
    findings.push(keys(&config));
    findings.extend(network::check(&config));
    findings.extend(links::check(&config, SystemTime::now()));
    findings.extend(machine::check(&config));
    if args.json {
        say(serde_json::to_string_pretty(&findings)?);
    } else {
        say(table(&findings, std::io::stdout().is_terminal()).trim_end());
    }
    let broken = findings.iter().any(|finding| finding.state == State::Fail);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn keys(config: &Config) -> Finding {
    match config.auth.keys.iter().count() {
        0 => Finding::fail(
            "api keys",
            "none",
            "nobody can join, and `weir serve` does not start",
            "weir token --generate-key, and put what it prints into the configuration",
        ),
        count => Finding::ok("api keys", format!("{count}, each with a secret that is long enough")),
    }
}

fn table(findings: &[Finding], colour: bool) -> String {
    let mut out = String::new();
    for finding in findings {
        let (word, code) = match finding.state {
            State::Ok => ("ok  ", "32"),
            State::Warn => ("warn", "33"),
            State::Fail => ("FAIL", "31"),
        };
        let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let indented = |text: &str| text.replace('\n', "\n                              ");
        out.push_str(&format!("{word}  {:<22}  {}\n", finding.check, indented(&finding.found)));
        for (label, text) in [("effect", &finding.breaks), ("mend", &finding.mend)] {
            if !text.is_empty() {
                out.push_str(&format!("{:>28}  {}\n", label, indented(text)));
            }
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    out.push_str(&format!("\n{} ok, {} warnings, {} failures\n", count(State::Ok), count(State::Warn), count(State::Fail)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_ok_says_what_it_breaks_and_how_to_mend_it() {
        let config = Config::default();
        let mut findings = network::check(&config);
        findings.extend(machine::check(&config));
        findings.push(keys(&config));
        for finding in findings {
            assert!(!finding.found.is_empty(), "{finding:?}");
            assert_eq!(finding.state == State::Ok, finding.breaks.is_empty() && finding.mend.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn the_table_counts_and_indents() {
        let findings = [Finding::ok("one", "fine"), Finding::fail("two", "a\nb", "calls", "mend it")];
        let table = table(&findings, false);
        assert!(table.ends_with("1 ok, 0 warnings, 1 failures\n"), "{table}");
        assert!(table.contains("FAIL  two") && table.contains("\n                              b\n"), "{table}");
    }
}
