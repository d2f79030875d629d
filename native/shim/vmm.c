// Mode `vmm`: one VMM process, its namespaces, privileges, console log and end.
//
//   shim ── fork ── child: namespaces, privileges, exec VMM
//     │ stdout and stderr pipe ──> bounded log of this boot, and the client of the console
//     │ stdin pipe <── the client of the console
//     │ QEMU's events ──> a log for the next boot; after a kernel panic, the end of the VMM
//     └ waits; writes the exit file; ends with the VMM's status
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_LISTEN = 4, FIRST_LISTEN_FD = 3, MAX_HANDED = MAX_LISTEN + 1, FIXED_POLLS = 4 };

struct vmm_options {
  const char *mark, *netns, *netns_pid_file, *log_dir, *exit_file, *pid_file, *console;
  const char *listen[MAX_LISTEN];
  size_t listen_count;
  struct log_limits log;
  bool has_uid, has_group, qmp_events;
  uid_t uid;
  gid_t group;
  char **command;
};

static void parse_option(struct vmm_options *o, const char *name, const char *value) {
  if (strcmp(name, "--mark") == 0) o->mark = value;
  else if (strcmp(name, "--netns-pid-file") == 0) o->netns_pid_file = value;
  else if (strcmp(name, "--netns") == 0) o->netns = value;
  else if (strcmp(name, "--log-dir") == 0) o->log_dir = value;
  else if (strcmp(name, "--log-max") == 0) o->log.max = parse_number(name, value, 8192, 1UL << 40);
  else if (strcmp(name, "--log-keep") == 0) o->log.keep = parse_number(name, value, 1, 1000);
  else if (strcmp(name, "--console") == 0) o->console = value;
  else if (strcmp(name, "--events") == 0 && strcmp(value, "qmp") == 0) o->qmp_events = true;
  else if (strcmp(name, "--exit-file") == 0) o->exit_file = value;
  else if (strcmp(name, "--pid-file") == 0) o->pid_file = value;
  else if (strcmp(name, "--uid") == 0) { o->uid = (uid_t)parse_number(name, value, 1, 4294967294UL); o->has_uid = true; }
  else if (strcmp(name, "--group") == 0) { o->group = (gid_t)parse_number(name, value, 1, 4294967294UL); o->has_group = true; }
  else if (strcmp(name, "--listen") == 0 && o->listen_count < MAX_LISTEN) o->listen[o->listen_count++] = value;
  else fail(EXIT_USAGE, "unknown option %s", name);
}

static void parse(struct vmm_options *o, int argc, char **argv) {
  int i = 0;
  for (; i < argc && strcmp(argv[i], "--") != 0; i += 2) {
    if (i + 1 >= argc) fail(EXIT_USAGE, "%s: value missing", argv[i]);
    parse_option(o, argv[i], argv[i + 1]);
  }
  if (i + 1 >= argc) fail(EXIT_USAGE, "no command after --");
  o->command = argv + i + 1;
  if (o->log_dir == NULL || o->exit_file == NULL || o->pid_file == NULL) fail(EXIT_USAGE, "--log-dir, --exit-file and --pid-file are required");
  if ((o->netns == NULL) == (o->netns_pid_file == NULL)) fail(EXIT_USAGE, "one of --netns and --netns-pid-file is required");
  if (o->netns != NULL && strcmp(o->netns, "new") != 0 && strcmp(o->netns, "try") != 0 && strcmp(o->netns, "host") != 0)
    fail(EXIT_USAGE, "--netns: new, try or host");
  if (o->has_uid && geteuid() != 0) fail(EXIT_USAGE, "--uid needs root");
  if (!o->has_uid && geteuid() == 0) fail(EXIT_USAGE, "--uid is required as root: a VMM never runs as root");
}

// The sockets are bound here, not by the VMM: so they lie in a directory, and belong to a user, that a VMM taken over by its guest cannot touch.
static int listen_on(const char *path) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  if (strlen(path) >= sizeof address.sun_path) fail(EXIT_SETUP, "socket path too long: %s", path);
  memcpy(address.sun_path, path, strlen(path) + 1);
  unlink(path);
  umask(0177); // 0600 from the first moment
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 8) != 0)
    fail(EXIT_SETUP, "cannot listen on %s: %s", path, strerror(errno));
  umask(077);
  return fd;
}

static pid_t read_pid(const char *path) {
  char text[32] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (n <= 0) fail(EXIT_SETUP, "cannot read %s: %s", path, n < 0 ? strerror(errno) : "empty");
  close(fd);
  text[strcspn(text, "\n")] = '\0';
  return (pid_t)parse_number("pid file", text, 1, 1UL << 22);
}

static const char *drop_privileges(const struct vmm_options *o) {
  // Fails at the first number the kernel does not know, which ends the list.
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && (o->has_uid || errno != EPERM)) return "cannot empty the capability bounding set";
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (o->has_uid) {
    if (setgroups(o->has_group ? 1 : 0, o->has_group ? &o->group : NULL) != 0) return "cannot clear supplementary groups";
    if (setresgid(o->uid, o->uid, o->uid) != 0) return "cannot change the gid";
    if (setresuid(o->uid, o->uid, o->uid) != 0) return "cannot change the uid";
    if (setuid(0) == 0) { errno = EPERM; return "root could be taken back"; }
  }
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? NULL : "cannot set no_new_privs";
}

struct child_fds {
  /// -1 for /dev/null.
  int input;
  int output, errors, report;
  /// Sockets, and QEMU's end of the events behind them.
  int handed[MAX_HANDED];
  size_t handed_count;
};

static const char *enter_and_drop(const struct vmm_options *o, pid_t netns_pid, pid_t parent) {
  const char *problem = NULL;
  if (netns_pid > 0) problem = join_namespaces(netns_pid);
  else if (strcmp(o->netns, "new") == 0) problem = make_namespaces();
  // For a VMM without a network of its own: an empty namespace where the host allows one.
  else if (strcmp(o->netns, "try") == 0) (void)make_namespaces();
  if (problem == NULL) problem = drop_privileges(o);
  if (problem != NULL) return problem;
  // After the change of credentials, which clears it (prctl(2)).
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return "cannot set the parent death signal";
  if (getppid() != parent) { errno = ESRCH; return "the supervisor is gone"; }
  return NULL;
}

// Whatever the starter of the daemon left open is not the VMM's. close_range(2) is in Linux 5.9, its flag in 5.11; before that, one by one.
static void close_others_at_exec(int first) {
  if (syscall(SYS_close_range, first, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) == 0) return;
  for (int fd = first; fd < 1024; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static _Noreturn void run_child(const struct vmm_options *o, const struct child_fds *fds, pid_t netns_pid, pid_t parent) {
  const char *problem = enter_and_drop(o, netns_pid, parent);
  if (problem == NULL) {
    reset_signals();
    if (fds->input >= 0) dup2(fds->input, 0);
    dup2(fds->output, 1);
    dup2(fds->errors, 2);
    // Sources were moved above the targets by the parent, so no dup2 overwrites a later source.
    for (size_t i = 0; i < fds->handed_count; i++) dup2(fds->handed[i], FIRST_LISTEN_FD + (int)i);
    close_others_at_exec(FIRST_LISTEN_FD + (int)fds->handed_count);
    execvp(o->command[0], o->command);
    problem = o->command[0];
  }
  dprintf(fds->report, "%s: %s", problem, strerror(errno));
  _exit(EXIT_EXEC);
}

/// Moves a descriptor above those that the VMM expects its sockets at.
static int move_up(int fd) {
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_LISTEN_FD + MAX_HANDED);
  if (moved < 0) fail(EXIT_SETUP, "fcntl: %s", strerror(errno));
  close(fd);
  return moved;
}

/// Our ends of what the VMM writes, reads and tells, and what is known from it. `output` is the guest's console, `errors` the VMM's own words.
struct vmm {
  pid_t pid;
  int output, errors;
  struct console *console;
  struct events events;
  struct panic panic;
  struct words words;
  bool panicked;
};

static void open_ends(const struct vmm_options *o, struct vmm *vmm, struct child_fds *fds) {
  static struct console console;
  if (o->console != NULL) {
    vmm->console = &console;
    console_open(&console, listen_on(o->console), &fds->input);
    fds->input = move_up(fds->input);
  }
  for (size_t i = 0; i < o->listen_count; i++) fds->handed[fds->handed_count++] = move_up(listen_on(o->listen[i]));
  if (!o->qmp_events) return;
  int theirs;
  events_open(&vmm->events, &theirs);
  fds->handed[fds->handed_count++] = move_up(theirs);
}

static void spawn(const struct vmm_options *o, struct vmm *vmm) {
  int out[2], err[2], report[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0) fail(EXIT_SETUP, "pipe: %s", strerror(errno));
  struct child_fds fds = { .input = -1, .output = move_up(out[1]), .errors = move_up(err[1]), .report = move_up(report[1]) };
  open_ends(o, vmm, &fds);
  pid_t netns_pid = o->netns_pid_file != NULL ? read_pid(o->netns_pid_file) : 0;
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) fail(EXIT_SETUP, "fork: %s", strerror(errno));
  if (pid == 0) run_child(o, &fds, netns_pid, parent);
  close(fds.output);
  close(fds.errors);
  close(fds.report);
  if (fds.input >= 0) close(fds.input);
  for (size_t i = 0; i < fds.handed_count; i++) close(fds.handed[i]);
  // Closed by a successful exec, so end of file is the good news.
  char text[512];
  ssize_t n;
  do n = read(report[0], text, sizeof text - 1); while (n < 0 && errno == EINTR);
  close(report[0]);
  if (n > 0) {
    text[n] = '\0';
    waitpid(pid, NULL, 0);
    fail(EXIT_EXEC, "%s", text);
  }
  vmm->output = out[0];
  vmm->errors = err[0];
  fcntl(vmm->output, F_SETFL, O_NONBLOCK);
  fcntl(vmm->errors, F_SETFL, O_NONBLOCK);
  vmm->pid = pid;
}

static void record_exit(const struct vmm_options *o, const struct vmm *vmm, int status) {
  char text[1536], words[2 * sizeof vmm->words.text + 4], now[32];
  format_now(now, sizeof now);
  words_json(&vmm->words, words, sizeof words);
  snprintf(text, sizeof text, "{\"%s\":%d,\"at\":\"%s\",\"reason\":\"%s\",\"panic\":%s,\"said\":\"%s\"}\n", WIFSIGNALED(status) ? "signal" : "code",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), now, vmm->events.reason, vmm->panicked ? "true" : "false", words);
  if (!write_file(o->exit_file, text)) dprintf(2, "shim: cannot write %s: %s\n", o->exit_file, strerror(errno));
}

/// One read of a stream of the VMM, into the log and to the console's client; closes it at its end. Returns how much it was.
static size_t copy_stream(struct vmm *vmm, int *fd, struct boot_log *log) {
  static char buffer[65536];
  if (*fd < 0) return 0;
  ssize_t n = read(*fd, buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n <= 0) {
    close(*fd);
    *fd = -1;
    return 0;
  }
  if (fd == &vmm->output) panic_follow(&vmm->panic, buffer, (size_t)n);
  else words_add(&vmm->words, buffer, (size_t)n);
  log_write(log, buffer, (size_t)n);
  if (vmm->console != NULL) console_output(vmm->console, buffer, (size_t)n);
  return (size_t)n;
}

/// What lies in the pipes; at most one pipe full each, so that a descriptor that the VMM handed on cannot hold us.
static void copy_rest(struct vmm *vmm, struct boot_log *log) {
  for (int i = 0; i < 16 && copy_stream(vmm, &vmm->output, log) > 0; i++) {}
  for (int i = 0; i < 16 && copy_stream(vmm, &vmm->errors, log) > 0; i++) {}
}

static void forward_signals(int signals, pid_t pid) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) kill(pid, SIGTERM);
}

static size_t prepare_polls(const struct vmm *vmm, int signals, struct pollfd *fds) {
  fds[0] = (struct pollfd){ signals, POLLIN, 0 };
  fds[1] = (struct pollfd){ vmm->output, POLLIN, 0 };
  fds[2] = (struct pollfd){ vmm->errors, POLLIN, 0 };
  fds[3] = (struct pollfd){ vmm->events.fd, POLLIN, 0 };
  if (vmm->console != NULL) console_poll(vmm->console, fds + FIXED_POLLS);
  return FIXED_POLLS + (vmm->console != NULL ? CONSOLE_POLLS : 0);
}

/// A reset is the next boot, unless the kernel panicked (panic=-1): then it is the end, and the log ends with the panic (docs/adr/0011).
static void take_events(struct vmm *vmm, struct boot_log *log) {
  if (!events_take_reset(&vmm->events) || vmm->panicked) return;
  // What was written before the reset is the end of that boot's log.
  copy_rest(vmm, log);
  if (panic_at_end(&vmm->panic)) {
    vmm->panicked = true;
    events_quit(&vmm->events);
    return;
  }
  vmm->panic = (struct panic){ 0 };
  log_next_boot(log);
}

static int supervise(struct vmm *vmm, int signals, struct boot_log *log) {
  struct pollfd fds[FIXED_POLLS + CONSOLE_POLLS];
  for (;;) {
    if (poll(fds, prepare_polls(vmm, signals, fds), -1) < 0) {
      if (errno == EINTR) continue;
      fail(EXIT_SETUP, "poll: %s", strerror(errno));
    }
    if (fds[1].revents != 0) copy_stream(vmm, &vmm->output, log);
    if (fds[2].revents != 0) copy_stream(vmm, &vmm->errors, log);
    if (fds[3].revents != 0) take_events(vmm, log);
    if (vmm->console != NULL) console_ready(vmm->console, fds + FIXED_POLLS);
    if (fds[0].revents == 0) continue;
    forward_signals(signals, vmm->pid);
    int status;
    if (waitpid(vmm->pid, &status, WNOHANG) != vmm->pid) continue;
    // Its last word on why it shut down; a reset in it is of no consequence any more.
    (void)events_take_reset(&vmm->events);
    copy_rest(vmm, log);
    if (vmm->console != NULL) console_end(vmm->console);
    return status;
  }
}

int run_vmm(int argc, char **argv) {
  struct vmm_options options = { .log = { .max = 4 << 20, .keep = 5 } };
  parse(&options, argc, argv);
  detach();
  if (options.mark != NULL) setenv("BANGER_MARK", options.mark, 1);
  unlink(options.exit_file);
  struct boot_log log;
  log_open(&log, options.log_dir, options.log);
  int signals = open_signals();
  struct vmm vmm = { .output = -1, .errors = -1, .events = { .fd = -1 } };
  spawn(&options, &vmm);
  char text[32];
  snprintf(text, sizeof text, "%d\n", (int)vmm.pid);
  if (!write_file(options.pid_file, text)) {
    int saved = errno;
    kill(vmm.pid, SIGKILL);
    fail(EXIT_SETUP, "cannot write %s: %s", options.pid_file, strerror(saved));
  }
  announce("pid %d\n", (int)vmm.pid);
  int status = supervise(&vmm, signals, &log);
  record_exit(&options, &vmm, status);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
