// Starting the daemon, when ssh is what is called first.
#define _GNU_SOURCE
#include "proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_LIMIT_MS = 30000 };

static _Noreturn void run_launcher(const struct proxy_options *options, const sigset_t *mask) {
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, mask, NULL);
  // Our stdin and stdout are ssh's; a word on them would break the connection.
  int null = open("/dev/null", O_RDWR);
  if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0) _exit(126);
  if (null > 2) close(null);
  for (size_t i = 0; i < options->env_count; i++) putenv(options->env[i]);
  char *const argv[] = { (char *)options->launcher, "daemon", "start", NULL };
  execv(options->launcher, argv);
  _exit(errno == ENOENT ? 127 : 126);
}

/// Whether the child ended within the limit. SIGCHLD is blocked.
static bool wait_for(pid_t pid, int *status, const sigset_t *child_signal) {
  int64_t deadline = now_ms() + START_LIMIT_MS;
  for (;;) {
    pid_t ended = waitpid(pid, status, WNOHANG);
    if (ended == pid) return true;
    if (ended < 0 && errno != EINTR) fail("cannot wait for the daemon's start: %s", strerror(errno));
    int64_t left = deadline - now_ms();
    if (left <= 0) return false;
    struct timespec span = { (time_t)(left / 1000), (long)(left % 1000) * 1000000 };
    sigtimedwait(child_signal, NULL, &span);
  }
}

void start_daemon(const struct proxy_options *options) {
  sigset_t child_signal, before;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  // Blocked, and not ignored as a caller may have left it: then there would be no status to wait for.
  signal(SIGCHLD, SIG_DFL);
  sigprocmask(SIG_BLOCK, &child_signal, &before);
  pid_t pid = fork();
  if (pid < 0) fail("cannot start the daemon: %s", strerror(errno));
  if (pid == 0) run_launcher(options, &before);
  int status = 0;
  if (!wait_for(pid, &status, &child_signal)) {
    kill(pid, SIGTERM);
    fail("the daemon did not start within %d s", START_LIMIT_MS / 1000);
  }
  sigprocmask(SIG_SETMASK, &before, NULL);
  // The launcher has said why on stderr, unless there is none.
  if (WIFEXITED(status) && WEXITSTATUS(status) >= 126) fail("the daemon is not running, and %s cannot be run to start it", options->launcher);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) exit(EXIT_PROXY);
}
