//! One member's session: its grants, its socket or the lack of one, its media, its slots and what it was told. Owns the state
//! and its small steps; `edge::hub` decides what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use ring::digest;
use rustc_hash::FxHashMap;

use super::bucket::Bucket;
use super::limits::Limits;
use super::outbox::Outbox;
use super::quality::Frozen;
use super::relay::Card;
use super::room::Room;
use super::slots::SlotTable;
use super::whip::HttpSession;
use super::{ConnId, Output};
use crate::edge::media::Quality;
use crate::edge::message::{Options, Peer, PeerQuality, QualityKind, ServerFrame, ServerMessage, Track, ViewItem};
use crate::edge::negotiate::Negotiator;
use crate::edge::token::Access;
use crate::id::{MemberId, NodeId, RegionId, RoomId, ShardId, TrackId};
use crate::units::Bitrate;

/// A member of a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) room: RoomId,
    pub(super) shard: ShardId,
    pub(super) access: Access,
    pub(super) name: String,
    pub(super) attrs: BTreeMap<String, String>,
    pub(super) hand: bool,
    pub(super) options: Options,
    pub(super) joined: Instant,
    /// When the session began, in milliseconds since the epoch, and after every other that is known of its identity.
    pub(super) stamp: u64,
    pub(super) session: Session,
    pub(super) link: Link,
    /// Of a session that was opened by WHIP or WHEP.
    pub(super) http: Option<Box<HttpSession>>,
    pub(super) media: Media,
    pub(super) negotiator: Negotiator,
    pub(super) last_neg: Option<u32>,
    /// Of the latest answer; m-lines are never taken away again.
    pub(super) m_lines: usize,
    /// The client's name of each track it publishes.
    pub(super) published: BTreeMap<String, TrackId>,
    pub(super) slots: SlotTable,
    /// How many slots the client was asked for: audio, video.
    pub(super) asked: (usize, usize),
    /// There are more voices than audio slots, so who speaks matters.
    pub(super) short_of_audio: bool,
    /// Tracks it said it wants or does not want.
    pub(super) wishes: FxHashMap<TrackId, bool>,
    pub(super) view: Option<Vec<ViewItem>>,
    pub(super) view_sent: Option<Instant>,
    /// What it wants to receive at most.
    pub(super) limit: Option<Bitrate>,
    pub(super) quality: Option<Quality>,
    /// What its client says of pictures that stand.
    pub(super) frozen: Frozen,
    /// Its client waits for statistics.
    pub(super) stats_asked: bool,
    pub(super) quality_told: Option<QualityKind>,
    /// As other nodes were told; only when its kind changes.
    pub(super) quality_shared: Option<PeerQuality>,
    /// It was told the whole room's quality once.
    pub(super) knows_quality: bool,
    /// The edge it was asked to move to.
    pub(super) sent_to: Option<String>,
    pub(super) rates: Rates,
    /// Requests refused for their rate since one was granted.
    pub(super) strikes: u32,
    pub(super) malformed: u32,
}

/// Whether there is a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Online(ConnId),
    Away {
        since: Instant,
        /// The others were told.
        announced: bool,
    },
    /// There never is one: the session was opened by HTTP, is told nothing, and lives as long as its media.
    Http,
}

/// How the member's transport is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// No offer was answered yet.
    Idle,
    Connecting,
    Up,
    /// ICE has been silent since.
    Down(Instant),
}

/// What a client shows to come back. Only hashes are kept of the secrets.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) sid: String,
    secret: [u8; 32],
    /// The secret before, until its successor is used: the frame that carried it may have been lost.
    previous: Option<[u8; 32]>,
    pub(super) outbox: Outbox,
}

/// How often a session may ask for things.
#[derive(Debug)]
pub(super) struct Rates {
    pub(super) requests: Bucket,
    pub(super) offers: Bucket,
    pub(super) views: Bucket,
    pub(super) stats: Bucket,
    pub(super) chats: Bucket,
    pub(super) reactions: Bucket,
    /// Members it rings.
    pub(super) rings: Bucket,
    /// What it says of calls: a description counts as several.
    pub(super) calls: Bucket,
    /// Changes everybody is told of: hand, name, mute.
    pub(super) updates: Bucket,
    pub(super) data: Bucket,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests: Bucket::new(now, 50.0, 200.0),
            offers: Bucket::new(now, 4.0, 30.0),
            views: Bucket::new(now, 20.0, 60.0),
            stats: Bucket::new(now, 1.0, 5.0),
            chats: Bucket::new(now, 4.0, 20.0),
            reactions: Bucket::new(now, 5.0, 15.0),
            rings: Bucket::new(now, 0.5, 10.0),
            calls: Bucket::new(now, 20.0, 150.0),
            updates: Bucket::new(now, 5.0, 30.0),
            data: Bucket::new(now, 100.0, 300.0),
        }
    }
}

impl Session {
    /// A new session and its first secret.
    pub(super) fn new(limits: &Limits, rng: &mut impl Rng) -> (Self, String) {
        let (text, secret) = draw(rng);
        let outbox = Outbox::new(limits.ring_events, limits.ring_bytes);
        (Self { sid: format!("s{:016x}", rng.random::<u64>()), secret, previous: None, outbox }, text)
    }

    /// One that nobody can resume and that keeps no events. Its id is part of a URL that gives power over it, so it is as long as a
    /// secret.
    pub(super) fn without_socket(rng: &mut impl Rng) -> Self {
        let (sid, _) = draw(rng);
        let (_, secret) = draw(rng);
        Self { sid, secret, previous: None, outbox: Outbox::new(0, 0) }
    }

    /// Whether `secret` opens the session. If so the next one is drawn; the one used stays good until that is used.
    pub(super) fn open(&mut self, secret: &str, rng: &mut impl Rng) -> Option<String> {
        // Comparing hashes tells nothing by its timing that would help to guess what was hashed.
        let shown = hash(secret);
        if shown != self.secret && Some(shown) != self.previous {
            return None;
        }
        let (text, fresh) = draw(rng);
        self.previous = Some(shown);
        self.secret = fresh;
        Some(text)
    }
}

fn draw(rng: &mut impl Rng) -> (String, [u8; 32]) {
    let text = format!("{:016x}{:016x}", rng.random::<u64>(), rng.random::<u64>());
    let hashed = hash(&text);
    (text, hashed)
}

fn hash(secret: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    out
}

impl Member {
    /// Tells an event: numbered, kept for a resume, and sent if there is a socket.
    pub(super) fn tell(&mut self, body: impl Into<Arc<ServerMessage>>, out: &mut Vec<Output>) {
        if self.link == Link::Http {
            return;
        }
        let frame = self.session.outbox.push(body.into());
        if let Link::Online(conn) = self.link {
            out.push(Output::Send { conn, frame });
        }
    }

    /// Tells what is only true now. Not told, and not made up for, while there is no socket.
    pub(super) fn tell_passing(&mut self, body: impl Into<Arc<ServerMessage>>, out: &mut Vec<Output>) {
        if matches!(self.link, Link::Online(_)) {
            self.tell(body, out);
        }
    }

    /// Sends what is no event.
    pub(super) fn reply(&self, body: ServerMessage, out: &mut Vec<Output>) {
        if let Link::Online(conn) = self.link {
            out.push(Output::Send { conn, frame: ServerFrame::unnumbered(body) });
        }
    }

    /// When the session is over unless something happens; `None` while there is a socket.
    pub(super) fn ends(&self, limits: &Limits) -> Option<Instant> {
        /// Silence of the media, once told of, must last this long: it may be a change of network.
        const SURE: Duration = Duration::from_secs(3);
        let Link::Away { since, .. } = self.link else { return None };
        let held = since + limits.resume;
        Some(match self.media {
            Media::Idle | Media::Connecting | Media::Up => held,
            Media::Down(at) => held.min((since + limits.crashed_after).max(at + SURE)),
        })
    }

    /// Whether the member may be told of others' media and data.
    pub(super) fn subscribes(&self) -> bool {
        self.access.grants.subscribe
    }

    pub(super) fn hidden(&self) -> bool {
        self.access.grants.hidden
    }

    pub(super) fn away(&self) -> bool {
        matches!(self.link, Link::Away { announced: true, .. })
    }

    /// As others see it.
    pub(super) fn peer(&self, node: &NodeId, region: &RegionId, tracks: Vec<Track>) -> Peer {
        Peer {
            pid: self.id,
            identity: self.access.identity.clone(),
            name: self.name.clone(),
            attrs: self.attrs.clone(),
            node: node.clone(),
            region: region.clone(),
            hand: self.hand,
            away: self.away(),
            tracks,
        }
    }

    /// As other nodes know it.
    pub(super) fn card(&self, room: &Room) -> Card {
        Card {
            id: self.id,
            identity: self.access.identity.clone(),
            stamp: self.stamp,
            name: self.name.clone(),
            attrs: self.attrs.clone(),
            hand: self.hand,
            away: self.away(),
            hidden: self.hidden(),
            admin: self.access.grants.admin,
            tracks: room.tracks_of(self.id),
            quality: self.quality_shared.clone(),
        }
    }

    /// As others are told after a change.
    pub(super) fn updated(&self) -> ServerMessage {
        ServerMessage::PeerUpdated {
            pid: self.id,
            name: self.name.clone(),
            attrs: self.attrs.clone(),
            hand: self.hand,
            away: self.away(),
        }
    }

    /// The ids of what it publishes.
    pub(super) fn tracks(&self) -> BTreeSet<TrackId> {
        self.published.values().copied().collect()
    }
}
