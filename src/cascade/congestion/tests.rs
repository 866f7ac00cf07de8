//! The controller in virtual time, in a plain model of a QUIC sender: paced by its window as quinn does it, one acknowledgement for two
//! packets, loss by three later ones. Real connections are in `tests/congestion.rs`.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::impair::{Impairment, Path, Verdict};

const PACKET: u64 = 1_250;
const STEP: Duration = Duration::from_millis(1);
/// The way back of acknowledgements.
const BACK: Duration = Duration::from_millis(40);
/// A lone packet's acknowledgement waits so long.
const ACK_DELAY: Duration = Duration::from_millis(25);

/// Sends what the application makes at its rate, retransmissions first.
struct Flow {
    controller: Controller,
    demand: Bitrate,
    backlog: f64,
    tokens: f64,
    smoothed: Duration,
    /// Unacknowledged: number, when sent, and when its acknowledgement comes, if it was not lost.
    flight: VecDeque<(u64, Instant, Option<Instant>)>,
    unpaired: bool,
    next: u64,
    delivered: u64,
}

impl Flow {
    fn new(now: Instant, start: Bitrate, demand: Bitrate) -> Self {
        let mut controller = Controller::new(now, start);
        controller.set_demand(demand);
        let smoothed = Duration::from_millis(80);
        Self {
            controller,
            demand,
            backlog: 0.0,
            tokens: 0.0,
            smoothed,
            flight: VecDeque::new(),
            unpaired: false,
            next: 0,
            delivered: 0,
        }
    }

    fn want(&mut self, demand: Bitrate) {
        self.demand = demand;
        self.controller.set_demand(demand);
    }

    fn step(&mut self, now: Instant, path: &mut Path) {
        self.acknowledge(now);
        // What is late is given up, as a link does.
        let longest = self.demand.0 as f64 / 8.0 * 0.3;
        self.backlog = (self.backlog + self.demand.0 as f64 / 8.0 * STEP.as_secs_f64()).min(longest.max(PACKET as f64));
        let pace = self.controller.window() as f64 * 1.25 / self.smoothed.as_secs_f64();
        self.tokens = (self.tokens + pace * STEP.as_secs_f64()).min(pace * 0.002 + 10.0 * PACKET as f64);
        while self.backlog >= PACKET as f64
            && self.tokens >= PACKET as f64
            && (self.flight.len() as u64 + 1) * PACKET <= self.controller.window()
        {
            self.backlog -= PACKET as f64;
            self.tokens -= PACKET as f64;
            self.controller.on_sent(now, PACKET);
            let arrived = match path.send(now, PACKET as usize) {
                Verdict::Lost => None,
                Verdict::Deliver(at) => Some(at + BACK + if self.unpaired { Duration::ZERO } else { ACK_DELAY / 5 }),
            };
            self.unpaired = !self.unpaired;
            self.flight.push_back((self.next, now, arrived));
            self.next += 1;
        }
    }

    fn acknowledge(&mut self, now: Instant) {
        let limited = self.backlog < PACKET as f64;
        let mut largest = None;
        self.flight.retain(|(number, sent, arrived)| {
            if arrived.is_none_or(|at| at > now) {
                return true;
            }
            largest = Some(*number);
            let rtt = now - *sent;
            self.smoothed = (self.smoothed * 7 + rtt) / 8;
            self.delivered += PACKET;
            self.controller.on_ack(now, *sent, PACKET, self.smoothed, limited);
            false
        });
        let mut lost = (0, now);
        self.flight.retain(|(number, sent, arrived)| {
            let silent = now - *sent > Duration::from_secs(1);
            let is_lost = arrived.is_none() && (largest.is_some_and(|largest| largest >= number + 3) || silent);
            lost = if is_lost { (lost.0 + PACKET, *sent) } else { lost };
            !is_lost
        });
        if lost.0 > 0 {
            self.backlog += lost.0 as f64;
            let persistent = now - lost.1 > Duration::from_secs(1);
            self.controller.on_lost(now, lost.1, lost.0, persistent);
        }
    }
}

/// Flows that share a bottleneck.
struct World {
    now: Instant,
    path: Path,
    flows: Vec<Flow>,
    queue: Vec<Duration>,
}

impl World {
    fn new(impairment: Impairment) -> Self {
        Self { now: Instant::now(), path: Path::new(impairment, 5), flows: Vec::new(), queue: Vec::new() }
    }

    fn flow(mut self, start: Bitrate, demand: Bitrate) -> Self {
        self.flows.push(Flow::new(self.now, start, demand));
        self
    }

    /// Bits per second that each flow got through meanwhile.
    fn run(&mut self, seconds: f64) -> Vec<f64> {
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.delivered).collect();
        self.queue.clear();
        for _ in 0..(seconds * 1e3) as u64 {
            for flow in &mut self.flows {
                flow.step(self.now, &mut self.path);
            }
            self.queue.push(self.path.queueing(self.now));
            self.now += STEP;
        }
        self.flows.iter().zip(before).map(|(flow, before)| (flow.delivered - before) as f64 * 8.0 / seconds).collect()
    }

    /// 95 of 100 samples of the queue in the last run are not above it.
    fn queue_p95(&mut self) -> Duration {
        self.queue.sort_unstable();
        self.queue[self.queue.len() * 95 / 100]
    }
}

fn bottleneck(rate_kbps: u32) -> Impairment {
    Impairment { delay_ms: 40.0, rate_kbps, queue_ms: 300, ..Impairment::default() }
}

const ONE: Bitrate = Bitrate::mbps(1);
const EIGHT: Bitrate = Bitrate::mbps(8);
const TEN: Bitrate = Bitrate::mbps(10);

#[test]
fn it_starts_with_the_rate_it_is_given() {
    let controller = Controller::new(Instant::now(), EIGHT);
    assert_eq!(controller.rate(), EIGHT);
    assert!(controller.window() > 8_000_000 / 8 / 10, "{}", controller.window());
}

#[test]
fn more_wanted_than_the_path_carries_fills_it_and_keeps_its_queue_small() {
    let mut world = World::new(bottleneck(8_000)).flow(TEN, TEN);
    world.run(3.0);
    let got = world.run(20.0)[0];
    assert!(got > 7.2e6, "{got}");
    assert!(world.queue_p95() < Duration::from_millis(50), "{:?}", world.queue_p95());
}

#[test]
fn random_loss_is_no_reason_to_send_less() {
    for (loss, burst) in [(0.01, 0.0), (0.02, 4.0), (0.05, 0.0), (0.1, 0.0)] {
        let mut world = World::new(Impairment { loss, burst, ..bottleneck(40_000) }).flow(TEN, TEN);
        world.run(2.0);
        let got = world.run(30.0)[0];
        assert!(got > 9.5e6, "{got} at a loss of {loss}");
    }
}

#[test]
fn less_capacity_is_noticed_within_a_second_and_more_within_two() {
    let mut world = World::new(bottleneck(10_000)).flow(EIGHT, EIGHT);
    world.run(5.0);
    world.path.set(bottleneck(3_000));
    world.run(1.0);
    let narrow = world.run(5.0)[0];
    assert!(narrow > 2.6e6, "{narrow}");
    assert!(world.queue_p95() < Duration::from_millis(60), "{:?}", world.queue_p95());
    world.path.set(bottleneck(10_000));
    world.run(2.0);
    let wide = world.run(2.0)[0];
    assert!(wide > 7.8e6, "{wide}");
}

#[test]
fn a_new_demand_is_met_within_a_second() {
    let mut world = World::new(bottleneck(20_000)).flow(ONE, Bitrate::kbps(300));
    world.run(5.0);
    world.flows[0].want(EIGHT);
    world.run(1.0);
    let got = world.run(1.0)[0];
    assert!(got > 7.8e6, "{got}");
}

#[test]
fn it_does_not_probe_far_beyond_what_is_wanted() {
    let mut world = World::new(Impairment { delay_ms: 40.0, ..Impairment::default() }).flow(ONE, EIGHT);
    world.run(10.0);
    assert!(world.flows[0].controller.rate() <= Bitrate::mbps(16), "{}", world.flows[0].controller.rate());
}

#[test]
fn what_was_reached_is_there_at_once_when_demand_comes_back() {
    let mut world = World::new(bottleneck(20_000)).flow(ONE, EIGHT);
    world.run(5.0);
    world.flows[0].want(Bitrate::kbps(300));
    world.run(5.0);
    world.flows[0].want(EIGHT);
    assert!(world.flows[0].controller.rate() >= EIGHT);
}

#[test]
fn two_flows_share_within_two_to_one_whoever_was_first() {
    let mut world = World::new(bottleneck(10_000)).flow(TEN, TEN);
    world.run(5.0);
    let mut world = world.flow(TEN, TEN);
    world.run(25.0);
    let got = world.run(20.0);
    let ratio = got[0] / got[1];
    assert!((0.5..2.0).contains(&ratio) && got[0] + got[1] > 8.5e6, "{got:?}");
    assert!(world.queue_p95() < Duration::from_millis(60), "{:?}", world.queue_p95());
}

#[test]
fn a_longer_route_is_not_taken_for_a_queue_for_long() {
    let mut world = World::new(bottleneck(20_000)).flow(EIGHT, EIGHT);
    world.run(10.0);
    world.path.set(Impairment { delay_ms: 100.0, ..bottleneck(20_000) });
    world.run(15.0);
    let got = world.run(5.0)[0];
    assert!(got > 7.5e6, "{got}");
}

#[test]
fn an_outage_does_not_last_longer_than_it_lasts() {
    let mut world = World::new(bottleneck(20_000)).flow(EIGHT, EIGHT);
    world.run(5.0);
    world.path.set(Impairment { partition: true, ..bottleneck(20_000) });
    world.run(2.0);
    world.path.set(bottleneck(20_000));
    world.run(2.5);
    let got = world.run(2.0)[0];
    assert!(got > 7.5e6, "{got}");
}

#[test]
fn a_small_buffer_is_found_and_kept_below() {
    let mut world = World::new(Impairment { queue_ms: 20, ..bottleneck(8_000) }).flow(TEN, TEN);
    world.run(3.0);
    let got = world.run(20.0)[0];
    let loss = world.flows[0].controller.loss();
    assert!(got > 6.4e6 && loss < 0.03, "{got} with a loss of {loss}");
}

proptest! {
    /// Whatever it is told, in whatever order and at whatever time, it stays within its bounds.
    #[test]
    fn nonsense_does_not_break_it(calls in prop::collection::vec((0..4_u8, 0..200_000_u64, 0..3_000_000_u64, 0..2_000_000_u64), 1..400)) {
        let start = Instant::now() + Duration::from_secs(10);
        let (mut controller, mut now) = (Controller::new(start, ONE), start);
        for (call, bytes, passed, ago) in calls {
            // Now and then time stands still, leaps, or goes back.
            now = if passed % 7 == 0 { now - Duration::from_micros(passed / 10) } else { now + Duration::from_micros(passed) };
            let sent = now - Duration::from_micros(ago) + Duration::from_micros(if ago % 5 == 0 { ago * 2 } else { 0 });
            match call {
                0 => controller.on_sent(now, bytes),
                1 => controller.on_lost(now, sent, bytes, bytes % 3 == 0),
                2 => controller.set_demand(Bitrate(bytes * 1_000)),
                _ => (0..4).for_each(|_| controller.on_ack(now, sent, bytes, Duration::from_micros(ago), bytes % 2 == 0)),
            }
            prop_assert!((LEAST_RATE..=MOST_RATE).contains(&controller.rate()), "{}", controller.rate());
            prop_assert!(controller.window() >= LEAST_WINDOW as u64);
        }
    }
}
