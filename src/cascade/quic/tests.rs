//! Links over loopback: two nodes, or one and a neighbour that does not keep the rules.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use super::*;
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
        Self { links: Links::bind(config).expect("links"), heard: Vec::new() }
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

    fn link(&self) -> LinkId {
        *self.links.links.keys().next_back().expect("a link")
    }

    #[expect(dead_code, reason = "for the stories to come")]
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

async fn pair() -> (Node, Node) {
    let mut tls = identities(&["a", "b"]);
    let (b, a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let (mut a, mut b) = (Node::new("a", a), Node::new("b", b));
    a.dial("b", &b.addr());
    until(&mut a, &mut b, |a, b| a.links.links.len() == 1 && b.links.links.len() == 1).await;
    (a, b)
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
