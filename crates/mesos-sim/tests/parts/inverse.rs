use crate::allocator::{ag, fw, with_roles};
use crate::build::*;
use peloton_mesos_sim::allocator::InverseAllocation;

#[test]
fn whoever_is_on_an_agent_that_will_be_unavailable_is_asked_to_leave() {
    let mut allocator = with_roles(&["a", "b"]);
    allocator.suppress(fw(1), &[]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    allocator.allocate(0);
    let ask = [InverseAllocation { framework: fw(0), agent: ag(0) }];
    allocator.update_unavailability(ag(0), true);
    assert!(allocator.is_pending());
    assert_eq!(allocator.allocate(1).inverse_offers, ask);
    assert_eq!(allocator.allocate(1_000).inverse_offers, [], "it has been asked");
    allocator.recover_inverse_offer(fw(0), ag(0), Some(5_000), 1_000);
    assert_eq!(allocator.allocate(2_000).inverse_offers, [], "it has answered");
    assert_eq!(allocator.allocate(7_000).inverse_offers, ask);
    allocator.recover_inverse_offer(fw(0), ag(0), Some(5_000), 7_000);
    allocator.revive(fw(0), &[]);
    assert_eq!(allocator.allocate(7_001).inverse_offers, ask, "REVIVE forgets answers");
    allocator.recover_inverse_offer(fw(0), ag(0), None, 7_001);
    allocator.update_unavailability(ag(0), false);
    assert_eq!(allocator.allocate(8_000).inverse_offers, []);
}

#[test]
fn an_inactive_framework_is_not_asked() {
    let mut allocator = with_roles(&["a"]);
    allocator.add_agent(ag(0), None, &cpus_mem(4.0, 64.0), &[]);
    allocator.allocate(0);
    allocator.deactivate_framework(fw(0));
    allocator.update_unavailability(ag(0), true);
    assert_eq!(allocator.allocate(1).inverse_offers, []);
    allocator.activate_framework(fw(0));
    assert_eq!(allocator.allocate(2).inverse_offers.len(), 1);
}
