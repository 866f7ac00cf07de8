//! The cascade in virtual time: stories with a fixed course, and random courses by seed. A seed that failed once is kept by name.
//!
//! `WEIR_SIM_SEEDS=1000 cargo test --test sim sweep -- --ignored --nocapture` tries many; `WEIR_SIM_FROM` is the first.

#[path = "sim/random.rs"]
mod random;
#[path = "sim/stories.rs"]
mod stories;
