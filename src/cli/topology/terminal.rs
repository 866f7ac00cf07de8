//! A topology drawn with characters: a tree from its hubs down, a mesh as a table of round trips.

use super::dollars;
use crate::cascade::topology::{Link, Mode, Region, Topology};
use crate::id::RegionId;

/// Hubs side by side in one line; more than these wrap.
const HUBS_IN_LINE: usize = 5;

pub(super) fn draw(topology: &Topology) -> String {
    match topology.mode {
        Mode::Tree => tree(topology),
        Mode::Mesh => mesh(topology),
    }
}

fn tree(topology: &Topology) -> String {
    let roots: Vec<&Region> = topology.regions().filter(|region| region.parents.is_empty()).collect();
    let mut text = String::new();
    for line in roots.chunks(HUBS_IN_LINE) {
        text.push_str(&boxes(topology, line));
    }
    let mut others = Vec::new();
    for (a, b, link) in topology.links().filter(|(from, to, _)| from < to) {
        let place = |id: &RegionId| roots.iter().position(|root| root.id == *id);
        if let (Some(a_at), Some(b_at)) = (place(a), place(b)) {
            let is_drawn = a_at.abs_diff(b_at) == 1 && a_at / HUBS_IN_LINE == b_at / HUBS_IN_LINE;
            others.extend((!is_drawn).then(|| format!("{a} – {b}  {} ms", link.rtt_ms)));
        }
    }
    for other in others {
        text.push_str(&format!("  {other}\n"));
    }
    for root in &roots {
        let children = children(topology, root);
        if !children.is_empty() {
            text.push_str(&format!("\n{}\n", root.id));
            branches(topology, root, "", roots.len(), &mut text);
        }
    }
    text
}

/// Hubs as boxes, and the links between neighbours.
fn boxes(topology: &Topology, hubs: &[&Region]) -> String {
    let (mut top, mut middle, mut bottom, mut above) = (String::new(), String::new(), String::new(), String::new());
    for (index, hub) in hubs.iter().enumerate() {
        let name = hub.id.as_str();
        let bar = "─".repeat(name.len() + 2);
        let before = index.checked_sub(1).and_then(|before| hubs.get(before));
        let link = before.and_then(|before| topology.link(&before.id, &hub.id));
        let next = hubs.get(index + 1).is_some_and(|next| topology.link(&hub.id, &next.id).is_some());
        if index > 0 {
            let label = link.map(|link| format!(" {} ms ", link.rtt_ms)).unwrap_or_default();
            let width = label.chars().count() + 4;
            above.push_str(&format!("{label:^width$}"));
            top.push_str(&" ".repeat(width));
            middle.push_str(&(if link.is_some() { "─" } else { " " }).repeat(width));
            bottom.push_str(&" ".repeat(width));
        } else {
            for line in [&mut above, &mut top, &mut middle, &mut bottom] {
                line.push_str("  ");
            }
        }
        above.push_str(&" ".repeat(name.len() + 4));
        top.push_str(&format!("┌{bar}┐"));
        middle.push_str(&format!("{} {name} {}", if link.is_some() { "┤" } else { "│" }, if next { "├" } else { "│" }));
        bottom.push_str(&format!("└{bar}┘"));
    }
    // The round trips stand on their lines.
    let top = overlaid(&top, &above);
    format!("{}\n{}\n{}\n", top.trim_end(), middle.trim_end(), bottom.trim_end())
}

/// Two lines as one; where both have something, the first.
fn overlaid(first: &str, second: &str) -> String {
    first.chars().zip(second.chars()).map(|(a, b)| if a == ' ' { b } else { a }).collect()
}

fn children<'a>(topology: &'a Topology, parent: &Region) -> Vec<&'a Region> {
    topology.regions().filter(|region| region.parents.first() == Some(&parent.id)).collect()
}

/// Those whose first parent a region is, and below them theirs. Parents go in no circle, so that this ends.
fn branches(topology: &Topology, parent: &Region, indent: &str, roots: usize, text: &mut String) {
    let children = children(topology, parent);
    let width = children.iter().map(|child| child.id.as_str().len()).max().unwrap_or(0);
    for (index, child) in children.iter().enumerate() {
        let is_last = index + 1 == children.len();
        let told = |link: &Link| format!("{:>4} ms", link.rtt_ms);
        let link = topology.link(&child.id, &parent.id).map(told).unwrap_or_default();
        let backups: Vec<_> = child
            .parents
            .iter()
            .skip(1)
            .filter_map(|other| Some(format!("{other} {} ms", topology.link(&child.id, other)?.rtt_ms)))
            .collect();
        let backups = match backups.as_slice() {
            [] if roots > 1 => "no other parent".to_owned(),
            [] => String::new(),
            some => format!("or by {}", some.join(", ")),
        };
        let price = format!("{}/GB", dollars(child.price));
        let line = format!("{}── {:width$} {link}  {price:9}  {backups}", if is_last { "└" } else { "├" }, child.id.as_str());
        text.push_str(&format!("{indent}{}\n", line.trim_end()));
        branches(topology, child, &format!("{indent}{}   ", if is_last { " " } else { "│" }), roots, text);
    }
}

fn mesh(topology: &Topology) -> String {
    let ids: Vec<&RegionId> = topology.regions().map(|region| &region.id).collect();
    let width = ids.iter().map(|id| id.as_str().len()).max().unwrap_or(0).max(5);
    let mut estimated = false;
    let mut text = format!("{:width$} │", "ms");
    text.extend(ids.iter().map(|id| format!(" {:>width$}", id.as_str())));
    text.push_str(&format!("\n{}─┼{}\n", "─".repeat(width), "─".repeat((width + 1) * ids.len())));
    for from in &ids {
        text.push_str(&format!("{:width$} │", from.as_str()));
        for to in &ids {
            let cell = match topology.link(from, to) {
                Some(link) if link.estimated => {
                    estimated = true;
                    format!("~{}", link.rtt_ms)
                }
                Some(link) => link.rtt_ms.to_string(),
                None => "·".to_owned(),
            };
            text.push_str(&format!(" {cell:>width$}"));
        }
        text.push('\n');
    }
    if estimated {
        text.push_str("\n~ estimated from the distance\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> String {
        draw(&Topology::parse(text).expect("sound").0)
    }

    #[test]
    fn a_tree_is_drawn_from_its_hubs_down() {
        let expected = "  ┌─────┐   90 ms   ┌─────┐
  │ fra ├───────────┤ iad │
  └─────┘           └─────┘

fra
└── sin  160 ms  $0.09/GB   or by iad 225 ms
";
        assert_eq!(drawn(include_str!("../../../cascade/dev.toml")), expected);
    }

    #[test]
    fn a_mesh_is_drawn_as_a_table() {
        let expected = "\
ms    │   lhr   nrt   sfo
──────┼──────────────────
lhr   │     ·   210  ~129
nrt   │   210     ·  ~123
sfo   │  ~129  ~123     ·

~ estimated from the distance
";
        assert_eq!(drawn(include_str!("../../../cascade/three-region-mesh.toml")), expected);
    }
}
