// `agent keep`: runs a command that goes on without anybody, and keeps its output and end. The host runs it by EXEC with `builtin`, so
// it already is the user, in the command's directory, with its environment. The keeper is a process of its own session: neither the
// end of the host's session nor that of the agent reaches it.
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"
#include "words.h"

// The command has ended, but something it left behind holds its output open: so long silence ends the keeping.
#define DRAIN_MS 200
#define OWN_FAILURE 125

struct keep_options {
  const char *dir, *id;
  size_t limit;
  bool login;
  char **words;
};

struct keeper {
  int base, dir, report, signals, out[2];
  pid_t pid;
  bool ended;
  struct keep_state state;
  struct keep_log log;
};

static int failure(const char *what, const char *why) {
  fprintf(stderr, "banger: %s: %s\n", what, why);
  return OWN_FAILURE;
}

void keep_prepare(void) {
  // Sticky, as /tmp: everybody may keep commands there, nobody may remove another's.
  if (mkdir(KEEP_DIR, 0700) < 0 && errno != EEXIST) {
    say("cannot make %s: %s", KEEP_DIR, strerror(errno));
    return;
  }
  int fd = open(KEEP_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fchmod(fd, 01777) < 0) say("cannot open %s to all: %s", KEEP_DIR, strerror(errno));
  close_fd(&fd);
}

// ---- the command --------------------------------------------------------------------------------------------------------------------

// Through the user's shell as a login shell; where there is none, the words by themselves.
static void exec_words(const struct keep_options *o) {
  const char *shell = getenv("SHELL");
  char name[256];
  if (o->login && shell && access(shell, X_OK) == 0) {
    const char *slash = strrchr(shell, '/');
    snprintf(name, sizeof name, "-%s", slash ? slash + 1 : shell);
    char *line = words_quote(o->words);
    if (line) execl(shell, name, "-c", line, (char *)NULL);
  }
  execvp(o->words[0], o->words);
}

__attribute__((noreturn)) static void command(const struct keep_options *o, const int out[2], int report) {
  sigset_t none;
  setsid();
  signal(SIGPIPE, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (dup2(out[0], 1) < 0 || dup2(out[1], 2) < 0) _exit(OWN_FAILURE);
  exec_words(o);
  int reason = errno;
  if (write(report, &reason, sizeof reason) < 0) _exit(OWN_FAILURE);
  _exit(127);
}

// 0, or the reason why the command does not run.
static int start(struct keeper *k, const struct keep_options *o) {
  int ends[2][2], report[2], reason = 0;
  for (int i = 0; i < 2; i++)
    if (pipe2(ends[i], O_CLOEXEC) < 0 || !set_nonblocking(ends[i][0])) return errno;
  if (pipe2(report, O_CLOEXEC) < 0) return errno;
  k->pid = fork();
  if (k->pid == 0) command(o, (int[]){ends[0][1], ends[1][1]}, report[1]);
  if (k->pid < 0) return errno;
  close(report[1]);
  for (int i = 0; i < 2; i++) {
    close(ends[i][1]);
    k->out[i] = ends[i][0];
  }
  // The end of this pipe is the command's beginning.
  ssize_t n = read(report[0], &reason, sizeof reason);
  close(report[0]);
  return n == (ssize_t)sizeof reason ? reason : 0;
}

// ---- the keeper ---------------------------------------------------------------------------------------------------------------------

static bool take_output(struct keeper *k, int channel) {
  uint8_t data[KEEP_CHUNK];
  ssize_t n = read(k->out[channel], data, sizeof data);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n > 0)
    keep_log_put(&k->log, (uint8_t)channel, data, (size_t)n);
  else
    close_fd(&k->out[channel]);
  return n > 0;
}

static void take_end(struct keeper *k) {
  struct signalfd_siginfo info;
  int status;
  while (read(k->signals, &info, sizeof info) == (ssize_t)sizeof info) continue;
  if (k->ended || waitpid(k->pid, &status, WNOHANG) != k->pid) return;
  k->ended = true;
  k->state.signal = WIFSIGNALED(status) ? (unsigned)WTERMSIG(status) : 0;
  k->state.code = WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 0;
}

// Until the command has ended and its output has, or is silent.
static void keep_output(struct keeper *k) {
  while (!k->ended || k->out[0] >= 0 || k->out[1] >= 0) {
    struct pollfd fds[] = {{.fd = k->out[0], .events = POLLIN}, {.fd = k->out[1], .events = POLLIN}, {.fd = k->signals, .events = POLLIN}};
    int ready = poll(fds, 3, k->ended ? DRAIN_MS : -1);
    if (ready == 0) return;
    if (ready < 0) continue;
    for (int i = 0; i < 2; i++)
      if (fds[i].revents) take_output(k, i);
    if (fds[2].revents) take_end(k);
  }
}

static void write_end(struct keeper *k) {
  k->state.ended = keep_now();
  k->state.bytes = k->log.bytes;
  k->state.dropped = k->log.dropped;
  if (!keep_state_write(k->dir, &k->state)) say("the end of a kept command could not be written: %s", strerror(errno));
}

static bool detach(struct keeper *k) {
  sigset_t set;
  setsid();
  signal(SIGPIPE, SIG_IGN);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < 3; i++)
    if (null < 0 || dup2(null, i) < 0) return false;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  k->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  return k->signals >= 0;
}

__attribute__((noreturn)) static void keeper(struct keeper *k, const struct keep_options *o) {
  bool ready = detach(k) && keep_log_open(&k->log, k->dir, o->limit) && keep_state_reserve(k->dir);
  int reason = ready ? start(k, o) : errno;
  k->state.pid = k->pid;
  if (reason == 0 && !(keep_state_write(k->dir, &k->state) && keep_state_reserve(k->dir))) reason = errno;
  if (reason != 0) keep_remove(k->base, o->id);
  // Nobody may be left to hear it: the command runs all the same, and is in the list.
  write_all(k->report, &reason, sizeof reason);
  close(k->report);
  if (reason != 0 && k->pid > 0) kill(-k->pid, SIGKILL);
  if (reason != 0) _exit(OWN_FAILURE);
  keep_output(k);
  write_end(k);
  keep_prune(k->base);
  _exit(0);
}

// Waits until the command runs, or until it is known why not.
static int await_start(int report, const char *program) {
  int reason = EIO;
  if (read(report, &reason, sizeof reason) != (ssize_t)sizeof reason) reason = EIO;
  if (reason == 0) return 0;
  bool missing = reason == ENOENT || reason == ENOTDIR;
  failure(program, missing ? "not found" : strerror(reason));
  return missing ? 127 : 126;
}

static int run(int base, const struct keep_options *o) {
  struct keeper k = {.base = base, .out = {-1, -1}};
  int report[2];
  keep_prune(base);
  if (mkdirat(base, o->id, 0700) < 0) return failure(o->id, strerror(errno));
  k.dir = keep_open(base, o->id);
  int lock = k.dir >= 0 ? keep_lock(k.dir) : -1;
  if (lock < 0 || pipe2(report, O_CLOEXEC) < 0) return failure(o->id, strerror(errno));
  k.state.started = keep_now();
  keep_command_text(k.state.command, o->words);
  k.report = report[1];
  pid_t pid = fork();
  if (pid < 0) return failure("cannot start a process", strerror(errno));
  if (pid == 0) {
    close(report[0]);
    keeper(&k, o);
  }
  close(report[1]);
  return await_start(report[0], o->words[0]);
}

// ---- the command line ---------------------------------------------------------------------------------------------------------------

static int usage(void) {
  fprintf(stderr, "usage: agent keep [--dir DIR] run [--limit BYTES] [--login] ID -- WORD... | logs [--follow] ID | list | prune\n");
  return 2;
}

static int run_words(int base, struct keep_options *o, char **words) {
  for (; *words && strncmp(*words, "--", 2) == 0 && strcmp(*words, "--") != 0; words++) {
    if (strcmp(*words, "--login") == 0)
      o->login = true;
    else if (strcmp(*words, "--limit") == 0 && words[1])
      o->limit = strtoul(*++words, NULL, 10);
    else
      return usage();
  }
  if (!words[0] || !words[1] || !words[2] || strcmp(words[1], "--") != 0 || !keep_is_id(words[0])) return usage();
  if (o->limit < 1024 || o->limit > 1u << 30) return usage();
  o->id = words[0];
  o->words = words + 2;
  return run(base, o);
}

int keep_main(int argc, char **argv) {
  (void)argc;
  struct keep_options o = {.dir = KEEP_DIR, .limit = KEEP_LIMIT};
  char **words = argv + 1;
  if (words[0] && strcmp(words[0], "--dir") == 0 && words[1]) {
    o.dir = words[1];
    words += 2;
  }
  if (!words[0]) return usage();
  int base = open(o.dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (base < 0) return failure(o.dir, strerror(errno));
  if (strcmp(words[0], "run") == 0) return run_words(base, &o, words + 1);
  if (strcmp(words[0], "list") == 0 && !words[1]) return keep_list(base);
  if (strcmp(words[0], "prune") == 0 && !words[1]) {
    keep_prune(base);
    return 0;
  }
  bool follow = words[1] && strcmp(words[1], "--follow") == 0;
  if (strcmp(words[0], "logs") == 0 && words[1 + follow] && !words[2 + follow]) return keep_read(base, words[1 + follow], follow);
  return usage();
}
