//! The cascade's figures for Prometheus: one series per link of this process, and sizes. Part of [`super::metrics`].

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::Labels;
use crate::cascade::status::{LinkStatus, Status};

/// Links that a page has series for; a node with more neighbours shows its first ones. Raising it costs the scraper.
const LINKS_MOST: usize = 1_024;

type Figure = Gauge<f64, AtomicU64>;

/// Adds everything to a page.
pub(super) fn register(registry: &mut Registry, nodes: &[Status]) {
    if nodes.is_empty() {
        return;
    }
    sizes(registry, nodes);
    let links: Vec<(Labels, &LinkStatus)> = nodes
        .iter()
        .flat_map(|status| status.links.iter().map(move |link| (labels(status, link), link)))
        .take(LINKS_MOST)
        .collect();

    let figure = |of: fn(&LinkStatus) -> f64| {
        let family = Family::<Labels, Figure>::default();
        for (labels, link) in &links {
            family.get_or_create(labels).set(of(link));
        }
        family
    };
    registry.register("link_up", "1 for each link that is up; a link that is down has no series", figure(|_| 1.0));
    let rtt = figure(|link| f64::from(link.metrics.rtt_us) / 1e6);
    registry.register_with_unit("link_rtt", "Round trip time", Unit::Seconds, rtt);
    let loss = figure(|link| f64::from(link.metrics.loss_permille) / 1e3);
    registry.register("link_loss_ratio", "Share of the packets sent lately that were lost", loss);
    let queue = figure(|link| f64::from(link.metrics.queue_ms) / 1e3);
    registry.register_with_unit("link_queue", "How long a packet queued now waits until it is sent", Unit::Seconds, queue);
    let target = figure(|link| f64::from(link.metrics.target_kbps) * 1e3);
    registry.register("link_target_bps", "Bits per second that the congestion controller would send", target);

    let both = |of: fn(&LinkStatus) -> [u64; 2]| {
        let family = Family::<Labels, Counter>::default();
        for (labels, link) in &links {
            for (direction, count) in ["in", "out"].into_iter().zip(of(link)) {
                let mut labels = labels.clone();
                labels.push(("direction", direction.to_owned()));
                family.get_or_create(&labels).inc_by(count);
            }
        }
        family
    };
    registry.register("link_bytes", "Bytes of media", both(|link| [link.bytes_in, link.bytes_out]));
    registry.register("link_packets", "Packets of media", both(|link| [link.packets_in, link.packets_out]));
    let shed = Family::<Labels, Counter>::default();
    for (labels, link) in &links {
        shed.get_or_create(labels).inc_by(link.shed);
    }
    registry.register("link_shed_packets", "Packets of media that were not sent for want of capacity", shed);
}

fn sizes(registry: &mut Registry, nodes: &[Status]) {
    let size = |of: fn(&Status) -> u64| {
        let family = Family::<Labels, Gauge>::default();
        for status in nodes {
            family.get_or_create(&vec![("from", name(status))]).set(i64::try_from(of(status)).unwrap_or(i64::MAX));
        }
        family
    };
    registry.register(
        "cascade_nodes",
        "Nodes that can be reached, this one included",
        size(|status| status.nodes.len() as u64),
    );
    registry.register("cascade_tracks", "Tracks that this node has or forwards", size(|status| status.tracks.len() as u64));
    registry.register("cascade_epoch", "Of the topology document in force", size(|status| status.epoch));
}

/// `from` is this end, of which `weir dev` has several; `node` and `region` are the other.
fn labels(status: &Status, link: &LinkStatus) -> Labels {
    vec![("from", name(status)), ("node", link.node.to_string()), ("region", link.region.to_string())]
}

fn name(status: &Status) -> String {
    status.me.as_ref().map(|me| me.id.to_string()).unwrap_or_default()
}
