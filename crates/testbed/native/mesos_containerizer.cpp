// mesos-containerizer: the agent starts every executor through its `launch`.
//
// Runs the library's own launcher: environment, working directory, file
// operations and exec are Mesos's, nothing of it is imitated.
#include <cstdio>
#include <cstring>

#include "libmesos.hpp"

using mesos::internal::slave::MesosContainerizerLaunch;

int main(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "launch") != 0) {
    std::fprintf(stderr, "mesos-containerizer: only `launch` is supported\n");
    return 1;
  }
  auto* launch = new MesosContainerizerLaunch();
  auto* flags =
      upcast<flags::FlagsBase>(new (launch->room) MesosContainerizerLaunch::Flags());
  auto loaded = flags->FlagsBase::load(
      std::string("MESOS_CONTAINERIZER_"), argc - 1, argv + 1, false, false);
  if (loaded.error.isSome()) {
    std::fprintf(stderr, "mesos-containerizer: %s\n", loaded.error.get().message.c_str());
    return 1;
  }
  return launch->execute();
}
