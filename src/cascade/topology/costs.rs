//! What a link costs: from prices, round trips and weights to one integer for each direction.

use std::collections::BTreeMap;

use super::document::{Document, LinkEntry, Problems, RegionEntry, Weights};
use super::{Link, MAX_COST, Mode, Topology, geo};
use crate::id::RegionId;

/// Regions that one message names; the rest is counted.
const MAX_NAMED: usize = 3;

/// Written links by their ends.
type ByEnds<'a> = BTreeMap<(&'a str, &'a str), &'a LinkEntry>;

/// Gives every pair that may link its two costs.
pub(super) fn link_up(topology: &mut Topology, document: &Document, problems: &mut Problems<'_>) {
    let written: ByEnds<'_> =
        document.links.iter().map(|link| ((link.from.value.as_str(), link.to.value.as_str()), link)).collect();
    match topology.mode {
        Mode::Tree => {
            for child in &document.regions {
                for parent in &child.parents {
                    let ends = (child.id.value.as_str(), parent.value.as_str());
                    if !written.contains_key(&ends) && !written.contains_key(&(ends.1, ends.0)) {
                        let mend = format!("write link = {{ from = \"{}\", to = \"{}\", rtt_ms = … }}", ends.0, ends.1);
                        problems.add(
                            &parent.span,
                            format!("no round trip is known from {} to its parent {}", ends.0, ends.1),
                            mend,
                        );
                    }
                }
            }
        }
        Mode::Mesh => {
            for from in &document.regions {
                check_known(from, document, &written, problems);
            }
        }
    }
    for from in &document.regions {
        for to in &document.regions {
            let ends = (from.id.value.as_str(), to.id.value.as_str());
            // An entry serves the other direction too, unless that one is written.
            let entry = written.get(&ends).or_else(|| written.get(&(ends.1, ends.0)));
            if ends.0 == ends.1 || topology.mode == Mode::Tree && entry.is_none() {
                continue;
            }
            if let Some(link) = direction(from, to, entry.copied(), written.get(&(ends.1, ends.0)).copied(), &document.weights)
            {
                topology.put(&RegionId::new(ends.0), &RegionId::new(ends.1), link);
            }
        }
    }
}

/// In a mesh: that a region's round trips to all others are written or can be estimated. Each pair is asked from one end.
fn check_known(from: &RegionEntry, document: &Document, written: &ByEnds<'_>, problems: &mut Problems<'_>) {
    let id = from.id.value.as_str();
    let is_known = |to: &&RegionEntry| {
        let rtt = |ends| written.get(&ends).is_some_and(|link: &&LinkEntry| link.rtt_ms.is_some());
        let other = to.id.value.as_str();
        rtt((id, other)) || rtt((other, id)) || from.geo.is_some() && to.geo.is_some()
    };
    let later = document.regions.iter().skip_while(|region| region.id.value != id).skip(1);
    let missing: Vec<&str> = later.filter(|to| !is_known(to)).map(|to| to.id.value.as_str()).collect();
    if missing.is_empty() {
        return;
    }
    let mut named = missing.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    if missing.len() > MAX_NAMED {
        named.push_str(&format!(" and {} others", missing.len() - MAX_NAMED));
    }
    let first = missing.first().copied().unwrap_or_default();
    let mend = format!("write link = {{ from = \"{id}\", to = \"{first}\", rtt_ms = … }}, or geo = [lat, lon] for both");
    problems.add(&from.id.span, format!("no round trip is known from {id} to {named}"), mend);
}

/// One direction: `price + RTT/2 + penalty`. `None`: no round trip is known, which has been told.
fn direction(
    from: &RegionEntry,
    to: &RegionEntry,
    entry: Option<&LinkEntry>,
    other: Option<&LinkEntry>,
    weights: &Weights,
) -> Option<Link> {
    let written = [entry, other].into_iter().flatten().find_map(|link| link.rtt_ms.as_ref());
    let (rtt_ms, estimated) = match (written, from.geo, to.geo) {
        (Some(rtt), ..) => (rtt.value, false),
        (None, Some(a), Some(b)) => (geo::rtt_ms(a, b), true),
        _ => return None,
    };
    let price = entry.and_then(|link| link.price.as_ref()).map_or(from.price, |price| price.value);
    let later = |child: &RegionEntry, of: &RegionEntry| child.parents.iter().skip(1).any(|parent| parent.value == of.id.value);
    let is_later = later(from, to) || later(to, from);
    let reasons = [is_later, from.backup_transit, to.backup_transit];
    let backups = reasons.iter().filter(|reason| **reason).count() as u64;
    let weigh = |amount: u32, weight: u32| u64::from(amount) * u64::from(weight);
    let cost = (weigh(price, weights.usd_gb) + 500_000) / 1_000_000
        + weigh(rtt_ms, weights.ms).div_ceil(2)
        + backups * u64::from(weights.backup);
    // A way that cost nothing could be gone round and round. The ranges of all three keep the sum below the maximum.
    let cost = u32::try_from(cost).unwrap_or(MAX_COST).clamp(1, MAX_COST);
    let max_mbps = entry.and_then(|link| link.max_mbps.as_ref()).map(|mbps| mbps.value);
    Some(Link { cost, rtt_ms, estimated, price, backup: is_later, max_mbps })
}
