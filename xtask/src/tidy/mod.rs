//! Style and structure that no other tool holds.
//!
//! Three parts: which crates may know which ([`edges`]), what files look like ([`files`]), and that
//! the documentation points at what is there ([`docs`]). Each finds problems and fixes nothing. A
//! rule that must be broken has a table of exceptions, each with its reason.

mod docs;
mod edges;
mod files;

use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;

/// A tracked file.
#[derive(Debug)]
struct Source {
    /// Its path from the root, with `/`.
    path: String,
    /// What is in it.
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }
}

/// Checks everything, and prints what is wrong.
pub(crate) fn run() -> Result<()> {
    let sources = sources()?;
    let mut problems = edges::check(&workspace::metadata()?)?;
    problems.extend(files::check(&sources));
    problems.extend(docs::check(&sources));
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("1 problem"),
        n => bail!("{n} problems"),
    }
}

/// All text files of the project.
fn sources() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in workspace::files()? {
        let full = workspace::root().join(&path);
        let bytes = fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?;
        // What is not text has no lines to look at.
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source { path: path.to_string_lossy().into_owned(), text });
        }
    }
    Ok(sources)
}
