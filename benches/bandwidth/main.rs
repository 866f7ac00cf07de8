//! What the estimator reaches on paths in virtual time: `cargo bench --bench bandwidth`. A table, and with `-- --trace NAME SEED` one
//! cell second by second. The cells that must not become worse are in `tests/bandwidth.rs`.

#![allow(clippy::indexing_slicing)] // what is wrong should stop

#[path = "../../tests/bandwidth/cells.rs"]
mod cells;
#[allow(dead_code)]
mod world;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--trace") {
        let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
        cells::trace(argument(at + 1), argument(at + 2).parse().unwrap_or(7));
        return;
    }
    cells::table();
}
