#define _GNU_SOURCE
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "child.h"
#include "environ.h"
#include "passwd.h"
#include "port.h"
#include "pty.h"
#include "util.h"
#include "words.h"

// Where a child keeps the agent's own program while everything else is closed.
#define SELF_FD 3

// What the child needs; all of it is made before the fork.
struct launch {
  const struct exec_request *request;
  struct account account;
  char **env;
  // What to run when no shell is to, or where there is none; NULL for an interactive shell.
  char *const *argv;
  // How the user's shell is called; its first is NULL when it is not.
  char *shell[4], shell_name[260];
  // What was made for these two.
  char **own_argv, *own_line;
  // The agent's own program, or -1.
  int self;
  int stdio[3];
  int tty;
};

__attribute__((noreturn)) static void fail(int code, const char *what, const char *why) {
  char text[512];
  int n = snprintf(text, sizeof text, "banger: %.300s: %s\n", what, why);
  if (n > 0) write_all(2, text, (size_t)n);
  _exit(code);
}


static void enter_directory(const struct launch *l) {
  const char *wanted = l->request->cwd;
  if (wanted) {
    if (chdir(wanted) < 0) fail(126, wanted, strerror(errno));
  } else if (chdir(l->account.home) < 0 && chdir("/") < 0) {
    fail(126, "/", strerror(errno));
  }
}

__attribute__((noreturn)) static void fail_to_run(const char *program) {
  if (errno == ENOENT || errno == ENOTDIR) fail(127, program, "not found");
  fail(126, program, strerror(errno));
}

__attribute__((noreturn)) static void run_words(char *const *argv) {
  execvp(argv[0], argv);
  fail_to_run(argv[0]);
}

__attribute__((noreturn)) static void run_line(const char *line) {
  struct words words;
  const char *problem;
  if (words_split(&words, line, &problem)) {
    if (words.count == 0) _exit(0);
    run_words(words.list);
  }
  if (!problem) fail(126, line, "out of memory");
  char text[512];
  int n = snprintf(text, sizeof text, "banger: the guest has no shell for %s in: %.300s\n", problem, line);
  if (n > 0) write_all(2, text, (size_t)n);
  _exit(127);
}

__attribute__((noreturn)) static void run(const struct launch *l) {
  const char *shell = l->account.shell;
  if (l->self >= 0) {
    syscall(SYS_execveat, SELF_FD, "", l->argv, l->env, AT_EMPTY_PATH);
    fail(126, "agent", strerror(errno));
  }
  if (l->shell[0]) {
    execve(shell, l->shell, l->env);
    // Only what is wrong with the command would be wrong without a shell, too.
    if (errno == E2BIG || errno == ENOMEM || (!l->argv && !l->request->line)) fail_to_run(shell);
  }
  environ = l->env;
  if (l->request->line) run_line(l->request->line);
  run_words(l->argv);
}

__attribute__((noreturn)) static void child(const struct launch *l) {
  setsid();
  if (l->tty >= 0) ioctl(l->tty, TIOCSCTTY, 0);
  for (int i = 0; i < 3; i++)
    if (dup2(l->stdio[i], i) < 0) _exit(126);
  // It closes by itself when the program has begun; a number that it has already would not get that from dup3.
  if (l->self >= 0 && l->self != SELF_FD && dup3(l->self, SELF_FD, O_CLOEXEC) < 0) _exit(126);
  child_close_from(l->self >= 0 ? SELF_FD + 1 : SELF_FD);
  child_reset();
  if (!child_become(&l->account)) fail(126, l->account.name, strerror(errno));
  enter_directory(l);
  run(l);
}

static bool open_pipes(struct launch *l, int ours[3]) {
  const char *null = "/dev/null";
  const struct exec_request *r = l->request;
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (r->bulk && r->bulk_fd == i) {
      l->stdio[i] = port_open("banger.bulk");
      if (l->stdio[i] < 0) return false;
      continue;
    }
    if (i == 0 && !r->stdin_open) {
      l->stdio[0] = open(null, O_RDONLY | O_CLOEXEC);
      if (l->stdio[0] < 0) return false;
      continue;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    l->stdio[i] = ends[i == 0 ? 0 : 1];
    ours[i] = ends[i == 0 ? 1 : 0];
    if (!set_nonblocking(ours[i])) return false;
    // Room for a whole window, so that bulk data changes hands less often; an unprivileged agent may not be allowed it.
    if (i < 2) fcntl(ours[i], F_SETPIPE_SZ, STREAM_WINDOW);
  }
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

static bool choose_builtin(struct launch *l) {
  static char name[] = "agent";
  const struct exec_request *r = l->request;
  l->own_argv = calloc(r->arg_count + 2, sizeof *l->own_argv);
  if (!l->own_argv) return false;
  l->own_argv[0] = name;
  memcpy(l->own_argv + 1, r->argv, r->arg_count * sizeof *r->argv);
  l->argv = l->own_argv;
  // Opened by the agent: its user may not look at what root's process runs.
  l->self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
  return l->self >= 0;
}

// The user's shell: told by a dash before its name that it is a login shell.
static bool choose_shell(struct launch *l) {
  static char option[] = "-c";
  const struct exec_request *r = l->request;
  const char *shell = l->account.shell, *slash = strrchr(shell, '/');
  bool is_login = r->login || !r->line;
  snprintf(l->shell_name, sizeof l->shell_name, "%s%s", is_login ? "-" : "", slash ? slash + 1 : shell);
  if (r->arg_count > 0 && !(l->own_line = words_quote(r->argv))) return false;
  l->shell[0] = l->shell_name;
  if (!r->line && r->arg_count == 0) return true;
  l->shell[1] = option;
  l->shell[2] = r->line ? (char *)r->line : l->own_line;
  return true;
}

static bool choose_program(struct launch *l, const char **error) {
  const struct exec_request *r = l->request;
  bool has_words = r->arg_count > 0;
  if (has_words && r->argv[0][0] == 0) {
    errno = EINVAL;
    *error = "the command is empty";
    return false;
  }
  if (has_words) l->argv = r->argv;
  *error = "cannot run the agent's own program or a shell";
  if (r->builtin) return choose_builtin(l);
  return (has_words && !r->login) || choose_shell(l);
}

static bool make_environment(struct launch *l, const struct config *config, const char **error) {
  l->env = environ_build(l->request, config, &l->account);
  if (l->env) return true;
  errno = ENOMEM;
  *error = "out of memory";
  return false;
}

static void release(struct launch *l) {
  if (l->env) environ_free(l->env);
  free(l->own_argv);
  free(l->own_line);
  close_fd(&l->self);
}

static bool spawn(struct stream *s, struct launch *l, const char **error) {
  int ours[3] = {-1, -1, -1};
  bool ok = l->request->tty ? open_terminal(l, ours) : open_pipes(l, ours);
  pid_t pid = ok ? fork() : -1;
  if (pid == 0) child(l);
  int reason = errno;
  close_child_ends(l);
  if (pid < 0) {
    *error = ok ? "cannot start a process" : "cannot open pipes, a port or a terminal";
    for (int i = 0; i < 3; i++) close_fd(&ours[i]);
    errno = reason;
    return false;
  }
  s->pid = pid;
  s->tty = l->request->tty;
  s->in_fd = ours[0];
  s->out[0].fd = ours[1];
  s->out[1].fd = ours[2];
  s->out[0].end_due = ours[1] < 0;
  s->out[1].end_due = ours[2] < 0;
  if (s->tty && !l->request->stdin_open) close_fd(&s->in_fd);
  return true;
}

bool exec_start(struct stream *s, const struct exec_request *request, const struct config *config, const char **error) {
  struct launch l = {.request = request, .self = -1, .stdio = {-1, -1, -1}, .tty = -1};
  errno = ENOENT;
  if (!account_find(&l.account, request->user, error)) return false;
  bool ok = choose_program(&l, error) && make_environment(&l, config, error) && spawn(s, &l, error);
  int reason = errno;
  release(&l);
  errno = reason;
  return ok;
}
