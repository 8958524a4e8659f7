use crate::build::*;
use peloton_mesos_sim::resources::{Resources, display_proto, downgrade, upgrade};

#[test]
fn resources_read_like_those_of_mesos() {
    let full = scalar("disk", 2048.0)
        .on_mount("/mnt/1")
        .static_for("peloton")
        .with(reservation("peloton/7", Some("me"), Some(("slot", "3"))))
        .volume("v1")
        .shared()
        .allocated("peloton/7");
    let cases = [
        (scalar("cpus", 0.1), "cpus:0.1"),
        (scalar("mem", 128.0), "mem:128"),
        (scalar("mem", 1_234_567.125), "mem:1234567.125"),
        (ports(&[(31_000, 31_099), (31_200, 31_200)]), "ports:[31000-31099, 31200-31200]"),
        (set("zoo", &["b", "a"]), "zoo:{b, a}"),
        (scalar("cpus", 1.0).reserved("a"), "cpus(reservations: [(DYNAMIC,a)]):1"),
        (
            full,
            "disk(allocated: peloton/7)(reservations: [(STATIC,peloton),\
             (DYNAMIC,peloton/7,me,{slot: 3})])[MOUNT:/mnt/1,v1:data]<SHARED>:2048",
        ),
    ];
    for (resource, text) in cases {
        assert_eq!(display_proto(&resource), text);
    }
}

#[test]
fn lists_are_in_the_order_of_insertion() {
    let list = resources(&[scalar("mem", 1.0), scalar("cpus", 0.5), scalar("mem", 2.0)]);
    assert_eq!(list.to_string(), "mem:3; cpus:0.5");
    assert_eq!(list.display(Some("a")), "mem(allocated: a):3; cpus(allocated: a):0.5");
    assert_eq!(Resources::new().to_string(), "{}");
}

#[test]
#[allow(deprecated, reason = "the older form is what is tested")]
fn the_older_form_of_reservations_is_read_and_written() {
    let mut dynamic = scalar("cpus", 1.0).with(reservation("a", Some("p"), Some(("k", "v"))));
    let mut fixed = scalar("cpus", 1.0).static_for("a");
    let mut free = scalar("cpus", 1.0);
    for resource in [&mut dynamic, &mut fixed, &mut free] {
        let before = resource.clone();
        let mut older = [resource.clone()];
        downgrade(&mut older);
        let [mut older] = older;
        assert!(older.reservations.is_empty() && older.role.is_some());
        assert_eq!(resources(&[older.clone()]), resources(std::slice::from_ref(&before)));
        upgrade(&mut older);
        assert_eq!(older, before);
    }
    let mut refined = [scalar("cpus", 1.0).reserved("a").reserved("a/b")];
    downgrade(&mut refined);
    assert_eq!(refined[0].reservations.len(), 2, "there is no older form of this");
}
