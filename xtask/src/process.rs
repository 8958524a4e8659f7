//! Child processes that end when their owner lets go of them.

use crate::signals::Stop;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at while waiting.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a program may take to end after SIGTERM before it gets SIGKILL; more than the testbed
/// gives to its own children.
const END_WITHIN: Duration = Duration::from_secs(60);

/// How many lines of a log are shown when its program fails.
const LOG_LINES: usize = 30;

/// A program in the background that writes to a log.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, in a process group of its own: Ctrl-C reaches only us, and we end it in order.
    /// The log is appended to.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().context("cannot share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.to_path_buf() })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot look at {}", self.name))
    }

    /// Waits until the condition is true of the program.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        within: Duration,
        stop: &Stop,
        mut is_so: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if is_so(&self.log_text()) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended: {status}; its log ends so:\n{}", self.name, self.log_tail());
            }
            if stop.asked() {
                bail!("interrupted");
            }
            if Instant::now() >= deadline {
                let (name, tail) = (self.name, self.log_tail());
                bail!("{name}: not {what} within {within:?}; its log ends so:\n{tail}");
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Ends it with SIGTERM, after a while with SIGKILL, and says how it ended.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let _gone = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        self.child.kill().with_context(|| format!("cannot end {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left to be told to; a process that is gone is what is wanted.
        let _ignored = self.stop();
    }
}

/// Runs a command in the foreground; an error tells how it failed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
