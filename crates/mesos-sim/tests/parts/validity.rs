use crate::build::*;
use peloton_mesos_sim::resources::{Resources, validate_role};
use peloton_proto::mesos::v1;

fn error(resource: v1::Resource) -> String {
    Resources::from_proto(&[resource]).unwrap_err()
}

#[test]
#[allow(deprecated, reason = "the older form of reservations is validated, too")]
fn what_makes_no_sense_is_refused_in_the_words_of_mesos() {
    let nameless = scalar("", 1.0);
    let mut untyped = scalar("cpus", 1.0);
    untyped.r#type = 17;
    let mut valueless = scalar("cpus", 1.0);
    valueless.scalar = None;
    let mut no_role = scalar("cpus", 1.0).reserved("a");
    no_role.reservations[0].role = None;
    let mut both = scalar("cpus", 1.0).reserved("a");
    both.role = Some("b".to_owned());
    let mut star = scalar("cpus", 1.0);
    star.reservation = Some(Default::default());
    let cases = [
        (nameless, "Empty resource name"),
        (untyped, "Invalid resource type"),
        (valueless, "Invalid scalar resource"),
        (scalar("cpus", -1.0), "Invalid scalar resource: value <= 0"),
        (scalar("cpus", 0.000_1), "Invalid scalar resource: value <= 0"),
        (ports(&[(2, 1)]), "Invalid ranges resource: begin > end"),
        (ports(&[(1, 5), (5, 9)]), "Invalid ranges resource: overlapping ranges"),
        (set("zoo", &["a", "a"]), "Invalid set resource: duplicated elements"),
        (no_role, "Invalid reservation: 'Resource.ReservationInfo.role' field must be set."),
        (scalar("cpus", 1.0).reserved("*"), "Invalid reservation: role \"*\" cannot be reserved"),
        (
            scalar("cpus", 1.0).reserved("a").reserved("b"),
            "Invalid refined reservation: role 'b' is not a refinement of 'a'",
        ),
        (
            scalar("cpus", 1.0).reserved("a").static_for("a/b"),
            "Invalid refined reservation: A refined reservation cannot be STATIC",
        ),
        (
            both,
            "Invalid resource format: 'Resource.role' field with 'b' does not match the role 'a' in \
             'Resource.reservations'",
        ),
        (star, "Invalid reservation: role \"*\" cannot be dynamically reserved"),
        (scalar("cpus", 1.0).volume("v"), "DiskInfo should not be set for cpus resource"),
        (scalar("cpus", 1.0).shared(), "Resource cpus cannot be shared"),
        (scalar("disk", 1.0).shared(), "Only persistent volumes can be shared"),
    ];
    for (resource, words) in cases {
        let text = error(resource);
        assert!(text.ends_with(&format!("is invalid: {words}")), "{text}\n{words}");
        assert!(text.starts_with("Resource '"), "{text}");
    }
}

#[test]
fn nothing_is_valid_and_vanishes() {
    assert!(resources(&[scalar("cpus", 0.0), ports(&[])]).is_empty());
}

#[test]
fn roles_are_paths_of_plain_names() {
    for role in ["*", "a", "a/b/c", "peloton/7", "a.b", "ü"] {
        assert_eq!(validate_role(role), Ok(()));
    }
    let cases = [
        ("", "Role names cannot be the empty string"),
        ("/a", "Role '/a' cannot start with a slash"),
        ("a/", "Role 'a/' cannot end with a slash"),
        ("a//b", "Role 'a//b' cannot contain two adjacent slashes"),
        ("a/../b", "Role 'a/../b' cannot include '..' as a component"),
        ("a/*", "Role 'a/*' cannot include '*' as a component"),
        ("a/-b", "Role component '-b' is invalid because it starts with a dash"),
        ("a b", "Role component 'a b' is invalid because it contains backspace or whitespace"),
    ];
    for (role, words) in cases {
        assert_eq!(validate_role(role).unwrap_err(), words);
    }
}
