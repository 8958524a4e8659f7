// A real Mesos 1.11.0 master, or one real agent, as a process of its own:
//
//   mesos_node master --work_dir=DIR
//   mesos_node agent --work_dir=DIR --master=HOST:PORT ...
//
// Flags are those that Mesos documents, as arguments or as MESOS_*; the address
// is LIBPROCESS_IP and LIBPROCESS_PORT. The process ends when its standard input
// does: whoever started it holds the other end, so that no Mesos outlives a
// starter that was killed.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "libmesos.hpp"

using std::string;

namespace detector = mesos::master::detector;
namespace slave = mesos::internal::slave;

template <class T> T* orExit(const char* what, const Try<T*>& made) {
  if (made.error.isSome()) {
    std::fprintf(stderr, "mesos_node: %s: %s\n", what, made.error.get().message.c_str());
    std::exit(1);
  }
  return made.data.get();
}

template <class F> static void load(F* own, int argc, char** argv, bool unknowns) {
  auto* flags = upcast<flags::FlagsBase>(own);
  auto loaded = flags->FlagsBase::load(string("MESOS_"), argc, argv, unknowns, false);
  if (loaded.error.isSome()) {
    std::fprintf(stderr, "mesos_node: %s\n", loaded.error.get().message.c_str());
    std::exit(2);
  }
}

// The library's local cluster with no agents in it: a master, with its registrar.
// The master takes its own flags from the environment.
static void runMaster(int argc, char** argv) {
  process::initialize(
      string("master"), string("mesos-master-readwrite"), string("mesos-master-readonly"));
  auto* flags = new mesos::internal::local::Flags();
  std::vector<char*> arguments(argv, argv + argc);
  char alone[] = "--num_slaves=0";
  arguments.push_back(alone);
  load(flags, static_cast<int>(arguments.size()), arguments.data(), false);
  mesos::internal::local::launch(*flags, nullptr);
}

// What the agent's own program does, without what the testbed never uses:
// modules, hooks, cgroups, CSI, authorizers, domain sockets.
static void runAgent(int argc, char** argv) {
  const string id = "slave(1)";
  const string readonlyRealm = "mesos-agent-readonly";
  string master, workDir;
  for (int i = 1; i < argc; i++) {
    const string argument = argv[i];
    if (argument.rfind("--master=", 0) == 0) master = argument.substr(9);
    if (argument.rfind("--work_dir=", 0) == 0) workDir = argument.substr(11);
  }
  if (master.empty() || workDir.empty()) {
    std::fprintf(stderr, "mesos_node: an agent needs --master=HOST:PORT and --work_dir=DIR\n");
    std::exit(2);
  }
  process::initialize(id, string("mesos-agent-readwrite"), readonlyRealm);
  auto* flags = new slave::Flags();
  load(flags, argc, argv, false);

  auto* fetcher = new slave::Fetcher(*flags);
  auto* gc = new slave::GarbageCollector(workDir);
  auto* resolver =
      orExit("secret resolver", mesos::SecretResolver::create(Option<string>()));
  auto* containerizer = orExit(
      "containerizer",
      slave::Containerizer::create(*flags, false, fetcher, gc, resolver, nullptr, nullptr, nullptr));
  auto* leader = orExit(
      "master detector",
      detector::MasterDetector::create(master, Option<string>(), Option<Duration>()));
  auto* files = new mesos::internal::Files(readonlyRealm, Option<mesos::Authorizer*>());
  auto* updates = new slave::TaskStatusUpdateManager(*flags);
  auto* estimator = orExit(
      "resource estimator", mesos::slave::ResourceEstimator::create(Option<string>()));
  auto* qos = orExit("QoS controller", mesos::slave::QoSController::create(Option<string>()));
  auto* agent = new slave::Slave(
      id, *flags, leader, containerizer, files, gc, updates, estimator, qos, nullptr, nullptr,
      nullptr, process::Owned<slave::CSIServer>(),
      Option<process::network::internal::Socket<process::network::unix::Address>>(),
      Option<mesos::Authorizer*>());
  process::spawn(upcast<process::ProcessBase>(agent), false);
}

int main(int argc, char** argv) {
  const char* role = argc > 1 ? argv[1] : "";
  if (std::strcmp(role, "master") == 0) {
    runMaster(argc - 1, argv + 1);
  } else if (std::strcmp(role, "agent") == 0) {
    runAgent(argc - 1, argv + 1);
  } else {
    std::fprintf(stderr, "usage: mesos_node master|agent --FLAG=VALUE ...\n");
    return 2;
  }
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}
