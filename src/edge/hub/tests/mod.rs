//! Stories of rooms, told over one hub in virtual time. The harness plays every socket and every shard, and checks with each
//! output what must hold of all of them: nothing goes to a connection that is closed, and events have no gap.

mod calls;
mod hostile;
mod nodes;
mod regions;
mod rings;
mod sessions;
mod strangers;
mod whip;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::member::Link;
use super::*;
use crate::config::Secret;
use crate::edge::message::{ClientMessage, Options, Peer, PublishedLayer, PublishedTrack, Resume, Track};
use crate::edge::negotiate::HostCandidate;
use crate::edge::plan::Fingerprint;
use crate::edge::token::{self, Claims};
use crate::id::Slot;
use crate::rtp::{Kind, Source};

const UNIX_MS: u64 = 1_800_000_000_000;

/// A node with its clients.
struct World {
    hub: Hub,
    start: Instant,
    now: Instant,
    opened: u64,
    live: BTreeSet<ConnId>,
    heard: BTreeMap<ConnId, Vec<ServerFrame>>,
    last_seq: BTreeMap<ConnId, u32>,
    commands: Vec<(ShardId, Command)>,
    /// Sessions without a socket that are over.
    ended: Vec<String>,
    /// Those of [`nodes::Net`] that are no messages to other nodes.
    kept: Vec<(ShardId, Command)>,
}

/// A client as it sees itself.
#[derive(Debug, Clone)]
struct Tab {
    conn: ConnId,
    pid: MemberId,
    sid: String,
    secret: String,
    neg: u32,
    /// Every m-line it ever had: its kind, and its track if it sends one.
    lines: Vec<(Kind, Option<PublishedTrack>)>,
}

fn keys() -> Keys {
    [("key".to_owned(), Secret::new("a secret that is long enough to be one"))].into_iter().collect()
}

fn claims(room: &str, identity: &str) -> Claims {
    let name = identity.to_uppercase();
    Claims::join("key", room, identity, &name, UNIX_MS / 1000, Duration::from_secs(600))
}

fn signed(claims: &Claims) -> String {
    token::mint(&keys(), claims).expect("signs")
}

fn hello(claims: &Claims) -> ClientMessage {
    ClientMessage::Hello { token: signed(claims), resume: None, client: None, opts: Options::default() }
}

impl World {
    fn new() -> Self {
        Self::with(1, |_| {})
    }

    /// With that many shards and other limits.
    fn with(shards: u8, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        Self::at("node", "here", shards, limits, None, Instant::now())
    }

    /// As that node of a cluster, whose cascade has a shard, or on its own.
    fn at(node: &str, region: &str, shards: u8, limits: Limits, cascade: Option<ShardId>, start: Instant) -> Self {
        let endpoint = |shard| {
            Arc::new(MediaEndpoint {
                shard: ShardId(shard),
                candidates: vec![HostCandidate { addr: ([127, 0, 0, 1], 7882 + u16::from(shard)).into(), tcp: false }],
                fingerprint: Fingerprint { algorithm: "sha-256".into(), hash: vec![7; 32] },
            })
        };
        let config = Config {
            node: NodeId::new(node),
            region: RegionId::new(region),
            keys: keys(),
            max_token_ttl: Duration::from_secs(600),
            endpoints: (0..shards).map(endpoint).collect(),
            cascade,
            drain: Duration::from_secs(3),
            ice_servers: IceServers::default(),
            limits,
        };
        let mut seed = [1; 32];
        seed.iter_mut().zip(node.bytes()).for_each(|(seed, byte)| *seed = byte);
        Self {
            hub: Hub::new(config, start, UNIX_MS, seed),
            start,
            now: start,
            opened: 0,
            live: BTreeSet::new(),
            heard: BTreeMap::new(),
            last_seq: BTreeMap::new(),
            commands: Vec::new(),
            ended: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.hub.handle(self.now, input, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { conn, frame } => {
                    assert!(self.live.contains(&conn), "sent to a closed connection: {frame:?}");
                    if frame.seq != 0
                        && let Some(last) = self.last_seq.insert(conn, frame.seq)
                    {
                        assert_eq!(frame.seq, last + 1, "a gap before {frame:?}");
                    }
                    self.heard.entry(conn).or_default().push(frame);
                }
                Output::Close { conn } => assert!(self.live.remove(&conn), "closed twice"),
                Output::Media { shard, command } => self.commands.push((shard, command)),
                Output::Ended { session } => self.ended.push(session),
            }
        }
    }

    /// Lets time pass, with every timer on its moment.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut rounds = 0;
        while let Some(at) = self.hub.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.hub.handle_timeout(self.now, &mut out);
            self.take(out);
            rounds += 1;
            assert!(rounds < 100_000, "timers that never rest");
        }
        self.now = end;
    }

    fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    fn open(&mut self) -> ConnId {
        self.opened += 1;
        let conn = ConnId(self.opened);
        self.live.insert(conn);
        self.input(Input::Opened { conn });
        conn
    }

    fn say(&mut self, conn: ConnId, body: ClientMessage) {
        self.input(Input::Frame { conn, frame: ClientFrame { id: None, body } });
    }

    /// Says it with an id; the code of the refusal, if it was refused, else there must be an `ack`.
    fn ask(&mut self, tab: &Tab, body: ClientMessage) -> Result<(), ErrorCode> {
        let id = 77;
        let before = self.heard.get(&tab.conn).map_or(0, Vec::len);
        self.input(Input::Frame { conn: tab.conn, frame: ClientFrame { id: Some(id), body } });
        let answers = self.heard[&tab.conn][before..].iter().rev();
        let answer = answers.filter_map(|frame| match &*frame.body {
            ServerMessage::Ack { id: 77 } => Some(Ok(())),
            ServerMessage::Err { id: Some(77), code, msg } => {
                assert!(!msg.is_empty());
                Some(Err(*code))
            }
            _ => None,
        });
        answer.into_iter().next().expect("an answer")
    }

    /// What a connection heard since the last time.
    fn hear(&mut self, conn: ConnId) -> Vec<ServerMessage> {
        let frames = self.heard.remove(&conn).unwrap_or_default();
        frames.into_iter().map(|frame| (*frame.body).clone()).collect()
    }

    fn commands(&mut self) -> Vec<(ShardId, Command)> {
        std::mem::take(&mut self.commands)
    }

    fn join(&mut self, room: &str, identity: &str) -> Tab {
        let conn = self.open();
        self.say(conn, hello(&claims(room, identity)));
        self.tab(conn)
    }

    fn join_with(&mut self, identity: &str, change: impl FnOnce(&mut Claims)) -> Tab {
        let mut claims = claims("room", identity);
        change(&mut claims);
        let conn = self.open();
        self.say(conn, hello(&claims));
        self.tab(conn)
    }

    /// The client that was just welcomed.
    fn tab(&mut self, conn: ConnId) -> Tab {
        let welcome = self.heard[&conn].iter().rev().find_map(|frame| match &*frame.body {
            ServerMessage::Welcome { sid, secret, you, .. } => {
                Some(Tab { conn, pid: you.pid, sid: sid.clone(), secret: secret.clone(), neg: 0, lines: vec![] })
            }
            _ => None,
        });
        welcome.unwrap_or_else(|| panic!("not welcomed: {:?}", self.heard[&conn]))
    }

    /// The socket breaks.
    fn cut(&mut self, tab: &Tab) -> u32 {
        assert!(self.live.remove(&tab.conn));
        self.input(Input::Closed { conn: tab.conn });
        self.last_seq.get(&tab.conn).copied().unwrap_or(0)
    }

    /// Comes back with a new socket, having heard everything up to `last_seq`. The token is of no use by itself.
    fn resume(&mut self, tab: &mut Tab, last_seq: u32) {
        let conn = self.open();
        let resume = Some(Resume { sid: tab.sid.clone(), secret: tab.secret.clone(), last_seq });
        self.say(conn, ClientMessage::Hello { token: String::new(), resume, client: None, opts: Options::default() });
        tab.conn = conn;
        for frame in self.heard.get(&conn).into_iter().flatten() {
            if let ServerMessage::Resumed { secret, .. } | ServerMessage::Welcome { secret, .. } = &*frame.body {
                tab.secret.clone_from(secret);
            }
        }
    }

    /// Offers what the client has, with more m-lines first: tracks it publishes, then slots.
    fn offer(&mut self, tab: &mut Tab, tracks: &[(&str, Source)], audio: usize, video: usize) -> Vec<MidView> {
        for (cid, source) in tracks {
            let mid = tab.lines.len().to_string();
            let track = published(&mid, cid, *source);
            tab.lines.push((track.kind, Some(track)));
        }
        let have = |kind| tab.lines.iter().filter(|(of, track)| *of == kind && track.is_none()).count();
        let (more_audio, more_video) = (audio.saturating_sub(have(Kind::Audio)), video.saturating_sub(have(Kind::Video)));
        tab.lines.extend(std::iter::repeat_n((Kind::Audio, None), more_audio));
        tab.lines.extend(std::iter::repeat_n((Kind::Video, None), more_video));
        tab.neg += 1;
        let before = self.heard.get(&tab.conn).map_or(0, Vec::len);
        self.ask(tab, tab.as_offer()).expect("a good offer");
        let answer = self.heard[&tab.conn][before..].iter().find_map(|frame| match &*frame.body {
            ServerMessage::Answer { neg, mids, .. } if *neg == tab.neg => Some(mids.clone()),
            _ => None,
        });
        let answer = answer.expect("an answer");
        answer.into_iter().map(|mid| MidView { mid: mid.mid, cid: mid.cid, track: mid.track }).collect()
    }

    /// A call as browsers make it: publish, and follow every `need_slots` until all is quiet.
    fn publish(&mut self, tab: &mut Tab, tracks: &[(&str, Source)]) -> Vec<TrackId> {
        let answer = self.offer(tab, tracks, 0, 0);
        let track = |cid: &str| answer.iter().find(|mid| mid.cid.as_deref() == Some(cid)).and_then(|mid| mid.track);
        tracks.iter().map(|(cid, _)| track(cid).expect("published")).collect()
    }

    /// Follows the latest `need_slots` among what was heard.
    fn follow(&mut self, tab: &mut Tab) {
        self.pass(250);
        let asked = self.heard.get(&tab.conn).into_iter().flatten().rev().find_map(|frame| match &*frame.body {
            ServerMessage::NeedSlots { audio, video } => Some((*audio as usize, *video as usize)),
            _ => None,
        });
        if let Some((audio, video)) = asked {
            self.offer(tab, &[], audio, video);
        }
    }

    /// What each slot of a member carries.
    fn bound(&self, tab: &Tab) -> Vec<(Slot, Option<TrackId>)> {
        self.hub.members[&tab.pid].slots.bindings().map(|(slot, _, track)| (slot, track)).collect()
    }

    fn receives(&self, tab: &Tab) -> BTreeSet<TrackId> {
        self.bound(tab).into_iter().filter_map(|(_, track)| track).collect()
    }

    fn media(&mut self, event: Event) {
        self.input(Input::Media { event });
    }

    fn connect(&mut self, tab: &Tab) {
        self.media(Event::Connected { member: tab.pid });
    }

    /// What must always hold of the tables.
    fn check(&self) {
        let hub = &self.hub;
        assert_eq!(hub.sessions.len(), hub.members.len());
        assert_eq!(hub.loads.iter().map(|load| load.members).sum::<usize>(), hub.members.len());
        assert_eq!(hub.rooms.values().map(|room| room.members.len()).sum::<usize>(), hub.members.len());
        assert_eq!(hub.tracks.len(), hub.rooms.values().map(|room| room.tracks.len()).sum::<usize>());
        assert!(hub.conns.keys().all(|conn| self.live.contains(conn)) && hub.conns.len() == self.live.len());
        for (id, room) in &hub.rooms {
            assert!(!room.members.is_empty(), "an empty room stays");
            assert_eq!(room.by_identity.len(), room.members.len());
            let mut shards: BTreeMap<ShardId, usize> = BTreeMap::new();
            for member in room.members.iter().map(|member| &hub.members[member]) {
                assert_eq!(&member.room, id);
                *shards.entry(member.shard).or_default() += 1;
                let owned: BTreeSet<TrackId> =
                    room.tracks.iter().filter(|track| track.owner == member.id).map(|track| track.info.id).collect();
                assert_eq!(owned, member.tracks());
                let mut seen = BTreeSet::new();
                for (slot, mid, track) in member.slots.bindings() {
                    let Some(track) = track else { continue };
                    let found = room.track(track).unwrap_or_else(|| panic!("{slot:?} ({mid}) carries a track that is gone"));
                    assert_ne!(found.owner, member.id, "one's own track is bound");
                    assert!(seen.insert(track), "a track is bound twice");
                }
                match member.link {
                    Link::Online(conn) => assert!(matches!(hub.conns.get(&conn), Some(Conn::Joined(id)) if *id == member.id)),
                    Link::Away { .. } | Link::Http => {}
                }
            }
            assert_eq!(shards, room.shards);
        }
    }

    /// After everybody left and time has passed, nothing is left.
    fn check_empty(&self) {
        let hub = &self.hub;
        assert!(hub.members.is_empty() && hub.rooms.is_empty() && hub.tracks.is_empty() && hub.sessions.is_empty());
        assert!(hub.conns.is_empty() && hub.timers.len() == 0, "{:?}", hub.timers);
        assert!(hub.loads.iter().all(|load| load.members == 0));
    }
}

/// A line of an answer's `mids`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MidView {
    mid: String,
    cid: Option<String>,
    track: Option<TrackId>,
}

impl Tab {
    fn as_offer(&self) -> ClientMessage {
        let tracks = self.lines.iter().filter_map(|(_, track)| track.clone()).collect();
        ClientMessage::Offer { neg: self.neg, sdp: self.sdp(), tracks, ice_restart: false }
    }

    fn sdp(&self) -> String {
        let lines: Vec<(Kind, bool)> = self.lines.iter().map(|(kind, track)| (*kind, track.is_some())).collect();
        sdp(&lines)
    }
}

fn published(mid: &str, cid: &str, source: Source) -> PublishedTrack {
    let kind = match source {
        Source::Camera | Source::ScreenShare => Kind::Video,
        Source::Microphone | Source::ScreenShareAudio => Kind::Audio,
    };
    let layer = |rid: &str, h| PublishedLayer { rid: Some(rid.into()), w: h * 16 / 9, h, fps: 30, max_bps: 0 };
    let layers = if source == Source::Camera { vec![layer("q", 180), layer("h", 360), layer("f", 720)] } else { vec![] };
    PublishedTrack { mid: mid.into(), cid: cid.into(), kind, source, name: None, muted: false, layers }
}

/// An offer of that many lines: each of a kind, and sending or receiving. Mids count from 0; cameras send three layers.
fn sdp(lines: &[(Kind, bool)]) -> String {
    let mids: Vec<String> = (0..lines.len()).map(|mid| mid.to_string()).collect();
    let mut text = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789abcdef012345\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\n",
        mids.join(" "),
        ["AB"; 32].join(":"),
    );
    for ((kind, sends), mid) in lines.iter().zip(&mids) {
        let direction = if *sends { "sendonly" } else { "recvonly" };
        text += &match kind {
            Kind::Audio => format!(
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
            ),
            Kind::Video => format!(
                "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n\
                 a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n{}",
                if *sends { "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n" } else { "" }
            ),
        };
    }
    text
}

/// The messages of one kind among what was heard.
macro_rules! only {
    ($heard:expr, $pattern:pat => $value:expr) => {
        $heard
            .into_iter()
            .filter_map(|message| match message {
                $pattern => Some($value),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
}
use only;
