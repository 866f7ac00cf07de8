//! The typed view of an offer: its shape, and the lines that give it one. What an attribute adds is `attribute`'s. Session-level
//! values (RFC 8866 §5.13) are folded into the m-lines that lack their own.

use super::{BadOffer, Direction, bad};
use crate::edge::plan::Fingerprint;

/// The longest offer that is read.
pub const MAX_TEXT: usize = 256 * 1024;
/// The most m-lines an offer may have, stopped ones included: JSEP never removes one.
pub const MAX_MEDIA: usize = 64;

/// An offer, borrowed from its text.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// The tags of the first `a=group:BUNDLE`, if there is one.
    pub bundle: Option<Vec<&'a str>>,
    pub media: Vec<Section<'a>>,
}

/// One m-line and its attributes.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// Where the m-line stands in the text, from 1.
    pub line: usize,
    /// `audio`, `video`, `application`, or something we don't know.
    pub media: &'a str,
    /// 0 is stopped or refused, unless `bundle_only`.
    pub port: u16,
    pub protocol: &'a str,
    /// The format list as it stands.
    pub formats: &'a str,
    pub mid: Option<&'a str>,
    pub direction: Direction,
    pub transport: Transport<'a>,
    pub bundle_only: bool,
    pub rtcp_mux: bool,
    pub rtcp_rsize: bool,
    pub allow_mixed: bool,
    /// The payload types, in the order of the m-line.
    pub codecs: Vec<Format<'a>>,
    /// `a=rtcp-fb:*`.
    pub feedback: Vec<&'a str>,
    pub extensions: Vec<Extmap<'a>>,
    /// `a=rid:… send`, in order.
    pub rids: Vec<Rid<'a>>,
    /// What `a=simulcast` sends: the first alternative of each stream, in order.
    pub simulcast: Option<Vec<&'a str>>,
    /// The distinct `a=ssrc`, in order.
    pub ssrcs: Vec<u32>,
    pub groups: Vec<SsrcGroup<'a>>,
    pub sctp_port: Option<u16>,
    pub max_message_size: Option<u64>,
    pub(super) attributes: usize,
    /// The m-line has fingerprints itself, which replace the session's.
    pub(super) own_fingerprints: bool,
}

/// ICE and DTLS parameters.
#[derive(Debug, Clone, Default)]
pub struct Transport<'a> {
    pub ufrag: Option<&'a str>,
    pub pwd: Option<&'a str>,
    /// Those of an algorithm that is strong enough.
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
}

/// `a=setup` (RFC 8842 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Active,
    Passive,
    ActPass,
}

/// One payload type. `name` is empty while no `a=rtpmap` named it.
#[derive(Debug, Clone, Default)]
pub struct Format<'a> {
    pub pt: u8,
    pub name: &'a str,
    pub clock: u32,
    pub channels: u8,
    pub fmtp: &'a str,
    pub feedback: Vec<&'a str>,
}

impl<'a> Format<'a> {
    /// The value of one `fmtp` parameter.
    pub fn parameter(&self, key: &str) -> Option<&'a str> {
        self.fmtp.split(';').find_map(|item| {
            let (name, value) = item.split_once('=')?;
            name.trim().eq_ignore_ascii_case(key).then_some(value.trim())
        })
    }
}

/// `a=extmap` (RFC 8285 §5).
#[derive(Debug, Clone, Copy)]
pub struct Extmap<'a> {
    pub line: usize,
    pub id: u16,
    pub direction: Option<Direction>,
    pub uri: &'a str,
}

/// `a=rid` in the sending direction (RFC 8851).
#[derive(Debug, Clone, Copy)]
pub struct Rid<'a> {
    pub id: &'a str,
    /// What stands behind `send`.
    pub restrictions: &'a str,
}

/// `a=ssrc-group` (RFC 5576 §4.2).
#[derive(Debug, Clone)]
pub struct SsrcGroup<'a> {
    pub semantics: &'a str,
    pub ssrcs: Vec<u32>,
}

impl<'a> Offer<'a> {
    /// Reads an offer. Work and memory are bounded by [`MAX_TEXT`].
    pub fn parse(text: &'a str) -> Result<Self, BadOffer> {
        if text.len() > MAX_TEXT {
            return Err(BadOffer(format!("the SDP is longer than {MAX_TEXT} bytes: offer fewer m-lines or codecs")));
        }
        let mut offer = Self { bundle: None, media: Vec::new() };
        let mut session = Section::new(0);
        for (index, raw) in text.split('\n').enumerate() {
            let at = index + 1;
            let line = raw.strip_suffix('\r').unwrap_or(raw);
            if at == 1 && line != "v=0" {
                return Err(bad(at, "an SDP begins with v=0", line));
            }
            match line.split_once('=') {
                Some(("m", value)) => {
                    if offer.media.len() == MAX_MEDIA {
                        return Err(BadOffer(format!(
                            "line {at}: more than {MAX_MEDIA} m-lines: reuse stopped transceivers or join anew"
                        )));
                    }
                    offer.media.push(Section::media_line(at, value, &session)?);
                }
                Some(("a", value)) => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    match offer.media.last_mut() {
                        Some(section) => section.attribute(at, name, value)?,
                        None if name == "group" => offer.group(value),
                        None => session.attribute(at, name, value)?,
                    }
                }
                Some(_) => {}
                None if line.trim().is_empty() => {}
                None => return Err(bad(at, "expected `letter=value`", line)),
            }
        }
        offer.check_mids()?;
        Ok(offer)
    }

    /// The first BUNDLE group counts: a second one would be a second transport, which we don't have.
    fn group(&mut self, value: &'a str) {
        let mut words = value.split_ascii_whitespace();
        if words.next() == Some("BUNDLE") && self.bundle.is_none() {
            // One more than there may be m-lines is enough to find out that it names too many.
            self.bundle = Some(words.take(MAX_MEDIA + 1).collect());
        }
    }

    fn check_mids(&self) -> Result<(), BadOffer> {
        for (index, section) in self.media.iter().enumerate() {
            let Some(mid) = section.mid else { continue };
            if self.media.iter().take(index).any(|other| other.mid == Some(mid)) {
                return Err(bad(section.line, "each m-line needs its own a=mid; taken twice", mid));
            }
        }
        Ok(())
    }
}

impl<'a> Section<'a> {
    /// What is not stopped or refused.
    pub fn is_live(&self) -> bool {
        self.port != 0 || self.bundle_only
    }

    fn new(line: usize) -> Self {
        Self {
            line,
            media: "",
            port: 0,
            protocol: "",
            formats: "",
            mid: None,
            direction: Direction::SendRecv,
            transport: Transport::default(),
            bundle_only: false,
            rtcp_mux: false,
            rtcp_rsize: false,
            allow_mixed: false,
            codecs: Vec::new(),
            feedback: Vec::new(),
            extensions: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
            ssrcs: Vec::new(),
            groups: Vec::new(),
            sctp_port: None,
            max_message_size: None,
            attributes: 0,
            own_fingerprints: false,
        }
    }

    /// `m=<media> <port>[/<n>] <protocol> <format> …`
    fn media_line(at: usize, value: &'a str, session: &Self) -> Result<Self, BadOffer> {
        let parts = || {
            let mut words = value.splitn(4, ' ');
            let (media, port, protocol) = (words.next()?, words.next()?, words.next()?);
            let port = port.split_once('/').map_or(port, |(first, _)| first).parse().ok()?;
            Some((media, port, protocol, words.next().unwrap_or("")))
        };
        let (media, port, protocol, formats) =
            parts().ok_or_else(|| bad(at, "expected m=<media> <port> <protocol> <formats>", value))?;
        let mut section = Self::new(at);
        (section.media, section.port, section.protocol, section.formats) = (media, port, protocol, formats);
        section.direction = session.direction;
        section.transport = session.transport.clone();
        section.allow_mixed = session.allow_mixed;
        section.extensions.clone_from(&session.extensions);
        if matches!(media, "audio" | "video") {
            for pt in formats.split_ascii_whitespace() {
                let pt = pt.parse().ok().filter(|pt| *pt < 128);
                let pt: u8 = pt.ok_or_else(|| bad(at, "payload types are numbers below 128", formats))?;
                if section.codecs.iter().all(|known| known.pt != pt) {
                    section.codecs.push(Format { pt, ..Format::default() });
                }
            }
        }
        Ok(section)
    }
}
