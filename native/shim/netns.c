// Mode `netns`: this process holds the namespaces; slirp4netns, its child, stays in the host's and carries the packets.
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_SLIRP_OUTPUT = 64 * 1024, READY_FD = 3, EXIT_FD = 4, SPARE_FD = 8 };

struct netns_options { const char *mark, *pid_file, *status_file, *slirp, *mtu, *tun; };

static void parse(struct netns_options *o, int argc, char **argv) {
  for (int i = 0; i < argc; i += 2) {
    const char *name = argv[i];
    if (i + 1 >= argc) fail(EXIT_USAGE, "%s: value missing", name);
    const char *value = argv[i + 1];
    if (strcmp(name, "--mark") == 0) o->mark = value;
    else if (strcmp(name, "--pid-file") == 0) o->pid_file = value;
    else if (strcmp(name, "--status-file") == 0) o->status_file = value;
    else if (strcmp(name, "--slirp") == 0) o->slirp = value;
    else if (strcmp(name, "--tun-path") == 0) o->tun = value;
    else if (strcmp(name, "--mtu") == 0) { parse_number(name, value, 576, 65521); o->mtu = value; }
    else fail(EXIT_USAGE, "unknown option %s", name);
  }
  if (o->pid_file == NULL || o->status_file == NULL || o->slirp == NULL)
    fail(EXIT_USAGE, "--pid-file, --status-file and --slirp are required");
}

static void record(const struct netns_options *o, const char *status) {
  char text[256];
  snprintf(text, sizeof text, "%s\n", status);
  if (!write_file(o->status_file, text)) dprintf(2, "shim: cannot write %s: %s\n", o->status_file, strerror(errno));
}

struct slirp_fds { int go, ready, exit, output; };

static _Noreturn void run_slirp(const struct netns_options *o, struct slirp_fds fds, pid_t parent, bool root) {
  char pid[16], go;
  snprintf(pid, sizeof pid, "%d", (int)parent);
  // Nothing arrives when the parent could not make the namespaces.
  if (read(fds.go, &go, 1) != 1) _exit(EXIT_SETUP);
  reset_signals();
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (getppid() != parent) _exit(EXIT_SETUP);
  dup2(fds.output, 1);
  dup2(fds.output, 2);
  dup2(fds.ready, READY_FD);
  dup2(fds.exit, EXIT_FD);
  char mtu[32];
  snprintf(mtu, sizeof mtu, "--mtu=%s", o->mtu);
  const char *argv[16];
  size_t n = 0;
  argv[n++] = o->slirp;
  argv[n++] = "--configure";
  argv[n++] = mtu;
  argv[n++] = "--disable-host-loopback";
  argv[n++] = "--enable-seccomp";
  // Its sandbox is a mount namespace, which an ordinary user's slirp4netns cannot make outside the user namespace.
  if (root) argv[n++] = "--enable-sandbox";
  argv[n++] = "--ready-fd=3";
  argv[n++] = "--exit-fd=4";
  argv[n++] = pid;
  argv[n++] = "tap0";
  argv[n] = NULL;
  execvp(o->slirp, (char *const *)argv);
  dprintf(2, "%s: %s\n", o->slirp, strerror(errno));
  _exit(EXIT_EXEC);
}

static void make_pipe(int fds[2]) {
  if (pipe2(fds, O_CLOEXEC) != 0) fail(EXIT_SETUP, "pipe: %s", strerror(errno));
  for (int i = 0; i < 2; i++) {
    int moved = fcntl(fds[i], F_DUPFD_CLOEXEC, SPARE_FD);
    if (moved < 0) fail(EXIT_SETUP, "fcntl: %s", strerror(errno));
    close(fds[i]);
    fds[i] = moved;
  }
}

static void check_tun(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) fail(EXIT_SETUP, "cannot open %s: %s", path, strerror(errno));
  close(fd);
}

/// What slirp4netns says, up to a limit: a guest must not fill the host's disk with its complaints.
static bool copy_output(int fd, size_t *left) {
  char buffer[4096];
  ssize_t n = read(fd, buffer, sizeof buffer);
  if (n <= 0) return n < 0 && (errno == EINTR || errno == EAGAIN);
  size_t part = (size_t)n < *left ? (size_t)n : *left;
  if (write_all(2, buffer, part)) *left -= part;
  return true;
}

static bool read_signals(int signals) {
  struct signalfd_siginfo info;
  bool end = false;
  while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) end = true;
  return end;
}

static void record_ready(const struct netns_options *o, int fd) {
  char byte;
  if (read(fd, &byte, 1) != 1) return;
  // slirp4netns brings lo up; with it down the VMM's own user-mode network has no loopback to offer to a guest.
  if (take_loopback_down() != 0) dprintf(2, "shim: cannot take lo down: %s\n", strerror(errno));
  record(o, "slirp-ready");
}

static int supervise(const struct netns_options *o, pid_t slirp, int signals, int ready, int output) {
  struct pollfd fds[3] = { { signals, POLLIN, 0 }, { ready, POLLIN, 0 }, { output, POLLIN, 0 } };
  size_t left = MAX_SLIRP_OUTPUT;
  for (;;) {
    if (poll(fds, 3, -1) < 0 && errno != EINTR) return EXIT_SETUP;
    if (fds[1].revents != 0) { record_ready(o, ready); fds[1].fd = -1; }
    if (fds[2].revents != 0 && !copy_output(output, &left)) fds[2].fd = -1;
    if (fds[0].revents == 0) continue;
    bool end = read_signals(signals);
    if (end) kill(slirp, SIGKILL);
    int status;
    if (waitpid(slirp, &status, end ? 0 : WNOHANG) != slirp) continue;
    fcntl(output, F_SETFL, O_NONBLOCK);
    copy_output(output, &left);
    record(o, end ? "ended" : "slirp-died");
    return end ? 0 : EXIT_SETUP;
  }
}

int run_netns(int argc, char **argv) {
  struct netns_options options = { .mtu = "65520", .tun = "/dev/net/tun" };
  parse(&options, argc, argv);
  detach();
  if (options.mark != NULL) setenv("BANGER_MARK", options.mark, 1);
  check_tun(options.tun);
  int signals = open_signals();
  int go[2], ready[2], ending[2], output[2];
  make_pipe(go);
  make_pipe(ready);
  make_pipe(ending);
  make_pipe(output);
  bool root = geteuid() == 0;
  pid_t parent = getpid();
  // Forked before the namespaces are made, so that slirp4netns has the host's network.
  pid_t slirp = fork();
  if (slirp < 0) fail(EXIT_SETUP, "fork: %s", strerror(errno));
  if (slirp == 0) {
    close(go[1]);
    run_slirp(&options, (struct slirp_fds){ go[0], ready[1], ending[0], output[1] }, parent, root);
  }
  const char *problem = make_namespaces();
  if (problem != NULL) fail(EXIT_SETUP, "%s: %s", problem, strerror(errno));
  char text[32];
  snprintf(text, sizeof text, "%d\n", (int)parent);
  record(&options, "starting");
  if (!write_file(options.pid_file, text)) fail(EXIT_SETUP, "cannot write %s: %s", options.pid_file, strerror(errno));
  if (!write_all(go[1], "g", 1)) fail(EXIT_SETUP, "cannot start slirp4netns");
  close(go[0]);
  close(go[1]);
  close(ready[1]);
  close(output[1]);
  close(ending[0]); // ending[1] stays open: its end, however we end, tells slirp4netns to go
  announce("ready %d\n", (int)parent);
  return supervise(&options, slirp, signals, ready[0], output[0]);
}
