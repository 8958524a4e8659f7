//! A minicluster for the documentation's commands, with all that it writes below `.peloton/tour`.

use crate::process::Daemon;
use crate::programs;
use crate::signals::Stop;
use crate::workspace::root;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For Mesos with its agents, and for the masters; a loaded machine takes ten times what a free one
/// does, which is seconds.
const START_WITHIN: Duration = Duration::from_secs(120);

/// The addresses in the documentation: of the masters, in their order, and of Mesos.
const DOCUMENTED_MASTERS: [&str; 3] = ["localhost:5289", "localhost:5290", "localhost:5291"];
const DOCUMENTED_MESOS: &str = "localhost:5050";

/// The cluster; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    minicluster: Daemon,
    masters: Vec<String>,
    mesos: String,
    directory: PathBuf,
    keep: bool,
    /// Of the directory; the system lets go of it with the process.
    _lock: File,
}

impl Cluster {
    /// Starts a minicluster on free ports; `bin/` has to be there.
    pub(crate) fn start(stop: &Stop) -> Result<Self> {
        let directory = root().join(".peloton/tour");
        let lock = claim(&directory)?;
        let mut command = Command::new(programs::path("peloton"));
        command.current_dir(root()).args(["-o", "json", "minicluster", "--port", "0", "--dir"]);
        command.arg(directory.join("minicluster"));
        let log = directory.join("minicluster.log");
        let mut minicluster = Daemon::start("peloton minicluster", &mut command, &log)?;
        let mut found = None;
        minicluster.wait_until("ready", START_WITHIN, stop, |log| {
            found = whereabouts(log);
            found.is_some()
        })?;
        let (masters, mesos) = found.context("a minicluster without addresses")?;
        println!("minicluster: masters {}, Mesos {mesos}", masters.join(", "));
        Ok(Self { minicluster, masters, mesos, directory, keep: false, _lock: lock })
    }

    /// Where the masters are.
    pub(crate) fn masters(&self) -> &[String] {
        &self.masters
    }

    /// A script of the documentation, with the addresses of this cluster.
    pub(crate) fn with_its_addresses(&self, script: &str) -> String {
        let documented = DOCUMENTED_MASTERS.iter().zip(&self.masters);
        documented.fold(script.replace(DOCUMENTED_MESOS, &self.mesos), |script, (theirs, ours)| {
            script.replace(theirs, ours)
        })
    }

    /// Has to be called every now and then: an error when the cluster ended.
    pub(crate) fn tend(&mut self) -> Result<()> {
        match self.minicluster.ended()? {
            None => Ok(()),
            Some(status) => bail!("it ended: {status}; its log:\n{}", self.minicluster.log_tail()),
        }
    }

    /// Ends everything; an error if it did not end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.minicluster.stop()?;
        if status.success() {
            return Ok(());
        }
        self.keep = true;
        bail!("the minicluster ended with {status}; its log:\n{}", self.minicluster.log_tail());
    }

    /// The error, with where to look; what would tell more is kept.
    pub(crate) fn blame(mut self, error: anyhow::Error) -> anyhow::Error {
        self.keep = true;
        let directory = self.directory.display();
        error.context(format!("logs, store and sandboxes are left in {directory}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Before the directory goes.
        let _status = self.minicluster.stop();
        if !self.keep {
            let _ignored = fs::remove_dir_all(&self.directory);
        }
    }
}

/// The addresses of masters and Mesos in what a minicluster writes, once it is ready; news on its
/// standard error come before.
fn whereabouts(log: &str) -> Option<(Vec<String>, String)> {
    let document: Value = serde_json::from_str(&log[log.find('{')?..]).ok()?;
    let masters = document["masters"].as_array()?.iter();
    let masters: Option<Vec<String>> = masters.map(|m| Some(m.as_str()?.to_owned())).collect();
    Some((masters?, document["mesos"].as_str()?.to_owned()))
}

/// Makes the directory, empty, and ours alone.
fn claim(directory: &Path) -> Result<File> {
    let parent = directory.parent().unwrap_or(directory);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let path = parent.join("tour.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = file.with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another tour runs in this source tree; end it first")
        }
        Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", path.display()),
    }
    if directory.exists() {
        fs::remove_dir_all(directory).context("cannot remove what an earlier tour left")?;
    }
    fs::create_dir_all(directory).context("cannot create the directory of the tour")?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_once_they_are_all_there() {
        let text = "a note\n{\n  \"masters\": [\"h:1\", \"h:2\"],\n  \"mesos\": \"h:3\"\n}\n";
        let (masters, mesos) = whereabouts(text).unwrap();
        assert_eq!((masters.join(" ").as_str(), mesos.as_str()), ("h:1 h:2", "h:3"));
        assert!(whereabouts(&text[..30]).is_none() && whereabouts("").is_none());
    }
}
