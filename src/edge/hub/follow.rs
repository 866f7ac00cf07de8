//! What the slots of a viewer carry who can ask for nothing after its offer: one member's picture and voice, or those of whoever
//! speaks. The first slot of each kind is for the one who is followed, further ones are for others. Pure; `edge::hub` deals the slots.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::Hub;
use super::farewell::Farewell;
use super::member::Member;
use super::room::{Room, RoomTrack};
use super::slots::{Change, Wanted};
use super::timers::Wake;
use crate::edge::media::{Command, ViewItem};
use crate::edge::message::LeaveReason;
use crate::id::{Identity, MemberId, RoomId, ShardId, TrackId};
use crate::rtp::{Kind, Source};
use crate::units::PixelHeight;

/// How long one who is watched may be away, as for a reload, before a session that is for it alone ends.
const AWAY: Duration = Duration::from_secs(5);

/// Whom a member watches that has no say after its offer.
#[derive(Debug)]
pub(super) struct Viewer {
    who: Followed,
}

#[derive(Debug)]
enum Followed {
    /// Whoever has that identity, now or later.
    Member(Identity),
    /// Whoever speaks. In silence it stays with who did, and a picture stays until a speaker has one.
    Speaker { seen: Option<MemberId>, heard: Option<MemberId> },
}

/// What a viewer should receive.
#[derive(Debug, Default)]
struct Picks {
    /// On the first slots.
    lead: Vec<Wanted>,
    /// All of it, best first.
    wanted: Vec<Wanted>,
}

impl Viewer {
    /// Watches `member`, or whoever speaks.
    pub(super) fn new(member: Option<Identity>) -> Self {
        let who = match member {
            Some(identity) => Followed::Member(identity),
            None => Followed::Speaker { seen: None, heard: None },
        };
        Self { who }
    }

    /// The one member it watches.
    pub(super) const fn member(&self) -> Option<&Identity> {
        match &self.who {
            Followed::Member(identity) => Some(identity),
            Followed::Speaker { .. } => None,
        }
    }

    pub(super) fn follows_speaker(&self) -> bool {
        matches!(self.who, Followed::Speaker { .. })
    }

    /// Decides anew.
    fn pick(&mut self, room: &Room, me: MemberId, voices: &[TrackId]) -> Picks {
        let others = room.tracks.iter().filter(|track| track.owner != me);
        match &mut self.who {
            Followed::Member(identity) => {
                let Some(owner) = room.find(identity) else { return Picks::default() };
                let mut wanted: Vec<Wanted> = others.filter(|track| track.owner == owner).map(wanted).collect();
                wanted.sort_by_key(|wish| is_screen(wish.source));
                Picks { lead: first_of_each(&wanted), wanted }
            }
            Followed::Speaker { seen, heard } => {
                let dominant = room.speakers.dominant();
                let mut spoke: FxHashMap<MemberId, Instant> = FxHashMap::default();
                for (track, at) in room.tracks.iter().filter_map(|track| Some((track, room.speakers.spoke(track.info.id)?))) {
                    spoke.entry(track.owner).and_modify(|last| *last = at.max(*last)).or_insert(at);
                }
                // A camera that is off has no picture to show.
                let mut wanted: Vec<Wanted> =
                    others.filter(|track| track.info.kind == Kind::Audio || !track.info.muted).map(wanted).collect();
                wanted.sort_by_cached_key(|wish| {
                    let last = if wish.kind == Kind::Video { *seen } else { *heard };
                    let led = match dominant {
                        Some(dominant) if wish.owner == dominant => 0,
                        _ if last == Some(wish.owner) => 1,
                        _ => 2,
                    };
                    let unheard = wish.kind == Kind::Audio && !voices.contains(&wish.track);
                    (led, unheard, Reverse(spoke.get(&wish.owner).copied()), is_screen(wish.source))
                });
                *seen = wanted.iter().find(|wish| wish.kind == Kind::Video).map(|wish| wish.owner);
                // Before anybody spoke, who is seen is heard.
                if dominant.is_none()
                    && heard.is_none()
                    && let Some(seen) = *seen
                {
                    wanted.sort_by_key(|wish| wish.kind == Kind::Audio && wish.owner != seen);
                }
                *heard = wanted.iter().find(|wish| wish.kind == Kind::Audio).map(|wish| wish.owner);
                Picks { lead: first_of_each(&wanted), wanted }
            }
        }
    }
}

fn wanted(track: &RoomTrack) -> Wanted {
    Wanted { track: track.info.id, owner: track.owner, kind: track.info.kind, source: track.info.source }
}

const fn is_screen(source: Source) -> bool {
    matches!(source, Source::ScreenShare | Source::ScreenShareAudio)
}

fn first_of_each(wanted: &[Wanted]) -> Vec<Wanted> {
    let first = |kind| wanted.iter().find(|wish| wish.kind == kind).copied();
    [Kind::Audio, Kind::Video].into_iter().filter_map(first).collect()
}

impl Hub {
    /// Deals a viewer's slots out anew; `None` if the member is none.
    pub(super) fn deal_viewer(&mut self, id: MemberId) -> Option<Vec<Change>> {
        let member = self.members.get_mut(&id)?;
        let viewer = member.http.as_mut()?.viewer.as_mut()?;
        let room = self.rooms.get(&member.room)?;
        let voices = room.voices.get(&member.shard).map(Vec::as_slice).unwrap_or_default();
        let picks = viewer.pick(room, id, voices);
        member.short_of_audio = viewer.follows_speaker() && member.slots.count(Kind::Audio) > 1;
        let mut changes: Vec<Change> = picks.lead.into_iter().flat_map(|wish| member.slots.lead(wish)).collect();
        changes.extend(member.slots.deal(&picks.wanted));
        Some(changes)
    }

    /// One who followed a room's speaker is gone from a shard; if it was the last, microphones need no more listening to.
    pub(super) fn follow_no_more(&mut self, room: &RoomId, shard: ShardId) {
        let follows = |id: &MemberId| self.members.get(id).is_some_and(|other| other.shard == shard && other.follows_speaker());
        if !self.rooms.get(room).is_some_and(|room| room.members.iter().any(follows)) {
            self.command(shard, Command::Follow { room: room.clone(), on: false });
        }
    }

    /// A session that is for one member only waits for it for a while.
    pub(super) fn expect_watched(&mut self, id: MemberId) {
        if self.members.get(&id).is_some_and(|member| member.http.as_ref().is_some_and(|http| http.only_for().is_some())) {
            self.timers.set(Wake::Watched(id), self.now + AWAY);
        }
    }

    /// Somebody left: those who are here for nobody else may leave soon.
    pub(super) fn left_watchers(&mut self, room: &RoomId, gone: &Identity) {
        let Some(room) = self.rooms.get(room) else { return };
        for id in &room.members {
            let http = self.members.get(id).and_then(|member| member.http.as_ref());
            if http.is_some_and(|http| http.only_for() == Some(gone)) {
                self.timers.set(Wake::Watched(*id), self.now + AWAY);
            }
        }
    }

    /// Ends a session whose one member has not come, or not come back.
    pub(super) fn look_for_watched(&mut self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        let there = |identity| self.rooms.get(&member.room).is_some_and(|room| room.find(identity).is_some());
        if member.http.as_ref().and_then(|http| http.only_for()).is_some_and(|identity| !there(identity)) {
            self.end(id, Farewell::silent(LeaveReason::Left));
        }
    }

    /// Somebody else speaks, or a camera went on or off: those who follow look anew.
    pub(super) fn turn_viewers(&mut self, room: &RoomId) {
        let Some(room) = self.rooms.get(room) else { return };
        for member in &room.members {
            if self.members.get(member).is_some_and(Member::follows_speaker) {
                self.timers.arm(Wake::Slots(*member), self.now);
            }
        }
    }
}

impl Member {
    /// Whether it is shown whoever speaks.
    pub(super) fn follows_speaker(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.follows_speaker())
    }

    /// What a viewer has on its screen: what its slots carry, as large as there is; the first matters most.
    pub(super) fn viewed(&self) -> Option<Vec<ViewItem>> {
        self.http.as_ref()?.viewer.as_ref()?;
        let shown = self.slots.pictures().enumerate();
        let item = |(at, track)| ViewItem { track, height: PixelHeight(u32::MAX), visible: true, priority: u8::from(at == 0) };
        Some(shown.map(item).collect())
    }
}
