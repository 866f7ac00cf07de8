//! What a member may ask for, apart from media: chat, reactions, a raised hand, its name, an admin's acts. Takes every frame
//! in and sees to its `ack` or `err`. Part of `edge::hub`.

use std::collections::BTreeMap;

use rand::RngExt;

use super::farewell::Farewell;
use super::join::Hello;
use super::publish::Offer;
use super::{Conn, ConnId, Hub, Refusal};
use crate::edge::message::{AdminOp, Chat, ClientFrame, ClientMessage, ErrorCode, LeaveAction, LeaveReason, ServerMessage};
use crate::edge::token::MAX_TEXT;
use crate::id::{MemberId, RoomId, TrackId};
use crate::rtp::Kind;
use crate::units::Bitrate;

impl Hub {
    pub(super) fn frame(&mut self, conn: ConnId, ClientFrame { id, body }: ClientFrame) {
        match (self.conns.get(&conn), body) {
            (None, _) => {}
            (Some(Conn::Greeting { .. }), ClientMessage::Hello { token, resume, client, opts }) => {
                self.hello(conn, id, Hello { token, resume, client, options: opts });
            }
            (Some(Conn::Greeting { .. }), _) => self.malformed(conn, ErrorCode::BadState, "say hello first".into()),
            (Some(&Conn::Joined(member)), body) => self.request(conn, member, id, body),
        }
    }

    /// A member's frame.
    fn request(&mut self, conn: ConnId, member: MemberId, id: Option<u32>, body: ClientMessage) {
        let acked = !matches!(body, ClientMessage::Ping { .. } | ClientMessage::Bye {});
        let result = self.granted_rate(member).and_then(|()| self.obey(member, body));
        match result {
            Ok(()) => {
                if let Some(state) = self.members.get_mut(&member) {
                    (state.strikes, state.malformed) = (0, 0);
                }
                if let Some(id) = id
                    && acked
                    && self.conns.contains_key(&conn)
                {
                    self.send(conn, ServerMessage::Ack { id });
                }
            }
            Err(refusal) => self.refuse(conn, member, id, refusal),
        }
    }

    fn granted_rate(&mut self, member: MemberId) -> Result<(), Refusal> {
        let Some(state) = self.members.get_mut(&member) else { return Ok(()) };
        if !state.rates.requests.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many requests; slow down"));
        }
        Ok(())
    }

    /// Says why not. Who goes on past its rates again and again is let go.
    fn refuse(&mut self, conn: ConnId, member: MemberId, id: Option<u32>, refusal: Refusal) {
        self.counters.refused += 1;
        if refusal.0 == ErrorCode::RateLimited {
            let Some(state) = self.members.get_mut(&member) else { return };
            state.strikes += 1;
            if state.strikes >= self.config.limits.strikes {
                let text = "too many requests beyond the rate allowed".into();
                return self.dismiss(conn, LeaveReason::Protocol, LeaveAction::Stop, text);
            }
        }
        self.send_error(conn, id, refusal);
    }

    fn obey(&mut self, member: MemberId, body: ClientMessage) -> Result<(), Refusal> {
        match body {
            ClientMessage::Hello { .. } => Err(Refusal::new(ErrorCode::BadState, "hello was said already")),
            ClientMessage::Offer { neg, sdp, tracks, ice_restart } => {
                self.offer(member, Offer { neg, sdp, tracks, ice_restart })
            }
            ClientMessage::Candidate { .. } => Ok(()),
            ClientMessage::Mute { track, muted } => self.mute(member, track, muted),
            ClientMessage::Unpublish { track } => self.unpublish(member, track),
            ClientMessage::Subscribe { tracks, on } => self.subscribe(member, &tracks, on),
            ClientMessage::View { items, limit_bps } => self.view(member, items, limit_bps.map(|bps| Bitrate(bps.into()))),
            ClientMessage::Chat { cid, to, text } => self.chat(member, cid, to, &text),
            ClientMessage::React { emoji } => self.react(member, &emoji),
            ClientMessage::Hand { up } => self.hand(member, up),
            ClientMessage::Meta { name, attrs } => self.meta(member, name.as_deref(), attrs.unwrap_or_default()),
            ClientMessage::Call(call) => self.ring(member, call),
            ClientMessage::CallReply(reply) => self.reply_call(member, reply),
            ClientMessage::CallEnd(end) => self.end_call(member, end),
            ClientMessage::P2p(signal) => self.signal_peer(member, signal),
            ClientMessage::Admin { op, target } => self.admin(member, op, target),
            ClientMessage::Stats {} => self.ask_stats(member),
            ClientMessage::Ping { ts, rtt: _, frozen_ms } => {
                self.ping(member, ts, frozen_ms);
                Ok(())
            }
            ClientMessage::Bye {} => {
                self.end(member, Farewell::silent(LeaveReason::Left));
                Ok(())
            }
        }
    }

    fn chat(&mut self, id: MemberId, cid: String, to: Option<MemberId>, text: &str) -> Result<(), Refusal> {
        let (at, limits) = (self.unix_ms(), &self.config.limits);
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let Some(room) = self.rooms.get_mut(&member.room) else { return Ok(()) };
        if !member.access.grants.data {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token does not grant canPublishData"));
        }
        if text.len() > limits.chat_bytes {
            return Err(Refusal::new(ErrorCode::TooLarge, format!("a chat text: {} bytes at most", limits.chat_bytes)));
        }
        if cid.len() > limits.name_bytes {
            return Err(Refusal::new(ErrorCode::TooLarge, format!("a cid: {} bytes at most", limits.name_bytes)));
        }
        if !member.rates.chats.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many chat messages; wait a second"));
        }
        if to.is_some_and(|to| !room.has(to)) {
            return Err(Refusal::new(ErrorCode::NotFound, "that member is not in the room"));
        }
        let text = clean(text, true);
        if text.trim().is_empty() {
            return Err(Refusal::new(ErrorCode::BadMessage, "an empty chat text"));
        }
        room.chats += 1;
        let chat = Chat { id: format!("c{}", room.chats), cid, from: id, name: member.name.clone(), to, text, at };
        let id = room.id.clone();
        if room.span.is_some() {
            // Unique at all nodes.
            let chat = Chat { id: format!("c{:016x}", self.rng.random::<u64>()), ..chat };
            return self.say_line(&id, chat);
        }
        room.keep_line(chat.clone(), limits.chat_kept);
        self.tell_line(&id, chat);
        Ok(())
    }

    /// Tells a line of chat to those here whom it is for.
    pub(super) fn tell_line(&mut self, room: &RoomId, chat: Chat) {
        let Some(to) = chat.to else {
            return self.tell_room(room, None, ServerMessage::Chat(chat));
        };
        let mut both = vec![chat.from, to];
        both.dedup();
        for id in both {
            if let Some(member) = self.members.get_mut(&id) {
                member.tell(ServerMessage::Chat(chat.clone()), &mut self.out);
            }
        }
    }

    fn react(&mut self, id: MemberId, emoji: &str) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.access.grants.data || member.hidden() {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token does not grant canPublishData"));
        }
        if emoji.len() > limits.emoji_bytes {
            return Err(Refusal::new(ErrorCode::TooLarge, format!("a reaction: {} bytes at most", limits.emoji_bytes)));
        }
        if !member.rates.reactions.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many reactions; wait a second"));
        }
        // Joiners and variation selectors are part of emoji; control characters never are.
        if emoji.trim().is_empty() || emoji.chars().any(char::is_control) {
            return Err(Refusal::new(ErrorCode::BadMessage, "an empty reaction"));
        }
        let room = member.room.clone();
        self.tell_room(&room, Some(id), ServerMessage::React { from: id, emoji: emoji.to_owned() });
        self.pass_reaction(&room, id, emoji);
        Ok(())
    }

    fn hand(&mut self, id: MemberId, up: bool) -> Result<(), Refusal> {
        let member = self.updating(id)?;
        if member.hand != up {
            member.hand = up;
            self.tell_updated(id);
        }
        Ok(())
    }

    fn meta(&mut self, id: MemberId, name: Option<&str>, attrs: BTreeMap<String, Option<String>>) -> Result<(), Refusal> {
        let (most, bytes) = (self.config.limits.attrs, self.config.limits.attr_bytes);
        let member = self.updating(id)?;
        let name = name.map(one_line);
        if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_TEXT) {
            return Err(Refusal::new(ErrorCode::TooLarge, format!("a name: 1 to {MAX_TEXT} bytes")));
        }
        if attrs.iter().any(|(key, value)| key.is_empty() || key.len() + value.as_ref().map_or(0, String::len) > bytes) {
            return Err(Refusal::new(ErrorCode::TooLarge, format!("an attribute: {bytes} bytes at most, with a name")));
        }
        let mut next = member.attrs.clone();
        for (key, value) in attrs {
            match value {
                Some(value) => next.insert(key, value),
                None => next.remove(&key),
            };
        }
        if next.len() > most {
            return Err(Refusal::new(ErrorCode::TooMany, format!("attributes: {most} at most")));
        }
        member.attrs = next;
        if let Some(name) = name {
            member.name = name;
        }
        self.tell_updated(id);
        Ok(())
    }

    fn admin(&mut self, id: MemberId, op: AdminOp, target: MemberId) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.access.grants.admin {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token does not grant roomAdmin"));
        }
        let room_id = member.room.clone();
        let Some(room) = self.rooms.get(&room_id) else { return Ok(()) };
        if !room.members.contains(&target) {
            let elsewhere = self.admin_elsewhere(&room_id, id, op, target);
            return elsewhere.unwrap_or_else(|| Err(Refusal::new(ErrorCode::NotFound, "that member is not in the room")));
        }
        self.administer(&room_id, id, op, target);
        Ok(())
    }

    /// Does what an admin, here or elsewhere, wants with a member here.
    pub(super) fn administer(&mut self, room_id: &RoomId, by: MemberId, op: AdminOp, target: MemberId) {
        let Some(room) = self.rooms.get(room_id) else { return };
        match op {
            AdminOp::Mute => {
                let loud = room
                    .tracks
                    .iter()
                    .filter(|track| track.owner == target && track.info.kind == Kind::Audio && !track.info.muted);
                let loud: Vec<TrackId> = loud.map(|track| track.info.id).collect();
                for track in loud {
                    self.set_muted(room_id, track, true);
                    if let Some(target) = self.members.get_mut(&target) {
                        target.tell(ServerMessage::MuteRequest { track, by }, &mut self.out);
                    }
                }
            }
            AdminOp::Remove => {
                let text = "removed by an admin of the room".into();
                self.end(target, Farewell::told(LeaveReason::Removed, LeaveAction::Stop, text));
            }
            AdminOp::LowerHand => {
                if let Some(member) = self.members.get_mut(&target)
                    && std::mem::take(&mut member.hand)
                {
                    self.tell_updated(target);
                }
            }
        }
    }

    /// A member that is about to change what others see of it, if it may.
    fn updating(&mut self, id: MemberId) -> Result<&mut super::Member, Refusal> {
        let now = self.now;
        let member = self.members.get_mut(&id).ok_or_else(|| Refusal::new(ErrorCode::Internal, "no such member"))?;
        if member.hidden() {
            return Err(Refusal::new(ErrorCode::Forbidden, "a hidden member shows nothing of itself"));
        }
        if !member.rates.updates.take(now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many changes; wait a second"));
        }
        Ok(member)
    }

    /// Tells everybody how a member is now, itself too.
    fn tell_updated(&mut self, id: MemberId) {
        if let Some(member) = self.members.get(&id) {
            let (room, body) = (member.room.clone(), member.updated());
            self.tell_room(&room, None, body);
            self.mark(&room, id);
        }
    }
}

/// A text without what could disturb a screen or a log: control characters, and marks that turn the direction of writing.
/// `lines` keeps line breaks.
fn clean(text: &str, lines: bool) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|&c| (lines && c == '\n') || !(c.is_control() || turns(c))).collect()
}

/// [`clean`] for what is shown on one line.
pub(super) fn one_line(text: &str) -> String {
    clean(text, false).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_what_disturbs_and_nothing_else() {
        assert_eq!(clean("a\0b\u{1b}[31m\r\nc\u{202e}d\u{7f}", true), "ab[31m\ncd");
        assert_eq!(one_line("  Zoë\n 👩‍🚀\t"), "Zoë 👩‍🚀");
    }
}
