//! A topology as a picture that needs nothing else: hubs above leaves in a tree; in a mesh places on the map, or a circle.
//! Colours follow the reader's light or dark theme.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write;

use super::{dollars, summary};
use crate::cascade::topology::{Link, Mode, Region, Topology};
use crate::id::RegionId;

const BOX: (f64, f64) = (132.0, 54.0);
/// Of a label's one line.
const LINE_HEIGHT: f64 = 17.0;
/// Between the middles of boxes.
const STEP: (f64, f64) = (300.0, 190.0);
const MARGIN: (f64, f64) = (110.0, 110.0);
/// Room for title and legend.
const LEAST_WIDTH: f64 = 640.0;
/// Boxes in one row; a wider tier takes several.
const IN_ROW: usize = 10;
/// With more links their labels would hide them.
const MAX_LABELS: usize = 60;

const STYLE: &str = "\
  svg { --paper: #ffffff; --ink: #1c2430; --soft: #5b6776; --line: #7a8796; --hub: #e3edfb; --hub-edge: #2f6fd0; --leaf: #f4f5f7; --leaf-edge: #8a95a3 }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #12161c; --ink: #e8edf3; --soft: #9aa7b5; --line: #77849a; --hub: #1b2f4d; --hub-edge: #6ea4f4; --leaf: #1d232c; --leaf-edge: #6b7787 }
  }
  text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: var(--soft); text-anchor: middle; dominant-baseline: central }
  .title { font-size: 17px; font-weight: 600; fill: var(--ink); text-anchor: start }
  .name { font-size: 16px; font-weight: 600; fill: var(--ink) }
  .note { font-size: 12px }
  .start { text-anchor: start }
  .label { font-size: 12px; fill: var(--ink) }
  .pill, .paper { fill: var(--paper) }
  .link { fill: none; stroke: var(--line); stroke-width: 2 }
  .hubs { stroke: var(--hub-edge); stroke-width: 3 }
  .backup { stroke-dasharray: 3 6 }
  .hub { fill: var(--hub); stroke: var(--hub-edge); stroke-width: 2 }
  .leaf { fill: var(--leaf); stroke: var(--leaf-edge); stroke-width: 1.5 }
";

type Places<'a> = BTreeMap<&'a RegionId, (f64, f64)>;

/// What is taken: its middle and its size.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn overlaps(&self, other: &Self) -> bool {
        (self.x - other.x).abs() * 2.0 < self.width + other.width && (self.y - other.y).abs() * 2.0 < self.height + other.height
    }
}

pub(super) fn draw(topology: &Topology) -> String {
    let mut places = match topology.mode {
        Mode::Tree => tiers(topology),
        Mode::Mesh => map(topology).unwrap_or_else(|| circle(topology)),
    };
    let right = places.values().map(|place| place.0).fold(0.0, f64::max) + MARGIN.0;
    let width = right.max(LEAST_WIDTH);
    places.values_mut().for_each(|place| place.0 += (width - right) / 2.0);
    let height = places.values().map(|place| place.1).fold(0.0, f64::max) + BOX.1 / 2.0 + 80.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\" aria-label=\"Topology: {}\">\n<style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"28\" y=\"34\">Topology</text><text class=\"start\" x=\"112\" y=\"35\">{}</text>\n",
        summary(topology),
        summary(topology)
    );
    let mut taken: Vec<Area> = places.values().map(|(x, y)| Area { x: *x, y: *y, width: BOX.0, height: BOX.1 }).collect();
    let mut labels = String::new();
    let pairs: Vec<_> = topology.links().filter(|(a, b, _)| a < b).collect();
    let is_labelled = pairs.len() <= MAX_LABELS;
    for (a, b, there) in pairs {
        let (Some(from), Some(to), Some(back)) = (places.get(a), places.get(b), topology.link(b, a)) else { continue };
        let curve = Curve::between(*from, *to, &places);
        let _ = writeln!(svg, "<path class=\"link{}\" d=\"{}\"/>", classes(topology, a, b, there), curve.path());
        if is_labelled {
            label(&told((a, there), (b, back)), &curve, &mut taken, &mut labels);
        }
    }
    svg.push_str(&labels);
    for region in topology.regions() {
        if let Some(place) = places.get(&region.id) {
            region_box(topology, region, *place, &mut svg);
        }
    }
    let y = height - 28.0;
    let legend = match topology.mode {
        Mode::Tree => {
            "round trip · price of a GB, by direction where it differs · dotted: a backup, for when nothing better is up"
        }
        Mode::Mesh => "round trip, ~ estimated from the distance · price of a GB, by direction where it differs",
    };
    let _ = writeln!(svg, "<text class=\"note start\" x=\"28\" y=\"{y:.0}\">{legend}</text>\n</svg>");
    svg
}

fn classes(topology: &Topology, a: &RegionId, b: &RegionId, link: &Link) -> String {
    let is_root = |id: &RegionId| topology.region(id).is_some_and(|region| region.parents.is_empty());
    let hubs = topology.mode == Mode::Tree && is_root(a) && is_root(b);
    format!("{}{}", if hubs { " hubs" } else { "" }, if link.backup { " backup" } else { "" })
}

/// The lines of a link's label.
fn told((a, there): (&RegionId, &Link), (b, back): (&RegionId, &Link)) -> Vec<String> {
    let about = if there.estimated { "~" } else { "" };
    let rtt =
        if there.rtt_ms == back.rtt_ms { there.rtt_ms.to_string() } else { format!("{} / {}", there.rtt_ms, back.rtt_ms) };
    let rtt = format!("{about}{rtt} ms");
    match (there.price, back.price) {
        (0, 0) => vec![rtt],
        (there, back) if there == back => vec![format!("{rtt} · {}", dollars(there))],
        (there, back) => vec![rtt, format!("{a} → {}   {b} → {}", dollars(there), dollars(back))],
    }
}

/// Roots in the first row, and each other region a row below its lowest parent.
fn tiers(topology: &Topology) -> Places<'_> {
    let mut rows: Vec<Vec<&Region>> = Vec::new();
    for region in topology.regions() {
        let depth = depth(topology, region);
        if rows.len() <= depth {
            rows.resize(depth + 1, Vec::new());
        }
        if let Some(row) = rows.get_mut(depth) {
            row.push(region);
        }
    }
    let widest = rows.iter().map(|row| row.len().min(IN_ROW)).max().unwrap_or(1);
    let middle = MARGIN.0 + (widest as f64 - 1.0) * STEP.0 / 2.0;
    let mut places = Places::new();
    let mut y = MARGIN.1;
    for row in &mut rows {
        // Children stand under the middle of their parents; roots from west to east.
        let wish = |region: &&Region| match region.geo {
            _ if !region.parents.is_empty() => {
                let above: Vec<f64> =
                    region.parents.iter().filter_map(|parent| places.get(parent)).map(|place| place.0).collect();
                above.iter().sum::<f64>() / above.len().max(1) as f64
            }
            Some(geo) => f64::from(geo.lon),
            None => 0.0,
        };
        row.sort_by(|a, b| wish(a).total_cmp(&wish(b)).then_with(|| a.id.cmp(&b.id)));
        for line in row.chunks(IN_ROW) {
            let left = middle - (line.len() as f64 - 1.0) * STEP.0 / 2.0;
            for (index, region) in line.iter().enumerate() {
                places.insert(&region.id, (left + index as f64 * STEP.0, y));
            }
            y += STEP.1;
        }
    }
    places
}

fn depth(topology: &Topology, region: &Region) -> usize {
    // Parents go in no circle: the document was checked.
    let above = region.parents.iter().filter_map(|parent| topology.region(parent));
    above.map(|parent| 1 + depth(topology, parent)).max().unwrap_or(0)
}

/// Where regions are on the globe, if all say so and none would hide another.
fn map(topology: &Topology) -> Option<Places<'_>> {
    let geos: Option<Vec<(&RegionId, f64, f64)>> = topology
        .regions()
        .map(|region| region.geo.map(|geo| (&region.id, f64::from(geo.lon) / 1e6, -f64::from(geo.lat) / 1e6)))
        .collect();
    let geos = geos.filter(|geos| geos.len() > 1)?;
    let low = |pick: fn(&(&RegionId, f64, f64)) -> f64| geos.iter().map(pick).fold(f64::INFINITY, f64::min);
    let high = |pick: fn(&(&RegionId, f64, f64)) -> f64| geos.iter().map(pick).fold(f64::NEG_INFINITY, f64::max);
    let (west, east, north, south) = (low(|geo| geo.1), high(|geo| geo.1), low(|geo| geo.2), high(|geo| geo.2));
    // Wide enough for labels between neighbours; heights are stretched, since most places lie in one belt.
    let width = (STEP.0 * 1.3 * (geos.len() as f64 - 1.0)).clamp(500.0, 1_400.0);
    let height = (width * 0.45).min(width / (east - west).max(1.0) * (south - north).max(1.0) * 3.0).max(150.0);
    let place = |(id, lon, lat): &(&'_ RegionId, f64, f64)| {
        let x = MARGIN.0 + (lon - west) / (east - west).max(1e-6) * width;
        let y = MARGIN.1 + (lat - north) / (south - north).max(1e-6) * height;
        (topology.region(id).map(|region| &region.id), (x, y))
    };
    let places: Places<'_> = geos.iter().map(place).filter_map(|(id, place)| Some((id?, place))).collect();
    let boxes: Vec<Area> =
        places.values().map(|(x, y)| Area { x: *x, y: *y, width: BOX.0 + 90.0, height: BOX.1 + 30.0 }).collect();
    let hides = boxes.iter().enumerate().any(|(index, one)| boxes.iter().skip(index + 1).any(|other| one.overlaps(other)));
    (!hides).then_some(places)
}

fn circle(topology: &Topology) -> Places<'_> {
    let count = topology.regions().len() as f64;
    let radius = (count * STEP.0 * 0.9 / TAU).max(170.0);
    let place = |index: usize| {
        let angle = TAU * (index as f64 / count - 0.25);
        (MARGIN.0 + radius * (1.0 + angle.cos()), MARGIN.1 + radius * (1.0 + angle.sin()))
    };
    topology.regions().enumerate().map(|(index, region)| (&region.id, place(index))).collect()
}

/// A line that bends around what stands in between.
struct Curve {
    from: (f64, f64),
    bend: (f64, f64),
    to: (f64, f64),
}

impl Curve {
    fn between(from: (f64, f64), to: (f64, f64), places: &Places<'_>) -> Self {
        let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        let straight = Self { from, bend: middle, to };
        let is_hit = |curve: &Self| {
            let others = places.values().filter(|place| **place != from && **place != to);
            others.into_iter().any(|(x, y)| {
                let around = Area { x: *x, y: *y, width: BOX.0 + 12.0, height: BOX.1 + 12.0 };
                (1..20).any(|step| {
                    let (x, y) = curve.at(f64::from(step) / 20.0);
                    around.overlaps(&Area { x, y, width: 0.0, height: 0.0 })
                })
            })
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        // Upward or to the left first: rows have room above them.
        let bent = |by: f64| Self { bend: (middle.0 + dy / length * by, middle.1 - dx.abs() / length * by), ..straight };
        let tries = [0.0, 120.0, -120.0, 200.0, -200.0].map(bent);
        tries.into_iter().find(|curve| !is_hit(curve)).unwrap_or(straight)
    }

    fn at(&self, t: f64) -> (f64, f64) {
        let mix = |a: f64, b: f64, c: f64| (1.0 - t) * (1.0 - t) * a + 2.0 * t * (1.0 - t) * b + t * t * c;
        (mix(self.from.0, self.bend.0, self.to.0), mix(self.from.1, self.bend.1, self.to.1))
    }

    fn path(&self) -> String {
        let Self { from, bend, to } = self;
        format!("M{:.1} {:.1} Q{:.1} {:.1} {:.1} {:.1}", from.0, from.1, bend.0, bend.1, to.0, to.1)
    }
}

/// A label where its line has room for it.
fn label(lines: &[String], curve: &Curve, taken: &mut Vec<Area>, labels: &mut String) {
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (width, height) = (12.0 + widest as f64 * 6.6, 4.0 + lines.len() as f64 * LINE_HEIGHT);
    let area = |t: f64| {
        let (x, y) = curve.at(t);
        Area { x, y, width, height }
    };
    let tries = [0.5, 0.42, 0.58, 0.35, 0.65, 0.28, 0.72];
    let is_free = |area: &Area| !taken.iter().any(|other| area.overlaps(other));
    let area = tries.map(area).into_iter().find(is_free).unwrap_or_else(|| area(0.5));
    let (left, top) = (area.x - width / 2.0, area.y - height / 2.0);
    let _ = write!(
        labels,
        "<rect class=\"pill\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"9\"/>"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = top + 2.0 + LINE_HEIGHT * (index as f64 + 0.5);
        let _ = write!(labels, "<text class=\"label\" x=\"{:.1}\" y=\"{y:.1}\">{line}</text>", area.x);
    }
    labels.push('\n');
    taken.push(area);
}

fn region_box(topology: &Topology, region: &Region, (x, y): (f64, f64), svg: &mut String) {
    let class = if region.parents.is_empty() { "hub" } else { "leaf" };
    let nodes = topology.nodes.iter().filter(|node| node.region == region.id).count();
    let mut notes = Vec::new();
    if nodes > 0 {
        notes.push(format!("{nodes} node{}", if nodes == 1 { "" } else { "s" }));
    }
    if topology.mode == Mode::Tree {
        notes.push(if region.parents.is_empty() { "hub".to_owned() } else { format!("under {}", parent(region)) });
    }
    if notes.is_empty() {
        notes.push(format!("{} / GB", dollars(region.price)));
    }
    // A name may be longer than the box is wide.
    let name = region.id.as_str();
    let squeeze = if name.len() > 13 {
        format!(" textLength=\"{:.0}\" lengthAdjust=\"spacingAndGlyphs\"", BOX.0 - 12.0)
    } else {
        String::new()
    };
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{}\" height=\"{}\" rx=\"12\"/>\
         <text class=\"name\" x=\"{x:.1}\" y=\"{:.1}\"{squeeze}>{name}</text><text class=\"note\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
        x - BOX.0 / 2.0,
        y - BOX.1 / 2.0,
        BOX.0,
        BOX.1,
        y - 9.0,
        y + 12.0,
        notes.join(" · ")
    );
}

fn parent(region: &Region) -> &str {
    region.parents.first().map_or("", RegionId::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> String {
        draw(&Topology::parse(text).expect("sound").0)
    }

    #[test]
    fn every_region_and_every_link_is_in_the_picture_with_its_figures() {
        let svg = drawn(include_str!("../../../cascade/dev.toml"));
        for part in [">fra<", ">iad<", ">sin<", ">90 ms · $0.02<", ">160 ms<", ">fra → $0.02   sin → $0.09<", ">225 ms<"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert_eq!(svg.matches("<path").count(), 3);
        assert_eq!(svg.matches("class=\"link backup\"").count(), 1, "sin to its second parent");
        let mesh = drawn(include_str!("../../../cascade/three-region-mesh.toml"));
        assert!(mesh.contains(">210 ms<") && mesh.contains(">~129 ms · $0.02<"), "{mesh}");
    }

    #[test]
    fn no_box_hides_another_however_many_there_are() {
        let regions: String = (0..40).map(|n| format!("[[region]]\nid = 'r{n}'\ngeo = [{n}, 0]\n")).collect();
        for mode in ["mesh", "tree"] {
            let links: String = (1..40).map(|n| format!("[[link]]\nfrom = 'r0'\nto = 'r{n}'\nrtt_ms = 9\n")).collect();
            let text = format!("version = 1\nepoch = 1\nmode = '{mode}'\n{regions}{links}");
            let (topology, _) = Topology::parse(&text).expect("sound");
            let places = match mode {
                "mesh" => map(&topology).unwrap_or_else(|| circle(&topology)),
                _ => tiers(&topology),
            };
            let boxes: Vec<Area> = places.values().map(|(x, y)| Area { x: *x, y: *y, width: BOX.0, height: BOX.1 }).collect();
            assert_eq!(boxes.len(), 40);
            for (index, one) in boxes.iter().enumerate() {
                assert!(!boxes.iter().skip(index + 1).any(|other| one.overlaps(other)), "{mode}: {index}");
            }
        }
    }
}
