//! What a publisher sends and what a subscriber makes of it, in memory, over a path that loses, repeats and reorders.

use std::time::{Duration, Instant};

use super::account::Latencies;
use super::offer::{Slot, VP8};
use super::publisher::{Audio, CameraLayer, Published, Publisher, ssrcs};
use super::subscriber::{Bound, Subscriber};
use super::voice::Turns;
use super::vp8::Shape;
use crate::edge::peer::srtp::{Profile, Srtp};
use crate::rtp::clock::{Epoch, NtpTime};
use crate::rtp::header::Header;
use crate::rtp::rtcp::{self, Rtcp};
use crate::rtp::{ExtensionIds, Kind};
use crate::shard::batch::Batch;

const SEED: u64 = 5;
const STEP: Duration = Duration::from_millis(5);
const SHAPE: Shape = Shape { width: 640, height: 360, fps: 25, rate: 500_000 };

/// A publisher and a subscriber with the path between them.
struct Pair {
    now: Instant,
    epoch: Epoch,
    publisher: Publisher,
    subscriber: Subscriber,
    seals: Srtp,
    opens: Srtp,
    out: Batch,
    latencies: Latencies,
    /// Media packets sent so far.
    sent: u64,
    delay: Duration,
    /// What is under way: when it comes.
    way: Vec<(Instant, Vec<u8>)>,
}

impl Pair {
    fn new(rtx: bool, video: bool) -> Self {
        let now = Instant::now();
        let epoch = Epoch { instant: now, ntp: NtpTime::from_unix(Duration::from_secs(1_800_000_000)) };
        let key = [7; 64];
        let key = &key[..Profile::Aes128Gcm.keying_material_len()];
        let turns = Turns { of: 1, talkers: 1, turn: Duration::from_secs(1) };
        let layer = CameraLayer { rid: None, shape: SHAPE };
        let published = Published {
            audio: (!video).then_some(Audio { index: 0, turns, dtx: false }),
            video: if video { vec![layer] } else { Vec::new() },
        };
        let ids = ExtensionIds { mid: Some(1), transport_cc: Some(4), capture_time: Some(6), ..ExtensionIds::default() };
        let line = || Some(("0".to_owned(), 0));
        let mut publisher = Publisher::new(now, now, &published, SEED, [line(), line()]);
        publisher.configure(ids, rtx, &["0".to_owned()]);
        let mut subscriber = Subscriber::new(now, 99, false);
        let (ssrc, rtx) = ssrcs(SEED, 0, 0);
        let kind = if video { Kind::Video } else { Kind::Audio };
        subscriber.configure(ids, &[Slot { mid: "0".to_owned(), kind, ssrc: Some(ssrc), rtx: Some(rtx) }]);
        subscriber.bind(now, "0", Bound { hops: 2, ..Bound::default() });
        let srtp = |client| Srtp::new(Profile::Aes128Gcm, key, client).expect("a key");
        Self {
            now,
            epoch,
            publisher,
            subscriber,
            seals: srtp(true),
            opens: srtp(false),
            out: Batch::default(),
            latencies: Latencies::default(),
            sent: 0,
            delay: Duration::from_millis(20),
            way: Vec::new(),
        }
    }

    /// Lets time pass; `path` says after what delay beyond the usual each media packet comes, for each time that it does.
    fn run(&mut self, time: Duration, mut path: impl FnMut(u64) -> Vec<Duration>) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.publisher.send(self.now, &self.epoch, &mut self.seals, &mut self.out);
            let sent: Vec<Vec<u8>> = self.out.packets().map(<[u8]>::to_vec).collect();
            self.out.clear();
            for packet in sent {
                // Repairs are never lost here.
                let media = Header::parse(&packet).expect("RTP").pt <= VP8 || packet[1] & 0x7F == 111;
                let times = if media { path(self.sent) } else { vec![Duration::ZERO] };
                self.sent += u64::from(media);
                self.way.extend(times.into_iter().map(|more| (self.now + self.delay + more, packet.clone())));
            }
            self.arrive();
            self.answer();
        }
    }

    fn arrive(&mut self) {
        let now = self.now;
        let mut due: Vec<_> = self.way.extract_if(.., |(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        for (_, mut packet) in due {
            let wall = self.epoch.ntp(now);
            self.subscriber.receive(now, wall, &mut packet, &mut self.opens, &mut self.latencies);
        }
    }

    fn answer(&mut self) {
        if self.subscriber.deadline().is_none_or(|deadline| self.now < deadline) {
            return;
        }
        let mut said = Vec::new();
        self.subscriber.write_feedback(self.now, self.delay * 2, &mut said);
        for packet in rtcp::parse(&said) {
            match packet.expect("what we write can be read") {
                Rtcp::Nack { media, lost } => self.publisher.resend(media, lost.iter(), &mut self.seals, &mut self.out),
                Rtcp::Pli { media } => self.publisher.keyframe_asked(media),
                _ => {}
            }
        }
        let repairs: Vec<Vec<u8>> = self.out.packets().map(<[u8]>::to_vec).collect();
        self.out.clear();
        let at = self.now + self.delay * 2;
        self.way.extend(repairs.into_iter().map(|packet| (at, packet)));
    }
}

fn once() -> Vec<Duration> {
    vec![Duration::ZERO]
}

#[test]
fn what_nothing_happens_to_arrives_and_is_measured() {
    let mut pair = Pair::new(true, true);
    pair.run(Duration::from_secs(10), |_| once());
    let heard = pair.subscriber.tally(pair.now).video;
    assert_eq!((heard.lost, heard.late, heard.duplicate, heard.freezes, heard.broken), (0, 0, 0, 0, 0));
    assert!(heard.received == heard.expected && heard.received > 400, "{heard:?}");
    assert!((240..=252).contains(&heard.frames), "{heard:?}");
    assert!(heard.verified < heard.received / 10, "only a sample is opened: {heard:?}");
    assert!(pair.subscriber.firsts.keyframe.is_some());
    let latency = pair.latencies.of(Kind::Video, 2).expect("two links");
    assert!(latency.count() >= 240);
    let median = latency.percentile(0.5).expect("some");
    assert!((Duration::from_millis(19)..Duration::from_millis(27)).contains(&median), "{median:?}");
}

#[test]
fn losses_are_asked_for_and_counted_as_repaired() {
    let mut pair = Pair::new(true, true);
    pair.run(Duration::from_secs(10), |index| if index % 50 == 30 { Vec::new() } else { once() });
    pair.run(Duration::from_millis(500), |_| once());
    let heard = pair.subscriber.tally(pair.now).video;
    assert!(heard.repaired >= 8 && heard.nacked >= heard.repaired, "{heard:?}");
    assert_eq!((heard.lost, heard.received, heard.broken), (0, heard.expected, 0), "{heard:?}");
    assert_eq!(pair.publisher.said.video.resent, heard.repaired);
}

#[test]
fn what_can_not_be_repaired_is_lost_and_needs_a_keyframe() {
    let mut pair = Pair::new(false, true);
    let lost = 200..203;
    pair.run(Duration::from_secs(12), |index| if lost.contains(&index) { Vec::new() } else { once() });
    let heard = pair.subscriber.tally(pair.now).video;
    assert_eq!((heard.lost, heard.repaired), (3, 0), "{heard:?}");
    assert!(heard.keyframes_asked >= 1 && pair.publisher.said.video.keyframes >= 2, "{heard:?}");
    assert!(heard.freezes >= 1 && heard.frozen_ms > 500 && heard.stalled == 0, "{heard:?}");
}

#[test]
fn what_comes_twice_or_late_is_told_apart() {
    let mut pair = Pair::new(true, false);
    let path = |index: u64| match index % 100 {
        10 => vec![Duration::ZERO, Duration::from_millis(5)],
        60 => vec![Duration::from_millis(50)],
        _ => once(),
    };
    pair.run(Duration::from_secs(10), path);
    let heard = pair.subscriber.tally(pair.now).audio;
    assert_eq!((heard.duplicate, heard.late, heard.lost, heard.expected), (5, 5, 0, heard.received), "{heard:?}");
    assert!((490..=501).contains(&heard.received), "{heard:?}");
}

#[test]
fn a_picture_that_ends_stands_still() {
    let mut pair = Pair::new(true, true);
    pair.run(Duration::from_secs(3), |_| once());
    assert_eq!(pair.subscriber.tally(pair.now).video.stalled, 0);
    pair.run(Duration::from_secs(2), |_| Vec::new());
    assert_eq!(pair.subscriber.tally(pair.now).video.stalled, 1);
    // Not if it is not meant to come.
    pair.subscriber.expect("0", Bound { paused: true, ..Bound::default() });
    assert_eq!(pair.subscriber.tally(pair.now).video.stalled, 0);
}

#[test]
fn layers_that_nobody_watches_are_not_sent() {
    let mut pair = Pair::new(true, true);
    pair.run(Duration::from_secs(1), |_| once());
    pair.publisher.set_layers(&[]);
    let sent = pair.sent;
    pair.run(Duration::from_secs(1), |_| once());
    assert_eq!(pair.sent, sent);
    let keyframes = pair.publisher.said.video.keyframes;
    pair.publisher.set_layers(&[String::new()]);
    pair.run(Duration::from_secs(1), |_| once());
    assert_eq!(pair.publisher.said.video.keyframes, keyframes + 1, "it begins with a keyframe");
}
