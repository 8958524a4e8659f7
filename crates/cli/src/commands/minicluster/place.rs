//! What a minicluster takes of the machine: a directory, and ports on 127.0.0.1.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::failed;
use crate::exit::{Exit, Failure};

/// The usual port of Mesos.
const MESOS_PORT: u16 = 5050;

/// The directory with all that a minicluster writes.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Place {
    /// The directory that was asked for, which must be new or empty, or else a temporary one.
    pub(super) fn new(given: Option<&Path>) -> Result<Self, Failure> {
        let Some(given) = given else {
            let temporary = tempfile::Builder::new().prefix("peloton-minicluster-").tempdir();
            let temporary = temporary.map_err(|error| {
                failed(format!("no temporary directory: {error}"))
                    .hint("--dir DIR or the variable TMPDIR names a place for it")
            })?;
            return Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) });
        };
        let wrong =
            |error: io::Error| Failure::usage(format!("--dir {}: {error}", given.display()));
        fs::create_dir_all(given).map_err(wrong)?;
        if fs::read_dir(given).map_err(wrong)?.next().is_some() {
            let message = format!("--dir {}: it is not empty", given.display());
            return Err(Failure::usage(message).hint(
                "a minicluster begins anew each time: name another directory, or empty this one",
            ));
        }
        let path = fs::canonicalize(given).map_err(wrong)?;
        Ok(Self { path, temporary: None })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Something in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The log of all masters.
    pub(super) fn log(&self) -> PathBuf {
        self.join("masters.log")
    }

    /// Whether it goes with the minicluster.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Leaves it behind.
    pub(super) fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _path = temporary.keep();
        }
    }

    /// Removes it, or says where it stays.
    pub(super) fn close(self) -> Option<PathBuf> {
        match self.temporary {
            Some(temporary) => temporary.close().is_err().then_some(self.path),
            None => Some(self.path),
        }
    }
}

/// The masters' ports: so many, from the first on; all 0, which takes free ones, if that is 0.
pub(super) fn ports(first: u16, count: u16) -> Result<Vec<u16>, Failure> {
    if first == 0 {
        return Ok(vec![0; usize::from(count)]);
    }
    let Some(last) = first.checked_add(count - 1) else {
        let message = format!("--port {first}: there are no {count} ports from there");
        return Err(Failure::usage(message));
    };
    for port in first..=last {
        if let Err(error) = bound(port) {
            return Err(taken(port, &error));
        }
    }
    Ok((first..=last).collect())
}

/// Mesos's port: the one that was asked for, or else the usual one if it is free, or else 0: any.
pub(super) fn mesos_port(asked: Option<u16>) -> Result<u16, Failure> {
    match asked {
        Some(port) if port > 0 => bound(port).map_err(|error| {
            let message = format!("port {port} of 127.0.0.1 cannot be had: {error}");
            failed(message).hint("--mesos-port names another one for Mesos")
        }),
        Some(_) => Ok(0),
        None => Ok(bound(MESOS_PORT).unwrap_or(0)),
    }
}

/// A port that is free now, for programs that cannot take any and tell which.
pub(super) fn free_port() -> Result<u16, Failure> {
    bound(0).map_err(failed)
}

/// Tries a port: its number, if it can be listened on.
fn bound(port: u16) -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port())
}

/// A master's port that cannot be had, and what to do about it.
pub(super) fn taken(port: u16, error: &io::Error) -> Failure {
    let message = format!("port {port} of 127.0.0.1 cannot be had: {error}");
    // Far from the usual ones, and below the range from which systems give ports to clients.
    Failure::new(Exit::Failed, message).hint(
        "does another minicluster or peloton-master run? End it, or name other ports: --port 6289, \
         and in other terminals PELOTON_MASTERS=127.0.0.1:6289",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let said = ports(port, 1).unwrap_err().to_string();
        assert!(said.contains(&format!("port {port} ")) && said.contains("--port"), "{said}");
        let said = mesos_port(Some(port)).unwrap_err().to_string();
        assert!(said.contains(&format!("port {port} ")) && said.contains("--mesos-port"), "{said}");
        assert_eq!(ports(0, 3).unwrap(), [0, 0, 0]);
        assert!(ports(u16::MAX, 2).unwrap_err().to_string().contains("no 2 ports"));
    }

    #[test]
    fn a_directory_must_be_new_or_empty() {
        let parent = tempfile::tempdir().unwrap();
        let given = parent.path().join("a/b");
        let place = Place::new(Some(&given)).unwrap();
        fs::write(place.log(), "").unwrap();
        assert!(!place.is_temporary());
        let said = Place::new(Some(&given)).unwrap_err().to_string();
        assert!(said.contains("is not empty"), "{said}");
        assert_eq!(place.close(), Some(fs::canonicalize(&given).unwrap()));
        assert!(Place::new(Some(&given.join("masters.log"))).is_err());
    }

    #[test]
    fn a_temporary_directory_goes_unless_it_is_kept() {
        let place = Place::new(None).unwrap();
        let path = place.path().to_owned();
        assert!(path.is_dir());
        assert_eq!(place.close(), None);
        assert!(!path.exists());
        let mut place = Place::new(None).unwrap();
        place.keep();
        let kept = place.close().unwrap();
        fs::remove_dir(kept).unwrap();
    }
}
