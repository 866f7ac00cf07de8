//! The report as a page that needs nothing else. Pure.

use super::report::Report;

/// The whole page.
pub fn page(report: &Report) -> String {
    format!("<!doctype html><pre>{}</pre>", report.table())
}
