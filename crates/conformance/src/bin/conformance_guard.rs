//! The guard of the simulated Mesos that the tests run in their own process: it ends the tasks'
//! processes if a test dies. It does nothing else.

fn main() {
    peloton_mesos_sim_server::supervise_if_asked();
}
