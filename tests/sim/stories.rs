//! Courses that are laid out by hand.

use std::time::{Duration, Instant};

use weir::id::TrackId;
use weir::rtp::{Layer, LayerSet};
use weir::sim::{Act, Sim, Weather, World};

const TRACK: TrackId = TrackId(16);

fn seconds(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

fn holds(sim: &Sim) {
    let violations = &sim.checks().violations;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Two regions of two cores and two edges each; a track from an edge of the first to both edges of the second.
fn pair() -> Sim {
    let world = World::new(&[(2, 2), (2, 2)], &[(0, 1, 40)]);
    let mut sim = Sim::new(world, Weather::default(), Instant::now(), 5);
    sim.at(seconds(1.0), Act::Publish(TRACK, 2));
    for viewer in [6, 7] {
        sim.at(seconds(1.5), Act::Watch(viewer, TRACK, LayerSet::of(Layer(0))));
    }
    sim
}

#[test]
fn everybody_knows_everybody_soon() {
    let mut sim = pair();
    sim.run(seconds(1.0));
    assert!((0..sim.len()).all(|at| sim.known(at) == 8));
}

#[test]
fn one_copy_crosses_between_regions_and_edges_share_a_core() {
    let mut sim = pair();
    sim.run(seconds(10.0));
    sim.begin_window();
    sim.run(seconds(12.0));
    sim.check_rest();
    holds(&sim);
    assert_eq!(sim.way(6, TRACK), sim.way(7, TRACK));
    assert_eq!(sim.way(6, TRACK).len(), 3);
}

#[test]
fn packets_of_the_gap_come_in_order_after_a_core_died() {
    let mut sim = pair();
    sim.run(seconds(5.0));
    let [core, ..] = sim.way(6, TRACK)[..] else { panic!("a way") };
    sim.keep_log();
    sim.at(seconds(5.03), Act::Kill(core));
    sim.run(seconds(15.0));
    holds(&sim);
    let log = sim.checks().log.as_ref().expect("a log");
    for viewer in [6, 7] {
        let numbers: Vec<u64> = log.iter().filter(|(at, ..)| *at == viewer).map(|(.., number)| *number).collect();
        assert!(numbers.len() > 90 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{viewer}: {numbers:?}");
    }
}

#[test]
fn a_drained_core_is_left_without_a_lost_packet() {
    let mut sim = pair();
    sim.run(seconds(5.0));
    let [core, ..] = sim.way(6, TRACK)[..] else { panic!("a way") };
    assert!(sim.dependents(core) > 0);
    sim.keep_log();
    sim.at(seconds(5.0), Act::Drain(core));
    sim.run(seconds(10.0));
    holds(&sim);
    assert_eq!(sim.dependents(core), 0);
    let log = sim.checks().log.as_ref().expect("a log");
    let numbers: Vec<u64> = log.iter().filter(|(at, ..)| *at == 6).map(|(.., number)| *number).collect();
    assert!(numbers.len() > 40 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[test]
fn a_track_that_nobody_watches_costs_no_link_anything() {
    let mut sim = pair();
    for viewer in [6, 7] {
        sim.at(seconds(3.0), Act::Watch(viewer, TRACK, LayerSet::EMPTY));
    }
    sim.run(seconds(30.0));
    sim.begin_window();
    sim.run(seconds(33.0));
    sim.check_rest();
    holds(&sim);
}

#[test]
fn what_rooms_say_arrives_in_order() {
    let mut sim = pair();
    for number in 0..50_u8 {
        sim.at(seconds(2.0 + 0.001 * f64::from(number)), Act::Say(2, 7, vec![number].into()));
    }
    sim.run(seconds(3.0));
    let bodies: Vec<u8> = sim.said.iter().map(|(_, _, body)| body[0]).collect();
    assert_eq!(bodies, (0..50).collect::<Vec<u8>>());
    assert!(sim.said.iter().all(|(to, from, _)| *to == 7 && Some(from) == sim.name(2)));
}
