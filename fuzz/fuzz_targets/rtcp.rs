//! Any bytes as compound RTCP, every list in it walked, and the feedback given to a log of sent packets.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use weir::rtp::NtpTime;
use weir::rtp::rtcp::{Rtcp, parse};
use weir::rtp::twcc::SentLog;

fuzz_target!(|data: &[u8]| {
    let start = Instant::now();
    let mut log = SentLog::new(start);
    for _ in 0..300 {
        log.sent(start, 1_200);
    }
    for packet in parse(data).flatten() {
        match packet {
            Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => {
                for block in reports.iter() {
                    block.round_trip(NtpTime(1 << 60));
                }
            }
            Rtcp::Goodbye { ssrcs } | Rtcp::Remb { ssrcs, .. } => assert!(ssrcs.iter().count() <= data.len() / 4),
            Rtcp::Nack { lost, .. } => assert!(lost.iter().count() <= data.len() / 4 * 17),
            Rtcp::Fir { requests } => assert!(requests.iter().count() <= data.len() / 8),
            Rtcp::TransportFeedback(feedback) => {
                assert!(feedback.packets().count() <= usize::from(feedback.count));
                let mut told = 0;
                log.feedback(start, &feedback, |_| told += 1);
                assert!(told <= 300);
            }
            Rtcp::Pli { .. } | Rtcp::Other => {}
        }
    }
});
