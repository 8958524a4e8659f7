//! Transactions: versions, compares, races.

use std::sync::Arc;

use super::{commit, get, put};
use crate::{Compare, Op, Revision, Store, Txn, TxnResult};

/// A key counts its versions from its creation, and starts anew after a deletion.
pub async fn versions_count_from_creation(store: Arc<dyn Store>) {
    let first = put(&store, "k", "1").await;
    let second = put(&store, "k", "2").await;
    let kv = get(&store, "k").await.expect("k");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, second, 2));
    assert_eq!((&kv.value[..], kv.lease), (&b"2"[..], None));
    assert!(second > first);

    let deleted = commit(&store, Txn::new().delete("k")).await;
    assert!(deleted > second);
    assert_eq!(get(&store, "k").await, None);

    let again = put(&store, "k", "").await;
    let kv = get(&store, "k").await.expect("k");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (again, again, 1));
    assert!(kv.value.is_empty());
}

/// Every kind of compare holds when it should and does not when it should not.
pub async fn compares_hold_or_not(store: Arc<dyn Store>) {
    let revision = put(&store, "there", "v").await;
    let key = |name: &'static str| name.into();
    let cases = [
        (Compare::ModRevision { key: key("there"), equals: revision }, true),
        (Compare::ModRevision { key: key("there"), equals: Revision(revision.0 - 1) }, false),
        (Compare::ModRevision { key: key("not"), equals: Revision::ZERO }, true),
        (Compare::ModRevision { key: key("not"), equals: revision }, false),
        (Compare::Absent { key: key("not") }, true),
        (Compare::Absent { key: key("there") }, false),
        (Compare::Exists { key: key("there") }, true),
        (Compare::Exists { key: key("not") }, false),
        (Compare::Version { key: key("there"), equals: 1 }, true),
        (Compare::Version { key: key("there"), equals: 2 }, false),
        (Compare::Version { key: key("not"), equals: 0 }, true),
        (Compare::Value { key: key("there"), equals: "v".into() }, true),
        (Compare::Value { key: key("there"), equals: "w".into() }, false),
        (Compare::Value { key: key("not"), equals: "".into() }, false),
    ];
    for (compare, holds) in cases {
        let result = store.commit(Txn::new().when(compare.clone())).await.expect("answer");
        assert_eq!(result.committed().is_some(), holds, "{compare:?}");
    }
}

/// A conflict changes nothing, and says which compares failed and what the keys are.
pub async fn conflict_names_what_failed(store: Arc<dyn Store>) {
    let revision = put(&store, "a", "1").await;
    let txn = Txn::new()
        .when_exists("a")
        .when_absent("a")
        .when_exists("b")
        .when_unchanged("a", revision)
        .put("a", "2")
        .put("b", "2");
    let result = store.commit(txn).await.expect("answer");
    let a = get(&store, "a").await.expect("a");
    assert_eq!(&a.value[..], b"1");
    assert_eq!(get(&store, "b").await, None);
    let TxnResult::Conflict { revision: at, failed, current } = result else {
        panic!("{result:?}");
    };
    assert!(at >= revision);
    assert_eq!(failed, [1, 2]);
    assert_eq!(current, [Some(a.clone()), Some(a.clone()), None, Some(a)]);
}

/// What changes nothing commits and takes no revision.
pub async fn transaction_without_effect_has_no_revision(store: Arc<dyn Store>) {
    let before = put(&store, "k", "v").await;
    let nothing = [
        Txn::new(),
        Txn::new().when_exists("k"),
        Txn::new().delete("not there"),
        Txn::new().delete_range(crate::KeyRange::prefix("not")),
    ];
    for txn in nothing {
        assert!(commit(&store, txn.clone()).await >= before, "{txn:?}");
    }
    let kv = get(&store, "k").await.expect("k");
    assert_eq!((kv.mod_revision, kv.version), (before, 1));
}

/// Of many who create a key at once, exactly one succeeds.
pub async fn one_of_many_creators_wins(store: Arc<dyn Store>) {
    const CREATORS: usize = 32;
    let mut tasks = tokio::task::JoinSet::new();
    for creator in 0..CREATORS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let txn = Txn::new().when_absent("k").put("k", creator.to_string());
            (creator, store.commit(txn).await.expect("answer"))
        });
    }
    let results = tasks.join_all().await;
    let winners: Vec<usize> = results
        .iter()
        .filter(|(_, result)| result.committed().is_some())
        .map(|(creator, _)| *creator)
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    let kv = get(&store, "k").await.expect("k");
    assert_eq!(kv.value, winners[0].to_string());
    for (_, result) in results {
        if let TxnResult::Conflict { current, .. } = result {
            assert_eq!(current, [Some(kv.clone())], "a loser sees the winner's write");
        }
    }
}

/// Read, compare, write from many tasks: no increment is lost.
pub async fn racing_increments_are_all_counted(store: Arc<dyn Store>) {
    const TASKS: u64 = 8;
    const INCREMENTS: u64 = 10;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                increment(&store).await;
            }
        });
    }
    tasks.join_all().await;
    let kv = get(&store, "counter").await.expect("counter");
    assert_eq!(kv.value, (TASKS * INCREMENTS).to_string());
    assert_eq!(kv.version, i64::try_from(TASKS * INCREMENTS).expect("small"));
}

async fn increment(store: &Arc<dyn Store>) {
    loop {
        let kv = get(store, "counter").await;
        let count = kv.as_ref().map_or(0, |kv| {
            std::str::from_utf8(&kv.value).expect("text").parse::<u64>().expect("number")
        });
        let revision = kv.map_or(Revision::ZERO, |kv| kv.mod_revision);
        let txn = Txn {
            compares: vec![Compare::ModRevision { key: "counter".into(), equals: revision }],
            then: vec![Op::Put {
                key: "counter".into(),
                value: (count + 1).to_string().into(),
                lease: None,
            }],
        };
        if store.commit(txn).await.expect("answer").committed().is_some() {
            return;
        }
    }
}
