//! Calls of one scheduler over several connections: the stream's id is what counts, not the connection.

use serde_json::{Value, json};

use super::operations::{accept, agent_offers};
use super::scenario;
use crate::build;
use crate::connection::Connection;
use crate::error::Result;
use crate::lab::Lab;
use crate::scheduler::{Answer, Scheduler};
use crate::suite::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("calls_side_by_side", calls_side_by_side),
    scenario("calls_in_a_row", calls_in_a_row),
    scenario("connection_breaks_in_a_call", connection_breaks_in_a_call),
];

/// As many as Peloton acknowledges over.
const CONNECTIONS: usize = 6;

/// Calls of a scheduler, one on each connection, all of them under way at once.
fn side_by_side(connections: &mut [Connection], calls: &[Value]) -> Result<Vec<Answer>> {
    let mut rests = Vec::new();
    for (connection, call) in connections.iter_mut().zip(calls) {
        rests.push(connection.begin(call)?);
    }
    // The last to begin is the first to be complete.
    for (connection, rest) in connections.iter_mut().zip(&rests).rev() {
        connection.finish(rest)?;
    }
    connections.iter_mut().map(Connection::answer).collect()
}

fn say(s: &Scheduler, what: &str, answers: &[Answer]) {
    for answer in answers {
        s.transcript().say(&format!("{} -> {what}: {} {}", s.name, answer.status, answer.body));
    }
}

fn acknowledgement(s: &mut Scheduler, status: &Value) -> Value {
    s.acknowledged.extend(status["uuid"].as_str().map(str::to_owned));
    json!({"type": "ACKNOWLEDGE", "framework_id": {"value": s.framework_id}, "acknowledge": {
        "agent_id": status["agentId"], "task_id": status["taskId"], "uuid": status["uuid"]}})
}

/// Acknowledgements over six connections at once, twice over each of them: all are taken, and each task
/// goes on.
fn calls_side_by_side(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = agent_offers(&mut s, "agent-0", 4.0)?;
    let ids: Vec<String> = (0..CONNECTIONS).map(|i| format!("t{i}")).collect();
    let of = |id: &String| {
        let resources = build::resources("cpus:0.25;mem:32");
        build::task(id, &offers[0].agent_id, "sleep 600", resources)
    };
    accept(&mut s, &offers, vec![build::launch(ids.iter().map(of).collect())])?;
    let address = lab.target.address();
    let open = |_| Connection::open(&address, &s.stream_id);
    let mut connections: Vec<Connection> = (0..CONNECTIONS).map(open).collect::<Result<_>>()?;
    for state in ["TASK_STARTING", "TASK_RUNNING"] {
        lab.note(state);
        let mut calls = Vec::new();
        for id in &ids {
            let status = s.unacknowledged(id)?;
            calls.push(acknowledgement(&mut s, &status));
        }
        let answers = side_by_side(&mut connections, &calls)?;
        say(&s, "ACKNOWLEDGE", &answers);
    }
    s.offers("while they run", |held| build::sum(held, "cpus") >= 6.5 - 0.001)?;
    s.nothing_more()
}

/// Calls over one connection, each when the one before was answered, are carried out in their order:
/// a DECLINE before a REVIVE is undone by it, one behind it is not.
fn calls_in_a_row(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let mut connection = Connection::open(&lab.target.address(), &s.stream_id)?;
    let id = json!({"value": s.framework_id});
    let mut calls = |s: &Scheduler, calls: Vec<Value>| -> Result<()> {
        for mut call in calls {
            call["framework_id"] = id.clone();
            let rest = connection.begin(&call)?;
            connection.finish(&rest)?;
            let answer = connection.answer()?;
            say(s, call["type"].as_str().unwrap_or_default(), &[answer]);
        }
        Ok(())
    };
    let all = |held: &[crate::scheduler::Offer]| build::sum(held, "cpus") >= 8.0;
    let offers = s.offers("all", all)?;
    s.forget(&offers);
    let revive = || json!({"type": "REVIVE"});
    calls(&s, vec![build::decline(&offers, Some(600.0)), revive()])?;
    let offers = s.offers("all again", all)?;
    s.forget(&offers);
    calls(&s, vec![json!({"type": "SUPPRESS"}), revive(), build::decline(&offers, Some(600.0))])?;
    s.watch(5)?;
    s.show_offers("after five intervals");
    calls(&s, vec![revive()])?;
    s.offers("at last", all)?;
    s.nothing_more()
}

/// A connection that breaks in the middle of a call takes nothing with it: the call was not made, and
/// the stream stands.
fn connection_breaks_in_a_call(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let offers = s.offers("all", |held| build::sum(held, "cpus") >= 8.0)?;
    let mut connection = Connection::open(&lab.target.address(), &s.stream_id)?;
    let mut call = build::decline(&offers, Some(600.0));
    call["framework_id"] = json!({"value": s.framework_id});
    connection.begin(&call)?;
    drop(connection);
    s.watch(3)?;
    lab.note("the offers are still good");
    s.call(build::decline(&offers, Some(0.0)))?;
    s.forget(&offers);
    s.offers("all again", |held| build::sum(held, "cpus") >= 8.0)?;
    s.nothing_more()
}
