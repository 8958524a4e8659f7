//! Remote volumes: their content is there before an instance starts, changes by upgrades, and comes back.

use std::fs;

use serde_json::{Value, json};

use super::{options, remote, seen, sha256, tar, volumes, wait_held, wait_volumes, with_volumes};
use crate::support::{
    Audit, Cluster, FileServer, Job, PATIENCE, State, Upgrade, shared_mesos, wait_until,
};

const RUN: &str = "test -f words/words.txt && test -f site/index || exit 9; exec sleep 1000";

/// Two remote volumes: a file, and an archive.
fn two(words: &str, site: &str, more: Value) -> Value {
    json!([remote("words", words, more), remote("site", site, json!({"extract": true}))])
}

#[test]
fn another_url_is_staged_switched_to_and_what_was_there_before_is_given_back() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "remote", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let (one, two_tar) = (tar("index", "the site\n"), "second words\n");
    let server = FileServer::start(&[
        ("/1/words.txt", "first words\n"),
        ("/2/words.txt", two_tar),
        ("/site.tar", &one),
    ]);
    let site = server.url("/site.tar");
    let digest = json!({"sha256": sha256("first words\n")});
    let volumes_1 = two(&server.url("/1/words.txt"), &site, digest);
    let job = Job::create(&cluster, "remote", &with_volumes(4, RUN, volumes_1));
    let before = job.wait_running(4);
    wait_volumes(&cluster, "remote", 8, 2);
    wait_held(&audit, 4, 4 * 16);
    let places = audit.places().unwrap();
    for task in before.values() {
        assert_eq!(seen(mesos, task, "words/words.txt"), "first words\n");
        assert_eq!(seen(mesos, task, "site/index"), "the site\n");
    }
    let fetches =
        |path: &str| server.asked().iter().filter(|one| **one == format!("GET {path}")).count();
    assert_eq!((fetches("/1/words.txt"), fetches("/site.tar")), (4, 4), "once an instance");

    let digest = json!({"sha256": sha256(two_tar).to_uppercase()});
    let volumes_2 = two(&server.url("/2/words.txt"), &site, digest);
    let upgrade = Upgrade::create(&job, &with_volumes(4, RUN, volumes_2), options(2));
    upgrade.wait(&cluster, "SUCCEEDED");
    let after = job.wait_running(4);
    for (number, task) in &after {
        assert_eq!((&task.host, &task.slot), (&before[number].host, &before[number].slot));
        assert_eq!(seen(mesos, task, "words/words.txt"), two_tar);
    }
    assert_eq!(fetches("/site.tar"), 4, "what did not change is not fetched again");
    audit.wait_places(&places);
    wait_volumes(&cluster, "remote", 8, 2);

    // A restart fetches nothing.
    let asked = server.asked().len();
    job.tasks_call("Restart", 0, 3);
    for (number, task) in &after {
        job.wait_task(*number, "again", |new| new.run > task.run && new.state == State::Running);
    }
    assert_eq!(server.asked().len(), asked);
    job.delete();
    audit.wait_nothing_left();
    assert_eq!(volumes(&cluster, "remote"), Vec::<Value>::new());
}

#[test]
fn a_url_that_can_not_be_used_fails_the_upgrade_before_anything_is_stopped() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "badurl", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let large = "x".repeat(9 << 20);
    let archive = tar("index", "the site\n");
    let server = FileServer::start(&[
        ("/words.txt", "first words\n"),
        ("/site.tar", &archive),
        ("/large", &large),
        ("/text", "no archive\n"),
    ]);
    let (words, site) = (server.url("/words.txt"), server.url("/site.tar"));
    let job = Job::create(&cluster, "badurl", &with_volumes(2, RUN, two(&words, &site, json!({}))));
    let before = job.wait_running(2);
    wait_held(&audit, 2, 2 * 16);
    let places = audit.places().unwrap();
    let dead = {
        let gone = FileServer::start(&[]);
        gone.url("/x")
    };
    let other = sha256("something else");
    let bad = [
        (two(&server.url("/nothing"), &site, json!({})), "could not be fetched"),
        (two(&dead, &site, json!({})), "could not be fetched"),
        (two(&server.url("/text"), &site, json!({"sha256": other})), "SHA-256"),
        (two(&server.url("/large"), &site, json!({})), "larger than `sizeMb`"),
        (two(&words, &server.url("/text"), json!({})), "neither a tar nor a zip"),
    ];
    for (volumes, why) in bad {
        let upgrade = Upgrade::create(&job, &with_volumes(2, RUN, volumes.clone()), options(1));
        let info = upgrade.wait(&cluster, "ROLLED_BACK");
        let failure = info["failure"].as_str().unwrap_or_default();
        assert!(failure.contains(why), "{why}: {info}");
        let after = job.wait_running(2);
        for (number, task) in &after {
            assert_eq!(task.id, before[number].id, "nothing was stopped: {volumes}");
            assert_eq!(seen(mesos, task, "words/words.txt"), "first words\n");
        }
        audit.wait_places(&places);
    }
    wait_volumes(&cluster, "badurl", 4, 2);
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn a_version_that_fails_after_the_switch_gives_the_old_content_back_without_its_server() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "replicator", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let archive = tar("index", "the site\n");
    let server = FileServer::start(&[
        ("/old/words.txt", "old words\n"),
        ("/new/words.txt", "new words\n"),
        ("/site.tar", &archive),
    ]);
    let site = server.url("/site.tar");
    let (old, new) = (server.url("/old/words.txt"), server.url("/new/words.txt"));
    let job =
        Job::create(&cluster, "replicator", &with_volumes(2, RUN, two(&old, &site, json!({}))));
    let before = job.wait_running(2);
    wait_held(&audit, 2, 2 * 16);
    let places = audit.places().unwrap();

    // It sees the new content, and fails when the server is gone.
    let fail = cluster.directory().join("fail");
    let waits = format!("while test ! -e {}; do sleep 0.1; done; exit 1", fail.display());
    let command = format!("cp words/words.txt seen; {waits}");
    let mut slow = options(2);
    slow["minHealthySecs"] = json!(60);
    let config = with_volumes(2, &command, two(&new, &site, json!({})));
    let bad = Upgrade::create(&job, &config, slow);
    let tasks = wait_until("both at the new version", PATIENCE, || {
        let tasks = job.tasks();
        let there = |task: &crate::support::Task| {
            task.runtime["configVersion"] == 2 && task.state == State::Running
        };
        if tasks.values().all(there) { Ok(tasks) } else { Err(format!("{tasks:?}")) }
    });
    for task in tasks.values() {
        wait_until("the new content", PATIENCE, || {
            let file = mesos.sandbox(&task.id).join("seen");
            match fs::read_to_string(&file).unwrap_or_default() {
                text if text == "new words\n" => Ok(()),
                text => Err(text),
            }
        });
    }
    drop(server);
    fs::write(&fail, "").unwrap();
    bad.wait(&cluster, "ROLLED_BACK");
    let after = job.wait_running(2);
    for (number, task) in &after {
        assert_eq!((&task.host, &task.slot), (&before[number].host, &before[number].slot));
        assert_eq!(seen(mesos, task, "words/words.txt"), "old words\n");
    }
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
}
