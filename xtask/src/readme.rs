//! The documentation's commands and job files, tried on a minicluster, so that none can rot.
//!
//! Every fenced block of [`TOURS`] that starts with ```` ```sh tour ```` is run by `bash`, block by
//! block and in their order, from the root of the source tree; every one that starts with
//! ```` ```yaml job ```` is created as a job, whose id is `try-` and the line, and deleted. The
//! minicluster has free ports, so the usual ports' numbers are replaced. Tidy sees to it that
//! every block of commands there is either part of the tour or one of [`ELSEWHERE`].

use crate::cluster::Cluster;
use crate::process::POLL_INTERVAL;
use crate::programs::{self, Profile};
use crate::signals::Stop;
use crate::workspace::root;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The pages whose commands and job files are tried.
pub(crate) const TOURS: [&str; 2] = ["README.md", "docs/guide/jobs.md"];

/// The README's commands that are run by other steps of CI, each as it stands there.
pub(crate) const ELSEWHERE: [&str; 4] = [
    "cargo xtask demo",
    "cargo xtask test",
    "cargo xtask build",
    "UBER_CONFIG_DIR=config/master bin/peloton-master",
];

/// For one block; the slowest wait for instances to come back.
const BLOCK_WITHIN: Duration = Duration::from_secs(240);

/// A fenced block of the README: the words after the fence, and the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// `sh tour`, `yaml` and so on.
    pub(crate) info: String,
    /// Its lines.
    pub(crate) text: String,
    /// The line of its fence, from 1.
    pub(crate) line: usize,
}

/// The fenced blocks of a Markdown text.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(info), None) => {
                let info = info.trim().to_owned();
                open = Some(Block { info, text: String::new(), line: index + 1 });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Runs the tour; `build` first builds the programs.
pub(crate) fn run(build: bool) -> Result<()> {
    if build {
        programs::build(Profile::Debug)?;
    }
    let mut tour = Vec::new();
    for page in TOURS {
        let text = fs::read_to_string(root().join(page)).context(page)?;
        let tried =
            blocks(&text).into_iter().filter_map(|block| Some((page, script(&block)?, block)));
        tour.extend(tried);
    }
    if tour.is_empty() {
        bail!("README.md has no block that starts with ```sh tour");
    }
    let stop = Stop::listen()?;
    let mut cluster = Cluster::start(&stop)?;
    for (page, script, block) in &tour {
        println!("\n--- {page}:{}", block.line);
        let ran = run_script(&mut cluster, script, &stop)
            .with_context(|| format!("{page}:{}: the block that starts there", block.line));
        if let Err(error) = ran {
            return Err(cluster.blame(error));
        }
    }
    cluster.stop()
}

/// What `bash` shall run for a block, if anything.
fn script(block: &Block) -> Option<String> {
    match block.info.as_str() {
        "sh tour" => Some(block.text.clone()),
        "yaml job" => Some(format!(
            "bin/peloton job create try-{0} --strict -f - <<'END_OF_FILE'\n{1}END_OF_FILE\n\
             bin/peloton job delete try-{0} --yes --watch --watch-timeout 120s\n",
            block.line, block.text
        )),
        _ => None,
    }
}

fn run_script(cluster: &mut Cluster, script: &str, stop: &Stop) -> Result<()> {
    let script = cluster.with_its_addresses(script);
    let mut child = Command::new("bash")
        .args(["-e", "-u", "-o", "pipefail", "-x", "-c", &script])
        .current_dir(root())
        .env("PELOTON_MASTERS", cluster.masters().join(","))
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start bash")?;
    let deadline = Instant::now() + BLOCK_WITHIN;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for bash")? {
            return if status.success() { Ok(()) } else { bail!("{status}") };
        }
        let tended = cluster.tend();
        if tended.is_err() || stop.asked() || Instant::now() >= deadline {
            child.kill().context("cannot end bash")?;
            child.wait().context("cannot wait for bash")?;
            tended?;
            bail!("{}", if stop.asked() { "interrupted" } else { "it took too long" });
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_words_and_lines() {
        let found = blocks("a\n```sh tour\nls\npwd\n```\nb\n```\nx\n```\n");
        let block = |info: &str, text: &str, line| Block {
            info: info.to_owned(),
            text: text.to_owned(),
            line,
        };
        assert_eq!(found, [block("sh tour", "ls\npwd\n", 2), block("", "x\n", 7)]);
    }
}
