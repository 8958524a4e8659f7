//! Ends what tasks leave, however the server's process ends.
//!
//! A guard process holds the other end of a pipe. When that closes, by the server's end or by kill
//! -9, the guard kills the process groups that it was told of, then every process with the server's
//! mark, and removes the temporary directory. It is the server's own program, started anew: so
//! whoever embeds the server calls [`supervise_if_asked`] first in `main`. Programs that cannot,
//! such as tests, use the program `mesos-sim` for it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peloton_task_runner::mark::{MARK, sweep};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::error::{Error, Result};

/// The first argument that makes a program the guard.
const ASKED: &str = "--peloton-mesos-sim-guard";

/// The program itself, even when its file was replaced meanwhile.
const MYSELF: &str = "/proc/self/exe";

/// For processes to be gone after their SIGKILL.
pub(crate) const SWEEP_WITHIN: Duration = Duration::from_secs(20);

/// For a killed process group to be gone. It takes a few milliseconds; what is there for longer has
/// ended, too, and waits for an init process that is slow to reap.
const END_WITHIN: Duration = Duration::from_millis(250);

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Names a program that can be the guard.
const PROGRAM_VARIABLE: &str = "PELOTON_MESOS_SIM_PROGRAM";

/// Whether this program can be the guard.
static CAN_GUARD: AtomicBool = AtomicBool::new(false);

/// To be called first in `main` by programs that start a server: when the program was started to be
/// the guard of one, it does that and does not return.
pub fn supervise_if_asked() {
    CAN_GUARD.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != ASKED) {
        return;
    }
    let mark = arguments.next().and_then(|mark| mark.into_string().ok());
    if let Some(mark) = mark {
        guard(&mark, arguments.next().as_deref());
    }
    std::process::exit(0);
}

fn guard(mark: &str, remove: Option<&OsStr>) {
    let mut groups = BTreeSet::new();
    // An error is an end, too: the starter is gone.
    for line in std::io::stdin().lock().lines().map_while(|line| line.ok()) {
        match line.split_at_checked(1) {
            Some(("+", group)) => groups.extend(group.parse::<i32>()),
            Some(("-", group)) => {
                let _ = group.parse::<i32>().map(|group| groups.remove(&group));
            }
            _ => {}
        }
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
        wait_for_end(group);
    }
    sweep(mark, SWEEP_WITHIN);
    if let Some(directory) = remove {
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// The server's end of it.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Mutex<Child>,
    pipe: Mutex<Option<ChildStdin>>,
    /// The process groups that are there.
    groups: Mutex<BTreeSet<i32>>,
    mark: String,
}

impl Guard {
    /// Starts the guard of the processes with this mark. `remove` is a directory that goes with them.
    pub(crate) fn start(
        program: Option<&Path>,
        mark: String,
        remove: Option<&Path>,
    ) -> Result<Self> {
        let program = match program {
            Some(given) => given.to_path_buf(),
            None => find()?,
        };
        let mut command = Command::new(&program);
        command.arg(ASKED).arg(&mark).args(remove);
        // Ctrl-C of a terminal is for its user; the mark of an outer testbed would be our end.
        command.process_group(0).current_dir("/").env_remove(MARK);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(Error::path(program))?;
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self { child: Mutex::new(child), pipe, groups: Mutex::default(), mark })
    }

    /// What marks the processes.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// A task's process group is there.
    pub(crate) fn started(&self, group: Pid) {
        lock(&self.groups).insert(group.as_raw_pid());
        self.tell('+', group);
    }

    /// It was killed. Waits until it is gone: then its id may go to others.
    pub(crate) fn ended(&self, group: Pid) {
        wait_for_end(group);
        self.tell('-', group);
        lock(&self.groups).remove(&group.as_raw_pid());
    }

    /// Waits until all process groups have ended; false when it takes too long.
    pub(crate) fn wait_for_groups(&self) -> bool {
        let deadline = Instant::now() + SWEEP_WITHIN;
        while !lock(&self.groups).is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }

    fn tell(&self, sign: char, group: Pid) {
        if let Some(pipe) = &mut *lock(&self.pipe) {
            // A guard that was killed cannot be helped.
            let _ = writeln!(pipe, "{sign}{}", group.as_raw_pid());
        }
    }

    /// Lets it do its work.
    pub(crate) fn release(&self) {
        drop(lock(&self.pipe).take());
    }

    /// Lets it do its work, and waits for it.
    pub(crate) fn finish(&self) {
        self.release();
        let _ = lock(&self.child).wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A killed process takes a moment to end. One that nobody reaps is there for ever, and harmless.
fn wait_for_end(group: Pid) {
    let deadline = Instant::now() + END_WITHIN;
    while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A program that can be the guard.
fn find() -> Result<PathBuf> {
    if CAN_GUARD.load(Ordering::Relaxed) {
        return Ok(PathBuf::from(MYSELF));
    }
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let me = std::env::current_exe().map_err(Error::path(MYSELF))?;
    // Tests are in `target/debug/deps`, programs in `target/debug`.
    let beside = me.ancestors().skip(1).take(2).map(|directory| directory.join("mesos-sim"));
    if let Some(found) = beside.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    match std::env::var_os("CARGO") {
        Some(cargo) => build(&cargo),
        None => {
            Err(Error::NoGuard { why: format!("there is no mesos-sim beside {}", me.display()) })
        }
    }
}

/// Under cargo, tests of other crates need the program without having made cargo build it.
fn build(cargo: &OsString) -> Result<PathBuf> {
    let no_guard = |why: String| Error::NoGuard { why };
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "peloton-mesos-sim-server", "--bin", "mesos-sim"])
        .arg("--message-format=json")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| no_guard(format!("cannot run cargo: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
    programs.find(|path| path.ends_with("mesos-sim")).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        no_guard(format!("cargo cannot build mesos-sim: {}", said.trim()))
    })
}
