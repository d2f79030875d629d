// The daemon's gate: one line names the VM, one line answers, and then the bytes are SSH.
#define _GNU_SOURCE
#include "proxy.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// A daemon that has just started first finds its VMs again. One that ends, or was killed and whose threads are not all gone, still
// takes connections and then breaks them: it is as none, hence the attempts.
enum { CONNECT_LIMIT_MS = 10000, ANSWER_LIMIT_MS = 10000, FIRST_ANSWER_LIMIT_MS = 30000, RETRY_MS = 20, ATTEMPTS = 5, MAX_LINE = 1024 };

static void pause_ms(long ms) {
  struct timespec span = { ms / 1000, ms % 1000 * 1000000 };
  nanosleep(&span, NULL);
}

/// A connection, or -1 with errno. Never waits: a full queue is EAGAIN.
static int try_connect(const char *path) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

static bool nobody_listens(int error) { return error == ENOENT || error == ECONNREFUSED; }

/// Connects, starting the daemon, once, when nobody listens and there is a launcher.
static int gate_connect(const struct proxy_options *options, bool *started) {
  const char *path = options->socket_path;
  if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) fail("%s: the path is too long for a socket", path);
  int64_t deadline = now_ms() + CONNECT_LIMIT_MS;
  for (;;) {
    int fd = try_connect(path);
    if (fd >= 0) return fd;
    int error = errno;
    if (nobody_listens(error) && !*started) {
      if (options->launcher == NULL) fail("the daemon is not running (%s: %s)", path, strerror(error));
      start_daemon(options);
      *started = true;
      deadline = now_ms() + CONNECT_LIMIT_MS;
    } else if (error != EAGAIN && error != EINTR && !nobody_listens(error)) {
      fail("%s: %s", path, strerror(error));
    } else if (now_ms() >= deadline) {
      fail("%s: %s", path, error == EAGAIN ? "the daemon does not take connections" : strerror(error));
    } else {
      pause_ms(RETRY_MS);
    }
  }
}

static bool is_broken(int error) { return error == EPIPE || error == ECONNRESET; }

/// False when the daemon has broken the connection.
static bool send_line(int fd, const char *host, int64_t deadline) {
  char line[512];
  int size = snprintf(line, sizeof line, "%s\n", host);
  if (size < 0 || (size_t)size >= sizeof line) fail("the name of the VM is too long");
  for (int done = 0; done < size;) {
    ssize_t n = send(fd, line + done, (size_t)(size - done), MSG_NOSIGNAL);
    if (n > 0) done += (int)n;
    else if (errno == EAGAIN && wait_ready(fd, POLLOUT, deadline)) continue;
    else if (is_broken(errno)) return false;
    else if (errno != EINTR) fail("the daemon does not take the request: %s", strerror(errno));
  }
  return true;
}

/// Byte by byte: what follows the line belongs to ssh. False when the connection ended before the first byte.
static bool read_line(int fd, char *line, size_t size, int64_t deadline) {
  for (size_t length = 0; length + 1 < size;) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    if (n == 1 && byte != '\n') line[length++] = byte;
    else if (n == 1) { line[length] = '\0'; return true; }
    else if (length == 0 && (n == 0 || is_broken(errno))) return false;
    else if (n == 0) fail("the daemon closed the connection without an answer");
    else if (errno == EAGAIN && !wait_ready(fd, POLLIN, deadline)) fail("the daemon does not answer");
    else if (errno != EAGAIN && errno != EINTR) fail("the daemon broke the connection: %s", strerror(errno));
  }
  fail("the daemon's answer is too long");
}

/// False when the daemon left without a word.
static bool ask(int fd, const char *host, int64_t limit_ms) {
  char line[MAX_LINE];
  int64_t deadline = now_ms() + limit_ms;
  if (!send_line(fd, host, deadline) || !read_line(fd, line, sizeof line, deadline)) return false;
  if (strncmp(line, "error ", 6) == 0) fail("%s", line + 6);
  if (strcmp(line, "ok") != 0) fail("the daemon answers with what is no answer: %s", line);
  return true;
}

int gate_open(const struct proxy_options *options) {
  bool started = false;
  for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
    int fd = gate_connect(options, &started);
    if (ask(fd, options->host, started ? FIRST_ANSWER_LIMIT_MS : ANSWER_LIMIT_MS)) return fd;
    close(fd);
    pause_ms(RETRY_MS);
  }
  fail("the daemon closed the connection without an answer");
}
