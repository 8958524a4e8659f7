//! Instances as they are typed: `0-4,7`.

use peloton_proto::peloton::task::InstanceRange;

/// Instances of a job: sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instances(Vec<(u32, u32)>);

impl Instances {
    /// As the API takes them, both ends included.
    pub(crate) fn ranges(&self) -> Vec<InstanceRange> {
        self.0.iter().map(|&(from, to)| InstanceRange { from, to }).collect()
    }

    /// These instances, in any order.
    pub(crate) fn of(instances: &[u32]) -> Self {
        Self::merged(instances.iter().map(|instance| (*instance, *instance)).collect())
    }

    fn merged(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }
}

impl std::fmt::Display for Instances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (from, to)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match from == to {
                true => write!(f, "{comma}{from}")?,
                false => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

/// Reads `0-4,7`.
pub(crate) fn parse_instances(text: &str) -> Result<Instances, String> {
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let part = part.trim();
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().ok();
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => ranges.push((from, to)),
            (Some(from), Some(to)) => return Err(format!("{part:?}: {from} is more than {to}")),
            _ => return Err("expected numbers and ranges such as 0-4,7".to_owned()),
        }
    }
    Ok(Instances::merged(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, want) in [
            ("7", "7"),
            ("0-4,7", "0-4,7"),
            ("7, 0-4", "0-4,7"),
            ("3,1,2", "1-3"),
            ("0-9,2-3", "0-9"),
            ("4294967295,0", "0,4294967295"),
        ] {
            assert_eq!(parse_instances(text).unwrap().to_string(), want, "{text}");
        }
        assert_eq!(Instances::of(&[4, 0, 2, 1]).to_string(), "0-2,4");
        for text in ["", "a", "1-", "-1", "5-2", "1,,2", "4294967296"] {
            assert!(parse_instances(text).is_err(), "{text:?}");
        }
    }
}
