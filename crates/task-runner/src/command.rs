//! Commands and how they end.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use crate::error::{Error, Result};

/// A command, of a task or of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Run `value` by `/bin/sh -c`; otherwise it is a program.
    pub shell: bool,
    /// The shell's text, or the program.
    pub value: Option<String>,
    /// The program's arguments, its own name first as with execv. A shell gets none.
    pub arguments: Vec<String>,
    /// Variables over those that there are already.
    pub environment: Vec<(String, String)>,
}

impl CommandSpec {
    /// The command, ready to be spawned in a place.
    ///
    /// # Errors
    /// When it has no value.
    pub fn process(&self, place: &Place) -> Result<Command> {
        let value = self.value.as_deref();
        let value = value.ok_or_else(|| Error::Task("the command has no value".to_owned()))?;
        let mut process;
        if self.shell {
            process = Command::new("/bin/sh");
            process.args(["-c", value]);
        } else {
            process = Command::new(value);
            let mut arguments = self.arguments.iter();
            if let Some(own_name) = arguments.next() {
                process.arg0(own_name);
            }
            process.args(arguments);
        }
        if let Some(variables) = &place.variables {
            process.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        }
        if let Some(directory) = &place.directory {
            process.current_dir(directory);
        }
        process.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(process)
    }
}

/// Where commands run. Unset parts are those of the running program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The working directory.
    pub directory: Option<PathBuf>,
    /// All variables that a command finds besides its own.
    pub variables: Option<Vec<(String, String)>>,
}

/// How a process ended, in the words of Mesos's messages.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
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

    fn output(command: &CommandSpec, place: &Place) -> String {
        let output = command.process(place).unwrap().output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn commands_run_in_a_shell_or_as_they_are() {
        let shell = CommandSpec {
            shell: true,
            value: Some("echo \"$A\" | tr a-z A-Z".to_owned()),
            arguments: Vec::new(),
            environment: vec![("A".to_owned(), "from task".to_owned())],
        };
        assert_eq!(output(&shell, &Place::default()), "FROM TASK\n");
        let plain = CommandSpec {
            shell: false,
            value: Some("sh".to_owned()),
            arguments: ["me", "-c", "echo $0 $1", "x", "y"].map(str::to_owned).to_vec(),
            environment: Vec::new(),
        };
        assert_eq!(output(&plain, &Place::default()), "x y\n");
        let none = CommandSpec { value: None, ..shell };
        assert!(none.process(&Place::default()).unwrap_err().to_string().contains("no value"));
    }

    #[test]
    fn a_place_says_where_and_with_what() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place {
            directory: Some(directory.path().to_path_buf()),
            variables: Some(vec![("ONLY".to_owned(), "this".to_owned())]),
        };
        let command = CommandSpec {
            shell: true,
            value: Some("pwd -P; echo $ONLY:${HOME-none}".to_owned()),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let path = directory.path().canonicalize().unwrap();
        assert_eq!(output(&command, &place), format!("{}\nthis:none\n", path.display()));
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
