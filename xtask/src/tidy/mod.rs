//! Style and structure that no other tool holds.

use anyhow::{Result, bail};

/// Checks everything, and prints what is wrong.
pub(crate) fn run() -> Result<()> {
    let problems: Vec<String> = Vec::new();
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        n => bail!("{n} problems"),
    }
}
