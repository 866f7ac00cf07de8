//! Round trips, limits and hostile bytes.
