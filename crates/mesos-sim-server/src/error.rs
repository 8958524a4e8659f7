//! What can go wrong when the server is started or told to do something.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the server could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option, or an argument, has a value that is not allowed.
    #[error("{field}: {value:?} is not allowed: {allowed}")]
    Option {
        /// Which.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or directory could not be dealt with.
    #[error("{}: {source}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no program to be the guard of the tasks' processes.
    #[error(
        "no program to guard the tasks' processes: {why}; call supervise_if_asked() first in main(), \
         or name mesos-sim in the option `guard`"
    )]
    NoGuard {
        /// What was tried.
        why: String,
    },
    /// The server has ended.
    #[error("the server has been stopped")]
    Stopped,
    /// Processes of tasks are left, although they were killed.
    #[error("processes of tasks are still there after {seconds} s")]
    Leftover {
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    pub(crate) fn path(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { path, source }
    }
}
