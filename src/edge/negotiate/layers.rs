//! Simulcast: which streams of a sending m-line are taken (RFC 8853), and which of them is the smallest.

use crate::edge::sdp::{Rid, Section};
use crate::rtp::{Layer, LayerInfo};

/// Names that applications use for layers, smallest first. The first list that has all rids of an m-line orders them.
const CONVENTIONS: [&[&str]; 6] = [
    &["q", "h", "f"],
    &["l", "m", "h"],
    &["low", "mid", "high"],
    &["low", "medium", "high"],
    &["0", "1", "2", "3"],
    &["r0", "r1", "r2", "r3"],
];

/// The streams that are taken, in the offer's order: at most [`Layer::MAX`]. `answered` payload types remain of a
/// restriction to payload types; a stream that is left without one is refused (RFC 8851 §6.3).
pub(super) fn streams<'a>(section: &Section<'a>, answered: &[u8]) -> Vec<(&'a str, String)> {
    let named = |rid: &&Rid<'a>| match &section.simulcast {
        Some(sent) => sent.contains(&rid.id),
        None => true,
    };
    let taken = |rid: &Rid<'a>| Some((rid.id, restrictions(rid.restrictions, answered)?));
    let mut streams: Vec<_> = section.rids.iter().filter(named).filter_map(taken).collect();
    if let Some(sent) = &section.simulcast {
        streams.sort_by_key(|(id, _)| sent.iter().position(|sent| sent == id));
    }
    streams.truncate(Layer::MAX);
    streams
}

/// `a=rid` and `a=simulcast` of the answer.
pub(super) fn attributes(section: &Section<'_>, streams: &[(&str, String)], out: &mut Vec<String>) {
    if streams.is_empty() {
        return;
    }
    for (id, restrictions) in streams {
        let space = if restrictions.is_empty() { "" } else { " " };
        out.push(format!("rid:{id} recv{space}{restrictions}"));
    }
    if section.simulcast.is_some() {
        let ids: Vec<&str> = streams.iter().map(|(id, _)| *id).collect();
        out.push(format!("simulcast:recv {}", ids.join(";")));
    }
}

/// What the application said of each stream, smallest first.
///
/// Sizes decide if every stream has one, else bit rates, else a convention of names, else the order of the offer: senders
/// list their encodings from small to large, which is also the order `sendEncodings` is documented with.
pub(super) fn arrange(streams: &[(&str, String)], told: &[LayerInfo]) -> Vec<LayerInfo> {
    if streams.is_empty() {
        // One encoding, whatever the application had in mind: the largest it spoke of.
        let largest = told.iter().max_by_key(|layer| (pixels(layer), layer.max));
        return vec![LayerInfo { rid: None, ..largest.cloned().unwrap_or_default() }];
    }
    let info = |id: &str| {
        let said = told.iter().find(|layer| layer.rid.as_deref() == Some(id));
        said.cloned().unwrap_or_else(|| LayerInfo { rid: Some(id.into()), ..LayerInfo::default() })
    };
    let mut layers: Vec<LayerInfo> = streams.iter().map(|(id, _)| info(id)).collect();
    if layers.iter().all(|layer| pixels(layer) > 0) {
        layers.sort_by_key(|layer| (pixels(layer), layer.max, layer.fps));
    } else if layers.iter().all(|layer| layer.max.0 > 0) {
        layers.sort_by_key(|layer| layer.max);
    } else {
        let rank = |names: &[&str], layer: &LayerInfo| names.iter().position(|name| Some(*name) == layer.rid.as_deref());
        let fits = |names: &&&[&str]| layers.iter().all(|layer| rank(names, layer).is_some());
        if let Some(names) = CONVENTIONS.iter().find(fits).copied() {
            layers.sort_by_key(|layer| rank(names, layer));
        }
    }
    layers
}

fn pixels(layer: &LayerInfo) -> u64 {
    // The height alone is enough: all streams of a track have one shape.
    u64::from(layer.height.0) * u64::from(layer.width.max(1))
}

/// What an answer repeats of a stream's restrictions; `None` if no payload type is left for it.
fn restrictions(offered: &str, answered: &[u8]) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    for item in offered.split(';').map(str::trim).filter(|item| !item.is_empty()) {
        let Some(list) = item.strip_prefix("pt=") else {
            kept.push(item.to_owned());
            continue;
        };
        let left: Vec<&str> = list.split(',').filter(|pt| pt.trim().parse().is_ok_and(|pt| answered.contains(&pt))).collect();
        if left.is_empty() {
            return None;
        }
        kept.push(format!("pt={}", left.join(",")));
    }
    Some(kept.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bitrate, PixelHeight};

    fn streams(ids: &[&'static str]) -> Vec<(&'static str, String)> {
        ids.iter().map(|id| (*id, String::new())).collect()
    }

    fn told(rid: &str, height: u32, bps: u64) -> LayerInfo {
        LayerInfo { rid: Some(rid.into()), width: 0, height: PixelHeight(height), fps: 0, max: Bitrate(bps) }
    }

    fn order(ids: &[&'static str], said: &[LayerInfo]) -> Vec<String> {
        arrange(&streams(ids), said).into_iter().filter_map(|layer| layer.rid).map(String::from).collect()
    }

    #[test]
    fn sizes_order_layers_before_bit_rates_and_names() {
        assert_eq!(order(&["q", "h", "f"], &[told("q", 720, 1), told("h", 360, 2), told("f", 180, 3)]), ["f", "h", "q"]);
        assert_eq!(order(&["q", "h"], &[told("q", 0, 9), told("h", 360, 2)]), ["h", "q"]);
    }

    #[test]
    fn names_order_layers_of_unknown_size() {
        assert_eq!(order(&["f", "h", "q"], &[]), ["q", "h", "f"]);
        assert_eq!(order(&["h", "l", "m"], &[]), ["l", "m", "h"], "h is half beside q and high beside l");
        assert_eq!(order(&["2", "0", "1"], &[]), ["0", "1", "2"]);
        assert_eq!(order(&["b", "a"], &[]), ["b", "a"], "unknown names stay as listed");
    }

    #[test]
    fn without_rids_the_largest_told_layer_is_the_one() {
        let layers = arrange(&[], &[told("q", 180, 0), told("f", 720, 0)]);
        assert_eq!(layers.len(), 1);
        assert_eq!((layers[0].rid.clone(), layers[0].height), (None, PixelHeight(720)));
        assert_eq!(arrange(&[], &[]), [LayerInfo::default()]);
    }

    #[test]
    fn restrictions_to_payload_types_shrink_to_the_answered_ones() {
        assert_eq!(restrictions("pt=96,97;max-width=640", &[96]), Some("pt=96;max-width=640".into()));
        assert_eq!(restrictions("pt=97", &[96]), None);
        assert_eq!(restrictions("", &[96]), Some(String::new()));
    }
}
