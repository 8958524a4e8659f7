//! The checker against histories that are known, ones that are made to be linearizable, and a checker that
//! tries every order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, not only tests themselves"
)]

use peloton_chaos::jobs::{Input, Job, Jobs, Output};
use peloton_chaos::linear::{self, Model, Operation, Verdict, by_key, check, explains};
use proptest::prelude::*;

type Op = Operation<Input, Output>;

/// An operation with an answer.
fn op(invoked: u64, returned: u64, input: Input, output: Output) -> Op {
    Operation { input, invoked, returned: Some((returned, output)) }
}

/// An operation without one.
fn lost(invoked: u64, input: Input) -> Op {
    Operation { input, invoked, returned: None }
}

fn found(version: u64, content: u64) -> Output {
    Output::Found(Job { version, content })
}

fn update(expected: u64, content: u64) -> Input {
    Input::Update { expected, content }
}

fn is_linearizable(history: &[Op]) -> bool {
    match check(&Jobs, history) {
        Verdict::Linearizable(order) => {
            assert!(explains(&Jobs, history, &order), "{order:?} of {history:?}");
            true
        }
        Verdict::NotLinearizable(stuck) => {
            assert!(history[stuck.operation].returned.is_some());
            false
        }
        Verdict::TooHard => panic!("too hard: {history:?}"),
    }
}

#[test]
fn histories_that_are_linearizable() {
    let created = op(0, 1, Input::Create(1), Output::Created);
    for more in [
        vec![],
        vec![op(2, 3, Input::Get, found(1, 1))],
        // Overlaps the update, and sees either.
        vec![op(2, 9, update(0, 2), Output::Updated(2)), op(3, 4, Input::Get, found(1, 1))],
        vec![op(2, 9, update(0, 2), Output::Updated(2)), op(3, 4, Input::Get, found(2, 2))],
        // What was lost may have happened, late, or not.
        vec![lost(2, update(1, 2)), op(3, 4, Input::Get, found(1, 1))],
        vec![lost(2, update(1, 2)), op(3, 4, Input::Get, found(2, 2))],
        vec![
            lost(2, update(1, 2)),
            op(3, 4, Input::Get, found(1, 1)),
            op(5, 6, Input::Get, found(2, 2)),
        ],
        // One lost deletion for each creation.
        vec![
            lost(2, Input::Delete),
            lost(2, Input::Delete),
            op(3, 4, Input::Create(2), Output::Created),
            op(5, 6, Input::Create(3), Output::Created),
        ],
        // The same creation twice: which of both made it shows later only.
        vec![
            op(2, 3, Input::Delete, Output::Deleted),
            op(4, 20, Input::Create(1), Output::Created),
            op(5, 6, Input::Create(1), Output::Created),
            op(7, 8, Input::Delete, Output::Deleted),
            op(21, 22, Input::Get, found(1, 1)),
        ],
        // Touching ends overlap.
        vec![op(2, 3, update(0, 2), Output::Updated(2)), op(3, 4, Input::Get, found(1, 1))],
        vec![op(2, 3, update(7, 2), Output::Conflict(1))],
        vec![op(2, 3, Input::Delete, Output::Deleted), op(4, 5, Input::Get, Output::NotFound)],
    ] {
        let history = [vec![created.clone()], more].concat();
        assert!(is_linearizable(&history), "{history:?}");
    }
}

#[test]
fn histories_that_are_not() {
    let created = op(0, 1, Input::Create(1), Output::Created);
    for more in [
        // A stale read.
        vec![op(2, 3, update(0, 2), Output::Updated(2)), op(4, 5, Input::Get, found(1, 1))],
        // A value that nobody wrote.
        vec![op(2, 3, Input::Get, found(1, 9))],
        vec![op(2, 3, Input::Get, Output::NotFound)],
        // New, then old.
        vec![
            op(2, 9, update(0, 2), Output::Updated(2)),
            op(3, 4, Input::Get, found(2, 2)),
            op(5, 6, Input::Get, found(1, 1)),
        ],
        // A lost update.
        vec![
            op(2, 3, update(1, 2), Output::Updated(2)),
            op(2, 3, update(1, 3), Output::Updated(2)),
        ],
        // The answer says that nothing was changed, and it was.
        vec![op(2, 3, update(1, 2), Output::Conflict(3)), op(4, 5, Input::Get, found(2, 2))],
        // A lost operation happens once, and not before it was sent.
        vec![
            lost(2, Input::Delete),
            op(3, 4, Input::Create(2), Output::Created),
            op(5, 6, Input::Create(3), Output::Created),
        ],
        vec![op(2, 3, Input::Get, found(2, 2)), lost(4, update(1, 2))],
        // One deletion that deletes twice.
        vec![
            op(2, 9, Input::Delete, Output::Deleted),
            op(3, 4, Input::Create(2), Output::Created),
            op(10, 11, Input::Get, Output::NotFound),
        ],
    ] {
        let history = [vec![created.clone()], more].concat();
        assert!(!is_linearizable(&history), "{history:?}");
    }
}

#[test]
fn each_job_is_a_history_of_its_own() {
    let both = [
        ("b", op(0, 1, Input::Create(1), Output::Created)),
        ("a", op(2, 3, Input::Get, Output::NotFound)),
        ("b", op(4, 5, Input::Get, found(1, 1))),
    ];
    let parts = by_key(both);
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
    assert!(parts.values().all(|history| is_linearizable(history)));
}

#[test]
fn many_operations_at_once_and_many_lost_ones_are_no_trouble() {
    let mut history = vec![op(0, 1, Input::Create(0), Output::Created)];
    for round in 0..200 {
        let at = 10 + 10 * round;
        history.push(op(at, at + 9, update(0, round + 1), Output::Updated(round + 2)));
        for reader in 0..5 {
            let seen =
                if reader % 2 == 0 { found(round + 1, round) } else { found(round + 2, round + 1) };
            history.push(op(at, at + 9, Input::Get, seen));
        }
        if round % 5 == 0 {
            history.push(lost(at, update(round + 1, 1000 + round)));
            history.push(lost(at, Input::Delete));
        }
    }
    assert!(is_linearizable(&history));
    // The last reader sees the value of long ago.
    history.push(op(3000, 3001, Input::Get, found(5, 4)));
    assert!(!is_linearizable(&history));
}

/// Every order of every choice of lost operations: slow, and plainly right.
fn brute_force(history: &[Op]) -> bool {
    fn extend(history: &[Op], order: &mut Vec<usize>) -> bool {
        if explains(&Jobs, history, order) {
            return true;
        }
        (0..history.len()).any(|index| {
            if order.contains(&index) {
                return false;
            }
            order.push(index);
            let found = extend(history, order);
            order.pop();
            found
        })
    }
    extend(history, &mut Vec::new())
}

fn input() -> impl Strategy<Value = Input> {
    // Few contents, so that they meet.
    prop_oneof![
        1 => (1_u64..3).prop_map(Input::Create),
        3 => Just(Input::Get),
        3 => (0_u64..4, 1_u64..4)
            .prop_map(|(expected, content)| Input::Update { expected, content }),
        1 => Just(Input::Delete),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![
        Just(Output::Created),
        Just(Output::AlreadyExists),
        (1_u64..4, 1_u64..4).prop_map(|(version, content)| found(version, content)),
        (1_u64..4).prop_map(Output::Updated),
        (1_u64..4).prop_map(Output::Conflict),
        Just(Output::Deleted),
        Just(Output::NotFound),
    ]
}

/// An operation at some time, with an answer that somebody might get to it.
fn any_operation() -> impl Strategy<Value = Op> {
    (input(), 0_u64..12, 0_u64..6, proptest::option::weighted(0.8, output())).prop_map(
        |(input, invoked, took, output)| Operation {
            input,
            invoked,
            returned: output.map(|output| (invoked + took, output)),
        },
    )
}

/// Operations that are done one at a time at points in time, with the answers that these give; some answers
/// get lost, some of these without anything having been done.
fn honest_history(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let one = (input(), 0_u64..30, 0_u64..30, 0_u8..10);
    proptest::collection::vec(one, 1..most).prop_map(|operations| {
        let mut state = Jobs.initial();
        let mut history = Vec::new();
        for (point, (input, before, after, luck)) in operations.into_iter().enumerate() {
            let point = 100 + 10 * u64::try_from(point).unwrap();
            let invoked = point - before;
            if luck == 0 {
                history.push(lost(invoked, input));
                continue;
            }
            let outputs =
                [Output::Created, Output::AlreadyExists, Output::Deleted, Output::NotFound];
            let versions = (1..100).flat_map(|v| [Output::Updated(v), Output::Conflict(v)]);
            let read = state.map(Output::Found);
            let mut all = outputs.into_iter().chain(versions).chain(read);
            let output = all.find(|o| Jobs.answered(&state, &input, o).is_some()).unwrap();
            state = Jobs.unanswered(&state, &input);
            if luck == 1 {
                history.push(lost(invoked, input));
            } else {
                history.push(op(invoked, point + after, input, output));
            }
        }
        history
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_done_one_at_a_time_is_linearizable(history in honest_history(120)) {
        prop_assert!(is_linearizable(&history));
    }

    #[test]
    fn small_histories_as_by_trying_every_order(
        history in proptest::collection::vec(any_operation(), 1..6),
    ) {
        prop_assert_eq!(is_linearizable(&history), brute_force(&history));
    }

    #[test]
    fn a_forged_answer_is_judged_as_by_trying_every_order(
        history in honest_history(6),
        at in any::<prop::sample::Index>(),
        forged in output(),
    ) {
        let mut history = history;
        let at = at.index(history.len());
        if let Some((_, output)) = &mut history[at].returned {
            *output = forged;
        }
        prop_assert_eq!(is_linearizable(&history), brute_force(&history));
    }
}

#[test]
fn an_order_that_explains_nothing_is_told() {
    let history = [op(0, 1, Input::Create(1), Output::Created), op(2, 3, Input::Get, found(1, 1))];
    assert!(explains(&Jobs, &history, &[0, 1]));
    for order in [&[][..], &[0], &[1, 0], &[0, 1, 1], &[0, 1, 2]] {
        assert!(!explains(&Jobs, &history, order), "{order:?}");
    }
    assert_eq!(linear::check(&Jobs, &[]), Verdict::Linearizable(vec![]));
}
