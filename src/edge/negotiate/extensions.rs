//! Which header extensions are answered, and under which numbers. The client's numbers are kept; in a bundle they are one
//! space (RFC 8285 §5, RFC 8843 §9.2), so m-lines that disagree can't be told apart and are refused.

use crate::edge::plan::ExtensionIds;
use crate::edge::sdp::{BadOffer, Direction, Section};

type Field = fn(&mut ExtensionIds) -> &mut Option<u8>;

const DEPENDENCY: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// What we know, by URI.
const KNOWN: [(&str, Field); 10] = [
    ("urn:ietf:params:rtp-hdrext:sdes:mid", |ids| &mut ids.mid),
    ("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", |ids| &mut ids.rid),
    ("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", |ids| &mut ids.repaired_rid),
    ("http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", |ids| &mut ids.abs_send_time),
    (TRANSPORT_CC, |ids| &mut ids.transport_cc),
    ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", |ids| &mut ids.audio_level),
    ("urn:3gpp:video-orientation", |ids| &mut ids.orientation),
    ("http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", |ids| &mut ids.playout_delay),
    (DEPENDENCY, |ids| &mut ids.dependency),
    ("http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time", |ids| &mut ids.capture_time),
];

/// Whether an m-line has transport-wide sequence numbers, without which `transport-cc` feedback means nothing.
pub(super) fn has_transport_cc(section: &Section<'_>) -> bool {
    section.extensions.iter().any(|extension| extension.uri == TRANSPORT_CC)
}

/// Takes an m-line's extensions into `ids` and writes their answer.
/// `described`: the dependency descriptor too.
pub(super) fn accept(
    ids: &mut ExtensionIds,
    mid: &str,
    section: &Section<'_>,
    described: bool,
    out: &mut Vec<String>,
) -> Result<(), BadOffer> {
    let mut answered: Vec<&str> = Vec::new();
    for extension in &section.extensions {
        let Some((uri, field)) = KNOWN.iter().find(|(uri, _)| *uri == extension.uri) else { continue };
        if *uri == DEPENDENCY && !described {
            continue;
        }
        // 15 and 0 can't be used; numbers above 255 offer a choice we don't take (RFC 8285 §5).
        let id = match u8::try_from(extension.id) {
            Ok(id) if id != 0 && id != 15 => id,
            _ => continue,
        };
        if extension.direction == Some(Direction::Inactive) || answered.contains(uri) {
            continue;
        }
        let line = extension.line;
        for (other, other_field) in &KNOWN {
            if other != uri && *other_field(ids) == Some(id) {
                return Err(BadOffer(format!(
                    "line {line} (m-line {mid}): extension id {id} already stands for {other}; use one id for one extension in the bundle"
                )));
            }
        }
        let known = field(ids);
        if known.is_some_and(|known| known != id) {
            return Err(BadOffer(format!(
                "line {line} (m-line {mid}): {uri} has another id in an m-line before; use one id in the whole bundle"
            )));
        }
        *known = Some(id);
        answered.push(uri);
        match extension.direction {
            Some(direction) => out.push(format!("extmap:{id}/{} {uri}", direction.reversed().name())),
            None => out.push(format!("extmap:{id} {uri}")),
        }
    }
    Ok(())
}
