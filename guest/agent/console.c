// The console belongs to who owns the VM, so nobody is asked for a password. Nothing is said before Enter: the log of the console
// stays the guest's. Where the image has a getty on it, that has the console, and this only looks on.
#define _GNU_SOURCE
#include "console.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "child.h"
#include "config.h"
#include "environ.h"
#include "passwd.h"
#include "stage1.h"
#include "util.h"

#define CONSOLE "/dev/console"
// A shell that ends at once must not keep the guest busy, nor a console that cannot be read.
#define PAUSE_MS 1000
// A guest that has just booted has more urgent things to do; what is typed meanwhile waits in the terminal.
#define BOOT_MS 1000

#ifndef TIOCGDEV
#define TIOCGDEV _IOR('T', 0x32, unsigned)
#endif

static pid_t running;

static void start(bool again) {
  running = fork();
  if (running < 0) say("console: %s", strerror(errno));
  if (running != 0) return;
  child_reset();
  child_close_from(3);
  setsid();
  sleep_ms(again ? PAUSE_MS : BOOT_MS);
  execl(AGENT_PATH, "agent", "console", (char *)NULL);
  _exit(0);
}

void console_start(void) {
  if (running <= 0) start(false);
}

bool console_child_ended(pid_t pid, int status) {
  if (running <= 0 || pid != running) return false;
  running = 0;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) start(true);
  return true;
}

// Programs may have left it raw, without echo or with flow stopped.
static void make_sane(int fd) {
  struct termios mode;
  if (tcgetattr(fd, &mode) < 0) return;
  mode.c_iflag = ICRNL | IXON | IUTF8;
  mode.c_oflag = OPOST | ONLCR;
  mode.c_lflag = ISIG | ICANON | IEXTEN | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE;
  mode.c_cflag |= CREAD | CLOCAL;
  mode.c_cc[VINTR] = 3;
  mode.c_cc[VQUIT] = 28;
  mode.c_cc[VERASE] = 127;
  mode.c_cc[VKILL] = 21;
  mode.c_cc[VEOF] = 4;
  mode.c_cc[VSUSP] = 26;
  tcsetattr(fd, TCSANOW, &mode);
}

// The device number of a process's controlling terminal: the fifth field behind the name, which may have anything in it.
static unsigned terminal_of(const char *pid) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%.16s/stat", pid);
  const char *at = read_line(path, line, sizeof line) ? strrchr(line, ')') : NULL;
  for (int field = 0; at && field < 5; field++) at = strchr(at + 1, ' ');
  return at ? (unsigned)strtoul(at + 1, NULL, 10) : 0;
}

// Whether somebody works on the terminal already, such as a getty of the image.
static bool is_taken(int fd) {
  unsigned terminal;
  if (ioctl(fd, TIOCGDEV, &terminal) < 0 || terminal == 0) return false;
  DIR *dir = opendir("/proc");
  if (!dir) return false;
  bool taken = false;
  struct dirent *entry;
  while (!taken && (entry = readdir(dir)))
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') taken = terminal_of(entry->d_name) == terminal;
  closedir(dir);
  return taken;
}

// Looks before it reads, so that it takes nothing away from others.
static void wait_for_enter(int *fd) {
  char line[256];
  for (;;) {
    if (*fd < 0) {
      // By this name a hang-up, when a shell ends, leaves the descriptors of others alone.
      *fd = open(CONSOLE, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
      if (*fd >= 0 && !is_taken(*fd)) make_sane(*fd);
    }
    struct pollfd wait = {.fd = *fd, .events = POLLIN};
    if (*fd >= 0 && poll(&wait, 1, -1) < 0) continue;
    if (*fd >= 0 && !is_taken(*fd)) {
      ssize_t n = read(*fd, line, sizeof line);
      if (n > 0) return;
      if (n == 0 || errno != EAGAIN) close_fd(fd);
    }
    sleep_ms(PAUSE_MS);
  }
}

__attribute__((noreturn)) static void run_shell(const struct account *account, const struct config *config) {
  const struct exec_request request = {.tty = true, .term = "vt220"};
  const char *slash = strrchr(account->shell, '/');
  char name[260];
  snprintf(name, sizeof name, "-%s", slash ? slash + 1 : account->shell);
  char *const argv[] = {name, NULL};
  char **env = environ_build(&request, config, account);
  int fd = open(CONSOLE, O_RDWR | O_NOCTTY | O_CLOEXEC);
  setsid();
  if (!env || fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0) _exit(126);
  make_sane(fd);
  for (int i = 0; i < 3; i++) dup2(fd, i);
  if (!child_become(account) || (chdir(account->home) < 0 && chdir("/") < 0)) _exit(126);
  execve(account->shell, argv, env);
  _exit(127);
}

int console_main(int argc, char **argv) {
  struct config *config = must_alloc(sizeof *config);
  struct account account;
  const char *error;
  int fd = -1;
  (void)argc;
  (void)argv;
  prctl(PR_SET_NAME, "banger-console", 0, 0, 0);
  if (!config_load(config, CONFIG_PATH, &error)) say("%s: %s", CONFIG_PATH, error);
  for (;;) {
    // In place of a shell that is not there account_find gives /bin/sh.
    if (!account_find(&account, "root", &error) || access(account.shell, X_OK) < 0) return 0;
    wait_for_enter(&fd);
    pid_t pid = fork();
    if (pid == 0) run_shell(&account, config);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    close_fd(&fd);
    sleep_ms(PAUSE_MS);
  }
}
