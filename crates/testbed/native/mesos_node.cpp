// A real Mesos 1.11.0 master, or one real agent, as a process of its own:
//
//   mesos_node master --work_dir=DIR        (one of several: MESOS_ZK and MESOS_QUORUM)
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
#include <filesystem>
#include <string>
#include <vector>

#include "libmesos.hpp"

using std::string;

namespace contender = mesos::master::contender;
namespace detector = mesos::master::detector;
namespace master = mesos::internal::master;
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

static string argumentOf(int argc, char** argv, const string& name) {
  const string start = "--" + name + "=";
  for (int i = 1; i < argc; i++) {
    const string argument = argv[i];
    if (argument.rfind(start, 0) == 0) return argument.substr(start.size());
  }
  return "";
}

// How long ZooKeeper keeps a place for a process that is not heard of.
static Duration sessionTimeout() {
  const char* given = std::getenv("TESTBED_ZK_SESSION_TIMEOUT_MS");
  const int64_t millis = given ? std::atoll(given) : 10000;
  return Duration(millis * 1000 * 1000);
}

// One of several masters that elect a leader: what the master's own program does with
// --zk, without modules, hooks, authorizers and limits. The library's local cluster
// knows no election.
static void runMasterOfSeveral(int argc, char** argv, const string& zk) {
  const string readonlyRealm = "mesos-master-readonly";
  const string workDir = argumentOf(argc, argv, "work_dir");
  const char* quorum = std::getenv("MESOS_QUORUM");
  const auto slash = zk.rfind('/');
  if (workDir.empty() || !quorum || zk.rfind("zk://", 0) != 0 || slash < 6) {
    std::fprintf(stderr, "mesos_node: needs --work_dir=DIR, MESOS_QUORUM=N, MESOS_ZK=zk://../..\n");
    std::exit(2);
  }
  std::filesystem::create_directories(workDir);
  process::initialize(string("master"), string("mesos-master-readwrite"), readonlyRealm);
  auto* flags = new master::Flags();
  load(flags, argc, argv, false);

  using Allocating = master::allocator::HierarchicalAllocatorProcess<
      master::allocator::DRFSorter, master::allocator::DRFSorter>;
  // Its one base comes first in it.
  auto* allocator = reinterpret_cast<mesos::allocator::Allocator*>(
      new master::allocator::MesosAllocator<Allocating>());
  using Authentication = Option<zookeeper::Authentication>;
  const string authority = zk.substr(5, slash - 5);
  const auto at = authority.rfind('@');
  const bool named = at != string::npos;
  const string servers = named ? authority.substr(at + 1) : authority;
  const Authentication authentication =
      named ? Authentication({"digest", authority.substr(0, at)}) : Authentication();
  auto* log = new mesos::log::Log(
      std::atoi(quorum), workDir + "/replicated_log", servers, sessionTimeout(),
      zk.substr(slash) + "/log_replicas", authentication, true, string("registrar/"));
  auto* state = new mesos::state::State(new mesos::state::LogStorage(log, 0));
  auto* registrar = new master::Registrar(*flags, state, readonlyRealm);
  auto* candidate = orExit(
      "contender", contender::MasterContender::create(zk, Option<string>(), sessionTimeout()));
  auto* leader = orExit(
      "master detector", detector::MasterDetector::create(zk, Option<string>(), sessionTimeout()));
  auto* files = new mesos::internal::Files(readonlyRealm, Option<mesos::Authorizer*>());
  auto* process = new master::Master(
      allocator, registrar, files, candidate, leader, Option<mesos::Authorizer*>(),
      Option<std::shared_ptr<process::RateLimiter>>(), *flags);
  process::spawn(upcast<process::ProcessBase>(process), false);
}

// What the agent's own program does, without what the testbed never uses:
// modules, hooks, cgroups, CSI, authorizers, domain sockets.
static void runAgent(int argc, char** argv) {
  const string id = "slave(1)";
  const string readonlyRealm = "mesos-agent-readonly";
  const string master = argumentOf(argc, argv, "master");
  const string workDir = argumentOf(argc, argv, "work_dir");
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
      detector::MasterDetector::create(master, Option<string>(), sessionTimeout()));
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
  const char* zk = std::getenv("MESOS_ZK");
  if (std::strcmp(role, "master") == 0 && zk) {
    runMasterOfSeveral(argc - 1, argv + 1, zk);
  } else if (std::strcmp(role, "master") == 0) {
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
