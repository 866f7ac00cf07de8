//! Round trips, limits and hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::cluster::Role;
use crate::rtp::NtpTime;
use crate::units::{Bitrate, PixelHeight};

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}"
}

fn node() -> impl Strategy<Value = NodeId> {
    name().prop_map(NodeId::new)
}

fn info() -> impl Strategy<Value = NodeInfo> {
    let role = prop_oneof![Just(Role::Edge), Just(Role::Core), Just(Role::Both)];
    let texts = (prop::option::of("[a-z:/.]{1,60}"), prop::option::of("[a-z.]{1,60}:[0-9]{1,5}"));
    (node(), name(), role, any::<u64>(), any::<bool>(), texts).prop_map(
        |(id, region, role, incarnation, draining, (url, addr))| NodeInfo {
            id,
            region: RegionId::new(region),
            role,
            incarnation,
            draining,
            url,
            addr,
        },
    )
}

fn metrics() -> impl Strategy<Value = LinkMetrics> {
    any::<(u32, u16, u32, u32, u32, u16)>().prop_map(|(rtt_us, loss_permille, kbps_out, kbps_in, target_kbps, queue_ms)| {
        LinkMetrics { rtt_us, loss_permille, kbps_out, kbps_in, target_kbps, queue_ms }
    })
}

fn layer_info() -> impl Strategy<Value = LayerInfo> {
    (prop::option::of("[a-z]{1,8}"), any::<(u32, u32, u32, u64)>()).prop_map(|(rid, (width, height, fps, max))| LayerInfo {
        rid: rid.map(Into::into),
        width,
        height: PixelHeight(height),
        fps,
        max: Bitrate(max),
    })
}

fn path() -> impl Strategy<Value = Vec<NodeId>> {
    prop::collection::vec(node(), 0..6)
}

fn subscribe() -> impl Strategy<Value = Frame> {
    let layers = prop::collection::vec(layer_info(), 1..=Layer::MAX);
    let track = (any::<u64>(), "[^\\p{C}]{1,40}", any::<bool>(), layers, node(), any::<u64>());
    (track, any::<u8>(), any::<[u32; Layer::MAX]>(), any::<[(u32, u16); Layer::MAX]>(), path(), any::<u64>()).prop_map(
        |((id, room, audio, layers, origin, incarnation), set, flows, have, path, epoch)| {
            let count = layers.len();
            let kind = if audio { Kind::Audio } else { Kind::Video };
            Frame::Subscribe(Subscribe {
                track: TrackInfo { id: TrackId(id >> 8), room: RoomId::new(room), kind, layers, origin, incarnation },
                layers: LayerSet(set & ((1 << count) - 1)),
                flows: flows[..count].to_vec(),
                have: (0..count).map(|n| (Layer(n as u8), have[n].0, have[n].1)).collect(),
                path,
                epoch,
            })
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let track = || any::<u64>().prop_map(|id| TrackId(id >> 8));
    let refusal = prop_oneof![
        Just(Refusal::Loop),
        Just(Refusal::TooFar),
        Just(Refusal::NoRoute),
        Just(Refusal::NoTrack),
        Just(Refusal::Epoch),
        Just(Refusal::Full),
        Just(Refusal::Draining)
    ];
    let hello = (any::<(u8, u8)>(), info(), any::<u64>())
        .prop_map(|((a, b), node, epoch)| Frame::Hello(Hello { versions: (a.min(b), a.max(b)), node, epoch }));
    let neighbour = (node(), metrics()).prop_map(|(node, metrics)| Neighbour { node, metrics });
    let state = (info(), any::<u64>(), any::<u64>(), prop::collection::vec(neighbour, 0..5))
        .prop_map(|(node, seq, epoch, neighbours)| Frame::State(NodeState { node, seq, epoch, neighbours }));
    let room = (node(), node(), "[^\\p{C}]{1,40}", any::<u8>(), prop::collection::vec(any::<u8>(), 0..2_000)).prop_map(
        |(from, to, room, ttl, body)| Frame::Room(RoomMessage { from, to, room: RoomId::new(room), ttl, body: body.into() }),
    );
    prop_oneof![
        hello,
        state,
        subscribe(),
        track().prop_map(|track| Frame::Unsubscribe { track }),
        (track(), path()).prop_map(|(track, path)| Frame::Subscribed { track, path }),
        (track(), refusal).prop_map(|(track, why)| Frame::Refused { track, why }),
        (track(), 0..Layer::MAX as u8).prop_map(|(track, layer)| Frame::Keyframe { track, layer: Layer(layer) }),
        (any::<(u32, u32, u64, u32)>(), 1..=1_000_000u32).prop_map(|((flow, stream, ntp, rtp), rate)| Frame::Report {
            flow,
            stream,
            report: SenderClock { ntp: NtpTime(ntp), rtp, rate }
        }),
        room,
        any::<(u32, u64)>().prop_map(|(id, sent)| Frame::Ping { id, sent }),
        any::<(u32, u64, u64, u64)>().prop_map(|(id, sent, received, answered)| Frame::Pong { id, sent, received, answered }),
        "[ -~]{0,100}".prop_map(|reason| Frame::Goaway { reason }),
        "[ -~\n]{0,4000}".prop_map(|text| Frame::Topology { text }),
        any::<u32>().prop_map(|flow| Frame::Shed { flow }),
    ]
}

/// What a decoder makes of bytes that come in pieces.
fn decoded(bytes: &[u8], piece: usize, version: u8) -> Result<Vec<Frame>, WireError> {
    let mut decoder = Decoder::default();
    decoder.speak(version);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        while let Some(frame) = decoder.next() {
            frames.push(frame?);
        }
    }
    Ok(frames)
}

fn unchecked(frame: &Frame) -> Vec<u8> {
    let body = postcard::to_stdvec(frame).expect("it has a form");
    let mut bytes = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn a_subscribe() -> Subscribe {
    let track = TrackInfo {
        id: TrackId(1),
        room: RoomId::new("Raum 7"),
        kind: Kind::Video,
        layers: vec![LayerInfo::default(); 2],
        origin: NodeId::new("a"),
        incarnation: 1,
    };
    Subscribe { track, layers: LayerSet(0b11), flows: vec![1, 2], have: vec![], path: vec![NodeId::new("b")], epoch: 1 }
}

proptest! {
    #[test]
    fn every_frame_survives_whatever_pieces_it_comes_in(frames in prop::collection::vec(frame(), 1..6), piece in 1usize..3_000) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(VERSION, &mut bytes).expect("it is within the limits");
        }
        prop_assert_eq!(decoded(&bytes, piece, VERSION), Ok(frames));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1usize..50) {
        let _ = decoded(&bytes, piece, VERSION);
        let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        let _ = decoded(&framed, piece, VERSION);
    }

    #[test]
    fn a_frame_with_a_broken_byte_is_read_or_refused_but_never_out_of_bounds(frame in frame(), at: prop::sample::Index, byte: u8) {
        let mut body = postcard::to_stdvec(&frame).expect("it has a form");
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(frame) = Frame::decode(&body, VERSION) {
            prop_assert!(bounds::hold(&frame));
        }
    }
}

#[test]
fn a_long_frame_is_refused_before_it_is_collected() {
    let mut decoder = Decoder::default();
    decoder.push(&(MAX_FRAME as u32 + 1).to_be_bytes());
    assert_eq!(decoder.next(), Some(Err(WireError::TooLong(MAX_FRAME + 1))));
    assert_eq!(decoder.next(), None, "nothing can be told apart behind it");
    decoder.push(&[0; 1_000]);
    assert!(!decoder.is_amid(), "and nothing is kept");

    // Even by somebody who does not ask.
    let mut decoder = Decoder::default();
    for _ in 0..1_000 {
        decoder.push(&[0xFF; 1_000]);
    }
    assert_eq!(decoder.next(), Some(Err(WireError::TooLong(u32::MAX as usize))));
}

#[test]
fn what_claims_a_huge_list_or_text_is_refused_without_room_for_it() {
    // Subscribed { track, path: 2^60 nodes } and Topology { text: 2^60 bytes }.
    let mut list = postcard::to_stdvec(&Frame::Subscribed { track: TrackId(1), path: vec![] }).unwrap();
    list.pop();
    let mut text = postcard::to_stdvec(&Frame::Topology { text: String::new() }).unwrap();
    text.pop();
    for mut body in [list, text] {
        body.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
        assert_eq!(Frame::decode(&body, VERSION), Err(WireError::Malformed));
    }
}

#[test]
fn a_kind_that_is_newer_than_the_links_version_is_neither_sent_nor_taken() {
    let shed = Frame::Shed { flow: 3 };
    let mut bytes = Vec::new();
    assert_eq!(shed.encode(1, &mut bytes), Err(WireError::Newer(2)));
    assert!(bytes.is_empty());
    assert_eq!(decoded(&unchecked(&shed), 100, 1), Err(WireError::Newer(2)));
    assert_eq!(decoded(&unchecked(&shed), 100, 2), Ok(vec![shed]));
    // A kind of no version at all.
    assert_eq!(Frame::decode(&[200, 1], VERSION), Err(WireError::Malformed));
}

#[test]
fn bytes_behind_a_frame_within_its_length_are_refused() {
    let mut body = postcard::to_stdvec(&Frame::Shed { flow: 3 }).unwrap();
    body.push(0);
    assert_eq!(Frame::decode(&body, VERSION), Err(WireError::Malformed));
}

#[test]
fn what_is_beyond_its_limit_is_refused_on_both_sides() {
    let subscribe = |change: fn(&mut Subscribe)| {
        let mut subscribe = a_subscribe();
        change(&mut subscribe);
        Frame::Subscribe(subscribe)
    };
    let hello = |change: fn(&mut Hello)| {
        let node = NodeInfo {
            id: NodeId::new("a"),
            region: RegionId::new("r"),
            role: Role::Both,
            incarnation: 1,
            draining: false,
            url: None,
            addr: None,
        };
        let mut hello = Hello { versions: (1, 2), node, epoch: 1 };
        change(&mut hello);
        Frame::Hello(hello)
    };
    assert!(bounds::hold(&subscribe(|_| {})) && bounds::hold(&hello(|_| {})), "what they are changed from is fine");
    let cases = [
        hello(|hello| hello.versions = (3, 2)),
        hello(|hello| hello.node.id = NodeId::new("")),
        hello(|hello| hello.node.id = NodeId::new("a/../b")),
        hello(|hello| hello.node.region = RegionId::new("r\n")),
        hello(|hello| hello.node.url = Some("x".repeat(MAX_TEXT + 1))),
        hello(|hello| hello.node.addr = Some("line\nline".into())),
        subscribe(|subscribe| subscribe.flows = vec![1]),
        subscribe(|subscribe| subscribe.layers = LayerSet(0b100)),
        subscribe(|subscribe| subscribe.have = vec![(Layer(2), 0, 0)]),
        subscribe(|subscribe| subscribe.path = vec![NodeId::new("n"); MAX_LIST + 1]),
        subscribe(|subscribe| subscribe.path = vec![NodeId::new("n n")]),
        subscribe(|subscribe| subscribe.track.room = RoomId::new("r".repeat(MAX_TEXT + 1))),
        subscribe(|subscribe| subscribe.track.room = RoomId::new("")),
        subscribe(|subscribe| {
            subscribe.track.layers.clear();
            subscribe.flows.clear();
            subscribe.layers = LayerSet::EMPTY;
        }),
        subscribe(|subscribe| {
            subscribe.track.layers = vec![LayerInfo::default(); Layer::MAX + 1];
            subscribe.flows = vec![0; Layer::MAX + 1];
        }),
        Frame::Keyframe { track: TrackId(1), layer: Layer(Layer::MAX as u8) },
        Frame::Keyframe { track: TrackId(1), layer: Layer(255) },
        Frame::Report { flow: 1, stream: 1, report: SenderClock { ntp: NtpTime(0), rtp: 0, rate: 0 } },
        Frame::Goaway { reason: "x".repeat(MAX_TEXT + 1) },
    ];
    for frame in cases {
        let mut out = Vec::new();
        assert_eq!(frame.encode(VERSION, &mut out), Err(WireError::OutOfBounds), "{frame:?}");
        assert_eq!(decoded(&unchecked(&frame), 1_000, VERSION), Err(WireError::OutOfBounds), "{frame:?}");
    }
    let room = Frame::Room(RoomMessage {
        from: NodeId::new("a"),
        to: NodeId::new("b"),
        room: RoomId::new("r"),
        ttl: 3,
        body: vec![0; MAX_FRAME].into(),
    });
    assert!(matches!(room.encode(VERSION, &mut Vec::new()), Err(WireError::TooLong(_))));
}
