//! How a session begins: `hello` with a token, or with the secret of a session that lost its socket. Also keeps its token
//! fresh. Part of `edge::hub`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::farewell::Farewell;
use super::member::{Link, Media, Member, Rates, Session};
use super::quality::Frozen;
use super::room::Room;
use super::timers::Wake;
use super::whip::HttpSession;
use super::{Conn, ConnId, Door, Hub, Output, Refusal};
use crate::edge::media::Command;
use crate::edge::message::{
    Edge, ErrorCode, IceServer, LeaveAction, LeaveReason, Limits, Options, Resume, ServerFrame, ServerMessage, You,
};
use crate::edge::negotiate::Negotiator;
use crate::edge::token::{self, Access, MAX_JOIN_TTL};
use crate::id::MemberId;

/// What a `hello` holds.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) token: String,
    pub(super) resume: Option<Resume>,
    pub(super) client: Option<String>,
    pub(super) options: Options,
}

/// What a newcomer brings beside its grants.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) session: Session,
    pub(super) link: Link,
    pub(super) options: Options,
    pub(super) http: Option<Box<HttpSession>>,
}

impl Hub {
    /// Takes a connection's first word. A session that can't be resumed is joined anew; a client that can't join is told why
    /// and let go.
    pub(super) fn hello(&mut self, conn: ConnId, id: Option<u32>, hello: Hello) {
        if let Some(resume) = &hello.resume {
            if self.resume(conn, resume) {
                return;
            }
            self.counters.resumes_missed += 1;
        }
        if let Err(refusal) = self.join(conn, hello) {
            self.counters.refused += 1;
            if refusal.0 == ErrorCode::Full {
                let others: Vec<_> = self.edges.iter().filter(|edge| edge.id != self.config.node).cloned().collect();
                if !others.is_empty() {
                    self.send(conn, ServerMessage::Edges { edges: others });
                }
            }
            self.send_error(conn, id, refusal);
            self.close(conn);
        }
    }

    fn join(&mut self, conn: ConnId, hello: Hello) -> Result<(), Refusal> {
        if self.door != Door::Open {
            return Err(Refusal::new(ErrorCode::Full, "this server is about to stop and lets nobody in; try another"));
        }
        let access = token::verify(&self.config.keys, &hello.token, self.unix_ms() / 1000, self.config.max_token_ttl)
            .map_err(|error| Refusal::new(ErrorCode::Unauthorized, error.to_string()))?;
        self.check_space(&access)?;
        let (session, secret) = Session::new(&self.config.limits, &mut self.rng);
        let client = hello.client.as_deref().unwrap_or("?");
        let member =
            self.enter(access, Arrival { session, link: Link::Online(conn), options: hello.options, http: None }, client)?;
        self.timers.clear(&Wake::Hello(conn));
        self.conns.insert(conn, Conn::Joined(member));
        self.welcome(member, secret);
        self.announce(member);
        self.schedule_token(member);
        self.timers.arm(Wake::Slots(member), self.now + Duration::from_millis(20));
        Ok(())
    }

    /// Lets a newcomer in. It takes the place of an older session of its identity here; one elsewhere gives way by itself.
    pub(super) fn enter(&mut self, access: Access, arrival: Arrival, client: &str) -> Result<MemberId, Refusal> {
        if let Some(old) = self.rooms.get(&access.room).and_then(|room| room.by_identity.get(&access.identity)).copied() {
            self.counters.replaced += 1;
            let text = "the same identity joined from elsewhere".into();
            self.end(old, Farewell::told(LeaveReason::Replaced, LeaveAction::Stop, text).keeping_room());
        }
        let room = access.room.clone();
        let member = self.admit(access, arrival)?;
        self.counters.joins += 1;
        tracing::info!(%room, %member, client, "joined");
        Ok(member)
    }

    /// Whether there is space for one more; one that replaces itself needs none.
    pub(super) fn check_space(&self, access: &Access) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let known = |room: &Room| {
            let elsewhere = room.span.as_ref().and_then(|span| span.latest(&access.identity));
            room.by_identity.contains_key(&access.identity) || elsewhere.is_some()
        };
        if self.rooms.get(&access.room).is_some_and(known) {
            return Ok(());
        }
        let full = |what: &str, most: usize| Err(Refusal::new(ErrorCode::Full, format!("{what}: {most} at most")));
        if self.members.len() >= limits.members {
            return full("this server is full of members", limits.members);
        }
        if self.is_busy() {
            let text = "this server has too much to do to let anybody in: try another, or this one later";
            return Err(Refusal::new(ErrorCode::Full, text));
        }
        match self.rooms.get(&access.room) {
            Some(room) if room.count() >= limits.room_members => full("the room is full", limits.room_members),
            None if self.rooms.len() >= limits.rooms => full("this server is full of rooms", limits.rooms),
            _ => Ok(()),
        }
    }

    /// Whether every shard has too much to do to take newcomers.
    pub fn is_busy(&self) -> bool {
        !self.loads.is_empty() && self.loads.iter().all(|load| load.full)
    }

    /// Puts a new member into its room and onto a shard.
    fn admit(&mut self, access: Access, arrival: Arrival) -> Result<MemberId, Refusal> {
        let mut id = MemberId::random(&mut self.rng);
        while self.members.contains_key(&id) {
            id = MemberId::random(&mut self.rng);
        }
        let Arrival { session, link, options, http } = arrival;
        let access_room = access.room.clone();
        let now = self.now;
        let most = self.config.limits.room_members_per_shard;
        let mut room = self.rooms.remove(&access.room).unwrap_or_else(|| Room::new(access.room.clone(), now, self.new_span()));
        let shard = room.place(most, &self.loads);
        let endpoint = self.config.endpoints.get(usize::from(shard.0)).cloned();
        let endpoint = endpoint.ok_or_else(|| Refusal::new(ErrorCode::Internal, "this server has no media thread"))?;
        room.members.push(id);
        room.by_identity.insert(access.identity.clone(), id);
        // The newest session of an identity stays; this one is newer than all that are known.
        let stamp =
            room.span.as_ref().and_then(|span| span.latest(&access.identity)).map_or(0, |known| known.saturating_add(1));
        let stamp = stamp.max(self.unix_ms());
        let first_here = *room.shards.entry(shard).and_modify(|members| *members += 1).or_insert(1) == 1;
        let known: Vec<_> = if first_here { room.tracks.iter().map(|t| room.spec(t, shard)).collect() } else { Vec::new() };
        self.rooms.insert(access.room.clone(), room);
        if let Some(load) = self.loads.get_mut(usize::from(shard.0)) {
            load.members += 1;
        }
        self.command(shard, Command::AddPeer { member: id, room: access.room.clone() });
        if http.as_ref().is_some_and(|http| http.follows_speaker()) {
            self.command(shard, Command::Follow { room: access.room.clone(), on: true });
        }
        for track in known {
            self.command(shard, Command::AddTrack { track });
        }

        let negotiator = Negotiator::new(endpoint, &mut self.rng);
        let negotiator =
            if http.as_ref().is_some_and(|http| http.publishes()) { negotiator.sending_nothing() } else { negotiator };
        self.sessions.insert(session.sid.clone(), id);
        let member = Member {
            id,
            room: access.room.clone(),
            shard,
            name: access.name.clone(),
            access,
            attrs: BTreeMap::new(),
            hand: false,
            options,
            joined: now,
            stamp,
            session,
            link,
            http,
            media: Media::Idle,
            negotiator,
            last_neg: None,
            m_lines: 0,
            published: BTreeMap::new(),
            slots: Default::default(),
            asked: (0, 0),
            short_of_audio: false,
            wishes: Default::default(),
            view: None,
            view_sent: None,
            limit: None,
            quality: None,
            quality_told: None,
            frozen: Frozen::default(),
            stats_asked: false,
            quality_shared: None,
            knows_quality: false,
            sent_to: None,
            rates: Rates::new(now),
            strikes: 0,
            malformed: 0,
        };
        self.members.insert(id, member);
        self.mark(&access_room, id);
        Ok(id)
    }

    /// Tells the others of a newcomer.
    pub(super) fn announce(&mut self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        if member.hidden() {
            return;
        }
        let peer = member.peer(&self.config.node, &self.config.region, Vec::new());
        let room = member.room.clone();
        self.tell_room(&room, Some(id), ServerMessage::PeerJoined { peer });
    }

    /// The room as it is, for a newcomer or for a session that missed too much.
    fn welcome(&mut self, id: MemberId, secret: String) {
        let Some(member) = self.members.get(&id) else { return };
        let Some(room) = self.rooms.get(&member.room) else { return };
        let others = room.members.iter().filter(|other| **other != id).filter_map(|other| self.members.get(other));
        let peers = others.filter(|other| !other.hidden());
        let peers = peers.map(|other| other.peer(&self.config.node, &self.config.region, room.tracks_of(other.id)));
        let elsewhere = room.span.iter().flat_map(|span| span.elsewhere()).filter(|(_, _, card)| !card.hidden);
        let elsewhere = elsewhere.map(|(node, region, card)| card.peer(node, region, room.tracks_of(card.id)));
        let peers = peers.chain(elsewhere).collect();
        let mine = |pid: MemberId| pid == id;
        let chat = room.chat.iter().filter(|chat| chat.to.is_none_or(mine) || mine(chat.from)).cloned().collect();
        let limits = &self.config.limits;
        let body = ServerMessage::Welcome {
            sid: member.session.sid.clone(),
            secret,
            room: member.room.clone(),
            you: You {
                pid: id,
                identity: member.access.identity.clone(),
                name: member.name.clone(),
                grants: member.access.grants.clone(),
            },
            peers,
            chat,
            ice_servers: self.ice_servers(member),
            edge: Edge { id: self.config.node.clone(), region: self.config.region.clone() },
            edges: self.edges.to_vec(),
            ping_ms: millis(limits.ping),
            resume_ms: millis(limits.resume),
            limits: Limits {
                frame_bytes: small(limits.frame_bytes),
                chat_bytes: small(limits.chat_bytes),
                m_lines: small(limits.m_lines),
                tracks: small(limits.tracks),
            },
        };
        let speakers = room.speakers.told().to_vec();
        let Some(member) = self.members.get_mut(&id) else { return };
        let frame = member.session.outbox.snapshot(body);
        if let Link::Online(conn) = member.link {
            self.out.push(Output::Send { conn, frame });
        }
        if !speakers.is_empty() {
            member.tell_passing(ServerMessage::Speakers { speakers }, &mut self.out);
        }
    }

    /// With credentials of the member's own.
    pub(super) fn ice_servers(&self, member: &Member) -> Vec<IceServer> {
        self.config.ice_servers.for_user(member.access.identity.as_str(), self.unix_ms() / 1000)
    }

    /// Gives a session its new socket, if the secret is right and the session is still held.
    fn resume(&mut self, conn: ConnId, resume: &Resume) -> bool {
        let Some(&id) = self.sessions.get(&resume.sid) else { return false };
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(secret) = member.session.open(&resume.secret, &mut self.rng) else { return false };
        let (old, told_away) = match member.link {
            Link::Online(old) => (Some(old), false),
            Link::Away { announced, .. } => (None, announced),
            Link::Http => return false,
        };
        member.link = Link::Online(conn);
        member.malformed = 0;
        let room = member.room.clone();
        let missed: Option<Vec<ServerFrame>> =
            member.session.outbox.after(resume.last_seq).map(|frames| frames.cloned().collect());
        if let Some(old) = old {
            self.close(old);
        }
        self.timers.clear(&Wake::Hello(conn));
        self.timers.clear(&Wake::Away(id));
        self.timers.clear(&Wake::Gone(id));
        self.conns.insert(conn, Conn::Joined(id));
        self.counters.resumes += 1;

        match missed {
            Some(frames) => {
                let ice_servers = self.members.get(&id).map(|member| self.ice_servers(member)).unwrap_or_default();
                self.send(conn, ServerMessage::Resumed { secret, ice_servers });
                self.out.extend(frames.into_iter().map(|frame| Output::Send { conn, frame }));
                self.retell_speakers(id);
            }
            None => {
                self.welcome(id, secret);
                self.retell_media(id);
            }
        }
        self.refresh_token(id);
        if told_away && let Some(member) = self.members.get(&id) {
            let body = member.updated();
            if !member.hidden() {
                self.tell_room(&room, Some(id), body);
            }
            self.mark(&room, id);
        }
        self.offer_move(id, true);
        true
    }

    /// Speakers are not kept for a resume: what they are now is told.
    fn retell_speakers(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(room) = self.rooms.get(&member.room) else { return };
        let speakers = room.speakers.told().to_vec();
        member.knows_quality = false;
        member.tell_passing(ServerMessage::Speakers { speakers }, &mut self.out);
    }

    /// What a snapshot does not hold: the state of the member's own media.
    fn retell_media(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(room) = self.rooms.get(&member.room) else { return };
        let bound: Vec<_> = member.slots.bindings().map(|(_, mid, track)| (mid.to_owned(), track)).collect();
        for (mid, track) in &bound {
            member.tell(ServerMessage::Bind { mid: mid.clone(), track: *track }, &mut self.out);
        }
        for track in room.tracks.iter().filter(|track| track.owner == id) {
            if let Some(active) = track.active.clone() {
                member.tell(ServerMessage::Layers { track: track.info.id, active }, &mut self.out);
            }
        }
        member.knows_quality = false;
        member.asked = (0, 0);
        self.timers.arm(Wake::Slots(id), self.now);
        for track in bound.into_iter().filter_map(|(_, track)| track) {
            self.tell_path(id, track);
        }
    }

    /// Sees to it that a token is refreshed well before it ends.
    fn schedule_token(&mut self, id: MemberId) {
        let unix = self.unix_ms() / 1000;
        let Some(member) = self.members.get(&id) else { return };
        // Half of what is left, within bounds that a clock can hold.
        let left = member.access.claims.exp.saturating_sub(unix).clamp(60, 7 * 86_400);
        self.timers.set(Wake::Token(id), self.now + Duration::from_secs(left / 2));
    }

    /// Gives a member a token with the same grants, so that it can join anew later.
    pub(super) fn refresh_token(&mut self, id: MemberId) {
        let unix = self.unix_ms() / 1000;
        let Some(member) = self.members.get_mut(&id) else { return };
        let claims = &mut member.access.claims;
        claims.exp = claims.exp.max(unix + MAX_JOIN_TTL.min(self.config.max_token_ttl).as_secs());
        claims.nbf = None;
        if let Ok(jwt) = token::mint(&self.config.keys, claims) {
            member.reply(ServerMessage::Token { jwt }, &mut self.out);
        }
        self.schedule_token(id);
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
