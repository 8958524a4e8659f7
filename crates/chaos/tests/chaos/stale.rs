//! The test of the test, on the cluster itself: reads that may be stale, and are, are found.
//!
//! A master that reaches one member of etcd only, which reaches no other, answers stale reads from the
//! past, as it is allowed to. Taken for usual reads they must not pass, and the usual ones it must refuse.

use peloton_chaos::jobs::{Input, Job, Jobs, Output};
use peloton_chaos::linear::{Operation, Verdict, check};
use peloton_client::Client;
use peloton_proto::peloton::job::GetRequest;
use tokio::runtime::Runtime;

use crate::clients::{IMPATIENT, PATIENT, ask, found, job_id};
use crate::cluster::{Cluster, MEMBERS, client, master, member, wait_until};
use crate::net;
use crate::record::{End, Record};

/// The master that lives in the past, and the member that it reads from.
const LEFT_BEHIND: usize = 0;
const ALONE: usize = 0;
/// A master that does not.
const CURRENT: usize = 1;

/// The job.
const JOB: &str = "stale";

/// Makes such a read, and shows that the checker finds it.
pub(crate) fn assert_found(runtime: &Runtime, cluster: &mut Cluster) {
    let record = Record::new();
    let current = client(&[cluster.address(CURRENT)], PATIENT);
    let behind = client(&[cluster.address(LEFT_BEHIND)], IMPATIENT);
    let change = |input| {
        let invoked = record.now();
        let end = runtime.block_on(ask(&current, JOB, input));
        let End::Answered(output) = end else { panic!("{input:?}: {end:?}") };
        Operation { input, invoked, returned: Some((record.now(), output)) }
    };
    let mut history = vec![change(Input::Create(1))];
    let old = Output::Found(Job { version: 1, content: 1 });
    wait_until("the job in stale reads", || is_read(runtime, &behind, old));

    ways().for_each(|(from, to)| cluster.net.cut(from, to));
    history.push(change(Input::Update { expected: 1, content: 2 }));
    assert_eq!(history[1].returned.map(|(_, output)| output), Some(Output::Updated(2)));
    let invoked = record.now();
    wait_until("a stale read that is stale", || is_read(runtime, &behind, old));
    let usual = runtime.block_on(ask(&behind, JOB, Input::Get));
    assert!(matches!(usual, End::NotDone(_)), "a usual read, from the past: {usual:?}");
    ways().for_each(|(from, to)| cluster.net.heal(from, to));
    cluster.wait_healthy();

    assert!(matches!(check(&Jobs, &history), Verdict::Linearizable(_)), "{history:?}");
    let returned = Some((record.now(), old));
    history.push(Operation { input: Input::Get, invoked, returned });
    let verdict = check(&Jobs, &history);
    assert!(matches!(verdict, Verdict::NotLinearizable(_)), "{verdict:?}: {history:?}");
    change(Input::Delete);
}

/// Whether a stale read gets this.
fn is_read(runtime: &Runtime, client: &Client, wished: Output) -> Result<(), String> {
    let request = GetRequest { id: job_id(JOB), stale: true };
    let answer = runtime.block_on(client.jobs().get(request));
    let end = found(&answer.map_err(|error| error.to_string())?);
    if end == End::Answered(wished) { Ok(()) } else { Err(format!("{end:?}")) }
}

/// What is cut: the master from all members but one, and that one from the others.
fn ways() -> impl Iterator<Item = (net::End, net::End)> {
    let others = (0..MEMBERS).filter(|other| *other != ALONE).map(member);
    others.flat_map(|other| {
        let both = |end| [(end, other), (other, end)];
        both(master(LEFT_BEHIND)).into_iter().chain(both(member(ALONE)))
    })
}
