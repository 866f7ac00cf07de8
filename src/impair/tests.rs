//! The path does what it is told, measured; in virtual time.

use proptest::prelude::*;

use super::*;

const PACKET: usize = 1_250;

/// Sends `count` packets, one each `every`, and returns when each arrived after it was sent.
fn run(path: &mut Path, start: Instant, count: u32, every: Duration) -> Vec<Option<Duration>> {
    (0..count)
        .map(|index| {
            let now = start + every * index;
            match path.send(now, PACKET) {
                Verdict::Lost => None,
                Verdict::Deliver(at) => Some(at - now),
            }
        })
        .collect()
}

fn lost(run: &[Option<Duration>]) -> f64 {
    run.iter().filter(|arrived| arrived.is_none()).count() as f64 / run.len() as f64
}

/// Mean length of what was lost in a row.
fn burst(run: &[Option<Duration>]) -> f64 {
    let bursts: Vec<_> = run.split(Option::is_some).filter(|burst| !burst.is_empty()).map(<[_]>::len).collect();
    bursts.iter().sum::<usize>() as f64 / bursts.len() as f64
}

fn path(impairment: Impairment) -> Path {
    Path::new(impairment, 7)
}

#[test]
fn a_perfect_path_delivers_at_once() {
    let arrived = run(&mut path(Impairment::default()), Instant::now(), 100, Duration::ZERO);
    assert!(arrived.iter().all(|delay| *delay == Some(Duration::ZERO)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn loss_and_bursts_are_as_asked(loss in 0.005..0.3_f64, length in 1.0..8.0_f64, seed: u64) {
        let mut path = Path::new(Impairment { loss, burst: length, ..Impairment::default() }, seed);
        let arrived = run(&mut path, Instant::now(), 200_000, Duration::from_millis(1));
        // Four standard errors of a mean of bursts.
        let bursts = 200_000.0 * loss / length;
        let tolerance = 4.0 * (2.0 / bursts).sqrt();
        prop_assert!((lost(&arrived) / loss - 1.0).abs() < tolerance, "{} instead of {loss}", lost(&arrived));
        // What is lost by itself makes bursts too now and then.
        let expected = if length > 1.0 { length } else { 1.0 / (1.0 - loss) };
        prop_assert!((burst(&arrived) / expected - 1.0).abs() < tolerance, "{} instead of {expected}", burst(&arrived));
    }

    #[test]
    fn packets_keep_their_order_whatever_changes(seed: u64, changes in prop::collection::vec((0.0..200.0_f64, 0.0..80.0_f64, 0..5_000_u32), 1..20)) {
        let (start, mut path, mut last) = (Instant::now(), Path::new(Impairment::default(), seed), None);
        for (round, (delay_ms, jitter_ms, rate_kbps)) in changes.into_iter().enumerate() {
            path.set(Impairment { delay_ms, jitter_ms, rate_kbps, queue_ms: 300, ..Impairment::default() });
            for index in 0..50_u32 {
                let now = start + Duration::from_millis(u64::from(index) + 50 * round as u64);
                if let Verdict::Deliver(at) = path.send(now, PACKET) {
                    prop_assert!(at >= now && last.is_none_or(|last| at >= last));
                    last = Some(at);
                }
            }
        }
    }

    #[test]
    fn nonsense_is_no_reason_to_panic(delay_ms: f64, jitter_ms: f64, loss: f64, burst: f64, rate_kbps: u32, queue_ms: u32) {
        let asked = Impairment { delay_ms, jitter_ms, loss, burst, rate_kbps, queue_ms, partition: false };
        let _ = run(&mut path(asked), Instant::now(), 50, Duration::from_millis(1));
    }
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let bad = Impairment { delay_ms: 20.0, jitter_ms: 30.0, loss: 0.1, burst: 3.0, rate_kbps: 4_000, ..Impairment::default() };
    let start = Instant::now();
    let [first, again, other] = [1, 1, 2].map(|seed| run(&mut Path::new(bad, seed), start, 5_000, Duration::from_millis(2)));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn delay_and_jitter_lie_where_they_should() {
    let mut path = path(Impairment { delay_ms: 40.0, jitter_ms: 10.0, ..Impairment::default() });
    // Far enough apart for the order not to matter.
    let arrived = run(&mut path, Instant::now(), 20_000, Duration::from_millis(20));
    let delays: Vec<f64> = arrived.iter().flatten().map(|delay| delay.as_secs_f64() * 1e3).collect();
    assert_eq!(delays.len(), 20_000);
    assert!(delays.iter().all(|delay| (40.0..50.001).contains(delay)));
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    assert!((mean - 45.0).abs() < 0.2, "{mean}");
}

#[test]
fn a_bottleneck_passes_its_rate_and_queues_no_more_than_it_may() {
    let mut path = path(Impairment { delay_ms: 10.0, rate_kbps: 5_000, queue_ms: 80, ..Impairment::default() });
    // 10 Mbps into 5 for 10 s.
    let arrived = run(&mut path, Instant::now(), 10_000, Duration::from_millis(1));
    assert!((lost(&arrived) - 0.5).abs() < 0.01, "{}", lost(&arrived));
    let longest = arrived.iter().flatten().max().copied().unwrap_or_default();
    // The delay, the whole queue, and the packet's own time in the bottleneck.
    assert!((Duration::from_millis(88)..=Duration::from_millis(93)).contains(&longest), "{longest:?}");
}

#[test]
fn a_bottleneck_that_narrows_keeps_what_waits_and_takes_longer_for_it() {
    let start = Instant::now();
    let wide = Impairment { rate_kbps: 10_000, queue_ms: 1_000, ..Impairment::default() };
    let mut path = path(wide);
    // 20 packets of 10,000 bits: 20 ms.
    let _ = run(&mut path, start, 20, Duration::ZERO);
    assert_eq!(path.queueing(start), Duration::from_millis(20));
    path.set(Impairment { rate_kbps: 1_000, ..wide });
    assert_eq!(path.queueing(start), Duration::from_millis(200));
    assert_eq!(path.queueing(start + Duration::from_millis(150)), Duration::from_millis(50));
    assert_eq!(path.queueing(start + Duration::from_secs(1)), Duration::ZERO);
}

#[test]
fn nothing_passes_a_partition_and_all_does_after_it() {
    let mut path = path(Impairment { partition: true, ..Impairment::default() });
    let start = Instant::now();
    assert_eq!(lost(&run(&mut path, start, 100, Duration::from_millis(1))), 1.0);
    path.set(Impairment::default());
    assert_eq!(lost(&run(&mut path, start + Duration::from_secs(1), 100, Duration::from_millis(1))), 0.0);
}

#[test]
fn all_loss_loses_all_and_most_loss_in_short_bursts_keeps_its_share() {
    for (loss, burst) in [(1.0, 3.0), (0.9, 2.0)] {
        let mut path = path(Impairment { loss, burst, ..Impairment::default() });
        let share = lost(&run(&mut path, Instant::now(), 50_000, Duration::from_millis(1)));
        assert!((share - loss).abs() < 0.01, "{share} instead of {loss}");
    }
}
