//! The Mesos client: subscription, calls, re-connection, leader detection.
