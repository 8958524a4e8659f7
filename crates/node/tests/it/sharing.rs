//! Masters that come and go.

use crate::world::{LEASE, SHARDS, World};
use peloton_node::ShardPhase;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn masters_share_the_shards_and_know_of_each_other() {
    let world = World::new();
    let a = world.start("a");
    // What is free is not waited for.
    assert!(world.served_by(&[&a]).await < ms(100));
    let (b, c) = (world.start("b"), world.start("c"));
    assert!(world.served_by(&[&a, &b, &c]).await < secs(3));
    // Three and two had to move, and nothing else did.
    assert_eq!(world.subscriptions.lock().unwrap().count, usize::from(SHARDS) + 5);
    sleep(secs(60)).await;
    assert_eq!(world.subscriptions.lock().unwrap().count, usize::from(SHARDS) + 5);
    for master in [&a, &b, &c] {
        let map = master.node.cluster().borrow().clone();
        assert_eq!(map.members.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(map.members.values().all(|member| member.record.accepting));
        let owners: Vec<_> = map.shards.iter().map(|s| s.owner.as_ref().unwrap()).collect();
        let names: Vec<_> = owners.iter().map(|o| Some(o.record.master.clone())).collect();
        assert_eq!(names, world.owners().await);
        assert!(map.shards.iter().zip(&names).all(|(place, owner)| place.wanted == *owner));
        let leases: BTreeSet<_> = owners.iter().map(|owner| owner.lease).collect();
        assert_eq!(leases.len(), 3);
        let lease = map.lease.unwrap();
        assert!(leases.contains(&Some(lease.id)) && lease.ttl == LEASE);
        assert!(lease.certain_for() > secs(1) && map.silent_for().unwrap() < secs(2));
        assert_eq!(map.problem, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_a_killed_master_are_served_when_its_lease_has_run_out() {
    let world = World::new();
    let (a, b, c) = (world.start("a"), world.start("b"), world.start("c"));
    world.served_by(&[&a, &b, &c]).await;
    sleep(secs(30)).await;
    a.kill();
    let took = world.served_by(&[&b, &c]).await;
    assert!(took > secs(1) && took < LEASE + ms(50), "{took:?}");
    b.kill();
    let took = world.served_by(&[&c]).await;
    assert!(took < LEASE + ms(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_a_stopped_master_are_served_at_once() {
    let world = World::new();
    let (a, b, c) = (world.start("a"), world.start("b"), world.start("c"));
    world.served_by(&[&a, &b, &c]).await;
    sleep(secs(30)).await;
    let stopping = tokio::spawn(a.node.stop());
    let took = world.served_by(&[&b, &c]).await;
    assert!(took < ms(100), "{took:?}");
    stopping.await.unwrap();
    sleep(ms(10)).await;
    assert_eq!(b.node.cluster().borrow().members.len(), 2);
    // The last one leaves everything as it is.
    b.node.stop().await;
    c.node.stop().await;
    assert_eq!(world.owners().await, vec![None; usize::from(SHARDS)]);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_restart_moves_little_and_ends_even() {
    let world = World::new();
    let mut masters = vec![world.start("a0"), world.start("b0"), world.start("c0")];
    world.served_by(&masters.iter().collect::<Vec<_>>()).await;
    sleep(secs(30)).await;
    let before = world.subscriptions.lock().unwrap().count;
    for (i, name) in ["a1", "b1", "c1"].into_iter().enumerate() {
        masters.remove(0).node.stop().await;
        masters.push(world.start(name));
        world.served_by(&masters.iter().collect::<Vec<_>>()).await;
        sleep(secs(10)).await;
        let moved = world.subscriptions.lock().unwrap().count - before;
        assert!(moved <= 6 * (i + 1), "{moved} moved with {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_from_mesos_alone_gives_its_shards_to_others_and_gets_some_back() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    world.served_by(&[&a, &b]).await;
    sleep(secs(30)).await;
    a.cut_from_mesos(true);
    let took = world.served_by(&[&b]).await;
    assert!(took > secs(9) && took < secs(12), "{took:?}");
    let seen = b.node.cluster().borrow().members["a"].record.clone();
    assert!(!seen.accepting && !seen.stopping && seen.why_not.is_some());
    sleep(secs(300)).await;
    assert!(world.owners().await.iter().all(|owner| owner.as_deref() == Some("b")));
    a.cut_from_mesos(false);
    let took = world.served_by(&[&a, &b]).await;
    assert!(took < secs(15), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_moves_while_mesos_is_away_for_everybody() {
    let world = World::new();
    let (a, b, c) = (world.start("a"), world.start("b"), world.start("c"));
    world.served_by(&[&a, &b, &c]).await;
    sleep(secs(30)).await;
    let before = world.owners().await;
    for master in [&a, &b, &c] {
        master.cut_from_mesos(true);
        sleep(ms(700)).await;
    }
    for _ in 0..100 {
        sleep(secs(1)).await;
        assert_eq!(world.owners().await, before);
    }
    for master in [&c, &b, &a] {
        master.cut_from_mesos(false);
        sleep(ms(700)).await;
    }
    world.served_by(&[&a, &b, &c]).await;
    sleep(secs(60)).await;
    assert_eq!(world.owners().await, before);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_while_starting_are_no_reason_to_begin_again() {
    for lose in 1..40 {
        let world = World::new();
        let a = world.start_with("a", true, lose);
        let masters = [&a];
        let failed = async {
            loop {
                let failing = |phase| matches!(phase, ShardPhase::Failing { .. });
                if let Some(status) = a.node.status().into_iter().find(|s| failing(s.phase.clone()))
                {
                    panic!("with {lose} lost: {status:?}");
                }
                sleep(ms(1)).await;
            }
        };
        tokio::select! {
            took = world.served_by(&masters) => assert!(took < secs(5), "{took:?}"),
            () = failed => {}
        }
        a.node.stop().await;
        assert_eq!(world.owners().await, vec![None; usize::from(SHARDS)]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_prove_its_lease_stops_acting_before_another_can_start() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    world.served_by(&[&a, &b]).await;
    sleep(secs(30)).await;
    a.cut_from_store(true);
    let mut free_at = None;
    let begun = Instant::now();
    while begun.elapsed() < secs(10) {
        let acts = a.node.status().iter().any(|status| status.phase == ShardPhase::Running);
        let owns = world.owners().await.iter().any(|owner| owner.as_deref() == Some("a"));
        assert!(owns || !acts, "it acts after {:?}", begun.elapsed());
        if !owns {
            free_at.get_or_insert(begun.elapsed());
        }
        sleep(ms(1)).await;
    }
    assert!(free_at.unwrap() < LEASE + ms(10));
    let why = a.node.status().into_iter().find_map(|status| match status.phase {
        ShardPhase::Failing { why } => Some(why),
        _ => None,
    });
    assert_eq!(why.unwrap(), "the master's lease is lost");
    world.served_by(&[&b]).await;
    a.cut_from_store(false);
    let took = world.served_by(&[&a, &b]).await;
    assert!(took < secs(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_not_answered_costs_nothing() {
    let world = World::new();
    let a = world.start("a");
    world.served_by(&[&a]).await;
    let since: Vec<_> = a.node.status().iter().map(|status| status.since).collect();
    let lease = a.node.cluster().borrow().lease.unwrap().id;
    for _ in 0..5 {
        a.line.lose_renewals.store(1, SeqCst);
        sleep(secs(5)).await;
        assert_eq!(a.line.lose_renewals.load(SeqCst), 0);
    }
    assert_eq!(a.node.cluster().borrow().lease.unwrap().id, lease);
    assert_eq!(a.node.status().iter().map(|status| status.since).collect::<Vec<_>>(), since);
    // All of them are too many.
    a.line.lose_renewals.store(u32::MAX, SeqCst);
    sleep(secs(5)).await;
    assert!(a.node.status().iter().all(|status| status.phase != ShardPhase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_master_that_does_not_claim_what_is_for_it_does_not_keep_others_from_it() {
    let world = World::new();
    let a = world.start("a");
    world.served_by(&[&a]).await;
    // It is a member, it accepts, and it does nothing: its claims do not get through.
    let b = world.start_with("b", true, 0);
    sleep(ms(50)).await;
    b.line.lose.store(u32::MAX, SeqCst);
    sleep(secs(30)).await;
    let owners = world.owners().await;
    assert!(owners.iter().all(|o| o.is_some()), "{owners:?}");
}

/// Else it takes what it said before for what is stored, and never has a shard again.
#[tokio::test(start_paused = true)]
async fn who_changed_its_mind_before_it_heard_an_answer_says_so() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    world.served_by(&[&a, &b]).await;
    sleep(secs(30)).await;
    a.line.only_refusals.store(true, SeqCst);
    a.cut_from_mesos(true);
    world.served_by(&[&b]).await;
    a.cut_from_mesos(false);
    sleep(secs(30)).await;
    // It accepts again, and what it heard of last is that this is stored.
    assert!(!b.node.cluster().borrow().members["a"].record.accepting);
    a.line.only_refusals.store(false, SeqCst);
    let took = world.served_by(&[&a, &b]).await;
    assert!(took < secs(5), "{took:?}");
}

/// Else nobody runs it: its owner takes it for given up, and for the others it is owned.
#[tokio::test(start_paused = true)]
async fn a_shard_that_could_not_be_given_up_is_given_up_later() {
    let world = World::new();
    let a = world.start("a");
    world.served_by(&[&a]).await;
    sleep(secs(30)).await;
    let b = world.start("b");
    sleep(ms(1_500)).await;
    // Just before it is to give up half of what it has. Its lease lives on, and it does not know.
    a.line.refuse.store(true, SeqCst);
    a.line.lose_of_renewals.store(true, SeqCst);
    sleep(secs(5)).await;
    assert!(world.owners().await.iter().all(|owner| owner.as_deref() == Some("a")));
    let phases: Vec<_> = a.node.status().into_iter().map(|status| status.phase).collect();
    assert!(phases.iter().all(|phase| *phase != ShardPhase::Running), "{phases:?}");
    a.line.refuse.store(false, SeqCst);
    a.line.lose_of_renewals.store(false, SeqCst);
    let took = world.served_by(&[&a, &b]).await;
    assert!(took < secs(5), "{took:?}");
}
