//! Placement by example: small clusters whose plan can be read off.

use peloton_model::job::{Constraint, PortConfig, ResourceConfig, Rule, Strategy};
use peloton_model::{AgentId, AgentRecord, JobConfig, Lack, Milli, PortSet, Resources, Waiting};
use peloton_placement::{Candidate, Existing, Placed, Request, place};
use std::sync::Arc;

/// An agent with as many CPUs, 100 times as many MB of memory and disk, and ports 100 to 199.
fn agent(id: &str, cpus: u64) -> Candidate {
    let free = Resources {
        cpus: Milli(cpus * 1000),
        mem_mb: Milli(cpus * 100_000),
        disk_mb: Milli(cpus * 100_000),
        gpus: Milli(0),
    };
    let record = Arc::new(record(id, &[]));
    Candidate { agent: AgentId::new(id), record, free, ports: PortSet::from_ranges([(100, 199)]) }
}

fn record(host: &str, attributes: &[(&str, &str)]) -> AgentRecord {
    let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    AgentRecord { host: host.into(), attributes, url: String::new() }
}

fn in_rack(id: &str, cpus: u64, rack: &str) -> Candidate {
    Candidate { record: Arc::new(record(id, &[("rack", rack)])), ..agent(id, cpus) }
}

/// Instances of 1 CPU, 100 MB of memory, 10 MB of disk.
fn config() -> JobConfig {
    let resource = ResourceConfig {
        cpus_limit: 1.0,
        mem_limit_mb: 100.0,
        disk_limit_mb: 10.0,
        ..Default::default()
    };
    JobConfig { resource, ..Default::default() }
}

fn constrained(attribute: &str, rule: Rule) -> JobConfig {
    let mut config = config();
    config.placement.constraints = vec![Constraint { attribute: attribute.into(), rule }];
    config
}

fn packed() -> JobConfig {
    let mut config = config();
    config.placement.strategy = Strategy::Pack;
    config
}

fn with_ports(values: &[u32]) -> JobConfig {
    let port = |(i, value): (usize, &u32)| PortConfig {
        name: format!("p{i}"),
        value: *value,
        ..Default::default()
    };
    JobConfig { ports: values.iter().enumerate().map(port).collect(), ..config() }
}

fn plan(candidates: &mut [Candidate], config: &JobConfig, count: u32) -> Placed {
    place(candidates, &Request { config, count, existing: &[] })
}

fn names(candidates: &[Candidate], placed: &Placed) -> String {
    let name = |a: &peloton_placement::Assignment| candidates[a.candidate].agent.to_string();
    placed.assignments.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[test]
fn spread_takes_the_agent_with_the_fewest_instances_then_the_roomiest_then_the_lowest_id() {
    let mut agents = [agent("c", 4), agent("b", 4), agent("a", 2), agent("d", 1)];
    let placed = plan(&mut agents, &config(), 11);
    assert_eq!(names(&agents, &placed), "b c a d b c a b c b c");
    assert_eq!(placed.waiting, None);
    assert!(agents.iter().all(|a| a.free.cpus.is_zero()));
}

#[test]
fn spread_counts_instances_that_are_there_already() {
    let mut agents = [agent("a", 9), agent("b", 2), agent("c", 2)];
    let (a, b) = (AgentId::new("a"), AgentId::new("b"));
    let on = |agent, count| Existing { agent, record: None, count };
    let existing = [on(&a, 1), on(&b, 1), on(&a, 1)];
    let request = Request { config: &config(), count: 4, existing: &existing };
    let placed = place(&mut agents, &request);
    assert_eq!(names(&agents, &placed), "c b c a");
}

#[test]
fn pack_fills_the_fullest_agent_on_which_an_instance_fits() {
    let mut agents = [agent("a", 3), agent("b", 2), agent("c", 0), agent("d", 2)];
    let placed = plan(&mut agents, &packed(), 6);
    assert_eq!(names(&agents, &placed), "b b d d a a");
}

#[test]
fn agents_with_idle_gpus_come_last_for_those_who_need_none() {
    let gpu = Resources { gpus: Milli(4000), ..agent("a", 3).free };
    let agents = [Candidate { free: gpu, ..agent("a", 3) }, agent("b", 9)];
    for config in [config(), packed()] {
        let mut agents = agents.clone();
        let placed = plan(&mut agents, &config, 1);
        assert_eq!(names(&agents, &placed), "b", "{:?}", config.placement.strategy);
    }
    let mut wants_gpu = config();
    wants_gpu.resource.gpus_limit = 2.0;
    let mut agents = agents;
    let placed = plan(&mut agents, &wants_gpu, 3);
    assert_eq!(names(&agents, &placed), "a a");
    assert_eq!(placed.waiting.unwrap().lacking, [(Lack::Gpus, 2)]);
}

#[test]
fn constraints_choose_agents_by_attribute() {
    let agents = [in_rack("a", 1, "r1"), in_rack("b", 1, "r2"), agent("c", 1)];
    let named = record("c", &[("hostname", "other")]);
    let text = |s: &str| s.to_owned();
    let cases = [
        ("rack", Rule::Equal(text("r1")), "a"),
        ("rack", Rule::NotEqual(text("r1")), "b c"),
        ("rack", Rule::In(vec![text("r2"), text("r1")]), "a b"),
        ("rack", Rule::Unique, "a b"),
        ("rack", Rule::MaxPerValue(0), ""),
        ("hostname", Rule::Equal(text("b")), "b"),
        ("hostname", Rule::Equal(text("other")), "c"),
        ("hostname", Rule::Unique, "a b c"),
        ("zone", Rule::Unique, ""),
        ("zone", Rule::NotEqual(text("z")), "a b c"),
    ];
    for (attribute, rule, expected) in cases {
        let mut agents = agents.clone();
        if rule == Rule::Equal(text("other")) {
            agents[2].record = Arc::new(named.clone());
        }
        let config = constrained(attribute, rule);
        let placed = plan(&mut agents, &config, 3);
        assert_eq!(names(&agents, &placed), expected, "{:?}", config.placement.constraints);
    }
}

#[test]
fn limits_count_existing_instances_where_the_agent_is_known() {
    let gone = AgentId::new("gone");
    let (there, here) = (record("x", &[("rack", "r1")]), AgentId::new("b"));
    let existing = [
        Existing { agent: &gone, record: Some(&there), count: 1 },
        // The candidate of the same agent tells the rack.
        Existing { agent: &here, record: None, count: 1 },
        Existing { agent: &gone, record: None, count: 7 },
    ];
    let mut agents = [in_rack("a", 9, "r1"), in_rack("b", 9, "r2"), in_rack("c", 9, "r3")];
    let config = constrained("rack", Rule::MaxPerValue(2));
    let placed = place(&mut agents, &Request { config: &config, count: 9, existing: &existing });
    assert_eq!(names(&agents, &placed), "a c b c");
    let waiting = placed.waiting.unwrap();
    assert_eq!((waiting.instances, waiting.lacking), (5, vec![(Lack::Constraint, 3)]));
}

#[test]
fn ports_are_given_in_the_order_of_the_configuration_and_never_twice() {
    let mut agents = [agent("a", 9)];
    agents[0].ports = PortSet::from_ranges([(100, 103), (200, 200)]);
    let placed = plan(&mut agents, &with_ports(&[0, 101, 0]), 2);
    assert_eq!(placed.assignments[0].ports, [100, 101, 102]);
    assert_eq!(placed.waiting.unwrap().lacking, [(Lack::Ports, 1)], "101 is taken");
    assert_eq!(agents[0].ports.ranges(), [(103, 103), (200, 200)]);

    let placed = plan(&mut agents, &with_ports(&[0, 0]), 2);
    assert_eq!(placed.assignments[0].ports, [103, 200]);
    assert_eq!(placed.waiting.unwrap().lacking, [(Lack::Ports, 1)], "none is left");
}

#[test]
fn a_static_port_above_what_dynamic_ones_take_is_kept_for_its_owner() {
    let mut agents = [agent("a", 9)];
    let placed = plan(&mut agents, &with_ports(&[0, 0, 100]), 1);
    assert_eq!(placed.assignments[0].ports, [101, 102, 100]);
}

#[test]
fn ports_that_cannot_be_are_lacking_everywhere() {
    for values in [&[100, 100][..], &[70_000]] {
        let placed = plan(&mut [agent("a", 9)], &with_ports(values), 1);
        assert_eq!(placed.waiting.unwrap().lacking, [(Lack::Ports, 1)], "{values:?}");
    }
}

#[test]
fn waiting_says_why() {
    let reason = |agents: &mut [Candidate], config: &JobConfig, count| {
        let waiting: Waiting = plan(agents, config, count).waiting.unwrap();
        assert_eq!(waiting.agents as usize, agents.len());
        (waiting.instances, waiting.reason)
    };
    assert_eq!(reason(&mut [], &config(), 3), (3, "no offers from any agent".to_owned()));

    let config = constrained("rack", Rule::Equal("r1".into()));
    let short_of_memory =
        Candidate { free: Resources { mem_mb: Milli(1), ..agent("f", 9).free }, ..agent("f", 9) };
    let short_of_memory = Candidate { record: in_rack("f", 9, "r1").record, ..short_of_memory };
    let mut agents = [
        in_rack("a", 0, "r1"),
        in_rack("b", 0, "r1"),
        // Lacks both: the constraint is named first.
        in_rack("c", 0, "r2"),
        agent("d", 9),
        in_rack("e", 2, "r1"),
        short_of_memory,
    ];
    let expected =
        "no agent of 6 fits one more: 3 lack cpus, 2 do not meet a constraint, 1 lacks mem";
    assert_eq!(reason(&mut agents, &config, 5), (3, expected.to_owned()));
    let expected = "no agent of 1 fits: 1 does not meet a constraint";
    assert_eq!(reason(&mut [agent("a", 1)], &config, 1), (1, expected.to_owned()));
}

#[test]
fn nothing_asked_is_nothing_placed() {
    assert_eq!(plan(&mut [agent("a", 1)], &config(), 0), Placed::default());
}
