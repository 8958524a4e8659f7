//! What only a peer of our own can do: redirects, refusals, silence, garbage, half-open sockets.

use crate::peer::{Peer, message};
use crate::support::{Client, options};
use peloton_mesos::{
    CallError, CallKind, ClientState, Credential, Failure, MesosEvent, NotSent, Options, Reason,
    calls,
};
use peloton_proto::mesos::v1::TaskId;
use peloton_proto::mesos::v1::scheduler::Call;

/// A heartbeat interval beyond any test's length.
const QUIET: f64 = 600.0;

fn client_of(peer: &Peer) -> Client {
    Client::spawn(options(&[peer.address()]), None)
}

fn kill(name: &str) -> Call {
    calls::kill(TaskId { value: name.into() }, None, None)
}

fn killed(call: &Call) -> &str {
    &call.kill.as_ref().unwrap().task_id.value
}

#[tokio::test]
async fn a_redirect_leads_to_the_leader_and_calls_go_there_with_everything_they_need() {
    let (standby, leader) = (Peer::listen().await, Peer::listen().await);
    let credential = Credential { principal: "peloton".into(), secret: "geheim".into() };
    let options = Options {
        api_path: "/prefix/api/v1/scheduler".into(),
        credential: Some(credential),
        ..options(&[standby.address()])
    };
    let mut client = Client::spawn(options, None);
    let mut conversation = standby.accept().await;
    let subscribe = conversation.request().await;
    for expected in [
        "post /prefix/api/v1/scheduler http/1.1",
        "content-type: application/x-protobuf",
        "accept: application/x-protobuf",
        // "peloton:geheim" in base64, lower-cased like the rest.
        "authorization: basic cgvsb3rvbjpnzwhlaw0=",
        &format!("host: {}", standby.address()),
    ] {
        assert!(subscribe.head.contains(expected), "no {expected} in {}", subscribe.head);
    }
    assert!(!subscribe.head.contains("mesos-stream-id"), "{}", subscribe.head);
    let location = format!("Location: //{}/prefix/api/v1/scheduler\r\n", leader.address());
    conversation.answer("307 Temporary Redirect", &location, "").await;

    let _stream = leader.accept_session(QUIET).await;
    let subscribed = client.subscribed().await;
    assert_eq!((&*subscribed.framework_id, subscribed.leader), ("f-1", leader.address()));
    client.handle.submit(subscribed.epoch, kill("t")).unwrap();
    let mut conversation = leader.accept().await;
    let request = conversation.request().await;
    assert_eq!(request.call.framework_id, Some(calls::framework_id_of("f-1")));
    assert!(request.head.contains("mesos-stream-id: s-1"), "{}", request.head);
    assert!(request.head.contains("authorization: basic"), "{}", request.head);
    conversation.accepted().await;
    client.status_is("one KILL", |status| status.calls == [(CallKind::Kill, 1)]).await;
    assert_eq!(client.handle.status().failed_attempts, 0, "a redirect is no failure");
}

#[tokio::test]
async fn refused_credentials_end_the_client() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let mut conversation = peer.accept().await;
    conversation.request().await;
    conversation.answer("401 Unauthorized", "WWW-Authenticate: Basic\r\n", "who are you?").await;
    let failure = client.failed().await;
    let Failure::AuthenticationRefused { status: 401, body, .. } = &failure else {
        panic!("{failure:?}")
    };
    assert_eq!(body, "who are you?");
    client.handle.stop().await;
    assert_eq!(client.handle.status().connection.state, ClientState::Failed(failure));
}

#[tokio::test]
async fn a_recovering_master_is_tried_again() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    for _ in 0..2 {
        let mut conversation = peer.accept().await;
        conversation.request().await;
        conversation.answer("503 Service Unavailable", "", "recovering").await;
        conversation.closed().await;
    }
    client.status_is("the problem", |status| status.failed_attempts == 2).await;
    let problem = client.handle.status().connection.last_problem.unwrap();
    assert!(problem.contains(&peer.address()) && problem.contains("503: recovering"), "{problem}");
    let _stream = peer.accept_session(QUIET).await;
    client.subscribed().await;
    let status = client.handle.status();
    assert_eq!(
        (status.connection.state, status.connection.last_problem),
        (ClientState::Subscribed, None)
    );
    assert_eq!((status.failed_attempts, status.subscriptions, status.disconnects), (2, 1, 0));
}

#[tokio::test]
async fn missing_heartbeats_end_the_session_and_begin_another() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let mut silent = peer.accept_session(0.02).await;
    let first = client.subscribed().await;
    let (epoch, reason) = client.disconnected().await;
    assert_eq!(epoch, first.epoch);
    assert!(matches!(reason, Reason::HeartbeatsMissed { .. }), "{reason}");
    silent.closed().await;
    let _stream = peer.accept_session(QUIET).await;
    let second = client.subscribed().await;
    assert!(second.epoch > first.epoch);
    assert_eq!(client.handle.status().disconnects, 1);
}

#[tokio::test]
async fn the_framework_id_is_kept_and_the_wish_for_no_offers_heeded() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let stream = peer.accept_session(QUIET).await;
    client.subscribed().await;
    client.handle.set_suppressed(true);
    drop(stream);
    client.disconnected().await;
    let mut conversation = peer.accept().await;
    let call = conversation.request().await.call;
    assert_eq!(call.framework_id, Some(calls::framework_id_of("f-1")));
    let subscribe = call.subscribe.unwrap();
    assert_eq!(subscribe.framework_info.id, call.framework_id);
    assert_eq!(subscribe.suppressed_roles, ["peloton/0"]);
}

#[tokio::test]
async fn a_master_that_only_accepts_connections_is_given_up() {
    let (dead, peer) = (Peer::listen().await, Peer::listen().await);
    let mut options = options(&[dead.address(), peer.address()]);
    options.timeouts.subscribe_timeout_ms = 1_000;
    let _client = Client::spawn(options, None);
    dead.accept().await.closed().await;
    peer.accept().await.request().await;
}

#[tokio::test]
async fn garbage_ends_the_session() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let mut stream = peer.accept_session(QUIET).await;
    client.subscribed().await;
    stream.chunk(b"<html>").await;
    let (_, reason) = client.disconnected().await;
    assert!(matches!(reason, Reason::Framing(_)), "{reason}");
    let mut stream = peer.accept_session(QUIET).await;
    client.subscribed().await;
    stream.write(b"this is no chunk\r\n").await;
    let (_, reason) = client.disconnected().await;
    assert!(matches!(reason, Reason::Connection(_)), "{reason}");
}

#[tokio::test]
async fn an_unanswered_call_breaks_the_session_and_drops_those_behind_it() {
    let peer = Peer::listen().await;
    let mut options = options(&[peer.address()]);
    options.timeouts.call_timeout_ms = 50;
    let mut client = Client::spawn(options, None);
    let mut stream = peer.accept_session(QUIET).await;
    let epoch = client.subscribed().await.epoch;
    let handle = client.handle.clone();
    let (first, second) =
        tokio::join!(handle.call(epoch, kill("a")), handle.call(epoch, kill("b")));
    assert_eq!(first, Err(CallError::SessionLost));
    // Whether the second was still queued or just refused depends on the moment.
    assert!(matches!(second, Err(CallError::SessionLost | CallError::NotSent(_))), "{second:?}");
    let (_, reason) = client.disconnected().await;
    assert!(reason.to_string().contains("KILL failed: no answer within 50 ms"), "{reason}");
    stream.closed().await;
    client.status_is("one dropped call", |status| status.calls_dropped == 1).await;
}

#[tokio::test]
async fn a_refused_call_comes_back_and_the_session_goes_on() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let _stream = peer.accept_session(QUIET).await;
    let epoch = client.subscribed().await.epoch;
    client.handle.submit(epoch, kill("a")).unwrap();
    let mut conversation = peer.accept().await;
    let text = "Failed to validate scheduler::Call: no";
    conversation.request().await;
    conversation.answer("400 Bad Request", "", text).await;
    let rejected = client
        .until("CallRejected", |event| match event {
            MesosEvent::CallRejected(rejected) => Some(rejected),
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!((rejected.epoch, rejected.kind(), rejected.status), (epoch, CallKind::Kill, 400));
    assert_eq!((killed(&rejected.call), &*rejected.body), ("a", text));
    // The same, with somebody waiting for it, on the same connection.
    let handle = client.handle.clone();
    let waiting = tokio::spawn(async move { handle.call(epoch, kill("b")).await });
    assert_eq!(killed(&conversation.request().await.call), "b");
    conversation.answer("400 Bad Request", "", text).await;
    let expected = CallError::Rejected { status: 400, body: text.into() };
    assert_eq!(waiting.await.unwrap(), Err(expected));
    assert_eq!(client.handle.status().calls_rejected, 2);
    assert_eq!(client.handle.status().connection.epoch, Some(epoch));
}

#[tokio::test]
async fn a_call_that_says_the_session_is_over_ends_it() {
    for (status, body) in [
        ("400 Bad Request", "Framework cannot be found"),
        ("403 Forbidden", "Framework is not subscribed"),
        ("307 Temporary Redirect", ""),
        ("503 Service Unavailable", ""),
    ] {
        let peer = Peer::listen().await;
        let mut client = client_of(&peer);
        let mut stream = peer.accept_session(QUIET).await;
        let epoch = client.subscribed().await.epoch;
        client.handle.submit(epoch, kill("a")).unwrap();
        let mut conversation = peer.accept().await;
        conversation.request().await;
        conversation.answer(status, "", body).await;
        let (lost, reason) = client.disconnected().await;
        assert_eq!(lost, epoch);
        assert!(reason.to_string().contains(&status[..3]), "{reason}");
        stream.closed().await;
        let _stream = peer.accept_session(QUIET).await;
        client.subscribed().await;
    }
}

#[tokio::test]
async fn calls_go_out_in_order_over_one_connection() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let _stream = peer.accept_session(QUIET).await;
    let epoch = client.subscribed().await.epoch;
    for number in 0..200 {
        client.handle.submit(epoch, kill(&number.to_string())).unwrap();
    }
    let mut conversation = peer.accept().await;
    for number in 0..200 {
        assert_eq!(killed(&conversation.request().await.call), number.to_string());
        conversation.accepted().await;
    }
    client.status_is("200 calls", |status| status.calls == [(CallKind::Kill, 200)]).await;
}

#[tokio::test]
async fn a_call_connection_closed_while_idle_is_replaced() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let _stream = peer.accept_session(QUIET).await;
    let epoch = client.subscribed().await.epoch;
    for name in ["a", "b"] {
        client.handle.submit(epoch, kill(name)).unwrap();
        let mut conversation = peer.accept().await;
        assert_eq!(killed(&conversation.request().await.call), name);
        // With this header the client knows; a silent close is a race that may end a session.
        conversation.answer("202 Accepted", "Connection: close\r\n", "").await;
    }
    client.status_is("two calls", |status| status.calls == [(CallKind::Kill, 2)]).await;
    assert_eq!(client.handle.status().disconnects, 0);
}

#[tokio::test]
async fn calls_of_another_session_or_of_none_are_handed_back() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let error = client.handle.submit(1, kill("early")).unwrap_err();
    assert_eq!((error.reason, killed(&error.call)), (NotSent::NotSubscribed, "early"));
    let stream = peer.accept_session(QUIET).await;
    let old = client.subscribed().await.epoch;
    drop(stream);
    client.disconnected().await;
    let error = client.handle.submit(old, kill("late")).unwrap_err();
    assert_eq!(error.to_string(), "KILL not sent: not subscribed");
    let _stream = peer.accept_session(QUIET).await;
    let current = client.subscribed().await.epoch;
    let error = client.handle.submit(old, kill("old")).unwrap_err();
    assert_eq!(error.reason, NotSent::OtherSession { epoch: old, current });
    assert_eq!(client.handle.status().calls_dropped, 3);
    client.handle.submit(current, kill("new")).unwrap();
    assert_eq!(killed(&peer.accept().await.request().await.call), "new");
}

#[tokio::test]
async fn a_full_queue_hands_calls_back_without_waiting() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let _stream = peer.accept_session(QUIET).await;
    let epoch = client.subscribed().await.epoch;
    client.handle.submit(epoch, kill("under way")).unwrap();
    let mut conversation = peer.accept().await;
    conversation.request().await;
    for _ in 0..peloton_mesos::CALL_QUEUE_CAPACITY {
        client.handle.submit(epoch, kill("queued")).unwrap();
    }
    let error = client.handle.submit(epoch, kill("too many")).unwrap_err();
    assert_eq!((error.reason, killed(&error.call)), (NotSent::QueueFull, "too many"));
}

#[tokio::test]
async fn stopping_closes_the_stream_even_when_the_owner_reads_nothing() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let mut stream = peer.accept_session(QUIET).await;
    client.subscribed().await;
    let capacity = peloton_mesos::EVENT_QUEUE_CAPACITY;
    for number in 0..capacity + 10 {
        stream.event(&message(&number.to_string())).await;
    }
    // One more than fits is in the hands of the client, which waits.
    let stuck = u64::try_from(capacity).unwrap() + 1;
    client.status_is("stuck", |status| status.events == stuck).await;
    client.handle.stop().await;
    stream.closed().await;
    assert_eq!(client.handle.status().connection.state, ClientState::Stopped);
    client.handle.stop().await;
}

#[tokio::test]
async fn a_slow_owner_gets_every_event_in_order() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let mut stream = peer.accept_session(QUIET).await;
    client.subscribed().await;
    let count = 3 * peloton_mesos::EVENT_QUEUE_CAPACITY;
    let writing = tokio::spawn(async move {
        for number in 0..count {
            stream.event(&message(&number.to_string())).await;
        }
        stream
    });
    client
        .status_is("the queue full", |status| {
            status.events > peloton_mesos::EVENT_QUEUE_CAPACITY as u64
        })
        .await;
    for number in 0..count {
        let data = client.event("MESSAGE", |event| event.message?.data).await;
        assert_eq!(data, number.to_string().into_bytes());
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn the_client_ends_when_its_owner_is_gone() {
    let peer = Peer::listen().await;
    let client = client_of(&peer);
    let mut stream = peer.accept_session(QUIET).await;
    let Client { handle, events } = client;
    drop(events);
    stream.closed().await;
    handle.stop().await;
    let client = client_of(&peer);
    let mut stream = peer.accept_session(QUIET).await;
    let Client { handle, events: _events } = client;
    drop(handle);
    stream.closed().await;
}

#[tokio::test]
async fn a_teardown_waits_for_its_answer_and_ends_the_client() {
    let peer = Peer::listen().await;
    let mut client = client_of(&peer);
    let mut stream = peer.accept_session(QUIET).await;
    let epoch = client.subscribed().await.epoch;
    let handle = client.handle.clone();
    let waiting = tokio::spawn(async move { handle.teardown(epoch).await });
    let mut conversation = peer.accept().await;
    assert_eq!(calls::kind(&conversation.request().await.call), CallKind::Teardown);
    conversation.accepted().await;
    assert_eq!(waiting.await.unwrap(), Ok(()));
    stream.closed().await;
    assert_eq!(client.handle.status().connection.state, ClientState::Stopped);
}
