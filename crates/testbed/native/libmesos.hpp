// The few declarations of libmesos 1.11.0 that the testbed calls.
//
// The library in the PyPI package exports its C++ symbols but comes without
// headers. Only what the linker and the ABI need is stated here: names and
// parameter types (they make the mangled symbol), base classes (an upcast to a
// virtual base reads its offset from the object's own vtable), and enough room
// for the objects that we construct ourselves (`Opaque`). Nothing here is ever
// defined by us, except the small value types, whose layout is the library's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

// More than any class below needs; the constructors write only what is theirs.
constexpr std::size_t ROOM = 64 * 1024;

template <class T> class Option {
 public:
  Option() : state(NONE) {}
  Option(const T& value) : state(SOME) { new (&some) T(value); }
  Option(const Option& that) : state(that.state) { if (isSome()) new (&some) T(that.some); }
  ~Option() { if (isSome()) some.~T(); }
  bool isSome() const { return state == SOME; }
  const T& get() const { return some; }

 private:
  enum State { SOME, NONE };
  State state;
  union { T some; };
};

class Error {
 public:
  std::string message;
};

// The result of the `create` functions; returned through memory.
template <class T> class Try {
 public:
  Option<T> data;
  Option<Error> error;
};

class Duration {
 public:
  explicit Duration(int64_t value) : nanos(value) {}

 private:
  int64_t nanos;
};

namespace zookeeper {
struct Authentication {
  std::string scheme, credentials;
};
}  // namespace zookeeper

// An upcast to a virtual base that looks it up in the object. Where the compiler
// sees the object being made it would take the offset from our declaration, which
// lacks the members; hence the attribute.
template <class Base, class Derived>
__attribute__((noipa)) Base* upcast(Derived* derived) { return derived; }

namespace flags {
class FlagsBase {
 public:
  virtual ~FlagsBase();

  struct Warnings {
    std::vector<Error> warnings;
  };

  // Reads `--name=value` arguments and PREFIX_NAME environment variables.
  virtual Try<Warnings> load(
      const Option<std::string>& prefix, int argc, const char* const* argv, bool unknowns,
      bool duplicates);

 private:
  // Some member: an empty base would be laid out, and found, in another way.
  char member[8];
};
}  // namespace flags

namespace process {
class ProcessBase {
 public:
  virtual ~ProcessBase();

 private:
  char member[8];
};
template <class T> class Process : public virtual ProcessBase {};
template <class T> class Owned {
  std::shared_ptr<void> data;
};
class UPID {
 public:
  ~UPID() {}

 private:
  char room[512];
};
class RateLimiter;
namespace network {
namespace unix { class Address; }
namespace internal {
template <class A> class Socket { std::shared_ptr<void> implementation; };
}
}  // namespace network

bool initialize(
    const Option<std::string>& delegate, const Option<std::string>& readwriteRealm,
    const Option<std::string>& readonlyRealm);
UPID spawn(ProcessBase* process, bool manage);
}  // namespace process

template <class T> class ProtobufProcess : public process::Process<T> {};

namespace mesos {
class Authorizer;
class SecretGenerator;
class SecretResolver {
 public:
  static Try<SecretResolver*> create(const Option<std::string>& module);
};

namespace allocator { class Allocator; }

namespace slave {
class ResourceEstimator {
 public:
  static Try<ResourceEstimator*> create(const Option<std::string>& type);
};
class QoSController {
 public:
  static Try<QoSController*> create(const Option<std::string>& type);
};
}  // namespace slave

namespace master {
namespace detector {
class MasterDetector {
 public:
  static Try<MasterDetector*> create(
      const Option<std::string>& master, const Option<std::string>& module,
      const Option<Duration>& zkSessionTimeout);
};
}  // namespace detector

namespace contender {
class MasterContender {
 public:
  static Try<MasterContender*> create(
      const Option<std::string>& zk, const Option<std::string>& module,
      const Option<Duration>& zkSessionTimeout);
};
}  // namespace contender
}  // namespace master

namespace log {
class Log {
 public:
  Log(int quorum, const std::string& path, const std::string& servers, const Duration& timeout,
      const std::string& znode, const Option<zookeeper::Authentication>& authentication,
      bool initialize, const Option<std::string>& metricsPrefix);

 private:
  char room[ROOM];
};
}  // namespace log

namespace state {
class LogStorage {
 public:
  LogStorage(log::Log* log, std::size_t diffsBetweenSnapshots);

 private:
  char room[ROOM];
};

// Defined in a header of Mesos and not exported: laid out here, and made by us.
class State {
 public:
  explicit State(LogStorage* storage) : storage(storage) {}
  virtual ~State() {}

 private:
  LogStorage* storage;
};
}  // namespace state

namespace internal {
class PendingFutureTracker;

class Files {
 public:
  Files(const Option<std::string>& realm, const Option<Authorizer*>& authorizer);

 private:
  char room[ROOM];
};

namespace logging {
class Flags : public virtual flags::FlagsBase {
  char member[8];
};
}  // namespace logging

namespace master {
class Flags : public virtual logging::Flags {
 public:
  Flags();

 private:
  char room[ROOM];
};

class Registrar {
 public:
  Registrar(const Flags& flags, state::State* state, const Option<std::string>& realm);

 private:
  char room[ROOM];
};

namespace allocator {
class DRFSorter;
template <class RoleSorter, class FrameworkSorter> class HierarchicalAllocatorProcess;

template <class Process> class MesosAllocator {
 public:
  MesosAllocator();

 private:
  char room[ROOM];
};
}  // namespace allocator

class Master : public ProtobufProcess<Master> {
 public:
  Master(
      mesos::allocator::Allocator* allocator, Registrar* registrar, Files* files,
      mesos::master::contender::MasterContender* contender,
      mesos::master::detector::MasterDetector* detector, const Option<Authorizer*>& authorizer,
      const Option<std::shared_ptr<process::RateLimiter>>& limiter, const Flags& flags);

 private:
  char room[ROOM];
};
}  // namespace master

namespace local {
class Flags : public virtual logging::Flags {
 public:
  Flags();

 private:
  char room[ROOM];
};

// PID<Master>; returned through memory, as it has a destructor.
class MasterPid {
 public:
  ~MasterPid() {}

 private:
  char room[512];
};

MasterPid launch(const Flags& flags, allocator::Allocator* allocator);
}  // namespace local

namespace slave {
class CSIServer;
class VolumeGidManager;
class Containerizer;

class Flags : public virtual logging::Flags {
 public:
  Flags();

 private:
  char room[ROOM];
};

class Fetcher {
 public:
  explicit Fetcher(const Flags& flags);

 private:
  char room[ROOM];
};

class GarbageCollector {
 public:
  explicit GarbageCollector(const std::string& workDir);

 private:
  char room[ROOM];
};

class TaskStatusUpdateManager {
 public:
  explicit TaskStatusUpdateManager(const Flags& flags);

 private:
  char room[ROOM];
};

class Containerizer {
 public:
  static Try<Containerizer*> create(
      const Flags& flags, bool local, Fetcher* fetcher, GarbageCollector* gc,
      SecretResolver* resolver, VolumeGidManager* gids, PendingFutureTracker* futures,
      CSIServer* csi);
};

class Slave : public ProtobufProcess<Slave> {
 public:
  Slave(
      const std::string& id, const Flags& flags, mesos::master::detector::MasterDetector* detector,
      Containerizer* containerizer, Files* files, GarbageCollector* gc,
      TaskStatusUpdateManager* updates, mesos::slave::ResourceEstimator* estimator,
      mesos::slave::QoSController* qos, SecretGenerator* secrets, VolumeGidManager* gids,
      PendingFutureTracker* futures, process::Owned<CSIServer>&& csi,
      const Option<process::network::internal::Socket<process::network::unix::Address>>& socket,
      const Option<Authorizer*>& authorizer);

 private:
  char room[ROOM];
};

// The program behind `mesos-containerizer launch`. Its constructor is not
// exported, so the object is laid out by hand: table of virtual functions,
// name, a FlagsBase of its base class, then its own flags.
struct MesosContainerizerLaunch {
  struct Flags : public virtual flags::FlagsBase {
    Flags();

   private:
    char room[ROOM];
  };

  void* virtuals = nullptr;
  std::string name = "launch";
  alignas(8) char base[184] = {};
  alignas(16) char room[2 * ROOM] = {};

  int execute();
};
static_assert(offsetof(MesosContainerizerLaunch, room) == 0xE0, "libmesos puts its flags there");
}  // namespace slave
}  // namespace internal
}  // namespace mesos
