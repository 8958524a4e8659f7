//! What can go wrong before a task runs.

use std::io;
use std::path::PathBuf;

/// Why something could not be done for a task. The text goes to users in the task's status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task asks for something that is not there, or that nobody here can do.
    #[error("{0}")]
    Task(String),
    /// The command could not be started.
    #[error("Failed to launch command {command:?}: {source}")]
    Launch {
        /// The command's value.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        /// The thread's name.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file or directory could not be dealt with.
    #[error("{}: {source}", path.display())]
    Path {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A helper such as `tar` failed.
    #[error("{program} failed ({status}): {output}")]
    Helper {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// What it wrote on standard error.
        output: String,
    },
    /// A download failed.
    #[error("{0}")]
    Download(String),
    /// A URI could not be fetched.
    #[error("cannot fetch {uri}: {source}")]
    Fetch {
        /// The URI.
        uri: String,
        /// Why.
        source: Box<Error>,
    },
}

impl Error {
    pub(crate) fn path(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { path, source }
    }
}

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
