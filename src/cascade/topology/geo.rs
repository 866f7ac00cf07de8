//! How long light takes between two places. Owns the estimate that stands in for a round trip that nobody wrote down.

use super::Geo;

/// The earth's mean radius in km.
const RADIUS_KM: f64 = 6_371.0;

/// Light in fibre makes 100 km there and back in a millisecond; cables are half as long again as the great circle
/// (Frankfurt to Ashburn: 98 ms estimated, about 90 measured; to Singapore: 154 and 160).
const MS_PER_KM: f64 = 1.5 / 100.0;

/// The round trip between two places, at least 1 ms. Whole milliseconds: machines may differ in a sine's last digit.
pub(super) fn rtt_ms(a: Geo, b: Geo) -> u32 {
    let radians = |micro: i32| (f64::from(micro) / 1e6).to_radians();
    let (north, south) = (radians(a.lat), radians(b.lat));
    let (dlat, dlon) = (south - north, radians(b.lon) - radians(a.lon));
    let chord = (dlat / 2.0).sin().powi(2) + north.cos() * south.cos() * (dlon / 2.0).sin().powi(2);
    let km = 2.0 * RADIUS_KM * chord.sqrt().min(1.0).asin();
    // At most half the equator: 300 ms.
    (km * MS_PER_KM).round().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Geo {
        Geo { lat: (lat * 1e6) as i32, lon: (lon * 1e6) as i32 }
    }

    #[test]
    fn estimates_are_near_what_is_measured_between_the_places() {
        let (fra, iad, sin) = (at(50.11, 8.68), at(39.04, -77.49), at(1.35, 103.82));
        assert_eq!((rtt_ms(fra, iad), rtt_ms(fra, sin), rtt_ms(iad, sin)), (98, 154, 233));
        assert_eq!((rtt_ms(fra, fra), rtt_ms(at(0.0, 0.0), at(0.0, 180.0))), (1, 300));
        assert_eq!(rtt_ms(at(10.0, 179.0), at(10.0, -179.0)), 3, "over the date line");
        assert_eq!(rtt_ms(sin, fra), rtt_ms(fra, sin));
    }
}
