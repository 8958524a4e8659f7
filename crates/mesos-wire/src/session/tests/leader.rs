//! What a session does with news about who leads.

use super::*;
use peloton_proto::mesos::v1::{Address, MasterInfo};

fn no_list() -> SessionOptions {
    SessionOptions::new(Vec::new(), Some("f-1".into()))
}

fn leader(master: &str) -> Input<'static> {
    Input::Leader { address: Some(address(master)) }
}

fn changed(master: &str) -> Reason {
    Reason::LeaderChanged { leader: address(master) }
}

/// A session that the news of a leader brought to its stream.
fn subscribed(says: Option<&str>) -> Bench {
    let mut bench = Bench::new(no_list());
    bench.timer();
    bench.step(leader("m1:1"));
    assert_eq!(bench.response(ok_head()), []);
    let mut event = subscribed_event();
    if let (Some(subscribed), Some(says)) = (&mut event.subscribed, says) {
        let says = address(says);
        let mine = Address {
            ip: Some(says.host().into()),
            hostname: Some("else".into()),
            port: says.port().into(),
        };
        subscribed.master_info = Some(MasterInfo { address: Some(mine), ..MasterInfo::default() });
    }
    assert!(matches!(bench.event(&event)[..], [Output::Subscribed(_), Output::WakeAt { .. }]));
    bench
}

#[test]
fn without_a_list_nothing_is_tried_until_somebody_leads() {
    let mut bench = Bench::new(no_list());
    assert_eq!(bench.timer(), [wake(11_000)]);
    bench.now_ms = 11_000;
    assert_eq!(bench.step(Input::Leader { address: None }), []);
    assert_eq!(bench.timer(), [wake(21_000)]);
    assert_eq!(bench.session.state(), State::Disconnected { attempt: 0 });
    assert_eq!(bench.step(leader("m1:1")), [connect(1, "m1:1"), wake(31_000)]);
}

#[test]
fn a_leader_that_does_not_answer_is_tried_again_with_pauses() {
    let mut bench = Bench::new(no_list());
    bench.timer();
    bench.step(leader("m1:1"));
    let refused = |epoch| attempt_failed(epoch, "m1:1", Reason::Connection("refused".into()));
    assert_eq!(bench.closed(Some("refused")), [close(1), refused(1), wake(1_200)]);
    bench.now_ms = 1_200;
    assert_eq!(bench.timer(), [connect(2, "m1:1"), wake(21_200)]);
    assert_eq!(bench.closed(Some("refused")), [close(2), refused(2), wake(1_600)]);
    // News ends the pause, also of an election with the same winner.
    assert_eq!(bench.step(leader("m1:1")), [connect(3, "m1:1"), wake(21_200)]);
    assert_eq!(bench.closed(Some("refused")), [close(3), refused(3), wake(1_400)]);
    assert_eq!(bench.step(leader("m2:2")), [connect(4, "m2:2"), wake(21_200)]);
}

#[test]
fn a_new_leader_ends_the_attempt_with_the_old_one() {
    let mut bench = Bench::new(no_list());
    bench.timer();
    bench.step(leader("m1:1"));
    let ended =
        [close(1), attempt_failed(1, "m1:1", changed("m2:2")), connect(2, "m2:2"), wake(21_000)];
    assert_eq!(bench.step(leader("m2:2")), ended);
    assert_eq!(bench.step(leader("m2:2")), []);
    // Also while SUBSCRIBED is waited for.
    assert_eq!(bench.response(ok_head()), []);
    assert_eq!(bench.step(leader("m2:2")), []);
    let outputs = bench.step(leader("m3:3"));
    assert_eq!(outputs[1], attempt_failed(2, "m2:2", changed("m3:3")));
    assert_eq!(outputs[2], connect(3, "m3:3"));
}

#[test]
fn a_new_leader_ends_the_session_with_the_old_one_at_once() {
    let mut bench = subscribed(None);
    let ended = [close(1), lost(1, changed("m2:2")), connect(2, "m2:2"), wake(21_000)];
    assert_eq!(bench.step(leader("m2:2")), ended);
    // The old leader is not tried again when the new one fails.
    let outputs = bench.closed(None);
    assert_eq!(outputs[1], attempt_failed(2, "m2:2", Reason::Closed));
    assert!(matches!(outputs[2..], [Output::WakeAt { .. }]), "{outputs:?}");
}

#[test]
fn a_session_goes_on_while_nobody_leads_and_with_the_same_leader() {
    let mut bench = subscribed(None);
    assert_eq!(bench.step(Input::Leader { address: None }), []);
    assert_eq!(bench.step(leader("m1:1")), []);
    assert!(matches!(bench.session.state(), State::Subscribed { .. }));
    let outputs = bench.event(&update_event());
    assert!(matches!(outputs[..], [Output::Event { epoch: 1, .. }]), "{outputs:?}");
}

#[test]
fn a_master_is_known_by_the_address_that_it_names() {
    let mut bench = subscribed(Some("10.0.0.1:5050"));
    assert_eq!(bench.step(leader("10.0.0.1:5050")), []);
    assert_eq!(bench.step(leader("10.0.0.2:5050"))[1], lost(1, changed("10.0.0.2:5050")));
}

#[test]
fn a_stream_that_breaks_while_nobody_leads_is_tried_once_more_at_its_master() {
    let mut bench = subscribed(None);
    bench.step(Input::Leader { address: None });
    let outputs = bench.closed(None);
    assert_eq!(outputs[..2], [close(1), lost(1, Reason::Closed)]);
    bench.now_ms = 20_000;
    assert_eq!(bench.timer()[0], connect(2, "m1:1"));
    bench.closed(Some("refused"));
    bench.now_ms = 40_000;
    assert!(matches!(bench.timer()[..], [Output::WakeAt { .. }]));
    assert_eq!(bench.step(leader("m2:2"))[0], connect(3, "m2:2"));
}

#[test]
fn news_does_not_bring_a_session_back_that_ended_for_good() {
    let mut bench = subscribed(None);
    bench.event(&error_event("Framework failed over"));
    assert_eq!(bench.step(leader("m2:2")), []);
    assert_eq!(bench.session.state(), State::Failed(Failure::FailedOver));
}
