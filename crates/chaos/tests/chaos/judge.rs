//! What the history must be: linearizable, and without an error that another master would have spared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use peloton_chaos::jobs::{Input, Jobs, Output};
use peloton_chaos::linear::{Operation, Verdict, by_key, check, explains};

use crate::clients::IMPATIENT;
use crate::faults::Episode;
use crate::record::{Call, End, Whom};

/// In every fault so many calls at other masters are answered at least; it is hundreds.
const LEAST_ANSWERED: usize = 20;

/// The history's operations by job.
pub(crate) type History = BTreeMap<String, Vec<Operation<Input, Output>>>;

pub(crate) fn history(calls: &[Call]) -> History {
    by_key(calls.iter().filter_map(|call| Some((call.job.clone(), call.operation()?))))
}

/// Every job's history is linearizable.
///
/// # Panics
/// If one is not: with the place where an order ends, and the job's whole history in `directory`.
pub(crate) fn assert_linearizable(calls: &[Call], directory: &Path) {
    for (job, operations) in history(calls) {
        let stuck = match check(&Jobs, &operations) {
            Verdict::Linearizable(order) => {
                assert!(explains(&Jobs, &operations, &order), "{job}: the checker is wrong");
                continue;
            }
            Verdict::NotLinearizable(stuck) => stuck,
            Verdict::TooHard => panic!("{job}: {} operations are too hard", operations.len()),
        };
        let mut text = String::new();
        for call in calls.iter().filter(|call| call.job == job) {
            writeln!(text, "{}", shown(call)).unwrap();
        }
        std::fs::create_dir_all(directory).unwrap();
        let file = directory.join(format!("{job}.history"));
        std::fs::write(&file, text).unwrap();
        let last = stuck.order.iter().rev().take(5).rev().map(|index| &operations[*index]);
        panic!(
            "{job} is not linearizable, see {}: behind {:?} nothing explains {:?}",
            file.display(),
            last.collect::<Vec<_>>(),
            operations[stuck.operation]
        );
    }
}

fn shown(call: &Call) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    let Call { client, whom, input, from, to, end, .. } = call;
    format!("{:10.3} {:10.3} client {client} {whom:?} {input:?}: {end:?}", ms(*from), ms(*to))
}

/// No call failed that should not have: one master's only through that master's own fault, and those of a
/// client of all masters never, but that it may be left in doubt about a change that a failing master had.
pub(crate) fn assert_available(calls: &[Call], episodes: &[Episode]) {
    let mut wrong = Vec::new();
    for call in calls {
        let during = episodes.iter().filter(|e| e.from <= call.to && call.from <= e.to);
        let during: Vec<&Episode> = during.collect();
        let faulty = |master| during.iter().any(|e| e.fault.excuses() == Some(master));
        let electing = during.iter().any(|e| e.fault.is_of_etcd());
        let impatient = u128::from(call.to - call.from) >= IMPATIENT.as_nanos();
        let fine = match (&call.end, call.whom) {
            (End::Answered(_), _) => true,
            (End::Broken(_), _) => false,
            (_, Whom::Master(master)) => faulty(master) || (electing && impatient),
            (End::Unknown(_), Whom::All) => during.iter().any(|e| e.fault.excuses().is_some()),
            (End::NotDone(_), Whom::All) => false,
        };
        if !fine {
            let faults: Vec<String> = during.iter().map(|e| e.fault.to_string()).collect();
            wrong.push(format!("{} during {faults:?}", shown(call)));
        }
    }
    assert!(wrong.is_empty(), "{} calls failed:\n{}", wrong.len(), wrong.join("\n"));
    for episode in episodes {
        let answered = calls.iter().filter(|call| {
            let within = episode.from <= call.from && call.to <= episode.to;
            let elsewhere = match call.whom {
                Whom::Master(master) => episode.fault.excuses() != Some(master),
                Whom::All => true,
            };
            within && elsewhere && matches!(call.end, End::Answered(_))
        });
        let count = answered.count();
        assert!(count >= LEAST_ANSWERED, "{}: only {count} calls were answered", episode.fault);
    }
}

/// The test of the test: in a history that is linearizable, a read that gets what an earlier one got, and
/// that somebody had changed meanwhile, is found. How many such reads were tried.
pub(crate) fn assert_stale_reads_are_found(calls: &[Call]) -> usize {
    let mut tried = 0;
    for operations in history(calls).values() {
        let Some((victim, stale)) = stale_read(operations) else { continue };
        let mut forged = operations.clone();
        if let Some((_, output)) = &mut forged[victim].returned {
            *output = stale;
        }
        let verdict = check(&Jobs, &forged);
        let found = matches!(verdict, Verdict::NotLinearizable(_));
        assert!(found, "a read that was made stale is not found: {:?}", forged[victim]);
        tried += 1;
    }
    tried
}

/// A read, and what it must not get: the oldest content that some read had seen before the read began
/// whose content it sees already. No content is written twice.
fn stale_read(operations: &[Operation<Input, Output>]) -> Option<(usize, Output)> {
    let read = |operation: &Operation<Input, Output>| match (operation.input, operation.returned) {
        (Input::Get, Some((returned, Output::Found(job)))) => Some((returned, job)),
        _ => None,
    };
    let (old_returned, old) =
        operations.iter().filter_map(read).find(|(_, job)| job.version > 1)?;
    let newer = operations.iter().filter_map(|operation| {
        let (returned, job) = read(operation)?;
        (operation.invoked > old_returned && job.content != old.content).then_some((returned, job))
    });
    let (seen, job) = newer.min_by_key(|(returned, _)| *returned)?;
    let victim = operations.iter().position(|operation| {
        operation.invoked > seen && read(operation).is_some_and(|(_, found)| found == job)
    })?;
    Some((victim, Output::Found(old)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use std::panic::catch_unwind;
    use std::time::Duration;

    const PAUSED: Episode = Episode {
        fault: Fault::PauseMaster(1),
        from: 1_000,
        to: 2_000,
        served_after: None,
        healed_after: Duration::ZERO,
    };

    fn call(whom: Whom, from: u64, to: u64, end: End) -> Call {
        Call { client: 0, whom, job: "a".to_owned(), input: Input::Delete, from, to, end }
    }

    /// Whether these calls pass beside many that were answered while a master was paused.
    fn pass(calls: &[Call]) -> bool {
        let answered = call(Whom::All, 1_100, 1_200, End::Answered(Output::Deleted));
        let all = [vec![answered; LEAST_ANSWERED], calls.to_vec()].concat();
        catch_unwind(|| assert_available(&all, &[PAUSED])).is_ok()
    }

    #[test]
    fn only_a_failing_master_may_fail_and_who_asks_all_never_does() {
        let refused = End::NotDone(String::new());
        let doubt = End::Unknown(String::new());
        for (whom, from, to, end, fine) in [
            (Whom::Master(1), 900, 1_001, &refused, true),
            (Whom::Master(1), 1_900, 2_500, &doubt, true),
            (Whom::Master(1), 2_001, 2_500, &refused, false),
            (Whom::Master(0), 1_100, 1_200, &refused, false),
            (Whom::Master(0), 1_100, 1_200, &doubt, false),
            (Whom::All, 1_100, 1_200, &doubt, true),
            (Whom::All, 2_001, 2_500, &doubt, false),
            (Whom::All, 1_100, 1_200, &refused, false),
            (Whom::Master(1), 1_100, 1_200, &End::Broken(String::new()), false),
        ] {
            assert_eq!(pass(&[call(whom, from, to, end.clone())]), fine, "{whom:?} {from} {end:?}");
        }
        assert!(catch_unwind(|| assert_available(&[], &[PAUSED])).is_err(), "nobody was served");
    }
}
