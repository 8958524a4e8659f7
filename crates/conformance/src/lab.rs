//! What a scenario works with: a cluster, schedulers, the operators' interface, the transcript.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use peloton_testbed::Operator;
use peloton_testbed::http::{self, Request};
use serde_json::{Value, json};

use crate::build;
use crate::error::{Error, Result};
use crate::scheduler::{Answer, DEADLINE, Offer, Scheduler, Subscription};
use crate::target::{CPUS, DISK_MB, MEM_MB, Target};
use crate::transcript::Transcript;

/// Between two looks at a condition outside of the events.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A scenario's surroundings.
pub struct Lab<'a> {
    /// What it runs against.
    pub target: &'a mut dyn Target,
    /// What was said so far.
    pub transcript: Transcript,
    scenario: String,
    agents: Vec<Option<String>>,
    frameworks: BTreeSet<String>,
    roles: BTreeSet<String>,
    schedulers: usize,
}

impl<'a> Lab<'a> {
    /// For one scenario on a cluster of so many agents.
    ///
    /// # Errors
    /// When the agents cannot be asked for.
    pub fn new(target: &'a mut dyn Target, scenario: &str, agents: usize) -> Result<Self> {
        let mut lab = Self {
            target,
            transcript: Transcript::default(),
            scenario: scenario.to_owned(),
            agents: vec![None; agents],
            frameworks: BTreeSet::new(),
            roles: BTreeSet::new(),
            schedulers: 0,
        };
        lab.learn_agents()?;
        Ok(lab)
    }

    /// Names the agents that the master knows now.
    ///
    /// # Errors
    /// When the master cannot be asked.
    pub fn learn_agents(&mut self) -> Result<()> {
        for agent in self.operator().agents()? {
            let index = agent.hostname.rsplit('-').next().and_then(|n| n.parse::<usize>().ok());
            let Some(known) = index.and_then(|i| self.agents.get_mut(i)) else { continue };
            match known {
                Some(id) if *id == agent.id => {}
                Some(_) => self.transcript.name(&agent.id, format!("<new {}>", agent.hostname)),
                None => self.transcript.name(&agent.id, format!("<{}>", agent.hostname)),
            }
            *known = Some(agent.id);
        }
        Ok(())
    }

    /// The id of an agent.
    ///
    /// # Errors
    /// When no such agent has registered.
    pub fn agent(&self, index: usize) -> Result<String> {
        let id = self.agents.get(index).cloned().flatten();
        id.ok_or_else(|| Error::Scenario(format!("agent {index} has no id")))
    }

    /// The operators' interface, unrecorded.
    pub fn operator(&self) -> Operator {
        Operator::new(self.target.address())
    }

    /// A role of this scenario; what is reserved for it is given back at the end.
    pub fn role(&mut self, name: &str) -> String {
        let role = format!("{}-{name}", self.scenario);
        self.roles.insert(role.clone());
        role
    }

    /// A line for readers of the transcript.
    pub fn note(&self, text: &str) {
        self.transcript.say(&format!("# {text}"));
    }

    /// Subscribes a new framework with these roles, and with what Peloton always announces.
    ///
    /// # Errors
    /// When it is refused.
    pub fn subscribe(&mut self, roles: &[&str]) -> Result<Scheduler> {
        self.subscribe_with(build::framework(roles), &[])
    }

    /// Subscribes a new framework.
    ///
    /// # Errors
    /// When it is refused.
    pub fn subscribe_with(&mut self, info: Value, suppressed: &[&str]) -> Result<Scheduler> {
        self.try_subscribe(info, suppressed)?
            .map_err(|answer| Error::answer("SUBSCRIBE", format!("{answer:?}")))
    }

    /// Subscribes, as the framework whose id is in the info if there is one; the inner error is a
    /// refusal.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn try_subscribe(
        &mut self,
        info: Value,
        suppressed: &[&str],
    ) -> Result<Result<Scheduler, Answer>> {
        let id = info["id"]["value"].as_str().map(str::to_owned);
        self.subscribe_raw(info, suppressed, id, false)
    }

    /// The same with everything free: the call's framework id, and JSON instead of protobuf.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn subscribe_raw(
        &mut self,
        info: Value,
        suppressed: &[&str],
        framework_id: Option<String>,
        json: bool,
    ) -> Result<Result<Scheduler, Answer>> {
        self.schedulers += 1;
        let name = format!("s{}", self.schedulers);
        let subscription =
            Subscription { json, ..self.subscription(&name, info, suppressed, framework_id) };
        let subscribed = Scheduler::subscribe(subscription, &self.transcript)?;
        if let Ok(scheduler) = &subscribed
            && self.frameworks.insert(scheduler.framework_id.clone())
        {
            self.transcript.name(&scheduler.framework_id, format!("<framework of {name}>"));
        }
        if let Ok(scheduler) = &subscribed {
            let (name, id) = (&scheduler.name, &scheduler.framework_id);
            self.transcript.say(&format!("{name} <- SUBSCRIBED as {id}"));
        }
        Ok(subscribed)
    }

    /// Subscribes anew as the framework of a scheduler.
    ///
    /// # Errors
    /// When it is refused.
    pub fn resubscribe(&mut self, before: &Scheduler) -> Result<Scheduler> {
        self.resubscribe_as(&before.framework_id, &before.info)
    }

    /// Subscribes anew as a framework.
    ///
    /// # Errors
    /// When it is refused.
    pub fn resubscribe_as(&mut self, framework_id: &str, info: &Value) -> Result<Scheduler> {
        let mut info = info.clone();
        info["id"] = json!({"value": framework_id});
        self.subscribe_with(info, &[])
    }

    /// A subscription that is refused by its status, or by an ERROR on its stream; both are
    /// recorded, and so is one that is taken.
    ///
    /// # Errors
    /// When there is neither.
    pub fn subscribe_refused(&mut self, info: Value) -> Result<()> {
        self.subscribe_refused_suppressed(info, &[])
    }

    /// The same with suppressed roles.
    ///
    /// # Errors
    /// When there is neither.
    pub fn subscribe_refused_suppressed(&mut self, info: Value, roles: &[&str]) -> Result<()> {
        self.schedulers += 1;
        let name = format!("s{}", self.schedulers);
        let id = info["id"]["value"].as_str().map(str::to_owned);
        let subscription = self.subscription(&name, info, roles, id);
        if let Ok(mut opened) = Scheduler::open(subscription, &self.transcript)? {
            let first = opened.take("an answer", |_| true)?;
            if first["type"] == "SUBSCRIBED" {
                let id = first["subscribed"]["frameworkId"]["value"].as_str().unwrap_or_default();
                self.frameworks.insert(id.to_owned());
                self.transcript.say(&format!("{name} <- SUBSCRIBED"));
            } else {
                opened.record(&first);
                opened.event("CLOSED")?;
            }
        }
        Ok(())
    }

    fn subscription(
        &self,
        name: &str,
        info: Value,
        suppressed: &[&str],
        framework_id: Option<String>,
    ) -> Subscription {
        Subscription {
            name: name.to_owned(),
            address: self.target.address(),
            info,
            suppressed: suppressed.iter().map(|role| (*role).to_owned()).collect(),
            framework_id,
            json: false,
        }
    }

    /// A call of the operators' v1 API, recorded.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn operate(&mut self, call: &Value) -> Result<Answer> {
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let body = call.to_string();
        let answer = self.http("POST", "/api/v1", &headers, body.as_bytes())?;
        let kind = call["type"].as_str().unwrap_or_default();
        let (status, text) = (answer.status, &answer.body);
        self.transcript.say(&format!("operator -> {kind}: {status} {text}"));
        Ok(answer)
    }

    /// Any request to the master, unrecorded.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let address = self.target.address();
        let request =
            Request { method, address: &address, path, headers, body, timeout: Some(DEADLINE) };
        let response = http::send(&request).map_err(Error::io(format!("{method} {path}")))?;
        let status = response.status;
        Ok(Answer { status, body: response.text().map_err(Error::io("an answer"))? })
    }

    /// A request to the scheduler API with these headers, recorded with a label.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn raw(&self, label: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        // Behind these come the words of a parser of JSON.
        const PARSERS: [&str; 2] =
            ["Failed to parse body into JSON", "Failed to convert JSON into"];
        let answer = self.http("POST", crate::wire::PATH, headers, body)?;
        let parser = PARSERS.into_iter().find(|prefix| answer.body.starts_with(prefix));
        let words = parser.unwrap_or(&answer.body);
        self.transcript.say(&format!("{label}: {} {words}", answer.status));
        Ok(answer)
    }

    /// Waits for a condition that no event tells.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn until(&self, what: &str, condition: impl Fn(&Operator) -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let operator = self.operator();
        while !condition(&operator) {
            if Instant::now() >= deadline {
                return Err(Error::missing(what, "it did not come about"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Waits until these are all the operations that the master knows of a framework.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn settle_operations(&self, framework_id: &str, ids: &[&str]) -> Result<()> {
        let mut wanted: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        wanted.sort();
        self.until(&format!("operations {ids:?} alone"), |operator| {
            let answer = operator.call(&json!({"type": "GET_OPERATIONS"})).unwrap_or_default();
            let all = answer["get_operations"]["operations"].as_array().cloned();
            let mut found: Vec<String> = all
                .unwrap_or_default()
                .iter()
                .filter(|operation| operation["framework_id"]["value"] == *framework_id)
                .filter_map(|operation| operation["info"]["id"]["value"].as_str())
                .map(str::to_owned)
                .collect();
            found.sort();
            found == wanted
        })
    }

    /// Waits until these are all the tasks that the master has of a framework, those apart that it
    /// only remembers.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn settle_tasks(&self, framework_id: &str, ids: &[&str]) -> Result<()> {
        let mut wanted: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        wanted.sort();
        self.until(&format!("tasks {ids:?} alone"), |operator| {
            let tasks = operator.tasks_of(framework_id, "tasks");
            let mut found: Vec<String> = tasks.into_iter().map(|(id, _)| id).collect();
            found.sort();
            found == wanted
        })
    }

    /// Waits until the master knows that a task is in this state, told or not.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn until_task(&self, framework_id: &str, task: &str, state: &str) -> Result<()> {
        self.until(&format!("{task} is {state}"), |operator| {
            let tasks = operator.tasks_of(framework_id, "tasks");
            tasks.iter().any(|(id, s)| id == task && s == state)
        })
    }

    /// Waits until the master has seen that a framework's connection is gone.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn until_inactive(&self, framework_id: &str) -> Result<()> {
        self.until("an inactive framework", |operator| {
            let all = operator.get("/master/frameworks").unwrap_or_default();
            let all = all["frameworks"].as_array().cloned().unwrap_or_default();
            all.iter().any(|f| f["id"] == *framework_id && f["active"] == false)
        })
    }

    /// Waits until the master has given a framework up.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn until_completed(&self, framework_id: &str) -> Result<()> {
        self.until("a completed framework", |operator| {
            let all = operator.get("/master/frameworks").unwrap_or_default();
            let all = all["completed_frameworks"].as_array().cloned().unwrap_or_default();
            all.iter().any(|framework| framework["id"] == *framework_id)
        })
    }

    /// Waits until an agent's process has ended since the master sent it away.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn until_sent_away(&mut self, index: usize) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !self.target.has_agent_ended(index)? {
            if Instant::now() >= deadline {
                return Err(Error::missing(format!("agent {index}'s end"), "it goes on"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        // What stood around it, if there was anything.
        self.target.stop_agent(index)
    }

    /// Waits until exactly these agents are registered and active, and learns their ids.
    ///
    /// # Errors
    /// When it does not come about in time.
    pub fn until_active(&mut self, indexes: &[usize]) -> Result<()> {
        let wanted: BTreeSet<String> = indexes.iter().map(|i| format!("agent-{i}")).collect();
        self.until(&format!("agents {indexes:?} active"), |operator| {
            let agents = operator.agents().unwrap_or_default();
            let active = agents.into_iter().filter(|agent| agent.active);
            active.map(|agent| agent.hostname).collect::<BTreeSet<_>>() == wanted
        })?;
        self.learn_agents()
    }

    /// Ends the scenario's frameworks and gives back what it reserved, until everything of the
    /// active agents is free: what the next scenario begins with.
    ///
    /// # Errors
    /// When something stays.
    pub fn clean_up(&mut self) -> Result<()> {
        let operator = self.operator();
        for framework in std::mem::take(&mut self.frameworks) {
            // It may have been torn down by the scenario.
            let _ = operator.teardown(&framework);
        }
        let mut roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        roles.push("janitor");
        let mut info = build::framework(&roles);
        build::add_capability(&mut info, "SHARED_RESOURCES");
        let subscription = self.subscription("janitor", info, &[], None);
        let mut janitor = Scheduler::subscribe(subscription, &Transcript::default())?
            .map_err(|answer| Error::answer("the janitor's SUBSCRIBE", format!("{answer:?}")))?;
        let active = operator.agents()?.iter().filter(|agent| agent.active).count();
        let deadline = Instant::now() + DEADLINE;
        while !all_free(&janitor.held(), active) {
            if Instant::now() >= deadline {
                return Err(Error::missing(
                    "a clean cluster",
                    format!("{:#?}", janitor.holdings()),
                ));
            }
            janitor.watch(2)?;
            if all_free(&janitor.held(), active) {
                break;
            }
            // Also what has nothing to release: a rest that is too little for an offer of its own
            // comes only together with it.
            for offer in janitor.held() {
                let operations = releases(&offer);
                janitor.forget(std::slice::from_ref(&offer));
                janitor.call(match operations.is_empty() {
                    true => build::decline(&[offer], Some(0.0)),
                    false => build::accept(&[offer], operations),
                })?;
            }
        }
        janitor.call(json!({"type": "TEARDOWN"}))
    }
}

/// What the scenarios ask the operators' interface beyond what the testbed's has.
trait TasksOf {
    /// Ids and states in one of a framework's lists.
    fn tasks_of(&self, framework_id: &str, list: &str) -> Vec<(String, String)>;
}

impl TasksOf for Operator {
    fn tasks_of(&self, framework_id: &str, list: &str) -> Vec<(String, String)> {
        let state = self.state().unwrap_or_default();
        let all = state["frameworks"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter()
            .filter(|framework| framework["id"] == *framework_id)
            .flat_map(|framework| framework[list].as_array().cloned().unwrap_or_default())
            .map(|task| (text(&task["id"]), text(&task["state"])))
            .collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a handful of agents")]
fn all_free(offers: &[Offer], agents: usize) -> bool {
    let resources = || offers.iter().flat_map(|offer| &offer.resources);
    resources().all(|r| r.get("reservations").is_none())
        && [("cpus", CPUS), ("disk", DISK_MB), ("mem", MEM_MB)]
            .iter()
            .all(|(name, each)| (build::sum(offers, name) - each * agents as f64).abs() < 0.001)
}

/// What makes an offer's resources free by one step.
fn releases(offer: &Offer) -> Vec<Value> {
    let reserved = offer.resources.iter().filter(|r| r.get("reservations").is_some());
    reserved
        .map(|resource| {
            if resource["disk"].get("persistence").is_some() {
                build::destroy(vec![resource.clone()])
            } else {
                build::unreserve(vec![resource.clone()])
            }
        })
        .collect()
}
