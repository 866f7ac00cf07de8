//! Metrics in the OpenMetrics text format. Counters belong to the shards and the hub; this turns one reading of them into a page.

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::process::Process;
use super::{Phase, link_metrics, peerjs_metrics, turn_metrics};
use crate::cascade::status::Status;
use crate::edge::{hub, peerjs};
use crate::id::{NodeId, RegionId};
use crate::shard::stats::{Drops, ShardStats};
use crate::turn;

/// What [`encode`] returns.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One reading of everything.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) node: &'a NodeId,
    pub(super) region: &'a RegionId,
    pub(super) phase: Phase,
    /// By shard index; none for one that did not answer.
    pub(super) shards: &'a [Option<ShardStats>],
    /// None when the hub did not answer.
    pub(super) rooms: Option<&'a hub::Snapshot>,
    /// Of each node in this process that the cascade joins and that answered.
    pub(super) cascade: &'a [Status],
    /// None without a STUN and TURN server, or when it did not answer.
    pub(super) turn: Option<&'a turn::Stats>,
    /// None when the broker did not answer.
    pub(super) peerjs: Option<&'a peerjs::Stats>,
}

/// Labels by name.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The page for a scrape.
pub(super) fn encode(snapshot: &Snapshot<'_>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("weir");
    let node = Info::new(vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("node", snapshot.node.to_string()),
        ("region", snapshot.region.to_string()),
    ]);
    registry.register("node", "Which node and version this is", node);
    let ready = i64::from(snapshot.phase == Phase::Serving);
    registry.register("ready", "1 when new members may be sent here", ConstGauge::new(ready));
    shards(&mut registry, snapshot.shards);
    if let Some(snapshot) = snapshot.rooms {
        rooms(&mut registry, snapshot);
    }
    link_metrics::register(&mut registry, snapshot.cascade);
    if let Some(stats) = snapshot.turn {
        turn_metrics::register(&mut registry, stats);
    }
    if let Some(stats) = snapshot.peerjs {
        peerjs_metrics::register(&mut registry, stats);
    }
    process(&mut registry, &Process::read());
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

fn shards(registry: &mut Registry, shards: &[Option<ShardStats>]) {
    let up = Family::<Labels, Gauge>::default();
    for (index, stats) in shards.iter().enumerate() {
        up.get_or_create(&shard_label(index)).set(stats.is_some().into());
    }
    registry.register("shard_up", "1 when the shard answered this scrape", up);

    for (at, (name, help, _)) in gauges(&ShardStats::default()).into_iter().enumerate() {
        let family = Family::<Labels, Gauge>::default();
        for (index, stats) in shards.iter().enumerate() {
            if let Some((_, _, value)) = stats.as_ref().and_then(|stats| gauges(stats).into_iter().nth(at)) {
                family.get_or_create(&shard_label(index)).set(value.into());
            }
        }
        registry.register(name, help, family);
    }

    let readings: Vec<_> = shards.iter().map(|stats| stats.as_ref().map(counters)).collect();
    let names = counters(&ShardStats::default());
    for (at, (name, help, _)) in names.into_iter().enumerate() {
        let family = Family::<Labels, Counter>::default();
        for (index, reading) in readings.iter().enumerate() {
            if let Some((_, _, value)) = reading.as_ref().and_then(|reading| reading.get(at)) {
                family.get_or_create(&shard_label(index)).inc_by(*value);
            }
        }
        registry.register(name, help, family);
    }

    let dropped = Family::<Labels, Counter>::default();
    for (index, stats) in shards.iter().enumerate() {
        for (reason, count) in stats.iter().flat_map(|stats| drops(&stats.dropped)) {
            let mut labels = shard_label(index);
            labels.push(("reason", reason.to_owned()));
            dropped.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("dropped", "Datagrams and packets dropped, by reason", dropped);
}

fn shard_label(index: usize) -> Labels {
    vec![("shard", index.to_string())]
}

/// What a shard has now, by name and meaning.
fn gauges(stats: &ShardStats) -> [(&'static str, &'static str, u32); 4] {
    [
        ("peers", "Members whose media is on this shard", stats.peers),
        ("tracks", "Tracks that this shard knows", stats.tracks),
        ("subscriptions", "Tracks forwarded to members, one for each member", stats.subscriptions),
        ("shard_busy_percent", "Share of its time that the shard's thread worked lately", stats.busy_percent),
    ]
}

/// Counters by name and meaning. Taken apart without `..`, so that a new one cannot be forgotten here.
fn counters(stats: &ShardStats) -> Vec<(&'static str, &'static str, u64)> {
    let ShardStats {
        peers: _,
        tracks: _,
        subscriptions: _,
        busy_percent: _,
        datagrams_in,
        bytes_in,
        datagrams_out,
        bytes_out,
        rtp_in,
        rtp_out,
        rtx_out,
        paced,
        pacer_drops,
        padding_bytes_out,
        nacks_in,
        nacks_out,
        keyframe_requests_out,
        pipe_packets_out,
        pipe_drops,
        send_errors,
        relief_steps,
        dropped: _,
    } = stats;
    vec![
        ("datagrams_in", "Datagrams received", *datagrams_in),
        ("bytes_in", "Bytes received in datagrams", *bytes_in),
        ("datagrams_out", "Datagrams sent", *datagrams_out),
        ("bytes_out", "Bytes sent in datagrams", *bytes_out),
        ("rtp_in", "RTP packets received from publishers", *rtp_in),
        ("rtp_out", "RTP packets forwarded, one for each subscriber", *rtp_out),
        ("rtx_out", "RTP packets sent again because a subscriber lacked them", *rtx_out),
        ("paced", "Packets that waited for their turn on a path before they were sent", *paced),
        ("pacer_drops", "Packets dropped because too many waited for a path", *pacer_drops),
        ("padding_bytes_out", "Bytes sent to find out what paths carry", *padding_bytes_out),
        ("nacks_in", "Requests for retransmission from subscribers", *nacks_in),
        ("nacks_out", "Requests for retransmission to publishers", *nacks_out),
        ("keyframe_requests_out", "Key frames asked of publishers", *keyframe_requests_out),
        ("pipe_packets_out", "Packets handed to other shards", *pipe_packets_out),
        ("pipe_drops", "Packets dropped because another shard was behind", *pipe_drops),
        ("send_errors", "Sends that the kernel refused", *send_errors),
        ("relief_steps", "Times that pictures were made smaller for want of time", *relief_steps),
    ]
}

fn drops(drops: &Drops) -> [(&'static str, u64); 10] {
    let Drops { unknown_source, bad_stun, bad_dtls, bad_srtp, replayed, bad_rtp, bad_rtcp, unknown_ssrc, queue_full, no_time } =
        drops;
    [
        ("unknown_source", *unknown_source),
        ("bad_stun", *bad_stun),
        ("bad_dtls", *bad_dtls),
        ("bad_srtp", *bad_srtp),
        ("replayed", *replayed),
        ("bad_rtp", *bad_rtp),
        ("bad_rtcp", *bad_rtcp),
        ("unknown_ssrc", *unknown_ssrc),
        ("queue_full", *queue_full),
        ("no_time", *no_time),
    ]
}

fn rooms(registry: &mut Registry, snapshot: &hub::Snapshot) {
    let whole = |count: usize| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
    registry.register("rooms", "Rooms with members", whole(snapshot.rooms.len()));
    registry.register("members", "Members, those who are waited for included", whole(snapshot.members));
    registry.register("sockets", "Open WebSockets, those without a session included", whole(snapshot.sockets));
    let hub::Counters {
        joins,
        leaves,
        replaced,
        timed_out,
        resumes,
        resumes_missed,
        refused,
        malformed,
        data_relayed,
        data_dropped,
        bodies_refused,
    } = snapshot.counters;
    for (name, help, count) in [
        ("joins", "Members that joined", joins),
        ("leaves", "Members that left", leaves),
        ("replaced", "Sessions ended by a newer one of the same identity", replaced),
        ("timed_out", "Sessions that nobody came back for in time", timed_out),
        ("resumes", "Sessions taken up again after their socket was lost", resumes),
        ("resumes_missed", "Attempts to take up a session that was over, or with a wrong secret", resumes_missed),
        ("refused", "Requests answered with an error", refused),
        ("malformed", "Frames that were no messages", malformed),
        ("data_relayed", "Data channel messages passed on, one for each receiver", data_relayed),
        ("data_dropped", "Data channel messages dropped for their size, their rate or a missing grant", data_dropped),
        ("bodies_refused", "Messages of other nodes' rooms that could not be read", bodies_refused),
    ] {
        registry.register(name, help, ConstCounter::new(count));
    }
}

/// Under the names that Prometheus client libraries agree on, behind our prefix.
fn process(registry: &mut Registry, process: &Process) {
    let whole = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    if let Some(bytes) = process.resident_bytes {
        registry.register_with_unit("process_resident_memory", "Memory held", Unit::Bytes, whole(bytes));
    }
    if let Some(seconds) = process.cpu_seconds {
        registry.register_with_unit("process_cpu", "CPU time used, user and system", Unit::Seconds, ConstCounter::new(seconds));
    }
    if let Some(count) = process.open_fds {
        registry.register("process_open_fds", "Open file descriptors", whole(count));
    }
    if let Some(count) = process.max_fds {
        registry.register("process_max_fds", "File descriptors that may be open", whole(count));
    }
    if let Some(count) = process.threads {
        registry.register("process_threads", "Threads", whole(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_shard_and_says_which_is_silent() {
        let stats =
            ShardStats { peers: 3, rtp_out: 70, dropped: Drops { bad_stun: 2, ..Drops::default() }, ..ShardStats::default() };
        let refused = turn::Refusals { quota: 4, ..turn::Refusals::default() };
        let relay = turn::Stats { allocations: 5, bytes_to_peers: 600, refused, ..turn::Stats::default() };
        let page = encode(&Snapshot {
            node: &NodeId::new("n1"),
            region: &RegionId::new("fra"),
            phase: Phase::Serving,
            shards: &[Some(stats), None],
            rooms: None,
            cascade: &[],
            turn: Some(&relay),
            peerjs: Some(&peerjs::Stats { peers: 7, expired: 8, ..peerjs::Stats::default() }),
        })
        .expect("metrics encode");
        for line in [
            "weir_node_info{version=\"0.1.0\",node=\"n1\",region=\"fra\"} 1",
            "weir_ready 1",
            "weir_shard_up{shard=\"0\"} 1",
            "weir_shard_up{shard=\"1\"} 0",
            "weir_peers{shard=\"0\"} 3",
            "weir_rtp_out_total{shard=\"0\"} 70",
            "weir_dropped_total{shard=\"0\",reason=\"bad_stun\"} 2",
            "weir_turn_allocations 5",
            "weir_turn_bytes_to_peers_total 600",
            "weir_turn_refused_total{reason=\"quota\"} 4",
            "weir_peerjs_peers 7",
            "weir_peerjs_expired_total 8",
        ] {
            assert!(page.lines().any(|found| found == line), "{page}\nlacks {line}");
        }
        assert!(page.ends_with("# EOF\n"));
        assert!(!page.contains("weir_peers{shard=\"1\"}"), "a silent shard is not a shard of zero peers");
    }
}
