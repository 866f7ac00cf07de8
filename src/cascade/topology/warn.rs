//! What is allowed in a document and yet worth a second look: directions that differ, links that are too thin, regions that
//! hang by a thread.

use std::collections::BTreeMap;

use super::check::titled;
use super::document::{Document, LinkEntry, Problems};
use super::path::Paths;
use super::{Mode, Tier, Topology, Warning};
use crate::id::RegionId;

pub(super) fn warned(topology: &Topology, document: &Document) -> Vec<Warning> {
    let mut warnings = Problems::of(&topology.text);
    meaningless(topology, document, &mut warnings);
    asymmetric(topology, document, &mut warnings);
    let ways: Vec<Paths<'_>> = (0..topology.regions.len()).map(|start| Paths::from(topology, start)).collect();
    other_way_back(topology, document, &ways, &mut warnings);
    overloaded(topology, document, &ways, &mut warnings);
    fragile(topology, document, &mut warnings);
    without_nodes(topology, document, &mut warnings);
    warnings.sorted()
}

/// The index's name.
fn name(topology: &Topology, index: usize) -> &str {
    topology.regions.get(index).map_or("", |region| region.id.as_str())
}

/// Where a region is written.
fn place(document: &Document, id: &str) -> std::ops::Range<usize> {
    document.regions.iter().find(|region| region.id.value == id).map_or(0..0, |region| region.id.span.clone())
}

fn meaningless(topology: &Topology, document: &Document, warnings: &mut Problems<'_>) {
    if topology.mode == Mode::Tree {
        return;
    }
    for region in &document.regions {
        let place = region.parents.first().map(|parent| &parent.span).or(region.tier.as_ref().map(|tier| &tier.span));
        if let Some(place) = place {
            let what = format!("region {}: tier and parents mean nothing in a mesh", region.id.value);
            warnings.add(place, what, "remove them, or write mode = \"tree\"");
        }
    }
}

/// Two entries for one link that do not agree.
fn asymmetric(topology: &Topology, document: &Document, warnings: &mut Problems<'_>) {
    let mut earlier: BTreeMap<(&str, &str), &LinkEntry> = BTreeMap::new();
    for back in &document.links {
        earlier.insert((&back.from.value, &back.to.value), back);
        let Some(there) = earlier.get(&(back.to.value.as_str(), back.from.value.as_str())) else { continue };
        if let (Some(a), Some(b)) = (&there.rtt_ms, &back.rtt_ms)
            && a.value != b.value
        {
            let what = format!("link {} has a round trip of {} ms, and back of {} ms", titled(there), a.value, b.value);
            warnings.add(&b.span, what, "a round trip is the same from both ends: keep one");
        }
        let price = |from: &str, to: &str| topology.link(&RegionId::new(from), &RegionId::new(to)).map(|link| link.price);
        let prices = (price(&there.from.value, &there.to.value), price(&back.from.value, &back.to.value));
        if let (Some(a), Some(b)) = prices
            && a != b
            && let Some(written) = back.price.as_ref().or(there.price.as_ref())
        {
            let what = format!("link {} costs {} a GB, and back {}", titled(there), dollars(a), dollars(b));
            warnings.add(&written.span, what, "make sure that it is meant so");
        }
    }
}

fn dollars(micro: u32) -> String {
    format!("${}", f64::from(micro) / 1e6)
}

/// Pairs between which media go one way and come back another.
fn other_way_back(topology: &Topology, document: &Document, ways: &[Paths<'_>], warnings: &mut Problems<'_>) {
    let mut first: Option<(usize, Vec<usize>, Vec<usize>)> = None;
    let mut count = 0;
    for (from, paths) in ways.iter().enumerate() {
        for (to, back) in ways.iter().enumerate().skip(from + 1) {
            let (Some(there), Some(mut back)) = (paths.indices(to), back.indices(from)) else { continue };
            back.reverse();
            if there != back {
                count += 1;
                back.reverse();
                first.get_or_insert((from, there, back));
            }
        }
    }
    let Some((from, there, back)) = first else { return };
    let shown = |way: Vec<usize>| way.iter().map(|index| name(topology, *index)).collect::<Vec<_>>().join(" → ");
    let others = match count {
        1 => String::new(),
        2 => " (and another pair)".to_owned(),
        more => format!(" (and {} other pairs)", more - 1),
    };
    let what = format!("media take another way back: {}, but {}{others}", shown(there), shown(back));
    let mend = "prices differ by direction; if that is not meant, write usd_gb for the link";
    warnings.add(&place(document, name(topology, from)), what, mend);
}

/// Links and regions that could not carry what is published, if every region watches all of it.
fn overloaded(topology: &Topology, document: &Document, ways: &[Paths<'_>], warnings: &mut Problems<'_>) {
    let mut loads: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for ((region, paths), to) in topology.regions.iter().zip(ways).map(|found| (found, 0..topology.regions.len())) {
        let Some(mbps) = region.load_mbps.filter(|mbps| *mbps > 0) else { continue };
        let mut tree: Vec<(usize, usize)> = Vec::new();
        for way in to.filter_map(|to| paths.indices(to)) {
            tree.extend(way.iter().copied().zip(way.iter().copied().skip(1)));
        }
        // One copy crosses each link, however many regions are behind it.
        tree.sort_unstable();
        tree.dedup();
        for ends in tree {
            *loads.entry(ends).or_default() += u64::from(mbps);
        }
    }
    for (&(from, to), mbps) in &loads {
        let (from, to) = (name(topology, from), name(topology, to));
        let most = topology.link(&RegionId::new(from), &RegionId::new(to)).and_then(|link| link.max_mbps);
        if let Some(most) = most.filter(|most| u64::from(*most) < *mbps) {
            let entry = document.links.iter().find(|link| {
                (link.from.value == from && link.to.value == to || link.from.value == to && link.to.value == from)
                    && link.max_mbps.as_ref().is_some_and(|found| found.value == most)
            });
            let place = entry.and_then(|entry| entry.max_mbps.as_ref()).map_or(0..0, |most| most.span.clone());
            let what = format!("from {from} to {to} up to {mbps} Mbps are expected; the link carries {most}");
            warnings.add(&place, what, "layers will be shed there: raise max_mbps, or spread the load");
        }
    }
    for (index, region) in topology.regions.iter().enumerate() {
        let sent: u64 = loads.iter().filter(|((from, _), _)| *from == index).map(|(_, mbps)| mbps).sum();
        if let Some(most) = region.max_mbps.filter(|most| u64::from(*most) < sent) {
            let entry = document.regions.iter().find(|entry| entry.id.value == region.id.as_str());
            let place = entry.and_then(|entry| entry.max_mbps.as_ref()).map_or(0..0, |most| most.span.clone());
            let what = format!("region {} is expected to send up to {sent} Mbps to others; it can send {most}", region.id);
            warnings.add(&place, what, "raise max_mbps, or let it forward less");
        }
    }
}

/// Regions that one loss cuts off from most others.
fn fragile(topology: &Topology, document: &Document, warnings: &mut Problems<'_>) {
    let count = topology.regions.len();
    if topology.mode == Mode::Mesh && count > 2 {
        // Everybody reaches everybody.
        return;
    }
    let mut losses: BTreeMap<Vec<usize>, Vec<String>> = BTreeMap::new();
    let mut lose = |region: Option<usize>, link: Option<(usize, usize)>, what: String| {
        if let Some(lost) = cut_off(topology, document, region, link) {
            losses.entry(lost).or_default().push(what);
        }
    };
    for region in 0..count {
        lose(Some(region), None, format!("region {}", name(topology, region)));
    }
    // A link that others can stand in for is in no spanning tree that avoids it; so any one tree holds all that matter.
    for ends in spanning(topology) {
        lose(None, Some(ends), format!("the link {}–{}", name(topology, ends.0), name(topology, ends.1)));
    }
    for (lost, losses) in losses {
        let names: Vec<_> = lost.iter().map(|index| name(topology, *index)).collect();
        let first = names.first().copied().unwrap_or_default();
        let are = if names.len() == 1 { "is" } else { "are" };
        let what = format!("{} {are} cut off if {} is lost", listed(&names, "and"), listed(&losses, "or"));
        let tier = lost.first().and_then(|index| topology.regions.get(*index)).map(|region| region.tier);
        let mend = match (topology.mode, tier) {
            (Mode::Mesh, _) => "a third region would stand in".to_owned(),
            (Mode::Tree, Some(Tier::Leaf)) => format!("give {first} another parent"),
            (Mode::Tree, _) => format!("link {first} to another hub"),
        };
        warnings.add(&place(document, first), what, mend);
    }
}

fn listed(names: &[impl AsRef<str>], word: &str) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [firsts @ .., last] => format!("{} {word} {last}", firsts.join(", ")),
    }
}

/// Who is not among the largest group any more when a region or a link is lost; of equal groups that of the region written
/// first stays. `None`: nobody.
fn cut_off(
    topology: &Topology,
    document: &Document,
    region: Option<usize>,
    link: Option<(usize, usize)>,
) -> Option<Vec<usize>> {
    let mut group: Vec<Option<usize>> = vec![None; topology.regions.len()];
    let mut sizes = Vec::new();
    let written = document.regions.iter().filter_map(|region| topology.index(&RegionId::new(region.id.value.as_str())));
    for start in written.filter(|start| Some(*start) != region) {
        if group.get(start).is_none_or(Option::is_some) {
            continue;
        }
        let mut waiting = vec![start];
        let mut size = 0_usize;
        while let Some(at) = waiting.pop() {
            match group.get_mut(at) {
                Some(slot @ None) => *slot = Some(sizes.len()),
                _ => continue,
            }
            size += 1;
            let next = topology.links.get(at).into_iter().flatten().map(|(to, _)| *to);
            waiting.extend(next.filter(|to| Some(*to) != region && ![Some((at, *to)), Some((*to, at))].contains(&link)));
        }
        sizes.push(size);
    }
    let largest = sizes.iter().enumerate().rev().max_by_key(|(_, size)| **size).map(|(index, _)| index);
    let lost = |(index, group): (usize, &Option<usize>)| (group.is_some() && *group != largest).then_some(index);
    let lost: Vec<usize> = group.iter().enumerate().filter_map(lost).collect();
    (!lost.is_empty()).then_some(lost)
}

/// Links of one tree that joins all regions.
fn spanning(topology: &Topology) -> Vec<(usize, usize)> {
    let mut seen = vec![false; topology.regions.len()];
    let mut waiting = vec![(0, 0)];
    let mut tree = Vec::new();
    while let Some((before, at)) = waiting.pop() {
        match seen.get_mut(at) {
            Some(seen @ false) => *seen = true,
            _ => continue,
        }
        if before != at {
            tree.push((before, at));
        }
        waiting.extend(topology.links.get(at).into_iter().flatten().map(|(to, _)| (at, *to)));
    }
    tree
}

/// With nodes listed, a region without any is a name only, and one without a core is on its own.
fn without_nodes(topology: &Topology, document: &Document, warnings: &mut Problems<'_>) {
    if topology.nodes.is_empty() {
        return;
    }
    for region in &document.regions {
        let id = region.id.value.as_str();
        let mut nodes = topology.nodes.iter().filter(|node| node.region.as_str() == id).peekable();
        if nodes.peek().is_none() {
            let what = format!("region {id} has no node, though nodes are listed");
            warnings.add(&region.id.span, what, "list one, or remove the region");
        } else if document.regions.len() > 1 && !nodes.any(|node| node.role.is_core()) {
            let what = format!("region {id} has edges only: cores link regions, so nothing links it to others");
            warnings.add(&region.id.span, what, "give one of its nodes role = \"both\"");
        }
    }
}
