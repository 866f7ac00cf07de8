//! The traffic of a link: video as one stream per frame with a priority by track, audio as datagrams; frames are given up when
//! they are late. Or bulk: one stream that never ends. And what became of it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{Connection, Dir, Event, ReadError, StreamEvent, StreamId, VarInt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Video tracks; the demand is spread evenly over them. The first is the most important.
const TRACKS: u64 = 4;

/// Between two frames of a track.
const FRAME: Duration = Duration::from_nanos(33_333_333);

/// Between two voice packets, and their size.
const VOICE: Duration = Duration::from_millis(20);
const VOICE_BYTES: usize = 120;

/// Each track has a keyframe every so many frames, so many times as large as the others.
const KEYFRAME_EVERY: u64 = 150;
const KEYFRAME_SIZE: f64 = 5.0;

/// A frame that has not arrived by then is given up.
const GIVEN_UP: Duration = Duration::from_millis(300);

/// At the front of every frame: its number.
const HEADER: usize = 16;

/// What the application does.
pub(crate) enum Sender {
    Media(Box<Media>),
    Bulk(Option<StreamId>),
}

/// Frames and voices.
pub(crate) struct Media {
    rng: StdRng,
    demand: u64,
    /// Number of the next frame; track and time follow from it.
    next: u64,
    next_voice: u64,
    /// Streams not yet given up, by the frame's number.
    open: BTreeMap<u64, StreamId>,
}

impl Sender {
    /// Media of so many bits per second in all.
    pub(crate) fn media(demand: u64, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self::Media(Box::new(Media { rng, demand, next: 0, next_voice: 0, open: BTreeMap::new() }))
    }

    pub(crate) fn bulk() -> Self {
        Self::Bulk(None)
    }

    pub(crate) fn deadline(&self, begins: Instant) -> Option<Instant> {
        match self {
            Self::Media(media) => Some((begins + captured(media.next)).min(begins + VOICE * media.next_voice as u32)),
            Self::Bulk(_) => None,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, begins: Instant, connection: &mut Connection) {
        match self {
            Self::Media(media) => media.send(now - begins, connection),
            Self::Bulk(stream) => {
                let id = stream.get_or_insert_with(|| connection.streams().open(Dir::Uni).expect("the first stream"));
                let chunk = [0; 16_384];
                // So much ahead, as an application with a buffer would be.
                while connection.send_stream(*id).write(&chunk).is_ok_and(|written| written == chunk.len()) {}
            }
        }
    }
}

/// When a frame is captured: the tracks take turns within a frame's time.
fn captured(frame: u64) -> Duration {
    Duration::from_nanos(FRAME.as_nanos() as u64 * frame / TRACKS)
}

impl Media {
    fn send(&mut self, now: Duration, connection: &mut Connection) {
        while VOICE * self.next_voice as u32 <= now {
            let mut voice = vec![0; VOICE_BYTES];
            voice[..8].copy_from_slice(&self.next_voice.to_be_bytes());
            let _ = connection.datagrams().send(Bytes::from(voice), true);
            self.next_voice += 1;
        }
        while captured(self.next) <= now {
            let size = self.frame_size();
            let track = self.next % TRACKS;
            // No stream to be had: the frame is lost.
            if let Some(id) = connection.streams().open(Dir::Uni) {
                let mut frame = vec![0; size];
                frame[..8].copy_from_slice(&self.next.to_be_bytes());
                let mut stream = connection.send_stream(id);
                let _ = stream.set_priority((TRACKS - track) as i32);
                let _ = stream.write(&frame);
                let _ = stream.finish();
                self.open.insert(self.next, id);
            }
            self.next += 1;
        }
        while let Some((&frame, &id)) = self.open.first_key_value() {
            if captured(frame) + GIVEN_UP > now {
                break;
            }
            self.open.remove(&frame);
            // An error says that all of it was acknowledged.
            let _ = connection.send_stream(id).reset(VarInt::from_u32(0));
        }
    }

    /// Keyframes are larger; the mean is as demanded.
    fn frame_size(&mut self) -> usize {
        let (track, number) = (self.next % TRACKS, self.next / TRACKS);
        let is_keyframe = (number + track * 37) % KEYFRAME_EVERY == 0;
        let mean = self.demand as f64 / 8.0 * FRAME.as_secs_f64() / TRACKS as f64;
        let others = KEYFRAME_EVERY as f64 / (KEYFRAME_EVERY as f64 - 1.0 + KEYFRAME_SIZE);
        let size = mean * others * if is_keyframe { KEYFRAME_SIZE } else { 1.0 } * self.rng.random_range(0.8..1.2);
        (size as usize).max(HEADER)
    }
}

/// What has arrived.
#[derive(Default)]
pub(crate) struct Receiver {
    /// The frame of each open stream.
    open: HashMap<StreamId, Option<u64>>,
    /// How long after its capture each frame was complete.
    frames: BTreeMap<u64, Duration>,
    voices: BTreeMap<u64, Duration>,
}

impl Receiver {
    pub(crate) fn receive(&mut self, now: Instant, begins: Instant, connection: &mut Connection) {
        let now = now - begins;
        while let Some(event) = connection.poll() {
            match event {
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    while let Some(id) = connection.streams().accept(Dir::Uni) {
                        self.open.insert(id, None);
                        self.read(now, id, connection);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(now, id, connection),
                Event::DatagramReceived => {
                    while let Some(voice) = connection.datagrams().recv() {
                        let number = u64::from_be_bytes(voice[..8].try_into().expect("eight bytes"));
                        self.voices.insert(number, now.saturating_sub(VOICE * number as u32));
                    }
                }
                Event::ConnectionLost { reason } => panic!("the connection was lost: {reason}"),
                _ => {}
            }
        }
    }

    fn read(&mut self, now: Duration, id: StreamId, connection: &mut Connection) {
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        let over = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    let frame = self.open.entry(id).or_default();
                    if frame.is_none() && chunk.bytes.len() >= 8 {
                        *frame = Some(u64::from_be_bytes(chunk.bytes[..8].try_into().expect("eight bytes")));
                    }
                }
                Ok(None) => {
                    if let Some(Some(frame)) = self.open.get(&id) {
                        self.frames.insert(*frame, now.saturating_sub(captured(*frame)));
                    }
                    break true;
                }
                Err(ReadError::Reset(_)) => break true,
                Err(ReadError::Blocked) => break false,
            }
        };
        let _ = chunks.finalize();
        if over {
            self.open.remove(&id);
        }
    }
}

/// What became of the media.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Share of frames complete within 150 and 250 ms of capture.
    pub(crate) within: [f64; 2],
    /// The same of the most important track within 150 ms.
    pub(crate) first_track: f64,
    /// Of the frames that were completed.
    pub(crate) p50: Duration,
    pub(crate) p95: Duration,
    /// Share of voice packets that arrived within 150 ms; they are not repeated here.
    pub(crate) voices: f64,
    pub(crate) voice_p99: Duration,
}

impl Report {
    pub(crate) fn new(sender: &Sender, receiver: &Receiver, from: Duration) -> Self {
        let Sender::Media(media) = sender else { return Self::default() };
        // The last ones had no time to arrive.
        let last = media.next.saturating_sub(TRACKS * 10);
        let sent: Vec<u64> = (0..last).filter(|frame| captured(*frame) >= from).collect();
        let share = |frames: &[u64], limit: u64| {
            let limit = Duration::from_millis(limit);
            let good = frames.iter().filter(|frame| receiver.frames.get(frame).is_some_and(|delay| *delay <= limit));
            good.count() as f64 / frames.len().max(1) as f64
        };
        let first: Vec<u64> = sent.iter().copied().filter(|frame| frame % TRACKS == 0).collect();
        let mut delays: Vec<_> = sent.iter().filter_map(|frame| receiver.frames.get(frame).copied()).collect();
        delays.sort_unstable();
        let voice_range = (from.as_millis() / VOICE.as_millis()) as u64..media.next_voice.saturating_sub(20);
        let mut voices: Vec<_> = voice_range.clone().filter_map(|voice| receiver.voices.get(&voice).copied()).collect();
        voices.sort_unstable();
        let good_voices = voices.iter().filter(|delay| **delay <= Duration::from_millis(150)).count();
        Self {
            within: [share(&sent, 150), share(&sent, 250)],
            first_track: share(&first, 150),
            p50: percentile(&delays, 50),
            p95: percentile(&delays, 95),
            voices: good_voices as f64 / voice_range.count().max(1) as f64,
            voice_p99: percentile(&voices, 99),
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}
