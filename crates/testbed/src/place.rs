//! Where a process runs: on the loopback interface, or in a network namespace of its own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// An address, and how a program is started where that address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it listens on, and what it tells others.
    pub address: Ipv4Addr,
    /// A command that becomes the program after it: `["ip", "netns", "exec", "a"]`. Empty for the
    /// program alone.
    pub prefix: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, prefix: Vec::new() }
    }
}

impl Place {
    /// The program, to be started there: its process id is the program's.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        match self.prefix.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }
}
