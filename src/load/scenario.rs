//! Who comes: rooms, who is in them, what each publishes and watches. Plain data in, a list of seats out. Pure.

use std::time::Duration;

use super::layout::Layout;
use super::publisher::{Audio, CameraLayer, Published};
use super::voice::Turns;
use super::vp8::Shape;

/// What is on a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Camera {
    Off,
    /// Lines of the largest layer: 180, 360, 720 or 1080.
    Lines(u16),
}

/// A crowd.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The room's name; with several rooms, a number follows.
    pub room: String,
    pub rooms: u32,
    /// What each identity begins with, so that several crowds fit into one room.
    pub identity: String,
    /// Of each room: who sends only, who receives only, and who does both.
    pub publishers: u32,
    pub subscribers: u32,
    pub members: u32,
    pub camera: Camera,
    pub simulcast: bool,
    pub fps: u32,
    /// Bits per second of the largest layer; the smaller ones follow.
    pub rate: Option<u64>,
    pub microphone: bool,
    /// Who talk at a time in a room, and how long each.
    pub talkers: u32,
    pub turn: Duration,
    pub dtx: bool,
    /// Dealt out in turn.
    pub layouts: Vec<Layout>,
    /// Servers that members are spread over.
    pub edges: usize,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            room: "load".to_owned(),
            rooms: 1,
            identity: String::new(),
            publishers: 0,
            subscribers: 0,
            members: 0,
            camera: Camera::Lines(720),
            simulcast: true,
            fps: 25,
            rate: None,
            microphone: true,
            talkers: 1,
            turn: Duration::from_secs(5),
            dtx: false,
            layouts: vec![Layout::Grid(usize::MAX)],
            edges: 1,
        }
    }
}

/// One member that comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    pub room: String,
    pub identity: String,
    pub published: Published,
    pub subscribes: bool,
    pub layout: Layout,
    /// Index of its server.
    pub edge: usize,
}

impl Seat {
    pub const fn publishes(&self) -> bool {
        self.published.audio.is_some() || !self.published.video.is_empty()
    }
}

/// A layer's height, its share of the largest layer's rate by default, and its rid.
const LADDER: [(u16, u64); 4] = [(180, 150_000), (360, 500_000), (720, 1_500_000), (1_080, 3_000_000)];
const RIDS: [&str; 3] = ["q", "h", "f"];

impl Scenario {
    /// Members of one room.
    pub const fn per_room(&self) -> u32 {
        self.publishers.saturating_add(self.subscribers).saturating_add(self.members)
    }

    /// All of them.
    pub const fn size(&self) -> u64 {
        self.per_room() as u64 * self.rooms as u64
    }

    /// The seats, in the order they are taken: the first of every room, then the second, and those who publish before those who
    /// watch.
    pub fn seats(&self) -> impl Iterator<Item = Seat> + '_ {
        (0..self.per_room()).flat_map(move |place| (0..self.rooms).map(move |room| self.seat(room, place)))
    }

    fn seat(&self, room: u32, place: u32) -> Seat {
        let (publishes, subscribes, what) = match place {
            place if place < self.publishers => (true, false, "publisher"),
            place if place < self.publishers + self.members => (true, true, "member"),
            _ => (false, true, "subscriber"),
        };
        let audio = (publishes && self.microphone).then_some(Audio {
            index: place,
            turns: Turns { of: self.publishers + self.members, talkers: self.talkers, turn: self.turn },
            dtx: self.dtx,
        });
        let video = if publishes { self.layers() } else { Vec::new() };
        let turn = |count: usize| (room as usize + place as usize) % count.max(1);
        Seat {
            room: if self.rooms > 1 { format!("{}-{}", self.room, room + 1) } else { self.room.clone() },
            identity: format!("{}{what}-{}", self.identity, place + 1),
            published: Published { audio, video },
            subscribes,
            layout: self.layouts.get(turn(self.layouts.len())).copied().unwrap_or(Layout::All),
            edge: turn(self.edges),
        }
    }

    /// The camera's layers, smallest first.
    pub fn layers(&self) -> Vec<CameraLayer> {
        let Camera::Lines(lines) = self.camera else { return Vec::new() };
        let upto: Vec<(u16, u64)> = LADDER.iter().copied().filter(|(height, _)| *height <= lines).collect();
        let largest = upto.last().map_or(1, |(_, rate)| *rate);
        let count = if self.simulcast { RIDS.len() } else { 1 };
        let sent = upto.get(upto.len().saturating_sub(count)..).unwrap_or_default();
        let named = self.simulcast && sent.len() > 1;
        let layer = |(&(height, rate), rid): (&(u16, u64), &str)| CameraLayer {
            rid: named.then(|| rid.to_owned()),
            shape: Shape {
                width: (u32::from(height) * 16 / 9) as u16,
                height,
                fps: self.fps,
                rate: self.rate.map_or(rate, |wanted| wanted * rate / largest),
            },
        };
        sent.iter().zip(RIDS).map(layer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_seat_and_rooms_fill_side_by_side() {
        let scenario = Scenario { rooms: 3, publishers: 1, members: 2, subscribers: 4, edges: 2, ..Scenario::default() };
        let seats: Vec<Seat> = scenario.seats().collect();
        assert_eq!(seats.len() as u64, scenario.size());
        assert_eq!(seats.iter().take(3).map(|seat| seat.room.as_str()).collect::<Vec<_>>(), ["load-1", "load-2", "load-3"]);
        let of_room: Vec<_> = seats.iter().filter(|seat| seat.room == "load-2").collect();
        assert_eq!(of_room.iter().filter(|seat| seat.publishes()).count(), 3);
        assert_eq!(of_room.iter().filter(|seat| seat.subscribes).count(), 6);
        let names: std::collections::BTreeSet<_> = of_room.iter().map(|seat| &seat.identity).collect();
        assert_eq!(names.len(), 7, "one identity would replace another");
        let other = Scenario { identity: "east-".into(), ..scenario.clone() };
        assert!(other.seats().all(|seat| seat.identity.starts_with("east-") && !names.contains(&seat.identity)));
        assert!(of_room.iter().any(|seat| seat.edge == 0) && of_room.iter().any(|seat| seat.edge == 1));
    }

    #[test]
    fn a_camera_has_its_ladder() {
        let layers = |camera, simulcast, rate| {
            let layers = Scenario { camera, simulcast, rate, ..Scenario::default() }.layers();
            layers
                .into_iter()
                .map(|layer| (layer.rid.unwrap_or_default(), layer.shape.height, layer.shape.rate))
                .collect::<Vec<_>>()
        };
        let name = |rid: &str| rid.to_owned();
        assert_eq!(
            layers(Camera::Lines(720), true, None),
            [(name("q"), 180, 150_000), (name("h"), 360, 500_000), (name("f"), 720, 1_500_000)]
        );
        assert_eq!(layers(Camera::Lines(720), false, Some(750_000)), [(name(""), 720, 750_000)]);
        assert_eq!(layers(Camera::Lines(360), true, Some(1_000_000)), [(name("q"), 180, 300_000), (name("h"), 360, 1_000_000)]);
        assert_eq!(layers(Camera::Lines(180), true, None), [(name(""), 180, 150_000)]);
        assert_eq!(layers(Camera::Off, true, None), []);
    }
}
