//! Secrets that do not show up in logs and messages.

use std::fmt;
use std::path::Path;

/// Longest secret file in bytes: anything longer is some other file, named by mistake.
pub(crate) const MAX_SECRET_BYTES: usize = 4096;

/// A text that is shown as `***` wherever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Named so that each use of it stands out in a review.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads a file; line breaks at its end are no part of the secret. The error is a phrase.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let text = text.trim_end_matches(['\n', '\r']);
        match text.len() {
            0 => Err("the file is empty".into()),
            1..=MAX_SECRET_BYTES => Ok(Self::new(text)),
            length => {
                Err(format!("the file has {length} bytes, at most {MAX_SECRET_BYTES} allowed"))
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
