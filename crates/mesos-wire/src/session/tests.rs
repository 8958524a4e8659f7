use super::*;
use crate::calls::{PROTOBUF, framework_id_of};
use crate::recordio::encode;
use peloton_proto::mesos::v1::scheduler::event;
use proptest::prelude::*;
use prost::Message;

mod leader;

const MASTERS: [&str; 2] = ["m1:1", "m2:2"];

fn address(text: &str) -> MasterAddress {
    MasterAddress::parse(text).unwrap()
}

fn options() -> SessionOptions {
    SessionOptions::new(MASTERS.map(address).to_vec(), None)
}

fn event_of(kind: event::Type) -> Event {
    Event { r#type: Some(kind as i32), ..Event::default() }
}

fn subscribed_event() -> Event {
    Event {
        subscribed: Some(event::Subscribed {
            framework_id: Some(framework_id_of("f-1")),
            heartbeat_interval_seconds: Some(2.0),
            master_info: None,
        }),
        ..event_of(event::Type::Subscribed)
    }
}

fn error_event(message: &str) -> Event {
    let error = event::Error { message: Some(message.into()) };
    Event { error: Some(error), ..event_of(event::Type::Error) }
}

fn update_event() -> Event {
    Event { update: Some(event::Update::default()), ..event_of(event::Type::Update) }
}

fn record(event: &Event) -> Vec<u8> {
    encode(&event.encode_to_vec()).to_vec()
}

fn ok_head() -> ResponseHead {
    ResponseHead {
        status: 200,
        content_type: Some(PROTOBUF.into()),
        stream_id: Some("s-1".into()),
        ..ResponseHead::default()
    }
}

fn head(status: u16, error_body: &str) -> ResponseHead {
    ResponseHead { status, error_body: error_body.into(), ..ResponseHead::default() }
}

/// A session with its clock, and the epoch of its newest connection.
struct Bench {
    session: Session,
    now_ms: u64,
    epoch: u64,
}

impl Bench {
    fn new(options: SessionOptions) -> Self {
        Self { session: Session::new(options), now_ms: 1_000, epoch: 0 }
    }

    /// A bench whose first attempt is under way.
    fn connecting() -> Self {
        let mut bench = Self::new(options());
        assert_eq!(bench.timer(), [connect(1, "m1:1"), wake(21_000)]);
        bench
    }

    /// A bench whose first attempt was answered with 200.
    fn streaming() -> Self {
        let mut bench = Self::connecting();
        assert_eq!(bench.response(ok_head()), []);
        bench
    }

    fn subscribed() -> Self {
        let mut bench = Self::streaming();
        let outputs = bench.event(&subscribed_event());
        assert!(matches!(outputs[..], [Output::Subscribed(_), Output::WakeAt { .. }]));
        bench
    }

    fn step(&mut self, input: Input<'_>) -> Vec<Output> {
        let outputs = self.session.step(self.now_ms, 0, input);
        for output in &outputs {
            if let Output::Connect { epoch, .. } = output {
                self.epoch = *epoch;
            }
        }
        outputs
    }

    fn timer(&mut self) -> Vec<Output> {
        self.step(Input::Timer)
    }

    fn response(&mut self, head: ResponseHead) -> Vec<Output> {
        self.step(Input::Response { epoch: self.epoch, head })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<Output> {
        self.step(Input::Body { epoch: self.epoch, bytes })
    }

    fn event(&mut self, event: &Event) -> Vec<Output> {
        self.bytes(&record(event))
    }

    fn closed(&mut self, error: Option<&str>) -> Vec<Output> {
        self.step(Input::Closed { epoch: self.epoch, error: error.map(Into::into) })
    }
}

fn connect(epoch: u64, master: &str) -> Output {
    Output::Connect { epoch, master: address(master) }
}

fn wake(at_ms: u64) -> Output {
    Output::WakeAt { at_ms }
}

fn close(epoch: u64) -> Output {
    Output::Close { epoch }
}

fn attempt_failed(epoch: u64, master: &str, reason: Reason) -> Output {
    Output::AttemptFailed { epoch, master: address(master), reason }
}

fn lost(epoch: u64, reason: Reason) -> Output {
    Output::Lost { epoch, reason }
}

fn refused(status: u16, body: &str) -> Reason {
    Reason::Refused { status, body: body.into() }
}

#[test]
fn the_way_to_a_session() {
    let mut bench = Bench::streaming();
    let outputs = bench.event(&subscribed_event());
    let subscription = Subscription {
        epoch: 1,
        framework_id: "f-1".into(),
        stream_id: "s-1".into(),
        master: address("m1:1"),
        master_info: None,
        heartbeat_interval_ms: 2_000,
    };
    assert_eq!(outputs, [Output::Subscribed(Box::new(subscription)), wake(11_000)]);
    assert_eq!(bench.session.framework_id(), Some("f-1"));
    let event = Box::new(update_event());
    assert_eq!(bench.event(&update_event()), [Output::Event { epoch: 1, event }]);
    assert_eq!(bench.event(&event_of(event::Type::Heartbeat)), []);
    bench.now_ms = 5_000;
    assert_eq!(bench.bytes(b"1"), []);
    assert_eq!(
        bench.session.state(),
        State::Subscribed {
            stream_id: "s-1".into(),
            master: address("m1:1"),
            heartbeat_interval_ms: 2_000,
            last_heard_at_ms: 5_000,
        }
    );
}

/// While an attempt is under way: what fails it leads to the next master at once.
#[test]
fn a_failed_attempt_goes_to_the_next_master_at_once() {
    let not_protobuf = ResponseHead { content_type: Some("text/html".into()), ..ok_head() };
    let no_stream = ResponseHead { stream_id: None, ..ok_head() };
    for (head, reason) in [
        (head(503, "recovering"), refused(503, "recovering")),
        (head(500, ""), refused(500, "")),
        (head(404, ""), refused(404, "")),
        (head(202, ""), refused(202, "")),
        (head(400, "some proxy's words"), refused(400, "some proxy's words")),
        (not_protobuf, Reason::NotMesos("the answer to SUBSCRIBE is not protobuf")),
        (no_stream, Reason::NotMesos("the answer has no Mesos-Stream-Id")),
    ] {
        let mut bench = Bench::connecting();
        let outputs = bench.response(head);
        let failed = attempt_failed(1, "m1:1", reason);
        assert_eq!(outputs, [close(1), failed, connect(2, "m2:2"), wake(21_000)]);
    }
    let mut bench = Bench::connecting();
    let failed = attempt_failed(1, "m1:1", Reason::Connection("refused".into()));
    let expected = [close(1), failed, connect(2, "m2:2"), wake(21_000)];
    assert_eq!(bench.closed(Some("refused")), expected);
}

#[test]
fn an_attempt_has_its_deadline_before_and_after_the_answer() {
    for mut bench in [Bench::connecting(), Bench::streaming()] {
        bench.now_ms = 20_999;
        assert_eq!(bench.timer(), [wake(21_000)]);
        bench.now_ms = 21_000;
        let failed = attempt_failed(1, "m1:1", Reason::TimedOut { after_ms: 20_000 });
        assert_eq!(bench.timer(), [close(1), failed, connect(2, "m2:2"), wake(41_000)]);
    }
}

#[test]
fn a_round_in_vain_is_followed_by_a_longer_pause_each_time_up_to_the_limit() {
    let mut bench = Bench::new(options());
    let mut pauses_ms = Vec::new();
    for round in 1..=8 {
        assert!(matches!(bench.timer()[..], [Output::Connect { .. }, Output::WakeAt { .. }]));
        bench.closed(None);
        let outputs = bench.closed(None);
        let [Output::Close { .. }, Output::AttemptFailed { .. }, Output::WakeAt { at_ms }] =
            outputs[..]
        else {
            panic!("{outputs:?}")
        };
        pauses_ms.push(at_ms - bench.now_ms);
        assert_eq!(bench.session.state(), State::Disconnected { attempt: round });
        assert_eq!(bench.timer(), [wake(at_ms)], "not before its time");
        bench.now_ms = at_ms;
    }
    assert_eq!(pauses_ms, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
}

#[test]
fn jitter_takes_off_at_most_half() {
    for random in [0, 1, 100, 101, u64::MAX] {
        let mut session = Session::new(SessionOptions::new(vec![address("m1:1")], None));
        session.step(0, random, Input::Timer);
        let outputs = session.step(0, random, Input::Closed { epoch: 1, error: None });
        let Some(Output::WakeAt { at_ms }) = outputs.last() else { panic!("{outputs:?}") };
        assert_eq!(*at_ms, 200 - random % 101);
    }
}

#[test]
fn a_redirect_is_followed_and_the_leader_is_remembered() {
    let mut bench = Bench::connecting();
    let location = Some("//m3:3/api/v1/scheduler".to_owned());
    let leader = address("m3:3");
    let outputs = bench.response(ResponseHead { location, ..head(307, "") });
    let redirected = attempt_failed(1, "m1:1", Reason::Redirected { leader });
    assert_eq!(outputs, [close(1), redirected, connect(2, "m3:3"), wake(21_000)]);
    bench.response(ok_head());
    bench.event(&subscribed_event());
    bench.closed(None);
    bench.now_ms += 200;
    assert_eq!(bench.timer()[0], connect(3, "m3:3"));
    assert_eq!(bench.closed(None)[2], connect(4, "m1:1"));
    assert_eq!(bench.closed(None)[2], connect(5, "m2:2"));
    assert!(matches!(bench.closed(None)[2], Output::WakeAt { .. }));
}

#[test]
fn masters_that_point_at_each_other_end_in_a_pause() {
    let mut bench = Bench::connecting();
    for connects in 1..20 {
        let location = Some(format!("//{}", MASTERS[connects % 2]));
        let outputs = bench.response(ResponseHead { location, ..head(307, "") });
        if !outputs.iter().any(|output| matches!(output, Output::Connect { .. })) {
            assert_eq!(bench.session.state(), State::Disconnected { attempt: 1 });
            assert_eq!(connects, 2 * (1 + MAX_REDIRECTS as usize));
            return;
        }
    }
    panic!("chased without end");
}

#[test]
fn a_redirect_to_nowhere_fails_the_attempt() {
    for location in [None, Some("/relative".to_owned()), Some("https://m3:3/".to_owned())] {
        let mut bench = Bench::connecting();
        let outputs = bench.response(ResponseHead { location, ..head(307, "") });
        let [_, Output::AttemptFailed { reason: Reason::BadRedirect(_), .. }, next, _] =
            &outputs[..]
        else {
            panic!("{outputs:?}")
        };
        assert_eq!(*next, connect(2, "m2:2"));
    }
}

#[test]
fn refused_credentials_and_an_invalid_subscription_end_it() {
    let master = address("m1:1");
    let refused = |status| Failure::AuthenticationRefused {
        master: address("m1:1"),
        status,
        body: "no".into(),
    };
    let text = "Failed to validate scheduler::Call: principal";
    for (head, failure) in [
        (head(401, "no"), refused(401)),
        (head(403, "no"), refused(403)),
        (head(400, text), Failure::InvalidSubscription { master, body: text.into() }),
    ] {
        let mut bench = Bench::connecting();
        assert_eq!(bench.response(head), [close(1), Output::Failed(failure.clone())]);
        assert_eq!(bench.session.state(), State::Failed(failure));
    }
}

#[test]
fn error_events_are_told_apart() {
    let removed = |message: &str| Failure::FrameworkRemoved { message: message.into() };
    for (message, failure) in [
        ("Framework failed over", Failure::FailedOver),
        ("Framework has been removed", removed("Framework has been removed")),
        (
            "Completed framework attempted to re-subscribe",
            removed("Completed framework attempted to re-subscribe"),
        ),
    ] {
        for mut bench in [Bench::streaming(), Bench::subscribed()] {
            let outputs = bench.event(&error_event(message));
            assert_eq!(outputs, [close(1), Output::Failed(failure.clone())]);
        }
    }
    let reason = Reason::Error("Not authorized".into());
    let outputs = Bench::streaming().event(&error_event("Not authorized"));
    let failed = attempt_failed(1, "m1:1", reason.clone());
    assert_eq!(outputs, [close(1), failed, connect(2, "m2:2"), wake(21_000)]);
    let outputs = Bench::subscribed().event(&error_event("Not authorized"));
    assert_eq!(outputs, [close(1), lost(1, reason), wake(1_200)]);
}

#[test]
fn five_missed_heartbeats_end_the_session_and_any_byte_keeps_it() {
    let mut bench = Bench::subscribed();
    bench.now_ms = 10_999;
    assert_eq!(bench.timer(), [wake(11_000)]);
    bench.bytes(b"1");
    bench.now_ms = 11_000;
    assert_eq!(bench.timer(), [wake(20_999)]);
    bench.now_ms = 21_000;
    let reason = Reason::HeartbeatsMissed { silent_ms: 10_001 };
    assert_eq!(bench.timer(), [close(1), lost(1, reason), wake(21_200)]);
}

#[test]
fn heartbeat_intervals_are_believed_within_limits() {
    for (seconds, expected_ms) in [
        (None, DEFAULT_HEARTBEAT_MS),
        (Some(f64::NAN), DEFAULT_HEARTBEAT_MS),
        (Some(f64::INFINITY), DEFAULT_HEARTBEAT_MS),
        (Some(0.0), MIN_HEARTBEAT_MS),
        (Some(-1.0), MIN_HEARTBEAT_MS),
        (Some(1e300), MAX_HEARTBEAT_MS),
        (Some(15.0), 15_000),
    ] {
        let mut bench = Bench::streaming();
        let mut event = subscribed_event();
        event.subscribed.as_mut().unwrap().heartbeat_interval_seconds = seconds;
        let outputs = bench.event(&event);
        let Output::Subscribed(subscription) = &outputs[0] else { panic!("{outputs:?}") };
        assert_eq!(subscription.heartbeat_interval_ms, expected_ms, "{seconds:?}");
    }
}

#[test]
fn what_is_unknown_or_empty_is_skipped_and_counted() {
    let mut bench = Bench::subscribed();
    let mut from_the_future = event_of(event::Type::Unknown);
    from_the_future.r#type = Some(4711);
    for (count, event) in
        [event_of(event::Type::Unknown), from_the_future, event_of(event::Type::Offers)]
            .iter()
            .enumerate()
    {
        assert_eq!(bench.event(event), []);
        assert_eq!(bench.session.skipped_events(), count as u64 + 1);
    }
    // An unknown field (number 99, a varint) beside a known event does not hide it.
    let mut known = update_event().encode_to_vec();
    known.extend([0x98, 0x06, 0x01]);
    let outputs = bench.bytes(&encode(&known));
    assert!(matches!(outputs[..], [Output::Event { .. }]), "{outputs:?}");
    assert_eq!(bench.bytes(b"0\n"), []);
    assert_eq!(bench.session.skipped_events(), 4);
}

#[test]
fn garbage_ends_the_session() {
    for (bytes, expected) in [
        (&b"<html>"[..], "broken event stream"),
        (b"3\n\xff\xff\xff", "undecodable event"),
        (&record(&subscribed_event()), "a second SUBSCRIBED"),
    ] {
        let outputs = Bench::subscribed().bytes(bytes);
        let [_, Output::Lost { reason, .. }, Output::WakeAt { .. }] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        assert!(reason.to_string().contains(expected), "{reason}");
    }
    let mut bench = Bench::subscribed();
    bench.bytes(b"10\nabc");
    let truncated = crate::recordio::RecordError::Truncated { missing: 7 };
    assert_eq!(bench.closed(None)[1], lost(1, Reason::Framing(truncated)));
}

#[test]
fn an_event_that_ends_the_stream_hides_what_is_behind_it() {
    let mut bench = Bench::subscribed();
    let mut bytes = record(&update_event());
    bytes.extend(record(&error_event("Framework failed over")));
    bytes.extend(record(&update_event()));
    let outputs = bench.bytes(&bytes);
    let failed = Output::Failed(Failure::FailedOver);
    assert!(matches!(outputs[0], Output::Event { .. }), "{outputs:?}");
    assert_eq!(outputs[1..], [close(1), failed]);
}

#[test]
fn a_stream_without_the_right_subscribed_is_no_session() {
    let mut nameless = subscribed_event();
    nameless.subscribed.as_mut().unwrap().framework_id = None;
    let known = SessionOptions { framework_id: Some("f-0".into()), ..options() };
    for (options, event, expected) in [
        (options(), update_event(), "an event came before SUBSCRIBED"),
        (options(), nameless, "SUBSCRIBED has no framework id"),
        (known, subscribed_event(), "another framework id"),
    ] {
        let mut bench = Bench::new(options);
        bench.timer();
        bench.response(ok_head());
        let outputs = bench.event(&event);
        let [_, Output::AttemptFailed { reason: Reason::NotMesos(text), .. }, ..] = &outputs[..]
        else {
            panic!("{outputs:?}")
        };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_broken_call_ends_its_own_session_only() {
    let mut bench = Bench::subscribed();
    let broke = |epoch| Input::CallBroke { epoch, error: "HTTP 400".into() };
    assert_eq!(bench.step(broke(0)), []);
    let reason = Reason::CallBroke("HTTP 400".into());
    assert_eq!(bench.step(broke(1)), [close(1), lost(1, reason), wake(1_200)]);
    assert_eq!(bench.step(broke(1)), [], "it is over already");
}

#[test]
fn only_a_session_that_lasted_resets_the_pause() {
    let mut bench = Bench::subscribed();
    for pause_ms in [200, 400, 800] {
        assert_eq!(bench.closed(None)[2], wake(bench.now_ms + pause_ms));
        bench.now_ms += pause_ms;
        bench.timer();
        bench.response(ok_head());
        bench.event(&subscribed_event());
    }
    bench.now_ms += SessionOptions::DEFAULT_BACKOFF_MAX_MS;
    assert_eq!(bench.closed(None)[2], wake(bench.now_ms + 200));
}

#[test]
fn inputs_of_another_epoch_or_after_the_end_do_nothing() {
    let inputs = |epoch| {
        [
            Input::Response { epoch, head: ok_head() },
            Input::Body { epoch, bytes: b"garbage" },
            Input::Closed { epoch, error: None },
            Input::CallBroke { epoch, error: String::new() },
        ]
    };
    for mut bench in [Bench::connecting(), Bench::streaming(), Bench::subscribed()] {
        let before = bench.session.state();
        for epoch in [0, 2] {
            for input in inputs(epoch) {
                assert_eq!(bench.step(input), []);
            }
        }
        assert_eq!(bench.session.state(), before);
        // What is no answer to SUBSCRIBE at this point is ignored, too.
        bench.response(head(401, ""));
        bench.event(&error_event("Framework failed over"));
        assert!(matches!(bench.session.state(), State::Failed(_)));
        for input in inputs(1).into_iter().chain([Input::Timer]) {
            assert_eq!(bench.step(input), []);
        }
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(record(&subscribed_event())),
        4 => Just(record(&update_event())),
        2 => Just(record(&event_of(event::Type::Heartbeat))),
        1 => Just(record(&error_event("Framework failed over"))),
        1 => Just(record(&error_event("whatever"))),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

fn any_head() -> impl Strategy<Value = ResponseHead> {
    prop_oneof![
        6 => Just(ok_head()),
        1 => prop_oneof![Just(307u16), Just(503), Just(500), Just(400), Just(401)]
            .prop_map(|status| ResponseHead { location: Some("//m9:9".into()), ..head(status, "") }),
    ]
}

/// A random input: kind, how far the clock moves, how old the epoch is, content.
fn any_steps() -> impl Strategy<Value = Vec<(u8, u64, u64, ResponseHead, Vec<u8>)>> {
    let age = prop_oneof![6 => Just(0u64), 1 => 1u64..3];
    prop::collection::vec((0u8..8, 0u64..9_000, age, any_head(), any_bytes()), 1..60)
}

proptest! {
    /// Whatever comes: one connection at a time, every session ends once, the owner sees events
    /// in sessions only, and unless it failed for good the machine has a wake-up ahead of it.
    #[test]
    fn the_contract_with_the_driver_holds_for_any_inputs(steps in any_steps(), random: u64) {
        let mut session = Session::new(options());
        let (mut now_ms, mut open, mut newest, mut alive) = (0u64, None::<u64>, 0, None::<u64>);
        let mut wake_at_ms = None;
        let first = (0u8, 0u64, 0u64, head(0, ""), Vec::new());
        for (kind, passed_ms, age, head, bytes) in std::iter::once(first).chain(steps) {
            now_ms += passed_ms;
            let epoch = newest - age.min(newest);
            let failed_before = matches!(session.state(), State::Failed(_));
            let input = match kind {
                0 => Input::Timer,
                1 | 2 => Input::Response { epoch, head },
                3 => Input::Closed { epoch, error: None },
                4 => Input::CallBroke { epoch, error: String::new() },
                _ => Input::Body { epoch, bytes: &bytes },
            };
            let outputs = session.step(now_ms, random, input);
            prop_assert!(!failed_before || outputs.is_empty());
            for output in outputs {
                match output {
                    Output::Connect { epoch, .. } => {
                        prop_assert_eq!((open, alive), (None, None));
                        prop_assert!(epoch > newest);
                        (open, newest) = (Some(epoch), epoch);
                    }
                    Output::Close { epoch } => {
                        prop_assert_eq!(open, Some(epoch));
                        open = None;
                    }
                    Output::Subscribed(subscription) => {
                        prop_assert_eq!((open, alive), (Some(subscription.epoch), None));
                        alive = open;
                    }
                    Output::Event { epoch, .. } => prop_assert_eq!(alive, Some(epoch)),
                    Output::Lost { epoch, .. } => {
                        prop_assert_eq!(alive, Some(epoch));
                        alive = None;
                    }
                    Output::AttemptFailed { .. } => prop_assert_eq!(alive, None),
                    Output::Failed(_) => (alive, wake_at_ms) = (None, None),
                    Output::WakeAt { at_ms } => wake_at_ms = Some(at_ms),
                }
            }
            match session.state() {
                State::Failed(_) => prop_assert_eq!(open, None),
                State::Disconnected { .. } => prop_assert!(open.is_none() && wake_at_ms.is_some()),
                State::Connecting { .. } => prop_assert!(alive.is_none() && wake_at_ms.is_some()),
                State::Subscribed { .. } => prop_assert!(alive.is_some() && wake_at_ms.is_some()),
            }
        }
    }
}
