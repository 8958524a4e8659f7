//! What can go wrong when a real Mesos is installed, started or asked.

use std::path::{Path, PathBuf};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the testbed could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There can be no Mesos on this machine: another architecture, or the package cannot be had.
    #[error("no Mesos can be had on this machine: {why}")]
    Unavailable {
        /// What is missing, and what was tried.
        why: String,
    },
    /// There can be no etcd on this machine.
    #[error("no etcd can be had on this machine: {why}")]
    NoEtcd {
        /// What was tried.
        why: String,
    },
    /// There can be no ZooKeeper on this machine.
    #[error("no ZooKeeper can be had on this machine: {why}")]
    NoZooKeeper {
        /// What is missing, or what was tried.
        why: String,
    },
    /// A program that the set-up runs failed.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation and its object.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A master or an agent ended, or did not become ready in time.
    #[error("{what}; its log {log} ends:\n{tail}")]
    NotReady {
        /// Which process, and how it failed.
        what: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Mesos answered a request with something else than was needed.
    #[error("{request}: {why}")]
    Answer {
        /// The request.
        request: String,
        /// What was wrong with the answer.
        why: String,
    },
    /// An option has a value that cannot work.
    #[error("{field}: {value:?} is not allowed: {allowed}")]
    Option {
        /// The option's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be allowed.
        allowed: String,
    },
}

impl Error {
    /// For `map_err`: names the operation that an I/O error belongs to.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: names the operation and the path.
    pub(crate) fn path(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(format!("cannot {verb} {}", path.display()))
    }

    /// Whether there simply is no Mesos, etcd or ZooKeeper to be had here (as opposed to a failure of it).
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::NoEtcd { .. } | Self::NoZooKeeper { .. })
    }
}
