//! Placement against a naive planner that tries every agent for every instance and recounts
//! everything each time, and against what must hold for any plan.

use peloton_model::job::{Constraint, PortConfig, ResourceConfig, Rule, Strategy};
use peloton_model::{AgentId, AgentRecord, JobConfig, Lack, Milli, PortSet, Resources};
use peloton_placement::{Assignment, Candidate, Existing, Placed, Request, place};
use proptest::prelude::{Just, ProptestConfig, any, prop_oneof};
use proptest::strategy::Strategy as Generator;
use proptest::{collection, option, prop_assert, prop_assert_eq, proptest};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An input that owns what a request borrows.
#[derive(Debug, Clone)]
struct Case {
    candidates: Vec<Candidate>,
    config: JobConfig,
    count: u32,
    /// Agent, its attributes if known, instances.
    existing: Vec<(AgentId, Option<AgentRecord>, u32)>,
}

impl Case {
    fn run(&self) -> (Vec<Candidate>, Placed) {
        let mut candidates = self.candidates.clone();
        let existing: Vec<_> = self
            .existing
            .iter()
            .map(|(agent, record, count)| Existing {
                agent,
                record: record.as_ref(),
                count: *count,
            })
            .collect();
        let request = Request { config: &self.config, count: self.count, existing: &existing };
        let placed = place(&mut candidates, &request);
        (candidates, placed)
    }

    fn need(&self) -> Resources {
        self.config.resource.scalars()
    }
}

fn few(max: u64) -> impl Generator<Value = Milli> {
    (0..=max * 2).prop_map(|halves| Milli(halves * 500))
}

fn scalars(max: u64) -> impl Generator<Value = Resources> {
    (few(max), few(max), few(max), prop_oneof![4 => Just(Milli(0)), 1 => few(2)])
        .prop_map(|(cpus, mem_mb, disk_mb, gpus)| Resources { cpus, mem_mb, disk_mb, gpus })
}

fn record(host: String) -> impl Generator<Value = AgentRecord> {
    let value = |of: &'static [&'static str]| option::of(proptest::sample::select(of));
    (value(&["r1", "r2", "r3"]), value(&["z1", "z2"]), option::weighted(0.1, Just("shared")))
        .prop_map(move |(rack, zone, hostname)| {
            let named = [("rack", rack), ("zone", zone), ("hostname", hostname)];
            let set = named.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned())));
            AgentRecord {
                host: host.as_str().into(),
                attributes: set.collect(),
                url: String::new(),
            }
        })
}

fn ports() -> impl Generator<Value = PortSet> {
    collection::vec((1u16..20, 0u16..6).prop_map(|(from, more)| (from, from + more)), 0..4)
        .prop_map(PortSet::from_ranges)
}

/// Agents in no order of their ids.
fn candidates() -> impl Generator<Value = Vec<Candidate>> {
    let one = |i: usize| {
        (scalars(5), ports(), record(format!("host{}", i % 7))).prop_map(move |(free, ports, r)| {
            Candidate { agent: agent_id(i), record: Arc::new(r), free, ports }
        })
    };
    (0usize..9).prop_flat_map(move |n| (0..n).map(one).collect::<Vec<_>>().prop_shuffle())
}

fn agent_id(i: usize) -> AgentId {
    AgentId::new(&format!("agent{i}"))
}

fn constraint() -> impl Generator<Value = Constraint> {
    let value =
        || proptest::sample::select(&["r1", "r2", "z1", "host1"][..]).prop_map(str::to_owned);
    let rule = prop_oneof![
        value().prop_map(Rule::Equal),
        value().prop_map(Rule::NotEqual),
        collection::vec(value(), 1..4).prop_map(Rule::In),
        Just(Rule::Unique),
        (0u32..4).prop_map(Rule::MaxPerValue),
    ];
    let attribute = proptest::sample::select(&["rack", "zone", "hostname"][..]);
    (attribute, rule).prop_map(|(a, rule)| Constraint { attribute: a.to_owned(), rule })
}

fn config(max_constraints: usize) -> impl Generator<Value = JobConfig> {
    let strategy = prop_oneof![Just(Strategy::Spread), Just(Strategy::Pack)];
    let port = prop_oneof![2 => Just(0u32), 1 => 1u32..20];
    let parts = (
        strategy,
        scalars(1),
        collection::vec(port, 0..4),
        collection::vec(constraint(), 0..=max_constraints),
    );
    parts.prop_map(|(strategy, need, ports, constraints)| {
        let mut config = JobConfig {
            resource: ResourceConfig {
                cpus_limit: need.cpus.as_f64(),
                mem_limit_mb: need.mem_mb.as_f64(),
                disk_limit_mb: need.disk_mb.as_f64(),
                gpus_limit: need.gpus.as_f64(),
                fd_limit: 0,
            },
            ports: ports.iter().map(|v| PortConfig { value: *v, ..Default::default() }).collect(),
            ..Default::default()
        };
        config.placement.strategy = strategy;
        config.placement.constraints = constraints;
        config
    })
}

fn case(max_constraints: usize) -> impl Generator<Value = Case> {
    let existing = (0usize..12).prop_flat_map(|i| {
        (Just(agent_id(i)), option::of(record(format!("host{}", i % 7))), 0u32..3)
    });
    let existing = collection::vec(existing, 0..6);
    (candidates(), config(max_constraints), 0u32..40, existing).prop_map(
        |(candidates, config, count, mut existing)| {
            // What is known of an agent is known the same everywhere.
            for (agent, record, _) in &mut existing {
                let candidate = candidates.iter().find(|c| c.agent == *agent);
                if let (Some(record), Some(candidate)) = (record, candidate) {
                    *record = (*candidate.record).clone();
                }
            }
            Case { candidates, config, count, existing }
        },
    )
}

/// Instances of the job where the naive planner has them: agent, attributes if known.
type Instances = Vec<(AgentId, Option<AgentRecord>)>;

fn value(record: &AgentRecord, attribute: &str) -> Option<String> {
    match (record.attributes.get(attribute), attribute) {
        (Some(value), _) => Some(value.clone()),
        (None, "hostname") => Some(record.host.to_string()),
        (None, _) => None,
    }
}

fn admits(constraint: &Constraint, record: &AgentRecord, instances: &Instances) -> bool {
    let value = value(record, &constraint.attribute);
    let max = match &constraint.rule {
        Rule::Equal(v) => return value.as_ref() == Some(v),
        Rule::NotEqual(v) => return value.as_ref() != Some(v),
        Rule::In(vs) => return value.is_some_and(|v| vs.contains(&v)),
        Rule::Unique => 1,
        Rule::MaxPerValue(max) => *max as usize,
    };
    let same = |r: &AgentRecord| self::value(r, &constraint.attribute) == value;
    value.is_some() && instances.iter().filter(|(_, r)| r.as_ref().is_some_and(same)).count() < max
}

/// One by one, as the configuration names them; none where one is not to be had.
fn pick_ports(config: &JobConfig, free: &PortSet) -> Option<Vec<u16>> {
    let mut free: Vec<u16> = free.iter().collect();
    let mut picked = vec![0; config.ports.len()];
    for fixed in [true, false] {
        for (i, port) in config.ports.iter().enumerate().filter(|(_, p)| (p.value != 0) == fixed) {
            let at = free.iter().position(|f| !fixed || u32::from(*f) == port.value)?;
            picked[i] = free.remove(at);
        }
    }
    Some(picked)
}

fn first_lack(case: &Case, candidate: &Candidate, instances: &Instances) -> Option<Lack> {
    let constraints = &case.config.placement.constraints;
    if !constraints.iter().all(|c| admits(c, &candidate.record, instances)) {
        return Some(Lack::Constraint);
    }
    let (free, need) = (candidate.free, case.need());
    if free.cpus < need.cpus {
        Some(Lack::Cpus)
    } else if free.mem_mb < need.mem_mb {
        Some(Lack::Mem)
    } else if free.disk_mb < need.disk_mb {
        Some(Lack::Disk)
    } else if free.gpus < need.gpus {
        Some(Lack::Gpus)
    } else {
        pick_ports(&case.config, &candidate.ports).is_none().then_some(Lack::Ports)
    }
}

/// How many 1024ths of an instance the scarcest needed resource is enough for.
fn room(free: &Resources, need: &Resources) -> u64 {
    [
        (free.cpus, need.cpus),
        (free.mem_mb, need.mem_mb),
        (free.disk_mb, need.disk_mb),
        (free.gpus, need.gpus),
    ]
    .iter()
    .filter(|(_, need)| need.0 > 0)
    .map(|(free, need)| free.0 * 1024 / need.0)
    .min()
    .unwrap_or(u64::MAX)
}

/// The assignments, and at the end the number of agents by what they lack.
fn naive(case: &Case) -> (Vec<Assignment>, BTreeMap<Lack, u32>) {
    let (mut candidates, need) = (case.candidates.clone(), case.need());
    let mut instances = Instances::new();
    for (agent, record, count) in &case.existing {
        let candidate = candidates.iter().find(|c| c.agent == *agent);
        let record = record.clone().or_else(|| Some((*candidate?.record).clone()));
        instances.extend((0..*count).map(|_| (agent.clone(), record.clone())));
    }
    let mut assignments = Vec::new();
    while assignments.len() < case.count as usize {
        let rank = |c: &Candidate| {
            let here = instances.iter().filter(|(a, _)| *a == c.agent).count();
            let spares = need.gpus.0 == 0 && c.free.gpus.0 > 0;
            match case.config.placement.strategy {
                Strategy::Spread => {
                    (here, spares, Reverse(room(&c.free, &need)), 0, c.agent.clone())
                }
                Strategy::Pack => (0, spares, Reverse(0), room(&c.free, &need), c.agent.clone()),
            }
        };
        let fitting = (0..candidates.len())
            .filter(|i| first_lack(case, &candidates[*i], &instances).is_none())
            .min_by_key(|i| rank(&candidates[*i]));
        let Some(best) = fitting else { break };
        let candidate = &mut candidates[best];
        let Some(ports) = pick_ports(&case.config, &candidate.ports) else { break };
        candidate.free = candidate.free.minus(&need);
        candidate.ports = candidate.ports.iter().filter(|p| !ports.contains(p)).collect();
        instances.push((candidate.agent.clone(), Some((*candidate.record).clone())));
        assignments.push(Assignment { candidate: best, ports });
    }
    let mut lacking = BTreeMap::new();
    for lack in candidates.iter().filter_map(|c| first_lack(case, c, &instances)) {
        *lacking.entry(lack).or_default() += 1;
    }
    (assignments, lacking)
}

/// How many instances the agent holds when nothing but resources and ports counts.
fn capacity(case: &Case, candidate: &Candidate) -> u64 {
    let fixed: Vec<u32> = case.config.ports.iter().map(|p| p.value).filter(|v| *v != 0).collect();
    let distinct: std::collections::BTreeSet<_> = fixed.iter().collect();
    let free = |v: &&u32| candidate.ports.iter().any(|p| u32::from(p) == **v);
    if distinct.len() < fixed.len() || !distinct.iter().all(free) {
        return 0;
    }
    let by_ports = (candidate.ports.len() as u64).checked_div(case.config.ports.len() as u64);
    let by_ports = by_ports.unwrap_or(u64::MAX).min(if fixed.is_empty() { u64::MAX } else { 1 });
    let by_scalars = room(&candidate.free, &case.need());
    by_ports.min(if by_scalars == u64::MAX { u64::MAX } else { by_scalars / 1024 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_is_that_of_the_naive_planner(case in case(3)) {
        let (assignments, lacking) = naive(&case);
        let (_, placed) = case.run();
        prop_assert_eq!(&placed.assignments, &assignments);
        let missing = case.count - assignments.len() as u32;
        let Some(waiting) = placed.waiting else {
            prop_assert_eq!(missing, 0);
            return Ok(());
        };
        prop_assert!(missing > 0);
        prop_assert_eq!(waiting.instances, missing);
        prop_assert_eq!(waiting.agents as usize, case.candidates.len());
        prop_assert!(waiting.lacking.is_sorted_by(|a, b| a.1 >= b.1));
        prop_assert_eq!(waiting.lacking.into_iter().collect::<BTreeMap<_, _>>(), lacking);
    }

    #[test]
    fn what_is_assigned_was_free_and_is_free_no_more(case in case(2)) {
        let (after, placed) = case.run();
        for (i, (before, after)) in case.candidates.iter().zip(&after).enumerate() {
            let here: Vec<_> = placed.assignments.iter().filter(|a| a.candidate == i).collect();
            let taken = here.iter().fold(Resources::default(), |sum, _| sum.plus(&case.need()));
            prop_assert_eq!(after.free.plus(&taken), before.free);
            let mut ports: Vec<u16> = here.iter().flat_map(|a| a.ports.clone()).collect();
            ports.extend(after.ports.iter());
            ports.sort_unstable();
            // Equal as lists, so none was given twice and none out of thin air.
            prop_assert_eq!(ports, before.ports.iter().collect::<Vec<_>>());
        }
        for assignment in &placed.assignments {
            prop_assert_eq!(assignment.ports.len(), case.config.ports.len());
            for (port, wanted) in assignment.ports.iter().zip(&case.config.ports) {
                prop_assert!(wanted.value == 0 || u32::from(*port) == wanted.value);
            }
        }
    }

    #[test]
    fn without_constraints_as_many_are_placed_as_there_is_room_for(case in case(0)) {
        let all = case.candidates.iter().fold(0u64, |n, c| n.saturating_add(capacity(&case, c)));
        let (_, placed) = case.run();
        prop_assert_eq!(placed.assignments.len() as u64, all.min(u64::from(case.count)));
    }

    #[test]
    fn neither_the_run_nor_the_order_of_candidates_matters(case in case(3)) {
        let (after, placed) = case.run();
        prop_assert_eq!(&case.run(), &(after, placed.clone()));
        let mut turned = case.clone();
        turned.candidates.reverse();
        let (_, again) = turned.run();
        let plan = |case: &Case, placed: &Placed| -> Vec<_> {
            let agent = |a: &Assignment| case.candidates[a.candidate].agent.clone();
            placed.assignments.iter().map(|a| (agent(a), a.ports.clone())).collect()
        };
        prop_assert_eq!(plan(&case, &placed), plan(&turned, &again));
        prop_assert_eq!(placed.waiting, again.waiting);
    }

    #[test]
    fn equal_agents_get_equal_shares(agents in 1usize..20, count in 0u32..100, mem in any::<bool>()) {
        let free = Resources { cpus: Milli(100_000), mem_mb: Milli(100_000), ..Default::default() };
        let candidate = |i| Candidate {
            agent: agent_id(i),
            record: Arc::default(),
            free,
            ports: PortSet::default(),
        };
        let mut config = JobConfig::default();
        config.resource.cpus_limit = 1.0;
        config.resource.mem_limit_mb = if mem { 0.5 } else { 0.0 };
        let candidates = (0..agents).map(candidate).collect();
        let case = Case { candidates, config, count, existing: Vec::new() };
        let (_, placed) = case.run();
        let mut shares = vec![0u32; agents];
        placed.assignments.iter().for_each(|a| shares[a.candidate] += 1);
        prop_assert_eq!(shares.iter().sum::<u32>(), count);
        let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
        prop_assert!(most - least <= 1, "{:?}", shares);
    }
}
