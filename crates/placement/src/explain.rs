//! Why instances wait, for programs and in words.

use peloton_model::{Lack, Waiting};
use std::fmt::Write as _;

/// The order in which lacks are looked for.
const ORDER: [Lack; 6] =
    [Lack::Constraint, Lack::Cpus, Lack::Mem, Lack::Disk, Lack::Gpus, Lack::Ports];

/// Number of agents by what they lack first.
#[derive(Debug, Default)]
pub(crate) struct Tally([u32; ORDER.len()]);

impl Tally {
    pub(crate) fn add(&mut self, lack: Lack) {
        self.0[lack as usize] += 1;
    }

    /// The most frequent first.
    fn lacking(&self) -> Vec<(Lack, u32)> {
        let counts = ORDER.into_iter().map(|lack| (lack, self.0[lack as usize]));
        let mut lacking: Vec<_> = counts.filter(|(_, agents)| *agents > 0).collect();
        lacking.sort_by_key(|(_, agents)| std::cmp::Reverse(*agents));
        lacking
    }
}

impl FromIterator<Lack> for Tally {
    fn from_iter<T: IntoIterator<Item = Lack>>(lacks: T) -> Self {
        let mut tally = Self::default();
        lacks.into_iter().for_each(|lack| tally.add(lack));
        tally
    }
}

/// Explains why `wanted - placed` instances wait although `agents` were looked at.
pub(crate) fn waiting(tally: &Tally, wanted: u32, placed: usize, agents: usize) -> Waiting {
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let lacking = tally.lacking();
    Waiting {
        instances: wanted.saturating_sub(narrow(placed)),
        reason: words(&lacking, placed, agents),
        agents: narrow(agents),
        lacking,
    }
}

fn words(lacking: &[(Lack, u32)], placed: usize, agents: usize) -> String {
    if agents == 0 {
        return "no offers from any agent".to_owned();
    }
    let fits = if placed == 0 { "fits" } else { "fits one more" };
    let mut text = format!("no agent of {agents} {fits}");
    for (i, (lack, count)) in lacking.iter().enumerate() {
        let separator = if i == 0 { ':' } else { ',' };
        let one = *count == 1;
        // Writing to a String cannot fail.
        let _ = match lack {
            Lack::Constraint if one => write!(text, "{separator} 1 does not meet a constraint"),
            Lack::Constraint => write!(text, "{separator} {count} do not meet a constraint"),
            _ if one => write!(text, "{separator} 1 lacks {lack}"),
            _ => write!(text, "{separator} {count} lack {lack}"),
        };
    }
    text
}
