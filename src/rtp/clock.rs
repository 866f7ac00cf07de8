//! Clocks: ours, each publisher's, and each stream's. Owns the conversion between `Instant`, NTP time and RTP timestamps;
//! reads no clock itself. Sender reports come in through it and go out through it, so that lips stay in step with voices.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::sequence::distance32;

/// NTP time (RFC 3550 §4): seconds since 1900 in the high half, fractions of 2^-32 s in the low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Seconds from 1900 to 1970.
    const UNIX: u64 = 2_208_988_800;

    /// From the time since 1970.
    pub const fn from_unix(since: Duration) -> Self {
        Self((since.as_secs().wrapping_add(Self::UNIX) << 32) | fraction(since))
    }

    /// The middle 32 bits, as in LSR.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// This much later, wrapping as NTP's eras do.
    #[must_use]
    pub const fn plus(self, time: Duration) -> Self {
        Self(self.0.wrapping_add((time.as_secs() << 32) | fraction(time)))
    }

    /// This much earlier.
    #[must_use]
    pub const fn minus(self, time: Duration) -> Self {
        Self(self.0.wrapping_sub((time.as_secs() << 32) | fraction(time)))
    }

    /// From `earlier` to this; nothing if it is later.
    pub fn since_or_zero(self, earlier: Self) -> Duration {
        duration(u64::try_from(self.since(earlier)).unwrap_or(0))
    }

    /// From `earlier` to this, in units of 2^-32 s; negative if it is later.
    const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

/// The part of a second, in units of 2^-32 s.
const fn fraction(time: Duration) -> u64 {
    ((time.subsec_nanos() as u64) << 32) / 1_000_000_000
}

/// Units of 2^-32 s as a duration.
const fn duration(units: u64) -> Duration {
    Duration::new(units >> 32, (((units & 0xFFFF_FFFF) * 1_000_000_000) >> 32) as u32)
}

/// One moment on both our clocks, taken once at start: with it, every `Instant` has an NTP time and back.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    pub instant: Instant,
    pub ntp: NtpTime,
}

impl Epoch {
    /// The NTP time of an instant.
    pub fn ntp(&self, instant: Instant) -> NtpTime {
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.ntp.plus(after),
            None => self.ntp.minus(self.instant.saturating_duration_since(instant)),
        }
    }

    /// The instant of an NTP time; the epoch's own for one that no `Instant` can say.
    pub fn instant(&self, ntp: NtpTime) -> Instant {
        let units = ntp.since(self.ntp);
        let distance = duration(units.unsigned_abs());
        let found = if units < 0 { self.instant.checked_sub(distance) } else { self.instant.checked_add(distance) };
        found.unwrap_or(self.instant)
    }
}

/// The clock of one stream, as its latest sender report told: this RTP timestamp was at this NTP time of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderClock {
    pub ntp: NtpTime,
    pub rtp: u32,
    pub rate: u32,
}

impl SenderClock {
    /// The timestamp the stream has at a time of its sender.
    pub fn timestamp_at(&self, ntp: NtpTime) -> u32 {
        let ticks = (i128::from(ntp.since(self.ntp)) * i128::from(self.rate)) >> 32;
        self.rtp.wrapping_add(ticks as u32)
    }

    /// The sender's time at a timestamp near the report's.
    pub fn ntp_at(&self, timestamp: u32) -> NtpTime {
        let units = (i64::from(distance32(self.rtp, timestamp)) << 32) / i64::from(self.rate.max(1));
        NtpTime(self.ntp.0.wrapping_add_signed(units))
    }

    /// What to add to a timestamp of `self` for the one `other` has at the same time. Both have one sender, and one rate.
    pub fn delta_to(&self, other: &Self) -> u32 {
        other.timestamp_at(self.ntp).wrapping_sub(self.rtp)
    }
}

/// How many sender reports the offset is the minimum of. Raising it rides out longer congestion and follows the drift
/// of the clocks more slowly.
const REPORTS: usize = 16;

/// A publisher's NTP clock as seen from here. All its streams share it, so what we report of audio and video agrees.
///
/// A report that waited in queues arrives late, never early: the smallest difference of arrival and stamp is nearest to
/// the truth.
#[derive(Clone, Debug, Default)]
pub struct RemoteClock {
    /// Our NTP time minus the remote's, wrapping, of the latest reports.
    offsets: [i64; REPORTS],
    count: usize,
}

impl RemoteClock {
    /// A sender report stamped `remote` arrived at `local`, our NTP time.
    pub fn record(&mut self, remote: NtpTime, local: NtpTime) {
        let offset = local.since(remote);
        // A clock that was set jumps; what was known of it is worth nothing then.
        if self.offset().is_some_and(|known| known.abs_diff(offset) > 5 << 32) {
            self.count = 0;
        }
        if let Some(place) = self.offsets.get_mut(self.count % REPORTS) {
            *place = offset;
        }
        // Kept below twice the ring's length, so that it never overflows and still says the ring is full.
        self.count = if self.count + 1 == 2 * REPORTS { REPORTS } else { self.count + 1 };
    }

    /// The remote's time at our NTP time; `None` before any report.
    pub fn remote(&self, local: NtpTime) -> Option<NtpTime> {
        Some(NtpTime(local.0.wrapping_sub(self.offset()? as u64)))
    }

    /// Our NTP time at the remote's; `None` before any report.
    pub fn local(&self, remote: NtpTime) -> Option<NtpTime> {
        Some(NtpTime(remote.0.wrapping_add(self.offset()? as u64)))
    }

    fn offset(&self) -> Option<i64> {
        self.offsets.iter().take(self.count).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: NtpTime = NtpTime(3_900_000_000 << 32);

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn instants_and_ntp_convert_both_ways() {
        let epoch = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(Duration::new(1_700_000_000, 500_000_000)) };
        assert_eq!(epoch.ntp.0 >> 32, 3_908_988_800);
        assert_eq!(epoch.ntp.0 as u32, 1 << 31);
        let later = epoch.instant + ms(1_250);
        assert_eq!(epoch.ntp(later).0 - epoch.ntp.0, 5 << 30);
        assert_eq!(epoch.instant(epoch.ntp(later)), later);
        let _ = epoch.instant(NtpTime(0));
        let _ = epoch.instant(NtpTime(u64::MAX));
    }

    #[test]
    fn two_layers_of_one_sender_map_onto_each_other() {
        let low = SenderClock { ntp: NOON, rtp: u32::MAX - 10, rate: 90_000 };
        let high = SenderClock { ntp: NOON.plus(ms(500)), rtp: 7_000, rate: 90_000 };
        // At noon, the high layer was at 7000 - 45000.
        assert_eq!((u32::MAX - 10).wrapping_add(low.delta_to(&high)), 7_000u32.wrapping_sub(45_000));
        assert_eq!(low.delta_to(&high).wrapping_add(high.delta_to(&low)), 0);
        assert_eq!(high.timestamp_at(high.ntp_at(97_000)), 97_000);
        assert_eq!(high.ntp_at(97_000), NOON.plus(ms(1_500)));
    }

    #[test]
    fn the_remote_clock_ignores_reports_that_waited() {
        let mut clock = RemoteClock::default();
        assert_eq!(clock.local(NOON), None);
        let ours = NOON.plus(Duration::from_secs(86_400 * 30));
        for (second, delay) in [20, 35, 400, 12, 90].into_iter().enumerate() {
            let at = ms(second as u64 * 1_000);
            clock.record(NOON.plus(at), ours.plus(at + ms(delay)));
        }
        let expected = ours.plus(ms(12));
        assert!(clock.local(NOON).unwrap().since(expected).abs() < 4);
        assert_eq!(clock.remote(clock.local(NOON).unwrap()), Some(NOON));
        // The remote's clock is set an hour back.
        clock.record(NOON, ours.plus(ms(3_600_020)));
        assert!(clock.local(NOON).unwrap().since(ours.plus(ms(3_600_020))).abs() < 4);
        for _ in 0..100 {
            clock.record(NOON, ours.plus(ms(3_600_500)));
        }
        assert_eq!(clock.local(NOON), Some(ours.plus(ms(3_600_500))));
    }

    proptest! {
        #[test]
        fn no_stamp_makes_it_panic(a: u64, b: u64, rtp: u32, rate in 0u32..100_000) {
            let clock = SenderClock { ntp: NtpTime(a), rtp, rate };
            let _ = (clock.timestamp_at(NtpTime(b)), clock.ntp_at(b as u32));
            let mut remote = RemoteClock::default();
            remote.record(NtpTime(a), NtpTime(b));
            remote.record(NtpTime(b), NtpTime(a));
            prop_assert!(remote.local(NtpTime(a)).is_some());
        }
    }
}
