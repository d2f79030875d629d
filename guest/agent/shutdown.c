#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server.h"
#include "util.h"

// glibc's SIGRTMIN, which systemd and its tools count from; musl's is another.
#define GLIBC_SIGRTMIN 34
#define TERM_GRACE_MS 2000
#define MAX_MOUNTS 256

enum shutdown_how shutdown_for_signal(int number) {
  switch (number) {
    case SIGUSR1:
    case SIGUSR2:
    case GLIBC_SIGRTMIN + 3:
    case GLIBC_SIGRTMIN + 4:
      // A halted VM would only burn the host's time.
      return SHUTDOWN_POWEROFF;
    case SIGTERM:
    case SIGINT:
    case GLIBC_SIGRTMIN + 5:
      return SHUTDOWN_REBOOT;
    default:
      return SHUTDOWN_NONE;
  }
}

static void run_program(const char *path) {
  pid_t pid = fork();
  if (pid != 0) return;
  setsid();
  execl(path, path, (char *)NULL);
  _exit(127);
}

static bool is_systemd(void) {
  char name[32] = "";
  return read_line("/proc/1/comm", name, sizeof name) && strcmp(name, "systemd") == 0;
}

bool shutdown_image_ready(void) {
  // systemd makes this socket when it has loaded its units; a signal before would be lost.
  return !is_systemd() || access("/run/systemd/private", F_OK) == 0;
}

void shutdown_image(enum shutdown_how how) {
  bool off = how == SHUTDOWN_POWEROFF;
  const char *program = off ? "/sbin/poweroff" : "/sbin/reboot";
  if (is_systemd())
    kill(1, GLIBC_SIGRTMIN + (off ? 4 : 5));
  else if (access(program, X_OK) == 0)
    run_program(program);
  else
    kill(1, off ? SIGUSR2 : SIGTERM);
}

// Waits until the last child is reaped; PID 1 is everybody's last parent.
static void reap_all(int limit_ms) {
  int64_t limit = now_ms() + limit_ms;
  while (now_ms() < limit) {
    pid_t pid = waitpid(-1, NULL, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid == 0) sleep_ms(5);
  }
}

static void unmount_all(void) {
  char *targets[MAX_MOUNTS];
  size_t count = 0;
  char *text = read_file("/proc/self/mounts", 1 << 20, NULL), *rest = text, *line;
  while (count < MAX_MOUNTS && (line = strsep(&rest, "\n"))) {
    char *target = strchr(line, ' ');
    if (!target) continue;
    targets[count] = ++target;
    target[strcspn(target, " ")] = 0;
    // Nothing on these is worth keeping, and the rest of this needs /proc.
    if (strncmp(target, "/proc", 5) != 0 && strncmp(target, "/sys", 4) != 0 && strncmp(target, "/dev", 4) != 0) count++;
  }
  while (count > 0) {
    const char *target = targets[--count];
    if (strcmp(target, "/") == 0 || umount2(target, 0) == 0) continue;
    if (mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0) say("cannot unmount %s: %s", target, strerror(errno));
  }
  free(text);
  if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0) say("cannot make / read-only: %s", strerror(errno));
}

void shutdown_machine(enum shutdown_how how) {
  kill(-1, SIGTERM);
  // Shells that somebody types into ignore TERM.
  kill(-1, SIGHUP);
  kill(-1, SIGCONT);
  reap_all(TERM_GRACE_MS);
  kill(-1, SIGKILL);
  reap_all(TERM_GRACE_MS);
  sync();
  unmount_all();
  sync();
  reboot(how == SHUTDOWN_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
  say("cannot %s: %s", how == SHUTDOWN_REBOOT ? "reboot" : "power off", strerror(errno));
  for (;;) pause();
}
