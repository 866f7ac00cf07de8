//! What a member has on its screen: sizes and priorities of the pictures of a room, as the room protocol's `view` says them. Pure.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::id::TrackId;

/// The window, in device pixels.
const WINDOW: (u32, u32) = (1_280, 720);
/// Small pictures beside a speaker that fit the window.
const STRIP: usize = 6;
const THUMBNAIL: (u32, u32) = (160, 90);

/// How pictures are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As many equal tiles as there are pictures, up to so many.
    Grid(usize),
    /// One large, six small beside it, the others unseen.
    Speaker,
    /// All small.
    Thumbnails,
    /// Nothing is said of the screen: everything comes at its largest.
    All,
}

impl Layout {
    /// Whether the server is told of it.
    pub fn is_told(self) -> bool {
        self != Self::All
    }

    /// The items of a view of these tracks, in the order they were published.
    pub fn view(self, tracks: &[TrackId]) -> Vec<Value> {
        let shown = |index: usize| -> Option<((u32, u32), u8)> {
            match self {
                Self::Grid(most) => {
                    let tiles = tracks.len().min(most).max(1);
                    let columns = (1..=tiles).find(|columns| columns * columns >= tiles).unwrap_or(1) as u32;
                    (index < most).then_some(((WINDOW.0 / columns, WINDOW.1 / columns), 0))
                }
                Self::Speaker if index == 0 => Some((WINDOW, 10)),
                Self::Speaker => (index <= STRIP).then_some((THUMBNAIL, 0)),
                Self::Thumbnails => Some((THUMBNAIL, 0)),
                Self::All => Some((WINDOW, 0)),
            }
        };
        let item = |(index, track): (usize, &TrackId)| match shown(index) {
            Some(((w, h), prio)) => json!({ "track": track, "w": w, "h": h, "visible": true, "prio": prio }),
            None => json!({ "track": track, "visible": false }),
        };
        tracks.iter().enumerate().map(item).collect()
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let tiles = count.map(str::parse).transpose().ok().flatten().filter(|tiles| (1..=1_000).contains(tiles));
        match (name, count, tiles) {
            ("grid", None, _) => Ok(Self::Grid(usize::MAX)),
            ("grid", Some(_), Some(tiles)) => Ok(Self::Grid(tiles)),
            ("speaker", None, _) => Ok(Self::Speaker),
            ("thumbnails", None, _) => Ok(Self::Thumbnails),
            ("all", None, _) => Ok(Self::All),
            _ => Err("expected grid, grid:TILES such as grid:9, speaker, thumbnails or all".to_owned()),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grid(usize::MAX) => f.write_str("grid"),
            Self::Grid(tiles) => write!(f, "grid:{tiles}"),
            Self::Speaker => f.write_str("speaker"),
            Self::Thumbnails => f.write_str("thumbnails"),
            Self::All => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(layout: Layout, tracks: u64) -> Vec<(u64, bool)> {
        let tracks: Vec<TrackId> = (0..tracks).map(TrackId).collect();
        let size = |item: &Value| (item["h"].as_u64().unwrap_or(0), item["visible"].as_bool().unwrap_or(false));
        layout.view(&tracks).iter().map(size).collect()
    }

    #[test]
    fn tiles_shrink_as_the_room_grows() {
        for (count, height) in [(1, 720), (2, 360), (4, 360), (5, 240), (9, 240), (10, 180), (19, 144)] {
            assert_eq!(sizes(Layout::Grid(usize::MAX), count), vec![(height, true); count as usize], "{count}");
        }
        let nine = sizes(Layout::Grid(9), 20);
        assert!(nine[..9].iter().all(|size| *size == (240, true)) && nine[9..].iter().all(|size| !size.1));
    }

    #[test]
    fn a_speaker_is_large_and_six_are_beside_it() {
        let seen = sizes(Layout::Speaker, 10);
        assert_eq!(seen[0], (720, true));
        assert_eq!(seen.iter().filter(|(height, seen)| *seen && *height == 90).count(), STRIP);
        assert_eq!(seen.iter().filter(|(_, seen)| !seen).count(), 3);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["grid", "grid:9", "speaker", "thumbnails", "all"] {
            assert_eq!(text.parse::<Layout>().expect(text).to_string(), text);
        }
        for text in ["", "grid:0", "grid:x", "speaker:2", "wall"] {
            assert!(text.parse::<Layout>().is_err(), "{text}");
        }
    }
}
