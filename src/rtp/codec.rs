//! What media is: kinds, codecs, sources, layers. Plain values shared by signaling, router and peers.

use serde::{Deserialize, Serialize};

use crate::units::{Bitrate, PixelHeight};

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Kind {
    Audio,
    Video,
}

/// A payload format that is forwarded. RTX is not one: it carries these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    Opus,
    /// Opus with redundancy (RFC 2198), passed through where the receiver has it.
    Red,
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl Codec {
    /// Every codec, in order of discriminant: `Codec::ALL[c as usize] == c`.
    pub const ALL: [Self; 6] = [Self::Opus, Self::Red, Self::Vp8, Self::Vp9, Self::H264, Self::Av1];

    /// Audio or video.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Opus | Self::Red => Kind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => Kind::Video,
        }
    }

    /// RTP timestamp units per second.
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            Kind::Audio => 48_000,
            Kind::Video => 90_000,
        }
    }

    /// The name in an SDP `rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
        }
    }
}

/// Where a track's media comes from; the names are those of LiveKit's `canPublishSources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Source {
    Camera,
    Microphone,
    ScreenShare,
    ScreenShareAudio,
}

/// One encoding of a track: 0 is the smallest. At most [`Layer::MAX`] per track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Layer(pub u8);

impl Layer {
    /// How many layers a track may have.
    pub const MAX: usize = 4;
}

/// A set of layers of one track, as a bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LayerSet(pub u8);

impl LayerSet {
    /// No layer.
    pub const EMPTY: Self = Self(0);

    /// The set with just `layer`.
    #[must_use]
    pub const fn of(layer: Layer) -> Self {
        Self(1 << layer.0)
    }

    /// Whether `layer` is in it.
    pub const fn contains(self, layer: Layer) -> bool {
        self.0 & Self::of(layer).0 != 0
    }

    /// The set with `layer` too.
    #[must_use]
    pub const fn with(self, layer: Layer) -> Self {
        Self(self.0 | Self::of(layer).0)
    }

    /// The set with all of `other` too.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no layer is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its layers, smallest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Layer> {
        (0..Layer::MAX as u8).map(Layer).filter(move |&layer| self.contains(layer))
    }
}

/// What the publisher says of one layer. Zero means not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// The restriction identifier (RFC 8851) its packets carry; absent without simulcast.
    pub rid: Option<Box<str>>,
    pub width: u32,
    pub height: PixelHeight,
    pub fps: u32,
    pub max: Bitrate,
}
