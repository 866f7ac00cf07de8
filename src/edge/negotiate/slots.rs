//! The receive slots of a member: which number, stream id and SSRCs each receiving m-line has, for as long as it receives.
//!
//! A slot that ends gives its numbers back but never its SSRCs: a stream that came back under its old SSRC with the same
//! SRTP key would have to remember its packet index for ever, lest it encrypts two packets alike (RFC 3711 §9.1).

use rand::RngExt;

use crate::edge::plan::Slot;
use crate::rtp::Kind;

/// One receiving m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) slot: Slot,
    pub(super) mid: String,
    pub(super) kind: Kind,
    /// The index among the slots of its kind. Audio and video of one index share a media stream id, which is what
    /// browsers synchronise by.
    pub(super) index: u16,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
}

/// Every slot of a member.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    held: Vec<Held>,
}

impl Table {
    /// The slots for the m-lines that receive now, in their order. Those that did before keep everything.
    pub(super) fn renewed(&self, receiving: &[(&str, Kind)], foreign: &[u32], rng: &mut impl rand::Rng) -> Self {
        let known = |mid: &str, kind| self.held.iter().find(|held| held.mid == mid && held.kind == kind);
        let mut kept: Vec<Held> = receiving.iter().filter_map(|(mid, kind)| known(mid, *kind).cloned()).collect();
        let mut held = Vec::with_capacity(receiving.len());
        for (mid, kind) in receiving {
            if let Some(old) = known(mid, *kind) {
                held.push(old.clone());
                continue;
            }
            let slot = free(kept.iter().map(|held| held.slot.0));
            let index = free(kept.iter().filter(|held| held.kind == *kind).map(|held| held.index));
            let mut used: Vec<u32> = foreign.to_vec();
            used.extend(self.held.iter().chain(&kept).flat_map(|held| [held.ssrc, held.rtx_ssrc]));
            let ssrc = draw(&used, rng);
            used.push(ssrc);
            let rtx_ssrc = draw(&used, rng);
            let new = Held { slot: Slot(slot), mid: (*mid).to_owned(), kind: *kind, index, ssrc, rtx_ssrc };
            kept.push(new.clone());
            held.push(new);
        }
        Self { held }
    }

    pub(super) fn get(&self, mid: &str) -> Option<&Held> {
        self.held.iter().find(|held| held.mid == mid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }
}

impl Held {
    /// `a=msid`, `a=ssrc-group` and `a=ssrc` of the answer.
    pub(super) fn attributes(&self, rtx: bool, cname: &str, out: &mut Vec<String>) {
        let kind = match self.kind {
            Kind::Audio => "audio",
            Kind::Video => "video",
        };
        let msid = format!("msid:slot-{index} {kind}-{index}", index = self.index);
        out.push(msid.clone());
        if rtx {
            out.push(format!("ssrc-group:FID {} {}", self.ssrc, self.rtx_ssrc));
        }
        for ssrc in [Some(self.ssrc), rtx.then_some(self.rtx_ssrc)].into_iter().flatten() {
            out.push(format!("ssrc:{ssrc} cname:{cname}"));
            out.push(format!("ssrc:{ssrc} {msid}"));
        }
    }
}

/// The smallest number not taken.
fn free(taken: impl Iterator<Item = u16>) -> u16 {
    let mut taken: Vec<u16> = taken.collect();
    taken.sort_unstable();
    taken.into_iter().fold(0, |free, taken| if taken == free { free + 1 } else { free })
}

/// A random SSRC that nobody in the session uses. Counts up from a clash, so that no generator can make it endless.
fn draw(used: &[u32], rng: &mut impl rand::Rng) -> u32 {
    let mut ssrc: u32 = rng.random();
    while ssrc == 0 || used.contains(&ssrc) {
        ssrc = ssrc.wrapping_add(1);
    }
    ssrc
}
