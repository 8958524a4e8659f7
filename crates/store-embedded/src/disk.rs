//! The file under the engine. It exists to remember one thing the engine does not tell: whether a sync
//! has failed. Locking is done by the directory's lock, for longer than the file is open.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

/// Whether a sync has failed, ever.
#[derive(Debug, Default)]
pub(crate) struct SyncFailed(AtomicBool);

impl SyncFailed {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Errors to be injected by tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) write: AtomicBool,
    /// Writes of more than a few pages: there is room for what opening the file writes, and no more.
    pub(crate) large_write: AtomicBool,
    pub(crate) sync: AtomicBool,
    pub(crate) read: AtomicBool,
}

#[cfg(test)]
fn inject(fault: &AtomicBool) -> io::Result<()> {
    if fault.load(Ordering::Acquire) {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(())
}

/// The engine's file.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    sync_failed: Arc<SyncFailed>,
    #[cfg(test)]
    pub(crate) faults: Arc<Faults>,
}

impl Disk {
    pub(crate) fn open(path: &Path, sync_failed: Arc<SyncFailed>) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self {
            file,
            sync_failed,
            #[cfg(test)]
            faults: Arc::default(),
        })
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        inject(&self.faults.read)?;
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        inject(&self.faults.write)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = inject(&self.faults.sync) {
            self.sync_failed.0.store(true, Ordering::Release);
            return Err(error);
        }
        self.file.sync_data().inspect_err(|_| self.sync_failed.0.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        {
            inject(&self.faults.write)?;
            if data.len() > 64 << 10 {
                inject(&self.faults.large_write)?;
            }
        }
        self.file.write_all_at(data, offset)
    }
}
