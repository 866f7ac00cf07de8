//! Which of an m-line's payload types are answered. Keeps the client's numbers and its order of preference; owns the rules of
//! each codec's `fmtp` and of `rtcp-fb`. The table of payload types is one for the whole bundle.

use std::collections::BTreeMap;

use crate::edge::plan::PayloadType;
use crate::edge::sdp::{BadOffer, Format, Section};
use crate::rtp::{Codec, Kind};

/// Feedback that we answer where it is offered. `goog-remb` only serves clients without transport-wide feedback.
const FEEDBACK: [&str; 3] = ["nack", "nack pli", "ccm fir"];
const TRANSPORT_CC: &str = "transport-cc";
const REMB: &str = "goog-remb";

/// What an Opus client may ask of a sender besides in-band FEC, which we always want (RFC 7587 §6.1).
const OPUS_PARAMETERS: [&str; 4] = ["usedtx", "maxaveragebitrate", "maxplaybackrate", "cbr"];

/// A payload type that is answered.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) plan: PayloadType,
    feedback: Vec<&'static str>,
}

impl Chosen {
    /// Whether its losses are sent again on a stream of their own.
    pub(super) const fn has_rtx(&self) -> bool {
        self.plan.rtx.is_some()
    }
}

/// Picks from an m-line. Empty when it has nothing that we carry.
pub(super) fn choose(section: &Section<'_>, kind: Kind, transport_cc: bool) -> Vec<Chosen> {
    let mut chosen: Vec<Chosen> = section
        .codecs
        .iter()
        .filter_map(|format| {
            let codec = codec_of(format, kind, section)?;
            let rtx = section.codecs.iter().find(|rtx| repairs(rtx, format.pt)).map(|rtx| rtx.pt);
            let plan = PayloadType { pt: format.pt, codec, rtx, fmtp: fmtp(codec, format) };
            Some(Chosen { plan, feedback: feedback(format, section, transport_cc) })
        })
        .collect();
    // RED is worth nothing without the codec it wraps.
    if !chosen.iter().any(|chosen| chosen.plan.codec != Codec::Red) {
        chosen.clear();
    }
    chosen
}

/// The payload types to answer an m-line with, in the client's order, retransmissions included.
pub(super) fn payload_types(section: &Section<'_>, chosen: &[Chosen]) -> Vec<u8> {
    let answered = |pt: &u8| chosen.iter().any(|chosen| chosen.plan.pt == *pt || chosen.plan.rtx == Some(*pt));
    section.codecs.iter().map(|format| format.pt).filter(answered).collect()
}

/// The attributes that describe them.
pub(super) fn attributes(chosen: &[Chosen], out: &mut Vec<String>) {
    for Chosen { plan, feedback } in chosen {
        let (pt, name, clock) = (plan.pt, plan.codec.name(), plan.codec.clock_rate());
        let channels = if plan.codec.kind() == Kind::Audio { "/2" } else { "" };
        out.push(format!("rtpmap:{pt} {name}/{clock}{channels}"));
        if !plan.fmtp.is_empty() {
            out.push(format!("fmtp:{pt} {}", plan.fmtp));
        }
        out.extend(feedback.iter().map(|feedback| format!("rtcp-fb:{pt} {feedback}")));
        if let Some(rtx) = plan.rtx {
            out.push(format!("rtpmap:{rtx} rtx/{clock}"));
            out.push(format!("fmtp:{rtx} apt={pt}"));
        }
    }
}

fn codec_of(format: &Format<'_>, kind: Kind, section: &Section<'_>) -> Option<Codec> {
    let codec = Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(format.name))?;
    if codec.kind() != kind || codec.clock_rate() != format.clock {
        return None;
    }
    let usable = match codec {
        Codec::Opus => format.channels == 2,
        // `a=fmtp:63 111/111` (RFC 2198 §5): every block must be Opus.
        Codec::Red => format.channels == 2 && wraps_opus(format, section),
        Codec::Vp8 => true,
        // Profiles 1 and 3 are other chroma samplings, which receivers rarely have.
        Codec::Vp9 => matches!(format.parameter("profile-id"), None | Some("0" | "2")),
        Codec::Av1 => matches!(format.parameter("profile"), None | Some("0")),
        // Non-interleaved is what every sender uses if it may; answering mode 0 too would make two payload types of
        // one stream that receivers can't be switched between.
        Codec::H264 => format.parameter("packetization-mode") == Some("1"),
    };
    usable.then_some(codec)
}

fn wraps_opus(format: &Format<'_>, section: &Section<'_>) -> bool {
    let is_opus = |pt: &str| {
        let named = section.codecs.iter().find(|other| Ok(other.pt) == pt.trim().parse());
        named.is_some_and(|other| other.name.eq_ignore_ascii_case(Codec::Opus.name()))
    };
    // More than a few levels of redundancy are not meant seriously, and cost time.
    !format.fmtp.is_empty() && format.fmtp.len() <= 64 && format.fmtp.split('/').all(is_opus)
}

/// Whether a format retransmits payload type `pt` (RFC 4588 §8.1).
fn repairs(format: &Format<'_>, pt: u8) -> bool {
    format.name.eq_ignore_ascii_case("rtx") && format.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(pt)
}

/// The parameters that we answer: they describe what we take, which is what the client sends.
fn fmtp(codec: Codec, format: &Format<'_>) -> String {
    match codec {
        Codec::Opus => opus(format),
        // Its only parameters limit the size of pictures, and we don't.
        Codec::Vp8 => String::new(),
        Codec::Vp9 => format.parameter("profile-id").map(|id| format!("profile-id={id}")).unwrap_or_default(),
        // Echoed: H.264's profile is symmetric, and its level too unless the offer allows more (RFC 6184 §8.2.2).
        Codec::Red | Codec::H264 | Codec::Av1 => format.fmtp.trim().to_owned(),
    }
}

fn opus(format: &Format<'_>) -> String {
    let number = |key| format.parameter(key).and_then(|value| value.parse::<u32>().ok());
    let mut text = format!("minptime={};useinbandfec=1", number("minptime").unwrap_or(10));
    // A browser sends two channels only to a side that says it likes them.
    if number("stereo") == Some(1) || number("sprop-stereo") == Some(1) {
        text.push_str(";stereo=1");
    }
    for key in OPUS_PARAMETERS {
        if let Some(value) = number(key) {
            text.push_str(&format!(";{key}={value}"));
        }
    }
    text
}

fn feedback(format: &Format<'_>, section: &Section<'_>, transport_cc: bool) -> Vec<&'static str> {
    let offered = |name: &str| format.feedback.iter().chain(&section.feedback).any(|offered| *offered == name);
    let mut out: Vec<&'static str> = Vec::new();
    if transport_cc && offered(TRANSPORT_CC) {
        out.push(TRANSPORT_CC);
    } else if offered(REMB) {
        out.push(REMB);
    }
    out.extend(FEEDBACK.into_iter().filter(|name| offered(name)));
    out
}

/// The payload types of all m-lines together: in a bundle a number means the same everywhere (RFC 8843 §9.1).
#[derive(Debug, Default)]
pub(super) struct Table {
    meanings: BTreeMap<u8, Meaning>,
    list: Vec<PayloadType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Media(Codec),
    /// Retransmissions of that payload type.
    Rtx(u8),
}

impl Table {
    /// Takes in what an m-line was answered with. `fmtp` may differ between m-lines (`stereo` on one only); the first is kept.
    pub(super) fn add(&mut self, mid: &str, chosen: &[Chosen]) -> Result<(), BadOffer> {
        for Chosen { plan, .. } in chosen {
            self.claim(mid, plan.pt, Meaning::Media(plan.codec))?;
            if let Some(rtx) = plan.rtx {
                self.claim(mid, rtx, Meaning::Rtx(plan.pt))?;
            }
            match self.list.iter_mut().find(|known| known.pt == plan.pt) {
                Some(known) if known.rtx.is_none() => known.rtx = plan.rtx,
                Some(known) if plan.rtx.is_some() && plan.rtx != known.rtx => {
                    return Err(BadOffer(format!(
                        "m-line {mid}: payload type {} has another RTX payload type than in an m-line before",
                        plan.pt
                    )));
                }
                Some(_) => {}
                None => self.list.push(plan.clone()),
            }
        }
        Ok(())
    }

    pub(super) fn into_list(self) -> Vec<PayloadType> {
        self.list
    }

    fn claim(&mut self, mid: &str, pt: u8, meaning: Meaning) -> Result<(), BadOffer> {
        let known = *self.meanings.entry(pt).or_insert(meaning);
        if known == meaning {
            return Ok(());
        }
        Err(BadOffer(format!(
            "m-line {mid}: payload type {pt} means another codec in an m-line before; give each codec its own number"
        )))
    }
}
