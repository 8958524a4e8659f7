//! What files look like.

use super::Source;

/// A reader keeps about this much in mind.
const MAX_LINES: usize = 600;

/// Twenty above what rustfmt breaks: comments and texts that it leaves alone.
const MAX_COLUMNS: usize = 120;

/// Files that may be longer, and why.
const LONG_FILES: [(&str, &str); 3] = [
    ("Cargo.lock", "written by cargo"),
    ("proto/mesos/v1/mesos.proto", "Mesos has these messages in one file, and we its names"),
    ("proto/peloton/job.proto", "one service; half of it is what its fields mean"),
];

/// Files that may be wider, and why.
const WIDE_FILES: [(&str, &str); 3] = [
    ("crates/cli/src/reference.rs", "a Markdown table, whose rows are lines"),
    ("crates/client/src/services.rs", "a table with one method a line"),
    ("crates/proto/tests/numbers.rs", "a table with one message a line"),
];

/// Files with spaces at the ends of lines, and why.
const TRAILING_SPACE: [(&str, &str); 2] = [
    ("crates/cli/tests/golden/", "what the program prints, to the byte"),
    ("LICENSE", "somebody else's words"),
];

/// Directories of one machine. In two pieces, so that this file may say them.
const MACHINE_PATHS: [(&str, &str); 4] =
    [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/tmp/pt", "b")];

/// Macros that stand for work not done. In two pieces, too.
const UNFINISHED: [(&str, &str); 3] = [("tod", "o!("), ("unimple", "mented!("), ("FIX", "ME")];

/// What is wrong with the files.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems: Vec<String> = sources.iter().flat_map(check_one).collect();
    let excepted = LONG_FILES.iter().chain(&WIDE_FILES).chain(&TRAILING_SPACE);
    for (path, _) in excepted {
        if !sources.iter().any(|source| source.path.starts_with(path)) {
            problems.push(format!("{path}: it is excepted from a rule, and it is not there"));
        }
    }
    problems
}

fn check_one(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut problems = Vec::new();
    let count = text.lines().count();
    if count > MAX_LINES && !LONG_FILES.iter().any(|(long, _)| long == path) {
        problems.push(format!("{path}: {count} lines, of which {MAX_LINES} are allowed"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push(format!("{path}: the last line has no end"));
    }
    let spaces_may_end_lines = TRAILING_SPACE.iter().any(|(start, _)| path.starts_with(start));
    let is_wide = WIDE_FILES.iter().any(|(wide, _)| wide == path);
    for (index, line) in text.lines().enumerate() {
        let mut problem = |what: &str| problems.push(format!("{path}:{}: {what}", index + 1));
        if line.ends_with([' ', '\t']) && !spaces_may_end_lines {
            problem("white space at the end");
        }
        let columns = line.chars().count();
        if source.is("rs") && columns > MAX_COLUMNS && !is_wide {
            problem(&format!("{columns} columns, of which {MAX_COLUMNS} are allowed"));
        }
        if source.is("rs") && UNFINISHED.iter().any(|(a, b)| line.contains(&format!("{a}{b}"))) {
            problem("unfinished");
        }
        for (a, b) in MACHINE_PATHS {
            if line.contains(&format!("{a}{b}")) && !is_part_of_a_path(line, &format!("{a}{b}")) {
                problem("a path of one machine");
            }
        }
    }
    let opens_crate = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    if opens_crate && !text.starts_with("//!") {
        problems.push(format!("{path}: it does not begin with what the crate is for (//!)"));
    }
    problems
}

/// Whether every occurrence continues a longer path, as in `agents/0/work/slaves`.
fn is_part_of_a_path(line: &str, needle: &str) -> bool {
    line.match_indices(needle).all(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_some_and(|c| c.is_alphanumeric() || "}).-_$".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        check_one(&Source { path: path.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn a_good_file_has_no_problem() {
        assert!(problems("crates/a/src/lib.rs", "//! A.\n\nfn a() {}\n").is_empty());
    }

    #[test]
    fn each_rule_finds_its_problem() {
        let found = |path: &str, text: &str| problems(path, text).join("\n");
        assert_eq!(found("a.md", "a \n"), "a.md:1: white space at the end");
        assert_eq!(found("a.md", "a"), "a.md: the last line has no end");
        assert!(found("a.rs", &"x\n".repeat(601)).contains("601 lines"));
        assert!(found("a.rs", &format!("{}\n", "x".repeat(121))).contains("121 columns"));
        assert!(found("a.rs", concat!("tod", "o!()\n")).contains("unfinished"));
        assert!(found("a.yaml", concat!("path: /ho", "me/me\n")).contains("one machine"));
        assert!(found("crates/a/src/lib.rs", "fn a() {}\n").contains("does not begin"));
    }

    #[test]
    fn longer_paths_are_not_of_one_machine() {
        assert!(problems("a.md", concat!("agents/0/wo", "rk/slaves\n")).is_empty());
    }
}
