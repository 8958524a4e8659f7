//! The short ways of a round must not lead elsewhere than the long one.

use crate::allocator::{ag, fw, options, with_roles};
use crate::build::*;
use peloton_mesos_sim::allocator::{Allocation, Allocator};
use peloton_mesos_sim::resources::Resources;
use peloton_proto::mesos::v1;
use proptest::prelude::*;

const ROLES: [&str; 4] = ["p/0", "p/1", "p", "q"];
const AGENTS: u32 = 4;

#[derive(Debug, Clone)]
enum Event {
    Pass {
        ms: u64,
    },
    Suppress {
        framework: u32,
    },
    Revive {
        framework: u32,
    },
    Active {
        framework: u32,
        active: bool,
    },
    AgentActive {
        agent: u32,
        active: bool,
    },
    /// Of the offers that are out, which to give back, in part or whole, and for how long.
    Decline {
        offer: usize,
        whole: bool,
        refuse_ms: u64,
    },
    Resize {
        agent: u32,
        cpus: u8,
    },
    Replace {
        framework: u32,
    },
    Update {
        framework: u32,
        suppressed: bool,
    },
    Rejoin {
        agent: u32,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let framework = 0u32..4;
    let agent = 0..AGENTS;
    prop_oneof![
        4 => (1u64..3_000).prop_map(|ms| Event::Pass { ms }),
        1 => framework.clone().prop_map(|framework| Event::Suppress { framework }),
        2 => framework.clone().prop_map(|framework| Event::Revive { framework }),
        1 => (framework.clone(), any::<bool>())
            .prop_map(|(framework, active)| Event::Active { framework, active }),
        1 => (agent.clone(), any::<bool>())
            .prop_map(|(agent, active)| Event::AgentActive { agent, active }),
        6 => (any::<usize>(), any::<bool>(), 0u64..9_000).prop_map(|(offer, whole, refuse_ms)| {
            Event::Decline { offer, whole, refuse_ms }
        }),
        1 => (agent.clone(), 1u8..9).prop_map(|(agent, cpus)| Event::Resize { agent, cpus }),
        1 => framework.clone().prop_map(|framework| Event::Replace { framework }),
        3 => (framework, any::<bool>())
            .prop_map(|(framework, suppressed)| Event::Update { framework, suppressed }),
        1 => agent.prop_map(|agent| Event::Rejoin { agent }),
    ]
}

fn total(cpus: u8) -> Resources {
    let cpus = f64::from(cpus);
    let own = |role| scalar("cpus", cpus).reserved(role);
    let list: Vec<v1::Resource> =
        vec![scalar("cpus", cpus), own("p"), own("p/1"), own("q"), own("x")];
    resources(&list)
}

struct Run {
    allocator: Allocator,
    out: Vec<Allocation>,
    now_ms: u64,
}

impl Run {
    fn apply(&mut self, event: &Event) {
        let allocator = &mut self.allocator;
        match *event {
            Event::Pass { ms } => self.now_ms += ms,
            Event::Suppress { framework } => allocator.suppress(fw(framework), &[]),
            Event::Revive { framework } => allocator.revive(fw(framework), &[]),
            Event::Active { framework, active: true } => {
                allocator.activate_framework(fw(framework))
            }
            Event::Active { framework, .. } => allocator.deactivate_framework(fw(framework)),
            Event::AgentActive { agent, active: true } => allocator.activate_agent(ag(agent)),
            Event::AgentActive { agent, .. } => allocator.deactivate_agent(ag(agent)),
            Event::Decline { offer, whole, refuse_ms } => self.decline(offer, whole, refuse_ms),
            Event::Resize { agent, cpus } => allocator.update_agent(ag(agent), &total(cpus)),
            Event::Replace { framework } => {
                allocator.remove_framework(fw(framework));
                self.out.retain(|offer| offer.framework != fw(framework));
                let role = ROLES[framework as usize];
                allocator.add_framework(fw(framework), options(framework, &[role]), true);
            }
            Event::Update { framework, suppressed } => {
                let mut options = options(framework, &[ROLES[framework as usize]]);
                if suppressed {
                    options.suppressed = options.roles.clone();
                }
                allocator.update_framework(fw(framework), options);
            }
            Event::Rejoin { agent } => {
                self.out.retain(|offer| offer.agent != ag(agent));
                allocator.add_agent(ag(agent), None, &total(4), &[]);
            }
        }
    }

    fn decline(&mut self, offer: usize, whole: bool, refuse_ms: u64) {
        if self.out.is_empty() {
            return;
        }
        let offer = self.out.swap_remove(offer % self.out.len());
        let first = |one: &Resources| one.iter().next().cloned();
        let mut back = offer.resources.clone();
        if let (false, Some(one)) = (whole, first(&offer.resources)) {
            back = Resources::new();
            back.add_one(&one);
        }
        let left = offer.resources.checked_sub(&back).unwrap();
        let (role, agent) = (offer.role.clone(), offer.agent);
        let refuse_ms = Some(refuse_ms);
        let known =
            self.allocator.recover(offer.framework, &role, agent, &back, refuse_ms, self.now_ms);
        assert!(known);
        if !left.is_empty() {
            self.out.push(Allocation { resources: left, ..offer });
        }
    }

    /// All that is offered and available together is all that there is.
    fn check_sums(&self) {
        for agent in 0..AGENTS {
            let available = self.allocator.available(ag(agent)).unwrap();
            let total = self.allocator.total(ag(agent)).unwrap();
            let out = self.out.iter().filter(|offer| offer.agent == ag(agent));
            let used = out.fold(Resources::new(), |sum, offer| &sum + &offer.resources);
            if total.contains(&used) {
                assert_eq!(&(&used + available), total);
            }
            for offer in self.out.iter().filter(|offer| offer.agent == ag(agent)) {
                let has = self.allocator.allocated(offer.framework, &offer.role, offer.agent);
                assert!(has.is_some_and(|has| has.contains(&offer.resources)));
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_overlooked(events in proptest::collection::vec(event(), 1..60)) {
        let mut run = Run { allocator: with_roles(&ROLES), out: vec![], now_ms: 0 };
        for agent in 0..AGENTS {
            run.allocator.add_agent(ag(agent), None, &total(4), &[]);
        }
        let mut active = [true; AGENTS as usize];
        for event in &events {
            run.apply(event);
            match *event {
                Event::AgentActive { agent, active: is } => active[agent as usize] = is,
                Event::Rejoin { agent } => active[agent as usize] = true,
                _ => {}
            }
            if run.allocator.next_wake_ms() > run.now_ms {
                continue;
            }
            let is_batch = matches!(event, Event::Pass { .. });
            run.out.extend(run.allocator.allocate(run.now_ms).offers);
            run.check_sums();
            if !is_batch {
                continue;
            }
            // After a batch nobody wants anything of any agent, however thoroughly one looks.
            for agent in (0..AGENTS).filter(|agent| active[*agent as usize]) {
                run.allocator.activate_agent(ag(agent));
                run.allocator.update_unavailability(ag(agent), false);
            }
            prop_assert_eq!(run.allocator.allocate(run.now_ms).offers, vec![]);
        }
    }

    #[test]
    fn the_same_events_give_the_same_offers(events in proptest::collection::vec(event(), 1..40)) {
        let run = || {
            let mut run = Run { allocator: with_roles(&ROLES), out: vec![], now_ms: 0 };
            for agent in 0..AGENTS {
                run.allocator.add_agent(ag(agent), None, &total(4), &[]);
            }
            let mut all = vec![];
            for event in &events {
                run.apply(event);
                let offers = run.allocator.allocate(run.now_ms).offers;
                all.extend(offers.clone());
                run.out.extend(offers);
            }
            all
        };
        prop_assert_eq!(run(), run());
    }
}
