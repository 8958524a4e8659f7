//! Subscriptions: what they answer, what they take over, and who may call.

use serde_json::json;

use super::scenario;
use crate::build;
use crate::error::Result;
use crate::lab::Lab;
use crate::suite::Scenario;
use crate::wire;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("first", first),
    scenario("second_takes_over", second_takes_over),
    scenario("chosen_id", chosen_id),
    scenario("odd_ids", odd_ids),
    scenario("completed_id", completed_id),
    scenario("bad_framework_info", bad_framework_info),
    scenario("bad_requests", bad_requests),
    scenario("stream_ids", stream_ids),
    scenario("missing_fields", missing_fields),
    scenario("json", json_api),
    scenario("suppressed_from_the_start", suppressed_from_the_start),
    scenario("framework_changes", framework_changes),
];

/// SUBSCRIBED comes first, then offers of all that is free. The first HEARTBEAT is of another actor of Mesos's
/// than the offers: it mostly comes before them, and on a busy machine behind them.
fn first(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let id = json!({"value": "conformance-first"});
    let mut info = build::framework(&[&role]);
    info["id"] = id;
    let mut s = lab.subscribe_with(info, &[])?;
    s.record(&s.subscribed);
    let offers = s.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    lab.note(&format!("at most one heartbeat before the offers: {}", s.heartbeats <= 1));
    for offer in build::of_host(&offers, "agent-0") {
        lab.transcript.message("an offer", &offer.message);
    }
    s.nothing_more()
}

/// A second subscription with the same id ends the first stream, with an ERROR before, and takes the
/// offers back: they are made anew to the second. Calls with the old stream's id are refused.
fn second_takes_over(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s1 = lab.subscribe(&[&role])?;
    s1.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    let mut s2 = lab.resubscribe(&s1)?;
    s1.event("ERROR")?;
    s1.event("CLOSED")?;
    lab.note(&format!("the same id: {}", s1.framework_id == s2.framework_id));
    lab.note(&format!("the same stream: {}", s1.stream_id == s2.stream_id));
    let held = s1.held();
    s1.try_call(json!({"type": "REVIVE"}))?;
    s1.try_call(build::decline(&held, None))?;
    s2.offers("all again", |all| build::sum(all, "cpus") >= 8.0)?;
    s2.call(json!({"type": "REVIVE"}))?;
    s2.nothing_more()
}

/// An id that Mesos has never seen is taken as that of a framework that comes back.
fn chosen_id(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut info = build::framework(&[&role]);
    info["id"] = json!({"value": "chosen-by-us"});
    let mut s = lab.subscribe_with(info.clone(), &[])?;
    lab.note(&format!("it has our id: {}", s.framework_id == "chosen-by-us"));
    s.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    lab.note("the call's framework id must be that of the info");
    lab.subscribe_raw(info.clone(), &[], Some("another".to_owned()), false)?.err();
    lab.subscribe_raw(info, &[], None, false)?.err();
    lab.subscribe_raw(build::framework(&[&role]), &[], Some("another".to_owned()), false)?.err();
    s.nothing_more()
}

/// Ids that Mesos takes, and those that it does not.
fn odd_ids(lab: &mut Lab<'_>) -> Result<()> {
    let mut odd = build::framework(&["r"]);
    for id in ["", "a/b", "a b", "..", "a\\b", "a:b", "ü"] {
        lab.note(&format!("{id:?}"));
        odd["id"] = json!({"value": id});
        lab.subscribe_refused(odd.clone())?;
    }
    Ok(())
}

/// A framework that was torn down is gone for good: a later subscription with its id gets an ERROR.
fn completed_id(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    let (id, info) = (s.framework_id.clone(), s.info.clone());
    s.call(json!({"type": "TEARDOWN"}))?;
    s.event("CLOSED")?;
    s.try_call(json!({"type": "REVIVE"}))?;
    refused_later(lab, &id, &info)?;
    lab.note("the same by an operator");
    let mut s = lab.subscribe(&[&role])?;
    let teardown =
        json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": s.framework_id}}});
    lab.operate(&teardown)?;
    s.event("CLOSED")?;
    s.try_call(json!({"type": "REVIVE"}))?;
    refused_later(lab, &s.framework_id, &info)?;
    lab.operate(&teardown)?;
    Ok(())
}

/// What a subscription gets whose framework id was torn down: an event stream with an ERROR.
fn refused_later(lab: &mut Lab<'_>, id: &str, info: &serde_json::Value) -> Result<()> {
    let mut info = info.clone();
    info["id"] = json!({"value": id});
    lab.subscribe_refused(info)
}

/// What is wrong with a framework's description is told by an ERROR event on a stream that then ends,
/// not by the answer's status.
fn bad_framework_info(lab: &mut Lab<'_>) -> Result<()> {
    let good = build::framework(&["r"]);
    let mut attempt = |what: &str, key: &str, value: serde_json::Value| {
        lab.note(what);
        let mut info = good.clone();
        info[key] = value;
        lab.subscribe_refused(info)
    };
    attempt("a role with a space", "roles", json!(["a b"]))?;
    attempt("a role that begins with a dash", "roles", json!(["-a"]))?;
    attempt("a role that begins with a slash", "roles", json!(["/a"]))?;
    attempt("a role that ends with a slash", "roles", json!(["a/"]))?;
    attempt("a role with dots", "roles", json!(["a/../b"]))?;
    attempt("a role twice", "roles", json!(["a", "a"]))?;
    attempt("role beside roles", "role", json!("a"))?;
    let without = json!([{"type": "RESERVATION_REFINEMENT"}]);
    attempt("roles without MULTI_ROLE", "capabilities", without)?;
    attempt("no fail-over time-out below zero", "failover_timeout", json!(-1.0))
}

/// Requests that are no calls.
fn bad_requests(lab: &mut Lab<'_>) -> Result<()> {
    let info = build::framework(&["r"]);
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let body = wire::encode(&call)?;
    let json = ("Content-Type", wire::JSON);
    let protobuf = ("Content-Type", wire::PROTOBUF);
    let accept = ("Accept", wire::PROTOBUF);
    lab.raw("no content type", &[accept], &body)?;
    lab.raw("another content type", &[("Content-Type", "text/plain"), accept], &body)?;
    lab.raw("accepts something else", &[protobuf, ("Accept", "text/html")], &body)?;
    lab.raw("no protobuf", &[protobuf, accept], b"nonsense")?;
    lab.raw("an empty body as protobuf", &[protobuf, accept], b"")?;
    lab.raw("an empty body as JSON", &[json, accept], b"")?;
    lab.raw("no JSON", &[json, accept], b"{nonsense")?;
    lab.raw("JSON that is no object", &[json, accept], b"[]")?;
    lab.raw("JSON without a type", &[json, accept], b"{}")?;
    lab.raw("a stream id with SUBSCRIBE", &[protobuf, accept, ("Mesos-Stream-Id", "x")], &body)?;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = lab.http(method, wire::PATH, &[], b"")?;
        lab.transcript.say(&format!("{method}: {} {}", answer.status, answer.body));
    }
    let answer = lab.http("POST", "/api/v2/scheduler", &[protobuf, accept], &body)?;
    lab.transcript.say(&format!("another path: {}", answer.status));
    Ok(())
}

/// Who may call: a call needs a framework that is subscribed, and its stream's id.
fn stream_ids(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let s1 = lab.subscribe(&[&role])?;
    let revive = |id: &str| wire::encode(&json!({"type": "REVIVE", "framework_id": {"value": id}}));
    let body = revive(&s1.framework_id)?;
    let protobuf = ("Content-Type", wire::PROTOBUF);
    lab.raw("right", &[protobuf, ("Mesos-Stream-Id", &s1.stream_id)], &body)?;
    lab.raw("none", &[protobuf], &body)?;
    lab.raw("made up", &[protobuf, ("Mesos-Stream-Id", "made-up")], &body)?;
    lab.raw("empty", &[protobuf, ("Mesos-Stream-Id", "")], &body)?;
    let s2 = lab.subscribe(&[&role])?;
    lab.raw("another framework's", &[protobuf, ("Mesos-Stream-Id", &s2.stream_id)], &body)?;
    let unknown = revive("unknown")?;
    lab.raw("unknown framework", &[protobuf, ("Mesos-Stream-Id", &s1.stream_id)], &unknown)?;
    lab.raw("unknown framework, no stream id", &[protobuf], &unknown)?;
    let nobody = wire::encode(&json!({"type": "REVIVE"}))?;
    lab.raw("no framework", &[protobuf, ("Mesos-Stream-Id", &s1.stream_id)], &nobody)?;
    let (id, stream) = (s1.framework_id.clone(), s1.stream_id.clone());
    s1.disconnect();
    lab.until_inactive(&id)?;
    lab.raw("disconnected", &[protobuf, ("Mesos-Stream-Id", &stream)], &body)?;
    Ok(())
}

/// Calls that lack the field that their type announces.
fn missing_fields(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let mut s = lab.subscribe(&[&role])?;
    for kind in [
        "ACCEPT",
        "DECLINE",
        "KILL",
        "SHUTDOWN",
        "ACKNOWLEDGE",
        "RECONCILE",
        "MESSAGE",
        "REQUEST",
        "REVIVE",
        "SUPPRESS",
        "ACCEPT_INVERSE_OFFERS",
        "DECLINE_INVERSE_OFFERS",
        "ACKNOWLEDGE_OPERATION_STATUS",
        "RECONCILE_OPERATIONS",
        "UPDATE_FRAMEWORK",
    ] {
        s.try_call(json!({"type": kind}))?;
    }
    let uuid = json!({"agent_id": {"value": "x"}, "task_id": {"value": "x"}, "uuid": "AAAA"});
    s.try_call(json!({"type": "ACKNOWLEDGE", "acknowledge": uuid}))?;
    s.try_call(json!({"type": "REVIVE", "revive": {"roles": ["not-ours"]}}))?;
    s.try_call(json!({"type": "SUPPRESS", "suppress": {"roles": ["not-ours"]}}))?;
    s.nothing_more()
}

/// The same in JSON: events are JSON, too, in the same framing.
fn json_api(lab: &mut Lab<'_>) -> Result<()> {
    let role = lab.role("a");
    let subscribed = lab.subscribe_raw(build::framework(&[&role]), &[], None, true)?;
    let Ok(mut s) = subscribed else { return Ok(()) };
    let offers = s.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    let headers =
        [("Content-Type", wire::JSON), ("Accept", wire::JSON), ("Mesos-Stream-Id", &s.stream_id)];
    let mut call = build::decline(&offers, Some(0.0));
    call["framework_id"] = json!({"value": s.framework_id});
    lab.raw("decline", &headers, call.to_string().as_bytes())?;
    call["decline"]["no_such_field"] = json!(1);
    lab.raw("a field that is not there", &headers, call.to_string().as_bytes())?;
    call["decline"] = json!({"offer_ids": "x"});
    lab.raw("a field of another type", &headers, call.to_string().as_bytes())?;
    s.forget(&offers);
    s.offers("all again", |all| build::sum(all, "cpus") >= 8.0)?;
    s.nothing_more()
}

/// A framework that subscribes with its roles suppressed is offered nothing until it revives; a role
/// that is not its own makes no difference.
fn suppressed_from_the_start(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let mut s = lab.subscribe_with(build::framework(&[&a, &b]), &[&a, &b])?;
    s.watch(5)?;
    s.show_offers("after five intervals");
    s.call(json!({"type": "REVIVE", "revive": {"roles": [b]}}))?;
    s.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    lab.note("a role that the framework does not have");
    let mut wrong = build::framework(&[&a]);
    wrong["name"] = json!("wrong");
    lab.subscribe_refused_suppressed(wrong, &["not-ours"])?;
    s.nothing_more()
}

/// What a framework may change of its description when it subscribes anew.
fn framework_changes(lab: &mut Lab<'_>) -> Result<()> {
    let (a, b) = (lab.role("a"), lab.role("b"));
    let s1 = lab.subscribe(&[&a])?;
    let mut info = s1.info.clone();
    info["id"] = json!({"value": s1.framework_id});
    info["roles"] = json!([b]);
    info["name"] = json!("renamed");
    info["failover_timeout"] = json!(700.0);
    let mut s2 = lab.subscribe_with(info.clone(), &[])?;
    let offers = s2.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    lab.note(&format!("for role b: {}", offers.iter().all(|offer| offer.role == b)));
    let mut principal = info.clone();
    principal["principal"] = json!("another");
    lab.note("another principal");
    lab.subscribe_refused(principal)?;
    let mut user = info.clone();
    user["user"] = json!("root");
    user["checkpoint"] = json!(false);
    lab.note("another user, no checkpoints");
    let mut s3 = lab.subscribe_with(user, &[])?;
    s3.offers("all", |all| build::sum(all, "cpus") >= 8.0)?;
    let id = s3.framework_id.clone();
    let frameworks = lab.operator().get("/master/frameworks")?;
    let all = frameworks["frameworks"].as_array().cloned().unwrap_or_default();
    if let Some(found) = all.iter().find(|f| f["id"] == *id) {
        for key in ["name", "user", "checkpoint", "failover_timeout", "principal", "active"] {
            lab.transcript.say(&format!("{key}: {}", found[key]));
        }
    }
    Ok(())
}
