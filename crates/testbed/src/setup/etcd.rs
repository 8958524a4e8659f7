//! A real etcd: the one of the system, or the one of Debian's package, unpacked beside Mesos.

use std::fs;
use std::path::PathBuf;

use super::{build_aside, debian, directory, lock};
use crate::error::{Error, Result};

/// The package that has the server.
const PACKAGE: &str = "etcd-server";

/// The program in the unpacked package.
const PROGRAM: &str = "usr/bin/etcd";

/// Names a program that is taken as it is.
const GIVEN: &str = "PELOTON_ETCD";

/// Finds etcd, and installs it if there is none: `PELOTON_ETCD`, else `etcd` on the path, else Debian's
/// package, which is downloaded and unpacked and needs no root. No service is started.
///
/// # Errors
/// [`Error::NoEtcd`] where none can be had; others when a step fails.
pub fn setup_etcd() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(GIVEN) {
        return Ok(PathBuf::from(given));
    }
    if let Some(found) = super::on_path("etcd") {
        return Ok(found);
    }
    let directory = directory();
    let target = directory.join(PACKAGE);
    let program = target.join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&directory).map_err(Error::path("create", &directory))?;
    let directory = directory.canonicalize().map_err(Error::path("resolve", &directory))?;
    let _lock = lock(&directory.join("lock"))?;
    if !program.is_file() {
        build_aside(&directory, &target, |target| debian::unpack(&[PACKAGE], target))
            .map_err(|error| Error::NoEtcd { why: error.to_string() })?;
    }
    Ok(program)
}
