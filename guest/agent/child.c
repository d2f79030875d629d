#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

static void reset_signals(void) {
  sigset_t none;
  struct sigaction standard = {.sa_handler = SIG_DFL};
  for (int number = 1; number < 65; number++) sigaction(number, &standard, NULL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void reset_oom_score(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, "0", 1) < 0) say("oom_score_adj: %s", strerror(errno));
  close(fd);
}

void child_reset(void) {
  reset_signals();
  umask(022);
  reset_oom_score();
}

void child_close_from(int first) {
  if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) < 0)
    for (int fd = first; fd < 4096; fd++) close(fd);
}

bool child_become(const struct account *account) {
  if (geteuid() != 0 && account->uid == geteuid()) return true;
  return setgroups((size_t)account->group_count, account->groups) == 0 && setgid(account->gid) == 0 && setuid(account->uid) == 0;
}
