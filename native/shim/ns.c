#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_proc(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = write_all(fd, text, strlen(text));
  int saved = errno;
  close(fd);
  errno = saved;
  return ok;
}

const char *make_namespaces(void) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  if (uid == 0) return unshare(CLONE_NEWNET) == 0 ? NULL : "cannot make a network namespace";
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return "cannot make a user namespace";
  // One line mapping the caller to itself is what an ordinary user may write; setgroups must be denied first (user_namespaces(7)).
  char map[64];
  if (!write_proc("/proc/self/setgroups", "deny")) return "cannot deny setgroups in the user namespace";
  snprintf(map, sizeof map, "%u %u 1\n", uid, uid);
  if (!write_proc("/proc/self/uid_map", map)) return "cannot map the uid in the user namespace";
  snprintf(map, sizeof map, "%u %u 1\n", gid, gid);
  if (!write_proc("/proc/self/gid_map", map)) return "cannot map the gid in the user namespace";
  return NULL;
}

static int open_ns(pid_t pid, const char *kind) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
  return open(path, O_RDONLY | O_CLOEXEC);
}

const char *join_namespaces(pid_t pid) {
  // Both are opened before the first join: in the user namespace the other's /proc entry may not be ours to read.
  int user = open_ns(pid, "user");
  int net = open_ns(pid, "net");
  if (user < 0 || net < 0) return "cannot open the namespaces of the network process";
  struct stat theirs, ours;
  // The pid may be another process's by now; in the host's own network a guest would reach what listens on the host's loopback.
  if (fstat(net, &theirs) != 0 || stat("/proc/self/ns/net", &ours) != 0) return "cannot compare network namespaces";
  if (theirs.st_ino == ours.st_ino) { errno = ESRCH; return "the network process is gone, or has no network namespace of its own"; }
  if (fstat(user, &theirs) != 0 || stat("/proc/self/ns/user", &ours) != 0) return "cannot compare user namespaces";
  // Joining the namespace one is in already is an error (setns(2)).
  if (theirs.st_ino != ours.st_ino && setns(user, CLONE_NEWUSER) != 0) return "cannot join the user namespace";
  if (setns(net, CLONE_NEWNET) != 0) return "cannot join the network namespace";
  close(user);
  close(net);
  return NULL;
}

int take_loopback_down(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, "lo", 3);
  int rc = ioctl(fd, SIOCGIFFLAGS, &request);
  if (rc == 0 && (request.ifr_flags & IFF_UP) != 0) {
    request.ifr_flags = (short)(request.ifr_flags & ~IFF_UP);
    rc = ioctl(fd, SIOCSIFFLAGS, &request);
  }
  int saved = errno;
  close(fd);
  errno = saved;
  return rc;
}
