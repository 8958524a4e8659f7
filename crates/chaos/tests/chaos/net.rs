//! A network of namespaces on one machine, in which any node can be cut off from any other, one way or
//! both.
//!
//! Each node is a namespace with one interface; a bridge in a namespace of its own connects them, and the
//! host of the test. A cut is an entry for the other's address in the sender's neighbour table that leads
//! nowhere: packets vanish without a word, as in a broken network, for old connections and new ones. That
//! needs nothing but iproute2, and no rule of the machine's packet filters.
//!
//! A shell stands by until its standard input ends, and removes everything then, whatever way the test
//! ended. What still runs in the namespaces is killed with them.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use peloton_testbed::Place;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Networks that one machine can have: each has 256 of the addresses that are set apart for tests of
/// networks, 198.18.0.0/15.
const NETWORKS: u16 = 512;

/// The host's address ends so, and those of nodes begin with the next one but some.
const HOST: u8 = 1;
const FIRST_NODE: u8 = 10;

/// Kills what runs in the namespaces, and removes them. The bridge's is the first, so that nothing is sent
/// meanwhile.
const GUARD: &str = r#"
link=$1; shift
read -r word
ip link del "$link" 2>/dev/null
for name in "$@"; do
    for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
    ip netns del "$name" 2>/dev/null
done
"#;

/// One end of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// Where the test runs.
    Host,
    /// A node.
    Node(usize),
}

/// The network. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Net {
    number: u16,
    nodes: Vec<String>,
    guard: Child,
}

/// Whether there can be such networks here; if not, says so.
///
/// # Panics
/// When there can be none and `CI` is set: a test that did not run did not pass.
pub(crate) fn is_possible() -> bool {
    let why = match Command::new("ip").arg("-V").output() {
        Err(error) => format!("ip, of iproute2, cannot be run: {error}"),
        Ok(_) if !rustix::process::geteuid().is_root() => "only root may make one".to_owned(),
        Ok(_) => match try_ip(&["netns", "list"]) {
            Ok(_) => return true,
            Err(why) => why,
        },
    };
    assert!(std::env::var_os("CI").is_none(), "this test needs network namespaces: {why}");
    // Not by a macro: the test harness would keep that to itself when the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: this test needs network namespaces: {why}");
    false
}

impl Net {
    /// A network with nodes of these names; everybody reaches everybody.
    pub(crate) fn new(nodes: &[&str]) -> Self {
        let (number, link) = claim();
        let names: Vec<String> = nodes.iter().map(|name| format!("pt{number}-{name}")).collect();
        let hub = format!("pt{number}-hub");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "sh", &link, &hub]).args(&names);
        // Ctrl-C of a terminal is for the test.
        guard.process_group(0).current_dir("/");
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let net = Self { number, nodes: names, guard: guard.spawn().unwrap() };
        ip(&["netns", "add", &hub]);
        ip(&["link", "set", &peer_of(&link), "netns", &hub]);
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"]);
        ip(&["-n", &hub, "link", "set", "hub", "up"]);
        ip(&["-n", &hub, "link", "set", &peer_of(&link), "master", "hub", "up"]);
        for (node, name) in net.nodes.iter().enumerate() {
            let port = format!("node{node}");
            let mac = net.mac(End::Node(node));
            ip(&["netns", "add", name]);
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "address", &mac, "netns", name,
            ]);
            ip(&["-n", &hub, "link", "set", &port, "master", "hub", "up"]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        for end in net.ends() {
            let address = format!("{}/24", net.address(end));
            net.ip_at(end, &["address", "add", &address, "dev", &net.device(end)]);
            net.ip_at(end, &["link", "set", &net.device(end), "up"]);
        }
        for from in net.ends() {
            net.ends().filter(|to| *to != from).for_each(|to| net.heal(from, to));
        }
        net
    }

    fn ends(&self) -> impl Iterator<Item = End> + use<> {
        std::iter::once(End::Host).chain((0..self.nodes.len()).map(End::Node))
    }

    pub(crate) fn address(&self, end: End) -> Ipv4Addr {
        let [high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(198, 18 + high, low, last_octet(end))
    }

    fn mac(&self, end: End) -> String {
        let [high, low] = self.number.to_be_bytes();
        // Of the locally administered ones.
        format!("02:70:74:{high:02x}:{low:02x}:{:02x}", last_octet(end))
    }

    fn device(&self, end: End) -> String {
        match end {
            End::Host => link_of(self.number),
            End::Node(_) => "eth0".to_owned(),
        }
    }

    /// Where the programs of a node run.
    pub(crate) fn place(&self, node: usize) -> Place {
        let namespace = format!("--net={}", self.path(node));
        Place {
            address: self.address(End::Node(node)),
            prefix: vec!["nsenter".to_owned(), namespace, "--".to_owned()],
        }
    }

    fn path(&self, node: usize) -> String {
        format!("/run/netns/{}", self.nodes[node])
    }

    /// Moves the calling thread into a node's namespace: sockets that it opens are there.
    pub(crate) fn enter(&self, node: usize) {
        let namespace = File::open(self.path(node)).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// From now on nothing that `from` sends arrives at `to`; the way back is another one.
    pub(crate) fn cut(&self, from: End, to: End) {
        self.neighbour(from, to, "02:70:74:ff:ff:ff");
    }

    /// What `from` sends arrives at `to` again.
    pub(crate) fn heal(&self, from: End, to: End) {
        self.neighbour(from, to, &self.mac(to));
    }

    fn neighbour(&self, from: End, to: End, mac: &str) {
        let address = self.address(to).to_string();
        let device = self.device(from);
        let entry = ["neighbour", "replace", &address, "lladdr", mac, "dev", &device];
        self.ip_at(from, &[&entry[..], &["nud", "permanent"]].concat());
    }

    fn ip_at(&self, end: End, arguments: &[&str]) {
        match end {
            End::Host => ip(arguments),
            End::Node(node) => ip(&[&["-n", &self.nodes[node]], arguments].concat()),
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn last_octet(end: End) -> u8 {
    match end {
        End::Host => HOST,
        End::Node(node) => FIRST_NODE + u8::try_from(node).unwrap(),
    }
}

/// The host's interface.
fn link_of(number: u16) -> String {
    format!("pt{number}")
}

/// The other end of that.
fn peer_of(link: &str) -> String {
    format!("{link}h")
}

/// Takes a number that nobody has: that the host's interface could be made is the proof.
fn claim() -> (u16, String) {
    let mut said = String::new();
    let first = u16::try_from(std::process::id() % u32::from(NETWORKS)).unwrap();
    for offset in 0..NETWORKS {
        let number = (first + offset) % NETWORKS;
        let link = link_of(number);
        let [high, low] = number.to_be_bytes();
        let mac = format!("02:70:74:{high:02x}:{low:02x}:{HOST:02x}");
        let peer = peer_of(&link);
        let made =
            try_ip(&["link", "add", &link, "address", &mac, "type", "veth", "peer", "name", &peer]);
        match made {
            Ok(()) => return (number, link),
            Err(why) if why.contains("exists") => said = why,
            Err(why) => panic!("{why}"),
        }
    }
    panic!("all {NETWORKS} networks are taken: {said}");
}

fn try_ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("ip {}: {}", arguments.join(" "), said.trim()))
}

fn ip(arguments: &[&str]) {
    try_ip(arguments).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// Long beside the time that a packet takes.
    const SILENCE: Duration = Duration::from_millis(300);
    /// For what has to come.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// One connection from node 0 to node 1, and what listens there.
    fn connected(net: &Net) -> (TcpStream, TcpStream, TcpListener) {
        std::thread::scope(|scope| {
            let address = (net.address(End::Node(1)), 1000);
            let listener = scope
                .spawn(move || {
                    net.enter(1);
                    TcpListener::bind(address).unwrap()
                })
                .join()
                .unwrap();
            let caller = scope.spawn(move || {
                net.enter(0);
                TcpStream::connect(address).unwrap()
            });
            (caller.join().unwrap(), listener.accept().unwrap().0, listener)
        })
    }

    fn arrives(from: &mut TcpStream, to: &mut TcpStream, within: Duration) -> bool {
        from.write_all(b"x").unwrap();
        is_there(to, within)
    }

    fn is_there(to: &mut TcpStream, within: Duration) -> bool {
        to.set_read_timeout(Some(within)).unwrap();
        match to.read(&mut [0]) {
            Ok(read) => {
                assert_eq!(read, 1, "the connection ended");
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    #[test]
    fn a_cut_takes_what_one_sends_and_what_was_sent_arrives_when_it_is_healed() {
        if !is_possible() {
            return;
        }
        let net = Net::new(&["a", "b"]);
        let (mut a, mut b, _listener) = connected(&net);
        assert!(arrives(&mut a, &mut b, PATIENCE) && arrives(&mut b, &mut a, PATIENCE));
        // One way: what b sends gets lost, and what a sends arrives.
        net.cut(End::Node(1), End::Node(0));
        assert!(!arrives(&mut b, &mut a, SILENCE));
        assert!(arrives(&mut a, &mut b, PATIENCE));
        net.heal(End::Node(1), End::Node(0));
        assert!(is_there(&mut a, PATIENCE));
        // The host is an end as any other.
        let address = (net.address(End::Node(1)), 1000).into();
        assert!(TcpStream::connect_timeout(&address, PATIENCE).is_ok());
        net.cut(End::Host, End::Node(1));
        let error = TcpStream::connect_timeout(&address, SILENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn nothing_is_left_of_a_network_and_two_do_not_meet() {
        if !is_possible() {
            return;
        }
        let [one, other] = [Net::new(&["a"]), Net::new(&["a"])];
        assert_ne!(one.number, other.number);
        let place = one.place(0);
        let mut sleeper = place.command("sleep".as_ref()).arg("1000").spawn().unwrap();
        let path = one.path(0);
        assert!(std::fs::exists(&path).unwrap());
        drop(one);
        assert!(!std::fs::exists(&path).unwrap());
        assert!(!sleeper.wait().unwrap().success(), "what ran in it was killed");
        assert!(std::fs::exists(other.path(0)).unwrap());
    }
}
