//! Something to say about a place in the document: what is wrong there, and the mend. Owns where that is; `cli` shows it.

use std::fmt;
use std::ops::Range;

/// Makes a document unusable.
pub type Problem = Finding;

/// Leaves a document usable, but somebody should know.
pub type Warning = Finding;

/// One remark on a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1 on.
    pub line: usize,
    /// Of its first character, from 1 on.
    pub column: usize,
    /// The bytes of the document that it is about.
    pub span: Range<usize>,
    pub what: String,
    /// What to write instead; may be empty.
    pub mend: String,
}

impl Finding {
    pub(super) fn new(text: &str, span: Range<usize>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        Self { line, column, span, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)?;
        if self.mend.is_empty() { Ok(()) } else { write!(f, "; {}", self.mend) }
    }
}
