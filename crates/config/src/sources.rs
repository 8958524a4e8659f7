//! What a configuration is made from, apart from the files' contents.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the files are unless `UBER_CONFIG_DIR` says otherwise.
const DEFAULT_DIR: &str = "config/master";

/// One key set on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key: `master.port`.
    pub key: String,
    /// The value, as in an environment variable.
    pub value: String,
    /// The flag, for messages: `--port`.
    pub source: String,
}

impl Flag {
    /// A dedicated flag, such as `--port 5290` for `master.port`.
    pub fn new(
        key: impl Into<String>,
        value: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), value: value.into(), source: source.into() }
    }
}

/// An argument of `--set` that is no pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not key=value, such as master.port=5290")]
pub struct FlagSyntaxError(String);

/// Reads the argument of `--set`: `master.port=5290`.
impl FromStr for Flag {
    type Err = FlagSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self::new(key.trim(), value, "--set"))
            }
            // Only what precedes the equals sign is shown: what follows may be a secret.
            _ => Err(FlagSyntaxError(text.split('=').next().unwrap_or_default().to_owned())),
        }
    }
}

/// What a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The directory of the files; `UBER_CONFIG_DIR` and then the default where none is given.
    pub dir: Option<PathBuf>,
    /// The environment variables.
    pub env: Vec<(OsString, OsString)>,
    /// The flags, of which later ones win.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// The process's own environment variables, and these flags.
    #[must_use]
    pub fn from_process(flags: Vec<Flag>) -> Self {
        Self { dir: None, env: std::env::vars_os().collect(), flags }
    }

    /// The directory of the files.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        let from_env = || self.variable("UBER_CONFIG_DIR").map(PathBuf::from);
        self.dir.clone().or_else(from_env).unwrap_or_else(|| DEFAULT_DIR.into())
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        let found = self.env.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }
}
