//! Shards with their real sockets, threads and pipes, and clients with real handshakes: what crosses a pipe, what comes over
//! TCP, what is repaired, and what hostile datagrams do (nothing).

#![allow(clippy::indexing_slicing)]

#[path = "support/client.rs"]
mod client;
#[path = "support/node.rs"]
mod node;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, Wire};
use node::Shard;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use weir::edge::media::{Command, Event, Origin, TrackSpec, ViewItem};
use weir::edge::peer::Certificate;
use weir::edge::plan::{DtlsPlan, ExtensionIds, IceCredentials, IcePlan, MediaPlan, PayloadType, ReceivePlan, SendPlan, Slot};
use weir::id::{MemberId, RoomId, ShardId, TrackId};
use weir::rtp::clock::NtpTime;
use weir::rtp::header::{self, Header, Outgoing};
use weir::rtp::rtcp::{Rtcp, SenderInfo, parse, write};
use weir::rtp::{Codec, Extensions, HopOut, Kind, LayerInfo, Source};
use weir::shard::stats::ShardStats;
use weir::shard::{Inbox, tcp};
use weir::units::PixelHeight;

const TRACK: TrackId = TrackId(1);
const PUBLISHER: MemberId = MemberId(1);
const VIEWER: MemberId = MemberId(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// Some shards of one node, and what signaling would know of them.
struct Node {
    certificate: Arc<Certificate>,
    clients: Arc<Certificate>,
    shards: Vec<Shard>,
    events: mpsc::Receiver<(ShardId, Event)>,
}

impl Node {
    fn start(count: u8) -> Self {
        let certificate = Arc::new(Certificate::generate().expect("a certificate"));
        let (shards, events) = node::shards(count, &certificate);
        let clients = Arc::new(Certificate::generate().expect("a certificate"));
        Self { certificate, clients, shards, events }
    }

    async fn tell(&self, shard: usize, command: Command) {
        self.shards[shard].commands.send(command).await.expect("the shard runs");
    }

    /// Places a member and tells its plan.
    async fn place(&self, shard: usize, member: MemberId) -> MediaPlan {
        let plan = plan(shard, member, &self.clients);
        self.place_as(shard, member, &plan).await;
        plan
    }

    async fn place_as(&self, shard: usize, member: MemberId, plan: &MediaPlan) {
        self.tell(shard, Command::AddPeer { member, room: RoomId::new("room") }).await;
        self.tell(shard, Command::Configure { member, plan: Box::new(plan.clone()) }).await;
    }

    async fn join(&self, shard: usize, member: MemberId) -> Client {
        self.join_as(shard, member, plan(shard, member, &self.clients)).await
    }

    async fn join_as(&self, shard: usize, member: MemberId, plan: MediaPlan) -> Client {
        self.place_as(shard, member, &plan).await;
        let wire = Wire::udp(self.shards[shard].addr).await;
        Client::connect(wire, &plan, Arc::clone(&self.clients), self.certificate.fingerprint()).await
    }

    async fn publish(&self, shard: usize, origin: Origin) {
        let track = TrackSpec {
            id: TRACK,
            room: RoomId::new("room"),
            kind: Kind::Video,
            source: Source::Camera,
            layers: vec![LayerInfo::default()],
            muted: false,
            origin,
        };
        self.tell(shard, Command::AddTrack { track }).await;
    }

    async fn watch(&self, shard: usize, member: MemberId) {
        self.tell(shard, Command::Bind { member, slot: Slot(0), track: Some(TRACK) }).await;
        let item = ViewItem { track: TRACK, height: PixelHeight(720), visible: true, priority: 0 };
        self.tell(shard, Command::View { member, items: vec![item] }).await;
    }

    async fn stats(&self, shard: usize) -> ShardStats {
        let (reply, stats) = oneshot::channel();
        self.shards[shard].inbox.send(Inbox::Stats { reply }).await.expect("the shard runs");
        stats.await.expect("the shard answers")
    }

    async fn stop(self) {
        for shard in &self.shards {
            shard.inbox.send(Inbox::Stop).await.expect("the shard runs");
        }
        let join = move || self.shards.into_iter().for_each(|shard| shard.handle.join());
        tokio::task::spawn_blocking(join).await.expect("every shard ends");
    }
}

/// What signaling would have agreed with a member.
fn plan(shard: usize, member: MemberId, client: &Certificate) -> MediaPlan {
    let credentials = |side: &str| IceCredentials {
        ufrag: format!("{shard:02x}{side}{:013x}", member.0),
        pwd: format!("{side}-password-of-member-{:08}", member.0),
    };
    let publishes = member == PUBLISHER;
    let receive = ReceivePlan { mid: "0".into(), track: TRACK, kind: Kind::Video, rids: Vec::new(), ssrcs: Vec::new() };
    let ssrc = 0x2000_0000 + member.0 as u32;
    let send = SendPlan { slot: Slot(0), mid: "0".into(), kind: Kind::Video, ssrc, rtx_ssrc: Some(ssrc + 0x1000_0000) };
    MediaPlan {
        ice: IcePlan { local: credentials("a"), remote: credentials("b") },
        dtls: DtlsPlan { we_are_client: false, fingerprints: vec![client.fingerprint()] },
        extensions: IDS,
        payload_types: vec![PayloadType { pt: 96, codec: Codec::Vp8, rtx: Some(97), fmtp: String::new() }],
        receive: publishes.then_some(receive).into_iter().collect(),
        send: (!publishes).then_some(send).into_iter().collect(),
        sctp: None,
    }
}

const IDS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    transport_cc: Some(3),
    rid: None,
    repaired_rid: None,
    abs_send_time: None,
    audio_level: None,
    orientation: None,
    playout_delay: None,
    dependency: None,
    capture_time: None,
    allow_mixed: false,
};

/// One frame of one packet; every tenth is a keyframe.
async fn send_frame(client: &mut Client, index: u16) {
    send_frame_named(client, index, &IDS, HopOut { mid: Some(b"0"), ..HopOut::default() }).await;
}

async fn send_frame_named(client: &mut Client, index: u16, ids: &ExtensionIds, names: HopOut<'_>) {
    let mut packet = Vec::new();
    let timestamp = u32::from(index) * 3_000;
    let out = Outgoing { pt: 96, seq: index, timestamp, ssrc: 0x1111, marker: true };
    let hop = HopOut { transport_cc: Some(index), ..names };
    header::write(&mut packet, &out, ids, &Extensions::default(), &hop);
    let [high, low] = (index | 0x8000).to_be_bytes();
    packet.extend_from_slice(&[0x90, 0x80, high, low, u8::from(!index.is_multiple_of(10)), 0, 0, 0x9D, 0x01, 0x2A]);
    packet.extend_from_slice(&index.to_be_bytes());
    client.srtp.seal_rtp(&mut packet, 0).expect("connected");
    client.wire.send(&packet).await;
}

/// A packet as the viewer opened it: its header, and the index of the frame in it.
struct Frame {
    header: Header,
    index: u16,
}

/// The next RTP packet that comes, if one does in time.
async fn next_frame(client: &mut Client, patience: Duration) -> Option<Frame> {
    let deadline = Instant::now() + patience;
    loop {
        let mut datagram = tokio::time::timeout_at(deadline.into(), client.wire.receive()).await.ok()?;
        if !matches!(datagram[..], [128..=191, ..]) || matches!(datagram[1], 192..=223) {
            continue;
        }
        let length = client.srtp.open_rtp(&mut datagram).expect("sealed for this client, once");
        let header = Header::parse(&datagram[..length]).expect("an RTP packet");
        let payload = &datagram[header.payload.clone()];
        if payload.is_empty() {
            // Padding of a probe.
            continue;
        }
        let index = u16::from_be_bytes([payload[payload.len() - 2], payload[payload.len() - 1]]);
        return Some(Frame { header, index });
    }
}

/// Sends frames until so many have reached the viewer; gives their indices.
async fn call(publisher: &mut Client, viewer: &mut Client, from: u16, wanted: usize) -> Vec<u16> {
    let (begun, mut index, mut seen) = (Instant::now(), from, Vec::new());
    while seen.len() < wanted {
        assert!(begun.elapsed() < PATIENCE, "only {seen:?} came");
        send_frame(publisher, index).await;
        index += 1;
        while let Some(frame) = next_frame(viewer, Duration::from_millis(5)).await {
            seen.push(frame.index);
        }
    }
    seen
}

fn assert_in_order(seen: &[u16]) {
    assert_eq!(seen[0] % 10, 0, "a picture begins with a keyframe: {seen:?}");
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
}

#[tokio::test]
async fn media_crosses_a_pipe_to_another_shard() {
    let node = Node::start(2);
    let (mut publisher, mut viewer) = (node.join(0, PUBLISHER).await, node.join(1, VIEWER).await);
    node.publish(0, Origin::Member(PUBLISHER)).await;
    node.publish(1, Origin::Shard(ShardId(0))).await;
    for index in 0..30 {
        send_frame(&mut publisher, index).await;
    }
    assert!(next_frame(&mut viewer, Duration::from_millis(300)).await.is_none(), "nobody asked");
    assert_eq!(node.stats(0).await.pipe_packets_out, 0, "and nothing crossed");
    node.watch(1, VIEWER).await;
    assert_in_order(&call(&mut publisher, &mut viewer, 30, 50).await);
    assert_eq!(node.stats(0).await.rtp_out, 0);
    assert!(node.stats(1).await.rtp_out >= 50);
    node.stop().await;
}

#[tokio::test]
async fn a_viewer_without_udp_is_served_over_tcp() {
    let node = Node::start(1);
    let mut publisher = node.join(0, PUBLISHER).await;
    node.publish(0, Origin::Member(PUBLISHER)).await;
    let plan = node.place(0, VIEWER).await;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let inbox = node.shards[0].inbox.clone();
    let accept = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let first = tcp::first_frame(&mut stream).await.expect("a frame");
        inbox.send(Inbox::Tcp { stream, first }).await.expect("the shard runs");
    });
    let wire = Wire::Tcp(TcpStream::connect(addr).await.expect("loopback"), Vec::new());
    let mut viewer = Client::connect(wire, &plan, Arc::clone(&node.clients), node.certificate.fingerprint()).await;
    accept.await.expect("accepted");
    node.watch(0, VIEWER).await;
    let seen = call(&mut publisher, &mut viewer, 0, 50).await;
    assert_in_order(&seen);
    node.stop().await;
}

#[tokio::test]
async fn a_lost_packet_comes_again_as_rtx() {
    let node = Node::start(1);
    let (mut publisher, mut viewer) = (node.join(0, PUBLISHER).await, node.join(0, VIEWER).await);
    node.publish(0, Origin::Member(PUBLISHER)).await;
    node.watch(0, VIEWER).await;
    call(&mut publisher, &mut viewer, 0, 20).await;
    send_frame(&mut publisher, 1_000).await;
    let lost = next_frame(&mut viewer, PATIENCE).await.expect("it comes once");
    let mut nack = Vec::new();
    write::nack(&mut nack, 7, lost.header.ssrc, &[lost.header.seq]);
    viewer.srtp.seal_rtcp(&mut nack, 0).expect("connected");
    viewer.wire.send(&nack).await;
    let again = next_frame(&mut viewer, PATIENCE).await.expect("and again");
    assert_eq!((again.header.pt, again.index), (97, lost.index));
    assert_ne!(again.header.ssrc, lost.header.ssrc);
    node.stop().await;
}

#[tokio::test]
async fn hostile_datagrams_are_counted_and_disturb_nobody() {
    let node = Node::start(1);
    let (mut publisher, mut viewer) = (node.join(0, PUBLISHER).await, node.join(0, VIEWER).await);
    node.publish(0, Origin::Member(PUBLISHER)).await;
    node.watch(0, VIEWER).await;
    let seen = call(&mut publisher, &mut viewer, 0, 20).await;

    let mut stranger = Wire::udp(node.shards[0].addr).await;
    let mut checks = client::check(&viewer.ice);
    let last = checks.len() - 1;
    checks[last] ^= 1;
    for round in 0..200u16 {
        // STUN with a wrong password; DTLS and RTP from an address nobody knows; noise; nothing.
        stranger.send(&checks).await;
        stranger.send(&[22, 254, 253, 0, 0, round as u8, 1, 2, 3]).await;
        stranger.send(&[&[0x80, 96][..], &round.to_be_bytes(), &[0; 40]].concat()).await;
        stranger.send(&vec![round as u8; usize::from(round) * 7]).await;
        // And from the viewer's own address: SRTP and SRTCP that do not authenticate, DTLS that is none.
        viewer.wire.send(&[&[0x80, 96][..], &round.to_be_bytes(), &[0; 40]].concat()).await;
        viewer.wire.send(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        viewer.wire.send(&[&[23, 254, 253][..], &[round as u8; 60]].concat()).await;
    }
    let after = call(&mut publisher, &mut viewer, seen[seen.len() - 1] + 1, 20).await;
    assert!(after.windows(2).all(|pair| pair[1] == pair[0] + 1), "{after:?}");
    let dropped = node.stats(0).await.dropped;
    assert!(dropped.bad_stun >= 200 && dropped.unknown_source >= 200 && dropped.bad_srtp >= 200, "{dropped:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_member_that_leaves_is_forgotten_and_others_stay() {
    let mut node = Node::start(1);
    let (mut publisher, mut viewer) = (node.join(0, PUBLISHER).await, node.join(0, VIEWER).await);
    let other = MemberId(3);
    let _third = node.join(0, other).await;
    node.publish(0, Origin::Member(PUBLISHER)).await;
    node.watch(0, VIEWER).await;
    node.watch(0, other).await;
    let seen = call(&mut publisher, &mut viewer, 0, 20).await;
    assert_eq!(node.stats(0).await.subscriptions, 2);
    node.tell(0, Command::RemovePeer { member: other }).await;
    call(&mut publisher, &mut viewer, seen[seen.len() - 1] + 1, 20).await;
    let stats = node.stats(0).await;
    assert_eq!((stats.peers, stats.subscriptions), (2, 1));
    let mut connected = 0;
    while let Ok((_, event)) = node.events.try_recv() {
        connected += u32::from(matches!(event, Event::Connected { .. }));
    }
    assert_eq!(connected, 3);
    node.stop().await;
}

#[tokio::test]
async fn a_layer_that_said_goodbye_may_go_on_without_a_name() {
    let node = Node::start(1);
    let mut said = plan(0, PUBLISHER, &node.clients);
    said.receive[0].rids = vec!["q".into()];
    said.extensions.rid = Some(2);
    // What a server writes as mid is this client's rid.
    let ids = ExtensionIds { mid: said.extensions.rid, ..IDS };
    let named = || HopOut { mid: Some(b"q"), ..HopOut::default() };
    let mut publisher = node.join_as(0, PUBLISHER, said).await;
    let mut viewer = node.join(0, VIEWER).await;
    node.publish(0, Origin::Member(PUBLISHER)).await;
    node.watch(0, VIEWER).await;
    let mut seen = Vec::new();
    for index in 0..60 {
        // Browsers do so when a layer is switched off and on again: the names are told until they were heard, and never again.
        if index == 30 {
            let mut goodbye = Vec::new();
            write::goodbye(&mut goodbye, &[0x1111]);
            publisher.srtp.seal_rtcp(&mut goodbye, 0).expect("connected");
            publisher.wire.send(&goodbye).await;
        }
        let names = if index < 30 { named() } else { HopOut::default() };
        send_frame_named(&mut publisher, index, &ids, names).await;
        while let Some(frame) = next_frame(&mut viewer, Duration::from_millis(5)).await {
            seen.push(frame.index);
        }
    }
    assert_in_order(&seen);
    assert_eq!(seen.last(), Some(&59));
    node.stop().await;
}

#[tokio::test]
async fn reports_on_many_streams_fit_the_path() {
    const SLOTS: u16 = 50;
    let node = Node::start(1);
    let mut publisher = node.join(0, PUBLISHER).await;
    let mut wide = plan(0, VIEWER, &node.clients);
    let send = |slot: u16| SendPlan {
        slot: Slot(slot),
        mid: slot.to_string(),
        kind: Kind::Video,
        ssrc: 0x3000_0000 + u32::from(slot),
        rtx_ssrc: None,
    };
    wide.send = (0..SLOTS).map(send).collect();
    let mut viewer = node.join_as(0, VIEWER, wide).await;
    node.publish(0, Origin::Member(PUBLISHER)).await;
    for slot in 0..SLOTS {
        node.tell(0, Command::Bind { member: VIEWER, slot: Slot(slot), track: Some(TRACK) }).await;
    }
    let (begun, mut reported) = (Instant::now(), std::collections::BTreeSet::new());
    let mut index = 0;
    while reported.len() < usize::from(SLOTS) {
        assert!(begun.elapsed() < PATIENCE, "only {} are reported", reported.len());
        send_frame(&mut publisher, index).await;
        let mut report = Vec::new();
        let ntp = NtpTime::from_unix(Duration::from_secs(1_800_000_000) + begun.elapsed());
        let info = SenderInfo { ntp, timestamp: u32::from(index) * 3_000, packets: 1, octets: 1 };
        write::sender_report(&mut report, 0x1111, &info, &[]);
        publisher.srtp.seal_rtcp(&mut report, 0).expect("connected");
        publisher.wire.send(&report).await;
        index += 1;
        while let Ok(mut datagram) = tokio::time::timeout(Duration::from_millis(10), viewer.wire.receive()).await {
            if !matches!(datagram[..], [128..=191, 192..=223, ..]) {
                continue;
            }
            assert!(datagram.len() <= 1_200, "{} bytes", datagram.len());
            let length = viewer.srtp.open_rtcp(&mut datagram).expect("sealed for this client, once");
            for packet in parse(&datagram[..length]) {
                if let Rtcp::SenderReport { ssrc, .. } = packet.expect("whole packets") {
                    reported.insert(ssrc);
                }
            }
        }
    }
    node.stop().await;
}
