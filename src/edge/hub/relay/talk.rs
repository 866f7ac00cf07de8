//! What members say to each other across nodes: chat in the home's order, reactions and data, and what is for one member of
//! another node. Part of `edge::hub::relay`.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;

use super::message::{Errand, Lines, Message, Passing, Up};
use super::span::{UNCONFIRMED, UNCONFIRMED_ERRANDS, UNCONFIRMED_OF_ONE, Unconfirmed, due};
use crate::edge::hub::call::Said;
use crate::edge::hub::room::Room;
use crate::edge::hub::{Hub, Refusal};
use crate::edge::message::{AdminOp, Chat, ErrorCode, ServerMessage};
use crate::id::{MemberId, NodeId, RoomId};

impl Hub {
    /// Sends a member's line to the room's home, or to the node of its addressee. It is shown when it comes back.
    pub(in crate::edge::hub) fn say_line(&mut self, id: &RoomId, line: Chat) -> Result<(), Refusal> {
        let Some(span) = self.rooms.get_mut(id).and_then(|room| room.span.as_mut()) else { return Ok(()) };
        let Some(to) = line.to else {
            if span.lines.len() >= UNCONFIRMED {
                return Err(Refusal::new(ErrorCode::TooMany, "too many chat messages wait for the room's other servers"));
            }
            let line = Arc::new(line);
            span.lines.push_back(Unconfirmed::new(Arc::clone(&line), self.now));
            self.tell_home(id, Up::Line(line));
            self.schedule(id);
            return Ok(());
        };
        match span.find(to).map(|(node, _)| node.clone()) {
            Some(node) => self.send_errand(id, &node, Errand::Whisper(line)),
            None => {
                self.show_line(id, line);
                Ok(())
            }
        }
    }

    /// An admin's act on a member of another node, if there is one.
    pub(in crate::edge::hub) fn admin_elsewhere(
        &mut self,
        id: &RoomId,
        by: MemberId,
        op: AdminOp,
        target: MemberId,
    ) -> Option<Result<(), Refusal>> {
        let span = self.rooms.get(id)?.span.as_ref()?;
        let node = span.find(target).map(|(node, _)| node.clone())?;
        Some(self.send_errand(id, &node, Errand::Admin { by, target, op }))
    }

    /// What a member says about a call to one of another node.
    pub(in crate::edge::hub) fn call_elsewhere(
        &mut self,
        id: &RoomId,
        from: MemberId,
        to: MemberId,
        said: Said,
    ) -> Result<(), Refusal> {
        let span = self.rooms.get(id).and_then(|room| room.span.as_ref());
        match span.and_then(|span| span.find(to)).filter(|(_, card)| !card.hidden).map(|(node, _)| node.clone()) {
            Some(node) => self.send_errand(id, &node, Errand::Call { from, to, said }),
            None => Err(Refusal::new(ErrorCode::NotFound, "that member is not in the room any more")),
        }
    }

    /// Tells other nodes what is only true now.
    pub(in crate::edge::hub) fn pass_reaction(&mut self, room: &RoomId, from: MemberId, emoji: &str) {
        if self.is_shared(room) {
            self.tell_home(room, Up::Passing(Passing::React { from, emoji: emoji.to_owned() }));
        }
    }

    /// As [`Hub::pass_reaction`], for a data channel message.
    pub(in crate::edge::hub) fn pass_data(
        &mut self,
        room: &RoomId,
        from: MemberId,
        label: &Arc<str>,
        binary: bool,
        payload: &Bytes,
    ) {
        if self.is_shared(room) {
            let payload = payload.clone();
            self.tell_home(room, Up::Passing(Passing::Data { from, label: label.clone(), binary, payload }));
        }
    }

    fn is_shared(&self, room: &RoomId) -> bool {
        self.rooms.get(room).and_then(|room| room.span.as_ref()).is_some_and(super::Span::is_shared)
    }

    pub(super) fn passing(&mut self, id: &RoomId, passing: Passing) {
        let span = self.rooms.get(id).and_then(|room| room.span.as_ref());
        let Some((_, card)) = span.and_then(|span| span.find(passing.from())) else { return };
        match passing {
            Passing::React { emoji, from } if !card.hidden => {
                self.tell_room(id, None, ServerMessage::React { from, emoji });
            }
            Passing::React { .. } => {}
            Passing::Data { from, label, binary, payload } => self.deliver(id, from, &label, binary, &payload),
        }
    }

    /// Lines in the home's order. One that does not follow the last is left: what lies between comes first.
    pub(super) fn lines(&mut self, id: &RoomId, lines: Lines) {
        let Some(span) = self.rooms.get_mut(id).and_then(|room| room.span.as_mut()) else { return };
        if span.epoch != Some(lines.epoch) || lines.since > span.seen {
            return span.lacks(self.now);
        }
        if lines.upto <= span.seen {
            return;
        }
        span.seen = lines.upto;
        for line in lines.lines {
            self.show_line(id, Chat::clone(&line));
        }
    }

    /// Shows a line to whom it is for, once.
    fn show_line(&mut self, id: &RoomId, line: Chat) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let Some(span) = &mut room.span else { return };
        span.lines.retain(|waiting| waiting.what.id != line.id);
        if !span.shown.insert(&line.id) {
            return room.move_line(&line.id, line.at);
        }
        room.keep_line(line.clone(), self.config.limits.chat_kept);
        self.tell_line(id, line);
    }

    /// Says again what was not confirmed.
    pub(super) fn repeat(&mut self, id: &RoomId) {
        let Some(span) = self.rooms.get_mut(id).and_then(|room| room.span.as_mut()) else { return };
        let (lines, errands) = (due(&mut span.lines, self.now), due(&mut span.errands, self.now));
        for line in lines {
            self.tell_home(id, Up::Line(line));
        }
        for (errand, node, what) in errands {
            self.send_all(&[node], id, Message::Errand { id: errand, errand: what });
        }
    }

    /// Says all lines that wait to the new home.
    pub(super) fn repeat_lines(&mut self, id: &RoomId) {
        let Some(span) = self.rooms.get(id).and_then(|room| room.span.as_ref()) else { return };
        let lines: Vec<Arc<Chat>> = span.lines.iter().map(|line| Arc::clone(&line.what)).collect();
        for line in lines {
            self.tell_home(id, Up::Line(line));
        }
    }

    fn send_errand(&mut self, id: &RoomId, node: &NodeId, errand: Errand) -> Result<(), Refusal> {
        let number = self.rng.random();
        let Some(span) = self.rooms.get_mut(id).and_then(|room| room.span.as_mut()) else { return Ok(()) };
        let own = span.errands.iter().filter(|waiting| waiting.what.2.issuer() == errand.issuer()).count();
        if own >= UNCONFIRMED_OF_ONE || span.errands.len() >= UNCONFIRMED_ERRANDS {
            return Err(Refusal::new(ErrorCode::TooMany, "too many messages wait for that member's server"));
        }
        span.errands.push_back(Unconfirmed::new((number, node.clone(), errand.clone()), self.now));
        self.send_all(std::slice::from_ref(node), id, Message::Errand { id: number, errand });
        self.schedule(id);
        Ok(())
    }

    /// Another node's member means one of ours.
    pub(super) fn run_errand(&mut self, from: &NodeId, room: &RoomId, id: u64, errand: Errand) {
        let Some(span) = self.rooms.get(room).and_then(|room| room.span.as_ref()) else {
            // Nobody is here any more.
            return self.send_all(std::slice::from_ref(from), room, Message::Done { id });
        };
        // Not heard of yet: it is repeated.
        let Some((_, card)) = span.find(errand.issuer()).filter(|(node, _)| *node == from) else { return };
        let admin = card.admin;
        match errand {
            Errand::Whisper(line) => {
                if line.to.is_some_and(|to| self.members.get(&to).is_some_and(|member| member.room == *room)) {
                    self.show_line(room, line);
                }
            }
            Errand::Admin { by, target, op } => {
                if admin && self.is_first(room, id) && self.members.get(&target).is_some_and(|member| member.room == *room) {
                    self.administer(room, by, op, target);
                }
            }
            Errand::Call { from, to, said } => {
                if self.is_first(room, id) && self.members.get(&to).is_some_and(|member| member.room == *room) {
                    self.tell_of_call(from, to, said);
                }
            }
        }
        self.send_all(std::slice::from_ref(from), room, Message::Done { id });
    }

    /// Whether an errand was not run before.
    fn is_first(&mut self, room: &RoomId, id: u64) -> bool {
        let insert = |room: &mut Room| room.span.as_mut().is_some_and(|span| span.ran.insert(&id.to_string()));
        self.rooms.get_mut(room).is_some_and(insert)
    }

    pub(super) fn errand_done(&mut self, from: &NodeId, room: &RoomId, id: u64) {
        let Some(span) = self.rooms.get_mut(room).and_then(|room| room.span.as_mut()) else { return };
        let is = |waiting: &Unconfirmed<(u64, NodeId, Errand)>| waiting.what.0 == id && waiting.what.1 == *from;
        let Some(at) = span.errands.iter().position(is) else { return };
        if let Some(Unconfirmed { what: (_, _, Errand::Whisper(line)), .. }) = span.errands.remove(at) {
            self.show_line(room, line);
        }
    }
}
