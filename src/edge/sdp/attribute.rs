//! The grammar of the attributes: what each `a=` line of an offer adds to its [`Section`]. A known attribute that is malformed
//! is an error which names the line; an unknown one is passed over, and so is one for a payload type that is not listed.

use super::offer::{Extmap, Format, Rid, Section, Setup, SsrcGroup};
use super::{BadOffer, Direction, bad};
use crate::edge::plan::Fingerprint;

/// The most attributes one m-line may have. Chromium's video lines have about 200.
const MAX_ATTRIBUTES: usize = 2_000;
/// The most of each repeated attribute that we keep: more is an error, not a truncation.
const MAX_REPEATED: usize = 64;
/// Identification tags and restriction identifiers travel in header extensions; longer ones can't be meant.
const MAX_MID: usize = 64;
const MAX_RID: usize = 16;

impl<'a> Section<'a> {
    /// Takes in one attribute.
    pub(super) fn attribute(&mut self, at: usize, name: &'a str, value: &'a str) -> Result<(), BadOffer> {
        self.attributes += 1;
        if self.attributes > MAX_ATTRIBUTES {
            return Err(BadOffer(format!(
                "line {at}: more than {MAX_ATTRIBUTES} attributes in one m-line: offer fewer codecs"
            )));
        }
        match name {
            "mid" => self.mid = Some(token(at, value, MAX_MID, "a=mid")?),
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => {
                self.direction = Direction::parse(name).unwrap_or(self.direction);
            }
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp-rsize" => self.rtcp_rsize = true,
            "bundle-only" => self.bundle_only = true,
            "extmap-allow-mixed" => self.allow_mixed = true,
            "ice-ufrag" => self.transport.ufrag = Some(ice_text(at, value, 4)?),
            "ice-pwd" => self.transport.pwd = Some(ice_text(at, value, 22)?),
            "fingerprint" => self.fingerprint(at, value)?,
            "setup" => self.transport.setup = Some(setup(at, value)?),
            "rtpmap" => self.rtpmap(at, value)?,
            "fmtp" => {
                if let Some((format, parameters)) = self.format(at, value)?
                    && format.fmtp.is_empty()
                {
                    format.fmtp = parameters;
                }
            }
            "rtcp-fb" => self.rtcp_fb(at, value)?,
            "extmap" => {
                let extension = extmap(at, value)?;
                bounded(at, "a=extmap", &mut self.extensions, extension)?;
            }
            "rid" => self.rid(at, value)?,
            "simulcast" => self.simulcast = simulcast(at, value)?.or(self.simulcast.take()),
            "ssrc" => {
                let id = value.split(' ').next().and_then(|id| id.parse().ok());
                let id = id.ok_or_else(|| bad(at, "expected a=ssrc:<number> …", value))?;
                if !self.ssrcs.contains(&id) {
                    bounded(at, "a=ssrc", &mut self.ssrcs, id)?;
                }
            }
            "ssrc-group" => {
                let (semantics, ids) = value.split_once(' ').unwrap_or((value, ""));
                let ids: Result<Vec<u32>, _> = ids.split_ascii_whitespace().take(MAX_REPEATED).map(str::parse).collect();
                let ssrcs = ids.map_err(|_| bad(at, "expected a=ssrc-group:<semantics> <ssrc> …", value))?;
                bounded(at, "a=ssrc-group", &mut self.groups, SsrcGroup { semantics, ssrcs })?;
            }
            "sctp-port" => {
                let port = value.parse().map_err(|_| bad(at, "expected a=sctp-port:<port>", value))?;
                self.sctp_port = Some(port);
            }
            "max-message-size" => {
                let size = value.parse().map_err(|_| bad(at, "expected a=max-message-size:<bytes>", value))?;
                self.max_message_size = Some(size);
            }
            _ => {}
        }
        Ok(())
    }

    /// Weak hashes are passed over, so that an offer which has a strong one too is fine (RFC 8122 §5).
    fn fingerprint(&mut self, at: usize, value: &str) -> Result<(), BadOffer> {
        if !self.own_fingerprints {
            self.own_fingerprints = true;
            self.transport.fingerprints.clear();
        }
        let (algorithm, hash) = value.split_once(' ').unwrap_or((value, ""));
        let algorithm = algorithm.to_ascii_lowercase();
        let length = match algorithm.as_str() {
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            _ => return Ok(()),
        };
        // `from_str_radix` would take a sign.
        let byte = |pair: &str| {
            let digits = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        };
        let hash: Option<Vec<u8>> = hash.trim().split(':').take(length + 1).map(byte).collect();
        let hash = hash.filter(|hash| hash.len() == length);
        let hash = hash.ok_or_else(|| bad(at, "not a fingerprint of that algorithm's length", value))?;
        let fingerprint = Fingerprint { algorithm, hash };
        if !self.transport.fingerprints.contains(&fingerprint) {
            bounded(at, "a=fingerprint", &mut self.transport.fingerprints, fingerprint)?;
        }
        Ok(())
    }

    fn rtpmap(&mut self, at: usize, value: &'a str) -> Result<(), BadOffer> {
        let Some((format, encoding)) = self.format(at, value)? else { return Ok(()) };
        let mut parts = encoding.trim().split('/');
        let name = parts.next().unwrap_or("");
        let clock = parts.next().and_then(|clock| clock.parse().ok());
        format.clock = clock.ok_or_else(|| bad(at, "expected a=rtpmap:<pt> <name>/<clock rate>", value))?;
        format.channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
        format.name = name;
        Ok(())
    }

    fn rtcp_fb(&mut self, at: usize, value: &'a str) -> Result<(), BadOffer> {
        if let Some(all) = value.strip_prefix("* ") {
            return bounded(at, "a=rtcp-fb", &mut self.feedback, all.trim());
        }
        let Some((format, feedback)) = self.format(at, value)? else { return Ok(()) };
        bounded(at, "a=rtcp-fb", &mut format.feedback, feedback.trim())
    }

    /// `<pt> <rest>`; `None` for a payload type that the m-line does not list.
    fn format(&mut self, at: usize, value: &'a str) -> Result<Option<(&mut Format<'a>, &'a str)>, BadOffer> {
        let (pt, rest) = value.split_once(' ').unwrap_or((value, ""));
        let pt: u8 = pt.parse().map_err(|_| bad(at, "expected a payload type", value))?;
        Ok(self.codecs.iter_mut().find(|format| format.pt == pt).map(|format| (format, rest)))
    }

    fn rid(&mut self, at: usize, value: &'a str) -> Result<(), BadOffer> {
        let mut words = value.splitn(3, ' ');
        let id = token(at, words.next().unwrap_or(""), MAX_RID, "a=rid")?;
        match words.next() {
            Some("send") => {}
            Some("recv") => return Ok(()),
            _ => return Err(bad(at, "expected a=rid:<id> send|recv", value)),
        }
        if self.rids.iter().any(|rid| rid.id == id) {
            return Err(bad(at, "each a=rid of an m-line needs its own id; taken twice", id));
        }
        bounded(at, "a=rid", &mut self.rids, Rid { id, restrictions: words.next().unwrap_or("").trim() })
    }
}

/// `a=simulcast:send 1,2;~3 recv 4` (RFC 8853 §5.1): what is sent, the first alternative of each stream.
fn simulcast(at: usize, value: &str) -> Result<Option<Vec<&str>>, BadOffer> {
    let mut words = value.split_ascii_whitespace();
    while let Some(direction) = words.next() {
        let streams = words.next().ok_or_else(|| bad(at, "expected a=simulcast:send <rid>;<rid>", value))?;
        if direction != "send" {
            continue;
        }
        let mut rids = Vec::new();
        for stream in streams.split(';') {
            let first = stream.split(',').next().unwrap_or("");
            let rid = token(at, first.strip_prefix('~').unwrap_or(first), MAX_RID, "a=simulcast")?;
            if rids.contains(&rid) {
                return Err(bad(at, "a=simulcast names one rid twice", rid));
            }
            bounded(at, "simulcast streams", &mut rids, rid)?;
        }
        return Ok(Some(rids));
    }
    Ok(None)
}

/// `<id>[/<direction>] <uri>[ <attributes>]`
fn extmap(at: usize, value: &str) -> Result<Extmap<'_>, BadOffer> {
    let parts = || {
        let (entry, rest) = value.split_once(' ')?;
        let (id, direction) = match entry.split_once('/') {
            Some((id, direction)) => (id, Some(Direction::parse(direction)?)),
            None => (entry, None),
        };
        let uri = rest.split_ascii_whitespace().next()?;
        Some(Extmap { line: at, id: id.parse().ok()?, direction, uri })
    };
    parts().ok_or_else(|| bad(at, "expected a=extmap:<id> <uri>", value))
}

fn setup(at: usize, value: &str) -> Result<Setup, BadOffer> {
    match value.trim() {
        "active" => Ok(Setup::Active),
        "passive" => Ok(Setup::Passive),
        "actpass" => Ok(Setup::ActPass),
        _ => Err(bad(at, "offer a=setup:actpass", value)),
    }
}

/// A user fragment or password. RFC 8839 §5.4 has fewer characters, but what matters is that a STUN username can carry it.
pub(super) fn ice_text(at: usize, value: &str, shortest: usize) -> Result<&str, BadOffer> {
    let value = value.trim();
    let fine = (shortest..=256).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    // The value of a password stays out of the error.
    fine.then_some(value).ok_or_else(|| BadOffer(format!("line {at}: expected {shortest}-256 ICE characters")))
}

/// A word that names an m-line or a stream.
fn token<'a>(at: usize, value: &'a str, longest: usize, what: &str) -> Result<&'a str, BadOffer> {
    let value = value.trim();
    let fine = !value.is_empty() && value.len() <= longest;
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'~' | b'='));
    (fine && plain)
        .then_some(value)
        .ok_or_else(|| bad(at, &format!("{what} needs 1-{longest} letters, digits, `-` or `_`"), value))
}

/// Keeps one more of a repeated attribute.
fn bounded<T>(at: usize, what: &str, list: &mut Vec<T>, item: T) -> Result<(), BadOffer> {
    if list.len() >= MAX_REPEATED {
        return Err(BadOffer(format!("line {at}: more than {MAX_REPEATED} {what} in one place")));
    }
    list.push(item);
    Ok(())
}
