//! How a session ends, or loses its socket and waits for it. Part of `edge::hub`.

use super::member::{Link, Member};
use super::timers::Wake;
use super::{Conn, ConnId, Door, Hub, Output};
use crate::edge::media::Command;
use crate::edge::message::{LeaveAction, LeaveReason, ServerMessage};
use crate::id::{MemberId, RoomId};

/// How a member goes.
#[derive(Debug)]
pub(super) struct Farewell {
    reason: LeaveReason,
    /// What it is told, if it has a socket.
    words: Option<(LeaveAction, String)>,
    /// Its shard has forgotten it already.
    media_gone: bool,
    /// Another member comes into the room at once, so the room stays.
    keep_room: bool,
}

impl Farewell {
    /// It is told nothing.
    pub(super) fn silent(reason: LeaveReason) -> Self {
        Self { reason, words: None, media_gone: false, keep_room: false }
    }

    /// It is told why and what to do next.
    pub(super) fn told(reason: LeaveReason, action: LeaveAction, message: String) -> Self {
        Self { words: Some((action, message)), ..Self::silent(reason) }
    }

    pub(super) fn keeping_room(self) -> Self {
        Self { keep_room: true, ..self }
    }

    pub(super) fn media_gone(self) -> Self {
        Self { media_gone: true, ..self }
    }
}

impl Hub {
    /// A connection is gone. Its session waits for another; the media is not touched.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.timers.clear(&Wake::Hello(conn));
        let Some(Conn::Joined(id)) = self.conns.remove(&conn) else { return };
        let Some(member) = self.members.get_mut(&id) else { return };
        member.link = Link::Away { since: self.now, announced: false };
        self.timers.set(Wake::Away(id), self.now + self.config.limits.away_after);
        self.reckon_end(id);
    }

    /// Sets when a session without a socket is over, by what is known of its media.
    pub(super) fn reckon_end(&mut self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        match member.ends(&self.config.limits) {
            Some(at) => self.timers.set(Wake::Gone(id), at),
            None => self.timers.clear(&Wake::Gone(id)),
        }
    }

    /// Tells the others that a member's socket is lost.
    pub(super) fn announce_away(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Link::Away { announced, .. } = &mut member.link else { return };
        *announced = true;
        let (room, body, hidden) = (member.room.clone(), member.updated(), member.hidden());
        if !hidden {
            self.tell_room(&room, Some(id), body);
        }
        self.mark(&room, id);
    }

    /// A session was held for as long as it is.
    pub(super) fn held_for_long(&mut self, id: MemberId) {
        if self.members.get(&id).is_some_and(|member| matches!(member.link, Link::Away { .. })) {
            self.counters.timed_out += 1;
            self.end(id, Farewell::silent(LeaveReason::TimedOut));
        }
    }

    pub(super) fn remove_by_operator(&mut self, id: MemberId) {
        let text = "removed by the server's operator".into();
        self.end(id, Farewell::told(LeaveReason::Removed, LeaveAction::Stop, text));
    }

    /// Everybody is told to go elsewhere.
    pub(super) fn shutdown(&mut self, message: &str) {
        self.door = Door::Shut;
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        // Nobody is told of the others' leaving: all leave.
        for room in self.rooms.values_mut() {
            room.members.clear();
        }
        for member in members {
            self.end(member, Farewell::told(LeaveReason::Shutdown, LeaveAction::Reconnect, message.to_owned()));
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.dismiss(conn, LeaveReason::Shutdown, LeaveAction::Reconnect, message.to_owned());
        }
    }

    /// Ends a session: its socket, its tracks, its place in the room and on its shard.
    pub(super) fn end(&mut self, id: MemberId, farewell: Farewell) {
        let Some(member) = self.members.remove(&id) else { return };
        self.timers.clear_member(id);
        self.sessions.remove(&member.session.sid);
        if let Link::Online(conn) = member.link {
            if let Some((action, message)) = farewell.words {
                self.send(conn, ServerMessage::Leave { reason: farewell.reason, action, message });
            }
            self.close(conn);
        }
        if member.http.is_some() {
            self.out.push(Output::Ended { session: member.session.sid.clone() });
        }
        self.leave_room(&member, farewell.reason);
        self.leave_shard(&member, farewell.media_gone);
        if !farewell.keep_room && self.rooms.get(&member.room).is_some_and(|room| room.by_identity.is_empty()) {
            self.close_room(&member.room, farewell.reason);
        } else if let Some(relay) = &mut self.relay {
            relay.mark(&member.room, id, farewell.reason);
        }
        self.counters.leaves += 1;
        tracing::info!(room = %member.room, member = %id, reason = ?farewell.reason, "left");
    }

    /// Forgets a room that has no members here.
    fn close_room(&mut self, id: &RoomId, reason: LeaveReason) {
        let Some(room) = self.rooms.remove(id) else { return };
        self.timers.clear_room(id);
        // What is left is of other nodes, and only the cascade's shard still knows it.
        for track in &room.tracks {
            self.tracks.remove(&track.info.id);
            if let Some(relay) = &self.relay {
                let command = Command::RemoveTrack { track: track.info.id };
                self.out.push(Output::Media { shard: relay.shard, command });
            }
        }
        if let Some(span) = room.span {
            self.detach(id, span, reason);
        }
    }

    fn leave_room(&mut self, member: &Member, reason: LeaveReason) {
        if let Some(room) = self.rooms.get_mut(&member.room) {
            room.members.retain(|other| *other != member.id);
            room.by_identity.remove(&member.access.identity);
        }
        if !member.hidden() {
            self.tell_room(&member.room, None, ServerMessage::PeerLeft { pid: member.id, reason });
        }
        self.withdraw(&member.room, member.id, &member.tracks(), false);
        self.left_watchers(&member.room, &member.access.identity);
    }

    fn leave_shard(&mut self, member: &Member, media_gone: bool) {
        let shard = member.shard;
        if let Some(load) = self.loads.get_mut(usize::from(shard.0)) {
            load.members = load.members.saturating_sub(1);
        }
        if !media_gone {
            self.command(shard, Command::RemovePeer { member: member.id });
        }
        if member.follows_speaker() {
            self.follow_no_more(&member.room, shard);
        }
        let Some(room) = self.rooms.get_mut(&member.room) else { return };
        let Some(count) = room.shards.get_mut(&shard) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            // The last of the room here: the shard need not know the room's tracks any more.
            room.shards.remove(&shard);
            let tracks: Vec<_> = room.tracks.iter().map(|track| track.info.id).collect();
            for track in tracks {
                self.command(shard, Command::RemoveTrack { track });
            }
        }
    }
}
