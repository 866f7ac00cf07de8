//! Metrics of the STUN and TURN server. Part of [`super::metrics`]; the counters belong to its thread.

use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::metrics::Labels;
use crate::turn::{Drops, Refusals, Stats};

/// Adds them all. Taken apart without `..`, so that a new one cannot be forgotten here.
pub(super) fn register(registry: &mut Registry, stats: &Stats) {
    let Stats {
        allocations,
        users,
        connections,
        allocated,
        expired,
        bindings,
        challenges,
        packets_to_peers,
        bytes_to_peers,
        packets_to_clients,
        bytes_to_clients,
        refused,
        dropped,
    } = stats;
    for (name, help, value) in [
        ("turn_allocations", "Relayed addresses in use", allocations),
        ("turn_users", "Users who hold a relayed address", users),
        ("turn_connections", "TCP and TLS connections to the TURN server", connections),
    ] {
        registry.register(name, help, ConstGauge::new(i64::from(*value)));
    }
    for (name, help, value) in [
        ("turn_allocated", "Relayed addresses given out", allocated),
        ("turn_expired", "Relayed addresses that nobody refreshed", expired),
        ("turn_bindings", "STUN binding requests answered", bindings),
        ("turn_challenges", "Requests without credentials, answered with a nonce", challenges),
        ("turn_packets_to_peers", "Packets relayed from clients to peers", packets_to_peers),
        ("turn_bytes_to_peers", "Bytes relayed from clients to peers", bytes_to_peers),
        ("turn_packets_to_clients", "Packets relayed from peers to clients", packets_to_clients),
        ("turn_bytes_to_clients", "Bytes relayed from peers to clients", bytes_to_clients),
    ] {
        registry.register(name, help, ConstCounter::new(*value));
    }
    by_reason(registry, "turn_refused", "TURN requests and connections refused, by reason", &refusals(refused));
    by_reason(registry, "turn_dropped", "Datagrams and data dropped by the TURN server, by reason", &drops(dropped));
}

fn by_reason(registry: &mut Registry, name: &str, help: &str, counts: &[(&str, u64)]) {
    let family = Family::<Labels, Counter>::default();
    for (reason, count) in counts {
        family.get_or_create(&vec![("reason", (*reason).to_owned())]).inc_by(*count);
    }
    registry.register(name, help, family);
}

fn refusals(refused: &Refusals) -> [(&'static str, u64); 11] {
    let Refusals {
        unauthorized,
        stale_nonce,
        wrong_credentials,
        forbidden,
        quota,
        capacity,
        mismatch,
        unsupported,
        bad_request,
        connections,
        handshakes,
    } = *refused;
    [
        ("unauthorized", unauthorized),
        ("stale_nonce", stale_nonce),
        ("wrong_credentials", wrong_credentials),
        ("forbidden", forbidden),
        ("quota", quota),
        ("capacity", capacity),
        ("mismatch", mismatch),
        ("unsupported", unsupported),
        ("bad_request", bad_request),
        ("connections", connections),
        ("handshakes", handshakes),
    ]
}

fn drops(dropped: &Drops) -> [(&'static str, u64); 6] {
    let Drops { malformed, unknown, no_permission, forbidden, over_rate, unsent } = *dropped;
    [
        ("malformed", malformed),
        ("unknown", unknown),
        ("no_permission", no_permission),
        ("forbidden", forbidden),
        ("over_rate", over_rate),
        ("unsent", unsent),
    ]
}
