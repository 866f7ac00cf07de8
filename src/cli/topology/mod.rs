//! `weir topology`: checks, explains and draws a topology document.

mod findings;
mod svg;
mod terminal;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::say;
use crate::cascade::topology::{Mode, Tier, Topology};
use crate::id::RegionId;

/// Flags of `weir topology`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
The document names regions and the links between them, with their round trips and prices. From it every node computes the same \
ways. cascade/README.md explains it key by key; cascade/*.toml are documents to start from.

Examples:
  weir topology check cascade/two-tier-tree.toml
  weir topology show cascade/two-tier-tree.toml --from mad
  weir topology draw cascade/two-tier-tree.toml --svg topology.svg";

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say all that is wrong with a document, by line; fails if it cannot be used
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The document
        file: PathBuf,
        /// The document in use: the epoch must grow over its
        #[arg(long, value_name = "FILE")]
        replaces: Option<PathBuf>,
    },
    /// Print regions, links with their costs, and the cheapest way from each region to each
    #[command(after_help = "Example:\n  weir topology show cascade/dev.toml --from sin")]
    Show {
        /// The document
        file: PathBuf,
        /// Print the ways from this region only
        #[arg(long, value_name = "REGION")]
        from: Option<String>,
    },
    /// Draw a document here, or as a picture
    #[command(
        after_help = "Examples:\n  weir topology draw cascade/dev.toml\n  weir topology draw cascade/dev.toml --svg dev.svg"
    )]
    Draw {
        /// The document
        file: PathBuf,
        /// Write a picture to this file; "-" is the standard output
        #[arg(long, value_name = "OUT")]
        svg: Option<PathBuf>,
    },
}

const CHECK_EXAMPLES: &str = "\
Examples:
  weir topology check weir-topology.toml
  weir topology check new.toml --replaces weir-topology.toml && mv new.toml weir-topology.toml";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Check { file, replaces } => check(&file, replaces.as_deref()),
        Action::Show { file, from } => match sound(&file)? {
            Some(topology) => {
                let from = from.map(|from| known(&topology, &from)).transpose()?;
                show(&file, &topology, from.as_ref());
                Ok(ExitCode::SUCCESS)
            }
            None => Ok(ExitCode::FAILURE),
        },
        Action::Draw { file, svg } => match sound(&file)? {
            Some(topology) => {
                match svg {
                    None => say(terminal::draw(&topology).trim_end()),
                    Some(out) if out.as_os_str() == "-" => say(svg::draw(&topology).trim_end()),
                    Some(out) => {
                        std::fs::write(&out, svg::draw(&topology))
                            .with_context(|| format!("{} cannot be written", out.display()))?;
                        say(format_args!("{}: drawn", out.display()));
                    }
                }
                Ok(ExitCode::SUCCESS)
            }
            None => Ok(ExitCode::FAILURE),
        },
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The document, if it can be used; otherwise what is wrong is told.
fn sound(file: &Path) -> anyhow::Result<Option<Topology>> {
    let text = read(file)?;
    match Topology::parse(&text) {
        Ok((topology, _)) => Ok(Some(topology)),
        Err(problems) => {
            let colours = std::io::stderr().is_terminal();
            for problem in &problems {
                eprintln!("{}", findings::shown(findings::Level::Error, problem, file, &text, colours));
            }
            Ok(None)
        }
    }
}

fn check(file: &Path, replaces: Option<&Path>) -> anyhow::Result<ExitCode> {
    let text = read(file)?;
    let colours = std::io::stderr().is_terminal();
    let (topology, warnings) = match Topology::parse(&text) {
        Ok(read) => read,
        Err(problems) => {
            for problem in &problems {
                eprintln!("{}", findings::shown(findings::Level::Error, problem, file, &text, colours));
            }
            eprintln!("{}: {}", file.display(), counted(problems.len(), "error"));
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in &warnings {
        eprintln!("{}", findings::shown(findings::Level::Warning, warning, file, &text, colours));
    }
    if let Some(old) = replaces {
        let Some(old_topology) = sound(old)? else { return Ok(ExitCode::FAILURE) };
        topology.replaces(&old_topology).with_context(|| format!("{} cannot replace {}", file.display(), old.display()))?;
    }
    let but = if warnings.is_empty() { String::new() } else { format!(", with {}", counted(warnings.len(), "warning")) };
    say(format_args!("{}: sound{but}: {}", file.display(), summary(&topology)));
    Ok(ExitCode::SUCCESS)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn summary(topology: &Topology) -> String {
    let links = topology.links().filter(|(from, to, _)| from < to).count();
    let shape = match topology.mode {
        Mode::Tree => "tree",
        Mode::Mesh => "mesh",
    };
    let (regions, links) = (counted(topology.regions().len(), "region"), counted(links, "link"));
    let nodes = counted(topology.nodes.len(), "node");
    format!("epoch {}, a {shape} of {regions} and {links}, {nodes} listed", topology.epoch)
}

fn known(topology: &Topology, name: &str) -> anyhow::Result<RegionId> {
    let id = RegionId::new(name);
    let names: Vec<_> = topology.regions().map(|region| region.id.as_str()).collect();
    anyhow::ensure!(topology.region(&id).is_some(), "--from: {name} is no region; there are {}", names.join(", "));
    Ok(id)
}

/// A price as people write it.
fn dollars(micro: u32) -> String {
    let text = format!("{:.6}", f64::from(micro) / 1e6);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("${text}")
}

/// What a link's two directions have of something: once if it is the same.
fn both<T: PartialEq + ToString>(there: T, back: T) -> String {
    if there == back { there.to_string() } else { format!("{} / {}", there.to_string(), back.to_string()) }
}

/// Rows under their titles, each column as wide as it must be.
fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = titles
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("  {}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut titles.iter().copied());
    text.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    text
}

fn show(file: &Path, topology: &Topology, from: Option<&RegionId>) {
    say(format_args!("{}: {}\n", file.display(), summary(topology)));
    let regions: Vec<Vec<String>> = topology
        .regions()
        .map(|region| {
            let tier = match (topology.mode, region.tier) {
                (Mode::Mesh, _) => "",
                (Mode::Tree, Tier::Hub) => "hub",
                (Mode::Tree, Tier::Leaf) => "leaf",
            };
            let parents = if topology.mode == Mode::Tree { region.parents.as_slice() } else { &[] };
            let parents: Vec<_> = parents.iter().map(RegionId::as_str).collect();
            let nodes: Vec<_> =
                topology.nodes.iter().filter(|node| node.region == region.id).map(|node| node.id.as_str()).collect();
            vec![region.id.to_string(), tier.into(), parents.join(", "), dollars(region.price), nodes.join(", ")]
        })
        .collect();
    say(table(&["REGION", "TIER", "PARENTS", "$/GB", "NODES"], &regions));
    let mut links = Vec::new();
    for (a, b, there) in topology.links().filter(|(from, to, _)| from < to) {
        let Some(back) = topology.link(b, a) else { continue };
        let around = [a, b].iter().any(|id| topology.region(id).is_some_and(|region| region.backup_transit));
        let notes =
            [(there.backup, "backup"), (around, "transit goes around"), (there.estimated, "estimated from the distance")];
        let notes: Vec<_> = notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect();
        links.push(vec![
            format!("{a} – {b}"),
            format!("{} ms", both(there.rtt_ms, back.rtt_ms)),
            both(dollars(there.price), dollars(back.price)),
            both(there.cost, back.cost),
            notes.join(", "),
        ]);
    }
    if !links.is_empty() {
        say(table(&["LINK", "RTT", "$/GB", "COST", ""], &links));
    }
    let mut ways = Vec::new();
    for start in topology.regions().map(|region| &region.id).filter(|id| from.is_none_or(|from| from == *id)) {
        for end in topology.regions().map(|region| &region.id).filter(|id| *id != start) {
            let Some((cost, way)) = topology.region_path(start, end) else { continue };
            let rtt: u32 = way.iter().zip(way.iter().skip(1)).filter_map(|(a, b)| topology.rtt_ms(a, b)).sum();
            let names: Vec<_> = way.iter().map(RegionId::as_str).collect();
            ways.push(vec![names.join(" → "), cost.to_string(), format!("{rtt} ms")]);
        }
    }
    if !ways.is_empty() {
        say(table(&["WAY", "COST", "RTT"], &ways).trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_written_as_people_do() {
        assert_eq!([0, 20_000, 1_000_000, 100_000_000, 1].map(dollars), ["$0", "$0.02", "$1", "$100", "$0.000001"]);
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), String::new()]];
        assert_eq!(table(&["A", "B"], &rows), "  A    B\n  a    bb\n  ccc\n");
    }
}
