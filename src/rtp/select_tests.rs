//! Tests of `rtp::select`: encoders as they lay out their frames, random wishes, and the one thing a decoder asks for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A frame as its encoder knows it: its number, and those it builds on.
#[derive(Clone, Debug)]
struct Frame {
    id: u64,
    builds_on: Vec<u64>,
    info: FrameInfo,
}

/// How the frames of a stream build on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// libwebrtc's three temporal layers of VP8: eight frames, layers begin in the first half only.
    Vp8,
    /// Three spatial and three temporal layers of VP9; `key`: spatial layers meet in keyframes only.
    Vp9 { key: bool },
    /// The same by the dependency descriptor.
    Av1 { key: bool },
}

const ORDER: [u8; 4] = [0, 2, 1, 2];

fn vp8(pictures: u64, is_key: impl Fn(u64) -> bool) -> Vec<Frame> {
    let (mut last, mut golden, mut alt) = (0, 0, 0);
    let mut at = 0;
    let mut frames = Vec::new();
    for id in 0..pictures {
        let key = is_key(id);
        if key {
            at = 0;
        }
        let (temporal, sync, builds_on) = match at {
            0 if key => (0, false, vec![]),
            0 | 4 => (0, false, vec![last]),
            1 => (2, true, vec![last]),
            2 => (1, true, vec![last]),
            6 => (1, false, vec![last, golden]),
            _ => (2, false, vec![last, golden, alt]),
        };
        match (temporal, key) {
            (_, true) => (last, golden, alt) = (id, id, id),
            (0, _) => last = id,
            (1, _) => golden = id,
            _ => alt = id,
        }
        at = (at + 1) % 8;
        let entry = match (key, sync) {
            (true, _) => Entry::Anew,
            (_, true) => Entry::Sync,
            _ => Entry::None,
        };
        let numbers = Numbers::Picture { id: id as u16 & 0x7FFF, wide: true, offset: 2, tl0: None };
        let cuts = Cuts::from(0, temporal);
        let info =
            FrameInfo { starts_keyframe: key, starts_frame: true, temporal, cuts, entry, numbers, ..FrameInfo::default() };
        frames.push(Frame { id, builds_on, info });
    }
    frames
}

fn svc(pictures: u64, key_mode: bool, av1: bool, is_key: impl Fn(u64) -> bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    // The newest frame of each spatial and temporal layer.
    let mut newest = [[0u64; 3]; 3];
    let (mut at, mut id) = (0, 0);
    for picture in 0..pictures {
        let key = is_key(picture);
        if key {
            at = 0;
        }
        let temporal = ORDER[at % 4];
        at += 1;
        for spatial in 0..3u8 {
            let mut builds_on = Vec::new();
            if !key {
                // The newest of the layers below in time, and its own only in the base.
                let up_to = usize::from(temporal.max(1));
                let below = newest[usize::from(spatial)].iter().take(up_to).max().copied();
                builds_on.extend(below);
            }
            if spatial > 0 && (key || !key_mode) {
                builds_on.push(id - 1);
            }
            newest[usize::from(spatial)][usize::from(temporal)] = id;
            if key {
                newest[usize::from(spatial)] = [id; 3];
            }
            let starts_keyframe = key && spatial == 0;
            let (entry, cuts, numbers) = if av1 {
                let own = Cuts::of_row(spatial, Cuts::from(0, temporal).row(0));
                let all = Cuts::from(spatial, temporal);
                let cuts = if key || !key_mode { all } else { own.union(if spatial == 2 { all } else { Cuts::NONE }) };
                // In the base of each layer, and in the middle for the top.
                let begin = if temporal < 2 { own } else { Cuts::NONE };
                let references = builds_on.iter().fold(0, |mask, before| mask | 1u64 << (id - before - 1));
                let entry = if starts_keyframe { Entry::Anew } else { Entry::Targets { begin, references } };
                (entry, cuts, Numbers::DependencyFrame { number: id as u16 })
            } else {
                let over = key && spatial > 0;
                let entry = if starts_keyframe { Entry::Anew } else { Entry::Picture { above: true, over } };
                let numbers = Numbers::Picture { id: picture as u16 & 0x7FFF, wide: true, offset: 1, tl0: None };
                (entry, Cuts::from(spatial, temporal), numbers)
            };
            let info =
                FrameInfo { starts_keyframe, starts_frame: true, spatial, temporal, cuts, entry, numbers, ends_frame: true };
            frames.push(Frame { id, builds_on, info });
            id += 1;
        }
    }
    frames
}

fn stream(mode: Mode, pictures: u64, is_key: impl Fn(u64) -> bool) -> Vec<Frame> {
    match mode {
        Mode::Vp8 => vp8(pictures, is_key),
        Mode::Vp9 { key } => svc(pictures, key, false, is_key),
        Mode::Av1 { key } => svc(pictures, key, true, is_key),
    }
}

fn modes() -> Vec<Mode> {
    vec![Mode::Vp8, Mode::Vp9 { key: false }, Mode::Vp9 { key: true }, Mode::Av1 { key: false }, Mode::Av1 { key: true }]
}

fn temporal(temporal: u8) -> Cut {
    Cut { spatial: 0, temporal }
}

#[test]
fn vp8_gives_up_frames_at_once_and_takes_them_back_where_layers_begin() {
    let mut selector = Selector::new(temporal(2));
    let frames = vp8(64, |id| id == 0);
    let mut passed = Vec::new();
    for frame in &frames {
        selector.aim(temporal(if (10..27).contains(&frame.id) { 0 } else { 2 }));
        if selector.passes(&frame.info) {
            passed.push(frame.id);
        }
    }
    // Cut at frame 10; from 27 on more may come, and does where it begins: the middle layer at 34, the top at 41.
    let expected: Vec<u64> = (0..10).chain((12..33).step_by(4)).chain([34, 36, 38, 40]).chain(41..64).collect();
    assert_eq!(passed, expected);
}

#[test]
fn a_sharper_picture_waits_for_a_keyframe_and_a_blurrier_one_only_where_layers_share_nothing() {
    for mode in [Mode::Vp9 { key: false }, Mode::Vp9 { key: true }, Mode::Av1 { key: false }, Mode::Av1 { key: true }] {
        let frames = stream(mode, 60, |picture| picture == 0 || picture == 40);
        let mut selector = Selector::new(Cut { spatial: 2, temporal: 2 });
        let small = Cut { spatial: 0, temporal: 2 };
        for frame in &frames {
            let picture = frame.id / 3;
            selector.aim(if (10..20).contains(&picture) { small } else { Cut { spatial: 2, temporal: 2 } });
            selector.passes(&frame.info);
            let apart = mode == Mode::Av1 { key: true };
            match picture {
                12 => assert_eq!(selector.open() == small, !apart, "{mode:?}"),
                18 => assert_eq!(selector.waits(), apart, "{mode:?}"),
                30 => assert_eq!((selector.open() == small, selector.waits()), (!apart, !apart), "{mode:?}"),
                45 => assert_eq!((selector.open(), selector.waits()), (Cut { spatial: 2, temporal: 2 }, false), "{mode:?}"),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever is wished for, and however packets overtake each other: what is passed on builds on what was passed on.
    #[test]
    fn every_frame_that_is_passed_on_can_be_decoded(
        mode in prop::sample::select(modes()),
        wishes in prop::collection::vec((0u8..4, 0u8..4, 1usize..40), 1..20),
        keys in prop::collection::btree_set(1u64..100, 0..4),
        delays in prop::collection::vec(0u8..6, 1..50),
        first in 0u64..40_000,
    ) {
        let mut frames = stream(mode, 100, |picture| picture == 0 || keys.contains(&picture));
        for frame in &mut frames {
            match &mut frame.info.numbers {
                Numbers::Picture { id, .. } => *id = (u64::from(*id) + first) as u16 & 0x7FFF,
                Numbers::DependencyFrame { number } => *number = (u64::from(*number) + first) as u16,
                Numbers::None => {}
            }
        }
        // Two packets a frame, some of them late; but none is later than a keyframe, after which nobody needs it.
        let mut packets: Vec<(usize, usize)> = Vec::new();
        for index in 0..frames.len() {
            for part in 0..2 {
                let at_key = frames.iter().skip(index).take(9).any(|frame| frame.info.starts_keyframe);
                let late = if at_key { 0 } else { usize::from(delays[(index * 2 + part) % delays.len()]) };
                packets.push((index * 4 + part + late, index));
            }
        }
        packets.sort();
        let mut wishes = wishes.into_iter().cycle();
        let (mut left, mut passed, mut dropped) = (0, BTreeSet::new(), BTreeSet::new());
        let mut selector = Selector::new(Cut::ALL);
        for (_, index) in packets {
            if left == 0 {
                let (spatial, temporal, time) = wishes.next().unwrap();
                selector.aim(Cut { spatial, temporal });
                left = time;
            }
            left -= 1;
            let frame = &frames[index];
            if selector.passes(&frame.info) {
                prop_assert!(!dropped.contains(&frame.id), "{} in part", frame.id);
                passed.insert(frame.id);
            } else {
                prop_assert!(!passed.contains(&frame.id), "{} in part", frame.id);
                dropped.insert(frame.id);
            }
        }
        for frame in frames.iter().filter(|frame| passed.contains(&frame.id)) {
            for before in &frame.builds_on {
                prop_assert!(passed.contains(before), "{mode:?}: {} builds on {before}, which was dropped", frame.id);
            }
        }
    }
}
