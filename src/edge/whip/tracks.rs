//! What a WHIP client publishes, told from its offer alone: which m-line is a camera, which a microphone, and which of several
//! streams is the smallest. Part of `edge::whip`.

use axum::http::StatusCode;

use super::Refused;
use crate::edge::message::{Grants, PublishedLayer, PublishedTrack};
use crate::edge::sdp::{Offer, Section};
use crate::rtp::{Kind, Layer, Source};

/// The smallest layer's height where nobody tells any; each further one doubles it.
const SMALLEST: u32 = 180;

/// Names the tracks of an offer's sending m-lines: the first of a kind is the camera or the microphone, the second a shared screen
/// or its sound. A token that grants some sources only gives their names instead. Further m-lines carry nothing.
pub fn tracks(offer: &Offer<'_>, grants: &Grants, client: &str) -> Result<Vec<PublishedTrack>, Refused> {
    let granted = |source: &Source| grants.sources.as_ref().is_none_or(|sources| sources.contains(source));
    let mut video = [Source::Camera, Source::ScreenShare].into_iter().filter(granted);
    let mut audio = [Source::Microphone, Source::ScreenShareAudio].into_iter().filter(granted);
    let mut tracks = Vec::new();
    for (index, section) in offer.media.iter().enumerate() {
        let (kind, sources): (_, &mut dyn Iterator<Item = Source>) = match section.media {
            "audio" => (Kind::Audio, &mut audio),
            "video" => (Kind::Video, &mut video),
            _ => continue,
        };
        if !section.is_live() || !section.direction.sends() {
            continue;
        }
        let Some(source) = sources.next() else {
            if tracks.iter().any(|track: &PublishedTrack| track.kind == kind) {
                continue;
            }
            let text = format!("the token's canPublishSources grants no {}", section.media);
            return Err(Refused::new(StatusCode::FORBIDDEN, text));
        };
        tracks.push(PublishedTrack {
            mid: section.mid.map_or_else(|| index.to_string(), str::to_owned),
            cid: cid(source).to_owned(),
            kind,
            source,
            name: None,
            muted: false,
            layers: layers(section, client),
        });
    }
    if tracks.is_empty() {
        return Err(Refused::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the offer sends nothing: offer audio or video as a=sendonly",
        ));
    }
    Ok(tracks)
}

const fn cid(source: Source) -> &'static str {
    match source {
        Source::Camera => "camera",
        Source::Microphone => "microphone",
        Source::ScreenShare => "screen_share",
        Source::ScreenShareAudio => "screen_share_audio",
    }
}

/// OBS numbers its encoders from the largest picture down and lists them in any order; everybody else is understood without a word.
fn layers(section: &Section<'_>, client: &str) -> Vec<PublishedLayer> {
    let mut numbers: Vec<(u8, &str)> = section.rids.iter().filter_map(|rid| Some((rid.id.parse().ok()?, rid.id))).collect();
    if !client.contains("OBS") || numbers.len() != section.rids.len() {
        return Vec::new();
    }
    numbers.sort_unstable();
    let layer = |(height, (_, rid)): (u32, &(u8, &str))| PublishedLayer {
        rid: Some((*rid).to_owned()),
        w: 0,
        h: SMALLEST << height,
        fps: 0,
        max_bps: 0,
    };
    (0..).zip(numbers.iter().rev().take(Layer::MAX)).map(layer).collect()
}
