//! Stories and properties of the router, over one harness: publishers whose layers are packets with marked frames, a network
//! in front of the router that loses, repeats and reorders, and receivers that check what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::{LinkId, ShardId};
use crate::rtp::clock::{NtpTime, SenderClock};
use crate::rtp::{AudioLevel, Codec, Cuts, Entry, Extensions, FrameInfo, LayerInfo, Numbers, Packet};
use crate::units::PixelHeight;

const FRAME: Duration = Duration::from_millis(33);
const VIDEO: TrackId = TrackId(1);
const OTHER: TrackId = TrackId(2);
const AUDIO: TrackId = TrackId(3);
const PUBLISHER: PeerKey = PeerKey(100);
const SLOT: Slot = Slot(0);

/// A packet that came out, as its receiver sees it.
#[derive(Debug, Clone)]
struct Received {
    seq: u64,
    timestamp: u32,
    source: (u8, u8, u64),
    keyframe: bool,
    picture: u16,
    tl0: u8,
    temporal: u8,
    /// The encoder's number of the frame; `None` for a packet that only holds a place.
    frame: Option<u64>,
}

/// One layer at its publisher: VP8 with three temporal layers, which begin in the first half of eight frames only, as libwebrtc
/// lays them out.
struct Encoder {
    seq: u64,
    timestamp: u32,
    /// Never used again, over restarts.
    frames: u64,
    first_picture: u16,
    tl0: u8,
    keyframe_due: bool,
    at: u8,
    /// The frames in its three buffers.
    buffers: [u64; 3],
}

impl Encoder {
    /// The next frame: its description, and the frames it builds on.
    fn next(&mut self) -> (FrameInfo, Vec<u64>) {
        self.frames += 1;
        let keyframe = std::mem::take(&mut self.keyframe_due);
        if keyframe {
            self.at = 0;
        }
        let [last, golden, alt] = self.buffers;
        let (temporal, sync, builds_on) = match self.at {
            0 if keyframe => (0, false, vec![]),
            0 | 4 => (0, false, vec![last]),
            1 => (2, true, vec![last]),
            2 => (1, true, vec![last]),
            6 => (1, false, vec![last, golden]),
            _ => (2, false, vec![last, golden, alt]),
        };
        self.at = (self.at + 1) % 8;
        match temporal {
            _ if keyframe => self.buffers = [self.frames; 3],
            0 => self.buffers[0] = self.frames,
            1 => self.buffers[1] = self.frames,
            _ => self.buffers[2] = self.frames,
        }
        self.tl0 = self.tl0.wrapping_add(u8::from(temporal == 0));
        let id = (u64::from(self.first_picture) + self.frames) as u16 & 0x7FFF;
        let info = FrameInfo {
            temporal,
            cuts: Cuts::from(0, temporal),
            entry: match (keyframe, sync) {
                (true, _) => Entry::Anew,
                (_, true) => Entry::Sync,
                _ => Entry::None,
            },
            starts_keyframe: keyframe,
            numbers: Numbers::Picture { id, wide: true, offset: 2, tl0: Some((self.tl0, 4)) },
            ..FrameInfo::default()
        };
        (info, builds_on)
    }
}

/// Bytes of payload of each layer's packets.
const SIZES: [usize; 4] = [100, 400, 1_000, 1_100];

struct Harness {
    router: Router,
    start: Instant,
    now: Instant,
    encoders: BTreeMap<(TrackId, u8), Encoder>,
    out: Vec<Output>,
    received: BTreeMap<(PeerKey, Slot), Vec<Received>>,
    requests: Vec<(TrackId, Layer)>,
    wanted: Vec<(TrackId, LayerSet)>,
    states: Vec<(PeerKey, StreamState)>,
    piped: Vec<Feed>,
    wishes: Vec<(TrackId, LayerSet)>,
    demands: Vec<(PeerKey, Bitrate)>,
    /// What each frame of each layer builds on.
    builds_on: BTreeMap<(u8, u8, u64), Vec<u64>>,
}

impl Harness {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            router: Router::new(7),
            start,
            now: start,
            encoders: BTreeMap::new(),
            out: Vec::new(),
            received: BTreeMap::new(),
            requests: Vec::new(),
            wanted: Vec::new(),
            states: Vec::new(),
            piped: Vec::new(),
            wishes: Vec::new(),
            demands: Vec::new(),
            builds_on: BTreeMap::new(),
        }
    }

    fn publish(&mut self, id: TrackId, kind: Kind, layers: u8, upstream: Upstream) {
        let layer =
            |index: u8| LayerInfo { height: PixelHeight(180 << index), max: Bitrate::kbps(100 << index), ..Default::default() };
        let layers: Vec<LayerInfo> = (0..layers).map(layer).collect();
        for index in 0..layers.len() as u8 {
            self.restart_encoder(id, index);
        }
        self.input(Input::TrackAdded(NewTrack { id, kind, layers, muted: false, screen: false, upstream }));
    }

    fn restart_encoder(&mut self, id: TrackId, layer: u8) {
        let odd = 1_000 * (id.0 + 3 * u64::from(layer) + 1) + self.encoders.get(&(id, layer)).map_or(0, |e| e.seq);
        let encoder = Encoder {
            seq: 65_536 + odd,
            timestamp: (odd as u32).wrapping_mul(77_777),
            frames: self.encoders.get(&(id, layer)).map_or(0, |before| before.frames),
            first_picture: odd as u16 % 0x7FFF,
            tl0: odd as u8,
            keyframe_due: true,
            at: 0,
            buffers: [0; 3],
        };
        self.encoders.insert((id, layer), encoder);
    }

    fn input(&mut self, input: Input) {
        self.router.handle(self.now, input, &mut self.out);
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Forward { peer, slot, packet, rewritten } => {
                    let source = source_of(&packet);
                    let (seq, timestamp) = (rewritten.ext_seq, rewritten.timestamp);
                    let (picture, tl0) = match rewritten.numbers {
                        Numbers::Picture { id, tl0, .. } => (id, tl0.map_or(0, |(index, _)| index)),
                        _ => (0, 0),
                    };
                    let keyframe = packet.frame.starts_keyframe && !rewritten.empty;
                    let temporal = packet.frame.temporal;
                    let frame = (!rewritten.empty).then(|| frame_of(&packet));
                    assert_eq!(rewritten.marker, packet.marker && !rewritten.empty);
                    let received = Received { seq, timestamp, source, keyframe, picture, tl0, temporal, frame };
                    self.received.entry((peer, slot)).or_default().push(received);
                }
                Output::Retransmit { peer, slot, packet, rewritten } => {
                    let first = self.received[&(peer, slot)].iter().find(|sent| sent.seq == rewritten.ext_seq);
                    assert_eq!(
                        first.map(|sent| (sent.source, sent.timestamp)),
                        Some((source_of(&packet), rewritten.timestamp))
                    );
                }
                Output::RequestKeyframe { track, layer, .. } => {
                    self.requests.push((track, layer));
                    if let Some(encoder) = self.encoders.get_mut(&(track, layer.0)) {
                        encoder.keyframe_due = true;
                    }
                }
                Output::Wanted { upstream: Upstream::Pipe(_), track, layers } => self.wishes.push((track, layers)),
                Output::Wanted { track, layers, .. } => self.wanted.push((track, layers)),
                Output::StreamState { peer, state, .. } => self.states.push((peer, state)),
                Output::Feed { feed, .. } => self.piped.push(feed),
                Output::Demand { peer, rate } => self.demands.push((peer, rate)),
                Output::Levels { .. } | Output::Voices { .. } => {}
            }
        }
    }

    /// The packets of one layer's next frame.
    fn frame(&mut self, id: TrackId, layer: u8, packets: u8) -> Vec<Input> {
        let ntp = self.ntp();
        let elapsed = (self.now - self.start).as_millis() as u32 * 90;
        let (arrival, generation) = (self.now, id.0 as u8);
        let encoder = self.encoders.get_mut(&(id, layer)).expect("published");
        let timestamp = encoder.timestamp.wrapping_add(elapsed);
        let (info, builds_on) = encoder.next();
        self.builds_on.insert((generation, layer, encoder.frames), builds_on);
        let mut inputs =
            vec![Input::Report { track: id, layer: Layer(layer), report: SenderClock { ntp, rtp: timestamp, rate: 90_000 } }];
        for index in 0..packets {
            encoder.seq += 1;
            let frame = FrameInfo {
                starts_keyframe: info.starts_keyframe && index == 0,
                // What goes on with a keyframe does not say so.
                entry: if index > 0 && info.entry == Entry::Anew { Entry::None } else { info.entry },
                starts_frame: index == 0,
                ..info
            };
            let mut payload = vec![0; SIZES[usize::from(layer)]];
            payload[..2].copy_from_slice(&[generation, layer]);
            payload[8..16].copy_from_slice(&encoder.frames.to_be_bytes());
            let payload = Bytes::from(payload);
            let packet = Packet {
                arrival,
                codec: Codec::Vp8,
                seq: encoder.seq,
                timestamp,
                marker: index + 1 == packets,
                ext: Extensions::default(),
                frame,
                payload,
            };
            inputs.push(Input::Packet { track: id, layer: Layer(layer), packet: Arc::new(packet) });
        }
        inputs
    }

    fn ntp(&self) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_800_000_000)).plus(self.now - self.start)
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        if self.router.deadline().is_some_and(|at| at <= self.now) {
            self.input(Input::Timeout);
        }
    }

    /// Lets every layer of a track send `frames` frames without trouble.
    fn play(&mut self, id: TrackId, layers: &[u8], frames: u32) {
        for _ in 0..frames {
            self.advance(FRAME);
            for &layer in layers {
                for input in self.frame(id, layer, 2) {
                    self.input(input);
                }
            }
        }
    }

    fn bind(&mut self, peer: u32, track: Option<TrackId>) {
        self.input(Input::Bind { peer: PeerKey(peer), slot: SLOT, track });
    }

    fn view(&mut self, peer: u32, track: TrackId, height: u32) {
        let item = ViewItem { track, height: PixelHeight(height), visible: height > 0, priority: 0 };
        self.input(Input::View { peer: PeerKey(peer), items: vec![item] });
    }

    fn layer_of(&self, peer: u32) -> Option<u8> {
        self.received.get(&(PeerKey(peer), SLOT))?.last().map(|received| received.source.1)
    }

    fn count(&self, peer: u32) -> usize {
        self.received.get(&(PeerKey(peer), SLOT)).map_or(0, Vec::len)
    }

    /// What every receiver may rely on whatever happened before it.
    fn check_receivers(&self) {
        for (who, packets) in &self.received {
            let mut seen = BTreeSet::new();
            let mut newest: Option<&Received> = None;
            for packet in packets {
                assert!(seen.insert(packet.seq), "{who:?}: {packet:?} came twice");
                if let Some(last) = newest.filter(|last| packet.seq > last.seq) {
                    let step = packet.timestamp.wrapping_sub(last.timestamp) as i32;
                    assert!(step >= 0, "{who:?}: time went back from {last:?} to {packet:?}");
                }
                if newest.is_none_or(|last| packet.seq > last.seq) {
                    newest = Some(packet);
                }
            }
        }
    }
}

impl Harness {
    /// Pictures are numbered without a gap, TL0PICIDX counts the base layer's, and each builds on pictures that came too. Every
    /// frame has packets that were not lost, so none is missing by chance.
    fn check_pictures(&self, who: &(PeerKey, Slot), in_order: &[&Received]) {
        let mut frames: BTreeSet<(u8, u8, u64)> = BTreeSet::new();
        let mut before: Option<&Received> = None;
        for packet in in_order {
            let Some(frame) = packet.frame else { continue };
            let (track, layer, _) = packet.source;
            let begins = frames.insert((track, layer, frame));
            if let Some(before) = before {
                let step = packet.picture.wrapping_sub(before.picture) & 0x7FFF;
                assert_eq!(step, u16::from(begins), "{who:?}: picture ids of {before:?} and {packet:?}");
                let base = begins && packet.temporal == 0;
                assert_eq!(
                    packet.tl0.wrapping_sub(before.tl0),
                    u8::from(base),
                    "{who:?}: TL0PICIDX of {before:?} and {packet:?}"
                );
            }
            for on in self.builds_on.get(&(track, layer, frame)).into_iter().flatten() {
                assert!(frames.contains(&(track, layer, *on)), "{who:?}: {packet:?} builds on {on}, which was dropped");
            }
            before = Some(packet);
        }
    }
}

fn frame_of(packet: &Packet) -> u64 {
    u64::from_be_bytes(packet.payload[8..16].try_into().expect("eight bytes"))
}

fn source_of(packet: &Packet) -> (u8, u8, u64) {
    (packet.payload[0], packet.payload[1], packet.seq)
}

#[test]
fn a_newcomer_waits_for_a_keyframe_and_asks_for_one() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0], 10);
    h.bind(1, Some(VIDEO));
    assert_eq!(h.requests, [(VIDEO, Layer(0))]);
    h.play(VIDEO, &[0], 3);
    let first = &h.received[&(PeerKey(1), SLOT)][0];
    assert!(first.keyframe);
    assert_eq!(h.count(1), 6);
    assert_eq!(h.states, [(PeerKey(1), StreamState::Forwarding { layer: Layer(0), short: None })]);
}

#[test]
fn a_lost_request_is_repeated_and_a_crowd_makes_one() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0], 10);
    for peer in 0..50 {
        h.bind(peer, Some(VIDEO));
    }
    assert_eq!(h.requests.len(), 1);
    for _ in 0..18 {
        // The publisher hears none of it.
        h.encoders.get_mut(&(VIDEO, 0)).unwrap().keyframe_due = false;
        h.play(VIDEO, &[0], 1);
    }
    assert_eq!(h.requests.len(), 2, "600 ms later it was asked once more");
}

#[test]
fn the_view_chooses_the_layer_and_the_switch_has_no_seam() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0, 1, 2], 30);
    h.bind(1, Some(VIDEO));
    h.play(VIDEO, &[0, 1, 2], 30);
    assert_eq!(h.layer_of(1), Some(0), "small until the view says more");
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 30);
    assert_eq!(h.layer_of(1), Some(2));
    h.view(1, VIDEO, 360);
    h.play(VIDEO, &[0, 1, 2], 30);
    assert_eq!(h.layer_of(1), Some(1));
    let packets = &h.received[&(PeerKey(1), SLOT)];
    for pair in packets.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq + 1);
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        let switched = pair[1].source.1 != pair[0].source.1;
        // The larger layer's keyframe may show the very moment that the smaller one's last frame did.
        let sound = if switched { step == 1 || step.abs_diff(33 * 90) <= 1 } else { step == 0 || step == 33 * 90 };
        assert!(sound, "{step} between {pair:?}");
        if switched {
            assert!(pair[1].keyframe, "a layer starts with its keyframe");
        }
    }
}

#[test]
fn without_sender_reports_the_old_layer_is_kept() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 2, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 90);
    let run = |h: &mut Harness, reports: bool| {
        for _ in 0..40 {
            h.advance(FRAME);
            for layer in [0, 1] {
                for input in h.frame(VIDEO, layer, 1) {
                    if reports || !matches!(input, Input::Report { .. }) {
                        h.input(input);
                    }
                }
            }
        }
    };
    run(&mut h, false);
    h.view(1, VIDEO, 720);
    run(&mut h, false);
    assert_eq!(h.layer_of(1), Some(0));
    run(&mut h, true);
    assert_eq!(h.layer_of(1), Some(1));
}

#[test]
fn a_layer_that_stops_is_bridged_by_one_that_flows() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 60);
    assert_eq!(h.layer_of(1), Some(2));
    h.play(VIDEO, &[0, 1], 90);
    assert_eq!(h.layer_of(1), Some(1));
    h.play(VIDEO, &[0, 1, 2], 60);
    assert_eq!(h.layer_of(1), Some(2));
    h.check_receivers();
}

#[test]
fn the_publisher_hears_which_layers_anybody_watches() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0, 1, 2], 180);
    assert_eq!(h.wanted.last(), Some(&(VIDEO, LayerSet::EMPTY)), "nobody watches");
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    let last = h.wanted.last().unwrap().1;
    assert!(last.contains(Layer(2)), "{last:?}");
    h.play(VIDEO, &[0, 1, 2], 240);
    assert_eq!(h.wanted.last(), Some(&(VIDEO, LayerSet::of(Layer(2)))), "and no longer the small one");
    h.input(Input::PeerGone { peer: PeerKey(1) });
    h.play(VIDEO, &[2], 180);
    assert_eq!(h.wanted.last(), Some(&(VIDEO, LayerSet::EMPTY)));
}

#[test]
fn what_the_screen_would_take_is_told_whatever_the_budget() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.publish(AUDIO, Kind::Audio, 1, Upstream::Peer(PUBLISHER));
    h.input(Input::Budget { peer: PeerKey(1), budget: Budget::fixed(Bitrate::kbps(120)) });
    h.bind(1, Some(VIDEO));
    h.input(Input::Bind { peer: PeerKey(1), slot: Slot(1), track: Some(AUDIO) });
    h.view(1, VIDEO, 720);
    let told = |h: &Harness| h.demands.last().expect("it is told").1;
    assert!(told(&h) > Bitrate::kbps(400), "the largest layer and a voice: {}", told(&h));
    h.view(1, VIDEO, 180);
    assert!(told(&h) < Bitrate::kbps(200), "{}", told(&h));
    let before = h.demands.len();
    h.view(1, VIDEO, 180);
    assert_eq!(h.demands.len(), before, "and only when it changes");
}

#[test]
fn a_newcomer_takes_what_flows_until_its_view_says_more() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[2], 300);
    h.wanted.clear();
    h.bind(2, Some(VIDEO));
    h.play(VIDEO, &[2], 10);
    assert_eq!(h.layer_of(2), Some(2));
    assert_eq!(h.wanted, [], "no encoder is started for it");
}

#[test]
fn what_is_off_screen_is_not_sent() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.play(VIDEO, &[0], 10);
    h.view(1, VIDEO, 0);
    let before = h.count(1);
    h.play(VIDEO, &[0], 10);
    assert_eq!(h.count(1), before);
    assert_eq!(h.states.last(), Some(&(PeerKey(1), StreamState::Paused(Reason::OffScreen))));
    h.view(1, VIDEO, 360);
    h.play(VIDEO, &[0], 10);
    assert!(h.count(1) > before);
    h.check_receivers();
}

#[test]
fn a_lost_packet_is_sent_again_from_the_history() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.play(VIDEO, &[0], 10);
    let lost = h.received[&(PeerKey(1), SLOT)][5].seq as u16;
    let nack = |lost| Input::Nack { peer: PeerKey(1), slot: SLOT, rtt: Duration::from_millis(50), lost: vec![lost] };
    let mut out = Vec::new();
    h.router.handle(h.now, nack(lost), &mut out);
    assert!(matches!(&out[..], [Output::Retransmit { rewritten, .. }] if rewritten.seq == lost), "{out:?}");
    out.clear();
    h.router.handle(h.now, nack(lost), &mut out);
    assert!(out.is_empty(), "within a round trip the answer is on its way");
    h.router.handle(h.now, nack(lost.wrapping_add(1_000)), &mut out);
    assert!(out.is_empty(), "what was never sent can't be lost");
}

#[test]
fn a_publisher_that_restarts_goes_on_in_the_same_stream() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.play(VIDEO, &[0], 10);
    let before = h.count(1);
    h.advance(Duration::from_secs(1));
    h.restart_encoder(VIDEO, 0);
    h.input(Input::LayerRestarted { track: VIDEO, layer: Layer(0) });
    h.play(VIDEO, &[0], 10);
    let packets = &h.received[&(PeerKey(1), SLOT)];
    assert_eq!(packets.len(), before + 20);
    assert_eq!(packets[before].seq, packets[before - 1].seq + 1);
    let step = packets[before].timestamp.wrapping_sub(packets[before - 1].timestamp);
    assert!((90_000..110_000).contains(&step), "{step}: the second that passed");
}

#[test]
fn a_slot_moves_to_another_track_in_one_numbering() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.publish(OTHER, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.play(VIDEO, &[0], 5);
    h.bind(1, Some(OTHER));
    h.play(OTHER, &[0], 5);
    h.bind(1, None);
    h.play(OTHER, &[0], 5);
    let packets = &h.received[&(PeerKey(1), SLOT)];
    assert_eq!(packets.len(), 20);
    assert!(packets.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    h.check_receivers();
}

#[test]
fn a_pipe_gets_only_what_it_wants_and_feeds_no_other_pipe() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0, 1, 2], 3);
    assert!(h.piped.is_empty());
    h.input(Input::BranchInterest {
        branch: Branch::Pipe(ShardId(1)),
        track: VIDEO,
        layers: LayerSet::of(Layer(1)),
        have: Vec::new(),
    });
    h.piped.clear();
    h.play(VIDEO, &[0, 1, 2], 3);
    let packets = h.piped.iter().filter(|item| matches!(item, Feed::Packet { .. })).count();
    assert_eq!(packets, 6);
    assert!(h.piped.iter().all(|item| !matches!(item, Feed::Packet { layer, .. } if *layer != Layer(1))));

    h.publish(OTHER, Kind::Video, 1, Upstream::Pipe(ShardId(2)));
    h.input(Input::BranchInterest {
        branch: Branch::Pipe(ShardId(1)),
        track: OTHER,
        layers: LayerSet::of(Layer(0)),
        have: Vec::new(),
    });
    h.piped.clear();
    h.play(OTHER, &[0], 3);
    assert!(h.piped.is_empty());
}

#[test]
fn a_wish_behind_a_pipe_is_told_again_until_it_ends() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 2, Upstream::Pipe(ShardId(2)));
    h.bind(1, Some(VIDEO));
    for _ in 0..40 {
        h.advance(Duration::from_millis(100));
    }
    assert!(h.wishes.len() > 5, "{:?}", h.wishes);
    assert!(h.wishes.iter().all(|&(_, layers)| layers == LayerSet::of(Layer(0))));
    h.bind(1, None);
    for _ in 0..80 {
        h.advance(Duration::from_millis(100));
    }
    assert_eq!(h.wishes.last(), Some(&(VIDEO, LayerSet::EMPTY)));
}

#[test]
fn a_layer_without_sender_reports_is_not_asked_for_keyframes_for_ever() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 2, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 90);
    let run = |h: &mut Harness, frames: u32| {
        for _ in 0..frames {
            h.advance(FRAME);
            for layer in [0, 1] {
                for input in h.frame(VIDEO, layer, 1) {
                    if !matches!(input, Input::Report { .. }) {
                        h.input(input);
                    }
                }
            }
        }
    };
    run(&mut h, 10);
    h.view(1, VIDEO, 720);
    run(&mut h, 200);
    assert_eq!(h.layer_of(1), Some(1), "a sender that never reports is served by the time that passes");
    let asked = h.requests.len();
    run(&mut h, 60);
    assert_eq!(h.requests.len(), asked);
    h.check_receivers();
}

#[test]
fn nobody_is_served_before_it_is_connected() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0], 10);
    h.input(Input::Connected { peer: PeerKey(1), connected: false });
    h.bind(1, Some(VIDEO));
    assert_eq!(h.requests, [], "a keyframe now would reach nobody");
    h.encoders.get_mut(&(VIDEO, 0)).unwrap().keyframe_due = true;
    h.play(VIDEO, &[0], 90);
    assert_eq!(h.count(1), 0);
    assert!(h.wanted.is_empty(), "but the publisher goes on: {:?}", h.wanted);
    h.input(Input::Connected { peer: PeerKey(1), connected: true });
    assert_eq!(h.requests, [(VIDEO, Layer(0))]);
    h.play(VIDEO, &[0], 3);
    assert_eq!(h.count(1), 6);
    assert!(h.received[&(PeerKey(1), SLOT)][0].keyframe);
    h.check_receivers();
}

#[test]
fn a_track_that_leaves_this_shard_only_is_wanted_no_more_behind_the_pipe() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 2, Upstream::Pipe(ShardId(2)));
    h.bind(1, Some(VIDEO));
    assert_eq!(h.wishes.last(), Some(&(VIDEO, LayerSet::of(Layer(0)))));
    // The room's last member here goes: its shard is told both at once.
    h.input(Input::PeerGone { peer: PeerKey(1) });
    h.input(Input::TrackRemoved { track: VIDEO });
    assert_eq!(h.wishes.last(), Some(&(VIDEO, LayerSet::EMPTY)));
}

#[test]
fn loud_tracks_are_told_and_silence_once() {
    let mut h = Harness::new();
    h.publish(AUDIO, Kind::Audio, 1, Upstream::Peer(PUBLISHER));
    let mut told = Vec::new();
    for index in 0..300u64 {
        h.now += Duration::from_millis(20);
        let dbov = if (100..200).contains(&index) { 20 } else { 100 };
        let ext = Extensions { audio_level: Some(AudioLevel { voice: true, dbov }), ..Extensions::default() };
        let packet = Packet {
            arrival: h.now,
            codec: Codec::Opus,
            seq: 70_000 + index,
            timestamp: index as u32 * 960,
            marker: false,
            ext,
            frame: FrameInfo::default(),
            payload: Bytes::from_static(&[1]),
        };
        let mut out = Vec::new();
        h.router.handle(h.now, Input::Packet { track: AUDIO, layer: Layer(0), packet: Arc::new(packet) }, &mut out);
        h.router.handle(h.now, Input::Timeout, &mut out);
        told.extend(out.into_iter().filter_map(|output| match output {
            Output::Levels { levels } => Some(levels),
            _ => None,
        }));
    }
    assert!(told.first().is_some_and(|levels| levels[0].0 == AUDIO));
    assert_eq!(told.iter().filter(|levels| levels.is_empty()).count(), 1);
    assert!(told.last().is_some_and(Vec::is_empty));
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Frames { count: u32, lose: u8, swap: bool, repeat: bool },
    Bind { peer: u32, track: Option<u8> },
    View { peer: u32, height: u32 },
    Gone { peer: u32 },
    Restart { layer: u8 },
    Pause(u64),
    KeyframeWanted { peer: u32 },
    Budget { peer: u32, now: u64, steady: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u32..12, 0u8..5, any::<bool>(), any::<bool>())
            .prop_map(|(count, lose, swap, repeat)| Step::Frames { count, lose, swap, repeat }),
        3 => (0u32..4, prop::sample::select(vec![0u64, 100, 130, 200, 300, 450, 700, 1_000, 20_000]), 50u64..150)
            .prop_map(|(peer, now, percent)| Step::Budget { peer, now, steady: now * percent / 100 }),
        2 => (0u32..4, prop::option::of(0u8..2)).prop_map(|(peer, track)| Step::Bind { peer, track }),
        3 => (0u32..4, prop::sample::select(vec![0u32, 90, 360, 720])).prop_map(|(peer, height)| Step::View { peer, height }),
        1 => (0u32..4).prop_map(|peer| Step::Gone { peer }),
        1 => (0u8..3).prop_map(|layer| Step::Restart { layer }),
        1 => (1u64..3_000).prop_map(Step::Pause),
        1 => (0u32..4).prop_map(|peer| Step::KeyframeWanted { peer }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever joins, leaves, switches, losses, repeats and reorders come, each receiver's numbering holds: nothing twice,
    /// no time that goes back, no gap but for packets that were lost, or came after their layer was left.
    #[test]
    fn every_receiver_gets_one_sound_stream(steps in prop::collection::vec(step(), 1..120)) {
        let mut h = Harness::new();
        let tracks = [VIDEO, OTHER];
        for id in tracks {
            h.publish(id, Kind::Video, 3, Upstream::Peer(PUBLISHER));
        }
        let mut lost = BTreeSet::new();
        let mut gone = 0;
        for step in steps {
            match step {
                Step::Frames { count, lose, swap, repeat } => for round in 0..count {
                    h.advance(FRAME);
                    let trouble = round == 0;
                    for id in tracks {
                        for layer in 0..3 {
                            let mut inputs = h.frame(id, layer, 4);
                            if trouble && lose > 0 && usize::from(lose) < inputs.len() {
                                let input = inputs.remove(usize::from(lose));
                                if let Input::Packet { packet, .. } = &input {
                                    lost.insert(source_of(packet));
                                }
                            }
                            if trouble && swap {
                                let end = inputs.len() - 1;
                                inputs.swap(end, end - 1);
                            }
                            if trouble && repeat && let Some(Input::Packet { track, layer, packet }) = inputs.last() {
                                inputs.push(Input::Packet { track: *track, layer: *layer, packet: Arc::clone(packet) });
                            }
                            for input in inputs {
                                h.input(input);
                            }
                        }
                    }
                }
                // A peer that comes back is another one; the harness keeps their streams apart by the generation.
                Step::Bind { peer, track } => h.bind(peer + gone * 10, track.map(|index| tracks[usize::from(index)])),
                Step::View { peer, height } => {
                    let item = |track| ViewItem { track, height: PixelHeight(height), visible: height > 0, priority: 0 };
                    h.input(Input::View { peer: PeerKey(peer + gone * 10), items: tracks.map(item).to_vec() });
                }
                Step::Gone { peer } => {
                    h.input(Input::PeerGone { peer: PeerKey(peer + gone * 10) });
                    gone += 1;
                }
                Step::Restart { layer } => {
                    h.restart_encoder(VIDEO, layer);
                    h.input(Input::LayerRestarted { track: VIDEO, layer: Layer(layer) });
                }
                Step::Pause(ms) => h.advance(Duration::from_millis(ms)),
                Step::Budget { peer, now, steady } => {
                    let budget = Budget { now: Bitrate::kbps(now), steady: Bitrate::kbps(steady) };
                    h.input(Input::Budget { peer: PeerKey(peer + gone * 10), budget });
                }
                Step::KeyframeWanted { peer } => h.input(Input::KeyframeWanted { peer: PeerKey(peer + gone * 10), slot: SLOT }),
            }
        }
        h.check_receivers();
        for (who, packets) in &h.received {
            let mut in_order: Vec<&Received> = packets.iter().collect();
            in_order.sort_by_key(|packet| packet.seq);
            for pair in in_order.windows(2) {
                let missing = pair[1].seq - pair[0].seq - 1;
                let ((track, layer, from), (_, _, to)) = (pair[0].source, pair[1].source);
                let gone = lost.range((track, layer, from)..(track, layer, to.max(from))).count() as u64;
                // A swapped packet may come when the keyframe of the next layer has already been sent.
                let left = pair[1].source.1 != layer || pair[1].source.0 != track || pair[1].keyframe;
                prop_assert!(missing <= gone || left, "{who:?}: {missing} missing between {pair:?}, {gone} were lost");
            }
            h.check_pictures(who, &in_order);
        }
    }
}

#[test]
fn a_layer_that_does_not_fit_a_link_gives_way_to_a_smaller_one_and_is_tried_again_later() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Cascade);
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[2], 240);
    let wanted = |h: &Harness| h.wanted.last().expect("something is wanted").1;
    assert_eq!(wanted(&h), LayerSet::of(Layer(2)));
    h.input(Input::Fed(Feed::Shed { track: VIDEO, layer: Layer(2) }));
    assert!(wanted(&h).contains(Layer(1)), "the next smaller one is asked for at once");
    h.play(VIDEO, &[1], 180);
    assert_eq!(wanted(&h), LayerSet::of(Layer(1)), "and the other no more");
    h.play(VIDEO, &[1], 120);
    assert!(wanted(&h).contains(Layer(2)), "after a while it is tried again");
}

/// What a router feeds one branch, as numbers; reports are left out.
fn fed(h: &Harness) -> Vec<(u8, u32, u64)> {
    let packet = |feed: &Feed| match feed {
        Feed::Packet { layer, stream, packet, .. } => Some((layer.0, *stream, packet.seq)),
        Feed::Report { .. } | Feed::Shed { .. } => None,
    };
    h.piped.iter().filter_map(packet).collect()
}

fn interest(h: &mut Harness, layers: LayerSet, have: Vec<Have>) {
    h.piped.clear();
    h.input(Input::BranchInterest { branch: Branch::Link(LinkId(1)), track: VIDEO, layers, have });
}

#[test]
fn a_branch_that_had_packets_from_elsewhere_goes_on_behind_them() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    interest(&mut h, LayerSet::of(Layer(0)), vec![]);
    h.play(VIDEO, &[0], 30);
    let (_, stream, last) = *fed(&h).last().expect("packets");
    h.input(Input::BranchGone { branch: Branch::Link(LinkId(1)) });
    h.play(VIDEO, &[0], 30);
    let have = Have { layer: Layer(0), stream, seq: last as u16 };
    interest(&mut h, LayerSet::of(Layer(0)), vec![have]);
    let numbers: Vec<u64> = fed(&h).into_iter().map(|(_, _, seq)| seq).collect();
    assert_eq!(numbers, (last + 1..=last + 60).collect::<Vec<_>>(), "what it missed, in order and once");
    h.piped.clear();
    h.play(VIDEO, &[0], 1);
    assert_eq!(fed(&h).first().map(|fed| fed.2), Some(last + 61), "and then what is new");
}

#[test]
fn what_a_branch_claims_to_have_of_another_numbering_or_of_the_future_is_no_place_to_go_on() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0], 60);
    interest(&mut h, LayerSet::of(Layer(0)), vec![]);
    h.play(VIDEO, &[0], 1);
    let (_, stream, last) = *fed(&h).last().expect("packets");
    for (stream, seq) in
        [(stream.wrapping_add(1), last as u16), (stream, last as u16 + 5), (stream, (last as u16).wrapping_sub(9_999))]
    {
        h.input(Input::BranchGone { branch: Branch::Link(LinkId(1)) });
        interest(&mut h, LayerSet::of(Layer(0)), vec![Have { layer: Layer(0), stream, seq }]);
        assert_eq!(fed(&h), [], "the last keyframe is old by now");
    }
}

#[test]
fn a_newcomer_behind_a_branch_starts_with_a_fresh_keyframe_and_costs_the_publisher_none() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.play(VIDEO, &[0], 20);
    h.encoders.get_mut(&(VIDEO, 0)).expect("it plays").keyframe_due = true;
    h.play(VIDEO, &[0], 10);
    h.requests.clear();
    interest(&mut h, LayerSet::of(Layer(0)), vec![]);
    assert_eq!(fed(&h).len(), 20, "ten frames of two packets, from the keyframe on");
    assert_eq!(h.requests, []);
}

#[test]
fn two_ways_for_one_track_give_each_packet_once_and_a_numbering_that_ended_stays_ended() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Cascade);
    interest(&mut h, LayerSet::of(Layer(0)), vec![]);
    let feed = |h: &mut Harness, stream: u32, frames: u32| {
        for _ in 0..frames {
            h.advance(FRAME);
            for input in h.frame(VIDEO, 0, 2) {
                if let Input::Packet { track, layer, packet } = input {
                    for _ in 0..2 {
                        let packet = Arc::clone(&packet);
                        h.input(Input::Fed(Feed::Packet { track, layer, stream, packet }));
                    }
                }
            }
        }
    };
    feed(&mut h, 7, 10);
    assert_eq!(fed(&h).len(), 20);
    feed(&mut h, 8, 10);
    h.piped.clear();
    feed(&mut h, 7, 3);
    assert_eq!(fed(&h), [], "late packets of before the restart");
    feed(&mut h, 8, 3);
    assert!(fed(&h).iter().all(|&(_, stream, _)| stream == 8) && fed(&h).len() == 6);
}

#[test]
fn a_packet_that_never_came_is_given_up_and_a_keyframe_mends_the_picture() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Cascade);
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 180);
    h.play(VIDEO, &[0], 10);
    let lost = h.frame(VIDEO, 0, 1);
    assert!(lost.iter().any(|input| matches!(input, Input::Packet { .. })), "nobody gets it");
    h.play(VIDEO, &[0], 5);
    let received = &h.received[&(PeerKey(1), SLOT)];
    let gap = received.windows(2).find(|pair| pair[1].seq - pair[0].seq == 2).expect("its number is left out");
    let lost = vec![(gap[0].seq + 1) as u16];
    h.requests.clear();
    for _ in 0..3 {
        h.play(VIDEO, &[0], 4);
        h.input(Input::Nack { peer: PeerKey(1), slot: SLOT, rtt: Duration::from_millis(20), lost: lost.clone() });
    }
    assert_eq!(h.requests, [], "it may still come");
    for _ in 0..2 {
        h.play(VIDEO, &[0], 4);
        h.input(Input::Nack { peer: PeerKey(1), slot: SLOT, rtt: Duration::from_millis(20), lost: lost.clone() });
    }
    assert_eq!(h.requests, [(VIDEO, Layer(0))]);
}

fn budget(h: &mut Harness, peer: u32, kbps: u64) {
    h.input(Input::Budget { peer: PeerKey(peer), budget: Budget::fixed(Bitrate::kbps(kbps)) });
}

/// What a peer gets while two seconds are played: the layer of the last packet, and how many frames.
fn served(h: &mut Harness, peer: u32) -> (Option<u8>, usize) {
    let before = h.count(peer);
    h.play(VIDEO, &[0, 1, 2], 60);
    let received = h.received.get(&(PeerKey(peer), SLOT)).map_or(&[][..], |received| &received[before..]);
    let frames: BTreeSet<_> = received.iter().filter_map(|packet| Some((packet.source.1, packet.frame?))).collect();
    (received.last().map(|packet| packet.source.1), frames.len())
}

#[test]
fn a_path_that_gets_thinner_costs_frames_then_sharpness_then_the_picture_and_all_comes_back() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 90);
    assert_eq!(served(&mut h, 1), (Some(2), 60));
    // The layers take 83, 234 and 536 kbps, each in 8, 15 or 30 frames a second.
    budget(&mut h, 1, 450);
    assert_eq!(served(&mut h, 1), (Some(2), 30), "the largest at 15 frames a second");
    budget(&mut h, 1, 190);
    h.play(VIDEO, &[0, 1, 2], 15);
    assert_eq!(served(&mut h, 1), (Some(1), 30));
    budget(&mut h, 1, 30);
    h.play(VIDEO, &[0, 1, 2], 15);
    assert_eq!(served(&mut h, 1), (Some(0), 15), "the smallest at 7 frames a second");
    budget(&mut h, 1, 10);
    assert_eq!(served(&mut h, 1).1, 0);
    assert_eq!(h.states.last(), Some(&(PeerKey(1), StreamState::Paused(Reason::Bandwidth))));
    budget(&mut h, 1, 2_000);
    h.play(VIDEO, &[0, 1, 2], 90);
    assert_eq!(served(&mut h, 1), (Some(2), 60));
    assert_eq!(h.states.last(), Some(&(PeerKey(1), StreamState::Forwarding { layer: Layer(2), short: None })));
    h.check_receivers();
    let received: Vec<&Received> = h.received[&(PeerKey(1), SLOT)].iter().collect();
    h.check_pictures(&(PeerKey(1), SLOT), &received);
}

#[test]
fn a_smaller_picture_than_called_for_is_told_with_its_reason() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 60);
    budget(&mut h, 1, 100);
    h.play(VIDEO, &[0, 1, 2], 30);
    let short = Some(Reason::Bandwidth);
    assert_eq!(h.states.last(), Some(&(PeerKey(1), StreamState::Forwarding { layer: Layer(0), short })));
}

#[test]
fn what_flows_gets_thinner_at_once_while_the_smaller_layer_is_waited_for() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 90);
    budget(&mut h, 1, 60);
    let before = h.count(1);
    // No keyframe comes of the smaller one, until it is asked for again.
    for _ in 0..14 {
        h.encoders.get_mut(&(VIDEO, 0)).expect("published").keyframe_due = false;
        h.play(VIDEO, &[0, 1, 2], 1);
    }
    assert_eq!(h.layer_of(1), Some(2));
    let came = h.count(1) - before;
    assert!((6..=10).contains(&came), "three to five frames of two packets, not 14: {came}");
}

#[test]
fn a_layer_that_failed_is_left_alone_for_a_while_and_a_keyframe_is_not_asked_for_each_second() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 90);
    h.requests.clear();
    // The path seems to carry everything whenever it is not full.
    for _ in 0..60 {
        let full = h.layer_of(1) == Some(2);
        budget(&mut h, 1, if full { 150 } else { 5_000 });
        h.play(VIDEO, &[0, 1, 2], 15);
    }
    let up = h.requests.iter().filter(|(_, layer)| layer.0 == 2).count();
    assert!((2..=4).contains(&up), "tries after 2, 4 and 8 of 30 s: {up}");
}

#[test]
fn voices_come_off_the_budget_before_any_picture() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.publish(AUDIO, Kind::Audio, 1, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 180);
    h.play(VIDEO, &[0, 1, 2], 60);
    budget(&mut h, 1, 95);
    assert_eq!(served(&mut h, 1), (Some(0), 60));
    h.input(Input::Bind { peer: PeerKey(1), slot: Slot(1), track: Some(AUDIO) });
    assert_eq!(served(&mut h, 1), (Some(0), 15), "31 kbps are left beside a voice");
}

#[test]
fn why_nothing_comes_of_a_track_is_told() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 1, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 180);
    h.play(VIDEO, &[0], 30);
    let last = |h: &Harness| h.states.last().map(|(_, state)| *state);
    let flows = Some(StreamState::Forwarding { layer: Layer(0), short: None });
    assert_eq!(last(&h), flows);
    h.input(Input::Muted { track: VIDEO, muted: true });
    h.play(VIDEO, &[], 90);
    assert_eq!(last(&h), Some(StreamState::Paused(Reason::Muted)));
    h.input(Input::Muted { track: VIDEO, muted: false });
    h.play(VIDEO, &[0], 30);
    assert_eq!(last(&h), flows);
    h.play(VIDEO, &[], 120);
    assert_eq!(last(&h), flows, "it may be a still screen");
    h.play(VIDEO, &[], 90);
    assert_eq!(last(&h), Some(StreamState::Paused(Reason::NoMedia)));
    h.play(VIDEO, &[0], 3);
    assert_eq!(last(&h), flows);
}

#[test]
fn what_a_subscription_gets_is_told_with_the_reason() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    let of = |h: &Harness| h.router.subscriptions(PeerKey(1))[0];
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 90);
    let lines = |lines| Some(PixelHeight(lines));
    let height = |picture: Option<Picture>| picture.map(|picture| picture.height);
    let all = of(&h);
    assert_eq!(
        (height(all.wanted), height(all.target), height(all.current), all.short),
        (lines(720), lines(720), lines(720), None)
    );
    assert_eq!(h.router.shown(PeerKey(1)).expected, 1);

    // The path carries less.
    h.input(Input::Budget { peer: PeerKey(1), budget: Budget::fixed(Bitrate::kbps(20)) });
    h.play(VIDEO, &[0, 1, 2], 90);
    let less = of(&h);
    assert_eq!(less.short, Some(Reason::Bandwidth), "{less:?}");
    assert!(height(less.wanted) == lines(720) && height(less.current) < lines(720));
    let shown = h.router.shown(PeerKey(1));
    assert!(shown.expected == 1 && (shown.missing == 1 || shown.halvings >= 1.0), "{shown:?}");

    h.input(Input::Budget { peer: PeerKey(1), budget: DEFAULT_BUDGET });
    h.play(VIDEO, &[0, 1, 2], 400);
    assert_eq!(of(&h).short, None);
    // Its publisher stops the largest layer.
    h.play(VIDEO, &[0, 1], 90);
    assert_eq!((of(&h).short, height(of(&h).current)), (Some(Reason::NoMedia), lines(360)));
    let published = h.router.published(PUBLISHER);
    assert_eq!((published.expected, published.missing, published.halvings), (1, 0, 1.0));

    h.input(Input::Muted { track: VIDEO, muted: true });
    assert_eq!((of(&h).short, h.router.shown(PeerKey(1)).expected), (Some(Reason::Muted), 0));
    h.input(Input::Muted { track: VIDEO, muted: false });
    h.input(Input::View { peer: PeerKey(1), items: Vec::new() });
    assert_eq!((of(&h).short, of(&h).wanted, of(&h).current), (Some(Reason::OffScreen), None, None));
    assert_eq!(h.router.shown(PeerKey(1)).expected, 0, "what is off screen is no fault");
    assert_eq!(h.router.subscriptions(PeerKey(9)), []);
}

#[test]
fn what_a_peer_wants_at_most_holds_whatever_its_path_carries_and_is_all_that_is_probed_for() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.bind(1, Some(VIDEO));
    h.view(1, VIDEO, 720);
    h.play(VIDEO, &[0, 1, 2], 90);
    h.input(Input::Limit { peer: PeerKey(1), rate: Bitrate::kbps(110) });
    budget(&mut h, 1, 5_000);
    h.play(VIDEO, &[0, 1, 2], 15);
    assert_eq!(served(&mut h, 1), (Some(0), 60));
    assert_eq!(h.demands.last(), Some(&(PeerKey(1), Bitrate::kbps(110))));
    h.input(Input::Limit { peer: PeerKey(1), rate: Bitrate(u64::MAX) });
    h.play(VIDEO, &[0, 1, 2], 90);
    assert_eq!(served(&mut h, 1), (Some(2), 60));
}

#[test]
fn a_node_with_too_much_to_do_makes_the_largest_pictures_smaller_then_pauses_pictures_and_touches_no_voice() {
    let mut h = Harness::new();
    h.publish(VIDEO, Kind::Video, 3, Upstream::Peer(PUBLISHER));
    h.publish(AUDIO, Kind::Audio, 1, Upstream::Peer(PUBLISHER));
    for (peer, lines) in [(1, 720), (2, 180)] {
        h.bind(peer, Some(VIDEO));
        h.view(peer, VIDEO, lines);
        h.input(Input::Bind { peer: PeerKey(peer), slot: Slot(7), track: Some(AUDIO) });
    }
    h.play(VIDEO, &[0, 1, 2], 90);
    assert_eq!((served(&mut h, 1).0, served(&mut h, 2).0), (Some(2), Some(0)));
    h.input(Input::Relief { share: 0.6 });
    h.play(VIDEO, &[0, 1, 2], 30);
    let (layer, frames) = served(&mut h, 1);
    assert!(layer < Some(2) || frames < 50, "the largest gives way: {frames} frames");
    assert_eq!(served(&mut h, 2), (Some(0), 60), "the small one has all its frames");
    let why = |h: &Harness, peer| h.router.subscriptions(PeerKey(peer)).iter().find(|s| s.kind == Kind::Video).unwrap().short;
    assert_eq!((why(&h, 1), why(&h, 2)), (Some(Reason::Busy), None));
    h.input(Input::Relief { share: 0.02 });
    h.play(VIDEO, &[0, 1, 2], 30);
    h.received.clear();
    h.play(VIDEO, &[0, 1, 2], 30);
    h.play(AUDIO, &[0], 10);
    assert_eq!((why(&h, 1), why(&h, 2)), (Some(Reason::Busy), Some(Reason::Busy)));
    let slots: Vec<(PeerKey, Slot)> = h.received.keys().copied().collect();
    assert_eq!(slots, [(PeerKey(1), Slot(7)), (PeerKey(2), Slot(7))], "voices alone");
    h.input(Input::Relief { share: 1.0 });
    h.play(VIDEO, &[0, 1, 2], 240);
    assert_eq!((served(&mut h, 1), why(&h, 1), why(&h, 2)), ((Some(2), 60), None, None));
}
