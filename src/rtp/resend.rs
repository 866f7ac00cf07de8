//! How often a packet may be retransmitted: a small table of the latest, so that a subscriber that asks again and again
//! costs a bounded number of packets. Owns the limits; used by `rtp::rewrite`.

use std::time::{Duration, Instant};

/// How often one packet is retransmitted at most.
const MAX_REPLIES: u8 = 3;
/// How many packets are remembered. Raising it allows more packets to be in repair at once.
const ENTRIES: usize = 256;
/// An entry this old may be taken by an older packet.
const FORGET_AFTER: Duration = Duration::from_secs(1);

/// Which packets were retransmitted of late. Each sequence number has one place it may be in.
#[derive(Debug)]
pub(super) struct Resends {
    entries: [Option<Entry>; ENTRIES],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ext_seq: u64,
    at: Instant,
    replies: u8,
}

impl Default for Resends {
    fn default() -> Self {
        Self { entries: [None; ENTRIES] }
    }
}

impl Resends {
    /// Whether the packet may be retransmitted now; if so, it is counted.
    pub(super) fn allow(&mut self, ext_seq: u64, now: Instant, rtt: Duration) -> bool {
        let Some(place) = self.entries.get_mut(ext_seq as usize % ENTRIES) else { return false };
        let replies = match place {
            Some(entry) if entry.ext_seq == ext_seq => {
                if entry.replies >= MAX_REPLIES || now.saturating_duration_since(entry.at) < rtt {
                    return false;
                }
                entry.replies
            }
            // Without this, asking in turn for two packets that share a place would reset both counts.
            Some(entry) if entry.ext_seq > ext_seq && now.saturating_duration_since(entry.at) < FORGET_AFTER => return false,
            _ => 0,
        };
        *place = Some(Entry { ext_seq, at: now, replies: replies + 1 });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn replies_are_few_and_an_rtt_apart() {
        let (mut resends, start) = (Resends::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(resends.allow(5, at(0), RTT));
        assert!(!resends.allow(5, at(99), RTT));
        assert!(resends.allow(5, at(100), RTT));
        assert!(resends.allow(5, at(200), RTT));
        assert!(!resends.allow(5, at(5_000), RTT));
    }

    #[test]
    fn packets_that_share_a_place_do_not_reset_each_other() {
        let (mut resends, start) = (Resends::default(), Instant::now());
        let allowed = (0..100).filter(|turn| resends.allow(5 + 256 * (turn % 2), start, RTT)).count();
        assert_eq!(allowed, 2);
    }
}
