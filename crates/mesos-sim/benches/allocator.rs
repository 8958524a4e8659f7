//! Rounds of the allocator over 50,000 agents and 8 frameworks, each of which has 20 reservations of
//! its tasks' size spread over the agents, so that every agent has 20 different ones.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use peloton_mesos_sim::AgentIndex;
use peloton_mesos_sim::allocator::{
    Allocation, Allocator, AllocatorSettings, Capabilities, FrameworkKey, FrameworkOptions, Round,
};
use peloton_mesos_sim::operations::Conversion;
use peloton_mesos_sim::resources::{Reservation, Resources};
use peloton_proto::mesos::v1;
use std::hint::black_box;
use std::sync::Arc;

const AGENTS: u32 = 50_000;
const FRAMEWORKS: u32 = 8;
const SLOTS: u32 = 20;

fn role(framework: u32) -> Arc<str> {
    format!("peloton/{framework}").into()
}

/// Free resources, and those of 20 slots, each with a label of its own.
fn agent(index: u32) -> (Resources, Vec<(FrameworkKey, Arc<str>, Resources)>) {
    let mut total = Resources::scalars_of(&[("cpus", 12.0), ("mem", 64_000.0), ("disk", 1e6)]);
    let slot = Resources::scalars_of(&[("cpus", 1.0), ("mem", 1_000.0), ("disk", 100.0)]);
    let mut used = Vec::new();
    for number in 0..SLOTS {
        let framework = (index + number) % FRAMEWORKS;
        let label =
            v1::Label { key: "peloton.slot".to_owned(), value: Some(format!("{index}-{number}")) };
        let reserved = slot.push_reservation(&Reservation {
            dynamic: true,
            role: role(framework),
            principal: None,
            labels: Some(vec![label].into()),
        });
        total += &reserved;
        used.push((FrameworkKey(framework), role(framework), reserved));
    }
    (total, used)
}

/// A cluster where everybody has their slots, and the rest is free.
fn cluster() -> Allocator {
    let mut allocator = Allocator::new(AllocatorSettings::default(), 0);
    for key in 0..FRAMEWORKS {
        let options = FrameworkOptions {
            id: format!("framework-{key}").into(),
            roles: [role(key)].into(),
            capabilities: Capabilities { reservation_refinement: true, ..Default::default() },
            ..Default::default()
        };
        allocator.add_framework(FrameworkKey(key), options, true);
    }
    for index in 0..AGENTS {
        let (total, used) = agent(index);
        allocator.add_agent(AgentIndex(index), None, &total, &used);
    }
    allocator
}

/// Takes back what was offered, as frameworks do that decline everything.
fn decline(allocator: &mut Allocator, offers: &[Allocation], refuse_ms: u64, now_ms: u64) {
    for offer in offers {
        let (role, resources) = (&offer.role, &offer.resources);
        let refuse_ms = Some(refuse_ms);
        allocator.recover(offer.framework, role, offer.agent, resources, refuse_ms, now_ms);
    }
}

/// The next batch.
fn batch(allocator: &mut Allocator, now_ms: &mut u64) -> Round {
    *now_ms += 1_000;
    allocator.allocate(*now_ms)
}

fn quiet(c: &mut Criterion) {
    let mut suppressed = cluster();
    (0..FRAMEWORKS).for_each(|key| suppressed.suppress(FrameworkKey(key), &[]));
    let mut now_ms = 0;
    batch(&mut suppressed, &mut now_ms);
    c.bench_function("batch_all_suppressed", |bencher| {
        bencher.iter(|| black_box(batch(&mut suppressed, &mut now_ms)));
    });

    let mut satisfied = cluster();
    let offered = batch(&mut satisfied, &mut now_ms).offers.len();
    assert_eq!(offered, AGENTS as usize, "everybody has something");
    c.bench_function("batch_all_satisfied", |bencher| {
        bencher.iter(|| black_box(batch(&mut satisfied, &mut now_ms)));
    });

    let mut refused = cluster();
    let mut start_ms = 0;
    for _ in 0..FRAMEWORKS {
        let offers = batch(&mut refused, &mut start_ms).offers;
        decline(&mut refused, &offers, u64::MAX / 2, start_ms);
    }
    c.bench_function("batch_all_refused", |bencher| {
        bencher.iter(|| black_box(batch(&mut refused, &mut start_ms)));
    });
    c.bench_function("revive_of_one_and_decline_of_all", |bencher| {
        bencher.iter(|| {
            refused.revive(FrameworkKey(3), &[]);
            let offers = refused.allocate(start_ms).offers;
            assert_eq!(offers.len(), AGENTS as usize);
            decline(&mut refused, &offers, u64::MAX / 2, start_ms);
        });
    });
}

fn busy(c: &mut Criterion) {
    let mut allocator = cluster();
    let mut now_ms = 0;
    let mut group = c.benchmark_group("busy");
    group.sample_size(10);
    group.bench_function("batch_all_free", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let offers = batch(&mut allocator, &mut now_ms).offers;
                assert_eq!(offers.len(), AGENTS as usize);
                // Part of the measurement, as the allocator cannot be cloned.
                decline(&mut allocator, &offers, 0, now_ms);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// RESERVE for one task on an agent with 20 reservations, and all of it undone.
fn operations(c: &mut Criterion) {
    let mut allocator = cluster();
    let offer = batch(&mut allocator, &mut 0).offers.remove(0);
    let reservation =
        Reservation { dynamic: true, role: Arc::clone(&offer.role), principal: None, labels: None };
    let task = Resources::scalars_of(&[("cpus", 1.0), ("mem", 1_000.0)]);
    let reserved = task.push_reservation(&reservation);
    let there = [Conversion::new(task.clone(), reserved.clone())];
    let back = [Conversion::new(reserved, task)];
    let after = there[0].apply(&offer.resources, None);
    let after = after.unwrap_or_default();
    let (framework, role, agent) = (offer.framework, &offer.role, offer.agent);
    c.bench_function("reserve_and_unreserve", |bencher| {
        bencher.iter(|| {
            let done =
                allocator.update_allocation(framework, role, agent, &offer.resources, &there);
            assert_eq!(done, Ok(()));
            let done = allocator.update_allocation(framework, role, agent, &after, &back);
            assert_eq!(done, Ok(()));
        });
    });
}

criterion_group!(benches, quiet, busy, operations);
criterion_main!(benches);
