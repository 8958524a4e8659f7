//! What can be wrong with a configuration, with its place.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// A file.
    File {
        /// The file's path.
        path: PathBuf,
        /// Line, from 1, where the parser gave it.
        line: Option<u64>,
        /// Column, from 1, where the parser gave it.
        column: Option<u64>,
    },
    /// An environment variable.
    Env {
        /// The variable's name, as it was written.
        name: String,
    },
    /// A flag of the command line.
    Flag {
        /// The flag: `--set`, `--port`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, .. } => {
                write!(f, "{}", path.display())?;
                line.map_or(Ok(()), |line| write!(f, ":{line}"))
            }
            Self::Env { name } => write!(f, "environment variable {name}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub origin: Origin,
    /// What it is.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.kind)
    }
}

/// What is wrong. Values in here have been redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// There is no such key. The value is not shown: it may be a secret in the wrong place.
    #[error("unknown key {key:?}{}; {}", did_you_mean(.suggestion), list_allowed(.within, .allowed))]
    UnknownKey {
        /// The key, as it was written.
        key: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// The section the key was looked for in; empty for the top.
        within: String,
        /// The names that the section has.
        allowed: Vec<String>,
    },
    /// A value of another type.
    #[error("{key} cannot be {found}; allowed: {allowed}")]
    WrongType {
        /// The key.
        key: String,
        /// The value and its type.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A value of the right type that is not allowed.
    #[error("{key} cannot be {found}; allowed: {allowed}")]
    NotAllowed {
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A value where a section is needed.
    #[error("{section} is a section and cannot be {found}; it has the keys {}", .allowed.join(", "))]
    NotASection {
        /// The section, or "the document".
        section: String,
        /// The value and its type.
        found: String,
        /// The names that the section has.
        allowed: Vec<String>,
    },
    /// A value that makes no sense without another one.
    #[error("{key} needs {needs}")]
    Needs {
        /// The key.
        key: String,
        /// What must be set, too, or otherwise.
        needs: String,
    },
    /// Two environment variables that differ in case only.
    #[error("{key} is also set by environment variable {other}; remove one of them")]
    SetTwice {
        /// The key.
        key: String,
        /// The other variable.
        other: String,
    },
    /// Not YAML.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// A file that cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A file that is too large to be a configuration.
    #[error("has {bytes} bytes; allowed: at most {limit}")]
    TooLarge {
        /// The file's size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The directory does not exist.
    #[error(
        "no such directory; set UBER_CONFIG_DIR to the directory that has base.yaml \
         (it is config/master in the source tree)"
    )]
    NoDirectory,
    /// `base.yaml` does not exist.
    #[error("no such file; base.yaml is needed, but may be empty")]
    NoBase,
    /// There is no file for the environment.
    #[error("no such file; UBER_ENVIRONMENT is {environment:?}, allowed here: {}", or_none(.present))]
    NoEnvironment {
        /// The environment that was asked for.
        environment: String,
        /// The environments that have a file.
        present: Vec<String>,
    },
    /// A name that cannot be part of a file's name.
    #[error(
        "cannot be {0:?}; allowed: letters, digits, . _ and -, starting with a letter or digit"
    )]
    EnvironmentName(String),
    /// An environment variable that is not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// The file with a secret cannot be used.
    #[error("{key}: {path}: {reason}")]
    SecretFile {
        /// The key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The table of keys and the types disagree: a mistake in this program.
    #[error("the table of keys and the types disagree at {key}: {reason}")]
    Internal {
        /// The key.
        key: String,
        /// How they disagree.
        reason: String,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|key| format!(", did you mean {key:?}?")).unwrap_or_default()
}

fn list_allowed(within: &str, allowed: &[String]) -> String {
    let place = if within.is_empty() { "allowed at the top" } else { "allowed in " };
    format!("{place}{within}: {}", allowed.join(", "))
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// All problems that were found in all layers, in the order of the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "configuration: {problem}"),
            problems => {
                write!(f, "the configuration has {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
