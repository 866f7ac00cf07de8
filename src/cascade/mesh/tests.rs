//! A few nodes of mesh and router, joined without delay. What needs delay, loss and many nodes is the simulator's.

mod hostile;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::cascade::topology::Topology;
use crate::cascade::wire::{Hello, TrackInfo, VERSION};
use crate::cluster::Role;
use crate::id::{RegionId, RoomId, ShardId};
use crate::router::{Branch, Feed, Router, Upstream};
use crate::rtp::{Codec, Kind, Layer, LayerInfo, LayerSet, Packet, header};

const PIPE: Branch = Branch::Pipe(ShardId(0));

struct Node {
    mesh: Mesh,
    router: Router,
    /// Which layers its publisher's shard is asked for.
    wanted: BTreeMap<TrackId, LayerSet>,
    /// Numbers that reached viewers here.
    seen: Vec<u64>,
    views: usize,
    said: Vec<(NodeId, Bytes)>,
    keyframes: usize,
    closed: Vec<String>,
    path: Vec<NodeId>,
}

struct Net {
    now: Instant,
    nodes: BTreeMap<NodeId, Node>,
    /// To whom a link leads, and its number there.
    ends: BTreeMap<(NodeId, LinkId), (NodeId, LinkId)>,
    next: u32,
    seq: u16,
}

enum Event {
    Mesh(Input),
    Router(router::Input),
}

fn info(id: &str, region: &str, role: Role) -> NodeInfo {
    let (id, region) = (NodeId::new(id), RegionId::new(region));
    NodeInfo { id, region, role, incarnation: 1, draining: false, url: None, addr: None }
}

fn track(origin: &str) -> TrackInfo {
    let layers = vec![LayerInfo::default(); 2];
    let (room, origin) = (RoomId::new("room"), NodeId::new(origin));
    TrackInfo { id: TrackId(7), room, kind: Kind::Video, layers, origin, incarnation: 1 }
}

impl Net {
    fn new(topology: Topology, nodes: &[(&str, &str, Role)]) -> Self {
        let now = Instant::now();
        let topology = Arc::new(topology);
        let node = |(at, &(id, region, role)): (usize, &(&str, &str, Role))| {
            let node = Node {
                mesh: Mesh::new(info(id, region, role), Arc::clone(&topology), now, at as u64),
                router: Router::new(at as u64),
                wanted: BTreeMap::new(),
                seen: Vec::new(),
                views: 0,
                said: Vec::new(),
                keyframes: 0,
                closed: Vec::new(),
                path: Vec::new(),
            };
            (NodeId::new(id), node)
        };
        Self { now, nodes: nodes.iter().enumerate().map(node).collect(), ends: BTreeMap::new(), next: 0, seq: 0 }
    }

    fn node(&mut self, id: &str) -> &mut Node {
        self.nodes.get_mut(&NodeId::new(id)).expect("a node of the net")
    }

    fn join(&mut self, a: &str, b: &str) -> (LinkId, LinkId) {
        let links = (LinkId(self.next), LinkId(self.next + 1));
        self.next += 2;
        let (a, b) = (NodeId::new(a), NodeId::new(b));
        self.ends.insert((a.clone(), links.0), (b.clone(), links.1));
        self.ends.insert((b.clone(), links.1), (a.clone(), links.0));
        let hello = |node: &Node| {
            let me = node.mesh.nodes.me();
            Hello { versions: (1, VERSION), node: me.node.clone(), epoch: me.epoch }
        };
        let (of_a, of_b) = (hello(&self.nodes[&a]), hello(&self.nodes[&b]));
        let up = |link, hello| Event::Mesh(Input::LinkUp { link, hello });
        self.run([(a, up(links.0, of_b)), (b, up(links.1, of_a))]);
        links
    }

    fn cut(&mut self, a: &str, b: &str) {
        let ends: Vec<_> = self.ends.iter().filter(|((x, _), (y, _))| x.as_str() == a && y.as_str() == b).collect();
        let ends: Vec<_> = ends.into_iter().map(|(x, y)| (x.clone(), y.clone())).collect();
        for (x, y) in ends {
            self.ends.remove(&x);
            self.ends.remove(&y);
            let down = |link| Event::Mesh(Input::LinkDown { link });
            self.run([(x.0, down(x.1)), (y.0, down(y.1))]);
        }
    }

    fn input(&mut self, node: &str, input: Input) {
        self.run([(NodeId::new(node), Event::Mesh(input))]);
    }

    fn publish(&mut self, node: &str) {
        self.input(node, Input::Track { info: track(node), from: Some(ShardId(0)) });
    }

    fn watch(&mut self, node: &str, origin: &str, layers: LayerSet) {
        self.input(node, Input::Track { info: track(origin), from: None });
        let interest = router::Input::BranchInterest { branch: PIPE, track: TrackId(7), layers, have: Vec::new() };
        self.run([(NodeId::new(node), Event::Router(interest))]);
    }

    /// One packet of the small layer, if anybody wants it.
    fn packet(&mut self, origin: &str) {
        self.seq = self.seq.wrapping_add(1);
        if !self.node(origin).wanted.get(&TrackId(7)).is_some_and(|wanted| wanted.contains(Layer(0))) {
            return;
        }
        let header = header::Header::parse(&[0x80, 98, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]).expect("a header");
        let payload = Bytes::from_static(&[0x10, 0x00, 1, 2, 3]);
        let packet = Packet::new(self.now, Codec::Vp8, u64::from(self.seq) + (1 << 16), &header, Default::default(), payload);
        let feed = Feed::Packet { track: TrackId(7), layer: Layer(0), stream: 99, packet: Arc::new(packet) };
        self.run([(NodeId::new(origin), Event::Router(router::Input::Fed(feed)))]);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(10);
            let ids: Vec<NodeId> = self.nodes.keys().cloned().collect();
            for id in ids {
                self.run([(id.clone(), Event::Mesh(Input::Timeout)), (id, Event::Router(router::Input::Timeout))]);
            }
        }
    }

    fn run<const N: usize>(&mut self, events: [(NodeId, Event); N]) {
        let mut queue = VecDeque::from(events);
        let now = self.now;
        while let Some((id, event)) = queue.pop_front() {
            let node = self.nodes.get_mut(&id).expect("a node of the net");
            let (mut done, mut fed) = (Vec::new(), Vec::new());
            match event {
                Event::Mesh(input) => node.mesh.handle(now, input, &mut done),
                Event::Router(input) => node.router.handle(now, input, &mut fed),
            }
            let mut packets = Vec::new();
            for output in fed {
                match output {
                    router::Output::Wanted { upstream: Upstream::Cascade, track, layers } => {
                        queue.push_back((id.clone(), Event::Mesh(Input::Wanted { track, layers })));
                    }
                    router::Output::Wanted { track, layers, .. } => {
                        node.wanted.insert(track, layers);
                    }
                    router::Output::RequestKeyframe { upstream: Upstream::Cascade, track, layer } => {
                        queue.push_back((id.clone(), Event::Mesh(Input::KeyframeWanted { track, layer })));
                    }
                    router::Output::RequestKeyframe { .. } => node.keyframes += 1,
                    router::Output::Feed { branch: Branch::Pipe(_), feed: Feed::Packet { packet, .. } } => {
                        node.seen.push(packet.seq);
                    }
                    router::Output::Feed {
                        branch: Branch::Link(link),
                        feed: Feed::Packet { track, layer, stream, packet },
                    } => {
                        let flow = node.mesh.outflow(link, track, layer).expect("a flow for what is fed").flow;
                        packets.push((link, flow, stream, packet));
                    }
                    _ => {}
                }
            }
            for (link, flow, stream, packet) in packets {
                let Some((to, link)) = self.ends.get(&(id.clone(), link)) else { continue };
                let outgoing = header::Outgoing {
                    pt: 96 + packet.codec as u8,
                    seq: packet.seq as u16,
                    timestamp: packet.timestamp,
                    ssrc: stream,
                    marker: packet.marker,
                };
                let mut rtp = Vec::new();
                header::write(&mut rtp, &outgoing, &Default::default(), &packet.ext, &Default::default());
                rtp.extend_from_slice(&packet.payload);
                let mut done = Vec::new();
                self.nodes.get_mut(to).expect("its end").mesh.media(now, *link, flow, rtp.into(), &mut done);
                for output in done {
                    if let Output::Router(input) = output {
                        queue.push_back((to.clone(), Event::Router(input)));
                    }
                }
            }
            let node = self.nodes.get_mut(&id).expect("a node of the net");
            for output in done {
                match output {
                    Output::Send { link, frame } => {
                        if let Some((to, link)) = self.ends.get(&(id.clone(), link)) {
                            queue.push_back((to.clone(), Event::Mesh(Input::Frame { link: *link, frame })));
                        }
                    }
                    Output::Close { link, why } => {
                        node.closed.push(why);
                        if let Some(end) = self.ends.remove(&(id.clone(), link)) {
                            self.ends.remove(&end);
                            queue.push_back((end.0, Event::Mesh(Input::LinkDown { link: end.1 })));
                        }
                    }
                    Output::Router(input) => queue.push_back((id.clone(), Event::Router(input))),
                    Output::View(_) => node.views += 1,
                    Output::Room { from, body, .. } => node.said.push((from, body)),
                    Output::Path { nodes, .. } => node.path = nodes,
                    Output::Dial { .. } | Output::HangUp { .. } | Output::FlowEnded { .. } | Output::NewTopology { .. } => {}
                }
            }
        }
    }
}

fn names(nodes: &[NodeId]) -> Vec<&str> {
    nodes.iter().map(NodeId::as_str).collect()
}

/// One region: two edges, two cores between them.
fn diamond() -> Net {
    let mut net = Net::new(
        Topology::single(),
        &[("a", "r", Role::Edge), ("b", "r", Role::Edge), ("c", "r", Role::Core), ("d", "r", Role::Core)],
    );
    for (x, y) in [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")] {
        net.join(x, y);
    }
    net.pass(Duration::from_millis(300));
    net
}

#[test]
fn a_track_crosses_a_node_between_and_stops_when_nobody_watches() {
    let mut net = diamond();
    assert_eq!(net.node("a").mesh.view().nodes.len(), 4);
    net.publish("a");
    net.watch("b", "a", LayerSet::of(Layer(0)));
    for _ in 0..10 {
        net.packet("a");
    }
    assert_eq!(net.node("b").seen.len(), 10);
    let path = net.node("b").path.clone();
    assert!(matches!(names(&path)[..], ["c" | "d", "a"]), "{path:?}");
    net.watch("b", "a", LayerSet::EMPTY);
    net.pass(Duration::from_secs(30));
    assert_eq!(net.node("a").wanted[&TrackId(7)], LayerSet::EMPTY);
    let sizes = |net: &mut Net, node| net.node(node).mesh.sizes();
    assert_eq!((sizes(&mut net, "c").tracks, sizes(&mut net, "d").tracks), (0, 0));
    assert_eq!(sizes(&mut net, "a").children, 0);
}

#[test]
fn a_cut_link_is_replaced_at_once_and_no_packet_is_lost() {
    let mut net = diamond();
    net.publish("a");
    net.watch("b", "a", LayerSet::of(Layer(0)));
    net.packet("a");
    let parent = net.node("b").path[0].clone();
    net.cut("b", parent.as_str());
    for _ in 0..5 {
        net.packet("a");
    }
    assert_eq!(net.node("b").seen, ((1 << 16) + 1..=(1 << 16) + 6).collect::<Vec<u64>>());
}
