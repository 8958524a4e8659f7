//! Subscriptions, stream ids, heartbeats, fail-over and the end of frameworks.

use crate::support::{CAPABLE, Cluster, ROLE, call_of, framework};
use peloton_mesos_sim::{FrameworkState, Settings};
use peloton_proto::mesos::v1;
use v1::framework_info::capability::Type as Capability;
use v1::scheduler::{Call, call, event};

#[test]
fn a_subscription_gets_an_id_a_heartbeat_and_offers() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    assert!(scheduler.id.ends_with("-0000"), "{}", scheduler.id);
    let kinds: Vec<_> = scheduler.events.drain(..).map(|event| event.r#type()).collect();
    use event::Type;
    assert_eq!(kinds, [Type::Subscribed, Type::Heartbeat, Type::Offers]);
    cluster.pass(14_999);
    cluster.look(&mut scheduler);
    assert_eq!(scheduler.events, []);
    cluster.pass(1);
    cluster.look(&mut scheduler);
    assert_eq!(scheduler.events[0].r#type(), Type::Heartbeat);
}

#[test]
fn a_second_subscription_ends_the_first() {
    let (mut cluster, mut first, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut first);
    let id = Some(v1::FrameworkId { value: first.id.clone() });
    let mut second = cluster.subscribe(v1::FrameworkInfo { id, ..framework(&CAPABLE) });
    cluster.look(&mut first);
    let error = first.events.last().unwrap().error.as_ref().unwrap();
    assert_eq!(error.message(), "Framework failed over");
    assert!(first.is_closed);
    assert_eq!(second.id, first.id);

    let refusal = cluster.send(&first, call_of(&first, call::Type::Revive)).unwrap_err();
    assert_eq!(refusal.status, 400);
    assert!(refusal.body.contains("didn't match the stream ID"), "{}", refusal.body);

    // What the first was offered is void, and offered anew.
    cluster.pass(1_000);
    let again = cluster.offer(&mut second);
    assert_ne!(again.id, offer.id);
    assert_eq!(again.resources, offer.resources);
}

#[test]
fn calls_need_a_framework_a_connection_and_a_stream_id() {
    let (mut cluster, scheduler, _) = Cluster::with_one_agent();
    let revive = call_of(&scheduler, call::Type::Revive);
    let refusal = cluster.mesos.call(None, revive.clone()).unwrap_err();
    assert_eq!(refusal.body, "All non-subscribe calls should include the 'Mesos-Stream-Id' header");
    let framework_id = Some(v1::FrameworkId { value: "nobody".to_owned() });
    let refusal = cluster
        .mesos
        .call(Some(&scheduler.stream_id), Call { framework_id, ..revive.clone() })
        .unwrap_err();
    assert_eq!((refusal.status, refusal.body.as_str()), (400, "Framework cannot be found"));
    let refusal =
        cluster.mesos.call(None, Call { framework_id: None, ..revive.clone() }).unwrap_err();
    assert_eq!(
        refusal.body,
        "Failed to validate scheduler::Call: Expecting 'framework_id' to be present"
    );
    let kill = Call { r#type: Some(call::Type::Kill as i32), ..revive.clone() };
    let refusal = cluster.send(&scheduler, kill).unwrap_err();
    assert_eq!(refusal.body, "Failed to validate scheduler::Call: Expecting 'kill' to be present");
    cluster.mesos.disconnected(scheduler.connection);
    let refusal = cluster.send(&scheduler, revive).unwrap_err();
    assert_eq!((refusal.status, refusal.body.as_str()), (403, "Framework is not subscribed"));
}

#[test]
fn a_framework_that_stays_away_is_removed() {
    let (mut cluster, scheduler, agent) = Cluster::with_one_agent();
    let mut scheduler = scheduler;
    cluster.run(&mut scheduler, &["a"]);
    cluster.mesos.disconnected(scheduler.connection);
    cluster.pass(3_599_999);
    let known = cluster.mesos.framework(&scheduler.id).unwrap();
    assert_eq!(known.state(), FrameworkState::Disconnected);
    assert_eq!(cluster.mesos.agent(agent).unwrap().tasks().count(), 1);
    cluster.pass(1);
    assert!(cluster.mesos.framework(&scheduler.id).is_none());
    assert_eq!(cluster.mesos.agent(agent).unwrap().tasks().count(), 0);

    let id = Some(v1::FrameworkId { value: scheduler.id.clone() });
    let refused = cluster.try_subscribe(v1::FrameworkInfo { id, ..framework(&CAPABLE) }, &[]);
    let error = refused.events[0].error.as_ref().unwrap();
    assert_eq!(error.message(), "Framework has been removed");
    assert!(refused.is_closed);
}

#[test]
fn a_teardown_ends_everything() {
    let (mut cluster, mut scheduler, agent) = Cluster::with_one_agent();
    cluster.run(&mut scheduler, &["a"]);
    cluster.send(&scheduler, call_of(&scheduler, call::Type::Teardown)).unwrap();
    cluster.look(&mut scheduler);
    assert!(scheduler.is_closed);
    assert_eq!(cluster.mesos.agent(agent).unwrap().tasks().count(), 0);
    assert_eq!(cluster.mesos.frameworks().count(), 0);
}

#[test]
fn refused_subscriptions_say_why() {
    let mut cluster = Cluster::new(Settings::default());
    let mut error = |info, suppressed: &[&str]| {
        let scheduler = cluster.try_subscribe(info, suppressed);
        assert!(scheduler.is_closed);
        scheduler.events[0].error.as_ref().unwrap().message().to_owned()
    };
    let info = framework(&CAPABLE);
    assert_eq!(
        error(info.clone(), &["dev"]),
        "Suppressed role 'dev' is not contained in the list of roles"
    );
    let twice = vec![ROLE.to_owned(), ROLE.to_owned()];
    assert_eq!(
        error(v1::FrameworkInfo { roles: twice, ..info.clone() }, &[]),
        "'FrameworkInfo.roles' contains duplicate items: { prod }"
    );
    assert_eq!(
        error(framework(&[Capability::PartitionAware]), &[]),
        "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    );
}

#[test]
fn suppressed_roles_get_no_offers_until_revived() {
    let (mut cluster, mut scheduler, _) = Cluster::with_one_agent();
    let offer = cluster.offer(&mut scheduler);
    cluster.send(&scheduler, call_of(&scheduler, call::Type::Suppress)).unwrap();
    let decline = call::Decline { offer_ids: vec![offer.id], filters: None };
    let call = call_of(&scheduler, call::Type::Decline);
    cluster.send(&scheduler, Call { decline: Some(decline), ..call }).unwrap();
    cluster.pass(60_000);
    assert_eq!(cluster.offers(&mut scheduler), []);
    cluster.send(&scheduler, call_of(&scheduler, call::Type::Revive)).unwrap();
    cluster.offer(&mut scheduler);
}

#[test]
fn a_framework_may_invent_its_id() {
    let mut cluster = Cluster::new(Settings::default());
    let id = Some(v1::FrameworkId { value: "peloton-7".to_owned() });
    let scheduler = cluster.subscribe(v1::FrameworkInfo { id, ..framework(&CAPABLE) });
    assert_eq!(scheduler.id, "peloton-7");
}
