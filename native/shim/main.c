// Host-side supervisor of banger's long-lived helper processes. Outlives the daemon; knows nothing of VMs beyond its arguments.
//   shim vmm ...    runs a VMM: namespaces, privileges, bounded console log, record of its exit
//   shim netns ...  holds a user and network namespace and runs slirp4netns for it
#include "shim.h"

#include <string.h>

int main(int argc, char **argv) {
  if (argc >= 2 && strcmp(argv[1], "vmm") == 0) return run_vmm(argc - 2, argv + 2);
  if (argc >= 2 && strcmp(argv[1], "netns") == 0) return run_netns(argc - 2, argv + 2);
  fail(EXIT_USAGE, "usage: shim vmm|netns options");
}
