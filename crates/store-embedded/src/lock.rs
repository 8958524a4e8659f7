//! One process per directory. The kernel drops the lock with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use peloton_store::StoreError;

use crate::errors::unavailable;

/// The lock file's name.
const LOCK_FILE: &str = "LOCK";
/// A pid is short; more than this in the lock file was not written by us.
const MAX_HOLDER_BYTES: u64 = 64;

/// Holds the directory until it is dropped.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(crate) fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_FILE);
        let fault =
            |error: std::io::Error| unavailable(format!("cannot lock {}: {error}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = directory.display().to_string();
                return Err(StoreError::Locked { path, holder: holder(&file) });
            }
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        // Who holds it is told to people only, so failing to write it (a full disk) does not matter.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(MAX_HOLDER_BYTES).read_to_string(&mut text);
    match text.trim() {
        pid if read.is_ok() && !pid.is_empty() => format!("the process with pid {pid}"),
        _ => "another process".to_owned(),
    }
}
