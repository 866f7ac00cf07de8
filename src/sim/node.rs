//! One simulated node: the production mesh and router, joined as the cascade's shard joins them, with a pipe's far end played: local
//! viewers and publishers. Owns that glue; time and network are `sim::run`'s.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::cascade::mesh::{self, Mesh};
use crate::cascade::topology::Topology;
use crate::cascade::wire::Frame;
use crate::cluster::NodeInfo;
use crate::id::{LinkId, NodeId, RoomId, ShardId, TrackId};
use crate::router::{self, Branch, Feed, Router, Upstream};
use crate::rtp::{Codec, ExtensionIds, HopOut, Layer, LayerSet, Outgoing, Packet, header};

/// The pipe to the shard of a node's own members.
pub(super) const PIPE: ShardId = ShardId(0);

/// What a node does to the world outside.
#[derive(Debug)]
pub(super) enum Effect {
    Send {
        link: LinkId,
        frame: Frame,
    },
    Media {
        link: LinkId,
        flow: u32,
        rtp: Bytes,
        track: TrackId,
        layer: Layer,
    },
    Close {
        link: LinkId,
        why: String,
    },
    Dial(NodeId),
    HangUp(NodeId),
    Document(String),
    /// A viewer's packet.
    Seen {
        track: TrackId,
        layer: Layer,
        stream: u32,
        seq: u64,
    },
    /// What the publisher's shard is asked for.
    Wanted {
        track: TrackId,
        layers: LayerSet,
    },
    Keyframe {
        track: TrackId,
        layer: Layer,
    },
    Said {
        from: NodeId,
        body: Bytes,
    },
}

/// What happens to a node.
#[derive(Debug)]
pub(super) enum Input {
    Mesh(mesh::Input),
    Router(router::Input),
    Media { link: LinkId, flow: u32, rtp: Bytes },
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) info: NodeInfo,
    pub(super) alive: bool,
    /// Counts its runs: what was meant for an earlier one is passed over.
    pub(super) run: u32,
    pub(super) draining: bool,
    pub(super) mesh: Mesh,
    pub(super) router: Router,
    pub(super) topology: Arc<Topology>,
    /// Whom it keeps a link to.
    pub(super) dials: BTreeMap<NodeId, ()>,
    /// When it is woken next, as scheduled.
    pub(super) wake: Option<Instant>,
}

impl Node {
    pub(super) fn new(info: NodeInfo, topology: Arc<Topology>, now: Instant, seed: u64, run: u32) -> Self {
        Self {
            mesh: Mesh::new(info.clone(), Arc::clone(&topology), now, seed),
            router: Router::new(seed ^ 0x5EED),
            info,
            alive: true,
            run,
            draining: false,
            topology,
            dials: BTreeMap::new(),
            wake: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.mesh.deadline().into_iter().chain(self.router.deadline()).min()
    }

    /// Takes in one thing and all that follows from it inside the node.
    pub(super) fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        let mut queue = VecDeque::from([input]);
        let (mut done, mut fed) = (Vec::new(), Vec::new());
        while let Some(input) = queue.pop_front() {
            match input {
                Input::Mesh(input) => self.mesh.handle(now, input, &mut done),
                Input::Router(input) => self.router.handle(now, input, &mut fed),
                Input::Media { link, flow, rtp } => self.mesh.media(now, link, flow, rtp, &mut done),
            }
            for output in done.drain(..) {
                match output {
                    mesh::Output::Send { link, frame } => effects.push(Effect::Send { link, frame }),
                    mesh::Output::Close { link, why } => effects.push(Effect::Close { link, why }),
                    mesh::Output::Dial { node } => effects.push(Effect::Dial(node.id)),
                    mesh::Output::HangUp { node } => effects.push(Effect::HangUp(node)),
                    mesh::Output::Router(input) => queue.push_back(Input::Router(input)),
                    mesh::Output::NewTopology { text } => effects.push(Effect::Document(text)),
                    mesh::Output::Room { from, body, .. } => effects.push(Effect::Said { from, body }),
                    mesh::Output::FlowEnded { .. } | mesh::Output::View(_) | mesh::Output::Path { .. } => {}
                }
            }
            for output in fed.drain(..) {
                self.routed(output, &mut queue, effects);
            }
        }
    }

    fn routed(&mut self, output: router::Output, queue: &mut VecDeque<Input>, effects: &mut Vec<Effect>) {
        use router::Output;
        match output {
            Output::Wanted { upstream: Upstream::Cascade, track, layers } => {
                queue.push_back(Input::Mesh(mesh::Input::Wanted { track, layers }));
            }
            Output::Wanted { track, layers, .. } => effects.push(Effect::Wanted { track, layers }),
            Output::RequestKeyframe { upstream: Upstream::Cascade, track, layer } => {
                queue.push_back(Input::Mesh(mesh::Input::KeyframeWanted { track, layer }));
            }
            Output::RequestKeyframe { track, layer, .. } => effects.push(Effect::Keyframe { track, layer }),
            Output::Feed { branch: Branch::Pipe(_), feed: Feed::Packet { track, layer, stream, packet } } => {
                effects.push(Effect::Seen { track, layer, stream, seq: number(&packet) });
            }
            Output::Feed { branch: Branch::Link(link), feed: Feed::Packet { track, layer, stream, packet } } => {
                if let Some(outflow) = self.mesh.outflow(link, track, layer) {
                    effects.push(Effect::Media { link, flow: outflow.flow, rtp: write(stream, &packet), track, layer });
                }
            }
            Output::Feed { .. } | Output::Forward { .. } | Output::Retransmit { .. } => {}
            Output::StreamState { .. } | Output::Demand { .. } | Output::Levels { .. } | Output::Voices { .. } => {}
        }
    }

    pub(super) fn say(&mut self, now: Instant, to: NodeId, body: Bytes, effects: &mut Vec<Effect>) {
        self.handle(now, Input::Mesh(mesh::Input::Room { to, room: RoomId::new("room"), body }), effects);
    }
}

/// A packet as it is on a link.
fn write(stream: u32, packet: &Packet) -> Bytes {
    let out = Outgoing {
        pt: 96 + packet.codec as u8,
        seq: packet.seq as u16,
        timestamp: packet.timestamp,
        ssrc: stream,
        marker: packet.marker,
    };
    let mut rtp = Vec::with_capacity(12 + packet.payload.len());
    header::write(&mut rtp, &out, &ExtensionIds::default(), &packet.ext, &HopOut::default());
    rtp.extend_from_slice(&packet.payload);
    rtp.into()
}

/// A publisher's packet, its number in its payload.
pub(super) fn packet(now: Instant, seq: u64, keyframe: bool) -> Packet {
    // A VP8 descriptor that starts a partition, then the payload header's key frame bit, which is 0 for one.
    let mut payload = vec![0x10, u8::from(!keyframe)];
    payload.extend_from_slice(&seq.to_be_bytes());
    let payload = Bytes::from(payload);
    let ext = Default::default();
    let frame = crate::rtp::descriptor::frame_info(Codec::Vp8, &payload, &ext);
    Packet {
        arrival: now,
        codec: Codec::Vp8,
        seq,
        timestamp: (seq as u32).wrapping_mul(3_000),
        marker: true,
        ext,
        frame,
        payload,
    }
}

/// The number in a packet's payload.
fn number(packet: &Packet) -> u64 {
    packet.payload.get(2..).and_then(|bytes| bytes.first_chunk()).map_or(0, |&bytes| u64::from_be_bytes(bytes))
}
