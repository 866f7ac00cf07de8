//! What nodes' rooms say to each other, carried hop by hop along the cheapest way. Owns its limits; nothing in it is read. The order
//! between two nodes holds for as long as the way does.

use std::time::Instant;

use bytes::Bytes;

use super::{Mesh, Output};
use crate::cascade::wire::{Frame, MAX_FRAME, RoomMessage};
use crate::id::{LinkId, NodeId, RoomId};

/// Hops that a message takes at most: what goes in circles while nodes disagree ends there.
const TTL: u8 = 16;

/// Bytes of a body; what else is in the frame needs the rest.
const MAX_BODY: usize = MAX_FRAME - 2_048;

impl Mesh {
    pub(super) fn room_out(&mut self, to: NodeId, room: RoomId, body: Bytes, out: &mut Vec<Output>) {
        let from = self.nodes.me().node.id.clone();
        if to == from {
            return out.push(Output::Room { from, room, body });
        }
        if body.len() > MAX_BODY {
            self.drops.rooms += 1;
            return;
        }
        self.pass_on(None, RoomMessage { from, to, room, ttl: TTL, body }, out);
    }

    pub(super) fn room_in(&mut self, now: Instant, id: LinkId, message: RoomMessage, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return };
        let size = 64 + message.body.len();
        let me = &self.nodes.me().node.id;
        if !link.rooms.take(now, size as f64) || message.body.len() > MAX_BODY || message.from == *me {
            self.drops.rooms += 1;
            return;
        }
        if message.to == *me {
            return out.push(Output::Room { from: message.from, room: message.room, body: message.body });
        }
        self.pass_on(Some(id), message, out);
    }

    fn pass_on(&mut self, came_by: Option<LinkId>, mut message: RoomMessage, out: &mut Vec<Output>) {
        let way = self.routes.toward(&message.to).filter(|way| Some(*way) != came_by);
        let (Some(link), Some(ttl)) = (way, message.ttl.min(TTL).checked_sub(1)) else {
            self.drops.rooms += 1;
            return;
        };
        message.ttl = ttl;
        out.push(Output::Send { link, frame: Frame::Room(message) });
    }
}
