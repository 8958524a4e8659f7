//! That the documentation points at what is there.

use super::Source;
use crate::readme::{Block, ELSEWHERE, TOURS, blocks};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// What is wrong with the Markdown files.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.is("md")) {
        problems.extend(broken_links(source, sources));
        if TOURS.contains(&source.path.as_str()) {
            problems.extend(blocks(&source.text).iter().filter_map(|block| unrun(source, block)));
        }
    }
    problems.extend(pages_out_of_the_index(sources));
    problems
}

/// The targets of the links of a text, with their lines, from 1; code is no link.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else { break };
            found.push((index + 1, target.to_owned()));
            rest = after;
        }
    }
    found
}

fn broken_links(source: &Source, sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, target) in links(&source.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = if file.is_empty() { source.path.clone() } else { resolved(&source.path, file) };
        let file = sources.iter().find(|other| other.path == path);
        let directory = format!("{}/", path.trim_end_matches('/'));
        let is_directory = sources.iter().any(|other| other.path.starts_with(&directory));
        let problem = match file {
            None if is_directory && anchor.is_empty() => continue,
            None => format!("{target} is not there"),
            Some(file) if !anchor.is_empty() && !anchors(&file.text).contains(anchor) => {
                format!("{path} has no heading #{anchor}")
            }
            Some(_) => continue,
        };
        problems.push(format!("{}:{line}: {problem}", source.path));
    }
    problems
}

/// A path relative to a file, from the root.
fn resolved(from: &str, to: &str) -> String {
    let mut path = PathBuf::from(from);
    path.pop();
    for part in Path::new(to).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// The anchors that a text's headings make.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// A block of commands that nobody runs.
fn unrun(source: &Source, block: &Block) -> Option<String> {
    let words: Vec<&str> = block.info.split_whitespace().collect();
    let is_commands = ["sh", "bash", "shell", "console"].contains(words.first()?);
    if !is_commands || words.get(1) == Some(&"tour") {
        return None;
    }
    let is_run = |line: &str| {
        let command = line.split(" #").next().unwrap_or(line).trim();
        command.is_empty() || command.starts_with('#') || ELSEWHERE.contains(&command)
    };
    let line = block.text.lines().find(|line| !is_run(line))?;
    let path = &source.path;
    Some(format!("{path}:{}: CI does not run {line:?}: mark its block `sh tour`", block.line))
}

/// Every page of the documentation is linked from a page that one comes to from the index.
fn pages_out_of_the_index(sources: &[Source]) -> Vec<String> {
    const INDEX: &str = "docs/README.md";
    let mut reached = BTreeSet::from([INDEX.to_owned()]);
    let mut pending = vec![INDEX.to_owned()];
    while let Some(path) = pending.pop() {
        let Some(page) = sources.iter().find(|source| source.path == path) else { continue };
        for (_, target) in links(&page.text) {
            let file = target.split('#').next().unwrap_or_default();
            let next = resolved(&path, file);
            // A link to a directory leads to all pages in it.
            let below = format!("{}/", next.trim_end_matches('/'));
            let pages = sources.iter().map(|source| source.path.as_str());
            let found = pages.filter(|page| *page == next || page.starts_with(&below));
            pending
                .extend(found.filter(|page| reached.insert((*page).to_owned())).map(str::to_owned));
        }
    }
    let pages = sources.iter().filter(|source| source.path.starts_with("docs/") && source.is("md"));
    let lost = pages.filter(|page| !reached.contains(&page.path));
    lost.map(|page| format!("{}: no link leads to it from {INDEX}", page.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn links_lead_to_files_directories_and_headings() {
        let good = "[a](guide/a.md#two-words) [b](guide) [c](../README.md) [d](https://x.y/z)\n";
        let files = [
            source("docs/README.md", good),
            source("docs/guide/a.md", "# Two words!\n[up](../README.md)\n"),
            source("README.md", "# A\n"),
        ];
        assert_eq!(check(&files), Vec::<String>::new());
    }

    #[test]
    fn broken_links_and_lost_pages_are_found() {
        let index = "[a](a.md)\n[b](b.md#x)\n```\n[not](a link)\n```\n";
        let files = [
            source("docs/README.md", index),
            source("docs/b.md", "# Y\n"),
            source("docs/c.md", "# C\n"),
        ];
        let found = check(&files);
        assert_eq!(
            found,
            [
                "docs/README.md:1: a.md is not there",
                "docs/README.md:2: docs/b.md has no heading #x",
                "docs/c.md: no link leads to it from docs/README.md",
            ]
        );
    }

    #[test]
    fn commands_of_the_readme_are_run() {
        let text = "```sh\ncargo xtask demo\n```\n```sh tour\nls\n```\n```yaml\na: b\n```\n";
        let found = |text: &str| check(&[source("README.md", text)]);
        assert!(found(text).is_empty());
        let stray = found("```sh\nrm -r x\n```\n");
        assert!(stray[0].starts_with("README.md:1: CI does not run \"rm -r x\""), "{stray:?}");
    }
}
