//! Links over loopback: two nodes, or one and a neighbour that does not keep the rules.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use futures_util::FutureExt;
use quinn::Connection;

use super::*;
use crate::cascade::tls::server_name;
use crate::cascade::wire::Decoder;
use crate::cluster::Role;
use crate::id::TrackId;
use crate::rtp::{Codec, Extensions, Header};

/// One authority's certificates for all nodes of a test.
fn identities(nodes: &[&str]) -> Vec<Tls> {
    let nodes: Vec<_> = nodes.iter().map(|node| (NodeId::new(*node), RegionId::new("r"))).collect();
    Tls::ephemeral("test", &nodes, SystemTime::now()).expect("certificates")
}

fn info(id: &str, incarnation: u64) -> NodeInfo {
    NodeInfo {
        id: NodeId::new(id),
        region: RegionId::new("r"),
        role: Role::Both,
        incarnation,
        draining: false,
        url: None,
        addr: None,
    }
}

struct Node {
    links: Links,
    heard: Vec<Event>,
    /// The certificate of a neighbour that does not keep the rules.
    rogue: Option<Tls>,
}

impl Node {
    fn new(id: &str, tls: Tls) -> Self {
        Self::of_run(id, tls, 1)
    }

    fn of_run(id: &str, tls: Tls, incarnation: u64) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let clock = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(unix) };
        let config = Config { socket, tls, me: info(id, incarnation), epoch: 3, clock };
        Self { links: Links::bind(config).expect("links"), heard: Vec::new(), rogue: None }
    }

    fn addr(&self) -> String {
        self.links.local_addr().expect("bound").to_string()
    }

    fn dial(&mut self, id: &str, addr: &str) {
        self.links.dial(Instant::now(), NodeId::new(id), RegionId::new("r"), addr.into());
    }

    /// One round of what the owner of links does.
    async fn turn(&mut self) {
        let now = Instant::now();
        self.links.flush(now);
        let until = self.links.deadline(now).unwrap_or(now + Duration::from_millis(50)).max(now + Duration::from_millis(1));
        tokio::select! {
            event = self.links.next() => self.heard.push(event),
            () = tokio::time::sleep_until(until.into()) => {}
        }
        while let Some(event) = self.links.try_next() {
            self.heard.push(event);
        }
        self.links.flush(Instant::now());
    }

    fn is_settled(&self) -> bool {
        self.links.links.len() == 1
    }

    fn endpoint_connections(&self) -> usize {
        self.links.endpoint.open_connections()
    }

    fn link(&self) -> LinkId {
        *self.links.links.keys().next_back().expect("a link")
    }

    fn downs(&self) -> Vec<&str> {
        let whys = self.heard.iter().filter_map(|event| match event {
            Event::Down { why, .. } => Some(why.as_str()),
            _ => None,
        });
        whys.collect()
    }

    fn media(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.heard.iter().filter_map(|event| match event {
            Event::Media { flow, rtp, .. } => Some((*flow, rtp)),
            _ => None,
        })
    }
}

/// Turns two nodes until something holds, for five seconds at most.
async fn until(a: &mut Node, b: &mut Node, holds: impl Fn(&Node, &Node) -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds(a, b) {
        assert!(Instant::now() < end, "it never came to that: {:?} / {:?}", a.heard, b.heard);
        tokio::select! {
            () = a.turn() => {}
            () = b.turn() => {}
        }
    }
}

/// Turns two nodes for a while.
async fn turn_for(a: &mut Node, b: &mut Node, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::select! {
            () = a.turn() => {}
            () = b.turn() => {}
        }
    }
}

async fn pair() -> (Node, Node) {
    let mut tls = identities(&["a", "b", "rogue"]);
    let rogue = tls.pop();
    let (b, a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let (mut a, mut b) = (Node::new("a", a), Node::new("b", b));
    a.rogue = rogue;
    a.dial("b", &b.addr());
    until(&mut a, &mut b, |a, b| a.links.links.len() == 1 && b.links.links.len() == 1).await;
    (a, b)
}

/// A path to a listener that can be shut, in both directions.
struct Hole {
    addr: String,
    shut: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Hole {
    async fn open(to: SocketAddr) -> Self {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let addr = socket.local_addr().expect("bound").to_string();
        let shut = Arc::new(AtomicBool::new(false));
        let is_shut = Arc::clone(&shut);
        let task = tokio::spawn(async move {
            let (mut buffer, mut dialer) = ([0; 2_000], to);
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                if from != to {
                    dialer = from;
                }
                if !is_shut.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&buffer[..length], if from == to { dialer } else { to }).await;
                }
            }
        });
        Self { addr, shut, task }
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A neighbour with a good certificate that does not keep the rules.
struct Rogue {
    connection: Connection,
    _endpoint: Endpoint,
    tls: Tls,
    /// Held so that it stays open.
    control: Option<(quinn::SendStream, quinn::RecvStream)>,
}

/// What a rogue does next.
enum Say {
    Hello,
    Frame(Frame),
    /// A frame that no honest node would write.
    Unchecked(Frame),
    Bytes(Vec<u8>),
    /// Ends the control stream.
    End,
    /// Media streams of these bytes, ended.
    Stream(Vec<u8>),
    Datagram(Vec<u8>),
}

impl Rogue {
    /// Connects; the other side must be turned meanwhile, or have been.
    fn connecting(to: &Node) -> impl Future<Output = Self> + use<> {
        let tls = to.rogue.clone().expect("a certificate");
        let addr = to.links.local_addr().expect("bound");
        let me = to.links.me.id.clone();
        async move {
            let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
            let config = transport::client(&tls, &Arc::default(), transport::START).expect("a configuration");
            let connecting = endpoint.connect_with(config, addr, &server_name(Some(&me))).expect("begins");
            let connection = connecting.await.expect("connected");
            Self { connection, _endpoint: endpoint, tls, control: None }
        }
    }

    async fn connect(to: &mut Node) -> Self {
        let mut connecting = Box::pin(Self::connecting(to));
        loop {
            tokio::select! {
                rogue = &mut connecting => return rogue,
                () = to.turn() => {}
            }
        }
    }

    /// One that said hello as it should, and then reads nothing.
    async fn up(to: &mut Node, other: &mut Node) -> Self {
        let mut rogue = Self::connect(to).await;
        let links = to.links.links.len();
        let (mut control, incoming) = rogue.connection.open_bi().await.expect("a stream");
        let mut hello = Vec::new();
        rogue.hello().encode(1, &mut hello).expect("a hello");
        control.write_all(&hello).await.expect("written");
        rogue.control = Some((control, incoming));
        while to.links.links.len() == links {
            turn_for(to, other, Duration::from_millis(5)).await;
        }
        rogue
    }

    fn hello(&self) -> Frame {
        let me = self.tls.identity().node;
        Frame::Hello(session::hello(info(me.as_str(), 1), 1))
    }

    /// Says it all, and holds its streams for ever.
    async fn say(&self, says: Vec<Say>) {
        let (mut control, _incoming) = self.connection.open_bi().await.expect("a stream");
        for say in says {
            let mut bytes = Vec::new();
            match say {
                Say::Hello => self.hello().encode(1, &mut bytes).expect("a hello"),
                Say::Frame(frame) => frame.encode(2, &mut bytes).expect("a frame"),
                Say::Unchecked(frame) => {
                    let body = postcard::to_stdvec(&frame).expect("it has a form");
                    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(&body);
                }
                Say::Bytes(raw) => bytes = raw,
                Say::End => control.finish().expect("open"),
                Say::Stream(raw) => {
                    let mut stream = self.connection.open_uni().await.expect("a stream");
                    let _ = stream.write_all(&raw).await;
                    let _ = stream.finish();
                }
                Say::Datagram(raw) => self.connection.send_datagram(raw.into()).expect("a datagram"),
            }
            // It may be closed already, and that is what is waited for.
            let _ = control.write_all(&bytes).await;
        }
        std::future::pending::<()>().await;
    }
}

fn packet(codec: Codec, seq: u64, timestamp: u32, marker: bool, size: usize) -> Packet {
    let header = Header { marker, pt: 96, seq: seq as u16, timestamp, ssrc: 1, extension: None, payload: 0..0 };
    let mut payload = vec![seq as u8; size];
    payload[..4].copy_from_slice(&[0x90, 0x80, seq as u8 & 0x7F, 0x10]);
    Packet::new(Instant::now(), codec, seq, &header, Extensions::default(), payload.into())
}

#[tokio::test]
async fn hello_control_audio_and_video_cross_a_link() {
    let (mut a, mut b) = pair().await;
    assert!(matches!(&a.heard[0], Event::Up { hello, dialed: true, .. } if hello.node.id.as_str() == "b" && hello.epoch == 3));
    assert!(matches!(&b.heard[0], Event::Up { hello, dialed: false, .. } if hello.node.id.as_str() == "a"));

    let (to_b, to_a) = (a.link(), b.link());
    let frame = Frame::Unsubscribe { track: TrackId(7) };
    a.links.send(to_b, &frame);
    b.links.send(to_a, &Frame::Shed { flow: 1 });
    let now = Instant::now();
    for n in 0..30 {
        let video = packet(Codec::Vp8, n, (n / 10) as u32 * 3_000, n % 10 == 9, 1_100);
        a.links.media(now, to_b, 5, Class::Base, 77, &video);
        a.links.media(now, to_b, 6, Class::Audio, 78, &packet(Codec::Opus, n, n as u32 * 960, false, 80));
    }
    until(&mut a, &mut b, |_, b| b.media().count() == 60).await;
    until(&mut a, &mut b, |a, b| a.heard.len() > 1 && b.heard.len() > 61).await;
    assert!(a.heard.iter().any(|event| matches!(event, Event::Frame { frame: Frame::Shed { flow: 1 }, .. })));
    assert!(b.heard.iter().any(|event| matches!(event, Event::Frame { frame: heard, .. } if *heard == frame)));
    for (flow, stream) in [(5, 77), (6, 78)] {
        let mut seqs: Vec<u16> = b
            .media()
            .filter(|(of, _)| *of == flow)
            .map(|(_, rtp)| {
                let incoming = rtp::read(rtp).expect("RTP");
                assert_eq!(incoming.stream, stream);
                incoming.seq
            })
            .collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..30).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn two_nodes_that_dial_each_other_end_with_one_link() {
    let mut tls = identities(&["a", "b"]);
    let (b, a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let (mut a, mut b) = (Node::new("a", a), Node::new("b", b));
    let (at_a, at_b) = (a.addr(), b.addr());
    a.dial("b", &at_b);
    b.dial("a", &at_a);
    until(&mut a, &mut b, |a, b| a.is_settled() && b.is_settled()).await;
    // Whatever was left over is over after a while.
    turn_for(&mut a, &mut b, Duration::from_millis(300)).await;
    let dialed = |node: &Node| node.links.links.values().map(|link| link.dialed).collect::<Vec<_>>();
    assert_eq!((dialed(&a), dialed(&b)), (vec![true], vec![false]), "that of the lower name");
    assert_eq!(a.endpoint_connections(), 1);
    assert_eq!(b.endpoint_connections(), 1);
}

#[tokio::test]
async fn a_node_that_began_anew_takes_its_old_links_place_at_once() {
    let mut tls = identities(&["a", "b"]);
    let (b, a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let mut node_a = Node::new("a", a.clone());
    let mut node_b = Node::new("b", b);
    let at_b = node_b.addr();
    node_a.dial("b", &at_b);
    until(&mut node_a, &mut node_b, |a, b| a.is_settled() && b.is_settled()).await;
    let first = node_b.link();
    // The old run is gone without a word, and the new one is there before its silence is noticed.
    let mut again = Node::of_run("a", a, 2);
    again.dial("b", &at_b);
    until(&mut again, &mut node_b, |_, b| b.links.links.len() == 1 && b.link() != first).await;
    assert_eq!(node_b.downs(), ["another link to the same node took its place"]);
    drop(node_a);
}

#[tokio::test]
async fn a_neighbour_that_falls_silent_is_down_in_time_and_dialed_again() {
    let (mut a, b) = pair().await;
    let from = Instant::now();
    // It is not turned any more: its endpoint still acknowledges nothing, because nobody drives it.
    drop(b);
    while a.downs().is_empty() {
        assert!(from.elapsed() < Duration::from_secs(3), "{:?}", a.heard);
        a.turn().await;
    }
    assert!(a.links.dials.deadline().is_some(), "it is tried again");
}

#[tokio::test]
async fn a_path_that_swallows_everything_is_noticed_by_the_pings() {
    let mut tls = identities(&["a", "b"]);
    let (b, a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let (mut a, mut b) = (Node::new("a", a), Node::new("b", b));
    let hole = Hole::open(b.links.local_addr().expect("bound")).await;
    a.dial("b", &hole.addr);
    until(&mut a, &mut b, |a, b| a.is_settled() && b.is_settled()).await;
    hole.shut.store(true, Ordering::Relaxed);
    let from = Instant::now();
    until(&mut a, &mut b, |a, b| !a.downs().is_empty() && !b.downs().is_empty()).await;
    assert!(from.elapsed() < Duration::from_millis(2_000), "{:?}", from.elapsed());
    assert!(a.downs()[0].starts_with("silent"), "{:?}", a.downs());
    // And when it is open again they find each other.
    hole.shut.store(false, Ordering::Relaxed);
    until(&mut a, &mut b, |a, b| a.is_settled() && b.is_settled()).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_another_node_is_refused() {
    let mut theirs = identities(&["b"]);
    let mut tls = identities(&["a", "b", "c"]);
    let (c, _, a) = (tls.pop().expect("three"), tls.pop(), tls.pop().expect("three"));
    let mut a = Node::new("a", a);
    let mut foreign = Node::new("b", theirs.pop().expect("one"));
    let at_a = a.addr();
    foreign.dial("a", &at_a);
    a.dial("b", &foreign.addr());
    turn_for(&mut a, &mut foreign, Duration::from_millis(400)).await;
    assert!(a.heard.is_empty() && foreign.heard.is_empty(), "{:?} {:?}", a.heard, foreign.heard);

    // A node of the cluster at an address where another was meant.
    let mut other = Node::new("c", c);
    a.dial("b", &other.addr());
    turn_for(&mut a, &mut other, Duration::from_millis(400)).await;
    assert!(a.heard.is_empty() && other.heard.is_empty(), "{:?} {:?}", a.heard, other.heard);
}

#[tokio::test]
async fn what_a_neighbour_may_not_do_closes_its_link_with_the_reason() {
    let node = |name: &str| info(name, 1);
    let hello = |name: &str, versions| Frame::Hello(Hello { versions, node: node(name), epoch: 1 });
    let cases: Vec<(&str, Vec<Say>)> = vec![
        ("speaks wire versions 7 to 9", vec![Say::Frame(hello("rogue", (7, 9)))]),
        ("its certificate says rogue", vec![Say::Frame(hello("someone", (1, 2)))]),
        ("first frame was no hello", vec![Say::Frame(Frame::Goaway { reason: "hm".into() })]),
        ("a frame of 4294967295 bytes", vec![Say::Bytes(vec![0xFF; 100])]),
        ("not a frame", vec![Say::Hello, Say::Bytes(vec![0, 0, 0, 3, 200, 1, 1])]),
        ("hello twice", vec![Say::Hello, Say::Hello]),
        (
            "beyond its limit",
            vec![Say::Hello, Say::Unchecked(Frame::Keyframe { track: TrackId(1), layer: crate::rtp::Layer(9) })],
        ),
        ("ended the control stream", vec![Say::Hello, Say::End]),
        ("ended amid a packet", vec![Say::Hello, Say::Stream(vec![5, 9, 0])]),
        ("media packet of 9000 bytes", vec![Say::Hello, Say::Stream(vec![5, 0x40 | 35, 40])]),
        ("names no flow", vec![Say::Hello, Say::Stream(vec![])]),
        ("empty media packet", vec![Say::Hello, Say::Datagram(vec![5])]),
        ("a probe", vec![Say::Hello, Say::Datagram(vec![0xC0, 0, 0, 1, 0, 0, 0, 0, 77])]),
    ];
    let (mut a, mut b) = pair().await;
    let kept = a.link();
    for (why, says) in cases {
        let rogue = Rogue::connect(&mut a).await;
        let connection = rogue.connection.clone();
        let mut said = Box::pin(rogue.say(says));
        let mut over = false;
        let end = Instant::now() + Duration::from_secs(3);
        while connection.close_reason().is_none() {
            assert!(Instant::now() < end, "{why}: it was let be");
            tokio::select! {
                () = a.turn() => {}
                () = b.turn() => {}
                () = &mut said, if !over => over = true,
                _ = connection.closed() => {}
            }
        }
        let reason = reason(&connection.close_reason().expect("closed"));
        assert!(reason.contains(why), "{why}: {reason}");
        turn_for(&mut a, &mut b, Duration::from_millis(20)).await;
    }
    assert_eq!(a.links.links.keys().copied().collect::<Vec<_>>(), [kept], "nobody else's link was touched");
    assert!(b.downs().is_empty());
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_gone_after_three_seconds_and_many_hold_nobody_up() {
    let mut tls = identities(&["a", "b", "rogue"]);
    let rogue = tls.pop();
    let (b, a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let (mut a, mut b) = (Node::new("a", a), Node::new("b", b));
    a.rogue = rogue;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Rogue::connect(&mut a).await);
    }
    let from = Instant::now();
    b.dial("a", &a.addr());
    until(&mut a, &mut b, |a, b| a.is_settled() && b.is_settled()).await;
    assert!(from.elapsed() < Duration::from_secs(1));
    turn_for(&mut a, &mut b, Duration::from_millis(3_300)).await;
    assert!(silent.iter().all(|rogue| rogue.connection.close_reason().is_some()));
    // What is closed lingers for a moment, for packets that are still under way.
    until(&mut a, &mut b, |a, _| a.endpoint_connections() == 1).await;
}

#[tokio::test]
async fn a_neighbour_that_stops_reading_is_closed_and_no_more_is_kept_for_it() {
    let (mut a, mut b) = pair().await;
    let kept = a.link();
    let rogue = Rogue::up(&mut a, &mut b).await;
    let link = a.link();
    assert_ne!(link, kept);
    let frame = Frame::Topology { text: "x".repeat(100_000) };
    let mut sent = 0;
    while a.links.links.contains_key(&link) {
        assert!(sent < 200, "20 MB and no end");
        a.links.send(link, &frame);
        sent += 1;
        turn_for(&mut a, &mut b, Duration::from_millis(5)).await;
    }
    // What the transport and the queue hold together, and one more.
    let held = (transport::RECEIVE_WINDOW as usize).min(1 << 20) + active::MAX_CONTROL + 1_000_000;
    assert!(sent * 100_000 <= held, "{sent} frames were taken");
    until(&mut a, &mut b, |a, _| a.downs().iter().any(|why| why.contains("does not read"))).await;
    assert!(rogue.connection.closed().await.to_string().contains("does not read"));
    assert!(a.links.links.contains_key(&kept) && b.downs().is_empty());
}

/// What is taken to wait in the transport and does not, takes room from what is to come: were it to add up, the link would stall.
#[tokio::test]
async fn of_what_was_handed_over_nothing_seems_to_wait_once_all_was_sent() {
    let (mut a, mut b) = pair().await;
    let link = a.link();
    for frame in 0..40 {
        // The longest packets have the least around them.
        for n in 0..10 {
            let video = packet(Codec::Vp8, frame * 10 + n, frame as u32 * 3_000, n == 9, 1_188);
            a.links.media(Instant::now(), link, 1, Class::Base, 7, &video);
        }
        turn_for(&mut a, &mut b, Duration::from_millis(20)).await;
    }
    until(&mut a, &mut b, |_, b| b.media().count() == 400).await;
    assert_eq!(a.links.links[&link].seems_to_wait(), 0);
}

#[tokio::test]
async fn media_to_a_neighbour_that_stops_reading_is_shed_and_bounded() {
    let (mut a, mut b) = pair().await;
    let kept = a.link();
    let _rogue = Rogue::up(&mut a, &mut b).await;
    let link = a.link();
    // 13 Mbps into somebody who reads no stream, until what the transport holds for it is full.
    let (from, mut frame) = (Instant::now(), 0);
    let status = |a: &Node| a.links.status(Instant::now(), link).expect("it is up still");
    while status(&a).shed == 0 {
        assert!(from.elapsed() < Duration::from_secs(15), "{:?}", status(&a));
        for n in 0..50 {
            let video = packet(Codec::Vp8, frame * 50 + n, frame as u32 * 3_000, n == 49, 1_100);
            a.links.media(Instant::now(), link, 1, Class::Base, 7, &video);
        }
        frame += 1;
        turn_for(&mut a, &mut b, Duration::from_millis(33)).await;
    }
    let (held, window) = (status(&a).bytes_out, u64::from(transport::RECEIVE_WINDOW));
    assert!(held < window + window / 2, "{:?}", status(&a));
    until(&mut a, &mut b, |a, _| a.heard.iter().any(|event| matches!(event, Event::Shed { flow: 1, .. }))).await;
    assert!(a.links.links.contains_key(&kept) && b.downs().is_empty());
}

#[tokio::test]
async fn a_flood_of_streams_that_do_not_end_is_bounded_and_closed() {
    let (mut a, mut b) = pair().await;
    let kept = a.link();
    let rogue = Rogue::up(&mut a, &mut b).await;
    let link = a.link();
    let mut streams = Vec::new();
    while let Some(Ok(mut stream)) = rogue.connection.open_uni().now_or_never() {
        let _ = stream.write(&[5]).now_or_never();
        streams.push(stream);
    }
    assert_eq!(streams.len(), crate::cascade::link::receive::MAX_STREAMS as usize);
    let from = Instant::now();
    while a.links.links.contains_key(&link) {
        assert!(from.elapsed() < Duration::from_secs(14));
        turn_for(&mut a, &mut b, Duration::from_millis(50)).await;
    }
    // It is told of in the turn after.
    until(&mut a, &mut b, |a, _| !a.downs().is_empty()).await;
    assert!(a.downs()[0].contains("left open"), "{:?}", a.downs());
    assert!(a.links.links.contains_key(&kept) && b.downs().is_empty());
}

#[tokio::test]
async fn a_link_of_version_one_is_not_told_what_it_does_not_know() {
    let (mut a, mut b) = pair().await;
    let rogue = Rogue::connect(&mut a).await;
    let hello = Frame::Hello(Hello { versions: (1, 1), node: info("rogue", 1), epoch: 1 });
    let mut heard = Box::pin(async move {
        let (mut send, mut recv) = rogue.connection.open_bi().await.expect("a stream");
        let mut bytes = Vec::new();
        hello.encode(1, &mut bytes).expect("a hello");
        send.write_all(&bytes).await.expect("written");
        let mut decoder = Decoder::default();
        decoder.speak(1);
        let mut frames = Vec::new();
        while frames.len() < 2 {
            let chunk = recv.read_chunk(10_000, true).await.expect("open").expect("more");
            decoder.push(&chunk.bytes);
            while let Some(frame) = decoder.next() {
                frames.push(frame.expect("of version 1"));
            }
        }
        drop((send, rogue));
        frames
    });
    let mut told = false;
    let frames = loop {
        tokio::select! {
            frames = &mut heard => break frames,
            () = a.turn() => {}
            () = b.turn() => {}
        }
        if a.links.links.len() == 2 && !told {
            told = true;
            let link = a.link();
            assert_eq!(a.links.status(Instant::now(), link).expect("up").version, 1);
            a.links.send(link, &Frame::Shed { flow: 1 });
            a.links.send(link, &Frame::Goaway { reason: "bye".into() });
        }
    };
    assert!(matches!(frames[1], Frame::Goaway { .. }), "{frames:?}");
}

#[tokio::test]
async fn a_closed_or_unwanted_link_goes_on_both_sides() {
    let (mut a, mut b) = pair().await;
    let link = b.link();
    b.links.close(link, "a reason of its own");
    until(&mut a, &mut b, |a, _| !a.downs().is_empty()).await;
    assert!(a.downs()[0].contains("a reason of its own"));
    // It is wanted, so it comes back.
    until(&mut a, &mut b, |a, b| a.is_settled() && b.is_settled()).await;
    a.links.hang_up(&NodeId::new("b"));
    until(&mut a, &mut b, |_, b| !b.downs().is_empty()).await;
    turn_for(&mut a, &mut b, Duration::from_millis(300)).await;
    assert!(a.links.links.is_empty() && b.links.links.is_empty());
}

#[tokio::test]
async fn the_neighbours_clock_and_distance_are_known() {
    let (mut a, mut b) = pair().await;
    turn_for(&mut a, &mut b, Duration::from_millis(1_300)).await;
    let status = a.links.status(Instant::now(), a.link()).expect("up");
    assert!(status.metrics.rtt_us > 0 && status.metrics.rtt_us < 100_000, "{status:?}");
    // Both take their time from this machine.
    assert!(status.clock_offset_ms.abs() < 50.0, "{status:?}");
    assert!(status.metrics.target_kbps > 1_000 && status.bytes_in > 0, "{status:?}");
}
