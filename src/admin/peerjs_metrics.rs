//! Metrics of the broker of PeerJS clients. Part of [`super::metrics`]; the counters belong to the broker.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::edge::peerjs::Stats;

/// Adds them all. Taken apart without `..`, so that a new one cannot be forgotten here.
pub(super) fn register(registry: &mut Registry, stats: &Stats) {
    let Stats { peers, claims, waiting, opened, taken, replaced, delivered, expired, dropped, malformed, bodies_refused } =
        *stats;
    for (name, help, count) in [
        ("peerjs_peers", "PeerJS clients that have their id", peers),
        ("peerjs_claims", "Ids of PeerJS clients of which this node is the home", claims),
        ("peerjs_waiting", "Messages that wait for a PeerJS client to come", waiting),
    ] {
        registry.register(name, help, ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)));
    }
    for (name, help, count) in [
        ("peerjs_opened", "PeerJS clients that got their id", opened),
        ("peerjs_taken", "PeerJS clients that wanted an id which another has", taken),
        ("peerjs_replaced", "Sockets given up for a newer one of the same PeerJS client", replaced),
        ("peerjs_delivered", "Messages handed to PeerJS clients", delivered),
        ("peerjs_expired", "Calls of PeerJS clients that nobody came for", expired),
        (
            "peerjs_dropped",
            "Messages of PeerJS clients dropped for their rate or number, or since the receiver reads too slowly",
            dropped,
        ),
        ("peerjs_malformed", "What PeerJS clients said that was no message", malformed),
        ("peerjs_bodies_refused", "Messages of other nodes' brokers that could not be read", bodies_refused),
    ] {
        registry.register(name, help, ConstCounter::new(count));
    }
}
