//! Placement on fixed inputs: clusters of 10,000 and 50,000 agents in 20 sizes and 100 racks.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use peloton_model::job::{Constraint, PortConfig, ResourceConfig, Rule, Strategy};
use peloton_model::{AgentId, AgentRecord, JobConfig, Milli, PortSet, Resources};
use peloton_placement::{Candidate, Existing, Request, place};
use std::hint::black_box;
use std::sync::Arc;

/// Agents of 8 to 27 CPUs, sorted by id, as a shard holds them.
fn cluster(agents: u64) -> Vec<Candidate> {
    let agent = |i: u64| {
        let cpus = 8 + i % 20;
        let attributes = [
            ("rack".to_owned(), format!("rack-{}", i % 100)),
            ("zone".to_owned(), format!("zone-{}", i % 3)),
        ];
        Candidate {
            agent: AgentId::new(&format!("8f0c0b2e-6a4f-4f35-9d4e-0123456789ab-S{i:05}")),
            record: Arc::new(AgentRecord {
                host: format!("node-{i:05}.example.org").into(),
                attributes: attributes.into(),
                url: String::new(),
            }),
            free: Resources {
                cpus: Milli(cpus * 1000),
                mem_mb: Milli(cpus * 4_000_000),
                disk_mb: Milli(500_000_000),
                gpus: Milli(0),
            },
            ports: PortSet::from_ranges([(31000, 32000)]),
        }
    };
    (0..agents).map(agent).collect()
}

fn config(strategy: Strategy, constraints: &[(&str, Rule)]) -> JobConfig {
    let mut config = JobConfig {
        resource: ResourceConfig {
            cpus_limit: 1.0,
            mem_limit_mb: 2000.0,
            disk_limit_mb: 1000.0,
            ..Default::default()
        },
        ..Default::default()
    };
    config.placement.strategy = strategy;
    config.placement.constraints = constraints
        .iter()
        .map(|(attribute, rule)| Constraint { attribute: (*attribute).into(), rule: rule.clone() })
        .collect();
    config
}

fn run(c: &mut Criterion, name: &str, agents: u64, config: &JobConfig, count: u32, all: bool) {
    let cluster = cluster(agents);
    c.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || cluster.clone(),
            |candidates| {
                let placed = place(candidates, &Request { config, count, existing: &[] });
                assert_eq!(placed.waiting.is_none(), all, "{name}");
                black_box(placed)
            },
            BatchSize::PerIteration,
        );
    });
}

fn placement(c: &mut Criterion) {
    let spread = config(Strategy::Spread, &[]);
    let pack = config(Strategy::Pack, &[]);
    run(c, "spread/10000_on_10000", 10_000, &spread, 10_000, true);
    run(c, "pack/10000_on_10000", 10_000, &pack, 10_000, true);
    run(c, "spread/1_on_10000", 10_000, &spread, 1, true);
    run(c, "pack/1_on_10000", 10_000, &pack, 1, true);
    run(c, "spread/1_on_50000", 50_000, &spread, 1, true);
    run(c, "spread/10000_on_50000", 50_000, &spread, 10_000, true);

    let port = |name: &str| PortConfig { name: name.into(), ..Default::default() };
    let ports = JobConfig { ports: vec![port("http"), port("admin")], ..spread.clone() };
    run(c, "spread_2_ports/10000_on_10000", 10_000, &ports, 10_000, true);

    let zone = ("zone", Rule::In(vec!["zone-0".into(), "zone-1".into()]));
    let limited = [zone, ("rack", Rule::MaxPerValue(120)), ("hostname", Rule::MaxPerValue(2))];
    let limited = config(Strategy::Spread, &limited);
    run(c, "constraints/10000_on_10000", 10_000, &limited, 10_000, true);
    let unique = config(Strategy::Spread, &[("hostname", Rule::Unique)]);
    run(c, "unique_host/1_on_10000", 10_000, &unique, 1, true);

    let mut huge = spread.clone();
    huge.resource.cpus_limit = 64.0;
    run(c, "nothing_fits/10000_on_50000", 50_000, &huge, 10_000, false);
    one_more_of_many(c, &spread);
}

/// One instance of a job that has one on every agent already.
fn one_more_of_many(c: &mut Criterion, config: &JobConfig) {
    let cluster = cluster(10_000);
    let on = |c| {
        let Candidate { agent, record, .. }: &Candidate = c;
        Existing { agent, record: Some(&**record), count: 1 }
    };
    let existing: Vec<Existing<'_>> = cluster.iter().map(on).collect();
    c.bench_function("spread/1_more_beside_10000", |bencher| {
        bencher.iter_batched_ref(
            || cluster.clone(),
            |candidates| {
                black_box(place(candidates, &Request { config, count: 1, existing: &existing }))
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, placement);
criterion_main!(benches);
