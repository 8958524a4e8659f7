//! A real ZooKeeper: Debian's packages of it, unpacked beside Mesos, and the Java of the system.

use std::fs;

use super::{build_aside, debian, directory, lock, on_path};
use crate::error::{Error, Result};

/// The directory of the unpacked packages.
const NAME: &str = "zookeeper";

/// The package with the server, and those of the libraries without which it does not run. The server of
/// Debian's own `zookeeper` package is a service with a user; nothing of that is needed.
const PACKAGES: [&str; 4] =
    ["libzookeeper-java", "libslf4j-java", "libdropwizard-metrics-java", "libsnappy-java"];

/// Where the packages have their archives.
const ARCHIVES: &str = "usr/share/java";

/// The archives that a server needs.
const JARS: [&str; 6] = [
    "zookeeper.jar",
    "zookeeper-jute.jar",
    "slf4j-api.jar",
    "slf4j-simple.jar",
    "metrics-core.jar",
    "snappy-java.jar",
];

/// Installs ZooKeeper unless it is there, and gives the class path of its server. Needs `java` on the path.
///
/// # Errors
/// [`Error::NoZooKeeper`] where none can be had; others when a step fails.
pub fn setup_zookeeper() -> Result<String> {
    if on_path("java").is_none() {
        let why = "there is no java; run: sudo apt-get install default-jre-headless".to_owned();
        return Err(Error::NoZooKeeper { why });
    }
    let directory = directory();
    fs::create_dir_all(&directory).map_err(Error::path("create", &directory))?;
    let directory = directory.canonicalize().map_err(Error::path("resolve", &directory))?;
    let target = directory.join(NAME);
    let archives = target.join(ARCHIVES);
    let jars = JARS.map(|jar| archives.join(jar));
    let is_there = || jars.iter().all(|jar| jar.is_file());
    if !is_there() {
        let _lock = lock(&directory.join("lock"))?;
        if !is_there() {
            build_aside(&directory, &target, |target| debian::unpack(&PACKAGES, target))
                .map_err(|error| Error::NoZooKeeper { why: error.to_string() })?;
        }
    }
    if let Some(missing) = jars.iter().find(|jar| !jar.is_file()) {
        let why = format!("Debian's packages have no {}", missing.display());
        return Err(Error::NoZooKeeper { why });
    }
    Ok(jars.map(|jar| jar.display().to_string()).join(":"))
}
