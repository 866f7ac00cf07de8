//! Tests of `rtp::rewrite`: stories first, then random calls held against what a subscriber must see.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::rtp::{Extensions, FrameInfo};

type Source = u8;

fn packet(epoch: Instant, seq: u64, frame: u64, temporal: u8) -> Packet {
    Packet {
        arrival: epoch + Duration::from_millis(frame * 33),
        codec: Codec::Vp8,
        seq,
        timestamp: (frame as u32).wrapping_mul(3_000).wrapping_add(4_000_000_000),
        marker: false,
        ext: Extensions::default(),
        frame: FrameInfo {
            starts_keyframe: true,
            starts_frame: true,
            temporal,
            numbers: Numbers::Picture { id: frame as u16 & 0x7FFF, wide: true, offset: 2, tl0: Some((frame as u8, 4)) },
            ..FrameInfo::default()
        },
        payload: Bytes::new(),
    }
}

fn picture(rewritten: &Rewritten) -> (u16, u8) {
    match rewritten.numbers {
        Numbers::Picture { id, tl0: Some((index, _)), .. } => (id, index),
        _ => panic!("no picture numbers"),
    }
}

#[test]
fn a_switch_goes_on_by_one_everywhere() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(65_535, 1_000);
    let first = packet(epoch, 70_000, 100, 0);
    out.start(0, &first, Timestamping::Elapsed);
    let a = out.forward(0, &first).unwrap();
    assert_eq!((a.seq, a.timestamp, picture(&a)), (65_535, 1_000, (100, 100)));
    let b = out.forward(0, &packet(epoch, 70_001, 101, 0)).unwrap();
    assert_eq!((b.seq, b.timestamp, picture(&b)), (0, 4_000, (101, 101)));

    // The other layer's clock is 500 ahead, so its frame 102 is 3000 after the last.
    let mut next = packet(epoch, 500_000, 102, 0);
    next.timestamp = next.timestamp.wrapping_add(500);
    next.frame.numbers = Numbers::Picture { id: 7, wide: true, offset: 2, tl0: Some((200, 4)) };
    assert_eq!(out.forward(1, &next), None);
    out.start(1, &next, Timestamping::Mapped { delta: 500u32.wrapping_neg() });
    let c = out.forward(1, &next).unwrap();
    assert_eq!((c.seq, c.timestamp, picture(&c)), (1, 7_000, (102, 102)));
    // The old layer is over; what comes late of it still has its place, what is new of it has none.
    assert_eq!(out.forward(0, &packet(epoch, 70_002, 102, 0)), None);
    assert_eq!(out.lookup(0), Some(Sent { source: 0, seq: 70_001, ext_seq: b.ext_seq }));
    assert_eq!(out.again(&out.lookup(1).unwrap(), &next), Some(c));
}

#[test]
fn pictures_of_one_moment_get_different_timestamps() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(0, 0);
    let low = packet(epoch, 1, 10, 0);
    out.start(0, &low, Timestamping::Elapsed);
    let low = out.forward(0, &low).unwrap();
    let high = packet(epoch, 9_000, 10, 0);
    out.start(1, &high, Timestamping::Mapped { delta: 0 });
    assert_eq!(out.forward(1, &high).unwrap().timestamp, low.timestamp + 1);
}

#[test]
fn a_senseless_mapping_is_replaced_by_the_time_that_passed() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(0, 0);
    let low = packet(epoch, 1, 10, 0);
    out.start(0, &low, Timestamping::Elapsed);
    out.forward(0, &low).unwrap();
    let high = packet(epoch, 9_000, 40, 0);
    out.start(1, &high, Timestamping::Mapped { delta: 1 << 30 });
    assert_eq!(out.forward(1, &high).unwrap().timestamp, 990 * 90);
}

#[test]
fn dropped_frames_leave_no_gap_in_numbers_or_pictures() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(0, 0);
    let key = packet(epoch, 100, 1, 0);
    out.start(0, &key, Timestamping::Elapsed);
    out.forward(0, &key).unwrap();
    // Frames of two packets; every other is of temporal layer 1 and dropped.
    for frame in 2..300u64 {
        for part in 0..2 {
            let packet = packet(epoch, 97 + frame * 2 + part, frame, (frame % 2) as u8);
            if frame % 2 == 1 {
                assert_eq!(out.skip(0, &packet), None);
            } else {
                let rewritten = out.forward(0, &packet).unwrap();
                assert_eq!(rewritten.ext_seq, 65_536 + frame - 1 + part);
                assert_eq!(picture(&rewritten).0, (frame / 2 + 1) as u16);
            }
        }
    }
}

#[test]
fn a_packet_dropped_too_late_is_filled() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(0, 0);
    let key = packet(epoch, 100, 1, 0);
    out.start(0, &key, Timestamping::Elapsed);
    out.forward(0, &key).unwrap();
    assert_eq!(out.forward(0, &packet(epoch, 102, 3, 0)).unwrap().seq, 2);
    let fill = out.skip(0, &packet(epoch, 101, 2, 1)).unwrap();
    assert_eq!((fill.seq, fill.numbers, fill.empty, fill.marker), (1, Numbers::None, true, false));
    assert_eq!(out.lookup(1), None);
    // The number is spent: nothing else may go out under it.
    assert_eq!(out.skip(0, &packet(epoch, 101, 2, 1)), None);
    assert_eq!(out.forward(0, &packet(epoch, 101, 2, 1)), None);
}

#[test]
fn a_picture_ends_with_the_highest_spatial_layer_that_is_sent() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(0, 0);
    // Three spatial layers of two packets each; the marker is on the last.
    let part = |seq: u64| {
        let at = seq - 100;
        let mut packet = packet(epoch, seq, at / 6, 0);
        packet.codec = Codec::Vp9;
        packet.marker = at % 6 == 5;
        packet.frame.spatial = (at % 6 / 2) as u8;
        packet.frame.ends_frame = at % 2 == 1;
        packet
    };
    out.start(0, &part(100), Timestamping::Elapsed);
    let marks: Vec<bool> = (100..106).map(|seq| out.forward(0, &part(seq)).unwrap().marker).collect();
    assert_eq!(marks, [false, false, false, false, false, true]);
    for picture in 1..4 {
        for at in 0..6 {
            let packet = part(100 + picture * 6 + at);
            if at == 0 {
                out.cut_above(0, &packet, 1);
            }
            if at < 4 {
                let rewritten = out.forward(0, &packet).unwrap();
                assert_eq!(rewritten.marker, at == 3);
                assert_eq!(rewritten.ext_seq, 65_536 + 6 + (picture - 1) * 4 + at);
                assert_eq!(
                    out.again(&out.lookup(rewritten.seq).unwrap(), &packet),
                    Some(rewritten),
                    "and again when it is lost"
                );
            } else {
                assert_eq!(out.skip(0, &packet), None);
            }
        }
    }
    let packet = part(124);
    out.cut_above(0, &packet, 2);
    let marks: Vec<bool> = (124..130).map(|seq| out.forward(0, &part(seq)).unwrap().marker).collect();
    assert_eq!(marks, [false, false, false, false, false, true]);
}

#[test]
fn a_source_that_jumps_far_leaves_no_gap() {
    let epoch = Instant::now();
    let mut out = Rewriter::new(0, 0);
    let key = packet(epoch, 100, 1, 0);
    out.start(0, &key, Timestamping::Elapsed);
    out.forward(0, &key).unwrap();
    assert_eq!(out.forward(0, &packet(epoch, 60_000, 2, 0)).unwrap().seq, 1);
    assert_eq!(out.forward(0, &packet(epoch, 60_001, 3, 0)).unwrap().seq, 2);
}

#[test]
fn new_numbers_are_patched_in_place() {
    let mut payload = [0x90, 0xE0, 0x92, 0x34, 0x07, 0x60, 0x10];
    apply_numbers(&mut payload, &Numbers::Picture { id: 0x7FFF, wide: true, offset: 2, tl0: Some((9, 4)) });
    assert_eq!(payload, [0x90, 0xE0, 0xFF, 0xFF, 0x09, 0x60, 0x10]);
    apply_numbers(&mut payload, &Numbers::Picture { id: 0x05, wide: false, offset: 2, tl0: None });
    assert_eq!(payload[2], 5);
    apply_numbers(&mut [], &Numbers::Picture { id: 5, wide: true, offset: 200, tl0: Some((1, 250)) });
}

/// One packet as the network brings it.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    source: Source,
    seq: u64,
    frame: u64,
    starts_keyframe: bool,
    temporal: u8,
}

#[derive(Clone, Debug)]
struct World {
    arrivals: Vec<Arrival>,
    lost: usize,
    reordered: bool,
}

/// Three layers that send in step, frames of one to three packets, through a network that loses, delays and repeats.
fn world() -> impl Strategy<Value = World> {
    let frame = (1u64..4, prop::bool::weighted(0.2));
    let chance = (0u8..100, 0usize..12, prop::bool::weighted(0.1));
    let trouble = (0u8..3, prop::collection::vec(chance, 500));
    (prop::collection::vec(frame, 10..60), 0u64..70_000, trouble).prop_map(|(frames, base, (trouble, chances))| {
        let (mut timeline, mut lost) = (Vec::new(), 0);
        let mut chances = chances.into_iter().cycle();
        for source in 0..3u8 {
            let mut seq = 65_536 + base + u64::from(source) * 20_000;
            for (frame, &(packets, key)) in frames.iter().enumerate() {
                let frame = frame as u64;
                for part in 0..packets {
                    let starts_keyframe = part == 0 && (key || frame == 0);
                    let temporal = u8::from(frame % 2 == 1 && !key);
                    let arrival = Arrival { source, seq, frame, starts_keyframe, temporal };
                    seq += 1;
                    let (loss, delay, twice) = chances.next().unwrap_or((0, 0, false));
                    let time = frame as usize * 20 + part as usize * 5;
                    if trouble > 0 && loss < 8 {
                        lost += 1;
                        continue;
                    }
                    timeline.push((time + if trouble > 1 { delay * 4 } else { 0 }, arrival));
                    if trouble > 0 && twice {
                        timeline.push((time + delay * 3, arrival));
                    }
                }
            }
        }
        timeline.sort_by_key(|&(time, _)| time);
        World { arrivals: timeline.into_iter().map(|(_, arrival)| arrival).collect(), lost, reordered: trouble > 1 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn the_subscriber_sees_one_clean_stream(
        world in world(),
        first_seq: u16,
        first_timestamp: u32,
        wishes in prop::collection::vec((0u8..3, any::<bool>(), any::<bool>()), 1..30),
    ) {
        let epoch = Instant::now();
        let mut out = Rewriter::new(first_seq, first_timestamp);
        // What was sent: output number -> (timestamp, packet if it was one).
        let mut seen = BTreeMap::<u64, (u32, Option<Arrival>)>::new();
        let mut sent = BTreeSet::new();
        let mut current = None;
        let mut newest = BTreeMap::<Source, u64>::new();
        for (index, arrival) in world.arrivals.iter().enumerate() {
            let (wish, mapped, drop) = wishes[index / 7 % wishes.len()];
            let mut packet = packet(epoch, arrival.seq, arrival.frame, arrival.temporal);
            packet.timestamp = packet.timestamp.wrapping_add(u32::from(arrival.source) * 1_000_000);
            // A repeated keyframe is not a place to start: what follows it has passed.
            let newest = newest.entry(arrival.source).or_default();
            let fresh = *newest < arrival.seq;
            *newest = arrival.seq.max(*newest);
            if arrival.starts_keyframe && fresh && arrival.source == wish && current != Some(wish) {
                let timestamping = match current {
                    Some(old) if mapped =>
                        Timestamping::Mapped { delta: (u32::from(old) * 1_000_000).wrapping_sub(u32::from(wish) * 1_000_000) },
                    _ => Timestamping::Elapsed,
                };
                out.start(wish, &packet, timestamping);
                current = Some(wish);
            }
            // Frames are dropped whole, as a policy does.
            if arrival.temporal == 1 && drop && arrival.frame % 4 == 1 {
                if sent.contains(&(arrival.source, arrival.seq)) { continue; }
                if let Some(fill) = out.skip(arrival.source, &packet) {
                    let old = seen.insert(fill.ext_seq, (fill.timestamp, None));
                    prop_assert!(old.is_none(), "a number twice");
                }
                continue;
            }
            let Some(rewritten) = out.forward(arrival.source, &packet) else { continue };
            prop_assert_eq!(rewritten.seq, rewritten.ext_seq as u16);
            let old = seen.insert(rewritten.ext_seq, (rewritten.timestamp, Some(*arrival)));
            prop_assert!(old.is_none(), "a number twice");
            prop_assert!(sent.insert((arrival.source, arrival.seq)), "a packet twice");
            let found = out.lookup(rewritten.seq);
            prop_assert_eq!(found, Some(Sent { source: arrival.source, seq: arrival.seq, ext_seq: rewritten.ext_seq }));
            prop_assert_eq!(out.again(&found.unwrap(), &packet), Some(rewritten));
        }

        let mut previous: Option<(u64, u32)> = None;
        let mut holes = 0;
        for (&seq, &(timestamp, arrival)) in &seen {
            if let Some((before, earlier)) = previous {
                holes += (seq - before - 1) as usize;
                prop_assert!(distance32(earlier, timestamp) >= 0, "time went back at {}", seq);
            }
            previous = Some((seq, timestamp));
            // Every number leads back to the packet it was given to, however many segments later.
            if let Some(found) = out.lookup(seq as u16) {
                prop_assert_eq!(Some((found.source, found.seq)), arrival.map(|arrival| (arrival.source, arrival.seq)));
            }
        }
        if !world.reordered {
            // A gap is a packet that the network lost, never one that was dropped on purpose or belongs to a switch.
            prop_assert!(holes <= world.lost, "{} holes, {} lost", holes, world.lost);
        }
        if let Some((&first, _)) = seen.first_key_value() {
            prop_assert_eq!(first as u16, first_seq);
        }
    }
}
