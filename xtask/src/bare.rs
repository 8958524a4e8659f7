//! The command by which the original's README started a master, to the letter: with the files of the
//! source tree, without any flag, and without a Mesos, which it waits for while it serves.

use crate::process::Daemon;
use crate::signals::Stop;
use crate::workspace::root;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// The command.
const COMMAND: &str = "UBER_CONFIG_DIR=config/master bin/peloton-master";
/// Where it serves by default.
const ADDRESS: &str = "127.0.0.1:5289";
/// How long it may take to serve.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Runs it until it serves, and ends it; `bin/` has to be there.
pub(crate) fn run() -> Result<()> {
    if TcpStream::connect(ADDRESS).is_ok() {
        bail!("{ADDRESS} is in use: end the master that serves there");
    }
    let directory = root().join(".peloton");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let log = directory.join("bare.log");
    fs::write(&log, "").with_context(|| log.display().to_string())?;
    let mut command = Command::new("sh");
    // `exec` makes the signal that ends it reach the master and not a shell around it.
    let text = COMMAND.replace(" bin/", " exec bin/");
    command.args(["-c", &text]).current_dir(root());
    let mut master = Daemon::start("peloton-master", &mut command, &log)?;
    let stop = Stop::listen()?;
    master.wait_until("serving", SERVES_WITHIN, &stop, |_| health().is_ok())?;
    let status = master.stop()?;
    if !status.success() {
        bail!("`{COMMAND}` ended after SIGTERM with {status}:\n{}", master.log_tail());
    }
    println!("`{COMMAND}` serves, and ends well after SIGTERM");
    Ok(())
}

/// The answer of the health page.
fn health() -> Result<String> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_read_timeout(Some(SERVES_WITHIN))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 ") || !answer.contains("\"components\"") {
        bail!("not a health page: {answer}");
    }
    Ok(answer)
}
