//! What test runners print, as numbers.

use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed, or did not run though they should have.
    pub(crate) failed: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Who runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo test`: each test program prints a summary.
    Harness,
    /// nextest: one summary. It also shows what failed tests printed, summaries among it.
    Nextest,
}

/// Adds up what the runner's summaries in a text say.
pub(crate) fn count(output: &str, runner: Runner) -> Count {
    let mut total = Count::default();
    for line in output.lines() {
        let line = without_colours(line);
        let line = line.trim();
        // `test result: ok. 3 passed; 0 failed; 0 ignored; …`
        // `Summary [   1.2s] 5 tests run: 4 passed (1 slow), 1 failed, 2 skipped`
        let (start, failures): (_, &[&str]) = match runner {
            Runner::Harness => ("test result: ", &["failed"]),
            Runner::Nextest => ("Summary [", &["failed", "timed", "exec"]),
        };
        if line.starts_with(start) {
            total.passed += number_before(line, "passed");
            total.failed += failures.iter().map(|word| number_before(line, word)).sum::<u64>();
        } else if line.contains("SKIPPED: ") {
            total.failed += 1;
        }
    }
    total
}

/// The number that stands before a word: 4 for `passed` in `4 passed (1 slow)`.
fn number_before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).filter(|pair| pair[1] == word);
    pairs.filter_map(|pair| pair[0].parse::<u64>().ok()).sum()
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_the_harness() {
        let output = "running 2 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 3 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(count(output, Runner::Harness), Count { passed: 5, failed: 1 });
    }

    #[test]
    fn summaries_of_nextest() {
        let output = "     Summary [  12.345s] 10 tests run: 7 passed (1 slow), 2 failed, 1 timed out, 5 skipped\n";
        assert_eq!(count(output, Runner::Nextest), Count { passed: 7, failed: 3 });
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m1\u{1b}[0m test run: \
            \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(count(coloured, Runner::Nextest), Count { passed: 1, failed: 0 });
    }

    #[test]
    fn what_a_failed_test_printed_does_not_count_twice() {
        let output = "        FAIL [   1.4s] (344/421) a::b\n\
            \x20   test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured\n\
            \x20    Summary [  12.3s] 4 tests run: 3 passed, 1 failed, 0 skipped\n";
        assert_eq!(count(output, Runner::Nextest), Count { passed: 3, failed: 1 });
    }

    #[test]
    fn tests_that_skipped_themselves_failed() {
        assert_eq!(
            count("SKIPPED: this test needs a real Mesos, and …", Runner::Harness).failed,
            1
        );
        assert_eq!(count("nothing to count: 3 passed by", Runner::Nextest), Count::default());
    }
}
