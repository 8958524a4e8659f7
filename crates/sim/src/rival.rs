//! Another framework, in a role of its own: it takes what is free, holds it for a while, as an offer or
//! with tasks, and gives it back.

use crate::mesos::MesosSide;
use crate::plan::Plan;
use crate::random::Random;
use crate::sim::{Sim, lock};
use peloton_mesos_sim::ConnectionId;
use peloton_mesos_wire::calls::{self, FrameworkSettings};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::{Call, Event};
use std::sync::Arc;

/// For how long it keeps what it took, about, in milliseconds.
const HOLDS_MS: u64 = 120_000;

/// The other framework.
pub(crate) struct Rival {
    random: Random,
    connection: Option<ConnectionId>,
    stream_id: Option<String>,
    framework: Option<v1::FrameworkId>,
    tasks: u64,
    wanted: bool,
}

impl Rival {
    pub(crate) fn new(plan: &Plan) -> Self {
        let random = Random::new(plan.seed, 3);
        let (connection, stream_id, framework) = (None, None, None);
        Self { random, connection, stream_id, framework, tasks: 0, wanted: plan.rival }
    }

    pub(crate) fn is(&self, id: ConnectionId) -> bool {
        self.connection == Some(id)
    }

    /// Its stream ended: it subscribes again.
    pub(crate) fn closed(&mut self, sim: &Sim) {
        (self.connection, self.stream_id) = (None, None);
        if self.wanted {
            sim.schedule(sim.now_ms() + 5_000, connect);
        }
    }

    pub(crate) fn hear(&mut self, sim: &Sim, event: Event) {
        if let Some(subscribed) = event.subscribed {
            self.framework = subscribed.framework_id;
        }
        for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
            let held = self.random.around(HOLDS_MS);
            let choice = self.random.below(3);
            let now = sim.now_ms();
            match choice {
                0 => sim.schedule(now + held, move |sim| decline(sim, &offer)),
                1 => sim.schedule(now + 5, move |sim| launch(sim, &offer, held)),
                _ => sim.schedule(now + 5, move |sim| decline(sim, &offer)),
            }
        }
        if let Some(status) = event.update.and_then(|update| update.status)
            && let (Some(uuid), Some(agent)) = (status.uuid, status.agent_id)
        {
            let task = status.task_id;
            let call = calls::acknowledge(agent, task, uuid);
            sim.schedule(sim.now_ms() + 5, move |sim| {
                sim.with_mesos(|side| side.rival_calls(call))
            });
        }
    }
}

impl MesosSide {
    fn rival_calls(&mut self, mut call: Call) {
        let Some(stream_id) = self.rival.stream_id.clone().filter(|_| self.up) else { return };
        call.framework_id.clone_from(&self.rival.framework);
        // Whatever Mesos refuses is of no interest.
        let _ = self.model.call(Some(&stream_id), call);
    }
}

/// Subscribes, now or as soon as there is a Mesos.
pub(crate) fn connect(sim: &Arc<Sim>) {
    sim.with_mesos(|side| {
        if !side.rival.wanted || side.rival.connection.is_some() {
            return;
        }
        let id = side.new_connection();
        let settings = FrameworkSettings {
            user: "rival".to_owned(),
            name: "rival".to_owned(),
            role: "rival".to_owned(),
            principal: None,
            failover_timeout_ms: 3_600_000,
            checkpoint: false,
            hostname: None,
            webui_url: None,
            capabilities: FrameworkSettings::default_capabilities(),
        };
        let framework = side.rival.framework.as_ref().map(|id| id.value.clone());
        let call = calls::subscribe(settings.to_info(framework.as_deref()), Vec::new());
        let answer = if side.up { side.model.subscribe(id, call).ok() } else { None };
        if let Some(stream_id) = answer {
            (side.rival.connection, side.rival.stream_id) = (Some(id), Some(stream_id));
        } else {
            sim.schedule(sim.now_ms() + 5_000, connect);
        }
    });
}

/// Ends it for good, with all that it holds.
pub(crate) fn end(sim: &Arc<Sim>) {
    sim.with_mesos(|side| {
        side.rival.wanted = false;
        side.rival_calls(calls::teardown());
    });
}

/// Whether it is to be ended still: Mesos was away when that was tried.
pub(crate) fn lives(sim: &Sim) -> bool {
    let side = lock(&sim.mesos);
    !side.rival.wanted && side.rival.connection.is_some()
}

fn decline(sim: &Arc<Sim>, offer: &v1::Offer) {
    let call = calls::decline(vec![offer.id.clone()], Some(30_000));
    sim.with_mesos(|side| side.rival_calls(call));
}

/// Takes all that is unreserved in an offer.
fn launch(sim: &Arc<Sim>, offer: &v1::Offer, held: u64) {
    let resources: Vec<v1::Resource> =
        offer.resources.iter().filter(|r| r.reservations.is_empty()).cloned().collect();
    sim.with_mesos(|side| {
        side.rival.tasks += 1;
        let id = v1::TaskId { value: format!("rival-{}", side.rival.tasks) };
        let command =
            v1::CommandInfo { value: Some("sleep 1000".to_owned()), ..Default::default() };
        let task = v1::TaskInfo {
            name: id.value.clone(),
            task_id: id.clone(),
            agent_id: offer.agent_id.clone(),
            resources,
            command: Some(command),
            ..Default::default()
        };
        let operation = v1::offer::Operation {
            r#type: Some(v1::offer::operation::Type::Launch as i32),
            launch: Some(v1::offer::operation::Launch { task_infos: vec![task] }),
            ..Default::default()
        };
        side.rival_calls(calls::accept(vec![offer.id.clone()], vec![operation], Some(1_000)));
        let kill = calls::kill(id, None, None);
        sim.schedule(sim.now_ms() + held, move |sim| {
            sim.with_mesos(|side| side.rival_calls(kill));
        });
    });
}
