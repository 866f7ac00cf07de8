//! A remark on a document as compilers make them: the line itself, and marks under what is meant.

use std::path::Path;

use crate::cascade::topology::Finding;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
}

/// The remark with its place, its line, and the mend.
pub(super) fn shown(level: Level, finding: &Finding, file: &Path, text: &str, colours: bool) -> String {
    let (word, colour) = match level {
        Level::Error => ("error", "\x1b[1;31m"),
        Level::Warning => ("warning", "\x1b[1;33m"),
    };
    let (colour, bold, dim, plain) = if colours { (colour, "\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "", "") };
    let line = text.split('\n').nth(finding.line - 1).unwrap_or_default().trim_end_matches('\r');
    let number = finding.line.to_string();
    let margin = " ".repeat(number.len());
    let mut said = format!("{colour}{word}{plain}{bold}: {}{plain}\n", finding.what);
    said.push_str(&format!("{margin}{dim}-->{plain} {}:{}:{}\n", file.display(), finding.line, finding.column));
    if !line.trim().is_empty() {
        // What goes on in the next lines is marked to the end of this one.
        let length = text.get(finding.span.clone()).unwrap_or_default().split('\n').next().unwrap_or_default().chars().count();
        let room = line.chars().count() + 1 - (finding.column - 1).min(line.chars().count());
        let marks = "^".repeat(length.clamp(1, room.max(1)));
        let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        said.push_str(&format!("{margin} {dim}|{plain}\n{dim}{number} |{plain} {shown}\n"));
        said.push_str(&format!("{margin} {dim}|{plain} {}{colour}{marks}{plain}\n", " ".repeat(finding.column - 1)));
    }
    if !finding.mend.is_empty() {
        said.push_str(&format!("{margin} {dim}={plain} {}\n", finding.mend));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::topology::Topology;

    #[test]
    fn the_line_is_shown_with_marks_under_what_is_meant() {
        let text = "version = 1\nepoch = 1\nregion = [\n\t{ id = 'ä' },\n]\n";
        let problems = Topology::parse(text).expect_err("no such name");
        let said = shown(Level::Error, &problems[0], Path::new("a.toml"), text, false);
        assert!(said.starts_with("error: region ä: id is not a name in quotes"), "{said}");
        assert!(said.ends_with(" --> a.toml:4:9\n  |\n4 |  { id = 'ä' },\n  |         ^^^\n"), "{said}");
    }

    #[test]
    fn what_has_no_line_of_its_own_is_told_all_the_same() {
        let problems = Topology::parse("").expect_err("nothing is there");
        let said = shown(Level::Warning, &problems[0], Path::new("a.toml"), "", false);
        assert_eq!(said, "warning: the document lacks version\n --> a.toml:1:1\n  = write version = 1\n");
    }
}
