//! The links' congestion controller on real QUIC connections in virtual time: the cells of `cargo bench --bench congestion` that
//! must not become worse, with fixed seeds.

#![allow(clippy::indexing_slicing)] // what is wrong should stop, as in the bench

#[allow(dead_code)] // made for the bench
#[path = "../benches/congestion/ours.rs"]
mod ours;
#[allow(dead_code)]
#[path = "../benches/congestion/traffic.rs"]
mod traffic;
#[allow(dead_code)]
#[path = "../benches/congestion/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::congestion::CubicConfig;
use weir::impair::Impairment;

use ours::Ours;
use traffic::{Report, Sender};
use world::World;

const DEMAND: u64 = 10_000_000;
const WARM_UP: Duration = Duration::from_secs(2);

/// 80 ms there and back, 30 Mbps.
const PLAIN: Impairment =
    Impairment { delay_ms: 40.0, jitter_ms: 0.0, loss: 0.0, burst: 0.0, rate_kbps: 30_000, queue_ms: 100, partition: false };

/// One flow of media; losses on the way back, too. What became of it, and the queue that 95 of 100 packets found at most.
fn media(there: Impairment) -> (Report, Duration) {
    let mut world = World::new(there, Impairment { rate_kbps: 0, ..there }, 1);
    world.add(Arc::new(Ours::new(DEMAND, DEMAND)), Sender::media(DEMAND, 1), Duration::ZERO);
    world.run_until(Duration::from_secs(20));
    (world.report(0, WARM_UP), world.queue_p95(WARM_UP))
}

#[test]
fn random_loss_costs_a_retransmission_and_nothing_more() {
    for (loss, burst, least) in
        [(0.001, 0.0, 0.998), (0.01, 0.0, 0.98), (0.02, 0.0, 0.97), (0.02, 4.0, 0.98), (0.05, 0.0, 0.94)]
    {
        let (report, _) = media(Impairment { loss, burst, ..PLAIN });
        assert!(report.within[0] >= least && report.within[1] >= 0.99, "loss {loss} in bursts of {burst}: {report:?}");
    }
    let (report, _) = media(Impairment { loss: 0.1, ..PLAIN });
    assert!(report.within[1] >= 0.95, "loss 0.1: {report:?}");
}

#[test]
fn overload_keeps_the_queue_small_and_the_first_track_whole() {
    for queue_ms in [100, 500] {
        let (report, queue) = media(Impairment { rate_kbps: 8_000, queue_ms, ..PLAIN });
        assert!(queue <= Duration::from_millis(60), "{queue:?} of {queue_ms} ms");
        assert!(report.first_track >= 0.97 && report.voices >= 0.99, "{report:?}");
    }
}

#[test]
fn flows_share_a_bottleneck_and_live_beside_cubic() {
    let share = |bulk: bool| {
        let there = Impairment { rate_kbps: 10_000, ..PLAIN };
        let mut world = World::new(there, Impairment { rate_kbps: 0, ..there }, 3);
        world.add(Arc::new(Ours::new(DEMAND, DEMAND)), Sender::media(DEMAND, 1), Duration::ZERO);
        let later = Duration::from_secs(5);
        if bulk {
            world.add(Arc::new(CubicConfig::default()), Sender::bulk(), later);
        } else {
            world.add(Arc::new(Ours::new(DEMAND, DEMAND)), Sender::media(DEMAND, 2), later);
        }
        world.run_until(Duration::from_secs(50));
        world.throughput(0, 30..50) / world.throughput(1, 30..50)
    };
    let ours = share(false);
    assert!((0.5..2.0).contains(&ours), "{ours}");
    let beside_cubic = share(true);
    assert!((0.1..4.0).contains(&beside_cubic), "{beside_cubic}");
}
