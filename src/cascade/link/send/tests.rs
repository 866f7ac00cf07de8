//! Stories in virtual time: a sender, and a transport that takes what the test allows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A sender and what it handed over.
struct Story {
    sender: Sender,
    now: Instant,
    network: Network,
    done: Vec<Action>,
    events: Vec<Event>,
    frames: u32,
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// All the room there is.
const ROOMY: u64 = 1 << 40;

impl Story {
    fn new() -> Self {
        let network = Network { budget: ROOMY, datagram_space: 64 << 10, rtt: ms(20), ..Network::default() };
        Self { sender: Sender::default(), now: Instant::now(), network, done: Vec::new(), events: Vec::new(), frames: 0 }
    }

    fn video(&mut self, flow: u32, class: Class, timestamp: u32, key: bool, marker: bool) {
        self.sized(flow, class, timestamp, key, marker, 1_000);
    }

    fn sized(&mut self, flow: u32, class: Class, timestamp: u32, starts_keyframe: bool, marker: bool, size: usize) {
        let payload = vec![flow as u8; size - 12];
        let packet =
            Outgoing { flow, class, stream: 1, timestamp, starts_keyframe, marker, head: &[0x80; 12], payload: &payload };
        self.sender.push(self.now, &packet);
    }

    fn audio(&mut self, flow: u32, byte: u8) {
        let payload = [byte; 88];
        let packet = Outgoing {
            flow,
            class: Class::Audio,
            stream: 1,
            timestamp: 0,
            starts_keyframe: false,
            marker: false,
            head: &[0x80; 12],
            payload: &payload,
        };
        self.sender.push(self.now, &packet);
    }

    /// A flush with so much room.
    fn flush(&mut self, budget: u64) -> Vec<Action> {
        self.network.budget = budget;
        self.sender.update(self.now, self.network);
        let before = self.done.len();
        while let Some(action) = self.sender.next_action() {
            self.done.push(action);
        }
        while let Some(event) = self.sender.next_event() {
            self.events.push(event);
        }
        self.done[before..].to_vec()
    }

    /// Frames of 20 packets of `size` bytes at 30 a second on each flow, for so long, through a path of the network's rate.
    fn run(&mut self, time: Duration, flows: &[(u32, Class, usize)], keyframe_every: u64) {
        let end = self.now + time;
        let mut frame = 0;
        let mut carry = 0i64;
        let per_ms = (self.network.rate / 1_000) as i64;
        while self.now < end {
            let key = frame % keyframe_every == 0;
            self.frames += 1;
            for &(flow, class, size) in flows {
                for n in 0..20 {
                    self.sized(flow, class, self.frames * 3_000, key && n == 0, n == 19, size);
                }
            }
            for _ in 0..33 {
                carry += per_ms;
                let used: usize = self.flush(carry.max(0) as u64).iter().map(bytes_of).sum();
                // What was not used is not saved: a pacer has no memory of idle moments.
                carry = (carry - used as i64).min(per_ms);
                self.now += ms(1);
            }
            frame += 1;
        }
    }

    fn shed(&self) -> Vec<u32> {
        let shed = self.events.iter().filter_map(|event| match event {
            Event::Shed { flow } => Some(*flow),
            Event::KeyframeWanted { .. } => None,
        });
        shed.collect()
    }

    fn wanted(&self) -> Vec<u32> {
        let wanted = self.events.iter().filter_map(|event| match event {
            Event::KeyframeWanted { flow } => Some(*flow),
            Event::Shed { .. } => None,
        });
        wanted.collect()
    }
}

fn bytes_of(action: &Action) -> usize {
    match action {
        Action::Datagram(bytes) | Action::Write { bytes, .. } => bytes.len(),
        Action::Open { .. } | Action::Finish { .. } | Action::Reset { .. } => 0,
    }
}

/// Actions in short: `d` datagram, `o1 w1 f1 r1` a stream's, by key.
fn short(actions: &[Action]) -> String {
    let one = |action: &Action| match action {
        Action::Datagram(_) => "d".to_owned(),
        Action::Open { key, .. } => format!("o{}", key.0),
        Action::Write { key, .. } => format!("w{}", key.0),
        Action::Finish { key } => format!("f{}", key.0),
        Action::Reset { key, .. } => format!("r{}", key.0),
    };
    actions.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_frame_is_a_stream_and_its_packets_leave_as_they_come() {
    let mut story = Story::new();
    story.video(7, Class::Base, 0, true, false);
    assert_eq!(short(&story.flush(ROOMY)), "o0 w0");
    story.video(7, Class::Base, 0, false, false);
    assert_eq!(short(&story.flush(ROOMY)), "w0");
    story.video(7, Class::Base, 0, false, true);
    assert_eq!(short(&story.flush(ROOMY)), "w0 f0");
    let Action::Write { bytes, .. } = &story.done[1] else { panic!("a write") };
    // The flow, then length and packet.
    assert_eq!(bytes[..4], [7, 0x43, 0xE8, 0x80]);
    assert_eq!(bytes.len(), 3 + 1_000);
    let Action::Write { bytes, .. } = &story.done[2] else { panic!("a write") };
    assert_eq!(bytes[..3], [0x43, 0xE8, 0x80]);
}

#[test]
fn a_frame_without_marker_ends_where_the_next_begins() {
    let mut story = Story::new();
    story.video(7, Class::Base, 0, true, false);
    story.video(7, Class::Base, 3_000, false, false);
    story.video(7, Class::Base, 3_000, false, true);
    assert_eq!(short(&story.flush(ROOMY)), "o0 w0 f0 o1 w1 w1 f1");

    // With nothing queued the end leaves at once.
    story.video(7, Class::Base, 6_000, false, false);
    story.flush(ROOMY);
    story.video(7, Class::Base, 9_000, false, false);
    assert_eq!(short(&story.flush(ROOMY)), "f2 o3 w3");
}

#[test]
fn a_straggler_of_video_is_sent_so_that_it_cannot_be_lost() {
    let mut story = Story::new();
    story.video(7, Class::Base, 0, true, false);
    story.video(7, Class::Base, 3_000, false, false);
    story.video(7, Class::Base, 0, false, false);
    story.video(7, Class::Base, 3_000, false, true);
    story.video(7, Class::Base, 3_000, false, false);
    // Streams of their own, which end at once. The newest frame goes on in its own.
    assert_eq!(short(&story.flush(ROOMY)), "o0 w0 f0 o1 w1 o2 w2 f2 w1 f1 o3 w3 f3");
}

#[test]
fn audio_goes_first_then_base_layers_then_upgrades() {
    let mut story = Story::new();
    story.video(1, Class::Upgrade, 0, true, true);
    story.video(2, Class::Base, 0, true, true);
    story.audio(3, 0);
    let actions = story.flush(ROOMY);
    assert_eq!(short(&actions), "d o1 w1 f1 o0 w0 f0");
    let priority = |wanted| {
        let found = actions.iter().find_map(|action| match action {
            Action::Open { key, priority } if *key == Key(wanted) => Some(*priority),
            _ => None,
        });
        found.expect("opened")
    };
    assert!(priority(1) > priority(0));
}

#[test]
fn audio_waits_for_no_budget_and_video_does() {
    let mut story = Story::new();
    story.video(1, Class::Base, 0, true, true);
    story.audio(2, 0);
    assert_eq!(short(&story.flush(0)), "d");
    assert!(story.sender.is_waiting());
    assert_eq!(short(&story.flush(1)), "o0 w0 f0");
    assert!(!story.sender.is_waiting());
}

#[test]
fn audio_is_said_again_with_the_next_packet_while_the_link_loses() {
    let datagrams = |loss, bursts| {
        let mut story = Story::new();
        (story.network.loss, story.network.bursts) = (loss, bursts);
        let said = (0..4u8).map(|n| {
            story.audio(5, n);
            let said = story.flush(ROOMY).into_iter().map(|action| match action {
                Action::Datagram(bytes) => *bytes.last().expect("a packet"),
                other => panic!("{other:?}"),
            });
            said.collect::<Vec<_>>()
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(datagrams(0.0, false), [vec![0], vec![1], vec![2], vec![3]]);
    assert_eq!(datagrams(0.01, false), [vec![0], vec![1, 0], vec![2, 1], vec![3, 2]]);
    assert_eq!(datagrams(0.01, true), [vec![0], vec![1, 0], vec![2, 1, 0], vec![3, 2, 1]]);
    assert_eq!(datagrams(0.08, false), [vec![0], vec![1, 0], vec![2, 1, 0], vec![3, 2, 1]]);
}

#[test]
fn audio_never_exceeds_the_datagrams_and_is_never_shed_as_a_flow() {
    let mut story = Story::new();
    story.network.datagram_space = 150;
    story.audio(5, 1);
    story.audio(5, 2);
    assert_eq!(short(&story.flush(ROOMY)), "d", "the second waits for room in the transport");
    story.network.datagram_max = 50;
    story.flush(ROOMY);
    story.audio(5, 3);
    assert_eq!(short(&story.flush(ROOMY)), "o0 w0 f0", "too long for a datagram: by stream");
    story.network.datagram_space = 0;
    story.network.datagram_max = 1_200;
    story.flush(ROOMY);
    story.audio(5, 4);
    story.now += AUDIO_DEADLINE;
    story.flush(ROOMY);
    assert!(!story.sender.is_waiting(), "what nobody can play any more is left out");
    assert_eq!((story.sender.counters().shed, story.shed()), (1, Vec::new()));
}

#[test]
fn a_frame_past_its_deadline_sheds_its_flow_until_a_keyframe() {
    let mut story = Story::new();
    story.video(1, Class::Upgrade, 0, true, false);
    story.video(1, Class::Upgrade, 0, false, false);
    // One packet leaves, then the path is stuck.
    assert_eq!(short(&story.flush(1)), "o0 w0");
    story.now += UPGRADE_DEADLINE - ms(1);
    assert_eq!(short(&story.flush(0)), "");
    assert_eq!(story.sender.deadline(), Some(story.now + ms(1)));
    story.now += ms(1);
    assert_eq!(short(&story.flush(0)), "r0", "what is under way of it is given up");
    assert_eq!(story.shed(), [1]);

    // It comes back, but the flow is no use before its next keyframe.
    story.video(1, Class::Upgrade, 3_000, false, true);
    assert_eq!(short(&story.flush(ROOMY)), "");
    story.now += ms(500);
    story.video(1, Class::Upgrade, 6_000, true, true);
    assert_eq!(short(&story.flush(ROOMY)), "", "too soon");
    story.now += ms(500);
    story.video(1, Class::Upgrade, 9_000, true, true);
    assert_eq!(short(&story.flush(ROOMY)), "o1 w1 f1");
    assert_eq!(story.shed(), [1], "said once");
    assert_eq!(story.sender.counters(), Counters { packets: 2, shed: 3, repeated: 0 });
}

#[test]
fn what_was_lost_for_too_long_breaks_its_flow_until_a_keyframe_that_is_asked_for_at_once() {
    let mut story = Story::new();
    story.video(1, Class::Base, 0, true, true);
    story.flush(ROOMY);
    story.now += BASE_DEADLINE + story.network.rtt - ms(1);
    assert_eq!(short(&story.flush(ROOMY)), "");
    story.now += ms(1);
    assert_eq!(short(&story.flush(ROOMY)), "r0");
    assert_eq!(story.shed(), Vec::<u32>::new(), "all of it may have been acknowledged");
    story.sender.gave_up(story.now, 1);
    assert_eq!(story.sender.next_event(), Some(Event::KeyframeWanted { flow: 1 }), "it was loss: there is room");
    assert_eq!(story.sender.next_event(), None);
    story.video(1, Class::Base, 90_000, false, true);
    assert_eq!(short(&story.flush(ROOMY)), "", "of no use without what was given up");
    story.video(1, Class::Base, 93_000, true, true);
    assert_eq!(short(&story.flush(ROOMY)), "o1 w1 f1", "the keyframe mends it at once");
}

#[test]
fn a_source_that_stalls_amid_a_frame_ends_it_and_stays() {
    let mut story = Story::new();
    story.video(1, Class::Base, 0, true, false);
    story.flush(ROOMY);
    story.now += BASE_DEADLINE + story.network.rtt;
    assert_eq!(short(&story.flush(ROOMY)), "f0");
    story.video(1, Class::Base, 0, false, true);
    assert_eq!(short(&story.flush(ROOMY)), "o1 w1 f1", "late, by itself");
    story.video(1, Class::Base, 3_000, false, true);
    assert_eq!(short(&story.flush(ROOMY)), "o2 w2 f2");
    assert_eq!(story.shed(), Vec::<u32>::new());
}

#[test]
fn too_little_capacity_takes_the_dearest_upgrade_first_and_base_layers_last() {
    // 600 kB/s, 450 kB/s and 120 kB/s into 500 kB/s: only the base fits beside nothing else.
    let flows = [(1, Class::Base, 200), (2, Class::Upgrade, 1_000), (3, Class::Upgrade, 750)];
    let mut story = Story::new();
    story.network.rate = 500_000;
    story.run(ms(3_000), &flows, 30);
    assert_eq!(story.shed().first(), Some(&2), "{:?}", story.events);
    assert!(story.shed().contains(&3));
    assert!(!story.shed().contains(&1), "{:?}", story.events);

    // And when not even the base layers fit, one of them goes, the dearest.
    let flows = [(1, Class::Base, 300), (2, Class::Base, 1_000), (3, Class::Upgrade, 750)];
    let mut story = Story::new();
    story.network.rate = 300_000;
    story.run(ms(3_000), &flows, 30);
    assert_eq!(story.shed()[..2], [3, 2], "{:?}", story.events);
    assert!(!story.shed().contains(&1), "{:?}", story.events);
}

#[test]
fn what_is_left_flows_on_in_time_while_others_are_shed() {
    let flows = [(1, Class::Base, 200), (2, Class::Upgrade, 1_000)];
    let mut story = Story::new();
    story.network.rate = 300_000;
    story.run(ms(5_000), &flows, 30);
    let (frames, base) = (5_000 / 33, story.done.iter().filter(|action| matches!(action, Action::Finish { .. })).count());
    // All frames of the base, and those of the upgrade before it was shed.
    assert!(base >= frames, "{base} of {frames}");
    assert!(story.sender.queue_delay() < ms(150), "{:?}", story.sender.queue_delay());
    assert_eq!(story.shed(), [2], "it does not come and go: {:?}", story.events);
}

#[test]
fn a_shed_flow_is_asked_for_when_there_is_room_and_not_more_than_once_a_second() {
    let flows = [(1, Class::Base, 200), (2, Class::Upgrade, 1_000)];
    let mut story = Story::new();
    story.network.rate = 300_000;
    story.run(ms(2_000), &flows, 1_000);
    assert_eq!((story.shed(), story.wanted()), (vec![2], vec![]));
    story.network.rate = 2_000_000;
    story.flush(0);
    let before = story.sender.counters().packets;
    story.run(ms(5_000), &flows[..], 1_000_000);
    // The first frame of a run is a keyframe: it goes on there, without being asked.
    assert_eq!(story.wanted(), Vec::<u32>::new());
    assert!(story.sender.counters().packets - before > 5_000 / 33 * 20 * 2 - 50);

    // Without a keyframe it is asked for.
    let mut story = Story::new();
    story.network.rate = 300_000;
    story.run(ms(2_000), &flows, 1_000);
    story.network.rate = 2_000_000;
    let end = story.now + ms(4_500);
    while story.now < end {
        story.video(2, Class::Upgrade, story.wanted().len() as u32, false, true);
        story.flush(ROOMY);
        story.now += ms(10);
    }
    assert_eq!(story.wanted(), [2; 5]);
}

#[test]
fn a_flow_that_relapses_is_left_alone_for_longer_and_longer() {
    let flows = [(1, Class::Base, 100), (2, Class::Upgrade, 1_000)];
    let mut story = Story::new();
    let mut gaps = Vec::new();
    for _ in 0..4 {
        // Capacity that seems to be there and is not.
        story.network.rate = 2_000_000;
        let start = story.now;
        let sheds = story.shed().len();
        while story.sender.shed_flows() > 0 {
            assert!(story.now - start < ms(30_000), "{:?}", story.events);
            story.run(ms(100), &flows, 1);
        }
        gaps.push(story.now - start);
        story.network.rate = 200_000;
        while story.shed().len() == sheds {
            assert!(story.now - start < ms(60_000), "{:?}", story.events);
            story.run(ms(33), &flows, 1);
        }
    }
    assert!(gaps.windows(2).skip(1).all(|gaps| gaps[1] > gaps[0] + gaps[0] / 2), "{gaps:?}");
}

#[test]
fn an_ended_flow_leaves_nothing_behind() {
    let mut story = Story::new();
    story.video(1, Class::Base, 0, true, false);
    story.video(1, Class::Base, 0, false, false);
    story.audio(2, 0);
    story.flush(200);
    story.video(1, Class::Base, 0, false, false);
    story.sender.end_flow(1);
    story.sender.end_flow(2);
    assert_eq!(short(&story.flush(ROOMY)), "r0");
    assert!(!story.sender.is_waiting());
    assert_eq!(story.sender.deadline(), None);
    assert_eq!(story.sender.demand(story.now), 0);
}

#[test]
fn a_transport_that_takes_nothing_fills_no_more_than_the_queues() {
    let mut story = Story::new();
    // A rate that makes every queue look short.
    story.network.rate = 1 << 40;
    story.flush(0);
    for n in 0..40_000u32 {
        story.sized(n % 50, Class::Base, n, true, true, 1_400);
        story.sized(50 + n % 50, Class::Upgrade, n, true, true, 1_400);
        story.audio(100 + n % 50, 0);
    }
    let queues = [&story.sender.audio, &story.sender.base, &story.sender.upgrade];
    for queue in queues {
        assert!(queue.bytes() <= queue::MAX_BYTES, "{}", queue.bytes());
    }
    for flow in 1_000..40_000 {
        story.video(flow, Class::Base, 0, true, true);
    }
    assert!(story.sender.flows.len() <= MAX_FLOWS);
}

#[test]
fn another_class_or_numbering_begins_anew() {
    let mut story = Story::new();
    story.video(1, Class::Upgrade, 0, true, false);
    story.video(1, Class::Base, 0, true, true);
    assert_eq!(short(&story.flush(ROOMY)), "o1 w1 f1");
    let packet = Outgoing {
        flow: 1,
        class: Class::Base,
        stream: 2,
        timestamp: 0,
        starts_keyframe: true,
        marker: true,
        head: &[0x80; 12],
        payload: &[1],
    };
    story.sender.push(story.now, &packet);
    assert_eq!(short(&story.flush(ROOMY)), "o2 w2 f2", "the same time of another numbering is another frame");
}

proptest! {
    /// Whatever comes and whatever the transport takes: each stream is opened once, written only while it is open, ended once;
    /// a flow's frames are opened in order; nothing of a shed flow leaves before a keyframe.
    #[test]
    fn every_stream_is_sound(
        steps in prop::collection::vec((0u32..6, 0u32..4, any::<bool>(), any::<bool>(), 0u64..6_000, 0u64..120, any::<u8>()), 1..300),
        rate in 20_000u64..2_000_000,
    ) {
        let mut story = Story::new();
        story.network.rate = rate;
        let mut timestamps = BTreeMap::new();
        for (flow, forward, key, marker, budget, wait, rare) in steps {
            let timestamp: &mut u32 = timestamps.entry(flow).or_default();
            // Mostly the same frame or the next, now and then an old one.
            *timestamp = timestamp.wrapping_add(if rare < 8 { 0u32.wrapping_sub(1) } else { u32::from(forward == 0) });
            let class = [Class::Audio, Class::Base, Class::Upgrade][flow as usize % 3];
            story.video(flow, class, *timestamp, key, marker);
            story.flush(budget);
            if rare == 255 {
                story.sender.end_flow(flow);
            }
            if rare == 254 {
                story.sender.gave_up(story.now, flow);
            }
            story.now += ms(wait);
        }
        story.flush(ROOMY);
        let mut streams: BTreeMap<Key, &str> = BTreeMap::new();
        for action in &story.done {
            match action {
                Action::Open { key, .. } => prop_assert_eq!(streams.insert(*key, "open"), None),
                Action::Write { key, .. } => prop_assert_eq!(streams.get(key), Some(&"open")),
                Action::Finish { key } => prop_assert_eq!(streams.insert(*key, "ended"), Some("open")),
                Action::Reset { key, .. } => prop_assert!(streams.insert(*key, "reset").is_some_and(|was| was != "reset")),
                Action::Datagram(bytes) => prop_assert!(bytes.len() <= story.network.datagram_max),
            }
        }
        prop_assert_eq!(story.sender.unfinished, streams.values().filter(|state| **state == "open").count());
    }
}
