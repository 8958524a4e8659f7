//! Waiting for events with a deadline.

use peloton_mesos::{
    Failure, FrameworkSettings, Handle, MesosClient, MesosEvent, Options, Reason, Subscribed,
};
use peloton_proto::mesos::v1::scheduler::{Event, event};
use peloton_proto::mesos::v1::{Offer, TaskState, TaskStatus};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far more than anything takes on a loaded machine: only a hang gets here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn settings(role: &str) -> FrameworkSettings {
    FrameworkSettings {
        user: "root".into(),
        name: format!("test of {role}"),
        role: role.into(),
        principal: Some("peloton".into()),
        failover_timeout_ms: 600_000,
        checkpoint: true,
        hostname: None,
        webui_url: None,
        capabilities: FrameworkSettings::default_capabilities(),
    }
}

pub(crate) fn options(masters: &[String]) -> Options {
    let mut options = Options::new(masters.to_vec(), settings("peloton/0"));
    options.timeouts.backoff_min_ms = 20;
    options.timeouts.backoff_max_ms = 500;
    options
}

/// A client and its events.
pub(crate) struct Client {
    pub(crate) handle: Handle,
    pub(crate) events: mpsc::Receiver<MesosEvent>,
}

impl Client {
    pub(crate) fn spawn(options: Options, framework_id: Option<&str>) -> Self {
        let (handle, events) =
            MesosClient::spawn(options, framework_id.map(Into::into)).expect("options are valid");
        Self { handle, events }
    }

    /// The first event that `pick` accepts; those before it are dropped.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(MesosEvent) -> Option<T>,
    ) -> T {
        let mut seen = Vec::new();
        let waiting = async {
            loop {
                let event = self.events.recv().await;
                let Some(event) = event else { panic!("client ended before {what}: {seen:?}") };
                seen.push(format!("{event:.300?}"));
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        match timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {what}; status {:?}", self.handle.status()),
        }
    }

    pub(crate) async fn subscribed(&mut self) -> Subscribed {
        self.until("Subscribed", |event| match event {
            MesosEvent::Subscribed(subscribed) => Some(*subscribed),
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnected(&mut self) -> (u64, Reason) {
        self.until("Disconnected", |event| match event {
            MesosEvent::Disconnected { epoch, reason } => Some((epoch, reason)),
            _ => None,
        })
        .await
    }

    /// The failure, after which nothing may follow.
    pub(crate) async fn failed(&mut self) -> Failure {
        let failure = self
            .until("Failed", |event| match event {
                MesosEvent::Failed(failure) => Some(failure),
                _ => None,
            })
            .await;
        let after = timeout(DEADLINE, self.events.recv()).await.expect("the client ends");
        assert_eq!(after, None, "something came after Failed");
        failure
    }

    pub(crate) async fn event<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(Event) -> Option<T>,
    ) -> T {
        self.until(what, |event| match event {
            MesosEvent::Event { event, .. } => pick(*event),
            _ => None,
        })
        .await
    }

    pub(crate) async fn offer(&mut self) -> Offer {
        self.event("OFFERS", |event| event.offers?.offers.into_iter().next()).await
    }

    pub(crate) async fn task_status(&mut self, task_id: &str, state: TaskState) -> TaskStatus {
        self.event(&format!("{task_id} {state:?}"), |event| {
            let status = event.update.and_then(|event::Update { status }| status)?;
            (status.task_id.value == task_id && status.state == state as i32).then_some(status)
        })
        .await
    }

    /// Waits until the status is as wanted. Conditions on counters are looked at again and again.
    pub(crate) async fn status_is(
        &self,
        what: &str,
        wanted: impl Fn(&peloton_mesos::ClientStatus) -> bool,
    ) {
        let waiting = async {
            while !wanted(&self.handle.status()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(DEADLINE, waiting).await.is_err() {
            panic!("never {what}: {:?}", self.handle.status());
        }
    }
}
