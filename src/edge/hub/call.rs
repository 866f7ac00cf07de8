//! Calls from browser to browser: what one member says about a call to another, who may be at another node. The hub passes it
//! on within its bounds and keeps nothing of it: the clients know which call they are in, and a member that leaves ends its
//! calls by that. Part of `edge::hub`.

use serde::{Deserialize, Serialize};

use super::member::Link;
use super::{Hub, Limits, Refusal};
use crate::edge::message::{
    CallEnd, CallEndFrom, CallEndTo, CallFrom, CallMedia, CallReplyFrom, CallReplyTo, CallTo, Candidate, Description,
    ErrorCode, PeerSignalFrom, PeerSignalTo, ServerMessage,
};
use crate::id::MemberId;

/// A description in messages of its sender's allowance: it may be sixty times as long as a candidate.
const DESCRIPTION_COST: f64 = 5.0;

/// Something about the call of that name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    call: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum What {
    Ring { media: CallMedia, room: bool },
    Reply { ok: bool, why: Option<CallEnd> },
    End(CallEnd),
    Description(Description),
    Candidate(Candidate),
}

impl Said {
    /// A description of that many bytes.
    #[cfg(test)]
    pub(super) fn describing(bytes: usize) -> Self {
        let desc = Description { kind: crate::edge::message::DescriptionKind::Offer, sdp: "x".repeat(bytes) };
        Self { call: "call".into(), what: What::Description(desc) }
    }

    /// Whether its parts are as long as they may be.
    pub(super) fn fits(&self, limits: &Limits) -> Result<(), Refusal> {
        let at_most = |what: &str, most: usize, text: &str| match text.len() <= most {
            true => Ok(()),
            false => Err(Refusal::new(ErrorCode::TooLarge, format!("{what}: {most} bytes at most"))),
        };
        if self.call.is_empty() {
            return Err(Refusal::new(ErrorCode::BadMessage, "a call needs a name: `call` is empty"));
        }
        at_most("the name of a call", limits.name_bytes, &self.call)?;
        match &self.what {
            What::Description(desc) => at_most("a description", limits.peer_sdp_bytes, &desc.sdp),
            What::Candidate(cand) => {
                at_most("a candidate", limits.peer_candidate_bytes, &cand.candidate)?;
                let names = [&cand.sdp_mid, &cand.username_fragment];
                names
                    .into_iter()
                    .flatten()
                    .try_for_each(|name| at_most("a name in a candidate", limits.peer_candidate_bytes, name))
            }
            What::Ring { .. } | What::Reply { .. } | What::End(_) => Ok(()),
        }
    }

    fn cost(&self) -> f64 {
        if matches!(self.what, What::Description(_)) { DESCRIPTION_COST } else { 1.0 }
    }

    /// Whether it brings media of its sender's, so that the token must grant them.
    fn publishes(&self) -> bool {
        match self.what {
            What::Ring { .. } | What::Description(_) | What::Candidate(_) => true,
            What::Reply { ok, .. } => ok,
            What::End(_) => false,
        }
    }

    fn heard(self, from: MemberId) -> ServerMessage {
        let call = self.call;
        match self.what {
            What::Ring { media, room } => ServerMessage::Call(CallFrom { from, call, media, room }),
            What::Reply { ok, why } => ServerMessage::CallReply(CallReplyFrom { from, call, ok, why }),
            What::End(why) => ServerMessage::CallEnd(CallEndFrom { from, call, why }),
            What::Description(desc) => ServerMessage::P2p(PeerSignalFrom { from, call, desc: Some(desc), cand: None }),
            What::Candidate(cand) => ServerMessage::P2p(PeerSignalFrom { from, call, desc: None, cand: Some(cand) }),
        }
    }
}

impl Hub {
    pub(super) fn ring(&mut self, id: MemberId, CallTo { to, call, media, room }: CallTo) -> Result<(), Refusal> {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.rates.rings.take(now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many calls; wait a few seconds"));
        }
        self.say_to(id, to, Said { call, what: What::Ring { media, room } })
    }

    pub(super) fn reply_call(&mut self, id: MemberId, reply: CallReplyTo) -> Result<(), Refusal> {
        let CallReplyTo { to, call, ok, why } = reply;
        self.say_to(id, to, Said { call, what: What::Reply { ok, why } })
    }

    pub(super) fn end_call(&mut self, id: MemberId, CallEndTo { to, call, why }: CallEndTo) -> Result<(), Refusal> {
        self.say_to(id, to, Said { call, what: What::End(why) })
    }

    pub(super) fn signal_peer(&mut self, id: MemberId, signal: PeerSignalTo) -> Result<(), Refusal> {
        let PeerSignalTo { to, call, desc, cand } = signal;
        let what = match (desc, cand) {
            (Some(desc), None) => What::Description(desc),
            (None, Some(cand)) => What::Candidate(cand),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Refusal::new(ErrorCode::BadMessage, "p2p carries one of `desc` and `cand`"));
            }
        };
        self.say_to(id, to, Said { call, what })
    }

    /// Passes it on to its addressee, here or at another node.
    fn say_to(&mut self, id: MemberId, to: MemberId, said: Said) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let grants = &member.access.grants;
        if !grants.data || member.access.grants.hidden || (said.publishes() && !grants.publish) {
            let text = "calls need canPublish and canPublishData in the token, and a member that is not hidden";
            return Err(Refusal::new(ErrorCode::Forbidden, text));
        }
        said.fits(&self.config.limits)?;
        if !member.rates.calls.take(self.now, said.cost()) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many messages about calls; wait a second"));
        }
        if to == id {
            return Err(Refusal::new(ErrorCode::BadMessage, "nobody can call themselves"));
        }
        let room = member.room.clone();
        match self.members.get(&to).filter(|other| other.room == room) {
            Some(other) if other.hidden() || other.link == Link::Http => {
                Err(Refusal::new(ErrorCode::NotFound, "that member can't be called"))
            }
            Some(_) => {
                self.tell_of_call(id, to, said);
                Ok(())
            }
            None => self.call_elsewhere(&room, id, to, said),
        }
    }

    /// Tells a member here what another says about a call.
    pub(super) fn tell_of_call(&mut self, from: MemberId, to: MemberId, said: Said) {
        if let Some(member) = self.members.get_mut(&to) {
            member.tell(said.heard(from), &mut self.out);
        }
    }
}
