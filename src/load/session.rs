//! A client's side of the room protocol: what to offer, what to say, and what the media is told when the server speaks. Pure: frames
//! in, [`Do`] out. `signal` is its shell.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::edge::plan::{Fingerprint, IceCredentials};
use crate::id::{MemberId, NodeId, TrackId};
use crate::rtp::Kind;

use super::offer::{self, Line, Settled, Way};
use super::publisher::{Published, ssrcs};
use super::scenario::Seat;
use super::subscriber::Bound;

/// An m-line that carries no track.
const NOTHING: Bound = Bound { hops: 0, paused: true, layer: None };

/// What the server says, as far as it matters here. What is unknown is passed over: a newer server may say more. `edge::message` has
/// all of it, and only writes: to read it there too would need every field of every message, of a server that may be another version.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Said {
    Welcome {
        edge: Edge,
        #[serde(default)]
        peers: Vec<Peer>,
    },
    Answer {
        neg: u32,
        sdp: String,
        #[serde(default)]
        mids: Vec<MidBinding>,
    },
    NeedSlots {
        audio: usize,
        video: usize,
    },
    Bind {
        mid: String,
        track: Option<TrackId>,
    },
    PeerJoined {
        peer: Peer,
    },
    PeerLeft {
        pid: MemberId,
    },
    TrackAdded {
        pid: MemberId,
        track: Track,
    },
    TrackRemoved {
        track: TrackId,
    },
    TrackMuted {
        track: TrackId,
        muted: bool,
    },
    Layers {
        track: TrackId,
        active: Vec<String>,
    },
    StreamState {
        track: TrackId,
        state: String,
        rid: Option<String>,
    },
    Path {
        track: TrackId,
        nodes: Vec<Edge>,
    },
    Leave {
        reason: String,
        message: String,
    },
    Err {
        id: Option<u32>,
        code: String,
        msg: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Edge {
    pub id: NodeId,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Peer {
    pub pid: MemberId,
    pub node: NodeId,
    #[serde(default)]
    pub tracks: Vec<Track>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Track {
    pub id: TrackId,
    pub kind: Kind,
    #[serde(default)]
    pub muted: bool,
    #[serde(default)]
    pub layers: Vec<Layer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Layer {
    #[serde(default)]
    pub rid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MidBinding {
    pub mid: String,
    pub track: Option<TrackId>,
    pub cid: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Do {
    /// Send this frame.
    Say(Value),
    /// The room is entered.
    Entered,
    /// Media has a plan, or a newer one.
    Configure(Box<Settled>),
    Bind {
        mid: String,
        bound: Bound,
    },
    Expect {
        mid: String,
        bound: Bound,
    },
    Layers(Vec<String>),
    /// It is over: the server's words.
    Over(String),
    /// A request was refused; the session goes on.
    Trouble(String),
}

/// What a session is told once.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seat: Seat,
    pub token: String,
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub seed: u64,
    /// What the member wants to receive at most.
    pub limit_bps: Option<u32>,
}

/// One member's session.
#[derive(Debug)]
pub struct Session {
    setup: Setup,
    lines: Vec<Line>,
    /// Number of the latest offer, and how many lines it had while its answer is awaited.
    neg: u32,
    awaited: Option<usize>,
    offer_due: bool,
    view_due: bool,
    here: Option<NodeId>,
    peers: BTreeMap<MemberId, NodeId>,
    tracks: BTreeMap<TrackId, Known>,
    /// Tracks in the order they were heard of.
    order: Vec<TrackId>,
    /// What each m-line carries.
    carried: BTreeMap<String, TrackId>,
    /// Our own camera.
    camera: Option<TrackId>,
}

/// A track of somebody else.
#[derive(Debug)]
struct Known {
    owner: MemberId,
    kind: Kind,
    rids: Vec<Option<String>>,
    bound: Bound,
    muted: bool,
    /// Its state: no packets are sent.
    idle: bool,
}

/// The m-lines that a member sends on.
pub fn sending_lines(published: &Published, seed: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |kind, rids: Vec<String>| {
        let number = lines.len() as u32;
        let (ssrc, rtx) = ssrcs(seed, number, 0);
        lines.push(Line { mid: number.to_string(), kind, way: Way::Sends { rids, ssrc, rtx } });
    };
    if published.audio.is_some() {
        add(Kind::Audio, Vec::new());
    }
    if !published.video.is_empty() {
        add(Kind::Video, published.video.iter().filter_map(|layer| layer.rid.clone()).collect());
    }
    lines
}

/// The m-lines of audio and video, for [`super::member::Role`].
pub fn role_lines(lines: &[Line]) -> [Option<(String, u32)>; 2] {
    [Kind::Audio, Kind::Video].map(|kind| {
        let found = lines.iter().zip(0..).find(|(line, _)| line.kind == kind && line.sends());
        found.map(|(line, number)| (line.mid.clone(), number))
    })
}

impl Session {
    pub fn new(setup: Setup) -> Self {
        let mut lines = sending_lines(&setup.seat.published, setup.seed);
        // One slot of each kind at once: with one speaker and one picture no second offer is needed. A session needs a line at all.
        if setup.seat.subscribes {
            add_slots(&mut lines, 1, 1);
        }
        Self {
            setup,
            lines,
            neg: 0,
            awaited: None,
            offer_due: false,
            view_due: false,
            here: None,
            peers: BTreeMap::new(),
            tracks: BTreeMap::new(),
            order: Vec::new(),
            carried: BTreeMap::new(),
            camera: None,
        }
    }

    /// The first words.
    pub fn hello(&self) -> Value {
        let seat = &self.setup.seat;
        let options = json!({ "auto_subscribe": seat.subscribes, "adaptive": seat.layout.is_told() });
        let client = concat!("weir-load/", env!("CARGO_PKG_VERSION"));
        json!({ "id": 1, "t": "hello", "token": self.setup.token, "client": client, "opts": options })
    }

    /// Takes what the server said.
    pub fn hear(&mut self, said: Said) -> Vec<Do> {
        match said {
            Said::Welcome { edge, peers } => {
                self.here = Some(edge.id);
                peers.into_iter().for_each(|peer| self.peer(peer));
                self.offer_due = true;
                let mut out = vec![Do::Entered];
                out.extend(self.due());
                out
            }
            Said::Answer { neg, sdp, mids } => self.answer(neg, &sdp, mids),
            Said::NeedSlots { audio, video } => {
                self.offer_due |= add_slots(&mut self.lines, audio, video);
                Vec::new()
            }
            Said::Bind { mid, track } => self.bind(mid, track),
            Said::PeerJoined { peer } => {
                self.peer(peer);
                Vec::new()
            }
            Said::PeerLeft { pid } => {
                self.peers.remove(&pid);
                self.tracks.retain(|_, known| known.owner != pid);
                self.forget()
            }
            Said::TrackAdded { pid, track } => {
                self.track(pid, track);
                Vec::new()
            }
            Said::TrackRemoved { track } => {
                self.tracks.remove(&track);
                self.forget()
            }
            Said::TrackMuted { track, muted } => self.change(track, |known| known.muted = muted),
            Said::StreamState { track, state, rid } => self.change(track, |known| {
                known.idle = state != "active";
                let layer = known.rids.iter().position(|known| *known == rid).unwrap_or(0);
                known.bound.layer = (known.kind == Kind::Video).then_some(layer as u8);
            }),
            Said::Path { track, nodes } => {
                self.change(track, |known| known.bound.hops = nodes.len().saturating_sub(1).min(255) as u8)
            }
            Said::Layers { track, active } if Some(track) == self.camera => vec![Do::Layers(active)],
            Said::Leave { reason, message } => vec![Do::Over(format!("{reason}: {message}"))],
            Said::Err { id: Some(1), code, msg } => vec![Do::Over(format!("{code}: {msg}"))],
            Said::Err { id: Some(id), code, msg } if self.awaited.is_some() && id == self.neg + 1 => self.refused(&code, &msg),
            Said::Err { code, msg, .. } => vec![Do::Trouble(format!("{code}: {msg}"))],
            Said::Layers { .. } | Said::Other => Vec::new(),
        }
    }

    /// What has come up since: an offer for more slots, a view of more pictures. To be called soon after frames were heard, and not
    /// after each: changes come in flocks.
    pub fn due(&mut self) -> Vec<Do> {
        let mut out = Vec::new();
        if self.offer_due && self.awaited.is_none() {
            self.offer_due = false;
            self.neg += 1;
            self.awaited = Some(self.lines.len());
            out.push(Do::Say(self.offer()));
        }
        if self.view_due && self.here.is_some() {
            self.view_due = false;
            let layout = self.setup.seat.layout;
            if self.setup.seat.subscribes && (layout.is_told() || self.setup.limit_bps.is_some()) {
                let is_video = |track: &TrackId| self.tracks.get(track).is_some_and(|known| known.kind == Kind::Video);
                let shown: Vec<TrackId> = self.order.iter().copied().filter(is_video).collect();
                out.push(Do::Say(json!({ "t": "view", "items": layout.view(&shown), "limit_bps": self.setup.limit_bps })));
            }
        }
        out
    }

    fn offer(&self) -> Value {
        let tracks: Vec<Value> = self.lines.iter().filter(|line| line.sends()).map(|line| self.published(line)).collect();
        let sdp = offer::write(&self.lines, &self.setup.ice, &self.setup.fingerprint);
        json!({ "id": self.neg + 1, "t": "offer", "neg": self.neg, "sdp": sdp, "tracks": tracks })
    }

    fn published(&self, line: &Line) -> Value {
        let (kind, source) = match line.kind {
            Kind::Audio => ("audio", "microphone"),
            Kind::Video => ("video", "camera"),
        };
        let layer = |layer: &super::publisher::CameraLayer| {
            let shape = layer.shape;
            json!({ "rid": layer.rid, "w": shape.width, "h": shape.height, "fps": shape.fps, "max_bps": shape.rate })
        };
        let video = &self.setup.seat.published.video;
        let layers: Vec<Value> = if line.kind == Kind::Video { video.iter().map(layer).collect() } else { Vec::new() };
        json!({ "mid": line.mid, "cid": kind, "kind": kind, "source": source, "layers": layers })
    }

    fn answer(&mut self, neg: u32, sdp: &str, mids: Vec<MidBinding>) -> Vec<Do> {
        let Some(count) = self.awaited.filter(|_| neg == self.neg) else { return Vec::new() };
        self.awaited = None;
        let lines = self.lines.get(..count).unwrap_or_default();
        let settled = match offer::settle(sdp, lines, &self.setup.ice) {
            Ok(settled) => settled,
            Err(why) => return vec![Do::Over(why)],
        };
        let mut out = vec![Do::Configure(Box::new(settled))];
        for MidBinding { mid, track, cid } in mids {
            match cid.as_deref() {
                Some("video") => self.camera = track,
                Some(_) => {}
                None => out.extend(self.bind(mid, track)),
            }
        }
        out
    }

    /// The latest offer will not be answered: one that came too soon is made again, and without any other there is no media.
    fn refused(&mut self, code: &str, why: &str) -> Vec<Do> {
        if code != "rate_limited" {
            return vec![Do::Over(format!("the offer was refused: {code}: {why}"))];
        }
        self.awaited = None;
        self.offer_due = true;
        Vec::new()
    }

    fn bind(&mut self, mid: String, track: Option<TrackId>) -> Vec<Do> {
        if self.carried.get(&mid).copied() == track {
            return Vec::new();
        }
        let Some(track) = track else {
            self.carried.remove(&mid);
            return vec![Do::Bind { mid, bound: NOTHING }];
        };
        self.carried.insert(mid.clone(), track);
        let bound = self.tracks.get(&track).map(Known::bound).unwrap_or_default();
        vec![Do::Bind { mid, bound }]
    }

    fn change(&mut self, track: TrackId, change: impl FnOnce(&mut Known)) -> Vec<Do> {
        let Some(known) = self.tracks.get_mut(&track) else { return Vec::new() };
        change(known);
        let bound = known.bound();
        let carrying = self.carried.iter().filter(|(_, carried)| **carried == track);
        carrying.map(|(mid, _)| Do::Expect { mid: mid.clone(), bound }).collect()
    }

    fn peer(&mut self, peer: Peer) {
        self.peers.insert(peer.pid, peer.node);
        peer.tracks.into_iter().for_each(|track| self.track(peer.pid, track));
    }

    fn track(&mut self, owner: MemberId, track: Track) {
        // Until its path is told: one link, if the publisher is elsewhere.
        let elsewhere = self.peers.get(&owner) != self.here.as_ref();
        let known = Known {
            owner,
            kind: track.kind,
            rids: track.layers.into_iter().map(|layer| layer.rid).collect(),
            bound: Bound { hops: u8::from(elsewhere), ..Bound::default() },
            muted: track.muted,
            idle: false,
        };
        self.view_due |= known.kind == Kind::Video;
        if self.tracks.insert(track.id, known).is_none() {
            self.order.push(track.id);
        }
    }

    /// Some tracks are gone: nothing comes any more on the m-lines that carried them.
    fn forget(&mut self) -> Vec<Do> {
        let tracks = &self.tracks;
        self.order.retain(|track| tracks.contains_key(track));
        self.view_due = true;
        let over = self.carried.extract_if(.., |_, track| !tracks.contains_key(track));
        over.map(|(mid, _)| Do::Bind { mid, bound: NOTHING }).collect()
    }
}

impl Known {
    const fn bound(&self) -> Bound {
        Bound { paused: self.muted || self.idle, ..self.bound }
    }
}

/// Adds the receiving m-lines that lack; whether any did.
fn add_slots(lines: &mut Vec<Line>, audio: usize, video: usize) -> bool {
    let before = lines.len();
    for (kind, wanted) in [(Kind::Audio, audio), (Kind::Video, video)] {
        let have = lines.iter().filter(|line| line.kind == kind && !line.sends()).count();
        for _ in have..wanted.min(offer::MOST_LINES) {
            lines.push(Line { mid: lines.len().to_string(), kind, way: Way::Receives });
        }
    }
    lines.len() > before
}
