//! A process that does not outlive its user, and can be killed and paused.
//!
//! A small shell process stands between us and it, and holds the other end of a pipe to us: whatever way the
//! user ends, it kills the process, and so nothing is left.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::place::Place;
use crate::setup::tail;

/// What an error tells of a log.
const TAIL_LINES: usize = 15;

/// Runs a process, tells its id, and kills it when told to or when its user is gone; in the latter case nobody
/// else removes the directory.
const GUARD: &str = r#"
log=$1; directory=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
process=$!
echo "$process"
if read -r word; then kill -9 "$process"; else kill -9 "$process"; rm -rf "$directory"; fi
wait "$process" 2>/dev/null
"#;

/// How to start a process, the same way each time.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// How the names of environment variables begin that the program takes options from.
    pub(crate) deaf_to: &'static str,
    /// What its user would remove, and the guard removes in its place.
    pub(crate) directory: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) running: Option<Running>,
}

/// A process and its guard.
#[derive(Debug)]
pub(crate) struct Running {
    guard: Child,
    pid: Pid,
}

impl Guarded {
    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        self.kill();
        File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::path("open", &self.log))?;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(&self.log).arg(&self.directory);
        command.args(&self.place.prefix).arg(&self.program).args(&self.arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(self.deaf_to) {
                command.env_remove(name);
            }
        }
        // Ctrl-C of a terminal is for its user, not for the guard.
        command.process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut guard = command.spawn().map_err(Error::io("cannot start sh"))?;
        let mut line = String::new();
        if let Some(output) = guard.stdout.take() {
            let what = format!("cannot start {}", self.name);
            BufReader::new(output).read_line(&mut line).map_err(Error::io(what))?;
        }
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(self.failure(format!("{} was not started: {line:?}", self.name)));
        };
        self.running = Some(Running { guard, pid });
        Ok(())
    }

    /// Whether it has been started and has not ended.
    pub(crate) fn is_running(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let stat = fs::read_to_string(format!("/proc/{}/stat", running.pid.as_raw_nonzero()));
        // The state comes behind the command's name in parentheses.
        stat.ok()
            .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim().to_owned()))
            .is_some_and(|rest| !rest.starts_with(['Z', 'X']))
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        if let Some(mut word) = running.guard.stdin.take() {
            // The guard may have ended, with its process.
            let _ = word.write_all(b"kill\n");
        }
        let _ = running.guard.wait();
    }

    /// Stops the process where it is, or lets it go on. One that does not run is left alone.
    pub(crate) fn pause(&self, paused: bool) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        kill_process(running.pid, signal)
            .map_err(|error| Error::io(format!("cannot pause {}", self.name))(error.into()))
    }

    pub(crate) fn failure(&self, what: String) -> Error {
        Error::NotReady { what, log: self.log.clone(), tail: tail(&self.log_text(), TAIL_LINES) }
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A log beside the others of its user.
    pub(crate) fn log_in(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.log"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
