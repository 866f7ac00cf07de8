//! All rooms of this node as one state machine without IO: what sockets say and what the media plane reports goes in, what
//! to tell them comes out. Owns rooms, members and sessions. It knows nothing of JSON, WebSockets or threads:
//! [`crate::edge::signal`] is its shell. WHIP and WHEP are a second wire with the same grants, offers and slots: [`Hub::whip`].
//!
//! ```text
//!  socket ─ Input::Frame ──▶ ┌──────────────┐ ── Output::Send ──▶ socket
//!                            │ rooms        │
//!  shard ── Input::Media ──▶ │ └ members    │ ── Output::Media ─▶ shard
//!                            └──────────────┘
//! ```

pub(in crate::edge) mod bucket;
mod call;
mod edges;
mod farewell;
mod follow;
mod join;
mod limits;
mod media;
mod member;
mod outbox;
mod publish;
mod quality;
mod receive;
mod relay;
mod request;
mod room;
mod slots;
mod snapshot;
mod speakers;
#[cfg(test)]
mod tests;
mod timers;
mod whip;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;

pub use limits::Limits;
pub use snapshot::{Counters, MemberSnapshot, RoomSnapshot, Snapshot};

use super::ice_servers::IceServers;
use super::media::{Command, Event};
use super::message::{ClientFrame, EdgeAddress, ErrorCode, LeaveAction, LeaveReason, ServerFrame, ServerMessage};
use super::negotiate::MediaEndpoint;
use crate::config::Keys;
use crate::id::{MemberId, NodeId, RegionId, RoomId, ShardId, TrackId};
use member::Member;
use relay::Relay;
use room::{Load, Room};
use timers::{Timers, Wake};

/// One client connection of the shell. Never used again after it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the hub must know of its node.
#[derive(Debug)]
pub struct Config {
    pub node: NodeId,
    pub region: RegionId,
    pub keys: Keys,
    /// A token that lives longer from now can't be joined with.
    pub max_token_ttl: Duration,
    /// One per shard, in order of their ids.
    pub endpoints: Vec<Arc<MediaEndpoint>>,
    /// The cascade's shard, which ties this node's rooms to those of others; `None` for a node on its own.
    pub cascade: Option<ShardId>,
    /// How long members have to move elsewhere when this node is drained.
    pub drain: Duration,
    pub ice_servers: IceServers,
    pub limits: Limits,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A client connected; it has yet to say hello.
    Opened { conn: ConnId },
    /// It said something.
    Frame { conn: ConnId, frame: ClientFrame },
    /// It said something that is no message, or too much. What and why are told to it.
    Malformed { conn: ConnId, code: ErrorCode, why: String },
    /// The connection is gone, whoever ended it.
    Closed { conn: ConnId },
    /// A shard reports.
    Media { event: Event },
    /// The operator removes a member.
    Remove { member: MemberId },
    /// Nobody new is let in; who is here stays, and is asked to move where there is another edge.
    Drain,
    /// Every session ends now. `message` is shown to people.
    Shutdown { message: String },
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    Send {
        conn: ConnId,
        frame: ServerFrame,
    },
    /// Close the connection after what was sent before. The hub has forgotten it.
    Close {
        conn: ConnId,
    },
    Media {
        shard: ShardId,
        command: Command,
    },
    /// A session that [`Hub::whip`] opened is over.
    Ended {
        session: String,
    },
}

/// Why a request was not granted.
#[derive(Debug)]
struct Refusal(ErrorCode, String);

impl Refusal {
    fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self(code, text.into())
    }
}

/// A connection, by whether it has said hello.
#[derive(Debug)]
enum Conn {
    Greeting { malformed: u32 },
    Joined(MemberId),
}

/// Whether newcomers are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Draining,
    Shut,
}

/// The rooms of this node.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    rng: StdRng,
    now: Instant,
    /// An instant and the time of day it had, in milliseconds since the epoch.
    clock: (Instant, u64),
    door: Door,
    drained_at: Option<Instant>,
    conns: FxHashMap<ConnId, Conn>,
    members: FxHashMap<MemberId, Member>,
    sessions: FxHashMap<String, MemberId>,
    rooms: BTreeMap<RoomId, Room>,
    /// Who publishes a track, and where.
    tracks: FxHashMap<TrackId, TrackPlace>,
    /// By shard.
    loads: Vec<Load>,
    timers: Timers,
    counters: Counters,
    relay: Option<Relay>,
    edges: Arc<[EdgeAddress]>,
    out: Vec<Output>,
}

/// Whose a track is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TrackPlace {
    room: RoomId,
    /// Here or at another node.
    owner: MemberId,
}

impl Hub {
    /// An empty node. `unix_ms` is the time of day at `now`; `seed` must come from the system's randomness, since secrets are
    /// drawn from it.
    pub fn new(config: Config, now: Instant, unix_ms: u64, seed: [u8; 32]) -> Self {
        let loads = vec![Load::default(); config.endpoints.len()];
        let relay = config.cascade.map(|shard| Relay::new(shard, &config));
        Self {
            config,
            rng: StdRng::from_seed(seed),
            now,
            clock: (now, unix_ms),
            door: Door::Open,
            drained_at: None,
            conns: FxHashMap::default(),
            members: FxHashMap::default(),
            sessions: FxHashMap::default(),
            rooms: BTreeMap::new(),
            tracks: FxHashMap::default(),
            loads,
            timers: Timers::default(),
            counters: Counters::default(),
            relay,
            edges: Arc::from([]),
            out: Vec::new(),
        }
    }

    /// Takes in what happened; appends to `out` what is to be done, in order.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.now = now;
        match input {
            Input::Opened { conn } => self.opened(conn),
            Input::Frame { conn, frame } => self.frame(conn, frame),
            Input::Malformed { conn, code, why } => self.malformed(conn, code, why),
            Input::Closed { conn } => self.closed(conn),
            Input::Media { event } => self.media_event(event),
            Input::Remove { member } => self.remove_by_operator(member),
            Input::Drain => {
                self.drain();
            }
            Input::Shutdown { message } => self.shutdown(&message),
        }
        self.settle();
        out.append(&mut self.out);
    }

    /// When [`Hub::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = now;
        while let Some(wake) = self.timers.pop(now) {
            match wake {
                Wake::Hello(conn) => {
                    let seconds = self.config.limits.hello.as_secs();
                    let text = format!("no hello within {seconds} s");
                    self.dismiss(conn, LeaveReason::TimedOut, LeaveAction::Reconnect, text);
                }
                Wake::Away(member) => self.announce_away(member),
                Wake::Gone(member) => self.held_for_long(member),
                Wake::GiveWay(member) => self.replaced_elsewhere(member),
                Wake::Watched(member) => self.look_for_watched(member),
                Wake::Slots(member) => self.deal_slots(member),
                Wake::View(member) => self.send_view(member),
                Wake::Token(member) => self.refresh_token(member),
                Wake::Speakers(room) => self.tell_speakers(&room),
                Wake::Quality(room) => self.tell_quality(&room),
                Wake::Span(room) => self.tend_span(&room),
                Wake::Home(room) => self.tend_home(&room),
            }
        }
        self.settle();
        out.append(&mut self.out);
    }

    /// Sets the time of day that goes with `now`; a clock that is set, or a machine that slept, moves one against the other.
    pub fn set_clock(&mut self, now: Instant, unix_ms: u64) {
        self.clock = (now, unix_ms);
    }

    /// Whether a member is here.
    pub fn has_member(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// Milliseconds since the epoch.
    fn unix_ms(&self) -> u64 {
        let (at, ms) = self.clock;
        ms.saturating_add(u64::try_from(self.now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX))
    }

    fn opened(&mut self, conn: ConnId) {
        self.conns.insert(conn, Conn::Greeting { malformed: 0 });
        self.timers.set(Wake::Hello(conn), self.now + self.config.limits.hello);
    }

    fn malformed(&mut self, conn: ConnId, code: ErrorCode, why: String) {
        self.counters.malformed += 1;
        let count = match self.conns.get_mut(&conn) {
            Some(Conn::Greeting { malformed }) => malformed,
            Some(Conn::Joined(member)) => match self.members.get_mut(member) {
                Some(member) => &mut member.malformed,
                None => return,
            },
            None => return,
        };
        *count += 1;
        if *count >= self.config.limits.malformed {
            self.dismiss(conn, LeaveReason::Protocol, LeaveAction::Stop, "too many frames that are no messages".into());
        } else {
            self.send_error(conn, None, Refusal(code, why));
        }
    }

    /// Ends a connection for a fault of its client, and its session with it.
    fn dismiss(&mut self, conn: ConnId, reason: LeaveReason, action: LeaveAction, message: String) {
        match self.conns.get(&conn) {
            Some(&Conn::Joined(member)) => self.end(member, farewell::Farewell::told(reason, action, message)),
            Some(Conn::Greeting { .. }) => {
                self.send(conn, ServerMessage::Leave { reason, action, message });
                self.close(conn);
            }
            None => {}
        }
    }

    /// Sends what is no event.
    fn send(&mut self, conn: ConnId, body: ServerMessage) {
        self.out.push(Output::Send { conn, frame: ServerFrame::unnumbered(body) });
    }

    fn send_error(&mut self, conn: ConnId, id: Option<u32>, Refusal(code, msg): Refusal) {
        self.send(conn, ServerMessage::Err { id, code, msg });
    }

    /// Closes and forgets a connection.
    fn close(&mut self, conn: ConnId) {
        if self.conns.remove(&conn).is_some() {
            self.timers.clear(&Wake::Hello(conn));
            self.out.push(Output::Close { conn });
        }
    }

    fn command(&mut self, shard: ShardId, command: Command) {
        self.out.push(Output::Media { shard, command });
    }

    /// Tells an event to everybody in a room, apart from one.
    fn tell_room(&mut self, room: &RoomId, except: Option<MemberId>, body: ServerMessage) {
        let Some(room) = self.rooms.get(room) else { return };
        let body = Arc::new(body);
        for id in room.members.iter().filter(|id| Some(**id) != except) {
            if let Some(member) = self.members.get_mut(id) {
                member.tell(body.clone(), &mut self.out);
            }
        }
    }

    /// As [`Hub::tell_room`], of what is only true now.
    fn tell_room_passing(&mut self, room: &RoomId, except: Option<MemberId>, body: ServerMessage) {
        let Some(room) = self.rooms.get(room) else { return };
        let body = Arc::new(body);
        for id in room.members.iter().filter(|id| Some(**id) != except) {
            if let Some(member) = self.members.get_mut(id) {
                member.tell_passing(body.clone(), &mut self.out);
            }
        }
    }

    /// Deals everybody's slots out anew, soon: several changes at once cost one round, and in a large room, where a round is
    /// long, more of them are gathered.
    fn deal_room(&mut self, room: &RoomId) {
        const GATHER: Duration = Duration::from_millis(20);
        const GATHER_LARGE: Duration = Duration::from_millis(200);
        let Some(room) = self.rooms.get(room) else { return };
        let at = self.now + if room.members.len() <= 50 { GATHER } else { GATHER_LARGE };
        for member in &room.members {
            self.timers.arm(Wake::Slots(*member), at);
        }
    }
}
