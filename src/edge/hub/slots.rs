//! Which of a member's receive slots carries which track. Slots are dealt out so that what is bound stays where it is, and a
//! member's voice and face come on slots of the same index: those share a media stream, so a browser keeps them in sync.
//! Pure; `edge::hub` says which tracks are wanted, best first, and passes on what changed.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::edge::negotiate::ReceiveSlot;
use crate::edge::plan::Slot;
use crate::id::{MemberId, TrackId};
use crate::rtp::{Kind, Source};

/// A member's receive slots.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    slots: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    slot: Slot,
    mid: String,
    kind: Kind,
    /// Among the slots of its kind.
    index: usize,
    bound: Option<TrackId>,
}

/// A track that a member should receive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) track: TrackId,
    pub(super) owner: MemberId,
    pub(super) kind: Kind,
    pub(super) source: Source,
}

/// A slot carries something else now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) slot: Slot,
    pub(super) mid: String,
    pub(super) track: Option<TrackId>,
}

impl SlotTable {
    /// Takes over what an answer settled. A slot that goes on keeps what it carries; those that carried something and end are
    /// given back, for their numbers may come again.
    pub(super) fn replace(&mut self, slots: &[ReceiveSlot]) -> Vec<Slot> {
        let (mut audio, mut video) = (0, 0);
        let mut next: Vec<Entry> = Vec::with_capacity(slots.len());
        for slot in slots {
            let count = if slot.kind == Kind::Audio { &mut audio } else { &mut video };
            let old = self.slots.iter().find(|old| old.slot == slot.slot && old.kind == slot.kind);
            next.push(Entry {
                slot: slot.slot,
                mid: slot.mid.clone(),
                kind: slot.kind,
                index: *count,
                bound: old.and_then(|old| old.bound),
            });
            *count += 1;
        }
        let goes_on = |old: &Entry| next.iter().any(|entry| entry.slot == old.slot && entry.bound == old.bound);
        let ended = self.slots.iter().filter(|old| old.bound.is_some() && !goes_on(old)).map(|old| old.slot).collect();
        self.slots = next;
        ended
    }

    /// How many slots of a kind there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.slots.iter().filter(|entry| entry.kind == kind).count()
    }

    /// Each m-line and what it carries.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (Slot, &str, Option<TrackId>)> {
        self.slots.iter().map(|entry| (entry.slot, entry.mid.as_str(), entry.bound))
    }

    /// The pictures that are carried, in order of their slots.
    pub(super) fn pictures(&self) -> impl Iterator<Item = TrackId> {
        self.slots.iter().filter(|entry| entry.kind == Kind::Video).filter_map(|entry| entry.bound)
    }

    pub(super) fn carries(&self, track: TrackId) -> bool {
        self.slots.iter().any(|entry| entry.bound == Some(track))
    }

    /// The track is gone.
    pub(super) fn unbind(&mut self, track: TrackId) -> Option<Change> {
        let entry = self.slots.iter_mut().find(|entry| entry.bound == Some(track))?;
        entry.bound = None;
        Some(Change { slot: entry.slot, mid: entry.mid.clone(), track: None })
    }

    /// Puts a track on the first slot of its kind, off the one where it was.
    pub(super) fn lead(&mut self, wish: Wanted) -> Vec<Change> {
        let at = self.slots.iter().position(|entry| entry.kind == wish.kind && entry.index == 0);
        let leads = at.and_then(|at| self.slots.get(at)).is_some_and(|entry| entry.bound == Some(wish.track));
        let mut changes = if leads { Vec::new() } else { self.unbind(wish.track).into_iter().collect::<Vec<_>>() };
        if let Some(entry) = at.filter(|_| !leads).and_then(|at| self.slots.get_mut(at)) {
            entry.bound = Some(wish.track);
            changes.push(Change { slot: entry.slot, mid: entry.mid.clone(), track: entry.bound });
        }
        changes
    }

    /// Deals the slots out among the wanted tracks, best first. What is not wanted, or is wanted less than there are slots,
    /// is unbound.
    pub(super) fn deal(&mut self, wanted: &[Wanted]) -> Vec<Change> {
        let before: Vec<Option<TrackId>> = self.slots.iter().map(|entry| entry.bound).collect();
        let mut left = (self.count(Kind::Audio), self.count(Kind::Video));
        let mut chosen: FxHashMap<TrackId, Wanted> = FxHashMap::default();
        let mut order = Vec::new();
        for wish in wanted {
            let left = if wish.kind == Kind::Audio { &mut left.0 } else { &mut left.1 };
            if *left > 0 && chosen.insert(wish.track, *wish).is_none() {
                *left -= 1;
                order.push(*wish);
            }
        }
        for entry in &mut self.slots {
            if let Some(track) = entry.bound {
                match chosen.get(&track) {
                    Some(wish) if wish.kind == entry.kind => {}
                    _ => entry.bound = None,
                }
            }
        }
        for wish in order {
            if !self.carries(wish.track) {
                self.place(wish, &chosen);
            }
        }
        let changed = self.slots.iter().zip(before).filter(|(entry, before)| entry.bound != *before);
        let mut changes: Vec<Change> =
            changed.map(|(entry, _)| Change { slot: entry.slot, mid: entry.mid.clone(), track: entry.bound }).collect();
        // A track that moves leaves its old slot first.
        changes.sort_by_key(|change| change.track.is_some());
        changes
    }

    /// Finds the best free slot for a track.
    fn place(&mut self, wish: Wanted, chosen: &FxHashMap<TrackId, Wanted>) {
        let group = |source: Source| matches!(source, Source::ScreenShare | Source::ScreenShareAudio);
        let across = |index: usize| self.slots.iter().find(|entry| entry.kind != wish.kind && entry.index == index);
        let score = |entry: &Entry| {
            let fit = match across(entry.index).map(|other| other.bound.and_then(|track| chosen.get(&track))) {
                // Its own other half.
                Some(Some(other)) if other.owner == wish.owner && group(other.source) == group(wish.source) => 0,
                // Room for the other half, or there can be none.
                Some(None) | None => 1,
                // Somebody else's other half.
                Some(Some(_)) => 2,
            };
            // Faces and voices fill from the front, screens from the back.
            let index = if group(wish.source) { Err(Reverse(entry.index)) } else { Ok(entry.index) };
            (fit, index)
        };
        let free = self.slots.iter().enumerate().filter(|(_, entry)| entry.kind == wish.kind && entry.bound.is_none());
        let best = free.min_by_key(|(_, entry)| score(entry)).map(|(at, _)| at);
        if let Some(entry) = best.and_then(|at| self.slots.get_mut(at)) {
            entry.bound = Some(wish.track);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kinds: &str) -> SlotTable {
        let mut table = SlotTable::default();
        table.replace(&slots(kinds));
        table
    }

    fn slots(kinds: &str) -> Vec<ReceiveSlot> {
        let kind = |letter| if letter == 'a' { Kind::Audio } else { Kind::Video };
        let slot = |(at, letter): (usize, char)| ReceiveSlot { slot: Slot(at as u16), mid: at.to_string(), kind: kind(letter) };
        kinds.chars().enumerate().map(slot).collect()
    }

    /// Track ids say what they are: 11 is the microphone of 1, 12 its camera, 13 its screen, 14 its screen's sound.
    fn want(ids: &[u64]) -> Vec<Wanted> {
        ids.iter()
            .map(|&id| {
                let (kind, source) = match id % 10 {
                    1 => (Kind::Audio, Source::Microphone),
                    2 => (Kind::Video, Source::Camera),
                    3 => (Kind::Video, Source::ScreenShare),
                    _ => (Kind::Audio, Source::ScreenShareAudio),
                };
                Wanted { track: TrackId(id), owner: MemberId(id / 10), kind, source }
            })
            .collect()
    }

    fn bound(table: &SlotTable) -> Vec<u64> {
        table.bindings().map(|(_, _, track)| track.map_or(0, |track| track.0)).collect()
    }

    #[test]
    fn a_voice_and_its_face_share_an_index_whatever_came_first() {
        let mut table = table("aaavvv");
        table.deal(&want(&[22, 11]));
        table.deal(&want(&[22, 11, 21, 12]));
        let found = bound(&table);
        let index = |id| found.iter().position(|&at| at == id).expect("bound") % 3;
        assert_eq!((index(11), index(21)), (index(12), index(22)));
    }

    #[test]
    fn a_screen_takes_the_furthest_slot_and_its_sound_goes_along() {
        let mut table = table("aaavvv");
        table.deal(&want(&[11, 12, 13, 14]));
        assert_eq!(bound(&table), [11, 0, 14, 12, 0, 13]);
    }

    #[test]
    fn what_is_bound_stays_and_what_lacks_a_slot_waits_its_turn() {
        let mut table = table("av");
        assert_eq!(table.deal(&want(&[11, 12])).len(), 2);
        assert_eq!(table.deal(&want(&[11, 12, 21, 22])), [], "no slot is free");
        let changes = table.deal(&want(&[21, 11, 12, 22]));
        assert_eq!(changes, [Change { slot: Slot(0), mid: "0".into(), track: Some(TrackId(21)) }], "the better one wins");
        assert_eq!(table.unbind(TrackId(12)).map(|change| change.slot), Some(Slot(1)));
        assert_eq!(table.unbind(TrackId(12)), None);
        table.deal(&want(&[]));
        assert_eq!(bound(&table), [0, 0]);
    }

    #[test]
    fn the_first_slot_is_its_leaders_and_the_others_make_room() {
        let mut table = table("avav");
        table.deal(&want(&[11, 12, 21, 22]));
        let change = |slot: u16, track: u64| Change {
            slot: Slot(slot),
            mid: slot.to_string(),
            track: (track != 0).then_some(TrackId(track)),
        };
        let leader = want(&[22])[0];
        assert_eq!(table.lead(leader), [change(3, 0), change(1, 22)], "it is never on two slots at once");
        assert_eq!(table.deal(&want(&[22, 12, 21, 11])), [change(3, 12)]);
        assert_eq!(table.lead(leader), []);
        assert_eq!(bound(&table), [11, 22, 21, 12]);
    }

    #[test]
    fn new_slots_join_and_old_ones_keep_their_track() {
        let mut table = table("av");
        table.deal(&want(&[11, 12, 21, 22]));
        table.replace(&slots("avav"));
        assert_eq!(bound(&table), [11, 12, 0, 0]);
        table.deal(&want(&[11, 12, 21, 22]));
        assert_eq!(bound(&table), [11, 12, 21, 22]);
        table.replace(&slots("aaav"));
        assert_eq!(bound(&table), [11, 0, 21, 22], "a slot of another kind is another slot");
    }

    proptest::proptest! {
        #[test]
        fn however_wishes_change_a_track_has_one_slot_of_its_kind_and_none_is_wasted(
            steps in proptest::collection::vec((proptest::collection::vec(0usize..40, 0..40), 0usize..7, 0usize..7), 1..20)
        ) {
            let all: Vec<u64> = (1..=10).flat_map(|owner| (1..=4).map(move |which| owner * 10 + which)).collect();
            let mut table = SlotTable::default();
            for (wishes, audio, video) in steps {
                table.replace(&slots(&("a".repeat(audio) + &"v".repeat(video))));
                let wanted = want(&wishes.iter().map(|&at| all[at]).collect::<Vec<_>>());
                let before = bound(&table);
                let changes = table.deal(&wanted);
                let found = bound(&table);
                let changed = found.iter().zip(&before).filter(|(a, b)| a != b).count();
                proptest::prop_assert_eq!(changes.len(), changed);
                for kind in [Kind::Audio, Kind::Video] {
                    let mut ids: Vec<u64> = wanted.iter().filter(|wish| wish.kind == kind).map(|wish| wish.track.0).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    let held: Vec<u64> = table.slots.iter().filter(|e| e.kind == kind).filter_map(|e| e.bound).map(|t| t.0).collect();
                    let mut unique = held.clone();
                    unique.sort_unstable();
                    unique.dedup();
                    proptest::prop_assert_eq!(unique.len(), held.len());
                    proptest::prop_assert_eq!(held.len(), ids.len().min(table.count(kind)));
                    proptest::prop_assert!(held.iter().all(|id| ids.contains(id)));
                }
            }
        }
    }
}
