//! Processes that die, fight over a directory, or fill the disk. The test binary runs itself as the child.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use peloton_store::{Health, KeyRange, Revision, Store, StoreError, Txn, range_all};
use peloton_store_embedded::{EmbeddedStore, Options};

/// What the child does; unset in the parent.
const ROLE: &str = "PELOTON_STORE_TEST_ROLE";
/// The directory it does it in.
const DIRECTORY: &str = "PELOTON_STORE_TEST_DIRECTORY";
/// Which round of the crash test it is.
const ROUND: &str = "PELOTON_STORE_TEST_ROUND";

const ROUNDS: u64 = 60;
const WRITERS: u64 = 6;
const KEYS_PER_TXN: usize = 5;

fn child_command(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DIRECTORY, directory).env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped());
    command
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may have stopped listening; it decides what that means.
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

/// Not a test: the child's main function. Without a role it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let directory = std::env::var(DIRECTORY).expect("directory");
    let opened = EmbeddedStore::open(Options::new(&directory));
    match (role.as_str(), opened) {
        ("write", Ok(store)) => write_for_ever(Arc::new(store)).await,
        ("hold", Ok(store)) => {
            say("holding");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).expect("the parent's word");
            drop(store);
        }
        ("fill", Ok(store)) => fill(store).await,
        (_, Err(error)) => say(&format!("error {error}")),
        (role, Ok(_)) => panic!("no such role: {role}"),
    }
}

async fn write_for_ever(store: Arc<EmbeddedStore>) {
    let round = std::env::var(ROUND).expect("round");
    let lease = store.lease_grant(Duration::from_secs(3600)).await.expect("lease").id;
    store.commit(Txn::new().put_leased(format!("alive/{round}"), "", lease)).await.expect("commit");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, round) = (Arc::clone(&store), round.clone());
        writers.spawn(async move {
            for n in 0_u64.. {
                let txn = (0..KEYS_PER_TXN).fold(Txn::new(), |txn, key| {
                    txn.put(format!("t/{round}/{writer}/{n}/{key}"), vec![b'x'; 100])
                });
                let txn = txn.put(format!("last/{writer}"), n.to_string());
                let revision = store.commit(txn).await.expect("commit").committed();
                say(&format!("ack {round}/{writer}/{n} {}", revision.expect("no compares").0));
            }
        });
    }
    writers.join_all().await;
}

/// What the child said was committed: transaction -> revision.
type Acknowledged = BTreeMap<String, i64>;

/// Runs a writing child and kills it at an instant that the random number decides.
fn run_and_kill(directory: &Path, round: u64, random: u64) -> Acknowledged {
    let mut child =
        child_command("write", directory).env(ROUND, round.to_string()).spawn().expect("child");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout"));
    // Every fourth child dies while it opens the store, or soon after.
    let wanted = if round.is_multiple_of(4) { 0 } else { random % 150 };
    let mut acknowledged = Acknowledged::new();
    while (acknowledged.len() as u64) < wanted {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("line") > 0, "the child ended by itself");
        note(&line, &mut acknowledged);
    }
    let instant = if wanted == 0 { (random >> 8) % 30_000 } else { (random >> 8) % 3000 };
    std::thread::sleep(Duration::from_micros(instant));
    child.kill().expect("kill");
    child.wait().expect("wait");
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).expect("line") == 0 {
            return acknowledged;
        }
        note(&line, &mut acknowledged);
    }
}

fn note(line: &str, acknowledged: &mut Acknowledged) {
    // A line that was cut off by the kill does not count.
    let Some(words) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")) else {
        return;
    };
    let (txn, revision) = words.split_once(' ').expect("two words");
    acknowledged.insert(txn.to_owned(), revision.parse().expect("revision"));
}

/// After `kill -9` at any instant: what was acknowledged is there, every transaction is there entirely
/// or not at all, each has a revision of its own, and revisions only grow.
#[test]
fn survives_kill_at_any_instant() {
    let directory = tempfile::tempdir().expect("directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let mut acknowledged = Acknowledged::new();
    let mut newest = Revision::ZERO;
    let mut random: u64 = 0x5eed_c0de;
    for round in 0..ROUNDS {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        acknowledged.extend(run_and_kill(directory.path(), round, random >> 16));
        let store = EmbeddedStore::open(Options::new(directory.path())).expect("open after kill");
        newest = runtime.block_on(check(&store, &acknowledged, newest));
    }
    assert!(acknowledged.len() > 500, "too little was tested: {}", acknowledged.len());
}

async fn check(store: &EmbeddedStore, acknowledged: &Acknowledged, newest: Revision) -> Revision {
    let leased = range_all(store, KeyRange::prefix("alive/")).await.expect("range");
    assert_eq!(leased.kvs, [], "keys of a dead process's lease");
    let all = range_all(store, KeyRange::prefix("t/")).await.expect("range");
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for kv in &all.kvs {
        let key = std::str::from_utf8(&kv.key).expect("text");
        let txn = key.strip_prefix("t/").and_then(|key| key.rsplit_once('/')).expect("key").0;
        found.entry(txn.to_owned()).or_default().push(kv.mod_revision.0);
    }
    let mut revisions = BTreeSet::new();
    for (txn, keys) in &found {
        assert_eq!(keys.len(), KEYS_PER_TXN, "{txn} is there in part");
        assert!(keys.iter().all(|revision| *revision == keys[0]), "{txn} has {keys:?}");
        assert!(revisions.insert(keys[0]), "{txn} shares revision {}", keys[0]);
    }
    for (txn, revision) in acknowledged {
        let keys = found.get(txn).unwrap_or_else(|| panic!("{txn} was acknowledged and is lost"));
        assert_eq!(keys[0], *revision, "{txn}");
    }
    let highest = revisions.last().copied().unwrap_or_default();
    assert!(all.revision.0 >= highest && all.revision >= newest, "{} went back", all.revision);
    all.revision
}

fn wait_for_line(child: &mut Child, wanted: &str) -> String {
    let lines = BufReader::new(child.stdout.as_mut().expect("stdout")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with(wanted));
    line.unwrap_or_else(|| panic!("the child did not say {wanted:?}"))
}

/// Only one process has a directory; the other one is told which. The kernel frees it after a kill.
#[test]
fn a_directory_belongs_to_one_process() {
    let directory = tempfile::tempdir().expect("directory");
    let mut child =
        child_command("hold", directory.path()).stdin(Stdio::piped()).spawn().expect("child");
    wait_for_line(&mut child, "holding");
    let error = EmbeddedStore::open(Options::new(directory.path())).expect_err("locked");
    let StoreError::Locked { path, holder } = &error else { panic!("{error}") };
    assert_eq!(path, &directory.path().display().to_string());
    assert!(holder.contains(&child.id().to_string()), "{holder}");
    child.kill().expect("kill");
    child.wait().expect("wait");

    let store = EmbeddedStore::open(Options::new(directory.path())).expect("free");
    let own = EmbeddedStore::open(Options::new(directory.path())).expect_err("locked by ourselves");
    assert!(own.to_string().contains(&std::process::id().to_string()), "{own}");
    let mut second = child_command("hold", directory.path()).spawn().expect("child");
    let said = wait_for_line(&mut second, "error");
    assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
    second.wait().expect("wait");
    drop(store);
    EmbeddedStore::open(Options::new(directory.path())).expect("free after the drop");
}

async fn fill(store: EmbeddedStore) {
    for n in 0_u64..1000 {
        match store.commit(Txn::new().put(format!("f/{n:04}"), vec![b'x'; 64 << 10])).await {
            Ok(_) => say(&format!("ack {n:04} 0")),
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Unknown { .. })) => {
                say(&format!("full {error}; health {:?}", store.health()));
                return;
            }
            Err(error) => panic!("a full disk gave {error}"),
        }
    }
    say("never full");
}

/// A disk that takes no more (here: a file that may not grow) costs an error, not the process and not
/// what was acknowledged.
#[test]
fn a_full_disk_is_an_error() {
    const LIMIT_BLOCKS: u32 = 8192;
    let directory = tempfile::tempdir().expect("directory");
    let inner = child_command("fill", directory.path());
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {LIMIT_BLOCKS}; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("child");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let full = said.lines().find(|line| line.starts_with("full "));
    assert!(full.is_some_and(|line| line.contains("health Degraded")), "{said}");
    assert!(!errors.contains("panicked"), "{errors}");
    let mut acknowledged = Acknowledged::new();
    said.lines().for_each(|line| note(&format!("{line}\n"), &mut acknowledged));
    assert!(!acknowledged.is_empty(), "{said}");

    let store = EmbeddedStore::open(Options::new(directory.path())).expect("open");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let all = runtime.block_on(range_all(&store, KeyRange::prefix("f/"))).expect("range");
    let found: BTreeSet<String> = all
        .kvs
        .iter()
        .map(|kv| String::from_utf8_lossy(&kv.key).trim_start_matches("f/").to_owned())
        .collect();
    assert!(acknowledged.keys().all(|n| found.contains(n)), "{acknowledged:?} not in {found:?}");
    assert_eq!(store.health(), Health::Ok);
}
