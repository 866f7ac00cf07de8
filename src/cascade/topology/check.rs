//! From what was written to what it means: every rule that a document must keep. Rules that look at the whole are asked only
//! when each part is sound, so that one mistake is told once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::document::{At, Document, LinkEntry, Problems, RegionEntry, read};
use super::path::distances;
use super::{
    ListedNode, MAX_DOCUMENT, MAX_HOPS, MAX_NODES, MAX_PARENTS, MAX_REGIONS, Mode, Problem, Region, Tier, Topology, Warning,
    costs, warn,
};
use crate::id::{NodeId, RegionId};

/// Where regions of one document are, by id.
type ByName<'a> = BTreeMap<&'a str, &'a RegionEntry>;

pub(super) fn parse(text: &str) -> Result<(Topology, Vec<Warning>), Vec<Problem>> {
    let mut problems = Problems::of(text);
    if text.len() > MAX_DOCUMENT {
        problems.add(&(0..0), format!("the document has {} bytes; at most {MAX_DOCUMENT} are read", text.len()), "");
        return Err(problems.sorted());
    }
    let Some(document) = read(text, &mut problems) else { return Err(problems.sorted()) };
    let mode = mode(&document, &mut problems);
    let before = problems.count();
    let known = regions(&document, &mut problems);
    // What is wrong with regions and parents would show again in every link.
    let are_sound = problems.count() == before;
    for link in &document.links {
        check_link(link, &known, mode, &mut problems);
        if are_sound && mode == Mode::Tree {
            check_branch(link, &document, &known, &mut problems);
        }
    }
    check_twice(&document.links, &mut problems);
    check_nodes(&document, &known, &mut problems);
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let mut topology = bare(&document, mode, text);
    costs::link_up(&mut topology, &document, &mut problems);
    if problems.is_empty() {
        check_reach(&topology, &document, &mut problems);
    }
    if problems.is_empty() {
        check_depth(&topology, &document, &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let warnings = warn::warned(&topology, &document);
    Ok((topology, warnings))
}

/// Whether a region stands as a hub: said, or without parents, or somebody's parent.
fn tier(region: &RegionEntry, document: &Document) -> Tier {
    let is_parent = || document.regions.iter().any(|child| child.parents.iter().any(|parent| parent.value == region.id.value));
    match &region.tier {
        Some(tier) => tier.value,
        None if region.parents.is_empty() || is_parent() => Tier::Hub,
        None => Tier::Leaf,
    }
}

fn mode(document: &Document, problems: &mut Problems<'_>) -> Mode {
    if let Some(mode) = &document.mode {
        return mode.value;
    }
    if document.regions.len() > 1 {
        problems.add(&(0..0), "the document lacks mode", "write mode = \"tree\" or mode = \"mesh\"");
    }
    Mode::Tree
}

/// Ids, parents, cycles.
fn regions<'a>(document: &'a Document, problems: &mut Problems<'_>) -> ByName<'a> {
    let mut known = ByName::new();
    if document.regions.is_empty() && problems.is_empty() {
        problems.add(&(0..0), "the document names no region", "write region = [ { id = \"…\" } ]");
    }
    if let Some(first) = document.regions.get(MAX_REGIONS) {
        problems.add(&first.id.span, format!("{} regions; at most {MAX_REGIONS} are read", document.regions.len()), "");
        return known;
    }
    for region in &document.regions {
        if known.insert(&region.id.value, region).is_some() {
            problems.add(&region.id.span, format!("region {} is there twice", region.id.value), "rename or remove one");
        }
    }
    for region in &document.regions {
        check_parents(region, &known, problems);
    }
    check_cycles(document, &known, problems);
    known
}

fn check_parents(region: &RegionEntry, known: &ByName<'_>, problems: &mut Problems<'_>) {
    let id = &region.id.value;
    if let Some(first) = region.parents.get(MAX_PARENTS) {
        problems.add(&first.span, format!("region {id} has more than {MAX_PARENTS} parents"), "two are enough for most");
        return;
    }
    for (index, parent) in region.parents.iter().enumerate() {
        let At { value, span } = parent;
        match known.get(value.as_str()) {
            _ if value == id => {
                problems.add(span, format!("region {id} is its own parent"), "name another region, or none for a hub");
            }
            None => problems.add(span, format!("region {id}: its parent {value} is no region"), nearest(value, known)),
            Some(above) if above.tier.as_ref().is_some_and(|tier| tier.value == Tier::Leaf) => {
                let mend = format!("give {value} tier = \"hub\", or {id} another parent");
                problems.add(span, format!("region {id}: its parent {value} is a leaf"), mend);
            }
            Some(_) if region.parents.iter().take(index).any(|earlier| earlier.value == *value) => {
                problems.add(span, format!("region {id}: its parent {value} is there twice"), "remove one");
            }
            Some(_) => {}
        }
    }
    if region.parents.is_empty()
        && let Some(tier) = region.tier.as_ref().filter(|tier| tier.value == Tier::Leaf)
    {
        let mend = "give it parents = [\"…\"], or tier = \"hub\"";
        problems.add(&tier.span, format!("no root reaches region {id}: it is a leaf without parents"), mend);
    }
}

/// Follows parents upward from every region; each cycle is told once, where its first region names the next.
fn check_cycles(document: &Document, known: &ByName<'_>, problems: &mut Problems<'_>) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for region in &document.regions {
        // The way from `region` up to where we are: each region, and which of its parents comes next.
        let mut way: Vec<(&RegionEntry, usize)> = vec![(region, 0)];
        while let Some((at, next)) = way.last_mut() {
            let at = *at;
            let id = at.id.value.as_str();
            let parent = if done.contains(id) { None } else { at.parents.get(*next) };
            *next += 1;
            let Some(parent) = parent else {
                done.insert(id);
                way.pop();
                continue;
            };
            let start = way.iter().position(|(above, _)| above.id.value == parent.value);
            match (start, known.get(parent.value.as_str())) {
                // Its own parent: told already.
                (Some(_), _) if parent.value == id => {}
                (Some(start), _) => {
                    let mut names: Vec<&str> = way.iter().skip(start).map(|(region, _)| region.id.value.as_str()).collect();
                    names.push(&parent.value);
                    let mend = "take one of them out: parents lead up to a hub without parents";
                    problems.add(&parent.span, format!("the parents go in a circle: {}", names.join(" → ")), mend);
                }
                (None, Some(above)) => way.push((above, 0)),
                // No such region: told already.
                (None, None) => {}
            }
        }
    }
}

fn check_link(link: &LinkEntry, known: &ByName<'_>, mode: Mode, problems: &mut Problems<'_>) {
    for end in [&link.from, &link.to] {
        if !known.contains_key(end.value.as_str()) {
            let what = format!("link {}: {} is no region", titled(link), end.value);
            problems.add(&end.span, what, nearest(&end.value, known));
        }
    }
    if link.from.value == link.to.value {
        let mend = "nodes of one region are linked anyway; remove it";
        problems.add(&link.span, format!("link {} leads to its own region", titled(link)), mend);
    }
    if mode == Mode::Tree && link.rtt_ms.is_none() && !link.has_bad_rtt {
        let mend = "write rtt_ms = …, as ping measures it";
        problems.add(&link.span, format!("link {} lacks rtt_ms", titled(link)), mend);
    }
}

/// In a tree not all may link.
fn check_branch(link: &LinkEntry, document: &Document, known: &ByName<'_>, problems: &mut Problems<'_>) {
    let (Some(from), Some(to)) = (known.get(link.from.value.as_str()), known.get(link.to.value.as_str())) else { return };
    let is_parent = |child: &RegionEntry, of: &RegionEntry| child.parents.iter().any(|parent| parent.value == of.id.value);
    let is_hub = |region: &RegionEntry| tier(region, document) == Tier::Hub;
    if from.id == to.id || is_parent(from, to) || is_parent(to, from) || is_hub(from) && is_hub(to) {
        return;
    }
    let (leaf, other) = if is_hub(from) { (to, from) } else { (from, to) };
    let mend = format!(
        "in a tree children link to parents and hubs to hubs: add {} to the parents of {}, or write mode = \"mesh\"",
        other.id.value, leaf.id.value
    );
    problems.add(&link.span, format!("link {} joins a leaf to what is not its parent", titled(link)), mend);
}

/// The same direction, written twice.
fn check_twice(links: &[LinkEntry], problems: &mut Problems<'_>) {
    let mut seen = BTreeSet::new();
    for link in links {
        if !seen.insert((&link.from.value, &link.to.value)) {
            let mend = "remove one; the other direction is from the other end";
            problems.add(&link.span, format!("link {} is there twice", titled(link)), mend);
        }
    }
}

fn check_nodes(document: &Document, known: &ByName<'_>, problems: &mut Problems<'_>) {
    if let Some(first) = document.nodes.get(MAX_NODES) {
        problems.add(&first.id.span, format!("{} nodes; at most {MAX_NODES} are read", document.nodes.len()), "");
        return;
    }
    let mut seen = BTreeSet::new();
    let mut addresses: BTreeMap<&str, &str> = BTreeMap::new();
    for node in &document.nodes {
        let id = node.id.value.as_str();
        if !seen.insert(id) {
            problems.add(&node.id.span, format!("node {id} is there twice"), "rename or remove one");
        } else if let Some(other) = addresses.insert(&node.addr, id) {
            problems.add(&node.id.span, format!("nodes {other} and {id} have the same addr"), "give each its own");
        }
        if !known.contains_key(node.region.value.as_str()) {
            let region = &node.region.value;
            problems.add(&node.region.span, format!("node {id}: {region} is no region"), nearest(region, known));
        }
    }
}

/// The topology without its links.
fn bare(document: &Document, mode: Mode, text: &str) -> Topology {
    let mut regions: Vec<Region> = document
        .regions
        .iter()
        .map(|region| Region {
            id: RegionId::new(region.id.value.as_str()),
            tier: tier(region, document),
            parents: region.parents.iter().map(|parent| RegionId::new(parent.value.as_str())).collect(),
            price: region.price,
            backup_transit: region.backup_transit,
            max_mbps: region.max_mbps.as_ref().map(|mbps| mbps.value),
            load_mbps: region.load_mbps.as_ref().map(|mbps| mbps.value),
            geo: region.geo,
        })
        .collect();
    regions.sort_by(|a, b| a.id.cmp(&b.id));
    let nodes = document.nodes.iter().map(|node| ListedNode {
        id: NodeId::new(node.id.value.as_str()),
        region: RegionId::new(node.region.value.as_str()),
        role: node.role,
        addr: node.addr.clone(),
        url: node.url.clone(),
    });
    let hops = document.max_region_hops.as_ref().and_then(|hops| u8::try_from(hops.value).ok());
    Topology {
        epoch: document.epoch,
        max_region_hops: hops.unwrap_or(Topology::single().max_region_hops),
        mode,
        links: vec![Vec::new(); regions.len()],
        regions,
        nodes: nodes.collect(),
        text: text.to_owned(),
    }
}

/// Every region can be reached from the first root.
fn check_reach(topology: &Topology, document: &Document, problems: &mut Problems<'_>) {
    let Some(root) = document.regions.iter().find(|region| region.parents.is_empty()) else { return };
    let Some(start) = topology.index(&RegionId::new(root.id.value.as_str())) else { return };
    let reached = distances(topology, start);
    for region in &document.regions {
        let id = region.id.value.as_str();
        let index = topology.index(&RegionId::new(id));
        if index.is_some_and(|index| reached.get(index) == Some(&None)) {
            let (what, mend) = if region.parents.is_empty() {
                let mend = format!(
                    "write link = {{ from = \"{}\", to = \"{id}\", rtt_ms = … }} with any hub that {0} reaches",
                    root.id.value
                );
                (format!("no link leads from root {} to root {id}", root.id.value), mend)
            } else {
                (format!("root {} does not reach region {id}", root.id.value), "link its root to the others".to_owned())
            };
            problems.add(&region.id.span, what, mend);
        }
    }
}

/// Between any two regions some way passes no more regions than a track may.
fn check_depth(topology: &Topology, document: &Document, problems: &mut Problems<'_>) {
    let limit = usize::from(topology.max_region_hops);
    let from = |start| distances(topology, start).into_iter().enumerate().map(move |(to, regions)| (regions, start, to));
    let all = (0..topology.regions.len()).flat_map(from);
    // Of the farthest apart the first in the order of names.
    let farthest = all.max_by_key(|&(regions, start, to)| (regions, Reverse(start), Reverse(to)));
    let Some((Some(regions), start, to)) = farthest.filter(|(regions, ..)| regions.is_some_and(|regions| regions > limit))
    else {
        return;
    };
    let name = |index: usize| topology.regions.get(index).map_or("", |region| region.id.as_str());
    let place = document.regions.iter().find(|region| region.id.value == name(start)).map(|region| &region.id.span);
    let place = document.max_region_hops.as_ref().map(|hops| &hops.span).or(place);
    let mend = if regions <= usize::from(MAX_HOPS) {
        format!("write max_region_hops = {regions}, or join them more closely")
    } else {
        "join them more closely".to_owned()
    };
    let what = format!(
        "the shortest way from {} to {} passes {regions} regions; max_region_hops allows {limit}",
        name(start),
        name(to)
    );
    problems.add(place.unwrap_or(&(0..0)), what, mend);
}

/// A link's name in a message.
pub(super) fn titled(link: &LinkEntry) -> String {
    format!("{}–{}", link.from.value, link.to.value)
}

/// The region that was probably meant.
fn nearest(name: &str, known: &ByName<'_>) -> String {
    let near = known.keys().min_by_key(|known| strsim::damerau_levenshtein(name, known));
    match near.filter(|near| strsim::damerau_levenshtein(name, near) <= 1 + name.chars().count() / 3) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("add a region with id = \"{name}\""),
    }
}
