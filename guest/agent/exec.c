#define _GNU_SOURCE
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "environ.h"
#include "passwd.h"
#include "pty.h"
#include "util.h"

// What the child needs; all of it is made before the fork.
struct launch {
  const struct exec_request *request;
  struct account account;
  char **env;
  char *const *argv;
  const char *program;
  int stdio[3];
  int tty;
};

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

__attribute__((noreturn)) static void fail(int code, const char *what, const char *why) {
  char text[512];
  int n = snprintf(text, sizeof text, "banger: %.300s: %s\n", what, why);
  if (n > 0) write_all(2, text, (size_t)n);
  _exit(code);
}

static void become(const struct account *account) {
  if (geteuid() != 0 && account->uid == geteuid()) return;
  if (setgroups((size_t)account->group_count, account->groups) < 0 || setgid(account->gid) < 0 || setuid(account->uid) < 0)
    fail(126, account->name, strerror(errno));
}

static void enter_directory(const struct launch *l) {
  const char *wanted = l->request->cwd;
  if (wanted) {
    if (chdir(wanted) < 0) fail(126, wanted, strerror(errno));
  } else if (chdir(l->account.home) < 0 && chdir("/") < 0) {
    fail(126, "/", strerror(errno));
  }
}

__attribute__((noreturn)) static void child(const struct launch *l) {
  reset_signals();
  setsid();
  if (l->tty >= 0) ioctl(l->tty, TIOCSCTTY, 0);
  for (int i = 0; i < 3; i++)
    if (dup2(l->stdio[i], i) < 0) _exit(126);
  if (syscall(SYS_close_range, 3U, ~0U, 0U) < 0)
    for (int fd = 3; fd < 4096; fd++) close(fd);
  umask(022);
  reset_oom_score();
  become(&l->account);
  enter_directory(l);
  environ = l->env;
  execvp(l->program, l->argv);
  if (errno == ENOENT || errno == ENOTDIR) fail(127, l->program, "not found");
  fail(126, l->program, strerror(errno));
}

static bool open_pipes(struct stream *s, struct launch *l, int ours[3]) {
  const char *null = "/dev/null";
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (i == 0 && !l->request->stdin_open) {
      l->stdio[0] = open(null, O_RDONLY | O_CLOEXEC);
      if (l->stdio[0] < 0) return false;
      continue;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    l->stdio[i] = ends[i == 0 ? 0 : 1];
    ours[i] = ends[i == 0 ? 1 : 0];
    if (!set_nonblocking(ours[i])) return false;
  }
  (void)s;
  return true;
}

static bool open_terminal(struct launch *l, int ours[3]) {
  ours[1] = pty_open(&l->tty, l->request->cols, l->request->rows);
  if (ours[1] < 0) return false;
  ours[0] = fcntl(ours[1], F_DUPFD_CLOEXEC, 3);
  for (int i = 0; i < 3; i++) l->stdio[i] = l->tty;
  // The terminal belongs to who works on it.
  if (fchown(l->tty, l->account.uid, (gid_t)-1) < 0 && geteuid() == 0) say("terminal: %s", strerror(errno));
  return ours[0] >= 0;
}

static void close_child_ends(struct launch *l) {
  if (l->tty >= 0) {
    close(l->tty);
    return;
  }
  for (int i = 0; i < 3; i++) close_fd(&l->stdio[i]);
}

// The user's shell, told by its name's dash that it is a login shell.
static bool choose_program(struct launch *l, char *login[2], char name[300]) {
  if (l->request->arg_count > 0) {
    l->argv = l->request->argv;
    l->program = l->argv[0];
    return l->program[0] != 0;
  }
  const char *slash = strrchr(l->account.shell, '/');
  snprintf(name, 300, "-%s", slash ? slash + 1 : l->account.shell);
  login[0] = name;
  login[1] = NULL;
  l->argv = login;
  l->program = l->account.shell;
  return true;
}

static bool spawn(struct stream *s, struct launch *l, const char **error) {
  int ours[3] = {-1, -1, -1};
  bool ok = l->request->tty ? open_terminal(l, ours) : open_pipes(s, l, ours);
  pid_t pid = ok ? fork() : -1;
  if (pid == 0) child(l);
  int reason = errno;
  close_child_ends(l);
  if (pid < 0) {
    *error = ok ? "cannot start a process" : "cannot open pipes or a terminal";
    for (int i = 0; i < 3; i++) close_fd(&ours[i]);
    errno = reason;
    return false;
  }
  s->pid = pid;
  s->tty = l->request->tty;
  s->in_fd = ours[0];
  s->out[0].fd = ours[1];
  s->out[1].fd = ours[2];
  s->out[1].end_due = ours[2] < 0;
  if (s->tty && !l->request->stdin_open) close_fd(&s->in_fd);
  return true;
}

bool exec_start(struct stream *s, const struct exec_request *request, const struct config *config, const char **error) {
  struct launch l = {.request = request, .stdio = {-1, -1, -1}, .tty = -1};
  char *login[2], name[300];
  errno = ENOENT;
  // In a guest the agent is root; without the right to change user (its own tests) it runs everything as itself.
  char self[16] = "root";
  if (geteuid() != 0) snprintf(self, sizeof self, "%u", (unsigned)geteuid());
  if (!account_find(&l.account, request->user ? request->user : self, error)) return false;
  if (!choose_program(&l, login, name)) {
    errno = EINVAL;
    *error = "the command is empty";
    return false;
  }
  l.env = environ_build(request, config, &l.account);
  if (!l.env) {
    errno = ENOMEM;
    *error = "out of memory";
    return false;
  }
  bool ok = spawn(s, &l, error);
  int reason = errno;
  environ_free(l.env);
  errno = reason;
  return ok;
}
