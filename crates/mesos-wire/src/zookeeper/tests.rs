use super::jute::MAX_FRAME_BYTES;
use super::*;
use proptest::prelude::*;

const PATH: &str = "/mesos";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn server(number: usize) -> Server {
    url("zk://a:1,b:2,c:3/mesos").servers()[number].clone()
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn text(value: &str) -> Vec<u8> {
    [&int(i32::try_from(value.len()).unwrap())[..], value.as_bytes()].concat()
}

fn head(xid: i32, zxid: i64, code: i32) -> Vec<u8> {
    [&int(xid)[..], &zxid.to_be_bytes(), &int(code)].concat()
}

fn granted(timeout_ms: i32) -> Vec<u8> {
    frame(&[&int(0), &int(timeout_ms), &[7; 8], &int(16), &[1; 16], &[0]])
}

fn children(xid: i32, zxid: i64, names: &[&str]) -> Vec<u8> {
    let names_text: Vec<u8> = names.iter().flat_map(|name| text(name)).collect();
    let count = int(i32::try_from(names.len()).unwrap());
    frame(&[&head(xid, zxid, 0), &count, &names_text])
}

fn master(port: u16) -> String {
    format!(r#"{{"address":{{"hostname":"m","ip":"10.0.0.1","port":{port}}}}}"#)
}

fn content(xid: i32, content: &str) -> Vec<u8> {
    frame(&[&head(xid, 9, 0), &text(content), &[0; 68]])
}

fn failed(xid: i32, code: i32) -> Vec<u8> {
    frame(&[&head(xid, 9, code)])
}

fn event(kind: i32, path: &str) -> Vec<u8> {
    frame(&[&head(-1, -1, 0), &int(kind), &int(3), &text(path)])
}

fn leading(node: &str, port: u16) -> Output {
    let address = MasterAddress::new("10.0.0.1", port).unwrap();
    Output::Leader(Some(Leading { node: node.into(), address }))
}

/// What a request says: its number, its kind, its path, whether it watches.
fn request(bytes: &[u8]) -> (i32, i32, String, bool) {
    let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let length = usize::try_from(int(12)).unwrap();
    let path = String::from_utf8(bytes[16..16 + length].to_vec()).unwrap();
    (int(4), int(8), path, bytes[16 + length] == 1)
}

fn list(xid: i32) -> (i32, i32, String, bool) {
    (xid, 8, PATH.into(), true)
}

fn read(xid: i32, node: &str) -> (i32, i32, String, bool) {
    (xid, 4, format!("{PATH}/{node}"), false)
}

/// A detector with its clock, and the epoch of its newest connection.
struct Bench {
    detector: Detector,
    now_ms: u64,
    epoch: u64,
    sent: Vec<Vec<u8>>,
    wake_at_ms: u64,
}

impl Bench {
    fn new(text: &str) -> Self {
        let detector = Detector::new(DetectorOptions::new(url(text)));
        Self { detector, now_ms: 1_000, epoch: 0, sent: Vec::new(), wake_at_ms: 0 }
    }

    /// All but what is sent and when to wake.
    fn step(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut told = Vec::new();
        for output in self.detector.step(self.now_ms, 0, input) {
            match output {
                Output::Send { epoch, bytes } => {
                    assert_eq!(epoch, self.epoch);
                    self.sent.push(bytes);
                }
                Output::WakeAt { at_ms } => self.wake_at_ms = at_ms,
                Output::Connect { epoch, .. } => {
                    self.epoch = epoch;
                    told.push(output);
                }
                _ => told.push(output),
            }
        }
        told
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<Output> {
        self.step(Input::Bytes { epoch: self.epoch, bytes })
    }

    fn closed(&mut self, error: Option<&str>) -> Vec<Output> {
        self.step(Input::Closed { epoch: self.epoch, error: error.map(Into::into) })
    }

    /// At the time it asked for.
    fn woken(&mut self) -> Vec<Output> {
        self.now_ms = self.wake_at_ms;
        self.step(Input::Timer)
    }

    fn requests(&mut self) -> Vec<(i32, i32, String, bool)> {
        self.sent.drain(..).map(|bytes| request(&bytes)).collect()
    }

    /// A session whose list is asked for.
    fn greeted(text: &str) -> Self {
        let mut bench = Self::new(text);
        bench.step(Input::Timer);
        assert_eq!(bench.sent.drain(..).count(), 1);
        assert_eq!(bench.bytes(&granted(9_000)), []);
        bench
    }

    /// A session that knows `json.info_0000000001` at port 5051.
    fn found() -> Self {
        let mut bench = Self::greeted("zk://a:1,b:2,c:3/mesos");
        assert_eq!(bench.requests(), [list(1)]);
        let outputs = bench.bytes(&children(1, 7, &["json.info_0000000001", "log_replicas"]));
        assert_eq!(outputs, [Output::Connected { server: server(0) }]);
        assert_eq!(bench.requests(), [read(2, "json.info_0000000001")]);
        let outputs = bench.bytes(&content(2, &master(5_051)));
        assert_eq!(outputs, [leading("json.info_0000000001", 5_051)]);
        bench
    }
}

fn trouble(number: usize, trouble: Trouble) -> Output {
    Output::Trouble { server: server(number), trouble }
}

#[test]
fn a_change_of_the_children_is_followed() {
    let mut bench = Bench::found();
    assert_eq!(bench.bytes(&event(4, PATH)), []);
    assert_eq!(bench.requests(), [list(3)]);
    // One more candidate changes nothing.
    let both = ["json.info_0000000002", "json.info_0000000001"];
    assert_eq!(bench.bytes(&children(3, 8, &both)), []);
    assert_eq!(bench.requests(), []);
    bench.bytes(&event(4, PATH));
    assert_eq!(bench.requests(), [list(4)]);
    assert_eq!(bench.bytes(&children(4, 9, &["json.info_0000000002"])), []);
    assert_eq!(bench.requests(), [read(5, "json.info_0000000002")]);
    let outputs = bench.bytes(&content(5, &master(5_052)));
    assert_eq!(outputs, [leading("json.info_0000000002", 5_052)]);
    bench.bytes(&event(4, PATH));
    assert_eq!(bench.bytes(&children(6, 10, &["log_replicas"])), [Output::Leader(None)]);
    // The same master, elected again, is news.
    bench.bytes(&event(4, PATH));
    bench.bytes(&children(7, 11, &["json.info_0000000003"]));
    let outputs = bench.bytes(&content(8, &master(5_052)));
    assert_eq!(outputs, [leading("json.info_0000000003", 5_052)]);
}

#[test]
fn answers_that_are_overtaken_count_for_nothing() {
    let mut bench = Bench::greeted("zk://a:1,b:2,c:3/mesos");
    bench.bytes(&children(1, 7, &["json.info_0000000001"]));
    bench.sent.clear();
    // The first leader goes while its node is read.
    bench.bytes(&event(4, PATH));
    bench.bytes(&children(3, 8, &["json.info_0000000002"]));
    assert_eq!(bench.requests(), [list(3), read(4, "json.info_0000000002")]);
    assert_eq!(bench.bytes(&content(2, &master(5_051))), []);
    let outputs = bench.bytes(&content(4, &master(5_052)));
    assert_eq!(outputs, [leading("json.info_0000000002", 5_052)]);
    // And here before it could be read; the watch then says so.
    bench.bytes(&event(4, PATH));
    bench.bytes(&children(5, 9, &["json.info_0000000003"]));
    assert_eq!(bench.bytes(&failed(6, -101)), []);
    assert_eq!(bench.bytes(&event(4, PATH)), []);
    bench.bytes(&children(7, 9, &["json.info_0000000002"]));
    // Still the same as was told, so there is no need to.
    assert_eq!(bench.bytes(&content(8, &master(5_052))), []);
}

#[test]
fn a_path_that_does_not_exist_is_watched() {
    let mut bench = Bench::greeted("zk://a:1,b:2,c:3/mesos");
    bench.sent.clear();
    assert_eq!(bench.bytes(&failed(1, -101)), [Output::Connected { server: server(0) }]);
    assert_eq!(bench.requests(), [(2, 3, PATH.into(), true)]);
    assert_eq!(bench.bytes(&failed(2, -101)), [Output::Leader(None)]);
    assert_eq!(bench.requests(), []);
    bench.bytes(&event(1, PATH));
    assert_eq!(bench.requests(), [list(3)]);
    assert_eq!(bench.bytes(&children(3, 7, &[])), []);
    // It may come into being between the two questions.
    bench.bytes(&event(3, PATH));
    bench.bytes(&failed(4, -101));
    bench.sent.clear();
    bench.bytes(&frame(&[&head(5, 8, 0), &[0; 68]]));
    assert_eq!(bench.requests(), [list(6)]);
    // Events about other nodes are none of ours.
    assert_eq!(bench.bytes(&event(4, "/else")), []);
    assert_eq!(bench.requests(), []);
}

#[test]
fn servers_are_tried_in_turn_and_then_with_pauses() {
    let mut bench = Bench::new("zk://a:1,b:2,c:3/mesos");
    let connect = |epoch, number| Output::Connect { epoch, server: server(number) };
    assert_eq!(bench.step(Input::Timer), [connect(1, 0)]);
    let refused = |number| trouble(number, Trouble::Connection("refused".into()));
    let close = |epoch| Output::Close { epoch };
    assert_eq!(bench.closed(Some("refused")), [close(1), refused(0), connect(2, 1)]);
    assert_eq!(bench.closed(None), [close(2), trouble(1, Trouble::Closed), connect(3, 2)]);
    assert_eq!(bench.wake_at_ms, 4_000);
    let timed_out = trouble(2, Trouble::TimedOut { after_ms: 3_000 });
    assert_eq!(bench.woken(), [close(3), timed_out]);
    assert_eq!(bench.wake_at_ms, 4_200);
    assert_eq!(bench.woken(), [connect(4, 0)]);
    for _ in 0..2 {
        bench.closed(Some("refused"));
    }
    assert_eq!(bench.closed(Some("refused")), [close(6), refused(2)]);
    assert_eq!(bench.wake_at_ms, 4_600);
    // A server that does not grant a session is one in vain, and so is one that is no ZooKeeper.
    assert_eq!(bench.woken(), [connect(7, 0)]);
    let expired = trouble(0, Trouble::SessionExpired);
    assert_eq!(bench.bytes(&granted(0)), [close(7), expired, connect(8, 1)]);
    let malformed = trouble(1, Trouble::Malformed("a message is too long"));
    assert_eq!(bench.bytes(b"HTTP/1.1 400"), [close(8), malformed, connect(9, 2)]);
    // What comes from an earlier connection is not looked at.
    assert_eq!(bench.step(Input::Bytes { epoch: 8, bytes: &granted(9_000) }), []);
    assert_eq!(bench.step(Input::Closed { epoch: 8, error: None }), []);
}

#[test]
fn silence_is_noticed_and_the_leader_stays() {
    let mut bench = Bench::found();
    bench.sent.clear();
    assert_eq!(bench.wake_at_ms, 4_000);
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.sent.len(), 1, "a ping");
    assert_eq!(bench.bytes(&frame(&[&head(-2, 7, 0)])), []);
    assert_eq!(bench.wake_at_ms, 7_000);
    assert_eq!(bench.woken(), []);
    assert_eq!(
        bench.woken(),
        [Output::Close { epoch: 1 }, trouble(0, Trouble::Silent { silent_ms: 6_000 }),]
    );
    bench.sent.clear();
    // The next server has to have got as far as the first.
    assert_eq!(bench.woken(), [Output::Connect { epoch: 2, server: server(1) }]);
    assert_eq!(bench.sent[0][8..16], 9_i64.to_be_bytes());
    bench.sent.clear();
    bench.bytes(&granted(9_000));
    let outputs = bench.bytes(&children(1, 12, &["json.info_0000000001"]));
    assert_eq!(outputs, [Output::Connected { server: server(1) }]);
    // It is read again, for the ensemble may be another; it is the same, and so not told.
    assert_eq!(bench.requests(), [list(1), read(2, "json.info_0000000001")]);
    assert_eq!(bench.bytes(&content(2, &master(5_051))), []);
}

#[test]
fn what_was_seen_is_forgotten_when_no_server_has_it() {
    let mut bench = Bench::found();
    bench.closed(None);
    let mut asked = Vec::new();
    while bench.now_ms < 13_000 {
        for output in bench.woken() {
            if let Output::Connect { .. } = output {
                let zxid = bench.sent.pop().unwrap()[8..16].try_into().unwrap();
                asked.push((bench.now_ms, i64::from_be_bytes(zxid)));
            }
        }
        while bench.closed(None).iter().any(|output| matches!(output, Output::Connect { .. })) {}
    }
    assert!(asked.iter().all(|(at_ms, zxid)| (*zxid == 9) == (*at_ms < 11_000)), "{asked:?}");
    assert!(asked.iter().any(|(_, zxid)| *zxid == 0), "{asked:?}");
}

#[test]
fn credentials_go_first_and_may_be_refused() {
    let mut bench = Bench::greeted("zk://me:geheim@a:1/mesos");
    let auth = bench.sent.remove(0);
    assert_eq!(auth[4..8], (-4_i32).to_be_bytes());
    assert!(auth.ends_with(b"digest\x00\x00\x00\x09me:geheim"), "{auth:?}");
    assert_eq!(bench.requests(), [list(1)]);
    assert_eq!(bench.bytes(&frame(&[&head(-4, 0, 0)])), []);
    let refused = |bench: &mut Bench, answer: &[u8]| match &bench.bytes(answer)[..] {
        [Output::Close { .. }, Output::Trouble { trouble, .. }] => trouble.clone(),
        other => panic!("{other:?}"),
    };
    let path = PATH.to_owned();
    assert_eq!(refused(&mut bench, &failed(1, -102)), Trouble::NoPermission { path });
    bench.woken();
    bench.bytes(&granted(9_000));
    assert_eq!(refused(&mut bench, &failed(-4, -115)), Trouble::AuthFailed);
}

#[test]
fn what_masters_wrote_may_be_beyond_us() {
    let mut bench = Bench::found();
    bench.bytes(&event(4, PATH));
    bench.bytes(&children(3, 8, &["json.info_0000000002"]));
    let outputs = bench.bytes(&content(4, "{}"));
    assert_eq!(outputs[0], Output::Leader(None));
    assert!(
        matches!(&outputs[1], Output::Trouble { trouble: Trouble::NotUnderstood(why), .. }
            if why.contains("address")),
        "{outputs:?}"
    );
    bench.bytes(&event(4, PATH));
    let outputs = bench.bytes(&children(5, 9, &["info_0000000000", "json.info_0000000003"]));
    assert!(
        matches!(&outputs[..], [Output::Trouble { trouble: Trouble::NotUnderstood(why), .. }]
            if why.contains("0.24")),
        "{outputs:?}"
    );
    bench.bytes(&event(4, PATH));
    bench.bytes(&children(6, 10, &["json.info_0000000003"]));
    let outputs = bench.bytes(&content(7, &master(5_053)));
    assert_eq!(outputs, [leading("json.info_0000000003", 5_053)]);
}

#[test]
fn a_length_beyond_the_limit_is_not_waited_for() {
    let mut bench = Bench::greeted("zk://a:1/mesos");
    let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    let outputs = bench.bytes(&length.to_be_bytes());
    assert!(matches!(outputs[..], [Output::Close { .. }, Output::Trouble { .. }]), "{outputs:?}");
}

proptest! {
    /// However the bytes are cut, the same comes out.
    #[test]
    fn cuts_do_not_matter(cuts in prop::collection::vec(1_usize..40, 0..40)) {
        let mut all = children(1, 7, &["json.info_0000000001", "log_replicas"]);
        all.extend(content(2, &master(5_051)));
        all.extend(event(4, PATH));
        all.extend(children(3, 8, &["json.info_0000000002"]));
        all.extend(content(4, &master(5_052)));
        let mut bench = Bench::greeted("zk://a:1/mesos");
        let mut told = Vec::new();
        let mut rest = &all[..];
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            told.extend(bench.bytes(piece));
            rest = after;
        }
        prop_assert_eq!(&told[1..], &[
            leading("json.info_0000000001", 5_051),
            leading("json.info_0000000002", 5_052),
        ]);
    }

    /// Nothing that a server sends does more than end the connection.
    #[test]
    fn rubbish_does_no_harm(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
        framed in any::<bool>(),
    ) {
        let mut bench = Bench::greeted("zk://a:1,b:2,c:3/mesos");
        for piece in pieces {
            let piece = if framed { frame(&[&piece]) } else { piece };
            for output in bench.bytes(&piece) {
                prop_assert!(!matches!(output, Output::Leader(Some(_))));
            }
            bench.woken();
        }
    }
}
