//! The estimator, the pacer and the feedback on paths in virtual time: the cells of `cargo bench --bench bandwidth` that must not
//! become worse, with fixed seeds.

#![allow(clippy::indexing_slicing)] // what is wrong should stop, as in the bench

#[path = "bandwidth/cells.rs"]
#[allow(dead_code)] // made for the bench
mod cells;
#[path = "../benches/bandwidth/world.rs"]
#[allow(dead_code)]
mod world;

use cells::{elastic, layers, near, steps};
use world::{Path, Report, Source, run};

const SEEDS: std::ops::Range<u64> = 1..4;

/// Runs it with each seed.
fn each(path: &Path, source: &Source, seconds: u64, check: impl Fn(u64, &Report)) {
    for seed in SEEDS {
        check(seed, &run(path, source, seconds, seed));
    }
}

fn late_freezes(report: &Report) -> usize {
    report.freezes.iter().filter(|&&at| at >= 5).count()
}

#[test]
fn layers_follow_a_path_that_narrows_to_a_tenth_and_widens_again() {
    for queue_ms in [50, 150, 300, 500] {
        each(&steps(queue_ms), &layers(), 60, |seed, report| {
            let at = format!("queue {queue_ms} ms, seed {seed}");
            assert!(report.seconds[3].layer == 3, "{at}: the top layer within 3 s");
            assert!(late_freezes(report) <= 1, "{at}: {:?}", report.freezes);
            assert!(report.seconds[22..40].iter().all(|second| second.layer <= 1), "{at}: no more than fits");
            let shown = report.seconds[25..40].iter().filter(|second| second.layer == 1).count();
            assert!(shown >= 9, "{at}: what fits is shown: {shown} of 15 s");
            assert!(report.queue(0.95, 25..40) <= 110.0, "{at}: {}", report.queue(0.95, 25..40));
            let again = report.arrived_at(40, 1_200_000);
            assert!(again.is_some_and(|seconds| seconds <= 8), "{at}: the top layer again after {again:?} s");
        });
    }
}

#[test]
fn an_encoder_follows_too() {
    for queue_ms in [50, 150, 300, 500] {
        each(&steps(queue_ms), &elastic(), 60, |seed, report| {
            let at = format!("queue {queue_ms} ms, seed {seed}");
            assert!(report.utilisation(5..20) >= 0.8, "{at}: {}", report.utilisation(5..20));
            assert!(report.utilisation(25..40) >= 0.8, "{at}: {}", report.utilisation(25..40));
            assert!(report.queue(0.95, 5..20) <= 150.0, "{at}: {}", report.queue(0.95, 5..20));
            let again = report.arrived_at(40, 2_400_000);
            assert!(again.is_some_and(|seconds| seconds <= 10), "{at}: {again:?}");
        });
    }
}

#[test]
fn loss_that_is_not_congestion_costs_nothing() {
    for loss in [0.0, 0.01, 0.02, 0.05, 0.1] {
        each(&Path { loss, ..Path::plain(1_000_000) }, &elastic(), 40, |seed, report| {
            let (used, queue) = (report.utilisation(5..40), report.queue(0.95, 5..40));
            assert!(used >= 0.83 && queue <= 110.0, "loss {loss}, seed {seed}: {used}, {queue} ms");
        });
        each(&Path { loss, ..Path::plain(3_000_000) }, &layers(), 30, |seed, report| {
            let top = report.seconds[6..30].iter().all(|second| second.layer == 3);
            assert!(top, "loss {loss}, seed {seed}: the top layer stays");
        });
    }
}

#[test]
fn a_flow_that_fills_the_queue_does_not_starve_it_and_is_not_starved() {
    for queue_ms in [50, 150, 300] {
        let path = Path { competitor: Some((10, 50)), queue_ms, ..Path::plain(2_000_000) };
        each(&path, &elastic(), 60, |seed, report| {
            let (ours, theirs) = (report.rate(15..50), report.others(15..50));
            assert!(ours >= 100e3 && theirs >= 400e3, "queue {queue_ms} ms, seed {seed}: {ours} beside {theirs}");
            let again = report.arrived_at(50, 1_600_000);
            assert!(again.is_some_and(|seconds| seconds <= 9), "queue {queue_ms} ms, seed {seed}: {again:?}");
        });
    }
}

#[test]
fn lost_feedback_is_survived() {
    for feedback_loss in [0.1, 0.3] {
        each(&Path { feedback_loss, ..steps(150) }, &layers(), 60, |seed, report| {
            let again = report.arrived_at(40, 1_200_000);
            assert!(again.is_some_and(|seconds| seconds <= 10), "{feedback_loss}, seed {seed}: {again:?}");
            assert!(late_freezes(report) <= 2, "{feedback_loss}, seed {seed}: {:?}", report.freezes);
        });
    }
}

#[test]
fn a_narrow_path_shows_the_layer_that_fits_without_a_freeze() {
    for queue_ms in [100, 200, 300] {
        each(&Path { queue_ms, ..Path::plain(500_000) }, &layers(), 60, |seed, report| {
            let at = format!("queue {queue_ms} ms, seed {seed}");
            assert_eq!(late_freezes(report), 0, "{at}: {:?}", report.freezes);
            assert!(report.seconds[5..60].iter().all(|second| second.layer == 1), "{at}");
            assert!(report.queue(0.95, 5..60) <= 60.0, "{at}: {}", report.queue(0.95, 5..60));
            assert!(report.padding * 15 <= report.sent, "{at}: {} of {}", report.padding, report.sent);
        });
    }
}

#[test]
fn a_shaper_that_lets_bursts_through_is_seen_through() {
    // So many freezes at most from 5 s on, and none any more after so many seconds.
    for (bucket, most, settled) in [(3_000, 0, 5), (10_000, 1, 20), (30_000, 6, 40)] {
        let path = Path { queue_ms: 200, rtt_ms: 10, bucket, ..Path::plain(500_000) };
        each(&path, &near(), 90, |seed, report| {
            let at = format!("bucket of {bucket} bytes, seed {seed}");
            assert!(late_freezes(report) <= most, "{at}: {:?}", report.freezes);
            assert!(report.freezes.iter().all(|&freeze| freeze < settled), "{at}: {:?}", report.freezes);
            let shown = report.seconds[20..90].iter().filter(|second| second.layer == 2).count();
            assert!(shown >= 40, "{at}: what fits is shown: {shown} of 70 s");
        });
    }
}
