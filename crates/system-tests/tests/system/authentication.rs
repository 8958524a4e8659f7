//! Mesos asks schedulers who they are.

use std::fs;

use peloton_testbed::Options;
use serde_json::json;

use crate::support::{Audit, Cluster, Job, PATIENCE, wait_until};

#[test]
fn the_right_secret_opens_mesos_and_a_wrong_one_is_told() {
    let mut options = Options::agents(1);
    options.credentials = vec![("pelican".to_owned(), "open sesame".to_owned())];
    let Some(mesos) = peloton_testbed::start(&options) else { return };
    let secrets = tempfile::tempdir().unwrap();
    let setting = |name: &str, secret: &str| {
        let file = secrets.path().join(name);
        fs::write(&file, secret).unwrap();
        format!("mesos.framework.secretFile={}", file.display())
    };
    let principal = "mesos.framework.principal=pelican";

    let right = setting("right", "open sesame\n");
    let cluster = Cluster::start(&mesos, "right", &[principal, &right]);
    let job = Job::service(&cluster, "let-in", 1, "sleep 1000", json!({}));
    job.wait_running(1);
    job.delete();
    Audit::new(&mesos, cluster.role()).wait_nothing_left();
    assert!(!cluster.log().contains("open sesame"), "the log has the secret");

    let wrong = setting("wrong", "open barley\n");
    let mut cluster = Cluster::stopped(&mesos, "wrong", &[principal, &wrong]);
    cluster.launch();
    cluster.wait_answering();
    wait_until("word of the refusal in /health", PATIENCE, || {
        let health = cluster.health();
        let part = &health["components"]["mesos"];
        let message = part["message"].as_str().unwrap_or_default();
        let told = part["status"] == "degraded" && message.contains("401");
        if told { Ok(()) } else { Err(health.to_string()) }
    });
    assert!(cluster.terminate().success());
}
