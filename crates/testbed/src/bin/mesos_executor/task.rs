//! The task's process.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;

use crate::agent::spawn;
use crate::message::{Input, text};

/// A started task: the leader of a process group of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    group: Pid,
}

impl Task {
    /// Starts the command of a `TaskInfo`. Its output goes where the executor's goes: the agent
    /// has directed that to the sandbox's `stdout` and `stderr`.
    pub(crate) fn launch(info: &Value, inputs: Sender<Input>) -> Result<Self, String> {
        let command = info.get("command").ok_or("the task has no command")?;
        let mut process = process_of(command)?;
        let role = info.pointer("/resources/0/allocation_info/role").and_then(Value::as_str);
        if let Some(role) = role {
            process.env("MESOS_ALLOCATION_ROLE", role);
        }
        process.process_group(0).stdin(Stdio::null());
        let child = process.spawn().map_err(|error| {
            let value = text(command, "value").unwrap_or_default();
            format!("Failed to launch command {value:?}: {error}")
        })?;
        let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = raw.ok_or("the system gave the task no process id")?;
        spawn("wait", move || {
            let _ = inputs.send(Input::Ended(wait(child, group)));
        })?;
        Ok(Self { group })
    }

    /// Signals all processes of the task.
    pub(crate) fn signal(self, signal: Signal) {
        // None is left when it has just ended; the thread that waits tells of that.
        let _ = kill_process_group(self.group, signal);
    }
}

/// Waits for the leader, then ends what it left behind, before its id can go to another group.
fn wait(mut child: Child, group: Pid) -> std::io::Result<ExitStatus> {
    let leader = WaitId::Pid(group);
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(leader.clone(), ended) {}
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()
}

/// The command of a `CommandInfo`, for a task or a health check.
pub(crate) fn process_of(command: &Value) -> Result<Command, String> {
    let value = text(command, "value").ok_or("the command has no value")?;
    // The field's default is true.
    let shell = command.get("shell").and_then(Value::as_bool).unwrap_or(true);
    let mut process;
    if shell {
        process = Command::new("/bin/sh");
        process.args(["-c", value]);
    } else {
        process = Command::new(value);
        let arguments = command.get("arguments").and_then(Value::as_array);
        let mut arguments = arguments.into_iter().flatten().filter_map(Value::as_str);
        // The first is the program's name for itself, as with execv.
        if let Some(own_name) = arguments.next() {
            process.arg0(own_name);
        }
        process.args(arguments);
    }
    let variables = command.pointer("/environment/variables").and_then(Value::as_array);
    for variable in variables.into_iter().flatten() {
        // Secrets are resolved by the agent, and come to us in the environment.
        if text(variable, "type") == Some("SECRET") {
            continue;
        }
        if let (Some(name), Some(value)) = (text(variable, "name"), text(variable, "value")) {
            process.env(name, value);
        }
    }
    Ok(process)
}

/// How a process ended, in the words of Mesos's messages.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("terminated with signal {}{core}", signal_name(number))
        }
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// The system's names of the signals that end tasks.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        _ => return format!("Unknown signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn output(command: &Value) -> String {
        let output = process_of(command).unwrap().output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn commands_run_in_a_shell_or_as_they_are() {
        let environment = json!({"variables": [
            {"name": "A", "value": "from task"},
            {"name": "A", "type": "SECRET"},
        ]});
        let shell = json!({"value": "echo \"$A\" | tr a-z A-Z", "environment": environment});
        assert_eq!(output(&shell), "FROM TASK\n");
        let plain = json!({"shell": false, "value": "sh", "arguments": ["me", "-c", "echo $0 $1", "x", "y"]});
        assert_eq!(output(&plain), "x y\n");
        assert!(process_of(&json!({})).unwrap_err().contains("no value"));
    }

    #[test]
    fn endings_are_told_as_mesos_tells_them() {
        assert_eq!(ending(ExitStatus::from_raw(3 << 8)), "exited with status 3");
        assert_eq!(ending(ExitStatus::from_raw(9)), "terminated with signal Killed");
        assert_eq!(
            ending(ExitStatus::from_raw(11 | 0x80)),
            "terminated with signal Segmentation fault (core dumped)"
        );
    }
}
