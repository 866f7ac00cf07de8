//! The controller in virtual time.

use super::*;

#[test]
fn it_starts_with_the_rate_it_is_given() {
    let controller = Controller::new(Instant::now(), Bitrate::mbps(8));
    assert_eq!(controller.rate(), Bitrate::mbps(8));
}
