//! Finding and ending what one user of this crate has started, and nothing else.
//!
//! Executors and tasks of a real Mesos are no children of ours: agents start them in sessions of
//! their own, and they outlive an agent that was killed. And what a task leaves behind is nobody's
//! child. So every process inherits a mark in its environment, by which it
//! can be found again; a task that clears its environment is found by the session that
//! its marked executor leads. A process is signalled through a descriptor that was opened before
//! the mark was read: a process id that is reused in between can hit nobody else.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The environment variable that marks every process of one user. Its value is a name, or a name
/// followed by a slash and a part of it.
pub const MARK: &str = "PELOTON_PROCESS_MARK";

/// Between two looks at the process table.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// Ends every process with this mark, or a part of it, until none is left. Returns whether that
/// came about within the time.
pub fn sweep(mark: &str, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        let found = marked(mark);
        if found.is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        // Members first: as long as its leader is there, a session can be told to be ours.
        for pid in found.iter().rev() {
            kill_if_marked(*pid, mark);
        }
        std::thread::sleep(SWEEP_INTERVAL);
    }
}

/// The ids of the processes with this mark, or a part of it; zombies have none.
pub fn marked(mark: &str) -> Vec<u32> {
    let me = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != me && is_marked(*pid, mark))
        .collect();
    found.sort_unstable();
    found
}

fn kill_if_marked(number: u32, mark: &str) {
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if is_marked(number, mark) {
        // It may have ended by itself: then the next look finds it gone.
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
}

fn is_marked(pid: u32, mark: &str) -> bool {
    has_mark(pid, mark)
        || session(pid).is_some_and(|leader| leader != pid && has_mark(leader, mark))
}

fn has_mark(pid: u32, mark: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environment.split(|byte| *byte == 0).any(|variable| {
        let value = variable.strip_prefix(MARK.as_bytes()).and_then(|v| v.strip_prefix(b"="));
        let rest = value.and_then(|value| value.strip_prefix(mark.as_bytes()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// The id of the process that leads the session of a running one.
fn session(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper(mark: &str) -> Child {
        Command::new("sleep").arg("600").env(MARK, mark).spawn().unwrap()
    }

    #[test]
    fn a_sweep_ends_marked_processes_and_no_others() {
        let mark = format!("unit-{}", std::process::id());
        let mut whole = sleeper(&mark);
        let mut part = sleeper(&format!("{mark}/part"));
        let mut other = sleeper(&format!("{mark}-other"));
        // A leader of a session, and a member that has cleared its environment.
        let script = format!("{MARK}={mark} exec setsid sh -c 'env -i sleep 600; true'");
        let mut leader = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while marked(&mark).len() < 4 {
            assert!(Instant::now() < deadline, "found only {:?}", marked(&mark));
            std::thread::sleep(SWEEP_INTERVAL);
        }
        assert!(sweep(&mark, Duration::from_secs(10)));
        for ended in [&mut whole, &mut part, &mut leader] {
            assert!(!ended.wait().unwrap().success());
        }
        assert!(other.try_wait().unwrap().is_none(), "a process of somebody else was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
