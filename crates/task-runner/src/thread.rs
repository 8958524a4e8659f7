//! Threads that only wait and copy.

use crate::error::{Error, Result};

/// The stack of such a thread in bytes: there are thousands of them on one machine.
pub const STACK_BYTES: usize = 256 * 1024;

/// Starts a named thread with a small stack.
///
/// # Errors
/// When the system has no more threads.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(body)
        .map(|_| ())
        .map_err(|source| Error::Thread { name: name.to_owned(), source })
}
