//! What happened, as a number that tells whether two runs were the same, and as lines for people.

use std::collections::VecDeque;

/// Lines kept for the report of a failure.
const KEPT: usize = 400;

/// What happened so far.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    /// Where lines are wanted: those to keep, and whether each is printed at once.
    lines: Option<VecDeque<String>>,
    print: bool,
}

/// What becomes of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lines {
    /// None are made: quickest.
    #[default]
    None,
    /// The last ones are kept for the report.
    Keep,
    /// Each is printed when it happens.
    Print,
}

impl Trace {
    pub(crate) fn new(lines: Lines) -> Self {
        let kept = (lines != Lines::None).then(VecDeque::new);
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: kept, print: lines == Lines::Print }
    }

    /// Mixes bytes in (FNV-1a over words: quick, and good enough to tell two runs apart).
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = chunk.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            self.mix_number(word);
        }
        for byte in chunks.remainder() {
            self.mix_number(u64::from(*byte));
        }
        self.mix_number(bytes.len() as u64);
    }

    pub(crate) fn mix_number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        self.events += 1;
    }

    pub(crate) fn wants_lines(&self) -> bool {
        self.lines.is_some()
    }

    #[allow(clippy::print_stdout, reason = "a trace that was asked for")]
    pub(crate) fn line(&mut self, line: String) {
        if self.print {
            println!("{line}");
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
